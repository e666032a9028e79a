// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "codec/json/json.h"

// --- reading ---------------------------------------------------------------------------------------

struct accept_row {
    const char *name;
    const char *text;
    const char *want; // compact
};

static const struct accept_row accept_rows[] = {
    {"null", " null ", "null"},
    {"true", "true", "true"},
    {"false", "\tfalse\r\n", "false"},
    {"zero", "0", "0"},
    {"negative zero", "-0", "-0"},
    {"int64 least", "-9223372036854775808", "-9223372036854775808"},
    {"uint64 greatest", "18446744073709551615", "18446744073709551615"},
    {"text of a number is kept", "1.50e+02", "1.50e+02"},
    {"capital exponent", "1E5", "1E5"},
    {"empty string", "\"\"", "\"\""},
    {"simple escapes", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\""},
    {"unicode escape", "\"\\u0041\\u00e9\\u20ac\"", "\"A\xc3\xa9\xe2\x82\xac\""},
    {"surrogate pair", "\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\""},
    {"NUL by escape", "\"a\\u0000b\"", "\"a\\u0000b\""},
    {"delete character is plain", "\"\x7f\"", "\"\x7f\""},
    {"greatest code point", "\"\xf4\x8f\xbf\xbf\"", "\"\xf4\x8f\xbf\xbf\""},
    {"empty array", "[ ]", "[]"},
    {"empty object", "{ }", "{}"},
    {"nested", "{\"a\":[1,{\"b\":null}],\"c\":\"d\"}", "{\"a\":[1,{\"b\":null}],\"c\":\"d\"}"},
    {"blanks everywhere", " { \"a\" : [ 1 , 2 ] } ", "{\"a\":[1,2]}"},
    {"order is kept", "{\"b\":1,\"a\":2}", "{\"b\":1,\"a\":2}"},
    {"empty name", "{\"\":1}", "{\"\":1}"},
    {"long plain string", "\"0123456789abcdefghij\"", "\"0123456789abcdefghij\""},
};

static void test_accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(accept_rows); i++) {
        const struct accept_row *row = &accept_rows[i];
        struct arena arena = {0};
        struct json_value *value = NULL;
        struct error err = {0};
        enum err code = json_parse(&arena, str_of(row->text), &value, &err);
        check_row(row->name, code == ERR_OK, "%s", err.message);
        struct str got = json_to_str(&arena, value);
        check_row(row->name, str_equal_c(got, row->want), "got %.*s, want %s", STR_ARG(got), row->want);
        arena_done(&arena);
    }
}

struct reject_row {
    const char *name;
    const char *text;
    const char *want; // how the message begins
};

static const struct reject_row reject_rows[] = {
    {"empty", "", "line 1 column 1: unexpected end"},
    {"blanks only", " \n ", "line 2 column 2: unexpected end"},
    {"word", "nul", "line 1 column 1: expected a value"},
    {"capital word", "True", "line 1 column 1: expected a value"},
    {"two values", "1 2", "line 1 column 3: text behind the value"},
    {"leading zero", "01", "line 1 column 2: number with a leading zero"},
    {"leading plus", "+1", "line 1 column 1: expected a value"},
    {"bare minus", "-", "line 1 column 2: unexpected end"},
    {"no digit behind the point", "[1.]", "line 1 column 4: expected a digit after the decimal point"},
    {"no digit before the point", ".5", "line 1 column 1: expected a value"},
    {"empty exponent", "[1e]", "line 1 column 4: expected a digit in the exponent"},
    {"hexadecimal", "0x10", "line 1 column 2: text behind the value"},
    {"not a number", "NaN", "line 1 column 1: expected a value"},
    {"open string", "\"abc", "line 1 column 5: unexpected end"},
    {"open escape", "\"abc\\", "line 1 column 6: unexpected end"},
    {"raw newline", "\"a\nb\"", "line 1 column 3: control character in a string"},
    {"raw tab", "\"\t\"", "line 1 column 2: control character in a string"},
    {"unknown escape", "\"\\x41\"", "line 1 column 2: unknown escape"},
    {"short unicode escape", "\"\\u12\"", "line 1 column 2: bad \\u escape"},
    {"unicode escape with a sign", "\"\\u+123\"", "line 1 column 2: bad \\u escape"},
    {"lone high surrogate", "\"\\ud83d\"", "line 1 column 2: bad \\u escape"},
    {"lone low surrogate", "\"\\ude00\"", "line 1 column 2: bad \\u escape"},
    {"high surrogate twice", "\"\\ud83d\\ud83d\"", "line 1 column 2: bad \\u escape"},
    {"continuation byte alone", "\"\x80\"", "line 1 column 2: string is not UTF-8"},
    {"overlong slash", "\"\xc0\xaf\"", "line 1 column 2: string is not UTF-8"},
    {"overlong of three", "\"\xe0\x80\xaf\"", "line 1 column 2: string is not UTF-8"},
    {"surrogate in UTF-8", "\"\xed\xa0\x80\"", "line 1 column 2: string is not UTF-8"},
    {"above U+10FFFF", "\"\xf4\x90\x80\x80\"", "line 1 column 2: string is not UTF-8"},
    {"cut sequence", "\"\xe2\x82\"", "line 1 column 2: string is not UTF-8"},
    {"byte order mark", "\xef\xbb\xbf{}", "line 1 column 1: expected a value"},
    {"trailing comma in array", "[1,]", "line 1 column 4: expected a value"},
    {"trailing comma in object", "{\"a\":1,}", "line 1 column 8: expected a member name"},
    {"no comma", "[1 2]", "line 1 column 4: expected ',' or ']'"},
    {"wrong closing", "[1}", "line 1 column 3: expected ',' or ']'"},
    {"no colon", "{\"a\" 1}", "line 1 column 6: expected ':' after the member name"},
    {"name without quotes", "{a:1}", "line 1 column 2: expected a member name"},
    {"single quotes", "{'a':1}", "line 1 column 2: expected a member name"},
    {"comment", "[1,/**/2]", "line 1 column 4: expected a value"},
    {"open object", "{\"a\":1", "line 1 column 7: unexpected end"},
    {"duplicate member", "{\"a\":1,\n\"a\":2}", "duplicate member \"a\": line 2 column 6: "},
    {"duplicate by escape", "{\"a\":1,\"\\u0061\":2}", "duplicate member \"a\": "},
};

