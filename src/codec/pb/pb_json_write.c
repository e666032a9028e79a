// SPDX-License-Identifier: Apache-2.0
//
// Message → JSON, by reflection (proto3 JSON mapping): the mirror of pb_json_read.c.
#include <math.h>

#include "base/base64.h"
#include "base/memory.h"
#include "codec/pb/pb_internal.h"

struct writer {
    struct arena *arena;
    unsigned flags;
};

static struct json_value *write_message(struct writer *writer, const ProtobufCMessage *message, unsigned depth);

static struct json_value *write_double(struct writer *writer, double value)
{
    if (isfinite(value)) {
        return json_new_double(writer->arena, value);
    }
    return json_new_cstr(writer->arena, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
}

static struct json_value *write_enum(struct writer *writer, const ProtobufCEnumDescriptor *type, int32_t value)
{
    const ProtobufCEnumValue *known = protobuf_c_enum_descriptor_get_value(type, value);
    return known != NULL ? json_new_cstr(writer->arena, known->name) : json_new_int(writer->arena, value);
}

static struct json_value *write_bytes(struct writer *writer, ProtobufCBinaryData bytes)
{
    return json_new_str(writer->arena, base64_encode(writer->arena, str_make((const char *)bytes.data, bytes.len)));
}

static struct json_value *write_value(struct writer *writer, const ProtobufCFieldDescriptor *field, const void *slot, unsigned depth)
{
    struct arena *arena = writer->arena;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return json_new_int(arena, *(const int32_t *)slot);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_new_int(arena, *(const uint32_t *)slot);
    // 64-bit integers are text: readers may hold numbers as doubles.
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return json_new_str(arena, arena_format(arena, "%lld", (long long)*(const int64_t *)slot));
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return json_new_str(arena, arena_format(arena, "%llu", (unsigned long long)*(const uint64_t *)slot));
    case PROTOBUF_C_TYPE_FLOAT:
        return write_double(writer, (double)*(const float *)slot);
    case PROTOBUF_C_TYPE_DOUBLE:
        return write_double(writer, *(const double *)slot);
    case PROTOBUF_C_TYPE_BOOL:
        return json_new_bool(arena, *(const protobuf_c_boolean *)slot != 0);
    case PROTOBUF_C_TYPE_ENUM:
        return write_enum(writer, field->descriptor, *(const int32_t *)slot);
    case PROTOBUF_C_TYPE_STRING:
        return json_new_cstr(arena, *(char *const *)slot);
    case PROTOBUF_C_TYPE_BYTES:
        return write_bytes(writer, *(const ProtobufCBinaryData *)slot);
    case PROTOBUF_C_TYPE_MESSAGE:
        return write_message(writer, *(ProtobufCMessage *const *)slot, depth + 1);
    }
    return json_new_null(arena);
}

static struct str json_name(struct writer *writer, const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field)
{
    if ((writer->flags & PB_JSON_ORIGINAL_NAMES) != 0) {
        return str_of(field->name);
    }
    const char *explicit_name = pb_explicit_json_name(type, field);
    if (explicit_name != NULL) {
        return str_of(explicit_name);
    }
    char *out = arena_alloc(writer->arena, strlen(field->name) + 1);
    size_t size = 0;
    bool upper = false;
    for (const char *at = field->name; *at != '\0'; at++) {
        if (*at == '_') {
            upper = true;
            continue;
        }
        out[size++] = upper && *at >= 'a' && *at <= 'z' ? (char)(*at - 'a' + 'A') : *at;
        upper = false;
    }
    return str_make(out, size);
}

// The default value, which is left out; a set alternative of a oneof never is.
static bool is_absent(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const void *slot = pb_field(message, field->offset);
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return *(const size_t *)pb_field(message, field->quantifier_offset) == 0;
    }
    bool is_set = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
    if (is_set && !pb_oneof_is_set(message, field)) {
        return true;
    }
    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(void *const *)slot == NULL;
    case PROTOBUF_C_TYPE_STRING:
        return *(char *const *)slot == NULL || (!is_set && **(char *const *)slot == '\0');
    case PROTOBUF_C_TYPE_BYTES:
        return !is_set && ((const ProtobufCBinaryData *)slot)->len == 0;
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        break;
    }
    static const char zeros[8] = {0};
    return !is_set && memcmp(slot, zeros, pb_value_size(field->type)) == 0;
}

static struct json_value *write_map(struct writer *writer, ProtobufCMessage *const *entries, size_t count, unsigned depth)
{
    struct json_value *object = json_new_object(writer->arena);
    for (size_t i = 0; i < count; i++) {
        const ProtobufCFieldDescriptor *key_field = protobuf_c_message_descriptor_get_field(entries[i]->descriptor, 1);
        const ProtobufCFieldDescriptor *value_field = protobuf_c_message_descriptor_get_field(entries[i]->descriptor, 2);
        struct json_value *key = write_value(writer, key_field, pb_field(entries[i], key_field->offset), depth + 1);
        struct str name = key->type == JSON_STRING || key->type == JSON_NUMBER ? key->text
                          : key->boolean                                       ? STR("true")
                                                                               : STR("false");
        json_set(writer->arena, object, name,
                 write_value(writer, value_field, pb_field(entries[i], value_field->offset), depth + 1));
    }
    return object;
}

