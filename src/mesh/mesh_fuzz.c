// SPDX-License-Identifier: Apache-2.0
//
// Objects of (possibly foreign) clusters, one JSON array of them: ingested as own and as remote cluster,
// then once more on top of the result, which must be shared.
#include <stdint.h>

#include "base/assert.h"
#include "mesh/ingest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct json_value *json = NULL;
    if (json_parse(&arena, str_make((const char *)data, size), &json, NULL) == ERR_OK) {
        struct mesh_cluster clusters[2] = {{.id = STR("cluster1")}, {.id = STR("cluster2")}};
        struct mesh_world world = {
            .clusters = clusters, .cluster_count = 2, .mesh_config = json_at(json, 0),
            .domain = STR("cluster.local"), .system_namespace = STR("istio-system"),
        };
        for (size_t i = 0; i < json_count(json); i++) {
            (void)mesh_objects_add(&clusters[i % 2].objects, json_at(json, i));
        }
        struct snapshot *first = mesh_ingest(&world, NULL, NULL);
        struct snapshot *second = mesh_ingest(&world, first, NULL);
        ASSERT(first == second);
        snapshot_unref(second);
        snapshot_unref(first);
        mesh_objects_done(&clusters[0].objects);
        mesh_objects_done(&clusters[1].objects);
    }
    arena_done(&arena);
    return 0;
}
