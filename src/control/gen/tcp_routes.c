// SPDX-License-Identifier: Apache-2.0
//
// TCP rules of VirtualServices, for sidecars: the first rule that can apply to this port and this caller
// takes the whole chain of the service's address. Rules by destination subnet are not in force and count
// as not applying.
#include "control/gen/gen_internal.h"

#include "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.pb-c.h"

typedef Istio__Networking__V1alpha3__TCPRoute TcpRule;
typedef Istio__Networking__V1alpha3__L4MatchAttributes TcpMatch;
typedef Envoy__Extensions__Filters__Network__TcpProxy__V3__TcpProxy WireTcpProxy;

static bool is_for_mesh(const TcpMatch *match)
{
    for (size_t i = 0; i < match->n_gateways; i++) {
        if (str_equal(str_of(match->gateways[i]), STR("mesh"))) {
            return true;
        }
    }
    return match->n_gateways == 0;
}

static bool applies(const struct gen *gen, const TcpMatch *match, uint32_t port)
{
    if ((match->port != 0 && match->port != port) || match->n_destination_subnets > 0 ||
        !is_for_mesh(match)) {
        return false;
    }
    for (size_t i = 0; i < match->n_source_labels; i++) {
        struct str value = mesh_labels_get(&gen->proxy->labels, str_of(match->source_labels[i]->key));
        if (value.data == NULL || !str_equal(value, str_of(match->source_labels[i]->value))) {
            return false;
        }
    }
    struct str ns = str_of(match->source_namespace);
    return str_is_empty(ns) || str_equal(ns, gen->proxy->ns);
}

static const TcpRule *find_rule(const struct gen *gen, const MeshVirtualService *service, uint32_t port)
{
    for (size_t i = 0; i < service->n_tcp; i++) {
        const TcpRule *rule = service->tcp[i];
        bool is_found = rule->n_match == 0;
        for (size_t j = 0; j < rule->n_match && !is_found; j++) {
            is_found = applies(gen, rule->match[j], port);
        }
        if (is_found) {
            return rule;
        }
    }
    return NULL;
}

static struct str cluster_of(struct gen *gen, const Istio__Networking__V1alpha3__Destination *to,
                             uint32_t port)
{
    bool has_port = to->port != NULL && to->port->number != 0;
    return gen_subset_name(gen, has_port ? to->port->number : port, str_of(to->subset), str_of(to->host));
}

static void add_weights(struct gen *gen, const TcpRule *rule, uint32_t port, WireTcpProxy *proxy)
{
    struct arena *arena = gen->arena;
    proxy->cluster_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS;
    proxy->weighted_clusters = pb_new(
        arena, &envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__weighted_cluster__descriptor);
    for (size_t i = 0; i < rule->n_route; i++) {
        if (rule->route[i]->weight <= 0) {
            continue;
        }
        Envoy__Extensions__Filters__Network__TcpProxy__V3__TcpProxy__WeightedCluster__ClusterWeight *cluster =
            pb_new(arena, &envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__weighted_cluster__cluster_weight__descriptor);
        cluster->name = pb_text(arena, cluster_of(gen, rule->route[i]->destination, port));
        cluster->weight = (uint32_t)rule->route[i]->weight;
        PB_PUSH(arena, proxy->weighted_clusters, clusters, cluster);
    }
}

WireFilter *gen_tcp_route(struct gen *gen, const struct mesh_service *service, uint32_t port,
                          const struct mesh_object **ret_object)
{
    struct arena *arena = gen->arena;
    const struct mesh_object *object = gen_find_virtual_service(gen, service->hostname, GEN_RULES_TCP);
    const TcpRule *rule = object == NULL ? NULL : find_rule(gen, object->virtual_service, port);
    if (rule == NULL) {
        return NULL;
    }
    *ret_object = object;
    if (rule->n_route == 1) {
        return gen_tcp_proxy(gen, cluster_of(gen, rule->route[0]->destination, port), true);
    }
    WireTcpProxy *proxy =
        pb_new(arena, &envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__descriptor);
    proxy->stat_prefix = pb_text(
        arena, arena_format(arena, "%.*s.%.*s", STR_ARG(object->name), STR_ARG(object->ns)));
    add_weights(gen, rule, port, proxy);
    WireAccessLog *log = gen_access_log(gen);
    if (log != NULL) {
        PB_PUSH(arena, proxy, access_log, log);
    }
    return gen_tcp_proxy_filter(gen, proxy);
}
