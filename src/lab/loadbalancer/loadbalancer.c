// SPDX-License-Identifier: Apache-2.0
//
//   an object changes ─► timer ─► sweep: decide about every Service
//                          ▲        ├─ nothing to write: announce what is allocated
//                          │        └─ write one status ─► answered ─► seen in the informer ─┐
//                          └─────────────────────────────────────────────────────────────────┘
#include "lab/loadbalancer/loadbalancer.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/vec.h"
#include "kube/informer.h"
#include "lab/loadbalancer/allocator.h"
#include "lab/loadbalancer/announcement.h"
#include "lab/loadbalancer/announcer.h"
#include "lab/loadbalancer/events.h"
#include "lab/loadbalancer/webhook.h"

#define POOL_ANNOTATION "metallb.universe.tf/ip-allocated-from-pool"

static struct log_scope scope = LOG_SCOPE("loadbalancer");

static const struct kube_resource pools_resource = {
    .group = {"metallb.io", 10}, .version = {"v1beta1", 7}, .plural = {"ipaddresspools", 14}, .kind = {"IPAddressPool", 13}, .namespaced = true};
static const struct kube_resource advertisements_resource = {
    .group = {"metallb.io", 10}, .version = {"v1beta1", 7}, .plural = {"l2advertisements", 16}, .kind = {"L2Advertisement", 15}, .namespaced = true};
static const struct kube_resource definitions_resource = {
    .group = {"apiextensions.k8s.io", 20}, .version = {"v1", 2}, .plural = {"customresourcedefinitions", 25}, .kind = {"CustomResourceDefinition", 24}};

// Objects of a kind that may not be installed: watched from the moment its CRD is there.
struct gate {
    struct loadbalancer *loadbalancer;
    const struct kube_resource *resource;
    struct informer *definition;
    struct informer *objects; // NULL: no CRD
};

// What is known of one Service besides its object.
struct memory {
    char *trouble;          // last told; NULL: none
    uint64_t not_before_ms; // after a write that failed
    uint32_t announced;     // by us, and told; 0: none
};

struct loadbalancer {
    struct loop *loop;
    struct kube_client *client;
    struct arena arena;
    struct str node;
    char interface[IF_NAMESIZE];
    struct informer *services;
    struct informer *namespaces;
    struct informer *nodes;
    struct informer *slices;
    struct gate pools;
    struct gate advertisements;
    struct announcer *announcer;
    struct loadbalancer_webhook *webhook;
    struct loop_timer timer;
    struct map memories; // "ns/name" → struct memory
    char *config_trouble; // why the pools are not valid; NULL: they are
    // The write under way, then what is to be seen of it:
    struct kube_call *call;
    struct str key; // in write_arena; empty: nothing is awaited
    struct arena write_arena;
    struct decision decision;
    uint64_t version; // 0: not answered yet
    uint64_t give_up_ms;
};

// Sooner than a retry that is under way, but not put off by a steady stream of changes.
static void change(struct loadbalancer *loadbalancer)
{
    const struct loop_timer *timer = &loadbalancer->timer;
    if (!loop_timer_is_running(timer) || timer->due_ms > loop_now_ms(loadbalancer->loop) + LOADBALANCER_DELAY_MS) {
        loop_timer_start(&loadbalancer->timer, LOADBALANCER_DELAY_MS);
    }
}

// --- what is known of services ---------------------------------------------------------------------

static struct memory *memory_of(struct loadbalancer *loadbalancer, struct str key)
{
    struct memory *memory = map_get(&loadbalancer->memories, key);
    if (memory == NULL) {
        memory = mem_new(struct memory);
        (void)map_set(&loadbalancer->memories, key, memory);
    }
    return memory;
}

static void memory_free(struct memory *memory)
{
    if (memory != NULL) {
        mem_free(memory->trouble);
        mem_free(memory);
    }
}

// True when the text differs from what was told last; empty: there is no trouble.
static bool remember(char **told, struct str text)
{
    if (str_equal(str_of(*told), text)) {
        return false;
    }
    mem_free(*told);
    *told = NULL;
    if (!str_is_empty(text)) {
        *told = mem_zalloc(text.size + 1);
        memcpy(*told, text.data, text.size);
    }
    return true;
}

