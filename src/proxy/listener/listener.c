// SPDX-License-Identifier: Apache-2.0
#include "proxy/listener/listener.h"

#include <errno.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/vec.h"
#include "loop/socket.h"
#include "net/stream.h"
#include "proxy/listener/client_hello.h"
#include "proxy/listener/http_inspect.h"

static struct log_scope scope = LOG_SCOPE("listener");

#define INSPECT_READ_SIZE 8192u

struct listener {
    struct listeners *set;
    struct listener_config *config; // a reference
    struct acceptor acceptor;
    bool accepts;
    bool is_retired;
    size_t connections;
    struct http_manager **managers; // by chain; made when first used
    size_t draining;                // managers that have not said they are done
    struct stat *cx_total;
    struct stat *cx_active;
    struct stat *no_chain;
};

struct listeners {
    struct filter_runtime *runtime;
    struct secrets *secrets;
    struct map by_name;    // struct listener
    struct map by_address; // "ip:port" → struct listener
    VEC(struct listener *) retired;
    struct loop_task reap;
    size_t connection_count;
    bool is_stopped[3]; // by direction: nothing new listens
    struct list inspections;
    struct list connections;
};

// A connection between accept and its filter.
struct accepted {
    struct connection connection;
    struct listener *listener;
};

struct inspection {
    struct list node;
    struct accepted *accepted;
    int fd;
    struct loop_fd watch;
    struct loop_timer timer;
    struct buf bytes;
    bool wants_tls;
    bool wants_http;
    struct client_hello hello;
    bool is_tls;
    enum http_inspect_result http;
};

// --- the end of connections and listeners --------------------------------------------------------------

static void listener_free(struct listener *listener)
{
    acceptor_stop(&listener->acceptor);
    for (size_t i = 0; i < listener->config->chain_count; i++) {
        http_manager_free(listener->managers[i]);
    }
    mem_free(listener->managers);
    listener_config_unref(listener->config);
    mem_free(listener);
}

static void on_reap(struct loop_task *task)
{
    struct listeners *set = container_of(task, struct listeners, reap);
    for (size_t i = 0; i < set->retired.count;) {
        struct listener *listener = set->retired.items[i];
        if (listener->connections > 0 || listener->draining > 0) {
            i++;
            continue;
        }
        vec_remove_swap(&set->retired, i);
        listener_free(listener);
    }
}

static void release_listener(struct listener *listener)
{
    listener->connections--;
    listener->set->connection_count--;
    stat_add(listener->cx_active, -1);
    if (listener->is_retired && listener->connections == 0) {
        loop_task_schedule(listener->set->runtime->loop, &listener->set->reap);
    }
}

static void on_connection_gone(struct connection *connection)
{
    struct accepted *accepted = container_of(connection, struct accepted, connection);
    list_remove(&connection->node);
    release_listener(accepted->listener);
    mem_free(accepted);
}

static void take_listener(struct listener *listener)
{
    listener->connections++;
    listener->set->connection_count++;
    stat_add(listener->cx_active, 1);
    stat_add(listener->cx_total, 1);
}

// --- filter chain --------------------------------------------------------------------------------------

static bool is_local_peer(const struct address *remote, const struct address *local)
{
    if (remote->any.sa_family == AF_INET) {
        bool loopback = (ntohl(remote->v4.sin_addr.s_addr) >> 24) == 127;
        return loopback || (local->any.sa_family == AF_INET && remote->v4.sin_addr.s_addr == local->v4.sin_addr.s_addr);
    }
    if (remote->any.sa_family == AF_INET6) {
        return IN6_IS_ADDR_LOOPBACK(&remote->v6.sin6_addr) ||
               (local->any.sa_family == AF_INET6 && IN6_ARE_ADDR_EQUAL(&remote->v6.sin6_addr, &local->v6.sin6_addr));
    }
    return true;
}

static void log_no_chain(const struct accepted *accepted)
{
    const struct connection *connection = &accepted->connection;
    const struct access_facts facts = {
        .start_wall_ms = connection->start_wall_ms,
        .flags = FLAG_NO_ROUTE,
        .details = STR("filter_chain_not_found"),
        .downstream_local = &connection->local,
        .downstream_remote = &connection->remote,
        .server_name = str_of(connection->server_name),
    };
    access_log_write(accepted->listener->config->log, &connection->runtime->sink, &facts);
}

static void refuse(struct accepted *accepted, int fd)
{
    (void)close(fd);
    connection_release(&accepted->connection);
}

