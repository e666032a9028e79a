// SPDX-License-Identifier: Apache-2.0
#include "kube/client_internal.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/version.h"
#include "net/address.h"

#define TOKEN_SIZE_MAX (64u * 1024)

static struct log_scope scope = LOG_SCOPE("kube");

// --- making ----------------------------------------------------------------------------------------

struct endpoint {
    struct str host; // without brackets
    uint16_t port;
    bool tls;
};

// scheme "://" authority [path]
static enum err parse_server(struct kube_client *client, struct str server, struct endpoint *ret, struct error *err)
{
    ptrdiff_t colon = str_find(server, STR("://"));
    client->scheme = colon < 0 ? STR("https") : str_sub(server, 0, (size_t)colon);
    struct str rest = colon < 0 ? server : str_from(server, (size_t)colon + 3);
    ptrdiff_t slash = str_find_char(rest, '/');
    client->authority = slash < 0 ? rest : str_sub(rest, 0, (size_t)slash);
    client->prefix = slash < 0 ? STR_EMPTY : str_from(rest, (size_t)slash);
    ret->tls = str_equal(client->scheme, STR("https"));
    if (!ret->tls && !str_equal(client->scheme, STR("http"))) {
        return error_set(err, ERR_INVALID, "server %.*s: the scheme is neither https nor http", STR_ARG(server));
    }
    ptrdiff_t bracket = str_find_last_char(client->authority, ']');
    ptrdiff_t port = str_find_last_char(client->authority, ':');
    bool has_port = port > bracket;
    ret->host = has_port ? str_sub(client->authority, 0, (size_t)port) : client->authority;
    uint64_t number = ret->tls ? 443 : 80;
    if (has_port && (!str_to_u64(str_from(client->authority, (size_t)port + 1), &number) || number == 0 ||
                     number > UINT16_MAX)) {
        return error_set(err, ERR_INVALID, "server %.*s: bad port", STR_ARG(server));
    }
    if (bracket > 0 && ret->host.data[0] == '[') {
        ret->host = str_sub(ret->host, 1, (size_t)bracket - 1);
    }
    if (str_is_empty(ret->host)) {
        return error_set(err, ERR_INVALID, "server %.*s: no host", STR_ARG(server));
    }
    ret->port = (uint16_t)number;
    return ERR_OK;
}

static enum err make_tls(const struct kube_config *config, struct tls_context **ret_tls, struct error *err)
{
    const struct tls_options options = {
        .role = TLS_CLIENT,
        .certificate_pem = config->certificate_pem,
        .key_pem = config->key_pem,
        .roots_pem = config->ca_pem,
        .peer = config->insecure_skip_tls_verify ? TLS_PEER_NONE : TLS_PEER_REQUIRED,
        .verify_host = !config->insecure_skip_tls_verify,
    };
    struct error why = {0};
    *ret_tls = tls_context_new(&options, &why);
    return *ret_tls != NULL ? ERR_OK : error_set(err, ERR_TLS, "API server credentials: %s", why.message);
}

static struct str without_end_slash(struct str server)
{
    while (server.size > 0 && server.data[server.size - 1] == '/') {
        server.size--;
    }
    return server;
}

static enum err setup(struct kube_client *client, const struct kube_config *config, struct error *err)
{
    struct endpoint endpoint = {0};
    client->server = arena_str(&client->arena, without_end_slash(config->server));
    enum err failed = parse_server(client, client->server, &endpoint, err);
    if (failed != ERR_OK) {
        return failed;
    }
    client->token = arena_str(&client->arena, config->token);
    client->token_file = arena_str(&client->arena, config->token_file);
    struct http_client_options options = {
        .host = endpoint.host,
        .port = endpoint.port,
        .tls_server_name = str_is_empty(config->tls_server_name) ? endpoint.host : config->tls_server_name,
        .protocol = HTTP_PROTOCOL_1,
    };
    if (address_from_ip(endpoint.host, endpoint.port, &options.address, NULL) != ERR_OK) {
        options.address.size = 0;
    }
    if (endpoint.tls) {
        failed = make_tls(config, &options.tls, err);
        if (failed != ERR_OK) {
            return failed;
        }
    }
    client->http = http_client_new(client->loop, &options);
    tls_context_unref(options.tls);
    return ERR_OK;
}

struct kube_client *kube_client_new(struct loop *loop, const struct kube_config *config, struct error *err)
{
    struct kube_client *client = mem_new(struct kube_client);
    client->loop = loop;
    list_init(&client->calls);
    list_init(&client->watches);
    if (setup(client, config, err) != ERR_OK) {
        kube_client_free(client);
        return NULL;
    }
    return client;
}

void kube_client_free(struct kube_client *client)
{
    if (client == NULL) {
        return;
    }
    // Callbacks may stop other calls of ours, so each turn looks at the first one anew.
    while (list_first(&client->calls) != NULL) {
        kube_call_close(kube_call_of(list_first(&client->calls)), STR("the client is closing"));
    }
    while (list_first(&client->watches) != NULL) {
        kube_watch_close(kube_watch_of(list_first(&client->watches)), STR("the client is closing"));
    }
    if (client->http != NULL) {
        http_client_free(client->http);
    }
    if (client->file_token.data != NULL) {
        mem_wipe(client->file_token.data, client->file_token.capacity);
    }
    buf_done(&client->file_token);
    arena_done(&client->arena);
    mem_free(client);
}

