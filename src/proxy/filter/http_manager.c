// SPDX-License-Identifier: Apache-2.0
#include "proxy/filter/http_manager.h"

#include "base/memory.h"
#include "net/http.h"
#include "proxy/filter/http_request.h"

struct http_manager {
    const struct http_manager_config *config;
    struct filter_runtime *runtime;
    struct http_server *server;
    struct http_manager_stats stats;
    struct stat *cx_total;
    struct stat *cx_active;
};

// What a connection carries through the HTTP server: its manager too, for the counts at its end.
struct managed_connection {
    struct http_manager *manager;
    struct connection *connection;
};

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct http_manager *manager = owner;
    struct managed_connection *managed = http_connection_tag(exchange);
    http_request_start(manager->config, &manager->stats, managed->connection, exchange, head, end);
}

static void fill_stats(struct http_manager *manager)
{
    struct stats *stats = manager->runtime->stats;
    struct str prefix = manager->config->stat_prefix;
    // clang-format off
    const struct {
        struct stat **place;
        const char *name;
        enum stat_kind kind;
    } rows[] = {
        {&manager->cx_total,          "downstream_cx_total",     STAT_COUNTER},
        {&manager->cx_active,         "downstream_cx_active",    STAT_GAUGE},
        {&manager->stats.rq_total,    "downstream_rq_total",     STAT_COUNTER},
        {&manager->stats.rq_active,   "downstream_rq_active",    STAT_GAUGE},
        {&manager->stats.rq_completed, "downstream_rq_completed", STAT_COUNTER},
        {&manager->stats.rq_class[1], "downstream_rq_1xx",       STAT_COUNTER},
        {&manager->stats.rq_class[2], "downstream_rq_2xx",       STAT_COUNTER},
        {&manager->stats.rq_class[3], "downstream_rq_3xx",       STAT_COUNTER},
        {&manager->stats.rq_class[4], "downstream_rq_4xx",       STAT_COUNTER},
        {&manager->stats.rq_class[5], "downstream_rq_5xx",       STAT_COUNTER},
        {&manager->stats.no_route,    "no_route",                STAT_COUNTER},
        {&manager->stats.no_cluster,  "no_cluster",              STAT_COUNTER},
    };
    // clang-format on
    for (size_t i = 0; i < array_count(rows); i++) {
        *rows[i].place = stats_get(stats, STAT_HTTP, prefix, rows[i].name, rows[i].kind);
    }
}

struct http_manager *http_manager_new(const struct http_manager_config *config, struct filter_runtime *runtime)
{
    struct http_manager *manager = mem_new(struct http_manager);
    manager->config = config;
    manager->runtime = runtime;
    fill_stats(manager);
    struct http_server_options options = {
        .limits = {.head_bytes = config->head_bytes_max, .idle_timeout_ms = config->idle_timeout_ms},
        .http2 = true,
    };
    manager->server = http_server_new(runtime->loop, &options, on_request, manager);
    return manager;
}

static void on_connection_closed(void *tag)
{
    struct managed_connection *managed = tag;
    struct connection *connection = managed->connection;
    stat_add(managed->manager->cx_active, -1);
    mem_free(managed);
    connection_release(connection);
}

void http_manager_adopt(struct http_manager *manager, struct connection *connection, struct stream *stream)
{
    struct managed_connection *managed = mem_new(struct managed_connection);
    managed->manager = manager;
    managed->connection = connection;
    stat_add(manager->cx_total, 1);
    stat_add(manager->cx_active, 1);
    http_server_adopt_tagged(manager->server, stream, managed, on_connection_closed);
}

void http_manager_drain(struct http_manager *manager, uint64_t deadline_ms, void (*on_done)(void *owner), void *owner)
{
    http_server_drain(manager->server, deadline_ms, on_done, owner);
}

void http_manager_stop(struct http_manager *manager)
{
    if (manager->server != NULL) {
        http_server_free(manager->server);
        manager->server = NULL;
    }
}

void http_manager_free(struct http_manager *manager)
{
    if (manager == NULL) {
        return;
    }
    http_manager_stop(manager);
    mem_free(manager);
}
