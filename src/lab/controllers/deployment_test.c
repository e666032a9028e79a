// SPDX-License-Identifier: Apache-2.0
//
// Deployments: rollouts are played step by step with pods that become ready in any order; at every step
// the bounds hold, and every rollout ends.
#include "test.h"

#include "base/memory.h"
#include "base/random.h"
#include "lab/controllers/deployment.h"
#include "lab/controllers/plan_test_support.h"

#define STEPS_MAX 400

struct play {
    struct arena arena;
    struct json_value *deployment;
    struct object_list sets;
    struct random random;
    unsigned made;
};

static int64_t count_of(const struct json_value *object, const char *part, const char *name)
{
    return json_get_int(json_get(object, part), name, 0);
}

static int64_t sum(const struct play *play, const char *part, const char *name)
{
    int64_t total = 0;
    for (size_t i = 0; i < play->sets.count; i++) {
        total += count_of(play->sets.items[i], part, name);
    }
    return total;
}

static struct json_value *find_set(const struct play *play, struct str name)
{
    for (size_t i = 0; i < play->sets.count; i++) {
        if (str_equal(meta_name(play->sets.items[i]), name)) {
            return (struct json_value *)(uintptr_t)play->sets.items[i];
        }
    }
    return NULL;
}

// RFC 7386, which is what the server does with these steps.
static void merge(struct arena *arena, struct json_value *target, const struct json_value *patch)
{
    for (size_t i = 0; i < patch->object.count; i++) {
        const struct json_member *member = &patch->object.members[i];
        if (member->value->type == JSON_NULL) {
            (void)json_remove(target, member->name);
        } else if (member->value->type == JSON_OBJECT) {
            struct json_value *inner = json_get_str_name(target, member->name);
            if (!json_is(inner, JSON_OBJECT)) {
                inner = json_new_object(arena);
                json_set(arena, target, member->name, inner);
            }
            merge(arena, inner, member->value);
        } else {
            json_set(arena, target, member->name, json_copy(arena, member->value));
        }
    }
}

static void apply(struct play *play, const struct plan_step *step)
{
    struct arena *arena = &play->arena;
    if (step->verb == PLAN_CREATE) {
        struct json_value *set = json_copy(arena, step->body);
        struct json_value *metadata = json_get(set, "metadata");
        json_set_str(arena, metadata, "uid", meta_name(set));
        json_set_str(arena, metadata, "creationTimestamp", arena_format(arena, "2026-01-01T00:00:%02uZ", play->made++));
        assert_null(find_set(play, meta_name(set)));
        vec_push(&play->sets, set);
        return;
    }
    struct json_value *target = step->resource == &kube_deployments ? play->deployment : find_set(play, step->name);
    assert_non_null(target);
    if (step->verb == PLAN_MERGE) {
        merge(arena, target, step->body);
        return;
    }
    for (size_t i = 0; i < play->sets.count; i++) {
        if (play->sets.items[i] == target) {
            vec_remove_swap(&play->sets, i);
        }
    }
}

// True when there was something to do.
static bool step_controller(struct play *play)
{
    struct plan plan = {.wall_ms = TEST_WALL_MS};
    deployment_plan(&plan, play->deployment, &play->sets);
    for (size_t i = 0; i < plan.steps.count; i++) {
        apply(play, &plan.steps.items[i]);
    }
    bool did_something = plan.steps.count > 0;
    plan_done(&plan);
    return did_something;
}

// One set's pods: created or deleted as asked for at once; some more of them become available.
static void step_pods(struct play *play)
{
    for (size_t i = 0; i < play->sets.count; i++) {
        struct json_value *set = find_set(play, meta_name(play->sets.items[i]));
        struct json_value *status = json_ensure_object(&play->arena, set, "status");
        int64_t wanted = count_of(set, "spec", "replicas");
        int64_t available = count_of(set, "status", "availableReplicas");
        available += available < wanted ? (int64_t)random_below(&play->random, 2) : 0;
        available = available > wanted ? wanted : available;
        json_set_int(&play->arena, status, "replicas", wanted);
        json_set_int(&play->arena, status, "readyReplicas", available);
        json_set_int(&play->arena, status, "availableReplicas", available);
    }
}

