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

static const char features_yaml[] =
    "name: t\n"
    "virtual_hosts:\n"
    "- name: v\n"
    "  domains: ['*']\n"
    "  typed_per_filter_config:\n"
    "    envoy.filters.http.fault: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {http_status: 418, percentage: {numerator: 100}}}\n"
    "  routes:\n"
    "  - {name: regex, match: {safe_regex: {regex: '/r[0-9]+'}}, route: {cluster: c, regex_rewrite: {pattern: {regex: '^/r([0-9]+)$'}, substitution: '/v/\\1'}}}\n"
    "  - {name: header, match: {prefix: /h, headers: [{name: num, string_match: {safe_regex: {regex: '^[0-9]+$'}}}]}, route: {cluster: c, host_rewrite_header: x-host}}\n"
    "  - {name: query, match: {prefix: /q, query_parameters: [{name: v, string_match: {safe_regex: {regex: '[ab]+'}}}]}, route: {cluster: c, host_rewrite_path_regex: {pattern: {regex: '^/q/(.+)$'}, substitution: '\\1.example'}}}\n"
    "  - name: own\n"
    "    match: {prefix: /own}\n"
    "    route: {weighted_clusters: {clusters: [{name: a, weight: 1}, {name: b, weight: 1, typed_per_filter_config: {envoy.filters.http.fault: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}}}]}}\n"
    "    typed_per_filter_config:\n"
    "      envoy.filters.http.fault: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, delay: {fixed_delay: 1.5s, percentage: {numerator: 100000, denominator: MILLION}}, headers: [{name: end-user, string_match: {exact: jason}}]}\n"
    "  - {name: mirror, match: {prefix: /m}, route: {cluster: c, request_mirror_policies: [{cluster: d, runtime_fraction: {default_value: {numerator: 125000, denominator: MILLION}}}]}}\n"
    "  - {name: go, match: {prefix: /g}, redirect: {regex_rewrite: {pattern: {regex: '^/g/(.*)$'}, substitution: '/to/\\1'}}}\n"
    "  - {name: cors, match: {prefix: /c}, route: {cluster: c}, typed_per_filter_config: {envoy.filters.http.cors: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, allow_origin_string_match: [{exact: 'https://a.test'}, {safe_regex: {regex: '.*b.test'}}], allow_methods: 'GET,POST', max_age: '86400', allow_credentials: true}}}\n";

static const struct route *find(const struct route_table *table, struct http_head *head, const char *path, const char *name, const char *value)
{
    http_head_init_request(head, STR("GET"), STR("http"), STR("h"), str_of(path));
    if (name != NULL) {
        (void)http_head_add(head, str_of(name), str_of(value));
    }
    return route_find(table, head, 0);
}

static void test_expressions(void **state)
{
    (void)state;
    struct error err = {0};
    struct arena arena = {0};
    struct http_head head;
    struct route_table *table = make_table(features_yaml, &err);
    if (table == NULL) {
        fail_msg("%s", err.message);
    }
    const struct route *route = find(table, &head, "/r12?x=/r1", NULL, NULL);
    assert_str(route->name, "regex");
    assert_str(route_rewrite_path(route, head.path, &arena), "/v/12?x=/r1");
    assert_null(find(table, &head, "/r12/", NULL, NULL));
    assert_null(find(table, &head, "/h", "num", "12a"));
    route = find(table, &head, "/h", "num", "12");
    assert_str(route->name, "header");
    (void)http_head_add(&head, STR("x-host"), STR("other"));
    assert_str(route_rewrite_host(route, NULL, &head, STR_EMPTY, &arena), "other");
    assert_null(find(table, &head, "/q/one?v=abc", NULL, NULL));
    route = find(table, &head, "/q/one?v=ab", NULL, NULL);
    assert_str(route_rewrite_host(route, NULL, &head, STR_EMPTY, &arena), "one.example");
    route = find(table, &head, "/g/there?q", NULL, NULL);
    assert_str(route_redirect_location(route, &head, false, &arena), "http://h/to/there?q");
    route_table_unref(table);
    arena_done(&arena);
}

