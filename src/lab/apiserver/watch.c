// SPDX-License-Identifier: Apache-2.0
//
// watch: one stream of events per request, newline-delimited JSON.
//
//   start ──► initial ADDED events (no or zero resourceVersion, or sendInitialEvents)
//         ──► live events, read from the store's log as fast as the client takes them
//         ──► end: timeout (with a last bookmark), expiry (ERROR event 410), or the client goes away
//
// A slow client costs nothing but its place in the log: nothing is read for it while its connection is
// congested; when the log has moved past it, it is told 410 and lists again. The encoding of an event is
// shared by all streams that want the plain object.
#include <inttypes.h>

#include "base/memory.h"
#include "base/random.h"
#include "lab/apiserver/request.h"
#include "lab/apiserver/table.h"

#define WATCH_TIMEOUT_DEFAULT_MS (1800u * 1000) // plus as much again at random
#define WATCH_TIMEOUT_MAX_S 86400u
#define WATCH_BOOKMARK_MS (60u * 1000)

struct watch_stream {
    struct request *request;
    struct store_watch watch;
    struct loop_timer timeout;
    struct loop_timer bookmark;
    struct request_selectors selectors;
    struct str prefix;
    bool wants_bookmarks;
    bool has_columns; // a table stream has sent its columns
};

static const char *const event_names[] = {
    [STORE_ADDED] = "ADDED", [STORE_MODIFIED] = "MODIFIED", [STORE_DELETED] = "DELETED"};

// --- encoding --------------------------------------------------------------------------------------

static void send_value(struct watch_stream *stream, const char *type, const struct json_value *object)
{
    struct buf line = {0};
    buf_printf(&line, "{\"type\":\"%s\",\"object\":", type);
    json_write(object, &line);
    buf_printf(&line, "}\n");
    http_send_data(stream->request->exchange, buf_view(&line), false);
    buf_done(&line);
}

// In a table or metadata stream, or in another version than the stored one.
static void send_formed(struct watch_stream *stream, const char *type, struct store_value *value)
{
    struct request *request = stream->request;
    struct arena arena = {0};
    const struct json_value *object = value_object_for(&arena, request->kind, value);
    if (request->form == FORM_TABLE) {
        struct json_value *table = table_new(&arena, request->kind);
        if (stream->has_columns) {
            json_set(&arena, table, STR("columnDefinitions"), json_new_null(&arena));
        }
        stream->has_columns = true;
        struct json_value *metadata = json_ensure_object(&arena, table, "metadata");
        json_set_str(&arena, metadata, "resourceVersion",
                     json_get_str(object_metadata(object), "resourceVersion"));
        table_add(&arena, table, request->kind, object, request_parameter(&request->path, "includeObject"),
                  loop_wall_ms(request->server->loop));
        send_value(stream, type, table);
    } else if (request->form == FORM_METADATA) {
        send_value(stream, type, partial_metadata(&arena, object));
    } else {
        send_value(stream, type, object);
    }
    arena_done(&arena);
}

static bool is_plain(const struct watch_stream *stream, struct store_value *value)
{
    const struct request *request = stream->request;
    return request->form == FORM_OBJECT &&
           (!kind_has(request->kind, KIND_CUSTOM) ||
            str_equal(json_get_str(value_object(value), "apiVersion"), request->kind->api_version));
}

static void send_initial(struct watch_stream *stream, struct store_value *value)
{
    if (!is_plain(stream, value)) {
        send_formed(stream, "ADDED", value);
        return;
    }
    struct buf line = {0};
    buf_printf(&line, "{\"type\":\"ADDED\",\"object\":");
    buf_append_str(&line, value->bytes);
    buf_printf(&line, "}\n");
    http_send_data(stream->request->exchange, buf_view(&line), false);
    buf_done(&line);
}

static void event_encode(struct store_event *event)
{
    struct buf line = {0};
    buf_printf(&line, "{\"type\":\"%s\",\"object\":", event_names[event->type]);
    buf_append_str(&line, event->value->bytes);
    buf_printf(&line, "}\n");
    event->encoded = buf_detach(&line, &event->encoded_size);
}

