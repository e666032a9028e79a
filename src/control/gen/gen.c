// SPDX-License-Identifier: Apache-2.0
#include "control/gen/gen.h"

#include <stdlib.h>

#include "control/gen/gen_internal.h"

void gen_add(struct gen *gen, struct str name, void *message)
{
    vec_push(&gen->out->items, (struct xds_resource){.name = name, .message = message});
}

struct str gen_cluster_name(struct gen *gen, const struct mesh_service *service, uint32_t port)
{
    return arena_format(gen->arena, "outbound|%u||%.*s", port, STR_ARG(service->hostname));
}

struct str gen_subset_name(struct gen *gen, uint32_t port, struct str subset, struct str host)
{
    return arena_format(gen->arena, "outbound|%u|%.*s|%.*s", port, STR_ARG(subset), STR_ARG(host));
}

struct str gen_sni(struct gen *gen, const struct mesh_service *service, uint32_t port, struct str subset)
{
    return arena_format(gen->arena, "outbound_.%u_.%.*s_.%.*s", port, STR_ARG(subset),
                        STR_ARG(service->hostname));
}

struct str gen_inbound_name(struct gen *gen, uint32_t port)
{
    return arena_format(gen->arena, "inbound|%u||", port);
}

// --- views of the snapshot -------------------------------------------------------------------------------

static void index_own_addresses(struct gen *gen)
{
    for (size_t i = 0; i < gen->snapshot->service_count; i++) {
        struct mesh_service *service = gen->snapshot->services[i];
        for (size_t j = 0; j < service->cluster_count; j++) {
            const struct mesh_service_cluster *part = &service->clusters[j];
            if (str_equal(part->cluster, gen->proxy->cluster) && !str_is_empty(part->address)) {
                map_set(&gen->own_addresses, part->address, service);
            }
        }
    }
}

struct str gen_service_address(const struct gen *gen, const struct mesh_service *service)
{
    struct str address = mesh_service_address(service, gen->proxy->cluster);
    const struct mesh_service *owner = map_get(&gen->own_addresses, address);
    return owner == NULL || owner == service ? address : STR_EMPTY;
}

static uint32_t resolve_target(const struct gen *gen, const struct mesh_service *service,
                               const struct mesh_port *port)
{
    if (port->target_number != 0) {
        return port->target_number;
    }
    // A named target port: the slice that lists this workload knows the number.
    for (size_t i = 0; i < service->endpoint_count; i++) {
        const struct mesh_endpoint *endpoint = &service->endpoints[i];
        if (str_equal(endpoint->cluster, gen->proxy->cluster) &&
            mesh_proxy_has_address(gen->proxy, endpoint->address)) {
            return mesh_endpoint_port_number(endpoint, port->name);
        }
    }
    return 0;
}

static bool has_target(const gen_target_vec *targets, uint32_t number)
{
    for (size_t i = 0; i < targets->count; i++) {
        if (targets->items[i].number == number) {
            return true;
        }
    }
    return false;
}

static int compare_targets(const void *a, const void *b)
{
    const struct gen_target *x = a;
    const struct gen_target *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

void gen_targets(const struct gen *gen, gen_target_vec *ret_targets)
{
    for (size_t i = 0; i < gen->snapshot->service_count; i++) {
        const struct mesh_service *service = gen->snapshot->services[i];
        const struct mesh_labels *selector = mesh_service_selector(service, gen->proxy->cluster);
        if (selector == NULL || !str_equal(service->ns, gen->proxy->ns) ||
            !mesh_labels_contain(&gen->proxy->labels, selector)) {
            continue;
        }
        for (size_t j = 0; j < service->port_count; j++) {
            const struct mesh_port *port = &service->ports[j];
            uint32_t number =
                port->protocol == MESH_PROTOCOL_UDP ? 0 : resolve_target(gen, service, port);
            if (number != 0 && !has_target(ret_targets, number)) {
                vec_push(ret_targets, (struct gen_target){
                    .service = service, .port = port, .number = number});
            }
        }
    }
    if (ret_targets->count > 0) {
        qsort(ret_targets->items, ret_targets->count, sizeof(ret_targets->items[0]), compare_targets);
    }
}

// --- dispatch --------------------------------------------------------------------------------------------

static void generate_named(struct gen *gen, void (*generate)(struct gen *, struct str),
                           const struct str *names, size_t name_count)
{
    for (size_t i = 0; i < name_count; i++) {
        generate(gen, names[i]);
    }
}

bool gen_generate(struct arena *arena, const struct snapshot *snapshot, const struct mesh_proxy *proxy,
                  enum xds_type type, const struct str *names, size_t name_count,
                  struct xds_resources *ret_resources)
{
    struct mesh_proxy *placed = arena_new(arena, struct mesh_proxy);
    *placed = *proxy;
    placed->locality = snapshot_proxy_locality(snapshot, proxy);
    struct gen gen = {.arena = arena, .snapshot = snapshot, .proxy = placed, .out = ret_resources};
    bool is_generated = true;
    index_own_addresses(&gen);
    switch (type) {
    case XDS_CLUSTER:
        gen_clusters(&gen);
        break;
    case XDS_ENDPOINT:
        generate_named(&gen, gen_endpoints, names, name_count);
        break;
    case XDS_LISTENER:
        gen_listeners(&gen);
        break;
    case XDS_ROUTE:
        generate_named(&gen, gen_route, names, name_count);
        break;
    case XDS_NAME_TABLE:
        is_generated = proxy->type == MESH_PROXY_SIDECAR; // gateways ask the cluster's own DNS
        if (is_generated) {
            gen_name_table(&gen);
        }
        break;
    case XDS_SECRET: // workload certificates come from the proxy's own agent
    case XDS_EXTENSION_CONFIG:
    case XDS_TYPE_COUNT:
        is_generated = false;
        break;
    }
    map_done(&gen.own_addresses);
    return is_generated;
}

const struct generator gen_generator = {.generate = gen_generate};
