// SPDX-License-Identifier: Apache-2.0
//
// Outbound listeners of a sidecar. Captured connections arrive at virtualOutbound and are handed over by
// their original destination: to the listener of that address and port, else to 0.0.0.0 and that port,
// else they pass through untouched.
//
//   HTTP port P:             0.0.0.0_P  shared by all services; plain HTTP by route P, the rest passes
//   TCP or TLS port:         VIP_P      straight to the service's cluster
//   undeclared port:         VIP_P      HTTP by route "host:P", anything else to the service's cluster
//
//   headless, not HTTP:      POD_P      for each pod
//
// A headless service has no address of its own: its HTTP ports are served by the shared listener.
#include "control/gen/gen_internal.h"

#define CHAIN_CONNECT_MS 15000u

static WireListener *new_listener(struct gen *gen, struct str name, struct str ip, uint32_t port)
{
    WireListener *listener = pb_new(gen->arena, &wire_listener_type);
    listener->name = pb_text(gen->arena, name);
    listener->address = wire_address(gen->arena, ip, port);
    listener->traffic_direction = ENVOY__CONFIG__CORE__V3__TRAFFIC_DIRECTION__OUTBOUND;
    return listener;
}

// A listener that owns no socket: virtualOutbound hands connections to it.
static WireListener *new_service_listener(struct gen *gen, struct str name, struct str ip, uint32_t port)
{
    WireListener *listener = new_listener(gen, name, ip, port);
    listener->bind_to_port = pb_bool(gen->arena, false);
    listener->listener_filters_timeout = pb_duration_ms(gen->arena, 0);
    listener->continue_on_listener_filters_timeout = true;
    return listener;
}

static WireFilterChain *new_chain(struct gen *gen, WireFilter *filter)
{
    WireFilterChain *chain = pb_new(gen->arena, &wire_filter_chain_type);
    PB_PUSH(gen->arena, chain, filters, filter);
    return chain;
}

static struct str catch_all_cluster(const struct gen *gen)
{
    return gen->snapshot->config.registry_only ? STR("BlackHoleCluster") : STR("PassthroughCluster");
}

static void add_http_chain(struct gen *gen, WireListener *listener, struct str route)
{
    struct arena *arena = gen->arena;
    WireHcm *hcm = gen_hcm(gen, false, arena_format(arena, "outbound_%s", listener->name));
    hcm->route_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS;
    hcm->rds = pb_new(
        arena, &envoy__extensions__filters__network__http_connection_manager__v3__rds__descriptor);
    hcm->rds->config_source = wire_ads(arena);
    hcm->rds->route_config_name = pb_text(arena, route);
    WireFilterChain *chain = new_chain(gen, gen_hcm_filter(gen, hcm));
    chain->filter_chain_match =
        gen_match(gen, 0, "raw_buffer", gen_alpn_plain_http, array_count(gen_alpn_plain_http));
    chain->transport_socket_connect_timeout = pb_duration_ms(arena, CHAIN_CONNECT_MS);
    PB_PUSH(arena, listener, filter_chains, chain);
    PB_PUSH(arena, listener, listener_filters, gen_http_inspector(gen));
}

static void add_http_listener(struct gen *gen, uint32_t port)
{
    struct arena *arena = gen->arena;
    struct str name = arena_format(arena, "0.0.0.0_%u", port);
    WireListener *listener = new_service_listener(gen, name, STR("0.0.0.0"), port);
    add_http_chain(gen, listener, arena_format(arena, "%u", port));
    WireFilterChain *otherwise = new_chain(gen, gen_tcp_proxy(gen, catch_all_cluster(gen), true));
    otherwise->name = pb_text(arena, STR("PassthroughFilterChain"));
    otherwise->filter_chain_match = pb_new(arena, &wire_filter_chain_match_type);
    listener->default_filter_chain = otherwise;
    gen_add(gen, name, listener);
}

