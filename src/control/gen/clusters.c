// SPDX-License-Identifier: Apache-2.0
//
// Clusters: one per service and port for outbound traffic, chosen per endpoint between mesh mTLS and
// plaintext; one per own port for inbound traffic; the two catch-alls; on an AUTO_PASSTHROUGH router
// one per exposed service and port that forwards the bytes of the sidecar's TLS as they are.
#include "control/gen/gen_internal.h"

#include "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.pb-c.h"
#include "envoy/extensions/upstreams/http/v3/http_protocol_options.pb-c.h"

typedef Envoy__Extensions__Upstreams__Http__V3__HttpProtocolOptions WireHttpOptions;

#define HTTP_OPTIONS_KEY "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
#define TLS_SOCKET "envoy.transport_sockets.tls"
#define RAW_SOCKET "envoy.transport_sockets.raw_buffer"
#define PASSTHROUGH_IDLE_MS (300u * 1000)
// ORIGINAL_DST hosts of an inbound cluster are the workload itself: never worth forgetting. Envoy's
// largest duration.
#define CLEANUP_NEVER_S 9223372035

static WireCluster *new_cluster(struct gen *gen, struct str name)
{
    struct arena *arena = gen->arena;
    WireCluster *cluster = pb_new(arena, &wire_cluster_type);
    cluster->name = pb_text(arena, name);
    cluster->alt_stat_name = pb_text(arena, arena_format(arena, "%.*s;", STR_ARG(name)));
    cluster->connect_timeout =
        pb_duration_ms(arena, (uint64_t)gen->snapshot->config.connect_timeout_s * 1000);
    cluster->cluster_discovery_type_case =
        ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_TYPE;
    return cluster;
}

static void set_original_dst(WireCluster *cluster)
{
    cluster->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST;
    cluster->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__CLUSTER_PROVIDED;
}

// Without this Envoy would cut at 1024 connections; limits are the user's to set.
static void set_no_limits(struct gen *gen, WireCluster *cluster)
{
    struct arena *arena = gen->arena;
    Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds *thresholds =
        pb_new(arena, &envoy__config__cluster__v3__circuit_breakers__thresholds__descriptor);
    thresholds->max_connections = pb_uint32(arena, WIRE_NO_LIMIT);
    thresholds->max_pending_requests = pb_uint32(arena, WIRE_NO_LIMIT);
    thresholds->max_requests = pb_uint32(arena, WIRE_NO_LIMIT);
    thresholds->max_retries = pb_uint32(arena, WIRE_NO_LIMIT);
    cluster->circuit_breakers = pb_new(arena, &envoy__config__cluster__v3__circuit_breakers__descriptor);
    PB_PUSH(arena, cluster->circuit_breakers, thresholds, thresholds);
}

// rule and subset may be NULL.
static void set_service_metadata(struct gen *gen, WireCluster *cluster, const struct mesh_service *service,
                                 const struct gen_rule *rule, const GenSubset *subset)
{
    struct arena *arena = gen->arena;
    struct json_value *entry = json_new_object(arena);
    json_set_str(arena, entry, "host", service->hostname);
    json_set_str(arena, entry, "name", service->name);
    json_set_str(arena, entry, "namespace", service->ns);
    struct json_value *istio = json_new_object(arena);
    json_push(arena, json_ensure_array(arena, istio, "services"), entry);
    if (rule != NULL && rule->object != NULL) {
        json_set_str(arena, istio, "config", gen_config_path(gen, rule->object, "destination-rule"));
    }
    if (subset != NULL) {
        json_set_cstr(arena, istio, "subset", subset->name);
    }
    cluster->metadata = pb_new(arena, &envoy__config__core__v3__metadata__descriptor);
    wire_metadata_set(arena, cluster->metadata, "istio", istio);
}

static void add_metadata_exchange(struct gen *gen, WireCluster *cluster)
{
    Envoy__Config__Cluster__V3__Filter *filter =
        pb_new(gen->arena, &envoy__config__cluster__v3__filter__descriptor);
    filter->name = pb_text(gen->arena, STR("istio.metadata_exchange"));
    filter->typed_config = gen_metadata_exchange(gen)->typed_config;
    PB_PUSH(gen->arena, cluster, filters, filter);
}

