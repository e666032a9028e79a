// SPDX-License-Identifier: Apache-2.0
#include "codec/pb/pb.h"

#include "codec/pb/pb_internal.h"

static void *allocate(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void forget(void *arena, void *pointer) // the arena frees everything at once
{
    (void)arena;
    (void)pointer;
}

void *pb_unpack(struct arena *arena, const ProtobufCMessageDescriptor *type, struct str bytes, struct error *err)
{
    if (pb_scan(type, bytes, err) != ERR_OK) {
        return NULL;
    }
    ProtobufCAllocator allocator = {.alloc = allocate, .free = forget, .allocator_data = arena};
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, bytes.size, (const uint8_t *)bytes.data);
    if (message == NULL) {
        (void)error_set(err, ERR_INVALID, "not a valid %s", type->name);
    }
    return message;
}

void pb_pack(const void *message, struct buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    if (size > 0) {
        (void)protobuf_c_message_pack(message, (uint8_t *)buf_reserve(out, size));
        buf_commit(out, size);
    }
}

struct str pb_pack_str(struct arena *arena, const void *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    char *bytes = arena_alloc(arena, size + 1);
    (void)protobuf_c_message_pack(message, (uint8_t *)bytes);
    bytes[size] = '\0';
    return str_make(bytes, size);
}

void *pb_new(struct arena *arena, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = arena_alloc(arena, type->sizeof_message);
    protobuf_c_message_init(type, message);
    return message;
}

char *pb_text(struct arena *arena, struct str text)
{
    return arena_strdup(arena, text);
}

ProtobufCBinaryData pb_bytes(struct arena *arena, struct str bytes)
{
    return (ProtobufCBinaryData){.len = bytes.size, .data = (uint8_t *)arena_strdup(arena, bytes)};
}

void *pb_grow(struct arena *arena, void *items, size_t count, size_t item_size)
{
    if (count != 0 && (count & (count - 1)) != 0) {
        return items; // not a power of two: the last doubling left room
    }
    void *larger = arena_alloc(arena, (count == 0 ? 1 : count * 2) * item_size);
    if (count > 0) {
        memcpy(larger, items, count * item_size);
    }
    return larger;
}

Google__Protobuf__UInt32Value *pb_uint32(struct arena *arena, uint32_t value)
{
    Google__Protobuf__UInt32Value *wrapper = pb_new(arena, &google__protobuf__uint32_value__descriptor);
    wrapper->value = value;
    return wrapper;
}

Google__Protobuf__UInt64Value *pb_uint64(struct arena *arena, uint64_t value)
{
    Google__Protobuf__UInt64Value *wrapper = pb_new(arena, &google__protobuf__uint64_value__descriptor);
    wrapper->value = value;
    return wrapper;
}

Google__Protobuf__BoolValue *pb_bool(struct arena *arena, bool value)
{
    Google__Protobuf__BoolValue *wrapper = pb_new(arena, &google__protobuf__bool_value__descriptor);
    wrapper->value = value;
    return wrapper;
}

Google__Protobuf__DoubleValue *pb_double(struct arena *arena, double value)
{
    Google__Protobuf__DoubleValue *wrapper = pb_new(arena, &google__protobuf__double_value__descriptor);
    wrapper->value = value;
    return wrapper;
}

Google__Protobuf__StringValue *pb_string(struct arena *arena, struct str value)
{
    Google__Protobuf__StringValue *wrapper = pb_new(arena, &google__protobuf__string_value__descriptor);
    wrapper->value = arena_strdup(arena, value);
    return wrapper;
}

Google__Protobuf__Duration *pb_duration_ms(struct arena *arena, uint64_t ms)
{
    Google__Protobuf__Duration *duration = pb_new(arena, &google__protobuf__duration__descriptor);
    duration->seconds = (int64_t)(ms / 1000);
    duration->nanos = (int32_t)(ms % 1000 * 1000000);
    return duration;
}

uint64_t pb_duration_to_ms(const Google__Protobuf__Duration *duration, uint64_t otherwise)
{
    if (duration == NULL) {
        return otherwise;
    }
    if (duration->seconds < 0 || duration->nanos < 0) {
        return 0;
    }
    if (duration->seconds > INT64_MAX / 2000) {
        return UINT64_MAX;
    }
    return (uint64_t)duration->seconds * 1000 + ((uint64_t)duration->nanos + 999999) / 1000000;
}

// --- reflection ------------------------------------------------------------------------------------

size_t pb_value_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    }
    return 0;
}

bool pb_oneof_is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return *(const uint32_t *)pb_field(message, field->quantifier_offset) == field->id;
}
