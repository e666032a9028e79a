// SPDX-License-Identifier: Apache-2.0
//
// The pure parts of the node agent: images, quantities, environment, volumes, specifications, status.
#include "test.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "lab/node/container_spec.h"
#include "lab/node/environment.h"
#include "lab/node/images.h"
#include "lab/node/pod_files.h"
#include "lab/node/pod_status.h"
#include "lab/node/quantity.h"
#include "lab/node/sandbox.h"
#include "lab/node/volumes.h"

static struct json_value *parse(struct arena *arena, const char *text)
{
    struct json_value *value = NULL;
    struct error err = {0};
    if (json_parse(arena, str_of(text), &value, &err) != ERR_OK) {
        fail_msg("%s", err.message);
    }
    return value;
}

// --- a small cluster -------------------------------------------------------------------------------

struct cluster {
    struct arena arena;
    struct json_value *secret;
    struct json_value *config;
    struct json_value *services;
};

static const struct json_value *find_object(void *owner, enum object_kind kind, struct str ns, struct str name)
{
    const struct cluster *cluster = owner;
    const struct json_value *object = kind == OBJECT_SECRET ? cluster->secret : cluster->config;
    bool is_it = str_equal_c(ns, "sample") && str_equal(json_str(json_path(object, "metadata", "name", NULL)), name);
    return is_it ? object : NULL;
}

static const struct json_value *each_service(void *owner, size_t *at)
{
    const struct cluster *cluster = owner;
    return json_at(cluster->services, (*at)++);
}

static struct str find_token(void *owner, struct str volume, size_t source)
{
    (void)owner;
    return str_equal_c(volume, "tokens") && source == 0 ? STR("eyJ") : (struct str){0};
}

static struct pod_context make_context(struct cluster *cluster, const char *pod)
{
    cluster->secret = parse(&cluster->arena, "{\"metadata\":{\"name\":\"s\"},\"data\":{\"key\":\"dmFsdWU=\",\"bad\":\"*\"}}");
    cluster->config = parse(&cluster->arena, "{\"metadata\":{\"name\":\"c\"},\"data\":{\"a\":\"1\",\"b.txt\":\"two\"},\"binaryData\":{\"bin\":\"AAE=\"}}");
    cluster->services = parse(&cluster->arena,
                              "[{\"metadata\":{\"namespace\":\"default\",\"name\":\"kubernetes\"},\"spec\":{\"clusterIP\":\"10.96.0.1\","
                              "\"ports\":[{\"name\":\"https\",\"port\":443}]}},"
                              "{\"metadata\":{\"namespace\":\"sample\",\"name\":\"hello-world\"},\"spec\":{\"clusterIP\":\"10.96.0.7\","
                              "\"ports\":[{\"name\":\"http\",\"port\":5000,\"protocol\":\"TCP\"}]}},"
                              "{\"metadata\":{\"namespace\":\"other\",\"name\":\"x\"},\"spec\":{\"clusterIP\":\"10.96.0.8\",\"ports\":[{\"port\":1}]}},"
                              "{\"metadata\":{\"namespace\":\"sample\",\"name\":\"headless\"},\"spec\":{\"clusterIP\":\"None\",\"ports\":[{\"port\":1}]}}]");
    return (struct pod_context){.pod = parse(&cluster->arena, pod), .ns = STR("sample"), .name = STR("p"), .uid = STR("u"),
                                .pod_ip = STR("10.244.0.5"), .host_ip = STR("172.18.0.2"), .node_name = STR("n"), .host_name = STR("p"),
                                .source = {.owner = cluster, .find = find_object, .each_service = each_service, .token = find_token}};
}

// --- tables ----------------------------------------------------------------------------------------

static void quantities(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool want_ok;
        uint64_t want;
    } rows[] = {
        {"100m", true, 100},        {"1", true, 1000},          {"0.5", true, 500},     {"1.5Gi", true, 1610612736000},
        {"128Mi", true, 134217728000}, {"1k", true, 1000000},   {"1e3", true, 1000000}, {"", false, 0},
        {"-1", false, 0},           {"1Qi", false, 0},          {"Mi", false, 0},       {"99999999999999999Ti", false, 0},
        {"0.0001", true, 1},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        uint64_t got = 0;
        bool ok = quantity_parse(str_of(rows[i].text), &got);
        check_row(rows[i].text, ok == rows[i].want_ok && got == rows[i].want, "got %d %llu", ok, (unsigned long long)got);
    }
}

