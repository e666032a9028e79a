// SPDX-License-Identifier: Apache-2.0
#include "proxy/filter/tcp_proxy.h"

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "base/memory.h"
#include "codec/pb/pb.h"
#include "proxy/route/hash_policy.h"

#define ATTEMPTS_MAX 16u

enum err tcp_proxy_compile(struct arena *arena, const Envoy__Extensions__Filters__Network__TcpProxy__V3__TcpProxy *message,
                           const struct tcp_proxy_config **ret_config, struct error *err)
{
    if (message->tunneling_config != NULL) {
        return error_set(err, ERR_UNSUPPORTED, "tunneling over HTTP is not supported");
    }
    struct tcp_proxy_config *config = arena_new(arena, struct tcp_proxy_config);
    config->stat_prefix = arena_str(arena, str_of(message->stat_prefix));
    config->idle_timeout_ms = pb_duration_to_ms(message->idle_timeout, TCP_IDLE_DEFAULT_MS);
    config->duration_max_ms = pb_duration_to_ms(message->max_downstream_connection_duration, 0);
    config->attempts_max = pb_uint32_or(message->max_connect_attempts, 1);
    config->attempts_max = config->attempts_max == 0 ? 1 : config->attempts_max > ATTEMPTS_MAX ? ATTEMPTS_MAX : config->attempts_max;
    if (message->cluster_specifier_case == ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_CLUSTER) {
        config->cluster = arena_str(arena, str_of(message->cluster));
    } else if (message->cluster_specifier_case ==
               ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS) {
        struct tcp_proxy_weight *weights = arena_array(arena, struct tcp_proxy_weight, message->weighted_clusters->n_clusters);
        for (size_t i = 0; i < message->weighted_clusters->n_clusters; i++) {
            weights[i].cluster = arena_str(arena, str_of(message->weighted_clusters->clusters[i]->name));
            weights[i].weight = message->weighted_clusters->clusters[i]->weight;
            config->weight_sum += weights[i].weight;
        }
        config->weights = weights;
        config->weight_count = message->weighted_clusters->n_clusters;
    }
    for (size_t i = 0; i < message->n_hash_policy; i++) {
        if (message->hash_policy[i]->policy_specifier_case != ENVOY__TYPE__V3__HASH_POLICY__POLICY_SPECIFIER_SOURCE_IP) {
            return error_set(err, ERR_UNSUPPORTED, "hash policy of a kind that is not supported");
        }
        config->hashes_source = true;
    }
    if (config->cluster.size == 0 && config->weight_sum == 0) {
        return error_set(err, ERR_INVALID, "tcp_proxy without a cluster");
    }
    *ret_config = config;
    return access_log_compile(arena, message->access_log, message->n_access_log, &config->log, err);
}

// --- one connection ------------------------------------------------------------------------------------

struct tcp_session {
    const struct tcp_proxy_config *config;
    struct connection *connection;
    struct stream *downstream; // NULL: gone
    struct stream *upstream;   // NULL: not yet, or gone
    struct upstream_cluster *cluster; // held; NULL: none
    struct upstream_target target;
    bool has_target;
    bool is_counted; // in the gauges of cluster and host
    bool is_joined;
    bool has_hash;
    uint64_t hash; // of the client's address, for consistent hashing
    bool downstream_ended;
    bool upstream_ended;
    uint32_t attempts;
    unsigned flags;
    uint64_t bytes_received;
    uint64_t bytes_sent;
    uint64_t moved_ms; // last time bytes went either way
    struct address upstream_local;
    struct error failure;
    struct loop_timer idle;
    struct loop_timer duration;
    struct loop_task release;
    struct stat *rx_bytes;
    struct stat *tx_bytes;
};

static void on_release(struct loop_task *task);
static void connect_upstream(struct tcp_session *session);

static struct filter_runtime *runtime_of(const struct tcp_session *session)
{
    return session->connection->runtime;
}

