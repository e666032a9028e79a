// SPDX-License-Identifier: Apache-2.0
#ifndef CODEC_PB_PB_INTERNAL_H
#define CODEC_PB_PB_INTERNAL_H

#include "codec/pb/pb.h"

#define PB_FIELD_COUNT_MAX 128u // fields in one message type; a test holds schemas/ to it

struct pb_seen { // which fields of a message were met, by index in the descriptor
    uint64_t bits[PB_FIELD_COUNT_MAX / 64];
};

// True when the field was seen before; marks it.
static inline bool pb_seen_twice(struct pb_seen *seen, size_t index)
{
    uint64_t bit = (uint64_t)1 << (index % 64);
    uint64_t *word = &seen->bits[index / 64 % (PB_FIELD_COUNT_MAX / 64)];
    bool twice = (*word & bit) != 0;
    *word |= bit;
    return twice;
}

// The limits of pb.h, checked without recursion and without allocating.
enum err pb_scan(const ProtobufCMessageDescriptor *type, struct str bytes, struct error *err) must_check;

bool pb_is_utf8(struct str text); // and free of NUL

bool pb_is_map_entry(const ProtobufCMessageDescriptor *type);
// The JSON name where it is not the lower-camel form; NULL otherwise.
const char *pb_explicit_json_name(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field);

// Bytes one value of the field takes in a message or array.
size_t pb_value_size(ProtobufCType type);
static inline void *pb_field(const ProtobufCMessage *message, unsigned offset)
{
    return (char *)(uintptr_t)message + offset;
}
bool pb_oneof_is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

// As pb_from_json and pb_to_json, for messages inside others: depth counts what stands around them.
struct pb_path {
    const struct pb_path *parent;
    const char *name; // NULL: an index
    struct str key;   // of a map, when name is ""
    size_t index;
};

// Struct and its parts, both ways; NULL when deeper than PB_DEPTH_MAX.
Google__Protobuf__Value *pb_json_value_read(struct arena *arena, const struct json_value *value, unsigned depth);
Google__Protobuf__Struct *pb_json_struct_read(struct arena *arena, const struct json_value *value, unsigned depth);
Google__Protobuf__ListValue *pb_json_list_read(struct arena *arena, const struct json_value *value, unsigned depth);
struct json_value *pb_json_value_write(struct arena *arena, const Google__Protobuf__Value *value, unsigned depth);
struct json_value *pb_json_struct_write(struct arena *arena, const Google__Protobuf__Struct *value, unsigned depth);
struct json_value *pb_json_list_write(struct arena *arena, const Google__Protobuf__ListValue *value, unsigned depth);

// Texts of Duration and Timestamp.
bool pb_duration_parse(struct str text, int64_t *ret_seconds, int32_t *ret_nanos);
bool pb_go_duration_parse(struct str text, int64_t *ret_seconds, int32_t *ret_nanos); // "1h30m", "1.5s"; ≥ 0
struct str pb_duration_format(struct arena *arena, int64_t seconds, int32_t nanos);
bool pb_timestamp_parse(struct str text, int64_t *ret_seconds, int32_t *ret_nanos);
struct str pb_timestamp_format(struct arena *arena, int64_t seconds, int32_t nanos);

#endif
