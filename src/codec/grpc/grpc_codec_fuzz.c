// SPDX-License-Identifier: Apache-2.0
//
// First byte: piece size. Messages read in pieces are those read at once; a decoded status message
// survives being encoded again.
#include <stdint.h>

#include "base/assert.h"
#include "codec/grpc/grpc_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct str text, size_t piece, struct buf *out)
{
    struct grpc_reader reader = {.message_max = 4096};
    enum grpc_read result = GRPC_READ_MORE;
    for (size_t at = 0; at < text.size && result == GRPC_READ_MORE;) {
        struct str input = str_sub(text, at, piece);
        at += input.size;
        struct str message;
        while ((result = grpc_reader_next(&reader, &input, &message)) == GRPC_READ_MESSAGE) {
            buf_append_str(out, message);
            buf_append_char(out, '|');
        }
    }
    grpc_reader_done(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct str text = str_make((const char *)data + 1, size - 1);
    struct buf whole = {0};
    struct buf pieces = {0};
    read_all(text, text.size + 1, &whole);
    read_all(text, (size_t)data[0] + 1, &pieces);
    ASSERT(str_equal(buf_view(&whole), buf_view(&pieces)));
    uint64_t ms = 0;
    (void)grpc_timeout_parse(text, &ms);
    buf_reset(&whole);
    buf_reset(&pieces);
    grpc_message_encode(&whole, text);
    grpc_message_decode(&pieces, buf_view(&whole));
    ASSERT(str_equal(buf_view(&pieces), text));
    buf_done(&whole);
    buf_done(&pieces);
    return 0;
}
