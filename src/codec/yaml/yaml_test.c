// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "codec/yaml/yaml.h"

struct row {
    const char *name;
    const char *text;
    const char *want; // compact JSON; or how the error ends
};

static const struct row accept_rows[] = {
    {"booleans of YAML 1.1", "[y, Y, yes, Yes, YES, yEs, on, true, n, no, Off, False]",
     "[true,true,true,true,true,\"yEs\",true,true,false,false,false,false]"},
    {"nulls", "[~, null, Null, '']", "[null,null,null,\"\"]"},
    {"missing value", "a:\nb: 1", "{\"a\":null,\"b\":1}"},
    {"integers", "[1, +5, -5, 01, 010, 0o10, 0x1F, -0x1F, 0b11, 1_000, 1__0, 1_, -0, 08]",
     "[1,5,-5,1,8,8,31,-31,3,1000,10,1,0,8]"},
    {"not integers", "[_1, 0x, 1:30, 2001-01-01, =, 1.2.3, 5m, 10.0.0.1]",
     "[\"_1\",\"0x\",\"1:30\",\"2001-01-01\",\"=\",\"1.2.3\",\"5m\",\"10.0.0.1\"]"},
    {"64 bits", "[18446744073709551615, -9223372036854775808]",
     "[18446744073709551615,-9223372036854775808]"},
    {"floats", "[1.5, 1., .5, 1e3, 1E5, 1e-7, 0.1_1, 123456789.0]",
     "[1.5,1,0.5,1000,100000,1e-07,0.11,123456789]"},
    {"too large a float", "1e400", "\"1e400\""},
    {"quoted are strings", "['1', \"true\", 'null', \"a\\nb\"]", "[\"1\",\"true\",\"null\",\"a\\nb\"]"},
    {"keys become text", "{1: a, true: b, 1.5: c, '2': e}",
     "{\"1\":\"a\",\"true\":\"b\",\"1.5\":\"c\",\"2\":\"e\"}"},
    {"block scalars", "a: |\n  x\n  y\nb: >-\n  x\n  y\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\"}"},
    {"list under key", "a:\n- b: 1\n  c: 2\n- d\n", "{\"a\":[{\"b\":1,\"c\":2},\"d\"]}"},
    {"JSON is YAML", "{\"a\":[1,{\"b\":null}],\"c\":\"\\u20ac\"}",
     "{\"a\":[1,{\"b\":null}],\"c\":\"\xe2\x82\xac\"}"},
    {"alias", "a: &x {b: 1}\nc: *x\n", "{\"a\":{\"b\":1},\"c\":{\"b\":1}}"},
    {"merge key", "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\n", "{\"a\":{\"b\":1,\"c\":2},\"d\":{\"c\":3,\"b\":1}}"},
    {"merge list", "a: &x {b: 1}\ne: &y {b: 2, f: 3}\nd: {<<: [*x, *y]}\n",
     "{\"a\":{\"b\":1},\"e\":{\"b\":2,\"f\":3},\"d\":{\"b\":1,\"f\":3}}"},
    {"core tags", "[!!str 5, !!int \"5\", !!float 5, !!bool 'true', !!map {}, !!seq [], ! 7]",
     "[\"5\",5,5,true,{},[],\"7\"]"},
    {"comment and marker", "# c\n---\na: 1 # d\n...\n", "{\"a\":1}"},
    {"empty documents are left out", "---\n---\na: 1\n---\n", "{\"a\":1}"},
};

static void test_accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(accept_rows); i++) {
        const struct row *row = &accept_rows[i];
        struct arena arena = {0};
        struct json_value *value = NULL;
        struct error err = {0};
        enum err code = yaml_parse(&arena, str_of(row->text), &value, &err);
        check_row(row->name, code == ERR_OK, "%s", err.message);
        struct str got = json_to_str(&arena, value);
        check_row(row->name, str_equal_c(got, row->want), "got %.*s, want %s", STR_ARG(got), row->want);
        arena_done(&arena);
    }
}

