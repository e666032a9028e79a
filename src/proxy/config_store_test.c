// SPDX-License-Identifier: Apache-2.0
//
// The configuration that a real istiod sends, loaded as if it came over ADS. It lies outside of the
// repository: without it the test says what it did not run, and fails where CI=1 says it must be there.
#include "test.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "codec/pb/pb.h"
#include "codec/yaml/yaml.h"
#include "proxy/config_store.h"
#include "xds/type.h"

#define GOLDEN "data/istiod-golden"
#define STAGE GOLDEN "/non-flat-multi-primary/1-exposed"
#define GOLDEN_PROXIES 120 // all that were recorded

static struct str shared_path(struct arena *arena, const char *path)
{
    const char *shared = getenv("ISTHMESH_SHARED");
    const char *root = getenv("ISTHMESH_SOURCE_ROOT");
    if (shared != NULL) {
        return arena_format(arena, "%s/%s", shared, path);
    }
    return arena_format(arena, "%s/../shared/%s", root == NULL ? "." : root, path);
}

static struct str shared_file(struct arena *arena, const char *name)
{
    struct str path = arena_format(arena, "%s/%s", STAGE, name);
    return shared_path(arena, path.data);
}

static bool is_present(struct arena *arena)
{
    struct str path = shared_file(arena, "cluster1-sleep-0.json");
    if (access(path.data, R_OK) == 0) {
        return true;
    }
    const char *ci = getenv("CI");
    if (ci != NULL && strcmp(ci, "1") == 0) {
        fail_msg("%s is missing", path.data);
    }
    print_message("not run: %s is missing\n", path.data);
    return false;
}

static const struct {
    const char *member;
    enum xds_type type;
} members[] = {{"clusters", XDS_CLUSTER}, {"endpoints", XDS_ENDPOINT}, {"listeners", XDS_LISTENER}, {"routes", XDS_ROUTE}};

static void load_path(struct arena *arena, struct config_store *store, const char *file)
{
    struct str text;
    struct json_value *root;
    struct error err = {0};
    assert_int_equal(file_read(arena, file, FILE_READ_MAX, &text, &err), ERR_OK);
    assert_int_equal(json_parse(arena, text, &root, &err), ERR_OK);
    for (size_t m = 0; m < array_count(members); m++) {
        const struct json_value *list = json_get(root, members[m].member);
        size_t count = json_count(list);
        Google__Protobuf__Any **anys = arena_array(arena, Google__Protobuf__Any *, count + 1);
        for (size_t i = 0; i < count; i++) {
            json_remove(json_at(list, i), STR("@type"));
            void *message = pb_from_json(arena, xds_type_descriptor(members[m].type), json_at(list, i), PB_JSON_IGNORE_UNKNOWN, &err);
            if (message == NULL) {
                fail_msg("%s %s: %s", file, members[m].member, err.message);
            }
            anys[i] = pb_any(arena, message);
        }
        struct buf reasons = {0};
        if (config_store_receive(store, members[m].type, anys, count, STR("1"), &reasons) != ERR_OK) {
            fail_msg("%s %s: %.*s", file, members[m].member, STR_ARG(buf_view(&reasons)));
        }
        buf_done(&reasons);
    }
}

static void load(struct arena *arena, struct config_store *store, const char *file)
{
    load_path(arena, store, shared_file(arena, file).data);
}

static void give_secrets(struct config_store *store)
{
    struct secrets *secrets = secrets_new(config_store_secrets(store));
    secrets_set_certificate(secrets, STR("default"), STR("chain"), STR("key"));
    secrets_set_roots(secrets, STR("ROOTCA"), STR("roots"));
    config_store_set_secrets(store, secrets);
    secrets_unref(secrets);
}

