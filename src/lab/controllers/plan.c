// SPDX-License-Identifier: Apache-2.0
#include "lab/controllers/plan.h"

void plan_done(struct plan *plan)
{
    vec_done(&plan->steps);
    arena_done(&plan->arena);
}

void plan_again(struct plan *plan, uint64_t delay_ms)
{
    delay_ms = delay_ms == 0 ? 1 : delay_ms;
    if (plan->again_ms == 0 || delay_ms < plan->again_ms) {
        plan->again_ms = delay_ms;
    }
}

static void add(struct plan *plan, const struct plan_step *step)
{
    if (plan->steps.count == PLAN_STEPS_MAX) {
        plan_again(plan, 1);
        return;
    }
    vec_push(&plan->steps, *step);
}

static struct str metadata_str(struct plan *plan, const struct json_value *object, const char *name)
{
    struct str text = json_str(json_path(object, "metadata", name, NULL));
    return text.data == NULL ? STR_EMPTY : arena_str(&plan->arena, text);
}

void plan_create(struct plan *plan, const struct kube_resource *resource, struct str ns, struct json_value *object)
{
    struct plan_step step = {.verb = PLAN_CREATE, .resource = resource, .body = object};
    step.ns = arena_str(&plan->arena, ns);
    step.name = metadata_str(plan, object, "name");
    add(plan, &step);
}

void plan_bind(struct plan *plan, struct str ns, struct str pod, struct json_value *binding)
{
    struct plan_step step = {.verb = PLAN_CREATE, .resource = &kube_pods, .body = binding, .subresource = STR("binding")};
    step.ns = arena_str(&plan->arena, ns);
    step.name = arena_str(&plan->arena, pod);
    add(plan, &step);
}

void plan_merge(struct plan *plan, const struct kube_resource *resource, const struct json_value *object,
                const char *subresource, struct json_value *patch)
{
    add(plan, &(struct plan_step){.verb = PLAN_MERGE,
                                  .resource = resource,
                                  .ns = metadata_str(plan, object, "namespace"),
                                  .name = metadata_str(plan, object, "name"),
                                  .subresource = str_of(subresource),
                                  .body = patch});
}

void plan_delete(struct plan *plan, const struct kube_resource *resource, const struct json_value *object)
{
    add(plan, &(struct plan_step){.verb = PLAN_DELETE,
                                  .resource = resource,
                                  .ns = metadata_str(plan, object, "namespace"),
                                  .name = metadata_str(plan, object, "name"),
                                  .uid = metadata_str(plan, object, "uid")});
}

void plan_status(struct plan *plan, const struct kube_resource *resource, const struct json_value *object,
                 const struct json_value *status)
{
    struct arena *arena = &plan->arena;
    const struct json_value *old = json_get(object, "status");
    struct json_value *changes = json_new_object(arena);
    for (size_t i = 0; i < json_count(status); i++) {
        const struct json_member *member = &status->object.members[i];
        if (!json_equal(json_get_str_name(old, member->name), member->value)) {
            json_set(arena, changes, member->name, member->value);
        }
    }
    for (size_t i = 0; json_is(old, JSON_OBJECT) && i < old->object.count; i++) {
        struct str name = old->object.members[i].name;
        if (json_get_str_name(status, name) == NULL) {
            json_set(arena, changes, name, json_new_null(arena));
        }
    }
    if (json_count(changes) > 0) {
        struct json_value *patch = json_new_object(arena);
        json_set(arena, patch, STR("status"), changes);
        plan_merge(plan, resource, object, "status", patch);
    }
}

void plan_describe(const struct plan *plan, struct buf *out)
{
    static const char *const verbs[] = {"create", "merge", "delete"};
    for (size_t i = 0; i < plan->steps.count; i++) {
        const struct plan_step *step = &plan->steps.items[i];
        buf_printf(out, "%s %.*s %.*s/%.*s", verbs[step->verb], STR_ARG(step->resource->plural), STR_ARG(step->ns),
                   STR_ARG(step->name));
        if (!str_is_empty(step->subresource)) {
            buf_printf(out, "/%.*s", STR_ARG(step->subresource));
        }
        if (step->body != NULL) {
            buf_append_char(out, ' ');
            json_write(step->body, out);
        }
        buf_append_char(out, '\n');
    }
}
