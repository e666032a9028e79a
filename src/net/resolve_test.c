// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "net/resolve.h"

struct answer {
    struct loop *loop;
    int calls;
    size_t count;
    enum err code;
    char first[ADDRESS_TEXT_SIZE];
};

static void on_done(void *owner, const struct address *addresses, size_t count, const struct error *err)
{
    struct answer *answer = owner;
    answer->calls++;
    answer->count = count;
    answer->code = err == NULL ? ERR_OK : err->code;
    if (count > 0) {
        address_format(&addresses[0], answer->first);
    }
    loop_stop(answer->loop);
}

static void names_and_literals(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        enum err want;
        const char *want_first;
    } rows[] = {
        {"127.0.0.1", ERR_OK, "127.0.0.1:80"},
        {"::1", ERR_OK, "[::1]:80"},
        {"localhost", ERR_OK, NULL},
        {"", ERR_INVALID, NULL},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct answer answer = {.loop = loop_new()};
        assert_non_null(resolve_start(answer.loop, str_of(rows[i].host), 80, on_done, &answer));
        assert_int_equal(answer.calls, 0); // never from inside the call
        loop_run(answer.loop);
        check_row(rows[i].host, answer.calls == 1 && answer.code == rows[i].want, "code %s", err_name(answer.code));
        if (rows[i].want_first != NULL) {
            assert_string_equal(answer.first, rows[i].want_first);
        }
        loop_free(answer.loop);
    }
}

static void cancelled_look_up_says_nothing(void **state)
{
    (void)state;
    struct answer answer = {.loop = loop_new()};
    resolve_cancel(resolve_start(answer.loop, STR("127.0.0.1"), 80, on_done, &answer));
    resolve_cancel(NULL);
    loop_turn(answer.loop, 0);
    assert_int_equal(answer.calls, 0);
    loop_free(answer.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_literals),
        cmocka_unit_test(cancelled_look_up_says_nothing),
    };
    return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