static void set_http_options(struct gen *gen, WireCluster *cluster, const WireHttpOptions *options)
{
    Envoy__Config__Cluster__V3__Cluster__TypedExtensionProtocolOptionsEntry *entry = pb_new(
        gen->arena, &envoy__config__cluster__v3__cluster__typed_extension_protocol_options_entry__descriptor);
    entry->key = pb_text(gen->arena, STR(HTTP_OPTIONS_KEY));
    entry->value = pb_any(gen->arena, options);
    PB_PUSH(gen->arena, cluster, typed_extension_protocol_options, entry);
}

// What the application spoke is spoken on: for ports whose protocol is detected.
static WireHttpOptions *downstream_protocol(struct gen *gen)
{
    struct arena *arena = gen->arena;
    WireHttpOptions *options =
        pb_new(arena, &envoy__extensions__upstreams__http__v3__http_protocol_options__descriptor);
    options->upstream_protocol_options_case =
        ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_USE_DOWNSTREAM_PROTOCOL_CONFIG;
    options->use_downstream_protocol_config = pb_new(
        arena, &envoy__extensions__upstreams__http__v3__http_protocol_options__use_downstream_http_config__descriptor);
    options->use_downstream_protocol_config->http_protocol_options =
        pb_new(arena, &envoy__config__core__v3__http1_protocol_options__descriptor);
    options->use_downstream_protocol_config->http2_protocol_options =
        pb_new(arena, &envoy__config__core__v3__http2_protocol_options__descriptor);
    return options;
}

static WireHttpOptions *explicit_http2(struct gen *gen)
{
    struct arena *arena = gen->arena;
    WireHttpOptions *options =
        pb_new(arena, &envoy__extensions__upstreams__http__v3__http_protocol_options__descriptor);
    options->upstream_protocol_options_case =
        ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_EXPLICIT_HTTP_CONFIG;
    options->explicit_http_config = pb_new(
        arena, &envoy__extensions__upstreams__http__v3__http_protocol_options__explicit_http_config__descriptor);
    options->explicit_http_config->protocol_config_case =
        ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP2_PROTOCOL_OPTIONS;
    options->explicit_http_config->http2_protocol_options =
        pb_new(arena, &envoy__config__core__v3__http2_protocol_options__descriptor);
    return options;
}

// Plain HTTP/1.1: only said where other options make us say something.
static WireHttpOptions *explicit_http1(struct gen *gen)
{
    WireHttpOptions *options = explicit_http2(gen);
    options->explicit_http_config->protocol_config_case =
        ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP_PROTOCOL_OPTIONS;
    options->explicit_http_config->http_protocol_options =
        pb_new(gen->arena, &envoy__config__core__v3__http1_protocol_options__descriptor);
    return options;
}

typedef Istio__Networking__V1alpha3__ConnectionPoolSettings__HTTPSettings PoolHttp;
typedef Istio__Networking__V1alpha3__ConnectionPoolSettings__TCPSettings PoolTcp;

static Envoy__Config__Core__V3__HttpProtocolOptions *common_options(struct gen *gen, const PoolHttp *http,
                                                                    const PoolTcp *tcp)
{
    bool has_http = http != NULL && (http->max_requests_per_connection > 0 || http->idle_timeout != NULL);
    bool has_tcp = tcp != NULL && (tcp->max_connection_duration != NULL || tcp->idle_timeout != NULL);
    if (!has_http && !has_tcp) {
        return NULL;
    }
    Envoy__Config__Core__V3__HttpProtocolOptions *common =
        pb_new(gen->arena, &envoy__config__core__v3__http_protocol_options__descriptor);
    if (tcp != NULL) {
        common->idle_timeout = tcp->idle_timeout;
        common->max_connection_duration = tcp->max_connection_duration;
    }
    if (http != NULL) {
        common->idle_timeout = http->idle_timeout != NULL ? http->idle_timeout : common->idle_timeout;
        common->max_requests_per_connection = http->max_requests_per_connection <= 0 ? NULL
            : pb_uint32(gen->arena, (uint32_t)http->max_requests_per_connection);
    }
    return common;
}

