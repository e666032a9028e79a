// SPDX-License-Identifier: Apache-2.0
//
// A request's life and its answers. See request.h.
#include "lab/apiserver/request.h"

#include "base/assert.h"
#include "base/memory.h"
#include "lab/apiserver/server.h"
#include "lab/apiserver/table.h"

static const char *const verb_names[] = {
    [VERB_GET] = "get",       [VERB_LIST] = "list",     [VERB_WATCH] = "watch",
    [VERB_CREATE] = "create", [VERB_UPDATE] = "update", [VERB_PATCH] = "patch",
    [VERB_DELETE] = "delete", [VERB_DELETECOLLECTION] = "deletecollection",
};

const char *request_verb_name(enum request_verb verb)
{
    return verb_names[verb];
}

// --- life ------------------------------------------------------------------------------------------

void request_hold(struct request *request)
{
    request->holds++;
}

void request_release(struct request *request)
{
    ASSERT(request->holds > 0);
    if (--request->holds > 0) {
        return;
    }
    list_remove(&request->node);
    kind_unref(request->kind);
    store_value_unref(request->write.base);
    buf_done(&request->body);
    arena_done(&request->arena);
    mem_free(request);
}

void request_take_over(struct request *request, const struct http_events *events, void *owner)
{
    request->is_answered = true;
    request->taken = events;
    request->taken_owner = owner;
}

static void request_on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    struct request *request = owner;
    if (request->taken != NULL) {
        if (request->taken->on_data != NULL) {
            request->taken->on_data(request->taken_owner, exchange, bytes, end);
        }
        return;
    }
    if (request->body.size + bytes.size > REQUEST_BODY_MAX) {
        request->is_body_too_large = true;
        buf_done(&request->body);
    }
    if (!request->is_body_too_large) {
        buf_append_str(&request->body, bytes);
    }
    if (end) {
        request_run(request);
    }
}

static void request_on_drained(void *owner, struct http_exchange *exchange)
{
    struct request *request = owner;
    if (request->watch != NULL) {
        watch_stream_drained(request->watch);
    } else if (request->taken != NULL && request->taken->on_drained != NULL) {
        request->taken->on_drained(request->taken_owner, exchange);
    }
}

static void request_on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    struct request *request = owner;
    request->exchange = NULL;
    if (request->watch != NULL) {
        watch_stream_free(request->watch);
        request->watch = NULL;
    }
    if (request->taken != NULL) {
        request->taken->on_close(request->taken_owner, exchange, err);
        request->taken = NULL;
    }
    request_release(request);
}

static const struct http_events request_events = {
    .on_data = request_on_data,
    .on_drained = request_on_drained,
    .on_close = request_on_close,
};

static void read_impersonation(struct request *request, const struct http_head *head)
{
    for (size_t i = 0; i < head->header_count; i++) {
        struct str value = arena_str(&request->arena, head->headers[i].value);
        if (str_equal(head->headers[i].name, STR("impersonate-user"))) {
            request->impersonate_user = value;
        } else if (str_equal(head->headers[i].name, STR("impersonate-group")) &&
                   request->impersonate_group_count < USER_GROUPS_MAX - 1) {
            request->impersonate_groups[request->impersonate_group_count++] = value;
        }
    }
}

void server_on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct apiserver *server = owner;
    struct request *request = mem_new(struct request);
    struct arena *arena = &request->arena;
    request->server = server;
    request->exchange = exchange;
    request->holds = 1;
    list_append(&server->requests, &request->node);
    request->method = arena_str(arena, head->method);
    request->content_type = arena_str(arena, http_head_get(head, STR("content-type")));
    request->accept = arena_str(arena, http_head_get(head, STR("accept")));
    request->authorization = arena_str(arena, http_head_get(head, STR("authorization")));
    if (!str_is_empty(head->upgrade)) {
        request->upgrade = http_head_copy(arena, head);
    }
    read_impersonation(request, head);
    http_set_events(exchange, &request_events, request);
    struct error err = {0};
    if (request_path_parse(arena, arena_str(arena, head->path), &request->path, &err) != ERR_OK) {
        (void)failure_bad_request(&request->failure, arena, "%s", err.message);
    }
    if (end) {
        request_run(request);
    }
}

// --- answers ---------------------------------------------------------------------------------------

void request_warn(struct request *request, const char *format, ...)
{
    if (request->warning_count == REQUEST_WARNINGS_MAX) {
        return;
    }
    va_list args;
    va_start(args, format);
    request->warnings[request->warning_count++] = arena_vformat(&request->arena, format, args);
    va_end(args);
}

// 299 - "text" with quotes and backslashes escaped; control bytes would end the header.
static struct str warning_header(struct arena *arena, struct str text)
{
    struct buf out = {0};
    buf_printf(&out, "299 - \"");
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '"' || c == '\\') {
            buf_append_char(&out, '\\');
        }
        buf_append_char(&out, c < 0x20 || c == 0x7f ? ' ' : text.data[i]);
    }
    buf_append_char(&out, '"');
    struct str header = arena_str(arena, buf_view(&out));
    buf_done(&out);
    return header;
}

