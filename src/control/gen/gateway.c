// SPDX-License-Identifier: Apache-2.0
//
// Listeners and routes of a gateway (router).
//
//   AUTO_PASSTHROUGH   one chain per exposed service, port and subset, chosen by the SNI that sidecars
//                      build and a mesh ALPN; the TLS inside is not opened
//   plain HTTP         one listener per port with the route "http.<port>": a virtual host for each name
//                      that both a server and a VirtualService bound to its Gateway have
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

static void add_chain(struct gen *gen, WireListener *listener, struct str sni, struct map *seen)
{
    struct str key = arena_format(gen->arena, "%s %.*s", listener->name, STR_ARG(sni));
    if (map_set(seen, key, gen) == NULL) {
        PB_PUSH(gen->arena, listener, filter_chains, passthrough_chain(gen, sni));
    }
}

static void add_service_chains(struct gen *gen, WireListener *listener, const struct mesh_service *service,
                               uint32_t port, struct map *seen)
{
    struct gen_rule rule;
    add_chain(gen, listener, gen_sni(gen, service, port, STR_EMPTY), seen);
    gen_find_rule(gen, service->hostname, service->ns, &rule);
    for (size_t i = 0; i < rule.subset_count; i++) {
        add_chain(gen, listener, gen_sni(gen, service, port, str_of(rule.subsets[i]->name)), seen);
    }
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
            if (service->ports[j].protocol != MESH_PROTOCOL_UDP) {
                add_service_chains(gen, listener, service, service->ports[j].number, seen);
            }
        }
    }
}

// --- HTTP servers ------------------------------------------------------------------------------------------

static bool is_http_server(const struct mesh_gateway_server *server)
{
    return mesh_protocol_is_http(server->protocol) && server->tls == MESH_GATEWAY_TLS_NONE;
}

// A client on the outside: its address counts, its word about certificates and hops does not.
static WireFilterChain *http_chain(struct gen *gen, uint32_t port)
{
    struct arena *arena = gen->arena;
    WireHcm *hcm = gen_hcm(gen, false, arena_format(arena, "outbound_0.0.0.0_%u", port));
    hcm->server_name = pb_text(arena, STR("istio-envoy"));
    hcm->use_remote_address = pb_bool(arena, true);
    hcm->http_protocol_options = pb_new(arena, &envoy__config__core__v3__http1_protocol_options__descriptor);
    hcm->forward_client_cert_details =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__FORWARD_CLIENT_CERT_DETAILS__SANITIZE_SET;
    hcm->set_current_client_cert_details = pb_new(
        arena, &envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__set_current_client_cert_details__descriptor);
    hcm->set_current_client_cert_details->subject = pb_bool(arena, true);
    hcm->set_current_client_cert_details->cert = true;
    hcm->set_current_client_cert_details->dns = true;
    hcm->set_current_client_cert_details->uri = true;
    hcm->route_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS;
    hcm->rds = pb_new(
        arena, &envoy__extensions__filters__network__http_connection_manager__v3__rds__descriptor);
    hcm->rds->config_source = wire_ads(arena);
    hcm->rds->route_config_name = pb_text(arena, arena_format(arena, "http.%u", port));
    WireFilterChain *chain = pb_new(arena, &wire_filter_chain_type);
    PB_PUSH(arena, chain, filters, gen_hcm_filter(gen, hcm));
    chain->transport_socket_connect_timeout = pb_duration_ms(arena, CHAIN_CONNECT_MS);
    return chain;
}

static bool is_bound(const MeshVirtualService *service, struct str gateway)
{
    for (size_t i = 0; i < service->n_gateways; i++) {
        if (str_equal(str_of(service->gateways[i]), gateway)) {
            return true;
        }
    }
    return false;
}

// The more specific of two names that overlap; data NULL: they do not.
static struct str overlap(struct str a, struct str b)
{
    if (mesh_host_matches(a, b)) {
        return b;
    }
    return mesh_host_matches(b, a) ? a : (struct str){0};
}

struct route_building {
    struct gen *gen;
    WireRouteConfiguration *routes;
    struct map hosts; // domain → virtual host
    const struct mesh_gateway *gateway;
    const struct mesh_gateway_server *server;
};

static WireVirtualHost *find_or_add_host(struct route_building *building, struct str domain)
{
    struct arena *arena = building->gen->arena;
    WireVirtualHost *host = map_get(&building->hosts, domain);
    if (host == NULL) {
        host = pb_new(arena, &envoy__config__route__v3__virtual_host__descriptor);
        host->name = pb_text(arena, arena_format(arena, "%.*s:%u", STR_ARG(domain), building->server->port));
        host->include_request_attempt_count = true;
        PB_PUSH(arena, host, domains, pb_text(arena, domain));
        PB_PUSH(arena, building->routes, virtual_hosts, host);
        map_set(&building->hosts, domain, host);
    }
    if (building->server->is_https_redirect) {
        host->require_tls = ENVOY__CONFIG__ROUTE__V3__VIRTUAL_HOST__TLS_REQUIREMENT_TYPE__ALL;
    }
    return host;
}

