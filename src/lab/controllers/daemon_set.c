// SPDX-License-Identifier: Apache-2.0
#include "lab/controllers/daemon_set.h"

#include "lab/controllers/deployment_internal.h"
#include "lab/controllers/scheduler.h"

#define HASH_LABEL "controller-revision-hash"

const struct kube_resource daemon_set_resource = {
    .group = {"apps", 4}, .version = {"v1", 2}, .plural = {"daemonsets", 10}, .kind = {"DaemonSet", 9}, .namespaced = true};

struct daemon {
    struct plan *plan;
    const struct json_value *set;
    struct json_value *pod; // as it is to be, without a node
    struct str hash;
    struct object_list own; // active pods
    int64_t desired;
    int64_t scheduled;
    int64_t misscheduled;
    int64_t ready;
    int64_t updated;
};

// --- the pod ---------------------------------------------------------------------------------------

// What every such pod tolerates, so that it stays where others must go.
static const struct {
    const char *key;
    const char *effect;
    bool is_for_host_network;
} tolerations[] = {
    {"node.kubernetes.io/not-ready", "NoExecute", false},
    {"node.kubernetes.io/unreachable", "NoExecute", false},
    {"node.kubernetes.io/disk-pressure", "NoSchedule", false},
    {"node.kubernetes.io/memory-pressure", "NoSchedule", false},
    {"node.kubernetes.io/pid-pressure", "NoSchedule", false},
    {"node.kubernetes.io/unschedulable", "NoSchedule", false},
    {"node.kubernetes.io/network-unavailable", "NoSchedule", true},
};

static void add_tolerations(struct arena *arena, struct json_value *spec)
{
    struct json_value *list = json_ensure_array(arena, spec, "tolerations");
    bool is_host = json_get_bool(spec, "hostNetwork", false);
    for (size_t i = 0; i < sizeof(tolerations) / sizeof(tolerations[0]); i++) {
        if (tolerations[i].is_for_host_network && !is_host) {
            continue;
        }
        struct json_value *toleration = json_new_object(arena);
        json_set_cstr(arena, toleration, "key", tolerations[i].key);
        json_set_cstr(arena, toleration, "operator", "Exists");
        json_set_cstr(arena, toleration, "effect", tolerations[i].effect);
        json_push(arena, list, toleration);
    }
}

static struct json_value *pod_new(struct arena *arena, const struct json_value *set, struct str hash)
{
    static const char *const copied[] = {"labels", "annotations"};
    const struct json_value *template = json_path(set, "spec", "template", NULL);
    struct json_value *pod = json_new_object(arena);
    json_set_cstr(arena, pod, "apiVersion", "v1");
    json_set_cstr(arena, pod, "kind", "Pod");
    struct json_value *metadata = json_ensure_object(arena, pod, "metadata");
    json_set_str(arena, metadata, "generateName", arena_format(arena, "%.*s-", STR_ARG(meta_name(set))));
    json_set_str(arena, metadata, "namespace", meta_ns(set));
    for (size_t i = 0; i < 2; i++) {
        const struct json_value *map = json_path(template, "metadata", copied[i], NULL);
        if (json_is(map, JSON_OBJECT)) {
            json_set(arena, metadata, str_of(copied[i]), json_copy(arena, map));
        }
    }
    json_set_str(arena, json_ensure_object(arena, metadata, "labels"), HASH_LABEL, hash);
    meta_set_controller(arena, metadata, &daemon_set_resource, set);
    const struct json_value *spec = json_get(template, "spec");
    struct json_value *own = spec == NULL ? json_new_object(arena) : json_copy(arena, spec);
    add_tolerations(arena, own);
    json_set(arena, pod, STR("spec"), own);
    return pod;
}

static struct str node_of(const struct json_value *pod)
{
    return json_str(json_path(pod, "spec", "nodeName", NULL));
}

static bool is_updated(const struct daemon *daemon, const struct json_value *pod)
{
    return str_equal(kube_label(pod, STR(HASH_LABEL)), daemon->hash);
}

// --- nodes -----------------------------------------------------------------------------------------