static void images(void **state)
{
    (void)state;
    static const struct {
        const char *reference;
        const char *want; // program; NULL: no such image
    } rows[] = {
        {"docker.io/istio/pilot:1.20.1", IMAGE_PROGRAMS "/isthmeshd"},
        {"docker.io/istio/proxyv2:1.20.1-distroless", IMAGE_PROGRAMS "/isthmesh-proxy"},
        {"istio/proxyv2@sha256:0123", IMAGE_PROGRAMS "/isthmesh-proxy"},
        {"docker.io/istio/examples-helloworld-v2", IMAGE_PROGRAMS "/samples/helloworld"},
        {"curlimages/curl", "curl"},
        {"docker.io/library/busybox:1.36", "sh"},
        {"registry:5000/istio/pilot", NULL},
        {"nginx:latest", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct error err = {0};
        const struct image *image = image_find(str_of(rows[i].reference), &err);
        bool is_good = rows[i].want == NULL ? image == NULL && err.code == ERR_NOT_FOUND
                                            : image != NULL && str_equal_c(str_of(image->program), rows[i].want);
        check_row(rows[i].reference, is_good, "got %s", image == NULL ? "none" : image->program);
    }
}

static void environment(void **state)
{
    (void)state;
    struct cluster cluster = {0};
    struct pod_context context = make_context(&cluster, "{\"metadata\":{\"labels\":{\"app\":\"x\"},\"annotations\":{\"a/b\":\"c\\\"d\"}},\"spec\":{}}");
    struct json_value *container = parse(
        &cluster.arena,
        "{\"resources\":{\"limits\":{\"cpu\":\"1500m\",\"memory\":\"64Mi\"}},"
        "\"envFrom\":[{\"prefix\":\"C_\",\"configMapRef\":{\"name\":\"c\"}},{\"secretRef\":{\"name\":\"gone\",\"optional\":true}}],"
        "\"env\":[{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"B\",\"value\":\"$(A)-$$(A)-$(Z)\"},"
        "{\"name\":\"IP\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"status.podIP\"}}},"
        "{\"name\":\"L\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"metadata.labels['app']\"}}},"
        "{\"name\":\"AN\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"metadata.annotations\"}}},"
        "{\"name\":\"CPU\",\"valueFrom\":{\"resourceFieldRef\":{\"resource\":\"limits.cpu\"}}},"
        "{\"name\":\"MEM\",\"valueFrom\":{\"resourceFieldRef\":{\"resource\":\"limits.memory\",\"divisor\":\"1Mi\"}}},"
        "{\"name\":\"S\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"s\",\"key\":\"key\"}}},"
        "{\"name\":\"NO\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"s\",\"key\":\"gone\",\"optional\":true}}}]}");
    static const struct {
        const char *name;
        const char *want;
    } rows[] = {
        {"A", "1"},  {"B", "1-$(A)-$(Z)"}, {"IP", "10.244.0.5"},  {"L", "x"}, {"AN", "a/b=\"c\\\"d\""},
        {"CPU", "2"}, {"MEM", "64"}, {"S", "value"}, {"NO", NULL}, {"C_a", "1"},
        {"HOSTNAME", "p"}, {"SERVICE_VERSION", "v1"}, {"KUBERNETES_SERVICE_HOST", "10.96.0.1"}, {"KUBERNETES_SERVICE_PORT_HTTPS", "443"},
        {"HELLO_WORLD_PORT_5000_TCP_ADDR", "10.96.0.7"}, {"HELLO_WORLD_PORT", "tcp://10.96.0.7:5000"}, {"X_SERVICE_HOST", NULL},
        {"HEADLESS_SERVICE_HOST", NULL},
    };
    struct map values = {0};
    struct error err = {0};
    assert_int_equal(environment_build(&cluster.arena, &context, container, "SERVICE_VERSION=v1", &values, &err), ERR_OK);
    for (size_t i = 0; i < array_count(rows); i++) {
        const struct str *got = map_get(&values, str_of(rows[i].name));
        bool is_good = rows[i].want == NULL ? got == NULL : got != NULL && str_equal_c(*got, rows[i].want);
        check_row(rows[i].name, is_good, "got \"%.*s\"", got == NULL ? 4 : (int)got->size, got == NULL ? "none" : got->data);
    }
    map_done(&values);
    arena_done(&cluster.arena);
}

static void environment_says_what_is_missing(void **state)
{
    (void)state;
    static const struct {
        const char *env;
        const char *want;
    } rows[] = {
        {"{\"env\":[{\"name\":\"A\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"gone\",\"key\":\"k\"}}}]}", "secret \"gone\" not found"},
        {"{\"env\":[{\"name\":\"A\",\"valueFrom\":{\"configMapKeyRef\":{\"name\":\"c\",\"key\":\"k\"}}}]}",
         "couldn't find key k in ConfigMap sample/c"},
        {"{\"envFrom\":[{\"configMapRef\":{\"name\":\"gone\"}}]}", "configmap \"gone\" not found"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct cluster cluster = {0};
        struct pod_context context = make_context(&cluster, "{}");
        struct map values = {0};
        struct error err = {0};
        enum err code = environment_build(&cluster.arena, &context, parse(&cluster.arena, rows[i].env), NULL, &values, &err);
        check_row(rows[i].want, code == ERR_NOT_FOUND && str_equal_c(str_of(err.message), rows[i].want), "got \"%s\"", err.message);
        map_done(&values);
        arena_done(&cluster.arena);
    }
}

// --- volumes ---------------------------------------------------------------------------------------

static void volume_contents(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *volume;
        const char *want; // "path=bytes:mode …", or the error's end
    } rows[] = {
        {"config map", "{\"name\":\"v\",\"configMap\":{\"name\":\"c\"}}", "a=1:644 b.txt=two:644 bin=2 bytes:644 "},
        {"items and modes", "{\"name\":\"v\",\"configMap\":{\"name\":\"c\",\"defaultMode\":256,\"items\":[{\"key\":\"a\",\"path\":\"x/y\",\"mode\":420},{\"key\":\"b.txt\",\"path\":\"z\"}]}}",
         "x/y=1:644 z=two:400 "},
        {"secret", "{\"name\":\"v\",\"secret\":{\"secretName\":\"s\",\"items\":[{\"key\":\"key\",\"path\":\"k\"}]}}", "k=value:644 "},
        {"missing", "{\"name\":\"v\",\"secret\":{\"secretName\":\"gone\"}}", "MountVolume.SetUp failed for volume \"v\" : secret \"gone\" not found"},
        {"optional", "{\"name\":\"v\",\"secret\":{\"secretName\":\"gone\",\"optional\":true}}", ""},
        {"missing key", "{\"name\":\"v\",\"configMap\":{\"name\":\"c\",\"items\":[{\"key\":\"q\",\"path\":\"q\"}]}}",
         "MountVolume.SetUp failed for volume \"v\" : references non-existent key: q"},
        {"leaves the volume", "{\"name\":\"v\",\"configMap\":{\"name\":\"c\",\"items\":[{\"key\":\"a\",\"path\":\"../q\"}]}}",
         "MountVolume.SetUp failed for volume \"v\" : \"../q\" is no path inside a volume"},
        {"projected", "{\"name\":\"tokens\",\"projected\":{\"sources\":[{\"serviceAccountToken\":{\"path\":\"token\"}},"
                      "{\"configMap\":{\"name\":\"c\",\"items\":[{\"key\":\"a\",\"path\":\"ca\"}]}},"
                      "{\"downwardAPI\":{\"items\":[{\"path\":\"ns\",\"fieldRef\":{\"fieldPath\":\"metadata.namespace\"}}]}}]}}",
         "token=eyJ:644 ca=1:644 ns=sample:644 "},
        {"token not there", "{\"name\":\"w\",\"projected\":{\"sources\":[{\"serviceAccountToken\":{\"path\":\"token\"}}]}}",
         "MountVolume.SetUp failed for volume \"w\" : the service account token of volume \"w\" is not there yet"},
        {"labels", "{\"name\":\"v\",\"downwardAPI\":{\"items\":[{\"path\":\"labels\",\"fieldRef\":{\"fieldPath\":\"metadata.labels\"}}]}}",
         "labels=a=\"1\"\nb=\"2\":644 "},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct cluster cluster = {0};
        struct pod_context context = make_context(&cluster, "{\"metadata\":{\"labels\":{\"a\":\"1\",\"b\":\"2\"}}}");
        struct volume_files files = {0};
        struct error err = {0};
        struct buf got = {0};
        if (volume_build(&cluster.arena, &context, parse(&cluster.arena, rows[i].volume), &files, &err) != ERR_OK) {
            buf_append_str(&got, str_of(err.message));
        } else {
            for (size_t k = 0; k < files.list.count; k++) {
                const struct volume_file *file = &files.list.items[k];
                if (str_equal_c(file->path, "bin")) {
                    buf_printf(&got, "bin=%zu bytes:%o ", file->bytes.size, file->mode);
                } else {
                    buf_printf(&got, "%.*s=%.*s:%o ", STR_ARG(file->path), STR_ARG(file->bytes), file->mode);
                }
            }
        }
        check_row(rows[i].name, str_equal_c(buf_view(&got), rows[i].want), "got \"%.*s\"", STR_ARG(buf_view(&got)));
        buf_done(&got);
        vec_done(&files.list);
        arena_done(&cluster.arena);
    }
}

static void volume_updates_are_atomic(void **state)
{
    (void)state;
    char directory[] = "/tmp/isthmesh-volume-XXXXXX";
    char path[128];
    struct arena arena = {0};
    struct str text;
    struct error err = {0};
    struct volume_files first = {0};
    struct volume_files second = {0};
    assert_non_null(mkdtemp(directory));
    vec_push(&first.list, (struct volume_file){.path = STR("a"), .bytes = STR("1"), .mode = 0644});
    vec_push(&first.list, (struct volume_file){.path = STR("old/deep"), .bytes = STR("x"), .mode = 0600});
    vec_push(&second.list, (struct volume_file){.path = STR("a"), .bytes = STR("2"), .mode = 0644});
    assert_int_equal(volume_write(directory, &first, 1, -1, &err), ERR_OK);
    (void)snprintf(path, sizeof(path), "%s/old/deep", directory);
    assert_int_equal(file_read(&arena, path, 16, &text, &err), ERR_OK);
    assert_str(text, "x");
    assert_int_equal(volume_write(directory, &second, 2, -1, &err), ERR_OK);
    assert_int_equal(access(path, F_OK), -1);
    (void)snprintf(path, sizeof(path), "%s/a", directory);
    assert_int_equal(file_read(&arena, path, 16, &text, &err), ERR_OK);
    assert_str(text, "2");
    (void)unlink(path);
    (void)snprintf(path, sizeof(path), "%s/..2/a", directory);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof(path), "%s/..2", directory);
    assert_int_equal(rmdir(path), 0);
    (void)snprintf(path, sizeof(path), "%s/..data", directory);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0); // nothing else was left
    vec_done(&first.list);
    vec_done(&second.list);
    arena_done(&arena);
}

