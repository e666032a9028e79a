// SPDX-License-Identifier: Apache-2.0
//
// protocol: what a Service port speaks, from appProtocol or the prefix of its name. A port that says
// nothing is MESH_PROTOCOL_AUTO: the proxy looks at the first bytes.
#ifndef MESH_PROTOCOL_H
#define MESH_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum mesh_protocol {
    MESH_PROTOCOL_AUTO = 0, // undeclared: detected per connection
    MESH_PROTOCOL_HTTP,
    MESH_PROTOCOL_HTTP2,
    MESH_PROTOCOL_GRPC,
    MESH_PROTOCOL_GRPC_WEB,
    MESH_PROTOCOL_HTTPS, // TLS by the application; routed by SNI
    MESH_PROTOCOL_TLS,
    MESH_PROTOCOL_TCP,
    MESH_PROTOCOL_MONGO,
    MESH_PROTOCOL_REDIS,
    MESH_PROTOCOL_MYSQL,
    MESH_PROTOCOL_UDP, // never intercepted
    MESH_PROTOCOL_COUNT
};

const char *mesh_protocol_name(enum mesh_protocol protocol); // "HTTP2"
// Transport is the port's `protocol` field ("TCP", "UDP"; empty: TCP).
enum mesh_protocol mesh_protocol_of_port(struct str transport, struct str app_protocol,
                                         struct str port_name, uint32_t number);
enum mesh_protocol mesh_protocol_parse(struct str text); // a Gateway server's; AUTO when unknown
bool mesh_protocol_is_http(enum mesh_protocol protocol);
bool mesh_protocol_is_http2(enum mesh_protocol protocol); // h2 from the first byte
bool mesh_protocol_is_tls(enum mesh_protocol protocol);

#endif
