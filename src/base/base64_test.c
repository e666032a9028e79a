// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/base64.h"
#include "base/memory.h"

static void both_ways(void **state)
{
    (void)state;
    // RFC 4648 section 10.
    static const struct {
        const char *plain;
        const char *coded;
    } rows[] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"},
    };
    struct arena arena = {0};
    for (size_t i = 0; i < array_count(rows); i++) {
        struct str back = STR_EMPTY;
        assert_str(base64_encode(&arena, str_of(rows[i].plain)), rows[i].coded);
        assert_true(base64_decode(&arena, str_of(rows[i].coded), &back));
        assert_str(back, rows[i].plain);
    }
    arena_done(&arena);
}

static void what_decode_accepts(void **state)
{
    (void)state;
    static const struct {
        const char *coded;
        bool want_ok;
        const char *want;
    } rows[] = {
        {"Zm9v\nYmFy\n", true, "foobar"}, {"Zg", true, "f"}, {"-_-_", true, "\xfb\xff\xbf"},
        {"Z", false, NULL}, {"Zg=", false, NULL}, {"Zg==Zg==", false, NULL}, {"Zm9v====", false, NULL}, {"Zm9v!", false, NULL},
    };
    struct arena arena = {0};
    for (size_t i = 0; i < array_count(rows); i++) {
        struct str back = STR_EMPTY;
        bool ok = base64_decode(&arena, str_of(rows[i].coded), &back);
        check_row(rows[i].coded, ok == rows[i].want_ok, "got %d", ok);
        if (ok) {
            assert_str(back, rows[i].want);
        }
    }
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways),
        cmocka_unit_test(what_decode_accepts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
