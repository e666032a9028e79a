// SPDX-License-Identifier: Apache-2.0
#include "lab/controllers/replica_set.h"

#include <stdlib.h>

#include "kube/timestamp.h"

// --- whose pods ------------------------------------------------------------------------------------

static bool can_adopt(const struct json_value *set, const struct json_value *pod)
{
    const struct json_value *selector = json_path(set, "spec", "selector", NULL);
    bool selects = json_count(json_get(selector, "matchLabels")) + json_count(json_get(selector, "matchExpressions")) > 0;
    return selects && meta_controller(pod) == NULL && pod_is_active(pod) && !meta_is_deleting(set) &&
           kube_selector_matches(selector, json_path(pod, "metadata", "labels", NULL));
}

static void plan_adoption(struct plan *plan, const struct json_value *set, const struct json_value *pod)
{
    struct arena *arena = &plan->arena;
    struct json_value *patch = json_new_object(arena);
    meta_set_controller(arena, json_ensure_object(arena, patch, "metadata"), &kube_replicasets, set);
    plan_merge(plan, &kube_pods, pod, NULL, patch);
}

// Active pods of the set; orphans that fit are adopted and counted.
static void gather_pods(struct plan *plan, const struct json_value *set, const struct object_list *pods,
                        struct object_list *own)
{
    struct str uid = meta_uid(set);
    for (size_t i = 0; i < pods->count; i++) {
        const struct json_value *pod = pods->items[i];
        if (str_equal(meta_controller_uid(pod), uid)) {
            if (pod_is_active(pod)) {
                vec_push(own, pod);
            }
        } else if (can_adopt(set, pod)) {
            plan_adoption(plan, set, pod);
            vec_push(own, pod);
        }
    }
}

// --- more ------------------------------------------------------------------------------------------

static struct json_value *pod_new(struct arena *arena, const struct json_value *set)
{
    const struct json_value *template = json_path(set, "spec", "template", NULL);
    static const char *const copied[] = {"labels", "annotations"};
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
    meta_set_controller(arena, metadata, &kube_replicasets, set);
    const struct json_value *spec = json_get(template, "spec");
    json_set(arena, pod, STR("spec"), spec == NULL ? json_new_object(arena) : json_copy(arena, spec));
    return pod;
}

static void plan_more(struct plan *plan, const struct json_value *set, size_t count)
{
    for (size_t i = 0; i < count && i < REPLICA_SET_BURST_MAX; i++) {
        plan_create(plan, &kube_pods, meta_ns(set), pod_new(&plan->arena, set));
    }
}

// --- fewer -----------------------------------------------------------------------------------------

// Which of two goes first: without a node, pending, not ready, ready for less long, younger.
static int compare_worth(const void *left, const void *right)
{
    const struct json_value *a = *(const struct json_value *const *)left;
    const struct json_value *b = *(const struct json_value *const *)right;
    bool bound_a = !str_is_empty(json_str(json_path(a, "spec", "nodeName", NULL)));
    bool bound_b = !str_is_empty(json_str(json_path(b, "spec", "nodeName", NULL)));
    bool runs_a = str_equal(json_str(json_path(a, "status", "phase", NULL)), STR("Running"));
    bool runs_b = str_equal(json_str(json_path(b, "status", "phase", NULL)), STR("Running"));
    if (bound_a != bound_b) {
        return bound_a ? 1 : -1;
    }
    if (runs_a != runs_b) {
        return runs_a ? 1 : -1;
    }
    if (pod_is_ready(a) != pod_is_ready(b)) {
        return pod_is_ready(a) ? 1 : -1;
    }
    // RFC 3339 in UTC sorts as text; the later one goes first.
    struct str since_a = json_get_str(condition_find(a, STR("Ready")), "lastTransitionTime");
    struct str since_b = json_get_str(condition_find(b, STR("Ready")), "lastTransitionTime");
    int by_ready = str_compare(since_b, since_a);
    int by_age = str_compare(json_str(json_path(b, "metadata", "creationTimestamp", NULL)),
                             json_str(json_path(a, "metadata", "creationTimestamp", NULL)));
    return by_ready != 0 ? by_ready : by_age != 0 ? by_age : str_compare(meta_name(b), meta_name(a));
}

