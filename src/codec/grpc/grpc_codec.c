// SPDX-License-Identifier: Apache-2.0
#include "codec/grpc/grpc_codec.h"

#include <stdio.h>

#include "base/memory.h"

// --- messages
// --------------------------------------------------------------------------------------

static uint32_t prefix_size(const char *prefix)
{
    const unsigned char *bytes = (const unsigned char *)prefix;
    return (uint32_t)bytes[1] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 8 | bytes[4];
}

// MESSAGE when all of it is at the front of bytes.
static enum grpc_read look(const struct grpc_reader *reader, struct str bytes,
                           struct str *ret_message)
{
    if (bytes.size > 0 && bytes.data[0] != 0) {
        return GRPC_READ_COMPRESSED;
    }
    if (bytes.size < GRPC_PREFIX_SIZE) {
        return GRPC_READ_MORE;
    }
    uint32_t size = prefix_size(bytes.data);
    if (size > reader->message_max) {
        return GRPC_READ_TOO_LARGE;
    }
    if (bytes.size - GRPC_PREFIX_SIZE < size) {
        return GRPC_READ_MORE;
    }
    *ret_message = str_make(bytes.data + GRPC_PREFIX_SIZE, size);
    return GRPC_READ_MESSAGE;
}

// How many more bytes the message in `partial` may take from the input.
static size_t bytes_missing(const struct grpc_reader *reader)
{
    if (reader->partial.size < GRPC_PREFIX_SIZE) {
        return GRPC_PREFIX_SIZE - reader->partial.size;
    }
    size_t whole =
        (size_t)prefix_size(reader->partial.data + reader->partial.start) + GRPC_PREFIX_SIZE;
    return whole - reader->partial.size;
}

enum grpc_read grpc_reader_next(struct grpc_reader *reader, struct str *input,
                                struct str *ret_message)
{
    if (reader->used > 0) {
        reader->used = 0;
        buf_done(&reader->partial);
    }
    if (reader->partial.size == 0) {
        enum grpc_read result = look(reader, *input, ret_message);
        if (result == GRPC_READ_MESSAGE) {
            *input = str_from(*input, GRPC_PREFIX_SIZE + ret_message->size);
        } else if (result == GRPC_READ_MORE) {
            buf_append_str(&reader->partial, *input);
            *input = STR_EMPTY;
        }
        return result;
    }
    // First the prefix, then what it announces: never more than this message. Memory follows what
    // has arrived, not what was announced.
    for (int step = 0; step < 2; step++) {
        struct str part = str_sub(*input, 0, bytes_missing(reader));
        buf_append_str(&reader->partial, part);
        *input = str_from(*input, part.size);
        enum grpc_read result = look(reader, buf_view(&reader->partial), ret_message);
        if (result == GRPC_READ_MESSAGE) {
            reader->used = reader->partial.size;
        }
        if (result != GRPC_READ_MORE) {
            return result;
        }
    }
    return GRPC_READ_MORE;
}

bool grpc_reader_is_between(const struct grpc_reader *reader)
{
    return reader->partial.size == reader->used;
}

void grpc_reader_done(struct grpc_reader *reader)
{
    buf_done(&reader->partial);
    reader->used = 0;
}

void grpc_write_prefix(char out[static GRPC_PREFIX_SIZE], uint32_t size)
{
    out[0] = 0;
    out[1] = (char)(size >> 24);
    out[2] = (char)(size >> 16);
    out[3] = (char)(size >> 8);
    out[4] = (char)size;
}

// --- timeouts
// --------------------------------------------------------------------------------------

bool grpc_timeout_parse(struct str text, uint64_t *ret_ms)
{
    uint64_t number = 0;
    if (text.size < 2 || text.size > 9 || text.data[0] == '+' ||
        !str_to_u64(str_sub(text, 0, text.size - 1), &number)) {
        return false;
    }
    switch (text.data[text.size - 1]) {
    case 'H':
        *ret_ms = number * 3600 * 1000;
        return true;
    case 'M':
        *ret_ms = number * 60 * 1000;
        return true;
    case 'S':
        *ret_ms = number * 1000;
        return true;
    case 'm':
        *ret_ms = number;
        return true;
    case 'u':
        *ret_ms = (number + 999) / 1000;
        return true;
    case 'n':
        *ret_ms = (number + 999999) / 1000000;
        return true;
    default:
        return false;
    }
}

struct str grpc_timeout_format(uint64_t ms, char out[static GRPC_TIMEOUT_TEXT_SIZE])
{
    static const struct {
        uint64_t unit_ms;
        char letter;
    } units[] = {{1, 'm'}, {1000, 'S'}, {60 * 1000, 'M'}, {3600 * 1000, 'H'}};
    size_t unit = 0;
    while (unit + 1 < array_count(units) && ms / units[unit].unit_ms > 99999999) {
        unit++;
    }
    uint64_t number = ms / units[unit].unit_ms;
    int size = snprintf(out, GRPC_TIMEOUT_TEXT_SIZE, "%u%c",
                        (unsigned)(number > 99999999 ? 99999999 : number), units[unit].letter);
    return str_make(out, (size_t)size);
}

// --- status messages
// -------------------------------------------------------------------------------

void grpc_message_encode(struct buf *out, struct str message)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < message.size; i++) {
        unsigned char c = (unsigned char)message.data[i];
        if (c >= 0x20 && c <= 0x7e && c != '%') {
            buf_append_char(out, (char)c);
        } else {
            buf_append_char(out, '%');
            buf_append_char(out, digits[c >> 4]);
            buf_append_char(out, digits[c & 15]);
        }
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

void grpc_message_decode(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '%' && text.size - i > 2 && hex_digit(text.data[i + 1]) >= 0 &&
            hex_digit(text.data[i + 2]) >= 0) {
            buf_append_char(out,
                            (char)(hex_digit(text.data[i + 1]) << 4 | hex_digit(text.data[i + 2])));
            i += 2;
        } else {
            buf_append_char(out, text.data[i]);
        }
    }
}
