// SPDX-License-Identifier: Apache-2.0
#include "mesh/service.h"

#include "base/assert.h"
#include "base/memory.h"

struct mesh_service *mesh_service_ref(struct mesh_service *service)
{
    __atomic_add_fetch(&service->references, 1, __ATOMIC_RELAXED);
    return service;
}

void mesh_service_unref(struct mesh_service *service)
{
    if (service == NULL || __atomic_sub_fetch(&service->references, 1, __ATOMIC_ACQ_REL) != 0) {
        return;
    }
    arena_done(&service->arena);
    mem_free(service);
}

static bool port_equal(const struct mesh_port *a, const struct mesh_port *b)
{
    return a->number == b->number && a->protocol == b->protocol &&
           a->target_number == b->target_number && str_equal(a->name, b->name) &&
           str_equal(a->target_name, b->target_name);
}

static bool endpoint_equal(const struct mesh_endpoint *a, const struct mesh_endpoint *b)
{
    if (a->port_count != b->port_count || a->weight != b->weight || a->is_mtls != b->is_mtls ||
        a->is_ready != b->is_ready || !str_equal(a->address, b->address) ||
        !str_equal(a->cluster, b->cluster) || !str_equal(a->network, b->network) ||
        !str_equal(a->locality, b->locality) || !str_equal(a->ns, b->ns) ||
        !str_equal(a->pod, b->pod) || !str_equal(a->identity, b->identity) ||
        !str_equal(a->workload, b->workload) ||
        !str_equal(a->hostname, b->hostname) || !str_equal(a->subdomain, b->subdomain) || !mesh_labels_equal(&a->labels, &b->labels)) {
        return false;
    }
    for (size_t i = 0; i < a->port_count; i++) {
        if (a->ports[i].number != b->ports[i].number ||
            !str_equal(a->ports[i].name, b->ports[i].name)) {
            return false;
        }
    }
    return true;
}

static bool cluster_equal(const struct mesh_service_cluster *a, const struct mesh_service_cluster *b)
{
    return str_equal(a->cluster, b->cluster) && str_equal(a->address, b->address) &&
           mesh_labels_equal(&a->selector, &b->selector);
}

bool mesh_service_equal(const struct mesh_service *a, const struct mesh_service *b)
{
    // Identities follow from the endpoints and are not compared.
    if (!str_equal(a->hostname, b->hostname) || !str_equal(a->created, b->created) ||
        a->resolution != b->resolution || a->is_cluster_local != b->is_cluster_local ||
        a->port_count != b->port_count || a->cluster_count != b->cluster_count ||
        a->endpoint_count != b->endpoint_count || !mesh_labels_equal(&a->labels, &b->labels)) {
        return false;
    }
    for (size_t i = 0; i < a->port_count; i++) {
        if (!port_equal(&a->ports[i], &b->ports[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < a->cluster_count; i++) {
        if (!cluster_equal(&a->clusters[i], &b->clusters[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < a->endpoint_count; i++) {
        if (!endpoint_equal(&a->endpoints[i], &b->endpoints[i])) {
            return false;
        }
    }
    return true;
}

struct str mesh_service_address(const struct mesh_service *service, struct str cluster)
{
    for (size_t i = 0; i < service->cluster_count; i++) {
        const struct mesh_service_cluster *part = &service->clusters[i];
        if (str_equal(part->cluster, cluster) && !str_is_empty(part->address)) {
            return part->address;
        }
    }
    return service->cluster_count == 0 ? STR_EMPTY : service->clusters[0].address;
}

const struct mesh_port *mesh_service_port(const struct mesh_service *service, uint32_t number)
{
    for (size_t i = 0; i < service->port_count; i++) {
        if (service->ports[i].number == number) {
            return &service->ports[i];
        }
    }
    return NULL;
}

const struct mesh_labels *mesh_service_selector(const struct mesh_service *service, struct str cluster)
{
    for (size_t i = 0; i < service->cluster_count; i++) {
        const struct mesh_service_cluster *part = &service->clusters[i];
        if (str_equal(part->cluster, cluster)) {
            return part->selector.count == 0 ? NULL : &part->selector;
        }
    }
    return NULL;
}

uint32_t mesh_endpoint_port_number(const struct mesh_endpoint *endpoint, struct str port_name)
{
    for (size_t i = 0; i < endpoint->port_count; i++) {
        if (str_equal(endpoint->ports[i].name, port_name)) {
            return endpoint->ports[i].number;
        }
    }
    return 0;
}
