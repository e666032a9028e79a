// SPDX-License-Identifier: Apache-2.0
#include "lab/controllers/scheduler.h"

#include "base/memory.h"
#include "kube/timestamp.h"

// Why a node is not taken, in the words of kube-scheduler.
enum refusal {
    REFUSAL_NONE = 0,
    REFUSAL_NOT_READY,
    REFUSAL_UNSCHEDULABLE,
    REFUSAL_SELECTOR,
    REFUSAL_TAINT,
    REFUSAL_COUNT,
};

static const char *const refusal_texts[REFUSAL_COUNT] = {
    [REFUSAL_NOT_READY] = "node(s) were not ready",
    [REFUSAL_UNSCHEDULABLE] = "node(s) were unschedulable",
    [REFUSAL_SELECTOR] = "node(s) didn't match Pod's node affinity/selector",
    [REFUSAL_TAINT] = "node(s) had untolerated taint",
};

bool scheduler_wants(const struct json_value *pod)
{
    const struct json_value *spec = json_get(pod, "spec");
    struct str scheduler = json_get_str(spec, "schedulerName");
    return pod_is_active(pod) && str_is_empty(json_get_str(spec, "nodeName")) &&
           (str_is_empty(scheduler) || str_equal(scheduler, STR("default-scheduler"))) &&
           json_count(json_get(spec, "schedulingGates")) == 0;
}

static bool tolerates(const struct json_value *toleration, const struct json_value *taint)
{
    struct str effect = json_get_str(toleration, "effect");
    struct str key = json_get_str(toleration, "key");
    bool is_exists = str_equal(json_get_str(toleration, "operator"), STR("Exists"));
    if (!str_is_empty(effect) && !str_equal(effect, json_get_str(taint, "effect"))) {
        return false;
    }
    if (str_is_empty(key)) {
        return is_exists; // everything
    }
    return str_equal(key, json_get_str(taint, "key")) &&
           (is_exists || str_equal(json_get_str(toleration, "value"), json_get_str(taint, "value")));
}

static bool has_untolerated_taint(const struct json_value *pod, const struct json_value *node)
{
    const struct json_value *taints = json_path(node, "spec", "taints", NULL);
    const struct json_value *tolerations = json_path(pod, "spec", "tolerations", NULL);
    for (size_t i = 0; i < json_count(taints); i++) {
        const struct json_value *taint = json_at(taints, i);
        bool is_tolerated = str_equal(json_get_str(taint, "effect"), STR("PreferNoSchedule"));
        for (size_t k = 0; k < json_count(tolerations) && !is_tolerated; k++) {
            is_tolerated = tolerates(json_at(tolerations, k), taint);
        }
        if (!is_tolerated) {
            return true;
        }
    }
    return false;
}

static bool has_labels(const struct json_value *pod, const struct json_value *node)
{
    const struct json_value *selector = json_path(pod, "spec", "nodeSelector", NULL);
    return json_count(selector) == 0 || kube_map_selector_matches(selector, json_path(node, "metadata", "labels", NULL));
}

bool scheduler_fits(const struct json_value *pod, const struct json_value *node)
{
    return has_labels(pod, node) && !has_untolerated_taint(pod, node);
}

static enum refusal refuse(const struct json_value *pod, const struct json_value *node)
{
    if (meta_is_deleting(node) || !condition_is_true(node, STR("Ready"))) {
        return REFUSAL_NOT_READY;
    }
    if (json_get_bool(json_get(node, "spec"), "unschedulable", false)) {
        return REFUSAL_UNSCHEDULABLE;
    }
    if (!has_labels(pod, node)) {
        return REFUSAL_SELECTOR;
    }
    return has_untolerated_taint(pod, node) ? REFUSAL_TAINT : REFUSAL_NONE;
}

