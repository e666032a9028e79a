// SPDX-License-Identifier: Apache-2.0
//
// OpenAPI as far as kubectl needs it: which kinds there are, and that they take dryRun and fieldValidation.
//
// Version 2 is served as the protobuf document kubectl insists on (a JSON one is an error to every
// kubectl). Messages and field numbers of openapiv2.Document:
//   Document 1 swagger, 2 info {1 title, 2 version}, 8 paths {2 named path item {1 name, 2 path item}}
//   PathItem 8 patch; Operation 8 parameter, 13 extension {1 name, 2 any {2 yaml}}
//   Parameter: 1 {2 {3 {2 in, 4 name, 6 type}}} down to a query parameter
// Version 3 is an index and one JSON document per group and version. Neither has schemas.
#include "lab/apiserver/request.h"

#define PROTOBUF_TYPE "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

static void put_varint(struct buf *out, uint64_t value)
{
    while (value >= 0x80) {
        buf_append_char(out, (char)(unsigned char)(value | 0x80));
        value >>= 7;
    }
    buf_append_char(out, (char)value);
}

static void put_bytes(struct buf *out, unsigned field, struct str bytes)
{
    put_varint(out, (uint64_t)field << 3 | 2);
    put_varint(out, bytes.size);
    buf_append_str(out, bytes);
}

// Appends message as a field and empties it.
static void put_message(struct buf *out, unsigned field, struct buf *message)
{
    put_bytes(out, field, buf_view(message));
    buf_reset(message);
}

static void put_query_parameter(struct buf *operation, const char *name)
{
    struct buf inner = {0};
    struct buf outer = {0};
    put_bytes(&inner, 2, STR("query"));
    put_bytes(&inner, 4, str_of(name));
    put_bytes(&inner, 6, STR("string"));
    put_message(&outer, 3, &inner); // NonBodyParameter.query_parameter_sub_schema
    put_message(&inner, 2, &outer); // Parameter.non_body_parameter
    put_message(&outer, 1, &inner); // ParametersItem.parameter
    put_message(operation, 8, &outer);
    buf_done(&inner);
    buf_done(&outer);
}

static void put_kind_extension(struct buf *operation, const struct kind *kind)
{
    struct buf text = {0};
    struct buf any = {0};
    struct buf named = {0};
    buf_printf(&text, "group: \"%.*s\"\nkind: %.*s\nversion: %.*s\n", STR_ARG(kind->group), STR_ARG(kind->kind),
               STR_ARG(kind->version));
    put_bytes(&any, 2, buf_view(&text));
    put_bytes(&named, 1, STR("x-kubernetes-group-version-kind"));
    put_message(&named, 2, &any);
    put_message(operation, 13, &named);
    buf_done(&text);
    buf_done(&any);
    buf_done(&named);
}

static struct str object_path(struct arena *arena, const struct kind *kind)
{
    return arena_format(arena, "/%s/%.*s/%s%.*s/{name}", str_is_empty(kind->group) ? "api" : "apis",
                        STR_ARG(kind->api_version), kind_has(kind, KIND_NAMESPACED) ? "namespaces/{namespace}/" : "",
                        STR_ARG(kind->plural));
}

static void put_path(struct arena *arena, struct buf *paths, const struct kind *kind)
{
    struct buf operation = {0};
    struct buf item = {0};
    struct buf named = {0};
    put_query_parameter(&operation, "dryRun");
    put_query_parameter(&operation, "fieldValidation");
    put_kind_extension(&operation, kind);
    put_message(&item, 8, &operation);
    put_bytes(&named, 1, object_path(arena, kind));
    put_message(&named, 2, &item);
    put_message(paths, 2, &named);
    buf_done(&operation);
    buf_done(&item);
    buf_done(&named);
}

