// SPDX-License-Identifier: Apache-2.0
//
// gRPC server side: methods by path, and the events of an exchange turned into those of a call.
#include "base/map.h"
#include "net/grpc_internal.h"

struct grpc_method {
    grpc_method_fn *on_call;
    void *owner;
};

struct grpc_service {
    struct map methods; // path → struct grpc_method
};

static void end_of_requests(struct grpc_call *call)
{
    if (call->status_known) {
        return;
    }
    if (!grpc_reader_is_between(&call->reader)) {
        grpc_finish(call, GRPC_INTERNAL, STR("the request ended inside a message"));
    } else if (call->events != NULL && call->events->on_half_close != NULL) {
        call->events->on_half_close(call->owner, call);
    }
}

static void server_on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)exchange;
    struct grpc_call *call = owner;
    if ((bytes.size == 0 || grpc_call_on_data(call, bytes)) && end) {
        end_of_requests(call);
    }
}

static void server_on_drained(void *owner, struct http_exchange *exchange)
{
    (void)exchange;
    struct grpc_call *call = owner;
    if (call->events != NULL && call->events->on_drained != NULL && !call->sending_ended) {
        call->events->on_drained(call->owner, call);
    }
}

static void server_on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    struct grpc_call *call = owner;
    bool well = err->code == ERR_OK && call->status_known && call->status != GRPC_DEADLINE_EXCEEDED;
    if (well) {
        call->status = GRPC_OK;
        call->message = STR_EMPTY;
    } else if (err->code != ERR_OK) {
        call->status_known = false; // what we meant to say did not arrive
    }
    grpc_call_close(call, GRPC_CANCELLED, str_of(err->message));
}

static const struct http_events server_events = {
    .on_data = server_on_data,
    .on_drained = server_on_drained,
    .on_close = server_on_close,
};

struct grpc_service *grpc_service_new(void)
{
    return mem_new(struct grpc_service);
}

void grpc_service_add(struct grpc_service *service, const char *path, grpc_method_fn *on_call,
                      void *owner)
{
    struct grpc_method *method = mem_new(struct grpc_method);
    method->on_call = on_call;
    method->owner = owner;
    mem_free(map_set(&service->methods, str_of(path), method));
}

void grpc_service_free(struct grpc_service *service)
{
    if (service == NULL) {
        return;
    }
    void *method = NULL;
    for (size_t at = 0; map_each(&service->methods, &at, NULL, &method);) {
        mem_free(method);
    }
    map_done(&service->methods);
    mem_free(service);
}

// Why a call is refused before its method sees it; empty: it is not.
static struct str find_obstacle(const struct grpc_method *method, const struct http_head *head)
{
    if (method == NULL) {
        return STR("unknown method");
    }
    struct str encoding = http_head_get(head, STR("grpc-encoding"));
    if (encoding.data != NULL && !str_equal(encoding, STR("identity"))) {
        return STR("message encoding is not supported; use identity");
    }
    return STR_EMPTY;
}

bool grpc_service_handle(struct grpc_service *service, struct http_exchange *exchange,
                         const struct http_head *head, bool end)
{
    if (!grpc_is_content_type(http_head_get(head, STR("content-type"))) ||
        http_version(exchange) != 20 || !str_equal(head->method, STR("POST"))) {
        return false;
    }
    struct grpc_call *call = grpc_call_new(http_loop(exchange), true);
    call->exchange = exchange;
    call->request = http_head_copy(&call->arena, head);
    http_set_events(exchange, &server_events, call);
    struct grpc_method *method = map_get(&service->methods, head->path);
    struct str obstacle = find_obstacle(method, head);
    if (obstacle.size > 0) {
        grpc_finish(call, GRPC_UNIMPLEMENTED, obstacle);
        return true;
    }
    struct str timeout = http_head_get(head, STR("grpc-timeout"));
    uint64_t timeout_ms = 0;
    if (timeout.data != NULL && !grpc_timeout_parse(timeout, &timeout_ms)) {
        grpc_finish(call, GRPC_INVALID_ARGUMENT, STR("malformed grpc-timeout"));
        return true;
    }
    if (timeout.data != NULL) {
        grpc_call_set_deadline(call, timeout_ms);
    }
    grpc_call_enter(call);
    method->on_call(method->owner, call);
    if (grpc_call_leave(call) && end) {
        end_of_requests(call);
    }
    return true;
}
