// SPDX-License-Identifier: Apache-2.0
//
// Namespaces, scheduler, ReplicaSets and endpoints: objects in, steps out.
#include "test.h"

#include "base/memory.h"
#include "lab/controllers/endpoints.h"
#include "lab/controllers/namespace.h"
#include "lab/controllers/plan_test_support.h"
#include "lab/controllers/replica_set.h"
#include "lab/controllers/scheduler.h"

// --- namespaces ------------------------------------------------------------------------------------

static void test_namespaces(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *ns;
        const char *account;
        const char *config_map;
        const char *want;
    } rows[] = {
        {"gone", "", "", "", ""},
        {"new", "{'metadata':{'name':'a'}}", "", "",
         "create serviceaccounts a/default {'apiVersion':'v1','kind':'ServiceAccount','metadata':{'name':'default','namespace':'a'}}\n"
         "create configmaps a/kube-root-ca.crt {'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'kube-root-ca.crt',"
         "'namespace':'a'},'data':{'ca.crt':'CA'}}\n"},
        {"complete", "{'metadata':{'name':'a'}}", "{}", "{'data':{'ca.crt':'CA'}}", ""},
        {"other roots", "{'metadata':{'name':'a'}}", "{}",
         "{'metadata':{'name':'kube-root-ca.crt','namespace':'a'},'data':{'ca.crt':'old'}}",
         "merge configmaps a/kube-root-ca.crt {'data':{'ca.crt':'CA'}}\n"},
        {"being deleted", "{'metadata':{'name':'a','deletionTimestamp':'t'}}", "", "", ""},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct plan plan = {0};
        namespace_plan(&plan, quoted(&arena, rows[i].ns), quoted(&arena, rows[i].account),
                       quoted(&arena, rows[i].config_map), STR("CA"));
        expect_plan(rows[i].name, &plan, rows[i].want);
        arena_done(&arena);
    }
}

// --- scheduler -------------------------------------------------------------------------------------

#define READY "'status':{'conditions':[{'type':'Ready','status':'True'}]}"
#define BIND(node) \
    "create pods n/p/binding {'apiVersion':'v1','kind':'Binding','metadata':{'name':'p','namespace':'n'}," \
    "'target':{'apiVersion':'v1','kind':'Node','name':'" node "'}}\n"
#define REFUSE(message) \
    "merge pods n/p/status {'status':{'conditions':[{'type':'PodScheduled','status':'False'," \
    "'lastTransitionTime':'2026-01-01T00:00:00Z','reason':'Unschedulable','message':'" message "'}]}}\n"

static void test_scheduler(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *spec; // of the pod
        const char *nodes;
        const char *pods;
        const char *want;
    } rows[] = {
        {"one node", "{}", "[{'metadata':{'name':'a'}," READY "}]", "[]", BIND("a")},
        {"fewest pods", "{}", "[{'metadata':{'name':'a'}," READY "},{'metadata':{'name':'b'}," READY "}]",
         "[{'spec':{'nodeName':'a'}}]", BIND("b")},
        {"bound already", "{'nodeName':'x'}", "[{'metadata':{'name':'a'}," READY "}]", "[]", ""},
        {"another scheduler's", "{'schedulerName':'mine'}", "[{'metadata':{'name':'a'}," READY "}]", "[]", ""},
        {"gated", "{'schedulingGates':[{'name':'g'}]}", "[{'metadata':{'name':'a'}," READY "}]", "[]", ""},
        {"no node", "{}", "[]", "[]", REFUSE("0/0 nodes are available.")},
        {"not ready", "{}", "[{'metadata':{'name':'a'}}]", "[]",
         REFUSE("0/1 nodes are available: 1 node(s) were not ready.")},
        {"cordoned", "{}", "[{'metadata':{'name':'a'},'spec':{'unschedulable':true}," READY "}]", "[]",
         REFUSE("0/1 nodes are available: 1 node(s) were unschedulable.")},
        {"selector fits", "{'nodeSelector':{'d':'1'}}", "[{'metadata':{'name':'a','labels':{'d':'1'}}," READY "}]", "[]",
         BIND("a")},
        {"taint tolerated", "{'tolerations':[{'key':'k','operator':'Exists'}]}",
         "[{'metadata':{'name':'a'},'spec':{'taints':[{'key':'k','value':'v','effect':'NoSchedule'}]}," READY "}]", "[]",
         BIND("a")},
        {"taint of another value", "{'tolerations':[{'key':'k','value':'w'}]}",
         "[{'metadata':{'name':'a'},'spec':{'taints':[{'key':'k','value':'v','effect':'NoSchedule'}]}," READY "}]", "[]",
         REFUSE("0/1 nodes are available: 1 node(s) had untolerated taint.")},
        {"soft taint", "{}",
         "[{'metadata':{'name':'a'},'spec':{'taints':[{'key':'k','effect':'PreferNoSchedule'}]}," READY "}]", "[]",
         BIND("a")},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct plan plan = {.wall_ms = TEST_WALL_MS};
        struct json_value *pod = quoted(&arena, "{'metadata':{'name':'p','namespace':'n'}}");
        json_set(&arena, pod, STR("spec"), quoted(&arena, rows[i].spec));
        struct object_list nodes = quoted_list(&arena, rows[i].nodes);
        struct object_list pods = quoted_list(&arena, rows[i].pods);
        scheduler_plan(&plan, pod, &nodes, &pods);
        expect_plan(rows[i].name, &plan, rows[i].want);
        vec_done(&nodes);
        vec_done(&pods);
        arena_done(&arena);
    }
}