static void test_faults(void **state)
{
    (void)state;
    struct error err = {0};
    struct http_head head;
    const struct route_cluster_weight *weight;
    struct route_table *table = make_table(features_yaml, &err);
    assert_non_null(table);
    // The virtual host's setting, where the route has none.
    const struct route *route = find(table, &head, "/r1", NULL, NULL);
    struct fault_verdict verdict = fault_decide(route_filters_of(route, NULL)->fault, &head, STR("c"), 0, 99);
    assert_true(verdict.aborts && verdict.http_status == 418 && verdict.delay_ms == 0 && verdict.grpc_status == -1);
    // The route's own, for one in ten of one user.
    route = find(table, &head, "/own", "end-user", "jason");
    (void)route_pick_cluster(route, &head, 0, &weight);
    const struct fault *fault = route_filters_of(route, weight)->fault;
    assert_int_equal(fault_decide(fault, &head, STR("a"), 99999, 0).delay_ms, 1500);
    assert_int_equal(fault_decide(fault, &head, STR("a"), 100000, 0).delay_ms, 0);
    assert_false(fault_decide(fault, &head, STR("a"), 0, 0).aborts);
    (void)find(table, &head, "/own", "end-user", "jim");
    assert_int_equal(fault_decide(fault, &head, STR("a"), 0, 0).delay_ms, 0);
    // The weighted cluster's own: empty.
    (void)route_pick_cluster(route, &head, 1, &weight);
    fault = route_filters_of(route, weight)->fault;
    verdict = fault_decide(fault, &head, STR("b"), 0, 0);
    assert_true(verdict.delay_ms == 0 && !verdict.aborts);
    route_table_unref(table);
}

static void test_cors(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *origin;
        const char *request_method;
        enum cors_verdict want;
    } rows[] = {
        {"GET", NULL, NULL, CORS_NOT_CONCERNED},
        {"GET", "https://a.test", NULL, CORS_SIMPLE},
        {"GET", "http://x.b.test", NULL, CORS_SIMPLE},
        {"GET", "https://evil", NULL, CORS_NOT_CONCERNED},
        {"OPTIONS", "https://a.test", "POST", CORS_PREFLIGHT},
        {"OPTIONS", "https://a.test", NULL, CORS_SIMPLE}, // not a preflight
        {"OPTIONS", "https://evil", "POST", CORS_NOT_CONCERNED}, // forwarded
    };
    struct error err = {0};
    struct http_head head;
    struct route_table *table = make_table(features_yaml, &err);
    assert_non_null(table);
    const struct cors *cors = find(table, &head, "/c", NULL, NULL)->filters.cors;
    assert_non_null(cors);
    for (size_t i = 0; i < array_count(rows); i++) {
        http_head_init_request(&head, str_of(rows[i].method), STR("http"), STR("h"), STR("/c"));
        if (rows[i].origin != NULL) {
            (void)http_head_add(&head, STR("origin"), str_of(rows[i].origin));
        }
        if (rows[i].request_method != NULL) {
            (void)http_head_add(&head, STR("access-control-request-method"), str_of(rows[i].request_method));
        }
        enum cors_verdict got = cors_decide(cors, &head, 0);
        check_row(rows[i].method, got == rows[i].want, "origin %s: got %d, want %d", rows[i].origin, (int)got, (int)rows[i].want);
    }
    http_head_init_response(&head, 200);
    cors_add_preflight(cors, STR("https://a.test"), &head);
    assert_str(http_head_get(&head, STR("access-control-allow-origin")), "https://a.test");
    assert_str(http_head_get(&head, STR("access-control-allow-methods")), "GET,POST");
    assert_str(http_head_get(&head, STR("access-control-max-age")), "86400");
    assert_str(http_head_get(&head, STR("access-control-allow-credentials")), "true");
    route_table_unref(table);
}

