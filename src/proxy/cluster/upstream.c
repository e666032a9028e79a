// SPDX-License-Identifier: Apache-2.0
#include "proxy/cluster/upstream.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/vec.h"

struct upstream_pool {
    struct upstream_cluster *cluster;
    struct upstream_host *host;
    struct cluster *keeps; // the transport socket lives there
    const struct transport_socket *transport;
    struct http_client *client;
    char *key; // in the cluster's map; NULL: retired
    size_t active;
    uint64_t used_ms;
};

struct upstream_cluster {
    struct upstreams *upstreams;
    struct cluster *cluster; // present version
    struct lb *lb;           // NULL: original destination
    struct cluster_stats stats;
    struct map pools; // key → struct upstream_pool
    size_t holds;     // requests under way, retired pools
    bool is_retired;
    uint32_t outlier_epoch; // of the detector when `lb` was made
    struct loop_timer outlier_sweep;
};

struct upstreams {
    struct loop *loop;
    struct stats *stats;
    struct random *random;
    upstream_find_fn *find;
    void *owner;
    struct secrets *secrets;
    struct map clusters; // name → struct upstream_cluster
    VEC(struct upstream_cluster *) retired_clusters;
    VEC(struct upstream_pool *) retired_pools;
    size_t pool_count;
    struct loop_task reap;
    struct loop_timer sweep;
};

// --- life of pools -------------------------------------------------------------------------------------

static void pool_free(struct upstream_pool *pool)
{
    struct upstream_cluster *cluster = pool->cluster;
    if (pool->client != NULL) {
        http_client_free(pool->client);
    }
    upstream_host_unref(pool->host);
    cluster_unref(pool->keeps);
    mem_free(pool->key);
    mem_free(pool);
    cluster->holds--;
    cluster->upstreams->pool_count--;
}

// No new work; freed from the reap task, never from inside a callback of its own client.
static void pool_retire(struct upstream_pool *pool)
{
    if (pool->key == NULL) {
        return;
    }
    (void)map_remove(&pool->cluster->pools, str_of(pool->key));
    mem_free(pool->key);
    pool->key = NULL;
    vec_push(&pool->cluster->upstreams->retired_pools, pool);
    loop_task_schedule(pool->cluster->upstreams->loop, &pool->cluster->upstreams->reap);
}

static void cluster_free(struct upstream_cluster *cluster)
{
    loop_timer_stop(&cluster->outlier_sweep);
    lb_free(cluster->lb);
    map_done(&cluster->pools);
    cluster_unref(cluster->cluster);
    mem_free(cluster);
}

static void cluster_retire(struct upstream_cluster *cluster)
{
    void *value;
    for (size_t at = 0; map_each(&cluster->pools, &at, NULL, &value);) {
        pool_retire(value);
    }
    cluster->is_retired = true;
    loop_timer_stop(&cluster->outlier_sweep);
    vec_push(&cluster->upstreams->retired_clusters, cluster);
    loop_task_schedule(cluster->upstreams->loop, &cluster->upstreams->reap);
}

static void on_reap(struct loop_task *task)
{
    struct upstreams *upstreams = container_of(task, struct upstreams, reap);
    for (size_t i = 0; i < upstreams->retired_pools.count;) {
        struct upstream_pool *pool = upstreams->retired_pools.items[i];
        if (pool->active > 0) {
            i++;
            continue;
        }
        vec_remove_swap(&upstreams->retired_pools, i);
        pool_free(pool);
    }
    for (size_t i = 0; i < upstreams->retired_clusters.count;) {
        struct upstream_cluster *cluster = upstreams->retired_clusters.items[i];
        if (cluster->holds > 0) {
            i++;
            continue;
        }
        vec_remove_swap(&upstreams->retired_clusters, i);
        cluster_free(cluster);
    }
}

