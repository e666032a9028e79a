// SPDX-License-Identifier: Apache-2.0
//
// node: the agent of one lab node, as kubelet and kube-proxy are to a real one. It registers the Node
// object, runs the pods bound to it (namespaces, volumes, containers through runc, probes, status), and
// keeps the node's service rules. It sees the cluster through kube informers only.
//
// Runs on one loop, in the node's network namespace, as the first process of its process namespace (or a
// subreaper): containers become its children.
#ifndef LAB_NODE_NODE_H
#define LAB_NODE_NODE_H

#include "base/error.h"
#include "base/str.h"
#include "kube/client.h"
#include "loop/loop.h"

struct node;

// All views are copied.
struct node_options {
    struct str name;            // of the Node object
    struct str node_ip;         // on the underlay
    struct str pod_cidr;        // of the cluster; the node takes the first /24
    struct str dns_ip;          // of the cluster DNS service
    struct str state_directory; // logs and container ids, for people
    struct str run_directory;   // a private mount: everything else
    struct str programs;        // folder of our programs
    struct str cgroup;          // control group under which containers run
    struct str region;          // empty: no label
    struct str zone;
};

// client stays the caller's and outlives the node. NULL and a sentence on failure.
struct node *node_new(struct loop *loop, struct kube_client *client, const struct node_options *options, struct error *err);
bool node_is_ready(const struct node *node); // registered, informers synced, service rules in force
// Ends all containers (SIGTERM, then SIGKILL at the deadline), then on_done; node_free() may follow.
void node_drain(struct node *node, uint64_t deadline_ms, void (*on_done)(void *owner), void *owner);
void node_free(struct node *node); // NULL is fine

#endif
