// SPDX-License-Identifier: Apache-2.0
//
// listener_config: a compiled listener: its address, what it inspects, its filter chains and how one is
// chosen. Immutable and refcounted atomically; shared by all workers.
#ifndef PROXY_LISTENER_LISTENER_CONFIG_H
#define PROXY_LISTENER_LISTENER_CONFIG_H

#include "envoy/config/listener/v3/listener.pb-c.h"
#include "proxy/filter/http_manager.h"
#include "proxy/filter/tcp_proxy.h"
#include "proxy/listener/chain_match.h"

#define LISTENER_CHAINS_MAX 65536u
#define LISTENER_PORT_RANGES_MAX 4096u // of one inspector's predicate
#define LISTENER_FILTERS_TIMEOUT_DEFAULT_MS 15000u
#define LISTENER_PREDICATE_DEPTH_MAX 8u

struct filter_chain {
    struct str name;
    const struct transport_socket *transport;
    const struct tcp_proxy_config *tcp;  // exactly one of tcp and http
    struct http_manager_config *http;
};

struct port_range {
    uint32_t start;
    uint32_t end; // exclusive
};

struct inspector {
    bool is_present;
    const struct port_range *disabled; // original destination ports it leaves alone
    size_t disabled_count;
};

struct listener_config {
    atomic_uint references;
    struct arena arena;
    struct str name;
    struct address address;
    struct str stat_name;
    bool binds;
    bool hands_over;     // use_original_dst: to the listener of the original destination
    bool restores;       // filter original_dst
    bool reuse_port;
    int backlog;
    enum traffic_direction direction;
    struct inspector tls;
    struct inspector http;
    uint64_t inspect_timeout_ms; // 0: none
    bool goes_on_after_timeout;
    struct chain_match *match;
    struct filter_chain *chains; // the default chain is the last one
    size_t chain_count;
    int default_chain; // or CHAIN_MATCH_NONE
    const struct access_log *log;
};

struct listener_config *listener_config_new(const Envoy__Config__Listener__V3__Listener *message, struct error *err); // NULL: refused
struct listener_config *listener_config_ref(struct listener_config *config);
void listener_config_unref(struct listener_config *config); // NULL is fine

// All chains have their secrets?
bool listener_config_is_supplied(const struct listener_config *config, const struct secrets *secrets);
bool inspector_is_on(const struct inspector *inspector, const struct address *destination);

#endif
