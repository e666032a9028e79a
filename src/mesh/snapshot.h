// SPDX-License-Identifier: Apache-2.0
//
// snapshot: everything the generators may read: services of all clusters, network gateways, the
// configuration objects of the own cluster and the mesh settings. Immutable, refcounted, replaced
// whole; a new snapshot shares each service that did not change with the one before.
#ifndef MESH_SNAPSHOT_H
#define MESH_SNAPSHOT_H

#include "base/map.h"
#include "mesh/config.h"
#include "mesh/gateway.h"
#include "mesh/object.h"
#include "mesh/proxy.h"
#include "mesh/service.h"

// How a workload of another network is reached: the address of that network's east-west gateway.
struct mesh_network_gateway {
    struct str network;
    struct str cluster;
    struct str address; // IP
    uint32_t port;
};

struct mesh_object_list {
    struct mesh_object **items;
    size_t count;
};

struct snapshot {
    uint32_t references; // atomic
    struct arena arena;  // all but the services
    uint64_t version;    // one more than the snapshot before
    struct mesh_config config;
    struct mesh_service **services; // sorted by creation, then hostname
    size_t service_count;
    struct map services_by_hostname; // values: struct mesh_service
    struct map localities; // of pods: "cluster/pod.namespace" → struct str; pods without one are left out
    struct mesh_network_gateway *network_gateways; // sorted by address, then port
    size_t network_gateway_count;
    struct mesh_gateway *gateways; // sorted by creation, then namespace/name
    size_t gateway_count;
    struct mesh_object_list objects[MESH_OBJECT_KIND_COUNT]; // each sorted by creation, name, namespace
    struct map objects_by_key; // "kind/namespace/name" → struct mesh_object
    // DestinationRules by their host; those with a wildcard host by nothing, in the order above.
    struct map rules_by_host; // values: struct mesh_object_list
    struct mesh_object_list wildcard_rules;
};

struct snapshot *snapshot_ref(struct snapshot *snapshot);
void snapshot_unref(struct snapshot *snapshot); // NULL is fine
struct mesh_service *snapshot_service(const struct snapshot *snapshot, struct str hostname); // borrowed; NULL

struct mesh_object *snapshot_object(const struct snapshot *snapshot, struct arena *scratch,
                                    enum mesh_object_kind kind, struct str ns, struct str name); // borrowed; NULL

// Where a proxy runs: what the registry knows of its pod, else what it said itself.
struct str snapshot_proxy_locality(const struct snapshot *snapshot, const struct mesh_proxy *proxy);

// True when nothing but the version differs.
bool snapshot_equal(const struct snapshot *a, const struct snapshot *b);
bool mesh_network_gateways_equal(const struct snapshot *a, const struct snapshot *b);

#endif