static size_t count_pods(const struct object_list *pods, struct str node)
{
    size_t count = 0;
    for (size_t i = 0; i < pods->count; i++) {
        count += str_equal(json_str(json_path(pods->items[i], "spec", "nodeName", NULL)), node) ? 1 : 0;
    }
    return count;
}

static const struct json_value *choose(const struct json_value *pod, const struct object_list *nodes,
                                       const struct object_list *pods, size_t refusals[static REFUSAL_COUNT])
{
    const struct json_value *best = NULL;
    size_t best_count = 0;
    for (size_t i = 0; i < nodes->count; i++) {
        enum refusal refusal = refuse(pod, nodes->items[i]);
        refusals[refusal]++;
        if (refusal != REFUSAL_NONE) {
            continue;
        }
        size_t count = count_pods(pods, meta_name(nodes->items[i]));
        if (best == NULL || count < best_count) {
            best = nodes->items[i];
            best_count = count;
        }
    }
    return best;
}

static struct str refusal_message(struct arena *arena, size_t node_count, const size_t refusals[static REFUSAL_COUNT])
{
    struct buf text = {0};
    buf_printf(&text, "0/%zu nodes are available", node_count);
    const char *separator = ": ";
    for (size_t i = 1; i < REFUSAL_COUNT; i++) {
        if (refusals[i] > 0) {
            buf_printf(&text, "%s%zu %s", separator, refusals[i], refusal_texts[i]);
            separator = ", ";
        }
    }
    buf_append_char(&text, '.');
    struct str message = arena_str(arena, buf_view(&text));
    buf_done(&text);
    return message;
}

// status.conditions with PodScheduled false, when it is not so already.
static void plan_unschedulable(struct plan *plan, const struct json_value *pod, struct str message)
{
    struct arena *arena = &plan->arena;
    const struct json_value *old = condition_find(pod, STR("PodScheduled"));
    if (str_equal(json_get_str(old, "message"), message) && str_equal(json_get_str(old, "status"), STR("False"))) {
        return;
    }
    struct json_value *conditions = json_new_array(arena);
    const struct json_value *all = json_path(pod, "status", "conditions", NULL);
    for (size_t i = 0; i < json_count(all); i++) {
        if (json_at(all, i) != old) {
            json_push(arena, conditions, json_copy(arena, json_at(all, i)));
        }
    }
    json_push(arena, conditions,
              condition_new(arena, old, STR("PodScheduled"), false, STR("Unschedulable"), message,
                            timestamp_format(arena, plan->wall_ms)));
    struct json_value *patch = json_new_object(arena);
    json_set(arena, json_ensure_object(arena, patch, "status"), STR("conditions"), conditions);
    plan_merge(plan, &kube_pods, pod, "status", patch);
}

void scheduler_plan(struct plan *plan, const struct json_value *pod, const struct object_list *nodes,
                    const struct object_list *pods)
{
    struct arena *arena = &plan->arena;
    size_t refusals[REFUSAL_COUNT] = {0};
    if (pod == NULL || !scheduler_wants(pod)) {
        return;
    }
    const struct json_value *node = choose(pod, nodes, pods, refusals);
    if (node == NULL) {
        plan_unschedulable(plan, pod, refusal_message(arena, nodes->count, refusals));
        return;
    }
    struct json_value *binding = json_new_object(arena);
    json_set_cstr(arena, binding, "apiVersion", "v1");
    json_set_cstr(arena, binding, "kind", "Binding");
    struct json_value *metadata = json_ensure_object(arena, binding, "metadata");
    json_set_str(arena, metadata, "name", meta_name(pod));
    json_set_str(arena, metadata, "namespace", meta_ns(pod));
    struct json_value *target = json_ensure_object(arena, binding, "target");
    json_set_cstr(arena, target, "apiVersion", "v1");
    json_set_cstr(arena, target, "kind", "Node");
    json_set_str(arena, target, "name", meta_name(node));
    plan_bind(plan, meta_ns(pod), meta_name(pod), binding);
}