static void write_log(struct tcp_session *session)
{
    struct filter_runtime *runtime = runtime_of(session);
    const struct access_facts facts = {
        .start_wall_ms = session->connection->start_wall_ms,
        .duration_ms = loop_now_ms(runtime->loop) - session->connection->start_ms,
        .flags = session->flags,
        .upstream_failure = (session->flags & FLAG_UPSTREAM_CONNECT_FAILURE) != 0 ? str_of(session->failure.message) : STR_EMPTY,
        .bytes_received = session->bytes_received,
        .bytes_sent = session->bytes_sent,
        .upstream_host = session->has_target ? str_of(session->target.host->text) : STR_EMPTY,
        .upstream_cluster = session->cluster == NULL ? STR_EMPTY : upstream_cluster_config(session->cluster)->name,
        .upstream_local = &session->upstream_local,
        .downstream_local = &session->connection->local,
        .downstream_remote = &session->connection->remote,
        .server_name = str_of(session->connection->server_name),
    };
    access_log_write(session->config->log, &runtime->sink, &facts);
}

static void drop_target(struct tcp_session *session)
{
    if (session->is_counted) {
        session->is_counted = false;
        (void)atomic_fetch_sub_explicit(&session->target.host->active, 1, memory_order_relaxed);
        (void)atomic_fetch_sub_explicit(&session->target.host->connections_active, 1, memory_order_relaxed);
        stat_add(upstream_cluster_stats(session->cluster)->cx_active, -1);
    }
    if (session->has_target) {
        session->has_target = false;
        upstream_target_done(&session->target);
    }
}

// Ends what is left; the session itself goes at the loop's close point, when no callback holds it.
static void finish(struct tcp_session *session)
{
    if (session->downstream != NULL || session->upstream != NULL) {
        return;
    }
    loop_timer_stop(&session->idle);
    loop_timer_stop(&session->duration);
    loop_task_schedule_close(runtime_of(session)->loop, &session->release);
}

static void on_release(struct loop_task *task)
{
    struct tcp_session *session = container_of(task, struct tcp_session, release);
    struct connection *connection = session->connection;
    write_log(session);
    drop_target(session);
    if (session->cluster != NULL) {
        upstream_cluster_release(session->cluster);
    }
    mem_free(session);
    connection->abort = NULL;
    connection_release(connection);
}

// --- moving bytes --------------------------------------------------------------------------------------

static void on_idle(struct loop_timer *timer)
{
    struct tcp_session *session = container_of(timer, struct tcp_session, idle);
    uint64_t quiet = loop_now_ms(runtime_of(session)->loop) - session->moved_ms;
    if (quiet < session->config->idle_timeout_ms) { // bytes moved since: one timer per session, not one re-arm per read
        loop_timer_start(timer, session->config->idle_timeout_ms - quiet);
        return;
    }
    if (session->downstream != NULL) {
        stream_abort(session->downstream);
    }
    if (session->upstream != NULL) {
        stream_abort(session->upstream);
    }
}

static void on_duration(struct loop_timer *timer)
{
    struct tcp_session *session = container_of(timer, struct tcp_session, duration);
    session->flags |= FLAG_DURATION;
    if (session->downstream != NULL) {
        stream_close(session->downstream);
    }
}

static void move(struct tcp_session *session, struct stream *from, struct stream *to, struct str bytes)
{
    session->moved_ms = loop_now_ms(runtime_of(session)->loop);
    stream_write(to, bytes);
    if (stream_is_congested(to)) {
        stream_read_stop(from);
    }
}

static void on_downstream_read(void *owner, struct stream *stream, struct str bytes)
{
    struct tcp_session *session = owner;
    session->bytes_received += bytes.size;
    stat_add(session->rx_bytes, (int64_t)bytes.size);
    if (session->upstream != NULL) {
        stat_add(upstream_cluster_stats(session->cluster)->cx_tx_bytes, (int64_t)bytes.size);
        move(session, stream, session->upstream, bytes);
    }
}

static void on_upstream_read(void *owner, struct stream *stream, struct str bytes)
{
    struct tcp_session *session = owner;
    session->bytes_sent += bytes.size;
    stat_add(session->tx_bytes, (int64_t)bytes.size);
    stat_add(upstream_cluster_stats(session->cluster)->cx_rx_bytes, (int64_t)bytes.size);
    if (session->downstream != NULL) {
        move(session, stream, session->downstream, bytes);
    } else {
        stream_abort(stream); // nobody is there to read it
    }
}

static void on_downstream_drained(void *owner, struct stream *stream)
{
    struct tcp_session *session = owner;
    (void)stream;
    if (session->upstream != NULL && session->is_joined) {
        stream_read_start(session->upstream);
    }
}