static void on_sweep(struct loop_timer *timer)
{
    struct upstreams *upstreams = container_of(timer, struct upstreams, sweep);
    uint64_t now = loop_now_ms(upstreams->loop);
    void *cluster_value;
    for (size_t at = 0; map_each(&upstreams->clusters, &at, NULL, &cluster_value);) {
        struct upstream_cluster *cluster = cluster_value;
        void *value;
        for (size_t k = 0; map_each(&cluster->pools, &k, NULL, &value);) {
            struct upstream_pool *pool = value;
            if (pool->active == 0 && now - pool->used_ms > UPSTREAM_POOL_IDLE_MS) {
                pool_retire(pool);
            }
        }
    }
    loop_timer_start(timer, UPSTREAM_SWEEP_MS);
}

// --- life of the whole ---------------------------------------------------------------------------------

struct upstreams *upstreams_new(struct loop *loop, struct stats *stats, struct random *random,
                                upstream_find_fn *find, void *owner)
{
    struct upstreams *upstreams = mem_new(struct upstreams);
    upstreams->loop = loop;
    upstreams->stats = stats;
    upstreams->random = random;
    upstreams->find = find;
    upstreams->owner = owner;
    loop_task_init(&upstreams->reap, on_reap);
    loop_timer_init(&upstreams->sweep, loop, on_sweep);
    loop_timer_start(&upstreams->sweep, UPSTREAM_SWEEP_MS);
    return upstreams;
}

void upstreams_free(struct upstreams *upstreams)
{
    if (upstreams == NULL) {
        return;
    }
    loop_timer_stop(&upstreams->sweep);
    void *value;
    for (size_t at = 0; map_each(&upstreams->clusters, &at, NULL, &value);) {
        cluster_retire(value);
    }
    map_done(&upstreams->clusters);
    loop_task_cancel(&upstreams->reap);
    // Freeing a client cancels its exchanges, whose owners give their pool back in on_close.
    while (upstreams->retired_pools.count > 0) {
        struct upstream_pool *pool = upstreams->retired_pools.items[--upstreams->retired_pools.count];
        struct http_client *client = pool->client;
        pool->client = NULL;
        http_client_free(client);
        pool_free(pool);
    }
    for (size_t i = 0; i < upstreams->retired_clusters.count; i++) {
        cluster_free(upstreams->retired_clusters.items[i]);
    }
    loop_task_cancel(&upstreams->reap);
    vec_done(&upstreams->retired_pools);
    vec_done(&upstreams->retired_clusters);
    secrets_unref(upstreams->secrets);
    mem_free(upstreams);
}

// Ejected hosts count as unhealthy. The epoch is read first: an ejection in between is seen next time.
static void make_lb(struct upstream_cluster *cluster)
{
    const struct endpoint_set *set = cluster->cluster->endpoints;
    const struct cluster_config *config = cluster->cluster->config;
    lb_free(cluster->lb);
    cluster->lb = NULL;
    if (set == NULL) {
        return;
    }
    cluster->outlier_epoch = config->outlier == NULL ? 0 : outlier_epoch(config->outlier);
    struct lb_options options = config->lb;
    options.overprovisioning = set->overprovisioning;
    struct lb_host *hosts = mem_zalloc(sizeof(*hosts) * (set->count + 1u));
    for (uint32_t i = 0; i < set->count; i++) {
        hosts[i] = set->endpoints[i].balance;
        if (config->outlier != NULL && atomic_load_explicit(&set->endpoints[i].host->outlier.ejected, memory_order_relaxed)) {
            hosts[i].health = LB_UNHEALTHY;
        }
    }
    cluster->lb = lb_new(&options, hosts, set->count, set->locality_weights, set->locality_count, cluster->upstreams->random);
    mem_free(hosts);
}

// --- outlier detection ---------------------------------------------------------------------------------

