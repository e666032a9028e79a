// SPDX-License-Identifier: Apache-2.0
//
// emptying: a namespace that is being deleted goes when nothing is left in it. One pass asks the server
// which namespaced resources there are (custom ones too), lists each, and deletes what it finds. A pass
// that finds nothing takes the namespace's finalizer away; else there is another one shortly after, for
// pods and finalizers take their time.
//
//   discover /api/v1, /apis, each group ──► list, delete each resource ──► finalize, or again
#include "lab/controllers/controllers_internal.h"

#include "base/log.h"
#include "base/memory.h"

#define EMPTYING_AGAIN_MS 300u
#define EMPTYING_PATHS_MAX 2048u

static struct log_scope scope = LOG_SCOPE("controllers");

struct emptying {
    struct chore chore;
    struct str key;
    struct arena arena;
    struct kube_call *call;
    VEC(struct str) versions;  // "/apis/apps/v1" to be asked
    VEC(struct str) resources; // "/apis/apps/v1/namespaces/NS/deployments"
    size_t version_at;
    size_t resource_at;
    bool found_any;
};

static void next_version(struct emptying *emptying);
static void next_resource(struct emptying *emptying);

// --- ends ------------------------------------------------------------------------------------------

static void emptying_free(struct emptying *emptying)
{
    list_remove(&emptying->chore.node);
    vec_done(&emptying->versions);
    vec_done(&emptying->resources);
    arena_done(&emptying->arena);
    mem_free(emptying);
}

static void stop(struct chore *chore)
{
    struct emptying *emptying = container_of(chore, struct emptying, chore);
    kube_call_cancel(emptying->call);
    emptying_free(emptying);
}

static void finish(struct emptying *emptying, bool ok, bool again)
{
    struct work_queue *queue = emptying->chore.controllers->queues[QUEUE_EMPTYING];
    if (again) {
        work_queue_add_after(queue, emptying->key, EMPTYING_AGAIN_MS);
    }
    work_queue_done(queue, emptying->key, ok);
    emptying_free(emptying);
}

static void fail(struct emptying *emptying, const char *what, const struct kube_response *response)
{
    log_warning(&scope, "cannot empty a namespace, retrying", LOG_STR("namespace", emptying->key),
                LOG_CSTR("step", what), LOG_STR("error", response->message));
    finish(emptying, false, false);
}

static void ask(struct emptying *emptying, struct str method, struct str path, struct str body, kube_done_fn *on_done)
{
    struct kube_request request = {.method = method, .path = path, .body = body};
    emptying->call = kube_request(emptying->chore.controllers->client, &request, on_done, emptying);
}

// --- finalizing ------------------------------------------------------------------------------------

static void on_finalized(void *owner, enum err code, const struct kube_response *response)
{
    struct emptying *emptying = owner;
    emptying->call = NULL;
    if (code != ERR_OK && code != ERR_NOT_FOUND) {
        fail(emptying, "finalize", response);
        return;
    }
    finish(emptying, true, false);
}

static void finalize(struct emptying *emptying)
{
    struct arena *arena = &emptying->arena;
    struct json_value *ns = json_new_object(arena);
    json_set_cstr(arena, ns, "apiVersion", "v1");
    json_set_cstr(arena, ns, "kind", "Namespace");
    json_set_str(arena, json_ensure_object(arena, ns, "metadata"), "name", emptying->key);
    (void)json_ensure_array(arena, json_ensure_object(arena, ns, "spec"), "finalizers");
    struct str path = arena_format(arena, "/api/v1/namespaces/%.*s/finalize", STR_ARG(emptying->key));
    ask(emptying, STR("PUT"), path, json_to_str(arena, ns), on_finalized);
}

// --- content ---------------------------------------------------------------------------------------

static void on_deleted(void *owner, enum err code, const struct kube_response *response)
{
    struct emptying *emptying = owner;
    emptying->call = NULL;
    if (code != ERR_OK && code != ERR_NOT_FOUND) {
        fail(emptying, "delete", response);
        return;
    }
    next_resource(emptying);
}

