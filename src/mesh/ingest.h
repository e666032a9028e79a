// SPDX-License-Identifier: Apache-2.0
//
// ingest: Kubernetes and Istio objects of all clusters → snapshot. Pure: the objects are JSON values,
// wherever they come from (informers, files of a test world). Nothing of the input is kept.
//
// An object that cannot be used (bad address, unknown pod behind an endpoint, malformed Gateway) is
// left out and counted in the report; it never spoils the rest.
#ifndef MESH_INGEST_H
#define MESH_INGEST_H

#include "base/vec.h"
#include "mesh/snapshot.h"

#define MESH_DEFAULT_GATEWAY_PORT 15443u

enum mesh_kind {
    MESH_NAMESPACES = 0,
    MESH_NODES,
    MESH_PODS,
    MESH_SERVICES,
    MESH_ENDPOINTSLICES,
    MESH_GATEWAYS, // this and what follows is configuration: read from the first cluster only
    MESH_VIRTUAL_SERVICES,
    MESH_DESTINATION_RULES,
    MESH_PEER_AUTHENTICATIONS,
    MESH_KIND_COUNT
};

struct mesh_objects {
    VEC(const struct json_value *) kinds[MESH_KIND_COUNT];
};

struct mesh_cluster {
    struct str id;
    struct mesh_objects objects;
};

struct mesh_world {
    struct mesh_cluster *clusters; // own cluster first
    size_t cluster_count;
    const struct json_value *mesh_config; // may be NULL
    struct str domain;                    // "cluster.local"
    struct str system_namespace;          // "istio-system"
};

struct mesh_ingest_report {
    size_t endpoints_without_pod;
    size_t objects_refused;
    struct error first; // why the first object was refused
};

// previous may be NULL. A service that is equal to the previous snapshot's is shared with it. When
// nothing changed at all, the previous snapshot itself is returned, with one more reference.
struct snapshot *mesh_ingest(const struct mesh_world *world, struct snapshot *previous,
                             struct mesh_ingest_report *ret_report);

// --- worlds read from documents (tests, offline tools) -----------------------------------------------

// Sorts an object into its kind by apiVersion and kind; false: not a kind the mesh reads.
bool mesh_objects_add(struct mesh_objects *objects, const struct json_value *object);
void mesh_objects_done(struct mesh_objects *objects);

#endif
