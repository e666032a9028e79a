// SPDX-License-Identifier: Apache-2.0
//
// Configuration objects as anybody with write access to the API server may store them, one JSON array of
// them: everything is generated from them for a sidecar and for a router of a small world.
#include <stdint.h>

#include "base/assert.h"
#include "control/gen/gen.h"
#include "mesh/ingest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char world_objects[] =
    "[{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"a\",\"namespace\":\"a\"},\"spec\":"
    "{\"clusterIP\":\"10.0.0.1\",\"selector\":{\"app\":\"a\"},\"ports\":[{\"name\":\"http\",\"port\":80},"
    "{\"name\":\"x\",\"port\":81}]}},"
    "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a-1\",\"namespace\":\"a\",\"labels\":"
    "{\"app\":\"a\",\"security.istio.io/tlsMode\":\"istio\",\"istio-locality\":\"r1.z1\"}},\"spec\":{}},"
    "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"a-1\","
    "\"namespace\":\"a\",\"labels\":{\"kubernetes.io/service-name\":\"a\"}},\"ports\":[{\"name\":\"http\","
    "\"port\":80}],\"endpoints\":[{\"addresses\":[\"10.0.0.2\"],\"targetRef\":{\"kind\":\"Pod\",\"name\":"
    "\"a-1\",\"namespace\":\"a\"}}]}]";

static void generate_all(struct arena *arena, const struct snapshot *snapshot, enum mesh_proxy_type type)
{
    static const struct str names[] = {
        {"80", 2}, {"a.a.svc.c.l:81", 14}, {"http.80", 7}, {"outbound|80||a.a.svc.c.l", 24},
        {"outbound|80|v1|a.a.svc.c.l", 26}, {"outbound_.80_.v1_.a.a.svc.c.l", 29},
    };
    struct mesh_label label = {.name = STR("app"), .value = STR("a")};
    struct mesh_proxy proxy = {
        .type = type, .dns_domain = STR("a.svc.c.l"), .ns = STR("a"), .cluster = STR("cluster1"),
        .labels = {&label, 1}, .locality = STR("r1/z1"), .addresses = {STR("10.0.0.2")},
        .address_count = 1,
    };
    for (int kind = XDS_CLUSTER; kind < XDS_TYPE_COUNT; kind++) {
        struct xds_resources resources = {0};
        (void)gen_generate(arena, snapshot, &proxy, (enum xds_type)kind, names, array_count(names),
                           &resources);
        vec_done(&resources.items);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct json_value *json = NULL;
    struct json_value *base = NULL;
    if (json_parse(&arena, str_make((const char *)data, size), &json, NULL) == ERR_OK) {
        struct mesh_cluster cluster = {.id = STR("cluster1")};
        struct mesh_world world = {
            .clusters = &cluster, .cluster_count = 1, .domain = STR("c.l"), .system_namespace = STR("s")};
        enum err code = json_parse(&arena, str_of(world_objects), &base, NULL);
        ASSERT(code == ERR_OK);
        for (size_t i = 0; i < json_count(base); i++) {
            (void)mesh_objects_add(&cluster.objects, json_at(base, i));
        }
        for (size_t i = 0; i < json_count(json); i++) {
            (void)mesh_objects_add(&cluster.objects, json_at(json, i));
        }
        struct snapshot *snapshot = mesh_ingest(&world, NULL, NULL);
        generate_all(&arena, snapshot, MESH_PROXY_SIDECAR);
        generate_all(&arena, snapshot, MESH_PROXY_ROUTER);
        snapshot_unref(snapshot);
        mesh_objects_done(&cluster.objects);
    }
    arena_done(&arena);
    return 0;
}
