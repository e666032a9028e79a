// SPDX-License-Identifier: Apache-2.0
//
// The envelope: 6b 38 73 00, then Unknown{1 TypeMeta{1 apiVersion, 2 kind}, 2 the object, 3 contentEncoding,
// 4 contentType}. Wire types (protobuf encoding guide): 0 varint, 1 eight bytes, 2 length and bytes, 5 four
// bytes; groups (3, 4) are not used.
#include "lab/apiserver/protobuf.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/assert.h"
#include "base/base64.h"
#include "base/memory.h"

#define MAGIC "k8s\0"
#define VARINT_SIZE_MAX 10u

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct value {
    uint32_t field;
    enum wire wire;
    uint64_t number;  // WIRE_VARINT
    struct str bytes; // WIRE_BYTES
};

struct decoder {
    struct arena *arena;
    struct protobuf_result *result;
    struct error *err;
};

// --- wire ------------------------------------------------------------------------------------------

static bool take_varint(struct str *rest, uint64_t *ret_number)
{
    uint64_t number = 0;
    for (size_t i = 0; i < VARINT_SIZE_MAX && i < rest->size; i++) {
        unsigned char byte = (unsigned char)rest->data[i];
        number |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            *rest = str_from(*rest, i + 1);
            *ret_number = number;
            return true;
        }
    }
    return false;
}

