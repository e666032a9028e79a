// SPDX-License-Identifier: Apache-2.0
#include "proxy/lb/lb.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "proxy/lb/consistent.h"
#include "proxy/lb/policy.h"

#define OVERPROVISIONING_DEFAULT 140u
#define EARLY_PICKS_MAX 64u // schedules start at a random place, so that workers do not march in step

enum part { PART_HEALTHY, PART_DEGRADED, PART_ALL, PART_COUNT };

struct priority {
    struct lb_source parts[PART_COUNT];
    uint32_t load[2]; // percent: healthy, degraded
    bool panics;
    // Locality weighting: one schedule over localities per part, and one source per locality.
    struct edf localities[2];
    struct lb_source *by_locality[2];
    struct consistent table; // consistent hashing: of the healthy hosts, or all in a panic
};

struct lb {
    struct lb_options options;
    const struct lb_policy *policy;
    struct lb_host *hosts;
    uint32_t host_count;
    double *locality_weights; // effective, of the priority being scheduled: see locality_weight()
    uint32_t *configured_weights;
    uint32_t locality_count;
    struct priority *priorities;
    uint32_t priority_count;
};

static const struct lb_policy *const policies[] = {
    [LB_ROUND_ROBIN] = &lb_round_robin,
    [LB_LEAST_REQUEST] = &lb_least_request,
    [LB_RANDOM] = &lb_random,
    [LB_RING_HASH] = NULL, // tables: see build_table()
    [LB_MAGLEV] = NULL,
};

// --- sources -------------------------------------------------------------------------------------------

static double host_weight(void *owner, uint32_t host)
{
    struct lb *lb = owner;
    return lb->policy->weight(&lb->options, &lb->hosts[host]);
}

static void source_add(struct lb_source *source, uint32_t host)
{
    source->hosts = mem_realloc(source->hosts, sizeof(*source->hosts) * (source->count + 1u));
    source->hosts[source->count++] = host;
}

static void source_finish(struct lb *lb, struct lb_source *source, struct random *random)
{
    source->turn = source->count == 0 ? 0 : random_below(random, source->count);
    for (uint32_t i = 1; i < source->count; i++) {
        source->is_weighted |= lb->hosts[source->hosts[i]].weight != lb->hosts[source->hosts[0]].weight;
    }
    source->is_weighted = source->is_weighted && !lb->policy->ignores_weights;
    if (!source->is_weighted) {
        return;
    }
    for (uint32_t i = 0; i < source->count; i++) {
        edf_add(&source->schedule, source->hosts[i], host_weight(lb, source->hosts[i]));
    }
    for (uint64_t i = random_below(random, EARLY_PICKS_MAX); i > 0; i--) {
        (void)edf_pick(&source->schedule, host_weight, lb);
    }
}

static void source_done(struct lb_source *source)
{
    mem_free(source->hosts);
    edf_done(&source->schedule);
}

static uint32_t source_pick(struct lb *lb, struct lb_source *source, struct random *random)
{
    if (source->count == 0) {
        return LB_NONE;
    }
    if (source->is_weighted) {
        return edf_pick(&source->schedule, host_weight, lb);
    }
    return lb->policy->pick(source, &lb->options, lb->hosts, random);
}

// --- shares of the priorities --------------------------------------------------------------------------

static uint32_t percent_of(uint32_t part, uint32_t all, uint32_t factor)
{
    uint64_t share = all == 0 ? 0 : (uint64_t)factor * part / all;
    return share > 100 ? 100 : (uint32_t)share;
}

