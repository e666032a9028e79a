// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/request_path.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// Percent-decodes into the arena; data NULL when malformed or when a NUL byte shows up.
static struct str url_decode(struct arena *arena, struct str text, bool plus_is_blank)
{
    char *out = arena_alloc(arena, text.size + 1);
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '%') {
            int high = text.size - i > 2 ? hex_digit(text.data[i + 1]) : -1;
            int low = text.size - i > 2 ? hex_digit(text.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return (struct str){0};
            }
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus_is_blank) {
            c = ' ';
        }
        if (c == '\0') {
            return (struct str){0};
        }
        out[size++] = c;
    }
    out[size] = '\0';
    return str_make(out, size);
}

static enum err parse_query(struct arena *arena, struct str query, struct request_path *path,
                            struct error *err)
{
    for (struct str rest = query; rest.data != NULL;) {
        struct str value = str_split(&rest, '&');
        if (str_is_empty(value)) {
            continue;
        }
        if (path->parameter_count == REQUEST_PARAMETERS_MAX) {
            return error_set(err, ERR_LIMIT, "more than %u query parameters", REQUEST_PARAMETERS_MAX);
        }
        ptrdiff_t equal = str_find_char(value, '=');
        struct str name = equal < 0 ? value : str_sub(value, 0, (size_t)equal);
        value = equal < 0 ? STR_EMPTY : str_from(value, (size_t)equal + 1);
        struct request_parameter *parameter = &path->parameters[path->parameter_count];
        parameter->name = url_decode(arena, name, true);
        parameter->value = url_decode(arena, value, true);
        if (parameter->name.data == NULL || parameter->value.data == NULL) {
            return error_set(err, ERR_INVALID, "malformed percent-encoding in the query");
        }
        path->parameter_count++;
    }
    return ERR_OK;
}

// Takes the next segment off rest; empty at the end.
static struct str next_segment(struct str *rest)
{
    return rest->data == NULL ? STR_EMPTY : str_split(rest, '/');
}

static void parse_resource(struct request_path *path)
{
    struct str rest = str_from(path->path, 1);
    struct str root = next_segment(&rest);
    if (str_equal(root, STR("api"))) {
        path->group = STR_EMPTY;
    } else if (str_equal(root, STR("apis"))) {
        path->group = next_segment(&rest);
        if (str_is_empty(path->group)) {
            return;
        }
    } else {
        return;
    }
    path->version = next_segment(&rest);
    struct str segment = next_segment(&rest);
    if (str_equal(segment, STR("watch")) && rest.data != NULL) {
        path->watch_prefix = true;
        segment = next_segment(&rest);
    }
    if (str_is_empty(path->version) || str_is_empty(segment)) {
        return;
    }
    path->is_resource = true;
    path->plural = segment;
    path->name = next_segment(&rest);
    struct str third = next_segment(&rest);
    bool own_subresource = str_equal(third, STR("status")) || str_equal(third, STR("finalize"));
    if (str_equal(segment, STR("namespaces")) && !str_is_empty(third) && !own_subresource) {
        path->ns = path->name;
        path->plural = third;
        path->name = next_segment(&rest);
        path->subresource = rest.data == NULL ? STR_EMPTY : rest;
        return;
    }
    path->subresource = third;
    if (rest.data != NULL) { // "proxy/a/b": from the third segment to the end
        path->subresource = str_make(third.data, (size_t)(rest.data + rest.size - third.data));
    }
}

enum err request_path_parse(struct arena *arena, struct str target, struct request_path *ret_path,
                            struct error *err)
{
    if (target.size > REQUEST_PATH_MAX) {
        return error_set(err, ERR_LIMIT, "the request path is longer than %u bytes", REQUEST_PATH_MAX);
    }
    if (str_is_empty(target) || target.data[0] != '/') {
        return error_set(err, ERR_INVALID, "the request path must begin with a slash");
    }
    struct request_path *path = ret_path;
    *path = (struct request_path){0};
    ptrdiff_t mark = str_find_char(target, '?');
    struct str raw = mark < 0 ? target : str_sub(target, 0, (size_t)mark);
    if (mark >= 0 && parse_query(arena, str_from(target, (size_t)mark + 1), path, err) != ERR_OK) {
        return ERR_INVALID;
    }
    path->path = url_decode(arena, raw, false);
    if (path->path.data == NULL) {
        return error_set(err, ERR_INVALID, "malformed percent-encoding in the path");
    }
    while (path->path.size > 1 && path->path.data[path->path.size - 1] == '/') {
        path->path.size--;
    }
    parse_resource(path);
    return ERR_OK;
}

struct str request_parameter(const struct request_path *path, const char *name)
{
    for (size_t i = 0; i < path->parameter_count; i++) {
        if (str_equal_c(path->parameters[i].name, name)) {
            return path->parameters[i].value;
        }
    }
    return (struct str){0};
}

bool request_has_value(const struct request_path *path, const char *name, const char *value)
{
    for (size_t i = 0; i < path->parameter_count; i++) {
        if (str_equal_c(path->parameters[i].name, name) && str_equal_c(path->parameters[i].value, value)) {
            return true;
        }
    }
    return false;
}

bool request_flag(const struct request_path *path, const char *name)
{
    struct str value = request_parameter(path, name);
    return str_equal(value, STR("1")) || str_equal(value, STR("t")) || str_equal(value, STR("T")) ||
           str_equal_nocase(value, STR("true"));
}
