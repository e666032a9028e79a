// SPDX-License-Identifier: Apache-2.0
//
// policy: the interface between lb and its policies. A source is a list of hosts among which a policy
// chooses: the healthy ones of a priority, all of them in a panic, or those of one locality.
#ifndef PROXY_LB_POLICY_H
#define PROXY_LB_POLICY_H

#include "proxy/lb/edf.h"
#include "proxy/lb/lb.h"

struct lb_source {
    uint32_t *hosts; // indices
    uint32_t count;
    bool is_weighted; // weights differ: use the schedule
    uint64_t turn;    // round robin
    struct edf schedule;
};

struct lb_policy {
    const char *name;
    bool ignores_weights;
    // Among hosts of equal weight.
    uint32_t (*pick)(struct lb_source *source, const struct lb_options *options, const struct lb_host *hosts,
                     struct random *random);
    // Weight of a host in the schedule when weights differ.
    double (*weight)(const struct lb_options *options, const struct lb_host *host);
};

extern const struct lb_policy lb_round_robin;
extern const struct lb_policy lb_least_request;
extern const struct lb_policy lb_random;

#endif
