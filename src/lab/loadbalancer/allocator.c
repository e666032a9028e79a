// SPDX-License-Identifier: Apache-2.0
#include "lab/loadbalancer/allocator.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "kube/object.h"

#define ANNOTATION_SIZE 80

// One use of an address.
struct use {
    uint32_t address;
    size_t order; // of services: the older one is right
    const struct json_value *service;
};

struct allocator {
    struct arena *arena;
    struct allocator_input input;
    struct use *uses; // by address, then order
    size_t use_count;
};

// What a Service asks for and what sharing depends on.
struct wish {
    const struct json_value *service;
    struct str pool;        // empty: any
    bool has_address;
    uint32_t address;
    struct str sharing_key; // empty: does not share
    struct str backend_key;
};

// --- objects ---------------------------------------------------------------------------------------

static struct str name_of(const struct json_value *object)
{
    return json_str(json_path(object, "metadata", "name", NULL));
}

static struct str ns_of(const struct json_value *object)
{
    return json_str(json_path(object, "metadata", "namespace", NULL));
}

static struct str key_of(struct arena *arena, const struct json_value *service)
{
    return arena_format(arena, "%.*s/%.*s", STR_ARG(ns_of(service)), STR_ARG(name_of(service)));
}

struct str allocator_annotation(const struct json_value *service, const char *name)
{
    static const char *const prefixes[] = {"metallb.io/", "metallb.universe.tf/"};
    for (size_t i = 0; i < 2; i++) {
        char text[ANNOTATION_SIZE];
        (void)snprintf(text, sizeof(text), "%s%s", prefixes[i], name);
        struct str value = kube_annotation(service, str_of(text));
        if (!str_is_empty(value)) {
            return value;
        }
    }
    return STR_EMPTY;
}

const char *allocator_format(uint32_t address, char out[static ALLOCATOR_ADDRESS_SIZE])
{
    struct in_addr in = {.s_addr = htonl(address)};
    return inet_ntop(AF_INET, &in, out, ALLOCATOR_ADDRESS_SIZE);
}

static bool parse_v4(struct str text, uint32_t *ret_address)
{
    char copy[INET_ADDRSTRLEN];
    struct in_addr in;
    if (text.size == 0 || text.size >= sizeof(copy)) {
        return false;
    }
    (void)snprintf(copy, sizeof(copy), "%.*s", STR_ARG(text));
    if (inet_pton(AF_INET, copy, &in) != 1) {
        return false;
    }
    *ret_address = ntohl(in.s_addr);
    return true;
}

static const struct json_value *ingress_of(const struct json_value *service)
{
    return json_path(service, "status", "loadBalancer", "ingress", NULL);
}

bool allocator_current(const struct json_value *service, uint32_t *ret_address)
{
    const struct json_value *ingress = ingress_of(service);
    return json_count(ingress) == 1 && parse_v4(json_get_str(json_at(ingress, 0), "ip"), ret_address);
}

static bool is_load_balancer(const struct json_value *service)
{
    return str_equal(json_str(json_path(service, "spec", "type", NULL)), STR("LoadBalancer"));
}

bool allocator_wants(const struct json_value *service)
{
    struct str class = json_str(json_path(service, "spec", "loadBalancerClass", NULL));
    return is_load_balancer(service) && str_is_empty(class);
}

static bool has_cluster_ip(const struct json_value *service)
{
    struct str ip = json_str(json_path(service, "spec", "clusterIP", NULL));
    return !str_is_empty(ip) && !str_equal(ip, STR("None"));
}

// --- uses ------------------------------------------------------------------------------------------

static int compare_ages(const void *a, const void *b)
{
    const struct json_value *left = *(const struct json_value *const *)a;
    const struct json_value *right = *(const struct json_value *const *)b;
    // RFC 3339 in UTC sorts as text.
    int order = str_compare(json_str(json_path(left, "metadata", "creationTimestamp", NULL)),
                            json_str(json_path(right, "metadata", "creationTimestamp", NULL)));
    order = order != 0 ? order : str_compare(ns_of(left), ns_of(right));
    return order != 0 ? order : str_compare(name_of(left), name_of(right));
}

