// SPDX-License-Identifier: Apache-2.0
//
// apiserver: the lab's Kubernetes API server: REST with discovery, watch, patches, tables, RBAC, admission
// webhooks and CustomResourceDefinitions over lab/store. Clients are kubectl, client-go, and this
// project's own kube client. One per lab cluster, on one loop.
//
// What it keeps in its state directory: the store (store.db), the cluster CA and the ServiceAccount signing
// key (pki/). Serving and administrator certificates are made anew at every start.
#ifndef LAB_APISERVER_APISERVER_H
#define LAB_APISERVER_APISERVER_H

#include "base/arena.h"
#include "base/error.h"
#include "base/metrics.h"
#include "kube/config.h"
#include "lab/runtime/runtime.h"
#include "loop/loop.h"

struct apiserver;

// All views are copied.
struct apiserver_options {
    struct str cluster_name;    // "cluster1"
    struct str state_directory; // made when missing; empty: nothing is kept
    const int *listen_fds;      // listening sockets, taken over
    size_t listen_fd_count;
    struct str advertise_ip;    // "172.18.0.2": endpoint of the Service default/kubernetes
    uint16_t advertise_port;    // 6443
    struct str service_cidr;    // IPv4; empty: 10.96.0.0/16
    struct metrics *metrics;    // may be NULL
};

// NULL and a sentence that says what is wrong and with which file or address.
struct apiserver *apiserver_new(struct loop *loop, const struct apiserver_options *options, struct error *err);
// Who runs the containers, for pods/log and pods/exec; without one these answer 503. Copied; its
// owner is asked nothing new once the loop turns no more.
void apiserver_set_runtime(struct apiserver *server, const struct runtime *runtime);
// Stops accepting, ends watches, lets requests finish, then on_done; at most deadline_ms.
void apiserver_drain(struct apiserver *server, uint64_t deadline_ms, void (*on_done)(void *owner), void *owner);
void apiserver_free(struct apiserver *server); // NULL is fine
// Webhooks of this Service are asked at address instead of its endpoints: a part of the lab answers in place
// of the Service's pods. The Service itself must be there as ever. Views are copied.
struct address;
void apiserver_stand_in(struct apiserver *server, struct str ns, struct str service, const struct address *address);

struct str apiserver_ca_pem(const struct apiserver *server); // of the cluster; borrowed
// The administrator's kubeconfig in kind's form: cluster, user and context named kind-NAME.
struct str apiserver_kubeconfig(const struct apiserver *server, struct arena *arena, struct str server_url);
// For clients in this process: certificate of the group system:masters. Views are the server's.
struct kube_config apiserver_client_config(const struct apiserver *server, struct arena *arena, struct str server_url);

#endif
