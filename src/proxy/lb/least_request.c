// SPDX-License-Identifier: Apache-2.0
//
// least_request: the best of a few random hosts. With weights it is a schedule in which a host's weight
// shrinks with the requests it has under way.
#include <math.h>

#include "proxy/lb/policy.h"

#define CHOICES_DEFAULT 2u

static uint32_t active_of(const struct lb_host *host)
{
    return host->active == NULL ? 0 : atomic_load_explicit(host->active, memory_order_relaxed);
}

static uint32_t pick(struct lb_source *source, const struct lb_options *options, const struct lb_host *hosts,
                     struct random *random)
{
    uint32_t choices = options->choice_count == 0 ? CHOICES_DEFAULT : options->choice_count;
    uint32_t best = source->hosts[random_below(random, source->count)];
    for (uint32_t i = 1; i < choices; i++) {
        uint32_t other = source->hosts[random_below(random, source->count)];
        if (active_of(&hosts[other]) < active_of(&hosts[best])) {
            best = other;
        }
    }
    return best;
}

static double weight(const struct lb_options *options, const struct lb_host *host)
{
    double load = active_of(host) + 1.0;
    if (options->active_bias == 1.0) {
        return host->weight / load;
    }
    return options->active_bias <= 0 ? host->weight : host->weight / pow(load, options->active_bias);
}

const struct lb_policy lb_least_request = {.name = "least_request", .pick = pick, .weight = weight};