static void add_address_listener(struct gen *gen, const struct mesh_service *service,
                                 const struct mesh_port *port, struct str address, struct str name)
{
    struct arena *arena = gen->arena;
    WireListener *listener = new_service_listener(gen, name, address, port->number);
    const struct mesh_object *ruled_by = NULL;
    WireFilter *route = gen_tcp_route(gen, service, port->number, &ruled_by);
    WireFilterChain *chain = new_chain(gen, route != NULL ? route
        : gen_tcp_proxy(gen, gen_cluster_name(gen, service, port->number), true));
    if (route != NULL) {
        struct json_value *istio = json_new_object(arena);
        json_set_str(arena, istio, "config", gen_config_path(gen, ruled_by, "virtual-service"));
        chain->metadata = pb_new(arena, &envoy__config__core__v3__metadata__descriptor);
        wire_metadata_set(arena, chain->metadata, "istio", istio);
    }
    chain->transport_socket_connect_timeout = pb_duration_ms(arena, CHAIN_CONNECT_MS);
    if (port->protocol == MESH_PROTOCOL_AUTO) {
        add_http_chain(gen, listener, arena_format(arena, "%.*s:%u", STR_ARG(service->hostname),
                                                   port->number));
        listener->default_filter_chain = chain;
    } else {
        PB_PUSH(arena, listener, filter_chains, chain);
    }
    gen_add(gen, name, listener);
}

static void add_virtual_outbound(struct gen *gen)
{
    struct arena *arena = gen->arena;
    WireListener *listener =
        new_listener(gen, STR("virtualOutbound"), STR("0.0.0.0"), GEN_OUTBOUND_PORT);
    listener->use_original_dst = pb_bool(arena, true);
    listener->max_connections_to_accept_per_socket_event = pb_uint32(arena, 1);
    WireAccessLog *log = gen_access_log_of_unmatched(gen);
    if (log != NULL) {
        PB_PUSH(arena, listener, access_log, log);
    }
    // A connection to the capture port itself would be handed to us again, for ever.
    WireFilterChain *loop = new_chain(gen, gen_tcp_proxy(gen, STR("BlackHoleCluster"), false));
    loop->name = pb_text(arena, STR("virtualOutbound-blackhole"));
    loop->filter_chain_match = gen_match(gen, GEN_OUTBOUND_PORT, NULL, NULL, 0);
    PB_PUSH(arena, listener, filter_chains, loop);
    WireFilterChain *rest = new_chain(gen, gen_tcp_proxy(gen, catch_all_cluster(gen), true));
    rest->name = pb_text(arena, STR("virtualOutbound-catchall-tcp"));
    PB_PUSH(arena, listener, filter_chains, rest);
    gen_add(gen, STR("virtualOutbound"), listener);
}

// The caller of a headless service has picked a pod: one listener per pod, but not for the proxy's own,
// which must stay reachable to itself.
static void add_pod_listeners(struct gen *gen, struct map *seen, const struct mesh_service *service,
                              const struct mesh_port *port)
{
    for (size_t i = 0; i < service->endpoint_count; i++) {
        const struct mesh_endpoint *endpoint = &service->endpoints[i];
        if (!endpoint->is_ready || mesh_endpoint_port_number(endpoint, port->name) == 0 ||
            mesh_proxy_has_address(gen->proxy, endpoint->address)) {
            continue;
        }
        struct str name =
            arena_format(gen->arena, "%.*s_%u", STR_ARG(endpoint->address), port->number);
        if (map_set(seen, name, gen) == NULL) {
            add_address_listener(gen, service, port, endpoint->address, name);
        }
    }
}

static void add_port(struct gen *gen, struct map *seen, const struct mesh_service *service,
                     const struct mesh_port *port)
{
    bool is_http = mesh_protocol_is_http(port->protocol);
    struct str address = is_http ? STR("0.0.0.0") : gen_service_address(gen, service);
    if (port->protocol == MESH_PROTOCOL_UDP) {
        return;
    }
    if (!is_http && service->resolution == MESH_RESOLUTION_PASSTHROUGH) {
        add_pod_listeners(gen, seen, service, port);
        return;
    }
    if (str_is_empty(address)) {
        return;
    }
    // The sockets of the proxy itself are bound to these.
    if (is_http && (port->number == GEN_OUTBOUND_PORT || port->number == GEN_INBOUND_PORT)) {
        return;
    }
    struct str name = arena_format(gen->arena, "%.*s_%u", STR_ARG(address), port->number);
    if (map_has(seen, name)) { // oldest service first
        return;
    }
    map_set(seen, name, gen);
    if (is_http) {
        add_http_listener(gen, port->number);
    } else {
        add_address_listener(gen, service, port, address, name);
    }
}

void gen_outbound_listeners(struct gen *gen)
{
    struct map seen = {0};
    for (size_t i = 0; i < gen->snapshot->service_count; i++) {
        const struct mesh_service *service = gen->snapshot->services[i];
        for (size_t j = 0; j < service->port_count; j++) {
            add_port(gen, &seen, service, &service->ports[j]);
        }
    }
    map_done(&seen);
    add_virtual_outbound(gen);
}