static void share_loads(struct lb *lb)
{
    uint32_t factor = lb->options.overprovisioning == 0 ? OVERPROVISIONING_DEFAULT : lb->options.overprovisioning;
    uint32_t health[2][LB_PRIORITIES_MAX] = {{0}};
    uint32_t total = 0;
    for (uint32_t p = 0; p < lb->priority_count; p++) {
        const struct lb_source *parts = lb->priorities[p].parts;
        health[0][p] = percent_of(parts[PART_HEALTHY].count, parts[PART_ALL].count, factor);
        health[1][p] = percent_of(parts[PART_DEGRADED].count, parts[PART_ALL].count, factor);
        total += health[0][p] + health[1][p];
    }
    total = total > 100 ? 100 : total;
    uint32_t left = 100;
    for (int part = 0; part < 2 && total > 0; part++) {
        for (uint32_t p = 0; p < lb->priority_count; p++) {
            uint32_t load = health[part][p] * 100 / total;
            lb->priorities[p].load[part] = load < left ? load : left;
            left -= lb->priorities[p].load[part];
        }
    }
    for (int part = 0; part < 2 && total > 0 && left > 0; part++) { // rounding goes to the first that lives
        for (uint32_t p = 0; p < lb->priority_count && left > 0; p++) {
            if (health[part][p] > 0) {
                lb->priorities[p].load[part] += left;
                left = 0;
            }
        }
    }
    uint32_t threshold = lb->options.panic_threshold > 100 ? 100 : lb->options.panic_threshold;
    bool all_panic = total < 100;
    for (uint32_t p = 0; p < lb->priority_count && total < 100; p++) {
        const struct lb_source *parts = lb->priorities[p].parts;
        uint32_t good = parts[PART_HEALTHY].count + parts[PART_DEGRADED].count;
        lb->priorities[p].panics = percent_of(good, parts[PART_ALL].count, 100) < threshold;
        all_panic = all_panic && lb->priorities[p].panics;
    }
    if (total == 0 && threshold == 0) {
        lb->priorities[0].load[0] = 100;
        return;
    }
    if (!all_panic) {
        return;
    }
    left = 100;
    for (uint32_t p = 0; p < lb->priority_count; p++) { // by number of hosts, whatever their health
        uint32_t load = lb->host_count == 0 ? 0 : 100 * lb->priorities[p].parts[PART_ALL].count / lb->host_count;
        lb->priorities[p].load[0] = load;
        lb->priorities[p].load[1] = 0;
        left -= load;
    }
    uint32_t first = 0;
    while (first + 1 < lb->priority_count && lb->priorities[first].parts[PART_ALL].count == 0) {
        first++;
    }
    lb->priorities[first].load[0] += left;
}

// --- localities ----------------------------------------------------------------------------------------

static double locality_weight(void *owner, uint32_t locality)
{
    const double *weights = owner;
    return weights[locality];
}

static void build_localities(struct lb *lb, uint32_t p, struct random *random)
{
    struct priority *priority = &lb->priorities[p];
    uint32_t factor = lb->options.overprovisioning == 0 ? OVERPROVISIONING_DEFAULT : lb->options.overprovisioning;
    uint32_t *totals = mem_zalloc(sizeof(uint32_t) * (lb->locality_count + 1u));
    for (uint32_t i = 0; i < priority->parts[PART_ALL].count; i++) {
        totals[lb->hosts[priority->parts[PART_ALL].hosts[i]].locality]++;
    }
    for (int part = 0; part < 2; part++) {
        priority->by_locality[part] = mem_zalloc(sizeof(struct lb_source) * (lb->locality_count + 1u));
        const struct lb_source *all = &priority->parts[part];
        for (uint32_t i = 0; i < all->count; i++) {
            source_add(&priority->by_locality[part][lb->hosts[all->hosts[i]].locality], all->hosts[i]);
        }
        double *weights = &lb->locality_weights[((size_t)p * 2 + (size_t)part) * lb->locality_count];
        for (uint32_t l = 0; l < lb->locality_count; l++) {
            struct lb_source *source = &priority->by_locality[part][l];
            source_finish(lb, source, random);
            double available = totals[l] == 0 ? 0 : factor / 100.0 * source->count / totals[l];
            weights[l] = lb->configured_weights[l] * (available > 1 ? 1 : available);
            edf_add(&priority->localities[part], l, weights[l]);
        }
    }
    mem_free(totals);
}

// --- consistent hashing --------------------------------------------------------------------------------

