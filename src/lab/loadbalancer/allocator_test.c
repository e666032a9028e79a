// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "codec/yaml/yaml.h"
#include "lab/loadbalancer/allocator.h"

#define OBJECTS_MAX 16
#define WIDE "'1::1-efff:ffff:ffff:ffff:ffff:ffff:ffff:fffe'"

// --- pools -----------------------------------------------------------------------------------------

static const struct {
    const char *name;
    const char *pools; // YAML list of {name: name, a: [addresses]}
    const char *want;  // prefixes, or the error
} pool_rows[] = {
    {"prefix", "[{name: p, a: [10.0.0.7/24]}]", "p:10.0.0.0/24 "},
    {"one address", "[{name: p, a: [10.0.0.7/32]}]", "p:10.0.0.7/32 "},
    {"range", "[{name: p, a: [172.18.1.230-172.18.1.240]}]", "p:172.18.1.230/31 p:172.18.1.232/29 p:172.18.1.240/32 "},
    {"range of one, blanks", "[{name: p, a: [' 10.0.0.1 -  10.0.0.1 ']}]", "p:10.0.0.1/32 "},
    {"everything", "[{name: p, a: [0.0.0.0-255.255.255.255]}]", "p:0.0.0.0/0 "},
    {"ipv6", "[{name: p, a: ['fc00::1-fc00::4', 'fd00::/120']}]", "p:fc00::1/128 p:fc00::2/127 p:fc00::4/128 p:fd00::/120 "},
    {"all of ipv6", "[{name: p, a: ['::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff']}]", "p:::/0 "},
    {"no prefix", "[{name: p, a: [10.0.0.1]}]", "parsing address pool p: invalid CIDR \"10.0.0.1\" in pool \"p\": invalid CIDR \"10.0.0.1\""},
    {"bad size", "[{name: p, a: [10.0.0.0/33]}]", "parsing address pool p: invalid CIDR \"10.0.0.0/33\" in pool \"p\": invalid CIDR \"10.0.0.0/33\""},
    {"bad start", "[{name: p, a: [x-10.0.0.1]}]", "parsing address pool p: invalid CIDR \"x-10.0.0.1\" in pool \"p\": invalid IP range \"x-10.0.0.1\": invalid start IP \"x\""},
    {"bad end", "[{name: p, a: [10.0.0.1-]}]", "parsing address pool p: invalid CIDR \"10.0.0.1-\" in pool \"p\": invalid IP range \"10.0.0.1-\": invalid end IP \"\""},
    {"backwards", "[{name: p, a: [10.0.0.9-10.0.0.1]}]",
     "parsing address pool p: invalid CIDR \"10.0.0.9-10.0.0.1\" in pool \"p\": invalid IP range \"10.0.0.9-10.0.0.1\": start IP \"10.0.0.9\" is after the end IP \"10.0.0.1\""},
    {"families mixed", "[{name: p, a: ['10.0.0.9-fd00::1']}]",
     "parsing address pool p: invalid CIDR \"10.0.0.9-fd00::1\" in pool \"p\": invalid IP range \"10.0.0.9-fd00::1\": addresses of two families"},
    {"nothing", "[{name: p, a: []}]", "parsing address pool p: pool has no prefixes defined"},
    {"not texts", "[{name: p, a: [7]}]", "parsing address pool p: invalid CIDR \"\" in pool \"p\": invalid CIDR \"\""},
    {"overlap inside", "[{name: p, a: [10.0.0.0/24, 10.0.0.128-10.0.0.129]}]", "CIDR \"10.0.0.128/31\" in pool \"p\" overlaps with already defined CIDR \"10.0.0.0/24\""},
    {"overlap between", "[{name: a, a: [10.0.0.0/24]}, {name: b, a: [10.0.0.200/32]}]", "CIDR \"10.0.0.200/32\" in pool \"b\" overlaps with already defined CIDR \"10.0.0.0/24\""},
    {"families do not overlap", "[{name: a, a: [0.0.0.0/0]}, {name: b, a: ['::/0']}]", "a:0.0.0.0/0 b:::/0 "},
    {"too many", "[{name: a, a: [" WIDE "," WIDE "," WIDE "," WIDE "," WIDE "," WIDE "]}]",
     "parsing address pool a: invalid CIDR \"1::1-efff:ffff:ffff:ffff:ffff:ffff:ffff:fffe\" in pool \"a\": more than 1024 prefixes"},
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

static struct json_value *make_pool(struct arena *arena, const struct json_value *row)
{
    struct json_value *pool = json_new_object(arena);
    struct json_value *spec = json_ensure_object(arena, pool, "spec");
    json_set_str(arena, json_ensure_object(arena, pool, "metadata"), "name", json_get_str(row, "name"));
    for (size_t i = 0; i < row->object.count; i++) {
        const struct json_member *member = &row->object.members[i];
        json_set(arena, spec, str_equal_c(member->name, "a") ? STR("addresses") : member->name, member->value);
    }
    return pool;
}

static enum err read_pools(struct arena *arena, const char *text, struct pool_list *pools, struct error *err)
{
    const struct json_value *objects[OBJECTS_MAX];
    const struct json_value *rows = parse(arena, text);
    for (size_t i = 0; i < json_count(rows); i++) {
        objects[i] = make_pool(arena, json_at(rows, i));
    }
    return pool_list_read(arena, objects, json_count(rows), pools, err);
}

static void pools_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(pool_rows); i++) {
        struct arena arena = {0};
        struct pool_list pools = {0};
        struct error err = {0};
        struct buf got = {0};
        if (read_pools(&arena, pool_rows[i].pools, &pools, &err) != ERR_OK) {
            buf_append_str(&got, str_of(err.message));
        }
        for (size_t k = 0; k < pools.count; k++) {
            for (size_t n = 0; n < pools.items[k].prefix_count; n++) {
                char text[POOL_PREFIX_TEXT_SIZE];
                buf_printf(&got, "%.*s:%s ", STR_ARG(pools.items[k].name), pool_prefix_format(&pools.items[k].prefixes[n], text));
            }
        }
        check_row(pool_rows[i].name, str_equal_c(buf_view(&got), pool_rows[i].want), "got %.*s", STR_ARG(buf_view(&got)));
        buf_done(&got);
        arena_done(&arena);
    }
}

