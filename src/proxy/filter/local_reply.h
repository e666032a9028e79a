// SPDX-License-Identifier: Apache-2.0
//
// local_reply: answers the proxy gives itself, as data: status, body, flag and details in Envoy's words,
// which people and tests compare.
#ifndef PROXY_FILTER_LOCAL_REPLY_H
#define PROXY_FILTER_LOCAL_REPLY_H

#include "base/arena.h"
#include "net/http.h"

enum local_reply_kind {
    REPLY_NO_ROUTE,
    REPLY_NO_CLUSTER,
    REPLY_NO_HOST,
    REPLY_OVERFLOW,
    REPLY_RESET, // the reason is in the text given
    REPLY_ROUTE_TIMEOUT,
    REPLY_TRY_TIMEOUT,
    REPLY_STREAM_IDLE,
    REPLY_BAD_PATH,
    REPLY_UPGRADE_REFUSED,
    REPLY_COUNT
};

struct local_reply {
    int status;
    struct str body;
    unsigned flag;
    struct str details;
};

struct local_reply local_reply_get(enum local_reply_kind kind);

// Sends head and body; a gRPC request gets a trailers-only answer. `extra` may be NULL. What was sent as
// head is left in ret_head.
void local_reply_send(struct http_exchange *exchange, bool is_grpc, bool is_head_request, int status, struct str body,
                      struct str server_name, struct http_head *ret_head, struct arena *arena);

#endif