// --- ReplicaSets -----------------------------------------------------------------------------------

#define SET(replicas, status)                                                                             \
    "{'metadata':{'name':'s','namespace':'n','uid':'S','generation':2},'spec':{'replicas':" replicas      \
    ",'selector':{'matchLabels':{'a':'1'}},'template':{'metadata':{'labels':{'a':'1'}},'spec':{'x':1}}}," \
    "'status':" status "}"
#define POD(name, more, status)                                                                              \
    "{'metadata':{'name':'" name "','namespace':'n','uid':'u-" name "','labels':{'a':'1'},'ownerReferences'" \
    ":[{'kind':'ReplicaSet','name':'s','uid':'S','controller':true}]" more "},'spec':{'nodeName':'x'},'status':" status "}"
#define RUNNING "{'phase':'Running','conditions':[{'type':'Ready','status':'True','lastTransitionTime':'2025-12-31T23:59:50Z'}]}"
#define PENDING "{'phase':'Pending'}"
#define NEW_POD                                                                                              \
    "create pods n/ {'apiVersion':'v1','kind':'Pod','metadata':{'generateName':'s-','namespace':'n','labels'" \
    ":{'a':'1'},'ownerReferences':[{'apiVersion':'apps/v1','kind':'ReplicaSet','name':'s','uid':'S',"        \
    "'controller':true,'blockOwnerDeletion':true}]},'spec':{'x':1}}\n"

static void test_replica_sets(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *set;
        const char *pods;
        const char *want;
    } rows[] = {
        {"creates", SET("2", "{'replicas':0,'observedGeneration':2}"), "[]", NEW_POD NEW_POD},
        {"complete", SET("1", "{'replicas':1,'fullyLabeledReplicas':1,'readyReplicas':1,'availableReplicas':1,'observedGeneration':2}"),
         "[" POD("p", "", RUNNING) "]", ""},
        {"status follows", SET("1", "{'replicas':1,'readyReplicas':1}"), "[" POD("p", "", PENDING) "]",
         "merge replicasets n/s/status {'status':{'fullyLabeledReplicas':1,'observedGeneration':2,'readyReplicas':null}}\n"},
        {"failed pods do not count", SET("1", "{'replicas':0,'observedGeneration':2}"),
         "[" POD("p", "", "{'phase':'Failed'}") "]", NEW_POD},
        {"nor do those being deleted", SET("1", "{'replicas':0,'observedGeneration':2}"),
         "[" POD("p", ",'deletionTimestamp':'t'", RUNNING) "]", NEW_POD},
        {"pending ones go first",
         SET("1", "{'replicas':2,'fullyLabeledReplicas':2,'readyReplicas':1,'availableReplicas':1,'observedGeneration':2}"),
         "[" POD("p", "", RUNNING) "," POD("q", "", PENDING) "]", "delete pods n/q\n"},
        {"adopts",
         SET("1", "{'replicas':1,'fullyLabeledReplicas':1,'observedGeneration':2}"),
         "[{'metadata':{'name':'o','namespace':'n','labels':{'a':'1'}}}]",
         "merge pods n/o {'metadata':{'ownerReferences':[{'apiVersion':'apps/v1','kind':'ReplicaSet','name':'s','uid':'S',"
         "'controller':true,'blockOwnerDeletion':true}]}}\n"},
        {"others' pods are not touched", SET("0", "{'replicas':0,'observedGeneration':2}"),
         "[{'metadata':{'name':'o','labels':{'a':'1'},'ownerReferences':[{'uid':'T','controller':true}]}}]", ""},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct plan plan = {.wall_ms = TEST_WALL_MS};
        struct object_list pods = quoted_list(&arena, rows[i].pods);
        replica_set_plan(&plan, quoted(&arena, rows[i].set), &pods, STR_EMPTY);
        expect_plan(rows[i].name, &plan, rows[i].want);
        vec_done(&pods);
        arena_done(&arena);
    }
}

