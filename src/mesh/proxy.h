// SPDX-License-Identifier: Apache-2.0
//
// proxy: who asks for configuration: a data-plane proxy as it introduces itself in the xDS node.
// Node id: "<type>~<ip>~<pod>.<namespace>~<dns domain>", exactly four fields. These are bytes from
// outside: everything is checked and bounded, nothing is believed beyond what a stream's
// authenticated identity allows (control/serve compares it).
#ifndef MESH_PROXY_H
#define MESH_PROXY_H

#include "base/error.h"
#include "mesh/labels.h"

#define MESH_PROXY_ADDRESSES_MAX 16u
#define MESH_PROXY_NETWORKS_MAX 64u

enum mesh_proxy_type { MESH_PROXY_SIDECAR = 0, MESH_PROXY_ROUTER };

struct mesh_proxy {
    struct str node_id;
    enum mesh_proxy_type type;
    struct str id;         // "pod.namespace"
    struct str ns;         // where its configuration lives
    struct str dns_domain; // "namespace.svc.cluster.local"
    struct str addresses[MESH_PROXY_ADDRESSES_MAX];
    size_t address_count;
    struct str cluster;
    struct str network; // empty: the same as everything
    struct str network_view[MESH_PROXY_NETWORKS_MAX]; // none: everything
    size_t network_view_count;
    struct str service_account;
    struct str mesh_id;
    struct str version;
    struct mesh_labels labels;
    struct str locality; // "region/zone/subzone"
    bool is_unprivileged; // cannot bind ports below 1024
};

// metadata: the node's metadata as JSON. All results live in the arena.
enum err mesh_proxy_from_node(struct arena *arena, struct str node_id,
                              const struct json_value *metadata, struct str locality,
                              struct mesh_proxy *ret_proxy, struct error *err) must_check;

bool mesh_proxy_has_address(const struct mesh_proxy *proxy, struct str address);
// Both sides undefined, equal, or one of them undefined.
bool mesh_proxy_is_in_network(const struct mesh_proxy *proxy, struct str network);
// REQUESTED_NETWORK_VIEW: endpoints without a network are always visible.
bool mesh_proxy_sees_network(const struct mesh_proxy *proxy, struct str network);

#endif