void request_respond(struct request *request, int status, struct str content_type, struct str body)
{
    ASSERT(!request->is_answered);
    request->is_answered = true;
    if (request->exchange == NULL) {
        return;
    }
    struct arena *arena = &request->arena;
    struct http_head head;
    http_head_init_response(&head, status);
    (void)http_head_add(&head, STR("content-type"), content_type);
    (void)http_head_add(&head, STR("content-length"), arena_format(arena, "%zu", body.size));
    (void)http_head_add(&head, STR("cache-control"), STR("no-cache, private"));
    for (size_t i = 0; i < request->warning_count; i++) {
        (void)http_head_add(&head, STR("warning"), warning_header(arena, request->warnings[i]));
    }
    if (request->failure.retry_after_seconds > 0) {
        (void)http_head_add(&head, STR("retry-after"),
                            arena_format(arena, "%d", request->failure.retry_after_seconds));
    }
    bool is_head = str_equal(request->method, STR("HEAD"));
    http_send_head(request->exchange, &head, is_head || str_is_empty(body));
    if (!is_head && !str_is_empty(body)) {
        http_send_data(request->exchange, body, true);
    }
}

void request_respond_json(struct request *request, int status, const struct json_value *value)
{
    struct buf text = {0};
    json_write(value, &text);
    buf_append_char(&text, '\n');
    request_respond(request, status, STR("application/json"), buf_view(&text));
    buf_done(&text);
}

void request_fail(struct request *request)
{
    ASSERT(request->failure.code != 0);
    request_respond_json(request, request->failure.code, failure_to_json(&request->arena, &request->failure));
}

void request_respond_object(struct request *request, int status, const struct json_value *object)
{
    struct arena *arena = &request->arena;
    if (request->form == FORM_TABLE && request->kind != NULL) {
        struct json_value *table = table_new(arena, request->kind);
        table_add(arena, table, request->kind, object, request_parameter(&request->path, "includeObject"),
                  loop_wall_ms(request->server->loop));
        request_respond_json(request, status, table);
        return;
    }
    if (request->form == FORM_METADATA) {
        request_respond_json(request, status, partial_metadata(arena, object));
        return;
    }
    request_respond_json(request, status, object);
}

// --- shared ----------------------------------------------------------------------------------------

struct decoded {
    struct arena arena;
    struct json_value *object;
};

static void decoded_free(void *argument)
{
    struct decoded *decoded = argument;
    arena_done(&decoded->arena);
    mem_free(decoded);
}

const struct json_value *value_object(struct store_value *value)
{
    struct decoded *decoded = value->decoded;
    if (decoded == NULL) {
        decoded = mem_new(struct decoded);
        // We wrote these bytes ourselves; should the file have been damaged, an empty object is served.
        struct error err = {0};
        if (json_parse(&decoded->arena, value->bytes, &decoded->object, &err) != ERR_OK ||
            !json_is(decoded->object, JSON_OBJECT)) {
            decoded->object = json_new_object(&decoded->arena);
        }
        value->decoded = decoded;
        value->decoded_free = decoded_free;
    }
    return decoded->object;
}

const struct json_value *value_object_for(struct arena *arena, const struct kind *kind, struct store_value *value)
{
    const struct json_value *object = value_object(value);
    if (str_equal(json_get_str(object, "apiVersion"), kind->api_version)) {
        return object;
    }
    struct json_value *copy = json_copy(arena, object);
    json_set_str(arena, copy, "apiVersion", kind->api_version);
    return copy;
}

const struct json_value *object_metadata(const struct json_value *object)
{
    return json_get(object, "metadata");
}

struct str object_name(const struct json_value *object)
{
    return json_get_str(object_metadata(object), "name");
}

static bool selector_failure(struct request *request, const struct error *err)
{
    return failure_bad_request(&request->failure, &request->arena, "%s", err->message);
}

bool request_selectors(struct request *request, struct request_selectors *ret_selectors)
{
    struct arena *arena = &request->arena;
    struct str labels = request_parameter(&request->path, "labelSelector");
    struct str fields = request_parameter(&request->path, "fieldSelector");
    struct request_selectors selectors = {.labels = arena_new(arena, struct selector),
                                          .fields = arena_new(arena, struct selector)};
    struct error err = {0};
    if (!str_is_empty(labels) && selector_parse_labels(arena, labels, selectors.labels, &err) != ERR_OK) {
        return selector_failure(request, &err);
    }
    if (!str_is_empty(fields) && selector_parse_fields(arena, fields, selectors.fields, &err) != ERR_OK) {
        return selector_failure(request, &err);
    }
    // GET of one object by name with watch=1 is a watch of that name.
    if (!str_is_empty(request->path.name)) {
        struct selector_requirement *all =
            arena_array(arena, struct selector_requirement, selectors.fields->count + 1);
        for (size_t i = 0; i < selectors.fields->count; i++) {
            all[i] = selectors.fields->requirements[i];
        }
        struct str *value = arena_new(arena, struct str);
        *value = request->path.name;
        all[selectors.fields->count++] = (struct selector_requirement){
            .key = STR("metadata.name"), .operator = SELECTOR_EQUALS, .values = value, .value_count = 1};
        selectors.fields->requirements = all;
    }
    selectors.is_empty = selectors.labels->count == 0 && selectors.fields->count == 0;
    if (!selector_fields_known(request->kind, selectors.fields, &err)) {
        return selector_failure(request, &err);
    }
    *ret_selectors = selectors;
    return true;
}

bool request_selects(const struct request_selectors *selectors, const struct json_value *object)
{
    return selectors->is_empty ||
           (selector_matches_labels(selectors->labels, json_get(object_metadata(object), "labels")) &&
            selector_matches_fields(selectors->fields, object));
}
