// SPDX-License-Identifier: Apache-2.0
//
// google.protobuf.Struct is JSON in protobuf's clothes: both directions, and reading single members.
#include "codec/pb/pb_internal.h"

Google__Protobuf__ListValue *pb_json_list_read(struct arena *arena, const struct json_value *value, unsigned depth)
{
    if (!json_is(value, JSON_ARRAY) || depth >= PB_DEPTH_MAX) {
        return NULL;
    }
    Google__Protobuf__ListValue *list = pb_new(arena, &google__protobuf__list_value__descriptor);
    for (size_t i = 0; i < value->array.count; i++) {
        Google__Protobuf__Value *item = pb_json_value_read(arena, value->array.items[i], depth + 1);
        if (item == NULL) {
            return NULL;
        }
        PB_PUSH(arena, list, values, item);
    }
    return list;
}

Google__Protobuf__Struct *pb_json_struct_read(struct arena *arena, const struct json_value *value, unsigned depth)
{
    if (!json_is(value, JSON_OBJECT) || depth >= PB_DEPTH_MAX) {
        return NULL;
    }
    Google__Protobuf__Struct *object = pb_new(arena, &google__protobuf__struct__descriptor);
    for (size_t i = 0; i < value->object.count; i++) {
        Google__Protobuf__Struct__FieldsEntry *entry = pb_new(arena, &google__protobuf__struct__fields_entry__descriptor);
        entry->key = arena_strdup(arena, value->object.members[i].name);
        // An entry, its value and what that holds are three messages on the wire.
        entry->value = pb_json_value_read(arena, value->object.members[i].value, depth + 2);
        if (entry->value == NULL) {
            return NULL;
        }
        PB_PUSH(arena, object, fields, entry);
    }
    return object;
}

static bool set_container(struct arena *arena, Google__Protobuf__Value *out, const struct json_value *value, unsigned depth)
{
    if (value->type == JSON_ARRAY) {
        out->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE;
        out->list_value = pb_json_list_read(arena, value, depth + 1);
        return out->list_value != NULL;
    }
    out->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
    out->struct_value = pb_json_struct_read(arena, value, depth + 1);
    return out->struct_value != NULL;
}

Google__Protobuf__Value *pb_json_value_read(struct arena *arena, const struct json_value *value, unsigned depth)
{
    if (depth >= PB_DEPTH_MAX) {
        return NULL;
    }
    Google__Protobuf__Value *out = pb_new(arena, &google__protobuf__value__descriptor);
    switch (value->type) {
    case JSON_NULL:
        out->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE;
        return out;
    case JSON_BOOL:
        out->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE;
        out->bool_value = value->boolean;
        return out;
    case JSON_NUMBER:
        out->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
        return json_double(value, &out->number_value) ? out : NULL;
    case JSON_STRING:
        if (!pb_is_utf8(value->text)) { // a NUL would cut the text
            return NULL;
        }
        out->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
        out->string_value = arena_strdup(arena, value->text);
        return out;
    case JSON_ARRAY:
    case JSON_OBJECT:
        return set_container(arena, out, value, depth) ? out : NULL;
    }
    return NULL;
}

struct json_value *pb_json_list_write(struct arena *arena, const Google__Protobuf__ListValue *value, unsigned depth)
{
    struct json_value *array = json_new_array(arena);
    for (size_t i = 0; value != NULL && depth < PB_DEPTH_MAX && i < value->n_values; i++) {
        json_push(arena, array, pb_json_value_write(arena, value->values[i], depth + 1));
    }
    return array;
}

struct json_value *pb_json_struct_write(struct arena *arena, const Google__Protobuf__Struct *value, unsigned depth)
{
    struct json_value *object = json_new_object(arena);
    for (size_t i = 0; value != NULL && depth < PB_DEPTH_MAX && i < value->n_fields; i++) {
        const Google__Protobuf__Struct__FieldsEntry *entry = value->fields[i];
        json_set(arena, object, str_of(entry->key), pb_json_value_write(arena, entry->value, depth + 2));
    }
    return object;
}

struct json_value *pb_json_value_write(struct arena *arena, const Google__Protobuf__Value *value, unsigned depth)
{
    if (value == NULL || depth >= PB_DEPTH_MAX) {
        return json_new_null(arena);
    }
    switch (value->kind_case) {
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
        return json_new_bool(arena, value->bool_value != 0);
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        // JSON has no NaN or infinity; protobuf forbids them here.
        return __builtin_isfinite(value->number_value) ? json_new_double(arena, value->number_value) : json_new_null(arena);
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        return json_new_cstr(arena, value->string_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        return pb_json_struct_write(arena, value->struct_value, depth + 1);
    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
        return pb_json_list_write(arena, value->list_value, depth + 1);
    case GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE:
    case GOOGLE__PROTOBUF__VALUE__KIND__NOT_SET:
    default:
        return json_new_null(arena);
    }
}

Google__Protobuf__Struct *pb_struct_from_json(struct arena *arena, const struct json_value *object)
{
    return pb_json_struct_read(arena, object, 0);
}

struct json_value *pb_struct_to_json(struct arena *arena, const Google__Protobuf__Struct *value)
{
    return pb_json_struct_write(arena, value, 0);
}

const Google__Protobuf__Value *pb_struct_get(const Google__Protobuf__Struct *object, const char *name)
{
    for (size_t i = 0; object != NULL && i < object->n_fields; i++) {
        if (strcmp(object->fields[i]->key, name) == 0) {
            return object->fields[i]->value;
        }
    }
    return NULL;
}

struct str pb_struct_get_str(const Google__Protobuf__Struct *object, const char *name)
{
    const Google__Protobuf__Value *value = pb_struct_get(object, name);
    if (value == NULL || value->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE) {
        return (struct str){.data = NULL, .size = 0};
    }
    return str_of(value->string_value);
}
