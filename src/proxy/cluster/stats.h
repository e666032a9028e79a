// SPDX-License-Identifier: Apache-2.0
//
// stats: the proxy's counters and gauges under Envoy's names. A stat belongs to a group (what kind of
// thing), a subject (which one) and has a name:
//
//   /stats             cluster.outbound|80||a.b.upstream_cx_total: 3
//   /stats/prometheus  envoy_cluster_upstream_cx_total{cluster_name="outbound|80||a.b"} 3
//
// Looking up is locked and happens when a connection pool, listener or filter chain is set up; updating
// is one relaxed atomic. Stats live as long as the registry. Thread-safe.
#ifndef PROXY_CLUSTER_STATS_H
#define PROXY_CLUSTER_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

#define STATS_MAX 1000000u // beyond it new stats share one overflow cell

enum stat_group { STAT_CLUSTER, STAT_LISTENER, STAT_HTTP, STAT_TCP, STAT_SERVER, STAT_GROUP_COUNT };
enum stat_kind { STAT_COUNTER, STAT_GAUGE };

struct stat {
    atomic_llong value;
};

static inline void stat_add(struct stat *stat, int64_t amount)
{
    (void)atomic_fetch_add_explicit(&stat->value, amount, memory_order_relaxed);
}

static inline void stat_set(struct stat *stat, int64_t value)
{
    atomic_store_explicit(&stat->value, value, memory_order_relaxed);
}

static inline int64_t stat_value(const struct stat *stat)
{
    return atomic_load_explicit(&stat->value, memory_order_relaxed);
}

struct stats;

struct stats *stats_new(void);
void stats_free(struct stats *stats);

// For STAT_SERVER the subject is part of the name: ("cluster_manager.cds", "update_success").
struct stat *stats_get(struct stats *stats, enum stat_group group, struct str subject, const char *name, enum stat_kind kind);

struct stats_query {
    bool used_only;
    struct str contains; // plain text; empty: all. A trailing '$' anchors at the end.
};
void stats_write_text(struct stats *stats, const struct stats_query *query, struct buf *out);
void stats_write_prometheus(struct stats *stats, struct buf *out);

#endif
