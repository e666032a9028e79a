// SPDX-License-Identifier: Apache-2.0
//
// What stands on standard error: levels and scopes switched while running, text and JSON, and that no
// value can forge a line.
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"

static struct log_scope alpha = LOG_SCOPE("alpha");
static struct log_scope beta = LOG_SCOPE("beta");

static char captured[65536];

// Runs action with standard error in a file, and leaves what it wrote in `captured`.
static struct str capture(void (*action)(const void *argument), const void *argument)
{
    char name[] = "/tmp/isthmesh-log-test-XXXXXX";
    int fd = mkstemp(name);
    int saved = dup(STDERR_FILENO);
    assert_true(fd >= 0 && saved >= 0);
    assert_int_equal(unlink(name), 0);
    (void)fflush(stderr);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    action(argument);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    (void)close(saved);
    ssize_t size = pread(fd, captured, sizeof(captured), 0);
    (void)close(fd);
    assert_true(size >= 0);
    return str_make(captured, (size_t)size);
}

// Without the time in front: 24 characters and a blank.
static struct str without_time(struct str line)
{
    assert_true(line.size > 25 && line.data[4] == '-' && line.data[10] == 'T' && line.data[23] == 'Z');
    return str_from(line, 25);
}

static bool evaluated;

static uint64_t evaluate(void)
{
    evaluated = true;
    return 1;
}

static void log_all_levels(const void *argument)
{
    (void)argument;
    log_error(&alpha, "e");
    log_warning(&alpha, "w");
    log_info(&alpha, "i");
    log_debug(&alpha, "d", LOG_U64("n", evaluate()));
    log_trace(&alpha, "t");
    log_info(&beta, "b");
}

static const struct {
    const char *spec;
    const char *want; // first letters of the lines
} level_rows[] = {
    {"info", "ewib"},       {"alpha:none", "b"},  {"alpha:error", "eb"}, {"alpha:warn", "ewb"},
    {"alpha:warning", "ewb"}, {"alpha:debug", "ewidb"}, {"alpha:trace", "ewidtb"}, {"all:error", "e"},
    {"default:none,beta:info", "b"}, {"info,alpha:debug,beta:none", "ewid"}, {"default:info", "ewib"},
};

static void levels_change_at_run_time(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(level_rows); i++) {
        assert_true(log_set_levels(str_of(level_rows[i].spec), NULL));
        evaluated = false;
        struct str rest = capture(log_all_levels, NULL);
        char got[16] = "";
        for (size_t line = 0; rest.size > 0 && line < sizeof(got) - 1; line++) {
            struct str text = str_split(&rest, '\n');
            got[line] = text.data[str_find_char(text, '\t') + 1];
        }
        check_row(level_rows[i].spec, strcmp(got, level_rows[i].want) == 0, "got %s", got);
        check_row(level_rows[i].spec, evaluated == (strchr(level_rows[i].want, 'd') != NULL),
                  "arguments of a silent line were evaluated");
    }
}

static void bad_levels_change_nothing(void **state)
{
    (void)state;
    static const char *const rows[] = {"", "loud", "alpha:", ":info", "alpha:debug,beta:loud", "alpha:debug,", "Info"};
    assert_true(log_set_levels(STR("info"), NULL));
    for (size_t i = 0; i < array_count(rows); i++) {
        struct error err = {0};
        check_row(rows[i], !log_set_levels(str_make(rows[i], strlen(rows[i])), &err), "accepted");
        check_row(rows[i], strstr(err.message, "want [scope:]none|error") != NULL, "says %s", err.message);
    }
    assert_true(log_is_on(&alpha, LOG_INFO));
    assert_false(log_is_on(&alpha, LOG_DEBUG));
}

// A scope that logs for the first time later gets what was asked for it before.
static void scopes_are_remembered(void **state)
{
    (void)state;
    static struct log_scope late = LOG_SCOPE("late");
    assert_true(log_set_levels(STR("info,late:error"), NULL));
    assert_true(log_set_levels(STR("late:trace"), NULL));
    assert_true(log_is_on(&late, LOG_TRACE));
    assert_false(log_is_on(&alpha, LOG_DEBUG));
}

#define BYTES(text) {text, sizeof(text) - 1}

