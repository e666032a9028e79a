// SPDX-License-Identifier: Apache-2.0
//
// spdy: the server's side of SPDY/3.1 framing as Kubernetes clients speak it behind `Upgrade: SPDY/3.1`
// (exec, attach and port-forward of kubectl), bytes to events and back, without I/O. No flow control: these
// clients announce windows and keep to none.
//
// One connection is one reader, whose header compression context goes on from block to block. Header
// blocks that we write are never compressed by content, only framed as zlib wants them.
#ifndef LAB_APISERVER_SPDY_H
#define LAB_APISERVER_SPDY_H

#include <stdbool.h>
#include <stdint.h>

#include <zlib.h>

#include "base/arena.h"
#include "base/buf.h"

#define SPDY_FRAME_MAX (1024u * 1024)      // payload of one frame
#define SPDY_HEADER_BLOCK_MAX (64u * 1024) // decompressed
#define SPDY_HEADERS_MAX 64u               // of one block

enum spdy_event_type {
    SPDY_OPEN,   // SYN_STREAM: stream, headers, is_end
    SPDY_DATA,   // stream, bytes, is_end
    SPDY_RESET,  // stream
    SPDY_PING,   // stream is the ping's id: answer it
    SPDY_GOAWAY,
};

struct spdy_header {
    struct str name;
    struct str value;
};

struct spdy_event {
    enum spdy_event_type type;
    uint32_t stream;
    bool is_end; // no more from the client on this stream
    struct str bytes;
    struct spdy_header headers[SPDY_HEADERS_MAX];
    size_t header_count;
};

struct spdy {
    struct buf input;
    size_t used; // of input: the last event's frame, dropped by the next call
    struct buf block; // decompressed headers of the last event
    z_stream inflate;
    z_stream deflate;
};

enum spdy_read { SPDY_READ_EVENT, SPDY_READ_MORE, SPDY_READ_BAD };

void spdy_init(struct spdy *spdy);
void spdy_done(struct spdy *spdy);

void spdy_feed(struct spdy *spdy, struct str bytes);
// Views of the event are valid until the next call. BAD: the connection is of no use any more.
enum spdy_read spdy_next(struct spdy *spdy, struct spdy_event *ret_event);
struct str spdy_header(const struct spdy_event *event, struct str name); // data NULL: absent

void spdy_write_reply(struct spdy *spdy, struct buf *out, uint32_t stream); // SYN_REPLY without headers
void spdy_write_data(struct buf *out, uint32_t stream, struct str bytes, bool is_end);
void spdy_write_ping(struct buf *out, uint32_t id);
void spdy_write_reset(struct buf *out, uint32_t stream, uint32_t code);

#define SPDY_RESET_REFUSED 3u
#define SPDY_RESET_INTERNAL 6u

#endif