// --- specification ---------------------------------------------------------------------------------

static const struct container_place place = {.root = STR("/r"), .programs = STR("/p"), .hosts_file = STR("/h"),
                                             .resolv_file = STR("/d"), .volumes = STR("/v"), .cgroup = STR("/g"),
                                             .groups = {.has_cpu = true, .has_memory = true},
                                             .net_namespace = STR("/proc/1/fd/9"), .uts_namespace = STR("/proc/1/fd/10"),
                                             .ipc_namespace = STR("/proc/1/fd/11")};

static void specifications(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *pod;
        const char *container;
        const char *want; // compact JSON of process.args, process.user, capabilities.bounding; or the error
    } rows[] = {
        {"image alone", "{}", "{\"image\":\"istio/proxyv2\"}",
         "[\"/isthmesh/bin/isthmesh-proxy\"]{\"uid\":1337,\"gid\":1337,\"additionalGids\":[]}14"},
        {"arguments", "{}", "{\"image\":\"istio/proxyv2\",\"args\":[\"proxy\",\"$(HOSTNAME)\"]}",
         "[\"/isthmesh/bin/isthmesh-proxy\",\"proxy\",\"p\"]{\"uid\":1337,\"gid\":1337,\"additionalGids\":[]}14"},
        {"command drops the default argument", "{}", "{\"image\":\"registry.k8s.io/pause\",\"command\":[\"/bin/x\"]}",
         "[\"/bin/x\"]{\"uid\":0,\"gid\":0,\"additionalGids\":[]}14"},
        {"init container of a sidecar", "{}",
         "{\"image\":\"istio/proxyv2\",\"securityContext\":{\"runAsUser\":0,\"runAsGroup\":0,\"capabilities\":{\"drop\":[\"ALL\"],\"add\":[\"NET_ADMIN\",\"NET_RAW\"]}}}",
         "[\"/isthmesh/bin/isthmesh-proxy\"]{\"uid\":0,\"gid\":0,\"additionalGids\":[]}2"},
        {"pod's user and groups", "{\"spec\":{\"securityContext\":{\"runAsUser\":7,\"fsGroup\":8,\"supplementalGroups\":[9]}}}", "{\"image\":\"busybox\"}",
         "[\"sh\"]{\"uid\":7,\"gid\":0,\"additionalGids\":[8,9]}14"},
        {"container wins", "{\"spec\":{\"securityContext\":{\"runAsUser\":7,\"runAsGroup\":7}}}",
         "{\"image\":\"busybox\",\"securityContext\":{\"runAsUser\":5,\"capabilities\":{\"drop\":[\"NET_RAW\"]}}}",
         "[\"sh\"]{\"uid\":5,\"gid\":7,\"additionalGids\":[]}13"},
        {"must not be root", "{}", "{\"image\":\"busybox\",\"securityContext\":{\"runAsNonRoot\":true}}",
         "container has runAsNonRoot and image will run as root"},
        {"undeclared volume", "{}", "{\"image\":\"busybox\",\"volumeMounts\":[{\"name\":\"x\",\"mountPath\":\"/x\"}]}",
         "volume \"x\" is mounted but not declared"},
        {"escaping subPath", "{\"spec\":{\"volumes\":[{\"name\":\"x\",\"emptyDir\":{}}]}}",
         "{\"image\":\"busybox\",\"volumeMounts\":[{\"name\":\"x\",\"mountPath\":\"/x\",\"subPath\":\"a/../../b\"}]}",
         "subPath \"a/../../b\" leaves its volume"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct cluster cluster = {0};
        struct pod_context context = make_context(&cluster, rows[i].pod);
        struct json_value *container = parse(&cluster.arena, rows[i].container);
        const struct image *image = image_find(json_get_str(container, "image"), NULL);
        struct json_value *spec = NULL;
        struct error err = {0};
        struct buf got = {0};
        if (container_spec_build(&cluster.arena, &context, container, image, &place, &spec, &err) != ERR_OK) {
            buf_append_str(&got, str_of(err.message));
        } else {
            json_write(json_path(spec, "process", "args", NULL), &got);
            json_write(json_path(spec, "process", "user", NULL), &got);
            buf_append_u64(&got, json_count(json_path(spec, "process", "capabilities", "bounding", NULL)));
        }
        check_row(rows[i].name, str_equal_c(buf_view(&got), rows[i].want), "got %.*s", STR_ARG(buf_view(&got)));
        buf_done(&got);
        arena_done(&cluster.arena);
    }
}