static void test_rejects(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(reject_rows); i++) {
        const struct reject_row *row = &reject_rows[i];
        struct arena arena = {0};
        struct json_value *value = NULL;
        struct error err = {0};
        enum err code = json_parse(&arena, str_of(row->text), &value, &err);
        check_row(row->name, code == ERR_INVALID, "got %s", err_name(code));
        check_row(row->name, json_parse(&arena, str_of(row->text), &value, NULL) == code, "without error storage");
        check_row(row->name, str_starts_with(str_of(err.message), str_of(row->want)), "got %s, want %s",
                  err.message, row->want);
        assert_null(value);
        arena_done(&arena);
    }
}

static enum err parse_nested(unsigned depth)
{
    struct arena arena = {0};
    struct buf text = {0};
    for (unsigned i = 0; i < depth; i++) {
        buf_append_char(&text, '[');
    }
    for (unsigned i = 0; i < depth; i++) {
        buf_append_char(&text, ']');
    }
    struct json_value *value = NULL;
    enum err code = json_parse(&arena, buf_view(&text), &value, NULL);
    buf_done(&text);
    arena_done(&arena);
    return code;
}

static void test_limits(void **state)
{
    (void)state;
    assert_int_equal(parse_nested(JSON_DEPTH_MAX), ERR_OK);
    assert_int_equal(parse_nested(JSON_DEPTH_MAX + 1), ERR_LIMIT);
    struct arena arena = {0};
    struct json_value *value = NULL;
    char *big = mem_zalloc(JSON_SIZE_MAX + 1u);
    assert_int_equal(json_parse(&arena, str_make(big, JSON_SIZE_MAX + 1u), &value, NULL), ERR_LIMIT);
    mem_free(big);
    arena_done(&arena);
}

// Members beyond the pairwise bound go through the hash table.
static void test_many_members(void **state)
{
    (void)state;
    for (int duplicate = 0; duplicate < 2; duplicate++) {
        struct arena arena = {0};
        struct buf text = {0};
        buf_append_char(&text, '{');
        for (unsigned i = 0; i < 10000; i++) {
            buf_printf(&text, "\"name-%u\":%u,", i, i);
        }
        buf_printf(&text, "\"name-%u\":1}", duplicate == 1 ? 77u : 10000u);
        struct json_value *value = NULL;
        enum err code = json_parse(&arena, buf_view(&text), &value, NULL);
        assert_int_equal(code, duplicate == 1 ? ERR_INVALID : ERR_OK);
        if (duplicate == 0) {
            assert_int_equal(json_count(value), 10001);
            assert_true(json_equal(value, json_copy(&arena, value)));
        }
        buf_done(&text);
        arena_done(&arena);
    }
}

// Every prefix of a text is an error, and none reads beyond its end.
static void test_cut_anywhere(void **state)
{
    (void)state;
    struct str text = STR("{\"a\":[1.5e3,\"x\\u20ac\\n\xe2\x82\xac\",true,null],\"b\":{\"c\":-1}}");
    for (size_t size = 0; size < text.size; size++) {
        struct arena arena = {0};
        char *exact = mem_alloc(size + 1);
        memcpy(exact, text.data, size);
        exact = mem_realloc(exact, size == 0 ? 1 : size);
        struct json_value *value = NULL;
        assert_int_equal(json_parse(&arena, str_make(exact, size), &value, NULL), ERR_INVALID);
        mem_free(exact);
        arena_done(&arena);
    }
}

// --- writing ---------------------------------------------------------------------------------------

