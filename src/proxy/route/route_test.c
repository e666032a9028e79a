// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "codec/pb/pb.h"
#include "codec/yaml/yaml.h"
#include "proxy/route/route.h"

static struct route_table *make_table(const char *yaml, struct error *err)
{
    struct arena arena = {0};
    struct json_value *json;
    if (yaml_parse(&arena, str_of(yaml), &json, err) != ERR_OK) {
        fail_msg("%s", err->message);
    }
    const void *message = pb_from_json(&arena, &envoy__config__route__v3__route_configuration__descriptor, json, PB_JSON_STRICT, err);
    if (message == NULL) {
        fail_msg("%s", err->message);
    }
    struct route_table *table = route_table_new(message, err);
    arena_done(&arena);
    return table;
}

static const char table_yaml[] =
    "name: t\n"
    "ignore_port_in_host_matching: true\n"
    "virtual_hosts:\n"
    "- name: exact\n"
    "  domains: [a.example.com, 'A2.example.com']\n"
    "  routes:\n"
    "  - {name: admin, match: {path: /admin}, route: {cluster: admin}}\n"
    "  - {name: api, match: {path_separated_prefix: /api}, route: {cluster: api, prefix_rewrite: /v2, timeout: 0s}}\n"
    "  - {name: jason, match: {prefix: /, headers: [{name: end-user, string_match: {exact: jason}}]}, route: {cluster: jason}}\n"
    "  - {name: not-bot, match: {prefix: /h, headers: [{name: user-agent, string_match: {prefix: bot}, invert_match: true}]}, route: {cluster: people}}\n"
    "  - {name: query, match: {prefix: /q, query_parameters: [{name: v, string_match: {exact: '1'}}]}, route: {cluster: query}}\n"
    "  - {name: nocase, match: {prefix: /Case, case_sensitive: false}, route: {cluster: nocase}}\n"
    "- {name: suffix, domains: ['*.example.com'], routes: [{name: s, match: {prefix: /}, route: {cluster: s}}]}\n"
    "- {name: longer, domains: ['*.b.example.com'], routes: [{name: l, match: {prefix: /}, route: {cluster: l}}]}\n"
    "- {name: prefix, domains: ['web.*'], routes: [{name: p, match: {prefix: /}, route: {cluster: p}}]}\n"
    "- {name: any, domains: ['*'], routes: [{name: any, match: {prefix: /}, route: {cluster: any}}]}\n";

static void test_choice(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        const char *path;
        const char *header;
        const char *value;
        const char *want; // route name; NULL: none
    } rows[] = {
        {"a.example.com", "/admin", NULL, NULL, "admin"},
        {"A.EXAMPLE.com:8080", "/admin?x=1", NULL, NULL, "admin"},
        {"a2.example.com", "/admin#f", NULL, NULL, "admin"},
        {"a.example.com", "/admin/", NULL, NULL, NULL}, // no falling through to "*"
        {"a.example.com", "/api", NULL, NULL, "api"},
        {"a.example.com", "/api/x", NULL, NULL, "api"},
        {"a.example.com", "/apix", NULL, NULL, NULL},
        {"a.example.com", "/x", "end-user", "jason", "jason"},
        {"a.example.com", "/x", "end-user", "jasons", NULL},
        {"a.example.com", "/h", "user-agent", "curl", "not-bot"},
        {"a.example.com", "/h", "user-agent", "bot/1", NULL},
        {"a.example.com", "/h", NULL, NULL, NULL}, // a missing header matches nothing, inverted or not
        {"a.example.com", "/q?a=b&v=1", NULL, NULL, "query"},
        {"a.example.com", "/q?v=2", NULL, NULL, NULL},
        {"a.example.com", "/cAsE/1", NULL, NULL, "nocase"},
        {"x.example.com", "/", NULL, NULL, "s"},
        {"x.b.example.com", "/", NULL, NULL, "l"},
        {".example.com", "/", NULL, NULL, "any"}, // a wildcard covers something
        {"web.site", "/", NULL, NULL, "p"},
        {"web.", "/", NULL, NULL, "any"},
        {"elsewhere", "/", NULL, NULL, "any"},
        {"[fd00::1]:80", "/", NULL, NULL, "any"},
    };
    struct error err = {0};
    struct route_table *table = make_table(table_yaml, &err);
    assert_non_null(table);
    for (size_t i = 0; i < array_count(rows); i++) {
        struct http_head head;
        http_head_init_request(&head, STR("GET"), STR("http"), str_of(rows[i].host), str_of(rows[i].path));
        if (rows[i].header != NULL) {
            (void)http_head_add(&head, str_of(rows[i].header), str_of(rows[i].value));
        }
        const struct route *route = route_find(table, &head, 0);
        const char *got = route == NULL ? NULL : route->name.data;
        check_row(rows[i].path, (got == NULL) == (rows[i].want == NULL) && (got == NULL || strcmp(got, rows[i].want) == 0),
                  "host %s: got %s, want %s", rows[i].host, got == NULL ? "none" : got, rows[i].want == NULL ? "none" : rows[i].want);
    }
    route_table_unref(table);
}