static const struct row reject_rows[] = {
    {"duplicate key", "a: 1\nb: 2\na: 3\n", "key \"a\": line 3 column 1: duplicate key"},
    {"duplicate after resolving", "yes: 1\ntrue: 3\n", "line 2 column 1: duplicate key"},
    {"infinity", "a: .inf", "line 1 column 4: infinities and NaN are not JSON numbers"},
    {"unknown tag", "a: !foo b", "line 1 column 4: unknown tag for a scalar"},
    {"binary", "a: !!binary aGVsbG8=", "line 1 column 4: unknown tag for a scalar"},
    {"tag that does not fit", "a: !!int x", "line 1 column 4: the value does not fit its tag"},
    {"mapping as a key", "{[1]: 2}", "line 1 column 2: a key must be a scalar and not null"},
    {"null key", "~: 2", "line 1 column 1: a key must be a scalar and not null"},
    {"unknown anchor", "a: *x", "line 1 column 4: unknown anchor, or one that is still open"},
    {"alias into itself", "a: &x [*x]", "line 1 column 8: unknown anchor, or one that is still open"},
    {"anchor of another document", "&x a\n---\n*x\n", "line 3 column 1: unknown anchor, or one that is still open"},
    {"tab indent", "a:\n\tb: 1", "line 2 column 1: found character that cannot start any token"},
    {"open bracket", "[1, 2", "line 2 column 1: did not find expected ',' or ']'"},
    {"merge of a scalar", "{<<: 1}", "a merge key wants a mapping or a list of mappings"},
    {"two documents", "a\n---\nb\n", "2 YAML documents, expected one"},
    {"none", "# nothing\n", "0 YAML documents, expected one"},
    {"not UTF-8", "a: \xff", "byte 3: invalid leading UTF-8 octet"},
};

static void test_rejects(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(reject_rows); i++) {
        const struct row *row = &reject_rows[i];
        struct arena arena = {0};
        struct json_value *value = NULL;
        struct error err = {0};
        enum err code = yaml_parse(&arena, str_of(row->text), &value, &err);
        check_row(row->name, code == ERR_INVALID, "got %s", err_name(code));
        check_row(row->name, str_ends_with(str_of(err.message), str_of(row->want)), "got %s, want %s",
                  err.message, row->want);
        arena_done(&arena);
    }
}

static enum err parse_buf(struct buf *text)
{
    struct arena arena = {0};
    struct yaml_documents documents = {0};
    enum err code = yaml_parse_all(&arena, buf_view(text), &documents, NULL);
    arena_done(&arena);
    buf_reset(text);
    return code;
}

static void test_limits(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_append_str(&text, STR("a0: &a0 [x, x, x, x, x, x, x, x, x]\n"));
    for (unsigned i = 1; i < 9; i++) {
        buf_printf(&text, "a%u: &a%u [", i, i);
        for (unsigned k = 0; k < 9; k++) {
            buf_printf(&text, "%s*a%u", k == 0 ? "" : ", ", i - 1);
        }
        buf_append_str(&text, STR("]\n"));
    }
    assert_int_equal(parse_buf(&text), ERR_LIMIT);
    for (unsigned i = 0; i < 2000; i++) {
        buf_append_char(&text, '[');
    }
    assert_int_equal(parse_buf(&text), ERR_LIMIT);
    for (unsigned i = 0; i <= YAML_DOCUMENTS_MAX; i++) {
        buf_append_str(&text, STR("---\na\n"));
    }
    assert_int_equal(parse_buf(&text), ERR_LIMIT);
    buf_done(&text);
}

static void test_documents(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct yaml_documents documents = {0};
    assert_int_equal(yaml_parse_all(&arena, STR("a: 1\n---\n# empty\n---\n[b]\n--- c\n"), &documents, NULL), ERR_OK);
    assert_int_equal(documents.count, 3);
    assert_str(json_to_str(&arena, documents.items[1]), "[\"b\"]");
    arena_done(&arena);
}

