// SPDX-License-Identifier: Apache-2.0
//
// First byte: 'w' WebSocket, 's' SPDY, in pieces of the second byte's size; then what a client sends.
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "lab/apiserver/spdy.h"
#include "lab/apiserver/websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_websocket(struct str input, size_t step)
{
    struct websocket_reader reader = {0};
    enum websocket_read result = WEBSOCKET_READ_MORE;
    for (size_t at = 0; at < input.size && result == WEBSOCKET_READ_MORE; at += step) {
        enum websocket_opcode opcode;
        enum websocket_close close;
        struct str payload;
        websocket_feed(&reader, str_sub(input, at, step));
        while ((result = websocket_next(&reader, &opcode, &payload, &close)) == WEBSOCKET_READ_MESSAGE) {
            ASSERT(payload.size <= WEBSOCKET_MESSAGE_MAX);
            (void)str_hash(payload);
        }
    }
    websocket_done(&reader);
}

static void read_spdy(struct str input, size_t step)
{
    struct spdy spdy;
    enum spdy_read result = SPDY_READ_MORE;
    spdy_init(&spdy);
    for (size_t at = 0; at < input.size && result == SPDY_READ_MORE; at += step) {
        struct spdy_event event;
        spdy_feed(&spdy, str_sub(input, at, step));
        while ((result = spdy_next(&spdy, &event)) == SPDY_READ_EVENT) {
            (void)str_hash(spdy_header(&event, STR("streamtype")));
            (void)str_hash(event.bytes);
        }
    }
    spdy_done(&spdy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct str input = str_make((const char *)data + 2, size - 2);
    size_t step = (size_t)data[1] + 1;
    if (data[0] == 'w') {
        read_websocket(input, step);
    } else {
        read_spdy(input, step);
    }
    return 0;
}
