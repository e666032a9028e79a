// SPDX-License-Identifier: Apache-2.0
//
// The inside of net/grpc: a call on its exchange.
#ifndef NET_GRPC_INTERNAL_H
#define NET_GRPC_INTERNAL_H

#include "base/memory.h"
#include "codec/grpc/grpc_codec.h"
#include "net/grpc.h"

struct grpc_call {
    struct http_exchange *exchange;
    const struct grpc_events *events; // NULL: silent
    void *owner;
    struct arena arena;
    const struct http_head *request; // server: its head, for metadata
    struct grpc_reader reader;
    struct loop_timer deadline;
    enum grpc_status status; // when status_known
    struct str message;      // in the arena
    bool is_server;
    bool status_known;
    bool head_sent;
    bool sending_ended; // half-closed or finished
    bool dispatching;   // between enter and leave
    bool closed;        // while dispatching: freed behind it
};

struct grpc_call *grpc_call_new(struct loop *loop, bool is_server);
void grpc_call_set_deadline(struct grpc_call *call, uint64_t timeout_ms);
// The first status stands.
void grpc_call_set_status(struct grpc_call *call, enum grpc_status status, struct str message);
// Ends the call from our side with that status.
void grpc_call_fail(struct grpc_call *call, enum grpc_status status, struct str message);
// False: the call was closed and freed by what its messages caused.
bool grpc_call_on_data(struct grpc_call *call, struct str bytes);
// Around code of the owner: a call closed inside is freed by leave(), which returns false then.
void grpc_call_enter(struct grpc_call *call);
bool grpc_call_leave(struct grpc_call *call);
void grpc_call_close(struct grpc_call *call, enum grpc_status status,
                     struct str message); // reports, frees

// "application/grpc", "application/grpc+proto", "application/grpc;…"
bool grpc_is_content_type(struct str value);

#endif
