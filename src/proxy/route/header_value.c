// SPDX-License-Identifier: Apache-2.0
#include "proxy/route/header_value.h"

#include "base/buf.h"
#include "base/memory.h"

enum value_kind {
    VALUE_TEXT,
    VALUE_REQUEST_HEADER,
    VALUE_RESPONSE_HEADER,
    VALUE_RESPONSE_CODE,
    VALUE_REMOTE_ADDRESS,
    VALUE_REMOTE_IP,
    VALUE_LOCAL_ADDRESS,
    VALUE_LOCAL_IP,
    VALUE_LOCAL_PORT,
    VALUE_PROTOCOL,
    VALUE_SERVER_NAME,
    VALUE_ROUTE_NAME,
    VALUE_UPSTREAM_HOST,
    VALUE_UPSTREAM_CLUSTER,
};

// clang-format off
static const struct {
    const char *name;
    enum value_kind kind;
} operators[] = {
    {"REQ",                                     VALUE_REQUEST_HEADER},
    {"RESP",                                    VALUE_RESPONSE_HEADER},
    {"RESPONSE_CODE",                           VALUE_RESPONSE_CODE},
    {"DOWNSTREAM_REMOTE_ADDRESS",               VALUE_REMOTE_ADDRESS},
    {"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",  VALUE_REMOTE_IP},
    {"DOWNSTREAM_LOCAL_ADDRESS",                VALUE_LOCAL_ADDRESS},
    {"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",   VALUE_LOCAL_IP},
    {"DOWNSTREAM_LOCAL_PORT",                   VALUE_LOCAL_PORT},
    {"PROTOCOL",                                VALUE_PROTOCOL},
    {"REQUESTED_SERVER_NAME",                   VALUE_SERVER_NAME},
    {"ROUTE_NAME",                              VALUE_ROUTE_NAME},
    {"UPSTREAM_HOST",                           VALUE_UPSTREAM_HOST},
    {"UPSTREAM_REMOTE_ADDRESS",                 VALUE_UPSTREAM_HOST},
    {"UPSTREAM_CLUSTER",                        VALUE_UPSTREAM_CLUSTER},
};
// clang-format on

struct value_part {
    enum value_kind kind;
    struct str text;        // literal, or the header's name
    struct str alternative; // header to look at when the first is absent
    size_t size_max;        // 0: whole
};

struct header_value {
    struct value_part parts[HEADER_VALUE_PARTS_MAX];
    size_t count;
};

static struct str lower(struct arena *arena, struct str text)
{
    char *copy = arena_strdup(arena, text);
    for (size_t i = 0; i < text.size; i++) {
        copy[i] = (char)(copy[i] >= 'A' && copy[i] <= 'Z' ? copy[i] - 'A' + 'a' : copy[i]);
    }
    return str_make(copy, text.size);
}

// "REQ(X-A?X-B):20", without the percent signs.
static enum err compile_operator(struct arena *arena, struct str text, struct value_part *part, struct error *err)
{
    struct str name = text;
    struct str argument = STR_EMPTY;
    ptrdiff_t open = str_find_char(text, '(');
    ptrdiff_t close = str_find_last_char(text, ')');
    if (open >= 0 && close > open) {
        name = str_sub(text, 0, (size_t)open);
        argument = str_sub(text, (size_t)open + 1, (size_t)(close - open - 1));
        struct str tail = str_from(text, (size_t)close + 1);
        uint64_t size = 0;
        if (tail.size > 0 && (tail.data[0] != ':' || !str_to_u64(str_from(tail, 1), &size))) {
            return error_set(err, ERR_INVALID, "header value operator %%%.*s%%: want a length after it", STR_ARG(text));
        }
        part->size_max = (size_t)size;
    }
    for (size_t i = 0; i < array_count(operators); i++) {
        if (!str_equal_c(name, operators[i].name)) {
            continue;
        }
        bool takes_header = operators[i].kind == VALUE_REQUEST_HEADER || operators[i].kind == VALUE_RESPONSE_HEADER;
        if (takes_header != (argument.size > 0)) {
            break;
        }
        part->kind = operators[i].kind;
        part->text = lower(arena, str_split(&argument, '?'));
        part->alternative = argument.data == NULL ? STR_EMPTY : lower(arena, argument);
        return ERR_OK;
    }
    return error_set(err, ERR_UNSUPPORTED, "header value operator %%%.*s%% is not supported", STR_ARG(text));
}