static struct outlier_view make_view(const struct endpoint_set *set, struct outlier_host ***ret_hosts)
{
    struct outlier_host **hosts = mem_zalloc(sizeof(struct outlier_host *) * ((set == NULL ? 0 : set->count) + 1u));
    for (uint32_t i = 0; set != NULL && i < set->count; i++) {
        hosts[i] = &set->endpoints[i].host->outlier;
    }
    *ret_hosts = hosts;
    return (struct outlier_view){hosts, set == NULL ? 0 : set->count};
}

static void count_ejections(struct cluster_stats *stats, const struct outlier_view *view, const struct outlier_counts *counts)
{
    for (size_t kind = 0; kind < OUTLIER_KIND_COUNT; kind++) {
        stat_add(stats->ejections_detected[kind], counts->detected[kind]);
        stat_add(stats->ejections_enforced[kind], counts->enforced[kind]);
        stat_add(stats->ejections_total, counts->enforced[kind]);
    }
    stat_add(stats->ejections_overflow, counts->overflow);
    stat_set(stats->ejections_active, outlier_active(view));
}

static void eject(struct upstream_cluster *cluster, const struct upstream_target *target, enum outlier_kind kind)
{
    struct upstreams *upstreams = cluster->upstreams;
    struct outlier_counts counts = {0};
    struct outlier_host **hosts;
    struct outlier_view view = make_view(target->cluster->endpoints, &hosts);
    outlier_eject(target->cluster->config->outlier, &view, &target->host->outlier, kind, loop_now_ms(upstreams->loop), upstreams->random, &counts);
    count_ejections(&cluster->stats, &view, &counts);
    mem_free(hosts);
}

void upstream_report_status(struct upstream_cluster *cluster, const struct upstream_target *target, int status)
{
    enum outlier_kind kind;
    struct outlier *outlier = target->cluster->config->outlier;
    if (outlier != NULL && target->endpoint != NULL && outlier_report_status(outlier, &target->host->outlier, status, &kind)) {
        eject(cluster, target, kind);
    }
}

void upstream_report_local(struct upstream_cluster *cluster, const struct upstream_target *target, enum outlier_local event, bool is_tcp)
{
    enum outlier_kind kind;
    struct outlier *outlier = target->cluster->config->outlier;
    if (outlier != NULL && target->endpoint != NULL && outlier_report_local(outlier, &target->host->outlier, event, is_tcp, &kind)) {
        eject(cluster, target, kind);
    }
}

static void on_outlier_sweep(struct loop_timer *timer)
{
    struct upstream_cluster *cluster = container_of(timer, struct upstream_cluster, outlier_sweep);
    struct upstreams *upstreams = cluster->upstreams;
    struct outlier *outlier = cluster->cluster->config->outlier;
    struct outlier_counts counts = {0};
    struct outlier_host **hosts;
    struct outlier_view view = make_view(cluster->cluster->endpoints, &hosts);
    outlier_sweep(outlier, &view, loop_now_ms(upstreams->loop), upstreams->random, &counts);
    count_ejections(&cluster->stats, &view, &counts);
    mem_free(hosts);
    loop_timer_start(timer, outlier_options_of(outlier)->interval_ms);
}

static void fill_ejection_stats(struct upstreams *upstreams, struct str name, struct cluster_stats *stats)
{
    struct arena arena = {0};
    stats->ejections_active = stats_get(upstreams->stats, STAT_CLUSTER, name, "outlier_detection.ejections_active", STAT_GAUGE);
    stats->ejections_total = stats_get(upstreams->stats, STAT_CLUSTER, name, "outlier_detection.ejections_enforced_total", STAT_COUNTER);
    stats->ejections_overflow = stats_get(upstreams->stats, STAT_CLUSTER, name, "outlier_detection.ejections_overflow", STAT_COUNTER);
    for (enum outlier_kind kind = 0; kind < OUTLIER_KIND_COUNT; kind++) {
        struct str detected = arena_format(&arena, "outlier_detection.ejections_detected_%s", outlier_kind_name(kind));
        struct str enforced = arena_format(&arena, "outlier_detection.ejections_enforced_%s", outlier_kind_name(kind));
        stats->ejections_detected[kind] = stats_get(upstreams->stats, STAT_CLUSTER, name, detected.data, STAT_COUNTER);
        stats->ejections_enforced[kind] = stats_get(upstreams->stats, STAT_CLUSTER, name, enforced.data, STAT_COUNTER);
    }
    arena_done(&arena);
}

