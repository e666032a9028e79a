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

static void set_service_metadata(struct gen *gen, WireCluster *cluster, const struct mesh_service *service)
{
    struct arena *arena = gen->arena;
    struct json_value *entry = json_new_object(arena);
    json_set_str(arena, entry, "host", service->hostname);
    json_set_str(arena, entry, "name", service->name);
    json_set_str(arena, entry, "namespace", service->ns);
    struct json_value *istio = json_new_object(arena);
    json_push(arena, json_ensure_array(arena, istio, "services"), entry);
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

static void set_protocol(struct gen *gen, WireCluster *cluster, enum mesh_protocol protocol)
{
    if (mesh_protocol_is_http2(protocol)) {
        set_http_options(gen, cluster, explicit_http2(gen));
    } else if (protocol == MESH_PROTOCOL_AUTO && gen->proxy->type == MESH_PROXY_SIDECAR) {
        set_http_options(gen, cluster, downstream_protocol(gen));
    }
}

// --- outbound --------------------------------------------------------------------------------------------

static void set_endpoints_by_ads(struct gen *gen, WireCluster *cluster, struct str name)
{
    struct arena *arena = gen->arena;
    cluster->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__EDS;
    cluster->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__LEAST_REQUEST;
    cluster->eds_cluster_config =
        pb_new(arena, &envoy__config__cluster__v3__cluster__eds_cluster_config__descriptor);
    cluster->eds_cluster_config->eds_config = wire_ads(arena);
    cluster->eds_cluster_config->service_name = pb_text(arena, name);
    // Panic mode would send to hosts known to be bad; locality failover relies on it being off.
    cluster->common_lb_config =
        pb_new(arena, &envoy__config__cluster__v3__cluster__common_lb_config__descriptor);
    cluster->common_lb_config->healthy_panic_threshold =
        pb_new(arena, &envoy__type__v3__percent__descriptor);
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

// Auto mTLS: endpoints say by metadata whether a sidecar of the mesh answers there.
static void set_auto_mtls(struct gen *gen, WireCluster *cluster, const struct mesh_service *service,
                          const struct mesh_port *port)
{
    static const char *const alpn[] = {"istio-peer-exchange", "istio", "h2"};
    struct arena *arena = gen->arena;
    bool is_http2 = mesh_protocol_is_http2(port->protocol);
    Envoy__Extensions__TransportSockets__Tls__V3__UpstreamTlsContext *tls =
        pb_new(arena, &envoy__extensions__transport_sockets__tls__v3__upstream_tls_context__descriptor);
    tls->sni = pb_text(arena, gen_sni(gen, service, port->number));
    tls->common_tls_context =
        wire_mesh_tls(arena, alpn, is_http2 ? array_count(alpn) : array_count(alpn) - 1,
                      service->identities, service->identity_count, false);
    add_socket_match(gen, cluster, "tlsMode-istio", "istio",
                     wire_transport_socket(arena, TLS_SOCKET, tls));
    void *raw = pb_new(arena, &envoy__extensions__transport_sockets__raw_buffer__v3__raw_buffer__descriptor);
    add_socket_match(gen, cluster, "tlsMode-disabled", NULL,
                     wire_transport_socket(arena, RAW_SOCKET, raw));
}

static void add_outbound(struct gen *gen, const struct mesh_service *service, const struct mesh_port *port)
{
    struct str name = gen_cluster_name(gen, service, port->number);
    WireCluster *cluster = new_cluster(gen, name);
    if (service->resolution == MESH_RESOLUTION_PASSTHROUGH && gen->proxy->type == MESH_PROXY_SIDECAR) {
        set_original_dst(cluster);
    } else {
        set_endpoints_by_ads(gen, cluster, name);
    }
    set_no_limits(gen, cluster);
    set_service_metadata(gen, cluster, service);
    add_metadata_exchange(gen, cluster);
    set_protocol(gen, cluster, port->protocol);
    if (gen->snapshot->config.auto_mtls) {
        set_auto_mtls(gen, cluster, service, port);
    }
    gen_add(gen, name, cluster);
}

// The cluster behind the chain of the same SNI: mesh TLS passes through unopened.
static void add_passthrough(struct gen *gen, const struct mesh_service *service, const struct mesh_port *port)
{
    struct str name = gen_sni(gen, service, port->number);
    WireCluster *cluster = new_cluster(gen, name);
    set_endpoints_by_ads(gen, cluster, name);
    set_no_limits(gen, cluster);
    set_service_metadata(gen, cluster, service);
    add_metadata_exchange(gen, cluster);
    if (mesh_protocol_is_http2(port->protocol)) {
        set_protocol(gen, cluster, port->protocol);
    }
    gen_add(gen, name, cluster);
}

static void add_services(struct gen *gen)
{
    bool is_passthrough = gen_is_passthrough_router(gen);
    for (size_t i = 0; i < gen->snapshot->service_count; i++) {
        const struct mesh_service *service = gen->snapshot->services[i];
        for (size_t j = 0; j < service->port_count; j++) {
            const struct mesh_port *port = &service->ports[j];
            if (port->protocol == MESH_PROTOCOL_UDP) {
                continue;
            }
            add_outbound(gen, service, port);
            if (is_passthrough && gen_passthrough_exposes(gen, service->hostname)) {
                add_passthrough(gen, service, port);
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
        set_service_metadata(gen, cluster, target->service);
        set_inbound_source(gen, cluster);
        set_protocol(gen, cluster, target->port->protocol);
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