// One literal or operator from the front of *rest.
static enum err compile_part(struct arena *arena, struct str *rest, struct value_part *part, struct error *err)
{
    ptrdiff_t percent = str_find_char(*rest, '%');
    if (percent != 0) {
        size_t size = percent < 0 ? rest->size : (size_t)percent;
        part->text = arena_str(arena, str_sub(*rest, 0, size));
        *rest = str_from(*rest, size);
        return ERR_OK;
    }
    ptrdiff_t end = str_find_char(str_from(*rest, 1), '%');
    if (end < 0) {
        return error_set(err, ERR_INVALID, "header value with an open %%");
    }
    struct str inside = str_sub(*rest, 1, (size_t)end);
    *rest = str_from(*rest, (size_t)end + 2);
    if (inside.size == 0) {
        part->text = STR("%");
        return ERR_OK;
    }
    return compile_operator(arena, inside, part, err);
}

enum err header_value_compile(struct arena *arena, struct str text, struct str *ret_text, const struct header_value **ret_value,
                              struct error *err)
{
    *ret_value = NULL;
    if (str_find_char(text, '%') < 0) {
        *ret_text = arena_str(arena, text);
        return ERR_OK;
    }
    struct header_value *value = arena_new(arena, struct header_value);
    bool is_plain = true;
    for (struct str rest = text; rest.size > 0; value->count++) {
        if (value->count == HEADER_VALUE_PARTS_MAX) {
            return error_set(err, ERR_LIMIT, "header value of more than %u parts", HEADER_VALUE_PARTS_MAX);
        }
        enum err result = compile_part(arena, &rest, &value->parts[value->count], err);
        if (result != ERR_OK) {
            return result;
        }
        is_plain = is_plain && value->parts[value->count].kind == VALUE_TEXT;
    }
    *ret_text = STR_EMPTY;
    if (is_plain) {
        *ret_text = header_value_make(value, &(struct header_facts){0}, arena);
    } else {
        *ret_value = value;
    }
    return ERR_OK;
}

// --- making --------------------------------------------------------------------------------------------

static struct str find_header(const struct http_head *head, struct str name)
{
    if (head == NULL || name.size == 0) {
        return STR_EMPTY;
    }
    if (name.data[0] == ':') {
        return str_equal(name, STR(":path"))        ? head->path
               : str_equal(name, STR(":method"))    ? head->method
               : str_equal(name, STR(":authority")) ? head->authority
               : str_equal(name, STR(":scheme"))    ? head->scheme
                                                    : STR_EMPTY;
    }
    return http_head_get(head, name);
}

// "10.0.0.1:80" and "[::1]:80" without brackets and port.
static struct str without_port(struct str address)
{
    ptrdiff_t colon = str_find_last_char(address, ':');
    struct str host = colon < 0 ? address : str_sub(address, 0, (size_t)colon);
    return host.size >= 2 && host.data[0] == '[' ? str_sub(host, 1, host.size - 2) : host;
}

static struct str find_value(const struct value_part *part, const struct header_facts *facts, struct arena *arena)
{
    ptrdiff_t colon;
    const struct http_head *head = part->kind == VALUE_REQUEST_HEADER ? facts->request : facts->response;
    struct str found;
    switch (part->kind) {
    case VALUE_TEXT:
        return part->text;
    case VALUE_REQUEST_HEADER:
    case VALUE_RESPONSE_HEADER:
        found = find_header(head, part->text);
        return found.size > 0 ? found : find_header(head, part->alternative);
    case VALUE_RESPONSE_CODE:
        return facts->response == NULL ? STR_EMPTY : arena_format(arena, "%d", facts->response->status);
    case VALUE_REMOTE_ADDRESS:
        return facts->remote_address;
    case VALUE_REMOTE_IP:
        return without_port(facts->remote_address);
    case VALUE_LOCAL_ADDRESS:
        return facts->local_address;
    case VALUE_LOCAL_IP:
        return without_port(facts->local_address);
    case VALUE_LOCAL_PORT:
        colon = str_find_last_char(facts->local_address, ':');
        return colon < 0 ? STR_EMPTY : str_from(facts->local_address, (size_t)colon + 1);
    case VALUE_PROTOCOL:
        return facts->protocol;
    case VALUE_SERVER_NAME:
        return facts->server_name;
    case VALUE_ROUTE_NAME:
        return facts->route_name;
    case VALUE_UPSTREAM_HOST:
        return facts->upstream_host;
    case VALUE_UPSTREAM_CLUSTER:
        return facts->upstream_cluster;
    }
    return STR_EMPTY;
}

struct str header_value_make(const struct header_value *value, const struct header_facts *facts, struct arena *arena)
{
    struct buf out = {0};
    for (size_t i = 0; i < value->count; i++) {
        struct str found = find_value(&value->parts[i], facts, arena);
        size_t size_max = value->parts[i].size_max;
        buf_append_str(&out, size_max > 0 ? str_sub(found, 0, size_max) : found);
    }
    struct str result = arena_str(arena, buf_view(&out));
    buf_done(&out);
    return result;
}