static const struct filter_chain *choose_chain(const struct inspection *inspection)
{
    const struct accepted *accepted = inspection->accepted;
    const struct listener_config *config = accepted->listener->config;
    struct str protocols[CLIENT_HELLO_PROTOCOLS_MAX];
    size_t count = 0;
    for (; inspection->is_tls && count < inspection->hello.protocol_count; count++) {
        protocols[count] = str_make(inspection->hello.protocols[count].text, inspection->hello.protocols[count].size);
    }
    struct str http = http_inspect_protocol(inspection->http);
    if (!inspection->is_tls && http.size > 0) {
        protocols[count++] = http;
    }
    const struct chain_facts facts = {
        .destination = &accepted->connection.local,
        .source = &accepted->connection.remote,
        .server_name = str_of(accepted->connection.server_name),
        .transport = inspection->is_tls ? STR("tls") : STR("raw_buffer"),
        .protocols = protocols,
        .protocol_count = count,
        .source_is_local = is_local_peer(&accepted->connection.remote, &accepted->connection.local),
    };
    int found = chain_match_find(config->match, &facts);
    found = found == CHAIN_MATCH_NONE ? config->default_chain : found;
    return found == CHAIN_MATCH_NONE ? NULL : &config->chains[found];
}

// --- handing to the filter -----------------------------------------------------------------------------

struct handshake {
    struct accepted *accepted;
    struct stream *stream;
    const struct filter_chain *chain;
};

static void on_handshake_open(void *owner, struct stream *stream)
{
    struct handshake *handshake = owner;
    struct accepted *accepted = handshake->accepted;
    const struct filter_chain *chain = handshake->chain;
    accepted->connection.abort = NULL;
    mem_free(handshake);
    tcp_proxy_start(chain->tcp, &accepted->connection, stream);
}

static void on_handshake_read(void *owner, struct stream *stream, struct str bytes)
{
    (void)owner; // nothing is reported before the handshake is done
    (void)bytes;
    stream_abort(stream);
}

static void on_handshake_close(void *owner, struct stream *stream, const struct error *err)
{
    struct handshake *handshake = owner;
    struct accepted *accepted = handshake->accepted;
    (void)stream;
    log_debug(&scope, "handshake failed", LOG_STR("listener", accepted->listener->config->name), LOG_ERR(err));
    accepted->connection.abort = NULL;
    mem_free(handshake);
    connection_release(&accepted->connection);
}

static void abort_handshake(struct connection *connection)
{
    struct handshake *handshake = connection->filter;
    stream_abort(handshake->stream);
}

static const struct stream_events handshake_events = {
    .on_open = on_handshake_open,
    .on_read = on_handshake_read,
    .on_close = on_handshake_close,
};

static const struct stream_events nothing_events; // until the filter sets its own

static struct http_manager *manager_of(struct listener *listener, const struct filter_chain *chain)
{
    struct http_manager **place = &listener->managers[chain - listener->config->chains];
    if (*place == NULL) {
        *place = http_manager_new(chain->http, listener->set->runtime);
    }
    return *place;
}

static void serve(struct accepted *accepted, int fd, struct str bytes, const struct filter_chain *chain)
{
    struct listeners *set = accepted->listener->set;
    struct tls_context *context = NULL;
    struct error err = {0};
    if (chain->transport->is_tls) {
        context = set->secrets == NULL ? NULL : secrets_context(set->secrets, chain->transport, &err);
        if (context == NULL) {
            log_warning(&scope, "no certificate for a filter chain yet, closing the connection",
                        LOG_STR("chain", chain->name), LOG_CSTR("error", err.message));
            refuse(accepted, fd);
            return;
        }
    }
    if (chain->http == NULL && context != NULL) {
        struct handshake *handshake = mem_new(struct handshake);
        handshake->accepted = accepted;
        handshake->chain = chain;
        accepted->connection.filter = handshake;
        accepted->connection.abort = abort_handshake;
        handshake->stream = stream_accept(set->runtime->loop, fd, context, bytes, &handshake_events, handshake);
    } else {
        struct stream *stream = stream_accept(set->runtime->loop, fd, context, bytes, &nothing_events, NULL);
        if (chain->http != NULL) {
            http_manager_adopt(manager_of(accepted->listener, chain), &accepted->connection, stream);
        } else {
            tcp_proxy_start(chain->tcp, &accepted->connection, stream);
        }
    }
    tls_context_unref(context);
}

// --- inspecting ----------------------------------------------------------------------------------------

static void inspection_free(struct inspection *inspection)
{
    loop_fd_stop(&inspection->watch);
    loop_timer_stop(&inspection->timer);
    list_remove(&inspection->node);
    buf_done(&inspection->bytes);
    mem_free(inspection);
}