// Names of DNS clusters are answered here: the test asks nobody.
static void answer_hosts(struct arena *arena, struct config_store *store)
{
    struct config_host *hosts;
    size_t count;
    struct address address;
    assert_int_equal(address_from_ip(STR("192.0.2.1"), 0, &address, NULL), ERR_OK);
    config_store_wanted_hosts(store, arena, &hosts, &count);
    for (size_t i = 0; i < count; i++) {
        (void)config_store_set_host(store, hosts[i].name, &address, 1);
    }
}

// Clusters that wait for something the test does not give: the roots of the machine, by SDS.
static size_t waits_for_system_roots(const char *path)
{
    return strstr(path, "8-service-kinds") != NULL ? 1 : 0;
}

static void check_proxy(const char *path)
{
    struct arena arena = {0};
    struct stats *stats = stats_new();
    struct config_store *store = config_store_new(stats);
    load_path(&arena, store, path);
    give_secrets(store);
    answer_hosts(&arena, store);
    assert_non_null(config_store_generation(store));
    size_t warming = config_store_warming(store, XDS_CLUSTER);
    check_row(path, warming <= waits_for_system_roots(path), "%zu clusters warming", warming);
    check_row(path, config_store_warming(store, XDS_LISTENER) == 0, "%zu listeners warming", config_store_warming(store, XDS_LISTENER));
    assert_null(config_store_generation(store)); // nothing changed since
    load_path(&arena, store, path);              // the same again is no change
    assert_null(config_store_generation(store));
    config_store_free(store);
    stats_free(stats);
    arena_done(&arena);
}

// Every proxy of every recorded world.
static void test_all_proxies_load(void **state)
{
    (void)state;
    struct arena arena = {0};
    glob_t found = {0};
    if (!is_present(&arena)) {
        arena_done(&arena);
        skip();
    }
    assert_int_equal(glob(shared_path(&arena, GOLDEN "/*/*/*.json").data, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, GOLDEN_PROXIES);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        check_proxy(found.gl_pathv[i]);
    }
    globfree(&found);
    arena_done(&arena);
}

static const struct listener_config *find_listener(const struct generation *generation, const char *name)
{
    for (size_t i = 0; i < generation->listeners.count; i++) {
        if (str_equal_c(generation->listeners.items[i]->name, name)) {
            return generation->listeners.items[i];
        }
    }
    fail_msg("no listener %s", name);
    return NULL;
}

// The call of the first crossing, decided with a real istiod's configuration: to the service's port, by
// HTTP, to both the local workload and the other cluster's gateway, over mTLS with the right name.
static void test_decisions_of_the_crossing(void **state)
{
    (void)state;
    struct arena arena = {0};
    if (!is_present(&arena)) {
        arena_done(&arena);
        skip();
    }
    struct stats *stats = stats_new();
    struct config_store *store = config_store_new(stats);
    load(&arena, store, "cluster1-sleep-0.json");
    give_secrets(store);
    const struct generation *generation = config_store_generation(store);
    const struct listener_config *listener = find_listener(generation, "0.0.0.0_5000");
    assert_false(listener->binds);
    struct address destination;
    struct address source;
    assert_int_equal(address_parse(STR("10.96.1.50:5000"), &destination, NULL), ERR_OK);
    assert_int_equal(address_parse(STR("10.244.0.9:40000"), &source, NULL), ERR_OK);
    struct str http = STR("http/1.1");
    const struct chain_facts facts = {.destination = &destination, .source = &source, .transport = STR("raw_buffer"), .protocols = &http, .protocol_count = 1};
    int chain = chain_match_find(listener->match, &facts);
    assert_int_equal(chain, 0);
    assert_str(listener->chains[0].http->route_name, "5000");

    struct http_head head;
    http_head_init_request(&head, STR("GET"), STR("http"), STR("helloworld.sample:5000"), STR("/hello"));
    const struct route_cluster_weight *weight;
    const struct route *route = route_find(map_get(&generation->routes, STR("5000")), &head, 0);
    assert_non_null(route);
    assert_int_equal(route->timeout_ms, 0);
    assert_int_equal(route->retry->retries_max, 2);
    struct str name = route_pick_cluster(route, &head, 0, &weight);
    assert_str(name, "outbound|5000||helloworld.sample.svc.cluster.local");
    const struct cluster *cluster = map_get(&generation->clusters, name);
    assert_int_equal(cluster->endpoints->count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const struct transport_socket *socket = cluster->endpoints->endpoints[i].transport;
        assert_true(socket->is_tls);
        assert_str(socket->server_name, "outbound_.5000_._.helloworld.sample.svc.cluster.local");
        assert_str(socket->certificate_name, "default");
        assert_str(socket->roots_name, "ROOTCA");
        assert_int_equal(socket->san_count, 1);
        assert_str(socket->sans[0].value, "spiffe://cluster.local/ns/sample/sa/default");
        assert_int_equal(socket->version_max, 13);
    }
    config_store_free(store);
    stats_free(stats);
    arena_done(&arena);
}

