// SPDX-License-Identifier: Apache-2.0
#include "proxy/filter/http_request.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/memory.h"
#include "proxy/filter/headers.h"
#include "proxy/filter/local_reply.h"
#include "proxy/filter/request_metrics.h"
#include "proxy/filter/shadow.h"

enum request_state {
    REQUEST_NEW,       // or delayed by an injected fault
    REQUEST_TRYING,    // sent, or being sent, upstream; no answer yet
    REQUEST_BACKING_OFF, // before another try
    REQUEST_ANSWERING, // an answer went downstream
    REQUEST_OVER,
};

struct http_request {
    const struct http_manager_config *config;
    const struct http_manager_stats *stats;
    struct connection *connection;
    struct filter_runtime *runtime;
    struct arena arena;
    enum request_state state;

    struct http_exchange *down; // NULL: gone
    int down_version;
    struct http_head *head;     // as sent upstream
    bool is_grpc;
    bool request_ended;
    bool is_kept;    // the body so far is in `body`, so that it can be sent again
    struct buf body;

    struct route_table *routes; // a reference
    const struct route *route;
    const struct route_cluster_weight *weight;
    struct upstream_cluster *cluster; // held
    bool is_active;                   // counted in the cluster's gauges

    struct http_exchange *up; // the present try; NULL: none
    struct upstream_pool *pool;
    struct upstream_target target;
    bool has_target;
    uint32_t tries;
    struct shadow *shadows[ROUTE_MIRRORS_MAX]; // NULL: gone
    bool allows_origin; // CORS: headers to add to the answer
    struct str origin;
    struct hash_verdict hash;
    struct fault_verdict fault;
    struct upstream_host *tried[HTTP_TRIED_HOSTS_MAX]; // references
    size_t tried_count;

    uint64_t start_wall_ms;
    uint64_t start_ms;
    uint64_t request_end_ms;
    uint64_t bytes_received;
    uint64_t bytes_sent;
    unsigned flags;
    int status;
    struct str details;
    struct str upstream_failure;
    struct str upstream_host;
    struct address upstream_local;
    struct http_head *response; // for the access log
    struct str source_principal;
    struct str destination_principal;
    struct str workload;

    struct loop_timer timeout;
    struct loop_timer try_timeout;
    struct loop_timer back_off;
    struct loop_timer idle;
    struct loop_timer fault_delay;
    struct loop_task release;
};

static const struct http_events down_events;
static const struct http_events up_events;
static void start_try(struct http_request *request);

static void set_state(struct http_request *request, enum request_state state)
{
    ASSERT(request->state != REQUEST_OVER);
    request->state = state;
}

static void copy_head(struct http_head *to, const struct http_head *from, struct arena *arena)
{
    to->method = arena_str(arena, from->method);
    to->scheme = arena_str(arena, from->scheme);
    to->authority = arena_str(arena, from->authority);
    to->path = arena_str(arena, from->path);
    to->upgrade = from->upgrade.size == 0 ? STR_EMPTY : arena_str(arena, from->upgrade);
    to->status = from->status;
    to->header_count = from->header_count;
    for (size_t i = 0; i < from->header_count; i++) {
        to->headers[i].name = arena_str(arena, from->headers[i].name);
        to->headers[i].value = arena_str(arena, from->headers[i].value);
    }
}

// --- the end of tries and requests ---------------------------------------------------------------------

static void count_host(struct http_request *request, int change)
{
    if (change > 0) {
        (void)atomic_fetch_add_explicit(&request->target.host->active, 1, memory_order_relaxed);
    } else {
        (void)atomic_fetch_sub_explicit(&request->target.host->active, 1, memory_order_relaxed);
    }
}

static void drop_target(struct http_request *request)
{
    if (request->has_target) {
        request->has_target = false;
        count_host(request, -1);
        upstream_target_done(&request->target);
    }
}

// The exchange is over or given up; its events come no more.
static void drop_try(struct http_request *request)
{
    loop_timer_stop(&request->try_timeout);
    if (request->up != NULL) {
        http_set_events(request->up, NULL, NULL);
        http_cancel(request->up);
        request->up = NULL;
    }
    if (request->pool != NULL) {
        upstream_pool_release(request->pool);
        request->pool = NULL;
    }
    drop_target(request);
}

static void write_log(struct http_request *request)
{
    const struct access_facts facts = {
        .start_wall_ms = request->start_wall_ms,
        .duration_ms = loop_now_ms(request->runtime->loop) - request->start_ms,
        .request = request->head,
        .response = request->response,
        .protocol = request->down_version,
        .status = request->status,
        .flags = request->flags,
        .details = request->details,
        .upstream_failure = request->upstream_failure,
        .bytes_received = request->bytes_received,
        .bytes_sent = request->bytes_sent,
        .upstream_host = request->upstream_host,
        .upstream_cluster = request->cluster == NULL ? STR_EMPTY : upstream_cluster_config(request->cluster)->name,
        .upstream_local = &request->upstream_local,
        .downstream_local = &request->connection->local,
        .downstream_remote = &request->connection->remote,
        .server_name = str_of(request->connection->server_name),
        .route_name = request->route == NULL ? STR_EMPTY : request->route->name,
    };
    access_log_write(request->config->log, &request->runtime->sink, &facts);
}