static void test_pretty(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct json_value *value = NULL;
    assert_int_equal(json_parse(&arena, STR("{\"a\":[1,{}],\"b\":{\"c\":[]}}"), &value, NULL), ERR_OK);
    struct buf out = {0};
    json_write_pretty(value, &out);
    assert_str(buf_view(&out), "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": {\n    \"c\": []\n  }\n}");
    buf_done(&out);
    arena_done(&arena);
}

static void test_write_string(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *want;
    } rows[] = {
        {"", "\"\""},
        {"<a href='x'>&", "\"<a href='x'>&\""},
        {"\x01\x1f", "\"\\u0001\\u001f\""},
        {"a\xff" "b", "\"a\xef\xbf\xbd" "b\""},
        {"\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xc3\xa9\n", "\"\xc3\xa9\\n\""},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct buf out = {0};
        json_write_string(str_of(rows[i].text), &out);
        assert_str(buf_view(&out), rows[i].want);
        buf_done(&out);
    }
}

// --- trees -----------------------------------------------------------------------------------------

static void test_change(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct json_value *object = json_new_object(&arena);
    json_set_cstr(&arena, object, "a", "x");
    json_set_int(&arena, object, "b", -5);
    json_set_bool(&arena, object, "c", true);
    json_set_str(&arena, object, "a", STR("y")); // in place
    struct json_value *list = json_ensure_array(&arena, object, "d");
    for (int i = 0; i < 6; i++) {
        json_push(&arena, list, json_new_int(&arena, i));
    }
    json_array_insert(&arena, list, 0, json_new_null(&arena));
    json_array_remove(list, 3);
    json_set_int(&arena, json_ensure_object(&arena, object, "b"), "e", 1); // replaced: another type
    assert_true(json_remove(object, STR("c")));
    assert_false(json_remove(object, STR("c")));
    assert_str(json_to_str(&arena, object), "{\"a\":\"y\",\"b\":{\"e\":1},\"d\":[null,0,1,3,4,5]}");
    assert_ptr_equal(json_ensure_array(&arena, object, "d"), list);
    arena_done(&arena);
}

static void test_read_absent(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct json_value *value = NULL;
    struct str text = STR("{\"n\":5,\"f\":1.0,\"s\":\"t\",\"o\":{\"p\":{\"q\":true}},\"l\":[1]}");
    assert_int_equal(json_parse(&arena, text, &value, NULL), ERR_OK);
    assert_int_equal(json_get_int(value, "n", -1), 5);
    assert_int_equal(json_get_int(value, "f", -1), -1);
    assert_int_equal(json_get_int(NULL, "n", -1), -1);
    assert_true(json_path(value, "o", "p", "q", NULL)->boolean);
    assert_null(json_path(value, "o", "x", "q", NULL));
    assert_null(json_path(value, "s", "x", NULL));
    assert_null(json_path(value, NULL));
    assert_str(json_get_str(value, "s"), "t");
    assert_null(json_get_str(value, "n").data);
    assert_false(json_get_bool(value, "s", false));
    assert_int_equal(json_count(json_get(value, "l")), 1);
    assert_null(json_at(json_get(value, "l"), 1));
    double number = 0;
    assert_true(json_double(json_get(value, "f"), &number) && number > 0.5);
    arena_done(&arena);
}

static void test_equal(void **state)
{
    (void)state;
    static const struct {
        const char *a;
        const char *b;
        bool want;
    } rows[] = {
        {"1", "1.0", true},
        {"1e2", "100", true},
        {"-0", "0", true},
        {"9007199254740993", "9007199254740992", false},
        {"18446744073709551615", "18446744073709551614", false},
        {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true},
        {"{\"a\":1,\"b\":2}", "{\"a\":1,\"c\":2}", false},
        {"{\"a\":1}", "{\"a\":1,\"b\":2}", false},
        {"[1,2]", "[2,1]", false},
        {"null", "false", false},
        {"\"a\"", "\"b\"", false},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct json_value *a = NULL;
        struct json_value *b = NULL;
        assert_int_equal(json_parse(&arena, str_of(rows[i].a), &a, NULL), ERR_OK);
        assert_int_equal(json_parse(&arena, str_of(rows[i].b), &b, NULL), ERR_OK);
        check_row(rows[i].a, json_equal(a, b) == rows[i].want, "beside %s", rows[i].b);
        arena_done(&arena);
    }
}

static void test_doubles(void **state)
{
    (void)state;
    struct arena arena = {0};
    assert_str(json_to_str(&arena, json_new_double(&arena, 0.1)), "0.1");
    assert_str(json_to_str(&arena, json_new_double(&arena, 5.0)), "5");
    assert_str(json_to_str(&arena, json_new_double(&arena, 1.0 / 3)), "0.3333333333333333");
    assert_str(json_to_str(&arena, json_new_double(&arena, 1e300 * 1e300)), "null");
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),      cmocka_unit_test(test_rejects),
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_many_members),
        cmocka_unit_test(test_cut_anywhere), cmocka_unit_test(test_pretty),
        cmocka_unit_test(test_write_string), cmocka_unit_test(test_change),
        cmocka_unit_test(test_read_absent),  cmocka_unit_test(test_equal),
        cmocka_unit_test(test_doubles),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
