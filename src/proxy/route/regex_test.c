// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <string.h>

#include "base/memory.h"
#include "proxy/route/regex.h"

static void test_full_matches(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        const char *text;
        bool want;
        bool ignore_case;
    } rows[] = {
        {"r.*", "reviews", true, false},
        {"r.*", "xr", false, false},
        {"a|ab", "ab", true, false}, // full needs the second alternative
        {"^[0-9]+$", "123", true, false},
        {"^[0-9]+$", "123\n", false, false}, // "$" is the end of the text
        {"/r[0-9]+", "/r12", true, false},
        {"/r[0-9]+", "/r12/x", false, false},
        {".*b.test", "https://b.test", true, false},
        {"a.c", "a\nc", false, false},
        {"abc", "ABC", false, false},
        {"abc", "ABC", true, true},
        {"[]a]+", "]a]", true, false},
        {"(?P<name>x)+", "xxx", true, false},
        {"x?", "", true, false},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct rule_memory memory = {0};
        struct error err = {0};
        const struct regex *regex = regex_compile(&memory, str_of(rows[i].pattern), rows[i].ignore_case ? REGEX_FULL_IGNORE_CASE : REGEX_FULL, &err);
        check_row(rows[i].pattern, regex != NULL, "%s", err.message);
        check_row(rows[i].pattern, regex_match_full(regex, str_of(rows[i].text)) == rows[i].want, "text \"%s\"", rows[i].text);
        rule_memory_done(&memory);
    }
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const char *const patterns[] = {"", "(a", "a(?=b)", "a(?!b)", "(?<=a)b", "(?>a)", "(a)\\1", "(?P=x)", "a++", "(*ACCEPT)a", "a\\Kb", "[z-a]"};
    struct rule_memory memory = {0};
    for (size_t i = 0; i < array_count(patterns); i++) {
        struct error err = {0};
        check_row(patterns[i], regex_compile(&memory, str_of(patterns[i]), REGEX_FULL, &err) == NULL, "accepted");
        assert_true(err.code != ERR_OK && err.message[0] != 0);
    }
    rule_memory_done(&memory);
}

// An expression that explodes ends at its limit, does not match, and is counted.
static void test_limits(void **state)
{
    (void)state;
    struct rule_memory memory = {0};
    char text[64];
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = 'b';
    const struct regex *regex = regex_compile(&memory, STR("(a|aa)+[cd]"), REGEX_FULL, NULL);
    assert_non_null(regex);
    uint64_t before = regex_limits_reached();
    assert_false(regex_match_full(regex, str_make(text, sizeof(text))));
    assert_true(regex_limits_reached() > before);
    // A long text and a deep group: the just-in-time stack may end, the answer stays right.
    char *longer = mem_alloc(REGEX_SUBJECT_MAX + 1u);
    memset(longer, 'a', REGEX_SUBJECT_MAX + 1u);
    regex = regex_compile(&memory, STR("a*"), REGEX_FULL, NULL);
    assert_true(regex_match_full(regex, str_make(longer, REGEX_SUBJECT_MAX)));
    assert_false(regex_match_full(regex, str_make(longer, REGEX_SUBJECT_MAX + 1u)));
    mem_free(longer);
    rule_memory_done(&memory);
}

static void test_replacing(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        const char *substitution;
        const char *text;
        const char *want;
    } rows[] = {
        {"^/service/([^/]+)(/.*)$", "\\2/instance/\\1", "/service/foo/v1/api", "/v1/api/instance/foo"},
        {"one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"},
        {"^(.*?)one(.*)$", "\\1two\\2", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/one/zzz"},
        {"(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb", "/aaa/yyy/bbb"},
        {"x*", "-", "ab", "-a-b-"},
        {"a", "\\\\", "a", "\\"},
        {"z", "y", "abc", "abc"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct rule_memory memory = {0};
        struct error err = {0};
        const struct regex *regex = regex_compile(&memory, str_of(rows[i].pattern), REGEX_SEARCH, &err);
        check_row(rows[i].pattern, regex != NULL, "%s", err.message);
        assert_true(regex_substitution_is_valid(regex, str_of(rows[i].substitution)));
        assert_str(regex_replace_all(regex, str_of(rows[i].text), str_of(rows[i].substitution), &memory.arena), rows[i].want);
        rule_memory_done(&memory);
    }
    struct rule_memory memory = {0};
    const struct regex *regex = regex_compile(&memory, STR("(a)"), REGEX_SEARCH, NULL);
    assert_false(regex_substitution_is_valid(regex, STR("\\2")));
    assert_false(regex_substitution_is_valid(regex, STR("\\")));
    rule_memory_done(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_matches),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_replacing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