// Several VirtualServices may share a host: a route that takes everything must not hide the next one's.
static void move_catch_alls_last(WireVirtualHost *host)
{
    for (size_t i = 0, left = host->n_routes; left > 0; left--) {
        WireRoute *route = host->routes[i];
        if (!gen_is_catch_all(route)) {
            i++;
            continue;
        }
        for (size_t j = i + 1; j < host->n_routes; j++) {
            host->routes[j - 1] = host->routes[j];
        }
        host->routes[host->n_routes - 1] = route;
    }
}

static void add_virtual_service(struct route_building *building, const struct mesh_object *object)
{
    struct gen *gen = building->gen;
    const struct mesh_gateway_server *server = building->server;
    const MeshVirtualService *service = object->virtual_service;
    struct gen_http_context context = {
        .gateway = arena_format(gen->arena, "%.*s/%.*s", STR_ARG(building->gateway->ns),
                                STR_ARG(building->gateway->name)),
        .port = server->port,
    };
    if (!is_bound(service, context.gateway)) {
        return;
    }
    struct map done = {0}; // hosts of one server may overlap
    for (size_t i = 0; i < server->host_count; i++) {
        struct str ns = server->host_namespaces[i];
        for (size_t j = 0; (str_is_empty(ns) || str_equal(ns, object->ns)) && j < service->n_hosts; j++) {
            struct str domain = overlap(server->hosts[i], str_of(service->hosts[j]));
            WireVirtualHost probe = {0};
            if (domain.data == NULL || map_set(&done, domain, building) != NULL ||
                gen_add_http_routes(gen, &context, object, &probe) == 0) {
                continue;
            }
            WireVirtualHost *host = find_or_add_host(building, domain);
            for (size_t k = 0; k < probe.n_routes; k++) {
                PB_PUSH(gen->arena, host, routes, probe.routes[k]);
            }
            if (host->n_routes > probe.n_routes) {
                move_catch_alls_last(host);
            }
        }
    }
    map_done(&done);
}

// Nearest namespace first, then the oldest.
static void add_virtual_services(struct route_building *building)
{
    const struct mesh_object_list *list =
        &building->gen->snapshot->objects[MESH_OBJECT_VIRTUAL_SERVICE];
    for (int tier = MESH_PRIVATE; tier < MESH_INVISIBLE; tier++) {
        for (size_t i = 0; i < list->count; i++) {
            const MeshVirtualService *service = list->items[i]->virtual_service;
            if ((int)mesh_visibility_of(service->export_to, service->n_export_to, list->items[i]->ns,
                                        building->gen->proxy->ns) == tier) {
                add_virtual_service(building, list->items[i]);
            }
        }
    }
    for (size_t i = 0; building->server->is_https_redirect && i < building->server->host_count; i++) {
        (void)find_or_add_host(building, building->server->hosts[i]);
    }
}



void gen_gateway_route(struct gen *gen, struct str name, WireRouteConfiguration *routes)
{
    struct arena *arena = gen->arena;
    struct route_building building = {.gen = gen, .routes = routes};
    uint64_t port = 0;
    uint32_t server_port = 0;
    if (!str_starts_with(name, STR("http.")) || !str_to_u64(str_from(name, 5), &port) || port > 65535) {
        return;
    }
    for (size_t i = 0; i < gen->snapshot->gateway_count; i++) {
        building.gateway = &gen->snapshot->gateways[i];
        for (size_t j = 0; selects(gen, building.gateway) && j < building.gateway->server_count; j++) {
            building.server = &building.gateway->servers[j];
            if (is_http_server(building.server) && listener_port(gen, building.server->port) == port) {
                server_port = building.server->port;
                add_virtual_services(&building);
            }
        }
    }
    map_done(&building.hosts);
    if (routes->n_virtual_hosts == 0) { // no VirtualService: every request gets 404
        WireVirtualHost *host = pb_new(arena, &envoy__config__route__v3__virtual_host__descriptor);
        host->name = pb_text(arena, arena_format(arena, "blackhole:%u",
                                                 server_port == 0 ? (uint32_t)port : server_port));
        PB_PUSH(arena, host, domains, pb_text(arena, STR("*")));
        PB_PUSH(arena, routes, virtual_hosts, host);
    }
}

// --- listeners ---------------------------------------------------------------------------------------------

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
    map_set(listeners, name, listener);
    return listener;
}

// Plain HTTP servers of one port share one listener and one route; a port that has other servers already
// stays theirs.
static void add_http_listeners(struct gen *gen, struct map *listeners)
{
    for (size_t i = 0; i < gen->snapshot->gateway_count; i++) {
        const struct mesh_gateway *gateway = &gen->snapshot->gateways[i];
        for (size_t j = 0; selects(gen, gateway) && j < gateway->server_count; j++) {
            uint32_t port = listener_port(gen, gateway->servers[j].port);
            if (!is_http_server(&gateway->servers[j]) ||
                (gen->proxy->is_unprivileged && port < PRIVILEGED_PORTS)) {
                continue;
            }
            WireListener *listener = find_or_add_listener(gen, listeners, port);
            if (listener->n_filter_chains == 0) {
                PB_PUSH(gen->arena, listener, filter_chains, http_chain(gen, port));
            }
        }
    }
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
        WireListener *listener = find_or_add_listener(gen, &listeners, port);
        if (listener->n_listener_filters == 0) {
            PB_PUSH(gen->arena, listener, listener_filters, gen_tls_inspector(gen));
        }
        add_passthrough_chains(gen, listener, server, &seen);
    }
    add_http_listeners(gen, &listeners);
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