static void inspection_refuse(struct inspection *inspection)
{
    struct accepted *accepted = inspection->accepted;
    int fd = inspection->fd;
    inspection_free(inspection);
    refuse(accepted, fd);
}

static void inspection_done(struct inspection *inspection)
{
    struct accepted *accepted = inspection->accepted;
    const struct filter_chain *chain = choose_chain(inspection);
    if (chain == NULL) {
        stat_add(accepted->listener->no_chain, 1);
        log_no_chain(accepted);
        inspection_refuse(inspection);
        return;
    }
    struct buf bytes = {0};
    int fd = inspection->fd;
    buf_swap(&bytes, &inspection->bytes);
    inspection_free(inspection);
    serve(accepted, fd, buf_view(&bytes), chain);
    buf_done(&bytes);
}

enum step { STEP_MORE, STEP_DONE, STEP_REFUSE };

static enum step inspect_tls(struct inspection *inspection)
{
    switch (client_hello_parse(buf_view(&inspection->bytes), &inspection->hello)) {
    case CLIENT_HELLO_MORE:
        return STEP_MORE;
    case CLIENT_HELLO_TOO_LARGE:
        return STEP_REFUSE;
    case CLIENT_HELLO_NOT_TLS:
        inspection->wants_tls = false;
        return STEP_DONE;
    case CLIENT_HELLO_DONE:
        break;
    }
    struct connection *connection = &inspection->accepted->connection;
    memcpy(connection->server_name, inspection->hello.server_name, inspection->hello.server_name_size);
    connection->server_name[inspection->hello.server_name_size] = 0;
    inspection->is_tls = true;
    inspection->wants_tls = false;
    return STEP_DONE;
}

static enum step inspect(struct inspection *inspection)
{
    if (inspection->wants_tls) {
        enum step step = inspect_tls(inspection);
        if (step != STEP_DONE) {
            return step;
        }
    }
    if (!inspection->wants_http || inspection->is_tls) {
        return STEP_DONE;
    }
    inspection->http = http_inspect(buf_view(&inspection->bytes));
    if (inspection->http == HTTP_INSPECT_MORE) {
        return inspection->bytes.size >= HTTP_INSPECT_MAX ? STEP_REFUSE : STEP_MORE;
    }
    return STEP_DONE;
}

static void on_readable(struct loop_fd *watch, unsigned events)
{
    struct inspection *inspection = container_of(watch, struct inspection, watch);
    (void)events;
    char *room = buf_reserve(&inspection->bytes, INSPECT_READ_SIZE);
    ssize_t got = read(inspection->fd, room, INSPECT_READ_SIZE);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        if (got == 0 && inspection->bytes.size > 0) { // what came is all there will be
            inspection_done(inspection);
        } else {
            inspection_refuse(inspection);
        }
        return;
    }
    buf_commit(&inspection->bytes, (size_t)got);
    switch (inspect(inspection)) {
    case STEP_MORE:
        return;
    case STEP_DONE:
        inspection_done(inspection);
        return;
    case STEP_REFUSE:
        inspection_refuse(inspection);
        return;
    }
}

static void on_inspect_timeout(struct loop_timer *timer)
{
    struct inspection *inspection = container_of(timer, struct inspection, timer);
    if (inspection->accepted->listener->config->goes_on_after_timeout) {
        inspection_done(inspection);
    } else {
        inspection_refuse(inspection);
    }
}

static void start_inspection(struct accepted *accepted, int fd)
{
    struct listener *listener = accepted->listener;
    struct loop *loop = listener->set->runtime->loop;
    struct inspection *inspection = mem_new(struct inspection);
    inspection->accepted = accepted;
    inspection->fd = fd;
    inspection->http = HTTP_INSPECT_OTHER;
    list_init(&inspection->node);
    list_append(&listener->set->inspections, &inspection->node);
    loop_fd_init(&inspection->watch, loop, fd, on_readable);
    loop_timer_init(&inspection->timer, loop, on_inspect_timeout);
    inspection->wants_tls = inspector_is_on(&listener->config->tls, &accepted->connection.local);
    inspection->wants_http = inspector_is_on(&listener->config->http, &accepted->connection.local);
    if (!inspection->wants_tls && !inspection->wants_http) {
        inspection_done(inspection);
        return;
    }
    if (listener->config->inspect_timeout_ms > 0) {
        loop_timer_start(&inspection->timer, listener->config->inspect_timeout_ms);
    }
    loop_fd_start(&inspection->watch, LOOP_FD_READ);
    on_readable(&inspection->watch, LOOP_FD_READ); // most clients have spoken by now
}

// --- accepting -----------------------------------------------------------------------------------------