static bool is_rolled_out(const struct play *play)
{
    int64_t replicas = count_of(play->deployment, "spec", "replicas");
    return count_of(play->deployment, "status", "updatedReplicas") == replicas &&
           count_of(play->deployment, "status", "replicas") == replicas &&
           count_of(play->deployment, "status", "availableReplicas") == replicas;
}

// Plays until nothing moves; the least available and the most pods seen.
static void roll_out(struct play *play, int64_t *ret_least, int64_t *ret_most)
{
    int quiet = 0;
    for (int i = 0; i < STEPS_MAX && quiet < 20; i++) {
        bool did_something = step_controller(play);
        int64_t available = sum(play, "status", "availableReplicas");
        int64_t pods = sum(play, "spec", "replicas");
        *ret_least = available < *ret_least ? available : *ret_least;
        *ret_most = pods > *ret_most ? pods : *ret_most;
        step_pods(play);
        // What a scale-down leaves of available pods counts as well.
        available = sum(play, "status", "availableReplicas");
        *ret_least = available < *ret_least ? available : *ret_least;
        quiet = did_something || !is_rolled_out(play) ? 0 : quiet + 1;
    }
    assert_true(is_rolled_out(play));
}

static void begin(struct play *play, const char *strategy, int replicas, uint64_t seed)
{
    *play = (struct play){0};
    random_init(&play->random, seed);
    play->deployment = quoted(&play->arena, "{'metadata':{'name':'d','namespace':'n','uid':'D','generation':1},'spec':{"
                                            "'selector':{'matchLabels':{'a':'1'}},'template':{'metadata':{'labels':{'a':'1'}},"
                                            "'spec':{'containers':[{'name':'c','image':'one'}]}}}}");
    json_set(&play->arena, json_get(play->deployment, "spec"), STR("strategy"), quoted(&play->arena, strategy));
    json_set_int(&play->arena, json_get(play->deployment, "spec"), "replicas", replicas);
}

static void end(struct play *play)
{
    vec_done(&play->sets);
    arena_done(&play->arena);
}

static void set_image(struct play *play, const char *image)
{
    struct json_value *containers = json_path(play->deployment, "spec", "template", "spec", "containers", NULL);
    json_set_cstr(&play->arena, json_at(containers, 0), "image", image);
}

struct rollout_row {
    const char *name;
    const char *strategy;
    int replicas;
    int64_t want_least; // pods that are available all the time
    int64_t want_most;  // pods at most
};

static const struct rollout_row rollout_rows[] = {
    {"defaults, one", "{}", 1, 1, 2},
    {"defaults, four", "{}", 4, 3, 5},
    {"defaults, ten", "{}", 10, 8, 13},
    {"surge only", "{'type':'RollingUpdate','rollingUpdate':{'maxSurge':2,'maxUnavailable':0}}", 5, 5, 7},
    {"unavailable only", "{'type':'RollingUpdate','rollingUpdate':{'maxSurge':0,'maxUnavailable':'40%'}}", 5, 3, 5},
    {"both zero", "{'type':'RollingUpdate','rollingUpdate':{'maxSurge':0,'maxUnavailable':0}}", 3, 2, 3},
    {"all at once", "{'type':'RollingUpdate','rollingUpdate':{'maxSurge':'100%','maxUnavailable':'100%'}}", 3, 0, 6},
    {"recreate", "{'type':'Recreate'}", 3, 0, 3},
};

static void test_rollouts(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rollout_rows); i++) {
        const struct rollout_row *row = &rollout_rows[i];
        for (uint64_t seed = 1; seed <= 20; seed++) {
            struct play play;
            int64_t least = INT64_MAX;
            int64_t most = 0;
            begin(&play, row->strategy, row->replicas, seed);
            roll_out(&play, &least, &most);
            check_row(row->name, most <= row->want_most, "first rollout has %d pods", (int)most);
            least = INT64_MAX;
            set_image(&play, "two");
            roll_out(&play, &least, &most);
            check_row(row->name, least >= row->want_least, "only %d available, seed %d", (int)least, (int)seed);
            check_row(row->name, most <= row->want_most, "%d pods, seed %d", (int)most, (int)seed);
            assert_int_equal(play.sets.count, 2);
            end(&play);
        }
    }
}

