// SPDX-License-Identifier: Apache-2.0
#include "mesh/snapshot.h"

#include "base/memory.h"

#define MESH_PROXY_KEY_MAX 512u // of a cluster id, a pod's name and its namespace: 63 + 253 + 63

struct snapshot *snapshot_ref(struct snapshot *snapshot)
{
    __atomic_add_fetch(&snapshot->references, 1, __ATOMIC_RELAXED);
    return snapshot;
}

void snapshot_unref(struct snapshot *snapshot)
{
    if (snapshot == NULL || __atomic_sub_fetch(&snapshot->references, 1, __ATOMIC_ACQ_REL) != 0) {
        return;
    }
    for (size_t i = 0; i < snapshot->service_count; i++) {
        mesh_service_unref(snapshot->services[i]);
    }
    for (int i = 0; i < MESH_OBJECT_KIND_COUNT; i++) {
        for (size_t j = 0; j < snapshot->objects[i].count; j++) {
            mesh_object_unref(snapshot->objects[i].items[j]);
        }
    }
    map_done(&snapshot->localities);
    map_done(&snapshot->objects_by_key);
    map_done(&snapshot->rules_by_host);
    map_done(&snapshot->services_by_hostname);
    arena_done(&snapshot->arena);
    mem_free(snapshot);
}

struct mesh_service *snapshot_service(const struct snapshot *snapshot, struct str hostname)
{
    return map_get(&snapshot->services_by_hostname, hostname);
}

struct str snapshot_proxy_locality(const struct snapshot *snapshot, const struct mesh_proxy *proxy)
{
    char key[MESH_PROXY_KEY_MAX];
    if (proxy->cluster.size + proxy->id.size + 1 > sizeof(key)) {
        return proxy->locality;
    }
    memcpy(key, proxy->cluster.data, proxy->cluster.size);
    key[proxy->cluster.size] = '/';
    memcpy(key + proxy->cluster.size + 1, proxy->id.data, proxy->id.size);
    const struct str *known =
        map_get(&snapshot->localities, str_make(key, proxy->cluster.size + 1 + proxy->id.size));
    return known == NULL ? proxy->locality : *known;
}

static bool localities_equal(const struct snapshot *a, const struct snapshot *b)
{
    struct str key;
    void *value;
    for (size_t at = 0; map_each(&a->localities, &at, &key, &value);) {
        const struct str *other = map_get(&b->localities, key);
        if (other == NULL || !str_equal(*(const struct str *)value, *other)) {
            return false;
        }
    }
    return map_count(&a->localities) == map_count(&b->localities);
}

struct mesh_object *snapshot_object(const struct snapshot *snapshot, struct arena *scratch,
                                    enum mesh_object_kind kind, struct str ns, struct str name)
{
    struct str key = arena_format(scratch, "%d/%.*s/%.*s", (int)kind, STR_ARG(ns), STR_ARG(name));
    return map_get(&snapshot->objects_by_key, key);
}

static bool config_equal(const struct mesh_config *a, const struct mesh_config *b)
{
    return str_equal(a->trust_domain, b->trust_domain) && str_equal(a->domain, b->domain) &&
           str_equal(a->root_namespace, b->root_namespace) &&
           str_equal(a->access_log_file, b->access_log_file) && str_equal(a->mesh_id, b->mesh_id) &&
           str_equal(a->discovery_address, b->discovery_address) &&
           a->connect_timeout_s == b->connect_timeout_s && a->auto_mtls == b->auto_mtls &&
           a->registry_only == b->registry_only;
}

static bool server_equal(const struct mesh_gateway_server *a, const struct mesh_gateway_server *b)
{
    if (a->port != b->port || a->protocol != b->protocol || a->tls != b->tls ||
        a->host_count != b->host_count ||
        a->is_https_redirect != b->is_https_redirect || !str_equal(a->name, b->name)) {
        return false;
    }
    for (size_t i = 0; i < a->host_count; i++) {
        if (!str_equal(a->hosts[i], b->hosts[i]) ||
            !str_equal(a->host_namespaces[i], b->host_namespaces[i])) {
            return false;
        }
    }
    return true;
}

static bool gateway_equal(const struct mesh_gateway *a, const struct mesh_gateway *b)
{
    if (!str_equal(a->ns, b->ns) || !str_equal(a->name, b->name) ||
        !str_equal(a->created, b->created) || a->server_count != b->server_count ||
        !mesh_labels_equal(&a->selector, &b->selector)) {
        return false;
    }
    for (size_t i = 0; i < a->server_count; i++) {
        if (!server_equal(&a->servers[i], &b->servers[i])) {
            return false;
        }
    }
    return true;
}

bool mesh_network_gateways_equal(const struct snapshot *a, const struct snapshot *b)
{
    if (a->network_gateway_count != b->network_gateway_count) {
        return false;
    }
    for (size_t i = 0; i < a->network_gateway_count; i++) {
        const struct mesh_network_gateway *x = &a->network_gateways[i];
        const struct mesh_network_gateway *y = &b->network_gateways[i];
        if (x->port != y->port || !str_equal(x->network, y->network) ||
            !str_equal(x->cluster, y->cluster) || !str_equal(x->address, y->address)) {
            return false;
        }
    }
    return true;
}

static bool objects_equal(const struct snapshot *a, const struct snapshot *b)
{
    for (int i = 0; i < MESH_OBJECT_KIND_COUNT; i++) {
        if (a->objects[i].count != b->objects[i].count) {
            return false;
        }
        for (size_t j = 0; j < a->objects[i].count; j++) {
            if (a->objects[i].items[j] != b->objects[i].items[j]) { // shared when equal
                return false;
            }
        }
    }
    return true;
}

bool snapshot_equal(const struct snapshot *a, const struct snapshot *b)
{
    if (a->service_count != b->service_count || a->gateway_count != b->gateway_count ||
        !config_equal(&a->config, &b->config) || !mesh_network_gateways_equal(a, b) ||
        !objects_equal(a, b) || !localities_equal(a, b)) {
        return false;
    }
    for (size_t i = 0; i < a->service_count; i++) {
        if (a->services[i] != b->services[i]) { // shared when equal: see mesh/ingest.c
            return false;
        }
    }
    for (size_t i = 0; i < a->gateway_count; i++) {
        if (!gateway_equal(&a->gateways[i], &b->gateways[i])) {
            return false;
        }
    }
    return true;
}