static void count_request(struct http_request *request)
{
    stat_add(request->stats->rq_active, -1);
    stat_add(request->stats->rq_completed, 1);
    int class = request->status / 100;
    if (class >= 1 && class <= 5) {
        stat_add(request->stats->rq_class[class], 1);
    }
    const struct cluster_config *cluster = request->cluster == NULL ? NULL : upstream_cluster_config(request->cluster);
    const struct request_labels labels = {
        .direction = request->connection->direction,
        .source_principal = request->source_principal,
        .destination_principal = request->destination_principal,
        .destination_service = cluster != NULL && cluster->service_host.size > 0 ? cluster->service_host : STR_EMPTY,
        .destination_service_name = cluster == NULL ? STR_EMPTY : cluster->service_short_name,
        .destination_service_namespace = cluster == NULL ? STR_EMPTY : cluster->service_namespace,
        .destination_workload = request->workload,
        .status = request->status,
        .flags = request->flags,
        .is_grpc = request->is_grpc,
        .is_mutual_tls = request->source_principal.size > 0,
    };
    if (request->connection->direction != TRAFFIC_UNSPECIFIED) {
        request_metrics_count(request->runtime, &labels);
    }
}

static void on_release(struct loop_task *task)
{
    struct http_request *request = container_of(task, struct http_request, release);
    count_request(request);
    write_log(request);
    if (request->cluster != NULL) {
        struct cluster_stats *stats = upstream_cluster_stats(request->cluster);
        if (request->is_active) {
            stat_add(stats->rq_active, -1);
            stat_add(stats->rq_completed, 1);
        }
        upstream_cluster_release(request->cluster);
    }
    for (size_t i = 0; i < request->tried_count; i++) {
        upstream_host_unref(request->tried[i]);
    }
    connection_release(request->connection);
    route_table_unref(request->routes);
    buf_done(&request->body);
    arena_done(&request->arena);
    mem_free(request);
}

static void leave_shadows(struct http_request *request)
{
    for (size_t i = 0; i < ROUTE_MIRRORS_MAX; i++) {
        if (request->shadows[i] != NULL) {
            shadow_leave(request->shadows[i]);
            request->shadows[i] = NULL;
        }
    }
}

// Called when the downstream exchange is gone: the last thing that happens to a request.
static void end_request(struct http_request *request)
{
    set_state(request, REQUEST_OVER);
    loop_timer_stop(&request->timeout);
    loop_timer_stop(&request->back_off);
    loop_timer_stop(&request->idle);
    loop_timer_stop(&request->fault_delay);
    drop_try(request);
    leave_shadows(request);
    loop_task_schedule_close(request->runtime->loop, &request->release);
}

// --- answering ourselves -------------------------------------------------------------------------------

static void reply(struct http_request *request, int status, struct str body, unsigned flag, struct str details,
                  struct http_head *head)
{
    drop_try(request);
    loop_timer_stop(&request->timeout);
    loop_timer_stop(&request->back_off);
    loop_timer_stop(&request->fault_delay);
    request->flags |= flag;
    request->details = details;
    if (request->state == REQUEST_ANSWERING) { // too late for an answer: the stream ends in the middle
        http_cancel(request->down);
        return;
    }
    set_state(request, REQUEST_ANSWERING);
    request->status = status;
    request->bytes_sent += body.size;
    http_resume(request->down);
    if (head->status != status) {
        http_head_init_response(head, status);
    }
    if (request->allows_origin) {
        cors_add_simple(route_filters_of(request->route, request->weight)->cors, request->origin, head);
    }
    (void)http_head_set(head, STR("date"), headers_date(loop_wall_ms(request->runtime->loop), &request->arena));
    local_reply_send(request->down, request->is_grpc, str_equal(request->head->method, STR("HEAD")), status, body,
                     request->config->server_name, head, &request->arena);
}

static void reply_kind(struct http_request *request, enum local_reply_kind kind)
{
    struct local_reply local = local_reply_get(kind);
    struct http_head head = {0};
    if (kind == REPLY_OVERFLOW) {
        http_head_init_response(&head, local.status);
        (void)http_head_add(&head, STR("x-envoy-overloaded"), STR("true"));
    }
    reply(request, local.status, local.body, local.flag, local.details, &head);
}

// --- trying again --------------------------------------------------------------------------------------

static bool may_retry(struct http_request *request)
{
    const struct retry_policy *policy = request->route->retry;
    struct cluster_stats *stats = upstream_cluster_stats(request->cluster);
    if (!request->is_kept || request->state == REQUEST_ANSWERING) {
        return false;
    }
    if (request->tries > policy->retries_max) {
        request->flags |= FLAG_RETRY_LIMIT;
        stat_add(stats->rq_retry_limit, 1);
        return false;
    }
    if ((uint64_t)stat_value(stats->rq_retry_active) >= upstream_cluster_config(request->cluster)->retries_max) {
        request->flags |= FLAG_UPSTREAM_OVERFLOW;
        stat_add(stats->rq_retry_overflow, 1);
        return false;
    }
    return true;
}

static void on_back_off(struct loop_timer *timer)
{
    struct http_request *request = container_of(timer, struct http_request, back_off);
    stat_add(upstream_cluster_stats(request->cluster)->rq_retry_active, -1);
    start_try(request);
}

// Full jitter: anywhere between now and an interval that doubles with each try.
static void schedule_retry(struct http_request *request)
{
    const struct retry_policy *policy = request->route->retry;
    struct cluster_stats *stats = upstream_cluster_stats(request->cluster);
    if (request->has_target && request->tried_count < HTTP_TRIED_HOSTS_MAX && policy->avoid_previous_hosts) {
        request->tried[request->tried_count++] = upstream_host_ref(request->target.host);
    }
    drop_try(request);
    set_state(request, REQUEST_BACKING_OFF);
    http_pause(request->down);
    uint64_t interval = policy->base_interval_ms << (request->tries > 16 ? 16 : request->tries - 1);
    interval = interval > policy->max_interval_ms ? policy->max_interval_ms : interval;
    stat_add(stats->rq_retry, 1);
    stat_add(stats->rq_retry_active, 1);
    loop_timer_start(&request->back_off, interval == 0 ? 0 : random_below(&request->runtime->random, interval));
}