static void serve_v2(struct request *request)
{
    const struct kind_set *set = &request->server->kinds;
    struct buf info = {0};
    struct buf paths = {0};
    struct buf document = {0};
    put_bytes(&document, 1, STR("2.0"));
    put_bytes(&info, 1, STR("Kubernetes"));
    put_bytes(&info, 2, STR("v1.27.3"));
    put_message(&document, 2, &info);
    for (size_t i = 0; i < set->items.count; i++) {
        if (set->items.items[i]->bucket != NULL) {
            put_path(&request->arena, &paths, set->items.items[i]);
        }
    }
    put_message(&document, 8, &paths);
    request_respond(request, 200, STR(PROTOBUF_TYPE), buf_view(&document));
    buf_done(&info);
    buf_done(&paths);
    buf_done(&document);
}

// --- version 3 -------------------------------------------------------------------------------------

static struct str version_path(struct arena *arena, const struct kind *kind)
{
    return arena_format(arena, "%s/%.*s", str_is_empty(kind->group) ? "api" : "apis", STR_ARG(kind->api_version));
}

static void serve_v3_index(struct request *request)
{
    struct arena *arena = &request->arena;
    const struct kind_set *set = &request->server->kinds;
    struct json_value *index = json_new_object(arena);
    struct json_value *paths = json_ensure_object(arena, index, "paths");
    for (size_t i = 0; i < set->items.count; i++) {
        struct str path = version_path(arena, set->items.items[i]);
        struct json_value *entry = json_new_object(arena);
        json_set_str(arena, entry, "serverRelativeURL",
                     arena_format(arena, "/openapi/v3/%.*s?hash=%llu", STR_ARG(path),
                                  (unsigned long long)set->generation));
        json_set(arena, paths, path, entry);
    }
    request_respond_json(request, 200, index);
}

static struct json_value *make_patch_operation(struct arena *arena, const struct kind *kind)
{
    static const char *const names[] = {"dryRun", "fieldValidation"};
    struct json_value *item = json_new_object(arena);
    struct json_value *operation = json_ensure_object(arena, item, "patch");
    struct json_value *identity = json_ensure_object(arena, operation, "x-kubernetes-group-version-kind");
    json_set_str(arena, identity, "group", kind->group);
    json_set_str(arena, identity, "version", kind->version);
    json_set_str(arena, identity, "kind", kind->kind);
    struct json_value *parameters = json_ensure_array(arena, operation, "parameters");
    for (size_t i = 0; i < array_count(names); i++) {
        struct json_value *parameter = json_new_object(arena);
        json_set_cstr(arena, parameter, "name", names[i]);
        json_set_cstr(arena, parameter, "in", "query");
        json_set_cstr(arena, json_ensure_object(arena, parameter, "schema"), "type", "string");
        json_push(arena, parameters, parameter);
    }
    (void)json_ensure_object(arena, operation, "responses");
    return item;
}

static bool serve_v3_document(struct request *request, struct str wanted)
{
    struct arena *arena = &request->arena;
    const struct kind_set *set = &request->server->kinds;
    struct json_value *document = json_new_object(arena);
    json_set_cstr(arena, document, "openapi", "3.0.0");
    struct json_value *info = json_ensure_object(arena, document, "info");
    json_set_cstr(arena, info, "title", "Kubernetes");
    json_set_cstr(arena, info, "version", "v1.27.3");
    struct json_value *paths = json_ensure_object(arena, document, "paths");
    bool found = false;
    for (size_t i = 0; i < set->items.count; i++) {
        const struct kind *kind = set->items.items[i];
        if (!str_equal(version_path(arena, kind), wanted)) {
            continue;
        }
        found = true;
        if (kind->bucket != NULL) {
            json_set(arena, paths, object_path(arena, kind), make_patch_operation(arena, kind));
        }
    }
    (void)json_ensure_object(arena, json_ensure_object(arena, document, "components"), "schemas");
    if (found) {
        request_respond_json(request, 200, document);
    }
    return found;
}

void openapi_serve(struct request *request)
{
    struct str path = request->path.path;
    struct str prefix = STR("/openapi/v3/");
    if (str_equal(path, STR("/openapi/v2"))) {
        serve_v2(request);
    } else if (str_equal(path, STR("/openapi/v3"))) {
        serve_v3_index(request);
    } else if (!str_starts_with(path, prefix) || !serve_v3_document(request, str_from(path, prefix.size))) {
        request_respond(request, 404, STR("text/plain; charset=utf-8"), STR("404 page not found\n"));
    }
}
