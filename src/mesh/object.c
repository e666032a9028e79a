// SPDX-License-Identifier: Apache-2.0
#include "mesh/object.h"

#include "base/assert.h"
#include "base/memory.h"

typedef Istio__Networking__V1alpha3__Destination Destination;
typedef Istio__Networking__V1alpha3__HTTPRoute HttpRoute;

struct decoding {
    struct arena *arena;
    struct str ns;
    struct str domain;
};

struct str mesh_host_resolve(struct arena *arena, struct str host, struct str ns, struct str domain)
{
    if (str_is_empty(host) || str_equal(host, STR("*")) || str_find_char(host, '.') >= 0) {
        return host;
    }
    return arena_format(arena, "%.*s.%.*s.svc.%.*s", STR_ARG(host), STR_ARG(ns), STR_ARG(domain));
}

enum mesh_visibility mesh_visibility_of(char *const *export_to, size_t count, struct str from,
                                        struct str ns)
{
    enum mesh_visibility nearest = count == 0 ? MESH_PUBLIC : MESH_INVISIBLE;
    for (size_t i = 0; i < count; i++) {
        struct str to = str_of(export_to[i]);
        enum mesh_visibility seen = MESH_INVISIBLE;
        if (str_equal(to, STR("*"))) {
            seen = MESH_PUBLIC;
        } else if (str_equal(to, STR(".")) || str_equal(to, from)) {
            seen = str_equal(from, ns) ? MESH_PRIVATE : MESH_INVISIBLE;
        } else if (str_equal(to, ns)) {
            seen = MESH_EXPORTED;
        }
        nearest = seen < nearest ? seen : nearest;
    }
    return nearest;
}

// --- VirtualService ------------------------------------------------------------------------------------

static void resolve_text(const struct decoding *decoding, char **text)
{
    struct str host = mesh_host_resolve(decoding->arena, str_of(*text), decoding->ns, decoding->domain);
    *text = pb_text(decoding->arena, host);
}

static enum err resolve_destination(const struct decoding *decoding, Destination *destination,
                                    struct error *err)
{
    if (destination == NULL || str_is_empty(str_of(destination->host))) {
        return error_set(err, ERR_INVALID, "destination.host: is needed");
    }
    resolve_text(decoding, &destination->host);
    return ERR_OK;
}

// "gw" → "ns/gw"; "./gw" → the own namespace; "mesh" stays.
static void resolve_gateway(const struct decoding *decoding, char **text)
{
    struct str name = str_of(*text);
    if (str_starts_with(name, STR("./"))) {
        name = str_from(name, 2);
    } else if (str_equal(name, STR("mesh")) || str_find_char(name, '/') >= 0) {
        return;
    }
    *text = pb_text(decoding->arena,
                    arena_format(decoding->arena, "%.*s/%.*s", STR_ARG(decoding->ns), STR_ARG(name)));
}

static enum err check_percent(const Istio__Networking__V1alpha3__Percent *percent, const char *field,
                              struct error *err)
{
    if (percent != NULL && !(percent->value >= 0 && percent->value <= 100)) {
        return error_set(err, ERR_INVALID, "%s.percentage: must be 0 to 100", field);
    }
    return ERR_OK;
}

static enum err check_fault(const HttpRoute *route, struct error *err)
{
    if (route->fault == NULL) {
        return ERR_OK;
    }
    enum err code = ERR_OK;
    if (route->fault->delay != NULL) {
        code = check_percent(route->fault->delay->percentage, "fault.delay", err);
    }
    if (code == ERR_OK && route->fault->abort != NULL) {
        code = check_percent(route->fault->abort->percentage, "fault.abort", err);
    }
    return code;
}

