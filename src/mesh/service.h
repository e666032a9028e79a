// SPDX-License-Identifier: Apache-2.0
//
// service: one mesh service, as merged from all clusters that have a Service of that namespace and
// name, with the endpoints of every cluster. Immutable and refcounted once built: snapshots share
// every service that did not change, so "same pointer" means "same content".
//
// Merging: the first cluster's object (own cluster first, then by cluster id) decides ports, labels
// and resolution; from the others only the cluster IP, the selector and the endpoints are taken.
#ifndef MESH_SERVICE_H
#define MESH_SERVICE_H

#include "base/arena.h"
#include "base/str.h"
#include "mesh/labels.h"
#include "mesh/protocol.h"

enum mesh_resolution {
    MESH_RESOLUTION_ENDPOINTS = 0, // a cluster IP: endpoints are balanced by the client's proxy
    MESH_RESOLUTION_PASSTHROUGH,   // headless: the caller has picked an address
};

struct mesh_port {
    struct str name;
    uint32_t number;
    enum mesh_protocol protocol;
    uint32_t target_number; // 0: named, see target_name
    struct str target_name;
};

// What one cluster contributes to a service.
struct mesh_service_cluster {
    struct str cluster;
    struct str address; // cluster IP; empty when headless
    struct mesh_labels selector;
};

struct mesh_endpoint_port {
    struct str name; // of the Service port
    uint32_t number; // where the pod listens
};

struct mesh_endpoint {
    struct str address;
    const struct mesh_endpoint_port *ports; // shared by all endpoints of a slice
    size_t port_count;
    struct str cluster;
    struct str network;  // empty: reachable from everywhere
    struct str locality; // "region/zone/subzone", shorter, or empty
    struct str ns;
    struct str pod;      // name, when a pod stands behind it
    struct str identity; // "spiffe://…"; empty when no pod stands behind it
    struct str workload; // "name;namespace;canonical name;canonical revision;cluster"
    struct str hostname;  // of the pod's own name, "db-0"; empty: it has none
    struct str subdomain; // and the headless service it stands under, "db"
    struct mesh_labels labels;
    uint32_t weight;
    bool is_mtls;  // label security.istio.io/tlsMode=istio
    bool is_ready;
};

struct mesh_service {
    uint32_t references; // atomic
    struct arena arena;  // everything below lives here
    struct str hostname; // "name.ns.svc.domain"
    struct str name;
    struct str ns;
    struct str created; // creationTimestamp of the deciding object; sorts as text
    enum mesh_resolution resolution;
    struct mesh_labels labels;
    struct mesh_port *ports;
    size_t port_count;
    struct mesh_service_cluster *clusters; // the deciding one first
    size_t cluster_count;
    struct mesh_endpoint *endpoints; // sorted by cluster, then in the order of the slices
    size_t endpoint_count;
    struct str *identities; // of all endpoints, sorted, without duplicates
    size_t identity_count;
    bool is_cluster_local; // each cluster keeps to its own endpoints
};

struct mesh_service *mesh_service_ref(struct mesh_service *service);
void mesh_service_unref(struct mesh_service *service); // NULL is fine
bool mesh_service_equal(const struct mesh_service *a, const struct mesh_service *b);

// The address a workload of that cluster calls it by: that cluster's IP, else the deciding cluster's;
// empty for headless services.
struct str mesh_service_address(const struct mesh_service *service, struct str cluster);
const struct mesh_port *mesh_service_port(const struct mesh_service *service, uint32_t number);
// That cluster's own selector; NULL when it has no such Service or no selector.
const struct mesh_labels *mesh_service_selector(const struct mesh_service *service, struct str cluster);
// Where the endpoint listens for that Service port; 0: nowhere.
uint32_t mesh_endpoint_port_number(const struct mesh_endpoint *endpoint, struct str port_name);

#endif
