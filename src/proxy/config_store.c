// SPDX-License-Identifier: Apache-2.0
#include "proxy/config_store.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "codec/pb/pb.h"
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "envoy/config/endpoint/v3/endpoint.pb-c.h"
#include "envoy/config/listener/v3/listener.pb-c.h"
#include "envoy/config/route/v3/route.pb-c.h"
#include "proxy/file_secrets.h"

// One named resource. `bytes` are as received, for comparing and for the dump.
struct resource {
    struct buf bytes;
    struct buf version;
    bool is_static;
    bool is_seen; // in the response being applied
    bool is_warming;
    // clusters: the version received last, and what serves
    struct cluster_config *cluster;
    struct cluster *active_cluster;
    struct endpoint_set *endpoints; // of `cluster`
    bool has_new_addresses;         // DNS: endpoints are to be made again
    // listeners
    struct listener_config *listener;
    struct listener_config *active_listener;
    // routes
    struct route_table *routes;
};

struct config_store {
    struct stats *stats;
    struct map resources[XDS_TYPE_COUNT];
    struct buf versions[XDS_TYPE_COUNT];
    struct secrets *secrets;
    struct map hosts; // name → struct resolved_name
    struct generation *current;
    bool is_changed;
};

static void resource_free(struct resource *resource)
{
    buf_done(&resource->bytes);
    buf_done(&resource->version);
    cluster_config_unref(resource->cluster);
    cluster_unref(resource->active_cluster);
    endpoint_set_unref(resource->endpoints);
    listener_config_unref(resource->listener);
    listener_config_unref(resource->active_listener);
    route_table_unref(resource->routes);
    mem_free(resource);
}

struct config_store *config_store_new(struct stats *stats)
{
    struct config_store *store = mem_new(struct config_store);
    store->stats = stats;
    store->secrets = secrets_new(NULL);
    store->is_changed = true;
    return store;
}

void config_store_free(struct config_store *store)
{
    if (store == NULL) {
        return;
    }
    for (size_t type = 0; type < XDS_TYPE_COUNT; type++) {
        void *value;
        for (size_t at = 0; map_each(&store->resources[type], &at, NULL, &value);) {
            resource_free(value);
        }
        map_done(&store->resources[type]);
        buf_done(&store->versions[type]);
    }
    void *host;
    for (size_t at = 0; map_each(&store->hosts, &at, NULL, &host);) {
        mem_free(host);
    }
    map_done(&store->hosts);
    generation_unref(store->current);
    secrets_unref(store->secrets);
    mem_free(store);
}

void config_store_set_secrets(struct config_store *store, struct secrets *secrets)
{
    struct secrets *old = store->secrets;
    store->secrets = secrets_ref(secrets);
    secrets_unref(old);
    store->is_changed = true;
}

struct secrets *config_store_secrets(struct config_store *store)
{
    return store->secrets;
}

// --- receiving -----------------------------------------------------------------------------------------

static struct str any_bytes(const Google__Protobuf__Any *any)
{
    return str_make((const char *)any->value.data, any->value.len);
}

// Name of a resource before it is compiled: needed for the reason when it is not good.
static struct str message_name(enum xds_type type, const void *message)
{
    switch (type) {
    case XDS_CLUSTER:
        return str_of(((const Envoy__Config__Cluster__V3__Cluster *)message)->name);
    case XDS_ENDPOINT:
        return str_of(((const Envoy__Config__Endpoint__V3__ClusterLoadAssignment *)message)->cluster_name);
    case XDS_LISTENER:
        return str_of(((const Envoy__Config__Listener__V3__Listener *)message)->name);
    case XDS_ROUTE:
        return str_of(((const Envoy__Config__Route__V3__RouteConfiguration *)message)->name);
    default:
        return STR_EMPTY;
    }
}

static void set_text(struct buf *buf, struct str text)
{
    buf_reset(buf);
    buf_append_str(buf, text);
}

