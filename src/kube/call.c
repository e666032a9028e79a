// SPDX-License-Identifier: Apache-2.0
//
// call: one request and its whole answer.
#include "kube/client_internal.h"

#include "base/assert.h"
#include "base/memory.h"

struct kube_call {
    struct list node;
    struct kube_client *client;
    struct http_exchange *exchange;
    struct loop_timer timer;
    struct arena arena;
    struct buf body;
    struct kube_response response;
    kube_done_fn *on_done;
    void *owner;
    bool complete; // the answer's end was seen
    bool too_large;
    bool finishing;
};

struct kube_call *kube_call_of(struct list *node)
{
    return container_of(node, struct kube_call, node);
}

static void call_free(struct kube_call *call)
{
    loop_timer_stop(&call->timer);
    list_remove(&call->node);
    buf_done(&call->body);
    arena_done(&call->arena);
    mem_free(call);
}

// Leaves the exchange to itself: it reports to nobody any more.
static void drop_exchange(struct kube_call *call)
{
    if (call->exchange != NULL) {
        http_set_events(call->exchange, NULL, NULL);
        http_cancel(call->exchange);
        call->exchange = NULL;
    }
}

static void finish(struct kube_call *call, enum err code)
{
    call->finishing = true;
    list_remove(&call->node); // the client may go in on_done
    loop_timer_stop(&call->timer);
    drop_exchange(call);
    if (call->on_done != NULL) {
        call->on_done(call->owner, code, &call->response);
    }
    call_free(call);
}

static void fail(struct kube_call *call, enum err code, struct str why)
{
    call->response.status = 0;
    call->response.value = NULL;
    call->response.message = arena_str(&call->arena, why);
    finish(call, code);
}

void kube_call_close(struct kube_call *call, struct str why)
{
    fail(call, ERR_CLOSED, why);
}

static void finish_answer(struct kube_call *call)
{
    bool is_usable = kube_response_read(&call->response, buf_view(&call->body));
    enum err code = kube_status_err(call->response.status, call->response.reason);
    finish(call, code == ERR_OK && !is_usable ? ERR_PROTOCOL : code);
}

// --- events of the exchange ------------------------------------------------------------------------

static void on_head(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    (void)exchange;
    struct kube_call *call = owner;
    call->response.status = head->status;
    call->response.retry_after_ms = kube_retry_after_ms(head);
    call->complete = end;
    kube_client_saw_status(call->client, head->status);
}

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    struct kube_call *call = owner;
    if (call->body.size + bytes.size > KUBE_BODY_MAX) {
        call->too_large = true;
        http_cancel(exchange);
        return;
    }
    buf_append_str(&call->body, bytes);
    call->complete = end;
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    struct kube_call *call = owner;
    call->exchange = NULL;
    if (call->too_large) {
        fail(call, ERR_LIMIT, STR("the answer is larger than 64 MiB"));
    } else if (call->complete) {
        finish_answer(call); // even when the server stopped reading our body early
    } else {
        fail(call, err->code == ERR_OK ? ERR_CLOSED : err->code, str_of(err->message));
    }
}

static const struct http_events call_events = {.on_head = on_head, .on_data = on_data, .on_close = on_close};

static void on_timeout(struct loop_timer *timer)
{
    fail(container_of(timer, struct kube_call, timer), ERR_TIMEOUT, STR("no answer in time"));
}

// --- public ----------------------------------------------------------------------------------------

struct kube_call *kube_request(struct kube_client *client, const struct kube_request *request,
                               kube_done_fn *on_done, void *owner)
{
    struct kube_call *call = mem_new(struct kube_call);
    call->client = client;
    call->on_done = on_done;
    call->owner = owner;
    call->response.arena = &call->arena;
    call->response.reason = STR_EMPTY;
    call->response.message = STR_EMPTY;
    list_init(&call->node);
    list_append(&client->calls, &call->node);
    loop_timer_init(&call->timer, client->loop, on_timeout);
    loop_timer_start(&call->timer, request->timeout_ms == 0 ? KUBE_TIMEOUT_MS : request->timeout_ms);
    call->exchange = kube_client_send(client, request, &call_events, call);
    return call;
}

