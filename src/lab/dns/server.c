// SPDX-License-Identifier: Apache-2.0
#include "lab/dns/server.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "kube/informer.h"
#include "lab/dns/message.h"
#include "loop/socket.h"
#include "net/address.h"
#include "net/stream.h"

#define DNS_PORT 53
#define DATAGRAMS_PER_TURN 64
#define RETRY_MS 500u
#define IDLE_MS 30000u
#define NAMESPACE "kube-system"
#define SERVICE_NAME "kube-dns"

static struct log_scope scope = LOG_SCOPE("dns");

struct dns_server {
    struct loop *loop;
    struct kube_client *client;
    struct arena arena;
    struct str ip;
    struct str dns_ip;
    struct loop_fd udp;
    struct acceptor tcp;
    struct list connections;
    unsigned connection_count;
    struct informer *services;
    struct informer *slices;
    struct dns_source source;
    struct loop_timer announce;
    struct kube_call *call;
    bool service_exists;
    bool slice_exists;
};

struct connection {
    struct list node;
    struct dns_server *server;
    struct stream *stream;
    struct buf input;
    struct loop_timer idle;
};

// --- what records.c sees ---------------------------------------------------------------------------

static const struct json_value *find_service(void *owner, struct str ns, struct str name)
{
    const struct dns_server *server = owner;
    struct kube_object *object = informer_get(server->services, ns, name);
    return object == NULL ? NULL : object->value;
}

static const struct json_value *each_service(void *owner, size_t *at)
{
    const struct dns_server *server = owner;
    struct kube_object *object = informer_each(server->services, at);
    return object == NULL ? NULL : object->value;
}

static const struct json_value *each_slice(void *owner, size_t *at)
{
    const struct dns_server *server = owner;
    struct kube_object *object = informer_each(server->slices, at);
    return object == NULL ? NULL : object->value;
}

// --- UDP -------------------------------------------------------------------------------------------

static void on_datagram(struct loop_fd *watch, unsigned events)
{
    struct dns_server *server = container_of(watch, struct dns_server, udp);
    char query[DNS_UDP_SIZE_MAX];
    (void)events;
    for (int left = DATAGRAMS_PER_TURN; left > 0; left--) {
        struct sockaddr_storage peer;
        socklen_t peer_size = sizeof(peer);
        struct buf answer = {0};
        ssize_t size = recvfrom(watch->fd, query, sizeof(query), 0, (struct sockaddr *)&peer, &peer_size);
        if (size < 0) {
            return; // nothing more, or an ICMP error of an earlier answer
        }
        if (dns_message_answer(&server->source, str_make(query, (size_t)size), true, &answer)) {
            // A client that cannot be reached asks again.
            (void)sendto(watch->fd, answer.data + answer.start, answer.size, 0, (struct sockaddr *)&peer, peer_size);
        }
        buf_done(&answer);
    }
}

// --- TCP: messages with a length of two bytes in front (RFC 1035 section 4.2.2) --------------------

static void on_tcp_read(void *owner, struct stream *stream, struct str bytes)
{
    struct connection *connection = owner;
    loop_timer_start(&connection->idle, IDLE_MS);
    buf_append_str(&connection->input, bytes);
    for (;;) {
        struct str input = buf_view(&connection->input);
        if (input.size < 2) {
            return;
        }
        size_t size = (size_t)(unsigned char)input.data[0] << 8 | (unsigned char)input.data[1];
        if (input.size < size + 2) {
            return;
        }
        struct buf answer = {0};
        if (dns_message_answer(&connection->server->source, str_sub(input, 2, size), false, &answer)) {
            char length[2] = {(char)(answer.size >> 8), (char)(answer.size & 0xff)};
            stream_write(stream, str_make(length, 2));
            stream_write(stream, buf_view(&answer));
        }
        buf_done(&answer);
        buf_consume(&connection->input, size + 2);
    }
}

static void on_tcp_close(void *owner, struct stream *stream, const struct error *err)
{
    struct connection *connection = owner;
    (void)stream;
    (void)err;
    loop_timer_stop(&connection->idle);
    list_remove(&connection->node);
    connection->server->connection_count--;
    buf_done(&connection->input);
    mem_free(connection);
}