static bool is_upgraded(const PoolHttp *http, enum mesh_protocol protocol)
{
    return http != NULL && protocol == MESH_PROTOCOL_HTTP && !http->use_client_protocol &&
           http->h2_upgrade_policy ==
               ISTIO__NETWORKING__V1ALPHA3__CONNECTION_POOL_SETTINGS__HTTPSETTINGS__H2_UPGRADE_POLICY__UPGRADE;
}

// The protocol towards the endpoints, with the HTTP part of the connection pool. Returns whether it is
// HTTP/2 from the first byte.
static bool set_protocol(struct gen *gen, WireCluster *cluster, enum mesh_protocol protocol,
                         const Istio__Networking__V1alpha3__ConnectionPoolSettings *pool)
{
    const PoolHttp *http = pool == NULL ? NULL : pool->http;
    Envoy__Config__Core__V3__HttpProtocolOptions *common =
        common_options(gen, http, pool == NULL ? NULL : pool->tcp);
    bool is_http2 = mesh_protocol_is_http2(protocol) || is_upgraded(http, protocol);
    WireHttpOptions *options = NULL;
    if (http != NULL && http->use_client_protocol) {
        options = downstream_protocol(gen);
    } else if (is_http2) {
        options = explicit_http2(gen);
    } else if (protocol == MESH_PROTOCOL_AUTO && gen->proxy->type == MESH_PROXY_SIDECAR) {
        options = downstream_protocol(gen);
    } else if (common != NULL) {
        options = explicit_http1(gen);
    }
    if (options != NULL) {
        options->common_http_protocol_options = common;
        set_http_options(gen, cluster, options);
    }
    return is_http2;
}

// --- traffic policy --------------------------------------------------------------------------------------

static void set_limit(struct gen *gen, Google__Protobuf__UInt32Value **limit, int32_t value)
{
    if (value > 0) {
        *limit = pb_uint32(gen->arena, (uint32_t)value);
    }
}

static void set_pool(struct gen *gen, WireCluster *cluster,
                     const Istio__Networking__V1alpha3__ConnectionPoolSettings *pool)
{
    struct arena *arena = gen->arena;
    if (pool == NULL) {
        return;
    }
    Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds *limits =
        cluster->circuit_breakers->thresholds[0];
    if (pool->http != NULL) {
        set_limit(gen, &limits->max_pending_requests, pool->http->http1_max_pending_requests);
        set_limit(gen, &limits->max_requests, pool->http->http2_max_requests);
        set_limit(gen, &limits->max_retries, pool->http->max_retries);
    }
    if (pool->tcp == NULL) {
        return;
    }
    set_limit(gen, &limits->max_connections, pool->tcp->max_connections);
    if (pool->tcp->connect_timeout != NULL) {
        cluster->connect_timeout = pool->tcp->connect_timeout;
    }
    const Istio__Networking__V1alpha3__ConnectionPoolSettings__TCPSettings__TcpKeepalive *from =
        pool->tcp->tcp_keepalive;
    if (from != NULL) {
        Envoy__Config__Core__V3__TcpKeepalive *to =
            pb_new(arena, &envoy__config__core__v3__tcp_keepalive__descriptor);
        set_limit(gen, &to->keepalive_probes, (int32_t)(from->probes & INT32_MAX));
        if (from->time != NULL) {
            to->keepalive_time = pb_uint32(arena, (uint32_t)from->time->seconds);
        }
        if (from->interval != NULL) {
            to->keepalive_interval = pb_uint32(arena, (uint32_t)from->interval->seconds);
        }
        cluster->upstream_connection_options =
            pb_new(arena, &envoy__config__cluster__v3__upstream_connection_options__descriptor);
        cluster->upstream_connection_options->tcp_keepalive = to;
    }
}

