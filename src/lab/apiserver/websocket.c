// SPDX-License-Identifier: Apache-2.0
//
// A frame (RFC 6455 section 5.2):
//   byte 0   FIN 0x80, reserved 0x70, opcode 0x0f
//   byte 1   MASK 0x80 (always, from a client), length: 0…125, or 126: 16 bits follow, 127: 64 bits follow
//   4 bytes  masking key, then the payload, each byte xor key[i % 4]
#include "lab/apiserver/websocket.h"

#include <openssl/evp.h>

#include "base/base64.h"

#define HEAD_SIZE 2u
#define KEY_SIZE 4u
#define ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

struct frame {
    bool is_final;
    enum websocket_opcode opcode;
    size_t head_size; // with the key
    size_t size;      // of the payload
};

void websocket_feed(struct websocket_reader *reader, struct str bytes)
{
    buf_append_str(&reader->input, bytes);
}

void websocket_done(struct websocket_reader *reader)
{
    buf_done(&reader->input);
    buf_done(&reader->message);
}

static uint64_t read_number(const char *at, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value = value << 8 | (unsigned char)at[i];
    }
    return value;
}

static bool is_control(enum websocket_opcode opcode)
{
    return opcode >= WEBSOCKET_CLOSE;
}

// What section 5.2, 5.4 and 5.5 forbid.
static bool check_frame(const struct websocket_reader *reader, unsigned first, const struct frame *frame)
{
    bool is_known = frame->opcode <= WEBSOCKET_BINARY || (frame->opcode >= WEBSOCKET_CLOSE && frame->opcode <= WEBSOCKET_PONG);
    if (!is_known || (first & 0x70) != 0) {
        return false;
    }
    if (is_control(frame->opcode)) {
        return frame->is_final && frame->size <= WEBSOCKET_CONTROL_MAX;
    }
    return (frame->opcode == WEBSOCKET_CONTINUATION) == reader->has_fragments;
}

static enum websocket_read read_head(const struct websocket_reader *reader, struct frame *ret_frame,
                                     enum websocket_close *ret_close)
{
    struct str input = buf_view(&reader->input);
    if (input.size < HEAD_SIZE) {
        return WEBSOCKET_READ_MORE;
    }
    unsigned first = (unsigned char)input.data[0];
    unsigned second = (unsigned char)input.data[1];
    size_t extended = (second & 0x7f) == 127 ? 8 : (second & 0x7f) == 126 ? 2 : 0;
    if (input.size < HEAD_SIZE + extended) {
        return WEBSOCKET_READ_MORE;
    }
    uint64_t size = extended == 0 ? second & 0x7f : read_number(input.data + HEAD_SIZE, extended);
    *ret_close = WEBSOCKET_CLOSE_TOO_BIG;
    if (size > WEBSOCKET_MESSAGE_MAX || size + reader->message.size > WEBSOCKET_MESSAGE_MAX + WEBSOCKET_CONTROL_MAX) {
        return WEBSOCKET_READ_BAD;
    }
    *ret_frame = (struct frame){.is_final = (first & 0x80) != 0, .opcode = first & 0x0f,
                                .head_size = HEAD_SIZE + extended + KEY_SIZE, .size = (size_t)size};
    *ret_close = WEBSOCKET_CLOSE_PROTOCOL;
    return (second & 0x80) == 0 || !check_frame(reader, first, ret_frame) ? WEBSOCKET_READ_BAD : WEBSOCKET_READ_MESSAGE;
}

// The payload in its clear form, in the input.
static struct str unmask(struct websocket_reader *reader, const struct frame *frame)
{
    char *payload = reader->input.data + reader->input.start + frame->head_size;
    const char *key = payload - KEY_SIZE;
    for (size_t i = 0; i < frame->size; i++) {
        payload[i] = (char)(payload[i] ^ key[i % KEY_SIZE]);
    }
    return str_make(payload, frame->size);
}

enum websocket_read websocket_next(struct websocket_reader *reader, enum websocket_opcode *ret_opcode,
                                   struct str *ret_payload, enum websocket_close *ret_close)
{
    if (reader->message_is_used) {
        reader->message_is_used = false;
        buf_reset(&reader->message);
    }
    for (;;) {
        struct frame frame;
        enum websocket_read result = read_head(reader, &frame, ret_close);
        if (result != WEBSOCKET_READ_MESSAGE) {
            return result;
        }
        if (reader->input.size < frame.head_size + frame.size) {
            return WEBSOCKET_READ_MORE;
        }
        struct str payload = unmask(reader, &frame);
        buf_consume(&reader->input, frame.head_size + frame.size); // the bytes stay until the next feed
        bool is_whole = frame.is_final && frame.opcode != WEBSOCKET_CONTINUATION;
        if (is_control(frame.opcode) || is_whole) {
            *ret_opcode = frame.opcode;
            *ret_payload = payload;
            return WEBSOCKET_READ_MESSAGE;
        }
        if (frame.opcode != WEBSOCKET_CONTINUATION) {
            reader->fragments_opcode = frame.opcode;
        }
        reader->has_fragments = !frame.is_final;
        buf_append_str(&reader->message, payload);
        if (reader->message.size > WEBSOCKET_MESSAGE_MAX) {
            *ret_close = WEBSOCKET_CLOSE_TOO_BIG;
            return WEBSOCKET_READ_BAD;
        }
        if (frame.is_final) {
            reader->message_is_used = true;
            *ret_opcode = reader->fragments_opcode;
            *ret_payload = buf_view(&reader->message);
            return WEBSOCKET_READ_MESSAGE;
        }
    }
}

// --- writing ---------------------------------------------------------------------------------------

void websocket_write_head(struct buf *out, enum websocket_opcode opcode, size_t size)
{
    size_t extended = size < 126 ? 0 : size <= UINT16_MAX ? 2 : 8;
    buf_append_char(out, (char)(0x80 | opcode));
    buf_append_char(out, (char)(extended == 0 ? size : extended == 2 ? 126 : 127));
    for (size_t i = extended; i > 0; i--) {
        buf_append_char(out, (char)((uint64_t)size >> (8 * (i - 1))));
    }
}

void websocket_write(struct buf *out, enum websocket_opcode opcode, struct str payload)
{
    websocket_write_head(out, opcode, payload.size);
    buf_append_str(out, payload);
}

void websocket_write_close(struct buf *out, enum websocket_close code)
{
    char bytes[2] = {(char)((unsigned)code >> 8), (char)code};
    websocket_write(out, WEBSOCKET_CLOSE, str_make(bytes, sizeof(bytes)));
}

struct str websocket_accept(struct arena *arena, struct str key)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    struct str text = arena_format(arena, "%.*s" ACCEPT_GUID, STR_ARG(key));
    (void)EVP_Digest(text.data, text.size, digest, &size, EVP_sha1(), NULL);
    return base64_encode(arena, str_make((const char *)digest, size));
}
