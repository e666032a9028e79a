// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "codec/yaml/yaml.h"
#include "mesh/object.h"

static const struct json_value *yaml(struct arena *arena, const char *text)
{
    struct error err = {0};
    struct json_value *value = NULL;
    if (yaml_parse(arena, str_of(text), &value, &err) != ERR_OK) {
        fail_msg("%s: %s", text, err.message);
    }
    return value;
}

static struct mesh_object *make(struct arena *arena, enum mesh_object_kind kind, const char *spec,
                                struct error *err)
{
    struct str text = arena_format(arena, "{metadata: {name: a, namespace: shop}, spec: %s}", spec);
    return mesh_object_new(kind, yaml(arena, text.data), STR("cluster.local"), err);
}

static void verdicts(void **state)
{
    static const struct {
        enum mesh_object_kind kind;
        const char *spec;
        const char *want; // part of the message; NULL: accepted
    } rows[] = {
        {MESH_OBJECT_VIRTUAL_SERVICE, "{hosts: [a], http: [{route: [{destination: {host: a}}]}]}", NULL},
        {MESH_OBJECT_VIRTUAL_SERVICE, "{hosts: [a]}", "http, tls or tcp must be provided"},
        {MESH_OBJECT_VIRTUAL_SERVICE, "{hosts: [a], http: [{}]}", "http[0]"},
        {MESH_OBJECT_VIRTUAL_SERVICE, "{hosts: [a], http: [{route: [{}]}]}", "http[0]: route[0]"},
        {MESH_OBJECT_VIRTUAL_SERVICE, "{hosts: [a], https: []}", "https"},
        {MESH_OBJECT_VIRTUAL_SERVICE,
         "{hosts: [a], http: [{timeout: soon, route: [{destination: {host: a}}]}]}", "timeout"},
        {MESH_OBJECT_VIRTUAL_SERVICE,
         "{hosts: [a], http: [{route: [{destination: {host: a}, weight: -1}]}]}", "is negative"},
        {MESH_OBJECT_VIRTUAL_SERVICE,
         "{hosts: [a], http: [{route: [{destination: {host: a}}, {destination: {host: b}}]}]}",
         "total of the weights"},
        {MESH_OBJECT_VIRTUAL_SERVICE,
         "{hosts: [a], http: [{fault: {abort: {httpStatus: 500, percentage: {value: 101}}},"
         " route: [{destination: {host: a}}]}]}", "fault.abort"},
        {MESH_OBJECT_VIRTUAL_SERVICE, "{hosts: [a], tcp: [{}]}", "tcp[0]"},
        {MESH_OBJECT_DESTINATION_RULE, "{host: a, trafficPolicy: {outlierDetection: {interval: 1m30s}}}", NULL},
        {MESH_OBJECT_DESTINATION_RULE, "{}", "host: is needed"},
        {MESH_OBJECT_DESTINATION_RULE, "{host: a, subsets: [{}]}", "subsets[0].name"},
        {MESH_OBJECT_DESTINATION_RULE,
         "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute:"
         " [{from: r, to: {r: 70, s: 20}}]}}}}", "add up to 90"},
        {MESH_OBJECT_DESTINATION_RULE,
         "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: r, to: s}],"
         " distribute: [{from: r, to: {r: 100}}]}}}}", "only one of"},
        {MESH_OBJECT_DESTINATION_RULE, "{host: a, trafficPolicy: {tls: {mode: SOMEHOW}}}", "mode"},
        {MESH_OBJECT_PEER_AUTHENTICATION, "{mtls: {mode: STRICT}}", NULL},
        {MESH_OBJECT_PEER_AUTHENTICATION, "{portLevelMtls: {'80': {mode: DISABLE}}}", NULL},
        {MESH_OBJECT_PEER_AUTHENTICATION, "{portLevelMtls: {http: {mode: DISABLE}}}", "ort"},
    };
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct error err = {0};
        struct mesh_object *object = make(&arena, rows[i].kind, rows[i].spec, &err);
        if ((object != NULL) != (rows[i].want == NULL) ||
            (rows[i].want != NULL && strstr(err.message, rows[i].want) == NULL)) {
            fail_msg("%s: got \"%s\", want %s", rows[i].spec, err.message,
                     rows[i].want == NULL ? "no error" : rows[i].want);
        }
        mesh_object_unref(object);
        arena_done(&arena);
    }
}