static enum err take_cluster(struct config_store *store, struct resource *resource, const void *message, struct error *err)
{
    struct cluster_config *config = cluster_config_new(message, err);
    if (config == NULL) {
        return ERR_INVALID;
    }
    struct endpoint_set *endpoints = NULL;
    if (config->kind == CLUSTER_STATIC || config->kind == CLUSTER_DNS) { // DNS: to see whether it can be; names come later
        endpoints = endpoint_set_new(config, config->assignment, resource->endpoints, NULL, NULL, err);
        if (endpoints == NULL) {
            cluster_config_unref(config);
            return ERR_INVALID;
        }
    }
    if (config->kind == CLUSTER_DNS) {
        endpoint_set_unref(endpoints);
        endpoints = NULL;
    }
    cluster_config_unref(resource->cluster);
    endpoint_set_unref(resource->endpoints);
    resource->cluster = config;
    resource->endpoints = endpoints; // EDS: compiled from the assignment kept apart
    struct secrets *secrets = file_secrets_add(store->secrets, config);
    if (secrets != NULL) {
        config_store_set_secrets(store, secrets);
        secrets_unref(secrets);
    }
    return ERR_OK;
}

static enum err take_listener(struct resource *resource, const void *message, struct error *err)
{
    struct listener_config *config = listener_config_new(message, err);
    if (config == NULL) {
        return ERR_INVALID;
    }
    listener_config_unref(resource->listener);
    resource->listener = config;
    return ERR_OK;
}

static enum err take_routes(struct resource *resource, const void *message, struct error *err)
{
    struct route_table *routes = route_table_new(message, err);
    if (routes == NULL) {
        return ERR_INVALID;
    }
    route_table_unref(resource->routes);
    resource->routes = routes;
    return ERR_OK;
}

static enum err take_message(struct config_store *store, enum xds_type type, const void *message, struct str bytes, struct str version,
                             bool is_static, struct error *err)
{
    struct str name = message_name(type, message);
    if (name.size == 0) {
        return error_set(err, ERR_INVALID, "resource without a name");
    }
    struct resource *resource = map_get(&store->resources[type], name);
    bool is_new = resource == NULL;
    if (is_new && map_count(&store->resources[type]) >= CONFIG_RESOURCES_MAX) {
        return error_set(err, ERR_LIMIT, "more than %u resources of a type", CONFIG_RESOURCES_MAX);
    }
    if (!is_new) {
        if (resource->is_seen) {
            return error_set(err, ERR_INVALID, "named twice in one response");
        }
        resource->is_seen = true;
        if (str_equal(buf_view(&resource->bytes), bytes)) {
            set_text(&resource->version, version);
            return ERR_OK;
        }
    } else {
        resource = mem_new(struct resource);
    }
    enum err result = type == XDS_CLUSTER    ? take_cluster(store, resource, message, err)
                      : type == XDS_LISTENER ? take_listener(resource, message, err)
                      : type == XDS_ROUTE    ? take_routes(resource, message, err)
                                             : ERR_OK;
    if (result != ERR_OK && is_new) {
        resource_free(resource);
        return result;
    }
    if (result != ERR_OK) {
        return result;
    }
    set_text(&resource->bytes, bytes);
    set_text(&resource->version, version);
    resource->is_static = is_static;
    resource->is_seen = true;
    (void)map_set(&store->resources[type], name, resource);
    resource->is_warming = type != XDS_ROUTE; // until warm_all() looks at it
    store->is_changed = true;
    return ERR_OK;
}

static enum err take_any(struct config_store *store, enum xds_type type, const Google__Protobuf__Any *any, struct str version,
                         bool is_static, struct buf *reasons)
{
    struct arena arena = {0};
    struct error err = {0};
    const void *message = pb_any_unpack(&arena, any, xds_type_descriptor(type), &err);
    enum err result = message == NULL ? ERR_INVALID : take_message(store, type, message, any_bytes(any), version, is_static, &err);
    if (result != ERR_OK) {
        buf_printf(reasons, "%s%.*s: %s", reasons->size > 0 ? "; " : "", STR_ARG(message == NULL ? STR("?") : message_name(type, message)),
                   err.message);
    }
    arena_done(&arena);
    return result;
}

