// SPDX-License-Identifier: Apache-2.0
//
// Events of the views become keys of the queues (the routes below); a key that comes out of its queue is
// looked up in the views, planned by a pure function and carried out.
#include "lab/controllers/controllers_internal.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/map.h"
#include "base/memory.h"
#include "lab/controllers/daemon_set.h"
#include "lab/controllers/deployment.h"
#include "lab/controllers/endpoints.h"
#include "lab/controllers/namespace.h"
#include "lab/controllers/replica_set.h"
#include "lab/controllers/scheduler.h"

static struct log_scope scope = LOG_SCOPE("controllers");

#define ACCOUNT_NAME "default"
#define ROOTS_NAME "kube-root-ca.crt"

struct work {
    struct list node;
    struct controllers *controllers;
    enum queue queue;
    struct plan_run *run;
    uint64_t again_ms;
    size_t key_size;
    char key[];
};

// --- views -----------------------------------------------------------------------------------------

const struct json_value *controllers_find(const struct controllers *controllers, enum view view, struct str ns,
                                          struct str name)
{
    const struct kube_object *object = informer_get(controllers->views[view], ns, name);
    return object == NULL ? NULL : object->value;
}

void controllers_list(const struct controllers *controllers, enum view view, struct str ns, struct object_list *list)
{
    size_t at = 0;
    for (const struct kube_object *object; (object = informer_each(controllers->views[view], &at)) != NULL;) {
        if (str_is_empty(ns) || str_equal(object->ns, ns)) {
            vec_push(list, object->value);
        }
    }
}

// --- plans -----------------------------------------------------------------------------------------

static struct str key_ns(struct str key)
{
    struct str rest = key;
    return str_split(&rest, '/');
}

static struct str key_name(struct str key)
{
    return str_from(key, (size_t)str_find_char(key, '/') + 1);
}

static void plan_namespace(struct controllers *controllers, struct str key, struct plan *plan)
{
    namespace_plan(plan, controllers_find(controllers, VIEW_NAMESPACES, STR_EMPTY, key),
                   controllers_find(controllers, VIEW_ACCOUNTS, key, STR(ACCOUNT_NAME)),
                   controllers_find(controllers, VIEW_ROOTS, key, STR(ROOTS_NAME)), controllers->ca_pem);
}

static void plan_deployment(struct controllers *controllers, struct str key, struct plan *plan)
{
    struct object_list sets = {0};
    controllers_list(controllers, VIEW_REPLICA_SETS, key_ns(key), &sets);
    deployment_plan(plan, controllers_find(controllers, VIEW_DEPLOYMENTS, key_ns(key), key_name(key)), &sets);
    vec_done(&sets);
}

static void plan_replica_set(struct controllers *controllers, struct str key, struct plan *plan)
{
    struct object_list pods = {0};
    const char *failure = map_get(controllers->failures, key);
    controllers_list(controllers, VIEW_PODS, key_ns(key), &pods);
    replica_set_plan(plan, controllers_find(controllers, VIEW_REPLICA_SETS, key_ns(key), key_name(key)), &pods,
                     str_of(failure));
    vec_done(&pods);
}

static void plan_daemon_set(struct controllers *controllers, struct str key, struct plan *plan)
{
    struct object_list pods = {0};
    struct object_list nodes = {0};
    controllers_list(controllers, VIEW_PODS, key_ns(key), &pods);
    controllers_list(controllers, VIEW_NODES, STR_EMPTY, &nodes);
    daemon_set_plan(plan, controllers_find(controllers, VIEW_DAEMON_SETS, key_ns(key), key_name(key)), &pods, &nodes);
    vec_done(&pods);
    vec_done(&nodes);
}

static void plan_pod(struct controllers *controllers, struct str key, struct plan *plan)
{
    struct object_list nodes = {0};
    struct object_list pods = {0};
    controllers_list(controllers, VIEW_NODES, STR_EMPTY, &nodes);
    controllers_list(controllers, VIEW_PODS, STR_EMPTY, &pods);
    scheduler_plan(plan, controllers_find(controllers, VIEW_PODS, key_ns(key), key_name(key)), &nodes, &pods);
    vec_done(&nodes);
    vec_done(&pods);
}

