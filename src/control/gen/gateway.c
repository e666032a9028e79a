// SPDX-License-Identifier: Apache-2.0
//
// Listeners of a gateway (router). AUTO_PASSTHROUGH: one chain per exposed service and port, chosen by
// the SNI that sidecars build and a mesh ALPN; the TLS inside is not opened.
#include "control/gen/gen_internal.h"

#define CHAIN_CONNECT_MS 15000u
#define PRIVILEGED_PORTS 1024u

static bool selects(const struct gen *gen, const struct mesh_gateway *gateway)
{
    return mesh_labels_contain(&gen->proxy->labels, &gateway->selector);
}

static bool is_passthrough(const struct mesh_gateway_server *server)
{
    return server->tls == MESH_GATEWAY_TLS_AUTO_PASSTHROUGH;
}

// Steps over the AUTO_PASSTHROUGH servers of the Gateways that select the proxy; both start at 0.
static const struct mesh_gateway_server *next_passthrough(const struct gen *gen, size_t *gateway_at,
                                                          size_t *server_at)
{
    if (gen->proxy->type != MESH_PROXY_ROUTER) {
        return NULL;
    }
    for (; *gateway_at < gen->snapshot->gateway_count; (*gateway_at)++, *server_at = 0) {
        const struct mesh_gateway *gateway = &gen->snapshot->gateways[*gateway_at];
        while (selects(gen, gateway) && *server_at < gateway->server_count) {
            const struct mesh_gateway_server *server = &gateway->servers[(*server_at)++];
            if (is_passthrough(server)) {
                return server;
            }
        }
    }
    return NULL;
}

bool gen_is_passthrough_router(const struct gen *gen)
{
    size_t gateway_at = 0;
    size_t server_at = 0;
    return next_passthrough(gen, &gateway_at, &server_at) != NULL;
}

static bool server_exposes(const struct mesh_gateway_server *server, struct str hostname)
{
    for (size_t i = 0; i < server->host_count; i++) {
        if (mesh_host_matches(server->hosts[i], hostname)) {
            return true;
        }
    }
    return false;
}

bool gen_passthrough_exposes(const struct gen *gen, struct str hostname)
{
    size_t gateway_at = 0;
    size_t server_at = 0;
    const struct mesh_gateway_server *server;
    while ((server = next_passthrough(gen, &gateway_at, &server_at)) != NULL) {
        if (server_exposes(server, hostname)) {
            return true;
        }
    }
    return false;
}

// A server's port is the port of the Service in front; the listener is on the pod's.
static uint32_t listener_port(const struct gen *gen, uint32_t service_port)
{
    gen_target_vec targets = {0};
    uint32_t port = service_port;
    gen_targets(gen, &targets);
    for (size_t i = 0; i < targets.count; i++) {
        if (targets.items[i].port->number == service_port) {
            port = targets.items[i].number;
            break;
        }
    }
    vec_done(&targets);
    return port;
}

static WireFilterChain *passthrough_chain(struct gen *gen, struct str sni)
{
    struct arena *arena = gen->arena;
    WireFilterChain *chain = pb_new(arena, &wire_filter_chain_type);
    chain->filter_chain_match =
        gen_match(gen, 0, NULL, gen_alpn_all_mesh, array_count(gen_alpn_all_mesh));
    PB_PUSH(arena, chain->filter_chain_match, server_names, pb_text(arena, sni));
    PB_PUSH(arena, chain, filters, gen_tcp_proxy(gen, sni, true));
    chain->transport_socket_connect_timeout = pb_duration_ms(arena, CHAIN_CONNECT_MS);
    return chain;
}

static void add_passthrough_chains(struct gen *gen, WireListener *listener,
                                   const struct mesh_gateway_server *server, struct map *seen)
{
    for (size_t i = 0; i < gen->snapshot->service_count; i++) {
        const struct mesh_service *service = gen->snapshot->services[i];
        if (!server_exposes(server, service->hostname)) {
            continue;
        }
        for (size_t j = 0; j < service->port_count; j++) {
            struct str sni = gen_sni(gen, service, service->ports[j].number);
            struct str key = arena_format(gen->arena, "%s %.*s", listener->name, STR_ARG(sni));
            if (service->ports[j].protocol != MESH_PROTOCOL_UDP && map_set(seen, key, gen) == NULL) {
                PB_PUSH(gen->arena, listener, filter_chains, passthrough_chain(gen, sni));
            }
        }
    }
}

static WireListener *find_or_add_listener(struct gen *gen, struct map *listeners, uint32_t port)
{
    struct arena *arena = gen->arena;
    struct str name = arena_format(arena, "0.0.0.0_%u", port);
    WireListener *listener = map_get(listeners, name);
    if (listener != NULL) {
        return listener;
    }
    listener = pb_new(arena, &wire_listener_type);
    listener->name = pb_text(arena, name);
    listener->address = wire_address(arena, STR("0.0.0.0"), port);
    listener->traffic_direction = ENVOY__CONFIG__CORE__V3__TRAFFIC_DIRECTION__OUTBOUND;
    listener->max_connections_to_accept_per_socket_event = pb_uint32(arena, 1);
    WireAccessLog *log = gen_access_log_of_unmatched(gen);
    if (log != NULL) {
        PB_PUSH(arena, listener, access_log, log);
    }
    PB_PUSH(arena, listener, listener_filters, gen_tls_inspector(gen));
    map_set(listeners, name, listener);
    return listener;
}

void gen_gateway_listeners(struct gen *gen)
{
    struct map listeners = {0};
    struct map seen = {0};
    size_t gateway_at = 0;
    size_t server_at = 0;
    const struct mesh_gateway_server *server;
    while ((server = next_passthrough(gen, &gateway_at, &server_at)) != NULL) {
        uint32_t port = listener_port(gen, server->port);
        if (gen->proxy->is_unprivileged && port < PRIVILEGED_PORTS) {
            continue;
        }
        add_passthrough_chains(gen, find_or_add_listener(gen, &listeners, port), server, &seen);
    }
    void *value;
    for (size_t at = 0; map_each(&listeners, &at, NULL, &value);) {
        WireListener *listener = value;
        if (listener->n_filter_chains > 0) { // Envoy refuses a listener without chains
            gen_add(gen, str_of(listener->name), listener);
        }
    }
    map_done(&seen);
    map_done(&listeners);
}
