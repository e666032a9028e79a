// SPDX-License-Identifier: Apache-2.0
//
// The server's life: store, certificates, first objects, listening; followers that tell kinds what has
// become visible; draining.
#include "lab/apiserver/apiserver.h"

#include <arpa/inet.h>

#include "base/assert.h"
#include "base/base64.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "lab/apiserver/request.h"
#include "lab/apiserver/server.h"
#include "lab/apiserver/webhook.h"

#define SERVICE_CIDR_DEFAULT "10.96.0.0/16"

static struct log_scope scope = LOG_SCOPE("apiserver");

// --- followers: hooks->committed of what becomes visible -------------------------------------------

struct follower {
    struct store_watch watch;
    struct apiserver *server;
    const struct kind *kind;
};

static void follower_on_ready(struct store_watch *watch)
{
    struct follower *follower = container_of(watch, struct follower, watch);
    bool is_expired;
    struct store_event *event;
    while ((event = store_watch_next(watch, &is_expired)) != NULL) {
        const struct json_value *old = event->previous == NULL ? NULL : value_object(event->previous);
        bool is_gone = event->type == STORE_DELETED;
        follower->kind->hooks->committed(follower->server, follower->kind, old,
                                         is_gone ? NULL : value_object(event->value));
    }
    if (NEVER(is_expired)) { // a follower reads everything as it comes
        log_error(&scope, "events were lost", LOG_STR("kind", follower->kind->kind));
    }
}

static enum err follow(struct apiserver *server, const struct kind *kind, struct error *err)
{
    for (size_t i = 0; i < store_count(kind->bucket); i++) {
        kind->hooks->committed(server, kind, NULL, value_object(store_at(kind->bucket, i)));
    }
    struct follower *follower = mem_new(struct follower);
    follower->server = server;
    follower->kind = kind;
    store_watch_init(&follower->watch, follower_on_ready);
    vec_push(&server->followers, follower);
    return store_watch_start(&follower->watch, kind->bucket, store_revision(server->store), err);
}

static enum err follow_all(struct apiserver *server, struct error *err)
{
    // Definitions add kinds while we walk: built-in ones come first and stay where they are.
    size_t count = server->kinds.items.count;
    for (size_t i = 0; i < count; i++) {
        const struct kind *kind = server->kinds.items.items[i];
        if (kind->bucket != NULL && kind->hooks->committed != NULL) {
            enum err code = follow(server, kind, err);
            if (code != ERR_OK) {
                return code;
            }
        }
    }
    return ERR_OK;
}

// --- making ----------------------------------------------------------------------------------------

// "10.96.0.0/16"
static enum err parse_cidr(struct str text, uint32_t *ret_network, uint32_t *ret_size, struct error *err)
{
    struct arena arena = {0};
    ptrdiff_t slash = str_find_char(text, '/');
    struct in_addr in;
    uint64_t bits = 0;
    bool good = slash > 0 && inet_pton(AF_INET, arena_strdup(&arena, str_sub(text, 0, (size_t)slash)), &in) == 1 &&
                str_to_u64(str_from(text, (size_t)slash + 1), &bits) && bits >= 8 && bits <= 28;
    arena_done(&arena);
    if (!good) {
        return error_set(err, ERR_INVALID, "service CIDR \"%.*s\": need an IPv4 range of /8 to /28", STR_ARG(text));
    }
    *ret_size = 1u << (32 - bits);
    *ret_network = ntohl(in.s_addr) & ~(*ret_size - 1);
    return ERR_OK;
}

static enum err open_store(struct apiserver *server, const struct apiserver_options *options, struct error *err)
{
    struct store_options store = {0};
    if (!str_is_empty(options->state_directory)) {
        enum err code =
            file_make_directories(arena_strdup(&server->arena, options->state_directory), 0700, err);
        if (code != ERR_OK) {
            return code;
        }
        store.path = arena_format(&server->arena, "%.*s/store.db", STR_ARG(options->state_directory));
    }
    server->store = store_new(server->loop, &store, err);
    if (server->store == NULL) {
        error_prefix(err, "%.*s", STR_ARG(store.path));
        return ERR_IO;
    }
    kind_set_init(&server->kinds, server->store);
    return ERR_OK;
}

static enum err make_certificates(struct apiserver *server, const struct apiserver_options *options, struct error *err)
{
    struct arena *arena = &server->arena;
    struct str directory = str_is_empty(options->state_directory)
                               ? STR_EMPTY
                               : arena_format(arena, "%.*s/pki", STR_ARG(options->state_directory));
    struct str names[] = {
        STR("kubernetes"),
        STR("kubernetes.default"),
        STR("kubernetes.default.svc"),
        STR("kubernetes.default.svc.cluster.local"),
        STR("localhost"),
        STR("127.0.0.1"),
        service_first_address(arena, server),
        server->advertise_ip,
        arena_format(arena, "%.*s-control-plane", STR_ARG(server->cluster_name)),
    };
    int64_t now = (int64_t)(loop_wall_ms(server->loop) / 1000);
    return pki_init(&server->pki, directory, names, array_count(names), now, err);
}

static enum err listen_all(struct apiserver *server, const struct apiserver_options *options, struct error *err)
{
    // HTTP/2 lets one connection carry all of a client's watches.
    static const struct str protocols[] = {{.data = "h2", .size = 2}, {.data = "http/1.1", .size = 8}};
    struct tls_options tls = {
        .role = TLS_SERVER,
        .certificate_pem = arena_format(&server->arena, "%.*s%.*s", STR_ARG(server->pki.serving_pem),
                                        STR_ARG(server->pki.ca_pem)),
        .key_pem = server->pki.serving_key_pem,
        .roots_pem = server->pki.ca_pem,
        .peer = TLS_PEER_OPTIONAL,
        .alpn = protocols,
        .alpn_count = array_count(protocols),
    };
    server->tls = tls_context_new(&tls, err);
    if (server->tls == NULL) {
        return ERR_TLS;
    }
    struct http_server_options http = {
        .metrics = options->metrics,
        .metric_prefix = "isthmesh_api_server",
        .http2 = true,
    };
    server->http = http_server_new(server->loop, &http, server_on_request, server);
    for (size_t i = 0; i < options->listen_fd_count; i++) {
        http_server_listen(server->http, options->listen_fds[i], server->tls);
    }
    return ERR_OK;
}

