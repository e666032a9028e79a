// SPDX-License-Identifier: Apache-2.0
#include "lab/node/node.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "lab/node/node_internal.h"
#include "lab/node/pod.h"
#include "lab/node/pod_status.h"
#include "lab/node/service_proxy.h"

#define HEARTBEAT_MS 10000u
#define REGISTER_RETRY_MS 500u
#define KUBELET_VERSION "v1.27.3" // what the API server says it is
#define RESOLV_MAX 65536u
#define PODS_MAX 250 // as many as addresses
#define CGROUP_ROOT "/sys/fs/cgroup"

static struct log_scope scope = LOG_SCOPE("node");

// --- the Node object -------------------------------------------------------------------------------

static void set_labels(const struct node *node, struct arena *arena, struct json_value *metadata)
{
    const struct {
        const char *name;
        struct str value;
    } labels[] = {
        {"kubernetes.io/hostname", node->name},
        {"kubernetes.io/os", STR("linux")},
        {"kubernetes.io/arch", STR("amd64")},
        {"beta.kubernetes.io/os", STR("linux")},
        {"beta.kubernetes.io/arch", STR("amd64")},
        {"topology.kubernetes.io/region", node->region},
        {"topology.kubernetes.io/zone", node->zone},
    };
    struct json_value *map = json_ensure_object(arena, metadata, "labels");
    for (size_t i = 0; i < array_count(labels); i++) {
        if (labels[i].value.size > 0) {
            json_set_str(arena, map, labels[i].name, labels[i].value);
        }
    }
    json_set_cstr(arena, map, "node-role.kubernetes.io/control-plane", "");
}

static void add_condition(struct arena *arena, struct json_value *list, const char *type, bool is_true, const char *reason,
                          struct str now)
{
    struct json_value *condition = json_new_object(arena);
    json_set_cstr(arena, condition, "type", type);
    json_set_cstr(arena, condition, "status", is_true ? "True" : "False");
    json_set_cstr(arena, condition, "reason", reason);
    json_set_cstr(arena, condition, "message", "");
    json_set_str(arena, condition, "lastHeartbeatTime", now);
    json_set_str(arena, condition, "lastTransitionTime", now);
    json_push(arena, list, condition);
}

static void add_address(struct arena *arena, struct json_value *list, const char *type, struct str value)
{
    struct json_value *address = json_new_object(arena);
    json_set_cstr(arena, address, "type", type);
    json_set_str(arena, address, "address", value);
    json_push(arena, list, address);
}

static struct json_value *build_capacity(struct arena *arena)
{
    struct json_value *capacity = json_new_object(arena);
    struct sysinfo info = {0};
    (void)sysinfo(&info);
    unsigned long long memory_ki = (unsigned long long)info.totalram * info.mem_unit / 1024;
    json_set_str(arena, capacity, "cpu", arena_format(arena, "%ld", sysconf(_SC_NPROCESSORS_ONLN)));
    json_set_str(arena, capacity, "memory", arena_format(arena, "%lluKi", memory_ki));
    json_set_str(arena, capacity, "pods", arena_format(arena, "%d", PODS_MAX));
    return capacity;
}

static struct json_value *build_status(const struct node *node, struct arena *arena)
{
    struct utsname machine = {0};
    struct json_value *status = json_new_object(arena);
    struct str now = pod_status_time(arena, loop_wall_ms(node->loop));
    (void)uname(&machine);
    json_set(arena, status, STR("capacity"), build_capacity(arena));
    json_set(arena, status, STR("allocatable"), build_capacity(arena));
    struct json_value *conditions = json_ensure_array(arena, status, "conditions");
    add_condition(arena, conditions, "MemoryPressure", false, "KubeletHasSufficientMemory", now);
    add_condition(arena, conditions, "DiskPressure", false, "KubeletHasNoDiskPressure", now);
    add_condition(arena, conditions, "PIDPressure", false, "KubeletHasSufficientPID", now);
    add_condition(arena, conditions, "Ready", true, "KubeletReady", now);
    struct json_value *addresses = json_ensure_array(arena, status, "addresses");
    add_address(arena, addresses, "InternalIP", node->node_ip);
    add_address(arena, addresses, "Hostname", node->name);
    struct json_value *info = json_ensure_object(arena, status, "nodeInfo");
    json_set_cstr(arena, info, "kubeletVersion", KUBELET_VERSION);
    json_set_cstr(arena, info, "kubeProxyVersion", KUBELET_VERSION);
    json_set_cstr(arena, info, "containerRuntimeVersion", "runc://1");
    json_set_cstr(arena, info, "operatingSystem", "linux");
    json_set_cstr(arena, info, "architecture", "amd64");
    json_set_cstr(arena, info, "osImage", "isthmesh lab");
    json_set_cstr(arena, info, "kernelVersion", machine.release);
    return status;
}

