// SPDX-License-Identifier: Apache-2.0
//
// headers: what a connection manager does to the headers of a request on the way in and of a response on
// the way out. Pure but for the request id's dice. Views made here live in the arena.
#ifndef PROXY_FILTER_HEADERS_H
#define PROXY_FILTER_HEADERS_H

#include "base/arena.h"
#include "net/tls.h"
#include "proxy/filter/http_manager.h"

struct request_facts {
    const struct address *remote;
    const struct address *local;
    const struct tls_session *tls; // NULL: plaintext
    enum traffic_direction direction;
};

enum headers_verdict { HEADERS_FINE, HEADERS_BAD_PATH };

enum headers_verdict headers_clean_request(const struct http_manager_config *config, const struct request_facts *facts,
                                           struct http_head *head, struct arena *arena);
// wall_ms: for the date, where upstream gave none.
void headers_clean_response(const struct http_manager_config *config, uint64_t wall_ms, struct http_head *head, struct arena *arena);
struct str headers_date(uint64_t wall_ms, struct arena *arena); // RFC 9110 section 5.6.7

// Path without its query: dot segments removed, needless escapes undone (RFC 3986 section 6.2.2). False:
// it does not begin with a slash, or holds %00 or a malformed escape.
bool headers_normalize_path(struct str path, bool merge_slashes, struct arena *arena, struct str *ret_path);

#endif