static bool take_value(struct str *rest, struct value *ret_value)
{
    uint64_t tag;
    uint64_t size = 0;
    *ret_value = (struct value){.bytes = STR_EMPTY};
    if (!take_varint(rest, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX) {
        return false;
    }
    ret_value->field = (uint32_t)(tag >> 3);
    switch (tag & 7) {
    case WIRE_VARINT:
        ret_value->wire = WIRE_VARINT;
        return take_varint(rest, &ret_value->number);
    case WIRE_BYTES:
        ret_value->wire = WIRE_BYTES;
        if (!take_varint(rest, &size) || size > rest->size) {
            return false;
        }
        break;
    case WIRE_64:
    case WIRE_32:
        ret_value->wire = (tag & 7) == WIRE_64 ? WIRE_64 : WIRE_32;
        size = ret_value->wire == WIRE_64 ? 8 : 4;
        if (size > rest->size) {
            return false;
        }
        break;
    default:
        return false;
    }
    ret_value->bytes = str_sub(*rest, 0, (size_t)size);
    *rest = str_from(*rest, (size_t)size);
    return true;
}

static enum err malformed(struct decoder *decoder, const char *what)
{
    return error_set(decoder->err, ERR_INVALID, "the protobuf body is malformed (%s)", what);
}

// The last value of a field in a message with few; false: malformed.
static bool find_value(struct str message, uint32_t field, struct value *ret_value)
{
    struct value value;
    *ret_value = (struct value){.bytes = STR_EMPTY};
    while (message.size > 0) {
        if (!take_value(&message, &value)) {
            return false;
        }
        if (value.field == field) {
            *ret_value = value;
        }
    }
    return true;
}

// --- single values ---------------------------------------------------------------------------------

// JSON strings are UTF-8 (RFC 3629: no overlong forms, no surrogates).
static bool is_text(struct str bytes)
{
    const unsigned char *at = (const unsigned char *)bytes.data;
    for (size_t i = 0; i < bytes.size;) {
        unsigned char c = at[i];
        size_t size = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
        if (size == 0 || i + size > bytes.size) {
            return false;
        }
        for (size_t k = 1; k < size; k++) {
            if ((at[i + k] & 0xc0) != 0x80) {
                return false;
            }
        }
        bool is_short = (c == 0xe0 && at[i + 1] < 0xa0) || (c == 0xf0 && at[i + 1] < 0x90);
        bool is_outside = (c == 0xed && at[i + 1] > 0x9f) || (c == 0xf4 && at[i + 1] > 0x8f);
        if (size > 1 && (is_short || is_outside)) {
            return false;
        }
        i += size;
    }
    return true;
}

#define SECONDS_MAX 253402300799 // the last of the year 9999

static enum err decode_time(struct decoder *decoder, struct str message, bool has_micros, struct json_value **ret_value)
{
    struct value seconds;
    struct value nanos;
    char text[64];
    struct tm parts;
    if (!find_value(message, 1, &seconds) || !find_value(message, 2, &nanos)) {
        return malformed(decoder, "a time");
    }
    time_t when = (time_t)seconds.number;
    if (message.size == 0 || when < 0 || when > SECONDS_MAX || gmtime_r(&when, &parts) == NULL) {
        return ERR_OK; // unset
    }
    size_t size = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(text + size, sizeof(text) - size, has_micros ? ".%06uZ" : "Z", (unsigned)(nanos.number / 1000 % 1000000));
    *ret_value = json_new_cstr(decoder->arena, text);
    return ERR_OK;
}

static enum err decode_int_or_string(struct decoder *decoder, struct str message, struct json_value **ret_value)
{
    struct value type;
    struct value number;
    struct value text;
    if (!find_value(message, 1, &type) || !find_value(message, 2, &number) || !find_value(message, 3, &text) ||
        !is_text(text.bytes)) {
        return malformed(decoder, "a number or string");
    }
    *ret_value = type.number == 1 ? json_new_str(decoder->arena, text.bytes)
                                  : json_new_int(decoder->arena, (int32_t)number.number);
    return ERR_OK;
}

static enum err decode_quantity(struct decoder *decoder, struct str message, struct json_value **ret_value)
{
    struct value text;
    if (!find_value(message, 1, &text) || !is_text(text.bytes)) {
        return malformed(decoder, "a quantity");
    }
    *ret_value = text.bytes.size == 0 ? NULL : json_new_str(decoder->arena, text.bytes);
    return ERR_OK;
}

// *ret_value stays NULL when JSON leaves it out.
static enum err decode_scalar(struct decoder *decoder, const struct protobuf_field *field, const struct value *value,
                              struct json_value **ret_value)
{
    struct str type = field->type;
    struct arena *arena = decoder->arena;
    bool is_number = value->wire == WIRE_VARINT;
    bool is_kept = field->is_repeated || str_ends_with(type, STR("?"));
    if (str_starts_with(type, STR("int")) || str_starts_with(type, STR("bool"))) {
        if (!is_number) {
            return malformed(decoder, "a number was expected");
        }
        if (value->number != 0 || is_kept) {
            bool is_bool = str_starts_with(type, STR("bool"));
            *ret_value = is_bool ? json_new_bool(arena, value->number != 0) : json_new_int(arena, (int64_t)value->number);
        }
        return ERR_OK;
    }
    if (value->wire != WIRE_BYTES) {
        return malformed(decoder, "bytes were expected");
    }
    if (str_equal(type, STR("bytes"))) {
        *ret_value = json_new_str(arena, base64_encode(arena, value->bytes));
        return ERR_OK;
    }
    if (!is_text(value->bytes)) {
        return malformed(decoder, "a string is not UTF-8");
    }
    if (value->bytes.size > 0 || is_kept) {
        *ret_value = json_new_str(arena, value->bytes);
    }
    return ERR_OK;
}

// --- messages --------------------------------------------------------------------------------------

static enum err decode_message(struct decoder *decoder, const struct protobuf_message *message, struct str bytes,
                               unsigned depth, struct json_value *object);

// One entry of "map", "map-bytes" or "map-quantity".
static enum err decode_map_entry(struct decoder *decoder, struct str type, struct str entry, struct json_value *object)
{
    struct value key;
    struct value value;
    struct json_value *member = NULL;
    if (!find_value(entry, 1, &key) || !find_value(entry, 2, &value) || !is_text(key.bytes)) {
        return malformed(decoder, "a map entry");
    }
    enum err code = ERR_OK;
    if (str_equal(type, STR("map-bytes"))) {
        member = json_new_str(decoder->arena, base64_encode(decoder->arena, value.bytes));
    } else if (str_equal(type, STR("map-quantity"))) {
        code = decode_quantity(decoder, value.bytes, &member);
    } else if (is_text(value.bytes)) {
        member = json_new_str(decoder->arena, value.bytes);
    } else {
        code = malformed(decoder, "a map's value is not UTF-8");
    }
    if (member != NULL) {
        json_set(decoder->arena, object, arena_str(decoder->arena, key.bytes), member);
    }
    return code;
}

static bool is_scalar(struct str type)
{
    static const char *const names[] = {"string", "bytes", "int", "bool", "int?", "bool?"};
    for (size_t i = 0; i < array_count(names); i++) {
        if (str_equal_c(type, names[i])) {
            return true;
        }
    }
    return false;
}

static enum err decode_value(struct decoder *decoder, const struct protobuf_field *field, const struct value *value,
                             unsigned depth, struct json_value **ret_value)
{
    if (is_scalar(field->type)) {
        return decode_scalar(decoder, field, value, ret_value);
    }
    if (value->wire != WIRE_BYTES) {
        return malformed(decoder, "a message was expected");
    }
    bool is_micro_time = str_equal(field->type, STR("microtime"));
    if (is_micro_time || str_equal(field->type, STR("time"))) {
        return decode_time(decoder, value->bytes, is_micro_time, ret_value);
    }
    if (str_equal(field->type, STR("quantity"))) {
        return decode_quantity(decoder, value->bytes, ret_value);
    }
    if (str_equal(field->type, STR("intorstring"))) {
        return decode_int_or_string(decoder, value->bytes, ret_value);
    }
    const struct protobuf_message *message = protobuf_message_find(field->type);
    *ret_value = json_new_object(decoder->arena);
    return NEVER(message == NULL) ? ERR_INTERNAL : decode_message(decoder, message, value->bytes, depth + 1, *ret_value);
}

static enum err decode_field(struct decoder *decoder, const struct protobuf_field *field, const struct value *value,
                             unsigned depth, struct json_value *object)
{
    struct arena *arena = decoder->arena;
    char *name = arena_strdup(arena, field->name);
    if (str_equal(field->type, STR("skip"))) {
        return ERR_OK;
    }
    if (str_starts_with(field->type, STR("map"))) {
        return value->wire != WIRE_BYTES
                   ? malformed(decoder, "a map entry was expected")
                   : decode_map_entry(decoder, field->type, value->bytes, json_ensure_object(arena, object, name));
    }
    if (str_equal(field->name, STR("-"))) {
        const struct protobuf_message *message = protobuf_message_find(field->type);
        return message == NULL || value->wire != WIRE_BYTES ? malformed(decoder, "a message was expected")
                                                            : decode_message(decoder, message, value->bytes, depth + 1, object);
    }
    struct json_value *member = NULL;
    enum err code = decode_value(decoder, field, value, depth, &member);
    if (code != ERR_OK || member == NULL) {
        return code;
    }
    if (field->is_repeated) {
        json_push(arena, json_ensure_array(arena, object, name), member);
    } else {
        json_set(arena, object, str_of(name), member);
    }
    return ERR_OK;
}

static bool find_field(const struct protobuf_message *message, uint32_t number, struct protobuf_field *ret_field)
{
    struct str rest = str_of(message->fields);
    while (protobuf_field_next(&rest, ret_field)) {
        if (ret_field->number == number) {
            return true;
        }
    }
    return false;
}

static void note_unknown(struct decoder *decoder, const struct protobuf_message *message, const struct value *value)
{
    struct protobuf_result *result = decoder->result;
    bool is_empty = value->wire == WIRE_VARINT ? value->number == 0 : value->bytes.size == 0;
    if (!is_empty && result->unknown_count < PROTOBUF_UNKNOWN_MAX) {
        result->unknown[result->unknown_count++] = (struct protobuf_unknown){message->name, value->field};
    }
}

static enum err decode_message(struct decoder *decoder, const struct protobuf_message *message, struct str bytes,
                               unsigned depth, struct json_value *object)
{
    struct value value;
    struct protobuf_field field;
    if (depth > PROTOBUF_DEPTH_MAX) {
        return error_set(decoder->err, ERR_LIMIT, "the protobuf body is nested deeper than %u", PROTOBUF_DEPTH_MAX);
    }
    while (bytes.size > 0) {
        if (!take_value(&bytes, &value)) {
            return malformed(decoder, message->name);
        }
        if (!find_field(message, value.field, &field)) {
            note_unknown(decoder, message, &value);
            continue;
        }
        enum err code = decode_field(decoder, &field, &value, depth, object);
        if (code != ERR_OK) {
            return code;
        }
    }
    return ERR_OK;
}

enum err protobuf_parse(struct arena *arena, struct str bytes, struct protobuf_result *ret_result, struct error *err)
{
    struct decoder decoder = {.arena = arena, .result = ret_result, .err = err};
    struct value type;
    struct value raw;
    struct value api_version;
    struct value kind;
    *ret_result = (struct protobuf_result){0};
    if (!str_starts_with(bytes, str_make(MAGIC, 4))) {
        return malformed(&decoder, "it does not begin with k8s");
    }
    bytes = str_from(bytes, 4);
    if (!find_value(bytes, 1, &type) || !find_value(bytes, 2, &raw) || !find_value(type.bytes, 1, &api_version) ||
        !find_value(type.bytes, 2, &kind) || !is_text(api_version.bytes) || !is_text(kind.bytes)) {
        return malformed(&decoder, "its envelope");
    }
    const struct protobuf_message *message = protobuf_message_find(kind.bytes);
    if (message == NULL || kind.bytes.size == 0) {
        return error_set(err, ERR_UNSUPPORTED, "\"%.*s\" is not read in protobuf here", STR_ARG(kind.bytes));
    }
    ret_result->object = json_new_object(arena);
    json_set_str(arena, ret_result->object, "kind", kind.bytes);
    json_set_str(arena, ret_result->object, "apiVersion", api_version.bytes);
    return decode_message(&decoder, message, raw.bytes, 1, ret_result->object);
}