static int compare_uses(const void *a, const void *b)
{
    const struct use *left = a;
    const struct use *right = b;
    if (left->address != right->address) {
        return left->address < right->address ? -1 : 1;
    }
    return left->order < right->order ? -1 : left->order > right->order ? 1 : 0;
}

struct allocator *allocator_new(struct arena *arena, const struct allocator_input *input)
{
    struct allocator *allocator = arena_new(arena, struct allocator);
    const struct json_value **sorted = arena_array(arena, const struct json_value *, input->service_count + 1);
    *allocator = (struct allocator){.arena = arena, .input = *input};
    allocator->uses = arena_array(arena, struct use, input->service_count + 1);
    for (size_t i = 0; i < input->service_count; i++) {
        sorted[i] = input->services[i];
    }
    qsort(sorted, input->service_count, sizeof(sorted[0]), compare_ages);
    for (size_t i = 0; i < input->service_count; i++) {
        uint32_t address;
        if (allocator_wants(sorted[i]) && allocator_current(sorted[i], &address)) {
            allocator->uses[allocator->use_count++] = (struct use){.address = address, .order = i, .service = sorted[i]};
        }
    }
    qsort(allocator->uses, allocator->use_count, sizeof(allocator->uses[0]), compare_uses);
    return allocator;
}

