// SPDX-License-Identifier: Apache-2.0
//
// Two informers say what is there; reconcile() looks at one namespace and writes at most once. A write
// under way blocks that namespace until its answer; a failure is tried again later.
#include "control/registry/root_publisher.h"

#include "base/log.h"
#include "base/map.h"
#include "base/memory.h"
#include "kube/informer.h"

#define ROOT_CONFIG_MAP "istio-ca-root-cert"
#define ROOT_KEY "root-cert.pem"

static struct log_scope scope = LOG_SCOPE("root");

struct root_publisher {
    struct loop *loop;
    struct kube_client *client;
    struct informer *namespaces;
    struct informer *config_maps;
    struct arena arena;
    struct str root_pem;
    struct map writes; // namespace → struct write
    struct loop_timer retry;
};

struct write {
    struct root_publisher *publisher;
    struct kube_call *call;
    struct arena arena;
    struct str ns;
};

static bool is_left_alone(const struct kube_object *ns)
{
    static const char *const names[] = {
        "kube-system", "kube-public", "kube-node-lease", "local-path-storage"};
    for (size_t i = 0; i < array_count(names); i++) {
        if (str_equal_c(ns->name, names[i])) {
            return true;
        }
    }
    // Nothing can be created in a namespace that is going away.
    return json_path(ns->value, "metadata", "deletionTimestamp", NULL) != NULL;
}

static void write_free(struct write *write)
{
    arena_done(&write->arena);
    mem_free(write);
}

static void on_written(void *owner, enum err code, const struct kube_response *response)
{
    struct write *write = owner;
    struct root_publisher *publisher = write->publisher;
    map_remove(&publisher->writes, write->ns);
    if (code != ERR_OK) {
        // EXISTS, CONFLICT and NOT_FOUND are overtaken events: what the informers bring decides again.
        log_warning(&scope, "root certificate not written, trying again", LOG_STR("namespace", write->ns),
                    LOG_STR("message", response->message));
        loop_timer_start(&publisher->retry, ROOT_PUBLISHER_RETRY_MS);
    }
    write_free(write);
}

static struct json_value *desired(struct arena *arena, const struct root_publisher *publisher, struct str ns)
{
    struct json_value *object = json_new_object(arena);
    json_set_cstr(arena, object, "apiVersion", "v1");
    json_set_cstr(arena, object, "kind", "ConfigMap");
    struct json_value *metadata = json_ensure_object(arena, object, "metadata");
    json_set_cstr(arena, metadata, "name", ROOT_CONFIG_MAP);
    json_set_str(arena, metadata, "namespace", ns);
    json_set_cstr(arena, json_ensure_object(arena, metadata, "labels"), "istio.io/config", "true");
    json_set_str(arena, json_ensure_object(arena, object, "data"), ROOT_KEY, publisher->root_pem);
    return object;
}

static void reconcile(struct root_publisher *publisher, struct str ns)
{
    const struct kube_object *home = informer_get(publisher->namespaces, STR_EMPTY, ns);
    if (home == NULL || is_left_alone(home) || map_has(&publisher->writes, ns) ||
        !informer_is_synced(publisher->config_maps)) {
        return;
    }
    struct kube_object *existing = informer_get(publisher->config_maps, ns, STR(ROOT_CONFIG_MAP));
    struct str now = existing == NULL
        ? STR_EMPTY : json_str(json_path(existing->value, "data", ROOT_KEY, NULL));
    if (existing != NULL && str_equal(now, publisher->root_pem)) {
        return;
    }
    struct write *write = mem_new(struct write);
    write->publisher = publisher;
    write->ns = arena_str(&write->arena, ns);
    map_set(&publisher->writes, ns, write);
    struct json_value *object = desired(&write->arena, publisher, ns);
    if (existing == NULL) {
        write->call =
            kube_create(publisher->client, &kube_configmaps, write->ns, object, on_written, write);
    } else {
        write->call = kube_patch(publisher->client, &kube_configmaps, write->ns, STR(ROOT_CONFIG_MAP),
                                 STR_EMPTY, STR("application/merge-patch+json"), object, on_written, write);
    }
}

static void reconcile_all(struct root_publisher *publisher)
{
    struct kube_object *ns;
    for (size_t at = 0; (ns = informer_each(publisher->namespaces, &at)) != NULL;) {
        reconcile(publisher, ns->name);
    }
}

static void on_namespace(void *owner, struct informer *informer, struct kube_object *old,
                         struct kube_object *fresh)
{
    (void)informer;
    (void)old;
    if (fresh != NULL) {
        reconcile(owner, fresh->name);
    }
}

static void on_config_map(void *owner, struct informer *informer, struct kube_object *old,
                          struct kube_object *fresh)
{
    struct root_publisher *publisher = owner;
    (void)informer;
    if (informer_is_synced(publisher->config_maps)) {
        reconcile(publisher, fresh == NULL ? old->ns : fresh->ns);
    }
}

static void on_synced(void *owner, struct informer *informer)
{
    struct root_publisher *publisher = owner;
    (void)informer;
    if (informer_is_synced(publisher->namespaces) && informer_is_synced(publisher->config_maps)) {
        reconcile_all(publisher);
    }
}

static void on_retry(struct loop_timer *timer)
{
    reconcile_all(container_of(timer, struct root_publisher, retry));
}

struct root_publisher *root_publisher_new(struct loop *loop, struct kube_client *client, struct str root_pem)
{
    static const struct informer_events namespace_events = {
        .on_change = on_namespace, .on_synced = on_synced};
    static const struct informer_events config_map_events = {
        .on_change = on_config_map, .on_synced = on_synced};
    struct root_publisher *publisher = mem_new(struct root_publisher);
    publisher->loop = loop;
    publisher->client = client;
    publisher->root_pem = arena_str(&publisher->arena, root_pem);
    loop_timer_init(&publisher->retry, loop, on_retry);
    struct informer_options namespaces = {.resource = &kube_namespaces};
    struct informer_options config_maps = {
        .resource = &kube_configmaps, .field_selector = STR("metadata.name=" ROOT_CONFIG_MAP)};
    publisher->namespaces = informer_new(client, &namespaces, &namespace_events, publisher);
    publisher->config_maps = informer_new(client, &config_maps, &config_map_events, publisher);
    return publisher;
}

void root_publisher_set_root(struct root_publisher *publisher, struct str root_pem)
{
    arena_reset(&publisher->arena);
    publisher->root_pem = arena_str(&publisher->arena, root_pem);
    reconcile_all(publisher);
}

void root_publisher_free(struct root_publisher *publisher)
{
    if (publisher == NULL) {
        return;
    }
    void *value;
    for (size_t at = 0; map_each(&publisher->writes, &at, NULL, &value);) {
        struct write *write = value;
        kube_call_cancel(write->call);
        write_free(write);
    }
    map_done(&publisher->writes);
    loop_timer_stop(&publisher->retry);
    informer_free(publisher->namespaces);
    informer_free(publisher->config_maps);
    arena_done(&publisher->arena);
    mem_free(publisher);
}
