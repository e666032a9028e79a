// SPDX-License-Identifier: Apache-2.0
#include "control/registry/registry.h"

#include "base/base64.h"
#include "base/log.h"
#include "codec/yaml/yaml.h"
#include "control/registry/cluster.h"
#include "kube/informer.h"

#define REMOTE_SECRET_LABEL "istio/multiCluster=true"
#define MESH_CONFIG_MAP "istio"
#define KUBECONFIG_MAX (1024u * 1024)

static struct log_scope scope = LOG_SCOPE("registry");

struct registry {
    struct loop *loop;
    const struct registry_events *events;
    void *owner;
    struct arena arena; // ids and names
    struct str id;
    struct str system_namespace;
    struct str domain;
    uint64_t remote_timeout_ms;
    struct cluster *own;
    VEC(struct cluster *) remotes; // sorted by id
    struct kube_client *client;    // for the two informers below
    struct informer *secrets;
    struct informer *config_maps;
    struct snapshot *snapshot;
    struct arena config_arena; // holds mesh_config
    struct json_value *mesh_config;
    struct loop_task rebuild;
    struct loop_timer quiet;
    bool is_dirty;
    bool is_ready;
    struct metric *snapshots;
    struct metric *endpoints_without_pod;
    struct metric *refused;
    struct metric *remote_clusters;
    struct metric *secrets_refused;
};

// --- snapshots -----------------------------------------------------------------------------------------

static bool is_source_synced(const struct registry *registry)
{
    return cluster_is_synced(registry->own) && informer_is_synced(registry->secrets) &&
           informer_is_synced(registry->config_maps);
}

static void report(struct registry *registry, const struct mesh_ingest_report *report)
{
    metric_set(registry->endpoints_without_pod, (int64_t)report->endpoints_without_pod);
    metric_set(registry->refused, (int64_t)report->objects_refused);
    if (report->objects_refused > 0) {
        log_warning(&scope, "objects left out", LOG_U64("count", report->objects_refused),
                    LOG_ERR(&report->first));
    }
}

static void build_snapshot(struct registry *registry)
{
    struct arena arena = {0};
    size_t count = registry->remotes.count + 1;
    struct mesh_cluster *clusters = arena_array(&arena, struct mesh_cluster, count);
    clusters[0].id = registry->id;
    cluster_collect(registry->own, &clusters[0].objects);
    for (size_t i = 0; i < registry->remotes.count; i++) {
        clusters[i + 1].id = cluster_id(registry->remotes.items[i]);
        cluster_collect(registry->remotes.items[i], &clusters[i + 1].objects);
    }
    struct mesh_world world = {
        .clusters = clusters,
        .cluster_count = count,
        .mesh_config = registry->mesh_config,
        .domain = registry->domain,
        .system_namespace = registry->system_namespace,
    };
    struct mesh_ingest_report ingest_report;
    struct snapshot *next = mesh_ingest(&world, registry->snapshot, &ingest_report);
    for (size_t i = 0; i < count; i++) {
        mesh_objects_done(&clusters[i].objects);
    }
    arena_done(&arena);
    if (next == registry->snapshot) { // a change that the mesh does not see
        snapshot_unref(next);
        return;
    }
    report(registry, &ingest_report);
    snapshot_unref(registry->snapshot);
    registry->snapshot = next;
    metric_add(registry->snapshots, 1);
    log_debug(&scope, "snapshot", LOG_U64("version", next->version),
              LOG_U64("services", next->service_count));
    registry->events->on_snapshot(registry->owner, next);
}

static void check_ready(struct registry *registry)
{
    if (registry->is_ready || registry->snapshot == NULL || !is_source_synced(registry)) {
        return;
    }
    for (size_t i = 0; i < registry->remotes.count; i++) {
        if (cluster_is_waited_for(registry->remotes.items[i])) {
            return;
        }
    }
    registry->is_ready = true;
    log_info(&scope, "ready", LOG_U64("services", registry->snapshot->service_count),
             LOG_U64("remote_clusters", registry->remotes.count));
    registry->events->on_ready(registry->owner);
}

