// SPDX-License-Identifier: Apache-2.0
//
// Every plan starts from what is there: which set has today's template, what the others still run. It
// takes one step that keeps the bounds (at most replicas + surge pods, at least replicas - unavailable
// available ones); the change it causes brings the next plan.
#include "lab/controllers/deployment_internal.h"

#include <stdlib.h>

#include "base/memory.h"

#define REVISION "deployment.kubernetes.io/revision"
#define DESIRED_REPLICAS "deployment.kubernetes.io/desired-replicas"
#define MAX_REPLICAS "deployment.kubernetes.io/max-replicas"
#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"
#define HASH_LABEL "pod-template-hash"
#define HISTORY_LIMIT 10

int64_t rollout_set_wanted(const struct json_value *set)
{
    return json_get_int(json_get(set, "spec"), "replicas", 0);
}

int64_t rollout_set_status(const struct json_value *set, const char *counter)
{
    return json_get_int(json_get(set, "status"), counter, 0);
}

// --- what there is ---------------------------------------------------------------------------------

static int compare_age(const void *left, const void *right)
{
    const struct json_value *a = *(const struct json_value *const *)left;
    const struct json_value *b = *(const struct json_value *const *)right;
    int by_time = str_compare(json_str(json_path(a, "metadata", "creationTimestamp", NULL)),
                              json_str(json_path(b, "metadata", "creationTimestamp", NULL)));
    return by_time != 0 ? by_time : str_compare(meta_name(a), meta_name(b));
}

// "25%" or a number.
static int64_t resolve(const struct json_value *value, int64_t total, bool round_up)
{
    int64_t number = 0;
    struct str text = value == NULL ? STR("25%") : json_str(value);
    if (json_int(value, &number)) {
        return number < 0 ? 0 : number;
    }
    uint64_t percent = 0;
    if (!str_ends_with(text, STR("%")) || !str_to_u64(str_sub(text, 0, text.size - 1), &percent) || percent > 10000) {
        return 0;
    }
    int64_t scaled = (int64_t)percent * total;
    return round_up ? (scaled + 99) / 100 : scaled / 100;
}

static bool is_recreate(const struct json_value *deployment)
{
    return str_equal(json_str(json_path(deployment, "spec", "strategy", "type", NULL)), STR("Recreate"));
}

static void resolve_bounds(struct rollout *rollout)
{
    const struct json_value *rolling = json_path(rollout->deployment, "spec", "strategy", "rollingUpdate", NULL);
    rollout->replicas = json_get_int(json_get(rollout->deployment, "spec"), "replicas", 1);
    if (is_recreate(rollout->deployment)) {
        rollout->unavailable = rollout->replicas;
        return;
    }
    rollout->surge = resolve(json_get(rolling, "maxSurge"), rollout->replicas, true);
    rollout->unavailable = resolve(json_get(rolling, "maxUnavailable"), rollout->replicas, false);
    if (rollout->surge == 0 && rollout->unavailable == 0) {
        rollout->unavailable = 1; // else nothing could ever move
    }
}

static bool has_template(struct arena *arena, const struct json_value *set, const struct json_value *template)
{
    const struct json_value *own = json_path(set, "spec", "template", NULL);
    if (own == NULL) {
        return false;
    }
    struct json_value *copy = json_copy(arena, own);
    (void)json_remove(json_path(copy, "metadata", "labels", NULL), STR(HASH_LABEL));
    return json_equal(copy, template);
}

static void survey(struct plan *plan, const struct object_list *sets, struct rollout *rollout)
{
    struct arena *arena = &plan->arena;
    const struct json_value *template = json_path(rollout->deployment, "spec", "template", NULL);
    struct str uid = meta_uid(rollout->deployment);
    struct str hash = template_hash(arena, template, rollout_set_status(rollout->deployment, "collisionCount"));
    rollout->current_name = arena_format(arena, "%.*s-%.*s", STR_ARG(meta_name(rollout->deployment)), STR_ARG(hash));
    for (size_t i = 0; i < sets->count; i++) {
        if (str_equal(meta_controller_uid(sets->items[i]), uid) && !meta_is_deleting(sets->items[i])) {
            vec_push(&rollout->sets, sets->items[i]);
        }
    }
    if (rollout->sets.count > 0) {
        qsort(rollout->sets.items, rollout->sets.count, sizeof(*rollout->sets.items), compare_age);
    }
    for (size_t i = 0; i < rollout->sets.count; i++) {
        const struct json_value *set = rollout->sets.items[i];
        if (rollout->current == NULL && has_template(arena, set, template)) {
            rollout->current = set;
        } else {
            vec_push(&rollout->old, set);
            rollout->has_collision = rollout->has_collision || str_equal(meta_name(set), rollout->current_name);
        }
    }
    rollout->has_collision = rollout->has_collision && rollout->current == NULL;
}

static int64_t sum_wanted(const struct object_list *sets)
{
    int64_t sum = 0;
    for (size_t i = 0; i < sets->count; i++) {
        sum += rollout_set_wanted(sets->items[i]);
    }
    return sum;
}