static void list_slices(const struct controllers *controllers, struct str ns, struct str service,
                        struct object_list *list)
{
    size_t at = 0;
    for (const struct kube_object *slice; (slice = informer_each(controllers->views[VIEW_SLICES], &at)) != NULL;) {
        if (str_equal(slice->ns, ns) &&
            str_equal(kube_label(slice->value, STR("kubernetes.io/service-name")), service)) {
            vec_push(list, slice->value);
        }
    }
}

static void plan_endpoints(struct controllers *controllers, struct str key, struct plan *plan)
{
    struct str ns = key_ns(key);
    struct str name = key_name(key);
    struct endpoints_input input = {.service = controllers_find(controllers, VIEW_SERVICES, ns, name)};
    input.endpoints = controllers_find(controllers, VIEW_ENDPOINTS, ns, name);
    controllers_list(controllers, VIEW_PODS, ns, &input.pods);
    controllers_list(controllers, VIEW_NODES, STR_EMPTY, &input.nodes);
    list_slices(controllers, ns, name, &input.slices);
    endpoints_plan(plan, &input);
    vec_done(&input.pods);
    vec_done(&input.nodes);
    vec_done(&input.slices);
}

static const struct {
    const char *name;
    void (*plan)(struct controllers *controllers, struct str key, struct plan *plan);
    void (*start)(struct controllers *controllers, struct str key); // instead: takes several requests
} queue_table[QUEUE_COUNT] = {
    [QUEUE_NAMESPACES] = {"namespace", plan_namespace, NULL},
    [QUEUE_DEPLOYMENTS] = {"deployment", plan_deployment, NULL},
    [QUEUE_REPLICA_SETS] = {"replicaset", plan_replica_set, NULL},
    [QUEUE_DAEMON_SETS] = {"daemonset", plan_daemon_set, NULL},
    [QUEUE_SCHEDULER] = {"scheduler", plan_pod, NULL},
    [QUEUE_ENDPOINTS] = {"endpoints", plan_endpoints, NULL},
    [QUEUE_EMPTYING] = {"namespace deletion", NULL, emptying_start},
    [QUEUE_GARBAGE] = {"garbage", NULL, garbage_start},
};

// --- carrying out ----------------------------------------------------------------------------------

static void work_free(struct work *work)
{
    list_remove(&work->node);
    plan_run_free(work->run);
    mem_free(work);
}

static bool is_seen(void *owner, const struct kube_resource *resource, struct str ns, struct str name,
                    uint64_t version)
{
    const struct work *work = owner;
    for (size_t i = 0; i < VIEW_COUNT; i++) {
        const struct informer *view = work->controllers->views[i];
        if (!str_equal(informer_resource(view)->plural, resource->plural)) {
            continue;
        }
        const struct kube_object *object = informer_get(view, ns, name);
        uint64_t have = 0;
        if (version == 0) {
            return object == NULL || meta_is_deleting(object->value);
        }
        return object != NULL && str_to_u64(object->resource_version, &have) && have >= version;
    }
    return true; // nobody watches it
}

// Why pods cannot be created stands in the ReplicaSet's status; its change brings the next plan.
static void note_failure(struct controllers *controllers, struct str key, struct str failure)
{
    const char *old = map_get(controllers->failures, key);
    if (str_equal(str_of(old), failure)) {
        return;
    }
    char *copy = mem_zalloc(failure.size + 1);
    memcpy(copy, failure.data, failure.size);
    mem_free(map_set(controllers->failures, key, copy));
}

static void forget_failure(struct controllers *controllers, struct str key)
{
    char *old = map_remove(controllers->failures, key);
    if (old != NULL) {
        mem_free(old);
        work_queue_add(controllers->queues[QUEUE_REPLICA_SETS], key);
    }
}

static void on_run_done(void *owner, struct plan_run *run, bool ok, struct str failure)
{
    (void)run;
    struct work *work = owner;
    struct controllers *controllers = work->controllers;
    struct str key = str_make(work->key, work->key_size);
    if (!ok) {
        log_warning(&scope, "cannot reconcile, retrying", LOG_CSTR("controller", queue_table[work->queue].name),
                    LOG_STR("key", key), LOG_STR("error", failure));
    }
    if (work->queue == QUEUE_REPLICA_SETS && !ok) {
        note_failure(controllers, key, failure);
    } else if (work->queue == QUEUE_REPLICA_SETS) {
        forget_failure(controllers, key);
    }
    if (work->again_ms > 0) {
        work_queue_add_after(controllers->queues[work->queue], key, work->again_ms);
    }
    work_queue_done(controllers->queues[work->queue], key, ok);
    work_free(work);
}

