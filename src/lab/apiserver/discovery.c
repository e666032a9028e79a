// SPDX-License-Identifier: Apache-2.0
//
// Discovery: which groups, versions and resources there are; in the old form (one document per version)
// and aggregated, in exactly the version the client offered: a client that offered v2beta1 only dies of v2.
#include "lab/apiserver/request.h"

static const char *const storage_verbs[] = {"create", "delete", "deletecollection", "get",
                                            "list",   "patch",  "update",           "watch"};

// --- parts shared by both forms --------------------------------------------------------------------

static void add_list(struct arena *arena, struct json_value *object, const char *name, struct str commas)
{
    if (str_is_empty(commas)) {
        return;
    }
    struct json_value *list = json_ensure_array(arena, object, name);
    for (struct str rest = commas; rest.data != NULL;) {
        json_push(arena, list, json_new_str(arena, str_split(&rest, ',')));
    }
}

static void add_verbs(struct arena *arena, struct json_value *object, const struct kind *kind)
{
    struct json_value *verbs = json_ensure_array(arena, object, "verbs");
    for (size_t i = 0; i < array_count(storage_verbs); i++) {
        bool creates_only = kind_has(kind, KIND_REVIEW);
        if (!creates_only || i == 0) {
            json_push(arena, verbs, json_new_cstr(arena, storage_verbs[i]));
        }
    }
}

static bool same_group(const struct kind *a, const struct kind *b)
{
    return str_equal(a->group, b->group);
}

// First kind of each group (is_version: of each version), in order.
static bool is_first(const struct kind_set *set, size_t index, bool is_version)
{
    const struct kind *kind = set->items.items[index];
    for (size_t i = 0; i < index; i++) {
        const struct kind *other = set->items.items[i];
        if (same_group(other, kind) && (!is_version || str_equal(other->version, kind->version))) {
            return false;
        }
    }
    return true;
}

// --- the old form ----------------------------------------------------------------------------------

static void add_subresource(struct arena *arena, struct json_value *resources, const struct kind *kind,
                            const char *name, const char *group, const char *version, struct str own_kind,
                            const char *verbs)
{
    struct json_value *item = json_new_object(arena);
    json_set_str(arena, item, "name", arena_format(arena, "%.*s/%s", STR_ARG(kind->plural), name));
    json_set_cstr(arena, item, "singularName", "");
    json_set_bool(arena, item, "namespaced", kind_has(kind, KIND_NAMESPACED));
    if (group != NULL) {
        json_set_cstr(arena, item, "group", group);
        json_set_cstr(arena, item, "version", version);
    }
    json_set_str(arena, item, "kind", own_kind);
    add_list(arena, item, "verbs", str_of(verbs));
    json_push(arena, resources, item);
}

static void add_resource(struct arena *arena, struct json_value *resources, const struct kind *kind)
{
    struct json_value *item = json_new_object(arena);
    json_set_str(arena, item, "name", kind->plural);
    json_set_str(arena, item, "singularName", kind->singular);
    json_set_bool(arena, item, "namespaced", kind_has(kind, KIND_NAMESPACED));
    json_set_str(arena, item, "kind", kind->kind);
    add_verbs(arena, item, kind);
    add_list(arena, item, "shortNames", kind->short_names);
    add_list(arena, item, "categories", kind->categories);
    json_push(arena, resources, item);
    if (kind_has(kind, KIND_SCALE)) {
        add_subresource(arena, resources, kind, "scale", "autoscaling", "v1", STR("Scale"), "get,patch,update");
    }
    if (kind_has(kind, KIND_STATUS)) {
        add_subresource(arena, resources, kind, "status", NULL, NULL, kind->kind, "get,patch,update");
    }
    for (const struct kind_subresource *sub = kind->subresources; sub != NULL && sub->name != NULL; sub++) {
        bool is_foreign = !str_equal_c(kind->group, sub->group);
        add_subresource(arena, resources, kind, sub->name, is_foreign ? sub->group : NULL, sub->version,
                        str_of(sub->kind), sub->verbs);
    }
}

static bool serve_version(struct request *request, struct str group, struct str version)
{
    struct arena *arena = &request->arena;
    const struct kind_set *set = &request->server->kinds;
    struct json_value *document = json_new_object(arena);
    json_set_cstr(arena, document, "kind", "APIResourceList");
    json_set_cstr(arena, document, "apiVersion", "v1");
    struct json_value *resources = json_new_array(arena);
    for (size_t i = 0; i < set->items.count; i++) {
        const struct kind *kind = set->items.items[i];
        if (str_equal(kind->group, group) && str_equal(kind->version, version)) {
            json_set_str(arena, document, "groupVersion", kind->api_version);
            add_resource(arena, resources, kind);
        }
    }
    json_set(arena, document, STR("resources"), resources);
    if (json_count(resources) == 0) {
        return false;
    }
    request_respond_json(request, 200, document);
    return true;
}

