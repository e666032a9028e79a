// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "codec/yaml/yaml.h"
#include "mesh/ingest.h"
#include "mesh/proxy.h"
#include "mesh/workload.h"

static struct json_value *yaml(struct arena *arena, const char *text)
{
    struct json_value *value = NULL;
    struct error err = {0};
    if (yaml_parse(arena, str_of(text), &value, &err) != ERR_OK) {
        fail_msg("%s: %s", text, err.message);
    }
    return value;
}

static void protocols(void **state)
{
    static const struct {
        const char *transport;
        const char *app;
        const char *name;
        uint32_t number;
        enum mesh_protocol want;
    } rows[] = {
        {"TCP", "", "http", 80, MESH_PROTOCOL_HTTP},
        {"TCP", "", "HTTP-web", 80, MESH_PROTOCOL_HTTP},
        {"TCP", "", "http2", 80, MESH_PROTOCOL_HTTP2},
        {"TCP", "", "grpc-api", 80, MESH_PROTOCOL_GRPC},
        {"TCP", "", "grpc-web", 80, MESH_PROTOCOL_GRPC_WEB},
        {"TCP", "", "grpc-web-x", 80, MESH_PROTOCOL_GRPC_WEB},
        {"TCP", "", "tls-x", 443, MESH_PROTOCOL_TLS},
        {"TCP", "", "https", 443, MESH_PROTOCOL_HTTPS},
        {"TCP", "", "", 8080, MESH_PROTOCOL_AUTO},
        {"TCP", "", "httpx", 8080, MESH_PROTOCOL_AUTO},
        {"TCP", "", "", 3306, MESH_PROTOCOL_TCP},
        {"TCP", "", "http", 3306, MESH_PROTOCOL_HTTP},
        {"TCP", "http", "tcp", 80, MESH_PROTOCOL_HTTP},
        {"TCP", "kubernetes.io/h2c", "http", 80, MESH_PROTOCOL_HTTP2},
        {"TCP", "example.com/odd", "http", 80, MESH_PROTOCOL_AUTO},
        {"UDP", "http", "http", 80, MESH_PROTOCOL_UDP},
        {"", "", "redis", 6379, MESH_PROTOCOL_REDIS},
    };
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        enum mesh_protocol got = mesh_protocol_of_port(str_of(rows[i].transport), str_of(rows[i].app),
                                                       str_of(rows[i].name), rows[i].number);
        check_row(rows[i].name, got == rows[i].want, "%s/%u: got %s", rows[i].app, rows[i].number,
                  mesh_protocol_name(got));
    }
}

static void hosts(void **state)
{
    static const struct {
        const char *pattern;
        const char *host;
        bool want;
    } rows[] = {
        {"*", "a.b", true},
        {"*.local", "a.svc.cluster.local", true},
        {"*.local", "local", false},
        {"*.local", ".local", false},
        {"a.b", "a.b", true},
        {"a.b", "x.a.b", false},
        {"*local", "a.local", false},
    };
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        bool got = mesh_host_matches(str_of(rows[i].pattern), str_of(rows[i].host));
        check_row(rows[i].pattern, got == rows[i].want, "%s: got %d", rows[i].host, got);
    }
}

static void workloads(void **state)
{
    static const struct {
        const char *pod;
        const char *want_name;
        const char *want_kind;
    } rows[] = {
        {"{metadata: {name: p}}", "p", "Pod"},
        {"{metadata: {generateName: p-}}", "p", "Pod"},
        {"{metadata: {name: p, labels: {pod-template-hash: abc}, ownerReferences:"
         " [{kind: ReplicaSet, apiVersion: apps/v1, name: web-abc, controller: true}]}}", "web", "Deployment"},
        {"{metadata: {name: p, ownerReferences:"
         " [{kind: ReplicaSet, apiVersion: apps/v1, name: web-abc, controller: true}]}}", "web-abc", "ReplicaSet"},
        {"{metadata: {name: p, ownerReferences:"
         " [{kind: X, name: other}, {kind: StatefulSet, apiVersion: apps/v1, name: db, controller: true}]}}",
         "db", "StatefulSet"},
    };
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct mesh_workload got = mesh_workload_of_pod(yaml(&arena, rows[i].pod));
        check_row(rows[i].pod, str_equal_c(got.name, rows[i].want_name) && str_equal_c(got.kind, rows[i].want_kind),
                  "got %.*s %.*s", STR_ARG(got.kind), STR_ARG(got.name));
        arena_done(&arena);
    }
}