static void names_are_resolved(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error err = {0};
    struct mesh_object *object = make(&arena, MESH_OBJECT_VIRTUAL_SERVICE,
        "{hosts: [reviews, '*', a.b], gateways: [gw, ./other, mesh, ns/gw],"
        " http: [{route: [{destination: {host: reviews}}]}]}", &err);
    assert_non_null(object);
    const MeshVirtualService *service = object->virtual_service;
    static const char *const hosts[] = {"reviews.shop.svc.cluster.local", "*", "a.b"};
    static const char *const gateways[] = {"shop/gw", "shop/other", "mesh", "ns/gw"};
    assert_int_equal(service->n_hosts, array_count(hosts));
    assert_int_equal(service->n_gateways, array_count(gateways));
    for (size_t i = 0; i < array_count(hosts); i++) {
        assert_string_equal(service->hosts[i], hosts[i]);
    }
    for (size_t i = 0; i < array_count(gateways); i++) {
        assert_string_equal(service->gateways[i], gateways[i]);
    }
    assert_string_equal(service->http[0]->route[0]->destination->host, "reviews.shop.svc.cluster.local");
    mesh_object_unref(object);
    arena_done(&arena);
}

static void visibility(void **state)
{
    static const struct {
        const char *export_to; // NULL: empty list
        const char *ns;
        enum mesh_visibility want;
    } rows[] = {
        {NULL, "b", MESH_PUBLIC},    {"*", "b", MESH_PUBLIC},  {".", "a", MESH_PRIVATE},
        {".", "b", MESH_INVISIBLE},  {"b", "b", MESH_EXPORTED}, {"b", "c", MESH_INVISIBLE},
        {"~", "a", MESH_INVISIBLE},  {"a", "a", MESH_PRIVATE},
    };
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        char *list[1] = {rows[i].export_to == NULL ? NULL : arena_strdup(&arena, str_of(rows[i].export_to))};
        enum mesh_visibility got = mesh_visibility_of(list, rows[i].export_to == NULL ? 0 : 1, STR("a"),
                                                      str_of(rows[i].ns));
        if (got != rows[i].want) {
            fail_msg("row %zu: got %d, want %d", i, (int)got, (int)rows[i].want);
        }
        arena_done(&arena);
    }
}

static void only_the_same_json_is_the_same(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error err = {0};
    struct mesh_object *object = make(&arena, MESH_OBJECT_PEER_AUTHENTICATION, "{mtls: {mode: STRICT}}", &err);
    static const struct {
        const char *json;
        bool want;
    } rows[] = {
        {"{metadata: {name: a, namespace: shop, resourceVersion: '7'}, spec: {mtls: {mode: STRICT}}}", true},
        {"{metadata: {name: a, namespace: shop}, spec: {mtls: {mode: PERMISSIVE}}}", false},
        {"{metadata: {name: b, namespace: shop}, spec: {mtls: {mode: STRICT}}}", false},
        {"{metadata: {name: a, namespace: shop}}", false},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        assert_int_equal(mesh_object_is_made_of(object, yaml(&arena, rows[i].json)), rows[i].want);
    }
    mesh_object_unref(object);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts),
        cmocka_unit_test(names_are_resolved),
        cmocka_unit_test(visibility),
        cmocka_unit_test(only_the_same_json_is_the_same),
    };
    return cmocka_run_group_tests_name("mesh/object", tests, NULL, NULL);
}