static struct json_value *make_version(struct arena *arena, const struct kind *kind)
{
    struct json_value *version = json_new_object(arena);
    json_set_str(arena, version, "groupVersion", kind->api_version);
    json_set_str(arena, version, "version", kind->version);
    return version;
}

static struct json_value *make_group(struct request *request, const struct kind *first)
{
    struct arena *arena = &request->arena;
    const struct kind_set *set = &request->server->kinds;
    struct json_value *group = json_new_object(arena);
    json_set_str(arena, group, "name", first->group);
    struct json_value *versions = json_ensure_array(arena, group, "versions");
    for (size_t i = 0; i < set->items.count; i++) {
        const struct kind *kind = set->items.items[i];
        if (same_group(kind, first) && is_first(set, i, true)) {
            json_push(arena, versions, make_version(arena, kind));
        }
    }
    json_set(arena, group, STR("preferredVersion"), make_version(arena, first));
    return group;
}

static void serve_groups(struct request *request)
{
    struct arena *arena = &request->arena;
    const struct kind_set *set = &request->server->kinds;
    struct json_value *document = json_new_object(arena);
    json_set_cstr(arena, document, "kind", "APIGroupList");
    json_set_cstr(arena, document, "apiVersion", "v1");
    struct json_value *groups = json_ensure_array(arena, document, "groups");
    for (size_t i = 0; i < set->items.count; i++) {
        if (!str_is_empty(set->items.items[i]->group) && is_first(set, i, false)) {
            json_push(arena, groups, make_group(request, set->items.items[i]));
        }
    }
    request_respond_json(request, 200, document);
}

static void serve_core_versions(struct request *request)
{
    struct arena *arena = &request->arena;
    struct json_value *document = json_new_object(arena);
    json_set_cstr(arena, document, "kind", "APIVersions");
    json_push(arena, json_ensure_array(arena, document, "versions"), json_new_cstr(arena, "v1"));
    struct json_value *address = json_new_object(arena);
    json_set_cstr(arena, address, "clientCIDR", "0.0.0.0/0");
    json_set_str(arena, address, "serverAddress",
                 arena_format(arena, "%.*s:%u", STR_ARG(request->server->advertise_ip),
                              (unsigned)request->server->advertise_port));
    json_push(arena, json_ensure_array(arena, document, "serverAddressByClientCIDRs"), address);
    request_respond_json(request, 200, document);
}

static bool serve_group(struct request *request, struct str group)
{
    const struct kind_set *set = &request->server->kinds;
    for (size_t i = 0; i < set->items.count; i++) {
        if (!str_is_empty(group) && str_equal(set->items.items[i]->group, group)) {
            struct json_value *document = make_group(request, set->items.items[i]);
            json_set_cstr(&request->arena, document, "kind", "APIGroup");
            json_set_cstr(&request->arena, document, "apiVersion", "v1");
            request_respond_json(request, 200, document);
            return true;
        }
    }
    return false;
}

// --- aggregated ------------------------------------------------------------------------------------

static struct json_value *make_response_kind(struct arena *arena, struct str group, struct str version, struct str kind)
{
    struct json_value *response = json_new_object(arena);
    json_set_str(arena, response, "group", group);
    json_set_str(arena, response, "version", version);
    json_set_str(arena, response, "kind", kind);
    return response;
}

static void add_aggregated_subresource(struct arena *arena, struct json_value *resource, const char *name,
                                       struct json_value *response_kind, const char *verbs)
{
    struct json_value *item = json_new_object(arena);
    json_set_cstr(arena, item, "subresource", name);
    json_set(arena, item, STR("responseKind"), response_kind);
    add_list(arena, item, "verbs", str_of(verbs));
    json_push(arena, json_ensure_array(arena, resource, "subresources"), item);
}

static struct json_value *make_aggregated_resource(struct arena *arena, const struct kind *kind)
{
    struct json_value *resource = json_new_object(arena);
    json_set_str(arena, resource, "resource", kind->plural);
    json_set(arena, resource, STR("responseKind"), make_response_kind(arena, kind->group, kind->version, kind->kind));
    json_set_cstr(arena, resource, "scope", kind_has(kind, KIND_NAMESPACED) ? "Namespaced" : "Cluster");
    json_set_str(arena, resource, "singularResource", kind->singular);
    add_verbs(arena, resource, kind);
    add_list(arena, resource, "shortNames", kind->short_names);
    add_list(arena, resource, "categories", kind->categories);
    if (kind_has(kind, KIND_SCALE)) {
        add_aggregated_subresource(arena, resource, "scale",
                                   make_response_kind(arena, STR("autoscaling"), STR("v1"), STR("Scale")),
                                   "get,patch,update");
    }
    if (kind_has(kind, KIND_STATUS)) {
        add_aggregated_subresource(arena, resource, "status",
                                   make_response_kind(arena, kind->group, kind->version, kind->kind),
                                   "get,patch,update");
    }
    for (const struct kind_subresource *sub = kind->subresources; sub != NULL && sub->name != NULL; sub++) {
        add_aggregated_subresource(
            arena, resource, sub->name,
            make_response_kind(arena, str_of(sub->group), str_of(sub->version), str_of(sub->kind)), sub->verbs);
    }
    return resource;
}

