// SPDX-License-Identifier: Apache-2.0
#include "lab/node/environment.h"

#include <ctype.h>

#include "base/buf.h"
#include "base/memory.h"

#define DEFAULT_PATH "/isthmesh/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static void put(struct arena *arena, struct map *values, struct str name, struct str value)
{
    struct str *slot = map_get(values, name);
    if (slot == NULL) {
        slot = arena_new(arena, struct str);
        (void)map_set(values, name, slot);
    }
    *slot = arena_str(arena, value);
}

struct str environment_expand(struct arena *arena, const struct map *values, struct str text)
{
    struct buf out = {0};
    for (size_t at = 0; at < text.size && out.size < ENVIRONMENT_VALUE_MAX;) {
        struct str rest = str_from(text, at);
        if (str_starts_with(rest, STR("$$"))) {
            buf_append_char(&out, '$');
            at += 2;
            continue;
        }
        ptrdiff_t end = str_starts_with(rest, STR("$(")) ? str_find_char(rest, ')') : -1;
        const struct str *value = end < 0 ? NULL : map_get(values, str_sub(rest, 2, (size_t)end - 2));
        if (value != NULL) {
            buf_append_str(&out, *value);
            at += (size_t)end + 1;
        } else {
            buf_append_char(&out, text.data[at++]);
        }
    }
    struct str expanded = arena_str(arena, buf_view(&out));
    buf_done(&out);
    return expanded;
}

// --- services --------------------------------------------------------------------------------------

static struct str variable_name(struct arena *arena, struct str text)
{
    char *name = arena_strdup(arena, text);
    for (size_t i = 0; i < text.size; i++) {
        name[i] = name[i] == '-' ? '_' : (char)toupper((unsigned char)name[i]);
    }
    return str_make(name, text.size);
}

static void put_port(struct arena *arena, struct map *values, struct str service, struct str ip, const struct json_value *port,
                     bool is_first)
{
    long long number = json_get_int(port, "port", 0);
    struct str name = json_get_str(port, "name");
    struct str protocol = json_get_str(port, "protocol");
    protocol = str_is_empty(protocol) ? STR("TCP") : protocol;
    char *lower = arena_strdup(arena, protocol);
    for (size_t i = 0; i < protocol.size; i++) {
        lower[i] = (char)tolower((unsigned char)lower[i]);
    }
    struct str number_text = arena_format(arena, "%lld", number);
    struct str url = arena_format(arena, "%s://%.*s:%lld", lower, STR_ARG(ip), number);
    struct str prefix = arena_format(arena, "%.*s_PORT_%lld_%.*s", STR_ARG(service), number, STR_ARG(protocol));
    if (is_first) {
        put(arena, values, arena_format(arena, "%.*s_SERVICE_HOST", STR_ARG(service)), ip);
        put(arena, values, arena_format(arena, "%.*s_SERVICE_PORT", STR_ARG(service)), number_text);
        put(arena, values, arena_format(arena, "%.*s_PORT", STR_ARG(service)), url);
    }
    if (!str_is_empty(name)) {
        struct str upper = variable_name(arena, name);
        put(arena, values, arena_format(arena, "%.*s_SERVICE_PORT_%.*s", STR_ARG(service), STR_ARG(upper)), number_text);
    }
    put(arena, values, prefix, url);
    put(arena, values, arena_format(arena, "%.*s_PROTO", STR_ARG(prefix)), str_of(lower));
    put(arena, values, arena_format(arena, "%.*s_PORT", STR_ARG(prefix)), number_text);
    put(arena, values, arena_format(arena, "%.*s_ADDR", STR_ARG(prefix)), ip);
}

static void put_services(struct arena *arena, const struct pod_context *context, struct map *values)
{
    bool wants_links = json_get_bool(json_get(context->pod, "spec"), "enableServiceLinks", true);
    size_t at = 0;
    for (const struct json_value *service; (service = context->source.each_service(context->source.owner, &at)) != NULL;) {
        struct str ns = json_str(json_path(service, "metadata", "namespace", NULL));
        struct str name = json_str(json_path(service, "metadata", "name", NULL));
        struct str ip = json_str(json_path(service, "spec", "clusterIP", NULL));
        const struct json_value *ports = json_path(service, "spec", "ports", NULL);
        bool is_master = str_equal_c(ns, "default") && str_equal_c(name, "kubernetes");
        if (str_is_empty(ip) || str_equal_c(ip, "None") || !(is_master || (wants_links && str_equal(ns, context->ns)))) {
            continue;
        }
        for (size_t i = 0; i < json_count(ports); i++) {
            put_port(arena, values, variable_name(arena, name), ip, json_at(ports, i), i == 0);
        }
    }
}