static const struct row write_rows[] = {
    {"scalar", "\"a\"", "a\n"},
    {"mapping", "{\"a\":1,\"b\":{\"c\":true,\"d\":null},\"e\":{},\"f\":[]}",
     "a: 1\nb:\n  c: true\n  d: null\ne: {}\nf: []\n"},
    {"lists", "{\"a\":[1,{\"b\":2,\"c\":[3]},[4,[5]]]}",
     "a:\n- 1\n- b: 2\n  c:\n  - 3\n- - 4\n  - - 5\n"},
    {"quotes where needed",
     "[\"\",\"true\",\"1\",\"y\",\" a\",\"a: b\",\"a:b\",\"a #b\",\"-\",\"- a\",\"*a\",\"a\\tb\",\"<<\",\"---\",\"\\u007f\"]",
     "- \"\"\n- \"true\"\n- \"1\"\n- \"y\"\n- \" a\"\n- \"a: b\"\n- a:b\n- \"a #b\"\n- \"-\"\n- \"- a\"\n- \"*a\"\n"
     "- \"a\\tb\"\n- \"<<\"\n- \"---\"\n- \"\\u007f\"\n"},
    {"literal blocks", "{\"a\":\"x\\ny: z\\n\",\"b\":[\"x\\ny\"],\"c\":\"\\nx\\n\"}",
     "a: |\n  x\n  y: z\nb:\n- |-\n  x\n  y\nc: \"\\nx\\n\"\n"},
};

static void test_writes(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(write_rows); i++) {
        const struct row *row = &write_rows[i];
        struct arena arena = {0};
        struct json_value *value = NULL;
        struct json_value *again = NULL;
        struct buf out = {0};
        assert_int_equal(json_parse(&arena, str_of(row->text), &value, NULL), ERR_OK);
        yaml_write(value, &out);
        check_row(row->name, str_equal_c(buf_view(&out), row->want), "got\n%.*s\nwant\n%s",
                  STR_ARG(buf_view(&out)), row->want);
        struct error err = {0};
        check_row(row->name, yaml_parse(&arena, buf_view(&out), &again, &err) == ERR_OK, "%s", err.message);
        check_row(row->name, json_equal(value, again), "does not read back");
        buf_done(&out);
        arena_done(&arena);
    }
}

// Keys of more than 1024 bytes need YAML's other form; members of every kind may have one.
static void test_long_keys(void **state)
{
    (void)state;
    for (size_t size = 990; size < 1300; size += 7) {
        struct arena arena = {0};
        struct buf text = {0};
        struct buf out = {0};
        struct json_value *value = NULL;
        struct json_value *again = NULL;
        buf_append_str(&text, STR("[{"));
        for (char first = 'a'; first < 'e'; first++) {
            static const char *const values[] = {"1", "[1,[2]]", "{\"x\":{\"y\":2}}", "\"l\\nm\\n\""};
            buf_printf(&text, "%s\"%c%0*d\\\"\":%s", first == 'a' ? "" : ",", first, (int)size, 7, values[first - 'a']);
        }
        buf_append_str(&text, STR("}]"));
        assert_int_equal(json_parse(&arena, buf_view(&text), &value, NULL), ERR_OK);
        yaml_write(value, &out);
        struct error err = {0};
        if (yaml_parse(&arena, buf_view(&out), &again, &err) != ERR_OK || !json_equal(value, again)) {
            fail_msg("key of %zu bytes: %s", size, err.message);
        }
        buf_done(&text);
        buf_done(&out);
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts), cmocka_unit_test(test_rejects),   cmocka_unit_test(test_limits),
        cmocka_unit_test(test_documents), cmocka_unit_test(test_writes),
        cmocka_unit_test(test_long_keys),
    };
    return cmocka_run_group_tests_name("yaml", tests, NULL, NULL);
}