static void fill_stats(struct upstreams *upstreams, struct str name, struct cluster_stats *stats)
{
    // clang-format off
    const struct {
        struct stat **place;
        const char *name;
        enum stat_kind kind;
    } rows[] = {
        {&stats->cx_total,            "upstream_cx_total",               STAT_COUNTER},
        {&stats->cx_active,           "upstream_cx_active",              STAT_GAUGE},
        {&stats->cx_connect_fail,     "upstream_cx_connect_fail",        STAT_COUNTER},
        {&stats->cx_connect_timeout,  "upstream_cx_connect_timeout",     STAT_COUNTER},
        {&stats->cx_overflow,         "upstream_cx_overflow",            STAT_COUNTER},
        {&stats->cx_none_healthy,     "upstream_cx_none_healthy",        STAT_COUNTER},
        {&stats->cx_rx_bytes,         "upstream_cx_rx_bytes_total",      STAT_COUNTER},
        {&stats->cx_tx_bytes,         "upstream_cx_tx_bytes_total",      STAT_COUNTER},
        {&stats->rq_total,            "upstream_rq_total",               STAT_COUNTER},
        {&stats->rq_active,           "upstream_rq_active",              STAT_GAUGE},
        {&stats->rq_completed,        "upstream_rq_completed",           STAT_COUNTER},
        {&stats->rq_pending_overflow, "upstream_rq_pending_overflow",    STAT_COUNTER},
        {&stats->rq_timeout,          "upstream_rq_timeout",             STAT_COUNTER},
        {&stats->rq_retry,            "upstream_rq_retry",               STAT_COUNTER},
        {&stats->rq_retry_active,     "upstream_rq_retry_active",        STAT_GAUGE},
        {&stats->rq_retry_overflow,   "upstream_rq_retry_overflow",      STAT_COUNTER},
        {&stats->rq_retry_limit,      "upstream_rq_retry_limit_exceeded", STAT_COUNTER},
        {&stats->rq_class[1],         "upstream_rq_1xx",                 STAT_COUNTER},
        {&stats->rq_class[2],         "upstream_rq_2xx",                 STAT_COUNTER},
        {&stats->rq_class[3],         "upstream_rq_3xx",                 STAT_COUNTER},
        {&stats->rq_class[4],         "upstream_rq_4xx",                 STAT_COUNTER},
        {&stats->rq_class[5],         "upstream_rq_5xx",                 STAT_COUNTER},
    };
    // clang-format on
    for (size_t i = 0; i < array_count(rows); i++) {
        *rows[i].place = stats_get(upstreams->stats, STAT_CLUSTER, name, rows[i].name, rows[i].kind);
    }
}

static struct upstream_cluster *cluster_make(struct upstreams *upstreams, struct cluster *from)
{
    struct upstream_cluster *cluster = mem_new(struct upstream_cluster);
    cluster->upstreams = upstreams;
    cluster->cluster = cluster_ref(from);
    make_lb(cluster);
    fill_stats(upstreams, from->config->stat_name, &cluster->stats);
    loop_timer_init(&cluster->outlier_sweep, upstreams->loop, on_outlier_sweep);
    if (from->config->outlier != NULL && from->endpoints != NULL) {
        fill_ejection_stats(upstreams, from->config->stat_name, &cluster->stats);
        loop_timer_start(&cluster->outlier_sweep, outlier_options_of(from->config->outlier)->interval_ms);
    }
    return cluster;
}

