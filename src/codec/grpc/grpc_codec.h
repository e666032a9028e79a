// SPDX-License-Identifier: Apache-2.0
//
// grpc_codec: the bytes of gRPC over HTTP/2: length-prefixed messages, timeouts, status messages.
//
// A message is one byte (0: plain, 1: compressed), four bytes of length, most significant first,
// and the message. Messages may begin and end anywhere in the DATA frames.
#ifndef CODEC_GRPC_GRPC_CODEC_H
#define CODEC_GRPC_GRPC_CODEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define GRPC_PREFIX_SIZE 5u

// Zero-initialized apart from message_max.
struct grpc_reader {
    struct buf partial; // a message that has not arrived completely
    size_t used;        // of partial: reported, dropped by the next call
    uint32_t message_max;
};

enum grpc_read {
    GRPC_READ_MESSAGE,
    GRPC_READ_MORE,
    GRPC_READ_TOO_LARGE,  // announced size above message_max; the reader is of no use any more
    GRPC_READ_COMPRESSED, // or an unknown flag; likewise
};

// Takes from the front of *input. The message is a view into it, or into the reader when it came in
// pieces; valid until the next call.
enum grpc_read grpc_reader_next(struct grpc_reader *reader, struct str *input,
                                struct str *ret_message);
bool grpc_reader_is_between(const struct grpc_reader *reader); // no message has begun
void grpc_reader_done(struct grpc_reader *reader);

void grpc_write_prefix(char out[static GRPC_PREFIX_SIZE], uint32_t size);

// "250m": at most eight digits and a unit. False: malformed. Rounded up to milliseconds.
bool grpc_timeout_parse(struct str text, uint64_t *ret_ms);
#define GRPC_TIMEOUT_TEXT_SIZE 16u
struct str grpc_timeout_format(uint64_t ms, char out[static GRPC_TIMEOUT_TEXT_SIZE]);

// Percent-encoding of grpc-message: printable ASCII but '%' stays as it is.
void grpc_message_encode(struct buf *out, struct str message);
void grpc_message_decode(struct buf *out, struct str text); // malformed escapes stay as they are

#endif
