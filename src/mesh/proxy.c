// SPDX-License-Identifier: Apache-2.0
#include "mesh/proxy.h"

#include <arpa/inet.h>

static bool is_ip(struct arena *arena, struct str text)
{
    unsigned char bytes[16];
    const char *c_text = arena_strdup(arena, text);
    return inet_pton(AF_INET, c_text, bytes) == 1 || inet_pton(AF_INET6, c_text, bytes) == 1;
}

// Splits "a,b" into at most max views in the arena; false when there are more.
static bool split_list(struct arena *arena, struct str text, struct str *items, size_t max,
                       size_t *count)
{
    if (str_is_empty(text)) {
        return true;
    }
    struct str rest = text;
    while (rest.data != NULL) {
        struct str item = str_trim(str_split(&rest, ','));
        if (str_is_empty(item)) {
            continue;
        }
        if (*count == max) {
            return false;
        }
        items[(*count)++] = arena_str(arena, item);
    }
    return true;
}

static enum err parse_type(struct str text, enum mesh_proxy_type *ret_type, struct error *err)
{
    if (str_equal(text, STR("sidecar"))) {
        *ret_type = MESH_PROXY_SIDECAR;
    } else if (str_equal(text, STR("router"))) {
        *ret_type = MESH_PROXY_ROUTER;
    } else {
        return error_set(err, ERR_INVALID, "node id: type must be sidecar or router");
    }
    return ERR_OK;
}

static enum err parse_node_id(struct arena *arena, struct str node_id, struct mesh_proxy *proxy,
                              struct str *ret_ip, struct error *err)
{
    struct str fields[4];
    size_t count = 0;
    struct str rest = node_id;
    while (rest.data != NULL) {
        struct str field = str_split(&rest, '~');
        if (count == 4) {
            return error_set(err, ERR_INVALID, "node id: more than four fields");
        }
        fields[count++] = field;
    }
    if (count != 4) {
        return error_set(err, ERR_INVALID, "node id: %zu fields instead of four", count);
    }
    proxy->node_id = arena_str(arena, node_id);
    *ret_ip = fields[1];
    proxy->id = arena_str(arena, fields[2]);
    proxy->dns_domain = arena_str(arena, fields[3]);
    return parse_type(fields[0], &proxy->type, err);
}

// Networks, addresses: lists whose size the peer chooses.
static enum err parse_lists(struct arena *arena, const struct json_value *metadata, struct str ip,
                            struct mesh_proxy *proxy, struct error *err)
{
    struct str listed[MESH_PROXY_ADDRESSES_MAX];
    size_t listed_count = 0;
    if (!split_list(arena, json_get_str(metadata, "INSTANCE_IPS"), listed,
                    MESH_PROXY_ADDRESSES_MAX, &listed_count)) {
        return error_set(err, ERR_LIMIT, "INSTANCE_IPS: more than %u addresses",
                         MESH_PROXY_ADDRESSES_MAX);
    }
    for (size_t i = 0; i < listed_count; i++) {
        if (is_ip(arena, listed[i])) {
            proxy->addresses[proxy->address_count++] = listed[i];
        }
    }
    if (proxy->address_count == 0 && is_ip(arena, ip)) {
        proxy->addresses[proxy->address_count++] = arena_str(arena, ip);
    }
    if (proxy->address_count == 0) {
        return error_set(err, ERR_INVALID, "node id: no valid IP address of the workload");
    }
    if (!split_list(arena, json_get_str(metadata, "REQUESTED_NETWORK_VIEW"), proxy->network_view,
                    MESH_PROXY_NETWORKS_MAX, &proxy->network_view_count)) {
        return error_set(err, ERR_LIMIT, "REQUESTED_NETWORK_VIEW: more than %u networks",
                         MESH_PROXY_NETWORKS_MAX);
    }
    return ERR_OK;
}

static struct str metadata_text(struct arena *arena, const struct json_value *metadata, const char *name)
{
    struct str text = json_get_str(metadata, name);
    return str_is_empty(text) ? STR_EMPTY : arena_str(arena, text);
}

enum err mesh_proxy_from_node(struct arena *arena, struct str node_id,
                              const struct json_value *metadata, struct str locality,
                              struct mesh_proxy *ret_proxy, struct error *err)
{
    struct mesh_proxy *proxy = arena_new(arena, struct mesh_proxy); // too large for the stack of a chain of calls
    struct str ip;
    enum err code = parse_node_id(arena, node_id, proxy, &ip, err);
    if (code == ERR_OK) {
        code = parse_lists(arena, metadata, ip, proxy, err);
    }
    if (code != ERR_OK) {
        return code;
    }
    proxy->cluster = metadata_text(arena, metadata, "CLUSTER_ID");
    proxy->network = metadata_text(arena, metadata, "NETWORK");
    proxy->service_account = metadata_text(arena, metadata, "SERVICE_ACCOUNT");
    proxy->mesh_id = metadata_text(arena, metadata, "MESH_ID");
    proxy->version = metadata_text(arena, metadata, "ISTIO_VERSION");
    proxy->labels = mesh_labels_from_json(arena, json_get(metadata, "LABELS"));
    proxy->locality = arena_str(arena, locality);
    proxy->is_unprivileged =
        str_equal(json_get_str(metadata, "UNPRIVILEGED_POD"), STR("true"));
    proxy->ns = metadata_text(arena, metadata, "NAMESPACE");
    if (str_is_empty(proxy->ns)) {
        struct str rest = proxy->dns_domain;
        proxy->ns = str_split(&rest, '.');
    }
    *ret_proxy = *proxy;
    return ERR_OK;
}

bool mesh_proxy_has_address(const struct mesh_proxy *proxy, struct str address)
{
    for (size_t i = 0; i < proxy->address_count; i++) {
        if (str_equal(proxy->addresses[i], address)) {
            return true;
        }
    }
    return false;
}

bool mesh_proxy_is_in_network(const struct mesh_proxy *proxy, struct str network)
{
    return str_is_empty(network) || str_is_empty(proxy->network) || str_equal(network, proxy->network);
}

bool mesh_proxy_sees_network(const struct mesh_proxy *proxy, struct str network)
{
    if (proxy->network_view_count == 0 || str_is_empty(network)) {
        return true;
    }
    for (size_t i = 0; i < proxy->network_view_count; i++) {
        if (str_equal(proxy->network_view[i], network)) {
            return true;
        }
    }
    return false;
}
