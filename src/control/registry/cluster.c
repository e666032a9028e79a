// SPDX-License-Identifier: Apache-2.0
#include "control/registry/cluster.h"

#include "base/log.h"
#include "base/memory.h"

static struct log_scope scope = LOG_SCOPE("registry");

// One connection's worth of informers.
struct source {
    struct cluster *cluster;
    struct kube_client *client;
    struct informer *informers[MESH_KIND_COUNT]; // NULL: kind not read from this cluster
};

struct cluster {
    struct loop *loop;
    const struct cluster_events *events;
    void *owner;
    struct arena arena; // id, secret
    struct str id;
    struct str secret;
    char *kubeconfig; // of the newest source
    size_t kubeconfig_size;
    bool has_configuration;
    bool timed_out;
    struct source *current; // synced, or the only one
    struct source *next;    // its successor, not synced yet
    struct loop_timer timeout;
    uint64_t timeout_ms;
};

static const struct kube_resource *const kind_resources[MESH_KIND_COUNT] = {
    [MESH_NAMESPACES] = &kube_namespaces,
    [MESH_NODES] = &kube_nodes,
    [MESH_PODS] = &kube_pods,
    [MESH_SERVICES] = &kube_services,
    [MESH_ENDPOINTSLICES] = &kube_endpointslices,
    [MESH_GATEWAYS] = &kube_gateways,
    [MESH_VIRTUAL_SERVICES] = &kube_virtual_services,
    [MESH_DESTINATION_RULES] = &kube_destination_rules,
    [MESH_PEER_AUTHENTICATIONS] = &kube_peer_authentications,
};

// --- sources -------------------------------------------------------------------------------------------

static bool source_is_synced(const struct source *source)
{
    for (int i = 0; i < MESH_KIND_COUNT; i++) {
        if (source->informers[i] != NULL && !informer_is_synced(source->informers[i])) {
            return false;
        }
    }
    return true;
}

static void source_free(struct source *source)
{
    if (source == NULL) {
        return;
    }
    for (int i = 0; i < MESH_KIND_COUNT; i++) {
        if (source->informers[i] != NULL) {
            informer_free(source->informers[i]);
        }
    }
    kube_client_free(source->client);
    mem_free(source);
}

static void on_source_change(void *owner, struct informer *informer, struct kube_object *old,
                             struct kube_object *fresh)
{
    struct source *source = owner;
    struct cluster *cluster = source->cluster;
    (void)informer;
    (void)old;
    (void)fresh;
    if (source == cluster->current && source_is_synced(source)) {
        cluster->events->on_change(cluster->owner, cluster);
    }
}

static void on_source_synced(void *owner, struct informer *informer)
{
    struct source *source = owner;
    struct cluster *cluster = source->cluster;
    if (!source_is_synced(source)) {
        log_debug(&scope, "kind synced", LOG_STR("cluster", cluster->id),
                  LOG_STR("kind", informer_resource(informer)->kind));
        return;
    }
    if (source == cluster->next) {
        source_free(cluster->current);
        cluster->current = source;
        cluster->next = NULL;
        log_info(&scope, "new credentials took over", LOG_STR("cluster", cluster->id));
    } else {
        log_info(&scope, "cluster synced", LOG_STR("cluster", cluster->id));
    }
    loop_timer_stop(&cluster->timeout);
    cluster->timed_out = false;
    cluster->events->on_state(cluster->owner, cluster);
    cluster->events->on_change(cluster->owner, cluster);
}

static void on_source_health(void *owner, struct informer *informer, bool is_connected,
                             const struct error *err)
{
    struct source *source = owner;
    if (is_connected) {
        log_info(&scope, "watching", LOG_STR("cluster", source->cluster->id),
                 LOG_STR("kind", informer_resource(informer)->kind));
    } else {
        log_warning(&scope, "watch lost, keeping the last objects and retrying",
                    LOG_STR("cluster", source->cluster->id),
                    LOG_STR("kind", informer_resource(informer)->kind), LOG_ERR(err));
    }
}

static const struct informer_events source_events = {
    .on_change = on_source_change,
    .on_synced = on_source_synced,
    .on_health = on_source_health,
};

static struct source *source_new(struct cluster *cluster, const struct kube_config *config,
                                 struct error *err)
{
    struct kube_client *client = kube_client_new(cluster->loop, config, err);
    if (client == NULL) {
        return NULL;
    }
    struct source *source = mem_new(struct source);
    source->cluster = cluster;
    source->client = client;
    for (int i = 0; i < MESH_KIND_COUNT; i++) {
        if (i >= MESH_GATEWAYS && !cluster->has_configuration) {
            continue;
        }
        struct informer_options options = {
            .resource = kind_resources[i],
            .optional = i >= MESH_GATEWAYS, // its CRD may be installed later
        };
        source->informers[i] = informer_new(client, &options, &source_events, source);
    }
    return source;
}

