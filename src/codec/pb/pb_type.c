// SPDX-License-Identifier: Apache-2.0
//
// The registry of types and what needs it: Any, and TypedStruct that stands in for any typed message.
#include "codec/pb/pb_internal.h"
#include "codec/pb/schema_table.h"
#include "udpa/type/v1/typed_struct.pb-c.h"
#include "xds/type/v3/typed_struct.pb-c.h"

static struct str name_of(struct str name_or_url)
{
    ptrdiff_t slash = str_find_last_char(name_or_url, '/');
    return slash < 0 ? name_or_url : str_from(name_or_url, (size_t)slash + 1);
}

static const struct schema_type *find_row(struct str name)
{
    size_t low = 0;
    size_t high = schema_type_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = str_compare(str_of(schema_types[middle].descriptor->name), name);
        if (order == 0) {
            return &schema_types[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

const ProtobufCMessageDescriptor *pb_type_find(struct str name_or_url)
{
    const struct schema_type *row = find_row(name_of(name_or_url));
    return row == NULL ? NULL : row->descriptor;
}

bool pb_is_map_entry(const ProtobufCMessageDescriptor *type)
{
    const struct schema_type *row = find_row(str_of(type->name));
    return row != NULL && row->is_map_entry;
}

const char *pb_explicit_json_name(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field)
{
    for (const struct schema_json_name *row = schema_json_names; row->message != NULL; row++) {
        if (strcmp(row->message, type->name) == 0 && strcmp(row->field, field->name) == 0) {
            return row->json_name;
        }
    }
    return NULL;
}

struct str pb_type_url(struct arena *arena, const ProtobufCMessageDescriptor *type)
{
    return arena_format(arena, PB_TYPE_URL_PREFIX "%s", type->name);
}

static struct str any_bytes(const Google__Protobuf__Any *any)
{
    return str_make((const char *)any->value.data, any->value.len);
}

Google__Protobuf__Any *pb_any(struct arena *arena, const void *message)
{
    const ProtobufCMessage *base = message;
    Google__Protobuf__Any *any = pb_new(arena, &google__protobuf__any__descriptor);
    any->type_url = arena_strdup(arena, pb_type_url(arena, base->descriptor));
    struct str bytes = pb_pack_str(arena, message);
    any->value = (ProtobufCBinaryData){.len = bytes.size, .data = (uint8_t *)(uintptr_t)bytes.data};
    return any;
}

bool pb_any_is(const Google__Protobuf__Any *any, const ProtobufCMessageDescriptor *type)
{
    return any != NULL && str_equal_c(name_of(str_of(any->type_url)), type->name);
}

// The two TypedStructs have one wire shape, so that one decoded type serves both.
static bool is_typed_struct(const Google__Protobuf__Any *any)
{
    return pb_any_is(any, &udpa__type__v1__typed_struct__descriptor) || pb_any_is(any, &xds__type__v3__typed_struct__descriptor);
}

static void *resolve_typed_struct(struct arena *arena, const Udpa__Type__V1__TypedStruct *typed, struct error *err)
{
    const ProtobufCMessageDescriptor *type = pb_type_find(str_of(typed->type_url));
    if (type == NULL) {
        (void)error_set(err, ERR_UNSUPPORTED, "unknown type %s", typed->type_url);
        return NULL;
    }
    return pb_from_json(arena, type, pb_struct_to_json(arena, typed->value), PB_JSON_IGNORE_UNKNOWN, err);
}

void *pb_any_resolve(struct arena *arena, const Google__Protobuf__Any *any, struct error *err)
{
    if (any == NULL) {
        (void)error_set(err, ERR_INVALID, "typed_config is missing");
        return NULL;
    }
    if (is_typed_struct(any)) {
        const Udpa__Type__V1__TypedStruct *typed =
            pb_unpack(arena, &udpa__type__v1__typed_struct__descriptor, any_bytes(any), err);
        return typed == NULL ? NULL : resolve_typed_struct(arena, typed, err);
    }
    const ProtobufCMessageDescriptor *type = pb_type_find(str_of(any->type_url));
    if (type == NULL) {
        (void)error_set(err, ERR_UNSUPPORTED, "unknown type %s", any->type_url);
        return NULL;
    }
    return pb_unpack(arena, type, any_bytes(any), err);
}

void *pb_any_unpack(struct arena *arena, const Google__Protobuf__Any *any, const ProtobufCMessageDescriptor *type,
                    struct error *err)
{
    struct str url = pb_any_type_url(arena, any);
    if (!str_equal_c(name_of(url), type->name)) {
        (void)error_set(err, ERR_UNSUPPORTED, "type is %.*s, want %s", STR_ARG(url), type->name);
        return NULL;
    }
    return pb_any_resolve(arena, any, err);
}

struct str pb_any_type_url(struct arena *arena, const Google__Protobuf__Any *any)
{
    if (any == NULL) {
        return STR_EMPTY;
    }
    if (!is_typed_struct(any)) {
        return str_of(any->type_url);
    }
    const Udpa__Type__V1__TypedStruct *typed =
        pb_unpack(arena, &udpa__type__v1__typed_struct__descriptor, any_bytes(any), NULL);
    return typed == NULL ? STR_EMPTY : str_of(typed->type_url);
}