// What an event means to this stream: an object that stops being selected is deleted for it.
static bool event_type_for(struct watch_stream *stream, struct store_event *event, enum store_event_type *ret_type)
{
    *ret_type = event->type;
    if (!str_starts_with(event->value->key, stream->prefix)) {
        return false;
    }
    if (stream->selectors.is_empty) {
        return true;
    }
    bool was = event->previous != NULL && request_selects(&stream->selectors, value_object(event->previous));
    bool is = event->type != STORE_DELETED && request_selects(&stream->selectors, value_object(event->value));
    *ret_type = !is ? STORE_DELETED : was ? STORE_MODIFIED : STORE_ADDED;
    return was || is;
}

static void send_event(struct watch_stream *stream, struct store_event *event)
{
    enum store_event_type type;
    if (!event_type_for(stream, event, &type)) {
        return;
    }
    if (type != event->type || !is_plain(stream, event->value)) {
        send_formed(stream, event_names[type], event->value);
        return;
    }
    if (event->encoded == NULL) {
        event_encode(event);
    }
    http_send_data(stream->request->exchange, str_make(event->encoded, event->encoded_size), false);
}

static void send_bookmark(struct watch_stream *stream, bool ends_initial)
{
    struct request *request = stream->request;
    struct arena arena = {0};
    struct json_value *object = json_new_object(&arena);
    bool is_table = request->form == FORM_TABLE;
    bool is_metadata = request->form == FORM_METADATA;
    json_set_str(&arena, object, "kind", is_metadata ? STR("PartialObjectMetadata") : request->kind->kind);
    json_set_str(&arena, object, "apiVersion", is_metadata ? STR("meta.k8s.io/v1") : request->kind->api_version);
    struct json_value *metadata = json_ensure_object(&arena, object, "metadata");
    json_set_str(&arena, metadata, "resourceVersion",
                 arena_format(&arena, "%" PRIu64, store_revision(request->server->store)));
    json_set(&arena, metadata, STR("creationTimestamp"), json_new_null(&arena));
    if (ends_initial) {
        json_set_cstr(&arena, json_ensure_object(&arena, metadata, "annotations"), "k8s.io/initial-events-end",
                      "true");
    }
    if (!is_table) {
        send_value(stream, "BOOKMARK", object);
    }
    arena_done(&arena);
}

// --- running ---------------------------------------------------------------------------------------

void watch_stream_end(struct watch_stream *stream)
{
    store_watch_stop(&stream->watch);
    loop_timer_stop(&stream->timeout);
    loop_timer_stop(&stream->bookmark);
    if (stream->request->exchange != NULL) {
        http_send_data(stream->request->exchange, STR_EMPTY, true);
    }
}

static void send_expired(struct watch_stream *stream, const char *message)
{
    struct arena arena = {0};
    struct failure failure = {0};
    (void)failure_set(&failure, &arena, 410, "Expired", "%s", message);
    send_value(stream, "ERROR", failure_to_json(&arena, &failure));
    arena_done(&arena);
    watch_stream_end(stream);
}

static void stream_pump(struct watch_stream *stream)
{
    bool is_expired = false;
    struct http_exchange *exchange = stream->request->exchange;
    while (!http_is_congested(exchange)) {
        struct store_event *event = store_watch_next(&stream->watch, &is_expired);
        if (event == NULL) {
            break;
        }
        send_event(stream, event);
    }
    if (is_expired) {
        send_expired(stream, "too old resource version: the watch fell behind");
    }
}

static void stream_on_ready(struct store_watch *watch)
{
    stream_pump(container_of(watch, struct watch_stream, watch));
}

void watch_stream_drained(struct watch_stream *stream)
{
    if (stream->watch.bucket != NULL) {
        stream_pump(stream);
    }
}

static void stream_on_timeout(struct loop_timer *timer)
{
    struct watch_stream *stream = container_of(timer, struct watch_stream, timeout);
    if (stream->wants_bookmarks && !http_is_congested(stream->request->exchange)) {
        send_bookmark(stream, false);
    }
    watch_stream_end(stream);
}

static void stream_on_bookmark(struct loop_timer *timer)
{
    struct watch_stream *stream = container_of(timer, struct watch_stream, bookmark);
    // A congested stream has unread events below the current revision: no bookmark past them.
    if (!http_is_congested(stream->request->exchange)) {
        send_bookmark(stream, false);
    }
    loop_timer_start(&stream->bookmark, WATCH_BOOKMARK_MS);
}

void watch_stream_free(struct watch_stream *stream)
{
    store_watch_stop(&stream->watch);
    loop_timer_stop(&stream->timeout);
    loop_timer_stop(&stream->bookmark);
    mem_free(stream);
}