struct upstream_cluster *upstreams_get(struct upstreams *upstreams, struct str name)
{
    struct upstream_cluster *cluster = map_get(&upstreams->clusters, name);
    if (cluster == NULL) {
        struct cluster *from = upstreams->find(upstreams->owner, name);
        if (from == NULL) {
            return NULL;
        }
        cluster = cluster_make(upstreams, from);
        (void)map_set(&upstreams->clusters, name, cluster);
    }
    return cluster;
}

static bool has_host(const struct endpoint_set *set, const struct upstream_host *host)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->endpoints[i].host == host) {
            return true;
        }
    }
    return false;
}

// Same configuration, other endpoints: pools of hosts that left take no new requests.
static void change_endpoints(struct upstream_cluster *cluster, struct cluster *to)
{
    cluster_unref(cluster->cluster);
    cluster->cluster = cluster_ref(to);
    make_lb(cluster);
    void *value;
    for (size_t at = 0; to->endpoints != NULL && map_each(&cluster->pools, &at, NULL, &value);) {
        struct upstream_pool *pool = value;
        if (!has_host(to->endpoints, pool->host)) {
            pool_retire(pool);
        }
    }
}

void upstreams_refresh(struct upstreams *upstreams)
{
    struct str name;
    void *value;
    for (size_t at = 0; map_each(&upstreams->clusters, &at, &name, &value);) {
        struct upstream_cluster *cluster = value;
        struct cluster *present = upstreams->find(upstreams->owner, name);
        if (present == cluster->cluster) {
            continue;
        }
        if (present != NULL && present->config == cluster->cluster->config) {
            change_endpoints(cluster, present);
            continue;
        }
        (void)map_remove(&upstreams->clusters, name);
        cluster_retire(cluster);
    }
}

void upstreams_set_secrets(struct upstreams *upstreams, struct secrets *secrets)
{
    secrets_unref(upstreams->secrets);
    upstreams->secrets = secrets_ref(secrets);
    void *cluster_value;
    for (size_t at = 0; map_each(&upstreams->clusters, &at, NULL, &cluster_value);) {
        struct upstream_cluster *cluster = cluster_value;
        void *value;
        for (size_t k = 0; map_each(&cluster->pools, &k, NULL, &value);) {
            struct upstream_pool *pool = value;
            struct tls_context *context = pool->transport->is_tls ? secrets_context(secrets, pool->transport, NULL) : NULL;
            if (context != NULL) { // open connections go on with what they have
                http_client_set_tls(pool->client, context);
                tls_context_unref(context);
            }
        }
    }
}

void upstream_cluster_hold(struct upstream_cluster *cluster)
{
    cluster->holds++;
}

void upstream_cluster_release(struct upstream_cluster *cluster)
{
    ASSERT(cluster->holds > 0);
    cluster->holds--;
    if (cluster->is_retired && cluster->holds == 0) {
        loop_task_schedule(cluster->upstreams->loop, &cluster->upstreams->reap);
    }
}

const struct cluster_config *upstream_cluster_config(const struct upstream_cluster *cluster)
{
    return cluster->cluster->config;
}

struct cluster_stats *upstream_cluster_stats(struct upstream_cluster *cluster)
{
    return &cluster->stats;
}

size_t upstreams_pool_count(const struct upstreams *upstreams)
{
    return upstreams->pool_count;
}

// --- choosing ------------------------------------------------------------------------------------------

struct previous_hosts {
    const struct endpoint_set *set;
    struct upstream_host *const *hosts;
    size_t count;
};

static bool was_tried(void *owner, uint32_t host)
{
    const struct previous_hosts *previous = owner;
    for (size_t i = 0; i < previous->count; i++) {
        if (previous->set->endpoints[host].host == previous->hosts[i]) {
            return true;
        }
    }
    return false;
}

