// SPDX-License-Identifier: Apache-2.0
#include "lab/node/context.h"

#include <unistd.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/memory.h"
#include "lab/node/quantity.h"

const struct json_value *context_find(const struct pod_context *context, enum object_kind kind, struct str name,
                                      struct error *err)
{
    const struct json_value *object = context->source.find(context->source.owner, kind, context->ns, name);
    if (object == NULL) {
        (void)error_set(err, ERR_NOT_FOUND, "%s \"%.*s\" not found", kind == OBJECT_SECRET ? "secret" : "configmap",
                        STR_ARG(name));
    }
    return object;
}

struct str context_value(struct arena *arena, enum object_kind kind, const struct json_value *object, struct str key)
{
    struct str text = json_str(json_get_str_name(json_get(object, "data"), key));
    if (text.data != NULL && kind == OBJECT_CONFIG_MAP) {
        return text;
    }
    if (text.data == NULL) {
        text = json_str(json_get_str_name(json_get(object, "binaryData"), key));
    }
    struct str bytes;
    if (text.data == NULL || !base64_decode(arena, text, &bytes)) {
        return (struct str){0};
    }
    return bytes;
}

// --- downward API ----------------------------------------------------------------------------------

// k="v" lines in the order of the object, as the kubelet writes them.
static struct str format_map(struct arena *arena, const struct json_value *map)
{
    struct buf lines = {0};
    if (json_is(map, JSON_OBJECT)) {
        for (size_t i = 0; i < map->object.count; i++) {
            if (i > 0) {
                buf_append_char(&lines, '\n');
            }
            buf_append_str(&lines, map->object.members[i].name);
            buf_append_char(&lines, '=');
            json_write_string(json_str(map->object.members[i].value), &lines);
        }
    }
    struct str text = arena_str(arena, buf_view(&lines));
    buf_done(&lines);
    return text;
}

// metadata.labels['KEY'] → KEY; false when path is not of that form.
static bool map_key(struct str path, struct str prefix, struct str *ret_key)
{
    if (!str_starts_with(path, prefix) || !str_ends_with(path, STR("']"))) {
        return false;
    }
    struct str rest = str_from(path, prefix.size);
    if (!str_starts_with(rest, STR("['")) || rest.size < 4) {
        return false;
    }
    *ret_key = str_sub(rest, 2, rest.size - 4);
    return true;
}

static struct str or_empty(struct str s)
{
    return s.data == NULL ? STR_EMPTY : s;
}

struct str context_field(struct arena *arena, const struct pod_context *context, struct str path)
{
    const struct json_value *metadata = json_get(context->pod, "metadata");
    struct str account = json_str(json_path(context->pod, "spec", "serviceAccountName", NULL));
    const struct {
        const char *path;
        struct str value;
    } fields[] = {
        {"metadata.name", context->name},     {"metadata.namespace", context->ns}, {"metadata.uid", context->uid},
        {"spec.nodeName", context->node_name}, {"spec.serviceAccountName", account}, {"status.podIP", context->pod_ip},
        {"status.podIPs", context->pod_ip},    {"status.hostIP", context->host_ip},  {"status.hostIPs", context->host_ip},
    };
    struct str key;
    for (size_t i = 0; i < array_count(fields); i++) {
        if (str_equal_c(path, fields[i].path)) {
            return or_empty(fields[i].value);
        }
    }
    if (str_equal_c(path, "metadata.labels")) {
        return format_map(arena, json_get(metadata, "labels"));
    }
    if (str_equal_c(path, "metadata.annotations")) {
        return format_map(arena, json_get(metadata, "annotations"));
    }
    if (map_key(path, STR("metadata.labels"), &key)) {
        return or_empty(json_str(json_get_str_name(json_get(metadata, "labels"), key)));
    }
    if (map_key(path, STR("metadata.annotations"), &key)) {
        return or_empty(json_str(json_get_str_name(json_get(metadata, "annotations"), key)));
    }
    return (struct str){0};
}

// What the machine has, where a container has no limit.
static uint64_t machine_has(struct str resource)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    if (str_equal_c(resource, "limits.cpu") || str_equal_c(resource, "requests.cpu")) {
        return (uint64_t)(count > 0 ? count : 1) * 1000;
    }
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_size = sysconf(_SC_PAGESIZE);
    return (uint64_t)(pages > 0 ? pages : 1) * (uint64_t)(page_size > 0 ? page_size : 4096) * 1000;
}

struct str context_resource(struct arena *arena, const struct json_value *container, const struct json_value *reference)
{
    struct str resource = json_get_str(reference, "resource");
    struct str rest = resource;
    struct str list = str_split(&rest, '.');
    uint64_t amount = 0;
    uint64_t divisor = 1000;
    const struct json_value *amounts = json_get_str_name(json_get(container, "resources"), list);
    struct str text = json_str(json_get_str_name(amounts, rest.data == NULL ? STR_EMPTY : rest));
    if (text.data == NULL || !quantity_parse(text, &amount)) {
        amount = str_equal_c(list, "requests") ? 0 : machine_has(resource);
    }
    text = json_get_str(reference, "divisor");
    if (text.data == NULL || !quantity_parse(text, &divisor) || divisor == 0) {
        divisor = 1000;
    }
    return arena_format(arena, "%llu", (unsigned long long)((amount + divisor - 1) / divisor));
}
