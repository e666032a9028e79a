// SPDX-License-Identifier: Apache-2.0
#include "mesh/protocol.h"

#include "base/assert.h"
#include "base/memory.h"

static const struct {
    const char *name;  // as status and debug pages print it
    const char *token; // as port names and appProtocol write it
} protocols[MESH_PROTOCOL_COUNT] = {
    [MESH_PROTOCOL_AUTO] = {"UnsupportedProtocol", NULL},
    [MESH_PROTOCOL_HTTP] = {"HTTP", "http"},
    [MESH_PROTOCOL_HTTP2] = {"HTTP2", "http2"},
    [MESH_PROTOCOL_GRPC] = {"GRPC", "grpc"},
    [MESH_PROTOCOL_GRPC_WEB] = {"GRPC-Web", "grpc-web"},
    [MESH_PROTOCOL_HTTPS] = {"HTTPS", "https"},
    [MESH_PROTOCOL_TLS] = {"TLS", "tls"},
    [MESH_PROTOCOL_TCP] = {"TCP", "tcp"},
    [MESH_PROTOCOL_MONGO] = {"Mongo", "mongo"},
    [MESH_PROTOCOL_REDIS] = {"Redis", "redis"},
    [MESH_PROTOCOL_MYSQL] = {"MySQL", "mysql"},
    [MESH_PROTOCOL_UDP] = {"UDP", "udp"},
};

// Ports whose protocols let the server speak first: sniffing them would wait for ever.
static const uint32_t server_first_ports[] = {25, 53, 3306, 27017};

const char *mesh_protocol_name(enum mesh_protocol protocol)
{
    ASSERT((unsigned)protocol < MESH_PROTOCOL_COUNT);
    return protocols[protocol].name;
}

enum mesh_protocol mesh_protocol_parse(struct str text)
{
    for (int i = MESH_PROTOCOL_HTTP; i < MESH_PROTOCOL_COUNT; i++) {
        if (str_equal_nocase(text, str_of(protocols[i].token))) {
            return (enum mesh_protocol)i;
        }
    }
    return MESH_PROTOCOL_AUTO;
}

static enum mesh_protocol parse_port_name(struct str name)
{
    // "grpc-web" holds the separator itself, so it is looked for before the name is cut.
    struct str grpc_web = STR("grpc-web");
    if (str_equal_nocase(str_sub(name, 0, grpc_web.size), grpc_web)) {
        return MESH_PROTOCOL_GRPC_WEB;
    }
    ptrdiff_t dash = str_find_char(name, '-');
    return mesh_protocol_parse(dash < 0 ? name : str_sub(name, 0, (size_t)dash));
}

enum mesh_protocol mesh_protocol_of_port(struct str transport, struct str app_protocol,
                                         struct str port_name, uint32_t number)
{
    if (str_equal(transport, STR("UDP"))) {
        return MESH_PROTOCOL_UDP;
    }
    enum mesh_protocol protocol;
    if (str_is_empty(app_protocol)) {
        protocol = parse_port_name(port_name);
    } else if (str_equal_nocase(app_protocol, STR("kubernetes.io/h2c"))) {
        protocol = MESH_PROTOCOL_HTTP2;
    } else {
        protocol = mesh_protocol_parse(app_protocol);
    }
    if (protocol != MESH_PROTOCOL_AUTO) {
        return protocol;
    }
    for (size_t i = 0; i < array_count(server_first_ports); i++) {
        if (number == server_first_ports[i]) {
            return MESH_PROTOCOL_TCP;
        }
    }
    return MESH_PROTOCOL_AUTO;
}

bool mesh_protocol_is_http(enum mesh_protocol protocol)
{
    return protocol == MESH_PROTOCOL_HTTP || mesh_protocol_is_http2(protocol);
}

bool mesh_protocol_is_http2(enum mesh_protocol protocol)
{
    return protocol == MESH_PROTOCOL_HTTP2 || protocol == MESH_PROTOCOL_GRPC ||
           protocol == MESH_PROTOCOL_GRPC_WEB;
}

bool mesh_protocol_is_tls(enum mesh_protocol protocol)
{
    return protocol == MESH_PROTOCOL_HTTPS || protocol == MESH_PROTOCOL_TLS;
}