// Success rate is never judged; gateway failures only where the rule counts them.
static void set_outliers(struct gen *gen, WireCluster *cluster,
                         const Istio__Networking__V1alpha3__OutlierDetection *from)
{
    struct arena *arena = gen->arena;
    if (from == NULL) {
        return;
    }
    Envoy__Config__Cluster__V3__OutlierDetection *to =
        pb_new(arena, &envoy__config__cluster__v3__outlier_detection__descriptor);
    to->enforcing_success_rate = pb_uint32(arena, 0);
    to->interval = from->interval;
    to->base_ejection_time = from->base_ejection_time;
    set_limit(gen, &to->max_ejection_percent, from->max_ejection_percent);
    if (from->consecutive_5xx_errors != NULL) {
        to->consecutive_5xx = from->consecutive_5xx_errors;
        to->enforcing_consecutive_5xx =
            pb_uint32(arena, from->consecutive_5xx_errors->value > 0 ? 100 : 0);
    }
    if (from->consecutive_gateway_errors != NULL) {
        to->consecutive_gateway_failure = from->consecutive_gateway_errors;
        to->enforcing_consecutive_gateway_failure =
            pb_uint32(arena, from->consecutive_gateway_errors->value > 0 ? 100 : 0);
    }
    if (from->split_external_local_origin_errors) {
        to->split_external_local_origin_errors = true;
        to->enforcing_local_origin_success_rate = pb_uint32(arena, 0);
        if (from->consecutive_local_origin_failures != NULL) {
            to->consecutive_local_origin_failure = from->consecutive_local_origin_failures;
            to->enforcing_consecutive_local_origin_failure = pb_uint32(arena, 100);
        }
    }
    cluster->outlier_detection = to;
    cluster->common_lb_config->healthy_panic_threshold->value =
        from->min_health_percent > 0 ? from->min_health_percent : 0;
}

static void set_consistent_hash(struct gen *gen, WireCluster *cluster,
                                const Istio__Networking__V1alpha3__LoadBalancerSettings__ConsistentHashLB *hash)
{
    struct arena *arena = gen->arena;
    if (hash->hash_algorithm_case ==
        ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_ALGORITHM_MAGLEV) {
        cluster->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__MAGLEV;
        if (hash->maglev->table_size > 0) {
            cluster->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_MAGLEV_LB_CONFIG;
            cluster->maglev_lb_config =
                pb_new(arena, &envoy__config__cluster__v3__cluster__maglev_lb_config__descriptor);
            cluster->maglev_lb_config->table_size = pb_uint64(arena, hash->maglev->table_size);
        }
        return;
    }
    uint64_t size = hash->minimum_ring_size > 0 ? hash->minimum_ring_size : 1024;
    if (hash->hash_algorithm_case ==
            ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_ALGORITHM_RING_HASH &&
        hash->ring_hash->minimum_ring_size > 0) {
        size = hash->ring_hash->minimum_ring_size;
    }
    cluster->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RING_HASH;
    cluster->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_RING_HASH_LB_CONFIG;
    cluster->ring_hash_lb_config =
        pb_new(arena, &envoy__config__cluster__v3__cluster__ring_hash_lb_config__descriptor);
    cluster->ring_hash_lb_config->minimum_ring_size = pb_uint64(arena, size);
}

static void set_balancer(struct gen *gen, WireCluster *cluster,
                         const Istio__Networking__V1alpha3__LoadBalancerSettings *balancer)
{
    if (balancer == NULL) {
        return;
    }
    if (balancer->lb_policy_case ==
        ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__LB_POLICY_CONSISTENT_HASH) {
        set_consistent_hash(gen, cluster, balancer->consistent_hash);
        return;
    }
    if (balancer->lb_policy_case != ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__LB_POLICY_SIMPLE) {
        return;
    }
    switch (balancer->simple) {
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__SIMPLE_LB__ROUND_ROBIN:
        cluster->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__ROUND_ROBIN;
        break;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__SIMPLE_LB__RANDOM:
        cluster->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RANDOM;
        break;
    default: // least request is what a cluster starts with; PASSTHROUGH was dealt with before
        break;
    }
}

static void set_locality_weights(struct gen *gen, WireCluster *cluster, const struct gen_policy *policy)
{
    const GenLocality *setting = gen_locality_of(policy);
    bool orders = setting != NULL && policy->outliers != NULL &&
                  (setting->n_failover > 0 || setting->n_failover_priority > 0);
    if (setting != NULL && (setting->n_distribute > 0 || orders)) {
        cluster->common_lb_config->locality_config_specifier_case =
            ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_LOCALITY_WEIGHTED_LB_CONFIG;
        cluster->common_lb_config->locality_weighted_lb_config = pb_new(gen->arena,
            &envoy__config__cluster__v3__cluster__common_lb_config__locality_weighted_lb_config__descriptor);
    }
}

