// SPDX-License-Identifier: Apache-2.0
//
// proxy: the running program: main thread (configuration, certificates, admin) and its workers.
#ifndef PROXY_PROXY_H
#define PROXY_PROXY_H

#include "base/metrics.h"
#include "proxy/config_store.h"
#include "proxy/worker.h"

#define PROXY_DRAIN_MS 5000u // SIGTERM to exit, while connections end
#define PROXY_DRAIN_POLL_MS 100u

enum proxy_state { PROXY_PRE_INITIALIZING, PROXY_INITIALIZING, PROXY_LIVE, PROXY_DRAINING };
const char *proxy_state_name(enum proxy_state state); // "LIVE"

struct proxy {
    struct loop *loop;
    struct stats *stats;
    struct metrics *metrics;
    struct config_store *store;
    struct worker *workers[WORKERS_MAX];
    unsigned worker_count;
    enum proxy_state state;
    uint64_t start_ms;
    struct loop_task publish;
    struct loop_timer drain_poll;
    uint64_t drain_deadline_ms;
    struct dns_clusters *dns;
    struct ads *ads;           // NULL: static configuration only
    struct identity *identity; // NULL: none
    struct admin *admin;
    const Envoy__Config__Core__V3__Node *node; // NULL: none
    struct str command_line;
};

// concurrency 0: one worker, on the main loop.
void proxy_init(struct proxy *proxy, struct loop *loop, unsigned concurrency);
void proxy_done(struct proxy *proxy);
// Something in the store changed: publishes a generation at the end of this turn.
void proxy_changed(struct proxy *proxy);
// Ready: everything static and the first dynamic listeners serve.
bool proxy_is_ready(const struct proxy *proxy);
void proxy_set_initialized(struct proxy *proxy); // the first listeners are active
// Stops accepting, waits for connections, then stops the loop.
void proxy_shut_down(struct proxy *proxy);
void proxy_drain(struct proxy *proxy, bool inbound_only);

#endif
