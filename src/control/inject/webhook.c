// SPDX-License-Identifier: Apache-2.0
#include "control/inject/webhook.h"

#include "base/base64.h"
#include "base/log.h"
#include "base/memory.h"

static struct log_scope scope = LOG_SCOPE("inject");

struct webhook {
    struct http_server *server;
    struct arena arena; // options
    struct inject_options options;
    struct metric *requests;
    struct metric *injected;
    struct metric *failed;
};

struct request {
    struct webhook *webhook;
    struct buf body;
    bool is_answered;
};

// --- reviewing -------------------------------------------------------------------------------------------

static enum err read_review(struct arena *arena, struct str body, struct json_value **ret_review,
                            struct error *err)
{
    struct json_value *review = NULL;
    enum err code = json_parse(arena, body, &review, err);
    if (code != ERR_OK) {
        return code;
    }
    struct str version = json_get_str(review, "apiVersion");
    bool is_known = str_equal(version, STR("admission.k8s.io/v1")) ||
                    str_equal(version, STR("admission.k8s.io/v1beta1"));
    if (!is_known || !str_equal(json_get_str(review, "kind"), STR("AdmissionReview"))) {
        return error_set(err, ERR_INVALID, "not an AdmissionReview of admission.k8s.io/v1 or v1beta1");
    }
    if (str_is_empty(json_str(json_path(review, "request", "uid", NULL)))) {
        return error_set(err, ERR_INVALID, "the review has no request.uid");
    }
    *ret_review = review;
    return ERR_OK;
}

static void add_patch(struct arena *arena, struct json_value *response, const struct json_value *pod,
                      const struct json_value *injected)
{
    struct str patch = json_to_str(arena, json_patch_diff(arena, pod, injected));
    json_set_cstr(arena, response, "patchType", "JSONPatch");
    json_set_str(arena, response, "patch", base64_encode(arena, patch));
}

static void add_refusal(struct arena *arena, struct json_value *response, const struct error *err)
{
    struct json_value *status = json_ensure_object(arena, response, "status");
    json_set_cstr(arena, status, "message", err->message);
    json_set_int(arena, status, "code", err_http_status(err->code));
}

enum err webhook_review(struct arena *arena, struct str body, const struct inject_options *options,
                        struct json_value **ret_answer, enum inject_verdict *ret_verdict,
                        struct error *err)
{
    struct json_value *review = NULL;
    enum err code = read_review(arena, body, &review, err);
    if (code != ERR_OK) {
        return code;
    }
    const struct json_value *request = json_get(review, "request");
    const struct json_value *pod = json_get(request, "object");
    struct json_value *answer = json_new_object(arena);
    json_set_str(arena, answer, "apiVersion", json_get_str(review, "apiVersion"));
    json_set_cstr(arena, answer, "kind", "AdmissionReview");
    struct json_value *response = json_ensure_object(arena, answer, "response");
    json_set_str(arena, response, "uid", json_get_str(request, "uid"));
    struct str ns = json_get_str(request, "namespace");
    enum inject_verdict verdict = inject_decide(pod, ns);
    struct error refusal = {0};
    struct json_value *injected = NULL;
    bool is_allowed = verdict != INJECT_YES ||
                      inject_apply(arena, pod, ns, options, &injected, &refusal) == ERR_OK;
    json_set_bool(arena, response, "allowed", is_allowed);
    if (injected != NULL) {
        add_patch(arena, response, pod, injected);
    } else if (!is_allowed) {
        add_refusal(arena, response, &refusal);
    }
    *ret_answer = answer;
    *ret_verdict = verdict;
    return ERR_OK;
}

// --- serving -----------------------------------------------------------------------------------------------

static void answer_text(struct request *request, struct http_exchange *exchange, int status, const char *text)
{
    request->is_answered = true;
    metric_add(request->webhook->failed, 1);
    http_respond(exchange, status, STR("text/plain"), str_of(text));
}

