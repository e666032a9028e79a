// SPDX-License-Identifier: Apache-2.0
//
// http_head: the head of an HTTP message, whatever the version: request line or status, and headers.
// Views borrow from the parser's input or from an arena; a head that must outlive its event is copied
// with http_head_copy().
#ifndef CODEC_HTTP1_HTTP_HEAD_H
#define CODEC_HTTP1_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/str.h"

#define HTTP_HEADERS_MAX 128u // hard limit of a head; servers may set less

struct http_header {
    struct str name; // lower-case
    struct str value;
};

struct http_head {
    // requests
    struct str method;
    struct str scheme;    // "http" or "https"; set by the connection
    struct str authority; // host[:port]; from :authority or Host
    struct str path;      // origin form with query, or "*"; empty for CONNECT
    // responses
    int status;           // 0 on requests
    // both
    struct str upgrade;   // protocol asked for or switched to; empty: none
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t header_count;
};

// First value with that (lower-case) name; a view with data NULL when absent.
struct str http_head_get(const struct http_head *head, struct str name);
bool http_head_has(const struct http_head *head, struct str name);
bool http_head_add(struct http_head *head, struct str name, struct str value); // false: full
// Replaces the first, removes other ones; adds when absent.
bool http_head_set(struct http_head *head, struct str name, struct str value);
void http_head_remove(struct http_head *head, struct str name);

// A copy whose views live in the arena. Only used header slots are copied.
struct http_head *http_head_copy(struct arena *arena, const struct http_head *head);

// Common beginnings; other fields stay zero.
void http_head_init_request(struct http_head *head, struct str method, struct str scheme,
                            struct str authority, struct str path);
void http_head_init_response(struct http_head *head, int status);

const char *http_status_text(int status); // "Not Found"; "" when unknown

#endif
