// SPDX-License-Identifier: Apache-2.0
//
// virtualInbound: everything captured on its way into the workload. One set of filter chains per port
// that a service of the workload targets, and one set for all other ports. Mesh mTLS is told from the
// application's own TLS by its ALPN. PeerAuthentication says per port whether plaintext is served too
// (PERMISSIVE, the default), refused (STRICT) or all there is (DISABLE).
#include "control/gen/gen_internal.h"

enum chain_content {
    CHAIN_HTTP,
    CHAIN_TCP,
};

struct chain_shape {
    const char *transport; // "tls" or "raw_buffer"
    const char *const *alpn;
    size_t alpn_count;
    enum chain_content content;
    bool terminates; // mesh TLS ends here
};

#define ALPN(tokens) (tokens), array_count(tokens)
#define NO_ALPN NULL, 0

// Envoy picks a chain by the most specific match, in the fixed order port, transport, ALPN: the rows'
// order is for readers. STRICT takes no plaintext, DISABLE no mesh TLS.
static const struct chain_shape permissive_http[] = {
    {"tls", ALPN(gen_alpn_all_mesh), CHAIN_HTTP, true},
    {"raw_buffer", NO_ALPN, CHAIN_HTTP, false},
};

static const struct chain_shape permissive_tcp[] = {
    {"tls", ALPN(gen_alpn_all_mesh), CHAIN_TCP, true},
    {"tls", NO_ALPN, CHAIN_TCP, false},
    {"raw_buffer", NO_ALPN, CHAIN_TCP, false},
};

static const struct chain_shape permissive_auto[] = {
    {"tls", ALPN(gen_alpn_mesh_http), CHAIN_HTTP, true},
    {"raw_buffer", ALPN(gen_alpn_plain_http), CHAIN_HTTP, false},
    {"tls", ALPN(gen_alpn_mesh_tcp), CHAIN_TCP, true},
    {"raw_buffer", NO_ALPN, CHAIN_TCP, false},
    {"tls", NO_ALPN, CHAIN_TCP, false},
};

static const struct chain_shape strict_http[] = {{"tls", NO_ALPN, CHAIN_HTTP, true}};
static const struct chain_shape strict_tcp[] = {{"tls", NO_ALPN, CHAIN_TCP, true}};
static const struct chain_shape strict_auto[] = {
    {"tls", ALPN(gen_alpn_mesh_http), CHAIN_HTTP, true},
    {"tls", NO_ALPN, CHAIN_TCP, true},
};

static const struct chain_shape plain_http[] = {{NULL, NO_ALPN, CHAIN_HTTP, false}};
static const struct chain_shape plain_tcp[] = {{NULL, NO_ALPN, CHAIN_TCP, false}};
static const struct chain_shape plain_auto[] = {
    {NULL, ALPN(gen_alpn_plain_http), CHAIN_HTTP, false},
    {NULL, NO_ALPN, CHAIN_TCP, false},
};

enum port_class { CLASS_HTTP = 0, CLASS_TCP, CLASS_AUTO };

#define ROWS(shapes) {(shapes), array_count(shapes)}

static const struct {
    const struct chain_shape *shapes;
    size_t count;
} chains[][3] = {
    [GEN_MTLS_PERMISSIVE] = {ROWS(permissive_http), ROWS(permissive_tcp), ROWS(permissive_auto)},
    [GEN_MTLS_STRICT] = {ROWS(strict_http), ROWS(strict_tcp), ROWS(strict_auto)},
    [GEN_MTLS_DISABLE] = {ROWS(plain_http), ROWS(plain_tcp), ROWS(plain_auto)},
};

// What a set of chains leads to.
struct inbound_port {
    uint32_t number; // 0: all other ports
    struct str cluster;
    struct str stat_prefix;
    struct str operation; // name of the traced operation
    struct str http_name; // of HTTP chains
    struct str tcp_name;
    enum mesh_protocol protocol;
    enum gen_mtls mtls;
};