static void on_rebuild(struct loop_task *task)
{
    struct registry *registry = container_of(task, struct registry, rebuild);
    if (!registry->is_dirty || !is_source_synced(registry)) {
        return;
    }
    registry->is_dirty = false;
    loop_timer_start(&registry->quiet, REGISTRY_QUIET_MS);
    build_snapshot(registry);
    check_ready(registry);
}

static void on_quiet(struct loop_timer *timer)
{
    struct registry *registry = container_of(timer, struct registry, quiet);
    if (registry->is_dirty) {
        loop_task_schedule(registry->loop, &registry->rebuild);
    }
}

static void mark_dirty(struct registry *registry)
{
    registry->is_dirty = true;
    if (!loop_timer_is_running(&registry->quiet)) {
        loop_task_schedule(registry->loop, &registry->rebuild);
    }
}

static void on_cluster_change(void *owner, struct cluster *cluster)
{
    (void)cluster;
    mark_dirty(owner);
}

static void on_cluster_state(void *owner, struct cluster *cluster)
{
    (void)cluster;
    check_ready(owner);
}

static const struct cluster_events cluster_events = {
    .on_change = on_cluster_change,
    .on_state = on_cluster_state,
};

// --- remote secrets --------------------------------------------------------------------------------------

static struct cluster *find_remote(const struct registry *registry, struct str id)
{
    for (size_t i = 0; i < registry->remotes.count; i++) {
        if (str_equal(cluster_id(registry->remotes.items[i]), id)) {
            return registry->remotes.items[i];
        }
    }
    return NULL;
}

static void insert_remote(struct registry *registry, struct cluster *cluster)
{
    vec_push(&registry->remotes, cluster);
    // Sorted by id: which cluster decides a service's attributes must not depend on the order of events.
    for (size_t i = registry->remotes.count - 1; i > 0; i--) {
        struct cluster **items = registry->remotes.items;
        if (str_compare(cluster_id(items[i - 1]), cluster_id(items[i])) <= 0) {
            break;
        }
        struct cluster *moved = items[i];
        items[i] = items[i - 1];
        items[i - 1] = moved;
    }
    metric_set(registry->remote_clusters, (int64_t)registry->remotes.count);
}

static void remove_remote(struct registry *registry, size_t index)
{
    struct cluster *cluster = registry->remotes.items[index];
    log_info(&scope, "cluster removed", LOG_STR("cluster", cluster_id(cluster)),
             LOG_STR("secret", cluster_secret(cluster)));
    for (size_t i = index + 1; i < registry->remotes.count; i++) {
        registry->remotes.items[i - 1] = registry->remotes.items[i];
    }
    registry->remotes.count--;
    cluster_free(cluster);
    metric_set(registry->remote_clusters, (int64_t)registry->remotes.count);
    mark_dirty(registry);
    check_ready(registry);
}

static enum err connect_remote(struct registry *registry, struct str id, struct str secret,
                               struct str kubeconfig, struct error *err)
{
    struct arena arena = {0};
    struct kube_config config;
    struct cluster *cluster = find_remote(registry, id);
    enum err code = kube_config_parse(&arena, kubeconfig, STR_EMPTY, KUBE_CONFIG_REMOTE, &config, err);
    if (code == ERR_OK && cluster == NULL && registry->remotes.count >= REGISTRY_CLUSTERS_MAX) {
        code = error_set(err, ERR_LIMIT, "more than %u remote clusters", REGISTRY_CLUSTERS_MAX);
    }
    if (code == ERR_OK && cluster != NULL) {
        code = cluster_connect(cluster, &config, kubeconfig, err);
    } else if (code == ERR_OK) {
        struct cluster_options options = {
            .id = id, .secret = secret, .sync_timeout_ms = registry->remote_timeout_ms};
        cluster = cluster_new(registry->loop, &options, &cluster_events, registry);
        code = cluster_connect(cluster, &config, kubeconfig, err);
        if (code == ERR_OK) {
            insert_remote(registry, cluster);
        } else {
            cluster_free(cluster);
        }
    }
    arena_done(&arena);
    return code;
}