// --- allocation ------------------------------------------------------------------------------------

// Services in short: name, t creation time (order), ip status address, p ports ["TCP/80"], an annotations
// (without the prefix), and spec members.
static struct json_value *make_service(struct arena *arena, const struct json_value *row)
{
    struct json_value *service = json_new_object(arena);
    struct json_value *metadata = json_ensure_object(arena, service, "metadata");
    struct json_value *spec = json_ensure_object(arena, service, "spec");
    json_set_cstr(arena, spec, "type", "LoadBalancer");
    json_set_cstr(arena, spec, "clusterIP", "10.96.0.9");
    json_set_cstr(arena, metadata, "namespace", "ns");
    for (size_t i = 0; i < row->object.count; i++) {
        struct str name = row->object.members[i].name;
        struct json_value *value = row->object.members[i].value;
        if (str_equal_c(name, "name")) {
            json_set(arena, metadata, STR("name"), value);
        } else if (str_equal_c(name, "ns")) {
            json_set(arena, metadata, STR("namespace"), value);
        } else if (str_equal_c(name, "t")) {
            json_set(arena, metadata, STR("creationTimestamp"), value);
        } else if (str_equal_c(name, "labels")) {
            json_set(arena, metadata, STR("labels"), value);
        } else if (str_equal_c(name, "ip")) {
            struct json_value *ingress = json_new_object(arena);
            json_set(arena, ingress, STR("ip"), value);
            json_push(arena, json_ensure_array(arena, json_ensure_object(arena, json_ensure_object(arena, service, "status"), "loadBalancer"), "ingress"), ingress);
        } else if (str_equal_c(name, "an")) {
            for (size_t k = 0; k < value->object.count; k++) {
                struct str key = arena_format(arena, "metallb.%s/%.*s", k % 2 == 0 ? "universe.tf" : "io", STR_ARG(value->object.members[k].name));
                json_set(arena, json_ensure_object(arena, metadata, "annotations"), key, value->object.members[k].value);
            }
        } else if (str_equal_c(name, "p")) {
            for (size_t k = 0; k < json_count(value); k++) {
                struct str port = json_str(json_at(value, k));
                struct json_value *item = json_new_object(arena);
                int64_t number = 0;
                json_set_str(arena, item, "protocol", str_split(&port, '/'));
                (void)str_to_i64(port, &number);
                json_set_int(arena, item, "port", number);
                json_push(arena, json_ensure_array(arena, spec, "ports"), item);
            }
        } else {
            json_set(arena, spec, name, value);
        }
    }
    return service;
}

