// SPDX-License-Identifier: Apache-2.0
#include "proxy/admin.h"

#include <stdio.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/version.h"
#include "codec/pb/pb.h"
#include "codec/x509/x509.h"
#include "proxy/ads.h"
#include "proxy/identity/identity.h"

struct admin {
    struct proxy *proxy;
    struct http_server *local;
    struct http_server *open; // health and metrics only
};

struct page_call {
    struct proxy *proxy;
    struct http_exchange *exchange;
    struct str query; // behind '?'
    struct arena arena;
    struct buf out;
};

typedef void page_fn(struct page_call *call);

static struct str query_value(struct str query, const char *name)
{
    while (query.data != NULL && query.size > 0) {
        struct str value = str_split(&query, '&');
        struct str key = str_split(&value, '=');
        if (str_equal_c(key, name)) {
            return value.data == NULL ? STR("true") : value;
        }
    }
    return STR_EMPTY;
}

static void send_text(struct page_call *call, int status)
{
    http_respond(call->exchange, status, STR("text/plain; charset=UTF-8"), buf_view(&call->out));
}

static void send_json(struct page_call *call, const struct json_value *json)
{
    json_write_pretty(json, &call->out);
    buf_append_char(&call->out, '\n');
    http_respond(call->exchange, 200, STR("application/json"), buf_view(&call->out));
}

// --- pages ---------------------------------------------------------------------------------------------

static void page_ready(struct page_call *call)
{
    buf_printf(&call->out, "%s\n", proxy_state_name(call->proxy->state));
    send_text(call, proxy_is_ready(call->proxy) ? 200 : 503);
}

static void page_health(struct page_call *call)
{
    if (!proxy_is_ready(call->proxy)) {
        buf_printf(&call->out, "proxy is %s\n", proxy_state_name(call->proxy->state));
    }
    send_text(call, proxy_is_ready(call->proxy) ? 200 : 503);
}

static void page_stats(struct page_call *call)
{
    const struct stats_query query = {
        .used_only = query_value(call->query, "usedonly").size > 0,
        .contains = query_value(call->query, "filter"),
    };
    struct str format = query_value(call->query, "format");
    stat_set(stats_get(call->proxy->stats, STAT_SERVER, STR("server"), "uptime", STAT_GAUGE),
             (int64_t)((loop_now_ms(call->proxy->loop) - call->proxy->start_ms) / 1000));
    if (str_equal(format, STR("prometheus"))) {
        stats_write_prometheus(call->proxy->stats, &call->out);
        metrics_write(call->proxy->metrics, &call->out);
    } else {
        stats_write_text(call->proxy->stats, &query, &call->out);
    }
    send_text(call, 200);
}

static void page_prometheus(struct page_call *call)
{
    stats_write_prometheus(call->proxy->stats, &call->out);
    metrics_write(call->proxy->metrics, &call->out);
    http_respond(call->exchange, 200, STR("text/plain; version=0.0.4; charset=utf-8"), buf_view(&call->out));
}

static void page_server_info(struct page_call *call)
{
    struct arena *arena = &call->arena;
    struct json_value *info = json_new_object(arena);
    uint64_t uptime = (loop_now_ms(call->proxy->loop) - call->proxy->start_ms) / 1000;
    struct str text = arena_format(arena, "%llus", (unsigned long long)uptime);
    json_set_str(arena, info, "version", arena_format(arena, "%s/%s/Clean/RELEASE/OpenSSL", version_commit, version_number));
    json_set_cstr(arena, info, "state", proxy_state_name(call->proxy->state));
    json_set_str(arena, info, "uptime_current_epoch", text);
    json_set_str(arena, info, "uptime_all_epochs", text);
    json_set_cstr(arena, info, "hot_restart_version", "disabled");
    struct json_value *options = json_ensure_object(arena, info, "command_line_options");
    json_set_int(arena, options, "concurrency", call->proxy->worker_count);
    if (call->proxy->node != NULL) {
        json_set(arena, info, STR("node"), pb_to_json(arena, call->proxy->node, PB_JSON_ORIGINAL_NAMES));
    }
    send_json(call, info);
}

