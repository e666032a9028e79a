// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "codec/yaml/yaml.h"
#include "lab/loadbalancer/announcement.h"

#define OBJECTS_MAX 8
#define ONE "{metadata: {name: one, labels: {rack: a}}, status: {conditions: [{type: Ready, status: 'True'}]}}"
#define TWO "{metadata: {name: two, labels: {rack: b}}, status: {conditions: [{type: Ready, status: 'True'}]}}"
#define THREE "{metadata: {name: three}, status: {conditions: [{type: Ready, status: 'True'}, {type: NetworkUnavailable, status: 'False'}]}}"
#define ALL "[" ONE "," TWO "," THREE "]"
#define SLICE(endpoints) "[{metadata: {namespace: ns, name: x, labels: {kubernetes.io/service-name: web}}, endpoints: [" endpoints "]}]"
#define SERVED SLICE("{nodeName: two, conditions: {ready: true}}")
#define CLUSTER "{metadata: {namespace: ns, name: web}, spec: {}}"
#define LOCAL "{metadata: {namespace: ns, name: web}, spec: {externalTrafficPolicy: Local}}"

// The first two rows computed apart: the order of the SHA-256 of "NODE#ADDRESS".
static const struct {
    const char *name;
    const char *address;
    const char *advertisements;
    const char *nodes;
    const char *slices;
    const char *service;
    const char *want;
} rows[] = {
    {"smallest hash", "172.18.1.230", "[{spec: {}}]", ALL, SERVED, CLUSTER, "three"},
    {"another address", "172.18.1.231", "[{spec: {}}]", ALL, SERVED, CLUSTER, "one"},
    {"one node", "172.18.1.230", "[{spec: {}}]", "[" ONE "]", SERVED, CLUSTER, "one"},
    {"no advertisement", "172.18.1.230", "[]", ALL, SERVED, CLUSTER, ""},
    {"by name of the pool", "172.18.1.230", "[{spec: {ipAddressPools: [other, p]}}]", "[" ONE "]", SERVED, CLUSTER, "one"},
    {"of another pool", "172.18.1.230", "[{spec: {ipAddressPools: [other]}}]", ALL, SERVED, CLUSTER, ""},
    {"by labels of the pool", "172.18.1.230", "[{spec: {ipAddressPoolSelectors: [{matchLabels: {zone: z1}}]}}]", "[" ONE "]", SERVED, CLUSTER, "one"},
    {"labels differ", "172.18.1.230", "[{spec: {ipAddressPoolSelectors: [{matchLabels: {zone: z2}}]}}]", ALL, SERVED, CLUSTER, ""},
    {"by labels of nodes", "172.18.1.230", "[{spec: {nodeSelectors: [{matchLabels: {rack: b}}]}}]", ALL, SERVED, CLUSTER, "two"},
    {"nobody serves", "172.18.1.230", "[{spec: {}}]", ALL, SLICE("{nodeName: one, conditions: {ready: false}}"), CLUSTER, ""},
    {"serving while it ends", "172.18.1.230", "[{spec: {}}]", "[" ONE "]", SLICE("{nodeName: two, conditions: {ready: false, serving: true}}"), CLUSTER, "one"},
    {"ready by default", "172.18.1.230", "[{spec: {}}]", "[" ONE "]", SLICE("{nodeName: two}"), CLUSTER, "one"},
    {"local: where a pod serves", "172.18.1.230", "[{spec: {}}]", ALL, SERVED, LOCAL, "two"},
    {"local: nowhere", "172.18.1.230", "[{spec: {}}]", "[" ONE "]", SERVED, LOCAL, ""},
    {"node not ready", "172.18.1.230", "[{spec: {}}]", "[{metadata: {name: one}, status: {conditions: [{type: Ready, status: Unknown}]}}]", SERVED, CLUSTER, ""},
    {"node without network", "172.18.1.230", "[{spec: {}}]",
     "[{metadata: {name: one}, status: {conditions: [{type: Ready, status: 'True'}, {type: NetworkUnavailable, status: 'True'}]}}]", SERVED, CLUSTER, ""},
};

struct list {
    const struct json_value *items[OBJECTS_MAX];
    size_t count;
};

static struct json_value *parse(struct arena *arena, const char *text)
{
    struct json_value *value = NULL;
    struct error err = {0};
    if (yaml_parse(arena, str_of(text), &value, &err) != ERR_OK) {
        fail_msg("%s in %s", err.message, text);
    }
    return value;
}

static void read_list(struct arena *arena, const char *text, struct list *list)
{
    const struct json_value *value = parse(arena, text);
    list->count = json_count(value);
    for (size_t i = 0; i < list->count; i++) {
        list->items[i] = json_at(value, i);
    }
}

static void leaders_are_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct list advertisements;
        struct list nodes;
        struct list slices;
        read_list(&arena, rows[i].advertisements, &advertisements);
        read_list(&arena, rows[i].nodes, &nodes);
        read_list(&arena, rows[i].slices, &slices);
        struct announcement_input input = {.advertisements = advertisements.items, .advertisement_count = advertisements.count,
                                           .nodes = nodes.items, .node_count = nodes.count, .slices = slices.items, .slice_count = slices.count};
        struct pool pool = {.name = STR("p"), .object = parse(&arena, "{metadata: {name: p, labels: {zone: z1}}}")};
        struct str leader = announcement_leader(&input, parse(&arena, rows[i].service), &pool, str_of(rows[i].address));
        check_row(rows[i].name, str_equal_c(leader, rows[i].want), "got \"%.*s\"", STR_ARG(leader));
        arena_done(&arena);
    }
}

static void interfaces_are_chosen(void **state)
{
    (void)state;
    static const struct {
        const char *advertisements;
        bool want;
    } choices[] = {
        {"[{spec: {}}]", true},
        {"[{spec: {interfaces: [eth1]}}]", false},
        {"[{spec: {interfaces: [eth1, eth0]}}]", true},
        {"[{spec: {interfaces: [eth1]}}, {spec: {}}]", true},
        {"[{spec: {interfaces: [eth1]}}, {spec: {ipAddressPools: [other]}}]", false},
    };
    for (size_t i = 0; i < array_count(choices); i++) {
        struct arena arena = {0};
        struct list advertisements;
        struct list nodes;
        read_list(&arena, choices[i].advertisements, &advertisements);
        read_list(&arena, ALL, &nodes);
        struct announcement_input input = {.advertisements = advertisements.items, .advertisement_count = advertisements.count,
                                           .nodes = nodes.items, .node_count = nodes.count};
        struct pool pool = {.name = STR("p")};
        bool got = announcement_allows_interface(&input, &pool, STR("one"), STR("eth0"));
        check_row(choices[i].advertisements, got == choices[i].want, "got %d", got);
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaders_are_found),
        cmocka_unit_test(interfaces_are_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
