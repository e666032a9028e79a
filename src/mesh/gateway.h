// SPDX-License-Identifier: Apache-2.0
//
// gateway: a Gateway object (networking.istio.io) as the generators need it. What is not in force yet
// stays in the stored object and is not read here.
#ifndef MESH_GATEWAY_H
#define MESH_GATEWAY_H

#include "base/error.h"
#include "mesh/labels.h"
#include "mesh/protocol.h"

#define MESH_GATEWAY_SERVERS_MAX 256u
#define MESH_GATEWAY_HOSTS_MAX 1024u

enum mesh_gateway_tls {
    MESH_GATEWAY_TLS_NONE = 0,
    MESH_GATEWAY_TLS_AUTO_PASSTHROUGH, // routed by the SNI that sidecars build: east-west
    MESH_GATEWAY_TLS_OTHER,            // valid, not in force yet
};

struct mesh_gateway_server {
    uint32_t port; // of the Service in front, translated to the pod's
    struct str name;
    enum mesh_protocol protocol;
    enum mesh_gateway_tls tls;
    struct str *hosts; // with the optional "namespace/" cut off
    struct str *host_namespaces; // VirtualServices of which namespace may use the host; empty: any
    bool is_https_redirect;
    size_t host_count;
};

struct mesh_gateway {
    struct str ns;
    struct str name;
    struct str created;
    struct mesh_labels selector;
    struct mesh_gateway_server *servers;
    size_t server_count;
};

// object: the whole Gateway, metadata included. Everything is copied into the arena.
enum err mesh_gateway_from_json(struct arena *arena, const struct json_value *object,
                                struct mesh_gateway *ret_gateway, struct error *err) must_check;

// "*", "*.suffix" or the name itself.
bool mesh_host_matches(struct str pattern, struct str hostname);

#endif