static bool pick_original(struct upstream_cluster *cluster, const struct address *original, struct upstream_target *ret_target)
{
    if (original == NULL || original->size == 0) {
        return false;
    }
    const struct cluster_config *config = cluster->cluster->config;
    struct address address = *original;
    if (config->original_port_override != 0) {
        address_set_port(&address, config->original_port_override);
    }
    *ret_target = (struct upstream_target){
        .cluster = cluster_ref(cluster->cluster),
        .host = upstream_host_new(&address),
        .transport = config->transport,
    };
    return true;
}

bool upstream_pick(struct upstream_cluster *cluster, const struct upstream_pick_options *options, struct upstream_target *ret_target)
{
    const struct endpoint_set *set = cluster->cluster->endpoints;
    struct outlier *outlier = cluster->cluster->config->outlier;
    bool found = false;
    if (cluster->lb != NULL && outlier != NULL && outlier_epoch(outlier) != cluster->outlier_epoch) {
        make_lb(cluster);
    }
    if (cluster->lb == NULL) {
        found = pick_original(cluster, options->original, ret_target);
    } else {
        struct previous_hosts avoid = {set, options->previous, options->previous_count};
        uint32_t at = lb_pick_hashed(cluster->lb, cluster->upstreams->random, options->hash,
                                     options->previous_count > 0 ? was_tried : NULL, &avoid, options->draws_max);
        if (at != LB_NONE) {
            const struct endpoint *endpoint = &set->endpoints[at];
            *ret_target = (struct upstream_target){
                .cluster = cluster_ref(cluster->cluster),
                .host = upstream_host_ref(endpoint->host),
                .transport = endpoint->transport,
                .endpoint = endpoint,
            };
            found = true;
        }
    }
    if (!found) {
        stat_add(cluster->stats.cx_none_healthy, 1);
    }
    return found;
}

void upstream_target_done(struct upstream_target *target)
{
    upstream_host_unref(target->host);
    cluster_unref(target->cluster);
    *target = (struct upstream_target){0};
}

// --- pools ---------------------------------------------------------------------------------------------

static void count_failure(struct upstream_cluster *cluster, struct upstream_host *host, enum err code)
{
    stat_add(cluster->stats.cx_connect_fail, 1);
    if (code == ERR_TIMEOUT) {
        stat_add(cluster->stats.cx_connect_timeout, 1);
    }
    (void)atomic_fetch_add_explicit(&host->connect_failures, 1, memory_order_relaxed);
}

static void on_pool_connection(void *owner, bool opened, const struct error *err)
{
    struct upstream_pool *pool = owner;
    struct cluster_stats *stats = &pool->cluster->stats;
    if (err != NULL) {
        stat_add(stats->cx_total, 1);
        (void)atomic_fetch_add_explicit(&pool->host->connections_total, 1, memory_order_relaxed);
        count_failure(pool->cluster, pool->host, err->code);
        return;
    }
    if (opened) {
        stat_add(stats->cx_total, 1);
        (void)atomic_fetch_add_explicit(&pool->host->connections_total, 1, memory_order_relaxed);
    }
    stat_add(stats->cx_active, opened ? 1 : -1);
    (void)atomic_fetch_add_explicit(&pool->host->connections_active, opened ? 1 : -1, memory_order_relaxed);
}

