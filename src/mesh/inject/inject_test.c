// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "codec/yaml/yaml.h"
#include "mesh/inject/inject.h"

static const struct inject_options options = {
    .image = {"isthmesh/proxy", 14},
    .cluster = {"cluster1", 8},
    .network = {"network1", 8},
    .mesh_id = {"mesh1", 5},
    .trust_domain = {"cluster.local", 13},
    .domain = {"cluster.local", 13},
    .revision = {"default", 7},
    .discovery_address = {"istiod.istio-system.svc:15012", 29},
};

static struct json_value *yaml(struct arena *arena, const char *text)
{
    struct json_value *value = NULL;
    struct error err = {0};
    if (yaml_parse(arena, str_of(text), &value, &err) != ERR_OK) {
        fail_msg("%s: %s", text, err.message);
    }
    return value;
}

static struct json_value *apply(struct arena *arena, const char *text)
{
    struct json_value *result = NULL;
    struct error err = {0};
    if (inject_apply(arena, yaml(arena, text), STR("sample"), &options, &result, &err) != ERR_OK) {
        fail_msg("%s", err.message);
    }
    return result;
}

static const struct json_value *named(const struct json_value *list, const char *name)
{
    for (size_t i = 0; i < json_count(list); i++) {
        if (str_equal_c(json_get_str(json_at(list, i), "name"), name)) {
            return json_at(list, i);
        }
    }
    return NULL;
}

static struct str env(const struct json_value *container, const char *name)
{
    return json_get_str(named(json_get(container, "env"), name), "value");
}

static const char workload[] =
    "metadata:\n"
    "  generateName: helloworld-v1-5f7d9c-\n"
    "  labels: {app: helloworld, version: v1, pod-template-hash: 5f7d9c}\n"
    "  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: helloworld-v1-5f7d9c, controller: true}]\n"
    "spec:\n"
    "  volumes: [{name: kube-api-access, projected: {}}]\n"
    "  containers:\n"
    "  - {name: helloworld, image: example, ports: [{containerPort: 5000}]}\n";

static void sidecar_is_added(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct json_value *pod = apply(&arena, workload);
    const struct json_value *spec = json_get(pod, "spec");
    const struct json_value *proxy = json_at(json_get(spec, "containers"), 1);
    assert_str(json_get_str(json_at(json_get(spec, "containers"), 0), "name"), "helloworld");
    assert_str(json_get_str(proxy, "name"), "istio-proxy");
    assert_str(json_get_str(proxy, "image"), "isthmesh/proxy");
    assert_str(json_str(json_at(json_get(proxy, "args"), 3)), "$(POD_NAMESPACE).svc.cluster.local");
    assert_str(env(proxy, "ISTIO_META_WORKLOAD_NAME"), "helloworld-v1");
    assert_str(env(proxy, "ISTIO_META_OWNER"),
               "kubernetes://apis/apps/v1/namespaces/sample/deployments/helloworld-v1");
    assert_str(env(proxy, "ISTIO_META_POD_PORTS"), "[{\"containerPort\":5000}]");
    assert_str(env(proxy, "PROXY_CONFIG"), "{\"meshId\":\"mesh1\"}");
    assert_str(env(proxy, "ISTIO_META_NETWORK"), "network1");
    assert_str(json_get_str(json_at(json_get(spec, "initContainers"), 0), "name"), "istio-init");
    assert_non_null(named(json_get(spec, "volumes"), "kube-api-access"));
    assert_non_null(named(json_get(spec, "volumes"), "istio-token"));
    const struct json_value *labels = json_path(pod, "metadata", "labels", NULL);
    assert_str(json_get_str(labels, "security.istio.io/tlsMode"), "istio");
    assert_str(json_get_str(labels, "service.istio.io/canonical-name"), "helloworld");
    assert_str(json_get_str(labels, "service.istio.io/canonical-revision"), "v1");
    assert_str(json_get_str(labels, "topology.istio.io/network"), "network1");
    const struct json_value *annotations = json_path(pod, "metadata", "annotations", NULL);
    assert_str(json_get_str(annotations, "sidecar.istio.io/status"),
               "{\"initContainers\":[\"istio-init\"],\"containers\":[\"istio-proxy\"],\"volumes\":["
               "\"workload-socket\",\"credential-socket\",\"workload-certs\",\"istio-envoy\",\"istio-data\","
               "\"istio-podinfo\",\"istio-token\",\"istiod-ca-cert\"],\"imagePullSecrets\":null,"
               "\"revision\":\"default\"}");
    assert_int_equal(inject_decide(pod, STR("sample")), INJECT_ALREADY);
    arena_done(&arena);
}