static unsigned conditions_of_error(enum err code)
{
    switch (code) {
    case ERR_UNREACHABLE:
    case ERR_TIMEOUT:
    case ERR_TLS:
        return RETRY_CONNECT_FAILURE | RETRY_RESET | RETRY_RESET_BEFORE_REQUEST | RETRY_5XX | RETRY_GATEWAY_ERROR;
    case ERR_CONFLICT:
        return RETRY_REFUSED_STREAM | RETRY_RESET | RETRY_RESET_BEFORE_REQUEST | RETRY_5XX | RETRY_GATEWAY_ERROR;
    case ERR_LIMIT:
        return 0; // what overflows is not made better by more of it
    default:
        return RETRY_RESET | RETRY_5XX | RETRY_GATEWAY_ERROR;
    }
}

static unsigned conditions_of_grpc(const struct http_head *head)
{
    uint64_t status = 0;
    if (!str_to_u64(http_head_get(head, STR("grpc-status")), &status)) {
        return 0;
    }
    return status == 1    ? RETRY_GRPC_CANCELLED
           : status == 4  ? RETRY_GRPC_DEADLINE_EXCEEDED
           : status == 8  ? RETRY_GRPC_RESOURCE_EXHAUSTED
           : status == 13 ? RETRY_GRPC_INTERNAL
           : status == 14 ? RETRY_GRPC_UNAVAILABLE
                          : 0;
}

static unsigned conditions_of_head(const struct retry_policy *policy, const struct http_head *head)
{
    unsigned conditions = conditions_of_grpc(head);
    conditions |= head->status >= 500 && head->status <= 599 ? RETRY_5XX : 0;
    conditions |= head->status >= 502 && head->status <= 504 ? RETRY_GATEWAY_ERROR : 0;
    conditions |= head->status == 409 ? RETRY_RETRIABLE_4XX : 0;
    for (size_t i = 0; i < policy->status_code_count; i++) {
        conditions |= (uint32_t)head->status == policy->status_codes[i] ? RETRY_RETRIABLE_STATUS_CODES : 0;
    }
    return conditions;
}

// --- failures of a try ---------------------------------------------------------------------------------

static const struct {
    enum err code;
    unsigned flag;
    int status;
    const char *reason;
    bool has_transport_reason;
} failures[] = {
    {ERR_UNREACHABLE, FLAG_UPSTREAM_CONNECT_FAILURE, 503, "remote connection failure", true},
    {ERR_TIMEOUT, FLAG_UPSTREAM_CONNECT_FAILURE, 503, "connection timeout", false},
    {ERR_TLS, FLAG_UPSTREAM_CONNECT_FAILURE, 503, "remote connection failure", true},
    {ERR_CONFLICT, FLAG_UPSTREAM_RESET, 503, "remote refused stream reset", false},
    {ERR_LIMIT, FLAG_UPSTREAM_OVERFLOW, 503, "overflow", false},
    {ERR_PROTOCOL, FLAG_UPSTREAM_PROTOCOL, 502, "protocol error", false},
    {ERR_CLOSED, FLAG_UPSTREAM_TERMINATION, 503, "connection termination", false}, // and whatever else it was
};

static void reply_failure(struct http_request *request, const struct error *err)
{
    size_t at = 0;
    while (at + 1 < array_count(failures) && failures[at].code != err->code) {
        at++;
    }
    struct arena *arena = &request->arena;
    struct str reason = str_of(failures[at].reason);
    if (failures[at].has_transport_reason && err->message[0] != 0) {
        request->upstream_failure = arena_str(arena, str_of(err->message));
        reason = arena_format(arena, "%.*s, transport failure reason: %s", STR_ARG(reason), err->message);
    }
    struct str body = arena_format(arena, "upstream connect error or disconnect/reset before headers. %s: %.*s",
                                   request->tries > 1 ? "retried and the latest reset reason" : "reset reason", STR_ARG(reason));
    struct str details = arena_format(arena, "upstream_reset_before_response_started{%.*s}", STR_ARG(reason));
    struct http_head head = {0};
    if (err->code == ERR_LIMIT) {
        http_head_init_response(&head, failures[at].status);
        (void)http_head_add(&head, STR("x-envoy-overloaded"), STR("true"));
    }
    reply(request, failures[at].status, body, failures[at].flag, details, &head);
}

// What overflows says nothing of the host.
static void report_failure(struct http_request *request, enum err code)
{
    if (code != ERR_LIMIT) {
        upstream_report_local(request->cluster, &request->target, code == ERR_TIMEOUT ? OUTLIER_TIMED_OUT : OUTLIER_CONNECT_FAILED, false);
    }
}

static void try_failed(struct http_request *request, const struct error *err)
{
    const struct retry_policy *policy = request->route->retry;
    if (request->state == REQUEST_ANSWERING) {
        request->flags |= FLAG_UPSTREAM_TERMINATION;
        request->details = STR("upstream_reset_after_response_started{connection termination}");
        drop_try(request);
        http_cancel(request->down);
        return;
    }
    if (request->has_target) {
        (void)atomic_fetch_add_explicit(&request->target.host->requests_error, 1, memory_order_relaxed);
        report_failure(request, err->code);
    }
    if (policy != NULL && (policy->on & conditions_of_error(err->code)) != 0 && may_retry(request)) {
        schedule_retry(request);
        return;
    }
    reply_failure(request, err);
}