static void on_listed(void *owner, enum err code, const struct kube_response *response)
{
    struct emptying *emptying = owner;
    emptying->call = NULL;
    // A custom resource may have gone since we asked what there is.
    if (code != ERR_OK && code != ERR_NOT_FOUND) {
        fail(emptying, "list", response);
        return;
    }
    if (code == ERR_NOT_FOUND || json_count(json_get(response->value, "items")) == 0) {
        next_resource(emptying);
        return;
    }
    emptying->found_any = true;
    ask(emptying, STR("DELETE"), emptying->resources.items[emptying->resource_at - 1],
        STR("{\"propagationPolicy\":\"Background\"}"), on_deleted);
}

static void next_resource(struct emptying *emptying)
{
    if (emptying->resource_at == emptying->resources.count) {
        if (emptying->found_any) {
            finish(emptying, true, true);
        } else {
            finalize(emptying);
        }
        return;
    }
    struct str path = emptying->resources.items[emptying->resource_at++];
    ask(emptying, STR("GET"), arena_format(&emptying->arena, "%.*s?limit=1", STR_ARG(path)), STR_EMPTY, on_listed);
}

// --- discovery -------------------------------------------------------------------------------------

static bool has_verb(const struct json_value *resource, struct str verb)
{
    const struct json_value *verbs = json_get(resource, "verbs");
    for (size_t i = 0; i < json_count(verbs); i++) {
        if (str_equal(json_str(json_at(verbs, i)), verb)) {
            return true;
        }
    }
    return false;
}

static void on_resources(void *owner, enum err code, const struct kube_response *response)
{
    struct emptying *emptying = owner;
    emptying->call = NULL;
    if (code != ERR_OK) {
        fail(emptying, "discover resources", response);
        return;
    }
    struct str version = emptying->versions.items[emptying->version_at - 1];
    const struct json_value *resources = json_get(response->value, "resources");
    for (size_t i = 0; i < json_count(resources) && emptying->resources.count < EMPTYING_PATHS_MAX; i++) {
        const struct json_value *resource = json_at(resources, i);
        struct str name = json_get_str(resource, "name");
        if (json_get_bool(resource, "namespaced", false) && str_find_char(name, '/') < 0 &&
            has_verb(resource, STR("list")) && has_verb(resource, STR("deletecollection"))) {
            vec_push(&emptying->resources,
                     arena_format(&emptying->arena, "%.*s/namespaces/%.*s/%.*s", STR_ARG(version),
                                  STR_ARG(emptying->key), STR_ARG(name)));
        }
    }
    next_version(emptying);
}

static void next_version(struct emptying *emptying)
{
    if (emptying->version_at == emptying->versions.count) {
        next_resource(emptying);
        return;
    }
    ask(emptying, STR("GET"), emptying->versions.items[emptying->version_at++], STR_EMPTY, on_resources);
}

static void on_groups(void *owner, enum err code, const struct kube_response *response)
{
    struct emptying *emptying = owner;
    emptying->call = NULL;
    if (code != ERR_OK) {
        fail(emptying, "discover groups", response);
        return;
    }
    vec_push(&emptying->versions, STR("/api/v1"));
    const struct json_value *groups = json_get(response->value, "groups");
    for (size_t i = 0; i < json_count(groups) && emptying->versions.count < EMPTYING_PATHS_MAX; i++) {
        struct str version = json_str(json_path(json_at(groups, i), "preferredVersion", "groupVersion", NULL));
        if (!str_is_empty(version)) {
            vec_push(&emptying->versions, arena_format(&emptying->arena, "/apis/%.*s", STR_ARG(version)));
        }
    }
    next_version(emptying);
}

void emptying_start(struct controllers *controllers, struct str key)
{
    const struct json_value *ns = controllers_find(controllers, VIEW_NAMESPACES, STR_EMPTY, key);
    if (ns == NULL || !meta_is_deleting(ns) || json_count(json_path(ns, "spec", "finalizers", NULL)) == 0) {
        work_queue_done(controllers->queues[QUEUE_EMPTYING], key, true);
        return;
    }
    struct emptying *emptying = mem_new(struct emptying);
    emptying->chore.controllers = controllers;
    emptying->chore.stop = stop;
    list_init(&emptying->chore.node);
    list_append(&controllers->chores, &emptying->chore.node);
    emptying->key = arena_str(&emptying->arena, key);
    ask(emptying, STR("GET"), STR("/apis"), STR_EMPTY, on_groups);
}