static struct json_value *write_field(struct writer *writer, const ProtobufCMessage *message,
                                      const ProtobufCFieldDescriptor *field, unsigned depth)
{
    const void *slot = pb_field(message, field->offset);
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        return write_value(writer, field, slot, depth);
    }
    size_t count = *(const size_t *)pb_field(message, field->quantifier_offset);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE && pb_is_map_entry(field->descriptor)) {
        return write_map(writer, *(ProtobufCMessage *const *const *)slot, count, depth);
    }
    struct json_value *array = json_new_array(writer->arena);
    const char *items = *(const char *const *)slot;
    for (size_t i = 0; i < count; i++) {
        json_push(writer->arena, array, write_value(writer, field, items + i * pb_value_size(field->type), depth));
    }
    return array;
}

static struct json_value *write_plain(struct writer *writer, const ProtobufCMessage *message, unsigned depth)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    struct json_value *object = json_new_object(writer->arena);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (!is_absent(message, field)) {
            json_set(writer->arena, object, json_name(writer, type, field), write_field(writer, message, field, depth));
        }
    }
    return object;
}

// --- types with a JSON form of their own -----------------------------------------------------------

static struct json_value *write_wrapper(struct writer *writer, const ProtobufCMessage *message, unsigned depth)
{
    const ProtobufCFieldDescriptor *field = &message->descriptor->fields[0];
    return write_value(writer, field, pb_field(message, field->offset), depth);
}

static struct json_value *write_duration(struct writer *writer, const ProtobufCMessage *message, unsigned depth)
{
    (void)depth;
    const Google__Protobuf__Duration *duration = (const Google__Protobuf__Duration *)(const void *)message;
    return json_new_str(writer->arena, pb_duration_format(writer->arena, duration->seconds, duration->nanos));
}

static struct json_value *write_timestamp(struct writer *writer, const ProtobufCMessage *message, unsigned depth)
{
    (void)depth;
    const Google__Protobuf__Timestamp *timestamp = (const Google__Protobuf__Timestamp *)(const void *)message;
    return json_new_str(writer->arena, pb_timestamp_format(writer->arena, timestamp->seconds, timestamp->nanos));
}

static struct json_value *write_struct_kind(struct writer *writer, const ProtobufCMessage *message, unsigned depth)
{
    const void *value = message;
    if (message->descriptor == &google__protobuf__struct__descriptor) {
        return pb_json_struct_write(writer->arena, value, depth);
    }
    if (message->descriptor == &google__protobuf__list_value__descriptor) {
        return pb_json_list_write(writer->arena, value, depth);
    }
    return pb_json_value_write(writer->arena, value, depth);
}

static struct json_value *write_any(struct writer *writer, const ProtobufCMessage *message, unsigned depth);

static const struct special {
    const ProtobufCMessageDescriptor *type;
    struct json_value *(*write)(struct writer *writer, const ProtobufCMessage *message, unsigned depth);
} specials[] = {
    {&google__protobuf__any__descriptor, write_any},
    {&google__protobuf__duration__descriptor, write_duration},
    {&google__protobuf__timestamp__descriptor, write_timestamp},
    {&google__protobuf__struct__descriptor, write_struct_kind},
    {&google__protobuf__value__descriptor, write_struct_kind},
    {&google__protobuf__list_value__descriptor, write_struct_kind},
    {&google__protobuf__bool_value__descriptor, write_wrapper},
    {&google__protobuf__uint32_value__descriptor, write_wrapper},
    {&google__protobuf__uint64_value__descriptor, write_wrapper},
    {&google__protobuf__int32_value__descriptor, write_wrapper},
    {&google__protobuf__int64_value__descriptor, write_wrapper},
    {&google__protobuf__float_value__descriptor, write_wrapper},
    {&google__protobuf__double_value__descriptor, write_wrapper},
    {&google__protobuf__string_value__descriptor, write_wrapper},
    {&google__protobuf__bytes_value__descriptor, write_wrapper},
};

static const struct special *find_special(const ProtobufCMessageDescriptor *type)
{
    if (strncmp(type->name, "google.protobuf.", strlen("google.protobuf.")) != 0) {
        return NULL;
    }
    for (size_t i = 0; i < array_count(specials); i++) {
        if (specials[i].type == type) {
            return &specials[i];
        }
    }
    return NULL;
}

static struct json_value *write_any(struct writer *writer, const ProtobufCMessage *message, unsigned depth)
{
    const Google__Protobuf__Any *any = (const Google__Protobuf__Any *)(const void *)message;
    struct json_value *object = json_new_object(writer->arena);
    json_set_cstr(writer->arena, object, "@type", any->type_url);
    const ProtobufCMessageDescriptor *type = pb_type_find(str_of(any->type_url));
    const ProtobufCMessage *inner =
        type == NULL ? NULL : pb_unpack(writer->arena, type, str_make((const char *)any->value.data, any->value.len), NULL);
    if (inner == NULL) {
        json_set(writer->arena, object, STR("value"), write_bytes(writer, any->value));
        return object;
    }
    struct json_value *body = write_message(writer, inner, depth + 1);
    if (find_special(type) != NULL || body->type != JSON_OBJECT) {
        json_set(writer->arena, object, STR("value"), body);
        return object;
    }
    for (size_t i = 0; i < body->object.count; i++) {
        json_set(writer->arena, object, body->object.members[i].name, body->object.members[i].value);
    }
    return object;
}

static struct json_value *write_message(struct writer *writer, const ProtobufCMessage *message, unsigned depth)
{
    if (message == NULL || depth >= PB_DEPTH_MAX) {
        return json_new_null(writer->arena); // Any inside Any may nest deeper than one scan sees
    }
    const struct special *special = find_special(message->descriptor);
    return special != NULL ? special->write(writer, message, depth) : write_plain(writer, message, depth);
}

struct json_value *pb_to_json(struct arena *arena, const void *message, unsigned flags)
{
    struct writer writer = {.arena = arena, .flags = flags};
    return write_message(&writer, message, 0);
}