static void nodes_of_proxies(void **state)
{
    static const struct {
        const char *id;
        const char *metadata;
        bool want_ok;
        const char *want_ns;
        size_t want_addresses;
    } rows[] = {
        {"sidecar~10.0.0.1~a.b~b.svc.cluster.local", "{}", true, "b", 1},
        {"sidecar~10.0.0.1~a.b~b.svc.cluster.local", "{NAMESPACE: c}", true, "c", 1},
        {"router~10.0.0.1~a.b~b.svc.x", "{INSTANCE_IPS: '10.0.0.2,fd00::1'}", true, "b", 2},
        {"router~10.0.0.1~a.b~b.svc.x", "{INSTANCE_IPS: 'nonsense'}", true, "b", 1},
        {"router~nonsense~a.b~b.svc.x", "{}", false, "", 0},
        {"waypoint~10.0.0.1~a.b~b", "{}", false, "", 0},
        {"sidecar~10.0.0.1~a.b", "{}", false, "", 0},
        {"sidecar~10.0.0.1~a.b~c~d", "{}", false, "", 0},
        {"", "{}", false, "", 0},
    };
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct mesh_proxy proxy;
        bool ok = mesh_proxy_from_node(&arena, str_of(rows[i].id), yaml(&arena, rows[i].metadata), STR_EMPTY,
                                       &proxy, NULL) == ERR_OK;
        check_row(rows[i].id, ok == rows[i].want_ok, "got %d", ok);
        if (ok) {
            assert_str(proxy.ns, rows[i].want_ns);
            assert_int_equal(proxy.address_count, rows[i].want_addresses);
        }
        arena_done(&arena);
    }
}

// --- ingest --------------------------------------------------------------------------------------------

struct setting {
    struct arena arena;
    struct mesh_cluster clusters[2];
    struct mesh_world world;
};

static void setting_open(struct setting *setting)
{
    *setting = (struct setting){.clusters = {{.id = STR("cluster1")}, {.id = STR("cluster2")}}};
    setting->world = (struct mesh_world){
        .clusters = setting->clusters, .cluster_count = 2, .domain = STR("cluster.local"),
        .system_namespace = STR("istio-system")};
}

static void setting_add(struct setting *setting, size_t cluster, const char *text)
{
    assert_true(mesh_objects_add(&setting->clusters[cluster].objects, yaml(&setting->arena, text)));
}

static void setting_close(struct setting *setting)
{
    mesh_objects_done(&setting->clusters[0].objects);
    mesh_objects_done(&setting->clusters[1].objects);
    arena_done(&setting->arena);
}

static const char service_a[] =
    "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'},"
    " spec: {clusterIP: 10.0.0.1, selector: {app: a}, ports: [{name: http, port: 80}]}}";
static const char service_a_elsewhere[] =
    "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: shop},"
    " spec: {clusterIP: 10.9.9.9, selector: {app: other}, ports: [{name: tcp, port: 81}]}}";
static const char slice_a[] =
    "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a-1, namespace: shop, labels:"
    " {kubernetes.io/service-name: a}}, ports: [{name: http, port: 8080}], endpoints: [{addresses: [10.1.0.1],"
    " targetRef: {kind: Pod, name: a-0, namespace: shop}}, {addresses: [10.1.0.1],"
    " targetRef: {kind: Pod, name: a-0, namespace: shop}}, {addresses: [nonsense]}]}";