// A host's share: its part of its locality's weight, and the locality's part of all.
static size_t share_weights(const struct lb *lb, const struct lb_source *source, struct consistent_host *hosts)
{
    double *sums = mem_zalloc(sizeof(double) * (lb->locality_count + 1u));
    double all = 0;
    for (uint32_t i = 0; i < source->count; i++) {
        const struct lb_host *host = &lb->hosts[source->hosts[i]];
        sums[lb->options.locality_weighted ? host->locality : 0] += host->weight;
    }
    for (uint32_t l = 0; l < lb->locality_count; l++) {
        all += lb->options.locality_weighted && sums[l] > 0 ? lb->configured_weights[l] : 0;
    }
    size_t count = 0;
    for (uint32_t i = 0; i < source->count; i++) {
        const struct lb_host *host = &lb->hosts[source->hosts[i]];
        uint32_t l = lb->options.locality_weighted ? host->locality : 0;
        double locality = !lb->options.locality_weighted ? 1 : all <= 0 ? 0 : lb->configured_weights[l] / all;
        if (locality > 0) {
            hosts[count++] = (struct consistent_host){source->hosts[i], host->key, locality * host->weight / sums[l]};
        }
    }
    mem_free(sums);
    return count;
}

static void build_table(struct lb *lb, struct priority *priority)
{
    const struct lb_source *source = &priority->parts[priority->panics ? PART_ALL : PART_HEALTHY];
    struct consistent_host *hosts = mem_zalloc(sizeof(*hosts) * (source->count + 1u));
    size_t count = share_weights(lb, source, hosts);
    if (lb->options.policy == LB_RING_HASH) {
        uint64_t size_min = lb->options.ring_size_min == 0 ? RING_SIZE_MIN_DEFAULT : lb->options.ring_size_min;
        uint64_t size_max = lb->options.ring_size_max == 0 ? RING_SIZE_MAX_DEFAULT : lb->options.ring_size_max;
        consistent_make_ring(&priority->table, hosts, count, size_min, size_max);
    } else {
        consistent_make_maglev(&priority->table, hosts, count, lb->options.maglev_size == 0 ? MAGLEV_SIZE_DEFAULT : lb->options.maglev_size);
    }
    mem_free(hosts);
}

// --- life ----------------------------------------------------------------------------------------------

static void distribute_hosts(struct lb *lb)
{
    for (uint32_t i = 0; i < lb->host_count; i++) {
        struct priority *priority = &lb->priorities[lb->hosts[i].priority];
        source_add(&priority->parts[PART_ALL], i);
        if (lb->hosts[i].health == LB_HEALTHY) {
            source_add(&priority->parts[PART_HEALTHY], i);
        } else if (lb->hosts[i].health == LB_DEGRADED) {
            source_add(&priority->parts[PART_DEGRADED], i);
        }
    }
}

struct lb *lb_new(const struct lb_options *options, const struct lb_host *hosts, uint32_t host_count,
                  const uint32_t *locality_weights, uint32_t locality_count, struct random *random)
{
    struct lb *lb = mem_new(struct lb);
    lb->options = *options;
    lb->policy = policies[options->policy];
    lb->host_count = host_count;
    lb->hosts = mem_zalloc(sizeof(*hosts) * (host_count + 1u));
    lb->locality_count = locality_count;
    lb->configured_weights = mem_zalloc(sizeof(uint32_t) * (locality_count + 1u));
    if (locality_count > 0) {
        memcpy(lb->configured_weights, locality_weights, sizeof(uint32_t) * locality_count);
    }
    lb->priority_count = 1;
    for (uint32_t i = 0; i < host_count; i++) {
        ASSERT(hosts[i].priority < LB_PRIORITIES_MAX && hosts[i].locality < locality_count);
        lb->hosts[i] = hosts[i];
        if (hosts[i].priority >= lb->priority_count) {
            lb->priority_count = hosts[i].priority + 1;
        }
    }
    lb->priorities = mem_zalloc(sizeof(*lb->priorities) * lb->priority_count);
    lb->locality_weights = mem_zalloc(sizeof(double) * (2u * (size_t)lb->priority_count * locality_count + 1));
    distribute_hosts(lb);
    share_loads(lb);
    for (uint32_t p = 0; p < lb->priority_count; p++) {
        if (lb->policy == NULL) {
            build_table(lb, &lb->priorities[p]);
            continue;
        }
        for (int part = 0; part < PART_COUNT; part++) {
            source_finish(lb, &lb->priorities[p].parts[part], random);
        }
        if (options->locality_weighted) {
            build_localities(lb, p, random);
        }
    }
    return lb;
}

