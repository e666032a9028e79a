// SPDX-License-Identifier: Apache-2.0
//
// pb: protobuf messages in arenas. Generated types come from schemas/ (protobuf-c); this module decodes
// untrusted bytes safely, encodes, packs Any, and converts to and from JSON by reflection.
//
//   #include "codec/pb/pb.h"
//   #include "envoy/config/listener/v3/listener.pb-c.h"
//
//   Envoy__Config__Listener__V3__Listener *listener =
//       pb_unpack(&arena, &envoy__config__listener__v3__listener__descriptor, bytes, &err);
//
// A decoded or built message lives in its arena, strings included: freeing the arena frees it, and
// protobuf-c's own free functions are never called. Messages are for reading and building; what outlives
// a push is converted into structs of its owner.
//
// Decoding first scans the bytes without recursion and refuses more than PB_DEPTH_MAX nested messages,
// PB_FIELDS_MAX fields, PB_MEMORY_MAX bytes of result, and text that is not UTF-8 or holds a NUL.
// Unknown fields are kept aside and ignored.
#ifndef CODEC_PB_PB_H
#define CODEC_PB_PB_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "codec/json/json.h"
#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/empty.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "google/protobuf/wrappers.pb-c.h"

#define PB_DEPTH_MAX 100u
#define PB_SIZE_MAX (64u * 1024 * 1024)
#define PB_FIELDS_MAX (4u * 1024 * 1024)      // fields of one message, nested ones included
#define PB_MEMORY_MAX (256u * 1024 * 1024)    // estimated size of the decoded message
#define PB_MERGES_MAX 64u                     // singular messages given twice (merged, which copies)
#define PB_TYPE_URL_PREFIX "type.googleapis.com/"

// --- bytes -----------------------------------------------------------------------------------------

// NULL and a sentence when the bytes are not such a message or exceed a limit.
void *pb_unpack(struct arena *arena, const ProtobufCMessageDescriptor *type, struct str bytes, struct error *err);
void pb_pack(const void *message, struct buf *out); // appends
struct str pb_pack_str(struct arena *arena, const void *message);

// --- building --------------------------------------------------------------------------------------

// A message with all defaults: T *m = pb_new(&arena, &t__descriptor).
void *pb_new(struct arena *arena, const ProtobufCMessageDescriptor *type);
// Text of a string field; same as arena_strdup.
char *pb_text(struct arena *arena, struct str text);
ProtobufCBinaryData pb_bytes(struct arena *arena, struct str bytes);

// Appends to a repeated field: PB_PUSH(&arena, listener, filter_chains, chain) sets filter_chains and
// n_filter_chains. The value's storage is the caller's (the same arena).
#define PB_PUSH(arena, message, field, ...)                                                              \
    do {                                                                                                 \
        (message)->field = pb_grow((arena), (message)->field, (message)->n_##field, sizeof(*(message)->field)); \
        (message)->field[(message)->n_##field++] = (__VA_ARGS__);                                        \
    } while (0)
// For PB_PUSH: room for one more item; doubles at powers of two.
void *pb_grow(struct arena *arena, void *items, size_t count, size_t item_size);

Google__Protobuf__UInt32Value *pb_uint32(struct arena *arena, uint32_t value);
Google__Protobuf__UInt64Value *pb_uint64(struct arena *arena, uint64_t value);
Google__Protobuf__BoolValue *pb_bool(struct arena *arena, bool value);
Google__Protobuf__DoubleValue *pb_double(struct arena *arena, double value);
Google__Protobuf__StringValue *pb_string(struct arena *arena, struct str value);
Google__Protobuf__Duration *pb_duration_ms(struct arena *arena, uint64_t ms);

// Reading them: `otherwise` when absent.
static inline uint32_t pb_uint32_or(const Google__Protobuf__UInt32Value *value, uint32_t otherwise)
{
    return value == NULL ? otherwise : value->value;
}
static inline uint64_t pb_uint64_or(const Google__Protobuf__UInt64Value *value, uint64_t otherwise)
{
    return value == NULL ? otherwise : value->value;
}
static inline bool pb_bool_or(const Google__Protobuf__BoolValue *value, bool otherwise)
{
    return value == NULL ? otherwise : value->value != 0;
}
// Rounded up to whole milliseconds; negative counts as 0; saturates.
uint64_t pb_duration_to_ms(const Google__Protobuf__Duration *duration, uint64_t otherwise);

// --- types and Any ---------------------------------------------------------------------------------

// By full name ("envoy.config.cluster.v3.Cluster") or type URL (what stands behind the last '/').
// NULL: not in schemas/.
const ProtobufCMessageDescriptor *pb_type_find(struct str name_or_url);
struct str pb_type_url(struct arena *arena, const ProtobufCMessageDescriptor *type);

Google__Protobuf__Any *pb_any(struct arena *arena, const void *message); // packs
// NULL any is fine: false.
bool pb_any_is(const Google__Protobuf__Any *any, const ProtobufCMessageDescriptor *type);
// The message, which must be of the given type; looks through udpa/xds TypedStruct. NULL and a sentence
// otherwise (ERR_UNSUPPORTED for a type other than asked).
void *pb_any_unpack(struct arena *arena, const Google__Protobuf__Any *any, const ProtobufCMessageDescriptor *type,
                    struct error *err);
// Whatever type it holds, TypedStruct looked through (fields unknown to the inner type are ignored, as in
// binary). The result's first member is ProtobufCMessage base: base.descriptor is its type.
// ERR_UNSUPPORTED: a type not in schemas/.
void *pb_any_resolve(struct arena *arena, const Google__Protobuf__Any *any, struct error *err);
// The type URL that matters: the inner one of a TypedStruct. Empty when malformed.
struct str pb_any_type_url(struct arena *arena, const Google__Protobuf__Any *any);

// --- JSON (proto3 mapping) -------------------------------------------------------------------------

enum pb_json_flags {
    PB_JSON_STRICT = 0,             // unknown fields are errors with their path
    PB_JSON_IGNORE_UNKNOWN = 1 << 0,
    PB_JSON_ORIGINAL_NAMES = 1 << 1, // writing: snake_case as in the schema, as Envoy's admin does
    PB_JSON_GO_DURATIONS = 1 << 2,   // reading: "1m", "1h30m" and "250ms" too, as people write them in YAML
};

// Accepts lower-camel and original names, int64 as text or number, enums by name or number, Duration
// ("1.5s"), Timestamp (RFC 3339), Struct, wrappers, base64 bytes, Any with "@type". null counts as absent.
// NULL and a sentence with the field's path ("spec.servers[0].port.number: …") on failure.
void *pb_from_json(struct arena *arena, const ProtobufCMessageDescriptor *type, const struct json_value *value,
                   unsigned flags, struct error *err);
// Fields with default values are left out. An Any of unknown type becomes {"@type", "value": base64}.
struct json_value *pb_to_json(struct arena *arena, const void *message, unsigned flags);

Google__Protobuf__Struct *pb_struct_from_json(struct arena *arena, const struct json_value *object); // NULL: not an object, or too deep
struct json_value *pb_struct_to_json(struct arena *arena, const Google__Protobuf__Struct *value); // NULL gives {}
// Member of a Struct; NULL when absent. NULL struct is fine.
const Google__Protobuf__Value *pb_struct_get(const Google__Protobuf__Struct *object, const char *name);
struct str pb_struct_get_str(const Google__Protobuf__Struct *object, const char *name); // data NULL unless text

#endif