static struct json_value *build_object(const struct node *node, struct arena *arena)
{
    struct json_value *object = json_new_object(arena);
    json_set_cstr(arena, object, "apiVersion", "v1");
    json_set_cstr(arena, object, "kind", "Node");
    struct json_value *metadata = json_ensure_object(arena, object, "metadata");
    json_set_str(arena, metadata, "name", node->name);
    set_labels(node, arena, metadata);
    struct json_value *spec = json_ensure_object(arena, object, "spec");
    json_set_str(arena, spec, "podCIDR", node->pod_cidr);
    json_push(arena, json_ensure_array(arena, spec, "podCIDRs"), json_new_str(arena, node->pod_cidr));
    json_set_str(arena, spec, "providerID", arena_format(arena, "isthmesh://%.*s", STR_ARG(node->name)));
    return object;
}

static void heartbeat_on_done(void *owner, enum err code, const struct kube_response *response)
{
    struct node *node = owner;
    node->call = NULL;
    if (code == ERR_OK) {
        node->is_registered = true;
        loop_timer_start(&node->heartbeat, HEARTBEAT_MS);
        return;
    }
    // Somebody deleted the Node object: it is made again.
    node->is_registered = node->is_registered && code != ERR_NOT_FOUND;
    log_warning(&scope, "the node's status was not taken, trying again", LOG_STR("error", response->message));
    loop_timer_start(&node->heartbeat, REGISTER_RETRY_MS);
}

static void send_heartbeat(struct node *node)
{
    struct arena arena = {0};
    struct json_value *patch = json_new_object(&arena);
    json_set(&arena, patch, STR("status"), build_status(node, &arena));
    node->call = kube_patch(node->client, &kube_nodes, STR_EMPTY, node->name, STR("status"), STR("application/merge-patch+json"), patch,
                            heartbeat_on_done, node);
    arena_done(&arena);
}

static void create_on_done(void *owner, enum err code, const struct kube_response *response)
{
    struct node *node = owner;
    node->call = NULL;
    if (code == ERR_OK || code == ERR_EXISTS || code == ERR_CONFLICT) {
        send_heartbeat(node);
        return;
    }
    log_debug(&scope, "the node was not registered, trying again", LOG_STR("error", response->message));
    loop_timer_start(&node->heartbeat, REGISTER_RETRY_MS);
}

static void on_heartbeat(struct loop_timer *timer)
{
    struct node *node = container_of(timer, struct node, heartbeat);
    struct arena arena = {0};
    if (node->is_registered) {
        send_heartbeat(node);
    } else {
        node->call = kube_create(node->client, &kube_nodes, STR_EMPTY, build_object(node, &arena), create_on_done, node);
    }
    arena_done(&arena);
}

// --- events ----------------------------------------------------------------------------------------

void node_record_event(struct node *node, const struct json_value *pod, const char *type, const char *reason, struct str message)
{
    struct arena arena = {0};
    struct json_value *event = json_new_object(&arena);
    const struct json_value *metadata = json_get(pod, "metadata");
    struct str ns = json_get_str(metadata, "namespace");
    struct str now = pod_status_time(&arena, loop_wall_ms(node->loop));
    uint64_t unique = 0;
    random_bytes(&unique, sizeof(unique));
    json_set_cstr(&arena, event, "apiVersion", "v1");
    json_set_cstr(&arena, event, "kind", "Event");
    struct json_value *own = json_ensure_object(&arena, event, "metadata");
    json_set_str(&arena, own, "name", arena_format(&arena, "%.*s.%016llx", STR_ARG(json_get_str(metadata, "name")), (unsigned long long)unique));
    json_set_str(&arena, own, "namespace", ns);
    struct json_value *about = json_ensure_object(&arena, event, "involvedObject");
    json_set_cstr(&arena, about, "kind", "Pod");
    json_set_cstr(&arena, about, "apiVersion", "v1");
    json_set_str(&arena, about, "namespace", ns);
    json_set_str(&arena, about, "name", json_get_str(metadata, "name"));
    json_set_str(&arena, about, "uid", json_get_str(metadata, "uid"));
    json_set_cstr(&arena, event, "type", type);
    json_set_cstr(&arena, event, "reason", reason);
    json_set_str(&arena, event, "message", message);
    json_set_cstr(&arena, json_ensure_object(&arena, event, "source"), "component", "kubelet");
    json_set_str(&arena, json_ensure_object(&arena, event, "source"), "host", node->name);
    json_set_str(&arena, event, "firstTimestamp", now);
    json_set_str(&arena, event, "lastTimestamp", now);
    json_set_int(&arena, event, "count", 1);
    (void)kube_create(node->client, &kube_events, ns, event, NULL, NULL); // nobody waits for events
    arena_done(&arena);
}