static size_t first_use(const struct allocator *allocator, uint32_t address)
{
    size_t low = 0;
    size_t high = allocator->use_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (allocator->uses[middle].address < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// --- sharing ---------------------------------------------------------------------------------------

// With externalTrafficPolicy Local the node sends to its own pods only: services that share must have the same.
static struct str backend_key(struct arena *arena, const struct json_value *service)
{
    if (!str_equal(json_str(json_path(service, "spec", "externalTrafficPolicy", NULL)), STR("Local"))) {
        return STR_EMPTY;
    }
    const struct json_value *selector = json_path(service, "spec", "selector", NULL);
    return selector == NULL ? STR("{}") : json_to_str(arena, selector);
}

static bool shares_port(const struct json_value *left, const struct json_value *right, struct arena *arena,
                        struct str *ret_port)
{
    const struct json_value *left_ports = json_path(left, "spec", "ports", NULL);
    const struct json_value *right_ports = json_path(right, "spec", "ports", NULL);
    for (size_t i = 0; i < json_count(left_ports); i++) {
        for (size_t k = 0; k < json_count(right_ports); k++) {
            const struct json_value *one = json_at(left_ports, i);
            const struct json_value *other = json_at(right_ports, k);
            int64_t number = json_get_int(one, "port", 0);
            struct str protocol = json_get_str(one, "protocol");
            struct str other_protocol = json_get_str(other, "protocol");
            protocol = str_is_empty(protocol) ? STR("TCP") : protocol;
            other_protocol = str_is_empty(other_protocol) ? STR("TCP") : other_protocol;
            if (number == json_get_int(other, "port", 0) && str_equal(protocol, other_protocol)) {
                *ret_port = arena_format(arena, "%.*s/%lld", STR_ARG(protocol), (long long)number);
                return true;
            }
        }
    }
    return false;
}

// May the address serve this Service beside those that have it? only_older: those after it must yield.
static bool may_share(const struct allocator *allocator, const struct wish *wish, uint32_t address, bool only_older,
                      struct str *ret_why)
{
    char text[ALLOCATOR_ADDRESS_SIZE];
    struct str own = key_of(allocator->arena, wish->service);
    struct str port;
    for (size_t i = first_use(allocator, address); i < allocator->use_count; i++) {
        const struct use *use = &allocator->uses[i];
        if (use->address != address || (only_older && use->service == wish->service)) {
            break;
        }
        struct str key = allocator_annotation(use->service, "allow-shared-ip");
        if (use->service == wish->service) {
            continue;
        }
        if (str_is_empty(key) || !str_equal(key, wish->sharing_key) ||
            !str_equal(backend_key(allocator->arena, use->service), wish->backend_key)) {
            struct str other = key_of(allocator->arena, use->service);
            *ret_why = arena_format(allocator->arena, "can't change sharing key for \"%.*s\", address also in use by %.*s",
                                    STR_ARG(own), STR_ARG(other));
            return false;
        }
        if (shares_port(wish->service, use->service, allocator->arena, &port)) {
            *ret_why = arena_format(allocator->arena, "port %.*s is already in use on \"%s\"", STR_ARG(port),
                                    allocator_format(address, text));
            return false;
        }
    }
    return true;
}

// --- pools -----------------------------------------------------------------------------------------

static const struct json_value *namespace_labels(const struct allocator *allocator, struct str ns)
{
    for (size_t i = 0; i < allocator->input.namespace_count; i++) {
        if (str_equal(name_of(allocator->input.namespaces[i]), ns)) {
            return json_path(allocator->input.namespaces[i], "metadata", "labels", NULL);
        }
    }
    return NULL;
}

static bool any_selector_matches(const struct json_value *selectors, const struct json_value *labels)
{
    for (size_t i = 0; i < json_count(selectors); i++) {
        if (kube_selector_matches(json_at(selectors, i), labels)) {
            return true;
        }
    }
    return false;
}

// Does spec.serviceAllocation choose the Service? A pool without one is for all.
static bool is_for(const struct allocator *allocator, const struct pool *pool, const struct json_value *service)
{
    const struct json_value *names = json_get(pool->allocation, "namespaces");
    const struct json_value *selectors = json_get(pool->allocation, "namespaceSelectors");
    const struct json_value *service_selectors = json_get(pool->allocation, "serviceSelectors");
    bool fits_namespace = json_count(names) + json_count(selectors) == 0;
    for (size_t i = 0; i < json_count(names) && !fits_namespace; i++) {
        fits_namespace = str_equal(json_str(json_at(names, i)), ns_of(service));
    }
    if (!fits_namespace) {
        fits_namespace = any_selector_matches(selectors, namespace_labels(allocator, ns_of(service)));
    }
    return fits_namespace && (json_count(service_selectors) == 0 ||
                              any_selector_matches(service_selectors, json_path(service, "metadata", "labels", NULL)));
}

static const struct pool *pool_of(const struct allocator *allocator, uint32_t address)
{
    for (size_t i = 0; i < allocator->input.pools->count; i++) {
        if (pool_contains_v4(&allocator->input.pools->items[i], address)) {
            return &allocator->input.pools->items[i];
        }
    }
    return NULL;
}

static const struct pool *find_pool(const struct allocator *allocator, struct str name)
{
    for (size_t i = 0; i < allocator->input.pools->count; i++) {
        if (str_equal(allocator->input.pools->items[i].name, name)) {
            return &allocator->input.pools->items[i];
        }
    }
    return NULL;
}

// The first address of the pool that is free or may be shared. There are at most as many steps as uses,
// and two in 256 for addresses to be avoided.
static bool scan(const struct allocator *allocator, const struct wish *wish, const struct pool *pool,
                 uint32_t *ret_address)
{
    struct str why;
    for (size_t i = 0; i < pool->prefix_count; i++) {
        const struct pool_prefix *prefix = &pool->prefixes[i];
        for (pool_number at = prefix->first; !prefix->is_v6 && at <= prefix->last; at++) {
            uint32_t address = (uint32_t)at;
            if (pool_contains_v4(pool, address) && may_share(allocator, wish, address, false, &why)) {
                *ret_address = address;
                return true;
            }
        }
    }
    return false;
}

// --- deciding --------------------------------------------------------------------------------------

static struct decision assign(uint32_t address, const struct pool *pool)
{
    return (struct decision){.verdict = VERDICT_ASSIGN, .address = address, .pool = pool->name};
}

static struct decision refuse(enum verdict verdict, struct str message)
{
    return (struct decision){.verdict = verdict, .message = message};
}

static struct decision assign_wanted(const struct allocator *allocator, const struct wish *wish)
{
    char text[ALLOCATOR_ADDRESS_SIZE];
    const struct pool *pool = pool_of(allocator, wish->address);
    struct str why;
    allocator_format(wish->address, text);
    if (pool == NULL) {
        return refuse(VERDICT_FAIL, arena_format(allocator->arena, "[\"%s\"] is not allowed in config", text));
    }
    if (!str_is_empty(wish->pool) && !str_equal(wish->pool, pool->name)) {
        return refuse(VERDICT_FAIL, arena_format(allocator->arena, "requested loadBalancer IP(s) [\"%s\"] does not belong to requested pool %.*s",
                                                 text, STR_ARG(wish->pool)));
    }
    if (!is_for(allocator, pool, wish->service)) {
        return refuse(VERDICT_FAIL, arena_format(allocator->arena, "pool %.*s not compatible for ip assignment", STR_ARG(pool->name)));
    }
    if (!may_share(allocator, wish, wish->address, false, &why)) {
        return refuse(VERDICT_FAIL, why);
    }
    return assign(wish->address, pool);
}

static struct decision assign_from_wanted_pool(const struct allocator *allocator, const struct wish *wish)
{
    const struct pool *pool = find_pool(allocator, wish->pool);
    uint32_t address;
    if (pool == NULL) {
        return refuse(VERDICT_FAIL, arena_format(allocator->arena, "unknown pool \"%.*s\"", STR_ARG(wish->pool)));
    }
    if (!is_for(allocator, pool, wish->service)) {
        return refuse(VERDICT_FAIL, arena_format(allocator->arena, "pool %.*s not compatible for ip assignment", STR_ARG(pool->name)));
    }
    if (!scan(allocator, wish, pool, &address)) {
        return refuse(VERDICT_FAIL, arena_format(allocator->arena, "no available IPs in pool \"%.*s\" for ipv4 IPFamily", STR_ARG(pool->name)));
    }
    return assign(address, pool);
}

// Is a tried before b? Those with an allocation first, by priority (0 last), then by name.
static bool is_before(const struct pool *a, const struct pool *b)
{
    if ((a->allocation != NULL) != (b->allocation != NULL)) {
        return a->allocation != NULL;
    }
    if (a->priority != b->priority) {
        return b->priority == 0 || (a->priority != 0 && a->priority < b->priority);
    }
    return str_compare(a->name, b->name) < 0;
}

static struct decision assign_any(const struct allocator *allocator, const struct wish *wish)
{
    const struct pool_list *pools = allocator->input.pools;
    bool *tried = arena_array(allocator->arena, bool, pools->count + 1);
    for (size_t round = 0; round < pools->count; round++) {
        size_t best = pools->count;
        uint32_t address;
        for (size_t i = 0; i < pools->count; i++) {
            bool is_open = !tried[i] && pools->items[i].is_automatic;
            if (is_open && (best == pools->count || is_before(&pools->items[i], &pools->items[best]))) {
                best = i;
            }
        }
        if (best == pools->count) {
            break;
        }
        tried[best] = true;
        if (is_for(allocator, &pools->items[best], wish->service) && scan(allocator, wish, &pools->items[best], &address)) {
            return assign(address, &pools->items[best]);
        }
    }
    return refuse(VERDICT_FAIL, STR("no available IPs"));
}

static bool read_address_list(struct arena *arena, struct str text, uint32_t *ret_address, struct str *ret_why)
{
    struct str rest = text;
    struct str first = str_trim(str_split(&rest, ','));
    if (!parse_v4(first, ret_address)) {
        *ret_why = arena_format(arena, "invalid %s: \"%.*s\"", "loadBalancerIPs", STR_ARG(text));
        return false;
    }
    if (rest.data != NULL) {
        *ret_why = arena_format(arena, "service has more than one address per family in loadBalancerIPs: \"%.*s\"", STR_ARG(text));
        return false;
    }
    return true;
}

static bool read_wish(const struct allocator *allocator, const struct json_value *service, struct wish *wish,
                      struct str *ret_why)
{
    struct str in_spec = json_str(json_path(service, "spec", "loadBalancerIP", NULL));
    struct str in_annotation = allocator_annotation(service, "loadBalancerIPs");
    *wish = (struct wish){.service = service, .pool = allocator_annotation(service, "address-pool")};
    wish->sharing_key = allocator_annotation(service, "allow-shared-ip");
    wish->backend_key = backend_key(allocator->arena, service);
    wish->has_address = !str_is_empty(in_spec) || !str_is_empty(in_annotation);
    if (!str_is_empty(in_spec) && !str_is_empty(in_annotation)) {
        *ret_why = STR("service can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP");
        return false;
    }
    if (!str_is_empty(in_annotation)) {
        return read_address_list(allocator->arena, in_annotation, &wish->address, ret_why);
    }
    if (!str_is_empty(in_spec) && !parse_v4(in_spec, &wish->address)) {
        *ret_why = arena_format(allocator->arena, "invalid spec.loadBalancerIP \"%.*s\"", STR_ARG(in_spec));
        return false;
    }
    return true;
}

// Why the address it has cannot stay; false: it can.
static bool must_go(const struct allocator *allocator, const struct wish *wish, uint32_t address, struct str *ret_why)
{
    char text[ALLOCATOR_ADDRESS_SIZE];
    const struct pool *pool = pool_of(allocator, address);
    allocator_format(address, text);
    if (pool == NULL || !is_for(allocator, pool, wish->service)) {
        *ret_why = arena_format(allocator->arena, "current IP [\"%s\"] not allowed by config, will attempt for new IP assignment", text);
        return true;
    }
    if (!str_is_empty(wish->pool) && !str_equal(wish->pool, pool->name)) {
        *ret_why = STR("user requested a different pool than the one currently assigned");
        return true;
    }
    if (wish->has_address && wish->address != address) {
        *ret_why = STR("user requested a different IP than the one currently assigned");
        return true;
    }
    return !may_share(allocator, wish, address, true, ret_why);
}

static struct decision decide_current(const struct allocator *allocator, const struct wish *wish, uint32_t address)
{
    struct str why;
    if (must_go(allocator, wish, address, &why)) {
        return refuse(VERDICT_CLEAR, why);
    }
    return (struct decision){.address = address, .pool = pool_of(allocator, address)->name};
}

struct decision allocator_decide(struct allocator *allocator, const struct json_value *service)
{
    bool has_ingress = json_count(ingress_of(service)) > 0;
    bool was_ours = !str_is_empty(allocator_annotation(service, "ip-allocated-from-pool"));
    struct decision nothing = {0};
    struct wish wish;
    struct str why;
    uint32_t address;
    if (is_load_balancer(service) && !allocator_wants(service)) {
        return nothing; // another load balancer's
    }
    if (!is_load_balancer(service) || !has_cluster_ip(service)) {
        return (has_ingress && is_load_balancer(service)) || was_ours ? refuse(VERDICT_CLEAR, STR_EMPTY) : nothing;
    }
    if (allocator->input.pools == NULL || (allocator->input.pools->count == 0 && has_ingress && !was_ours)) {
        return nothing; // the last: a status somebody wrote by hand where there are no pools
    }
    if (!read_wish(allocator, service, &wish, &why)) {
        return refuse(VERDICT_REFUSE, why);
    }
    if (has_ingress && !allocator_current(service, &address)) {
        return refuse(VERDICT_CLEAR, STR("the assigned addresses are not those of one load balancer"));
    }
    if (has_ingress) {
        return decide_current(allocator, &wish, address);
    }
    if (wish.has_address) {
        return assign_wanted(allocator, &wish);
    }
    return str_is_empty(wish.pool) ? assign_any(allocator, &wish) : assign_from_wanted_pool(allocator, &wish);
}
