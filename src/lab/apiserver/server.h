// SPDX-License-Identifier: Apache-2.0
//
// server: between the HTTP server (apiserver.c) and requests (request.c).
#ifndef LAB_APISERVER_SERVER_H
#define LAB_APISERVER_SERVER_H

#include "net/http.h"

void server_on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end);

#endif
