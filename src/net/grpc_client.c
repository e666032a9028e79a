// SPDX-License-Identifier: Apache-2.0
//
// gRPC client side: a request as the specification wants it, and the status found where it may be:
// in trailers, in a head without body, or in how the exchange ended.
#include "net/grpc_internal.h"

// What a response that is not gRPC's means (grpc/doc/http-grpc-status-mapping.md).
static enum grpc_status status_of_http(int status)
{
    switch (status) {
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

static enum grpc_status status_of_error(enum err code)
{
    switch (code) {
    case ERR_PROTOCOL:
        return GRPC_INTERNAL;
    case ERR_LIMIT:
        return GRPC_RESOURCE_EXHAUSTED;
    case ERR_OK:
        return GRPC_UNKNOWN;
    default:
        return GRPC_UNAVAILABLE; // whatever kept us from the server: it may be tried again
    }
}

static bool take_status(struct grpc_call *call, const struct http_head *head)
{
    struct str text = http_head_get(head, STR("grpc-status"));
    if (text.data == NULL) {
        return false;
    }
    uint64_t number = 0;
    enum grpc_status status = str_to_u64(text, &number) && number <= GRPC_UNAUTHENTICATED
                                  ? (enum grpc_status)number
                                  : GRPC_UNKNOWN;
    struct buf message = {0};
    grpc_message_decode(&message, http_head_get(head, STR("grpc-message")));
    if (status == GRPC_OK && !grpc_reader_is_between(&call->reader)) {
        status = GRPC_INTERNAL;
        buf_reset(&message);
        buf_append_str(&message, STR("the response ended inside a message"));
    }
    grpc_call_set_status(call, status, buf_view(&message));
    buf_done(&message);
    return true;
}

static void client_on_head(void *owner, struct http_exchange *exchange,
                           const struct http_head *head, bool end)
{
    (void)exchange;
    struct grpc_call *call = owner;
    struct str encoding = http_head_get(head, STR("grpc-encoding"));
    if (head->status != 200 || !grpc_is_content_type(http_head_get(head, STR("content-type")))) {
        if (!take_status(call, head)) {
            struct str reason =
                arena_format(&call->arena, "not a gRPC response (HTTP status %d)", head->status);
            grpc_call_set_status(call, status_of_http(head->status), reason);
        }
        if (!end) {
            http_cancel(call->exchange);
        }
    } else if (end) {
        (void)take_status(call, head);
    } else if (encoding.data != NULL && !str_equal(encoding, STR("identity"))) {
        grpc_call_fail(call, GRPC_INTERNAL,
                       STR("the response uses an encoding that was not offered"));
    }
}

static void client_on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)exchange;
    (void)end; // a stream that ends without trailers has no status: on_close says so
    if (bytes.size > 0) {
        (void)grpc_call_on_data(owner, bytes);
    }
}

static void client_on_trailers(void *owner, struct http_exchange *exchange,
                               const struct http_head *trailers)
{
    (void)exchange;
    (void)take_status(owner, trailers);
}

static void client_on_drained(void *owner, struct http_exchange *exchange)
{
    (void)exchange;
    struct grpc_call *call = owner;
    if (call->events != NULL && call->events->on_drained != NULL && !call->sending_ended) {
        call->events->on_drained(call->owner, call);
    }
}

static void client_on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    grpc_call_close(owner, status_of_error(err->code),
                    err->code == ERR_OK ? STR("the response ended without a status")
                                        : str_of(err->message));
}

static const struct http_events client_events = {
    .on_head = client_on_head,
    .on_data = client_on_data,
    .on_trailers = client_on_trailers,
    .on_drained = client_on_drained,
    .on_close = client_on_close,
};

struct grpc_call *grpc_start(struct http_client *client, const char *path,
                             const struct grpc_call_options *options,
                             const struct grpc_events *events, void *owner)
{
    struct grpc_call *call = grpc_call_new(http_client_loop(client), false);
    call->events = events;
    call->owner = owner;
    call->head_sent = true;
    struct http_head head;
    char timeout[GRPC_TIMEOUT_TEXT_SIZE];
    http_head_init_request(&head, STR("POST"), STR_EMPTY, options->authority, str_of(path));
    (void)http_head_add(&head, STR("content-type"), STR("application/grpc"));
    (void)http_head_add(&head, STR("te"), STR("trailers"));
    (void)http_head_add(&head, STR("user-agent"), STR("grpc-c-isthmesh/1"));
    if (options->timeout_ms > 0) {
        (void)http_head_add(&head, STR("grpc-timeout"),
                            grpc_timeout_format(options->timeout_ms, timeout));
        grpc_call_set_deadline(call, options->timeout_ms);
    }
    for (size_t i = 0; i < options->metadata_count; i++) {
        (void)http_head_add(&head, options->metadata[i].name, options->metadata[i].value);
    }
    call->exchange = http_request(client, &head, false, &client_events, call);
    return call;
}
