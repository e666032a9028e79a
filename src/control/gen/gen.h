// SPDX-License-Identifier: Apache-2.0
//
// gen: snapshot + proxy → xDS resources, in Istio's dialect. Pure: all inputs are arguments, nothing is
// remembered, so the same inputs give the same bytes, online and offline.
//
// Clusters and listeners come whole (their names are the server's choice); endpoints and routes are
// answered for the names asked. A name that means nothing here still gets its empty resource: a proxy
// that waits for it must not wait for ever.
#ifndef CONTROL_GEN_GEN_H
#define CONTROL_GEN_GEN_H

#include "base/vec.h"
#include "mesh/proxy.h"
#include "mesh/snapshot.h"

enum gen_type { GEN_CLUSTERS = 0, GEN_ENDPOINTS, GEN_LISTENERS, GEN_ROUTES, GEN_TYPE_COUNT };

struct gen_resource {
    struct str name;
    void *message; // protobuf-c message in the arena
};

struct gen_resources {
    VEC(struct gen_resource) items;
};

const char *gen_type_url(enum gen_type type);

// Appends to ret_resources (the caller's, vec_done(&resources.items)); messages live in the arena.
// names are used for endpoints and routes only.
void gen_generate(struct arena *arena, const struct snapshot *snapshot, const struct mesh_proxy *proxy,
                  enum gen_type type, const struct str *names, size_t name_count,
                  struct gen_resources *ret_resources);

#endif