// --- pods ------------------------------------------------------------------------------------------

static bool is_over(const struct json_value *pod)
{
    struct str phase = json_str(json_path(pod, "status", "phase", NULL));
    return str_equal_c(phase, "Succeeded") || str_equal_c(phase, "Failed");
}

static void take_pod(struct node *node, struct kube_object *object)
{
    if (node->is_draining) {
        return;
    }
    if (is_over(object->value)) {
        // It ended before this agent began: nothing of it runs, but a deleted one must still be let go.
        if (json_str(json_path(object->value, "metadata", "deletionTimestamp", NULL)).size > 0) {
            (void)kube_delete(node->client, &kube_pods, object->ns, object->name, 0, NULL, NULL);
        }
        return;
    }
    (void)map_set(&node->pod_map, object->uid, pod_new(node, object));
}

static void on_pod_change(void *owner, struct informer *informer, struct kube_object *old, struct kube_object *fresh)
{
    struct node *node = owner;
    (void)informer;
    // A pod of the same name but another uid is another pod: the old one was removed in between.
    if (old != NULL && (fresh == NULL || !str_equal(old->uid, fresh->uid))) {
        struct pod *gone = map_get(&node->pod_map, old->uid);
        if (gone != NULL) {
            pod_set_object(gone, NULL);
        }
    }
    if (fresh == NULL) {
        return;
    }
    struct pod *pod = map_get(&node->pod_map, fresh->uid);
    if (pod != NULL) {
        pod_set_object(pod, fresh);
    } else {
        take_pod(node, fresh);
    }
}

static void end_drain(struct node *node)
{
    if (node->is_draining && map_count(&node->pod_map) == 0 && node->on_drained != NULL) {
        void (*on_drained)(void *owner) = node->on_drained;
        node->on_drained = NULL;
        on_drained(node->drain_owner);
    }
}

void node_forget_pod(struct node *node, struct str uid)
{
    struct pod *pod = map_get(&node->pod_map, uid);
    (void)map_remove(&node->pod_map, uid);
    pod_free(pod);
    end_drain(node);
}

static void on_object_change(void *owner, struct informer *informer, struct kube_object *old, struct kube_object *fresh)
{
    struct node *node = owner;
    struct kube_object *object = fresh != NULL ? fresh : old;
    void *pod = NULL;
    (void)object;
    if (informer == node->services) {
        service_proxy_changed(node->proxy);
        return;
    }
    for (size_t at = 0; map_each(&node->pod_map, &at, NULL, &pod);) {
        pod_wake(pod);
    }
}

static void on_services_synced(void *owner, struct informer *informer)
{
    struct node *node = owner;
    (void)informer;
    service_proxy_changed(node->proxy);
}

static const struct json_value *find_object(void *owner, enum object_kind kind, struct str ns, struct str name)
{
    const struct node *node = owner;
    struct kube_object *object = informer_get(kind == OBJECT_SECRET ? node->secrets : node->config_maps, ns, name);
    return object == NULL ? NULL : object->value;
}

static const struct json_value *each_service(void *owner, size_t *at)
{
    const struct node *node = owner;
    struct kube_object *object = informer_each(node->services, at);
    return object == NULL ? NULL : object->value;
}

// --- life ------------------------------------------------------------------------------------------

static void on_proxy_ready(void *owner)
{
    (void)owner; // node_is_ready() asks
}

static enum err set_addresses(struct node *node, const struct node_options *options, struct error *err)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr base;
    struct str rest = options->pod_cidr;
    struct str host = str_split(&rest, '/');
    (void)snprintf(text, sizeof(text), "%.*s", STR_ARG(host));
    if (inet_pton(AF_INET, text, &base) != 1) {
        return error_set(err, ERR_INVALID, "\"%.*s\" is no pod range", STR_ARG(options->pod_cidr));
    }
    address_pool_init(&node->addresses, base);
    node->gateway.s_addr = htonl((ntohl(base.s_addr) & 0xffffff00u) | 1u);
    (void)inet_ntop(AF_INET, &node->gateway, text, sizeof(text));
    node->gateway_ip = arena_str(&node->arena, str_of(text));
    node->pod_cidr = arena_format(&node->arena, "%.*s/24", STR_ARG(host));
    return ERR_OK;
}