static void on_upstream_drained(void *owner, struct stream *stream)
{
    struct tcp_session *session = owner;
    (void)stream;
    if (session->downstream != NULL && session->is_joined) {
        stream_read_start(session->downstream);
    }
}

// One side will send no more: tell the other; when both are through, close both.
static void after_end(struct tcp_session *session)
{
    if (session->downstream_ended && session->upstream_ended) {
        if (session->downstream != NULL) {
            stream_close(session->downstream);
        }
        if (session->upstream != NULL) {
            stream_close(session->upstream);
        }
    }
}

static void on_downstream_eof(void *owner, struct stream *stream)
{
    struct tcp_session *session = owner;
    (void)stream;
    session->downstream_ended = true;
    if (session->upstream != NULL) {
        stream_write_eof(session->upstream);
    }
    after_end(session);
}

static void on_upstream_eof(void *owner, struct stream *stream)
{
    struct tcp_session *session = owner;
    (void)stream;
    session->upstream_ended = true;
    if (session->downstream != NULL) {
        stream_write_eof(session->downstream);
    }
    after_end(session);
}

static void on_downstream_close(void *owner, struct stream *stream, const struct error *err)
{
    struct tcp_session *session = owner;
    (void)stream;
    session->downstream = NULL;
    if (session->upstream != NULL) {
        if (!session->is_joined) {
            session->flags |= FLAG_DOWNSTREAM_TERMINATION;
        }
        if (err->code == ERR_OK || session->downstream_ended) {
            stream_close(session->upstream); // what waits for the upstream is still written
        } else {
            stream_abort(session->upstream);
        }
    }
    finish(session);
}

static void on_upstream_close(void *owner, struct stream *stream, const struct error *err)
{
    struct tcp_session *session = owner;
    (void)stream;
    session->upstream = NULL;
    if (!session->is_joined) {
        struct cluster_stats *stats = upstream_cluster_stats(session->cluster);
        stat_add(stats->cx_connect_fail, 1);
        if (err->code == ERR_TIMEOUT) {
            stat_add(stats->cx_connect_timeout, 1);
        }
        (void)atomic_fetch_add_explicit(&session->target.host->connect_failures, 1, memory_order_relaxed);
        session->failure = *err;
        session->flags |= FLAG_UPSTREAM_CONNECT_FAILURE;
        upstream_report_local(session->cluster, &session->target, err->code == ERR_TIMEOUT ? OUTLIER_TIMED_OUT : OUTLIER_CONNECT_FAILED, true);
        if (session->downstream != NULL) {
            connect_upstream(session);
            return;
        }
    } else if (session->downstream != NULL) {
        if (err->code == ERR_OK || session->upstream_ended) {
            stream_close(session->downstream);
        } else {
            session->flags |= FLAG_UPSTREAM_TERMINATION;
            stream_abort(session->downstream);
        }
    }
    finish(session);
}

static void on_upstream_open(void *owner, struct stream *stream)
{
    struct tcp_session *session = owner;
    session->is_joined = true;
    session->flags &= ~(unsigned)FLAG_UPSTREAM_CONNECT_FAILURE; // an earlier attempt's
    session->upstream_local = *stream_local(stream);
    upstream_report_local(session->cluster, &session->target, OUTLIER_CONNECTED, true);
    session->is_counted = true;
    (void)atomic_fetch_add_explicit(&session->target.host->active, 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&session->target.host->connections_active, 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&session->target.host->requests_success, 1, memory_order_relaxed);
    stat_add(upstream_cluster_stats(session->cluster)->cx_active, 1);
    if (session->downstream != NULL) {
        stream_read_start(session->downstream);
    }
}

static const struct stream_events downstream_events = {
    .on_read = on_downstream_read,
    .on_eof = on_downstream_eof,
    .on_drained = on_downstream_drained,
    .on_close = on_downstream_close,
};

static const struct stream_events upstream_events = {
    .on_open = on_upstream_open,
    .on_read = on_upstream_read,
    .on_eof = on_upstream_eof,
    .on_drained = on_upstream_drained,
    .on_close = on_upstream_close,
};

// --- connecting ----------------------------------------------------------------------------------------

static void give_up(struct tcp_session *session, unsigned flag)
{
    session->flags |= flag;
    if (session->downstream != NULL) {
        stream_close(session->downstream);
    } else {
        finish(session);
    }
}