#define PQ "[{name: q, a: [10.0.1.0/30]}, {name: p, a: [10.0.0.1-10.0.0.3]}]"

static const struct {
    const char *name;
    const char *pools; // NULL: not valid
    const char *services; // the first is asked about
    const char *want;
} rows[] = {
    {"first address of the first pool by name", PQ, "[{name: a}]", "assign 10.0.0.1 p"},
    {"used ones are passed over", PQ, "[{name: a}, {name: b, ip: 10.0.0.1}, {name: c, ip: 10.0.0.2}]", "assign 10.0.0.3 p"},
    {"next pool", "[{name: p, a: [10.0.0.1/32]}, {name: q, a: [10.0.1.0/30]}]", "[{name: a}, {name: b, ip: 10.0.0.1}]", "assign 10.0.1.0 q"},
    {"exhausted", "[{name: p, a: [10.0.0.1/32]}]", "[{name: a}, {name: b, ip: 10.0.0.1}]", "fail: no available IPs"},
    {"no pools", "[]", "[{name: a}]", "fail: no available IPs"},
    {"pools not valid", NULL, "[{name: a}]", "keep"},
    {"keeps what it has", PQ, "[{name: a, ip: 10.0.1.2}]", "keep 10.0.1.2 q"},
    {"pool is gone", PQ, "[{name: a, ip: 10.9.9.9}]", "clear: current IP [\"10.9.9.9\"] not allowed by config, will attempt for new IP assignment"},
    {"written by hand, no pools", "[]", "[{name: a, ip: 10.9.9.9}]", "keep"},
    {"ours, no pools any more", "[]", "[{name: a, ip: 10.9.9.9, an: {ip-allocated-from-pool: p}}]",
     "clear: current IP [\"10.9.9.9\"] not allowed by config, will attempt for new IP assignment"},
    {"two have it: the older keeps", PQ, "[{name: a, t: '2026-01-01', ip: 10.0.0.1}, {name: b, t: '2026-01-02', ip: 10.0.0.1}]", "keep 10.0.0.1 p"},
    {"two have it: the younger yields", PQ, "[{name: a, t: '2026-01-02', ip: 10.0.0.1}, {name: b, t: '2026-01-01', ip: 10.0.0.1}]",
     "clear: can't change sharing key for \"ns/a\", address also in use by ns/b"},
    {"bad status", PQ, "[{name: a, ip: nonsense}]", "clear: the assigned addresses are not those of one load balancer"},
    {"another type", PQ, "[{name: a, type: ClusterIP}]", "keep"},
    {"was a load balancer", PQ, "[{name: a, type: ClusterIP, an: {ip-allocated-from-pool: p}}]", "clear: "},
    {"headless", PQ, "[{name: a, clusterIP: None}]", "keep"},
    {"class of another", PQ, "[{name: a, loadBalancerClass: x/y, ip: 9.9.9.9}]", "keep"},
    {"buggy addresses", "[{name: p, a: [10.0.0.255-10.0.1.1], avoidBuggyIPs: true}]", "[{name: a}]", "assign 10.0.1.1 p"},
    {"buggy addresses are fine", "[{name: p, a: [10.0.0.255-10.0.1.1]}]", "[{name: a}]", "assign 10.0.0.255 p"},
    {"not automatic", "[{name: p, a: [10.0.0.0/24], autoAssign: false}]", "[{name: a}]", "fail: no available IPs"},
    {"not automatic, asked for by pool", "[{name: p, a: [10.0.0.0/24], autoAssign: false}]", "[{name: a, an: {address-pool: p}}]", "assign 10.0.0.0 p"},
    {"not automatic, asked for by address", "[{name: p, a: [10.0.0.0/24], autoAssign: false}]", "[{name: a, loadBalancerIP: 10.0.0.7}]", "assign 10.0.0.7 p"},
    {"pool asked for", PQ, "[{name: a, an: {address-pool: q}}]", "assign 10.0.1.0 q"},
    {"unknown pool", PQ, "[{name: a, an: {address-pool: x}}]", "fail: unknown pool \"x\""},
    {"pool asked for is full", "[{name: p, a: [10.0.0.1/32]}]", "[{name: a, an: {address-pool: p}}, {name: b, ip: 10.0.0.1}]", "fail: no available IPs in pool \"p\" for ipv4 IPFamily"},
    {"another pool asked for later", PQ, "[{name: a, ip: 10.0.0.1, an: {address-pool: q}}]", "clear: user requested a different pool than the one currently assigned"},
    {"address by annotation", PQ, "[{name: a, an: {loadBalancerIPs: 10.0.1.3}}]", "assign 10.0.1.3 q"},
    {"address asked for is in no pool", PQ, "[{name: a, loadBalancerIP: 9.9.9.9}]", "fail: [\"9.9.9.9\"] is not allowed in config"},
    {"address asked for is taken", PQ, "[{name: a, loadBalancerIP: 10.0.0.1}, {name: b, ip: 10.0.0.1}]", "fail: can't change sharing key for \"ns/a\", address also in use by ns/b"},
    {"another address asked for later", PQ, "[{name: a, ip: 10.0.0.1, loadBalancerIP: 10.0.0.2}]", "clear: user requested a different IP than the one currently assigned"},
    {"address and pool disagree", PQ, "[{name: a, loadBalancerIP: 10.0.0.2, an: {address-pool: q}}]", "fail: requested loadBalancer IP(s) [\"10.0.0.2\"] does not belong to requested pool q"},
    {"address twice", PQ, "[{name: a, loadBalancerIP: 10.0.0.2, an: {loadBalancerIPs: 10.0.0.2}}]",
     "refuse: service can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP"},
    {"bad address", PQ, "[{name: a, loadBalancerIP: x}]", "refuse: invalid spec.loadBalancerIP \"x\""},
    {"bad address list", PQ, "[{name: a, an: {loadBalancerIPs: '10.0.0.1,10.0.0.2'}}]", "refuse: service has more than one address per family in loadBalancerIPs: \"10.0.0.1,10.0.0.2\""},
    {"shares by key", PQ, "[{name: a, p: [TCP/80], an: {allow-shared-ip: k}}, {name: b, p: [TCP/81, UDP/80], ip: 10.0.0.1, an: {allow-shared-ip: k}}]", "assign 10.0.0.1 p"},
    {"other key", PQ, "[{name: a, p: [TCP/80], an: {allow-shared-ip: k}}, {name: b, p: [TCP/81], ip: 10.0.0.1, an: {allow-shared-ip: l}}]", "assign 10.0.0.2 p"},
    {"same port", PQ, "[{name: a, p: [TCP/80], loadBalancerIP: 10.0.0.1, an: {allow-shared-ip: k}}, {name: b, p: [TCP/80], ip: 10.0.0.1, an: {allow-shared-ip: k}}]",
     "fail: port TCP/80 is already in use on \"10.0.0.1\""},
    {"local, other pods", PQ, "[{name: a, p: [TCP/80], externalTrafficPolicy: Local, selector: {x: red}, an: {allow-shared-ip: k}}, "
     "{name: b, p: [TCP/81], externalTrafficPolicy: Local, selector: {x: blue}, ip: 10.0.0.1, an: {allow-shared-ip: k}}]", "assign 10.0.0.2 p"},
    {"local, same pods", PQ, "[{name: a, p: [TCP/80], externalTrafficPolicy: Local, selector: {x: red}, an: {allow-shared-ip: k}}, "
     "{name: b, p: [TCP/81], externalTrafficPolicy: Local, selector: {x: red}, ip: 10.0.0.1, an: {allow-shared-ip: k}}]", "assign 10.0.0.1 p"},
    {"sole owner changes its key", PQ, "[{name: a, p: [TCP/80], ip: 10.0.0.1, an: {allow-shared-ip: m}}]", "keep 10.0.0.1 p"},
    {"pinned pool first", "[{name: a, a: [10.0.0.0/24]}, {name: b, a: [10.1.0.0/24], serviceAllocation: {namespaces: [ns]}}]", "[{name: s}]", "assign 10.1.0.0 b"},
    {"pinned by priority", "[{name: a, a: [10.0.0.0/24], serviceAllocation: {}}, {name: b, a: [10.1.0.0/24], serviceAllocation: {priority: 20}}, "
     "{name: c, a: [10.2.0.0/24], serviceAllocation: {priority: 10}}]", "[{name: s}]", "assign 10.2.0.0 c"},
    {"pinned elsewhere", "[{name: b, a: [10.1.0.0/24], serviceAllocation: {namespaces: [other]}}]", "[{name: s}]", "fail: no available IPs"},
    {"pinned by namespace labels", "[{name: b, a: [10.1.0.0/24], serviceAllocation: {namespaceSelectors: [{matchLabels: {team: red}}]}}]", "[{name: s}]", "assign 10.1.0.0 b"},
    {"pinned by labels", "[{name: b, a: [10.1.0.0/24], serviceAllocation: {namespaces: [ns], serviceSelectors: [{matchLabels: {x: red}}]}}]", "[{name: s, labels: {x: blue}}]", "fail: no available IPs"},
    {"ipv6 is left alone", "[{name: p, a: ['fd00::/120']}]", "[{name: a}]", "fail: no available IPs"},
    {"last address there is", "[{name: p, a: [255.255.255.255/32]}]", "[{name: a}, {name: b, ip: 255.255.255.255}]", "fail: no available IPs"},
};