void kube_call_cancel(struct kube_call *call)
{
    if (call == NULL || NEVER(call->finishing)) {
        return;
    }
    drop_exchange(call);
    call_free(call);
}

// --- shorthands ------------------------------------------------------------------------------------

struct kube_call *kube_get(struct kube_client *client, const struct kube_resource *resource, struct str ns,
                           struct str name, kube_done_fn *on_done, void *owner)
{
    struct arena arena = {0};
    struct kube_request request = {.method = STR("GET"), .path = kube_path(&arena, resource, ns, name)};
    struct kube_call *call = kube_request(client, &request, on_done, owner);
    arena_done(&arena);
    return call;
}

static struct kube_call *send_object(struct kube_client *client, struct kube_request *request,
                                     const struct json_value *object, kube_done_fn *on_done, void *owner)
{
    struct buf body = {0};
    json_write(object, &body);
    request->body = buf_view(&body);
    struct kube_call *call = kube_request(client, request, on_done, owner);
    buf_done(&body);
    return call;
}

static struct str path_of(struct arena *arena, const struct kube_resource *resource, struct str ns, struct str name,
                          struct str subresource)
{
    struct str path = kube_path(arena, resource, ns, name);
    return str_is_empty(subresource) ? path
                                     : arena_format(arena, "%.*s/%.*s", STR_ARG(path), STR_ARG(subresource));
}

struct kube_call *kube_create(struct kube_client *client, const struct kube_resource *resource, struct str ns,
                              const struct json_value *object, kube_done_fn *on_done, void *owner)
{
    struct arena arena = {0};
    struct kube_request request = {.method = STR("POST"), .path = kube_path(&arena, resource, ns, STR_EMPTY)};
    struct kube_call *call = send_object(client, &request, object, on_done, owner);
    arena_done(&arena);
    return call;
}

struct kube_call *kube_update(struct kube_client *client, const struct kube_resource *resource, struct str ns,
                              struct str name, struct str subresource, const struct json_value *object,
                              kube_done_fn *on_done, void *owner)
{
    struct arena arena = {0};
    struct kube_request request = {.method = STR("PUT"), .path = path_of(&arena, resource, ns, name, subresource)};
    struct kube_call *call = send_object(client, &request, object, on_done, owner);
    arena_done(&arena);
    return call;
}

struct kube_call *kube_patch(struct kube_client *client, const struct kube_resource *resource, struct str ns,
                             struct str name, struct str subresource, struct str patch_type,
                             const struct json_value *patch, kube_done_fn *on_done, void *owner)
{
    struct arena arena = {0};
    struct kube_request request = {.method = STR("PATCH"),
                                   .path = path_of(&arena, resource, ns, name, subresource),
                                   .content_type = patch_type};
    struct kube_call *call = send_object(client, &request, patch, on_done, owner);
    arena_done(&arena);
    return call;
}

struct kube_call *kube_delete(struct kube_client *client, const struct kube_resource *resource, struct str ns,
                              struct str name, int64_t grace_seconds, kube_done_fn *on_done, void *owner)
{
    struct arena arena = {0};
    struct json_value *options = json_new_object(&arena);
    json_set_cstr(&arena, options, "propagationPolicy", "Background");
    if (grace_seconds >= 0) {
        json_set_int(&arena, options, "gracePeriodSeconds", grace_seconds);
    }
    struct kube_request request = {.method = STR("DELETE"), .path = kube_path(&arena, resource, ns, name)};
    struct kube_call *call = send_object(client, &request, options, on_done, owner);
    arena_done(&arena);
    return call;
}