// --- timers --------------------------------------------------------------------------------------------

static void on_timeout(struct loop_timer *timer)
{
    struct http_request *request = container_of(timer, struct http_request, timeout);
    if (request->cluster != NULL) {
        stat_add(upstream_cluster_stats(request->cluster)->rq_timeout, 1);
    }
    if (loop_timer_is_running(&request->back_off)) {
        stat_add(upstream_cluster_stats(request->cluster)->rq_retry_active, -1);
    }
    if (request->has_target && request->state == REQUEST_TRYING) {
        report_failure(request, ERR_TIMEOUT);
    }
    reply_kind(request, REPLY_ROUTE_TIMEOUT);
}

static void on_try_timeout(struct loop_timer *timer)
{
    struct http_request *request = container_of(timer, struct http_request, try_timeout);
    const struct retry_policy *policy = request->route->retry;
    if (request->has_target) {
        report_failure(request, ERR_TIMEOUT);
    }
    if ((policy->on & (RETRY_5XX | RETRY_GATEWAY_ERROR | RETRY_RESET)) != 0 && may_retry(request)) {
        schedule_retry(request);
        return;
    }
    reply_kind(request, REPLY_TRY_TIMEOUT);
}

static void on_idle(struct loop_timer *timer)
{
    struct http_request *request = container_of(timer, struct http_request, idle);
    if (loop_timer_is_running(&request->back_off)) {
        stat_add(upstream_cluster_stats(request->cluster)->rq_retry_active, -1);
    }
    reply_kind(request, REPLY_STREAM_IDLE);
}

static void touch(struct http_request *request)
{
    uint64_t limit = request->config->stream_idle_timeout_ms;
    if (request->route != NULL && request->route->has_idle_timeout) {
        limit = request->route->idle_timeout_ms;
    }
    if (limit > 0 && request->state != REQUEST_OVER) {
        loop_timer_start(&request->idle, limit);
    }
}

static void start_try_timeout(struct http_request *request)
{
    const struct retry_policy *policy = request->route->retry;
    if (policy != NULL && policy->per_try_timeout_ms > 0 && request->request_ended && request->up != NULL) {
        loop_timer_start(&request->try_timeout, policy->per_try_timeout_ms);
    }
}

static void note_request_end(struct http_request *request)
{
    request->request_ended = true;
    request->request_end_ms = loop_now_ms(request->runtime->loop);
    if (request->route == NULL || request->route->action != ROUTE_FORWARD || request->state == REQUEST_ANSWERING ||
        loop_timer_is_running(&request->fault_delay)) { // an injected delay does not count
        return;
    }
    if (request->route->timeout_ms > 0) {
        loop_timer_start(&request->timeout, request->route->timeout_ms);
    }
    start_try_timeout(request);
}

// --- a try ---------------------------------------------------------------------------------------------

static enum http_protocol choose_protocol(const struct http_request *request)
{
    switch (upstream_cluster_config(request->cluster)->protocol) {
    case CLUSTER_HTTP2:
        return HTTP_PROTOCOL_2;
    case CLUSTER_AS_DOWNSTREAM:
        return request->down_version == 20 ? HTTP_PROTOCOL_2 : HTTP_PROTOCOL_1;
    case CLUSTER_BY_ALPN:
        return HTTP_PROTOCOL_ALPN;
    case CLUSTER_HTTP1:
        break;
    }
    return HTTP_PROTOCOL_1;
}

// Istio's servers choose the filter chain by these protocols: without them mTLS to an HTTP port would be
// taken for mTLS to a TCP port.
static void override_alpn(const struct http_request *request, struct upstream_request_options *options)
{
    if (!request->config->overrides_alpn || !request->target.transport->is_tls ||
        upstream_cluster_config(request->cluster)->keeps_alpn) {
        return;
    }
    size_t which = options->protocol == HTTP_PROTOCOL_2 ? 2 : 1;
    options->alpn = request->config->alpn[which].protocols;
    options->alpn_count = request->config->alpn[which].count;
}

static void set_try_headers(struct http_request *request)
{
    if (request->route->virtual_host->attempt_count_in_request) {
        (void)http_head_set(request->head, STR("x-envoy-attempt-count"), arena_format(&request->arena, "%u", request->tries));
    }
    if (request->route->timeout_ms > 0) {
        uint64_t expected = request->route->timeout_ms;
        if (request->route->retry != NULL && request->route->retry->per_try_timeout_ms > 0 &&
            request->route->retry->per_try_timeout_ms < expected) {
            expected = request->route->retry->per_try_timeout_ms;
        }
        (void)http_head_set(request->head, STR("x-envoy-expected-rq-timeout-ms"),
                            arena_format(&request->arena, "%llu", (unsigned long long)expected));
    }
}