static void forget_unseen(struct config_store *store, enum xds_type type)
{
    struct str name;
    void *value;
    for (size_t at = 0; map_each(&store->resources[type], &at, &name, &value);) {
        struct resource *resource = value;
        if (!resource->is_seen && !resource->is_static) {
            (void)map_remove(&store->resources[type], name);
            resource_free(resource);
            store->is_changed = true;
        }
    }
}

static void mark_seen(struct config_store *store, enum xds_type type, bool is_seen)
{
    void *value;
    for (size_t at = 0; map_each(&store->resources[type], &at, NULL, &value);) {
        ((struct resource *)value)->is_seen = is_seen;
    }
}

enum err config_store_receive(struct config_store *store, enum xds_type type, Google__Protobuf__Any *const *resources,
                              size_t count, struct str version, struct buf *reasons)
{
    enum err result = ERR_OK;
    mark_seen(store, type, false);
    for (size_t i = 0; i < count; i++) {
        if (take_any(store, type, resources[i], version, false, reasons) != ERR_OK) {
            result = ERR_INVALID;
        }
    }
    // A refused resource keeps its last good version: it was named, so it is not gone.
    if (xds_type_is_wildcard(type) && result == ERR_OK) {
        forget_unseen(store, type);
    }
    set_text(&store->versions[type], version);
    return result;
}

enum err config_store_add_static(struct config_store *store, enum xds_type type, const Google__Protobuf__Any *resource, struct error *err)
{
    struct buf reasons = {0};
    mark_seen(store, type, false);
    enum err result = take_any(store, type, resource, STR_EMPTY, true, &reasons);
    if (result != ERR_OK) {
        (void)error_set(err, result, "%.*s", STR_ARG(buf_view(&reasons)));
    }
    buf_done(&reasons);
    return result;
}

// --- what is wanted ------------------------------------------------------------------------------------

static void add_name(struct arena *arena, struct map *seen, struct str name, struct str **names, size_t *count)
{
    if (name.size == 0 || map_has(seen, name)) {
        return;
    }
    (void)map_set(seen, name, seen);
    *names = pb_grow(arena, *names, *count, sizeof(**names));
    (*names)[(*count)++] = arena_str(arena, name);
}

void config_store_wanted(struct config_store *store, struct arena *arena, enum xds_type type, struct str **ret_names, size_t *ret_count)
{
    struct map seen = {0};
    struct str *names = NULL;
    size_t count = 0;
    void *value;
    for (size_t at = 0; type == XDS_ENDPOINT && map_each(&store->resources[XDS_CLUSTER], &at, NULL, &value);) {
        const struct resource *resource = value;
        if (resource->cluster->kind == CLUSTER_EDS) {
            add_name(arena, &seen, resource->cluster->service_name, &names, &count);
        }
    }
    for (size_t at = 0; type == XDS_ROUTE && map_each(&store->resources[XDS_LISTENER], &at, NULL, &value);) {
        const struct listener_config *listener = ((const struct resource *)value)->listener;
        for (size_t i = 0; i < listener->chain_count; i++) {
            if (listener->chains[i].http != NULL) {
                add_name(arena, &seen, listener->chains[i].http->route_name, &names, &count);
            }
        }
    }
    map_done(&seen);
    *ret_names = names;
    *ret_count = count;
}

// --- host names of DNS clusters ------------------------------------------------------------------------

typedef void host_visit_fn(void *owner, const struct cluster_config *config, struct str name);

static void each_host(const struct cluster_config *config, host_visit_fn *visit, void *owner)
{
    const Envoy__Config__Endpoint__V3__ClusterLoadAssignment *assignment = config->kind == CLUSTER_DNS ? config->assignment : NULL;
    for (size_t i = 0; assignment != NULL && i < assignment->n_endpoints; i++) {
        for (size_t k = 0; k < assignment->endpoints[i]->n_lb_endpoints; k++) {
            struct str name;
            uint16_t port;
            if (endpoint_name(assignment->endpoints[i]->lb_endpoints[k], &name, &port, NULL) == ERR_OK) {
                visit(owner, config, name);
            }
        }
    }
}

struct host_list {
    struct arena *arena;
    struct config_host *hosts;
    size_t count;
};

