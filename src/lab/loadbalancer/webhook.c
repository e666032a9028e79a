// SPDX-License-Identifier: Apache-2.0
#include "lab/loadbalancer/webhook.h"

#include "base/base64.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/vec.h"
#include "codec/x509/x509.h"
#include "lab/loadbalancer/loadbalancer.h"
#include "lab/loadbalancer/pool.h"
#include "lab/loadbalancer/review.h"
#include "net/http.h"

#define YEARS_VALID 10
#define SECONDS_PER_YEAR (365 * 24 * 3600)
#define CLOCK_SKEW_S 300

static struct log_scope scope = LOG_SCOPE("loadbalancer");

// The names of two generations of the manifest.
const struct str loadbalancer_webhook_services[2] = {{"webhook-service", 15}, {"metallb-webhook-service", 23}};

struct loadbalancer_webhook {
    struct kube_client *client;
    struct http_server *server;
    struct informer *configurations;
    struct informer *(*pools)(void *owner);
    void *owner;
    struct arena arena;
    struct str bundle; // our certificate, PEM in base64
    struct address address;
    struct list calls;
};

// --- one review ------------------------------------------------------------------------------------

struct call {
    struct list node;
    struct loadbalancer_webhook *webhook;
    struct http_exchange *exchange;
    struct buf body;
    bool is_too_large;
};

static void call_free(struct call *call)
{
    list_remove(&call->node);
    buf_done(&call->body);
    mem_free(call);
}

static void answer(struct call *call, struct http_exchange *exchange)
{
    struct arena arena = {0};
    VEC(const struct json_value *) pools = {0};
    const struct informer *informer = call->webhook->pools(call->webhook->owner);
    size_t at = 0;
    for (struct kube_object *object; informer != NULL && (object = informer_each(informer, &at)) != NULL;) {
        vec_push(&pools, object->value);
    }
    struct str text;
    if (call->is_too_large) {
        http_respond(exchange, 413, STR("text/plain"), STR("the review is too large\n"));
    } else if (!review_answer(&arena, buf_view(&call->body), pools.items, pools.count, &text)) {
        http_respond(exchange, 400, STR("text/plain"), STR("not an AdmissionReview\n"));
    } else {
        http_respond(exchange, 200, STR("application/json"), text);
    }
    vec_done(&pools);
    arena_done(&arena);
}

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    struct call *call = owner;
    if (call->body.size + bytes.size > REVIEW_BODY_MAX) {
        call->is_too_large = true;
    } else {
        buf_append_str(&call->body, bytes);
    }
    if (end || call->is_too_large) {
        answer(call, exchange);
        http_set_events(exchange, NULL, NULL);
        call_free(call);
    }
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    (void)err;
    call_free(owner);
}

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    static const struct http_events events = {.on_data = on_data, .on_close = on_close};
    struct loadbalancer_webhook *webhook = owner;
    if (end || !str_equal(head->method, STR("POST"))) {
        http_set_events(exchange, NULL, NULL);
        http_respond(exchange, 405, STR("text/plain"), STR("reviews are posted\n"));
        return;
    }
    struct call *call = mem_new(struct call);
    call->webhook = webhook;
    call->exchange = exchange;
    list_init(&call->node);
    list_append(&webhook->calls, &call->node);
    http_set_events(exchange, &events, call);
}

// --- the root in the configurations ----------------------------------------------------------------

static bool is_ours(const struct json_value *hook)
{
    const struct json_value *service = json_path(hook, "clientConfig", "service", NULL);
    struct str name = json_get_str(service, "name");
    return str_equal(json_get_str(service, "namespace"), STR(POOL_NAMESPACE)) &&
           (str_equal(name, loadbalancer_webhook_services[0]) || str_equal(name, loadbalancer_webhook_services[1]));
}

static void add_step(struct arena *arena, struct json_value *patch, const char *operation, struct str path,
                     struct str value)
{
    struct json_value *step = json_new_object(arena);
    json_set_cstr(arena, step, "op", operation);
    json_set_str(arena, step, "path", path);
    json_set_str(arena, step, "value", value);
    json_push(arena, patch, step);
}

// A failure is repaired by the next change of the object; a conflict means that it has come already.
static void on_patched(void *owner, enum err code, const struct kube_response *response)
{
    (void)owner;
    if (code != ERR_OK && code != ERR_CLOSED) {
        log_warning(&scope, "a webhook configuration did not take our root, pools cannot be written until it does",
                    LOG_STR("error", response->message));
    }
}

