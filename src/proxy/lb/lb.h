// SPDX-License-Identifier: Apache-2.0
//
// lb: which host of a cluster gets the next request or connection. Pure: health, weights and the dice
// are arguments. One `struct lb` per worker and host set; it is rebuilt when the set changes and keeps
// only the state of its schedules.
//
// Choice: priority by its share of healthy hosts (times the overprovisioning factor), then, where the
// cluster asks for it, locality by weight, then the policy among the hosts. Integer arithmetic is that
// of Envoy, so that the same input gives the same shares.
#ifndef PROXY_LB_LB_H
#define PROXY_LB_LB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"
#include "base/str.h"

#define LB_PRIORITIES_MAX 128u
#define LB_NONE UINT32_MAX // no host

enum lb_policy_kind { LB_ROUND_ROBIN, LB_LEAST_REQUEST, LB_RANDOM, LB_RING_HASH, LB_MAGLEV };

enum lb_health { LB_HEALTHY, LB_DEGRADED, LB_UNHEALTHY };

struct lb_host {
    uint32_t weight;   // >= 1
    uint32_t priority; // < LB_PRIORITIES_MAX
    uint32_t locality; // index into localities
    enum lb_health health;
    const atomic_uint *active; // requests (or connections) under way, all workers; may be NULL
    struct str key;            // consistent hashing: what stands for the host; read by lb_new() only
};

struct lb_options {
    enum lb_policy_kind policy;
    uint32_t choice_count;           // least request; 0: 2
    double active_bias;              // least request; Envoy's default is 1
    uint32_t panic_threshold;        // percent
    uint32_t overprovisioning;       // percent; 0: 140
    bool locality_weighted;
    uint64_t ring_size_min; // ring hash; 0: Envoy's defaults
    uint64_t ring_size_max;
    uint64_t maglev_size;   // a prime
};

struct lb;

// Copies hosts and locality weights (weight 0: no traffic when locality_weighted).
struct lb *lb_new(const struct lb_options *options, const struct lb_host *hosts, uint32_t host_count,
                  const uint32_t *locality_weights, uint32_t locality_count, struct random *random);
void lb_free(struct lb *lb); // NULL is fine

// Index of the host, or LB_NONE. `avoid`, when not NULL, is asked about each draw: hosts for which it is
// true are drawn again, at most `draws_max` times (the last draw counts even so).
uint32_t lb_pick(struct lb *lb, struct random *random, bool (*avoid)(void *owner, uint32_t host), void *owner,
                 uint32_t draws_max);

// The same with the request's hash, for consistent hashing; other policies ignore it. NULL: the request has
// none, any place of the table will do.
uint32_t lb_pick_hashed(struct lb *lb, struct random *random, const uint64_t *hash, bool (*avoid)(void *owner, uint32_t host),
                        void *owner, uint32_t draws_max);

// For tests and admin: percent of traffic priority p gets; healthy and degraded part.
void lb_priority_load(const struct lb *lb, uint32_t priority, uint32_t *ret_healthy, uint32_t *ret_degraded);

#endif