static void mounts_come_shortest_first(void **state)
{
    (void)state;
    struct cluster cluster = {0};
    struct pod_context context = make_context(
        &cluster, "{\"spec\":{\"volumes\":[{\"name\":\"a\",\"emptyDir\":{}},{\"name\":\"b\",\"secret\":{}},{\"name\":\"c\",\"hostPath\":{\"path\":\"/srv\"}}]}}");
    struct json_value *container = parse(&cluster.arena, "{\"image\":\"busybox\",\"volumeMounts\":[{\"name\":\"b\",\"mountPath\":\"/var/run/secrets/x\"},"
                                                         "{\"name\":\"a\",\"mountPath\":\"/var/run\",\"subPath\":\"q\"},{\"name\":\"c\",\"mountPath\":\"/c\",\"readOnly\":true}]}");
    struct json_value *spec = NULL;
    struct error err = {0};
    assert_int_equal(container_spec_build(&cluster.arena, &context, container, image_find(STR("busybox"), NULL), &place, &spec, &err), ERR_OK);
    const struct json_value *mounts = json_get(spec, "mounts");
    size_t count = json_count(mounts);
    static const char *const want[] = {
        "{\"destination\":\"/c\",\"type\":\"bind\",\"source\":\"/srv\",\"options\":[\"rbind\",\"rprivate\",\"ro\"]}",
        "{\"destination\":\"/var/run\",\"type\":\"bind\",\"source\":\"/v/a/q\",\"options\":[\"rbind\",\"rprivate\"]}",
        "{\"destination\":\"/var/run/secrets/x\",\"type\":\"bind\",\"source\":\"/v/b\",\"options\":[\"rbind\",\"rprivate\",\"ro\"]}",
    };
    for (size_t i = 0; i < array_count(want); i++) {
        assert_str(json_to_str(&cluster.arena, json_at(mounts, count - 3 + i)), want[i]);
    }
    arena_done(&cluster.arena);
}

