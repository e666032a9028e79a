// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/selector.h"

#include "base/memory.h"
#include "lab/apiserver/request_path.h"
#include "test.h"

static const struct {
    const char *selector;
    const char *labels;
    bool want;
} label_rows[] = {
    {"", "{}", true},
    {"a=b", "{\"a\":\"b\"}", true},
    {"a==b", "{\"a\":\"b\"}", true},
    {"a=b", "{\"a\":\"c\"}", false},
    {"a=b", "{}", false},
    {"a=", "{\"a\":\"\"}", true},
    {"a=", "{}", false},
    {"a!=b", "{\"a\":\"c\"}", true},
    {"a!=b", "{}", true},
    {"a!=b", "{\"a\":\"b\"}", false},
    {"a in (b,c)", "{\"a\":\"c\"}", true},
    {"a in (b, c)", "{\"a\":\"d\"}", false},
    {"a notin (b,c)", "{\"a\":\"d\"}", true},
    {"a notin (b,c)", "{}", true},
    {"a notin (b,c)", "{\"a\":\"b\"}", false},
    {"a", "{\"a\":\"\"}", true},
    {"a", "{}", false},
    {"!a", "{}", true},
    {"! a", "{\"a\":\"b\"}", false},
    {"a>1", "{\"a\":\"2\"}", true},
    {"a<1", "{\"a\":\"2\"}", false},
    {"a>1", "{\"a\":\"x\"}", false},
    {"a=b,c!=d", "{\"a\":\"b\",\"c\":\"e\"}", true},
    {" a = b , c ", "{\"a\":\"b\",\"c\":\"e\"}", true},
    {"app.kubernetes.io/name=x", "{\"app.kubernetes.io/name\":\"x\"}", true},
};

static void test_labels(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(label_rows); i++) {
        struct arena arena = {0};
        struct error err = {0};
        struct selector selector;
        struct json_value *labels;
        const char *row = label_rows[i].selector;
        check_row(row, selector_parse_labels(&arena, str_of(row), &selector, &err) == ERR_OK, "%s", err.message);
        assert_int_equal(json_parse(&arena, str_of(label_rows[i].labels), &labels, &err), ERR_OK);
        check_row(row, selector_matches_labels(&selector, labels) == label_rows[i].want, "labels %s",
                  label_rows[i].labels);
        arena_done(&arena);
    }
}

static void test_bad_labels(void **state)
{
    (void)state;
    static const char *const rows[] = {"a in", "a in b", "a in (b", "a in (b,c", "=b", "!", ",", "a,,b", "a=b c", "a b c", "a=b)"};
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct error err = {0};
        struct selector selector;
        check_row(rows[i], selector_parse_labels(&arena, str_of(rows[i]), &selector, &err) != ERR_OK, "was accepted");
        check_row(rows[i], str_starts_with(str_of(err.message), STR("unable to parse requirement:")), "%s", err.message);
        arena_done(&arena);
    }
}

static const struct {
    const char *selector;
    const char *object;
    bool want;
} field_rows[] = {
    {"metadata.name=x", "{\"metadata\":{\"name\":\"x\"}}", true},
    {"metadata.name==x", "{\"metadata\":{\"name\":\"y\"}}", false},
    {"status.phase!=Failed", "{\"status\":{\"phase\":\"Running\"}}", true},
    {"status.phase!=Failed", "{}", true},
    {"spec.nodeName=", "{\"spec\":{}}", true},
    {"spec.hostNetwork=false", "{\"spec\":{}}", true},
    {"spec.hostNetwork=true", "{\"spec\":{\"hostNetwork\":true}}", true},
    {"type!=a,type!=b", "{\"type\":\"c\"}", true},
    {"type!=a,type!=b", "{\"type\":\"b\"}", false},
    {"type=a\\,b\\=c\\\\", "{\"type\":\"a,b=c\\\\\"}", true},
    {"status.replicas=3", "{\"status\":{\"replicas\":3}}", true},
};

static void test_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(field_rows); i++) {
        struct arena arena = {0};
        struct error err = {0};
        struct selector selector;
        struct json_value *object;
        const char *row = field_rows[i].selector;
        check_row(row, selector_parse_fields(&arena, str_of(row), &selector, &err) == ERR_OK, "%s", err.message);
        assert_int_equal(json_parse(&arena, str_of(field_rows[i].object), &object, &err), ERR_OK);
        check_row(row, selector_matches_fields(&selector, object) == field_rows[i].want, "object %s",
                  field_rows[i].object);
        arena_done(&arena);
    }
}