static const struct {
    const char *name;
    struct str value;
    const char *want_text;
    const char *want_json;
} value_rows[] = {
    {"word", BYTES("a.b/c:1"), "v=a.b/c:1", "\"v\":\"a.b/c:1\""},
    {"empty", BYTES(""), "v=\"\"", "\"v\":\"\""},
    {"blank", BYTES("a b"), "v=\"a b\"", "\"v\":\"a b\""},
    {"equals sign", BYTES("a=b"), "v=\"a=b\"", "\"v\":\"a=b\""},
    {"quote", BYTES("a\"b"), "v=\"a\\\"b\"", "\"v\":\"a\\\"b\""},
    {"backslash", BYTES("a\\"), "v=\"a\\\\\"", "\"v\":\"a\\\\\""},
    {"forged line", BYTES("x\n2026-01-01T00:00:00.000Z error y\tz"),
     "v=\"x\\n2026-01-01T00:00:00.000Z error y\\u0009z\"", "\"v\":\"x\\n2026-01-01T00:00:00.000Z error y\\u0009z\""},
    {"carriage return, escape, NUL, DEL", BYTES("\r\x1b[2J\0\x7f"), "v=\"\\u000d\\u001b[2J\\u0000\\u007f\"",
     "\"v\":\"\\u000d\\u001b[2J\\u0000\\u007f\""},
    {"UTF-8", BYTES("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"), "v=\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
     "\"v\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
    {"not UTF-8", BYTES("\xff\xc0\x80\xed\xa0\x80\xe2\x82"), "v=\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"",
     "\"v\":\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\""},
    {"terminal control U+009B", BYTES("\xc2\x9b"), "v=\"\\ufffd\\ufffd\"", "\"v\":\"\\ufffd\\ufffd\""},
};

static void log_value(const void *argument)
{
    log_info(&alpha, "said", LOG_STR("v", *(const struct str *)argument));
}

static void values_are_escaped(void **state)
{
    (void)state;
    assert_true(log_set_levels(STR("info"), NULL));
    for (size_t i = 0; i < array_count(value_rows); i++) {
        char want[512];
        log_set_json(false);
        struct str got = without_time(capture(log_value, &value_rows[i].value));
        (void)snprintf(want, sizeof(want), "info    alpha\tsaid %s\n", value_rows[i].want_text);
        check_row(value_rows[i].name, str_equal_c(got, want), "got %.*s", STR_ARG(got));
        log_set_json(true);
        got = capture(log_value, &value_rows[i].value);
        got = str_from(got, sizeof("{\"time\":\"2026-01-02T03:04:05.678Z\"") - 1);
        (void)snprintf(want, sizeof(want), ",\"level\":\"info\",\"scope\":\"alpha\",\"msg\":\"said\",%s}\n",
                       value_rows[i].want_json);
        check_row(value_rows[i].name, str_equal_c(got, want), "got %.*s", STR_ARG(got));
    }
    log_set_json(false);
}

static void log_numbers(const void *argument)
{
    (void)argument;
    struct error err = {.code = ERR_IO, .message = "disk on fire"};
    log_info(&beta, "numbers", LOG_U64("u", UINT64_MAX), LOG_I64("i", INT64_MIN), LOG_BOOL("yes", 5),
             LOG_BOOL("no", 0), LOG_CSTR("c", "x"), LOG_ERR(&err));
}

static void every_type_of_field(void **state)
{
    (void)state;
    log_set_json(false);
    assert_str(without_time(capture(log_numbers, NULL)),
               "info    beta\tnumbers u=18446744073709551615 i=-9223372036854775808 yes=true no=false c=x "
               "error=\"disk on fire\"\n");
    log_set_json(true);
    struct str got = capture(log_numbers, NULL);
    assert_true(str_ends_with(got, STR(",\"msg\":\"numbers\",\"u\":18446744073709551615,\"i\":-9223372036854775808,"
                                       "\"yes\":true,\"no\":false,\"c\":\"x\",\"error\":\"disk on fire\"}\n")));
    log_set_json(false);
}

static void log_much(const void *argument)
{
    const struct str value = *(const struct str *)argument;
    log_info(&beta, "much", LOG_STR("a", value), LOG_STR("b", value), LOG_STR("c", value), LOG_STR("d", value),
             LOG_STR("e", value));
}

// A long value is cut and fields that do not fit are left out: the line stays one line, and JSON.
static void long_lines_are_cut(void **state)
{
    (void)state;
    static char text[20000];
    static const char fills[] = {'x', '"', '\n', (char)0xc3};
    for (size_t i = 0; i < array_count(fills); i++) {
        memset(text, fills[i], sizeof(text));
        struct str value = str_make(text, sizeof(text));
        for (int json = 0; json < 2; json++) {
            log_set_json(json != 0);
            struct str got = capture(log_much, &value);
            assert_true(got.size < 4096);
            assert_int_equal(str_find_char(got, '\n'), got.size - 1);
            assert_true(str_ends_with(got, json != 0 ? STR("...\",\"cut\":true}\n") : STR("...\" cut=true\n")));
        }
    }
    log_set_json(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_change_at_run_time), cmocka_unit_test(bad_levels_change_nothing),
        cmocka_unit_test(scopes_are_remembered),     cmocka_unit_test(values_are_escaped),
        cmocka_unit_test(every_type_of_field),       cmocka_unit_test(long_lines_are_cut),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