static void start_try(struct http_request *request)
{
    const struct retry_policy *policy = request->route->retry;
    struct error err = {0};
    set_state(request, REQUEST_TRYING);
    request->tries++;
    const struct upstream_pick_options pick = {
        .original = connection_original(request->connection),
        .hash = request->hash.found ? &request->hash.hash : NULL,
        .previous = request->tried,
        .previous_count = request->tried_count,
        .draws_max = policy == NULL ? 0 : policy->host_attempts_max,
    };
    if (!upstream_pick(request->cluster, &pick, &request->target)) {
        reply_kind(request, REPLY_NO_HOST);
        return;
    }
    request->has_target = true;
    count_host(request, 1);
    request->upstream_host = arena_str(&request->arena, str_of(request->target.host->text));
    request->workload = request->target.endpoint == NULL ? STR_EMPTY : arena_str(&request->arena, request->target.endpoint->workload);
    (void)atomic_fetch_add_explicit(&request->target.host->requests_total, 1, memory_order_relaxed);
    stat_add(upstream_cluster_stats(request->cluster)->rq_total, 1);
    set_try_headers(request);
    if (request->route->auto_host_rewrite && request->target.endpoint != NULL && request->target.endpoint->host_name.size > 0) {
        request->head->authority = arena_str(&request->arena, request->target.endpoint->host_name);
    }
    struct upstream_request_options options = {.protocol = choose_protocol(request)};
    override_alpn(request, &options);
    bool ends = request->request_ended && request->body.size == 0;
    request->up = upstream_request(request->cluster, &request->target, &options, request->head, ends, &up_events, request,
                                   &request->pool, &err);
    if (request->up == NULL) {
        try_failed(request, &err);
        return;
    }
    if (request->body.size > 0) {
        http_send_data(request->up, buf_view(&request->body), request->request_ended);
    }
    if (!request->is_kept) {
        buf_done(&request->body);
    }
    start_try_timeout(request);
    http_resume(request->down);
}

// --- events from upstream ------------------------------------------------------------------------------

static void remember_upstream(struct http_request *request, struct http_exchange *up)
{
    const struct tls_session *tls = http_tls(up);
    request->upstream_local = *http_local(up);
    if (request->connection->direction == TRAFFIC_OUTBOUND && tls != NULL) {
        request->source_principal = arena_str(&request->arena, tls_session_local_uri(tls));
        request->destination_principal = arena_str(&request->arena, tls_session_peer_uri(tls));
    }
}

// What values of headers may tell; the texts are the caller's.
struct address_texts {
    char remote[ADDRESS_TEXT_SIZE];
    char local[ADDRESS_TEXT_SIZE];
};

static struct header_facts header_facts_of(const struct http_request *request, const struct http_head *response, struct address_texts *texts)
{
    return (struct header_facts){
        .request = request->head,
        .response = response,
        .remote_address = str_of(address_format(&request->connection->remote, texts->remote)),
        .local_address = str_of(address_format(&request->connection->local, texts->local)),
        .protocol = request->down_version == 20 ? STR("HTTP/2") : request->down_version == 10 ? STR("HTTP/1.0") : STR("HTTP/1.1"),
        .server_name = str_of(request->connection->server_name),
        .route_name = request->route->name,
        .upstream_host = request->upstream_host,
        .upstream_cluster = request->cluster == NULL ? STR_EMPTY : upstream_cluster_config(request->cluster)->name,
    };
}

// Most requests change nothing: their facts are not written down.
static bool has_changes(const struct header_changes *changes)
{
    return changes->removal_count + changes->addition_count > 0;
}

static void apply_levels(struct http_request *request, const struct header_changes *const levels[], size_t count,
                         const struct http_head *response, struct http_head *head)
{
    struct address_texts texts;
    struct header_facts facts = {0};
    bool is_ready = false;
    for (size_t i = 0; i < count; i++) {
        if (levels[i] == NULL || !has_changes(levels[i])) {
            continue;
        }
        if (!is_ready) {
            facts = header_facts_of(request, response, &texts);
            is_ready = true;
        }
        header_changes_apply(levels[i], head, &facts, &request->arena);
    }
}

static void apply_response_changes(struct http_request *request, struct http_head *head)
{
    const struct header_changes *const levels[] = {
        request->weight == NULL ? NULL : &request->weight->response,
        &request->route->response,
        &request->route->virtual_host->response,
        route_table_response_changes(request->routes),
    };
    apply_levels(request, levels, array_count(levels), head, head);
}

static void forward_head(struct http_request *request, const struct http_head *from, bool end)
{
    struct http_head *head = arena_alloc(&request->arena, sizeof(*head));
    copy_head(head, from, &request->arena);
    uint64_t now = loop_now_ms(request->runtime->loop);
    uint64_t since = request->request_ended ? request->request_end_ms : request->start_ms;
    (void)http_head_set(head, STR("x-envoy-upstream-service-time"),
                        arena_format(&request->arena, "%llu", (unsigned long long)(now - since)));
    if (request->route->virtual_host->attempt_count_in_response) {
        (void)http_head_set(head, STR("x-envoy-attempt-count"), arena_format(&request->arena, "%u", request->tries));
    }
    if (request->config->request_id_in_response) {
        (void)http_head_set(head, STR("x-request-id"), http_head_get(request->head, STR("x-request-id")));
    }
    apply_response_changes(request, head);
    if (request->hash.set_cookie.size > 0) {
        (void)http_head_add(head, STR("set-cookie"), request->hash.set_cookie);
    }
    if (request->allows_origin) {
        cors_add_simple(route_filters_of(request->route, request->weight)->cors, request->origin, head);
    }
    headers_clean_response(request->config, loop_wall_ms(request->runtime->loop), head, &request->arena);
    request->response = head;
    request->status = head->status;
    request->details = STR("via_upstream");
    set_state(request, REQUEST_ANSWERING);
    buf_done(&request->body);
    request->is_kept = false;
    http_send_head(request->down, head, end);
}

// Trailers-only answers of gRPC tell their failure in the head, as HTTP status 200.
static int health_status(const struct http_head *head)
{
    uint64_t status = 0;
    if (head->status != 200 || !str_to_u64(http_head_get(head, STR("grpc-status")), &status)) {
        return head->status;
    }
    static const int statuses[] = {200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401};
    return status < array_count(statuses) ? statuses[status] : 500;
}

