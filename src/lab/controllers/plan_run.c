// SPDX-License-Identifier: Apache-2.0
//
// Steps of a plan are independent: all are sent at once. Then the run waits until the informers show each
// result; without that the next plan of the key would be made from the past and, say, create the same
// pods again.
#include "lab/controllers/plan.h"

#include "base/memory.h"

struct step_run {
    struct plan_run *run;
    const struct plan_step *step;
    struct kube_call *call;
    struct str name;  // generated ones too
    uint64_t version; // to be seen; 0 with `awaits`: the deletion
    bool awaits;
};

struct plan_run {
    struct loop *loop;
    struct plan plan;
    struct step_run *steps;
    size_t open; // unanswered
    const struct plan_run_events *events;
    void *owner;
    struct loop_timer timer;
    struct loop_task done_task;
    struct str failure; // empty: none
    bool done;
};

static void on_done_task(struct loop_task *task)
{
    struct plan_run *run = container_of(task, struct plan_run, done_task);
    run->done = true;
    run->events->on_done(run->owner, run, str_is_empty(run->failure), run->failure);
}

static bool all_is_seen(struct plan_run *run)
{
    for (size_t i = 0; i < run->plan.steps.count; i++) {
        struct step_run *step = &run->steps[i];
        if (step->awaits && !run->events->is_seen(run->owner, step->step->resource, step->step->ns, step->name,
                                                  step->version)) {
            return false;
        }
    }
    return true;
}

void plan_run_look(struct plan_run *run)
{
    if (run->open == 0 && !run->done && all_is_seen(run)) {
        loop_timer_stop(&run->timer);
        loop_task_schedule(run->loop, &run->done_task);
    }
}

static void on_timer(struct loop_timer *timer)
{
    struct plan_run *run = container_of(timer, struct plan_run, timer);
    loop_task_schedule(run->loop, &run->done_task);
}

static bool is_harmless(const struct plan_step *step, enum err code)
{
    // What is gone needs no change, a deletion whose uid does not fit is about another object, and a pod
    // that is bound already needs no binding.
    bool is_binding = !str_is_empty(step->subresource) && step->verb == PLAN_CREATE;
    return ((step->verb != PLAN_CREATE || is_binding) && code == ERR_NOT_FOUND) ||
           ((step->verb == PLAN_DELETE || is_binding) && code == ERR_CONFLICT);
}

static void note_result(struct step_run *step, const struct kube_response *response)
{
    const struct json_value *metadata = json_get(response->value, "metadata");
    struct str name = json_get_str(metadata, "name");
    if (step->step->verb == PLAN_DELETE) {
        step->awaits = true;
        step->version = 0;
    } else if (!str_is_empty(name) && str_to_u64(json_get_str(metadata, "resourceVersion"), &step->version)) {
        step->name = arena_str(&step->run->plan.arena, name);
        step->awaits = step->version > 0;
    }
}

static void on_answer(void *owner, enum err code, const struct kube_response *response)
{
    struct step_run *step = owner;
    struct plan_run *run = step->run;
    step->call = NULL;
    run->open--;
    if (code == ERR_OK) {
        note_result(step, response);
    } else if (!is_harmless(step->step, code) && str_is_empty(run->failure)) {
        run->failure = arena_format(&run->plan.arena, "%.*s %.*s: %.*s", STR_ARG(step->step->resource->plural),
                                    STR_ARG(step->step->name), STR_ARG(response->message));
    }
    if (run->open == 0) {
        loop_timer_start(&run->timer, PLAN_SEEN_MAX_MS);
    }
    plan_run_look(run);
}

static struct kube_call *send_step(struct kube_client *client, struct step_run *step)
{
    static const struct str methods[] = {{"POST", 4}, {"PATCH", 5}, {"DELETE", 6}};
    const struct plan_step *what = step->step;
    struct arena arena = {0};
    bool is_new = what->verb == PLAN_CREATE && str_is_empty(what->subresource);
    struct str path = kube_path(&arena, what->resource, what->ns, is_new ? STR_EMPTY : what->name);
    if (!str_is_empty(what->subresource)) {
        path = arena_format(&arena, "%.*s/%.*s", STR_ARG(path), STR_ARG(what->subresource));
    }
    const struct json_value *body = what->body;
    if (what->verb == PLAN_DELETE) {
        struct json_value *options = json_new_object(&arena);
        json_set_cstr(&arena, options, "propagationPolicy", "Background");
        json_set_str(&arena, json_ensure_object(&arena, options, "preconditions"), "uid", what->uid);
        body = options;
    }
    struct kube_request request = {.method = methods[what->verb], .path = path};
    request.body = json_to_str(&arena, body);
    request.content_type = what->verb == PLAN_MERGE ? STR("application/merge-patch+json") : STR("application/json");
    struct kube_call *call = kube_request(client, &request, on_answer, step);
    arena_done(&arena);
    return call;
}

struct plan_run *plan_run_start(struct loop *loop, struct kube_client *client, struct plan *plan,
                                const struct plan_run_events *events, void *owner)
{
    struct plan_run *run = mem_new(struct plan_run);
    run->loop = loop;
    run->plan = *plan;
    *plan = (struct plan){0};
    run->events = events;
    run->owner = owner;
    run->failure = STR_EMPTY;
    run->open = run->plan.steps.count;
    run->steps = mem_zalloc((run->open + 1) * sizeof(*run->steps));
    loop_timer_init(&run->timer, loop, on_timer);
    loop_task_init(&run->done_task, on_done_task);
    for (size_t i = 0; i < run->plan.steps.count; i++) {
        struct step_run *step = &run->steps[i];
        *step = (struct step_run){.run = run, .step = &run->plan.steps.items[i]};
        step->name = step->step->name;
        step->call = send_step(client, step);
    }
    plan_run_look(run); // an empty plan is done
    return run;
}

void plan_run_free(struct plan_run *run)
{
    if (run == NULL) {
        return;
    }
    for (size_t i = 0; i < run->plan.steps.count; i++) {
        kube_call_cancel(run->steps[i].call);
    }
    loop_timer_stop(&run->timer);
    loop_task_cancel(&run->done_task);
    mem_free(run->steps);
    plan_done(&run->plan);
    mem_free(run);
}