static void plan_fewer(struct plan *plan, struct object_list *own, size_t count)
{
    qsort(own->items, own->count, sizeof(*own->items), compare_worth);
    for (size_t i = 0; i < count && i < REPLICA_SET_BURST_MAX; i++) {
        plan_delete(plan, &kube_pods, own->items[i]);
    }
}

// --- status ----------------------------------------------------------------------------------------

// Ready for at least minReadySeconds; asks to be looked at again when that is yet to come.
static bool is_available(struct plan *plan, const struct json_value *pod, int64_t min_ready_seconds)
{
    uint64_t since_ms = 0;
    struct str since = json_get_str(condition_find(pod, STR("Ready")), "lastTransitionTime");
    if (!pod_is_ready(pod)) {
        return false;
    }
    if (min_ready_seconds <= 0 || !timestamp_parse(since, &since_ms)) {
        return true;
    }
    uint64_t at_ms = since_ms + (uint64_t)min_ready_seconds * 1000;
    if (at_ms > plan->wall_ms) {
        plan_again(plan, at_ms - plan->wall_ms);
        return false;
    }
    return true;
}

static void set_count(struct arena *arena, struct json_value *status, const char *name, int64_t count)
{
    if (count > 0) {
        json_set_int(arena, status, name, count);
    }
}

static void plan_set_status(struct plan *plan, const struct json_value *set, const struct object_list *own,
                            struct str failure)
{
    struct arena *arena = &plan->arena;
    const struct json_value *spec = json_get(set, "spec");
    const struct json_value *labels = json_path(spec, "template", "metadata", "labels", NULL);
    int64_t min_ready_seconds = json_get_int(spec, "minReadySeconds", 0);
    int64_t labelled = 0;
    int64_t ready = 0;
    int64_t available = 0;
    for (size_t i = 0; i < own->count; i++) {
        const struct json_value *pod = own->items[i];
        labelled += kube_map_selector_matches(labels, json_path(pod, "metadata", "labels", NULL)) ? 1 : 0;
        ready += pod_is_ready(pod) ? 1 : 0;
        available += is_available(plan, pod, min_ready_seconds) ? 1 : 0;
    }
    struct json_value *status = json_new_object(arena);
    json_set_int(arena, status, "replicas", (int64_t)own->count);
    set_count(arena, status, "fullyLabeledReplicas", labelled);
    set_count(arena, status, "readyReplicas", ready);
    set_count(arena, status, "availableReplicas", available);
    set_count(arena, status, "observedGeneration", json_get_int(json_get(set, "metadata"), "generation", 0));
    if (!str_is_empty(failure)) {
        struct json_value *condition =
            condition_new(arena, condition_find(set, STR("ReplicaFailure")), STR("ReplicaFailure"), true,
                          STR("FailedCreate"), failure, timestamp_format(arena, plan->wall_ms));
        json_push(arena, json_ensure_array(arena, status, "conditions"), condition);
    }
    plan_status(plan, &kube_replicasets, set, status);
}

void replica_set_plan(struct plan *plan, const struct json_value *set, const struct object_list *pods,
                      struct str failure)
{
    if (set == NULL) {
        return;
    }
    struct object_list own = {0};
    gather_pods(plan, set, pods, &own);
    int64_t replicas = json_get_int(json_get(set, "spec"), "replicas", 1);
    size_t wanted = replicas < 0 ? 0 : (size_t)replicas;
    plan_set_status(plan, set, &own, failure);
    if (!meta_is_deleting(set)) {
        if (own.count < wanted) {
            plan_more(plan, set, wanted - own.count);
        } else if (own.count > wanted) {
            plan_fewer(plan, &own, own.count - wanted);
        }
    }
    vec_done(&own);
}
