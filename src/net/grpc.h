// SPDX-License-Identifier: Apache-2.0
//
// grpc: calls over HTTP/2 (gRPC over HTTP/2 protocol specification). Unary and streaming calls are the
// same object: messages both ways, then a status. Messages are encoded bytes (codec/pb does the rest).
#ifndef NET_GRPC_H
#define NET_GRPC_H

#include "base/str.h"
#include "net/http.h"

#define GRPC_MESSAGE_MAX (64u * 1024 * 1024) // a larger message ends the call with RESOURCE_EXHAUSTED

enum grpc_status {
    GRPC_OK = 0, GRPC_CANCELLED = 1, GRPC_UNKNOWN = 2, GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4, GRPC_NOT_FOUND = 5, GRPC_ALREADY_EXISTS = 6,
    GRPC_PERMISSION_DENIED = 7, GRPC_RESOURCE_EXHAUSTED = 8, GRPC_FAILED_PRECONDITION = 9,
    GRPC_ABORTED = 10, GRPC_OUT_OF_RANGE = 11, GRPC_UNIMPLEMENTED = 12, GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14, GRPC_DATA_LOSS = 15, GRPC_UNAUTHENTICATED = 16,
};
const char *grpc_status_name(enum grpc_status status);

struct grpc_call;

struct grpc_events {
    void (*on_message)(void *owner, struct grpc_call *call, struct str message);
    void (*on_half_close)(void *owner, struct grpc_call *call); // server: the client sent its last message
    void (*on_drained)(void *owner, struct grpc_call *call);    // may be NULL
    // Client: the server's status. Server: the call is over (GRPC_OK after grpc_finish, GRPC_CANCELLED
    // when the client went away). Exactly once, last; the call is gone after it.
    void (*on_close)(void *owner, struct grpc_call *call, enum grpc_status status, struct str message);
};

void grpc_send(struct grpc_call *call, struct str message);
bool grpc_is_congested(const struct grpc_call *call);
void grpc_half_close(struct grpc_call *call); // client: no more messages
// Server: ends the call with a status; message is percent-encoded as the specification says.
void grpc_finish(struct grpc_call *call, enum grpc_status status, struct str message);
void grpc_cancel(struct grpc_call *call);
void grpc_set_events(struct grpc_call *call, const struct grpc_events *events, void *owner);
struct http_exchange *grpc_exchange(const struct grpc_call *call); // peer, TLS facts
struct str grpc_metadata(const struct grpc_call *call, struct str name); // request metadata; copied for the call

// --- server: methods on an http_server -------------------------------------------------------------

struct grpc_service;

// Called for each new call of the method; must set the events.
typedef void grpc_method_fn(void *owner, struct grpc_call *call);

struct grpc_service *grpc_service_new(void);
void grpc_service_add(struct grpc_service *service, const char *path, grpc_method_fn *on_call, void *owner); // "/pkg.Service/Method"
void grpc_service_free(struct grpc_service *service);
// From an http_request_fn: true when it took the exchange (content-type application/grpc; unknown
// methods are answered UNIMPLEMENTED).
bool grpc_service_handle(struct grpc_service *service, struct http_exchange *exchange, const struct http_head *head, bool end);

// --- client ----------------------------------------------------------------------------------------

struct grpc_call_options {
    struct str authority;
    const struct http_header *metadata;
    size_t metadata_count;
    uint64_t timeout_ms; // 0: none; sent as grpc-timeout and enforced here
};

struct grpc_call *grpc_start(struct http_client *client, const char *path, const struct grpc_call_options *options,
                             const struct grpc_events *events, void *owner);

#endif
