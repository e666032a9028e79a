// SPDX-License-Identifier: Apache-2.0
//
// header_value: values of headers to add, with the operators of access logs ("%REQ(x-user)%"), compiled. What
// has no value gives nothing. Pure. An operator that is not in the table is refused by name.
#ifndef PROXY_ROUTE_HEADER_VALUE_H
#define PROXY_ROUTE_HEADER_VALUE_H

#include "base/arena.h"
#include "base/error.h"
#include "codec/http1/http_head.h"

#define HEADER_VALUE_PARTS_MAX 64u

// What is known of the request. Texts may be empty; heads may be NULL.
struct header_facts {
    const struct http_head *request;
    const struct http_head *response;
    struct str remote_address; // with the port
    struct str local_address;
    struct str protocol; // "HTTP/1.1"
    struct str server_name;
    struct str route_name;
    struct str upstream_host;
    struct str upstream_cluster;
};

struct header_value; // NULL: a plain text

// A text without operators gives *ret_value NULL and itself, "%%" being "%", in *ret_text.
enum err header_value_compile(struct arena *arena, struct str text, struct str *ret_text, const struct header_value **ret_value,
                              struct error *err) must_check;
struct str header_value_make(const struct header_value *value, const struct header_facts *facts, struct arena *arena);

#endif
