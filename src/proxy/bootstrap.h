// SPDX-License-Identifier: Apache-2.0
//
// bootstrap: what the proxy knows before it speaks to a control plane: static resources from a file, or,
// in a pod, who it is: the node of its xDS requests, from the environment and the downward API files.
#ifndef PROXY_BOOTSTRAP_H
#define PROXY_BOOTSTRAP_H

#include "envoy/config/bootstrap/v3/bootstrap.pb-c.h"
#include "proxy/config_store.h"

#define BOOTSTRAP_FILE_MAX (16u * 1024 * 1024)

// YAML or JSON file into the message.
Envoy__Config__Bootstrap__V3__Bootstrap *bootstrap_read(struct arena *arena, const char *path, struct error *err);
// Static listeners, clusters and secrets into the store.
enum err bootstrap_apply(const Envoy__Config__Bootstrap__V3__Bootstrap *bootstrap, struct config_store *store, struct error *err) must_check;

struct node_facts {
    struct str type;            // "sidecar" or "router"
    struct str domain;          // "ns.svc.cluster.local"
    const char *pod_directory;  // labels, annotations: /etc/istio/pod
    const char *(*lookup)(const char *name); // environment
    const char *const *environment;          // "NAME=value" list for the ISTIO_META_ prefixes; NULL-terminated
    struct str instance_ips;    // comma list; empty: from INSTANCE_IP
};

// The node of our xDS requests: id, cluster, metadata, locality.
Envoy__Config__Core__V3__Node *node_make(struct arena *arena, const struct node_facts *facts, struct error *err);

#endif