// --- files and status ------------------------------------------------------------------------------

static void name_files(void **state)
{
    (void)state;
    struct cluster cluster = {0};
    struct pod_context context = make_context(&cluster, "{\"spec\":{\"hostAliases\":[{\"ip\":\"1.2.3.4\",\"hostnames\":[\"a\",\"b\"]}]}}");
    assert_str(pod_files_resolv(&cluster.arena, &context, STR("10.96.0.10"), STR("nameserver 9.9.9.9\n")),
               "search sample.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n");
    assert_true(str_ends_with(pod_files_hosts(&cluster.arena, &context), STR("10.244.0.5\tp\n1.2.3.4\ta\tb\n")));
    context.pod = parse(&cluster.arena, "{\"spec\":{\"dnsPolicy\":\"Default\",\"dnsConfig\":{\"options\":[{\"name\":\"ndots\",\"value\":\"2\"}]}}}");
    assert_str(pod_files_resolv(&cluster.arena, &context, STR("10.96.0.10"), STR("nameserver 9.9.9.9\n")), "nameserver 9.9.9.9\noptions ndots:2\n");
    context.pod = parse(&cluster.arena, "{\"spec\":{\"dnsPolicy\":\"None\",\"dnsConfig\":{\"nameservers\":[\"1.1.1.1\"],\"searches\":[\"x\",\"y\"]}}}");
    assert_str(pod_files_resolv(&cluster.arena, &context, STR("10.96.0.10"), STR("")), "search x y\nnameserver 1.1.1.1\n");
    arena_done(&cluster.arena);
}

