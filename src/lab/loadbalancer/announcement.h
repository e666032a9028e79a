// SPDX-License-Identifier: Apache-2.0
//
// announcement: which node announces a Service's address. Every node comes to the same answer by itself:
// among those that may, the one with the smallest SHA-256 of "NODE#ADDRESS". May: ready, reachable, chosen by
// an L2Advertisement of the pool, and with externalTrafficPolicy Local a node with a pod that serves.
//
// Pure: objects in, a name out.
#ifndef LAB_LOADBALANCER_ANNOUNCEMENT_H
#define LAB_LOADBALANCER_ANNOUNCEMENT_H

#include "lab/loadbalancer/pool.h"

struct announcement_input {
    const struct json_value *const *advertisements; // L2Advertisements
    size_t advertisement_count;
    const struct json_value *const *nodes;
    size_t node_count;
    const struct json_value *const *slices; // EndpointSlices, of any Service
    size_t slice_count;
};

// The node that announces `address` (text) of `pool` for the Service; empty: none. In the objects.
struct str announcement_leader(const struct announcement_input *input, const struct json_value *service,
                               const struct pool *pool, struct str address);
// May the node use the interface for it? False when the advertisements that choose it name others only.
bool announcement_allows_interface(const struct announcement_input *input, const struct pool *pool, struct str node,
                                   struct str interface);

#endif
