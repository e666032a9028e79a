// SPDX-License-Identifier: Apache-2.0
//
// channels: the byte streams of one exec or attach request, over WebSocket (channel.k8s.io, versions 1, 4
// and 5, binary and base64) or SPDY/3.1, behind one interface.
//
//   channels_accept ─► (SPDY: waits for the client's streams) on_ready ─► on_data*, on_end* … on_close, last
//
// Memory is the request's; on_close comes when its exchange is gone. No event is called from inside a
// function of this header.
#ifndef LAB_APISERVER_CHANNELS_H
#define LAB_APISERVER_CHANNELS_H

#include <stdbool.h>

#include "base/str.h"

struct json_value;
struct request;
struct channels;

#define CHANNELS_OPEN_MS 30000u   // for a SPDY client to open its streams
#define CHANNELS_LINGER_MS 10000u // for a client to go after the end

enum channel { CHANNEL_STDIN, CHANNEL_STDOUT, CHANNEL_STDERR, CHANNEL_ERROR, CHANNEL_RESIZE, CHANNEL_COUNT };

struct channels_events {
    void (*on_ready)(void *owner);
    void (*on_data)(void *owner, enum channel channel, struct str bytes);
    void (*on_end)(void *owner, enum channel channel); // the client sends no more on it
    void (*on_drained)(void *owner);
    void (*on_close)(void *owner);
};

// Answers 101 and takes the exchange over. wanted: bits 1 << enum channel, CHANNEL_ERROR is always added.
// NULL: request->failure says why (no upgrade asked for, no protocol in common).
struct channels *channels_accept(struct request *request, unsigned wanted, const struct channels_events *events, void *owner);
bool channels_are_ready(const struct channels *channels); // on_ready does not come then

void channels_send(struct channels *channels, enum channel channel, struct str bytes);
bool channels_is_congested(const struct channels *channels);
void channels_read(struct channels *channels, bool is_wanted); // stops and resumes on_data
// Ends what we send with a Status object: success, exit status or failure.
void channels_finish(struct channels *channels, const struct json_value *status);

#endif