static void phases(void **state)
{
    (void)state;
    struct arena arena = {0};
    static const struct {
        const char *name;
        const char *policy;
        enum unit_state init;
        int init_code;
        enum unit_state app;
        int app_code;
        unsigned restarts;
        const char *want;
    } rows[] = {
        {"nothing yet", "Always", UNIT_WAITING, 0, UNIT_WAITING, 0, 0, "Pending"},
        {"initializing", "Always", UNIT_RUNNING, 0, UNIT_WAITING, 0, 0, "Pending"},
        {"running", "Always", UNIT_ENDED, 0, UNIT_RUNNING, 0, 0, "Running"},
        {"between restarts", "Always", UNIT_ENDED, 0, UNIT_WAITING, 0, 3, "Running"},
        {"ended, restarts", "Always", UNIT_ENDED, 0, UNIT_ENDED, 0, 0, "Running"},
        {"done", "OnFailure", UNIT_ENDED, 0, UNIT_ENDED, 0, 0, "Succeeded"},
        {"failed, restarts", "OnFailure", UNIT_ENDED, 0, UNIT_ENDED, 1, 0, "Running"},
        {"failed", "Never", UNIT_ENDED, 0, UNIT_ENDED, 1, 0, "Failed"},
        {"init failed", "Never", UNIT_ENDED, 1, UNIT_WAITING, 0, 0, "Failed"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct json_value *pod = json_new_object(&arena);
        json_set_cstr(&arena, json_ensure_object(&arena, pod, "spec"), "restartPolicy", rows[i].policy);
        struct unit_view units[] = {
            {.is_init = true, .state = rows[i].init, .outcome = {.exit_code = rows[i].init_code}, .reason = "", .message = ""},
            {.state = rows[i].app, .restart_count = rows[i].restarts, .outcome = {.exit_code = rows[i].app_code}, .reason = "", .message = ""},
        };
        struct pod_view view = {.pod = pod, .units = units, .unit_count = 2};
        const char *got = pod_status_phase(&view);
        check_row(rows[i].name, str_equal_c(str_of(got), rows[i].want), "got %s", got);
    }
    arena_done(&arena);
}

static void conditions_keep_their_time(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct json_value *pod = parse(&arena, "{\"spec\":{\"restartPolicy\":\"Always\"}}");
    struct unit_view unit = {.spec = parse(&arena, "{\"name\":\"c\",\"image\":\"busybox\"}"), .state = UNIT_RUNNING, .reason = "", .message = "",
                             .is_started = true, .started_ms = 1000};
    struct pod_view view = {.pod = pod, .units = &unit, .unit_count = 1, .host_ip = STR("172.18.0.2"), .now_ms = 5000};
    struct json_value *first = pod_status_build(&arena, &view);
    view.previous = first;
    view.now_ms = 9000;
    assert_true(json_equal(first, pod_status_build(&arena, &view)));
    unit.is_ready = true;
    struct json_value *second = pod_status_build(&arena, &view);
    const struct json_value *ready = json_at(json_get(second, "conditions"), 1);
    assert_str(json_get_str(ready, "type"), "Ready");
    assert_str(json_get_str(ready, "status"), "True");
    assert_str(json_get_str(ready, "lastTransitionTime"), "1970-01-01T00:00:09Z");
    const struct json_value *initialized = json_at(json_get(second, "conditions"), 0);
    assert_str(json_get_str(initialized, "lastTransitionTime"), "1970-01-01T00:00:05Z");
    arena_done(&arena);
}

static void addresses_go_round(void **state)
{
    (void)state;
    struct address_pool pool;
    struct in_addr base = {.s_addr = htonl(0x0af40000)};
    struct in_addr first;
    struct in_addr got;
    address_pool_init(&pool, base);
    assert_true(address_pool_take(&pool, &first));
    assert_int_equal(ntohl(first.s_addr), 0x0af40002);
    address_pool_give(&pool, first);
    for (uint32_t i = 3; i <= 254; i++) {
        assert_true(address_pool_take(&pool, &got));
        assert_int_equal(ntohl(got.s_addr), 0x0af40000 | i);
    }
    assert_true(address_pool_take(&pool, &got));
    assert_int_equal(got.s_addr, first.s_addr);
    assert_false(address_pool_take(&pool, &got));
}

// Limits that the machine cannot enforce are left out, so that the container runs all the same.
static void limits_are_best_effort(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct control_groups groups;
        const char *want;
    } rows[] = {
        {"all", {.has_cpu = true, .has_memory = true},
         "{\"cpu\":{\"quota\":50000,\"period\":100000,\"shares\":102},\"memory\":{\"limit\":1048576}}"},
        {"memory only", {.is_unified = true, .has_memory = true}, "{\"memory\":{\"limit\":1048576}}"},
        {"none", {.is_unified = true}, "{}"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct cluster cluster = {0};
        struct pod_context context = make_context(&cluster, "{}");
        struct json_value *container = parse(&cluster.arena, "{\"resources\":{\"requests\":{\"cpu\":\"100m\"},"
                                                             "\"limits\":{\"cpu\":\"500m\",\"memory\":\"1Mi\"}}}");
        struct container_place limited = place;
        struct json_value *spec = NULL;
        limited.groups = rows[i].groups;
        assert_int_equal(container_spec_build(&cluster.arena, &context, container, image_find(STR("istio/proxyv2"), NULL), &limited,
                                              &spec, NULL), ERR_OK);
        struct str got = json_to_str(&cluster.arena, json_path(spec, "linux", "resources", NULL));
        check_row(rows[i].name, str_equal_c(got, rows[i].want), "got %.*s", STR_ARG(got));
        arena_done(&cluster.arena);
    }
    assert_true(control_groups_lists(STR("cpuset cpu io memory\n"), STR("memory")));
    assert_false(control_groups_lists(STR("cpuset io"), STR("cpu")));
    assert_false(control_groups_lists(STR("\n"), STR("cpu")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantities),
        cmocka_unit_test(images),
        cmocka_unit_test(environment),
        cmocka_unit_test(environment_says_what_is_missing),
        cmocka_unit_test(volume_contents),
        cmocka_unit_test(volume_updates_are_atomic),
        cmocka_unit_test(specifications),
        cmocka_unit_test(limits_are_best_effort),
        cmocka_unit_test(mounts_come_shortest_first),
        cmocka_unit_test(name_files),
        cmocka_unit_test(phases),
        cmocka_unit_test(conditions_keep_their_time),
        cmocka_unit_test(addresses_go_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
