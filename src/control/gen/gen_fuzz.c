// SPDX-License-Identifier: Apache-2.0
//
// Resource names as a proxy may send them, one per line: endpoints and routes of a small world.
#include <stdint.h>

#include "base/assert.h"
#include "control/gen/gen.h"
#include "mesh/ingest.h"

#define NAMES_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char service[] =
    "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"a\",\"namespace\":\"b\"},\"spec\":"
    "{\"clusterIP\":\"10.0.0.1\",\"ports\":[{\"name\":\"http\",\"port\":80},{\"name\":\"x\",\"port\":81}]}}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct json_value *object = NULL;
    struct mesh_cluster cluster = {.id = STR("cluster1")};
    struct mesh_world world = {
        .clusters = &cluster, .cluster_count = 1, .domain = STR("c.l"), .system_namespace = STR("s")};
    enum err code = json_parse(&arena, str_of(service), &object, NULL);
    ASSERT(code == ERR_OK);
    (void)mesh_objects_add(&cluster.objects, object);
    struct snapshot *snapshot = mesh_ingest(&world, NULL, NULL);
    struct mesh_proxy proxy = {.dns_domain = STR("b.svc.c.l"), .ns = STR("b"), .cluster = STR("cluster1")};
    struct str rest = str_make((const char *)data, size);
    struct str names[NAMES_MAX];
    size_t count = 0;
    while (rest.data != NULL && count < NAMES_MAX) {
        names[count++] = str_split(&rest, '\n');
    }
    for (int type = XDS_CLUSTER; type <= XDS_ROUTE; type++) {
        struct xds_resources resources = {0};
        (void)gen_generate(&arena, snapshot, &proxy, (enum xds_type)type, names, count, &resources);
        vec_done(&resources.items);
    }
    snapshot_unref(snapshot);
    mesh_objects_done(&cluster.objects);
    arena_done(&arena);
    return 0;
}
