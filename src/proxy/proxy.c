// SPDX-License-Identifier: Apache-2.0
#include "proxy/proxy.h"

#include "base/log.h"
#include "base/memory.h"
#include "proxy/admin.h"
#include "proxy/ads.h"
#include "proxy/dns_clusters.h"
#include "proxy/identity/identity.h"

static struct log_scope scope = LOG_SCOPE("proxy");

const char *proxy_state_name(enum proxy_state state)
{
    static const char *const names[] = {
        [PROXY_PRE_INITIALIZING] = "PRE_INITIALIZING",
        [PROXY_INITIALIZING] = "INITIALIZING",
        [PROXY_LIVE] = "LIVE",
        [PROXY_DRAINING] = "DRAINING",
    };
    return names[state];
}

// Envoy's numbers of the states, which readiness checks compare.
static void set_state(struct proxy *proxy, enum proxy_state state)
{
    static const int64_t numbers[] = {[PROXY_LIVE] = 0, [PROXY_DRAINING] = 1, [PROXY_PRE_INITIALIZING] = 2, [PROXY_INITIALIZING] = 3};
    proxy->state = state;
    stat_set(stats_get(proxy->stats, STAT_SERVER, STR("server"), "state", STAT_GAUGE), numbers[state]);
    stat_set(stats_get(proxy->stats, STAT_SERVER, STR("server"), "live", STAT_GAUGE), state == PROXY_LIVE);
    stat_set(stats_get(proxy->stats, STAT_SERVER, STR("listener_manager"), "workers_started", STAT_GAUGE),
             state == PROXY_LIVE || state == PROXY_DRAINING);
}

static void on_publish(struct loop_task *task)
{
    struct proxy *proxy = container_of(task, struct proxy, publish);
    struct generation *generation = config_store_generation(proxy->store);
    if (generation == NULL) {
        return;
    }
    dns_clusters_refresh(proxy->dns);
    stat_set(stats_get(proxy->stats, STAT_SERVER, STR("cluster_manager"), "active_clusters", STAT_GAUGE),
             (int64_t)map_count(&generation->clusters));
    stat_set(stats_get(proxy->stats, STAT_SERVER, STR("cluster_manager"), "warming_clusters", STAT_GAUGE),
             (int64_t)config_store_warming(proxy->store, XDS_CLUSTER));
    stat_set(stats_get(proxy->stats, STAT_SERVER, STR("listener_manager"), "total_listeners_active", STAT_GAUGE),
             (int64_t)generation->listeners.count);
    stat_set(stats_get(proxy->stats, STAT_SERVER, STR("listener_manager"), "total_listeners_warming", STAT_GAUGE),
             (int64_t)config_store_warming(proxy->store, XDS_LISTENER));
    for (unsigned i = 0; i < proxy->worker_count; i++) {
        worker_publish(proxy->workers[i], generation);
    }
    if (proxy->ads != NULL) {
        ads_on_published(proxy->ads);
    } else if (proxy->state < PROXY_LIVE) {
        set_state(proxy, PROXY_LIVE);
    }
}

void proxy_changed(struct proxy *proxy)
{
    loop_task_schedule(proxy->loop, &proxy->publish);
}

void proxy_set_initialized(struct proxy *proxy)
{
    if (proxy->state < PROXY_LIVE) {
        log_info(&scope, "serving", LOG_U64("listeners", config_store_current(proxy->store)->listeners.count));
        set_state(proxy, PROXY_LIVE);
    }
}

bool proxy_is_ready(const struct proxy *proxy)
{
    return proxy->state == PROXY_LIVE;
}

static void on_addresses(void *owner)
{
    proxy_changed(owner);
}

static void on_drain_poll(struct loop_timer *timer)
{
    struct proxy *proxy = container_of(timer, struct proxy, drain_poll);
    size_t open = 0;
    for (unsigned i = 0; i < proxy->worker_count; i++) {
        open += worker_connections(proxy->workers[i]);
    }
    if (open == 0 || loop_now_ms(proxy->loop) >= proxy->drain_deadline_ms) {
        log_info(&scope, "stopping", LOG_U64("open_connections", open));
        loop_stop(proxy->loop);
        return;
    }
    loop_timer_start(timer, PROXY_DRAIN_POLL_MS);
}

void proxy_drain(struct proxy *proxy, bool inbound_only)
{
    set_state(proxy, PROXY_DRAINING);
    for (unsigned i = 0; i < proxy->worker_count; i++) {
        worker_drain(proxy->workers[i], inbound_only);
    }
}

void proxy_shut_down(struct proxy *proxy)
{
    if (loop_timer_is_running(&proxy->drain_poll)) {
        loop_stop(proxy->loop); // asked twice
        return;
    }
    log_info(&scope, "draining connections before exit", LOG_U64("deadline_ms", PROXY_DRAIN_MS));
    // A sidecar's application may still need the way out; a gateway has only one direction.
    bool is_sidecar = proxy->node != NULL && str_starts_with(str_of(proxy->node->id), STR("sidecar~"));
    proxy_drain(proxy, is_sidecar);
    proxy->drain_deadline_ms = loop_now_ms(proxy->loop) + PROXY_DRAIN_MS;
    loop_timer_start(&proxy->drain_poll, PROXY_DRAIN_POLL_MS);
}

void proxy_init(struct proxy *proxy, struct loop *loop, unsigned concurrency)
{
    *proxy = (struct proxy){.loop = loop, .start_ms = loop_now_ms(loop)};
    proxy->stats = stats_new();
    proxy->metrics = metrics_new();
    proxy->store = config_store_new(proxy->stats);
    proxy->dns = dns_clusters_new(loop, proxy->store, on_addresses, proxy);
    loop_task_init(&proxy->publish, on_publish);
    loop_timer_init(&proxy->drain_poll, loop, on_drain_poll);
    set_state(proxy, PROXY_INITIALIZING);
    proxy->worker_count = concurrency == 0 ? 1 : concurrency > WORKERS_MAX ? WORKERS_MAX : concurrency;
    stat_set(stats_get(proxy->stats, STAT_SERVER, STR("server"), "concurrency", STAT_GAUGE), proxy->worker_count);
    for (unsigned i = 0; i < proxy->worker_count; i++) {
        proxy->workers[i] = worker_start(concurrency == 0 ? loop : NULL, proxy->stats, proxy->metrics);
    }
}

void proxy_done(struct proxy *proxy)
{
    // First whoever changes the configuration: on a shared loop its turns go on while workers end.
    dns_clusters_free(proxy->dns);
    loop_timer_stop(&proxy->drain_poll);
    ads_free(proxy->ads);
    identity_free(proxy->identity);
    admin_free(proxy->admin);
    loop_task_cancel(&proxy->publish);
    for (unsigned i = 0; i < proxy->worker_count; i++) {
        worker_stop(proxy->workers[i]);
    }
    config_store_free(proxy->store);
    metrics_free(proxy->metrics);
    stats_free(proxy->stats);
}
