// SPDX-License-Identifier: Apache-2.0
//
// Endpoints of one cluster name. Endpoints of other networks are replaced by the gateways of their
// network ("split horizon"): in each locality their weights are summed and shared among the gateways,
// so that the share of traffic follows the number of pods. All weights are first multiplied by the
// least common multiple of the gateway counts: then every share is a whole number.
//
//   locality r1: pod 10.1.0.5 (own network)                 → 10.1.0.5   weight 1×scale
//   locality r2: 2 pods of network2, gateways g1 and g2     → g1, g2     weight 2×scale/2 each
//
// The gateway routes by the SNI of mesh mTLS, so a pod without a sidecar in another network cannot be
// reached and is left out.
#include "control/gen/gen_internal.h"

#include <stdlib.h>

#define GATEWAY_SCALE_MAX 1000000u // 1 to 20 gateways per network stay far below

struct cluster_key {
    struct str host;
    struct str subset;
    uint32_t port;
    bool is_passthrough; // "outbound_." name: only mesh mTLS is let through
};

struct group {
    struct str locality;
    WireLocalityEndpoints *wire;
    uint64_t *gateway_weights; // per network gateway of the snapshot
    uint64_t weight;
};

struct assignment {
    struct gen *gen;
    struct cluster_key key;
    const GenSubset *subset; // NULL: all endpoints
    struct gen_policy policy;
    uint64_t scale;
    VEC(struct group) groups;
};

// --- name → key ------------------------------------------------------------------------------------------

// "outbound|80|v1|host" or "outbound_.80_.v1_.host"; the subset may be empty.
static bool parse_cluster_name(struct str name, struct cluster_key *ret_key)
{
    static const struct {
        struct str prefix;
        struct str separator;
        bool is_passthrough;
    } shapes[] = {
        {{"outbound|", 9}, {"|", 1}, false},
        {{"outbound_.", 10}, {"_.", 2}, true},
    };
    for (size_t i = 0; i < array_count(shapes); i++) {
        if (!str_starts_with(name, shapes[i].prefix)) {
            continue;
        }
        struct str rest = str_from(name, shapes[i].prefix.size);
        ptrdiff_t first = str_find(rest, shapes[i].separator);
        uint64_t port = 0;
        if (first < 0 || !str_to_u64(str_sub(rest, 0, (size_t)first), &port) || port == 0 ||
            port > 65535) {
            return false;
        }
        rest = str_from(rest, (size_t)first + shapes[i].separator.size);
        ptrdiff_t second = str_find(rest, shapes[i].separator);
        if (second < 0) {
            return false;
        }
        ret_key->subset = str_sub(rest, 0, (size_t)second);
        ret_key->host = str_from(rest, (size_t)second + shapes[i].separator.size);
        ret_key->port = (uint32_t)port;
        ret_key->is_passthrough = shapes[i].is_passthrough;
        return true;
    }
    return false;
}

// --- network gateways ------------------------------------------------------------------------------------

static bool gateway_serves(const struct mesh_network_gateway *gateway, struct str network,
                           struct str cluster)
{
    return str_equal(gateway->network, network) &&
           (cluster.data == NULL || str_equal(gateway->cluster, cluster));
}

// Gateways of (network, cluster), or of the network when that cluster has none of its own.
static size_t count_gateways(const struct snapshot *snapshot, struct str network, struct str cluster)
{
    size_t count = 0;
    for (size_t i = 0; i < snapshot->network_gateway_count; i++) {
        count += gateway_serves(&snapshot->network_gateways[i], network, cluster) ? 1 : 0;
    }
    return count;
}

static uint64_t lcm(uint64_t a, uint64_t b)
{
    uint64_t x = a;
    uint64_t y = b;
    while (y != 0) {
        uint64_t rest = x % y;
        x = y;
        y = rest;
    }
    uint64_t result = a / x * b;
    return result > GATEWAY_SCALE_MAX ? a : result;
}

static uint64_t gateway_scale(const struct snapshot *snapshot)
{
    uint64_t scale = 1;
    for (size_t i = 0; i < snapshot->network_gateway_count; i++) {
        const struct mesh_network_gateway *gateway = &snapshot->network_gateways[i];
        scale = lcm(scale, count_gateways(snapshot, gateway->network, (struct str){0}));
        scale = lcm(scale, count_gateways(snapshot, gateway->network, gateway->cluster));
    }
    return scale;
}