static void gateway_keeps_what_its_author_set(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct json_value *pod = apply(&arena,
        "metadata: {name: gw, labels: {app: gw, topology.istio.io/network: network9},\n"
        "           annotations: {inject.istio.io/templates: gateway}}\n"
        "spec:\n"
        "  securityContext: {runAsUser: 1337}\n"
        "  containers:\n"
        "  - name: istio-proxy\n"
        "    image: auto\n"
        "    env: [{name: ISTIO_META_REQUESTED_NETWORK_VIEW, value: network9}, {name: TRUST_DOMAIN, value: own}]\n"
        "    ports: [{containerPort: 15443}]\n");
    const struct json_value *spec = json_get(pod, "spec");
    assert_int_equal(json_count(json_get(spec, "containers")), 1);
    const struct json_value *proxy = json_at(json_get(spec, "containers"), 0);
    assert_str(json_get_str(proxy, "image"), "isthmesh/proxy");
    assert_str(json_str(json_at(json_get(proxy, "args"), 1)), "router");
    assert_str(env(proxy, "ISTIO_META_REQUESTED_NETWORK_VIEW"), "network9");
    assert_str(env(proxy, "TRUST_DOMAIN"), "own");
    assert_str(env(proxy, "ISTIO_META_NETWORK"), "network9");
    assert_int_equal(json_count(json_get(proxy, "ports")), 2);
    assert_null(json_get(spec, "initContainers"));
    assert_int_equal(json_get_int(json_get(spec, "securityContext"), "runAsUser", 0), 1337);
    assert_non_null(json_get(json_get(spec, "securityContext"), "sysctls"));
    assert_null(json_get(json_path(pod, "metadata", "labels", NULL), "security.istio.io/tlsMode"));
    arena_done(&arena);
}

static void who_is_injected(void **state)
{
    static const struct {
        const char *name;
        const char *pod;
        const char *ns;
        enum inject_verdict want;
    } rows[] = {
        {"plain", "{metadata: {}, spec: {}}", "sample", INJECT_YES},
        {"host network", "{metadata: {}, spec: {hostNetwork: true}}", "sample", INJECT_HOST_NETWORK},
        {"system", "{metadata: {}, spec: {}}", "kube-system", INJECT_SYSTEM_NAMESPACE},
        {"label no", "{metadata: {labels: {sidecar.istio.io/inject: 'false'}}, spec: {}}", "a", INJECT_OPTED_OUT},
        {"label yes", "{metadata: {labels: {sidecar.istio.io/inject: 'true'}}, spec: {}}", "a", INJECT_YES},
        {"annotation no", "{metadata: {annotations: {sidecar.istio.io/inject: 'no'}}, spec: {}}", "a",
         INJECT_OPTED_OUT},
        {"label beats annotation",
         "{metadata: {labels: {sidecar.istio.io/inject: 'true'}, annotations: {sidecar.istio.io/inject: 'no'}},"
         " spec: {}}", "a", INJECT_YES},
    };
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        enum inject_verdict got = inject_decide(yaml(&arena, rows[i].pod), str_of(rows[i].ns));
        check_row(rows[i].name, got == rows[i].want, "got %s", inject_verdict_text(got));
        arena_done(&arena);
    }
}

static void unknown_template_is_refused(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error err = {0};
    struct json_value *result = NULL;
    struct json_value *pod =
        yaml(&arena, "{metadata: {annotations: {inject.istio.io/templates: waypoint}}, spec: {}}");
    assert_int_equal(inject_apply(&arena, pod, STR("a"), &options, &result, &err), ERR_INVALID);
    assert_null(result);
    arena_done(&arena);
}

static void patches(void **state)
{
    static const struct {
        const char *name;
        const char *from;
        const char *to;
        const char *want;
    } rows[] = {
        {"equal", "{a: 1}", "{a: 1}", "[]"},
        {"add", "{}", "{a: {b: c}}", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":{\"b\":\"c\"}}]"},
        {"remove", "{a: 1, b: 2}", "{b: 2}", "[{\"op\":\"remove\",\"path\":\"/a\"}]"},
        {"below", "{a: {b: 1}}", "{a: {b: 2}}", "[{\"op\":\"replace\",\"path\":\"/a/b\",\"value\":2}]"},
        {"array whole", "{a: [1]}", "{a: [1, 2]}", "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":[1,2]}]"},
        {"escaped", "{a: {}}", "{a: {x/y~z: 1}}", "[{\"op\":\"add\",\"path\":\"/a/x~1y~0z\",\"value\":1}]"},
    };
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct str got = json_to_str(
            &arena, json_patch_diff(&arena, yaml(&arena, rows[i].from), yaml(&arena, rows[i].to)));
        check_row(rows[i].name, str_equal_c(got, rows[i].want), "got %.*s", STR_ARG(got));
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sidecar_is_added),
        cmocka_unit_test(gateway_keeps_what_its_author_set),
        cmocka_unit_test(who_is_injected),
        cmocka_unit_test(unknown_template_is_refused),
        cmocka_unit_test(patches),
    };
    return cmocka_run_group_tests_name("mesh/inject", tests, NULL, NULL);
}