static const char pod_a[] =
    "{apiVersion: v1, kind: Pod, metadata: {name: a-0, namespace: shop, labels: {app: a, istio-locality: r.z.s}},"
    " spec: {serviceAccountName: acc}}";

static void the_first_cluster_decides(void **state)
{
    (void)state;
    struct setting setting;
    setting_open(&setting);
    setting_add(&setting, 0, service_a);
    setting_add(&setting, 1, service_a_elsewhere);
    struct snapshot *snapshot = mesh_ingest(&setting.world, NULL, NULL);
    assert_int_equal(snapshot->service_count, 1);
    const struct mesh_service *service = snapshot_service(snapshot, STR("a.shop.svc.cluster.local"));
    assert_non_null(service);
    assert_int_equal(service->ports[0].number, 80);
    assert_str(mesh_service_address(service, STR("cluster1")), "10.0.0.1");
    assert_str(mesh_service_address(service, STR("cluster2")), "10.9.9.9");
    assert_str(mesh_service_address(service, STR("cluster3")), "10.0.0.1");
    assert_str(mesh_labels_get(mesh_service_selector(service, STR("cluster2")), STR("app")), "other");
    snapshot_unref(snapshot);
    setting_close(&setting);
}

static void endpoints_wait_for_their_pods(void **state)
{
    (void)state;
    struct setting setting;
    struct mesh_ingest_report report;
    setting_open(&setting);
    setting_add(&setting, 0, service_a);
    setting_add(&setting, 0, slice_a);
    struct snapshot *before = mesh_ingest(&setting.world, NULL, &report);
    assert_int_equal(before->services[0]->endpoint_count, 0);
    assert_int_equal(report.endpoints_without_pod, 2);
    setting_add(&setting, 0, pod_a);
    struct snapshot *after = mesh_ingest(&setting.world, before, &report);
    const struct mesh_service *service = after->services[0];
    assert_int_equal(service->endpoint_count, 1); // the same address twice counts once
    assert_str(service->endpoints[0].identity, "spiffe://cluster.local/ns/shop/sa/acc");
    assert_str(service->endpoints[0].locality, "r/z/s");
    assert_str(service->endpoints[0].workload, "a-0;shop;a;;cluster1");
    assert_int_equal(mesh_endpoint_port_number(&service->endpoints[0], STR("http")), 8080);
    assert_false(service->endpoints[0].is_mtls);
    assert_int_equal(after->version, before->version + 1);
    snapshot_unref(after);
    snapshot_unref(before);
    setting_close(&setting);
}

// What the registry knows of a proxy's pod decides; a move to another place is a new snapshot.
static void proxies_are_where_their_pods_are(void **state)
{
    (void)state;
    static const char pod[] = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop}, spec: {nodeName: n}}";
    static const char node[] = "{apiVersion: v1, kind: Node, metadata: {name: n, labels: {topology.kubernetes.io/region: r1,"
                               " topology.kubernetes.io/zone: z1}}}";
    struct mesh_proxy known = {.cluster = STR("cluster1"), .id = STR("p.shop"), .locality = STR("elsewhere")};
    struct mesh_proxy other = {.cluster = STR("cluster2"), .id = STR("p.shop"), .locality = STR("own/word")};
    struct setting setting;
    setting_open(&setting);
    setting_add(&setting, 0, pod);
    struct snapshot *before = mesh_ingest(&setting.world, NULL, NULL);
    assert_str(snapshot_proxy_locality(before, &known), "elsewhere");
    setting_add(&setting, 0, node);
    struct snapshot *after = mesh_ingest(&setting.world, before, NULL);
    assert_ptr_not_equal(before, after);
    assert_str(snapshot_proxy_locality(after, &known), "r1/z1");
    assert_str(snapshot_proxy_locality(after, &other), "own/word");
    snapshot_unref(after);
    snapshot_unref(before);
    setting_close(&setting);
}