static WireTransportSocket *mesh_tls_server(struct gen *gen, enum chain_content content)
{
    static const char *const http_alpn[] = {"h2", "http/1.1"};
    static const char *const tcp_alpn[] = {"istio-peer-exchange", "h2", "http/1.1"};
    static const char *const ciphers[] = {
        "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-GCM-SHA256",
    };
    struct arena *arena = gen->arena;
    struct str domain =
        arena_format(arena, "spiffe://%.*s/", STR_ARG(gen->snapshot->config.trust_domain));
    bool is_http = content == CHAIN_HTTP;
    Envoy__Extensions__TransportSockets__Tls__V3__DownstreamTlsContext *tls =
        pb_new(arena, &envoy__extensions__transport_sockets__tls__v3__downstream_tls_context__descriptor);
    tls->require_client_certificate = pb_bool(arena, true);
    tls->common_tls_context =
        wire_mesh_tls(arena, is_http ? http_alpn : tcp_alpn,
                      is_http ? array_count(http_alpn) : array_count(tcp_alpn), &domain, 1, true);
    for (size_t i = 0; i < array_count(ciphers); i++) {
        PB_PUSH(arena, tls->common_tls_context->tls_params, cipher_suites,
                pb_text(arena, str_of(ciphers[i])));
    }
    return wire_transport_socket(arena, "envoy.transport_sockets.tls", tls);
}

static WireRoute *inbound_route(struct gen *gen, const struct inbound_port *port)
{
    struct arena *arena = gen->arena;
    WireRouteAction *action = pb_new(arena, &envoy__config__route__v3__route_action__descriptor);
    action->cluster_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
    action->cluster = pb_text(arena, port->cluster);
    action->timeout = pb_duration_ms(arena, 0); // the caller's side decides
    action->max_stream_duration =
        pb_new(arena, &envoy__config__route__v3__route_action__max_stream_duration__descriptor);
    action->max_stream_duration->max_stream_duration = pb_duration_ms(arena, 0);
    action->max_stream_duration->grpc_timeout_header_max = pb_duration_ms(arena, 0);
    // The application may close an idle connection just as we use it: nothing was processed then.
    action->retry_policy = pb_new(arena, &envoy__config__route__v3__retry_policy__descriptor);
    action->retry_policy->retry_on = pb_text(arena, STR("reset-before-request"));
    action->retry_policy->num_retries = pb_uint32(arena, 2);
    WireRoute *route = pb_new(arena, &envoy__config__route__v3__route__descriptor);
    route->name = pb_text(arena, STR("default"));
    route->match = pb_new(arena, &envoy__config__route__v3__route_match__descriptor);
    route->match->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
    route->match->prefix = pb_text(arena, STR("/"));
    route->decorator = pb_new(arena, &envoy__config__route__v3__decorator__descriptor);
    route->decorator->operation = pb_text(arena, port->operation);
    route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    route->route = action;
    return route;
}

static WireFilter *inbound_hcm(struct gen *gen, const struct inbound_port *port)
{
    struct arena *arena = gen->arena;
    WireVirtualHost *host = pb_new(arena, &envoy__config__route__v3__virtual_host__descriptor);
    host->name = pb_text(arena, arena_format(arena, "inbound|http|%u", port->number));
    PB_PUSH(arena, host, domains, pb_text(arena, STR("*")));
    PB_PUSH(arena, host, routes, inbound_route(gen, port));
    WireRouteConfiguration *routes = pb_new(arena, &wire_route_configuration_type);
    routes->name = pb_text(arena, port->cluster);
    routes->validate_clusters = pb_bool(arena, false);
    PB_PUSH(arena, routes, virtual_hosts, host);
    WireHcm *hcm = gen_hcm(gen, true, port->stat_prefix);
    hcm->route_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_ROUTE_CONFIG;
    hcm->route_config = routes;
    if (mesh_protocol_is_http2(port->protocol)) {
        hcm->http2_protocol_options =
            pb_new(arena, &envoy__config__core__v3__http2_protocol_options__descriptor);
    }
    return gen_hcm_filter(gen, hcm);
}