static int64_t sum_status(const struct object_list *sets, const char *counter)
{
    int64_t sum = 0;
    for (size_t i = 0; i < sets->count; i++) {
        sum += rollout_set_status(sets->items[i], counter);
    }
    return sum;
}

// --- revisions -------------------------------------------------------------------------------------

static uint64_t revision_of(const struct json_value *object)
{
    uint64_t revision = 0;
    return str_to_u64(kube_annotation(object, STR(REVISION)), &revision) ? revision : 0;
}

static uint64_t next_revision(const struct rollout *rollout)
{
    uint64_t highest = 0;
    for (size_t i = 0; i < rollout->old.count; i++) {
        uint64_t revision = revision_of(rollout->old.items[i]);
        highest = revision > highest ? revision : highest;
    }
    return highest + 1;
}

static void set_number(struct arena *arena, struct json_value *map, const char *name, uint64_t number)
{
    json_set_str(arena, map, name, arena_format(arena, "%llu", (unsigned long long)number));
}

static void set_scale_annotations(struct arena *arena, struct json_value *map, const struct rollout *rollout)
{
    set_number(arena, map, DESIRED_REPLICAS, (uint64_t)rollout->replicas);
    set_number(arena, map, MAX_REPLICAS, (uint64_t)(rollout->replicas + rollout->surge));
}

static void plan_revision(struct plan *plan, const struct json_value *object, const struct kube_resource *resource,
                          uint64_t revision)
{
    if (revision_of(object) == revision) {
        return;
    }
    struct json_value *patch = json_new_object(&plan->arena);
    struct json_value *metadata = json_ensure_object(&plan->arena, patch, "metadata");
    set_number(&plan->arena, json_ensure_object(&plan->arena, metadata, "annotations"), REVISION, revision);
    plan_merge(plan, resource, object, NULL, patch);
}

// --- the current set -------------------------------------------------------------------------------

static struct json_value *set_annotations(struct arena *arena, const struct rollout *rollout)
{
    const struct json_value *own = json_path(rollout->deployment, "metadata", "annotations", NULL);
    struct json_value *annotations = json_is(own, JSON_OBJECT) ? json_copy(arena, own) : json_new_object(arena);
    (void)json_remove(annotations, STR(LAST_APPLIED));
    set_number(arena, annotations, REVISION, next_revision(rollout));
    set_scale_annotations(arena, annotations, rollout);
    return annotations;
}

static struct json_value *set_new(struct arena *arena, const struct rollout *rollout, int64_t replicas)
{
    const struct json_value *spec = json_get(rollout->deployment, "spec");
    struct str name = rollout->current_name;
    struct str hash = str_from(name, meta_name(rollout->deployment).size + 1);
    struct json_value *set = json_new_object(arena);
    json_set_cstr(arena, set, "apiVersion", "apps/v1");
    json_set_cstr(arena, set, "kind", "ReplicaSet");
    struct json_value *metadata = json_ensure_object(arena, set, "metadata");
    json_set_str(arena, metadata, "name", name);
    json_set_str(arena, metadata, "namespace", meta_ns(rollout->deployment));
    json_set(arena, metadata, STR("annotations"), set_annotations(arena, rollout));
    meta_set_controller(arena, metadata, &kube_deployments, rollout->deployment);
    struct json_value *own = json_ensure_object(arena, set, "spec");
    json_set_int(arena, own, "replicas", replicas);
    const struct json_value *min_ready = json_get(spec, "minReadySeconds");
    if (min_ready != NULL) {
        json_set(arena, own, STR("minReadySeconds"), json_copy(arena, min_ready));
    }
    const struct json_value *selector = json_get(spec, "selector");
    struct json_value *copy = json_is(selector, JSON_OBJECT) ? json_copy(arena, selector) : json_new_object(arena);
    json_set_str(arena, json_ensure_object(arena, copy, "matchLabels"), HASH_LABEL, hash);
    json_set(arena, own, STR("selector"), copy);
    struct json_value *template = json_copy(arena, json_get(spec, "template"));
    struct json_value *labels =
        json_ensure_object(arena, json_ensure_object(arena, template, "metadata"), "labels");
    json_set_str(arena, labels, HASH_LABEL, hash);
    json_set(arena, own, STR("template"), template);
    json_set(arena, metadata, STR("labels"), json_copy(arena, labels));
    return set;
}

// How many the current set may have now.
static int64_t current_target(const struct rollout *rollout)
{
    int64_t have = rollout->current == NULL ? 0 : rollout_set_wanted(rollout->current);
    if (have >= rollout->replicas) {
        return rollout->replicas;
    }
    if (is_recreate(rollout->deployment)) {
        bool is_old_gone = sum_wanted(&rollout->old) == 0 && sum_status(&rollout->old, "replicas") == 0;
        return is_old_gone ? rollout->replicas : have;
    }
    int64_t room = rollout->replicas + rollout->surge - sum_wanted(&rollout->sets);
    int64_t missing = rollout->replicas - have;
    return room <= 0 ? have : have + (room < missing ? room : missing);
}

