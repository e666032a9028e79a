// SPDX-License-Identifier: Apache-2.0
#include "lab/controllers/deployment_internal.h"

#include "kube/timestamp.h"

#define PROGRESS_DEADLINE_SECONDS 600

struct counts {
    int64_t wanted; // sum of spec.replicas
    int64_t replicas;
    int64_t updated;
    int64_t ready;
    int64_t available;
};

static struct counts count(const struct rollout *rollout)
{
    struct counts counts = {.updated = rollout_set_status(rollout->current, "replicas")};
    for (size_t i = 0; i < rollout->sets.count; i++) {
        const struct json_value *set = rollout->sets.items[i];
        counts.wanted += rollout_set_wanted(set);
        counts.replicas += rollout_set_status(set, "replicas");
        counts.ready += rollout_set_status(set, "readyReplicas");
        counts.available += rollout_set_status(set, "availableReplicas");
    }
    return counts;
}

static bool is_complete(const struct rollout *rollout, const struct counts *counts)
{
    return rollout->current != NULL && counts->updated == rollout->replicas &&
           counts->replicas == rollout->replicas && counts->available >= rollout->replicas;
}

// Did the numbers move towards completion since the last status?
static bool is_progressing(const struct rollout *rollout, const struct counts *counts)
{
    const struct json_value *old = rollout->deployment;
    int64_t old_others = rollout_set_status(old, "replicas") - rollout_set_status(old, "updatedReplicas");
    return counts->updated > rollout_set_status(old, "updatedReplicas") ||
           counts->replicas - counts->updated < old_others ||
           counts->ready > rollout_set_status(old, "readyReplicas") || counts->available > rollout_set_status(old, "availableReplicas");
}

// --- conditions ------------------------------------------------------------------------------------

static struct json_value *available_condition(struct arena *arena, const struct rollout *rollout,
                                              const struct counts *counts, struct str now)
{
    const struct json_value *old = condition_find(rollout->deployment, STR("Available"));
    bool is_available = counts->available >= rollout->replicas - rollout->unavailable;
    struct json_value *condition =
        is_available ? condition_new(arena, old, STR("Available"), true, STR("MinimumReplicasAvailable"),
                                     STR("Deployment has minimum availability."), now)
                     : condition_new(arena, old, STR("Available"), false, STR("MinimumReplicasUnavailable"),
                                     STR("Deployment does not have minimum availability."), now);
    struct str updated = json_get_str(old, "lastUpdateTime");
    bool is_same = str_equal(json_get_str(old, "status"), json_get_str(condition, "status"));
    json_set_str(arena, condition, "lastUpdateTime", is_same && !str_is_empty(updated) ? updated : now);
    return condition;
}

static struct json_value *progress_new(struct arena *arena, const struct rollout *rollout, bool status,
                                       struct str reason, const char *format, struct str now)
{
    const struct json_value *old = condition_find(rollout->deployment, STR("Progressing"));
    struct str name = rollout->current == NULL ? rollout->current_name : meta_name(rollout->current);
    struct str message = arena_format(arena, "ReplicaSet \"%.*s\" %s", STR_ARG(name), format);
    struct json_value *condition = condition_new(arena, old, STR("Progressing"), status, reason, message, now);
    json_set_str(arena, condition, "lastUpdateTime", now);
    return condition;
}

// Milliseconds until the deadline, or 0 when it has passed.
static uint64_t deadline_left(const struct plan *plan, const struct rollout *rollout, const struct json_value *old)
{
    int64_t seconds = json_get_int(json_get(rollout->deployment, "spec"), "progressDeadlineSeconds",
                                   PROGRESS_DEADLINE_SECONDS);
    uint64_t since_ms = plan->wall_ms;
    (void)timestamp_parse(json_get_str(old, "lastUpdateTime"), &since_ms);
    uint64_t end_ms = since_ms + (uint64_t)(seconds < 0 ? 0 : seconds) * 1000;
    return end_ms > plan->wall_ms ? end_ms - plan->wall_ms : 0;
}

static struct json_value *progressing_condition(struct plan *plan, const struct rollout *rollout,
                                                const struct counts *counts, struct str now)
{
    struct arena *arena = &plan->arena;
    const struct json_value *old = condition_find(rollout->deployment, STR("Progressing"));
    struct str reason = json_get_str(old, "reason");
    if (rollout->makes_current) {
        return progress_new(arena, rollout, true, STR("NewReplicaSetCreated"), "is being created.", now);
    }
    // Completed, and no pods of another template since: a new rollout or a rollback progresses again.
    bool was_complete = str_equal(reason, STR("NewReplicaSetAvailable")) && counts->replicas == counts->updated;
    if (is_complete(rollout, counts)) {
        return was_complete ? json_copy(arena, old)
                            : progress_new(arena, rollout, true, STR("NewReplicaSetAvailable"),
                                           "has successfully progressed.", now);
    }
    if (is_progressing(rollout, counts) && !was_complete) {
        return progress_new(arena, rollout, true, STR("ReplicaSetUpdated"), "is progressing.", now);
    }
    if (old == NULL) {
        return progress_new(arena, rollout, true, STR("FoundNewReplicaSet"), "was found.", now);
    }
    if (was_complete || str_equal(reason, STR("ProgressDeadlineExceeded"))) {
        return json_copy(arena, old);
    }
    uint64_t left_ms = deadline_left(plan, rollout, old);
    if (left_ms == 0) {
        return progress_new(arena, rollout, false, STR("ProgressDeadlineExceeded"), "has timed out progressing.", now);
    }
    plan_again(plan, left_ms);
    return json_copy(arena, old);
}

// ---------------------------------------------------------------------------------------------------

static void set_count(struct arena *arena, struct json_value *status, const char *name, int64_t number)
{
    if (number > 0) {
        json_set_int(arena, status, name, number);
    }
}

void rollout_plan_status(struct plan *plan, const struct rollout *rollout)
{
    struct arena *arena = &plan->arena;
    struct str now = timestamp_format(arena, plan->wall_ms);
    struct counts counts = count(rollout);
    struct json_value *status = json_new_object(arena);
    int64_t collisions = rollout_set_status(rollout->deployment, "collisionCount") + (rollout->has_collision ? 1 : 0);
    set_count(arena, status, "observedGeneration",
              json_get_int(json_get(rollout->deployment, "metadata"), "generation", 0));
    set_count(arena, status, "replicas", counts.replicas);
    set_count(arena, status, "updatedReplicas", counts.updated);
    set_count(arena, status, "readyReplicas", counts.ready);
    set_count(arena, status, "availableReplicas", counts.available);
    set_count(arena, status, "unavailableReplicas", counts.wanted - counts.available);
    set_count(arena, status, "collisionCount", collisions);
    struct json_value *conditions = json_ensure_array(arena, status, "conditions");
    json_push(arena, conditions, available_condition(arena, rollout, &counts, now));
    if (!json_get_bool(json_get(rollout->deployment, "spec"), "paused", false)) {
        json_push(arena, conditions, progressing_condition(plan, rollout, &counts, now));
    }
    plan_status(plan, &kube_deployments, rollout->deployment, status);
}