static void apply_remote(struct registry *registry, struct str secret, struct str id, struct str encoded)
{
    struct arena arena = {0};
    struct error err = {0};
    struct str kubeconfig;
    struct cluster *known = find_remote(registry, id);
    if (str_equal(id, registry->id)) {
        log_info(&scope, "remote secret names this cluster itself, ignored", LOG_STR("secret", secret));
    } else if (known != NULL && !str_equal(cluster_secret(known), secret)) {
        log_warning(&scope, "cluster is registered by another secret already, ignored",
                    LOG_STR("cluster", id), LOG_STR("secret", secret),
                    LOG_STR("registered_by", cluster_secret(known)));
    } else if (encoded.size > KUBECONFIG_MAX || !base64_decode(&arena, encoded, &kubeconfig)) {
        metric_add(registry->secrets_refused, 1);
        log_error(&scope, "remote secret is not base64 or too large, ignored until it changes",
                  LOG_STR("cluster", id), LOG_STR("secret", secret));
    } else if (known != NULL && cluster_has_kubeconfig(known, kubeconfig)) {
        log_debug(&scope, "kubeconfig is unchanged", LOG_STR("cluster", id));
    } else if (connect_remote(registry, id, secret, kubeconfig, &err) != ERR_OK) {
        metric_add(registry->secrets_refused, 1);
        log_error(&scope, "kubeconfig of remote secret refused, ignored until it changes",
                  LOG_STR("cluster", id), LOG_STR("secret", secret), LOG_ERR(&err));
    } else {
        log_info(&scope, known == NULL ? "cluster added" : "cluster has new credentials",
                 LOG_STR("cluster", id), LOG_STR("secret", secret));
    }
    arena_done(&arena);
}

static void on_secret(void *owner, struct informer *informer, struct kube_object *old,
                      struct kube_object *fresh)
{
    struct registry *registry = owner;
    struct kube_object *object = fresh == NULL ? old : fresh;
    struct arena arena = {0};
    struct str secret = arena_format(&arena, "%.*s/%.*s", STR_ARG(object->ns), STR_ARG(object->name));
    const struct json_value *data = fresh == NULL ? NULL : json_get(fresh->value, "data");
    (void)informer;
    for (size_t i = registry->remotes.count; i-- > 0;) {
        const struct cluster *cluster = registry->remotes.items[i];
        if (str_equal(cluster_secret(cluster), secret) &&
            json_get_str_name(data, cluster_id(cluster)) == NULL) {
            remove_remote(registry, i);
        }
    }
    for (size_t i = 0; json_is(data, JSON_OBJECT) && i < data->object.count; i++) {
        const struct json_member *member = &data->object.members[i];
        apply_remote(registry, secret, member->name, json_str(member->value));
    }
    arena_done(&arena);
}

static void on_source_synced(void *owner, struct informer *informer)
{
    struct registry *registry = owner;
    (void)informer;
    mark_dirty(registry);
    check_ready(registry);
}

static const struct informer_events secret_events = {
    .on_change = on_secret,
    .on_synced = on_source_synced,
};

// --- mesh config -----------------------------------------------------------------------------------------

static void on_config_map(void *owner, struct informer *informer, struct kube_object *old,
                          struct kube_object *fresh)
{
    struct registry *registry = owner;
    struct arena arena = {0};
    struct error err = {0};
    struct json_value *config = NULL;
    (void)informer;
    (void)old;
    if (fresh == NULL) {
        log_warning(&scope, "ConfigMap istio is gone, keeping its last settings");
        return;
    }
    struct str text = json_str(json_path(fresh->value, "data", "mesh", NULL));
    if (!str_is_empty(str_trim(text)) && yaml_parse(&arena, text, &config, &err) != ERR_OK) {
        log_error(&scope, "key mesh of ConfigMap istio is malformed, keeping the last settings",
                  LOG_ERR(&err));
        arena_done(&arena);
        return;
    }
    arena_done(&registry->config_arena);
    registry->config_arena = arena;
    registry->mesh_config = config;
    mark_dirty(registry);
}

