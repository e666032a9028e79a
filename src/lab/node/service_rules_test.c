// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "lab/node/service_rules.h"

static const char world[] =
    "{\"services\":["
    "{\"metadata\":{\"namespace\":\"sample\",\"name\":\"web\"},\"spec\":{\"clusterIP\":\"10.96.0.7\",\"externalIPs\":[\"172.18.0.2\"],"
    "\"ports\":[{\"name\":\"http\",\"port\":80,\"nodePort\":30080,\"protocol\":\"TCP\"},{\"name\":\"dns\",\"port\":53,\"protocol\":\"UDP\"}]},"
    "\"status\":{\"loadBalancer\":{\"ingress\":[{\"ip\":\"172.18.1.230\"}]}}},"
    "{\"metadata\":{\"namespace\":\"default\",\"name\":\"kubernetes\"},\"spec\":{\"clusterIP\":\"10.96.0.1\",\"ports\":[{\"name\":\"https\",\"port\":443}]}},"
    "{\"metadata\":{\"namespace\":\"sample\",\"name\":\"headless\"},\"spec\":{\"clusterIP\":\"None\",\"ports\":[{\"port\":1}]}},"
    "{\"metadata\":{\"namespace\":\"sample\",\"name\":\"elsewhere\"},\"spec\":{\"type\":\"ExternalName\",\"externalName\":\"x\",\"ports\":[{\"port\":1}]}},"
    "{\"metadata\":{\"namespace\":\"sample\",\"name\":\"odd\"},\"spec\":{\"clusterIP\":\"10.96.0.9; flush ruleset\",\"ports\":[{\"port\":99999},{\"port\":7}]}}"
    "],\"slices\":["
    "{\"metadata\":{\"namespace\":\"default\",\"labels\":{\"kubernetes.io/service-name\":\"kubernetes\"}},\"ports\":[{\"name\":\"https\",\"port\":6443}],"
    "\"endpoints\":[{\"addresses\":[\"172.18.0.2\"]}]},"
    "{\"metadata\":{\"namespace\":\"sample\",\"labels\":{\"kubernetes.io/service-name\":\"web\"}},\"ports\":[{\"name\":\"http\",\"port\":8080}],"
    "\"endpoints\":[{\"addresses\":[\"10.244.0.6\"],\"conditions\":{\"ready\":true}},{\"addresses\":[\"10.244.0.5\"],\"conditions\":{\"ready\":true}},"
    "{\"addresses\":[\"10.244.0.9\"],\"conditions\":{\"ready\":false,\"serving\":true,\"terminating\":true}},{\"addresses\":[\"10.244.0.6\"]}]},"
    "{\"metadata\":{\"namespace\":\"other\",\"labels\":{\"kubernetes.io/service-name\":\"web\"}},\"ports\":[{\"name\":\"http\",\"port\":8080}],"
    "\"endpoints\":[{\"addresses\":[\"10.244.0.77\"]}]}]}";

static void generate(struct arena *arena, const char *text, bool reversed, struct buf *out)
{
    struct json_value *input = NULL;
    struct error err = {0};
    assert_int_equal(json_parse(arena, str_of(text), &input, &err), ERR_OK);
    const struct json_value *services[16];
    const struct json_value *slices[16];
    size_t service_count = json_count(json_get(input, "services"));
    size_t slice_count = json_count(json_get(input, "slices"));
    for (size_t i = 0; i < service_count; i++) {
        services[i] = json_at(json_get(input, "services"), reversed ? service_count - 1 - i : i);
    }
    for (size_t i = 0; i < slice_count; i++) {
        slices[i] = json_at(json_get(input, "slices"), reversed ? slice_count - 1 - i : i);
    }
    struct service_rules_input rules = {.services = services, .service_count = service_count, .slices = slices, .slice_count = slice_count,
                                        .node_ip = STR("172.18.0.2"), .pod_cidr = STR("10.244.0.0/16")};
    service_rules_write(&rules, out);
}