// Back to the first template: its set is used again and becomes the newest revision.
static void test_rollback(void **state)
{
    (void)state;
    struct play play;
    int64_t least = INT64_MAX;
    int64_t most = 0;
    begin(&play, "{}", 2, 7);
    roll_out(&play, &least, &most);
    struct str first = meta_name(play.sets.items[0]);
    set_image(&play, "two");
    roll_out(&play, &least, &most);
    assert_str(kube_annotation(play.deployment, STR("deployment.kubernetes.io/revision")), "2");
    set_image(&play, "one");
    roll_out(&play, &least, &most);
    assert_int_equal(play.sets.count, 2);
    assert_int_equal(count_of(find_set(&play, first), "spec", "replicas"), 2);
    assert_str(kube_annotation(play.deployment, STR("deployment.kubernetes.io/revision")), "3");
    const struct json_value *progress = condition_find(play.deployment, STR("Progressing"));
    assert_str(json_get_str(progress, "reason"), "NewReplicaSetAvailable");
    assert_true(str_find(json_get_str(progress, "message"), first) >= 0);
    end(&play);
}

static void test_scale_and_history(void **state)
{
    (void)state;
    struct play play;
    int64_t least = INT64_MAX;
    int64_t most = 0;
    begin(&play, "{}", 1, 3);
    json_set_int(&play.arena, json_get(play.deployment, "spec"), "revisionHistoryLimit", 2);
    for (unsigned i = 0; i < 6; i++) {
        set_image(&play, arena_format(&play.arena, "image-%u", i).data);
        roll_out(&play, &least, &most);
    }
    assert_int_equal(play.sets.count, 3);
    json_set_int(&play.arena, json_get(play.deployment, "spec"), "replicas", 5);
    roll_out(&play, &least, &most);
    json_set_int(&play.arena, json_get(play.deployment, "spec"), "replicas", 0);
    roll_out(&play, &least, &most);
    assert_int_equal(sum(&play, "spec", "replicas"), 0);
    end(&play);
}

static void test_paused(void **state)
{
    (void)state;
    struct play play;
    begin(&play, "{}", 2, 3);
    json_set_bool(&play.arena, json_get(play.deployment, "spec"), "paused", true);
    (void)step_controller(&play);
    assert_int_equal(play.sets.count, 0);
    end(&play);
}

// Pods that never become available: the deadline makes Progressing false.
static void test_deadline(void **state)
{
    (void)state;
    struct play play;
    begin(&play, "{}", 1, 3);
    json_set_int(&play.arena, json_get(play.deployment, "spec"), "progressDeadlineSeconds", 60);
    (void)step_controller(&play);
    struct json_value *status = json_ensure_object(&play.arena, find_set(&play, meta_name(play.sets.items[0])), "status");
    json_set_int(&play.arena, status, "replicas", 1);
    (void)step_controller(&play);
    struct plan plan = {.wall_ms = TEST_WALL_MS + 59000};
    deployment_plan(&plan, play.deployment, &play.sets);
    assert_int_equal(plan.again_ms, 1000);
    expect_plan("before the deadline", &plan, "");
    plan = (struct plan){.wall_ms = TEST_WALL_MS + 60000};
    deployment_plan(&plan, play.deployment, &play.sets);
    assert_int_equal(plan.steps.count, 1);
    apply(&play, &plan.steps.items[0]);
    plan_done(&plan);
    const struct json_value *progress = condition_find(play.deployment, STR("Progressing"));
    assert_str(json_get_str(progress, "reason"), "ProgressDeadlineExceeded");
    assert_str(json_get_str(progress, "status"), "False");
    assert_false(step_controller(&play));
    end(&play);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rollouts), cmocka_unit_test(test_rollback), cmocka_unit_test(test_scale_and_history),
        cmocka_unit_test(test_paused),   cmocka_unit_test(test_deadline),
    };
    return cmocka_run_group_tests_name("lab_deployment", tests, NULL, NULL);
}