static const struct informer_events config_map_events = {
    .on_change = on_config_map,
    .on_synced = on_source_synced,
};

// --- life ------------------------------------------------------------------------------------------------

static void make_metrics(struct registry *registry, struct metrics *metrics)
{
    registry->snapshots =
        metrics_counter(metrics, "isthmesh_registry_snapshots_total", "Snapshots built.", NULL);
    registry->endpoints_without_pod =
        metrics_gauge(metrics, "isthmesh_registry_endpoints_without_pod",
                      "Endpoints left out because their pod is not known yet.", NULL);
    registry->refused = metrics_gauge(metrics, "isthmesh_registry_objects_refused",
                                      "Objects left out because they are malformed.", NULL);
    registry->remote_clusters = metrics_gauge(
        metrics, "istiod_managed_clusters", "Clusters watched.", "cluster_type=\"remote\"");
    registry->secrets_refused =
        metrics_counter(metrics, "isthmesh_registry_remote_secrets_refused_total",
                        "Remote secrets that could not be used.", NULL);
    metric_set(metrics_gauge(metrics, "istiod_managed_clusters", "Clusters watched.",
                             "cluster_type=\"local\""), 1);
}

static void start_informers(struct registry *registry)
{
    struct informer_options secrets = {
        .resource = &kube_secrets,
        .ns = registry->system_namespace,
        .label_selector = STR(REMOTE_SECRET_LABEL),
    };
    registry->secrets = informer_new(registry->client, &secrets, &secret_events, registry);
    struct informer_options config_maps = {
        .resource = &kube_configmaps,
        .ns = registry->system_namespace,
        .field_selector = STR("metadata.name=" MESH_CONFIG_MAP),
    };
    registry->config_maps = informer_new(registry->client, &config_maps, &config_map_events, registry);
}

struct registry *registry_new(struct loop *loop, const struct registry_options *options,
                              const struct registry_events *events, void *owner, struct error *err)
{
    struct kube_client *client = kube_client_new(loop, options->config, err);
    if (client == NULL) {
        return NULL;
    }
    struct registry *registry = mem_new(struct registry);
    registry->loop = loop;
    registry->events = events;
    registry->owner = owner;
    registry->client = client;
    registry->id = arena_str(&registry->arena, options->cluster);
    registry->system_namespace = arena_str(&registry->arena, options->system_namespace);
    registry->domain = arena_str(&registry->arena, options->domain);
    registry->remote_timeout_ms = options->remote_timeout_ms == 0 ? REGISTRY_REMOTE_TIMEOUT_MS
                                                                  : options->remote_timeout_ms;
    make_metrics(registry, options->metrics);
    loop_task_init(&registry->rebuild, on_rebuild);
    loop_timer_init(&registry->quiet, loop, on_quiet);
    struct cluster_options own = {.id = registry->id, .has_configuration = true};
    registry->own = cluster_new(loop, &own, &cluster_events, registry);
    if (cluster_connect(registry->own, options->config, STR_EMPTY, err) != ERR_OK) {
        registry_free(registry);
        return NULL;
    }
    start_informers(registry);
    return registry;
}

void registry_free(struct registry *registry)
{
    if (registry == NULL) {
        return;
    }
    loop_task_cancel(&registry->rebuild);
    loop_timer_stop(&registry->quiet);
    if (registry->secrets != NULL) {
        informer_free(registry->secrets);
        informer_free(registry->config_maps);
    }
    for (size_t i = 0; i < registry->remotes.count; i++) {
        cluster_free(registry->remotes.items[i]);
    }
    vec_done(&registry->remotes);
    cluster_free(registry->own);
    kube_client_free(registry->client);
    snapshot_unref(registry->snapshot);
    arena_done(&registry->config_arena);
    arena_done(&registry->arena);
    mem_free(registry);
}

