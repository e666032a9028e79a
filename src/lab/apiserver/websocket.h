// SPDX-License-Identifier: Apache-2.0
//
// websocket: the server's side of WebSocket (RFC 6455), bytes to messages and back, without I/O. No
// extensions. Fragments of a message are put together here; control frames may stand between them.
#ifndef LAB_APISERVER_WEBSOCKET_H
#define LAB_APISERVER_WEBSOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"

#define WEBSOCKET_MESSAGE_MAX (1024u * 1024) // above: close code 1009
#define WEBSOCKET_CONTROL_MAX 125u           // RFC 6455 section 5.5

enum websocket_opcode {
    WEBSOCKET_CONTINUATION = 0,
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_BINARY = 2,
    WEBSOCKET_CLOSE = 8,
    WEBSOCKET_PING = 9,
    WEBSOCKET_PONG = 10,
};

enum websocket_close {
    WEBSOCKET_CLOSE_NORMAL = 1000,
    WEBSOCKET_CLOSE_PROTOCOL = 1002,
    WEBSOCKET_CLOSE_TOO_BIG = 1009,
};

// Zero-initialized: at the start.
struct websocket_reader {
    struct buf input;
    struct buf message; // fragments so far
    bool has_fragments;
    enum websocket_opcode fragments_opcode;
    bool message_is_used; // the last message was in `message`: dropped by the next call
};

enum websocket_read { WEBSOCKET_READ_MESSAGE, WEBSOCKET_READ_MORE, WEBSOCKET_READ_BAD };

void websocket_feed(struct websocket_reader *reader, struct str bytes);
// A whole message or control frame; *ret_payload is valid until the next call. BAD: *ret_close is the code
// to close with, and the reader of no use any more.
enum websocket_read websocket_next(struct websocket_reader *reader, enum websocket_opcode *ret_opcode,
                                   struct str *ret_payload, enum websocket_close *ret_close);
void websocket_done(struct websocket_reader *reader);

// One frame is one message. The payload follows in the same buffer, or elsewhere.
void websocket_write_head(struct buf *out, enum websocket_opcode opcode, size_t size);
void websocket_write(struct buf *out, enum websocket_opcode opcode, struct str payload);
void websocket_write_close(struct buf *out, enum websocket_close code);

// sec-websocket-accept of a sec-websocket-key.
struct str websocket_accept(struct arena *arena, struct str key);

#endif