static const struct plan_run_events run_events = {.is_seen = is_seen, .on_done = on_run_done};

static void carry_out(struct controllers *controllers, enum queue queue, struct str key, struct plan *plan)
{
    struct work *work = mem_zalloc(sizeof(*work) + key.size);
    work->controllers = controllers;
    work->queue = queue;
    work->again_ms = plan->again_ms;
    work->key_size = key.size;
    memcpy(work->key, key.data, key.size);
    list_init(&work->node);
    list_append(&controllers->works, &work->node);
    work->run = plan_run_start(controllers->loop, controllers->client, plan, &run_events, work);
}

static void work_on(struct controllers *controllers, enum queue queue, struct str key)
{
    if (queue_table[queue].start != NULL) {
        queue_table[queue].start(controllers, key);
        return;
    }
    struct plan plan = {.wall_ms = loop_wall_ms(controllers->loop)};
    queue_table[queue].plan(controllers, key, &plan);
    if (plan.steps.count > 0) {
        carry_out(controllers, queue, key, &plan);
    } else {
        if (plan.again_ms > 0) {
            work_queue_add_after(controllers->queues[queue], key, plan.again_ms);
        }
        work_queue_done(controllers->queues[queue], key, true);
    }
    plan_done(&plan);
}

// The queue tells us by its address which one it is.
struct queue_owner {
    struct controllers *controllers;
    enum queue queue;
};

static void on_item(void *owner, struct str key)
{
    const struct queue_owner *queue_owner = owner;
    work_on(queue_owner->controllers, queue_owner->queue, key);
}

// --- routes: which keys an event touches -----------------------------------------------------------

static void add_object(struct controllers *controllers, enum queue queue, struct str ns, struct str name)
{
    struct arena arena = {0};
    work_queue_add(controllers->queues[queue], arena_format(&arena, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)));
    arena_done(&arena);
}

static void add_garbage(struct controllers *controllers, enum view view, const struct kube_object *object)
{
    struct arena arena = {0};
    work_queue_add(controllers->queues[QUEUE_GARBAGE],
                   arena_format(&arena, "%d/%.*s/%.*s", (int)view, STR_ARG(object->ns), STR_ARG(object->name)));
    arena_done(&arena);
}

static void add_controller_of(struct controllers *controllers, const struct kube_object *object, const char *kind,
                              enum queue queue)
{
    const struct json_value *owner = object == NULL ? NULL : meta_controller(object->value);
    if (str_equal_c(json_get_str(owner, "kind"), kind)) {
        add_object(controllers, queue, object->ns, json_get_str(owner, "name"));
    }
}

static void add_services_of(struct controllers *controllers, const struct kube_object *pod)
{
    if (pod == NULL) {
        return;
    }
    const struct json_value *labels = json_path(pod->value, "metadata", "labels", NULL);
    size_t at = 0;
    for (struct kube_object *service; (service = informer_each(controllers->views[VIEW_SERVICES], &at)) != NULL;) {
        if (str_equal(service->ns, pod->ns) &&
            kube_map_selector_matches(json_path(service->value, "spec", "selector", NULL), labels)) {
            add_object(controllers, QUEUE_ENDPOINTS, service->ns, service->name);
        }
    }
}

// Sets that select a pod nobody owns may adopt it.
static void add_sets_for_orphan(struct controllers *controllers, const struct kube_object *pod)
{
    if (pod == NULL || meta_controller(pod->value) != NULL) {
        return;
    }
    const struct json_value *labels = json_path(pod->value, "metadata", "labels", NULL);
    size_t at = 0;
    for (struct kube_object *set; (set = informer_each(controllers->views[VIEW_REPLICA_SETS], &at)) != NULL;) {
        if (str_equal(set->ns, pod->ns) &&
            kube_selector_matches(json_path(set->value, "spec", "selector", NULL), labels)) {
            add_object(controllers, QUEUE_REPLICA_SETS, set->ns, set->name);
        }
    }
}