// The lines that carry meaning, in their order; the fixed hooks are left to the end-to-end test.
static const char *const want[] = {
    "table ip isthmesh_services\ndelete table ip isthmesh_services\ntable ip isthmesh_services {\n",
    "      10.96.0.1 . tcp . 443 : goto svc_0,\n      10.96.0.7 . tcp . 80 : goto svc_1,\n"
    "      172.18.0.2 . tcp . 80 : goto ext_1,\n      172.18.1.230 . tcp . 80 : goto ext_1\n    }\n",
    "      tcp . 30080 : goto ext_1\n    }\n",
    "      10.96.0.7 . udp . 53 : goto refuse,\n      172.18.0.2 . udp . 53 : goto refuse,\n      172.18.1.230 . udp . 53 : goto refuse\n    }\n",
    "    ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 oifname \"eth0\" masquerade\n",
    "  chain ep_0_0 {\n    ip saddr 172.18.0.2 jump mark_masquerade\n    meta l4proto tcp dnat to 172.18.0.2:6443\n  }\n"
    "  chain svc_0 {\n    # default/kubernetes:443\n    goto ep_0_0\n  }\n  chain ext_0 {\n    jump mark_masquerade\n    goto svc_0\n  }\n",
    "  chain ep_1_0 {\n    ip saddr 10.244.0.5 jump mark_masquerade\n    meta l4proto tcp dnat to 10.244.0.5:8080\n  }\n"
    "  chain ep_1_1 {\n    ip saddr 10.244.0.6 jump mark_masquerade\n    meta l4proto tcp dnat to 10.244.0.6:8080\n  }\n"
    "  chain svc_1 {\n    # sample/web:80\n    numgen random mod 2 vmap { 0 : goto ep_1_0, 1 : goto ep_1_1 }\n  }\n",
};

static void golden(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct buf text = {0};
    generate(&arena, world, false, &text);
    struct str rest = buf_view(&text);
    for (size_t i = 0; i < array_count(want); i++) {
        ptrdiff_t at = str_find(rest, str_of(want[i]));
        check_row(want[i], at >= 0, "not found in:\n%.*s", STR_ARG(rest));
        rest = str_from(rest, (size_t)at + strlen(want[i]));
    }
    // Other namespaces' endpoints, terminating ones beside ready ones, and what is no address stay out.
    assert_int_equal(str_find(buf_view(&text), STR("10.244.0.77")), -1);
    assert_int_equal(str_find(buf_view(&text), STR("10.244.0.9")), -1);
    assert_int_equal(str_find(buf_view(&text), STR("flush")), -1);
    buf_done(&text);
    arena_done(&arena);
}

static void order_does_not_matter(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct buf one = {0};
    struct buf two = {0};
    generate(&arena, world, false, &one);
    generate(&arena, world, true, &two);
    assert_true(str_equal(buf_view(&one), buf_view(&two)));
    buf_done(&one);
    buf_done(&two);
    arena_done(&arena);
}

static void terminating_endpoints_serve_when_alone(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct buf text = {0};
    generate(&arena,
             "{\"services\":[{\"metadata\":{\"namespace\":\"s\",\"name\":\"w\"},\"spec\":{\"clusterIP\":\"10.96.0.7\",\"externalTrafficPolicy\":\"Local\","
             "\"ports\":[{\"port\":80}]}}],\"slices\":[{\"metadata\":{\"namespace\":\"s\",\"labels\":{\"kubernetes.io/service-name\":\"w\"}},"
             "\"ports\":[{\"name\":\"\",\"port\":8080}],\"endpoints\":[{\"addresses\":[\"10.244.0.9\"],"
             "\"conditions\":{\"ready\":false,\"serving\":true,\"terminating\":true}},{\"addresses\":[\"10.244.0.8\"],\"conditions\":{\"ready\":false}}]}]}",
             false, &text);
    assert_true(str_find(buf_view(&text), STR("dnat to 10.244.0.9:8080")) > 0);
    assert_int_equal(str_find(buf_view(&text), STR("10.244.0.8")), -1);
    // Local keeps the client's address.
    assert_true(str_find(buf_view(&text), STR("chain ext_0 {\n    goto svc_0\n")) > 0);
    buf_done(&text);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),
        cmocka_unit_test(order_does_not_matter),
        cmocka_unit_test(terminating_endpoints_serve_when_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
