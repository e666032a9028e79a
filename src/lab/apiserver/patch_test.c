// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/patch.h"

#include "base/memory.h"
#include "test.h"

static struct json_value *parse(struct arena *arena, const char *row, const char *text)
{
    struct error err = {0};
    struct json_value *value;
    check_row(row, json_parse(arena, str_of(text), &value, &err) == ERR_OK, "%s: %s", text, err.message);
    return value;
}

static void check_equal(const char *row, struct arena *arena, const struct json_value *got, const char *want_text)
{
    const struct json_value *want = parse(arena, row, want_text);
    struct str text = json_to_str(arena, got);
    check_row(row, json_equal(got, want), "got %.*s, want %s", STR_ARG(text), want_text);
}

// --- JSON patch ------------------------------------------------------------------------------------

static const struct {
    const char *name;
    const char *document;
    const char *patch;
    const char *want; // NULL: fails with want_code
    enum err want_code;
} json_rows[] = {
    {"add member", "{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/b\",\"value\":2}]", "{\"a\":1,\"b\":2}", ERR_OK},
    {"add replaces", "{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":2}]", "{\"a\":2}", ERR_OK},
    {"add into array", "{\"a\":[1,3]}", "[{\"op\":\"add\",\"path\":\"/a/1\",\"value\":2}]", "{\"a\":[1,2,3]}", ERR_OK},
    {"add at end", "{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/-\",\"value\":2}]", "{\"a\":[1,2]}", ERR_OK},
    {"add at count", "{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/1\",\"value\":2}]", "{\"a\":[1,2]}", ERR_OK},
    {"add beyond", "{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/2\",\"value\":2}]", NULL, ERR_CONFLICT},
    {"add whole", "{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"\",\"value\":{\"z\":1}}]", "{\"z\":1}", ERR_OK},
    {"add below missing", "{}", "[{\"op\":\"add\",\"path\":\"/a/b\",\"value\":2}]", NULL, ERR_CONFLICT},
    {"add leading zero", "{\"a\":[1,2]}", "[{\"op\":\"add\",\"path\":\"/a/01\",\"value\":2}]", NULL, ERR_CONFLICT},
    {"add no value", "{}", "[{\"op\":\"add\",\"path\":\"/a\"}]", NULL, ERR_INVALID},
    {"add null", "{}", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":null}]", "{\"a\":null}", ERR_OK},
    {"tilde and slash", "{\"a/b\":1,\"m~n\":2}",
     "[{\"op\":\"remove\",\"path\":\"/a~1b\"},{\"op\":\"replace\",\"path\":\"/m~0n\",\"value\":3}]", "{\"m~n\":3}", ERR_OK},
    {"bad tilde", "{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/~2\"}]", NULL, ERR_INVALID},
    {"relative", "{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"a\"}]", NULL, ERR_INVALID},
    {"remove item", "{\"a\":[1,2,3]}", "[{\"op\":\"remove\",\"path\":\"/a/1\"}]", "{\"a\":[1,3]}", ERR_OK},
    {"remove missing", "{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/b\"}]", NULL, ERR_CONFLICT},
    {"replace missing", "{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/b\",\"value\":1}]", NULL, ERR_CONFLICT},
    {"replace end", "{\"a\":[1]}", "[{\"op\":\"replace\",\"path\":\"/a/-\",\"value\":1}]", NULL, ERR_CONFLICT},
    {"move", "{\"a\":{\"b\":1},\"c\":{}}", "[{\"op\":\"move\",\"from\":\"/a/b\",\"path\":\"/c/d\"}]",
     "{\"a\":{},\"c\":{\"d\":1}}", ERR_OK},
    {"move into itself", "{\"a\":{\"b\":1}}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a/b\"}]", NULL, ERR_INVALID},
    {"move to itself", "{\"a\":1}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a\"}]", "{\"a\":1}", ERR_OK},
    {"copy", "{\"a\":[1]}", "[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/b\"},{\"op\":\"add\",\"path\":\"/a/-\",\"value\":2}]",
     "{\"a\":[1,2],\"b\":[1]}", ERR_OK},
    {"copy without from", "{\"a\":1}", "[{\"op\":\"copy\",\"path\":\"/b\"}]", NULL, ERR_INVALID},
    {"test holds", "{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":1.0}]", "{\"a\":1}", ERR_OK},
    {"test fails", "{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":\"1\"}]", NULL, ERR_CONFLICT},
    {"unknown operation", "{}", "[{\"op\":\"merge\",\"path\":\"/a\",\"value\":1}]", NULL, ERR_INVALID},
    {"no path", "{}", "[{\"op\":\"remove\"}]", NULL, ERR_INVALID},
    {"not an array", "{}", "{}", NULL, ERR_INVALID},
    {"empty", "{\"a\":1}", "[]", "{\"a\":1}", ERR_OK},
};