static void on_idle(struct loop_timer *timer)
{
    stream_close(container_of(timer, struct connection, idle)->stream);
}

static void on_accept(struct acceptor *acceptor, int fd, const struct sockaddr *peer, socklen_t peer_size)
{
    static const struct stream_events events = {.on_read = on_tcp_read, .on_close = on_tcp_close};
    struct dns_server *server = container_of(acceptor, struct dns_server, tcp);
    (void)peer;
    (void)peer_size;
    if (server->connection_count == DNS_CONNECTIONS_MAX) {
        (void)close(fd);
        return;
    }
    struct connection *connection = mem_new(struct connection);
    connection->server = server;
    loop_timer_init(&connection->idle, server->loop, on_idle);
    loop_timer_start(&connection->idle, IDLE_MS);
    list_append(&server->connections, &connection->node);
    server->connection_count++;
    connection->stream = stream_accept(server->loop, fd, NULL, STR_EMPTY, &events, connection);
}

// --- announcing itself -----------------------------------------------------------------------------

static void add_port(struct arena *arena, struct json_value *list, const char *name, const char *protocol)
{
    struct json_value *port = json_new_object(arena);
    json_set_cstr(arena, port, "name", name);
    json_set_int(arena, port, "port", DNS_PORT);
    json_set_cstr(arena, port, "protocol", protocol);
    json_push(arena, list, port);
}

static struct json_value *make_object(struct arena *arena, const char *version, const char *kind, struct json_value **ret_metadata)
{
    struct json_value *object = json_new_object(arena);
    json_set_cstr(arena, object, "apiVersion", version);
    json_set_cstr(arena, object, "kind", kind);
    struct json_value *metadata = json_ensure_object(arena, object, "metadata");
    json_set_cstr(arena, metadata, "name", SERVICE_NAME);
    json_set_cstr(arena, metadata, "namespace", NAMESPACE);
    *ret_metadata = metadata;
    return object;
}

static struct json_value *make_service(const struct dns_server *server, struct arena *arena)
{
    struct json_value *metadata = NULL;
    struct json_value *object = make_object(arena, "v1", "Service", &metadata);
    struct json_value *labels = json_ensure_object(arena, metadata, "labels");
    json_set_cstr(arena, labels, "k8s-app", "kube-dns");
    json_set_cstr(arena, labels, "kubernetes.io/name", "CoreDNS");
    struct json_value *spec = json_ensure_object(arena, object, "spec");
    json_set_str(arena, spec, "clusterIP", server->dns_ip);
    struct json_value *ports = json_ensure_array(arena, spec, "ports");
    add_port(arena, ports, "dns", "UDP");
    add_port(arena, ports, "dns-tcp", "TCP");
    return object;
}

static struct json_value *make_slice(const struct dns_server *server, struct arena *arena)
{
    struct json_value *metadata = NULL;
    struct json_value *object = make_object(arena, "discovery.k8s.io/v1", "EndpointSlice", &metadata);
    json_set_cstr(arena, json_ensure_object(arena, metadata, "labels"), "kubernetes.io/service-name", SERVICE_NAME);
    json_set_cstr(arena, object, "addressType", "IPv4");
    struct json_value *ports = json_ensure_array(arena, object, "ports");
    add_port(arena, ports, "dns", "UDP");
    add_port(arena, ports, "dns-tcp", "TCP");
    struct json_value *endpoint = json_new_object(arena);
    json_push(arena, json_ensure_array(arena, endpoint, "addresses"), json_new_str(arena, server->ip));
    json_set_bool(arena, json_ensure_object(arena, endpoint, "conditions"), "ready", true);
    json_push(arena, json_ensure_array(arena, object, "endpoints"), endpoint);
    return object;
}

static void created(struct dns_server *server, bool *exists, enum err code, const struct kube_response *response)
{
    server->call = NULL;
    *exists = code == ERR_OK || code == ERR_EXISTS || code == ERR_CONFLICT;
    if (!*exists) {
        log_debug(&scope, "cannot announce the DNS service, trying again", LOG_STR("error", response->message));
    }
    if (!server->service_exists || !server->slice_exists) {
        loop_timer_start(&server->announce, *exists ? 0 : RETRY_MS);
    }
}