static uint64_t timeout_ms(const struct request *request)
{
    uint64_t seconds;
    if (str_to_u64(request_parameter(&request->path, "timeoutSeconds"), &seconds) && seconds > 0) {
        return (seconds < WATCH_TIMEOUT_MAX_S ? seconds : WATCH_TIMEOUT_MAX_S) * 1000;
    }
    struct random random;
    random_init_from_kernel(&random);
    return WATCH_TIMEOUT_DEFAULT_MS + random_below(&random, WATCH_TIMEOUT_DEFAULT_MS);
}

static bool check_initial(struct request *request, bool sends_initial)
{
    if (request_parameter(&request->path, "sendInitialEvents").data != NULL &&
        !str_equal(request_parameter(&request->path, "resourceVersionMatch"), STR("NotOlderThan"))) {
        return failure_set(&request->failure, &request->arena, 422, "Invalid",
                           "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: "
                           "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if (sends_initial && !request_flag(&request->path, "allowWatchBookmarks")) {
        return failure_set(&request->failure, &request->arena, 422, "Invalid",
                           "ListOptions.meta.k8s.io \"\" is invalid: allowWatchBookmarks: Forbidden: "
                           "sendInitialEvents requires allowWatchBookmarks");
    }
    return true;
}

static void stream_send_all(struct watch_stream *stream)
{
    struct store_bucket *bucket = stream->request->kind->bucket;
    for (size_t i = store_seek(bucket, stream->prefix); i < store_count(bucket); i++) {
        struct store_value *value = store_at(bucket, i);
        if (!str_starts_with(value->key, stream->prefix)) {
            break;
        }
        if (stream->selectors.is_empty || request_selects(&stream->selectors, value_object(value))) {
            send_initial(stream, value);
        }
    }
}

static void stream_start(struct request *request, struct watch_stream *stream, uint64_t since, bool all)
{
    struct http_head head;
    http_head_init_response(&head, 200);
    (void)http_head_add(&head, STR("content-type"), STR("application/json"));
    (void)http_head_add(&head, STR("cache-control"), STR("no-cache, private"));
    request->is_answered = true;
    request->watch = stream;
    http_send_head(request->exchange, &head, false);
    loop_timer_init(&stream->timeout, request->server->loop, stream_on_timeout);
    loop_timer_init(&stream->bookmark, request->server->loop, stream_on_bookmark);
    store_watch_init(&stream->watch, stream_on_ready);
    if (all) {
        since = store_revision(request->server->store);
        stream_send_all(stream);
    }
    struct error err = {0};
    if (store_watch_start(&stream->watch, request->kind->bucket, since, &err) != ERR_OK) {
        send_expired(stream, err.message);
        return;
    }
    loop_timer_start(&stream->timeout, timeout_ms(request));
    if (stream->wants_bookmarks) {
        loop_timer_start(&stream->bookmark, WATCH_BOOKMARK_MS);
    }
    if (all && request_flag(&request->path, "sendInitialEvents")) {
        send_bookmark(stream, true);
    }
    stream_pump(stream);
}

void watch_serve(struct request *request)
{
    struct str version = request_parameter(&request->path, "resourceVersion");
    bool sends_initial = request_flag(&request->path, "sendInitialEvents");
    bool has_initial = request_parameter(&request->path, "sendInitialEvents").data != NULL;
    uint64_t since = 0;
    struct request_selectors selectors;
    if (request->kind->bucket == NULL) {
        (void)failure_method(&request->failure, &request->arena);
    } else if (!str_is_empty(version) && !str_to_u64(version, &since)) {
        (void)failure_bad_request(&request->failure, &request->arena, "invalid resource version: %.*s",
                                  STR_ARG(version));
    } else if (check_initial(request, sends_initial)) {
        (void)request_selectors(request, &selectors);
    }
    if (request->failure.code != 0) {
        request_fail(request);
        return;
    }
    if (request->exchange == NULL) {
        return;
    }
    struct watch_stream *stream = mem_new(struct watch_stream);
    stream->request = request;
    stream->selectors = selectors;
    stream->prefix = str_is_empty(request->path.ns)
                         ? STR_EMPTY
                         : arena_format(&request->arena, "%.*s/", STR_ARG(request->path.ns));
    stream->wants_bookmarks = request_flag(&request->path, "allowWatchBookmarks");
    bool all = sends_initial || (since == 0 && !has_initial);
    if (has_initial && !sends_initial && since == 0) {
        since = store_revision(request->server->store);
    }
    stream_start(request, stream, since, all);
}