static struct listener *find_target(struct listener *listener, const struct address *destination)
{
    char text[ADDRESS_TEXT_SIZE];
    struct listener *found = map_get(&listener->set->by_address, str_of(address_format(destination, text)));
    if (found == NULL) {
        struct address any = {.size = destination->size};
        any.any.sa_family = destination->any.sa_family;
        address_set_port(&any, address_port(destination));
        found = map_get(&listener->set->by_address, str_of(address_format(&any, text)));
    }
    return found == NULL ? listener : found;
}

static void restore_destination(struct connection *connection, int fd)
{
    struct address original;
    if (address_original_destination(fd, &original) && !address_equal(&original, &connection->local)) {
        connection->local = original;
        connection->local_is_restored = true;
    }
}

static void on_accept(struct acceptor *acceptor, int fd, const struct sockaddr *peer, socklen_t peer_size)
{
    struct listener *listener = container_of(acceptor, struct listener, acceptor);
    struct filter_runtime *runtime = listener->set->runtime;
    struct accepted *accepted = mem_new(struct accepted);
    struct connection *connection = &accepted->connection;
    if (listener->set->connection_count >= LISTENER_CONNECTIONS_MAX || !address_local(fd, &connection->local)) {
        (void)close(fd);
        mem_free(accepted);
        return;
    }
    connection->holds = 1;
    connection->runtime = runtime;
    connection->on_gone = on_connection_gone;
    connection->start_ms = loop_now_ms(runtime->loop);
    connection->start_wall_ms = loop_wall_ms(runtime->loop);
    (void)address_from_sockaddr(peer, peer_size, &connection->remote);
    if (listener->config->hands_over || listener->config->restores) {
        restore_destination(connection, fd);
    }
    if (listener->config->hands_over) {
        listener = find_target(listener, &connection->local);
    }
    accepted->listener = listener;
    list_init(&connection->node);
    list_append(&listener->set->connections, &connection->node);
    connection->direction = listener->config->direction;
    take_listener(listener);
    start_inspection(accepted, fd);
}

// --- the set -------------------------------------------------------------------------------------------

struct listeners *listeners_new(struct filter_runtime *runtime)
{
    struct listeners *set = mem_new(struct listeners);
    set->runtime = runtime;
    list_init(&set->inspections);
    list_init(&set->connections);
    loop_task_init(&set->reap, on_reap);
    return set;
}

void listeners_set_secrets(struct listeners *set, struct secrets *secrets)
{
    secrets_unref(set->secrets);
    set->secrets = secrets_ref(secrets);
}

static void index_add(struct listeners *set, struct listener *listener)
{
    char text[ADDRESS_TEXT_SIZE];
    (void)map_set(&set->by_address, str_of(address_format(&listener->config->address, text)), listener);
}

static void index_remove(struct listeners *set, struct listener *listener)
{
    char text[ADDRESS_TEXT_SIZE];
    struct str key = str_of(address_format(&listener->config->address, text));
    if (map_get(&set->by_address, key) == listener) {
        (void)map_remove(&set->by_address, key);
    }
}

static void on_manager_drained(void *owner)
{
    struct listener *listener = owner;
    listener->draining--;
    loop_task_schedule(listener->set->runtime->loop, &listener->set->reap);
}

static void drain_managers(struct listener *listener)
{
    for (size_t i = 0; i < listener->config->chain_count; i++) {
        if (listener->managers[i] != NULL) {
            listener->draining++;
            http_manager_drain(listener->managers[i], LISTENER_DRAIN_MS, on_manager_drained, listener);
        }
    }
}

static void retire(struct listener *listener)
{
    struct listeners *set = listener->set;
    acceptor_stop(&listener->acceptor);
    listener->accepts = false;
    listener->is_retired = true;
    index_remove(set, listener);
    vec_push(&set->retired, listener);
    drain_managers(listener);
    loop_task_schedule(set->runtime->loop, &set->reap);
}

static struct listener *make(struct listeners *set, struct listener_config *config)
{
    struct listener *listener = mem_new(struct listener);
    listener->set = set;
    listener->config = listener_config_ref(config);
    listener->managers = mem_zalloc(sizeof(struct http_manager *) * (config->chain_count + 1));
    acceptor_init(&listener->acceptor, set->runtime->loop, on_accept);
    struct stats *stats = set->runtime->stats;
    listener->cx_total = stats_get(stats, STAT_LISTENER, config->stat_name, "downstream_cx_total", STAT_COUNTER);
    listener->cx_active = stats_get(stats, STAT_LISTENER, config->stat_name, "downstream_cx_active", STAT_GAUGE);
    listener->no_chain = stats_get(stats, STAT_LISTENER, config->stat_name, "no_filter_chain_match", STAT_COUNTER);
    return listener;
}