static void on_up_head(void *owner, struct http_exchange *up, const struct http_head *head, bool end)
{
    struct http_request *request = owner;
    const struct retry_policy *policy = request->route->retry;
    struct cluster_stats *stats = upstream_cluster_stats(request->cluster);
    touch(request);
    loop_timer_stop(&request->try_timeout);
    remember_upstream(request, up);
    int class = head->status / 100;
    if (class >= 1 && class <= 5) {
        stat_add(stats->rq_class[class], 1);
    }
    (void)atomic_fetch_add_explicit(head->status >= 500 ? &request->target.host->requests_error : &request->target.host->requests_success,
                                    1, memory_order_relaxed);
    upstream_report_status(request->cluster, &request->target, health_status(head));
    if (policy != NULL && (policy->on & conditions_of_head(policy, head)) != 0 && may_retry(request)) {
        schedule_retry(request);
        return;
    }
    forward_head(request, head, end);
}

static void on_up_data(void *owner, struct http_exchange *up, struct str bytes, bool end)
{
    struct http_request *request = owner;
    touch(request);
    request->bytes_sent += bytes.size;
    http_send_data(request->down, bytes, end);
    if (http_is_congested(request->down)) {
        http_pause(up);
    }
}

static void on_up_trailers(void *owner, struct http_exchange *up, const struct http_head *trailers)
{
    struct http_request *request = owner;
    (void)up;
    http_send_trailers(request->down, trailers);
}

static void on_up_drained(void *owner, struct http_exchange *up)
{
    struct http_request *request = owner;
    (void)up;
    http_resume(request->down);
}

static void on_up_close(void *owner, struct http_exchange *up, const struct error *err)
{
    struct http_request *request = owner;
    (void)up;
    request->up = NULL;
    if (err->code != ERR_OK) {
        try_failed(request, err);
        return;
    }
    drop_try(request);
    loop_timer_stop(&request->timeout);
}

static const struct http_events up_events = {
    .on_head = on_up_head,
    .on_data = on_up_data,
    .on_trailers = on_up_trailers,
    .on_drained = on_up_drained,
    .on_close = on_up_close,
};

// --- events from downstream ----------------------------------------------------------------------------

static void feed_shadows(struct http_request *request, struct str bytes, bool end)
{
    for (size_t i = 0; i < ROUTE_MIRRORS_MAX; i++) {
        if (request->shadows[i] != NULL) {
            shadow_send_data(request->shadows[i], bytes, end);
        }
    }
}

static void on_down_data(void *owner, struct http_exchange *down, struct str bytes, bool end)
{
    struct http_request *request = owner;
    touch(request);
    request->bytes_received += bytes.size;
    if (request->state == REQUEST_ANSWERING && request->up == NULL) {
        request->request_ended = request->request_ended || end; // nobody wants the rest
        return;
    }
    bool waits = request->up == NULL;
    if (waits || request->is_kept) {
        if (request->body.size + bytes.size > HTTP_RETRY_BUFFER_MAX && !waits) {
            request->is_kept = false;
            buf_done(&request->body);
        } else {
            buf_append_str(&request->body, bytes);
        }
    }
    feed_shadows(request, bytes, end);
    if (end) {
        note_request_end(request);
    }
    if (waits) {
        http_pause(down);
        return;
    }
    http_send_data(request->up, bytes, end);
    if (http_is_congested(request->up)) {
        http_pause(down);
    }
}

static void on_down_trailers(void *owner, struct http_exchange *down, const struct http_head *trailers)
{
    struct http_request *request = owner;
    (void)down;
    request->is_kept = false; // they are not kept
    feed_shadows(request, STR_EMPTY, true);
    note_request_end(request);
    if (request->up != NULL) {
        http_send_trailers(request->up, trailers);
    }
}

static void on_down_drained(void *owner, struct http_exchange *down)
{
    struct http_request *request = owner;
    (void)down;
    if (request->up != NULL) {
        http_resume(request->up);
    }
}

static void on_down_close(void *owner, struct http_exchange *down, const struct error *err)
{
    struct http_request *request = owner;
    (void)down;
    request->down = NULL;
    if (err->code != ERR_OK && request->flags == 0) {
        request->flags |= FLAG_DOWNSTREAM_TERMINATION;
        request->details = STR("downstream_remote_disconnect");
        request->status = request->state == REQUEST_ANSWERING ? request->status : 0;
    }
    if (loop_timer_is_running(&request->back_off)) {
        stat_add(upstream_cluster_stats(request->cluster)->rq_retry_active, -1);
    }
    end_request(request);
}

static void on_down_head(void *owner, struct http_exchange *down, const struct http_head *head, bool end)
{
    (void)owner; // heads of requests come through the manager
    (void)down;
    (void)head;
    (void)end;
}

static const struct http_events down_events = {
    .on_head = on_down_head,
    .on_data = on_down_data,
    .on_trailers = on_down_trailers,
    .on_drained = on_down_drained,
    .on_close = on_down_close,
};

// --- routing -------------------------------------------------------------------------------------------

static void apply_request_changes(struct http_request *request)
{
    struct http_head *head = request->head;
    const struct route *route = request->route;
    struct str path = route_rewrite_path(route, head->path, &request->arena);
    if (path.data != head->path.data) {
        (void)http_head_set(head, STR("x-envoy-original-path"), head->path);
        head->path = path;
    }
    const struct header_changes *const levels[] = {
        request->weight == NULL ? NULL : &request->weight->request,
        &route->request,
        &route->virtual_host->request,
        route_table_request_changes(request->routes),
    };
    apply_levels(request, levels, array_count(levels), NULL, head);
    struct str host = route_rewrite_host(route, request->weight, head, STR_EMPTY, &request->arena);
    if (host.size > 0) {
        head->authority = host;
    }
}