static void share_among_gateways(struct assignment *assignment, struct group *group,
                                 const struct mesh_endpoint *endpoint, uint64_t weight)
{
    const struct snapshot *snapshot = assignment->gen->snapshot;
    struct str cluster = endpoint->cluster;
    size_t count = count_gateways(snapshot, endpoint->network, cluster);
    if (count == 0) {
        cluster = (struct str){0};
        count = count_gateways(snapshot, endpoint->network, cluster);
    }
    for (size_t i = 0; i < snapshot->network_gateway_count; i++) {
        if (gateway_serves(&snapshot->network_gateways[i], endpoint->network, cluster)) {
            group->gateway_weights[i] += weight / count;
        }
    }
}

// --- building --------------------------------------------------------------------------------------------

static struct group *find_group(struct assignment *assignment, struct str locality)
{
    struct arena *arena = assignment->gen->arena;
    for (size_t i = 0; i < assignment->groups.count; i++) {
        if (str_equal(assignment->groups.items[i].locality, locality)) {
            return &assignment->groups.items[i];
        }
    }
    struct group group = {
        .locality = locality,
        .wire = pb_new(arena, &envoy__config__endpoint__v3__locality_lb_endpoints__descriptor),
        .gateway_weights =
            arena_array(arena, uint64_t, assignment->gen->snapshot->network_gateway_count + 1),
    };
    group.wire->locality = wire_locality(arena, locality);
    vec_push(&assignment->groups, group);
    return &assignment->groups.items[assignment->groups.count - 1];
}

static uint32_t clamp_weight(uint64_t weight)
{
    return weight == 0 ? 1 : weight > UINT32_MAX ? UINT32_MAX : (uint32_t)weight;
}

static void add_lb_endpoint(struct assignment *assignment, struct group *group, struct str address,
                            uint32_t port, uint64_t weight, bool is_mtls, struct str workload,
                            bool has_health)
{
    struct arena *arena = assignment->gen->arena;
    WireLbEndpoint *wire = pb_new(arena, &envoy__config__endpoint__v3__lb_endpoint__descriptor);
    wire->host_identifier_case = ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT;
    wire->endpoint = pb_new(arena, &envoy__config__endpoint__v3__endpoint__descriptor);
    wire->endpoint->address = wire_address(arena, address, port);
    wire->load_balancing_weight = pb_uint32(arena, clamp_weight(weight));
    if (has_health) {
        wire->health_status = ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__HEALTHY;
    }
    wire->metadata = pb_new(arena, &envoy__config__core__v3__metadata__descriptor);
    if (is_mtls) {
        struct json_value *match = json_new_object(arena);
        json_set_cstr(arena, match, "tlsMode", "istio");
        wire_metadata_set(arena, wire->metadata, "envoy.transport_socket_match", match);
    }
    struct json_value *istio = json_new_object(arena);
    json_set_str(arena, istio, "workload", workload);
    wire_metadata_set(arena, wire->metadata, "istio", istio);
    PB_PUSH(arena, group->wire, lb_endpoints, wire);
    group->weight += clamp_weight(weight);
}

static bool is_in_subset(const struct mesh_endpoint *endpoint, const GenSubset *subset)
{
    for (size_t i = 0; subset != NULL && i < subset->n_labels; i++) {
        struct str value = mesh_labels_get(&endpoint->labels, str_of(subset->labels[i]->key));
        if (value.data == NULL || !str_equal(value, str_of(subset->labels[i]->value))) {
            return false;
        }
    }
    return true;
}

// Will this proxy speak mesh mTLS to it? The client's own rule, then the server's, then whether a
// sidecar is there at all.
static bool speaks_mtls(const struct assignment *assignment, const struct mesh_endpoint *endpoint,
                        uint32_t port)
{
    const Istio__Networking__V1alpha3__ClientTLSSettings *tls = assignment->policy.tls;
    if (tls != NULL &&
        tls->mode != ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__ISTIO_MUTUAL) {
        return false;
    }
    return endpoint->is_mtls && gen_workload_mtls(assignment->gen, endpoint->ns, &endpoint->labels,
                                                  port) != GEN_MTLS_DISABLE;
}