static enum err resolve_http(const struct decoding *decoding, HttpRoute *route, struct error *err)
{
    bool acts = route->n_route > 0 || route->redirect != NULL || route->direct_response != NULL ||
                route->delegate != NULL;
    if (!acts) {
        return error_set(err, ERR_INVALID,
                         "one of route, redirect, directResponse and delegate is needed");
    }
    int64_t total = 0;
    for (size_t i = 0; i < route->n_route; i++) {
        enum err code = resolve_destination(decoding, route->route[i]->destination, err);
        if (code != ERR_OK) {
            error_prefix(err, "route[%zu]", i);
            return code;
        }
        if (route->route[i]->weight < 0) {
            return error_set(err, ERR_INVALID, "route[%zu].weight: is negative", i);
        }
        total += route->route[i]->weight;
    }
    if (route->n_route > 1 && total == 0) {
        return error_set(err, ERR_INVALID, "route: the total of the weights is 0");
    }
    if (route->mirror != NULL && resolve_destination(decoding, route->mirror, err) != ERR_OK) {
        error_prefix(err, "mirror");
        return ERR_INVALID;
    }
    for (size_t i = 0; i < route->n_mirrors; i++) {
        if (resolve_destination(decoding, route->mirrors[i]->destination, err) != ERR_OK) {
            error_prefix(err, "mirrors[%zu]", i);
            return ERR_INVALID;
        }
    }
    for (size_t i = 0; i < route->n_match; i++) {
        for (size_t j = 0; j < route->match[i]->n_gateways; j++) {
            resolve_gateway(decoding, &route->match[i]->gateways[j]);
        }
    }
    return check_fault(route, err);
}

static enum err resolve_l4(const struct decoding *decoding, Istio__Networking__V1alpha3__RouteDestination **routes,
                           size_t count, struct error *err)
{
    if (count == 0) {
        return error_set(err, ERR_INVALID, "route: at least one destination is needed");
    }
    for (size_t i = 0; i < count; i++) {
        enum err code = resolve_destination(decoding, routes[i]->destination, err);
        if (code != ERR_OK) {
            error_prefix(err, "route[%zu]", i);
            return code;
        }
    }
    return ERR_OK;
}

static size_t count_routes(const MeshVirtualService *service)
{
    size_t count = service->n_http + service->n_tls + service->n_tcp;
    for (size_t i = 0; i < service->n_http; i++) {
        count += service->http[i]->n_match + service->http[i]->n_route;
    }
    return count;
}

static enum err resolve_virtual_service(const struct decoding *decoding, void *message, struct error *err)
{
    MeshVirtualService *service = message;
    if (count_routes(service) > MESH_OBJECT_ROUTES_MAX) {
        return error_set(err, ERR_LIMIT, "more than %u rules, matches and destinations",
                         MESH_OBJECT_ROUTES_MAX);
    }
    if (service->n_http + service->n_tls + service->n_tcp == 0) {
        return error_set(err, ERR_INVALID, "http, tls or tcp must be provided");
    }
    for (size_t i = 0; i < service->n_hosts; i++) {
        resolve_text(decoding, &service->hosts[i]);
    }
    for (size_t i = 0; i < service->n_gateways; i++) {
        resolve_gateway(decoding, &service->gateways[i]);
    }
    if (service->n_gateways == 0) {
        PB_PUSH(decoding->arena, service, gateways, pb_text(decoding->arena, STR("mesh")));
    }
    for (size_t i = 0; i < service->n_http; i++) {
        if (resolve_http(decoding, service->http[i], err) != ERR_OK) {
            error_prefix(err, "http[%zu]", i);
            return ERR_INVALID;
        }
    }
    for (size_t i = 0; i < service->n_tls; i++) {
        if (resolve_l4(decoding, service->tls[i]->route, service->tls[i]->n_route, err) != ERR_OK) {
            error_prefix(err, "tls[%zu]", i);
            return ERR_INVALID;
        }
    }
    for (size_t i = 0; i < service->n_tcp; i++) {
        if (resolve_l4(decoding, service->tcp[i]->route, service->tcp[i]->n_route, err) != ERR_OK) {
            error_prefix(err, "tcp[%zu]", i);
            return ERR_INVALID;
        }
    }
    return ERR_OK;
}

// --- DestinationRule -------------------------------------------------------------------------------------

static enum err check_locality(const Istio__Networking__V1alpha3__TrafficPolicy *policy, struct error *err)
{
    if (policy == NULL || policy->load_balancer == NULL ||
        policy->load_balancer->locality_lb_setting == NULL) {
        return ERR_OK;
    }
    const Istio__Networking__V1alpha3__LocalityLoadBalancerSetting *setting =
        policy->load_balancer->locality_lb_setting;
    if (setting->n_distribute > 0 && (setting->n_failover > 0 || setting->n_failover_priority > 0)) {
        return error_set(err, ERR_INVALID,
                         "localityLbSetting: only one of distribute and failover may be set");
    }
    for (size_t i = 0; i < setting->n_distribute; i++) {
        uint64_t total = 0;
        for (size_t j = 0; j < setting->distribute[i]->n_to; j++) {
            total += setting->distribute[i]->to[j]->value;
        }
        if (total != 100) {
            return error_set(err, ERR_INVALID,
                             "localityLbSetting.distribute[%zu]: weights add up to %llu, not 100", i,
                             (unsigned long long)total);
        }
    }
    return ERR_OK;
}