// --- outbound --------------------------------------------------------------------------------------------

// Panic mode would send to hosts known to be bad; locality failover relies on it being off.
static void set_no_panic(struct gen *gen, WireCluster *cluster)
{
    cluster->common_lb_config =
        pb_new(gen->arena, &envoy__config__cluster__v3__cluster__common_lb_config__descriptor);
    cluster->common_lb_config->healthy_panic_threshold =
        pb_new(gen->arena, &envoy__type__v3__percent__descriptor);
}

static void set_endpoints_by_ads(struct gen *gen, WireCluster *cluster, struct str name)
{
    struct arena *arena = gen->arena;
    set_no_panic(gen, cluster);
    cluster->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__EDS;
    cluster->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__LEAST_REQUEST;
    cluster->eds_cluster_config =
        pb_new(arena, &envoy__config__cluster__v3__cluster__eds_cluster_config__descriptor);
    cluster->eds_cluster_config->eds_config = wire_ads(arena);
    cluster->eds_cluster_config->service_name = pb_text(arena, name);
}

static void add_socket_match(struct gen *gen, WireCluster *cluster, const char *name, const char *mode,
                             WireTransportSocket *socket)
{
    struct arena *arena = gen->arena;
    Envoy__Config__Cluster__V3__Cluster__TransportSocketMatch *match =
        pb_new(arena, &envoy__config__cluster__v3__cluster__transport_socket_match__descriptor);
    struct json_value *labels = json_new_object(arena);
    if (mode != NULL) {
        json_set_cstr(arena, labels, "tlsMode", mode);
    }
    match->name = pb_text(arena, str_of(name));
    match->match = pb_struct_from_json(arena, labels);
    match->transport_socket = socket;
    PB_PUSH(arena, cluster, transport_socket_matches, match);
}

// One outbound cluster to be: a service's port, whole or one subset of it.
struct target {
    const struct mesh_service *service;
    const struct mesh_port *port;
    const struct gen_rule *rule;
    const GenSubset *subset; // NULL: whole
    struct gen_policy policy;
};

static struct str subset_name(const struct target *target)
{
    return target->subset == NULL ? STR_EMPTY : str_of(target->subset->name);
}

static WireTransportSocket *mesh_mtls(struct gen *gen, const struct target *target, bool is_http2)
{
    static const char *const alpn[] = {"istio-peer-exchange", "istio", "h2"};
    struct arena *arena = gen->arena;
    const struct mesh_service *service = target->service;
    const Istio__Networking__V1alpha3__ClientTLSSettings *tls = target->policy.tls;
    const struct str *sans = service->identities;
    size_t san_count = service->identity_count;
    if (tls != NULL && tls->n_subject_alt_names > 0) {
        struct str *own = arena_array(arena, struct str, tls->n_subject_alt_names);
        for (size_t i = 0; i < tls->n_subject_alt_names; i++) {
            own[i] = str_of(tls->subject_alt_names[i]);
        }
        sans = own;
        san_count = tls->n_subject_alt_names;
    }
    Envoy__Extensions__TransportSockets__Tls__V3__UpstreamTlsContext *context =
        pb_new(arena, &envoy__extensions__transport_sockets__tls__v3__upstream_tls_context__descriptor);
    bool has_sni = tls != NULL && !str_is_empty(str_of(tls->sni));
    context->sni = pb_text(arena, has_sni ? str_of(tls->sni)
                                          : gen_sni(gen, service, target->port->number, subset_name(target)));
    context->common_tls_context = wire_mesh_tls(
        arena, alpn, is_http2 ? array_count(alpn) : array_count(alpn) - 1, sans, san_count, false);
    return wire_transport_socket(arena, TLS_SOCKET, context);
}

static bool is_all_mtls(const struct mesh_service *service)
{
    for (size_t i = 0; i < service->endpoint_count; i++) {
        if (!service->endpoints[i].is_mtls) {
            return false;
        }
    }
    return service->endpoint_count > 0;
}