static enum err start(struct apiserver *server, const struct apiserver_options *options, struct error *err)
{
    uint32_t network;
    uint32_t size;
    struct str cidr = str_is_empty(options->service_cidr) ? STR(SERVICE_CIDR_DEFAULT) : options->service_cidr;
    enum err code = parse_cidr(cidr, &network, &size, err);
    if (code != ERR_OK) {
        return code;
    }
    service_allocator_init(server, network, size);
    code = open_store(server, options, err);
    code = code != ERR_OK ? code : make_certificates(server, options, err);
    code = code != ERR_OK ? code : follow_all(server, err);
    code = code != ERR_OK ? code : bootstrap_objects(server, err);
    return code != ERR_OK ? code : listen_all(server, options, err);
}

struct apiserver *apiserver_new(struct loop *loop, const struct apiserver_options *options, struct error *err)
{
    struct apiserver *server = mem_new(struct apiserver);
    server->loop = loop;
    list_init(&server->requests);
    server->cluster_name = arena_str(&server->arena, options->cluster_name);
    server->advertise_ip =
        arena_str(&server->arena, str_is_empty(options->advertise_ip) ? STR("127.0.0.1") : options->advertise_ip);
    server->advertise_port = options->advertise_port == 0 ? 6443 : options->advertise_port;
    if (start(server, options, err) != ERR_OK) {
        apiserver_free(server);
        return NULL;
    }
    log_info(&scope, "serving", LOG_STR("cluster", server->cluster_name),
             LOG_U64("revision", store_revision(server->store)));
    return server;
}

void apiserver_set_runtime(struct apiserver *server, const struct runtime *runtime)
{
    server->runtime = runtime == NULL ? (struct runtime){0} : *runtime;
}

// --- ending ----------------------------------------------------------------------------------------

static void end_watches(struct apiserver *server)
{
    list_each(&server->requests, node)
    {
        struct request *request = container_of(node, struct request, node);
        if (request->watch != NULL) {
            watch_stream_end(request->watch);
        } else if (request->taken != NULL && request->exchange != NULL) {
            http_cancel(request->exchange);
        }
    }
}

void apiserver_drain(struct apiserver *server, uint64_t deadline_ms, void (*on_done)(void *owner), void *owner)
{
    server->is_draining = true;
    end_watches(server);
    http_server_drain(server->http, deadline_ms, on_done, owner);
}

// Requests whose exchange is gone but whose store write or webhook was under way.
static void drop_requests(struct apiserver *server)
{
    for (struct list *node; (node = list_first(&server->requests)) != NULL;) {
        struct request *request = container_of(node, struct request, node);
        webhooks_abort(request);
        request->holds = 1;
        request_release(request);
    }
}

void apiserver_free(struct apiserver *server)
{
    if (server == NULL) {
        return;
    }
    http_server_free(server->http);
    drop_requests(server);
    for (size_t i = 0; i < server->followers.count; i++) {
        store_watch_stop(&server->followers.items[i]->watch);
        mem_free(server->followers.items[i]);
    }
    vec_done(&server->followers);
    if (server->store != NULL) {
        kind_set_done(&server->kinds);
    }
    service_allocator_done(server);
    store_free(server->store);
    tls_context_unref(server->tls);
    pki_done(&server->pki);
    arena_done(&server->arena);
    mem_free(server);
}

// --- for clients -----------------------------------------------------------------------------------

struct str apiserver_ca_pem(const struct apiserver *server)
{
    return server->pki.ca_pem;
}

struct str apiserver_kubeconfig(const struct apiserver *server, struct arena *arena, struct str server_url)
{
    struct str name = arena_format(arena, "kind-%.*s", STR_ARG(server->cluster_name));
    struct buf text = {0};
    buf_printf(&text, "apiVersion: v1\nkind: Config\npreferences: {}\ncurrent-context: %.*s\n", STR_ARG(name));
    buf_printf(&text, "clusters:\n- name: %.*s\n  cluster:\n    certificate-authority-data: %.*s\n    server: %.*s\n",
               STR_ARG(name), STR_ARG(base64_encode(arena, server->pki.ca_pem)), STR_ARG(server_url));
    buf_printf(&text, "contexts:\n- name: %.*s\n  context:\n    cluster: %.*s\n    user: %.*s\n", STR_ARG(name),
               STR_ARG(name), STR_ARG(name));
    buf_printf(&text, "users:\n- name: %.*s\n  user:\n    client-certificate-data: %.*s\n    client-key-data: %.*s\n",
               STR_ARG(name), STR_ARG(base64_encode(arena, server->pki.admin_pem)),
               STR_ARG(base64_encode(arena, server->pki.admin_key_pem)));
    struct str config = arena_str(arena, buf_view(&text));
    buf_done(&text);
    return config;
}

struct kube_config apiserver_client_config(const struct apiserver *server, struct arena *arena, struct str server_url)
{
    return (struct kube_config){
        .server = arena_str(arena, server_url),
        .ca_pem = server->pki.ca_pem,
        .certificate_pem = server->pki.admin_pem,
        .key_pem = server->pki.admin_key_pem,
        .ns = STR("default"),
    };
}
