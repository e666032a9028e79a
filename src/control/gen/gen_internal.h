// SPDX-License-Identifier: Apache-2.0
//
// What the files of this folder share: the inputs of one generation and its output.
#ifndef CONTROL_GEN_GEN_INTERNAL_H
#define CONTROL_GEN_GEN_INTERNAL_H

#include "base/map.h"
#include "control/gen/gen.h"
#include "control/gen/wire.h"

#define GEN_OUTBOUND_PORT 15001u
#define GEN_INBOUND_PORT 15006u

struct gen {
    struct arena *arena;
    const struct snapshot *snapshot;
    const struct mesh_proxy *proxy;
    struct xds_resources *out;
    struct map own_addresses; // service addresses of the proxy's own cluster → service
};

void gen_add(struct gen *gen, struct str name, void *message);

// --- names (facts every part must agree on) ------------------------------------------------------------

struct str gen_cluster_name(struct gen *gen, const struct mesh_service *service, uint32_t port); // "outbound|80||host"
struct str gen_sni(struct gen *gen, const struct mesh_service *service, uint32_t port,
                   struct str subset); // "outbound_.80_.v1_.host"; subset may be empty
struct str gen_subset_name(struct gen *gen, uint32_t port, struct str subset, struct str host); // "outbound|80|v1|host"
struct str gen_inbound_name(struct gen *gen, uint32_t port);                                     // "inbound|80||"

// --- views of the snapshot -------------------------------------------------------------------------------

// The address this proxy calls the service by; empty for headless ones, and for a service of another
// cluster whose address means a different service here (clusters may use the same address range).
struct str gen_service_address(const struct gen *gen, const struct mesh_service *service);

// A port of the proxy's own workload that services send traffic to.
struct gen_target {
    const struct mesh_service *service;
    const struct mesh_port *port;
    uint32_t number; // where the workload listens
};
typedef VEC(struct gen_target) gen_target_vec;

// By port number, one service per port: the oldest. Caller: vec_done.
void gen_targets(const struct gen *gen, gen_target_vec *ret_targets);

// Servers in mode AUTO_PASSTHROUGH of the Gateways that select this router: does one expose the host?
bool gen_is_passthrough_router(const struct gen *gen);
bool gen_passthrough_exposes(const struct gen *gen, struct str hostname);

// --- rules (policy.c) --------------------------------------------------------------------------------------

typedef Istio__Networking__V1alpha3__Subset GenSubset;
typedef Istio__Networking__V1alpha3__LocalityLoadBalancerSetting GenLocality;

// The DestinationRules of one service as this proxy sees them, merged. object NULL: there is none.
struct gen_rule {
    const struct mesh_object *object;
    const Istio__Networking__V1alpha3__TrafficPolicy *policy;
    GenSubset **subsets;
    size_t subset_count;
};

// What is in force for one port and subset; each may be NULL.
struct gen_policy {
    const Istio__Networking__V1alpha3__ConnectionPoolSettings *pool;
    const Istio__Networking__V1alpha3__LoadBalancerSettings *balancer;
    const Istio__Networking__V1alpha3__OutlierDetection *outliers;
    const Istio__Networking__V1alpha3__ClientTLSSettings *tls;
};

enum gen_mtls { GEN_MTLS_PERMISSIVE = 0, GEN_MTLS_STRICT, GEN_MTLS_DISABLE };

void gen_find_rule(struct gen *gen, struct str hostname, struct str service_ns, struct gen_rule *ret_rule);
const GenSubset *gen_subset(const struct gen_rule *rule, struct str name); // NULL: unknown
void gen_policy_of(const struct gen_rule *rule, uint32_t port, const GenSubset *subset,
                   struct gen_policy *ret_policy);
const GenLocality *gen_locality_of(const struct gen_policy *policy); // NULL: none, or switched off
bool gen_locality_is_off(const struct gen_policy *policy);
bool gen_is_passthrough_balancer(const struct gen_policy *policy);
struct str gen_config_path(struct gen *gen, const struct mesh_object *object, const char *kind);