static void test_json_patch(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(json_rows); i++) {
        const char *row = json_rows[i].name;
        struct arena arena = {0};
        struct error err = {0};
        struct json_value *document = parse(&arena, row, json_rows[i].document);
        enum err code = json_patch_apply(&arena, &document, parse(&arena, row, json_rows[i].patch), &err);
        check_row(row, code == json_rows[i].want_code, "code %s: %s", err_name(code), err.message);
        if (code == ERR_OK) {
            check_equal(row, &arena, document, json_rows[i].want);
        }
        arena_done(&arena);
    }
}

// A patch that doubles the document forty times must end.
static void test_json_patch_growth(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct buf text = {0};
    struct error err = {0};
    buf_printf(&text, "[");
    for (int i = 0; i < 40; i++) {
        buf_printf(&text, "%s{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/-\"}", i == 0 ? "" : ",");
    }
    buf_printf(&text, "]");
    struct json_value *document = parse(&arena, "growth", "{\"a\":[1,2,3]}");
    struct json_value *patch;
    assert_int_equal(json_parse(&arena, buf_view(&text), &patch, &err), ERR_OK);
    assert_int_equal(json_patch_apply(&arena, &document, patch, &err), ERR_LIMIT);
    buf_done(&text);
    arena_done(&arena);
}

// --- merge patch: the examples of RFC 7386 appendix A ----------------------------------------------