static void find_hash(struct http_request *request)
{
    const struct route *route = request->route;
    char ip[ADDRESS_TEXT_SIZE];
    char remote[ADDRESS_TEXT_SIZE];
    char local[ADDRESS_TEXT_SIZE];
    const struct connection *connection = request->connection;
    const struct hash_facts facts = {
        .head = request->head,
        .source_ip = str_of(address_format_ip(&connection->remote, ip)),
        .remote_address = str_of(address_format(&connection->remote, remote)),
        .local_address = str_of(address_format(&connection->local, local)),
    };
    request->hash = hash_policy_decide(route->hash_policies, route->hash_policy_count, &facts, &request->arena);
}

static void shadow_on_gone(void *owner, struct shadow *shadow)
{
    struct http_request *request = owner;
    for (size_t i = 0; i < ROUTE_MIRRORS_MAX; i++) {
        if (request->shadows[i] == shadow) {
            request->shadows[i] = NULL;
        }
    }
}

static struct str shadow_host(struct http_request *request)
{
    struct str host = request->head->authority;
    ptrdiff_t colon = str_find_last_char(host, ':');
    size_t size = colon < 0 || str_find_char(host, ']') > colon ? host.size : (size_t)colon;
    return arena_format(&request->arena, "%.*s-shadow%.*s", STR_ARG(str_sub(host, 0, size)), STR_ARG(str_from(host, size)));
}

// Copies go out with the head as the route changed it. What of the body waited here goes with them.
static void start_shadows(struct http_request *request)
{
    const struct route *route = request->route;
    enum http_protocol protocol = request->down_version == 20 ? HTTP_PROTOCOL_2 : HTTP_PROTOCOL_1;
    for (size_t i = 0; i < route->mirror_count && request->head->upgrade.size == 0; i++) {
        const struct route_mirror *mirror = &route->mirrors[i];
        if (!chance_holds(mirror->chance, random_next(&request->runtime->random)) || str_equal(request->head->method, STR("CONNECT"))) {
            continue;
        }
        struct str cluster = mirror->cluster.size > 0 ? mirror->cluster : http_head_get(request->head, mirror->cluster_header);
        struct str host = request->head->authority;
        request->head->authority = mirror->keeps_host ? host : shadow_host(request);
        bool ends = request->request_ended && request->body.size == 0;
        struct shadow *shadow = shadow_start(request->runtime, cluster, request->head, protocol, route->timeout_ms, ends, shadow_on_gone, request);
        request->head->authority = host;
        request->shadows[i] = shadow;
        if (shadow != NULL && request->body.size > 0) {
            shadow_send_data(shadow, buf_view(&request->body), request->request_ended);
        }
    }
}

static void abort_by_fault(struct http_request *request, const struct fault_verdict *fault)
{
    struct http_head head = {0};
    if (fault->grpc_status >= 0) {
        http_head_init_response(&head, fault->http_status);
        (void)http_head_add(&head, STR("grpc-status"), arena_format(&request->arena, "%d", fault->grpc_status));
    }
    reply(request, fault->http_status, STR(FAULT_BODY), FLAG_FAULT_ABORT, STR("fault_filter_abort"), &head);
}

static void send_out(struct http_request *request)
{
    struct cluster_stats *stats = upstream_cluster_stats(request->cluster);
    if ((uint64_t)stat_value(stats->rq_active) >= upstream_cluster_config(request->cluster)->requests_max) {
        stat_add(stats->rq_pending_overflow, 1);
        reply_kind(request, REPLY_OVERFLOW);
        return;
    }
    stat_add(stats->rq_active, 1);
    request->is_active = true;
    request->is_kept = request->route->retry != NULL && request->route->retry->retries_max > 0 && request->head->upgrade.size == 0;
    find_hash(request);
    apply_request_changes(request);
    start_shadows(request);
    start_try(request);
}

static void on_fault_delay(struct loop_timer *timer)
{
    struct http_request *request = container_of(timer, struct http_request, fault_delay);
    if (request->fault.aborts) {
        abort_by_fault(request, &request->fault);
        return;
    }
    send_out(request);
    if (request->request_ended && request->state == REQUEST_TRYING) {
        note_request_end(request); // the route's time begins now
    }
}

// True: the request waits, or was answered.
static bool inject_fault(struct http_request *request, struct str cluster)
{
    const struct fault *fault = route_filters_of(request->route, request->weight)->fault;
    struct random *random = &request->runtime->random;
    if (fault == NULL || !request->config->injects_faults) {
        return false;
    }
    request->fault = fault_decide(fault, request->head, cluster, random_next(random), random_next(random));
    if (request->fault.delay_ms > 0) {
        request->flags |= FLAG_FAULT_DELAY;
        loop_timer_start(&request->fault_delay, request->fault.delay_ms);
        return true;
    }
    if (request->fault.aborts) {
        abort_by_fault(request, &request->fault);
        return true;
    }
    return false;
}

// True: the request was answered here.
static bool check_origin(struct http_request *request)
{
    const struct cors *cors = route_filters_of(request->route, request->weight)->cors;
    struct http_head head;
    if (cors == NULL || !request->config->checks_origins) {
        return false;
    }
    request->origin = http_head_get(request->head, STR("origin"));
    switch (cors_decide(cors, request->head, random_next(&request->runtime->random))) {
    case CORS_NOT_CONCERNED:
        return false;
    case CORS_SIMPLE:
        request->origin = arena_str(&request->arena, request->origin);
        request->allows_origin = true;
        return false;
    case CORS_PREFLIGHT:
        http_head_init_response(&head, 200);
        cors_add_preflight(cors, request->origin, &head);
        break;
    case CORS_REFUSED:
        http_head_init_response(&head, 200);
        break;
    }
    reply(request, 200, STR_EMPTY, 0, STR("cors_response"), &head);
    return true;
}