// The old listener's socket moves over, so that no connection waiting in its queue is lost.
static bool take_socket(struct listener *to, struct listener *from)
{
    if (from == NULL || !from->accepts || !address_equal(&from->config->address, &to->config->address)) {
        return false;
    }
    int fd = dup(from->acceptor.fd);
    if (fd < 0) {
        return false;
    }
    acceptor_stop(&from->acceptor);
    from->accepts = false;
    acceptor_start(&to->acceptor, fd);
    to->accepts = true;
    return true;
}

static void open_socket(struct listener *listener)
{
    struct error err = {0};
    int fd = -1;
    const struct listen_options options = {.reuse_port = listener->config->reuse_port, .backlog = listener->config->backlog};
    if (address_listen(&listener->config->address, &options, &fd, &err) != ERR_OK) {
        log_error(&scope, "cannot listen", LOG_STR("listener", listener->config->name), LOG_ERR(&err));
        return;
    }
    acceptor_start(&listener->acceptor, fd);
    listener->accepts = true;
}

static void apply_one(struct listeners *set, struct listener_config *config)
{
    struct listener *old = map_get(&set->by_name, config->name);
    if (old != NULL && old->config == config) {
        return;
    }
    struct listener *listener = make(set, config);
    if (config->binds && !set->is_stopped[config->direction] && !take_socket(listener, old)) {
        open_socket(listener);
    }
    (void)map_set(&set->by_name, config->name, listener);
    if (old != NULL) {
        retire(old);
    }
    index_add(set, listener);
}

static bool is_in(struct listener_config *const *configs, size_t count, struct str name)
{
    for (size_t i = 0; i < count; i++) {
        if (str_equal(configs[i]->name, name)) {
            return true;
        }
    }
    return false;
}

void listeners_apply(struct listeners *set, struct listener_config *const *configs, size_t count)
{
    struct str name;
    void *value;
    for (size_t at = 0; map_each(&set->by_name, &at, &name, &value);) {
        if (!is_in(configs, count, name)) {
            struct listener *gone = value;
            (void)map_remove(&set->by_name, name);
            retire(gone);
        }
    }
    for (size_t i = 0; i < count; i++) {
        apply_one(set, configs[i]);
    }
}

void listeners_drain(struct listeners *set, enum traffic_direction direction)
{
    void *value;
    for (size_t at = 0; map_each(&set->by_name, &at, NULL, &value);) {
        struct listener *listener = value;
        if (direction != TRAFFIC_UNSPECIFIED && listener->config->direction != direction) {
            continue;
        }
        acceptor_stop(&listener->acceptor);
        listener->accepts = false;
        drain_managers(listener);
    }
    for (size_t i = 0; i < array_count(set->is_stopped); i++) {
        set->is_stopped[i] |= direction == TRAFFIC_UNSPECIFIED || (size_t)direction == i;
    }
}

size_t listeners_connection_count(const struct listeners *set)
{
    return set->connection_count;
}

static void stop_listener(struct listener *listener)
{
    acceptor_stop(&listener->acceptor);
    listener->accepts = false;
    for (size_t i = 0; i < listener->config->chain_count; i++) {
        if (listener->managers[i] != NULL) {
            http_manager_stop(listener->managers[i]);
        }
    }
}

void listeners_stop(struct listeners *set)
{
    while (list_first(&set->inspections) != NULL) {
        inspection_refuse(container_of(list_first(&set->inspections), struct inspection, node));
    }
    void *value;
    for (size_t at = 0; map_each(&set->by_name, &at, NULL, &value);) {
        stop_listener(value);
    }
    for (size_t i = 0; i < set->retired.count; i++) {
        stop_listener(set->retired.items[i]);
        set->retired.items[i]->draining = 0; // nobody will say so any more
    }
    list_each(&set->connections, node) {
        struct connection *connection = container_of(node, struct connection, node);
        if (connection->abort != NULL) {
            connection->abort(connection);
        }
    }
}

void listeners_free(struct listeners *set)
{
    if (set == NULL) {
        return;
    }
    void *value;
    for (size_t at = 0; map_each(&set->by_name, &at, NULL, &value);) {
        listener_free(value);
    }
    for (size_t i = 0; i < set->retired.count; i++) {
        listener_free(set->retired.items[i]);
    }
    loop_task_cancel(&set->reap);
    map_done(&set->by_name);
    map_done(&set->by_address);
    vec_done(&set->retired);
    secrets_unref(set->secrets);
    mem_free(set);
}