static void on_configuration(void *owner, struct informer *informer, struct kube_object *old, struct kube_object *fresh)
{
    (void)informer;
    (void)old;
    struct loadbalancer_webhook *webhook = owner;
    struct arena arena = {0};
    struct json_value *patch = json_new_array(&arena);
    const struct json_value *hooks = fresh == NULL ? NULL : json_get(fresh->value, "webhooks");
    for (size_t i = 0; i < json_count(hooks); i++) {
        const struct json_value *hook = json_at(hooks, i);
        if (is_ours(hook) && !str_equal(json_str(json_path(hook, "clientConfig", "caBundle", NULL)), webhook->bundle)) {
            if (json_count(patch) == 0) {
                add_step(&arena, patch, "test", STR("/metadata/resourceVersion"), fresh->resource_version);
            }
            add_step(&arena, patch, "add", arena_format(&arena, "/webhooks/%zu/clientConfig/caBundle", i), webhook->bundle);
        }
    }
    if (json_count(patch) > 0) {
        (void)kube_patch(webhook->client, &kube_validating_webhooks, STR_EMPTY, fresh->name, STR_EMPTY,
                         STR("application/json-patch+json"), patch, on_patched, NULL);
    }
    arena_done(&arena);
}

// --- life ------------------------------------------------------------------------------------------

static struct x509_certificate *make_certificate(struct loadbalancer_webhook *webhook, const struct x509_key *key,
                                                 struct error *err)
{
    struct x509_san sans[array_count(loadbalancer_webhook_services)];
    int64_t now = (int64_t)(loop_wall_ms(kube_client_loop(webhook->client)) / 1000);
    for (size_t i = 0; i < array_count(sans); i++) {
        sans[i] = x509_san_of(arena_format(&webhook->arena, "%.*s." POOL_NAMESPACE ".svc",
                                           STR_ARG(loadbalancer_webhook_services[i])));
    }
    struct x509_template wanted = {
        .subject = {.common_name = STR("metallb-webhook")},
        .sans = sans,
        .san_count = array_count(sans),
        .not_before = now - CLOCK_SKEW_S,
        .not_after = now + (int64_t)YEARS_VALID * SECONDS_PER_YEAR,
        .is_ca = true,
        .path_length = 0,
        .usage = X509_USAGE_DIGITAL_SIGNATURE | X509_USAGE_CERT_SIGN | X509_USAGE_SERVER_AUTH,
    };
    return x509_issue(&wanted, key, NULL, key, err);
}

static struct tls_context *make_tls(struct loadbalancer_webhook *webhook, struct error *err)
{
    struct tls_context *tls = NULL;
    struct x509_key *key = x509_key_generate(X509_KEY_P256, err);
    struct x509_certificate *certificate = key == NULL ? NULL : make_certificate(webhook, key, err);
    if (certificate != NULL) {
        struct str pem = x509_certificate_pem(&webhook->arena, certificate);
        struct tls_options options = {.role = TLS_SERVER, .certificate_pem = pem, .key_pem = x509_key_pem(&webhook->arena, key)};
        webhook->bundle = base64_encode(&webhook->arena, pem);
        tls = tls_context_new(&options, err);
    }
    x509_certificate_free(certificate);
    x509_key_free(key);
    return tls;
}

static enum err start_server(struct loadbalancer_webhook *webhook, struct str ip, struct error *err)
{
    struct http_server_options options = {.limits = {.connections_max = 256, .body_timeout_ms = 10000}};
    struct listen_options listen_options = {0};
    int fd;
    enum err code = address_from_ip(ip, WEBHOOK_PORT, &webhook->address, err);
    struct tls_context *tls = code == ERR_OK ? make_tls(webhook, err) : NULL;
    if (tls == NULL) {
        return code == ERR_OK ? err->code : code;
    }
    code = address_listen(&webhook->address, &listen_options, &fd, err);
    if (code == ERR_OK) {
        webhook->server = http_server_new(kube_client_loop(webhook->client), &options, on_request, webhook);
        http_server_listen(webhook->server, fd, tls);
    }
    tls_context_unref(tls);
    return code;
}

struct loadbalancer_webhook *loadbalancer_webhook_new(struct kube_client *client, struct str ip,
                                                      struct informer *(*pools)(void *owner), void *owner,
                                                      struct error *err)
{
    static const struct informer_events events = {.on_change = on_configuration};
    struct informer_options options = {.resource = &kube_validating_webhooks};
    struct loadbalancer_webhook *webhook = mem_new(struct loadbalancer_webhook);
    webhook->client = client;
    webhook->pools = pools;
    webhook->owner = owner;
    list_init(&webhook->calls);
    if (start_server(webhook, ip, err) != ERR_OK) {
        error_prefix(err, "webhooks of the load balancer");
        loadbalancer_webhook_free(webhook);
        return NULL;
    }
    webhook->configurations = informer_new(client, &options, &events, webhook);
    return webhook;
}

void loadbalancer_webhook_free(struct loadbalancer_webhook *webhook)
{
    if (webhook == NULL) {
        return;
    }
    if (webhook->configurations != NULL) {
        informer_free(webhook->configurations);
    }
    list_each(&webhook->calls, node)
    {
        struct call *call = container_of(node, struct call, node);
        http_set_events(call->exchange, NULL, NULL);
        call_free(call);
    }
    http_server_free(webhook->server);
    arena_done(&webhook->arena);
    mem_free(webhook);
}

const struct address *loadbalancer_webhook_own_address(const struct loadbalancer_webhook *webhook)
{
    return &webhook->address;
}