static struct upstream_pool *pool_make(struct upstream_cluster *cluster, const struct upstream_target *target,
                                       const struct upstream_request_options *options, struct str key, struct error *err)
{
    struct upstreams *upstreams = cluster->upstreams;
    if (upstreams->pool_count >= UPSTREAM_POOLS_MAX) {
        (void)error_set(err, ERR_LIMIT, "more than %u connection pools", UPSTREAM_POOLS_MAX);
        return NULL;
    }
    struct tls_context *context = NULL;
    if (target->transport->is_tls) {
        context = upstreams->secrets == NULL ? NULL : secrets_context(upstreams->secrets, target->transport, err);
        if (context == NULL) {
            (void)error_set(err, ERR_TLS, "Secret is not supplied by SDS");
            return NULL;
        }
    }
    const struct cluster_config *config = target->cluster->config;
    struct upstream_pool *pool = mem_new(struct upstream_pool);
    pool->cluster = cluster;
    pool->host = upstream_host_ref(target->host);
    pool->keeps = cluster_ref(target->cluster);
    pool->transport = target->transport;
    struct buf copy = {0};
    buf_append_str(&copy, key);
    pool->key = buf_detach(&copy, NULL);
    struct http_client_options client = {
        .address = target->host->address,
        .tls = context,
        .tls_server_name = target->transport->server_name,
        .alpn = options->alpn,
        .alpn_count = options->alpn_count,
        .protocol = options->protocol,
        .bind_to = config->has_bind ? &config->bind : NULL,
        .connect_timeout_ms = config->connect_timeout_ms,
        .idle_timeout_ms = config->idle_timeout_ms,
        .requests_max = config->requests_per_connection_max,
        .connections_max = config->connections_max > UINT32_MAX - 1 ? 0 : (unsigned)config->connections_max,
        .on_connection = on_pool_connection,
        .owner = pool,
    };
    pool->client = http_client_new(upstreams->loop, &client);
    tls_context_unref(context);
    cluster->holds++;
    upstreams->pool_count++;
    (void)map_set(&cluster->pools, key, pool);
    return pool;
}

// Requests share connections only when everything that shapes a connection is the same.
static void append_pool_key(struct buf *key, const struct upstream_target *target, const struct upstream_request_options *options)
{
    buf_printf(key, "%s|%d|%.*s|", target->host->text, (int)options->protocol, STR_ARG(target->transport->server_name));
    for (size_t i = 0; i < options->alpn_count; i++) {
        buf_printf(key, "%.*s,", STR_ARG(options->alpn[i]));
    }
    buf_printf(key, "|%.*s", STR_ARG(target->transport->key));
}

struct http_exchange *upstream_request(struct upstream_cluster *cluster, const struct upstream_target *target,
                                       const struct upstream_request_options *options, const struct http_head *head, bool end,
                                       const struct http_events *events, void *owner, struct upstream_pool **ret_pool,
                                       struct error *err)
{
    struct buf key = {0};
    append_pool_key(&key, target, options);
    struct upstream_pool *pool = map_get(&cluster->pools, buf_view(&key));
    if (pool == NULL) {
        pool = pool_make(cluster, target, options, buf_view(&key), err);
    }
    buf_done(&key);
    if (pool == NULL) {
        return NULL;
    }
    pool->active++;
    pool->used_ms = loop_now_ms(cluster->upstreams->loop);
    *ret_pool = pool;
    return http_request(pool->client, head, end, events, owner);
}

void upstream_pool_release(struct upstream_pool *pool)
{
    ASSERT(pool->active > 0);
    pool->active--;
    pool->used_ms = loop_now_ms(pool->cluster->upstreams->loop);
    if (pool->active == 0 && pool->key == NULL && pool->client != NULL) {
        loop_task_schedule(pool->cluster->upstreams->loop, &pool->cluster->upstreams->reap);
    }
}

struct stream *upstream_connect(struct upstream_cluster *cluster, const struct upstream_target *target,
                                const struct stream_events *events, void *owner, struct error *err)
{
    struct upstreams *upstreams = cluster->upstreams;
    const struct cluster_config *config = target->cluster->config;
    struct stream_connect_options options = {
        .tls_server_name = target->transport->server_name,
        .bind_to = config->has_bind ? &config->bind : NULL,
        .timeout_ms = config->connect_timeout_ms,
    };
    if (target->transport->is_tls) {
        options.tls = upstreams->secrets == NULL ? NULL : secrets_context(upstreams->secrets, target->transport, err);
        if (options.tls == NULL) {
            (void)error_set(err, ERR_TLS, "Secret is not supplied by SDS");
            return NULL;
        }
    }
    struct stream *stream = stream_connect(upstreams->loop, &target->host->address, &options, events, owner);
    tls_context_unref(options.tls);
    return stream;
}
