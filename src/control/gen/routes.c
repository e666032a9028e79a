// SPDX-License-Identifier: Apache-2.0
//
// Route configurations of a sidecar, by name:
//
//   "5000"                 all HTTP and undeclared services with that port, one virtual host each, then
//                          a catch-all that passes unknown hosts through
//   "host:15021"           one service whose undeclared port turned out to carry HTTP
//   "http.8080"            on a gateway: the HTTP servers of its Gateways whose port leads to this one
//
// A VirtualService for the sidecars ("mesh") replaces the plain route of the services it names. Of
// several for one host the first counts, nearest namespace first, then the oldest; an exact host beats a
// wildcard.
#include "control/gen/gen_internal.h"

#include <stdlib.h>

#define DIRECT_RESPONSE_MAX (1024u * 1024)

static WireRoute *new_route(struct gen *gen, const char *name)
{
    struct arena *arena = gen->arena;
    WireRoute *route = pb_new(arena, &envoy__config__route__v3__route__descriptor);
    route->name = pb_text(arena, str_of(name));
    route->match = pb_new(arena, &envoy__config__route__v3__route_match__descriptor);
    route->match->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
    route->match->prefix = pb_text(arena, STR("/"));
    return route;
}

static void set_cluster(struct gen *gen, WireRoute *route, struct str cluster)
{
    struct arena *arena = gen->arena;
    WireRouteAction *action = pb_new(arena, &envoy__config__route__v3__route_action__descriptor);
    action->cluster_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
    action->cluster = pb_text(arena, cluster);
    action->timeout = pb_duration_ms(arena, 0);
    action->max_grpc_timeout = pb_duration_ms(arena, 0);
    route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    route->route = action;
}

// --- domains ---------------------------------------------------------------------------------------------

static void add_domain(struct gen *gen, WireVirtualHost *host, struct map *seen, struct str domain)
{
    // A name or address may stand in one virtual host only: the first that claims it.
    if (map_has(seen, domain)) {
        return;
    }
    map_set(seen, domain, gen);
    PB_PUSH(gen->arena, host, domains, pb_text(gen->arena, domain));
}

static bool is_own_namespace(const struct gen *gen, const struct mesh_service *service)
{
    struct str rest = gen->proxy->dns_domain;
    return str_equal(str_split(&rest, '.'), service->ns);
}

static void add_domains(struct gen *gen, WireVirtualHost *host, struct map *seen,
                        const struct mesh_service *service)
{
    struct arena *arena = gen->arena;
    struct str name = service->name;
    struct str ns = service->ns;
    bool is_headless = service->resolution == MESH_RESOLUTION_PASSTHROUGH;
    struct str domains[5];
    size_t count = 0;
    domains[count++] = service->hostname;
    domains[count++] = arena_format(arena, "%.*s.", STR_ARG(service->hostname));
    if (is_own_namespace(gen, service)) {
        domains[count++] = name;
        domains[count++] = arena_format(arena, "%.*s.%.*s.svc", STR_ARG(name), STR_ARG(ns));
        domains[count++] = arena_format(arena, "%.*s.%.*s", STR_ARG(name), STR_ARG(ns));
    } else {
        domains[count++] = arena_format(arena, "%.*s.%.*s", STR_ARG(name), STR_ARG(ns));
        domains[count++] = arena_format(arena, "%.*s.%.*s.svc", STR_ARG(name), STR_ARG(ns));
    }
    for (size_t i = 0; i < count; i++) {
        add_domain(gen, host, seen, domains[i]);
    }
    for (size_t i = 0; is_headless && i < count; i++) { // names of a StatefulSet's pods
        add_domain(gen, host, seen, arena_format(arena, "*.%.*s", STR_ARG(domains[i])));
    }
    struct str address = gen_service_address(gen, service);
    if (!str_is_empty(address)) {
        bool is_v6 = str_find_char(address, ':') >= 0;
        add_domain(gen, host, seen,
                   is_v6 ? arena_format(arena, "[%.*s]", STR_ARG(address)) : address);
    }
}

// --- virtual hosts ---------------------------------------------------------------------------------------

static WireVirtualHost *new_virtual_host(struct gen *gen, struct str name, WireRoute *route)
{
    WireVirtualHost *host = pb_new(gen->arena, &envoy__config__route__v3__virtual_host__descriptor);
    host->name = pb_text(gen->arena, name);
    host->include_request_attempt_count = true;
    if (route != NULL) {
        PB_PUSH(gen->arena, host, routes, route);
    }
    return host;
}

