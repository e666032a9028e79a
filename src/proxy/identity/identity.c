// SPDX-License-Identifier: Apache-2.0
#include "proxy/identity/identity.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "codec/pb/pb.h"
#include "codec/x509/x509.h"
#include "istio/v1/auth/ca.pb-c.h"
#include "net/grpc.h"

static struct log_scope scope = LOG_SCOPE("identity");

#define CREATE_PATH "/istio.v1.auth.IstioCertificateService/CreateCertificate"
#define ROOTS_MAX (1024u * 1024)

struct identity {
    struct loop *loop;
    struct arena arena; // of the options
    struct identity_options options;
    identity_fn *on_identity;
    void *owner;
    struct random random;
    struct loop_timer timer; // next ask
    uint64_t retry_ms;
    int64_t not_after;
    char last_error[ERROR_MESSAGE_SIZE];

    // the call under way
    struct http_client *client;
    struct grpc_call *call;
    struct arena call_arena;
    struct str key_pem;
    struct str answer; // bytes of the response
    struct loop_task finished; // frees the client outside of its own callbacks
};

static void on_timer(struct loop_timer *timer);
static void on_finished(struct loop_task *task);

struct identity *identity_new(struct loop *loop, const struct identity_options *options, identity_fn *on_identity, void *owner)
{
    struct identity *identity = mem_new(struct identity);
    struct arena *arena = &identity->arena;
    identity->loop = loop;
    identity->options = *options;
    identity->options.ca_host = arena_str(arena, options->ca_host);
    identity->options.roots_path = arena_str(arena, options->roots_path);
    identity->options.token_path = arena_str(arena, options->token_path);
    identity->options.cluster_id = arena_str(arena, options->cluster_id);
    identity->options.spiffe_id = arena_str(arena, options->spiffe_id);
    identity->options.server_name = arena_str(arena, options->server_name.size > 0 ? options->server_name : options->ca_host);
    identity->on_identity = on_identity;
    identity->owner = owner;
    identity->retry_ms = IDENTITY_RETRY_MIN_MS;
    random_init_from_kernel(&identity->random);
    loop_timer_init(&identity->timer, loop, on_timer);
    loop_task_init(&identity->finished, on_finished);
    loop_timer_start(&identity->timer, 0);
    return identity;
}

static void drop_call(struct identity *identity)
{
    if (identity->client != NULL) {
        http_client_free(identity->client);
        identity->client = NULL;
    }
    identity->call = NULL;
    if (identity->key_pem.size > 0) {
        mem_wipe((void *)(uintptr_t)identity->key_pem.data, identity->key_pem.size);
    }
    identity->key_pem = STR_EMPTY;
    arena_done(&identity->call_arena);
    identity->call_arena = (struct arena){0};
    identity->answer = STR_EMPTY;
}

void identity_free(struct identity *identity)
{
    if (identity == NULL) {
        return;
    }
    loop_timer_stop(&identity->timer);
    if (identity->call != NULL) {
        grpc_set_events(identity->call, NULL, NULL);
    }
    drop_call(identity);
    loop_task_cancel(&identity->finished);
    arena_done(&identity->arena);
    mem_free(identity);
}

int64_t identity_not_after(const struct identity *identity)
{
    return identity->not_after;
}

struct str identity_last_error(const struct identity *identity)
{
    return str_of(identity->last_error);
}

// --- outcome -------------------------------------------------------------------------------------------

// Full jitter on an interval that doubles.
static void failed(struct identity *identity, const struct error *err)
{
    memcpy(identity->last_error, err->message, sizeof(identity->last_error));
    uint64_t wait = identity->retry_ms / 2 + random_below(&identity->random, identity->retry_ms / 2 + 1);
    log_warning(&scope, "no certificate from the CA, trying again", LOG_ERR(err), LOG_U64("wait_ms", wait));
    identity->retry_ms = identity->retry_ms * 2 > IDENTITY_RETRY_MAX_MS ? IDENTITY_RETRY_MAX_MS : identity->retry_ms * 2;
    loop_timer_start(&identity->timer, wait);
}

// Leaf first, then what leads to the root; the last element is the trusted roots.
static enum err take_answer(struct identity *identity, struct error *err)
{
    struct arena *arena = &identity->call_arena;
    const Istio__V1__Auth__IstioCertificateResponse *response =
        pb_unpack(arena, &istio__v1__auth__istio_certificate_response__descriptor, identity->answer, err);
    if (response == NULL) {
        return ERR_PROTOCOL;
    }
    if (response->n_cert_chain < 2) {
        return error_set(err, ERR_PROTOCOL, "the CA answered %zu certificates, at least leaf and root are needed", response->n_cert_chain);
    }
    struct buf chain = {0};
    for (size_t i = 0; i < response->n_cert_chain; i++) {
        struct str part = str_of(response->cert_chain[i]);
        buf_append_str(&chain, part);
        if (part.size > 0 && part.data[part.size - 1] != '\n') {
            buf_append_char(&chain, '\n');
        }
    }
    struct x509_certificate *leaf = x509_certificate_parse(buf_view(&chain), err);
    if (leaf == NULL) {
        buf_done(&chain);
        return ERR_PROTOCOL;
    }
    identity->not_after = x509_certificate_not_after(leaf);
    x509_certificate_free(leaf);
    identity->on_identity(identity->owner, buf_view(&chain), identity->key_pem, str_of(response->cert_chain[response->n_cert_chain - 1]));
    buf_done(&chain);
    return ERR_OK;
}