static void answer_review(struct request *request, struct http_exchange *exchange)
{
    struct webhook *webhook = request->webhook;
    struct arena arena = {0};
    struct error err = {0};
    struct json_value *answer;
    enum inject_verdict verdict;
    if (request->body.size == 0) {
        answer_text(request, exchange, 400, "no body found\n");
    } else if (webhook_review(&arena, buf_view(&request->body), &webhook->options, &answer, &verdict,
                              &err) != ERR_OK) {
        log_warning(&scope, "review refused", LOG_ERR(&err));
        answer_text(request, exchange, 400, err.message);
    } else {
        const struct json_value *response = json_get(answer, "response");
        bool is_allowed = json_get_bool(response, "allowed", false);
        struct str message = json_str(json_path(response, "status", "message", NULL));
        if (!is_allowed) {
            metric_add(webhook->failed, 1);
        } else if (verdict == INJECT_YES) {
            metric_add(webhook->injected, 1);
        }
        log_info(&scope, "pod reviewed", LOG_CSTR("verdict", inject_verdict_text(verdict)),
                 LOG_BOOL("allowed", is_allowed), LOG_STR("message", message));
        request->is_answered = true;
        http_respond(exchange, 200, STR("application/json"), json_to_str(&arena, answer));
    }
    arena_done(&arena);
}

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    struct request *request = owner;
    if (request->is_answered) {
        return;
    }
    if (request->body.size + bytes.size > WEBHOOK_BODY_MAX) {
        answer_text(request, exchange, 413, "the review is too large\n");
        return;
    }
    buf_append_str(&request->body, bytes);
    if (end) {
        answer_review(request, exchange);
    }
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    struct request *request = owner;
    (void)exchange;
    (void)err;
    buf_done(&request->body);
    mem_free(request);
}

static const struct http_events request_events = {.on_data = on_data, .on_close = on_close};

static bool is_inject_path(struct str path)
{
    ptrdiff_t query = str_find_char(path, '?');
    path = query < 0 ? path : str_sub(path, 0, (size_t)query);
    return str_equal(path, STR(WEBHOOK_PATH)) || str_starts_with(path, STR(WEBHOOK_PATH "/"));
}

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct webhook *webhook = owner;
    struct request *request = mem_new(struct request);
    request->webhook = webhook;
    http_set_events(exchange, &request_events, request);
    metric_add(webhook->requests, 1);
    struct str type = http_head_get(head, STR("content-type"));
    if (!is_inject_path(head->path)) {
        answer_text(request, exchange, 404, "only " WEBHOOK_PATH " is served here\n");
    } else if (!str_equal(head->method, STR("POST"))) {
        answer_text(request, exchange, 405, "only POST\n");
    } else if (!str_starts_with(type, STR("application/json"))) {
        answer_text(request, exchange, 415, "invalid Content-Type, expect `application/json`\n");
    } else if (end) {
        answer_review(request, exchange);
    }
}

// --- life ----------------------------------------------------------------------------------------------------

void webhook_set_options(struct webhook *webhook, const struct inject_options *options)
{
    struct arena arena = {0};
    webhook->options = (struct inject_options){
        .image = arena_str(&arena, options->image),
        .cluster = arena_str(&arena, options->cluster),
        .network = arena_str(&arena, options->network),
        .mesh_id = arena_str(&arena, options->mesh_id),
        .trust_domain = arena_str(&arena, options->trust_domain),
        .domain = arena_str(&arena, options->domain),
        .revision = arena_str(&arena, options->revision),
        .discovery_address = arena_str(&arena, options->discovery_address),
    };
    arena_done(&webhook->arena);
    webhook->arena = arena;
}

struct webhook *webhook_new(struct loop *loop, const struct inject_options *options, struct metrics *metrics)
{
    struct webhook *webhook = mem_new(struct webhook);
    struct http_server_options server = {
        .metrics = metrics, .metric_prefix = "isthmesh_webhook", .http2 = true};
    webhook_set_options(webhook, options);
    webhook->requests = metrics_counter(metrics, "sidecar_injection_requests_total",
                                        "Reviews asked for.", NULL);
    webhook->injected = metrics_counter(metrics, "sidecar_injection_success_total",
                                        "Pods given a proxy.", NULL);
    webhook->failed = metrics_counter(metrics, "sidecar_injection_failure_total",
                                      "Reviews answered with an error.", NULL);
    webhook->server = http_server_new(loop, &server, on_request, webhook);
    return webhook;
}

void webhook_listen(struct webhook *webhook, int fd, struct tls_context *tls)
{
    http_server_listen(webhook->server, fd, tls);
}

void webhook_set_tls(struct webhook *webhook, struct tls_context *tls)
{
    http_server_set_tls(webhook->server, tls);
}

void webhook_free(struct webhook *webhook)
{
    if (webhook != NULL) {
        http_server_free(webhook->server);
        arena_done(&webhook->arena);
        mem_free(webhook);
    }
}