static struct str key_of(struct arena *arena, struct str ns, struct str name)
{
    return arena_format(arena, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

// --- one sweep -------------------------------------------------------------------------------------

typedef VEC(const struct json_value *) value_list;

struct sweep {
    struct loadbalancer *loadbalancer;
    struct arena arena;
    value_list services;
    value_list namespaces;
    value_list nodes;
    value_list slices;
    value_list pool_objects;
    value_list advertisements;
    struct pool_list pools;
    bool has_pools; // they are valid
    struct announcement_input input;
    VEC(uint32_t) announced;
};

static void gather(const struct informer *informer, value_list *list)
{
    size_t at = 0;
    for (struct kube_object *object; informer != NULL && (object = informer_each(informer, &at)) != NULL;) {
        vec_push(list, object->value);
    }
}

static int compare_names(const void *a, const void *b)
{
    const struct json_value *left = *(const struct json_value *const *)a;
    const struct json_value *right = *(const struct json_value *const *)b;
    return str_compare(json_str(json_path(left, "metadata", "name", NULL)),
                       json_str(json_path(right, "metadata", "name", NULL)));
}

static void read_config(struct sweep *sweep)
{
    struct loadbalancer *loadbalancer = sweep->loadbalancer;
    struct error err = {0};
    if (sweep->pool_objects.count > 0) {
        qsort(sweep->pool_objects.items, sweep->pool_objects.count, sizeof(sweep->pool_objects.items[0]), compare_names);
    }
    sweep->has_pools = pool_list_read(&sweep->arena, sweep->pool_objects.items, sweep->pool_objects.count, &sweep->pools, &err) == ERR_OK;
    if (remember(&loadbalancer->config_trouble, str_of(err.message)) && !sweep->has_pools) {
        log_warning(&scope, "the address pools are not valid, everything stays as it is", LOG_ERR(&err));
    }
}

static void sweep_init(struct sweep *sweep, struct loadbalancer *loadbalancer)
{
    *sweep = (struct sweep){.loadbalancer = loadbalancer};
    gather(loadbalancer->services, &sweep->services);
    gather(loadbalancer->namespaces, &sweep->namespaces);
    gather(loadbalancer->nodes, &sweep->nodes);
    gather(loadbalancer->slices, &sweep->slices);
    gather(loadbalancer->pools.objects, &sweep->pool_objects);
    gather(loadbalancer->advertisements.objects, &sweep->advertisements);
    read_config(sweep);
    sweep->input = (struct announcement_input){
        .advertisements = sweep->advertisements.items, .advertisement_count = sweep->advertisements.count,
        .nodes = sweep->nodes.items, .node_count = sweep->nodes.count,
        .slices = sweep->slices.items, .slice_count = sweep->slices.count};
}

static void sweep_done(struct sweep *sweep)
{
    vec_done(&sweep->services);
    vec_done(&sweep->namespaces);
    vec_done(&sweep->nodes);
    vec_done(&sweep->slices);
    vec_done(&sweep->pool_objects);
    vec_done(&sweep->advertisements);
    vec_done(&sweep->announced);
    arena_done(&sweep->arena);
}

// --- writing ---------------------------------------------------------------------------------------

static void tell_written(struct loadbalancer *loadbalancer, const struct json_value *service)
{
    struct arena arena = {0};
    char text[ALLOCATOR_ADDRESS_SIZE];
    allocator_format(loadbalancer->decision.address, text);
    if (loadbalancer->decision.verdict == VERDICT_ASSIGN) {
        log_info(&scope, "address assigned", LOG_STR("service", loadbalancer->key), LOG_CSTR("address", text),
                 LOG_STR("pool", loadbalancer->decision.pool));
        events_record(loadbalancer->client, service, EVENTS_CONTROLLER, "Normal", "IPAllocated",
                      arena_format(&arena, "Assigned IP [\"%s\"]", text));
    } else if (!str_is_empty(loadbalancer->decision.message)) {
        log_info(&scope, "address taken back", LOG_STR("service", loadbalancer->key),
                 LOG_STR("why", loadbalancer->decision.message));
        events_record(loadbalancer->client, service, EVENTS_CONTROLLER, "Normal", "ClearAssignment",
                      loadbalancer->decision.message);
    }
    arena_done(&arena);
}

static void forget_write(struct loadbalancer *loadbalancer)
{
    loadbalancer->key = STR_EMPTY;
    loadbalancer->version = 0;
    arena_done(&loadbalancer->write_arena);
}

static void on_written(void *owner, enum err code, const struct kube_response *response)
{
    struct loadbalancer *loadbalancer = owner;
    struct str version = json_str(json_path(response->value, "metadata", "resourceVersion", NULL));
    loadbalancer->call = NULL;
    if (code == ERR_CLOSED) {
        return; // the client ends
    }
    if (code == ERR_OK && str_to_u64(version, &loadbalancer->version)) {
        loadbalancer->give_up_ms = loop_now_ms(loadbalancer->loop) + LOADBALANCER_SEEN_MAX_MS;
        tell_written(loadbalancer, response->value);
    } else {
        if (code != ERR_CONFLICT && code != ERR_NOT_FOUND) {
            log_warning(&scope, "cannot write the status of a Service, retrying", LOG_STR("service", loadbalancer->key),
                        LOG_STR("error", response->message));
        }
        memory_of(loadbalancer, loadbalancer->key)->not_before_ms = loop_now_ms(loadbalancer->loop) + LOADBALANCER_RETRY_MS;
        forget_write(loadbalancer);
    }
    change(loadbalancer);
}

// The status and the pool's name in one write, on the version that was decided about.
static struct json_value *make_patch(struct arena *arena, const struct json_value *service, const struct decision *decision)
{
    struct json_value *patch = json_new_object(arena);
    struct json_value *metadata = json_ensure_object(arena, patch, "metadata");
    struct json_value *annotations = json_ensure_object(arena, metadata, "annotations");
    struct json_value *status = json_ensure_object(arena, patch, "status");
    bool assigns = decision->verdict == VERDICT_ASSIGN;
    json_set_str(arena, metadata, "resourceVersion", json_str(json_path(service, "metadata", "resourceVersion", NULL)));
    json_set(arena, annotations, STR(POOL_ANNOTATION), assigns ? json_new_str(arena, decision->pool) : json_new_null(arena));
    struct json_value *ingress = json_new_null(arena);
    if (assigns) {
        char text[ALLOCATOR_ADDRESS_SIZE];
        struct json_value *item = json_new_object(arena);
        json_set_cstr(arena, item, "ip", allocator_format(decision->address, text));
        ingress = json_new_array(arena);
        json_push(arena, ingress, item);
    }
    json_set(arena, json_ensure_object(arena, status, "loadBalancer"), STR("ingress"), ingress);
    return patch;
}

static void write_status(struct loadbalancer *loadbalancer, const struct json_value *service, const struct decision *decision)
{
    struct arena *arena = &loadbalancer->write_arena;
    struct str ns = json_str(json_path(service, "metadata", "namespace", NULL));
    struct str name = json_str(json_path(service, "metadata", "name", NULL));
    loadbalancer->key = key_of(arena, ns, name);
    loadbalancer->decision = *decision;
    loadbalancer->decision.pool = arena_str(arena, decision->pool);
    loadbalancer->decision.message = arena_str(arena, decision->message);
    loadbalancer->call = kube_patch(loadbalancer->client, &kube_services, ns, name, STR("status"),
                                    STR("application/merge-patch+json"), make_patch(arena, service, decision), on_written, loadbalancer);
}

// --- deciding --------------------------------------------------------------------------------------

static void tell_trouble(struct loadbalancer *loadbalancer, struct memory *memory, const struct json_value *service,
                         struct str key, const struct decision *decision)
{
    struct arena arena = {0};
    if (remember(&memory->trouble, decision->message)) {
        bool is_refusal = decision->verdict == VERDICT_REFUSE;
        struct str message = arena_format(&arena, is_refusal ? "invalid requested loadbalancer IPs for \"%.*s\": %.*s"
                                                             : "Failed to allocate IP for \"%.*s\": %.*s",
                                          STR_ARG(key), STR_ARG(decision->message));
        log_info(&scope, "a Service stays without address", LOG_STR("service", key), LOG_STR("why", decision->message));
        events_record(loadbalancer->client, service, EVENTS_CONTROLLER, "Warning",
                      is_refusal ? "LoadBalancerFailed" : "AllocationFailed", message);
    }
    arena_done(&arena);
}

static const struct pool *find_pool(const struct sweep *sweep, struct str name)
{
    for (size_t i = 0; i < sweep->pools.count; i++) {
        if (str_equal(sweep->pools.items[i].name, name)) {
            return &sweep->pools.items[i];
        }
    }
    return NULL;
}

static void tell_announced(struct sweep *sweep, struct memory *memory, const struct json_value *service,
                           uint32_t address, bool is_allowed)
{
    struct loadbalancer *loadbalancer = sweep->loadbalancer;
    if (memory->announced == address) {
        return;
    }
    memory->announced = address;
    if (is_allowed) {
        events_record(loadbalancer->client, service, EVENTS_SPEAKER, "Normal", "nodeAssigned",
                      arena_format(&sweep->arena, "announcing from node \"%.*s\" with protocol \"layer2\"", STR_ARG(loadbalancer->node)));
    } else {
        events_record(loadbalancer->client, service, EVENTS_SPEAKER, "Warning", "announceFailed",
                      arena_format(&sweep->arena, "announce failed from node \"%.*s\" with protocol \"layer2\": the advertisements name other interfaces than %s",
                                   STR_ARG(loadbalancer->node), loadbalancer->interface));
    }
}

static void consider_announcing(struct sweep *sweep, struct memory *memory, const struct json_value *service,
                                const struct decision *decision)
{
    struct loadbalancer *loadbalancer = sweep->loadbalancer;
    const struct pool *pool = find_pool(sweep, decision->pool);
    char text[ALLOCATOR_ADDRESS_SIZE];
    allocator_format(decision->address, text);
    struct str leader = pool == NULL ? STR_EMPTY : announcement_leader(&sweep->input, service, pool, str_of(text));
    if (str_is_empty(leader) || !str_equal(leader, loadbalancer->node)) {
        memory->announced = 0;
        return;
    }
    bool is_allowed = announcement_allows_interface(&sweep->input, pool, leader, str_of(loadbalancer->interface));
    for (size_t i = 0; i < sweep->announced.count && is_allowed; i++) {
        if (sweep->announced.items[i] == decision->address) {
            tell_announced(sweep, memory, service, decision->address, true); // shared: announced once
            return;
        }
    }
    if (is_allowed) {
        vec_push(&sweep->announced, decision->address);
    }
    tell_announced(sweep, memory, service, decision->address, is_allowed);
}

// False: a write was started, and the rest waits for it.
static bool look_at(struct sweep *sweep, struct allocator *allocator, const struct json_value *service)
{
    struct loadbalancer *loadbalancer = sweep->loadbalancer;
    struct str key = key_of(&sweep->arena, json_str(json_path(service, "metadata", "namespace", NULL)),
                            json_str(json_path(service, "metadata", "name", NULL)));
    struct decision decision = allocator_decide(allocator, service);
    if (decision.verdict == VERDICT_KEEP && str_is_empty(decision.pool)) {
        memory_free(map_remove(&loadbalancer->memories, key));
        return true;
    }
    struct memory *memory = memory_of(loadbalancer, key);
    uint64_t now_ms = loop_now_ms(loadbalancer->loop);
    switch (decision.verdict) {
    case VERDICT_KEEP:
        (void)remember(&memory->trouble, STR_EMPTY);
        consider_announcing(sweep, memory, service, &decision);
        return true;
    case VERDICT_FAIL:
    case VERDICT_REFUSE:
        memory->announced = 0;
        tell_trouble(loadbalancer, memory, service, key, &decision);
        return true;
    case VERDICT_ASSIGN:
    case VERDICT_CLEAR:
        if (memory->not_before_ms > now_ms) {
            loop_timer_start(&loadbalancer->timer, memory->not_before_ms - now_ms);
            return true;
        }
        write_status(loadbalancer, service, &decision);
        return false;
    }
    return true;
}

static void sweep_services(struct loadbalancer *loadbalancer)
{
    struct sweep sweep;
    bool is_complete = true;
    sweep_init(&sweep, loadbalancer);
    // Without the CRD there is no MetalLB: statuses are then somebody else's.
    bool is_installed = sweep.has_pools && loadbalancer->pools.objects != NULL;
    struct allocator_input input = {.pools = is_installed ? &sweep.pools : NULL,
                                    .services = sweep.services.items, .service_count = sweep.services.count,
                                    .namespaces = sweep.namespaces.items, .namespace_count = sweep.namespaces.count};
    struct allocator *allocator = allocator_new(&sweep.arena, &input);
    for (size_t i = 0; i < sweep.services.count && is_complete; i++) {
        is_complete = look_at(&sweep, allocator, sweep.services.items[i]);
    }
    if (is_complete && sweep.has_pools) {
        announcer_set(loadbalancer->announcer, sweep.announced.items, sweep.announced.count);
    }
    sweep_done(&sweep);
}

// --- when ------------------------------------------------------------------------------------------

static bool gate_is_ready(const struct gate *gate)
{
    return informer_is_synced(gate->definition) && (gate->objects == NULL || informer_is_synced(gate->objects));
}

static bool is_synced(const struct loadbalancer *loadbalancer)
{
    return informer_is_synced(loadbalancer->services) && informer_is_synced(loadbalancer->namespaces) &&
           informer_is_synced(loadbalancer->nodes) && informer_is_synced(loadbalancer->slices) &&
           gate_is_ready(&loadbalancer->pools) && gate_is_ready(&loadbalancer->advertisements);
}

// Has what was written reached the informer? A Service that is gone needs no waiting.
static bool is_seen(const struct loadbalancer *loadbalancer)
{
    struct str name = loadbalancer->key;
    struct str ns = str_split(&name, '/');
    const struct kube_object *object = informer_get(loadbalancer->services, ns, name);
    uint64_t have = 0;
    return object == NULL || (str_to_u64(object->resource_version, &have) && have >= loadbalancer->version) ||
           loop_now_ms(loadbalancer->loop) >= loadbalancer->give_up_ms;
}

static void on_timer(struct loop_timer *timer)
{
    struct loadbalancer *loadbalancer = container_of(timer, struct loadbalancer, timer);
    if (loadbalancer->call != NULL || !is_synced(loadbalancer)) {
        return; // the answer, or the sync, starts the timer again
    }
    if (!str_is_empty(loadbalancer->key)) {
        if (!is_seen(loadbalancer)) {
            loop_timer_start(timer, loadbalancer->give_up_ms - loop_now_ms(loadbalancer->loop));
            return;
        }
        forget_write(loadbalancer);
    }
    sweep_services(loadbalancer);
}

static void on_change(void *owner, struct informer *informer, struct kube_object *old, struct kube_object *fresh)
{
    struct loadbalancer *loadbalancer = owner;
    if (informer == loadbalancer->services && fresh == NULL) {
        struct arena arena = {0};
        memory_free(map_remove(&loadbalancer->memories, key_of(&arena, old->ns, old->name)));
        arena_done(&arena);
    }
    change(loadbalancer);
}

static void on_synced(void *owner, struct informer *informer)
{
    (void)informer;
    change(owner);
}

static const struct informer_events object_events = {.on_change = on_change, .on_synced = on_synced};

// --- kinds that may not be installed ---------------------------------------------------------------

static void on_definition(void *owner, struct informer *informer, struct kube_object *old, struct kube_object *fresh)
{
    (void)informer;
    (void)old;
    struct gate *gate = owner;
    if (fresh != NULL && gate->objects == NULL) {
        struct informer_options options = {.resource = gate->resource, .ns = STR(POOL_NAMESPACE), .optional = true};
        gate->objects = informer_new(gate->loadbalancer->client, &options, &object_events, gate->loadbalancer);
    } else if (fresh == NULL && gate->objects != NULL) {
        informer_free(gate->objects);
        gate->objects = NULL;
        change(gate->loadbalancer);
    }
}

static void on_definitions_synced(void *owner, struct informer *informer)
{
    (void)informer;
    struct gate *gate = owner;
    change(gate->loadbalancer);
}

static void gate_init(struct gate *gate, struct loadbalancer *loadbalancer, const struct kube_resource *resource)
{
    static const struct informer_events events = {.on_change = on_definition, .on_synced = on_definitions_synced};
    struct informer_options options = {.resource = &definitions_resource};
    options.field_selector = arena_format(&loadbalancer->arena, "metadata.name=%.*s.%.*s", STR_ARG(resource->plural), STR_ARG(resource->group));
    *gate = (struct gate){.loadbalancer = loadbalancer, .resource = resource};
    gate->definition = informer_new(loadbalancer->client, &options, &events, gate);
}

static void free_informer(struct informer *informer)
{
    if (informer != NULL) {
        informer_free(informer);
    }
}

// --- life ------------------------------------------------------------------------------------------

// The interface that has the node's address.
static enum err find_interface(struct loadbalancer *loadbalancer, struct str ip, struct error *err)
{
    struct ifaddrs *list;
    if (getifaddrs(&list) != 0) {
        return error_set(err, ERR_IO, "cannot list the node's interfaces");
    }
    for (const struct ifaddrs *item = list; item != NULL; item = item->ifa_next) {
        char text[INET_ADDRSTRLEN];
        if (item->ifa_addr == NULL || item->ifa_addr->sa_family != AF_INET) {
            continue;
        }
        const struct sockaddr_in *address = (const struct sockaddr_in *)(const void *)item->ifa_addr;
        if (str_equal_c(ip, inet_ntop(AF_INET, &address->sin_addr, text, sizeof(text)))) {
            (void)snprintf(loadbalancer->interface, sizeof(loadbalancer->interface), "%s", item->ifa_name);
        }
    }
    freeifaddrs(list);
    return loadbalancer->interface[0] != '\0' ? ERR_OK : error_set(err, ERR_NOT_FOUND, "no interface has the address %.*s", STR_ARG(ip));
}

static struct informer *pools_of(void *owner)
{
    struct loadbalancer *loadbalancer = owner;
    return loadbalancer->pools.objects;
}

static struct informer *watch(struct loadbalancer *loadbalancer, const struct kube_resource *resource)
{
    struct informer_options options = {.resource = resource};
    return informer_new(loadbalancer->client, &options, &object_events, loadbalancer);
}

struct loadbalancer *loadbalancer_new(struct loop *loop, struct kube_client *client,
                                      const struct loadbalancer_options *options, struct error *err)
{
    struct loadbalancer *loadbalancer = mem_new(struct loadbalancer);
    loadbalancer->loop = loop;
    loadbalancer->client = client;
    loadbalancer->key = STR_EMPTY;
    loadbalancer->node = arena_str(&loadbalancer->arena, options->node);
    loop_timer_init(&loadbalancer->timer, loop, on_timer);
    if (find_interface(loadbalancer, options->node_ip, err) == ERR_OK) {
        loadbalancer->announcer = announcer_new(loop, loadbalancer->interface, err);
    }
    if (loadbalancer->announcer != NULL) {
        loadbalancer->webhook = loadbalancer_webhook_new(client, options->node_ip, pools_of, loadbalancer, err);
    }
    if (loadbalancer->webhook == NULL) {
        loadbalancer_free(loadbalancer);
        return NULL;
    }
    loadbalancer->services = watch(loadbalancer, &kube_services);
    loadbalancer->namespaces = watch(loadbalancer, &kube_namespaces);
    loadbalancer->nodes = watch(loadbalancer, &kube_nodes);
    loadbalancer->slices = watch(loadbalancer, &kube_endpointslices);
    gate_init(&loadbalancer->pools, loadbalancer, &pools_resource);
    gate_init(&loadbalancer->advertisements, loadbalancer, &advertisements_resource);
    return loadbalancer;
}

void loadbalancer_free(struct loadbalancer *loadbalancer)
{
    if (loadbalancer == NULL) {
        return;
    }
    struct informer *const informers[] = {loadbalancer->services, loadbalancer->namespaces, loadbalancer->nodes, loadbalancer->slices,
                                          loadbalancer->pools.objects, loadbalancer->pools.definition,
                                          loadbalancer->advertisements.objects, loadbalancer->advertisements.definition};
    loop_timer_stop(&loadbalancer->timer);
    if (loadbalancer->call != NULL) {
        kube_call_cancel(loadbalancer->call);
    }
    loadbalancer_webhook_free(loadbalancer->webhook);
    for (size_t i = 0; i < array_count(informers); i++) {
        free_informer(informers[i]);
    }
    announcer_free(loadbalancer->announcer);
    void *value;
    for (size_t at = 0; map_each(&loadbalancer->memories, &at, NULL, &value);) {
        memory_free(value);
    }
    map_done(&loadbalancer->memories);
    mem_free(loadbalancer->config_trouble);
    arena_done(&loadbalancer->write_arena);
    arena_done(&loadbalancer->arena);
    mem_free(loadbalancer);
}

const struct address *loadbalancer_webhook_address(const struct loadbalancer *loadbalancer)
{
    return loadbalancer_webhook_own_address(loadbalancer->webhook);
}