static void page_config_dump(struct page_call *call)
{
    bool with_endpoints = query_value(call->query, "include_eds").size > 0 || str_find(call->query, STR("include_eds")) >= 0;
    send_json(call, config_store_dump(call->proxy->store, &call->arena, with_endpoints));
}

static void write_host(struct buf *out, struct str cluster, const struct endpoint *endpoint, uint32_t weight)
{
    const struct upstream_host *host = endpoint->host;
    const struct {
        const char *name;
        int64_t value;
    } rows[] = {
        {"cx_active", atomic_load(&host->connections_active)},  {"cx_connect_fail", atomic_load(&host->connect_failures)},
        {"cx_total", atomic_load(&host->connections_total)},    {"rq_active", atomic_load(&host->active)},
        {"rq_error", atomic_load(&host->requests_error)},       {"rq_success", atomic_load(&host->requests_success)},
        {"rq_timeout", 0},                                      {"rq_total", atomic_load(&host->requests_total)},
        {"weight", weight},                                     {"priority", endpoint->balance.priority},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        buf_printf(out, "%.*s::%s::%s::%lld\n", STR_ARG(cluster), host->text, rows[i].name, (long long)rows[i].value);
    }
    bool is_ejected = atomic_load_explicit(&host->outlier.ejected, memory_order_relaxed);
    static const char *const health[] = {[LB_HEALTHY] = "", [LB_DEGRADED] = "/degraded_eds_health", [LB_UNHEALTHY] = "/failed_eds_health"};
    buf_printf(out, "%.*s::%s::health_flags::%s%s\n", STR_ARG(cluster), host->text, is_ejected ? "/failed_outlier_check" : "",
               endpoint->health == LB_HEALTHY && !is_ejected ? "healthy" : health[endpoint->health]);
    struct str rest = endpoint->locality;
    static const char *const parts[] = {"region", "zone", "sub_zone"};
    for (size_t i = 0; i < array_count(parts); i++) {
        struct str part = rest.data == NULL ? STR_EMPTY : str_split(&rest, '/');
        buf_printf(out, "%.*s::%s::%s::%.*s\n", STR_ARG(cluster), host->text, parts[i], STR_ARG(part));
    }
}

static void page_clusters(struct page_call *call)
{
    const struct generation *generation = config_store_current(call->proxy->store);
    struct str name;
    void *value;
    for (size_t at = 0; generation != NULL && map_each(&generation->clusters, &at, &name, &value);) {
        const struct cluster *cluster = value;
        const struct cluster_config *config = cluster->config;
        buf_printf(&call->out, "%.*s::observability_name::%.*s\n", STR_ARG(name), STR_ARG(config->stat_name));
        buf_printf(&call->out, "%.*s::default_priority::max_connections::%llu\n", STR_ARG(name), (unsigned long long)config->connections_max);
        buf_printf(&call->out, "%.*s::default_priority::max_pending_requests::%llu\n", STR_ARG(name), (unsigned long long)config->pending_max);
        buf_printf(&call->out, "%.*s::default_priority::max_requests::%llu\n", STR_ARG(name), (unsigned long long)config->requests_max);
        buf_printf(&call->out, "%.*s::default_priority::max_retries::%llu\n", STR_ARG(name), (unsigned long long)config->retries_max);
        buf_printf(&call->out, "%.*s::added_via_api::%s\n", STR_ARG(name), call->proxy->ads != NULL ? "true" : "false");
        for (uint32_t i = 0; cluster->endpoints != NULL && i < cluster->endpoints->count; i++) {
            write_host(&call->out, name, &cluster->endpoints->endpoints[i], cluster->endpoints->endpoints[i].balance.weight);
        }
    }
    send_text(call, 200);
}