// The rule's TLS mode decides where there is one. Without it endpoints say by metadata whether a sidecar
// of the mesh answers there, unless their namespace has switched mTLS off.
static void set_tls(struct gen *gen, WireCluster *cluster, const struct target *target, bool is_http2)
{
    struct arena *arena = gen->arena;
    const Istio__Networking__V1alpha3__ClientTLSSettings *tls = target->policy.tls;
    if (tls != NULL) {
        if (tls->mode == ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__ISTIO_MUTUAL) {
            cluster->transport_socket = mesh_mtls(gen, target, is_http2);
        }
        return;
    }
    if (!gen->snapshot->config.auto_mtls ||
        gen_namespace_mtls(gen, target->service->ns) == GEN_MTLS_DISABLE) {
        return;
    }
    if (cluster->type == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST) {
        // No endpoints to tell apart: all or nothing.
        if (is_all_mtls(target->service)) {
            cluster->transport_socket = mesh_mtls(gen, target, is_http2);
        }
        return;
    }
    add_socket_match(gen, cluster, "tlsMode-istio", "istio", mesh_mtls(gen, target, is_http2));
    void *raw = pb_new(arena, &envoy__extensions__transport_sockets__raw_buffer__v3__raw_buffer__descriptor);
    add_socket_match(gen, cluster, "tlsMode-disabled", NULL,
                     wire_transport_socket(arena, RAW_SOCKET, raw));
}

static void apply_balancing(struct gen *gen, WireCluster *cluster, const struct gen_policy *policy)
{
    set_balancer(gen, cluster, policy->balancer);
    set_outliers(gen, cluster, policy->outliers);
    set_locality_weights(gen, cluster, policy);
}

static void add_outbound(struct gen *gen, const struct target *target)
{
    const struct mesh_service *service = target->service;
    struct str name =
        gen_subset_name(gen, target->port->number, subset_name(target), service->hostname);
    WireCluster *cluster = new_cluster(gen, name);
    bool is_headless =
        service->resolution == MESH_RESOLUTION_PASSTHROUGH && gen->proxy->type == MESH_PROXY_SIDECAR;
    set_no_limits(gen, cluster);
    if (is_headless || gen_is_passthrough_balancer(&target->policy)) {
        set_original_dst(cluster);
        set_no_panic(gen, cluster);
        set_outliers(gen, cluster, target->policy.outliers);
    } else {
        set_endpoints_by_ads(gen, cluster, name);
        apply_balancing(gen, cluster, &target->policy);
    }
    set_pool(gen, cluster, target->policy.pool);
    set_service_metadata(gen, cluster, service, target->rule, target->subset);
    add_metadata_exchange(gen, cluster);
    bool is_http2 = set_protocol(gen, cluster, target->port->protocol, target->policy.pool);
    set_tls(gen, cluster, target, is_http2);
    gen_add(gen, name, cluster);
}

// The cluster behind the chain of the same SNI: mesh TLS passes through unopened.
static void add_passthrough(struct gen *gen, const struct target *target)
{
    struct str name = gen_sni(gen, target->service, target->port->number, subset_name(target));
    WireCluster *cluster = new_cluster(gen, name);
    const Istio__Networking__V1alpha3__ConnectionPoolSettings *pool = target->policy.pool;
    set_endpoints_by_ads(gen, cluster, name);
    set_no_limits(gen, cluster);
    apply_balancing(gen, cluster, &target->policy);
    set_pool(gen, cluster, pool);
    set_service_metadata(gen, cluster, target->service, target->rule, target->subset);
    add_metadata_exchange(gen, cluster);
    (void)set_protocol(gen, cluster, target->port->protocol, pool);
    gen_add(gen, name, cluster);
}

static void add_port(struct gen *gen, const struct mesh_service *service, const struct mesh_port *port,
                     const struct gen_rule *rule, bool is_exposed)
{
    for (size_t i = 0; i <= rule->subset_count; i++) {
        struct target target = {
            .service = service,
            .port = port,
            .rule = rule,
            .subset = i == 0 ? NULL : rule->subsets[i - 1],
        };
        gen_policy_of(rule, port->number, target.subset, &target.policy);
        add_outbound(gen, &target);
        if (is_exposed) {
            add_passthrough(gen, &target);
        }
    }
}

