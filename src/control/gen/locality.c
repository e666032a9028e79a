// SPDX-License-Identifier: Apache-2.0
//
// Locality load balancing of one assignment's groups (facts every control plane of this kind agrees on):
//
//   distribute         the first entry whose `from` matches the proxy's locality gives the localities their
//                      share; a locality that no `to` pattern names loses its endpoints
//   failover           groups are ordered by nearness: same subzone, zone, region, the region named by the
//                      failover entry, any other. Only with outlier detection: without it nothing would
//                      ever fail over
//
// failoverPriority is not in force: such a setting falls back to plain nearness.
#include "control/gen/gen_internal.h"

#include <stdlib.h>

#define PRIORITY_STEP 5u // above the five levels of nearness

static struct str part(struct str *rest)
{
    return str_is_empty(*rest) ? STR_EMPTY : str_split(rest, '/');
}

struct place {
    struct str region;
    struct str zone;
    struct str subzone;
};

static struct place place_of(struct str locality)
{
    struct str rest = locality;
    struct place place = {.region = part(&rest)};
    place.zone = part(&rest);
    place.subzone = part(&rest);
    return place;
}

static struct place place_of_wire(const WireLocality *locality)
{
    if (locality == NULL) {
        return (struct place){.region = STR_EMPTY, .zone = STR_EMPTY, .subzone = STR_EMPTY};
    }
    return (struct place){
        .region = str_of(locality->region),
        .zone = str_of(locality->zone),
        .subzone = str_of(locality->sub_zone),
    };
}

// --- distribute ------------------------------------------------------------------------------------------

static bool part_matches(struct str pattern, struct str text, bool may_be_empty)
{
    return str_equal(pattern, STR("*")) || (may_be_empty && str_is_empty(pattern)) ||
           str_equal(pattern, text);
}

static bool pattern_matches(struct str pattern, const struct place *place)
{
    struct place want = place_of(pattern);
    return part_matches(want.region, place->region, false) &&
           part_matches(want.zone, place->zone, true) &&
           part_matches(want.subzone, place->subzone, true);
}

typedef Istio__Networking__V1alpha3__LocalityLoadBalancerSetting__Distribute Distribute;

static const Distribute *find_distribute(const struct gen *gen, const GenLocality *setting)
{
    struct place own = place_of(gen->proxy->locality);
    for (size_t i = 0; i < setting->n_distribute; i++) {
        if (pattern_matches(str_of(setting->distribute[i]->from), &own)) {
            return setting->distribute[i];
        }
    }
    return NULL;
}

// Overlapping patterns would depend on their order: the more specific one (the longer) goes first.
static int compare_shares(const void *a, const void *b)
{
    const Istio__Networking__V1alpha3__LocalityLoadBalancerSetting__Distribute__ToEntry *x =
        *(Istio__Networking__V1alpha3__LocalityLoadBalancerSetting__Distribute__ToEntry *const *)a;
    const Istio__Networking__V1alpha3__LocalityLoadBalancerSetting__Distribute__ToEntry *y =
        *(Istio__Networking__V1alpha3__LocalityLoadBalancerSetting__Distribute__ToEntry *const *)b;
    size_t size_x = strlen(x->key);
    size_t size_y = strlen(y->key);
    return size_x != size_y ? (size_x < size_y) - (size_x > size_y) : strcmp(x->key, y->key);
}

static void give_share(struct gen *gen, WireLoadAssignment *assignment, bool *is_taken, struct str pattern,
                       uint32_t share)
{
    bool *is_matched = arena_array(gen->arena, bool, assignment->n_endpoints + 1);
    uint64_t total = 0;
    for (size_t i = 0; i < assignment->n_endpoints; i++) {
        WireLocalityEndpoints *group = assignment->endpoints[i];
        struct place place = place_of_wire(group->locality);
        if (!is_taken[i] && pattern_matches(pattern, &place)) {
            is_matched[i] = is_taken[i] = true;
            total += pb_uint32_or(group->load_balancing_weight, 1);
        }
    }
    for (size_t i = 0; i < assignment->n_endpoints; i++) {
        WireLocalityEndpoints *group = assignment->endpoints[i];
        uint64_t weight = pb_uint32_or(group->load_balancing_weight, 1);
        uint64_t fresh = total == 0 ? 0 : (weight * share + total - 1) / total;
        if (is_matched[i] && fresh > 0) {
            group->load_balancing_weight = pb_uint32(gen->arena, (uint32_t)fresh);
        }
    }
}