// --- env and envFrom -------------------------------------------------------------------------------

static enum err put_from(struct arena *arena, const struct pod_context *context, const struct json_value *from,
                         struct map *values, struct error *err)
{
    struct str prefix = json_get_str(from, "prefix");
    enum object_kind kind = json_get(from, "secretRef") != NULL ? OBJECT_SECRET : OBJECT_CONFIG_MAP;
    const struct json_value *reference = json_get(from, kind == OBJECT_SECRET ? "secretRef" : "configMapRef");
    struct error missing = {0};
    const struct json_value *object = context_find(context, kind, json_get_str(reference, "name"), &missing);
    if (object == NULL) {
        return json_get_bool(reference, "optional", false) ? ERR_OK : error_set(err, missing.code, "%s", missing.message);
    }
    const struct json_value *data = json_get(object, "data");
    for (size_t i = 0; i < json_count(data); i++) {
        struct str key = data->object.members[i].name;
        struct str value = context_value(arena, kind, object, key);
        put(arena, values, arena_format(arena, "%.*s%.*s", STR_ARG(prefix), STR_ARG(key)), value);
    }
    return ERR_OK;
}

static enum err find_key(struct arena *arena, const struct pod_context *context, enum object_kind kind,
                         const struct json_value *reference, struct str *ret_value, struct error *err)
{
    struct error missing = {0};
    struct str key = json_get_str(reference, "key");
    const struct json_value *object = context_find(context, kind, json_get_str(reference, "name"), &missing);
    struct str value = object == NULL ? (struct str){0} : context_value(arena, kind, object, key);
    *ret_value = value;
    if (value.data != NULL || json_get_bool(reference, "optional", false)) {
        return ERR_OK;
    }
    if (object == NULL) {
        return error_set(err, missing.code, "%s", missing.message);
    }
    return error_set(err, ERR_NOT_FOUND, "couldn't find key %.*s in %s %.*s/%.*s", STR_ARG(key),
                     kind == OBJECT_SECRET ? "Secret" : "ConfigMap", STR_ARG(context->ns),
                     STR_ARG(json_get_str(reference, "name")));
}

static enum err put_variable(struct arena *arena, const struct pod_context *context, const struct json_value *container,
                             const struct json_value *variable, struct map *values, struct error *err)
{
    const struct json_value *from = json_get(variable, "valueFrom");
    const struct json_value *reference = NULL;
    struct str value = {0};
    enum err code = ERR_OK;
    if ((reference = json_get(from, "fieldRef")) != NULL) {
        value = context_field(arena, context, json_get_str(reference, "fieldPath"));
    } else if ((reference = json_get(from, "resourceFieldRef")) != NULL) {
        value = context_resource(arena, container, reference);
    } else if ((reference = json_get(from, "secretKeyRef")) != NULL) {
        code = find_key(arena, context, OBJECT_SECRET, reference, &value, err);
    } else if ((reference = json_get(from, "configMapKeyRef")) != NULL) {
        code = find_key(arena, context, OBJECT_CONFIG_MAP, reference, &value, err);
    } else {
        value = json_get_str(variable, "value");
        value = environment_expand(arena, values, value.data == NULL ? STR_EMPTY : value);
    }
    if (code == ERR_OK && value.data != NULL) {
        put(arena, values, json_get_str(variable, "name"), value);
    }
    return code;
}

enum err environment_build(struct arena *arena, const struct pod_context *context, const struct json_value *container,
                           const char *image_variable, struct map *values, struct error *err)
{
    put(arena, values, STR("PATH"), STR(DEFAULT_PATH));
    put(arena, values, STR("HOSTNAME"), context->host_name);
    if (image_variable != NULL) {
        struct str value = str_of(image_variable);
        struct str name = str_split(&value, '=');
        put(arena, values, name, value);
    }
    put_services(arena, context, values);
    const struct json_value *sources = json_get(container, "envFrom");
    const struct json_value *variables = json_get(container, "env");
    for (size_t i = 0; i < json_count(sources); i++) {
        enum err code = put_from(arena, context, json_at(sources, i), values, err);
        if (code != ERR_OK) {
            return code;
        }
    }
    for (size_t i = 0; i < json_count(variables); i++) {
        enum err code = put_variable(arena, context, container, json_at(variables, i), values, err);
        if (code != ERR_OK) {
            return code;
        }
    }
    return ERR_OK;
}