static void schedule_renewal(struct identity *identity)
{
    int64_t now = (int64_t)(loop_wall_ms(identity->loop) / 1000);
    int64_t life = identity->not_after - now;
    uint64_t wait = life <= 0 ? IDENTITY_RENEW_MIN_MS : (uint64_t)life * 1000 / 2;
    wait = wait < IDENTITY_RENEW_MIN_MS ? IDENTITY_RENEW_MIN_MS : wait;
    identity->retry_ms = IDENTITY_RETRY_MIN_MS;
    identity->last_error[0] = 0;
    log_info(&scope, "certificate received", LOG_STR("identity", identity->options.spiffe_id), LOG_I64("life_s", life));
    loop_timer_start(&identity->timer, wait);
}

static void on_message(void *owner, struct grpc_call *call, struct str message)
{
    struct identity *identity = owner;
    (void)call;
    identity->answer = arena_str(&identity->call_arena, message);
}

static void on_half_close(void *owner, struct grpc_call *call)
{
    (void)owner; // servers only
    (void)call;
}

static void on_close(void *owner, struct grpc_call *call, enum grpc_status status, struct str message)
{
    struct identity *identity = owner;
    struct error err = {0};
    (void)call;
    identity->call = NULL;
    if (status != GRPC_OK) {
        (void)error_set(&err, ERR_UNREACHABLE, "CreateCertificate at %s:%u: %s: %.*s", identity->options.ca_host.data,
                        (unsigned)identity->options.ca_port, grpc_status_name(status), STR_ARG(message));
        failed(identity, &err);
    } else if (take_answer(identity, &err) != ERR_OK) {
        failed(identity, &err);
    } else {
        schedule_renewal(identity);
    }
    loop_task_schedule(identity->loop, &identity->finished);
}

static void on_finished(struct loop_task *task)
{
    struct identity *identity = container_of(task, struct identity, finished);
    if (identity->call == NULL) {
        drop_call(identity);
    }
}

static const struct grpc_events call_events = {
    .on_message = on_message,
    .on_half_close = on_half_close,
    .on_close = on_close,
};

// --- asking --------------------------------------------------------------------------------------------

static enum err make_client(struct identity *identity, struct error *err)
{
    struct http_client_options options = {
        .host = identity->options.ca_host,
        .port = identity->options.ca_port,
        .tls_server_name = identity->options.server_name,
        .protocol = HTTP_PROTOCOL_2,
    };
    struct tls_context *context = NULL;
    if (!identity->options.plaintext) {
        struct str roots;
        enum err result = file_read(&identity->call_arena, identity->options.roots_path.data, ROOTS_MAX, &roots, err);
        if (result != ERR_OK) {
            return result;
        }
        static const struct str alpn = {.data = "h2", .size = 2};
        const struct tls_options tls = {.role = TLS_CLIENT, .roots_pem = roots, .peer = TLS_PEER_REQUIRED, .verify_host = true,
                                        .alpn = &alpn, .alpn_count = 1};
        context = tls_context_new(&tls, err);
        if (context == NULL) {
            return ERR_TLS;
        }
        options.tls = context;
    }
    identity->client = http_client_new(identity->loop, &options);
    tls_context_unref(context);
    return ERR_OK;
}

static enum err make_request(struct identity *identity, struct str *ret_message, struct error *err)
{
    struct arena *arena = &identity->call_arena;
    struct x509_key *key = x509_key_generate(X509_KEY_P256, err);
    if (key == NULL) {
        return ERR_INTERNAL;
    }
    const struct x509_san san = x509_san_of(identity->options.spiffe_id);
    const struct x509_subject subject = {0};
    struct str csr;
    enum err result = x509_request_make(arena, key, &subject, &san, identity->options.spiffe_id.size > 0 ? 1 : 0, &csr, err);
    identity->key_pem = x509_key_pem(arena, key);
    x509_key_free(key);
    if (result != ERR_OK) {
        return result;
    }
    Istio__V1__Auth__IstioCertificateRequest *request = pb_new(arena, &istio__v1__auth__istio_certificate_request__descriptor);
    request->csr = pb_text(arena, csr);
    request->validity_duration = IDENTITY_TTL_S;
    *ret_message = pb_pack_str(arena, request);
    return ERR_OK;
}

static enum err ask(struct identity *identity, struct error *err)
{
    struct arena *arena = &identity->call_arena;
    struct str token;
    struct str message;
    enum err result = file_read(arena, identity->options.token_path.data, IDENTITY_TOKEN_MAX, &token, err);
    if (result == ERR_OK) {
        result = make_client(identity, err);
    }
    if (result == ERR_OK) {
        result = make_request(identity, &message, err);
    }
    if (result != ERR_OK) {
        return result;
    }
    const struct http_header metadata[] = {
        {STR("authorization"), arena_format(arena, "Bearer %.*s", STR_ARG(str_trim(token)))},
        {STR("clusterid"), identity->options.cluster_id},
    };
    const struct grpc_call_options options = {
        .authority = arena_format(arena, "%.*s:%u", STR_ARG(identity->options.server_name), (unsigned)identity->options.ca_port),
        .metadata = metadata,
        .metadata_count = array_count(metadata),
        .timeout_ms = IDENTITY_CALL_TIMEOUT_MS,
    };
    identity->call = grpc_start(identity->client, CREATE_PATH, &options, &call_events, identity);
    grpc_send(identity->call, message);
    grpc_half_close(identity->call);
    return ERR_OK;
}

static void on_timer(struct loop_timer *timer)
{
    struct identity *identity = container_of(timer, struct identity, timer);
    struct error err = {0};
    drop_call(identity);
    if (ask(identity, &err) != ERR_OK) {
        drop_call(identity);
        failed(identity, &err);
    }
}