struct str kube_client_server(const struct kube_client *client)
{
    return client->server;
}

struct loop *kube_client_loop(const struct kube_client *client)
{
    return client->loop;
}

// --- tokens ----------------------------------------------------------------------------------------

// The last good token stays in use while the file cannot be read.
static void reread_token(struct kube_client *client)
{
    uint64_t now = loop_now_ms(client->loop);
    if (client->token_was_read && now - client->token_read_ms < KUBE_TOKEN_REREAD_MS) {
        return;
    }
    client->token_was_read = true;
    client->token_read_ms = now;
    struct arena arena = {0};
    struct str text = STR_EMPTY;
    struct error err = {0};
    if (file_read(&arena, client->token_file.data, TOKEN_SIZE_MAX, &text, &err) == ERR_OK) {
        buf_reset(&client->file_token);
        buf_append_str(&client->file_token, str_trim(text));
    } else {
        log_warning(&scope, "cannot read the token file, going on with the last token", LOG_ERR(&err));
    }
    arena_done(&arena);
}

static struct str current_token(struct kube_client *client)
{
    if (str_is_empty(client->token_file)) {
        return client->token;
    }
    reread_token(client);
    return buf_view(&client->file_token);
}

void kube_client_saw_status(struct kube_client *client, int status)
{
    if (status == 401) {
        client->token_was_read = false;
    }
}

// --- requests --------------------------------------------------------------------------------------

struct http_exchange *kube_client_send(struct kube_client *client, const struct kube_request *request,
                                       const struct http_events *events, void *owner)
{
    struct arena arena = {0};
    struct http_head head = {0};
    struct str path = arena_format(&arena, "%.*s%.*s", STR_ARG(client->prefix), STR_ARG(request->path));
    http_head_init_request(&head, request->method, client->scheme, client->authority, path);
    (void)http_head_add(&head, STR("accept"), STR("application/json"));
    (void)http_head_add(&head, STR("user-agent"), arena_format(&arena, "isthmesh/%s", version_number));
    struct str token = current_token(client);
    if (!str_is_empty(token)) {
        (void)http_head_add(&head, STR("authorization"), arena_format(&arena, "Bearer %.*s", STR_ARG(token)));
    }
    bool has_body = !str_is_empty(request->body);
    if (has_body) {
        struct str type = str_is_empty(request->content_type) ? STR("application/json") : request->content_type;
        (void)http_head_add(&head, STR("content-type"), type);
        (void)http_head_add(&head, STR("content-length"), arena_format(&arena, "%zu", request->body.size));
    }
    struct http_exchange *exchange = http_request(client->http, &head, !has_body, events, owner);
    if (has_body) {
        http_send_data(exchange, request->body, true);
    }
    arena_done(&arena);
    return exchange;
}

// --- answers ---------------------------------------------------------------------------------------

enum err kube_status_err(int status, struct str reason)
{
    static const struct {
        int status;
        enum err code;
    } codes[] = {
        {401, ERR_DENIED},   {403, ERR_DENIED},  {404, ERR_NOT_FOUND},
        {409, ERR_CONFLICT}, {410, ERR_EXPIRED}, {429, ERR_LIMIT},
    };
    if (status >= 200 && status < 300) {
        return ERR_OK;
    }
    if (status == 409 && str_equal(reason, STR("AlreadyExists"))) {
        return ERR_EXISTS;
    }
    for (size_t i = 0; i < array_count(codes); i++) {
        if (codes[i].status == status) {
            return codes[i].code;
        }
    }
    return status >= 400 && status < 500 ? ERR_INVALID : ERR_UNREACHABLE;
}

bool kube_response_read(struct kube_response *response, struct str body)
{
    struct error err = {0};
    bool is_success = response->status >= 200 && response->status < 300;
    if (str_is_empty(body) || json_parse(response->arena, body, &response->value, &err) != ERR_OK) {
        // Proxies in between answer in HTML or plain text: show its beginning.
        struct str beginning = str_trim(str_sub(body, 0, 200));
        response->message = is_success ? arena_str(response->arena, str_of(err.message))
                                       : arena_format(response->arena, "HTTP status %d %.*s", response->status,
                                                      STR_ARG(beginning));
        return is_success && str_is_empty(body);
    }
    if (!is_success) {
        struct str message = json_get_str(response->value, "message");
        struct str reason = json_get_str(response->value, "reason");
        response->reason = reason.data == NULL ? STR_EMPTY : reason;
        response->message = str_is_empty(message) ? arena_format(response->arena, "HTTP status %d", response->status)
                                                  : message;
    }
    return true;
}

uint64_t kube_retry_after_ms(const struct http_head *head)
{
    uint64_t seconds = 0;
    if (!str_to_u64(http_head_get(head, STR("retry-after")), &seconds)) {
        return 0;
    }
    return (seconds > 600 ? 600 : seconds) * 1000;
}
