// SPDX-License-Identifier: Apache-2.0
//
// tcp_proxy: bytes of a connection to a host of a cluster and back, unchanged.
//
//   picked ──connect──► connecting ──open──► joined ──both ended──► done
//                          │ fail: next attempt or close
//
// Half-close goes through each way; the connection ends when both directions have. Back-pressure: the
// side that is congested stops the reading of the other one.
#ifndef PROXY_FILTER_TCP_PROXY_H
#define PROXY_FILTER_TCP_PROXY_H

#include "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.pb-c.h"
#include "proxy/filter/runtime.h"

#define TCP_IDLE_DEFAULT_MS 3600000u

struct tcp_proxy_weight {
    struct str cluster;
    uint32_t weight;
};

struct tcp_proxy_config {
    struct str stat_prefix;
    struct str cluster; // empty: weights
    const struct tcp_proxy_weight *weights;
    size_t weight_count;
    uint64_t weight_sum;
    bool cluster_from_server_name; // the older SNI cluster filter stood in front
    uint64_t idle_timeout_ms;      // 0: off
    uint64_t duration_max_ms;      // 0: off
    uint32_t attempts_max;
    bool hashes_source; // the client's address chooses the host, where the cluster hashes
    const struct access_log *log;
};

enum err tcp_proxy_compile(struct arena *arena, const Envoy__Extensions__Filters__Network__TcpProxy__V3__TcpProxy *message,
                           const struct tcp_proxy_config **ret_config, struct error *err) must_check;

// Takes the stream. config must stay valid until connection->on_gone.
void tcp_proxy_start(const struct tcp_proxy_config *config, struct connection *connection, struct stream *downstream);

#endif
