// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "kube/object.h"
#include "kube/timestamp.h"

static struct json_value *parse(struct arena *arena, const char *text)
{
    struct json_value *value = NULL;
    struct error err = {0};
    if (json_parse(arena, str_of(text), &value, &err) != ERR_OK) {
        fail_msg("%s: %s", text, err.message);
    }
    return value;
}

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const struct kube_resource *resource;
        const char *ns;
        const char *name;
        const char *want;
    } rows[] = {
        {&kube_pods, "a", "p", "/api/v1/namespaces/a/pods/p"},
        {&kube_pods, "", "", "/api/v1/pods"},
        {&kube_deployments, "", "", "/apis/apps/v1/deployments"},
        {&kube_nodes, "ignored", "n", "/api/v1/nodes/n"},
        {&kube_endpointslices, "a", "", "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        assert_str(kube_path(&arena, rows[i].resource, str_of(rows[i].ns), str_of(rows[i].name)), rows[i].want);
        arena_done(&arena);
    }
}

static void test_escape(void **state)
{
    (void)state;
    struct arena arena = {0};
    assert_str(kube_escape(&arena, STR("a in (b,c),d=e~f")), "a%20in%20%28b%2Cc%29%2Cd%3De~f");
    arena_done(&arena);
}

static void test_selectors(void **state)
{
    (void)state;
    static const struct {
        const char *selector;
        const char *labels;
        bool want;
    } rows[] = {
        {"{}", "{}", true},
        {"{\"matchLabels\":{\"a\":\"1\"}}", "{\"a\":\"1\",\"b\":\"2\"}", true},
        {"{\"matchLabels\":{\"a\":\"1\"}}", "{\"a\":\"2\"}", false},
        {"{\"matchLabels\":{\"a\":\"1\"}}", "{}", false},
        {"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\",\"values\":[\"1\",\"2\"]}]}", "{\"a\":\"2\"}", true},
        {"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\",\"values\":[\"1\"]}]}", "{}", false},
        {"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"NotIn\",\"values\":[\"1\"]}]}", "{}", true},
        {"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"NotIn\",\"values\":[\"1\"]}]}", "{\"a\":\"1\"}", false},
        {"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Exists\"}]}", "{\"a\":\"\"}", true},
        {"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"DoesNotExist\"}]}", "{\"a\":\"\"}", false},
        {"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Like\"}]}", "{\"a\":\"\"}", false},
    };
    struct arena arena = {0};
    for (size_t i = 0; i < array_count(rows); i++) {
        bool got = kube_selector_matches(parse(&arena, rows[i].selector), parse(&arena, rows[i].labels));
        check_row(rows[i].selector, got == rows[i].want, "labels %s", rows[i].labels);
    }
    assert_true(kube_selector_matches(NULL, NULL));
    assert_false(kube_map_selector_matches(NULL, parse(&arena, "{\"a\":\"1\"}")));
    assert_false(kube_map_selector_matches(parse(&arena, "{}"), parse(&arena, "{\"a\":\"1\"}")));
    assert_true(kube_map_selector_matches(parse(&arena, "{\"a\":\"1\"}"), parse(&arena, "{\"b\":\"\",\"a\":\"1\"}")));
    arena_done(&arena);
}

static void test_object(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct json_value *value = parse(&arena, "{\"metadata\":{\"name\":\"a\",\"namespace\":\"n\",\"uid\":\"u\","
                                             "\"resourceVersion\":\"7\",\"labels\":{\"app\":\"x\"}}}");
    assert_true(kube_object_is_valid(value));
    struct kube_object *object = kube_object_new(&arena, value);
    assert_null(arena.chunks);
    assert_ptr_equal(kube_object_ref(object), object);
    kube_object_unref(object);
    assert_str(object->name, "a");
    assert_str(object->ns, "n");
    assert_str(object->resource_version, "7");
    assert_str(kube_label(object->value, STR("app")), "x");
    assert_null(kube_annotation(object->value, STR("app")).data);
    kube_object_unref(object);
    kube_object_unref(NULL);
    assert_false(kube_object_is_valid(NULL));
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t want; // 0: not a time
    } rows[] = {
        {"2026-01-02T03:04:05Z", 1767323045000},
        {"2026-01-02T03:04:05.678901Z", 1767323045678},
        {"2026-01-02T05:04:05+02:00", 1767323045000},
        {"2026-01-02T01:34:05-01:30", 1767323045000},
        {"2026-01-02t03:04:05z", 1767323045000},
        {"2026-01-02", 0},
        {"2026-01-02T03:04:05", 0},
        {"2026-13-02T03:04:05Z", 0},
        {"2026-01-02T03:04:05.Z", 0},
        {"2026-01-02T03:04:05Z ", 0},
        {"+026-01-02T03:04:05Z", 0},
        {"", 0},
    };
    struct arena arena = {0};
    for (size_t i = 0; i < array_count(rows); i++) {
        uint64_t got = 0;
        bool is_time = timestamp_parse(str_of(rows[i].text), &got);
        check_row(rows[i].text, is_time == (rows[i].want > 0) && got == rows[i].want, "got %llu",
                  (unsigned long long)got);
    }
    assert_str(timestamp_format(&arena, 1767323045678), "2026-01-02T03:04:05Z");
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_escape),
        cmocka_unit_test(test_selectors),
        cmocka_unit_test(test_object),
        cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests_name("kube_object", tests, NULL, NULL);
}