static void unchanged_services_are_shared(void **state)
{
    (void)state;
    struct setting setting;
    setting_open(&setting);
    setting_add(&setting, 0, service_a);
    struct snapshot *before = mesh_ingest(&setting.world, NULL, NULL);
    setting_add(&setting, 1,
                "{apiVersion: v1, kind: Service, metadata: {name: b, namespace: shop}, spec: {clusterIP: None}}");
    struct snapshot *after = mesh_ingest(&setting.world, before, NULL);
    assert_ptr_not_equal(before, after);
    assert_ptr_equal(snapshot_service(before, STR("a.shop.svc.cluster.local")),
                     snapshot_service(after, STR("a.shop.svc.cluster.local")));
    assert_int_equal(snapshot_service(after, STR("b.shop.svc.cluster.local"))->resolution,
                     MESH_RESOLUTION_PASSTHROUGH);
    snapshot_unref(before); // what is shared lives on
    assert_str(snapshot_service(after, STR("a.shop.svc.cluster.local"))->name, "a");
    snapshot_unref(after);
    setting_close(&setting);
}

static void network_gateways(void **state)
{
    (void)state;
    struct setting setting;
    setting_open(&setting);
    setting_add(&setting, 1,
        "{apiVersion: v1, kind: Service, metadata: {name: gw, namespace: istio-system, labels:"
        " {topology.istio.io/network: net2, networking.istio.io/gatewayPort: '15999'}},"
        " spec: {externalIPs: [172.18.0.9, nonsense]}, status: {loadBalancer: {ingress: [{ip: 172.18.0.4},"
        " {hostname: gw.example.com}]}}}");
    struct snapshot *snapshot = mesh_ingest(&setting.world, NULL, NULL);
    assert_int_equal(snapshot->network_gateway_count, 2);
    assert_str(snapshot->network_gateways[0].address, "172.18.0.4");
    assert_int_equal(snapshot->network_gateways[0].port, 15999);
    assert_str(snapshot->network_gateways[0].network, "net2");
    assert_str(snapshot->network_gateways[0].cluster, "cluster2");
    assert_str(snapshot->network_gateways[1].address, "172.18.0.9");
    snapshot_unref(snapshot);
    setting_close(&setting);
}

static void bad_objects_are_left_out_alone(void **state)
{
    (void)state;
    struct setting setting;
    struct mesh_ingest_report report;
    setting_open(&setting);
    setting.world.mesh_config = yaml(&setting.arena, "{connectTimeout: soon}");
    setting_add(&setting, 0,
        "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: bad, namespace: shop},"
        " spec: {servers: [{port: {number: 0}, hosts: [a]}]}}");
    setting_add(&setting, 0,
        "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: good, namespace: shop},"
        " spec: {servers: [{port: {number: 1, protocol: TLS}, tls: {mode: AUTO_PASSTHROUGH}, hosts: [x/a]}]}}");
    struct snapshot *snapshot = mesh_ingest(&setting.world, NULL, &report);
    assert_int_equal(report.objects_refused, 2);
    assert_int_equal(snapshot->config.connect_timeout_s, 10);
    assert_int_equal(snapshot->gateway_count, 1);
    assert_str(snapshot->gateways[0].servers[0].hosts[0], "a");
    snapshot_unref(snapshot);
    setting_close(&setting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(protocols),
        cmocka_unit_test(hosts),
        cmocka_unit_test(workloads),
        cmocka_unit_test(nodes_of_proxies),
        cmocka_unit_test(the_first_cluster_decides),
        cmocka_unit_test(endpoints_wait_for_their_pods),
        cmocka_unit_test(proxies_are_where_their_pods_are),
        cmocka_unit_test(unchanged_services_are_shared),
        cmocka_unit_test(network_gateways),
        cmocka_unit_test(bad_objects_are_left_out_alone),
    };
    return cmocka_run_group_tests_name("mesh", tests, NULL, NULL);
}
