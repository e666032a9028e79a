// SPDX-License-Identifier: Apache-2.0
//
// client_hello: reads what a TLS client says before anything is encrypted: the server name and the
// application protocols it offers. Pure; works on the bytes collected so far (RFC 8446 section 4.1.2,
// records of section 5.1; the hello may span several records).
#ifndef PROXY_LISTENER_CLIENT_HELLO_H
#define PROXY_LISTENER_CLIENT_HELLO_H

#include <stddef.h>

#include "base/str.h"

#define CLIENT_HELLO_MAX (16u * 1024) // bytes looked at; a larger hello is PARSE-wise bad
#define CLIENT_HELLO_NAME_MAX 255u
#define CLIENT_HELLO_PROTOCOLS_MAX 16u
#define CLIENT_HELLO_PROTOCOL_SIZE_MAX 64u

enum client_hello_result {
    CLIENT_HELLO_DONE,      // complete; out is filled
    CLIENT_HELLO_MORE,      // needs more bytes
    CLIENT_HELLO_NOT_TLS,   // something else, or malformed
    CLIENT_HELLO_TOO_LARGE, // not complete within CLIENT_HELLO_MAX
};

struct client_hello {
    char server_name[CLIENT_HELLO_NAME_MAX + 1]; // lower-case; empty: none
    size_t server_name_size;
    // Offered protocols in the client's order, each behind its size, as on the wire.
    struct {
        char text[CLIENT_HELLO_PROTOCOL_SIZE_MAX];
        size_t size;
    } protocols[CLIENT_HELLO_PROTOCOLS_MAX];
    size_t protocol_count;
};

enum client_hello_result client_hello_parse(struct str bytes, struct client_hello *out);

#endif