static void distribute(struct gen *gen, const Distribute *rule, WireLoadAssignment *assignment)
{
    Istio__Networking__V1alpha3__LocalityLoadBalancerSetting__Distribute__ToEntry **shares =
        arena_array(gen->arena, Istio__Networking__V1alpha3__LocalityLoadBalancerSetting__Distribute__ToEntry *,
                    rule->n_to + 1);
    bool *is_taken = arena_array(gen->arena, bool, assignment->n_endpoints + 1);
    for (size_t i = 0; i < rule->n_to; i++) {
        shares[i] = rule->to[i];
    }
    qsort(shares, rule->n_to, sizeof(*shares), compare_shares);
    for (size_t i = 0; i < rule->n_to; i++) {
        give_share(gen, assignment, is_taken, str_of(shares[i]->key), shares[i]->value);
    }
    for (size_t i = 0; i < assignment->n_endpoints; i++) {
        if (!is_taken[i]) {
            assignment->endpoints[i]->n_lb_endpoints = 0;
            assignment->endpoints[i]->load_balancing_weight = NULL;
        }
    }
}

// --- failover --------------------------------------------------------------------------------------------

static uint32_t distance(const struct place *a, const struct place *b)
{
    if (!str_equal(a->region, b->region)) {
        return 3;
    }
    if (!str_equal(a->zone, b->zone)) {
        return 2;
    }
    return str_equal(a->subzone, b->subzone) ? 0 : 1;
}

static bool is_other_than_failover(const GenLocality *setting, struct str own, struct str region)
{
    for (size_t i = 0; setting != NULL && i < setting->n_failover; i++) {
        if (str_equal(str_of(setting->failover[i]->from), own)) {
            return !str_equal(str_of(setting->failover[i]->to), region);
        }
    }
    return false;
}

// 0, 1, 2, … without holes, in the same order: Envoy takes no gaps.
static void compact_priorities(WireLoadAssignment *assignment)
{
    uint32_t next = 0;
    uint64_t floor = 0; // raw priorities below it have their number
    for (size_t done = 0; done < assignment->n_endpoints; next++) {
        uint64_t lowest = UINT64_MAX;
        for (size_t i = 0; i < assignment->n_endpoints; i++) {
            uint64_t raw = assignment->endpoints[i]->priority;
            lowest = raw >= floor && raw < lowest ? raw : lowest;
        }
        if (lowest == UINT64_MAX) {
            return;
        }
        for (size_t i = 0; i < assignment->n_endpoints; i++) {
            if (assignment->endpoints[i]->priority == lowest) {
                assignment->endpoints[i]->priority = next; // next ≤ lowest: never above the floor again
                done++;
            }
        }
        floor = lowest + 1;
    }
}

static void order_by_nearness(const struct gen *gen, const GenLocality *setting,
                              WireLoadAssignment *assignment)
{
    struct place own = place_of(gen->proxy->locality);
    for (size_t i = 0; i < assignment->n_endpoints; i++) {
        WireLocalityEndpoints *group = assignment->endpoints[i];
        struct place place = place_of_wire(group->locality);
        uint32_t level = distance(&own, &place);
        if (level == 3 && is_other_than_failover(setting, own.region, place.region)) {
            level = 4;
        }
        group->priority = group->priority * PRIORITY_STEP + level;
    }
    compact_priorities(assignment);
}

void gen_apply_locality(struct gen *gen, const struct gen_policy *policy, WireLoadAssignment *assignment)
{
    const GenLocality *setting = gen_locality_of(policy);
    if (gen_locality_is_off(policy) || str_is_empty(gen->proxy->locality)) {
        return;
    }
    if (setting != NULL && setting->n_distribute > 0) {
        const Distribute *rule = find_distribute(gen, setting);
        if (rule != NULL) {
            distribute(gen, rule, assignment);
        }
    } else if (policy->outliers != NULL) {
        order_by_nearness(gen, setting, assignment);
    }
}