static void page_listeners(struct page_call *call)
{
    const struct generation *generation = config_store_current(call->proxy->store);
    for (size_t i = 0; generation != NULL && i < generation->listeners.count; i++) {
        char text[ADDRESS_TEXT_SIZE];
        const struct listener_config *config = generation->listeners.items[i];
        buf_printf(&call->out, "%.*s::%s\n", STR_ARG(config->name), address_format(&config->address, text));
    }
    send_text(call, 200);
}

static struct json_value *describe_certificate(struct page_call *call, const struct x509_certificate *certificate)
{
    struct arena *arena = &call->arena;
    struct x509_facts facts;
    x509_certificate_facts(arena, certificate, &facts);
    struct json_value *json = json_new_object(arena);
    int64_t left = facts.not_after - (int64_t)(loop_wall_ms(call->proxy->loop) / 1000);
    json_set_cstr(arena, json, "path", "<inline>");
    json_set_str(arena, json, "serial_number", facts.serial);
    struct json_value *names = json_ensure_array(arena, json, "subject_alt_names");
    static const char *const kinds[] = {[X509_SAN_DNS] = "dns", [X509_SAN_URI] = "uri", [X509_SAN_IP] = "ip_address"};
    for (size_t i = 0; i < facts.san_count; i++) {
        struct json_value *name = json_new_object(arena);
        json_set_str(arena, name, kinds[facts.sans[i].type], facts.sans[i].value);
        json_push(arena, names, name);
    }
    json_set_str(arena, json, "days_until_expiration", arena_format(arena, "%lld", (long long)(left < 0 ? 0 : left / 86400)));
    Google__Protobuf__Timestamp from = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Google__Protobuf__Timestamp to = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    from.seconds = facts.not_before;
    to.seconds = facts.not_after;
    json_set(arena, json, STR("valid_from"), pb_to_json(arena, &from, 0));
    json_set(arena, json, STR("expiration_time"), pb_to_json(arena, &to, 0));
    return json;
}

static void push_bundle(struct page_call *call, struct json_value *list, struct str pem)
{
    struct x509_bundle bundle = {0};
    if (pem.size == 0 || x509_bundle_parse(pem, &bundle, NULL) != ERR_OK) {
        return;
    }
    for (size_t i = 0; i < bundle.count; i++) {
        json_push(&call->arena, list, describe_certificate(call, bundle.items[i]));
    }
    x509_bundle_done(&bundle);
}

static void page_certs(struct page_call *call)
{
    struct arena *arena = &call->arena;
    const struct secrets *secrets = config_store_secrets(call->proxy->store);
    struct json_value *root = json_new_object(arena);
    struct json_value *entry = json_new_object(arena);
    push_bundle(call, json_ensure_array(arena, entry, "ca_cert"), secrets_roots(secrets, STR("ROOTCA")));
    push_bundle(call, json_ensure_array(arena, entry, "cert_chain"), secrets_certificate(secrets, STR("default")));
    json_push(arena, json_ensure_array(arena, root, "certificates"), entry);
    send_json(call, root);
}

static void page_ok(struct page_call *call)
{
    buf_append_str(&call->out, STR("OK\n"));
    send_text(call, 200);
}

static void page_drain(struct page_call *call)
{
    proxy_drain(call->proxy, str_find(call->query, STR("inboundonly")) >= 0);
    page_ok(call);
}

static void page_quit(struct page_call *call)
{
    page_ok(call);
    loop_stop(call->proxy->loop);
}

static void page_logging(struct page_call *call)
{
    struct str level = query_value(call->query, "level");
    struct error err = {0};
    if (level.size > 0 && !log_set_levels(level, &err)) {
        buf_printf(&call->out, "%s\n", err.message);
        send_text(call, 400);
        return;
    }
    page_ok(call);
}

static void page_help(struct page_call *call);

