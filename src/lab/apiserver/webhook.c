// SPDX-License-Identifier: Apache-2.0
//
// Asking webhooks, one after the other. Each call is an AdmissionReview over a connection of its own.
//
//   next ──► dial ──► answer ──► apply patch ──► next … ──► done
//              │         └─ denied ──────────────────────► done (refused)
//              └─ no answer: failurePolicy Ignore ──► next, Fail ──► done (refused)
#include "base/base64.h"
#include "base/memory.h"
#include "base/random.h"
#include "lab/apiserver/patch.h"
#include "lab/apiserver/request.h"
#include "lab/apiserver/webhook.h"
#include "net/http.h"

#define TIMEOUT_S_MAX 30

struct webhook_run {
    struct request *request;
    enum webhook_phase phase;
    enum webhook_operation operation;
    void (*on_done)(struct request *request, bool allowed);
    const struct json_value *webhooks[WEBHOOKS_MAX];
    size_t count;
    size_t next;
    // Of the call under way:
    const struct json_value *webhook;
    struct webhook_target target;
    char uid[RANDOM_UUID_SIZE];
    struct http_client *client;
    struct http_exchange *exchange; // NULL: none
    struct loop_timer timeout;
    struct loop_task finish; // goes on when the exchange's callback has returned
    int status;
    bool is_complete;
    struct buf answer;
    struct str trouble; // why there is no usable answer; empty: there is one
};

static void run_next(struct webhook_run *run);

// --- the review ------------------------------------------------------------------------------------

static void set_group_kind(struct arena *arena, struct json_value *request, const char *name,
                           const struct kind *kind, const char *last, struct str value)
{
    struct json_value *identity = json_ensure_object(arena, request, name);
    json_set_str(arena, identity, "group", kind->group);
    json_set_str(arena, identity, "version", kind->version);
    json_set_str(arena, identity, last, value);
}

static void set_user(struct arena *arena, struct json_value *review, const struct user *user)
{
    struct json_value *info = json_ensure_object(arena, review, "userInfo");
    json_set_str(arena, info, "username", user->name);
    if (!str_is_empty(user->uid)) {
        json_set_str(arena, info, "uid", user->uid);
    }
    struct json_value *groups = json_ensure_array(arena, info, "groups");
    for (size_t i = 0; i < user->group_count; i++) {
        json_push(arena, groups, json_new_str(arena, user->groups[i]));
    }
    if (user->extra != NULL) {
        json_set(arena, info, STR("extra"), json_copy(arena, user->extra));
    }
}

static void set_object(struct arena *arena, struct json_value *review, const char *name,
                       const struct json_value *object)
{
    json_set(arena, review, str_of(name), object == NULL ? json_new_null(arena) : json_copy(arena, object));
}

static struct str make_review(struct webhook_run *run)
{
    struct request *request = run->request;
    struct arena *arena = &request->arena;
    static const char *const operations[] = {"CREATE", "UPDATE", "DELETE"};
    static const char *const options[] = {"CreateOptions", "UpdateOptions", "DeleteOptions"};
    struct json_value *body = json_new_object(arena);
    json_set_cstr(arena, body, "kind", "AdmissionReview");
    json_set_cstr(arena, body, "apiVersion", "admission.k8s.io/v1");
    struct json_value *review = json_ensure_object(arena, body, "request");
    json_set_cstr(arena, review, "uid", run->uid);
    set_group_kind(arena, review, "kind", request->kind, "kind", request->kind->kind);
    set_group_kind(arena, review, "resource", request->kind, "resource", request->kind->plural);
    set_group_kind(arena, review, "requestKind", request->kind, "kind", request->kind->kind);
    set_group_kind(arena, review, "requestResource", request->kind, "resource", request->kind->plural);
    if (!str_is_empty(request->path.subresource)) {
        json_set_str(arena, review, "subResource", request->path.subresource);
        json_set_str(arena, review, "requestSubResource", request->path.subresource);
    }
    json_set_str(arena, review, "name", request->write.name);
    if (kind_has(request->kind, KIND_NAMESPACED)) {
        json_set_str(arena, review, "namespace", request->path.ns);
    }
    json_set_cstr(arena, review, "operation", operations[run->operation]);
    set_user(arena, review, &request->user);
    set_object(arena, review, "object", run->operation == WEBHOOK_DELETE ? NULL : request->write.object);
    set_object(arena, review, "oldObject", request->write.old);
    json_set_bool(arena, review, "dryRun", request->write.dry_run);
    struct json_value *option = json_ensure_object(arena, review, "options");
    json_set_cstr(arena, option, "kind", options[run->operation]);
    json_set_cstr(arena, option, "apiVersion", "meta.k8s.io/v1");
    return json_to_str(arena, body);
}

// --- ends ------------------------------------------------------------------------------------------