// --- clusters ------------------------------------------------------------------------------------------

static void on_timeout(struct loop_timer *timer)
{
    struct cluster *cluster = container_of(timer, struct cluster, timeout);
    cluster->timed_out = true;
    log_warning(&scope, "cluster did not sync in time, going on without it until it does",
                LOG_STR("cluster", cluster->id), LOG_U64("timeout_ms", cluster->timeout_ms));
    cluster->events->on_state(cluster->owner, cluster);
}

struct cluster *cluster_new(struct loop *loop, const struct cluster_options *options,
                            const struct cluster_events *events, void *owner)
{
    struct cluster *cluster = mem_new(struct cluster);
    cluster->loop = loop;
    cluster->events = events;
    cluster->owner = owner;
    cluster->id = arena_str(&cluster->arena, options->id);
    cluster->secret = arena_str(&cluster->arena, options->secret);
    cluster->has_configuration = options->has_configuration;
    cluster->timeout_ms = options->sync_timeout_ms;
    loop_timer_init(&cluster->timeout, loop, on_timeout);
    if (options->sync_timeout_ms != 0) {
        loop_timer_start(&cluster->timeout, options->sync_timeout_ms);
    }
    return cluster;
}

static void forget_kubeconfig(struct cluster *cluster)
{
    if (cluster->kubeconfig != NULL) {
        mem_wipe(cluster->kubeconfig, cluster->kubeconfig_size);
        mem_free(cluster->kubeconfig);
    }
    cluster->kubeconfig = NULL;
    cluster->kubeconfig_size = 0;
}

void cluster_free(struct cluster *cluster)
{
    if (cluster == NULL) {
        return;
    }
    loop_timer_stop(&cluster->timeout);
    source_free(cluster->next);
    source_free(cluster->current);
    forget_kubeconfig(cluster);
    arena_done(&cluster->arena);
    mem_free(cluster);
}

enum err cluster_connect(struct cluster *cluster, const struct kube_config *config, struct str kubeconfig,
                         struct error *err)
{
    struct source *source = source_new(cluster, config, err);
    if (source == NULL) {
        return err == NULL ? ERR_INVALID : err->code;
    }
    forget_kubeconfig(cluster);
    cluster->kubeconfig = mem_alloc(kubeconfig.size + 1);
    cluster->kubeconfig_size = kubeconfig.size;
    if (kubeconfig.size > 0) {
        memcpy(cluster->kubeconfig, kubeconfig.data, kubeconfig.size);
    }
    source_free(cluster->next);
    cluster->next = NULL;
    if (cluster->current != NULL && source_is_synced(cluster->current)) {
        cluster->next = source;
    } else {
        source_free(cluster->current);
        cluster->current = source;
    }
    return ERR_OK;
}

bool cluster_has_kubeconfig(const struct cluster *cluster, struct str kubeconfig)
{
    return cluster->kubeconfig != NULL &&
           str_equal(str_make(cluster->kubeconfig, cluster->kubeconfig_size), kubeconfig);
}

struct str cluster_id(const struct cluster *cluster)
{
    return cluster->id;
}

struct str cluster_secret(const struct cluster *cluster)
{
    return cluster->secret;
}

bool cluster_is_synced(const struct cluster *cluster)
{
    return cluster->current != NULL && source_is_synced(cluster->current);
}

bool cluster_is_connected(const struct cluster *cluster)
{
    return cluster_is_synced(cluster) && cluster_stale_ms(cluster) == 0;
}

bool cluster_is_waited_for(const struct cluster *cluster)
{
    return !cluster_is_synced(cluster) && !cluster->timed_out;
}

const char *cluster_status(const struct cluster *cluster)
{
    return cluster_is_synced(cluster) ? "synced" : cluster->timed_out ? "timeout" : "syncing";
}

uint64_t cluster_stale_ms(const struct cluster *cluster)
{
    uint64_t oldest = 0;
    for (int i = 0; cluster->current != NULL && i < MESH_KIND_COUNT; i++) {
        const struct informer *informer = cluster->current->informers[i];
        uint64_t stale = informer == NULL ? 0 : informer_stale_ms(informer);
        oldest = stale > oldest ? stale : oldest;
    }
    return oldest;
}

struct kube_client *cluster_client(const struct cluster *cluster)
{
    return cluster->current == NULL ? NULL : cluster->current->client;
}

void cluster_collect(const struct cluster *cluster, struct mesh_objects *out)
{
    if (!cluster_is_synced(cluster)) {
        return;
    }
    for (int i = 0; i < MESH_KIND_COUNT; i++) {
        const struct informer *informer = cluster->current->informers[i];
        struct kube_object *object;
        for (size_t at = 0; informer != NULL && (object = informer_each(informer, &at)) != NULL;) {
            vec_push(&out->kinds[i], object->value);
        }
    }
}