static void test_mirrors(void **state)
{
    (void)state;
    struct error err = {0};
    struct http_head head;
    struct route_table *table = make_table(features_yaml, &err);
    assert_non_null(table);
    const struct route *route = find(table, &head, "/m", NULL, NULL);
    assert_int_equal(route->mirror_count, 1);
    assert_str(route->mirrors[0].cluster, "d");
    assert_true(chance_holds(route->mirrors[0].chance, 124999));
    assert_false(chance_holds(route->mirrors[0].chance, 125000));
    route_table_unref(table);
}

// Hashes are xxHash64 of the values, each folded into those before it.
static void test_hash_policies(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *policies;
        const char *path;
        const char *header;
        const char *value;
        const char *want[2]; // texts folded; NULL: none
        const char *cookie;  // start of the cookie set; NULL: none
    } rows[] = {
        {"header", "[{header: {header_name: X-User}}]", "/", "x-user", "jane", {"jane", NULL}, NULL},
        {"no header", "[{header: {header_name: x-user}}]", "/", NULL, NULL, {NULL, NULL}, NULL},
        {"rewritten header", "[{header: {header_name: x-user, regex_rewrite: {pattern: {regex: '^(.).*$'}, substitution: '\\1'}}}]", "/", "x-user", "jane", {"j", NULL}, NULL},
        {"address", "[{connection_properties: {source_ip: true}}]", "/", NULL, NULL, {"192.0.2.9", NULL}, NULL},
        {"query", "[{query_parameter: {name: k}}]", "/p?a=b&k=v#f", NULL, NULL, {"v", NULL}, NULL},
        {"cookie", "[{cookie: {name: u, ttl: 0s}}]", "/", "cookie", "a=b; u=\"x\"", {"x", NULL}, NULL},
        {"cookie made", "[{cookie: {name: u, ttl: 60s, path: /p}}]", "/", NULL, NULL, {"?", NULL}, "u=\""},
        {"cookie not made", "[{cookie: {name: u}}]", "/", NULL, NULL, {NULL, NULL}, NULL},
        {"two", "[{header: {header_name: x-user}}, {connection_properties: {source_ip: true}}]", "/", "x-user", "jane", {"jane", "192.0.2.9"}, NULL},
        {"terminal", "[{header: {header_name: x-user}, terminal: true}, {connection_properties: {source_ip: true}}]", "/", "x-user", "jane", {"jane", NULL}, NULL},
        {"terminal without a value", "[{header: {header_name: x-user}, terminal: true}, {connection_properties: {source_ip: true}}]", "/", NULL, NULL, {"192.0.2.9", NULL}, NULL},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct error err = {0};
        struct http_head head;
        struct str yaml = arena_format(&arena, "virtual_hosts: [{name: a, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: c, hash_policy: %s}}]}]", rows[i].policies);
        struct route_table *table = make_table(yaml.data, &err);
        check_row(rows[i].name, table != NULL, "%s", err.message);
        const struct route *route = find(table, &head, rows[i].path, rows[i].header, rows[i].value);
        const struct hash_facts facts = {&head, STR("192.0.2.9"), STR("192.0.2.9:1"), STR("10.0.0.1:80")};
        struct hash_verdict verdict = hash_policy_decide(route->hash_policies, route->hash_policy_count, &facts, &arena);
        uint64_t want = rows[i].want[0] == NULL ? 0 : hash_text(str_of(rows[i].want[0]));
        want = rows[i].want[1] == NULL ? want : (want << 1 | want >> 63) ^ hash_text(str_of(rows[i].want[1]));
        check_row(rows[i].name, verdict.found == (rows[i].want[0] != NULL), "found %d", verdict.found);
        if (rows[i].cookie == NULL) {
            check_row(rows[i].name, verdict.hash == want && verdict.set_cookie.size == 0, "another hash");
        } else {
            check_row(rows[i].name, str_starts_with(verdict.set_cookie, str_of(rows[i].cookie)), "%.*s", STR_ARG(verdict.set_cookie));
            check_row(rows[i].name, str_find(verdict.set_cookie, STR("; Max-Age=60; Path=/p; HttpOnly")) > 0, "%.*s", STR_ARG(verdict.set_cookie));
        }
        route_table_unref(table);
        arena_done(&arena);
    }
    assert_true(hash_text(STR_EMPTY) == 0xef46db3751d8e999u); // the function's published value
}