// clang-format off
static const struct page {
    const char *path;
    page_fn *show;
    bool is_public;
    bool changes; // POST only
    const char *about;
} pages[] = {
    {"/help",             page_help,        false, false, "this list"},
    {"/ready",            page_ready,       false, false, "state of the proxy, 200 when LIVE"},
    {"/healthz/ready",    page_health,      true,  false, "readiness for the kubelet"},
    {"/server_info",      page_server_info, false, false, "version, state, node"},
    {"/stats",            page_stats,       false, false, "counters and gauges: usedonly, filter=TEXT, format=prometheus"},
    {"/stats/prometheus", page_prometheus,  true,  false, "the same for Prometheus, with Istio's standard metrics"},
    {"/metrics",          page_prometheus,  true,  false, "as /stats/prometheus"},
    {"/clusters",         page_clusters,    false, false, "clusters and their hosts"},
    {"/listeners",        page_listeners,   false, false, "listeners and their addresses"},
    {"/config_dump",      page_config_dump, false, false, "resources in force: include_eds"},
    {"/certs",            page_certs,       false, false, "certificates in use"},
    {"/drain_listeners",  page_drain,       false, true,  "stop accepting: inboundonly, graceful"},
    {"/healthcheck/ok",   page_ok,          false, true,  "accepted for compatibility"},
    {"/logging",          page_logging,     false, true,  "level=LEVEL or level=SCOPE:LEVEL,…"},
    {"/quitquitquit",     page_quit,        false, true,  "exit at once"},
};
// clang-format on

static void page_help(struct page_call *call)
{
    for (size_t i = 0; i < array_count(pages); i++) {
        buf_printf(&call->out, "  %s: %s\n", pages[i].path, pages[i].about);
    }
    send_text(call, 200);
}

// --- serving -------------------------------------------------------------------------------------------

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)owner; // bodies are not looked at
    (void)exchange;
    (void)bytes;
    (void)end;
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)owner;
    (void)exchange;
    (void)err;
}

static const struct http_events exchange_events = {.on_data = on_data, .on_close = on_close};

static void handle(struct admin *admin, struct http_exchange *exchange, const struct http_head *head, bool is_public)
{
    struct page_call call = {.proxy = admin->proxy, .exchange = exchange};
    struct str query = head->path;
    struct str path = str_split(&query, '?');
    call.query = query.data == NULL ? STR_EMPTY : query;
    http_set_events(exchange, &exchange_events, NULL);
    const struct page *page = NULL;
    for (size_t i = 0; i < array_count(pages); i++) {
        if (str_equal_c(path, pages[i].path) && (pages[i].is_public || !is_public)) {
            page = &pages[i];
        }
    }
    if (page == NULL) {
        buf_append_str(&call.out, STR("invalid path. See /help.\n"));
        send_text(&call, 404);
    } else if (page->changes && !str_equal(head->method, STR("POST"))) {
        buf_printf(&call.out, "Method %.*s not allowed, POST required.", STR_ARG(head->method));
        send_text(&call, 405);
    } else {
        page->show(&call);
    }
    buf_done(&call.out);
    arena_done(&call.arena);
}

static void on_local_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    (void)end;
    handle(owner, exchange, head, false);
}

static void on_open_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    (void)end;
    handle(owner, exchange, head, true);
}

struct admin *admin_new(struct proxy *proxy)
{
    struct admin *admin = mem_new(struct admin);
    const struct http_server_options options = {0};
    admin->proxy = proxy;
    admin->local = http_server_new(proxy->loop, &options, on_local_request, admin);
    admin->open = http_server_new(proxy->loop, &options, on_open_request, admin);
    return admin;
}

void admin_free(struct admin *admin)
{
    if (admin == NULL) {
        return;
    }
    http_server_free(admin->local);
    http_server_free(admin->open);
    mem_free(admin);
}

enum err admin_listen(struct admin *admin, const struct address *address, bool is_public, struct error *err)
{
    int fd = -1;
    const struct listen_options options = {0};
    enum err result = address_listen(address, &options, &fd, err);
    if (result == ERR_OK) {
        http_server_listen(is_public ? admin->open : admin->local, fd, NULL);
    }
    return result;
}
