// SPDX-License-Identifier: Apache-2.0
#include "proxy/filter/shadow.h"

#include "base/memory.h"

struct shadow {
    struct filter_runtime *runtime;
    struct upstream_cluster *cluster; // held
    struct upstream_target target;
    struct upstream_pool *pool;
    struct http_exchange *exchange; // NULL: over
    void (*on_gone)(void *owner, struct shadow *shadow);
    void *owner;
    bool has_ended; // the request is sent whole
    size_t lag;     // bytes sent since the mirror last kept up
    struct loop_timer timeout;
    struct loop_task release;
};

static void on_release(struct loop_task *task)
{
    struct shadow *shadow = container_of(task, struct shadow, release);
    struct cluster_stats *stats = upstream_cluster_stats(shadow->cluster);
    stat_add(stats->rq_active, -1);
    stat_add(stats->rq_completed, 1);
    (void)atomic_fetch_sub_explicit(&shadow->target.host->active, 1, memory_order_relaxed);
    upstream_target_done(&shadow->target);
    upstream_cluster_release(shadow->cluster);
    mem_free(shadow);
}

// The exchange is over or given up. Freed at the loop's close point, when no callback holds it.
static void finish(struct shadow *shadow)
{
    loop_timer_stop(&shadow->timeout);
    if (shadow->exchange != NULL) {
        http_set_events(shadow->exchange, NULL, NULL);
        http_cancel(shadow->exchange);
        shadow->exchange = NULL;
    }
    if (shadow->pool != NULL) {
        upstream_pool_release(shadow->pool);
        shadow->pool = NULL;
    }
    if (shadow->on_gone != NULL) {
        shadow->on_gone(shadow->owner, shadow);
        shadow->on_gone = NULL;
    }
    loop_task_schedule_close(shadow->runtime->loop, &shadow->release);
}

static void on_timeout(struct loop_timer *timer)
{
    struct shadow *shadow = container_of(timer, struct shadow, timeout);
    stat_add(upstream_cluster_stats(shadow->cluster)->rq_timeout, 1);
    finish(shadow);
}

static void on_head(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct shadow *shadow = owner;
    (void)exchange;
    (void)end;
    int class = head->status / 100;
    if (class >= 1 && class <= 5) {
        stat_add(upstream_cluster_stats(shadow->cluster)->rq_class[class], 1);
    }
    upstream_report_status(shadow->cluster, &shadow->target, head->status);
}

static void on_drained(void *owner, struct http_exchange *exchange)
{
    struct shadow *shadow = owner;
    (void)exchange;
    shadow->lag = 0;
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    struct shadow *shadow = owner;
    (void)exchange;
    (void)err;
    shadow->exchange = NULL;
    finish(shadow);
}

static const struct http_events events = {.on_head = on_head, .on_drained = on_drained, .on_close = on_close};

static bool send_head(struct shadow *shadow, const struct http_head *head, enum http_protocol protocol, bool end)
{
    struct upstream_request_options options = {.protocol = protocol};
    const struct cluster_config *config = upstream_cluster_config(shadow->cluster);
    options.protocol = config->protocol == CLUSTER_HTTP2 ? HTTP_PROTOCOL_2 : config->protocol == CLUSTER_BY_ALPN ? HTTP_PROTOCOL_ALPN
                       : config->protocol == CLUSTER_HTTP1                                                       ? HTTP_PROTOCOL_1
                                                                                                                 : protocol;
    shadow->exchange = upstream_request(shadow->cluster, &shadow->target, &options, head, end, &events, shadow, &shadow->pool, NULL);
    return shadow->exchange != NULL;
}

struct shadow *shadow_start(struct filter_runtime *runtime, struct str cluster, const struct http_head *head, enum http_protocol protocol,
                            uint64_t timeout_ms, bool end, void (*on_gone)(void *owner, struct shadow *shadow), void *owner)
{
    struct upstream_cluster *found = upstreams_get(runtime->upstreams, cluster);
    struct upstream_target target;
    const struct upstream_pick_options pick = {0};
    if (found == NULL) {
        return NULL;
    }
    struct cluster_stats *stats = upstream_cluster_stats(found);
    if ((uint64_t)stat_value(stats->rq_active) >= upstream_cluster_config(found)->requests_max) {
        stat_add(stats->rq_pending_overflow, 1);
        return NULL;
    }
    if (!upstream_pick(found, &pick, &target)) {
        return NULL;
    }
    struct shadow *shadow = mem_new(struct shadow);
    shadow->runtime = runtime;
    shadow->cluster = found;
    shadow->target = target;
    shadow->has_ended = end;
    upstream_cluster_hold(found);
    loop_timer_init(&shadow->timeout, runtime->loop, on_timeout);
    loop_task_init(&shadow->release, on_release);
    (void)atomic_fetch_add_explicit(&target.host->active, 1, memory_order_relaxed);
    stat_add(stats->rq_active, 1);
    stat_add(stats->rq_total, 1);
    if (!send_head(shadow, head, protocol, end)) {
        finish(shadow);
        return NULL;
    }
    shadow->on_gone = on_gone;
    shadow->owner = owner;
    loop_timer_start(&shadow->timeout, timeout_ms == 0 ? SHADOW_TIMEOUT_DEFAULT_MS : timeout_ms);
    return shadow;
}

void shadow_send_data(struct shadow *shadow, struct str bytes, bool end)
{
    if (shadow->has_ended || shadow->exchange == NULL) {
        return;
    }
    shadow->has_ended = end;
    http_send_data(shadow->exchange, bytes, end);
    if (!http_is_congested(shadow->exchange)) {
        shadow->lag = 0;
        return;
    }
    shadow->lag += bytes.size;
    if (shadow->lag > SHADOW_BUFFER_MAX) {
        finish(shadow);
    }
}

void shadow_send_end(struct shadow *shadow)
{
    shadow_send_data(shadow, STR_EMPTY, true);
}

void shadow_leave(struct shadow *shadow)
{
    shadow->on_gone = NULL;
    if (!shadow->has_ended) {
        finish(shadow);
    }
}
