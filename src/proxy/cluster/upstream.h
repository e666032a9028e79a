// SPDX-License-Identifier: Apache-2.0
//
// upstream: one worker's way to the hosts: balancing state and connection pools. Everything is made when
// first used, so that thousands of clusters nobody calls cost nothing here. Single-threaded.
//
//   upstreams_get(name) ─► upstream_pick() ─► upstream_request() or upstream_connect()
//
// A new generation of the configuration (upstreams_refresh) rebuilds what changed. What is under way
// finishes on the pool it has: retired pools take no new work and go when their last request ends.
#ifndef PROXY_CLUSTER_UPSTREAM_H
#define PROXY_CLUSTER_UPSTREAM_H

#include "base/random.h"
#include "net/http.h"
#include "proxy/cluster/cluster.h"
#include "proxy/cluster/stats.h"

#define UPSTREAM_POOL_IDLE_MS 300000u  // a pool unused for so long is freed
#define UPSTREAM_SWEEP_MS 30000u
#define UPSTREAM_POOLS_MAX 20000u      // per worker; beyond it requests are refused as overflow

struct upstreams;
struct upstream_cluster;
struct upstream_pool;

// The cluster of that name in the worker's present generation; borrowed, NULL: none.
typedef struct cluster *upstream_find_fn(void *owner, struct str name);

struct upstreams *upstreams_new(struct loop *loop, struct stats *stats, struct random *random,
                                upstream_find_fn *find, void *owner);
void upstreams_free(struct upstreams *upstreams); // cancels what is under way
void upstreams_refresh(struct upstreams *upstreams);
void upstreams_set_secrets(struct upstreams *upstreams, struct secrets *secrets); // takes a reference of its own

// Counters of a cluster; gauges double as circuit breakers, because all workers share them.
struct cluster_stats {
    struct stat *cx_total;
    struct stat *cx_active;
    struct stat *cx_connect_fail;
    struct stat *cx_connect_timeout;
    struct stat *cx_overflow;
    struct stat *cx_none_healthy;
    struct stat *cx_rx_bytes;
    struct stat *cx_tx_bytes;
    struct stat *rq_total;
    struct stat *rq_active;
    struct stat *rq_completed;
    struct stat *rq_pending_overflow;
    struct stat *rq_timeout;
    struct stat *rq_retry;
    struct stat *rq_retry_active;
    struct stat *rq_retry_overflow;
    struct stat *rq_retry_limit;
    struct stat *rq_class[6]; // by hundreds of the status
    // With outlier detection only; else NULL.
    struct stat *ejections_active;
    struct stat *ejections_total;
    struct stat *ejections_overflow;
    struct stat *ejections_detected[OUTLIER_KIND_COUNT];
    struct stat *ejections_enforced[OUTLIER_KIND_COUNT];
};

struct upstream_cluster *upstreams_get(struct upstreams *upstreams, struct str name); // NULL: no such cluster
// Borrowed from the worker; a request that lives longer than the callback holds it.
void upstream_cluster_hold(struct upstream_cluster *cluster);
void upstream_cluster_release(struct upstream_cluster *cluster);
const struct cluster_config *upstream_cluster_config(const struct upstream_cluster *cluster);
struct cluster_stats *upstream_cluster_stats(struct upstream_cluster *cluster);

struct upstream_target {
    struct cluster *cluster;    // a reference: keeps the rest valid
    struct upstream_host *host; // a reference
    const struct transport_socket *transport;
    const struct endpoint *endpoint; // NULL: original destination
};

struct upstream_pick_options {
    const struct address *original; // where the client wanted to go; NULL: unknown
    const uint64_t *hash;           // of the request, for consistent hashing; NULL: none
    struct upstream_host *const *previous; // hosts tried before, to be avoided
    size_t previous_count;
    uint32_t draws_max;
};

bool upstream_pick(struct upstream_cluster *cluster, const struct upstream_pick_options *options, struct upstream_target *ret_target);
void upstream_target_done(struct upstream_target *target);

// What came of it, for outlier detection: a status, or an event that is no answer.
void upstream_report_status(struct upstream_cluster *cluster, const struct upstream_target *target, int status);
void upstream_report_local(struct upstream_cluster *cluster, const struct upstream_target *target, enum outlier_local event, bool is_tcp);

struct upstream_request_options {
    enum http_protocol protocol;
    const struct str *alpn; // overrides the socket's list; part of the pool's key
    size_t alpn_count;
};

// Sends a request over the pool of that target. NULL and a reason when no pool could be made (a secret is
// missing, a limit). Give the pool back with upstream_pool_release() once, in on_close.
struct http_exchange *upstream_request(struct upstream_cluster *cluster, const struct upstream_target *target,
                                       const struct upstream_request_options *options, const struct http_head *head, bool end,
                                       const struct http_events *events, void *owner, struct upstream_pool **ret_pool,
                                       struct error *err);
void upstream_pool_release(struct upstream_pool *pool);

// A TCP connection of its own (TLS as the target says). NULL and a reason as above.
struct stream *upstream_connect(struct upstream_cluster *cluster, const struct upstream_target *target,
                                const struct stream_events *events, void *owner, struct error *err);

// For admin: calls on_cluster for every cluster in use here.
size_t upstreams_pool_count(const struct upstreams *upstreams);

#endif
