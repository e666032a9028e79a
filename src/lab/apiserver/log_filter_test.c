// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/log_filter.h"

#include "base/memory.h"
#include "test.h"

#define FILE_TEXT                                                  \
    "2026-01-02T03:04:05.100000000Z stdout F one\n"                \
    "2026-01-02T03:04:06.200000000Z stderr F  two  words\n"        \
    "2026-01-02T03:04:07.300000000Z stdout P long \n"              \
    "2026-01-02T03:04:07.400000000Z stdout F line\n"               \
    "2026-01-02T03:04:08.500000000Z stdout F \n"

struct row {
    const char *name;
    struct log_filter filter;
    const char *want;
};

#define AT_07 1767323047000u // 2026-01-02T03:04:07Z

static const struct row rows[] = {
    {"everything", {.timestamps = false}, "one\n two  words\nlong line\n\n"},
    {"timestamps", {.timestamps = true, .skip_lines = 2}, "2026-01-02T03:04:07.300000000Z long line\n2026-01-02T03:04:08.500000000Z \n"},
    {"the last line", {.skip_lines = 3}, "\n"},
    {"more skipped than there is", {.skip_lines = 30}, ""},
    {"since", {.since_ms = AT_07}, "long line\n\n"},
    {"one stream", {.stream = "stderr"}, " two  words\n"},
    {"a limit", {.has_limit = true, .limit_bytes = 6}, "one\n t"},
    {"a limit inside a timestamp", {.has_limit = true, .limit_bytes = 4, .timestamps = true}, "2026"},
};

static void test_rows(void **state)
{
    (void)state;
    struct str text = STR(FILE_TEXT);
    for (size_t i = 0; i < array_count(rows); i++) {
        for (size_t step = 1; step <= text.size; step += step < 7 ? 1 : text.size) {
            struct log_filter filter = rows[i].filter;
            struct buf got = {0};
            for (size_t at = 0; at < text.size; at += step) {
                log_filter_feed(&filter, str_sub(text, at, step), &got);
            }
            if (!str_equal_c(buf_view(&got), rows[i].want)) {
                fail_msg("%s in steps of %zu: got \"%.*s\", want \"%s\"", rows[i].name, step, STR_ARG(buf_view(&got)), rows[i].want);
            }
            buf_done(&got);
            log_filter_done(&filter);
        }
    }
}

static void test_lines_are_counted_in_any_pieces(void **state)
{
    (void)state;
    struct str text = STR(FILE_TEXT);
    for (size_t step = 1; step <= text.size; step++) {
        struct log_line_counter counter = {0};
        uint64_t lines = 0;
        for (size_t at = 0; at < text.size; at += step) {
            lines += log_lines(&counter, str_sub(text, at, step));
        }
        assert_int_equal(lines, 4);
    }
}

static void test_an_entry_too_long_is_dropped(void **state)
{
    (void)state;
    struct log_filter filter = {0};
    struct buf got = {0};
    char piece[1024];
    memset(piece, 'x', sizeof(piece));
    for (int i = 0; i < 70; i++) {
        log_filter_feed(&filter, str_make(piece, sizeof(piece)), &got);
    }
    log_filter_feed(&filter, STR("\n2026-01-02T03:04:05.100000000Z stdout F next\n"), &got);
    assert_true(str_equal(buf_view(&got), STR("next\n")));
    buf_done(&got);
    log_filter_done(&filter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_lines_are_counted_in_any_pieces),
        cmocka_unit_test(test_an_entry_too_long_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