static void test_min_ready_seconds(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct plan plan = {.wall_ms = TEST_WALL_MS};
    struct json_value *set = quoted(&arena, SET("1", "{'replicas':1,'fullyLabeledReplicas':1,'readyReplicas':1,'observedGeneration':2}"));
    json_set_int(&arena, json_get(set, "spec"), "minReadySeconds", 30);
    struct object_list pods = quoted_list(&arena, "[" POD("p", "", RUNNING) "]");
    replica_set_plan(&plan, set, &pods, STR_EMPTY);
    assert_int_equal(plan.again_ms, 20000); // ready for 10 s
    expect_plan("not yet available", &plan, "");
    vec_done(&pods);
    arena_done(&arena);
}

// --- endpoints -------------------------------------------------------------------------------------

#define SERVICE(spec) "{'metadata':{'name':'s','namespace':'n','uid':'S'},'spec':{'selector':{'a':'1'}," spec "}}"
#define BACKEND(name, ip, port, more, status)                                                                   \
    "{'metadata':{'name':'" name "','namespace':'n','uid':'u-" name "','labels':{'a':'1'}" more                 \
    "},'spec':{'nodeName':'x','containers':[{'ports':[{'name':'web','containerPort':" port "}]}]},'status':{'podIP':'" ip "'" status "}}"
#define IS_READY ",'conditions':[{'type':'Ready','status':'True'}]"
#define ENDPOINT(name, ip, ready, serving, terminating)                                                            \
    "{'addresses':['" ip "'],'conditions':{'ready':" ready ",'serving':" serving ",'terminating':" terminating     \
    "},'targetRef':{'kind':'Pod','namespace':'n','name':'" name "','uid':'u-" name "'},'nodeName':'x','zone':'z'}"
#define NEW_SLICE(ports, endpoints)                                                                                  \
    "create endpointslices n/ {'apiVersion':'discovery.k8s.io/v1','kind':'EndpointSlice','metadata':{"             \
    "'generateName':'s-','namespace':'n','labels':{'kubernetes.io/service-name':'s',"                              \
    "'endpointslice.kubernetes.io/managed-by':'endpointslice-controller.k8s.io'},'ownerReferences':[{'apiVersion':" \
    "'v1','kind':'Service','name':'s','uid':'S','controller':true,'blockOwnerDeletion':true}]},'addressType':'IPv4'," \
    "'ports':" ports ",'endpoints':[" endpoints "]}\n"
#define PORT(number) "[{'name':'','port':" number ",'protocol':'TCP'}]"
#define OURS(name, ports, endpoints)                                                                               \
    "{'metadata':{'name':'" name "','namespace':'n','uid':'u-" name "','labels':{'kubernetes.io/service-name':'s'," \
    "'endpointslice.kubernetes.io/managed-by':'endpointslice-controller.k8s.io'}},'ports':" ports ",'endpoints':[" endpoints "]}"
#define ADDRESS(name, ip) "{'ip':'" ip "','nodeName':'x','targetRef':{'kind':'Pod','namespace':'n','name':'" name "','uid':'u-" name "'}}"
#define SUBSET(list, number) "{" list ",'ports':[{'port':" number ",'protocol':'TCP'}]}"

struct endpoints_row {
    const char *name;
    const char *service;
    const char *pods;
    const char *slices;
    const char *endpoints;
    const char *want;
};

