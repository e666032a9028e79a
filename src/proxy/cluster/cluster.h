// SPDX-License-Identifier: Apache-2.0
//
// cluster: compiled clusters and endpoints. Both are immutable and refcounted atomically; a new version
// of either replaces the old one whole, while hosts (an address with its live numbers) are carried over
// by address, so that counts and pools survive an update.
#ifndef PROXY_CLUSTER_CLUSTER_H
#define PROXY_CLUSTER_CLUSTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "envoy/config/endpoint/v3/endpoint.pb-c.h"
#include "net/address.h"
#include "net/resolve.h"
#include "proxy/cluster/outlier.h"
#include "proxy/cluster/transport_socket.h"
#include "proxy/lb/lb.h"

#define CLUSTER_ENDPOINTS_MAX 100000u // of one cluster
#define CLUSTER_CONNECT_DEFAULT_MS 5000u

enum cluster_kind { CLUSTER_STATIC, CLUSTER_EDS, CLUSTER_ORIGINAL_DST, CLUSTER_DNS };

// Which HTTP version requests go upstream with.
enum cluster_protocol { CLUSTER_HTTP1, CLUSTER_HTTP2, CLUSTER_AS_DOWNSTREAM, CLUSTER_BY_ALPN };

// As Envoy numbers them.
enum cluster_dns_family { DNS_AUTO, DNS_V4_ONLY, DNS_V6_ONLY, DNS_V4_PREFERRED, DNS_ALL };

struct transport_choice {
    struct str name;
    const Google__Protobuf__Struct *match; // only while compiling endpoints; kept with the config's arena
    const struct transport_socket *socket;
};

struct cluster_config {
    atomic_uint references;
    struct arena arena;
    struct str name;
    struct str stat_name;
    struct str service_name; // EDS resource name
    enum cluster_kind kind;
    uint64_t connect_timeout_ms;
    uint64_t idle_timeout_ms; // of pooled connections
    uint32_t requests_per_connection_max; // 0: unlimited
    enum cluster_protocol protocol;
    struct lb_options lb;
    const struct transport_socket *transport;
    const struct transport_choice *choices;
    size_t choice_count;
    bool has_bind;
    struct address bind;
    uint16_t original_port_override; // 0: none
    bool keeps_alpn; // metadata istio.alpn_override "false"
    struct str service_host;      // metadata istio.services[0]: for standard metrics
    struct str service_short_name;
    struct str service_namespace;
    uint64_t connections_max; // circuit breakers, default priority
    uint64_t pending_max;
    uint64_t requests_max;
    uint64_t retries_max;
    const Envoy__Config__Endpoint__V3__ClusterLoadAssignment *assignment; // STATIC, DNS; lives in the arena
    uint64_t dns_refresh_ms;
    enum cluster_dns_family dns_family;
    bool hashes_host_names; // consistent hashing by an endpoint's name instead of its address
    struct outlier *outlier; // the one thing here that changes, under its own lock; NULL: none
};

struct cluster_config *cluster_config_new(const Envoy__Config__Cluster__V3__Cluster *config, struct error *err); // NULL: refused
struct cluster_config *cluster_config_ref(struct cluster_config *config);
void cluster_config_unref(struct cluster_config *config); // NULL is fine
// All sockets of the cluster have their secrets?
bool cluster_config_is_supplied(const struct cluster_config *config, const struct secrets *secrets);

// --- hosts and endpoints -------------------------------------------------------------------------------

// A host and its live numbers, shared by all workers and by successive endpoint sets.
struct upstream_host {
    atomic_uint references;
    struct address address;
    char text[ADDRESS_TEXT_SIZE];
    atomic_uint active; // requests, or TCP connections, under way
    atomic_llong connections_total;
    atomic_llong connections_active;
    atomic_llong connect_failures;
    atomic_llong requests_total;
    atomic_llong requests_success;
    atomic_llong requests_error;
    struct outlier_host outlier;
};

struct upstream_host *upstream_host_new(const struct address *address);
struct upstream_host *upstream_host_ref(struct upstream_host *host);
void upstream_host_unref(struct upstream_host *host); // NULL is fine

struct endpoint {
    struct upstream_host *host;
    struct lb_host balance;
    const struct transport_socket *transport; // in the cluster_config
    struct str workload;  // "name;namespace;canonical;revision;cluster", metadata istio.workload
    struct str locality;  // "region/zone/subzone"
    struct str host_name; // empty: none
    enum lb_health health;
};

struct endpoint_set {
    atomic_uint references;
    struct arena arena;
    struct cluster_config *config; // a reference: endpoints point into it
    struct endpoint *endpoints;
    uint32_t count;
    uint32_t *locality_weights;
    uint32_t locality_count;
    uint32_t overprovisioning;
};

// Addresses of a host name.
struct resolved_name {
    struct address addresses[RESOLVE_ADDRESSES_MAX]; // port 0
    size_t count;
};

// NULL: not looked up yet. Borrowed.
typedef const struct resolved_name *endpoint_resolve_fn(void *owner, struct str name);

// previous (may be NULL): hosts of the same address are carried over. resolve: for clusters of kind DNS.
struct endpoint_set *endpoint_set_new(struct cluster_config *config,
                                      const Envoy__Config__Endpoint__V3__ClusterLoadAssignment *assignment,
                                      const struct endpoint_set *previous, endpoint_resolve_fn *resolve, void *owner,
                                      struct error *err);
struct endpoint_set *endpoint_set_ref(struct endpoint_set *set);
void endpoint_set_unref(struct endpoint_set *set); // NULL is fine

// What a generation holds under a cluster's name.
struct cluster {
    atomic_uint references;
    struct cluster_config *config;
    struct endpoint_set *endpoints; // NULL: ORIGINAL_DST
};

struct cluster *cluster_new(struct cluster_config *config, struct endpoint_set *endpoints); // takes references of its own
struct cluster *cluster_ref(struct cluster *cluster);
void cluster_unref(struct cluster *cluster); // NULL is fine

// Host name and port of an endpoint of a DNS cluster.
enum err endpoint_name(const Envoy__Config__Endpoint__V3__LbEndpoint *from, struct str *ret_name, uint16_t *ret_port,
                       struct error *err) must_check;
// Socket address of a config Address; ERR_UNSUPPORTED for internal listeners.
enum err address_compile(const Envoy__Config__Core__V3__Address *config, struct address *ret_address, struct error *err) must_check;

#endif