static void route_pod(struct controllers *controllers, const struct kube_object *old, const struct kube_object *fresh)
{
    const struct kube_object *any = fresh != NULL ? fresh : old;
    add_controller_of(controllers, any, "ReplicaSet", QUEUE_REPLICA_SETS);
    add_controller_of(controllers, any, "DaemonSet", QUEUE_DAEMON_SETS);
    add_sets_for_orphan(controllers, fresh);
    add_services_of(controllers, old);
    add_services_of(controllers, fresh);
    if (fresh != NULL && str_is_empty(json_str(json_path(fresh->value, "spec", "nodeName", NULL)))) {
        add_object(controllers, QUEUE_SCHEDULER, fresh->ns, fresh->name);
    }
}

static void add_unscheduled_pods(struct controllers *controllers)
{
    size_t at = 0;
    for (struct kube_object *pod; (pod = informer_each(controllers->views[VIEW_PODS], &at)) != NULL;) {
        if (scheduler_wants(pod->value)) {
            add_object(controllers, QUEUE_SCHEDULER, pod->ns, pod->name);
        }
    }
}

static void add_daemon_sets(struct controllers *controllers)
{
    size_t at = 0;
    for (struct kube_object *set; (set = informer_each(controllers->views[VIEW_DAEMON_SETS], &at)) != NULL;) {
        add_object(controllers, QUEUE_DAEMON_SETS, set->ns, set->name);
    }
}

static bool has_owner(const struct json_value *object, struct str uid)
{
    const struct json_value *owners = json_path(object, "metadata", "ownerReferences", NULL);
    for (size_t i = 0; i < json_count(owners); i++) {
        if (str_equal(json_get_str(json_at(owners, i), "uid"), uid)) {
            return true;
        }
    }
    return false;
}

static const enum view dependent_views[] = {VIEW_REPLICA_SETS, VIEW_PODS, VIEW_SLICES, VIEW_ENDPOINTS};

static void add_dependents(struct controllers *controllers, const struct kube_object *owner)
{
    for (size_t i = 0; i < array_count(dependent_views); i++) {
        size_t at = 0;
        const struct informer *view = controllers->views[dependent_views[i]];
        for (struct kube_object *object; (object = informer_each(view, &at)) != NULL;) {
            if (has_owner(object->value, owner->uid)) {
                add_garbage(controllers, dependent_views[i], object);
            }
        }
    }
}

static void route_garbage(struct controllers *controllers, enum view view, const struct kube_object *old,
                          const struct kube_object *fresh)
{
    if (fresh == NULL) {
        add_dependents(controllers, old);
        return;
    }
    for (size_t i = 0; i < array_count(dependent_views); i++) {
        bool has_owners = json_count(json_path(fresh->value, "metadata", "ownerReferences", NULL)) > 0;
        if (dependent_views[i] == view && old == NULL && has_owners) {
            add_garbage(controllers, view, fresh);
        }
    }
}

static void route(struct controllers *controllers, enum view view, const struct kube_object *old,
                  const struct kube_object *fresh)
{
    const struct kube_object *any = fresh != NULL ? fresh : old;
    switch (view) {
    case VIEW_NAMESPACES:
        work_queue_add(controllers->queues[QUEUE_NAMESPACES], any->name);
        work_queue_add(controllers->queues[QUEUE_EMPTYING], any->name);
        break;
    case VIEW_ACCOUNTS:
    case VIEW_ROOTS:
        work_queue_add(controllers->queues[QUEUE_NAMESPACES], any->ns);
        break;
    case VIEW_DEPLOYMENTS:
        add_object(controllers, QUEUE_DEPLOYMENTS, any->ns, any->name);
        break;
    case VIEW_REPLICA_SETS:
        add_object(controllers, QUEUE_REPLICA_SETS, any->ns, any->name);
        add_controller_of(controllers, any, "Deployment", QUEUE_DEPLOYMENTS);
        break;
    case VIEW_DAEMON_SETS:
        add_object(controllers, QUEUE_DAEMON_SETS, any->ns, any->name);
        break;
    case VIEW_PODS:
        route_pod(controllers, old, fresh);
        break;
    case VIEW_NODES:
        add_unscheduled_pods(controllers);
        add_daemon_sets(controllers);
        break;
    case VIEW_SERVICES:
    case VIEW_ENDPOINTS:
        add_object(controllers, QUEUE_ENDPOINTS, any->ns, any->name);
        break;
    case VIEW_SLICES:
        add_object(controllers, QUEUE_ENDPOINTS, any->ns, kube_label(any->value, STR("kubernetes.io/service-name")));
        break;
    case VIEW_COUNT:
        break;
    }
    route_garbage(controllers, view, old, fresh);
}

// --- events ----------------------------------------------------------------------------------------