bool registry_is_ready(const struct registry *registry)
{
    return registry->is_ready;
}

struct snapshot *registry_snapshot(const struct registry *registry)
{
    return registry->snapshot;
}

struct kube_client *registry_client(const struct registry *registry, struct str cluster)
{
    if (str_is_empty(cluster) || str_equal(cluster, registry->id)) {
        return registry->client;
    }
    const struct cluster *remote = find_remote(registry, cluster);
    return remote == NULL ? NULL : cluster_client(remote);
}

// --- debug pages -----------------------------------------------------------------------------------------

static void write_cluster(struct arena *arena, struct json_value *out, const struct cluster *cluster)
{
    struct json_value *entry = json_new_object(arena);
    json_set_str(arena, entry, "id", cluster_id(cluster));
    json_set_str(arena, entry, "secretName", cluster_secret(cluster));
    json_set_cstr(arena, entry, "syncStatus", cluster_status(cluster));
    json_set_bool(arena, entry, "connected", cluster_is_connected(cluster));
    json_set_int(arena, entry, "staleMs", (int64_t)cluster_stale_ms(cluster));
    json_push(arena, out, entry);
}

void registry_write_clusters(const struct registry *registry, struct buf *out)
{
    struct arena arena = {0};
    struct json_value *list = json_new_array(&arena);
    write_cluster(&arena, list, registry->own);
    for (size_t i = 0; i < registry->remotes.count; i++) {
        write_cluster(&arena, list, registry->remotes.items[i]);
    }
    json_write_pretty(list, out);
    arena_done(&arena);
}

static struct json_value *describe_service(struct arena *arena, const struct mesh_service *service)
{
    struct json_value *entry = json_new_object(arena);
    json_set_str(arena, entry, "hostname", service->hostname);
    struct json_value *ports = json_ensure_array(arena, entry, "ports");
    for (size_t i = 0; i < service->port_count; i++) {
        struct json_value *port = json_new_object(arena);
        json_set_str(arena, port, "name", service->ports[i].name);
        json_set_int(arena, port, "port", service->ports[i].number);
        json_set_cstr(arena, port, "protocol", mesh_protocol_name(service->ports[i].protocol));
        json_push(arena, ports, port);
    }
    struct json_value *addresses = json_ensure_object(arena, entry, "clusterVIPs");
    for (size_t i = 0; i < service->cluster_count; i++) {
        json_set(arena, addresses, service->clusters[i].cluster,
                 json_new_str(arena, service->clusters[i].address));
    }
    struct json_value *endpoints = json_ensure_array(arena, entry, "endpoints");
    for (size_t i = 0; i < service->endpoint_count; i++) {
        const struct mesh_endpoint *endpoint = &service->endpoints[i];
        struct json_value *json = json_new_object(arena);
        json_set_str(arena, json, "address", endpoint->address);
        json_set_str(arena, json, "cluster", endpoint->cluster);
        json_set_str(arena, json, "network", endpoint->network);
        json_set_str(arena, json, "locality", endpoint->locality);
        json_set_str(arena, json, "identity", endpoint->identity);
        json_set_bool(arena, json, "mtls", endpoint->is_mtls);
        json_set_bool(arena, json, "ready", endpoint->is_ready);
        json_push(arena, endpoints, json);
    }
    return entry;
}

void registry_write_services(const struct registry *registry, struct buf *out)
{
    struct arena arena = {0};
    struct json_value *list = json_new_array(&arena);
    const struct snapshot *snapshot = registry->snapshot;
    for (size_t i = 0; snapshot != NULL && i < snapshot->service_count; i++) {
        json_push(&arena, list, describe_service(&arena, snapshot->services[i]));
    }
    json_write_pretty(list, out);
    arena_done(&arena);
}
