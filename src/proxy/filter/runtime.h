// SPDX-License-Identifier: Apache-2.0
//
// runtime: what a worker offers to its filters, and what a filter knows about the connection it serves.
#ifndef PROXY_FILTER_RUNTIME_H
#define PROXY_FILTER_RUNTIME_H

#include "base/list.h"
#include "base/map.h"
#include "base/metrics.h"
#include "base/random.h"
#include "net/address.h"
#include "proxy/cluster/stats.h"
#include "proxy/cluster/upstream.h"
#include "proxy/filter/access_log.h"
#include "proxy/route/route.h"

#define CONNECTION_NAME_MAX 256u

enum traffic_direction { TRAFFIC_UNSPECIFIED = 0, TRAFFIC_INBOUND = 1, TRAFFIC_OUTBOUND = 2 };

// One per worker; single-threaded but for stats and metrics, which are shared.
struct filter_runtime {
    struct loop *loop;
    struct random random;
    struct upstreams *upstreams;
    struct stats *stats;
    struct metrics *metrics;
    struct access_sink sink;
    struct map request_metrics; // labels → struct metric, a cache of this worker
    // The route table of that name in the present generation; borrowed, NULL: none.
    struct route_table *(*find_routes)(void *owner, struct str name);
    void *owner;
};

// A downstream connection. The listener makes it and gives its hold to the filter that serves it; whoever
// looks at it later than the present callback takes a hold of his own. on_gone comes with the last one.
struct connection {
    unsigned holds;
    struct filter_runtime *runtime;
    struct address remote;
    struct address local;        // where the client wanted to go
    bool local_is_restored;      // from the kernel's redirection: may be used as a target
    enum traffic_direction direction;
    uint64_t start_ms;           // loop clock
    uint64_t start_wall_ms;
    char server_name[CONNECTION_NAME_MAX];
    void (*on_gone)(struct connection *connection);
    void (*abort)(struct connection *connection); // set by a filter that is not an HTTP manager: cut it now
    void *filter;                                 // that filter's own
    struct list node;                             // of the listeners
};

static inline void connection_hold(struct connection *connection)
{
    connection->holds++;
}

static inline void connection_release(struct connection *connection)
{
    if (--connection->holds == 0) {
        connection->on_gone(connection);
    }
}

// What to dial when a cluster goes to the original destination.
static inline const struct address *connection_original(const struct connection *connection)
{
    return connection->local_is_restored ? &connection->local : NULL;
}

#endif