static void call_done(struct webhook_run *run)
{
    loop_timer_stop(&run->timeout);
    loop_task_cancel(&run->finish);
    http_client_free(run->client);
    run->client = NULL;
    buf_reset(&run->answer);
    run->status = 0;
    run->is_complete = false;
    run->trouble = STR_EMPTY;
}

static void run_done(struct webhook_run *run, bool allowed)
{
    struct request *request = run->request;
    void (*on_done)(struct request *, bool) = run->on_done;
    call_done(run);
    buf_done(&run->answer);
    request->webhook_run = NULL;
    mem_free(run);
    on_done(request, allowed);
    request_release(request);
}

static void run_trouble(struct webhook_run *run, struct str why)
{
    struct request *request = run->request;
    struct str name = json_get_str(run->webhook, "name");
    call_done(run);
    if (str_equal(json_get_str(run->webhook, "failurePolicy"), STR("Ignore"))) {
        run_next(run);
        return;
    }
    (void)failure_set(&request->failure, &request->arena, 500, "InternalError",
                      "Internal error occurred: failed calling webhook \"%.*s\": failed to call webhook: Post "
                      "\"%.*s\": %.*s", STR_ARG(name), STR_ARG(run->target.url), STR_ARG(why));
    run_done(run, false);
}

static void run_denied(struct webhook_run *run, const struct json_value *response)
{
    struct request *request = run->request;
    const struct json_value *status = json_get(response, "status");
    int64_t code = json_get_int(status, "code", 403);
    struct str message = json_get_str(status, "message");
    struct str reason = json_get_str(status, "reason");
    message = str_is_empty(message) ? reason : message;
    (void)failure_set(&request->failure, &request->arena, code >= 400 && code < 600 ? (int)code : 403,
                      str_is_empty(reason) ? "Forbidden" : arena_strdup(&request->arena, reason),
                      "admission webhook \"%.*s\" denied the request%s%.*s",
                      STR_ARG(json_get_str(run->webhook, "name")),
                      str_is_empty(message) ? " without explanation" : ": ", STR_ARG(message));
    run_done(run, false);
}

// --- the answer ------------------------------------------------------------------------------------

static bool apply_patch(struct webhook_run *run, const struct json_value *response, struct str *ret_why)
{
    struct request *request = run->request;
    struct arena *arena = &request->arena;
    struct str encoded = json_get_str(response, "patch");
    if (run->phase != WEBHOOK_MUTATING || str_is_empty(encoded)) {
        return true;
    }
    struct str text;
    struct json_value *patch;
    struct error err = {0};
    if (!str_equal(json_get_str(response, "patchType"), STR("JSONPatch")) ||
        !base64_decode(arena, encoded, &text)) {
        *ret_why = STR("the patch is not a base64 JSONPatch");
        return false;
    }
    struct json_value *object = json_copy(arena, request->write.object);
    if (json_parse(arena, text, &patch, &err) != ERR_OK || json_patch_apply(arena, &object, patch, &err) != ERR_OK ||
        !json_is(object, JSON_OBJECT)) {
        *ret_why = arena_format(arena, "the patch does not apply: %s", err.message);
        return false;
    }
    request->write.object = object;
    return true;
}

static void take_answer(struct webhook_run *run)
{
    struct request *request = run->request;
    struct arena *arena = &request->arena;
    struct json_value *body;
    struct error err = {0};
    if (run->status < 200 || run->status > 299) {
        run_trouble(run, arena_format(arena, "an error on the server (%d)", run->status));
        return;
    }
    if (json_parse(arena, buf_view(&run->answer), &body, &err) != ERR_OK) {
        run_trouble(run, arena_format(arena, "the answer is not JSON: %s", err.message));
        return;
    }
    const struct json_value *response = json_get(body, "response");
    struct str uid = json_get_str(response, "uid");
    if (!str_equal(json_get_str(body, "kind"), STR("AdmissionReview")) || !str_equal_c(uid, run->uid)) {
        run_trouble(run, STR("the answer is not the AdmissionReview that was asked for"));
        return;
    }
    const struct json_value *warnings = json_get(response, "warnings");
    for (size_t i = 0; i < json_count(warnings); i++) {
        request_warn(request, "%.*s", STR_ARG(str_sub(json_str(json_at(warnings, i)), 0, 256)));
    }
    if (!json_get_bool(response, "allowed", false)) {
        run_denied(run, response);
        return;
    }
    struct str why;
    if (!apply_patch(run, response, &why)) {
        run_trouble(run, why);
        return;
    }
    call_done(run);
    run_next(run);
}

static void run_on_finish(struct loop_task *task)
{
    struct webhook_run *run = container_of(task, struct webhook_run, finish);
    if (run->is_complete && str_is_empty(run->trouble)) {
        take_answer(run);
    } else {
        run_trouble(run, str_is_empty(run->trouble) ? STR("the connection was closed early") : run->trouble);
    }
}

// --- the call --------------------------------------------------------------------------------------

