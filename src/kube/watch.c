// SPDX-License-Identifier: Apache-2.0
//
// watch: one request whose answer goes on and on, a JSON text per line. Chunks of the transport have
// nothing to do with lines: bytes gather until a newline comes.
#include "kube/client_internal.h"

#include "base/memory.h"

struct kube_watch {
    struct list node;
    struct kube_client *client;
    struct http_exchange *exchange;
    struct loop_timer timer;
    struct buf line; // what came since the last newline; the whole body of a failure
    struct arena arena;
    struct kube_response response;
    const struct kube_watch_events *events;
    void *owner;
    bool ended;     // the answer's end was seen
    bool in_event;  // a callback runs: freeing waits for it
    bool stopped;
};

struct kube_watch *kube_watch_of(struct list *node)
{
    return container_of(node, struct kube_watch, node);
}

static void watch_free(struct kube_watch *watch)
{
    buf_done(&watch->line);
    arena_done(&watch->arena);
    mem_free(watch);
}

// Silences everything; the memory goes now or when the callback that runs returns.
static void detach(struct kube_watch *watch)
{
    watch->stopped = true;
    list_remove(&watch->node);
    loop_timer_stop(&watch->timer);
    if (watch->exchange != NULL) {
        http_set_events(watch->exchange, NULL, NULL);
        http_cancel(watch->exchange);
        watch->exchange = NULL;
    }
}

void kube_watch_stop(struct kube_watch *watch)
{
    if (watch == NULL || watch->stopped) {
        return;
    }
    detach(watch);
    if (!watch->in_event) {
        watch_free(watch);
    }
}

static void finish(struct kube_watch *watch, enum err code)
{
    detach(watch);
    bool was_in_event = watch->in_event;
    watch->in_event = true;
    watch->events->on_close(watch->owner, watch, code, &watch->response);
    watch->in_event = was_in_event;
    if (!was_in_event) {
        watch_free(watch);
    }
}

static void fail(struct kube_watch *watch, enum err code, struct str why)
{
    watch->response.message = arena_str(&watch->arena, why);
    finish(watch, code);
}

void kube_watch_close(struct kube_watch *watch, struct str why)
{
    fail(watch, ERR_CLOSED, why);
}

// --- lines -----------------------------------------------------------------------------------------

// False: the watch is over.
static bool take_line(struct kube_watch *watch, struct str line)
{
    if (str_is_empty(str_trim(line))) {
        return true;
    }
    struct arena arena = {0};
    struct json_value *event = NULL;
    struct error err = {0};
    if (json_parse(&arena, line, &event, &err) != ERR_OK) {
        error_prefix(&err, "a line of the watch");
        fail(watch, ERR_PROTOCOL, str_of(err.message));
        arena_done(&arena);
        return false;
    }
    watch->events->on_event(watch->owner, watch, &arena, event);
    arena_done(&arena);
    return !watch->stopped;
}

static bool take_lines(struct kube_watch *watch, struct str bytes)
{
    while (bytes.size > 0) {
        ptrdiff_t newline = str_find_char(bytes, '\n');
        if (newline < 0) {
            if (watch->line.size + bytes.size > KUBE_EVENT_MAX) {
                fail(watch, ERR_LIMIT, STR("a line of the watch is longer than 16 MiB"));
                return false;
            }
            buf_append_str(&watch->line, bytes);
            return true;
        }
        struct str line = str_sub(bytes, 0, (size_t)newline);
        bytes = str_from(bytes, (size_t)newline + 1);
        if (watch->line.size > 0) {
            buf_append_str(&watch->line, line);
            line = buf_view(&watch->line);
        }
        if (!take_line(watch, line)) {
            return false;
        }
        buf_reset(&watch->line);
        buf_release(&watch->line);
    }
    return true;
}

// --- events of the exchange ------------------------------------------------------------------------

static bool is_success(const struct kube_watch *watch)
{
    return watch->response.status >= 200 && watch->response.status < 300;
}

static void leave_event(struct kube_watch *watch)
{
    watch->in_event = false;
    if (watch->stopped) {
        watch_free(watch);
    }
}

static void on_head(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    (void)exchange;
    struct kube_watch *watch = owner;
    watch->response.status = head->status;
    watch->response.retry_after_ms = kube_retry_after_ms(head);
    watch->ended = end;
    kube_client_saw_status(watch->client, head->status);
    if (is_success(watch) && watch->events->on_open != NULL) {
        watch->in_event = true;
        watch->events->on_open(watch->owner, watch);
        leave_event(watch);
    }
}

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)exchange;
    struct kube_watch *watch = owner;
    watch->ended = end;
    watch->in_event = true;
    if (is_success(watch)) {
        (void)take_lines(watch, bytes);
    } else if (watch->line.size + bytes.size <= KUBE_EVENT_MAX) {
        buf_append_str(&watch->line, bytes);
    }
    leave_event(watch);
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    struct kube_watch *watch = owner;
    watch->exchange = NULL;
    if (watch->response.status != 0 && !is_success(watch)) {
        (void)kube_response_read(&watch->response, buf_view(&watch->line));
        finish(watch, kube_status_err(watch->response.status, watch->response.reason));
    } else if (watch->ended) {
        finish(watch, ERR_OK);
    } else {
        fail(watch, err->code == ERR_OK ? ERR_CLOSED : err->code, str_of(err->message));
    }
}

static const struct http_events watch_http_events = {.on_head = on_head, .on_data = on_data, .on_close = on_close};

static void on_timeout(struct loop_timer *timer)
{
    fail(container_of(timer, struct kube_watch, timer), ERR_TIMEOUT, STR("the watch went on longer than asked for"));
}

struct kube_watch *kube_watch_start(struct kube_client *client, struct str path, uint64_t timeout_ms,
                                    const struct kube_watch_events *events, void *owner)
{
    struct kube_watch *watch = mem_new(struct kube_watch);
    watch->client = client;
    watch->events = events;
    watch->owner = owner;
    watch->response.arena = &watch->arena;
    watch->response.reason = STR_EMPTY;
    watch->response.message = STR_EMPTY;
    list_init(&watch->node);
    list_append(&client->watches, &watch->node);
    loop_timer_init(&watch->timer, client->loop, on_timeout);
    if (timeout_ms > 0) {
        loop_timer_start(&watch->timer, timeout_ms);
    }
    struct kube_request request = {.method = STR("GET"), .path = path};
    watch->exchange = kube_client_send(client, &request, &watch_http_events, watch);
    return watch;
}