static void add_host(void *owner, const struct cluster_config *config, struct str name)
{
    struct host_list *list = owner;
    list->hosts = pb_grow(list->arena, list->hosts, list->count, sizeof(*list->hosts));
    list->hosts[list->count++] = (struct config_host){arena_str(list->arena, name), config->dns_refresh_ms};
}

void config_store_wanted_hosts(struct config_store *store, struct arena *arena, struct config_host **ret_hosts, size_t *ret_count)
{
    struct host_list list = {.arena = arena};
    void *value;
    for (size_t at = 0; map_each(&store->resources[XDS_CLUSTER], &at, NULL, &value);) {
        each_host(((const struct resource *)value)->cluster, add_host, &list);
    }
    *ret_hosts = list.hosts;
    *ret_count = list.count;
}

bool config_store_set_host(struct config_store *store, struct str name, const struct address *addresses, size_t count)
{
    struct resolved_name *host = map_get(&store->hosts, name);
    bool is_new = host == NULL;
    if (is_new) {
        host = mem_new(struct resolved_name);
        (void)map_set(&store->hosts, name, host);
    }
    count = count > RESOLVE_ADDRESSES_MAX ? RESOLVE_ADDRESSES_MAX : count;
    bool differs = count > 0 && count != host->count;
    for (size_t i = 0; i < count && !differs; i++) {
        differs = !address_equal(&addresses[i], &host->addresses[i]);
    }
    if (differs) {
        memcpy(host->addresses, addresses, sizeof(*addresses) * count);
        host->count = count;
    }
    void *value;
    for (size_t at = 0; (is_new || differs) && map_each(&store->resources[XDS_CLUSTER], &at, NULL, &value);) {
        ((struct resource *)value)->has_new_addresses = true;
    }
    store->is_changed = store->is_changed || is_new || differs;
    return is_new || differs;
}

void config_store_forget_host(struct config_store *store, struct str name)
{
    mem_free(map_remove(&store->hosts, name));
}

static const struct resolved_name *find_host(void *owner, struct str name)
{
    const struct config_store *store = owner;
    return map_get(&store->hosts, name);
}

struct answer_check {
    const struct config_store *store;
    bool is_complete;
};

static void check_answer(void *owner, const struct cluster_config *config, struct str name)
{
    struct answer_check *check = owner;
    (void)config;
    check->is_complete = check->is_complete && map_has(&check->store->hosts, name);
}

// Endpoints of a DNS cluster. NULL: a name is not answered yet.
static struct endpoint_set *resolved_endpoints(struct config_store *store, struct resource *cluster)
{
    struct answer_check check = {store, true};
    bool is_fresh = cluster->endpoints != NULL && cluster->endpoints->config == cluster->cluster;
    each_host(cluster->cluster, check_answer, &check);
    if (!check.is_complete || (is_fresh && !cluster->has_new_addresses)) {
        return is_fresh ? cluster->endpoints : NULL;
    }
    const struct endpoint_set *previous = cluster->active_cluster == NULL ? NULL : cluster->active_cluster->endpoints;
    struct endpoint_set *endpoints = endpoint_set_new(cluster->cluster, cluster->cluster->assignment, previous, find_host, store, NULL);
    if (endpoints != NULL) {
        endpoint_set_unref(cluster->endpoints);
        cluster->endpoints = endpoints;
        cluster->has_new_addresses = false;
    }
    return endpoints;
}

// --- what is ready -------------------------------------------------------------------------------------

// Endpoints of an EDS cluster, compiled for its present configuration. NULL: not received, or bad.
static struct endpoint_set *cluster_endpoints(struct config_store *store, struct resource *cluster)
{
    struct resource *assignment = map_get(&store->resources[XDS_ENDPOINT], cluster->cluster->service_name);
    bool is_fresh = cluster->endpoints != NULL && cluster->endpoints->config == cluster->cluster;
    if (assignment == NULL) {
        return NULL;
    }
    if (is_fresh && !assignment->is_warming) {
        return cluster->endpoints;
    }
    struct arena arena = {0};
    const Envoy__Config__Endpoint__V3__ClusterLoadAssignment *message =
        pb_unpack(&arena, xds_type_descriptor(XDS_ENDPOINT), buf_view(&assignment->bytes), NULL);
    const struct endpoint_set *previous = cluster->active_cluster == NULL ? NULL : cluster->active_cluster->endpoints;
    struct endpoint_set *endpoints = message == NULL ? NULL : endpoint_set_new(cluster->cluster, message, previous, NULL, NULL, NULL);
    arena_done(&arena);
    if (endpoints != NULL) {
        endpoint_set_unref(cluster->endpoints);
        cluster->endpoints = endpoints;
    }
    return endpoints;
}