static const struct endpoints_row endpoints_rows[] = {
    {"ready and not",
     SERVICE("'ports':[{'port':80,'targetPort':8080}]"),
     "[" BACKEND("b", "10.0.0.2", "1", "", "") "," BACKEND("a", "10.0.0.1", "1", "", IS_READY) "]", "[]", "",
     NEW_SLICE(PORT("8080"), ENDPOINT("a", "10.0.0.1", "true", "true", "false") "," ENDPOINT("b", "10.0.0.2", "false", "false", "false"))
     "create endpoints n/s {'apiVersion':'v1','kind':'Endpoints','metadata':{'name':'s','namespace':'n'},'subsets':["
     SUBSET("'addresses':[" ADDRESS("a", "10.0.0.1") "],'notReadyAddresses':[" ADDRESS("b", "10.0.0.2") "]", "8080") "]}\n"},
    {"nothing to change",
     SERVICE("'ports':[{'port':80}]"), "[" BACKEND("a", "10.0.0.1", "1", "", IS_READY) "]",
     "[" OURS("s-1", PORT("80"), ENDPOINT("a", "10.0.0.1", "true", "true", "false")) "]",
     "{'metadata':{'name':'s','namespace':'n'},'subsets':[" SUBSET("'addresses':[" ADDRESS("a", "10.0.0.1") "]", "80") "]}", ""},
    {"terminating",
     SERVICE("'ports':[{'port':80}]"), "[" BACKEND("a", "10.0.0.1", "1", ",'deletionTimestamp':'t'", IS_READY) "]",
     "[" OURS("s-1", PORT("80"), ENDPOINT("a", "10.0.0.1", "true", "true", "false")) "]",
     "{'metadata':{'name':'s','namespace':'n'},'subsets':[" SUBSET("'addresses':[" ADDRESS("a", "10.0.0.1") "]", "80") "]}",
     "merge endpointslices n/s-1 {'endpoints':[" ENDPOINT("a", "10.0.0.1", "false", "true", "true") "]}\n"
     "merge endpoints n/s {'subsets':[]}\n"},
    {"named ports that differ make slices of their own",
     SERVICE("'ports':[{'port':80,'targetPort':'web'}]"),
     "[" BACKEND("a", "10.0.0.1", "1", "", IS_READY) "," BACKEND("b", "10.0.0.2", "2", "", IS_READY) "]", "[]",
     "{'metadata':{'name':'s','namespace':'n'},'subsets':[" SUBSET("'addresses':[" ADDRESS("a", "10.0.0.1") "]", "1") ","
     SUBSET("'addresses':[" ADDRESS("b", "10.0.0.2") "]", "2") "]}",
     NEW_SLICE(PORT("1"), ENDPOINT("a", "10.0.0.1", "true", "true", "false"))
     NEW_SLICE(PORT("2"), ENDPOINT("b", "10.0.0.2", "true", "true", "false"))},
    {"ended pods, and those without an address, are left out; one slice stays",
     SERVICE("'ports':[{'port':80}]"),
     "[" BACKEND("a", "10.0.0.1", "1", "", ",'phase':'Failed'") "," BACKEND("b", "", "1", "", "") "]",
     "[" OURS("s-1", PORT("80"), ENDPOINT("a", "10.0.0.1", "true", "true", "false")) "," OURS("s-2", PORT("81"), "") "]",
     "{'metadata':{'name':'s','namespace':'n'}}",
     "merge endpointslices n/s-1 {'endpoints':[]}\ndelete endpointslices n/s-2\n"},
    {"publishes all",
     SERVICE("'publishNotReadyAddresses':true,'ports':[{'port':80}]"), "[" BACKEND("a", "10.0.0.1", "1", "", "") "]",
     "[" OURS("s-1", PORT("80"), ENDPOINT("a", "10.0.0.1", "true", "false", "false")) "]",
     "{'metadata':{'name':'s','namespace':'n'},'subsets':[" SUBSET("'addresses':[" ADDRESS("a", "10.0.0.1") "]", "80") "]}", ""},
    {"no selector",
     "{'metadata':{'name':'s','namespace':'n'},'spec':{'ports':[{'port':80}]}}", "[]", "[]", "", ""},
    {"external name", SERVICE("'type':'ExternalName'"), "[]", "[]", "", ""},
    {"gone", "", "[]", "[]", "{'metadata':{'name':'s','namespace':'n','uid':'E'}}", "delete endpoints n/s\n"},
};

static void test_endpoints(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(endpoints_rows); i++) {
        const struct endpoints_row *row = &endpoints_rows[i];
        struct arena arena = {0};
        struct plan plan = {.wall_ms = TEST_WALL_MS};
        struct endpoints_input input = {.service = quoted(&arena, row->service)};
        input.pods = quoted_list(&arena, row->pods);
        input.nodes = quoted_list(&arena, "[{'metadata':{'name':'x','labels':{'topology.kubernetes.io/zone':'z'}}}]");
        input.slices = quoted_list(&arena, row->slices);
        input.endpoints = quoted(&arena, row->endpoints);
        endpoints_plan(&plan, &input);
        expect_plan(row->name, &plan, row->want);
        vec_done(&input.pods);
        vec_done(&input.nodes);
        vec_done(&input.slices);
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_namespaces),   cmocka_unit_test(test_scheduler), cmocka_unit_test(test_replica_sets),
        cmocka_unit_test(test_min_ready_seconds), cmocka_unit_test(test_endpoints),
    };
    return cmocka_run_group_tests_name("lab_controllers", tests, NULL, NULL);
}