static void connect_upstream(struct tcp_session *session)
{
    struct cluster_stats *stats = upstream_cluster_stats(session->cluster);
    const struct cluster_config *config = upstream_cluster_config(session->cluster);
    drop_target(session);
    if (session->attempts >= session->config->attempts_max) {
        give_up(session, session->config->attempts_max > 1 ? FLAG_RETRY_LIMIT : 0);
        return;
    }
    session->attempts++;
    if ((uint64_t)stat_value(stats->cx_active) >= config->connections_max) {
        stat_add(stats->cx_overflow, 1);
        give_up(session, FLAG_UPSTREAM_OVERFLOW);
        return;
    }
    const struct upstream_pick_options pick = {.original = connection_original(session->connection), .hash = session->has_hash ? &session->hash : NULL};
    if (!upstream_pick(session->cluster, &pick, &session->target)) {
        give_up(session, FLAG_NO_HEALTHY_UPSTREAM);
        return;
    }
    session->has_target = true;
    stat_add(stats->cx_total, 1);
    (void)atomic_fetch_add_explicit(&session->target.host->connections_total, 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&session->target.host->requests_total, 1, memory_order_relaxed);
    session->upstream = upstream_connect(session->cluster, &session->target, &upstream_events, session, &session->failure);
    if (session->upstream == NULL) {
        stat_add(stats->cx_connect_fail, 1);
        give_up(session, FLAG_UPSTREAM_CONNECT_FAILURE);
    }
}

static struct str choose_cluster(const struct tcp_proxy_config *config, struct connection *connection)
{
    if (config->cluster_from_server_name && connection->server_name[0] != 0) {
        return str_of(connection->server_name);
    }
    if (config->weight_count == 0) {
        return config->cluster;
    }
    uint64_t dice = random_below(&connection->runtime->random, config->weight_sum);
    uint64_t sum = 0;
    for (size_t i = 0; i < config->weight_count; i++) {
        sum += config->weights[i].weight;
        if (sum > dice) {
            return config->weights[i].cluster;
        }
    }
    return config->cluster;
}

static void abort_session(struct connection *connection)
{
    struct tcp_session *session = connection->filter;
    if (session->downstream != NULL) {
        stream_abort(session->downstream);
    }
    if (session->upstream != NULL) {
        stream_abort(session->upstream);
    }
}

void tcp_proxy_start(const struct tcp_proxy_config *config, struct connection *connection, struct stream *downstream)
{
    struct filter_runtime *runtime = connection->runtime;
    struct tcp_session *session = mem_new(struct tcp_session);
    session->config = config;
    session->connection = connection;
    connection->filter = session;
    connection->abort = abort_session;
    session->downstream = downstream;
    session->moved_ms = loop_now_ms(runtime->loop);
    loop_timer_init(&session->idle, runtime->loop, on_idle);
    loop_timer_init(&session->duration, runtime->loop, on_duration);
    loop_task_init(&session->release, on_release);
    session->rx_bytes = stats_get(runtime->stats, STAT_TCP, config->stat_prefix, "downstream_cx_rx_bytes_total", STAT_COUNTER);
    session->tx_bytes = stats_get(runtime->stats, STAT_TCP, config->stat_prefix, "downstream_cx_tx_bytes_total", STAT_COUNTER);
    stat_add(stats_get(runtime->stats, STAT_TCP, config->stat_prefix, "downstream_cx_total", STAT_COUNTER), 1);
    stream_set_events(downstream, &downstream_events, session);
    stream_read_stop(downstream); // until there is somewhere to put it
    session->cluster = upstreams_get(runtime->upstreams, choose_cluster(config, connection));
    if (session->cluster == NULL) {
        stat_add(stats_get(runtime->stats, STAT_TCP, config->stat_prefix, "downstream_cx_no_route", STAT_COUNTER), 1);
        give_up(session, FLAG_NO_CLUSTER);
        return;
    }
    upstream_cluster_hold(session->cluster);
    if (config->hashes_source) {
        char text[ADDRESS_TEXT_SIZE];
        session->has_hash = true;
        session->hash = hash_text(str_of(address_format_ip(&connection->remote, text)));
    }
    if (config->idle_timeout_ms > 0) {
        loop_timer_start(&session->idle, config->idle_timeout_ms);
    }
    if (config->duration_max_ms > 0) {
        loop_timer_start(&session->duration, config->duration_max_ms);
    }
    connect_upstream(session);
}
