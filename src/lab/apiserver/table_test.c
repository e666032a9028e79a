// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/table.h"

#include "base/memory.h"
#include "lab/apiserver/metadata.h"
#include "lab/apiserver/table_cells.h"
#include "lab/apiserver/webhook.h"
#include "test.h"

#define MINUTE 60
#define HOUR 3600
#define DAY 86400

static const struct {
    int64_t seconds;
    const char *want;
} duration_rows[] = {
    {-5, "<invalid>"},
    {-1, "0s"},
    {0, "0s"},
    {119, "119s"},
    {120, "2m"},
    {125, "2m5s"},
    {10 * MINUTE, "10m"},
    {10 * MINUTE + 5, "10m"},
    {3 * HOUR, "3h"},
    {3 * HOUR + 5 * MINUTE, "3h5m"},
    {8 * HOUR + 5 * MINUTE, "8h"},
    {47 * HOUR, "47h"},
    {48 * HOUR, "2d"},
    {50 * HOUR, "2d2h"},
    {8 * DAY + HOUR, "8d"},
    {400 * DAY, "400d"},
    {2 * 365 * DAY, "2y"},
    {2 * 365 * DAY + 3 * DAY, "2y3d"},
    {9 * (int64_t)365 * DAY + DAY, "9y"},
};

static void test_durations(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(duration_rows); i++) {
        struct arena arena = {0};
        assert_str(table_duration(&arena, duration_rows[i].seconds), duration_rows[i].want);
        arena_done(&arena);
    }
}

static const struct {
    const char *status;
    const char *want;
} pod_rows[] = {
    {"{\"phase\":\"Pending\"}", "Pending"},
    {"{\"phase\":\"Failed\",\"reason\":\"Evicted\"}", "Evicted"},
    {"{\"phase\":\"Pending\",\"initContainerStatuses\":[{\"name\":\"i\",\"state\":{\"waiting\":{\"reason\":\"PodInitializing\"}}}]}", "Init:0/2"},
    {"{\"phase\":\"Pending\",\"initContainerStatuses\":[{\"name\":\"i\",\"state\":{\"terminated\":{\"exitCode\":0}}},"
     "{\"name\":\"j\",\"state\":{\"running\":{}}}]}", "Init:1/2"},
    {"{\"phase\":\"Pending\",\"initContainerStatuses\":[{\"name\":\"i\",\"state\":{\"waiting\":{\"reason\":\"CrashLoopBackOff\"}}}]}",
     "Init:CrashLoopBackOff"},
    {"{\"phase\":\"Pending\",\"initContainerStatuses\":[{\"name\":\"i\",\"state\":{\"terminated\":{\"exitCode\":3}}}]}", "Init:ExitCode:3"},
    {"{\"phase\":\"Running\",\"containerStatuses\":[{\"ready\":true,\"state\":{\"running\":{}}}]}", "Running"},
    {"{\"phase\":\"Running\",\"containerStatuses\":[{\"state\":{\"waiting\":{\"reason\":\"ImagePullBackOff\"}}}]}", "ImagePullBackOff"},
    {"{\"phase\":\"Running\",\"containerStatuses\":[{\"state\":{\"terminated\":{\"exitCode\":1,\"signal\":9}}}]}", "Signal:9"},
    {"{\"phase\":\"Running\",\"containerStatuses\":[{\"state\":{\"terminated\":{\"reason\":\"Completed\"}}},"
     "{\"ready\":true,\"state\":{\"running\":{}}}]}", "NotReady"},
};

static void test_pod_status(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(pod_rows); i++) {
        struct arena arena = {0};
        struct error err = {0};
        struct json_value *pod = json_new_object(&arena);
        struct json_value *status;
        assert_int_equal(json_parse(&arena, str_of(pod_rows[i].status), &status, &err), ERR_OK);
        json_set(&arena, pod, STR("status"), status);
        struct json_value *inits = json_ensure_array(&arena, json_ensure_object(&arena, pod, "spec"), "initContainers");
        json_push(&arena, inits, json_new_object(&arena));
        json_push(&arena, inits, json_new_object(&arena));
        struct row row = {.arena = &arena, .object = pod};
        struct str got = json_str(cell_pod_status(&row));
        check_row(pod_rows[i].status, str_equal_c(got, pod_rows[i].want), "got %.*s, want %s", STR_ARG(got), pod_rows[i].want);
        arena_done(&arena);
    }
}

static void test_json_paths(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *want; // NULL: nothing there
    } rows[] = {
        {".spec.a", "1"},
        {"spec.a", "1"},
        {".spec['b.c']", "2"},
        {".spec.b\\.c", "2"},
        {".list[1]", "\"y\""},
        {".conditions[?(@.type==\"Ready\")].status", "\"True\""},
        {".conditions[?(@.type=='Other')].status", NULL},
        {".none.at.all", NULL},
        {".list[9]", NULL},
        {".list[", NULL},
        {".conditions[?(@", NULL},
    };
    struct arena arena = {0};
    struct error err = {0};
    struct json_value *object;
    struct str text = STR("{\"spec\":{\"a\":1,\"b.c\":2},\"list\":[\"x\",\"y\"],\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}");
    assert_int_equal(json_parse(&arena, text, &object, &err), ERR_OK);
    struct row row = {.arena = &arena, .object = object};
    for (size_t i = 0; i < array_count(rows); i++) {
        const struct json_value *got = cell_follow_json_path(&row, str_of(rows[i].path));
        check_row(rows[i].path, (got != NULL) == (rows[i].want != NULL), "found: %d", got != NULL);
        check_row(rows[i].path, got == NULL || str_equal_c(json_to_str(&arena, got), rows[i].want), "another value");
    }
    arena_done(&arena);
}