enum gen_mtls gen_namespace_mtls(const struct gen *gen, struct str ns);
enum gen_mtls gen_workload_mtls(const struct gen *gen, struct str ns, const struct mesh_labels *labels,
                                uint32_t port);

// --- locality (locality.c) -----------------------------------------------------------------------------------

// Distributes or orders the groups of an assignment by the locality settings in force.
void gen_apply_locality(struct gen *gen, const struct gen_policy *policy, WireLoadAssignment *assignment);

// --- HTTP routes of VirtualServices (http_routes.c) --------------------------------------------------------

struct gen_http_context {
    struct str gateway; // "mesh" or "namespace/name"
    uint32_t port;      // of the listener: a Service port, or a Gateway server's
};

// Appends the routes that apply; returns how many.
size_t gen_add_http_routes(struct gen *gen, const struct gen_http_context *context,
                           const struct mesh_object *object, WireVirtualHost *host);
bool gen_is_catch_all(const WireRoute *route); // takes every request
// retries NULL: the defaults. is_sticky: consistent hashing wants the same host again.
void gen_set_retries(struct gen *gen, WireRouteAction *action,
                     const Istio__Networking__V1alpha3__HTTPRetry *retries, bool is_sticky);
// By consistent hashing of the service's DestinationRule; false: none.
bool gen_add_hash_policy(struct gen *gen, WireRouteAction *action, struct str host, uint32_t port,
                         struct str subset);
bool gen_grpc_status(struct str text, uint64_t *ret_status);

// --- VirtualServices of sidecars --------------------------------------------------------------------------

enum gen_rules { GEN_RULES_HTTP = 0, GEN_RULES_TCP };

// The one that decides for a host and has rules of that kind; NULL: none (routes.c).
const struct mesh_object *gen_find_virtual_service(const struct gen *gen, struct str hostname,
                                                   enum gen_rules rules);
// The filter of the TCP rule for a service's port, and whose rule it is; NULL: none (tcp_routes.c).
WireFilter *gen_tcp_route(struct gen *gen, const struct mesh_service *service, uint32_t port,
                          const struct mesh_object **ret_object);

// --- parts -----------------------------------------------------------------------------------------------

void gen_clusters(struct gen *gen);
void gen_endpoints(struct gen *gen, struct str cluster_name);
void gen_listeners(struct gen *gen);
void gen_outbound_listeners(struct gen *gen);
void gen_inbound_listener(struct gen *gen);
void gen_gateway_listeners(struct gen *gen);
void gen_name_table(struct gen *gen);
void gen_route(struct gen *gen, struct str name);
void gen_gateway_route(struct gen *gen, struct str name, WireRouteConfiguration *routes);

// Filters and chains (filters.c).
WireFilter *gen_tcp_proxy(struct gen *gen, struct str cluster, bool log);
WireFilter *gen_tcp_proxy_filter(struct gen *gen, const void *tcp_proxy);
WireFilter *gen_metadata_exchange(struct gen *gen);
WireHcm *gen_hcm(struct gen *gen, bool is_inbound, struct str stat_prefix);
WireFilter *gen_hcm_filter(struct gen *gen, const WireHcm *hcm);
WireListenerFilter *gen_tls_inspector(struct gen *gen);
WireListenerFilter *gen_http_inspector(struct gen *gen);
WireListenerFilter *gen_original_dst(struct gen *gen);
WireFilterChainMatch *gen_match(struct gen *gen, uint32_t port, const char *transport,
                                const char *const *alpn, size_t alpn_count);
WireAccessLog *gen_access_log(struct gen *gen);             // NULL: off
WireAccessLog *gen_access_log_of_unmatched(struct gen *gen); // only connections no chain took; NULL: off

// ALPN tokens of mesh mTLS, as the client announces them.
extern const char *const gen_alpn_all_mesh[5];  // any protocol
extern const char *const gen_alpn_mesh_http[3]; // detected HTTP
extern const char *const gen_alpn_mesh_tcp[2];
extern const char *const gen_alpn_plain_http[2];

#endif