static void warm_cluster(struct config_store *store, struct resource *resource)
{
    struct endpoint_set *endpoints = resource->endpoints;
    if (resource->cluster->kind == CLUSTER_EDS) {
        endpoints = cluster_endpoints(store, resource);
    } else if (resource->cluster->kind == CLUSTER_DNS) {
        endpoints = resolved_endpoints(store, resource);
    }
    bool needs_endpoints = resource->cluster->kind != CLUSTER_ORIGINAL_DST;
    resource->is_warming = (needs_endpoints && endpoints == NULL) || !cluster_config_is_supplied(resource->cluster, store->secrets);
    struct cluster *active = resource->active_cluster;
    if (resource->is_warming || (active != NULL && active->config == resource->cluster && active->endpoints == endpoints)) {
        return;
    }
    resource->active_cluster = cluster_new(resource->cluster, needs_endpoints ? endpoints : NULL);
    cluster_unref(active);
}

static void warm_listener(struct config_store *store, struct resource *resource)
{
    resource->is_warming = !listener_config_is_supplied(resource->listener, store->secrets);
    for (size_t i = 0; i < resource->listener->chain_count; i++) {
        const struct http_manager_config *http = resource->listener->chains[i].http;
        if (http != NULL && http->route_name.size > 0 && !map_has(&store->resources[XDS_ROUTE], http->route_name)) {
            resource->is_warming = true;
        }
    }
    if (!resource->is_warming && resource->active_listener != resource->listener) {
        listener_config_unref(resource->active_listener);
        resource->active_listener = listener_config_ref(resource->listener);
    }
}

static void warm_all(struct config_store *store)
{
    void *value;
    for (size_t at = 0; map_each(&store->resources[XDS_CLUSTER], &at, NULL, &value);) {
        warm_cluster(store, value);
    }
    for (size_t at = 0; map_each(&store->resources[XDS_ENDPOINT], &at, NULL, &value);) {
        ((struct resource *)value)->is_warming = false;
    }
    for (size_t at = 0; map_each(&store->resources[XDS_LISTENER], &at, NULL, &value);) {
        warm_listener(store, value);
    }
}

struct generation *config_store_generation(struct config_store *store)
{
    if (!store->is_changed) {
        return NULL;
    }
    store->is_changed = false;
    warm_all(store);
    struct generation *generation = generation_new(store->secrets);
    struct str name;
    void *value;
    for (size_t at = 0; map_each(&store->resources[XDS_CLUSTER], &at, &name, &value);) {
        struct resource *resource = value;
        if (resource->active_cluster != NULL) {
            (void)map_set(&generation->clusters, name, cluster_ref(resource->active_cluster));
        }
    }
    for (size_t at = 0; map_each(&store->resources[XDS_ROUTE], &at, &name, &value);) {
        (void)map_set(&generation->routes, name, route_table_ref(((struct resource *)value)->routes));
    }
    for (size_t at = 0; map_each(&store->resources[XDS_LISTENER], &at, NULL, &value);) {
        struct resource *resource = value;
        if (resource->active_listener != NULL) {
            vec_push(&generation->listeners, listener_config_ref(resource->active_listener));
        }
    }
    generation_unref(store->current);
    store->current = generation;
    return generation;
}

struct generation *config_store_current(struct config_store *store)
{
    return store->current;
}

size_t config_store_warming(const struct config_store *store, enum xds_type type)
{
    size_t count = 0;
    void *value;
    for (size_t at = 0; map_each(&store->resources[type], &at, NULL, &value);) {
        count += ((const struct resource *)value)->is_warming ? 1 : 0;
    }
    return count;
}