static void call_on_head(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    (void)exchange;
    struct webhook_run *run = owner;
    run->status = head->status;
    run->is_complete = end;
}

static void call_on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)exchange;
    struct webhook_run *run = owner;
    if (run->answer.size + bytes.size > WEBHOOK_ANSWER_MAX) {
        run->trouble = STR("the answer is too large");
        return;
    }
    buf_append_str(&run->answer, bytes);
    run->is_complete = end;
}

static void call_on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    struct webhook_run *run = owner;
    run->exchange = NULL;
    if (err->code != ERR_OK && !run->is_complete && str_is_empty(run->trouble)) {
        run->trouble = arena_format(&run->request->arena, "%s", err->message);
    }
    loop_task_schedule(run->request->server->loop, &run->finish);
}

static const struct http_events call_events = {
    .on_head = call_on_head,
    .on_data = call_on_data,
    .on_close = call_on_close,
};

static void call_on_timeout(struct loop_timer *timer)
{
    struct webhook_run *run = container_of(timer, struct webhook_run, timeout);
    run->trouble = STR("context deadline exceeded");
    if (run->exchange != NULL) {
        http_cancel(run->exchange); // on_close follows
    }
}

static struct tls_context *make_tls(struct webhook_run *run, struct error *err)
{
    struct arena *arena = &run->request->arena;
    struct str bundle = STR_EMPTY;
    struct str encoded = json_get_str(json_get(run->webhook, "clientConfig"), "caBundle");
    if (!str_is_empty(encoded) && !base64_decode(arena, encoded, &bundle)) {
        (void)error_set(err, ERR_INVALID, "caBundle is not base64");
        return NULL;
    }
    struct tls_options options = {
        .role = TLS_CLIENT,
        .roots_pem = bundle,
        .peer = TLS_PEER_REQUIRED,
        .verify_host = true,
    };
    return tls_context_new(&options, err);
}

static void call_start(struct webhook_run *run)
{
    struct request *request = run->request;
    struct arena *arena = &request->arena;
    struct error err = {0};
    struct tls_context *tls = make_tls(run, &err);
    if (tls == NULL) {
        run_trouble(run, arena_format(arena, "%s", err.message));
        return;
    }
    struct http_client_options options = {
        .address = run->target.address,
        .tls = tls,
        .tls_server_name = run->target.server_name,
        .protocol = HTTP_PROTOCOL_1,
    };
    run->client = http_client_new(request->server->loop, &options);
    tls_context_unref(tls);
    random_uuid(run->uid);
    struct str body = make_review(run);
    struct http_head head;
    http_head_init_request(&head, STR("POST"), STR("https"), run->target.authority, run->target.path);
    (void)http_head_add(&head, STR("content-type"), STR("application/json"));
    (void)http_head_add(&head, STR("accept"), STR("application/json"));
    (void)http_head_add(&head, STR("user-agent"), STR("isthmesh-apiserver"));
    (void)http_head_add(&head, STR("content-length"), arena_format(arena, "%zu", body.size));
    int64_t seconds = json_get_int(run->webhook, "timeoutSeconds", 10);
    loop_timer_start(&run->timeout, (uint64_t)(seconds < 1 || seconds > TIMEOUT_S_MAX ? 10 : seconds) * 1000);
    run->exchange = http_request(run->client, &head, false, &call_events, run);
    http_send_data(run->exchange, body, true);
}

static void run_next(struct webhook_run *run)
{
    if (run->next == run->count) {
        run_done(run, true);
        return;
    }
    run->webhook = run->webhooks[run->next++];
    struct str why;
    if (!webhook_find_target(run->request->server, &run->request->arena, run->webhook, &run->target, &why)) {
        run_trouble(run, why);
        return;
    }
    call_start(run);
}

void webhooks_run(struct request *request, enum webhook_phase phase, enum webhook_operation operation,
                  void (*on_done)(struct request *request, bool allowed))
{
    struct webhook_run *run = mem_new(struct webhook_run);
    run->count = webhooks_match(request, phase, operation,
                                operation == WEBHOOK_DELETE ? NULL : request->write.object, request->write.old,
                                run->webhooks);
    if (run->count == 0) {
        mem_free(run);
        on_done(request, true);
        return;
    }
    run->request = request;
    run->phase = phase;
    run->operation = operation;
    run->on_done = on_done;
    loop_timer_init(&run->timeout, request->server->loop, call_on_timeout);
    loop_task_init(&run->finish, run_on_finish);
    request->webhook_run = run;
    request_hold(request);
    run_next(run);
}

void webhooks_abort(struct request *request)
{
    struct webhook_run *run = request->webhook_run;
    if (run == NULL) {
        return;
    }
    if (run->exchange != NULL) {
        http_set_events(run->exchange, NULL, NULL);
    }
    call_done(run);
    buf_done(&run->answer);
    mem_free(run);
    request->webhook_run = NULL;
}
