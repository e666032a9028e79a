// SPDX-License-Identifier: Apache-2.0
//
// garbage: an object whose owners are all gone is deleted. An owner that our view does not hold may be
// newer than the view, so the server is asked before anything is deleted. Owners of kinds we do not
// follow are taken to be there.
#include "lab/controllers/controllers_internal.h"

#include "base/log.h"
#include "base/memory.h"

static struct log_scope scope = LOG_SCOPE("controllers");

struct garbage {
    struct chore chore;
    struct str key;
    struct arena arena;
    struct kube_call *call;
    enum view view;
    struct kube_object *object;
    size_t owner_at;
};

static const struct {
    const char *kind;
    const char *group; // in front of "/version" of apiVersion; empty: core
    enum view view;
} owner_kinds[] = {
    {"Deployment", "apps", VIEW_DEPLOYMENTS},
    {"ReplicaSet", "apps", VIEW_REPLICA_SETS},
    {"DaemonSet", "apps", VIEW_DAEMON_SETS},
    {"Service", "", VIEW_SERVICES},
    {"Pod", "", VIEW_PODS},
    {"Node", "", VIEW_NODES},
    {"Namespace", "", VIEW_NAMESPACES},
};

enum view garbage_view_of(const struct json_value *owner)
{
    struct str version = json_get_str(owner, "apiVersion");
    ptrdiff_t slash = str_find_char(version, '/');
    struct str group = slash < 0 ? STR_EMPTY : str_sub(version, 0, (size_t)slash);
    for (size_t i = 0; i < array_count(owner_kinds); i++) {
        if (str_equal_c(json_get_str(owner, "kind"), owner_kinds[i].kind) &&
            str_equal_c(group, owner_kinds[i].group)) {
            return owner_kinds[i].view;
        }
    }
    return VIEW_COUNT;
}

static void check_next_owner(struct garbage *garbage);

static void garbage_free(struct garbage *garbage)
{
    list_remove(&garbage->chore.node);
    kube_object_unref(garbage->object);
    arena_done(&garbage->arena);
    mem_free(garbage);
}

static void stop(struct chore *chore)
{
    struct garbage *garbage = container_of(chore, struct garbage, chore);
    kube_call_cancel(garbage->call);
    garbage_free(garbage);
}

static void finish(struct garbage *garbage, bool ok)
{
    work_queue_done(garbage->chore.controllers->queues[QUEUE_GARBAGE], garbage->key, ok);
    garbage_free(garbage);
}

static const struct kube_resource *resource_of(const struct garbage *garbage, enum view view)
{
    return informer_resource(garbage->chore.controllers->views[view]);
}

// --- deleting --------------------------------------------------------------------------------------

static void on_deleted(void *owner, enum err code, const struct kube_response *response)
{
    struct garbage *garbage = owner;
    garbage->call = NULL;
    bool ok = code == ERR_OK || code == ERR_NOT_FOUND || code == ERR_CONFLICT; // of another uid: not ours
    if (!ok) {
        log_warning(&scope, "cannot collect an object, retrying", LOG_STR("object", garbage->key),
                    LOG_STR("error", response->message));
    }
    finish(garbage, ok);
}

static void delete_object(struct garbage *garbage)
{
    struct arena *arena = &garbage->arena;
    struct json_value *options = json_new_object(arena);
    json_set_cstr(arena, options, "propagationPolicy", "Background");
    json_set_str(arena, json_ensure_object(arena, options, "preconditions"), "uid", garbage->object->uid);
    struct kube_request request = {.method = STR("DELETE"), .body = json_to_str(arena, options)};
    request.path = kube_path(arena, resource_of(garbage, garbage->view), garbage->object->ns, garbage->object->name);
    garbage->call = kube_request(garbage->chore.controllers->client, &request, on_deleted, garbage);
}

// --- owners ----------------------------------------------------------------------------------------

static const struct json_value *current_owner(const struct garbage *garbage)
{
    return json_at(json_path(garbage->object->value, "metadata", "ownerReferences", NULL), garbage->owner_at);
}

static void on_owner(void *owner, enum err code, const struct kube_response *response)
{
    struct garbage *garbage = owner;
    garbage->call = NULL;
    if (code != ERR_OK && code != ERR_NOT_FOUND) {
        finish(garbage, false);
        return;
    }
    bool is_there = code == ERR_OK && str_equal(meta_uid(response->value), json_get_str(current_owner(garbage), "uid"));
    if (is_there) {
        finish(garbage, true);
        return;
    }
    garbage->owner_at++;
    check_next_owner(garbage);
}

static void check_next_owner(struct garbage *garbage)
{
    const struct json_value *owner = current_owner(garbage);
    if (owner == NULL) {
        delete_object(garbage);
        return;
    }
    enum view view = garbage_view_of(owner);
    if (view == VIEW_COUNT) {
        finish(garbage, true);
        return;
    }
    const struct kube_resource *resource = resource_of(garbage, view);
    struct str ns = resource->namespaced ? garbage->object->ns : STR_EMPTY;
    struct str name = json_get_str(owner, "name");
    const struct json_value *held = controllers_find(garbage->chore.controllers, view, ns, name);
    if (held != NULL && str_equal(meta_uid(held), json_get_str(owner, "uid"))) {
        finish(garbage, true);
        return;
    }
    garbage->call = kube_get(garbage->chore.controllers->client, resource, ns, name, on_owner, garbage);
}

// "view/ns/name"
static struct kube_object *find_object(const struct controllers *controllers, struct str key, enum view *ret_view)
{
    struct str rest = key;
    uint64_t view = VIEW_COUNT;
    (void)str_to_u64(str_split(&rest, '/'), &view);
    struct str ns = str_split(&rest, '/');
    if (view >= VIEW_COUNT) {
        return NULL;
    }
    *ret_view = (enum view)view;
    return informer_get(controllers->views[view], ns, rest);
}

void garbage_start(struct controllers *controllers, struct str key)
{
    enum view view = VIEW_COUNT;
    struct kube_object *object = find_object(controllers, key, &view);
    if (object == NULL || meta_is_deleting(object->value) ||
        json_count(json_path(object->value, "metadata", "ownerReferences", NULL)) == 0) {
        work_queue_done(controllers->queues[QUEUE_GARBAGE], key, true);
        return;
    }
    struct garbage *garbage = mem_new(struct garbage);
    garbage->chore.controllers = controllers;
    garbage->chore.stop = stop;
    list_init(&garbage->chore.node);
    list_append(&controllers->chores, &garbage->chore.node);
    garbage->key = arena_str(&garbage->arena, key);
    garbage->view = view;
    garbage->object = kube_object_ref(object);
    check_next_owner(garbage);
}
