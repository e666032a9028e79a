// SPDX-License-Identifier: Apache-2.0
//
// cluster: one cluster whose objects the mesh reads: its API client and an informer per kind. When its
// credentials change, the new connection is built beside the old one and takes over once it has
// everything; until then, and while the API server is out of reach, the last good objects stay.
//
//   starting ──synced──► synced ──(new credentials)──► synced, next one starting ──synced──► synced
//       └──remote_timeout_ms──► timed out (nobody waits for it any more) ──synced──► synced
#ifndef CONTROL_REGISTRY_CLUSTER_H
#define CONTROL_REGISTRY_CLUSTER_H

#include "kube/informer.h"
#include "mesh/ingest.h"

struct cluster;

struct cluster_options {
    struct str id;
    struct str secret;        // "ns/name" it came from; empty: the own cluster
    bool has_configuration;   // read Gateways and their like from it too
    uint64_t sync_timeout_ms; // 0: no limit
};

struct cluster_events {
    void (*on_change)(void *owner, struct cluster *cluster); // some object changed
    void (*on_state)(void *owner, struct cluster *cluster);  // synced or timed out
};

struct cluster *cluster_new(struct loop *loop, const struct cluster_options *options,
                            const struct cluster_events *events, void *owner);
void cluster_free(struct cluster *cluster);

// Connects, or connects anew with other credentials. kubeconfig is kept to tell changes; empty for the
// own cluster.
enum err cluster_connect(struct cluster *cluster, const struct kube_config *config, struct str kubeconfig,
                         struct error *err) must_check;
bool cluster_has_kubeconfig(const struct cluster *cluster, struct str kubeconfig);

struct str cluster_id(const struct cluster *cluster);
struct str cluster_secret(const struct cluster *cluster);
bool cluster_is_synced(const struct cluster *cluster);    // has had everything once
bool cluster_is_connected(const struct cluster *cluster); // and hears of changes now
bool cluster_is_waited_for(const struct cluster *cluster); // neither synced nor timed out
const char *cluster_status(const struct cluster *cluster); // "syncing", "synced", "timeout"
uint64_t cluster_stale_ms(const struct cluster *cluster);  // the oldest of its informers; 0: current
struct kube_client *cluster_client(const struct cluster *cluster); // NULL before the first connect

// Borrowed until the next loop turn. Nothing before it is synced: half a cluster would look like one
// whose services have lost their endpoints.
void cluster_collect(const struct cluster *cluster, struct mesh_objects *out);

#endif
