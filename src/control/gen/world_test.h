// SPDX-License-Identifier: Apache-2.0
//
// For tests: worlds read from YAML files, and everything a proxy would be sent as one JSON value
// {"clusters", "listeners", "routes", "endpoints"}, each sorted by name.
#ifndef CONTROL_GEN_WORLD_TEST_H
#define CONTROL_GEN_WORLD_TEST_H

#include "control/gen/gen.h"
#include "mesh/ingest.h"

struct test_world {
    struct arena arena;
    struct mesh_world world;
    struct mesh_cluster clusters[4];
};

// Reads directory/<prefix><cluster id>.yaml for each id; the first is the own cluster. Fails the test
// when a file is missing or malformed.
void test_world_load(struct test_world *world, const char *directory, const char *prefix,
                     const char *const *cluster_ids, size_t cluster_count);
void test_world_add(struct test_world *world, size_t cluster, const char *json); // one more object
void test_world_done(struct test_world *world);

// What a proxy with this xDS node (JSON: id, metadata, locality) would have in the end: endpoints of all
// its clusters, routes of all its listeners.
struct json_value *test_generate(struct arena *arena, const struct snapshot *snapshot,
                                 const struct json_value *node);

#endif
