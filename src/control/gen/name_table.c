// SPDX-License-Identifier: Apache-2.0
//
// The name table: host name → addresses of every service of the mesh, for the DNS proxy inside a sidecar.
// With it names resolve that exist in another cluster only. Headless services answer with their pods, as
// far as those can be reached directly: the ones of the proxy's own network.
#include "control/gen/gen_internal.h"

#include "istio/networking/nds/v1/nds.pb-c.h"

typedef Istio__Networking__Nds__V1__NameTable NameTable;
typedef Istio__Networking__Nds__V1__NameTable__NameInfo NameInfo;

static NameInfo *add_name(struct gen *gen, NameTable *table, struct str name, const struct mesh_service *service)
{
    struct arena *arena = gen->arena;
    Istio__Networking__Nds__V1__NameTable__TableEntry *entry =
        pb_new(arena, &istio__networking__nds__v1__name_table__table_entry__descriptor);
    entry->key = pb_text(arena, name);
    entry->value = pb_new(arena, &istio__networking__nds__v1__name_table__name_info__descriptor);
    entry->value->registry = pb_text(arena, STR("Kubernetes"));
    entry->value->shortname = pb_text(arena, service->name);
    entry->value->namespace_ = pb_text(arena, service->ns);
    PB_PUSH(arena, table, table, entry);
    return entry->value;
}

static bool is_reachable(const struct gen *gen, const struct mesh_service *service,
                         const struct mesh_endpoint *endpoint)
{
    bool has_port = service->port_count > 0 &&
                    mesh_endpoint_port_number(endpoint, service->ports[0].name) != 0;
    return has_port && endpoint->is_ready && mesh_proxy_is_in_network(gen->proxy, endpoint->network) &&
           (!service->is_cluster_local || str_equal(endpoint->cluster, gen->proxy->cluster));
}

// "db-0.db.shop.svc.cluster.local" of a StatefulSet's pod; on a clash of clusters the own one's pod.
static void add_pod_name(struct gen *gen, NameTable *table, struct map *seen,
                         const struct mesh_service *service, const struct mesh_endpoint *endpoint)
{
    struct str rest = service->hostname;
    (void)str_split(&rest, '.');
    if (str_is_empty(endpoint->hostname) || str_is_empty(endpoint->subdomain)) {
        return;
    }
    struct str name = arena_format(gen->arena, "%.*s.%.*s.%.*s", STR_ARG(endpoint->hostname),
                                   STR_ARG(endpoint->subdomain), STR_ARG(rest));
    NameInfo *info = map_get(seen, name);
    if (info == NULL) {
        info = add_name(gen, table, name, service);
        map_set(seen, name, info);
        PB_PUSH(gen->arena, info, ips, pb_text(gen->arena, endpoint->address));
    } else if (str_equal(endpoint->cluster, gen->proxy->cluster)) {
        info->ips[0] = pb_text(gen->arena, endpoint->address);
    }
}

static void add_headless(struct gen *gen, NameTable *table, const struct mesh_service *service)
{
    NameInfo *info = NULL;
    struct map seen = {0};
    for (size_t i = 0; i < service->endpoint_count; i++) {
        const struct mesh_endpoint *endpoint = &service->endpoints[i];
        if (!is_reachable(gen, service, endpoint)) {
            continue;
        }
        info = info == NULL ? add_name(gen, table, service->hostname, service) : info;
        PB_PUSH(gen->arena, info, ips, pb_text(gen->arena, endpoint->address));
        add_pod_name(gen, table, &seen, service, endpoint);
    }
    map_done(&seen);
}

void gen_name_table(struct gen *gen)
{
    NameTable *table = pb_new(gen->arena, &istio__networking__nds__v1__name_table__descriptor);
    for (size_t i = 0; i < gen->snapshot->service_count; i++) {
        const struct mesh_service *service = gen->snapshot->services[i];
        struct str address = gen_service_address(gen, service);
        if (service->resolution == MESH_RESOLUTION_PASSTHROUGH) {
            add_headless(gen, table, service);
        } else if (!str_is_empty(address)) {
            NameInfo *info = add_name(gen, table, service->hostname, service);
            PB_PUSH(gen->arena, info, ips, pb_text(gen->arena, address));
        }
    }
    gen_add(gen, STR_EMPTY, table);
}
