// SPDX-License-Identifier: Apache-2.0
//
// The look before the leap: protobuf-c's unpack recurses per nested message and trusts counts, so the
// bytes are walked here first, with an explicit stack of the messages around the current position.
// What passes here cannot overflow the C stack, exhaust memory by amplification (an empty message is two
// bytes on the wire and hundreds in memory) or by repeated merging, and holds only clean text.
#include "codec/pb/pb_internal.h"

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

#define SCANNED_FIELD_SIZE 48u // what unpack keeps per field while it works
#define POINTER_SIZE 16u       // an item of a repeated field, growth included

struct frame {
    const ProtobufCMessageDescriptor *type;
    const uint8_t *end;
    struct pb_seen seen;
};

struct scan {
    const uint8_t *at;
    struct frame frames[PB_DEPTH_MAX];
    size_t depth; // frames in use
    size_t fields;
    size_t memory;
    size_t merges;
    struct error *err;
};

bool pb_is_utf8(struct str text)
{
    const uint8_t *at = (const uint8_t *)text.data;
    const uint8_t *end = at + text.size;
    while (at < end) {
        uint8_t first = *at++;
        if (first < 0x80) {
            if (first == 0) {
                return false;
            }
            continue;
        }
        unsigned more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
        if (first < 0xc2 || first > 0xf4 || (size_t)(end - at) < more) {
            return false;
        }
        // RFC 3629 section 4: the second byte rules out overlong forms, surrogates and beyond U+10FFFF.
        uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
        uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
        if (at[0] < low || at[0] > high) {
            return false;
        }
        for (unsigned i = 1; i < more; i++) {
            if ((at[i] & 0xc0) != 0x80) {
                return false;
            }
        }
        at += more;
    }
    return true;
}

static bool read_varint(struct scan *scan, const uint8_t *end, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70 && scan->at < end; shift += 7) {
        uint8_t byte = *scan->at++;
        value |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static enum err malformed(struct scan *scan, const struct frame *frame, const char *what)
{
    return error_set(scan->err, ERR_INVALID, "%s: %s", frame->type->name, what);
}

static enum err count_memory(struct scan *scan, size_t size)
{
    scan->memory += size;
    if (scan->memory > PB_MEMORY_MAX) {
        return error_set(scan->err, ERR_LIMIT, "decoded message would need more than %u bytes", PB_MEMORY_MAX);
    }
    return ERR_OK;
}

static enum err enter_message(struct scan *scan, struct frame *frame, const ProtobufCFieldDescriptor *field, size_t size)
{
    const ProtobufCMessageDescriptor *type = field->descriptor;
    if (scan->depth == PB_DEPTH_MAX) {
        return error_set(scan->err, ERR_LIMIT, "messages nest deeper than %u", PB_DEPTH_MAX);
    }
    size_t index = (size_t)(field - frame->type->fields);
    if (field->label != PROTOBUF_C_LABEL_REPEATED && pb_seen_twice(&frame->seen, index) && ++scan->merges > PB_MERGES_MAX) {
        return error_set(scan->err, ERR_LIMIT, "%s.%s and others are given more than once", frame->type->name, field->name);
    }
    scan->frames[scan->depth++] = (struct frame){.type = type, .end = scan->at + size};
    return count_memory(scan, type->sizeof_message + POINTER_SIZE);
}

// A length-delimited value of size bytes at scan->at.
static enum err scan_bytes(struct scan *scan, struct frame *frame, const ProtobufCFieldDescriptor *field, size_t size)
{
    if (field != NULL && field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return enter_message(scan, frame, field, size);
    }
    struct str view = str_make((const char *)scan->at, size);
    scan->at += size;
    if (field == NULL || field->type == PROTOBUF_C_TYPE_BYTES) {
        return count_memory(scan, size + sizeof(ProtobufCMessageUnknownField));
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        if (!pb_is_utf8(view)) {
            return error_set(scan->err, ERR_INVALID, "%s.%s: not UTF-8 text", frame->type->name, field->name);
        }
        return count_memory(scan, size + 1 + POINTER_SIZE);
    }
    return count_memory(scan, size * sizeof(uint64_t)); // packed numbers: a byte on the wire may become eight
}

static enum err scan_field(struct scan *scan, struct frame *frame)
{
    uint64_t key;
    uint64_t value;
    if (++scan->fields > PB_FIELDS_MAX) {
        return error_set(scan->err, ERR_LIMIT, "more than %u fields", PB_FIELDS_MAX);
    }
    if (!read_varint(scan, frame->end, &key) || key >> 3 == 0 || key > UINT32_MAX) {
        return malformed(scan, frame, "bad field number");
    }
    enum err code = count_memory(scan, SCANNED_FIELD_SIZE);
    if (code != ERR_OK) {
        return code;
    }
    size_t left = (size_t)(frame->end - scan->at);
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(frame->type, (unsigned)(key >> 3));
    switch (key & 7) {
    case WIRE_VARINT:
        return read_varint(scan, frame->end, &value) ? ERR_OK : malformed(scan, frame, "bad varint");
    case WIRE_FIXED64:
    case WIRE_FIXED32: {
        size_t size = (key & 7) == WIRE_FIXED64 ? 8 : 4;
        if (left < size) {
            return malformed(scan, frame, "cut short");
        }
        scan->at += size;
        return ERR_OK;
    }
    case WIRE_BYTES:
        if (!read_varint(scan, frame->end, &value) || value > (size_t)(frame->end - scan->at)) {
            return malformed(scan, frame, "length beyond the end");
        }
        return scan_bytes(scan, frame, field, (size_t)value);
    default:
        return malformed(scan, frame, "bad wire type");
    }
}

enum err pb_scan(const ProtobufCMessageDescriptor *type, struct str bytes, struct error *err)
{
    if (bytes.size > PB_SIZE_MAX) {
        return error_set(err, ERR_LIMIT, "%s: message of %zu bytes, the limit is %u", type->name, bytes.size, PB_SIZE_MAX);
    }
    struct scan scan = {.at = (const uint8_t *)bytes.data, .depth = 1, .err = err};
    scan.frames[0] = (struct frame){.type = type, .end = scan.at + bytes.size};
    while (scan.depth > 0) {
        struct frame *frame = &scan.frames[scan.depth - 1];
        if (scan.at == frame->end) {
            scan.depth--;
            continue;
        }
        enum err code = scan_field(&scan, frame);
        if (code != ERR_OK) {
            return code;
        }
    }
    return ERR_OK;
}