static void test_names_and_times(void **state)
{
    (void)state;
    struct arena arena = {0};
    static const struct {
        const char *name;
        bool is_label;
        bool is_subdomain;
    } rows[] = {
        {"a", true, true},    {"a-b", true, true},  {"a.b", false, true}, {"-a", false, false}, {"a-", false, false},
        {"A", false, false},  {"a..b", false, false}, {"", false, false},  {"a.-b", false, false}, {"0", true, true},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        check_row(rows[i].name, name_is_label(str_of(rows[i].name)) == rows[i].is_label, "label");
        check_row(rows[i].name, name_is_subdomain(str_of(rows[i].name)) == rows[i].is_subdomain, "subdomain");
    }
    assert_true(label_key_is_valid(STR("app.kubernetes.io/name")));
    assert_false(label_key_is_valid(STR("/name")));
    assert_false(label_key_is_valid(STR("a b")));
    assert_true(label_value_is_valid(STR("")));
    assert_false(label_value_is_valid(STR("a/b")));
    int64_t seconds = 0;
    assert_str(time_text(&arena, 1700000000999u), "2023-11-14T22:13:20Z");
    assert_true(time_parse(STR("2023-11-14T22:13:20Z"), &seconds));
    assert_int_equal(seconds, 1700000000);
    assert_true(time_parse(STR("2023-11-14T22:13:20.123456Z"), &seconds));
    assert_false(time_parse(STR("2023-11-14"), &seconds));
    struct str name = name_generate(&arena, STR("kube-"));
    assert_true(name_is_label(name) && name.size == 10);
    arena_done(&arena);
}

static void test_webhook_rules(void **state)
{
    (void)state;
    static const struct {
        const char *rule;
        const char *operation;
        const char *resource;
        bool want;
    } rows[] = {
        {"{\"operations\":[\"CREATE\"],\"apiGroups\":[\"\"],\"apiVersions\":[\"v1\"],\"resources\":[\"pods\"]}", "CREATE", "pods", true},
        {"{\"operations\":[\"CREATE\"],\"apiGroups\":[\"\"],\"apiVersions\":[\"v1\"],\"resources\":[\"pods\"]}", "UPDATE", "pods", false},
        {"{\"operations\":[\"*\"],\"apiGroups\":[\"*\"],\"apiVersions\":[\"*\"],\"resources\":[\"*\"]}", "DELETE", "pods", true},
        {"{\"operations\":[\"*\"],\"apiGroups\":[\"*\"],\"apiVersions\":[\"*\"],\"resources\":[\"*\"]}", "UPDATE", "pods/status", false},
        {"{\"operations\":[\"*\"],\"apiGroups\":[\"*\"],\"apiVersions\":[\"*\"],\"resources\":[\"*/*\"]}", "UPDATE", "pods/status", true},
        {"{\"operations\":[\"*\"],\"apiGroups\":[\"*\"],\"apiVersions\":[\"*\"],\"resources\":[\"pods/*\"]}", "UPDATE", "pods", true},
        {"{\"operations\":[\"*\"],\"apiGroups\":[\"apps\"],\"apiVersions\":[\"*\"],\"resources\":[\"*\"]}", "UPDATE", "pods", false},
        {"{\"operations\":[\"*\"],\"apiGroups\":[\"\"],\"apiVersions\":[\"*\"],\"resources\":[\"*\"],\"scope\":\"Cluster\"}", "UPDATE", "pods", false},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct error err = {0};
        struct json_value *rule;
        assert_int_equal(json_parse(&arena, str_of(rows[i].rule), &rule, &err), ERR_OK);
        struct json_value *webhook = json_new_object(&arena);
        json_push(&arena, json_ensure_array(&arena, webhook, "rules"), rule);
        bool got = webhook_rules_match(webhook, rows[i].operation, STR_EMPTY, STR("v1"), str_of(rows[i].resource), true);
        check_row(rows[i].rule, got == rows[i].want, "%s %s: %d", rows[i].operation, rows[i].resource, got);
        arena_done(&arena);
    }
}

static void test_webhook_selectors(void **state)
{
    (void)state;
    static const struct {
        const char *selector;
        const char *labels;
        bool want;
    } rows[] = {
        {"{}", "{}", true},
        {"{\"matchLabels\":{\"a\":\"b\"}}", "{\"a\":\"b\"}", true},
        {"{\"matchLabels\":{\"a\":\"b\"}}", "{}", false},
        {"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\",\"values\":[\"b\"]}]}", "{\"a\":\"b\"}", true},
        {"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"NotIn\",\"values\":[\"b\"]}]}", "{}", true},
        {"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"NotIn\",\"values\":[\"b\"]}]}", "{\"a\":\"b\"}", false},
        {"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Exists\"}]}", "{\"a\":\"\"}", true},
        {"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"DoesNotExist\"}]}", "{\"a\":\"\"}", false},
        {"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"DoesNotExist\"}]}", "{}", true},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct error err = {0};
        struct json_value *selector;
        struct json_value *labels;
        assert_int_equal(json_parse(&arena, str_of(rows[i].selector), &selector, &err), ERR_OK);
        assert_int_equal(json_parse(&arena, str_of(rows[i].labels), &labels, &err), ERR_OK);
        check_row(rows[i].selector, webhook_selector_matches(selector, labels) == rows[i].want, "labels %s", rows[i].labels);
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),       cmocka_unit_test(test_pod_status),
        cmocka_unit_test(test_json_paths),      cmocka_unit_test(test_names_and_times),
        cmocka_unit_test(test_webhook_rules),   cmocka_unit_test(test_webhook_selectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