static void service_on_done(void *owner, enum err code, const struct kube_response *response)
{
    struct dns_server *server = owner;
    created(server, &server->service_exists, code, response);
}

static void slice_on_done(void *owner, enum err code, const struct kube_response *response)
{
    struct dns_server *server = owner;
    created(server, &server->slice_exists, code, response);
}

static void on_announce(struct loop_timer *timer)
{
    struct dns_server *server = container_of(timer, struct dns_server, announce);
    struct arena arena = {0};
    if (!server->service_exists) {
        server->call = kube_create(server->client, &kube_services, STR(NAMESPACE), make_service(server, &arena), service_on_done, server);
    } else {
        server->call = kube_create(server->client, &kube_endpointslices, STR(NAMESPACE), make_slice(server, &arena), slice_on_done, server);
    }
    arena_done(&arena);
}

// --- life ------------------------------------------------------------------------------------------

static enum err open_sockets(struct dns_server *server, struct error *err)
{
    struct address address;
    struct listen_options options = {0};
    int tcp_fd = -1;
    enum err code = address_from_ip(server->ip, DNS_PORT, &address, err);
    if (code != ERR_OK) {
        return code;
    }
    int udp_fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (udp_fd < 0 || bind(udp_fd, &address.any, address.size) != 0) {
        code = error_set_errno(err, errno, "cannot take UDP port 53 of %.*s", STR_ARG(server->ip));
    } else {
        code = address_listen(&address, &options, &tcp_fd, err);
    }
    if (code != ERR_OK) {
        if (udp_fd >= 0) {
            (void)close(udp_fd);
        }
        return code;
    }
    loop_fd_init(&server->udp, server->loop, udp_fd, on_datagram);
    loop_fd_start(&server->udp, LOOP_FD_READ);
    acceptor_init(&server->tcp, server->loop, on_accept);
    acceptor_start(&server->tcp, tcp_fd);
    return ERR_OK;
}

struct dns_server *dns_server_new(struct loop *loop, struct kube_client *client, struct str ip, struct str dns_ip, struct error *err)
{
    static const struct informer_events events = {0};
    struct informer_options options = {.resource = &kube_services};
    struct dns_server *server = mem_new(struct dns_server);
    server->loop = loop;
    server->client = client;
    server->ip = arena_str(&server->arena, ip);
    server->dns_ip = arena_str(&server->arena, dns_ip);
    server->source = (struct dns_source){.owner = server, .find_service = find_service, .each_service = each_service,
                                         .each_slice = each_slice};
    list_init(&server->connections);
    loop_timer_init(&server->announce, loop, on_announce);
    if (open_sockets(server, err) != ERR_OK) {
        arena_done(&server->arena);
        mem_free(server);
        return NULL;
    }
    server->services = informer_new(client, &options, &events, server);
    options.resource = &kube_endpointslices;
    server->slices = informer_new(client, &options, &events, server);
    loop_timer_start(&server->announce, 0);
    return server;
}

bool dns_server_is_ready(const struct dns_server *server)
{
    return server->slice_exists && informer_is_synced(server->services) && informer_is_synced(server->slices);
}

void dns_server_free(struct dns_server *server)
{
    if (server == NULL) {
        return;
    }
    loop_timer_stop(&server->announce);
    if (server->call != NULL) {
        kube_call_cancel(server->call);
    }
    list_each(&server->connections, node) {
        struct connection *connection = container_of(node, struct connection, node);
        stream_set_events(connection->stream, NULL, NULL);
        stream_abort(connection->stream);
        loop_timer_stop(&connection->idle);
        list_remove(&connection->node);
        buf_done(&connection->input);
        mem_free(connection);
    }
    acceptor_stop(&server->tcp);
    loop_fd_stop(&server->udp);
    (void)close(server->udp.fd);
    informer_free(server->services);
    informer_free(server->slices);
    arena_done(&server->arena);
    mem_free(server);
}
