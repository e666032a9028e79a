// SPDX-License-Identifier: Apache-2.0
#include "mesh/gateway.h"

static enum mesh_gateway_tls parse_tls(const struct json_value *server, enum mesh_protocol protocol)
{
    const struct json_value *tls = json_get(server, "tls");
    // A plaintext HTTP server has `tls` only to redirect to HTTPS.
    if (tls == NULL || mesh_protocol_is_http(protocol)) {
        return MESH_GATEWAY_TLS_NONE;
    }
    return str_equal(json_get_str(tls, "mode"), STR("AUTO_PASSTHROUGH"))
               ? MESH_GATEWAY_TLS_AUTO_PASSTHROUGH
               : MESH_GATEWAY_TLS_OTHER;
}

// "ns/host", "./host" and "*/host" say whose VirtualServices count.
static struct str host_namespace(struct arena *arena, struct str text, struct str own)
{
    if (str_is_empty(text) || str_equal(text, STR("*"))) {
        return STR_EMPTY;
    }
    return arena_str(arena, str_equal(text, STR(".")) ? own : text);
}

static enum err parse_hosts(struct arena *arena, struct str ns, const struct json_value *json,
                            struct mesh_gateway_server *server, struct error *err)
{
    size_t count = json_count(json);
    if (!json_is(json, JSON_ARRAY) || count == 0) {
        return error_set(err, ERR_INVALID, "hosts: at least one is needed");
    }
    if (count > MESH_GATEWAY_HOSTS_MAX) {
        return error_set(err, ERR_LIMIT, "hosts: more than %u", MESH_GATEWAY_HOSTS_MAX);
    }
    server->hosts = arena_array(arena, struct str, count);
    server->host_namespaces = arena_array(arena, struct str, count);
    for (size_t i = 0; i < count; i++) {
        struct str host = json_str(json_at(json, i));
        ptrdiff_t slash = str_find_char(host, '/');
        server->host_namespaces[i] =
            host_namespace(arena, slash < 0 ? STR_EMPTY : str_sub(host, 0, (size_t)slash), ns);
        host = slash < 0 ? host : str_from(host, (size_t)slash + 1);
        if (str_is_empty(host)) {
            return error_set(err, ERR_INVALID, "hosts[%zu]: not a host name", i);
        }
        server->hosts[server->host_count++] = arena_str(arena, host);
    }
    return ERR_OK;
}

static enum err parse_server(struct arena *arena, struct str ns, const struct json_value *json,
                             struct mesh_gateway_server *server, struct error *err)
{
    const struct json_value *port = json_get(json, "port");
    int64_t number = json_get_int(port, "number", 0);
    if (number < 1 || number > 65535) {
        return error_set(err, ERR_INVALID, "port.number: %lld is not a port", (long long)number);
    }
    server->port = (uint32_t)number;
    server->name = arena_str(arena, json_get_str(port, "name"));
    server->protocol = mesh_protocol_parse(json_get_str(port, "protocol"));
    server->tls = parse_tls(json, server->protocol);
    server->is_https_redirect = json_get_bool(json_get(json, "tls"), "httpsRedirect", false);
    return parse_hosts(arena, ns, json_get(json, "hosts"), server, err);
}

enum err mesh_gateway_from_json(struct arena *arena, const struct json_value *object,
                                struct mesh_gateway *ret_gateway, struct error *err)
{
    const struct json_value *metadata = json_get(object, "metadata");
    const struct json_value *spec = json_get(object, "spec");
    struct mesh_gateway gateway = {
        .ns = arena_str(arena, json_get_str(metadata, "namespace")),
        .name = arena_str(arena, json_get_str(metadata, "name")),
        .created = arena_str(arena, json_get_str(metadata, "creationTimestamp")),
        .selector = mesh_labels_from_json(arena, json_get(spec, "selector")),
    };
    const struct json_value *servers = json_get(spec, "servers");
    size_t count = json_count(servers);
    if (count > MESH_GATEWAY_SERVERS_MAX) {
        return error_set(err, ERR_LIMIT, "spec.servers: more than %u", MESH_GATEWAY_SERVERS_MAX);
    }
    gateway.servers = arena_array(arena, struct mesh_gateway_server, count == 0 ? 1 : count);
    for (size_t i = 0; json_is(servers, JSON_ARRAY) && i < count; i++) {
        enum err code = parse_server(arena, gateway.ns, json_at(servers, i), &gateway.servers[i], err);
        if (code != ERR_OK) {
            error_prefix(err, "spec.servers[%zu]", i);
            return code;
        }
        gateway.server_count++;
    }
    *ret_gateway = gateway;
    return ERR_OK;
}

bool mesh_host_matches(struct str pattern, struct str hostname)
{
    if (str_equal(pattern, STR("*"))) {
        return true;
    }
    if (str_starts_with(pattern, STR("*."))) {
        struct str suffix = str_from(pattern, 1);
        return hostname.size > suffix.size && str_ends_with(hostname, suffix);
    }
    return str_equal(pattern, hostname);
}