static void add_endpoint(struct assignment *assignment, const struct mesh_endpoint *endpoint,
                         uint32_t port)
{
    struct gen *gen = assignment->gen;
    struct group *group = find_group(assignment, endpoint->locality);
    uint64_t weight = (uint64_t)(endpoint->weight == 0 ? 1 : endpoint->weight) * assignment->scale;
    bool is_near = mesh_proxy_is_in_network(gen->proxy, endpoint->network) ||
                   count_gateways(gen->snapshot, endpoint->network, (struct str){0}) == 0;
    bool is_mtls = speaks_mtls(assignment, endpoint, port);
    if (!is_near) {
        if (is_mtls) {
            share_among_gateways(assignment, group, endpoint, weight);
        }
        return;
    }
    if (assignment->key.is_passthrough && !is_mtls) {
        return;
    }
    add_lb_endpoint(assignment, group, endpoint->address, port, weight,
                    is_mtls && gen->snapshot->config.auto_mtls, endpoint->workload, true);
}

static void add_gateways(struct assignment *assignment, struct group *group)
{
    const struct snapshot *snapshot = assignment->gen->snapshot;
    for (size_t i = 0; i < snapshot->network_gateway_count; i++) {
        const struct mesh_network_gateway *gateway = &snapshot->network_gateways[i];
        if (group->gateway_weights[i] == 0) {
            continue;
        }
        struct str workload =
            arena_format(assignment->gen->arena, ";;;;%.*s", STR_ARG(gateway->cluster));
        add_lb_endpoint(assignment, group, gateway->address, gateway->port,
                        group->gateway_weights[i], true, workload, false);
    }
}

static int compare_groups(const void *a, const void *b)
{
    return str_compare(((const struct group *)a)->locality, ((const struct group *)b)->locality);
}

static void add_service(struct assignment *assignment, const struct mesh_service *service,
                        const struct mesh_port *port)
{
    const struct gen *gen = assignment->gen;
    for (size_t i = 0; i < service->endpoint_count; i++) {
        const struct mesh_endpoint *endpoint = &service->endpoints[i];
        uint32_t number = mesh_endpoint_port_number(endpoint, port->name);
        if (number == 0 || !endpoint->is_ready || !is_in_subset(endpoint, assignment->subset) ||
            !mesh_proxy_sees_network(gen->proxy, endpoint->network) ||
            (service->is_cluster_local && !str_equal(endpoint->cluster, gen->proxy->cluster))) {
            continue;
        }
        add_endpoint(assignment, endpoint, number);
    }
}

void gen_endpoints(struct gen *gen, struct str cluster_name)
{
    struct assignment assignment = {.gen = gen, .scale = gateway_scale(gen->snapshot)};
    WireLoadAssignment *wire = pb_new(gen->arena, &wire_load_assignment_type);
    wire->cluster_name = pb_text(gen->arena, cluster_name);
    gen_add(gen, arena_str(gen->arena, cluster_name), wire);
    if (!parse_cluster_name(cluster_name, &assignment.key)) {
        return;
    }
    const struct mesh_service *service = snapshot_service(gen->snapshot, assignment.key.host);
    const struct mesh_port *port =
        service == NULL ? NULL : mesh_service_port(service, assignment.key.port);
    if (port == NULL) {
        return;
    }
    struct gen_rule rule;
    gen_find_rule(gen, service->hostname, service->ns, &rule);
    if (!str_is_empty(assignment.key.subset)) {
        assignment.subset = gen_subset(&rule, assignment.key.subset);
        if (assignment.subset == NULL) { // nobody defines it: nothing is behind it
            return;
        }
    }
    gen_policy_of(&rule, port->number, assignment.subset, &assignment.policy);
    add_service(&assignment, service, port);
    if (assignment.groups.count > 0) {
        qsort(assignment.groups.items, assignment.groups.count, sizeof(struct group), compare_groups);
    }
    for (size_t i = 0; i < assignment.groups.count; i++) {
        struct group *group = &assignment.groups.items[i];
        add_gateways(&assignment, group);
        if (group->weight > 0) { // a locality whose endpoints are all out of reach stays visible, empty
            group->wire->load_balancing_weight = pb_uint32(gen->arena, clamp_weight(group->weight));
        }
        PB_PUSH(gen->arena, wire, endpoints, group->wire);
    }
    vec_done(&assignment.groups);
    gen_apply_locality(gen, &assignment.policy, wire);
}