static enum err resolve_destination_rule(const struct decoding *decoding, void *message, struct error *err)
{
    MeshDestinationRule *rule = message;
    if (str_is_empty(str_of(rule->host))) {
        return error_set(err, ERR_INVALID, "host: is needed");
    }
    if (rule->n_subsets > MESH_OBJECT_SUBSETS_MAX) {
        return error_set(err, ERR_LIMIT, "subsets: more than %u", MESH_OBJECT_SUBSETS_MAX);
    }
    for (size_t i = 0; i < rule->n_subsets; i++) {
        if (str_is_empty(str_of(rule->subsets[i]->name))) {
            return error_set(err, ERR_INVALID, "subsets[%zu].name: is needed", i);
        }
        if (check_locality(rule->subsets[i]->traffic_policy, err) != ERR_OK) {
            error_prefix(err, "subsets[%zu].trafficPolicy", i);
            return ERR_INVALID;
        }
    }
    resolve_text(decoding, &rule->host);
    return check_locality(rule->traffic_policy, err);
}

static enum err resolve_nothing(const struct decoding *decoding, void *message, struct error *err)
{
    (void)decoding;
    (void)message;
    (void)err;
    return ERR_OK;
}

// --- life ------------------------------------------------------------------------------------------------

static const struct {
    const ProtobufCMessageDescriptor *type;
    enum err (*resolve)(const struct decoding *decoding, void *message, struct error *err);
} kinds[MESH_OBJECT_KIND_COUNT] = {
    [MESH_OBJECT_VIRTUAL_SERVICE] = {&istio__networking__v1alpha3__virtual_service__descriptor,
                                     resolve_virtual_service},
    [MESH_OBJECT_DESTINATION_RULE] = {&istio__networking__v1alpha3__destination_rule__descriptor,
                                      resolve_destination_rule},
    [MESH_OBJECT_PEER_AUTHENTICATION] = {&istio__security__v1beta1__peer_authentication__descriptor,
                                         resolve_nothing},
};

struct mesh_object *mesh_object_new(enum mesh_object_kind kind, const struct json_value *json,
                                    struct str domain, struct error *err)
{
    ASSERT((unsigned)kind < MESH_OBJECT_KIND_COUNT);
    const struct json_value *metadata = json_get(json, "metadata");
    struct mesh_object *object = mem_new(struct mesh_object);
    struct arena *arena = &object->arena;
    object->references = 1;
    object->kind = kind;
    object->ns = arena_str(arena, json_get_str(metadata, "namespace"));
    object->name = arena_str(arena, json_get_str(metadata, "name"));
    object->created = arena_str(arena, json_get_str(metadata, "creationTimestamp"));
    const struct json_value *spec = json_get(json, "spec");
    object->spec = json_is(spec, JSON_OBJECT) ? json_copy(arena, spec) : json_new_object(arena);
    struct decoding decoding = {.arena = arena, .ns = object->ns, .domain = domain};
    object->message = pb_from_json(arena, kinds[kind].type, object->spec,
                                   PB_JSON_STRICT | PB_JSON_GO_DURATIONS, err);
    if (object->message == NULL || kinds[kind].resolve(&decoding, object->message, err) != ERR_OK) {
        error_prefix(err, "spec");
        mesh_object_unref(object);
        return NULL;
    }
    return object;
}

struct mesh_object *mesh_object_ref(struct mesh_object *object)
{
    __atomic_add_fetch(&object->references, 1, __ATOMIC_RELAXED);
    return object;
}

void mesh_object_unref(struct mesh_object *object)
{
    if (object == NULL || __atomic_sub_fetch(&object->references, 1, __ATOMIC_ACQ_REL) != 0) {
        return;
    }
    arena_done(&object->arena);
    mem_free(object);
}

bool mesh_object_is_made_of(const struct mesh_object *object, const struct json_value *json)
{
    const struct json_value *metadata = json_get(json, "metadata");
    const struct json_value *spec = json_get(json, "spec");
    return str_equal(object->ns, json_get_str(metadata, "namespace")) &&
           str_equal(object->name, json_get_str(metadata, "name")) &&
           str_equal(object->created, json_get_str(metadata, "creationTimestamp")) &&
           (json_is(spec, JSON_OBJECT) ? json_equal(object->spec, spec)
                                       : object->spec->object.count == 0);
}
