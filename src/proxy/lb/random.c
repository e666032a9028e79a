// SPDX-License-Identifier: Apache-2.0
#include "proxy/lb/policy.h"

static uint32_t pick(struct lb_source *source, const struct lb_options *options, const struct lb_host *hosts,
                     struct random *random)
{
    (void)options;
    (void)hosts;
    return source->hosts[random_below(random, source->count)];
}

static double weight(const struct lb_options *options, const struct lb_host *host)
{
    (void)options;
    return host->weight;
}

const struct lb_policy lb_random = {.name = "random", .ignores_weights = true, .pick = pick, .weight = weight};