static const struct {
    const char *target;
    bool is_resource;
    const char *group;
    const char *version;
    const char *ns;
    const char *plural;
    const char *name;
    const char *subresource;
} path_rows[] = {
    {"/api/v1/pods", true, "", "v1", "", "pods", "", ""},
    {"/api/v1/namespaces/ns/pods?limit=500", true, "", "v1", "ns", "pods", "", ""},
    {"/api/v1/namespaces/ns/pods/p/log", true, "", "v1", "ns", "pods", "p", "log"},
    {"/api/v1/namespaces/ns", true, "", "v1", "", "namespaces", "ns", ""},
    {"/api/v1/namespaces/ns/finalize", true, "", "v1", "", "namespaces", "ns", "finalize"},
    {"/api/v1/namespaces/ns/status", true, "", "v1", "", "namespaces", "ns", "status"},
    {"/apis/apps/v1/namespaces/ns/deployments/d/scale", true, "apps", "v1", "ns", "deployments", "d", "scale"},
    {"/apis/apps/v1/deployments/", true, "apps", "v1", "", "deployments", "", ""},
    {"/api/v1/namespaces/ns/services/s/proxy/a/b", true, "", "v1", "ns", "services", "s", "proxy/a/b"},
    {"/api/v1/nodes/n/proxy/a/b", true, "", "v1", "", "nodes", "n", "proxy/a/b"},
    {"/api/v1/watch/namespaces/ns/pods", true, "", "v1", "ns", "pods", "", ""},
    {"/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Aa", true, "rbac.authorization.k8s.io", "v1", "",
     "clusterroles", "system:a", ""},
    {"/api", false, "", "", "", "", "", ""},
    {"/api/v1", false, "", "v1", "", "", "", ""},
    {"/apis/apps/v1", false, "apps", "v1", "", "", "", ""},
    {"/", false, "", "", "", "", "", ""},
    {"/healthz/ping", false, "", "", "", "", "", ""},
};

static void test_paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(path_rows); i++) {
        struct arena arena = {0};
        struct error err = {0};
        struct request_path path;
        const char *row = path_rows[i].target;
        check_row(row, request_path_parse(&arena, str_of(row), &path, &err) == ERR_OK, "%s", err.message);
        check_row(row, path.is_resource == path_rows[i].is_resource, "is_resource");
        check_row(row, !path.is_resource || str_equal_c(path.group, path_rows[i].group), "group");
        check_row(row, !path.is_resource || str_equal_c(path.version, path_rows[i].version), "version");
        check_row(row, str_equal_c(path.ns, path_rows[i].ns), "ns");
        check_row(row, str_equal_c(path.plural, path_rows[i].plural), "plural %.*s", STR_ARG(path.plural));
        check_row(row, str_equal_c(path.name, path_rows[i].name), "name %.*s", STR_ARG(path.name));
        check_row(row, str_equal_c(path.subresource, path_rows[i].subresource), "sub %.*s", STR_ARG(path.subresource));
        arena_done(&arena);
    }
}

static void test_query(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error err = {0};
    struct request_path path;
    struct str target = STR("/api/v1/pods?watch=True&labelSelector=a%20in+%28b%29&x&dryRun=All&dryRun=No");
    assert_int_equal(request_path_parse(&arena, target, &path, &err), ERR_OK);
    assert_true(request_flag(&path, "watch"));
    assert_false(request_flag(&path, "x"));
    assert_str(request_parameter(&path, "labelSelector"), "a in (b)");
    assert_true(request_has_value(&path, "dryRun", "No"));
    assert_null(request_parameter(&path, "y").data);
    static const char *const bad[] = {"", "api", "/%", "/%4", "/%zz", "/a?b=%", "/%00"};
    for (size_t i = 0; i < array_count(bad); i++) {
        check_row(bad[i], request_path_parse(&arena, str_of(bad[i]), &path, &err) == ERR_INVALID, "was accepted");
    }
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels), cmocka_unit_test(test_bad_labels), cmocka_unit_test(test_fields),
        cmocka_unit_test(test_paths),  cmocka_unit_test(test_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
