// SPDX-License-Identifier: Apache-2.0
#include "proxy/lb/policy.h"

static uint32_t pick(struct lb_source *source, const struct lb_options *options, const struct lb_host *hosts,
                     struct random *random)
{
    (void)options;
    (void)hosts;
    (void)random;
    return source->hosts[source->turn++ % source->count];
}

static double weight(const struct lb_options *options, const struct lb_host *host)
{
    (void)options;
    return host->weight;
}

const struct lb_policy lb_round_robin = {.name = "round_robin", .pick = pick, .weight = weight};
