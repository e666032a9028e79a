// SPDX-License-Identifier: Apache-2.0
//
// http_inspect: does this plaintext connection speak HTTP, and which? Looks at the HTTP/2 preface or the
// HTTP/1 request line only. Pure; works on the bytes collected so far.
#ifndef PROXY_LISTENER_HTTP_INSPECT_H
#define PROXY_LISTENER_HTTP_INSPECT_H

#include "base/str.h"

#define HTTP_INSPECT_MAX (64u * 1024) // undecided after so many bytes: the connection is closed

enum http_inspect_result {
    HTTP_INSPECT_MORE,
    HTTP_INSPECT_HTTP10,
    HTTP_INSPECT_HTTP11,
    HTTP_INSPECT_HTTP2,
    HTTP_INSPECT_OTHER,
};

enum http_inspect_result http_inspect(struct str bytes);
// "http/1.0", "http/1.1", "h2c"; empty for the others.
struct str http_inspect_protocol(enum http_inspect_result result);

#endif