static enum err make_directories(const struct node *node, struct error *err)
{
    enum err code = file_make_directories(node->runc_root.data, 0700, err);
    return code == ERR_OK ? file_make_directories(node->state_directory.data, 0755, err) : code;
}

static void copy_options(struct node *node, const struct node_options *options)
{
    const struct {
        struct str *to;
        struct str from;
    } copies[] = {
        {&node->name, options->name},         {&node->node_ip, options->node_ip},
        {&node->dns_ip, options->dns_ip},     {&node->cluster_cidr, options->pod_cidr},
        {&node->programs, options->programs}, {&node->state_directory, options->state_directory},
        {&node->cgroup, options->cgroup},     {&node->run_directory, options->run_directory},
        {&node->region, options->region},     {&node->zone, options->zone},
    };
    for (size_t i = 0; i < array_count(copies); i++) {
        *copies[i].to = arena_str(&node->arena, copies[i].from);
    }
    node->runc_root = arena_format(&node->arena, "%.*s/runc", STR_ARG(options->run_directory));
    if (file_read(&node->arena, "/etc/resolv.conf", RESOLV_MAX, &node->machine_resolv, NULL) != ERR_OK) {
        node->machine_resolv = STR_EMPTY;
    }
}

static void start_informers(struct node *node)
{
    static const struct informer_events pod_events = {.on_change = on_pod_change};
    static const struct informer_events object_events = {.on_change = on_object_change};
    static const struct informer_events service_events = {.on_change = on_object_change, .on_synced = on_services_synced};
    struct informer_options options = {.resource = &kube_secrets};
    node->secrets = informer_new(node->client, &options, &object_events, node);
    options.resource = &kube_configmaps;
    node->config_maps = informer_new(node->client, &options, &object_events, node);
    options.resource = &kube_services;
    node->services = informer_new(node->client, &options, &service_events, node);
    options.resource = &kube_pods;
    options.field_selector = arena_format(&node->arena, "spec.nodeName=%.*s", STR_ARG(node->name));
    node->pods = informer_new(node->client, &options, &pod_events, node);
}

struct node *node_new(struct loop *loop, struct kube_client *client, const struct node_options *options, struct error *err)
{
    struct node *node = mem_new(struct node);
    node->loop = loop;
    node->client = client;
    loop_timer_init(&node->heartbeat, loop, on_heartbeat);
    node->source = (struct object_source){.owner = node, .find = find_object, .each_service = each_service};
    copy_options(node, options);
    control_groups_detect(CGROUP_ROOT, &node->groups);
    if (set_addresses(node, options, err) != ERR_OK || make_directories(node, err) != ERR_OK) {
        arena_done(&node->arena);
        mem_free(node);
        return NULL;
    }
    loop_timer_start(&node->heartbeat, 0);
    node->proxy = service_proxy_new(node, on_proxy_ready, node);
    start_informers(node);
    return node;
}

bool node_is_ready(const struct node *node)
{
    return node->is_registered && informer_is_synced(node->pods) && informer_is_synced(node->secrets) &&
           informer_is_synced(node->config_maps) && service_proxy_is_ready(node->proxy);
}

void node_drain(struct node *node, uint64_t deadline_ms, void (*on_done)(void *owner), void *owner)
{
    void *pod = NULL;
    node->is_draining = true;
    node->on_drained = on_done;
    node->drain_owner = owner;
    loop_timer_stop(&node->heartbeat);
    for (size_t at = 0; map_each(&node->pod_map, &at, NULL, &pod);) {
        pod_stop(pod, deadline_ms);
    }
    end_drain(node);
}

void node_free(struct node *node)
{
    void *pod = NULL;
    if (node == NULL) {
        return;
    }
    loop_timer_stop(&node->heartbeat);
    if (node->call != NULL) {
        kube_call_cancel(node->call);
    }
    for (size_t at = 0; map_each(&node->pod_map, &at, NULL, &pod);) {
        pod_free(pod);
    }
    map_done(&node->pod_map);
    service_proxy_free(node->proxy);
    informer_free(node->pods);
    informer_free(node->secrets);
    informer_free(node->config_maps);
    informer_free(node->services);
    arena_done(&node->arena);
    mem_free(node);
}