static void add_chain(struct gen *gen, WireListener *listener, const struct inbound_port *port,
                      const struct chain_shape *shape)
{
    struct arena *arena = gen->arena;
    bool is_http = shape->content == CHAIN_HTTP;
    WireFilterChain *chain = pb_new(arena, &wire_filter_chain_type);
    chain->name = pb_text(arena, is_http ? port->http_name : port->tcp_name);
    chain->filter_chain_match =
        gen_match(gen, port->number, shape->transport, shape->alpn, shape->alpn_count);
    PB_PUSH(arena, chain, filters, gen_metadata_exchange(gen));
    PB_PUSH(arena, chain, filters,
            is_http ? inbound_hcm(gen, port) : gen_tcp_proxy(gen, port->cluster, true));
    if (shape->terminates) {
        chain->transport_socket = mesh_tls_server(gen, shape->content);
    }
    PB_PUSH(arena, listener, filter_chains, chain);
}

static void add_chains(struct gen *gen, WireListener *listener, const struct inbound_port *port)
{
    enum port_class class = port->protocol == MESH_PROTOCOL_AUTO ? CLASS_AUTO
        : mesh_protocol_is_http(port->protocol) ? CLASS_HTTP : CLASS_TCP;
    for (size_t i = 0; i < chains[port->mtls][class].count; i++) {
        add_chain(gen, listener, port, &chains[port->mtls][class].shapes[i]);
    }
}

static void add_loop_guard(struct gen *gen, WireListener *listener)
{
    WireFilterChain *chain = pb_new(gen->arena, &wire_filter_chain_type);
    chain->name = pb_text(gen->arena, STR("virtualInbound-blackhole"));
    chain->filter_chain_match = gen_match(gen, GEN_INBOUND_PORT, NULL, NULL, 0);
    PB_PUSH(gen->arena, chain, filters, gen_metadata_exchange(gen));
    PB_PUSH(gen->arena, chain, filters, gen_tcp_proxy(gen, STR("BlackHoleCluster"), false));
    PB_PUSH(gen->arena, listener, filter_chains, chain);
}

// --- inspectors: not on ports whose protocol is known ------------------------------------------------------

static WirePredicate *port_predicate(struct gen *gen, uint32_t port)
{
    WirePredicate *predicate =
        pb_new(gen->arena, &envoy__config__listener__v3__listener_filter_chain_match_predicate__descriptor);
    predicate->rule_case =
        ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_DESTINATION_PORT_RANGE;
    predicate->destination_port_range = pb_new(gen->arena, &envoy__type__v3__int32_range__descriptor);
    predicate->destination_port_range->start = (int32_t)port;
    predicate->destination_port_range->end = (int32_t)port + 1;
    return predicate;
}

static WirePredicate *any_port_predicate(struct gen *gen, const uint32_t *ports, size_t count)
{
    if (count == 1) {
        return port_predicate(gen, ports[0]);
    }
    WirePredicate *predicate =
        pb_new(gen->arena, &envoy__config__listener__v3__listener_filter_chain_match_predicate__descriptor);
    predicate->rule_case =
        ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_OR_MATCH;
    predicate->or_match = pb_new(
        gen->arena, &envoy__config__listener__v3__listener_filter_chain_match_predicate__match_set__descriptor);
    for (size_t i = 0; i < count; i++) {
        PB_PUSH(gen->arena, predicate->or_match, rules, port_predicate(gen, ports[i]));
    }
    return predicate;
}

static enum gen_mtls port_mtls(const struct gen *gen, uint32_t port)
{
    return gen_workload_mtls(gen, gen->proxy->ns, &gen->proxy->labels, port);
}