static void test_weights_and_rewrites(void **state)
{
    (void)state;
    struct error err = {0};
    struct arena arena = {0};
    struct route_table *table = make_table(
        "name: t\nvirtual_hosts:\n- name: v\n  domains: ['*']\n  routes:\n"
        "  - {match: {prefix: /w}, route: {weighted_clusters: {clusters: [{name: a, weight: 80}, {name: b, weight: 20}]}}}\n"
        "  - {match: {prefix: /old/}, route: {cluster: c, prefix_rewrite: /}}\n"
        "  - {match: {path: /exact}, route: {cluster: c, prefix_rewrite: /other}}\n"
        "  - {match: {prefix: /r}, redirect: {https_redirect: true, host_redirect: new.example, port_redirect: 8443, response_code: FOUND}}\n",
        &err);
    if (table == NULL) {
        fail_msg("%s", err.message);
    }
    unsigned first = 0;
    struct http_head head;
    http_head_init_request(&head, STR("GET"), STR("http"), STR("h"), STR("/w"));
    const struct route *route = route_find(table, &head, 0);
    assert_int_equal(route->timeout_ms, ROUTE_TIMEOUT_DEFAULT_MS);
    for (uint64_t dice = 0; dice < 1000; dice++) {
        const struct route_cluster_weight *weight;
        first += str_equal(route_pick_cluster(route, &head, dice, &weight), STR("a")) ? 1 : 0;
    }
    assert_int_equal(first, 800);
    static const struct {
        const char *path;
        const char *want;
    } rewrites[] = {{"/old/x?y=1", "/x?y=1"}, {"/exact?q", "/other?q"}, {"/w", "/w"}};
    for (size_t i = 0; i < array_count(rewrites); i++) {
        head.path = str_of(rewrites[i].path);
        assert_str(route_rewrite_path(route_find(table, &head, 0), head.path, &arena), rewrites[i].want);
    }
    head.path = STR("/r/x?y");
    route = route_find(table, &head, 0);
    assert_int_equal(route->redirect.status, 302);
    assert_str(route_redirect_location(route, &head, false, &arena), "https://new.example:8443/r/x?y");
    route_table_unref(table);
    arena_done(&arena);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *yaml;
        const char *want;
    } rows[] = {
        {"domain twice", "virtual_hosts: [{name: a, domains: [x]}, {name: b, domains: [X]}]", "two virtual hosts"},
        {"expression", "virtual_hosts: [{name: a, domains: [x], routes: [{match: {safe_regex: {regex: '(a'}}, route: {cluster: c}}]}]", "regular expression"},
        {"beyond RE2", "virtual_hosts: [{name: a, domains: [x], routes: [{match: {safe_regex: {regex: '(?=a)'}}, route: {cluster: c}}]}]", "RE2"},
        {"unknown filter", "virtual_hosts: [{name: a, domains: [x], typed_per_filter_config: {x: {'@type': type.googleapis.com/envoy.config.route.v3.RetryPolicy}}, routes: []}]", "settings of filter x"},
        {"no weight", "virtual_hosts: [{name: a, domains: [x], routes: [{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: c}]}}}]}]", "zero"},
        {"no match", "virtual_hosts: [{name: a, domains: [x], routes: [{route: {cluster: c}}]}]", "without a match"},
        {"pseudo header", "request_headers_to_add: [{header: {key: ':path', value: x}}]", "cannot be changed"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct error err = {0};
        struct route_table *table = make_table(rows[i].yaml, &err);
        check_row(rows[i].name, table == NULL, "accepted");
        check_row(rows[i].name, str_find(str_of(err.message), str_of(rows[i].want)) >= 0, "%s", err.message);
    }
}

static void test_header_changes(void **state)
{
    (void)state;
    const struct str removals[] = {STR("gone")};
    const struct header_addition additions[] = {
        {HEADER_APPEND, STR("a"), STR("2")},
        {HEADER_ADD_IF_ABSENT, STR("a"), STR("3")},
        {HEADER_OVERWRITE, STR("b"), STR("4")},
        {HEADER_OVERWRITE_IF_EXISTS, STR("c"), STR("5")},
    };
    const struct header_changes changes = {removals, 1, additions, array_count(additions)};
    struct http_head head;
    http_head_init_request(&head, STR("GET"), STR("http"), STR("h"), STR("/"));
    (void)http_head_add(&head, STR("gone"), STR("x"));
    (void)http_head_add(&head, STR("a"), STR("1"));
    (void)http_head_add(&head, STR("b"), STR("1"));
    header_changes_apply(&changes, &head);
    assert_false(http_head_has(&head, STR("gone")));
    assert_false(http_head_has(&head, STR("c")));
    assert_str(http_head_get(&head, STR("a")), "1");
    assert_str(http_head_get(&head, STR("b")), "4");
    assert_int_equal(head.header_count, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_weights_and_rewrites),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_header_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