static void add_services(struct gen *gen)
{
    bool is_passthrough = gen_is_passthrough_router(gen);
    for (size_t i = 0; i < gen->snapshot->service_count; i++) {
        const struct mesh_service *service = gen->snapshot->services[i];
        bool is_exposed = is_passthrough && gen_passthrough_exposes(gen, service->hostname);
        struct gen_rule rule;
        gen_find_rule(gen, service->hostname, service->ns, &rule);
        for (size_t j = 0; j < service->port_count; j++) {
            if (service->ports[j].protocol != MESH_PROTOCOL_UDP) {
                add_port(gen, service, &service->ports[j], &rule, is_exposed);
            }
        }
    }
}

// --- inbound and catch-alls ------------------------------------------------------------------------------

// Traffic to the own application leaves from 127.0.0.6, which the capture rules let pass.
static void set_inbound_source(struct gen *gen, WireCluster *cluster)
{
    struct arena *arena = gen->arena;
    cluster->upstream_bind_config = pb_new(arena, &envoy__config__core__v3__bind_config__descriptor);
    cluster->upstream_bind_config->source_address =
        wire_address(arena, STR("127.0.0.6"), 0)->socket_address;
}

static void add_inbound(struct gen *gen)
{
    gen_target_vec targets = {0};
    gen_targets(gen, &targets);
    for (size_t i = 0; i < targets.count; i++) {
        const struct gen_target *target = &targets.items[i];
        struct str name = gen_inbound_name(gen, target->number);
        WireCluster *cluster = new_cluster(gen, name);
        set_original_dst(cluster);
        set_no_limits(gen, cluster);
        struct gen_rule rule;
        struct gen_policy policy;
        gen_find_rule(gen, target->service->hostname, target->service->ns, &rule);
        gen_policy_of(&rule, target->port->number, NULL, &policy);
        set_pool(gen, cluster, policy.pool);
        set_service_metadata(gen, cluster, target->service, &rule, NULL);
        set_inbound_source(gen, cluster);
        (void)set_protocol(gen, cluster, target->port->protocol, policy.pool);
        cluster->common_lb_config =
            pb_new(gen->arena, &envoy__config__cluster__v3__cluster__common_lb_config__descriptor);
        cluster->cleanup_interval = pb_new(gen->arena, &google__protobuf__duration__descriptor);
        cluster->cleanup_interval->seconds = CLEANUP_NEVER_S;
        gen_add(gen, name, cluster);
    }
    vec_done(&targets);
}

static void add_black_hole(struct gen *gen)
{
    WireCluster *cluster = new_cluster(gen, STR("BlackHoleCluster"));
    cluster->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__STATIC;
    gen_add(gen, STR("BlackHoleCluster"), cluster);
}

static WireCluster *new_catch_all(struct gen *gen, struct str name)
{
    WireCluster *cluster = new_cluster(gen, name);
    WireHttpOptions *options = downstream_protocol(gen);
    options->common_http_protocol_options =
        pb_new(gen->arena, &envoy__config__core__v3__http_protocol_options__descriptor);
    options->common_http_protocol_options->idle_timeout = pb_duration_ms(gen->arena, PASSTHROUGH_IDLE_MS);
    cluster->alt_stat_name = pb_text(gen->arena, STR("PassthroughCluster;"));
    set_original_dst(cluster);
    set_no_limits(gen, cluster);
    set_http_options(gen, cluster, options);
    return cluster;
}

static void add_catch_alls(struct gen *gen)
{
    WireCluster *outbound = new_catch_all(gen, STR("PassthroughCluster"));
    add_metadata_exchange(gen, outbound);
    gen_add(gen, STR("PassthroughCluster"), outbound);
    WireCluster *inbound = new_catch_all(gen, STR("InboundPassthroughCluster"));
    set_inbound_source(gen, inbound);
    gen_add(gen, STR("InboundPassthroughCluster"), inbound);
}

void gen_clusters(struct gen *gen)
{
    add_services(gen);
    add_black_hole(gen);
    if (gen->proxy->type == MESH_PROXY_SIDECAR) {
        add_catch_alls(gen);
        add_inbound(gen);
    }
}