static struct json_value *make_aggregated_group(struct request *request, const struct kind *first)
{
    struct arena *arena = &request->arena;
    const struct kind_set *set = &request->server->kinds;
    struct json_value *group = json_new_object(arena);
    struct json_value *metadata = json_ensure_object(arena, group, "metadata");
    if (!str_is_empty(first->group)) {
        json_set_str(arena, metadata, "name", first->group);
    }
    json_set(arena, metadata, STR("creationTimestamp"), json_new_null(arena));
    struct json_value *versions = json_ensure_array(arena, group, "versions");
    for (size_t i = 0; i < set->items.count; i++) {
        const struct kind *kind = set->items.items[i];
        if (!same_group(kind, first) || !is_first(set, i, true)) {
            continue;
        }
        struct json_value *version = json_new_object(arena);
        json_set_str(arena, version, "version", kind->version);
        json_set_cstr(arena, version, "freshness", "Current");
        struct json_value *resources = json_ensure_array(arena, version, "resources");
        for (size_t k = i; k < set->items.count; k++) {
            const struct kind *member = set->items.items[k];
            if (same_group(member, first) && str_equal(member->version, kind->version)) {
                json_push(arena, resources, make_aggregated_resource(arena, member));
            }
        }
        json_push(arena, versions, version);
    }
    return group;
}

static void serve_aggregated(struct request *request, bool is_core, const char *version)
{
    struct arena *arena = &request->arena;
    const struct kind_set *set = &request->server->kinds;
    struct json_value *document = json_new_object(arena);
    json_set_cstr(arena, document, "kind", "APIGroupDiscoveryList");
    json_set_str(arena, document, "apiVersion", arena_format(arena, "apidiscovery.k8s.io/%s", version));
    (void)json_ensure_object(arena, document, "metadata");
    struct json_value *items = json_ensure_array(arena, document, "items");
    for (size_t i = 0; i < set->items.count; i++) {
        if (str_is_empty(set->items.items[i]->group) == is_core && is_first(set, i, false)) {
            json_push(arena, items, make_aggregated_group(request, set->items.items[i]));
        }
    }
    struct buf text = {0};
    json_write(document, &text);
    request_respond(request, 200,
                    arena_format(arena, "application/json;g=apidiscovery.k8s.io;v=%s;as=APIGroupDiscoveryList", version),
                    buf_view(&text));
    buf_done(&text);
}

// The aggregated version the client prefers; NULL: the old form.
static const char *aggregated_version(struct str accept)
{
    for (struct str rest = accept; rest.data != NULL;) {
        struct str media = str_trim(str_split(&rest, ','));
        if (str_equal(media, STR("application/json"))) {
            return NULL;
        }
        if (!str_starts_with(media, STR("application/json")) || str_find(media, STR("as=APIGroupDiscoveryList")) < 0) {
            continue;
        }
        if (str_find(media, STR("v=v2;")) >= 0 || str_ends_with(media, STR("v=v2"))) {
            return "v2";
        }
        if (str_find(media, STR("v=v2beta1")) >= 0) {
            return "v2beta1";
        }
    }
    return NULL;
}

void discovery_serve(struct request *request)
{
    struct str rest = str_from(request->path.path, 1);
    bool is_core = str_equal(str_split(&rest, '/'), STR("api"));
    const char *version = aggregated_version(request->accept);
    bool is_root = rest.data == NULL;
    if (is_root && version != NULL) {
        serve_aggregated(request, is_core, version);
    } else if (is_root && is_core) {
        serve_core_versions(request);
    } else if (is_root) {
        serve_groups(request);
    } else {
        struct str group = is_core ? STR_EMPTY : str_split(&rest, '/');
        struct str wanted = rest.data == NULL ? STR_EMPTY : rest;
        bool served = str_is_empty(wanted) ? serve_group(request, group) : serve_version(request, group, wanted);
        if (!served) {
            request_respond(request, 404, STR("text/plain; charset=utf-8"), STR("404 page not found\n"));
        }
    }
}
