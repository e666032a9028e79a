// SPDX-License-Identifier: Apache-2.0
//
// generator: what control/serve calls to fill a response and control/gen implements, so that neither
// includes the other. A generator is pure: all inputs are arguments.
#ifndef XDS_GENERATOR_H
#define XDS_GENERATOR_H

#include "base/arena.h"
#include "base/vec.h"
#include "xds/type.h"

struct snapshot;   // mesh/snapshot.h
struct mesh_proxy; // mesh/proxy.h

struct xds_resource {
    struct str name;
    const void *message; // of xds_type_descriptor(type), in the arena
};

struct xds_resources {
    VEC(struct xds_resource) items;
};

struct generator {
    // Appends the resources of the names asked; wildcard types ignore names. False: this proxy gets no
    // response of this type (not even an empty one).
    bool (*generate)(struct arena *arena, const struct snapshot *snapshot, const struct mesh_proxy *proxy,
                     enum xds_type type, const struct str *names, size_t name_count, struct xds_resources *ret_resources);
};

#endif
