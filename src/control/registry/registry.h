// SPDX-License-Identifier: Apache-2.0
//
// registry: watches the own cluster and every cluster a remote secret names, and turns what they hold
// into snapshots. A remote secret is a Secret with label istio/multiCluster=true in the system
// namespace: each data key is a cluster id, each value a kubeconfig. Adding, changing and deleting
// them works while running; a malformed one is reported and skipped.
//
// A change makes a new snapshot in the same loop turn when nothing happened for REGISTRY_QUIET_MS, else
// when that time is over: single changes are seen at once, storms are merged.
//
// Runs on one loop's thread. The snapshot handed out may be used on any.
#ifndef CONTROL_REGISTRY_REGISTRY_H
#define CONTROL_REGISTRY_REGISTRY_H

#include "base/metrics.h"
#include "kube/client.h"
#include "mesh/snapshot.h"

#define REGISTRY_QUIET_MS 50u
#define REGISTRY_REMOTE_TIMEOUT_MS 30000u // nobody waits longer for a remote cluster at start
#define REGISTRY_CLUSTERS_MAX 256u

struct registry;

struct registry_options {
    const struct kube_config *config; // of the own cluster
    struct str cluster;               // its id
    struct str system_namespace;      // "istio-system"
    struct str domain;                // "cluster.local"
    uint64_t remote_timeout_ms;       // 0: REGISTRY_REMOTE_TIMEOUT_MS
    struct metrics *metrics;
};

struct registry_events {
    void (*on_snapshot)(void *owner, struct snapshot *snapshot); // borrowed; take a reference to keep it
    void (*on_ready)(void *owner);                               // once
};

struct registry *registry_new(struct loop *loop, const struct registry_options *options,
                              const struct registry_events *events, void *owner, struct error *err);
void registry_free(struct registry *registry); // NULL is fine

// All clusters known at start are synced, or waited for long enough.
bool registry_is_ready(const struct registry *registry);
struct snapshot *registry_snapshot(const struct registry *registry); // borrowed; NULL before the first
// The API client of a cluster; empty id: the own one. NULL: no such cluster.
struct kube_client *registry_client(const struct registry *registry, struct str cluster);

// JSON of /debug/clusterz and /debug/registryz.
void registry_write_clusters(const struct registry *registry, struct buf *out);
void registry_write_services(const struct registry *registry, struct buf *out);

#endif