static enum view view_of(const struct controllers *controllers, const struct informer *informer)
{
    for (size_t i = 0; i < VIEW_COUNT; i++) {
        if (controllers->views[i] == informer) {
            return (enum view)i;
        }
    }
    return VIEW_COUNT;
}

static void on_change(void *owner, struct informer *informer, struct kube_object *old, struct kube_object *fresh)
{
    struct controllers *controllers = owner;
    route(controllers, view_of(controllers, informer), old, fresh);
    list_each(&controllers->works, node) {
        plan_run_look(container_of(node, struct work, node)->run);
    }
}

static void on_synced(void *owner, struct informer *informer)
{
    (void)informer;
    struct controllers *controllers = owner;
    if (controllers->started || !controllers_are_synced(controllers)) {
        return;
    }
    controllers->started = true;
    for (size_t i = 0; i < QUEUE_COUNT; i++) {
        work_queue_start(controllers->queues[i]);
    }
    log_info(&scope, "all views are synced, controllers run");
}

static const struct informer_events view_events = {.on_change = on_change, .on_synced = on_synced};

// --- public ----------------------------------------------------------------------------------------

static const struct {
    const struct kube_resource *resource;
    const char *field_selector;
} view_table[VIEW_COUNT] = {
    [VIEW_NAMESPACES] = {&kube_namespaces, NULL},
    [VIEW_ACCOUNTS] = {&kube_serviceaccounts, "metadata.name=" ACCOUNT_NAME},
    [VIEW_ROOTS] = {&kube_configmaps, "metadata.name=" ROOTS_NAME},
    [VIEW_DEPLOYMENTS] = {&kube_deployments, NULL},
    [VIEW_REPLICA_SETS] = {&kube_replicasets, NULL},
    [VIEW_DAEMON_SETS] = {&daemon_set_resource, NULL},
    [VIEW_PODS] = {&kube_pods, NULL},
    [VIEW_NODES] = {&kube_nodes, NULL},
    [VIEW_SERVICES] = {&kube_services, NULL},
    [VIEW_SLICES] = {&kube_endpointslices, NULL},
    [VIEW_ENDPOINTS] = {&kube_endpoints, NULL},
};

struct controllers *controllers_new(struct loop *loop, struct kube_client *client,
                                    const struct controllers_options *options)
{
    struct controllers *controllers = mem_new(struct controllers);
    controllers->loop = loop;
    controllers->client = client;
    controllers->ca_pem = arena_str(&controllers->arena, options->ca_pem);
    controllers->failures = arena_new(&controllers->arena, struct map);
    list_init(&controllers->works);
    list_init(&controllers->chores);
    for (size_t i = 0; i < QUEUE_COUNT; i++) {
        struct queue_owner *owner = arena_new(&controllers->arena, struct queue_owner);
        *owner = (struct queue_owner){.controllers = controllers, .queue = (enum queue)i};
        controllers->queues[i] = work_queue_new(loop, NULL, on_item, owner);
    }
    for (size_t i = 0; i < VIEW_COUNT; i++) {
        struct informer_options view = {.resource = view_table[i].resource};
        view.field_selector = str_of(view_table[i].field_selector);
        controllers->views[i] = informer_new(client, &view, &view_events, controllers);
    }
    return controllers;
}

void controllers_free(struct controllers *controllers)
{
    if (controllers == NULL) {
        return;
    }
    list_each(&controllers->works, node) {
        work_free(container_of(node, struct work, node));
    }
    list_each(&controllers->chores, chore_node) {
        struct chore *chore = container_of(chore_node, struct chore, node);
        chore->stop(chore);
    }
    for (size_t i = 0; i < VIEW_COUNT; i++) {
        informer_free(controllers->views[i]);
    }
    for (size_t i = 0; i < QUEUE_COUNT; i++) {
        work_queue_free(controllers->queues[i]);
    }
    void *failure = NULL;
    for (size_t at = 0; map_each(controllers->failures, &at, NULL, &failure);) {
        mem_free(failure);
    }
    map_done(controllers->failures);
    arena_done(&controllers->arena);
    mem_free(controllers);
}

bool controllers_are_synced(const struct controllers *controllers)
{
    for (size_t i = 0; i < VIEW_COUNT; i++) {
        if (controllers->views[i] == NULL || !informer_is_synced(controllers->views[i])) {
            return false;
        }
    }
    return true;
}