static void plan_pod(struct daemon *daemon, struct str node)
{
    struct arena *arena = &daemon->plan->arena;
    struct json_value *pod = json_copy(arena, daemon->pod);
    json_set_str(arena, json_ensure_object(arena, pod, "spec"), "nodeName", node);
    plan_create(daemon->plan, &kube_pods, meta_ns(daemon->set), pod);
}

// One node: a pod is made where there is none, all but one are deleted, all where there should be none.
static void look_at_node(struct daemon *daemon, const struct json_value *node)
{
    bool is_wanted = scheduler_fits(daemon->pod, node) && !meta_is_deleting(node);
    size_t found = 0;
    daemon->desired += is_wanted ? 1 : 0;
    for (size_t i = 0; i < daemon->own.count; i++) {
        const struct json_value *pod = daemon->own.items[i];
        if (!str_equal(node_of(pod), meta_name(node))) {
            continue;
        }
        found++;
        if (is_wanted && found == 1) {
            daemon->scheduled++;
            daemon->ready += pod_is_ready(pod) ? 1 : 0;
            daemon->updated += is_updated(daemon, pod) ? 1 : 0;
        } else {
            daemon->misscheduled += is_wanted ? 0 : 1;
            plan_delete(daemon->plan, &kube_pods, pod);
        }
    }
    if (is_wanted && found == 0 && !meta_is_deleting(daemon->set)) {
        plan_pod(daemon, meta_name(node));
    }
}

// The next pod of an old template goes when all others are ready.
static void plan_update(struct daemon *daemon)
{
    struct str strategy = json_str(json_path(daemon->set, "spec", "updateStrategy", "type", NULL));
    bool all_ready = daemon->ready == daemon->desired;
    if (str_equal(strategy, STR("OnDelete")) || meta_is_deleting(daemon->set) || daemon->plan->steps.count > 0) {
        return;
    }
    for (size_t i = 0; i < daemon->own.count; i++) {
        const struct json_value *pod = daemon->own.items[i];
        if (!is_updated(daemon, pod) && (all_ready || !pod_is_ready(pod))) {
            plan_delete(daemon->plan, &kube_pods, pod);
            return;
        }
    }
}

// --- status ----------------------------------------------------------------------------------------

static void plan_set_status(struct daemon *daemon)
{
    struct arena *arena = &daemon->plan->arena;
    struct json_value *status = json_new_object(arena);
    json_set_int(arena, status, "currentNumberScheduled", daemon->scheduled);
    json_set_int(arena, status, "desiredNumberScheduled", daemon->desired);
    json_set_int(arena, status, "numberMisscheduled", daemon->misscheduled);
    json_set_int(arena, status, "numberReady", daemon->ready);
    json_set_int(arena, status, "observedGeneration", json_get_int(json_get(daemon->set, "metadata"), "generation", 0));
    const struct {
        const char *name;
        int64_t count;
    } when_any[] = {
        {"numberAvailable", daemon->ready},
        {"numberUnavailable", daemon->desired - daemon->ready},
        {"updatedNumberScheduled", daemon->updated},
    };
    for (size_t i = 0; i < sizeof(when_any) / sizeof(when_any[0]); i++) {
        if (when_any[i].count > 0) {
            json_set_int(arena, status, when_any[i].name, when_any[i].count);
        }
    }
    plan_status(daemon->plan, &daemon_set_resource, daemon->set, status);
}

void daemon_set_plan(struct plan *plan, const struct json_value *set, const struct object_list *pods,
                     const struct object_list *nodes)
{
    struct daemon daemon = {.plan = plan, .set = set};
    if (set == NULL) {
        return;
    }
    const struct json_value *template = json_path(set, "spec", "template", NULL);
    daemon.hash = template == NULL ? STR_EMPTY : template_hash(&plan->arena, template, 0);
    daemon.pod = pod_new(&plan->arena, set, daemon.hash);
    for (size_t i = 0; i < pods->count; i++) {
        if (str_equal(meta_controller_uid(pods->items[i]), meta_uid(set)) && pod_is_active(pods->items[i])) {
            vec_push(&daemon.own, pods->items[i]);
        }
    }
    for (size_t i = 0; i < nodes->count; i++) {
        look_at_node(&daemon, nodes->items[i]);
    }
    plan_update(&daemon);
    plan_set_status(&daemon);
    vec_done(&daemon.own);
}
