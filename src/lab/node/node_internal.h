// SPDX-License-Identifier: Apache-2.0
#ifndef LAB_NODE_NODE_INTERNAL_H
#define LAB_NODE_NODE_INTERNAL_H

#include "base/map.h"
#include "base/metrics.h"
#include "kube/informer.h"
#include "lab/node/context.h"
#include "lab/node/control_groups.h"
#include "lab/node/node.h"
#include "lab/node/sandbox.h"

struct service_proxy;

// The node agent. Views are NUL-terminated and live in its arena.
struct node {
    struct loop *loop;
    struct kube_client *client;
    struct arena arena;
    struct str name;            // "cluster1-control-plane"
    struct str node_ip;
    struct str gateway_ip;      // the node as pods see it
    struct in_addr gateway;
    struct str dns_ip;
    struct str cluster_cidr;    // of pods
    struct str pod_cidr;        // of this node's pods
    struct str state_directory; // seen by the machine: logs, container ids
    struct str run_directory;   // private: volumes, roots
    struct str runc_root;
    struct str programs;
    struct str cgroup;          // "/isthmesh-lab-NAME/cluster1"
    struct control_groups groups; // what of a container's limits can be enforced
    struct str machine_resolv;
    struct str region;
    struct str zone;
    struct informer *pods;
    struct informer *secrets;
    struct informer *config_maps;
    struct informer *services;
    struct service_proxy *proxy;
    struct map pod_map;         // uid → struct pod
    struct address_pool addresses;
    unsigned sandbox_count;     // names links; never reused
    struct object_source source;
    struct loop_timer heartbeat;
    struct kube_call *call;     // of the Node object
    bool is_registered;
    bool is_draining;
    void (*on_drained)(void *owner);
    void *drain_owner;
};

// A pod's machinery is gone: forget it.
void node_forget_pod(struct node *node, struct str uid);
// An Event on a pod (type "Normal" or "Warning").
void node_record_event(struct node *node, const struct json_value *pod, const char *type, const char *reason, struct str message);

#endif