static void forward(struct http_request *request)
{
    uint64_t random = random_next(&request->runtime->random);
    struct str name = route_pick_cluster(request->route, request->head, random, &request->weight);
    request->cluster = upstreams_get(request->runtime->upstreams, name);
    if (request->cluster == NULL) {
        struct local_reply local = local_reply_get(REPLY_NO_CLUSTER);
        struct http_head head = {0};
        stat_add(request->stats->no_cluster, 1);
        reply(request, request->route->cluster_not_found_status, local.body, local.flag, local.details, &head);
        return;
    }
    upstream_cluster_hold(request->cluster);
    if (!check_origin(request) && !inject_fault(request, name)) {
        send_out(request);
    }
}

static void redirect(struct http_request *request, int status, struct str location)
{
    struct http_head head;
    http_head_init_response(&head, status);
    (void)http_head_add(&head, STR("location"), location);
    reply(request, status, STR_EMPTY, 0, STR("direct_response"), &head);
}

static bool is_upgrade_refused(const struct http_request *request)
{
    if (request->head->upgrade.size == 0) {
        return false;
    }
    for (size_t i = 0; i < request->config->upgrade_count; i++) {
        if (str_equal_nocase(request->config->upgrades[i], request->head->upgrade)) {
            return false;
        }
    }
    return true;
}

static void take_route(struct http_request *request, bool is_tls)
{
    const struct route *route = request->route;
    struct http_head head = {0};
    if (route->virtual_host->require_tls && !str_equal(request->head->scheme, STR("https"))) {
        redirect(request, 301, arena_format(&request->arena, "https://%.*s%.*s", STR_ARG(request->head->authority), STR_ARG(request->head->path)));
        return;
    }
    switch (route->action) {
    case ROUTE_FORWARD:
        forward(request);
        return;
    case ROUTE_REDIRECT:
        redirect(request, route->redirect.status, route_redirect_location(route, request->head, is_tls, &request->arena));
        return;
    case ROUTE_DIRECT:
        http_head_init_response(&head, route->direct_status);
        reply(request, route->direct_status, route->direct_body, 0, STR("direct_response"), &head);
        return;
    case ROUTE_NONE:
        reply_kind(request, REPLY_NO_ROUTE);
        return;
    }
}

static void find_route(struct http_request *request, bool is_tls)
{
    struct route_table *routes = request->config->routes;
    if (routes == NULL) {
        routes = request->runtime->find_routes(request->runtime->owner, request->config->route_name);
    }
    if (routes != NULL) {
        request->routes = route_table_ref(routes); // the request keeps its routes through an update
        request->route = route_find(routes, request->head, random_next(&request->runtime->random));
    }
    if (request->route == NULL) {
        stat_add(request->stats->no_route, 1);
        reply_kind(request, REPLY_NO_ROUTE);
        return;
    }
    take_route(request, is_tls);
}

static bool head_is_grpc(const struct http_head *head)
{
    struct str type = http_head_get(head, STR("content-type"));
    return str_starts_with(type, STR("application/grpc")) && (type.size == 16 || type.data[16] == '+');
}

void http_request_start(const struct http_manager_config *config, const struct http_manager_stats *stats,
                        struct connection *connection, struct http_exchange *downstream, const struct http_head *head, bool end)
{
    struct filter_runtime *runtime = connection->runtime;
    struct http_request *request = mem_new(struct http_request);
    request->config = config;
    request->stats = stats;
    request->connection = connection;
    connection_hold(connection);
    request->runtime = runtime;
    request->down = downstream;
    request->down_version = http_version(downstream);
    request->start_ms = loop_now_ms(runtime->loop);
    request->start_wall_ms = loop_wall_ms(runtime->loop);
    loop_timer_init(&request->timeout, runtime->loop, on_timeout);
    loop_timer_init(&request->try_timeout, runtime->loop, on_try_timeout);
    loop_timer_init(&request->back_off, runtime->loop, on_back_off);
    loop_timer_init(&request->idle, runtime->loop, on_idle);
    loop_timer_init(&request->fault_delay, runtime->loop, on_fault_delay);
    loop_task_init(&request->release, on_release);
    request->head = arena_alloc(&request->arena, sizeof(*request->head));
    copy_head(request->head, head, &request->arena);
    request->is_grpc = head_is_grpc(request->head);
    http_set_events(downstream, &down_events, request);
    stat_add(stats->rq_total, 1);
    stat_add(stats->rq_active, 1);

    const struct tls_session *tls = http_tls(downstream);
    if (connection->direction == TRAFFIC_INBOUND && tls != NULL) {
        request->source_principal = arena_str(&request->arena, tls_session_peer_uri(tls));
        request->destination_principal = arena_str(&request->arena, tls_session_local_uri(tls));
    }
    const struct request_facts facts = {.remote = &connection->remote, .local = &connection->local, .tls = tls, .direction = connection->direction};
    enum headers_verdict verdict = headers_clean_request(config, &facts, request->head, &request->arena);
    touch(request);
    if (end) {
        request->request_ended = true;
        request->request_end_ms = request->start_ms;
    }
    if (verdict == HEADERS_BAD_PATH) {
        reply_kind(request, REPLY_BAD_PATH);
    } else if (is_upgrade_refused(request)) {
        reply_kind(request, REPLY_UPGRADE_REFUSED);
    } else {
        find_route(request, tls != NULL);
    }
    if (end) {
        note_request_end(request); // starts the route's timeout, now that there is a route
    }
}