// Plain HTTP is looked for where the protocol is not declared and plaintext is taken.
static bool is_inspected(const struct gen *gen, const struct gen_target *target)
{
    return target->port->protocol == MESH_PROTOCOL_AUTO &&
           port_mtls(gen, target->number) != GEN_MTLS_STRICT;
}

static void add_inspectors(struct gen *gen, WireListener *listener, const gen_target_vec *targets)
{
    struct arena *arena = gen->arena;
    uint32_t *declared = arena_array(arena, uint32_t, targets->count + 1);
    size_t count = 0;
    bool is_needed = port_mtls(gen, 0) != GEN_MTLS_STRICT;
    for (size_t i = 0; i < targets->count; i++) {
        is_needed = is_needed || is_inspected(gen, &targets->items[i]);
        if (!is_inspected(gen, &targets->items[i])) {
            declared[count++] = targets->items[i].number;
        }
    }
    declared[count++] = GEN_INBOUND_PORT;
    const uint32_t own_port = GEN_INBOUND_PORT;
    PB_PUSH(arena, listener, listener_filters, gen_original_dst(gen));
    WireListenerFilter *tls = gen_tls_inspector(gen);
    tls->filter_disabled = any_port_predicate(gen, &own_port, 1);
    PB_PUSH(arena, listener, listener_filters, tls);
    if (!is_needed) {
        return;
    }
    WireListenerFilter *http = gen_http_inspector(gen);
    http->filter_disabled = any_port_predicate(gen, declared, count);
    PB_PUSH(arena, listener, listener_filters, http);
}

void gen_inbound_listener(struct gen *gen)
{
    struct arena *arena = gen->arena;
    WireListener *listener = pb_new(arena, &wire_listener_type);
    gen_target_vec targets = {0};
    gen_targets(gen, &targets);
    listener->name = pb_text(arena, STR("virtualInbound"));
    listener->address = wire_address(arena, STR("0.0.0.0"), GEN_INBOUND_PORT);
    listener->traffic_direction = ENVOY__CONFIG__CORE__V3__TRAFFIC_DIRECTION__INBOUND;
    listener->listener_filters_timeout = pb_duration_ms(arena, 0);
    listener->continue_on_listener_filters_timeout = true;
    listener->max_connections_to_accept_per_socket_event = pb_uint32(arena, 1);
    WireAccessLog *log = gen_access_log_of_unmatched(gen);
    if (log != NULL) {
        PB_PUSH(arena, listener, access_log, log);
    }
    add_inspectors(gen, listener, &targets);
    add_loop_guard(gen, listener);
    struct inbound_port others = {
        .cluster = STR("InboundPassthroughCluster"),
        .stat_prefix = STR("InboundPassthroughCluster"),
        .operation = STR(":0/*"),
        .http_name = STR("virtualInbound-catchall-http"),
        .tcp_name = STR("virtualInbound"),
        .mtls = port_mtls(gen, 0),
    };
    add_chains(gen, listener, &others);
    for (size_t i = 0; i < targets.count; i++) {
        const struct gen_target *target = &targets.items[i];
        struct str name = arena_format(arena, "0.0.0.0_%u", target->number);
        struct inbound_port port = {
            .number = target->number,
            .cluster = gen_inbound_name(gen, target->number),
            .stat_prefix = arena_format(arena, "inbound_%.*s", STR_ARG(name)),
            .operation = arena_format(arena, "%.*s:%u/*", STR_ARG(target->service->hostname),
                                      target->port->number),
            .http_name = name,
            .tcp_name = name,
            .protocol = target->port->protocol,
            .mtls = port_mtls(gen, target->number),
        };
        add_chains(gen, listener, &port);
    }
    vec_done(&targets);
    gen_add(gen, STR("virtualInbound"), listener);
}

void gen_listeners(struct gen *gen)
{
    if (gen->proxy->type == MESH_PROXY_ROUTER) {
        gen_gateway_listeners(gen);
        return;
    }
    gen_outbound_listeners(gen);
    gen_inbound_listener(gen);
}
