// SPDX-License-Identifier: Apache-2.0
//
// What both sides of a call share: messages in and out, deadline, status, the end. grpc_client.c
// and grpc_server.c translate between calls and exchanges.
#include "base/assert.h"
#include "net/grpc_internal.h"

static const char *const status_names[] = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

const char *grpc_status_name(enum grpc_status status)
{
    return (unsigned)status < array_count(status_names) ? status_names[status] : "UNKNOWN";
}

bool grpc_is_content_type(struct str value)
{
    struct str prefix = STR("application/grpc");
    return str_equal_nocase(str_sub(value, 0, prefix.size), prefix) &&
           (value.size == prefix.size || value.data[prefix.size] == '+' ||
            value.data[prefix.size] == ';');
}

// --- life
// ------------------------------------------------------------------------------------------

static void on_deadline(struct loop_timer *timer)
{
    grpc_call_fail(container_of(timer, struct grpc_call, deadline), GRPC_DEADLINE_EXCEEDED,
                   STR("the deadline has passed"));
}

struct grpc_call *grpc_call_new(struct loop *loop, bool is_server)
{
    struct grpc_call *call = mem_new(struct grpc_call);
    call->is_server = is_server;
    call->reader.message_max = GRPC_MESSAGE_MAX;
    loop_timer_init(&call->deadline, loop, on_deadline);
    return call;
}

static void call_free(struct grpc_call *call)
{
    grpc_reader_done(&call->reader);
    arena_done(&call->arena);
    mem_free(call);
}

void grpc_call_set_deadline(struct grpc_call *call, uint64_t timeout_ms)
{
    loop_timer_start(&call->deadline, timeout_ms);
}

void grpc_call_set_status(struct grpc_call *call, enum grpc_status status, struct str message)
{
    if (!call->status_known) {
        call->status_known = true;
        call->status = status;
        call->message = arena_str(&call->arena, message);
    }
}

void grpc_call_fail(struct grpc_call *call, enum grpc_status status, struct str message)
{
    loop_timer_stop(&call->deadline);
    if (call->is_server) {
        grpc_finish(call, status, message);
    } else {
        grpc_call_set_status(call, status, message);
        http_cancel(call->exchange);
    }
}

void grpc_call_close(struct grpc_call *call, enum grpc_status status, struct str message)
{
    loop_timer_stop(&call->deadline);
    grpc_call_set_status(call, status, message);
    const struct grpc_events *events = call->events;
    call->events = NULL;
    if (events != NULL) {
        events->on_close(call->owner, call, call->status, call->message);
    }
    if (call->dispatching) {
        call->closed = true; // grpc_call_leave() is further up the stack
    } else {
        call_free(call);
    }
}

void grpc_call_enter(struct grpc_call *call)
{
    ASSERT(!call->dispatching);
    call->dispatching = true;
}

bool grpc_call_leave(struct grpc_call *call)
{
    call->dispatching = false;
    if (call->closed) {
        call_free(call);
        return false;
    }
    return true;
}

// --- messages in
// -----------------------------------------------------------------------------------

bool grpc_call_on_data(struct grpc_call *call, struct str bytes)
{
    struct str input = bytes;
    enum grpc_read result = GRPC_READ_MORE;
    grpc_call_enter(call);
    while (!call->closed && !call->status_known) {
        struct str message;
        result = grpc_reader_next(&call->reader, &input, &message);
        if (result != GRPC_READ_MESSAGE) {
            break;
        }
        if (call->events != NULL && call->events->on_message != NULL) {
            call->events->on_message(call->owner, call, message);
        }
    }
    if (!grpc_call_leave(call)) {
        return false;
    }
    if (call->status_known) {
        return true;
    }
    if (result == GRPC_READ_TOO_LARGE) {
        grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, STR("message larger than the limit"));
    } else if (result == GRPC_READ_COMPRESSED) {
        grpc_call_fail(call, call->is_server ? GRPC_UNIMPLEMENTED : GRPC_INTERNAL,
                       STR("compressed message without an agreed encoding"));
    }
    return true;
}

// --- public
// ----------------------------------------------------------------------------------------

static void send_server_head(struct grpc_call *call)
{
    struct http_head head;
    http_head_init_response(&head, 200);
    (void)http_head_add(&head, STR("content-type"), STR("application/grpc"));
    call->head_sent = true;
    http_send_head(call->exchange, &head, false);
}

void grpc_send(struct grpc_call *call, struct str message)
{
    if (call->sending_ended || call->closed) {
        return;
    }
    ASSERT(message.size <= GRPC_MESSAGE_MAX);
    if (!call->head_sent) {
        send_server_head(call);
    }
    char prefix[GRPC_PREFIX_SIZE];
    grpc_write_prefix(prefix, (uint32_t)message.size);
    http_send_data(call->exchange, str_make(prefix, sizeof(prefix)), false);
    http_send_data(call->exchange, message, false);
}

bool grpc_is_congested(const struct grpc_call *call)
{
    return http_is_congested(call->exchange);
}

void grpc_half_close(struct grpc_call *call)
{
    ASSERT(!call->is_server);
    if (!call->sending_ended && !call->closed) {
        call->sending_ended = true;
        http_send_data(call->exchange, STR_EMPTY, true);
    }
}

void grpc_finish(struct grpc_call *call, enum grpc_status status, struct str message)
{
    ASSERT(call->is_server);
    if (call->sending_ended || call->closed) {
        return;
    }
    call->sending_ended = true;
    grpc_call_set_status(call, status, message);
    loop_timer_stop(&call->deadline);
    char digits[4];
    digits[0] = (char)('0' + (int)status / 10 % 10);
    digits[1] = (char)('0' + (int)status % 10);
    struct str number = (int)status >= 10 ? str_make(digits, 2) : str_make(digits + 1, 1);
    struct buf text = {0};
    grpc_message_encode(&text, message);
    struct http_head head;
    http_head_init_response(&head, call->head_sent ? 0 : 200);
    if (!call->head_sent) {
        (void)http_head_add(&head, STR("content-type"), STR("application/grpc"));
    }
    (void)http_head_add(&head, STR("grpc-status"), number);
    if (text.size > 0) {
        (void)http_head_add(&head, STR("grpc-message"), buf_view(&text));
    }
    if (call->head_sent) {
        http_send_trailers(call->exchange, &head);
    } else {
        call->head_sent = true;
        http_send_head(call->exchange, &head, true); // "Trailers-Only"
    }
    buf_done(&text);
}

void grpc_cancel(struct grpc_call *call)
{
    if (call->closed) {
        return;
    }
    grpc_call_set_status(call, GRPC_CANCELLED, STR("cancelled"));
    call->sending_ended = true;
    http_cancel(call->exchange);
}

void grpc_set_events(struct grpc_call *call, const struct grpc_events *events, void *owner)
{
    call->events = events;
    call->owner = owner;
}

struct http_exchange *grpc_exchange(const struct grpc_call *call)
{
    return call->exchange;
}

struct str grpc_metadata(const struct grpc_call *call, struct str name)
{
    return call->request == NULL ? str_make(NULL, 0) : http_head_get(call->request, name);
}