static void test_header_changes(void **state)
{
    (void)state;
    const struct str removals[] = {STR("gone")};
    const struct header_addition additions[] = {
        {.action = HEADER_APPEND, .name = STR("a"), .value = STR("2")},
        {.action = HEADER_ADD_IF_ABSENT, .name = STR("a"), .value = STR("3")},
        {.action = HEADER_OVERWRITE, .name = STR("b"), .value = STR("4")},
        {.action = HEADER_OVERWRITE_IF_EXISTS, .name = STR("c"), .value = STR("5")},
    };
    const struct header_changes changes = {removals, 1, additions, array_count(additions)};
    struct http_head head;
    http_head_init_request(&head, STR("GET"), STR("http"), STR("h"), STR("/"));
    (void)http_head_add(&head, STR("gone"), STR("x"));
    (void)http_head_add(&head, STR("a"), STR("1"));
    (void)http_head_add(&head, STR("b"), STR("1"));
    header_changes_apply(&changes, &head, &(struct header_facts){0}, NULL);
    assert_false(http_head_has(&head, STR("gone")));
    assert_false(http_head_has(&head, STR("c")));
    assert_str(http_head_get(&head, STR("a")), "1");
    assert_str(http_head_get(&head, STR("b")), "4");
    assert_int_equal(head.header_count, 3);
}

static void test_header_values(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *want; // NULL: refused
    } rows[] = {
        {"plain", "plain"},
        {"100%%", "100%"},
        {"a%REQ(X-User)%b", "ajaneb"},
        {"%REQ(x-user):2%", "ja"},
        {"%REQ(x-none?x-user)%", "jane"},
        {"%REQ(x-none)%", ""},
        {"%REQ(:path)%", "/p?q"},
        {"%RESP(server)% %RESPONSE_CODE%", "us 203"},
        {"%DOWNSTREAM_REMOTE_ADDRESS%", "192.0.2.9:1"},
        {"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "192.0.2.9"},
        {"%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%|%DOWNSTREAM_LOCAL_PORT%", "fd00::1|80"},
        {"%PROTOCOL%", "HTTP/2"},
        {"%ROUTE_NAME%", ""},
        {"50%", NULL},
        {"%UNHEARD_OF%", NULL},
        {"%REQ%", NULL},
        {"%PROTOCOL(x)%", NULL},
        {"%REQ(x):y%", NULL},
    };
    struct http_head request;
    struct http_head response;
    http_head_init_request(&request, STR("GET"), STR("http"), STR("h"), STR("/p?q"));
    (void)http_head_add(&request, STR("x-user"), STR("jane"));
    http_head_init_response(&response, 203);
    (void)http_head_add(&response, STR("server"), STR("us"));
    const struct header_facts facts = {.request = &request, .response = &response, .remote_address = STR("192.0.2.9:1"),
                                       .local_address = STR("[fd00::1]:80"), .protocol = STR("HTTP/2")};
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct error err = {0};
        struct str text = STR_EMPTY;
        const struct header_value *value = NULL;
        enum err result = header_value_compile(&arena, str_of(rows[i].text), &text, &value, &err);
        check_row(rows[i].text, (result == ERR_OK) == (rows[i].want != NULL), "%s", err.message);
        if (result == ERR_OK) {
            assert_str(value == NULL ? text : header_value_make(value, &facts, &arena), rows[i].want);
        }
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_weights_and_rewrites),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_header_changes),
        cmocka_unit_test(test_expressions),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_cors),
        cmocka_unit_test(test_mirrors),
        cmocka_unit_test(test_hash_policies),
        cmocka_unit_test(test_header_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