static void describe(const struct decision *decision, struct buf *out)
{
    static const char *const names[] = {"keep", "assign", "clear", "fail", "refuse"};
    char address[ALLOCATOR_ADDRESS_SIZE];
    buf_printf(out, "%s", names[decision->verdict]);
    if (!str_is_empty(decision->pool)) {
        buf_printf(out, " %s %.*s", allocator_format(decision->address, address), STR_ARG(decision->pool));
    }
    if (decision->verdict > VERDICT_ASSIGN) {
        buf_printf(out, ": %.*s", STR_ARG(decision->message));
    }
}

static void addresses_are_allocated(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct error err = {0};
        struct buf got = {0};
        struct pool_list pools;
        const struct json_value *services[OBJECTS_MAX];
        const struct json_value *list = parse(&arena, rows[i].services);
        const struct json_value *ns = parse(&arena, "{metadata: {name: ns, labels: {team: red}}}");
        for (size_t k = 0; k < json_count(list); k++) {
            services[k] = make_service(&arena, json_at(list, k));
        }
        struct allocator_input input = {.services = services, .service_count = json_count(list), .namespaces = &ns, .namespace_count = 1};
        if (rows[i].pools != NULL) {
            check_row(rows[i].name, read_pools(&arena, rows[i].pools, &pools, &err) == ERR_OK, "%s", err.message);
            input.pools = &pools;
        }
        struct decision decision = allocator_decide(allocator_new(&arena, &input), services[0]);
        describe(&decision, &got);
        check_row(rows[i].name, str_equal_c(buf_view(&got), rows[i].want), "got %.*s", STR_ARG(buf_view(&got)));
        buf_done(&got);
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pools_are_read),
        cmocka_unit_test(addresses_are_allocated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