static void test_a_bad_resource_is_refused_alone(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct stats *stats = stats_new();
    struct config_store *store = config_store_new(stats);
    Envoy__Config__Cluster__V3__Cluster *good = pb_new(&arena, xds_type_descriptor(XDS_CLUSTER));
    good->name = pb_text(&arena, STR("good"));
    Envoy__Config__Cluster__V3__Cluster *bad = pb_new(&arena, xds_type_descriptor(XDS_CLUSTER));
    bad->name = pb_text(&arena, STR("bad"));
    bad->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__LOAD_BALANCING_POLICY_CONFIG;
    Google__Protobuf__Any *anys[] = {pb_any(&arena, bad), pb_any(&arena, good)};
    struct buf reasons = {0};
    assert_int_equal(config_store_receive(store, XDS_CLUSTER, anys, 2, STR("1"), &reasons), ERR_INVALID);
    assert_true(str_starts_with(buf_view(&reasons), STR("bad: ")));
    const struct generation *generation = config_store_generation(store);
    assert_non_null(map_get(&generation->clusters, STR("good")));
    assert_null(map_get(&generation->clusters, STR("bad")));
    buf_done(&reasons);
    config_store_free(store);
    stats_free(stats);
    arena_done(&arena);
}

// Roots named as files are read when the cluster comes; without the file it waits.
static void test_roots_from_files(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct stats *stats = stats_new();
    struct config_store *store = config_store_new(stats);
    char path[] = "/tmp/isthmesh-roots-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "roots", 5), 5);
    (void)close(fd);
    static const char *const suffixes[] = {"", ".none"};
    for (size_t i = 0; i < array_count(suffixes); i++) {
        struct error err = {0};
        struct json_value *json;
        struct str yaml = arena_format(&arena,
                                       "{name: 'c%zu', type: STATIC, transport_socket: {name: t, typed_config: {'@type': "
                                       "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: "
                                       "{combined_validation_context: {default_validation_context: {}, validation_context_sds_secret_config: {name: 'file-root:%s%s'}}}}}}",
                                       i, path, suffixes[i]);
        assert_int_equal(yaml_parse(&arena, yaml, &json, &err), ERR_OK);
        const void *message = pb_from_json(&arena, xds_type_descriptor(XDS_CLUSTER), json, PB_JSON_STRICT, &err);
        if (message == NULL || config_store_add_static(store, XDS_CLUSTER, pb_any(&arena, message), &err) != ERR_OK) {
            fail_msg("%s", err.message);
        }
    }
    const struct generation *generation = config_store_generation(store);
    assert_non_null(map_get(&generation->clusters, STR("c0")));
    assert_null(map_get(&generation->clusters, STR("c1")));
    assert_int_equal(config_store_warming(store, XDS_CLUSTER), 1);
    (void)unlink(path);
    config_store_free(store);
    stats_free(stats);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_proxies_load),
        cmocka_unit_test(test_decisions_of_the_crossing),
        cmocka_unit_test(test_a_bad_resource_is_refused_alone),
        cmocka_unit_test(test_roots_from_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
