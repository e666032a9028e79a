// SPDX-License-Identifier: Apache-2.0
//
// http_request: one request from its head to its access log line: the router. Private to the folder's
// HTTP manager, which makes requests and is told when they end.
//
//   new ──route──► waiting ──host, pool──► trying ──head──► answering ──both ended──► over
//                     ▲                       │ failed, may be repeated
//                     └────── back-off ◄──────┘
//
// What cannot go on is answered here (local replies, in Envoy's words).
#ifndef PROXY_FILTER_HTTP_REQUEST_H
#define PROXY_FILTER_HTTP_REQUEST_H

#include "proxy/filter/http_manager.h"

#define HTTP_RETRY_BUFFER_MAX (1024u * 1024) // request body kept for repeating; beyond it there is no retry
#define HTTP_TRIED_HOSTS_MAX 16u

struct http_manager_stats {
    struct stat *rq_total;
    struct stat *rq_active;
    struct stat *rq_completed;
    struct stat *rq_class[6];
    struct stat *no_route;
    struct stat *no_cluster;
};

// on_over: the request is gone; called once per request from the loop's close point.
void http_request_start(const struct http_manager_config *config, const struct http_manager_stats *stats,
                        struct connection *connection, struct http_exchange *downstream, const struct http_head *head, bool end);

#endif