void lb_free(struct lb *lb)
{
    if (lb == NULL) {
        return;
    }
    for (uint32_t p = 0; p < lb->priority_count; p++) {
        struct priority *priority = &lb->priorities[p];
        consistent_done(&priority->table);
        for (int part = 0; part < PART_COUNT; part++) {
            source_done(&priority->parts[part]);
        }
        for (int part = 0; part < 2; part++) {
            edf_done(&priority->localities[part]);
            for (uint32_t l = 0; priority->by_locality[part] != NULL && l < lb->locality_count; l++) {
                source_done(&priority->by_locality[part][l]);
            }
            mem_free(priority->by_locality[part]);
        }
    }
    mem_free(lb->priorities);
    mem_free(lb->locality_weights);
    mem_free(lb->configured_weights);
    mem_free(lb->hosts);
    mem_free(lb);
}

// --- picking -------------------------------------------------------------------------------------------

static uint32_t pick_once(struct lb *lb, struct random *random)
{
    uint32_t dice = (uint32_t)random_below(random, 100) + 1;
    uint32_t sum = 0;
    for (int part = 0; part < 2; part++) {
        for (uint32_t p = 0; p < lb->priority_count; p++) {
            struct priority *priority = &lb->priorities[p];
            sum += priority->load[part];
            if (sum < dice) {
                continue;
            }
            if (priority->panics) {
                return source_pick(lb, &priority->parts[PART_ALL], random);
            }
            if (priority->localities[part].count > 0) {
                double *weights = &lb->locality_weights[((size_t)p * 2 + (size_t)part) * lb->locality_count];
                uint32_t locality = edf_pick(&priority->localities[part], locality_weight, weights);
                return source_pick(lb, &priority->by_locality[part][locality], random);
            }
            return source_pick(lb, &priority->parts[part], random);
        }
    }
    return LB_NONE;
}

// The hash decides the priority too, so that a request stays where it was while the shares stand.
static uint32_t pick_by_hash(const struct lb *lb, uint64_t hash, uint32_t attempt)
{
    uint32_t place = (uint32_t)(hash % 100) + 1;
    uint32_t sum = 0;
    for (int part = 0; part < 2; part++) {
        for (uint32_t p = 0; p < lb->priority_count; p++) {
            sum += lb->priorities[p].load[part];
            if (sum >= place) {
                return consistent_find(&lb->priorities[p].table, hash, attempt);
            }
        }
    }
    return LB_NONE;
}

uint32_t lb_pick_hashed(struct lb *lb, struct random *random, const uint64_t *hash, bool (*avoid)(void *owner, uint32_t host),
                        void *owner, uint32_t draws_max)
{
    if (lb->policy != NULL) {
        return lb_pick(lb, random, avoid, owner, draws_max);
    }
    uint64_t place = hash == NULL ? random_next(random) : *hash;
    uint32_t host = pick_by_hash(lb, place, 0);
    for (uint32_t i = 1; host != LB_NONE && avoid != NULL && i <= draws_max && avoid(owner, host); i++) {
        host = pick_by_hash(lb, place, i);
    }
    return host;
}

uint32_t lb_pick(struct lb *lb, struct random *random, bool (*avoid)(void *owner, uint32_t host), void *owner,
                 uint32_t draws_max)
{
    if (lb->policy == NULL) {
        return lb_pick_hashed(lb, random, NULL, avoid, owner, draws_max);
    }
    uint32_t host = pick_once(lb, random);
    for (uint32_t i = 0; host != LB_NONE && avoid != NULL && i < draws_max && avoid(owner, host); i++) {
        host = pick_once(lb, random);
    }
    return host;
}

void lb_priority_load(const struct lb *lb, uint32_t priority, uint32_t *ret_healthy, uint32_t *ret_degraded)
{
    *ret_healthy = priority < lb->priority_count ? lb->priorities[priority].load[0] : 0;
    *ret_degraded = priority < lb->priority_count ? lb->priorities[priority].load[1] : 0;
}