static WireVirtualHost *service_host(struct gen *gen, const struct mesh_service *service, uint32_t port)
{
    struct arena *arena = gen->arena;
    struct str name = arena_format(arena, "%.*s:%u", STR_ARG(service->hostname), port);
    WireRoute *route = new_route(gen, "default");
    route->decorator = pb_new(arena, &envoy__config__route__v3__decorator__descriptor);
    route->decorator->operation = pb_text(arena, arena_format(arena, "%.*s/*", STR_ARG(name)));
    set_cluster(gen, route, gen_cluster_name(gen, service, port));
    gen_add_hash_policy(gen, route->route, service->hostname, port, STR_EMPTY);
    gen_set_retries(gen, route->route, NULL, false);
    return new_virtual_host(gen, name, route);
}

// --- VirtualServices ---------------------------------------------------------------------------------------

static bool is_for_sidecars(const MeshVirtualService *service)
{
    for (size_t i = 0; i < service->n_gateways; i++) {
        if (str_equal(str_of(service->gateways[i]), STR("mesh"))) {
            return true;
        }
    }
    return false;
}

// How well it names the host: 0 not at all, else more for longer patterns, most for the name itself.
static size_t specificity(const MeshVirtualService *service, struct str hostname)
{
    size_t best = 0;
    for (size_t i = 0; i < service->n_hosts; i++) {
        struct str pattern = str_of(service->hosts[i]);
        if (mesh_host_matches(pattern, hostname)) {
            size_t value = str_equal(pattern, hostname) ? SIZE_MAX : pattern.size;
            best = value > best ? value : best;
        }
    }
    return best;
}

const struct mesh_object *gen_find_virtual_service(const struct gen *gen, struct str hostname,
                                                   enum gen_rules rules)
{
    const struct mesh_object_list *list = &gen->snapshot->objects[MESH_OBJECT_VIRTUAL_SERVICE];
    const struct mesh_object *best = NULL;
    size_t best_value = 0;
    enum mesh_visibility best_seen = MESH_INVISIBLE;
    for (size_t i = 0; i < list->count; i++) {
        const MeshVirtualService *service = list->items[i]->virtual_service;
        size_t value = specificity(service, hostname);
        size_t rule_count = rules == GEN_RULES_TCP ? service->n_tcp : service->n_http;
        if (value == 0 || rule_count == 0 || !is_for_sidecars(service)) {
            continue;
        }
        enum mesh_visibility seen = mesh_visibility_of(service->export_to, service->n_export_to,
                                                       list->items[i]->ns, gen->proxy->ns);
        if (seen < best_seen || (seen == best_seen && seen != MESH_INVISIBLE && value > best_value)) {
            best = list->items[i];
            best_value = value;
            best_seen = seen;
        }
    }
    return best;
}

static WireVirtualHost *routed_host(struct gen *gen, const struct mesh_service *service, uint32_t port)
{
    const struct mesh_object *object = gen_find_virtual_service(gen, service->hostname, GEN_RULES_HTTP);
    if (object != NULL) {
        struct gen_http_context context = {.gateway = STR("mesh"), .port = port};
        WireVirtualHost *host = new_virtual_host(gen, arena_format(gen->arena, "%.*s:%u",
            STR_ARG(service->hostname), port), NULL);
        if (gen_add_http_routes(gen, &context, object, host) > 0) {
            return host;
        }
    }
    return service_host(gen, service, port);
}

// Hosts of VirtualServices that no service has on port 80 get virtual hosts of their own there.
static void add_unknown_hosts(struct gen *gen, WireRouteConfiguration *routes, struct map *seen)
{
    const struct mesh_object_list *list = &gen->snapshot->objects[MESH_OBJECT_VIRTUAL_SERVICE];
    struct gen_http_context context = {.gateway = STR("mesh"), .port = 80};
    for (size_t i = 0; i < list->count; i++) {
        const MeshVirtualService *service = list->items[i]->virtual_service;
        for (size_t j = 0; is_for_sidecars(service) && j < service->n_hosts; j++) {
            struct str name = str_of(service->hosts[j]);
            if (str_starts_with(name, STR("*")) || map_has(seen, name) ||
                gen_find_virtual_service(gen, name, GEN_RULES_HTTP) != list->items[i]) {
                continue;
            }
            WireVirtualHost *host =
                new_virtual_host(gen, arena_format(gen->arena, "%.*s:80", STR_ARG(name)), NULL);
            if (gen_add_http_routes(gen, &context, list->items[i], host) > 0) {
                add_domain(gen, host, seen, name);
                PB_PUSH(gen->arena, routes, virtual_hosts, host);
            }
        }
    }
}