static void plan_scale(struct plan *plan, const struct rollout *rollout, const struct json_value *set, int64_t replicas)
{
    struct arena *arena = &plan->arena;
    if (rollout_set_wanted(set) == replicas) {
        return;
    }
    struct json_value *patch = json_new_object(arena);
    json_set_int(arena, json_ensure_object(arena, patch, "spec"), "replicas", replicas);
    struct json_value *metadata = json_ensure_object(arena, patch, "metadata");
    set_scale_annotations(arena, json_ensure_object(arena, metadata, "annotations"), rollout);
    plan_merge(plan, &kube_replicasets, set, NULL, patch);
}

// --- the old ones ----------------------------------------------------------------------------------

// First pods that do not work anyway, then available ones down to the least that must stay.
static void plan_old_down(struct plan *plan, const struct rollout *rollout)
{
    int64_t least = rollout->replicas - rollout->unavailable;
    int64_t current_unavailable =
        rollout->current == NULL ? 0 : rollout_set_wanted(rollout->current) - rollout_set_status(rollout->current, "availableReplicas");
    current_unavailable = current_unavailable < 0 ? 0 : current_unavailable;
    int64_t may_go = sum_wanted(&rollout->sets) - least - current_unavailable;
    int64_t available_may_go = sum_status(&rollout->sets, "availableReplicas") - least;
    for (size_t i = 0; i < rollout->old.count && may_go > 0; i++) {
        const struct json_value *set = rollout->old.items[i];
        int64_t have = rollout_set_wanted(set);
        int64_t broken = have - rollout_set_status(set, "availableReplicas");
        broken = broken < 0 ? 0 : broken > may_go ? may_go : broken;
        int64_t working = have - broken;
        int64_t limit = may_go - broken < available_may_go ? may_go - broken : available_may_go;
        working = limit < 0 ? 0 : working > limit ? limit : working;
        plan_scale(plan, rollout, set, have - broken - working);
        may_go -= broken + working;
        available_may_go -= working;
    }
}

static void plan_old_gone(struct plan *plan, const struct rollout *rollout)
{
    for (size_t i = 0; i < rollout->old.count; i++) {
        plan_scale(plan, rollout, rollout->old.items[i], 0);
    }
}

// Emptied sets beyond the history limit, the lowest revisions first (they are in order of age).
static void plan_history(struct plan *plan, const struct rollout *rollout)
{
    int64_t limit = json_get_int(json_get(rollout->deployment, "spec"), "revisionHistoryLimit", HISTORY_LIMIT);
    int64_t excess = (int64_t)rollout->old.count - limit;
    for (size_t i = 0; i < rollout->old.count && excess > 0; i++) {
        const struct json_value *set = rollout->old.items[i];
        bool is_settled = rollout_set_status(set, "observedGeneration") >= json_get_int(json_get(set, "metadata"), "generation", 0);
        if (rollout_set_wanted(set) == 0 && rollout_set_status(set, "replicas") == 0 && is_settled) {
            plan_delete(plan, &kube_replicasets, set);
            excess--;
        }
    }
}

// ---------------------------------------------------------------------------------------------------

static void plan_current(struct plan *plan, struct rollout *rollout)
{
    int64_t target = current_target(rollout);
    if (rollout->current == NULL) {
        if (!rollout->has_collision) {
            rollout->makes_current = true;
            plan_create(plan, &kube_replicasets, meta_ns(rollout->deployment),
                        set_new(&plan->arena, rollout, target));
        }
        return;
    }
    plan_scale(plan, rollout, rollout->current, target);
    uint64_t revision = next_revision(rollout);
    // A rollback makes an old template the newest again.
    if (revision_of(rollout->current) < revision) {
        plan_revision(plan, rollout->current, &kube_replicasets, revision);
    }
    uint64_t shown = revision_of(rollout->current) < revision ? revision : revision_of(rollout->current);
    plan_revision(plan, rollout->deployment, &kube_deployments, shown);
}

void deployment_plan(struct plan *plan, const struct json_value *deployment, const struct object_list *sets)
{
    if (deployment == NULL || meta_is_deleting(deployment) ||
        json_path(deployment, "spec", "template", NULL) == NULL) {
        return;
    }
    struct rollout rollout = {.deployment = deployment};
    resolve_bounds(&rollout);
    survey(plan, sets, &rollout);
    bool is_paused = json_get_bool(json_get(deployment, "spec"), "paused", false);
    if (!is_paused || rollout.current != NULL) {
        plan_current(plan, &rollout);
    }
    if (!is_paused && is_recreate(deployment)) {
        plan_old_gone(plan, &rollout);
    } else if (!is_paused && rollout.current != NULL) {
        plan_old_down(plan, &rollout);
    }
    plan_history(plan, &rollout);
    rollout_plan_status(plan, &rollout);
    vec_done(&rollout.sets);
    vec_done(&rollout.old);
}