struct str config_store_version(const struct config_store *store, enum xds_type type)
{
    return buf_view(&store->versions[type]);
}

// --- dump ----------------------------------------------------------------------------------------------

static struct json_value *resource_json(struct arena *arena, enum xds_type type, const struct resource *resource)
{
    void *message = pb_unpack(arena, xds_type_descriptor(type), buf_view(&resource->bytes), NULL);
    struct json_value *json = message == NULL ? json_new_object(arena) : pb_to_json(arena, message, PB_JSON_ORIGINAL_NAMES);
    struct json_value *with_type = json_new_object(arena);
    json_set_cstr(arena, with_type, "@type", xds_type_url(type));
    for (size_t i = 0; i < json->object.count; i++) {
        json_set(arena, with_type, json->object.members[i].name, json->object.members[i].value);
    }
    return with_type;
}

static const struct {
    enum xds_type type;
    const char *dump_type;
    const char *static_name;
    const char *dynamic_name;
    const char *item_name;
} sections[] = {
    {XDS_CLUSTER, "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters", "dynamic_active_clusters", "cluster"},
    {XDS_ENDPOINT, "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump", "static_endpoint_configs", "dynamic_endpoint_configs", "endpoint_config"},
    {XDS_LISTENER, "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "static_listeners", "dynamic_listeners", "listener"},
    {XDS_ROUTE, "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "static_route_configs", "dynamic_route_configs", "route_config"},
};

static void dump_resource(struct arena *arena, struct json_value *section, size_t which, struct str name, const struct resource *resource)
{
    enum xds_type type = sections[which].type;
    struct json_value *item = json_new_object(arena);
    json_set_str(arena, item, "version_info", buf_view(&resource->version));
    json_set(arena, item, str_of(sections[which].item_name), resource_json(arena, type, resource));
    const char *list = resource->is_static ? sections[which].static_name : sections[which].dynamic_name;
    if (type == XDS_CLUSTER && !resource->is_static && resource->is_warming) {
        list = "dynamic_warming_clusters";
    }
    if (type == XDS_LISTENER && !resource->is_static) {
        struct json_value *named = json_new_object(arena);
        json_set_str(arena, named, "name", name);
        json_set(arena, named, resource->is_warming ? STR("warming_state") : STR("active_state"), item);
        item = named;
    }
    json_push(arena, json_ensure_array(arena, section, list), item);
}

static struct json_value *dump_secrets(struct config_store *store, struct arena *arena)
{
    struct json_value *section = json_new_object(arena);
    json_set_cstr(arena, section, "@type", "type.googleapis.com/envoy.admin.v3.SecretsConfigDump");
    static const char *const names[] = {"default", "ROOTCA"};
    for (size_t i = 0; i < array_count(names); i++) {
        struct str chain = secrets_certificate(store->secrets, str_of(names[i]));
        if (chain.size == 0 && secrets_roots(store->secrets, str_of(names[i])).size == 0) {
            continue;
        }
        struct json_value *item = json_new_object(arena);
        json_set_cstr(arena, item, "name", names[i]);
        json_push(arena, json_ensure_array(arena, section, "dynamic_active_secrets"), item);
    }
    return section;
}

struct json_value *config_store_dump(struct config_store *store, struct arena *arena, bool with_endpoints)
{
    struct json_value *configs = json_new_array(arena);
    for (size_t which = 0; which < array_count(sections); which++) {
        if (sections[which].type == XDS_ENDPOINT && !with_endpoints) {
            continue;
        }
        struct json_value *section = json_new_object(arena);
        json_set_cstr(arena, section, "@type", sections[which].dump_type);
        json_set_str(arena, section, "version_info", buf_view(&store->versions[sections[which].type]));
        struct str name;
        void *value;
        for (size_t at = 0; map_each(&store->resources[sections[which].type], &at, &name, &value);) {
            dump_resource(arena, section, which, name, value);
        }
        json_push(arena, configs, section);
    }
    json_push(arena, configs, dump_secrets(store, arena));
    struct json_value *dump = json_new_object(arena);
    json_set(arena, dump, STR("configs"), configs);
    return dump;
}