static WireVirtualHost *catch_all(struct gen *gen)
{
    struct arena *arena = gen->arena;
    bool is_closed = gen->snapshot->config.registry_only;
    WireRoute *route = new_route(gen, is_closed ? "block_all" : "allow_any");
    if (is_closed) {
        route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE;
        route->direct_response =
            pb_new(arena, &envoy__config__route__v3__direct_response_action__descriptor);
        route->direct_response->status = 502;
    } else {
        set_cluster(gen, route, STR("PassthroughCluster"));
    }
    WireVirtualHost *host = new_virtual_host(gen, str_of(route->name), route);
    PB_PUSH(arena, host, domains, pb_text(arena, STR("*")));
    return host;
}

static int compare_hosts(const void *a, const void *b)
{
    const WireVirtualHost *x = *(WireVirtualHost *const *)a;
    const WireVirtualHost *y = *(WireVirtualHost *const *)b;
    return str_compare(str_of(x->name), str_of(y->name));
}

static bool carries_http(const struct mesh_port *port)
{
    return port->protocol == MESH_PROTOCOL_AUTO || mesh_protocol_is_http(port->protocol);
}

static void add_port_hosts(struct gen *gen, WireRouteConfiguration *routes, uint32_t port)
{
    struct map seen = {0};
    for (size_t i = 0; i < gen->snapshot->service_count; i++) {
        const struct mesh_service *service = gen->snapshot->services[i];
        const struct mesh_port *found = mesh_service_port(service, port);
        if (found != NULL && carries_http(found)) {
            WireVirtualHost *host = routed_host(gen, service, port);
            add_domains(gen, host, &seen, service);
            PB_PUSH(gen->arena, routes, virtual_hosts, host);
        }
    }
    if (port == 80) {
        add_unknown_hosts(gen, routes, &seen);
    }
    map_done(&seen);
    if (routes->n_virtual_hosts > 0) {
        qsort(routes->virtual_hosts, routes->n_virtual_hosts, sizeof(*routes->virtual_hosts),
              compare_hosts);
    }
    PB_PUSH(gen->arena, routes, virtual_hosts, catch_all(gen));
}

static void add_detected_host(struct gen *gen, WireRouteConfiguration *routes, struct str hostname,
                              uint32_t port)
{
    const struct mesh_service *service = snapshot_service(gen->snapshot, hostname);
    const struct mesh_port *found = service == NULL ? NULL : mesh_service_port(service, port);
    if (found != NULL && carries_http(found)) {
        WireVirtualHost *host = routed_host(gen, service, port);
        PB_PUSH(gen->arena, host, domains, pb_text(gen->arena, STR("*")));
        PB_PUSH(gen->arena, routes, virtual_hosts, host);
    }
}

void gen_route(struct gen *gen, struct str name)
{
    struct arena *arena = gen->arena;
    WireRouteConfiguration *routes = pb_new(arena, &wire_route_configuration_type);
    routes->name = pb_text(arena, name);
    routes->validate_clusters = pb_bool(arena, false);
    routes->ignore_port_in_host_matching = true;
    routes->max_direct_response_body_size_bytes = pb_uint32(arena, DIRECT_RESPONSE_MAX);
    gen_add(gen, arena_str(arena, name), routes);
    if (gen->proxy->type == MESH_PROXY_ROUTER) {
        gen_gateway_route(gen, name, routes);
        return;
    }
    ptrdiff_t colon = str_find_last_char(name, ':');
    uint64_t port = 0;
    if (!str_to_u64(colon < 0 ? name : str_from(name, (size_t)colon + 1), &port) || port > 65535) {
        return;
    }
    if (colon < 0) {
        add_port_hosts(gen, routes, (uint32_t)port);
    } else {
        add_detected_host(gen, routes, str_sub(name, 0, (size_t)colon), (uint32_t)port);
    }
}
