// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "lab/controllers/daemon_set.h"
#include "lab/controllers/deployment_internal.h"
#include "lab/controllers/plan_test_support.h"

#define TEMPLATE "{'metadata':{'labels':{'a':'d'}},'spec':{'nodeSelector':{'os':'linux'}}}"
#define SET(more) "{'metadata':{'namespace':'n','name':'d','uid':'u','generation':2" more "},'spec':{'template':" TEMPLATE "}," DONE "}"
#define DONE "'status':{'currentNumberScheduled':1,'desiredNumberScheduled':1,'numberMisscheduled':0,'numberReady':1,'observedGeneration':2," \
             "'numberAvailable':1,'updatedNumberScheduled':1}"
#define ONE "{'metadata':{'name':'one','labels':{'os':'linux'}}}"
#define OTHER "{'metadata':{'name':'other','labels':{'os':'plan9'}}}"
#define TAINTED "{'metadata':{'name':'two','labels':{'os':'linux'}},'spec':{'taints':[{'key':'node.kubernetes.io/unschedulable','effect':'NoSchedule'}]}}"
#define REFUSED "{'metadata':{'name':'three','labels':{'os':'linux'}},'spec':{'taints':[{'key':'mine','effect':'NoSchedule'}]}}"
#define POD(name, node, hash, ready) \
    "{'metadata':{'namespace':'n','name':'" name "','uid':'" name "','labels':{'controller-revision-hash':'" hash "'}," \
    "'ownerReferences':[{'uid':'u','controller':true}]},'spec':{'nodeName':'" node "'},'status':{'conditions':[{'type':'Ready','status':'" ready "'}]}}"

// What the plan does, in short: created pods by node, deleted pods, and the number of status patches.
static const struct {
    const char *name;
    const char *set;
    const char *nodes;
    const char *pods; // HASH is that of the template
    const char *want;
} rows[] = {
    {"gone", "", "[" ONE "]", "[]", ""},
    {"first pod", SET(""), "[" ONE "," OTHER "]", "[]", "+one status "},
    {"one on every node", SET(""), "[" ONE "," TAINTED "," REFUSED "]", "[]", "+one +two status "},
    {"complete", SET(""), "[" ONE "]", "[" POD("p", "one", "HASH", "True") "]", ""},
    {"twice", SET(""), "[" ONE "]", "[" POD("p", "one", "HASH", "True") "," POD("q", "one", "HASH", "True") "]", "-q "},
    {"not where it should not be", SET(""), "[" OTHER "]", "[" POD("p", "other", "HASH", "True") "]", "-p status "},
    {"old template", SET(""), "[" ONE "]", "[" POD("p", "one", "old", "True") "]", "-p status "},
    {"old templates, one at a time", SET(""), "[" ONE "," TAINTED "]",
     "[" POD("p", "one", "old", "True") "," POD("q", "two", "old", "True") "]", "-p status "},
    {"old template waits for the others", SET(""), "[" ONE "," TAINTED "]",
     "[" POD("p", "one", "old", "True") "," POD("q", "two", "HASH", "False") "]", "status "},
    {"being deleted", SET(",'deletionTimestamp':'t'"), "[" ONE "]", "[]", "status "},
};

static void describe(const struct plan *plan, struct buf *out)
{
    for (size_t i = 0; i < plan->steps.count; i++) {
        const struct plan_step *step = &plan->steps.items[i];
        if (step->verb == PLAN_CREATE) {
            buf_printf(out, "+%.*s ", STR_ARG(json_str(json_path(step->body, "spec", "nodeName", NULL))));
        } else if (step->verb == PLAN_DELETE) {
            buf_printf(out, "-%.*s ", STR_ARG(step->name));
        } else {
            buf_printf(out, "%.*s ", STR_ARG(step->subresource));
        }
    }
}

static struct str with_hash(struct arena *arena, const char *text)
{
    struct str hash = template_hash(arena, quoted(arena, TEMPLATE), 0);
    struct buf out = {0};
    struct str rest = str_of(text);
    for (ptrdiff_t at; (at = str_find(rest, STR("HASH"))) >= 0; rest = str_from(rest, (size_t)at + 4)) {
        buf_append_str(&out, str_sub(rest, 0, (size_t)at));
        buf_append_str(&out, hash);
    }
    buf_append_str(&out, rest);
    struct str copy = arena_str(arena, buf_view(&out));
    buf_done(&out);
    return copy;
}

static void daemon_sets(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct plan plan = {.wall_ms = TEST_WALL_MS};
        struct buf got = {0};
        struct object_list nodes = quoted_list(&arena, rows[i].nodes);
        struct object_list pods = quoted_list(&arena, with_hash(&arena, rows[i].pods).data);
        daemon_set_plan(&plan, quoted(&arena, rows[i].set), &pods, &nodes);
        describe(&plan, &got);
        check_row(rows[i].name, str_equal_c(buf_view(&got), rows[i].want), "got \"%.*s\"", STR_ARG(buf_view(&got)));
        buf_done(&got);
        vec_done(&nodes);
        vec_done(&pods);
        plan_done(&plan);
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(daemon_sets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