static const struct {
    const char *document;
    const char *patch;
    const char *want;
} merge_rows[] = {
    {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
    {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
    {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
    {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
    {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
    {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
    {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
    {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
    {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
    {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
    {"{\"a\":\"foo\"}", "null", "null"},
    {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
    {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
    {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
    {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
};

static void test_merge_patch(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(merge_rows); i++) {
        struct arena arena = {0};
        const char *row = merge_rows[i].patch;
        struct json_value *got = merge_patch_apply(&arena, parse(&arena, row, merge_rows[i].document),
                                                   parse(&arena, row, merge_rows[i].patch));
        check_equal(row, &arena, got, merge_rows[i].want);
        arena_done(&arena);
    }
}

// --- strategic merge patch -------------------------------------------------------------------------

static const struct {
    const char *name;
    const char *kind;
    const char *document;
    const char *patch;
    const char *want; // NULL: refused
} strategic_rows[] = {
    {"map merge and delete", "ConfigMap", "{\"data\":{\"a\":\"1\",\"b\":\"2\"}}", "{\"data\":{\"a\":null,\"c\":\"3\"}}",
     "{\"data\":{\"b\":\"2\",\"c\":\"3\"}}"},
    {"containers by name", "Pod", "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\"}]}}",
     "{\"spec\":{\"containers\":[{\"name\":\"b\",\"image\":\"2\"},{\"name\":\"c\"}]}}",
     "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\",\"image\":\"2\"},{\"name\":\"c\"}]}}"},
    {"delete element", "Pod", "{\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}}",
     "{\"spec\":{\"containers\":[{\"$patch\":\"delete\",\"name\":\"a\"}]}}", "{\"spec\":{\"containers\":[{\"name\":\"b\"}]}}"},
    {"delete of nothing", "Pod", "{\"spec\":{}}", "{\"spec\":{\"containers\":[{\"$patch\":\"delete\",\"name\":\"a\"}]}}",
     "{\"spec\":{\"containers\":[]}}"},
    {"replace list", "Pod", "{\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}}",
     "{\"spec\":{\"containers\":[{\"$patch\":\"replace\"},{\"name\":\"z\"}]}}", "{\"spec\":{\"containers\":[{\"name\":\"z\"}]}}"},
    {"replace map", "Pod", "{\"metadata\":{\"labels\":{\"a\":\"1\"}}}",
     "{\"metadata\":{\"labels\":{\"$patch\":\"replace\",\"b\":\"2\"}}}", "{\"metadata\":{\"labels\":{\"b\":\"2\"}}}"},
    {"delete map", "Pod", "{\"metadata\":{\"labels\":{\"a\":\"1\"}}}", "{\"metadata\":{\"labels\":{\"$patch\":\"delete\"}}}",
     "{\"metadata\":{}}"},
    {"atomic list", "Pod", "{\"spec\":{\"tolerations\":[{\"key\":\"a\"}]}}", "{\"spec\":{\"tolerations\":[{\"key\":\"b\"}]}}",
     "{\"spec\":{\"tolerations\":[{\"key\":\"b\"}]}}"},
    {"service ports by port", "Service", "{\"spec\":{\"ports\":[{\"port\":80,\"nodePort\":30000}]}}",
     "{\"spec\":{\"ports\":[{\"port\":80,\"name\":\"x\"},{\"port\":81}]}}",
     "{\"spec\":{\"ports\":[{\"port\":80,\"nodePort\":30000,\"name\":\"x\"},{\"port\":81}]}}"},
    {"nested, as kubectl sends it", "Deployment",
     "{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"x\",\"ports\":[{\"containerPort\":5000}]}]}}}}",
     "{\"spec\":{\"template\":{\"spec\":{\"$setElementOrder/containers\":[{\"name\":\"c\"}],\"containers\":[{\"$setElementOrder/ports\":"
     "[{\"containerPort\":5001}],\"name\":\"c\",\"image\":\"y\",\"ports\":[{\"containerPort\":5001},{\"$patch\":\"delete\","
     "\"containerPort\":5000}]}]}}}}",
     "{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"y\",\"ports\":[{\"containerPort\":5001}]}]}}}}"},
    {"element order", "Pod", "{\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"s\"},{\"name\":\"b\"}]}}",
     "{\"spec\":{\"$setElementOrder/containers\":[{\"name\":\"b\"},{\"name\":\"a\"}],\"containers\":[{\"name\":\"b\",\"image\":\"1\"}]}}",
     "{\"spec\":{\"containers\":[{\"name\":\"b\",\"image\":\"1\"},{\"name\":\"a\"},{\"name\":\"s\"}]}}"},
    {"order alone", "Pod", "{\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}}",
     "{\"spec\":{\"$setElementOrder/containers\":[{\"name\":\"b\"},{\"name\":\"a\"}]}}",
     "{\"spec\":{\"containers\":[{\"name\":\"b\"},{\"name\":\"a\"}]}}"},
    {"primitives", "Pod", "{\"metadata\":{\"finalizers\":[\"a\",\"b\"]}}",
     "{\"metadata\":{\"$deleteFromPrimitiveList/finalizers\":[\"a\"],\"finalizers\":[\"b\",\"c\"]}}",
     "{\"metadata\":{\"finalizers\":[\"b\",\"c\"]}}"},
    {"retain keys", "Deployment", "{\"spec\":{\"strategy\":{\"type\":\"RollingUpdate\",\"rollingUpdate\":{\"maxSurge\":1}}}}",
     "{\"spec\":{\"strategy\":{\"$retainKeys\":[\"type\"],\"type\":\"Recreate\"}}}",
     "{\"spec\":{\"strategy\":{\"type\":\"Recreate\"}}}"},
    {"conditions by type", "Pod", "{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\"}]}}",
     "{\"status\":{\"$setElementOrder/conditions\":[{\"type\":\"Ready\"}],\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}",
     "{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}"},
    {"missing merge key", "Pod", "{\"spec\":{\"containers\":[]}}", "{\"spec\":{\"containers\":[{\"image\":\"x\"}]}}", NULL},
    {"not an object", "Pod", "{}", "[]", NULL},
};

static void test_strategic_patch(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(strategic_rows); i++) {
        const char *row = strategic_rows[i].name;
        struct arena arena = {0};
        struct error err = {0};
        struct json_value *got;
        enum err code = strategic_patch_apply(&arena, str_of(strategic_rows[i].kind),
                                              parse(&arena, row, strategic_rows[i].document),
                                              parse(&arena, row, strategic_rows[i].patch), &got, &err);
        check_row(row, (code == ERR_OK) == (strategic_rows[i].want != NULL), "code %s: %s", err_name(code), err.message);
        if (code == ERR_OK) {
            check_equal(row, &arena, got, strategic_rows[i].want);
        }
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_patch),
        cmocka_unit_test(test_json_patch_growth),
        cmocka_unit_test(test_merge_patch),
        cmocka_unit_test(test_strategic_patch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
