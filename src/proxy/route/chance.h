// SPDX-License-Identifier: Apache-2.0
//
// chance: a share of requests, in percent, ten-thousandths or millionths, as the configuration says. Pure.
#ifndef PROXY_ROUTE_CHANCE_H
#define PROXY_ROUTE_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "envoy/type/v3/percent.pb-c.h"

struct chance {
    uint64_t numerator;
    uint64_t denominator; // > 0
};

#define CHANCE_ALWAYS ((struct chance){1, 1})
#define CHANCE_NEVER ((struct chance){0, 1})

// Absent: otherwise.
static inline struct chance chance_from(const Envoy__Type__V3__FractionalPercent *config, struct chance otherwise)
{
    static const uint64_t denominators[] = {100, 10000, 1000000};
    if (config == NULL) {
        return otherwise;
    }
    unsigned which = (unsigned)config->denominator;
    return (struct chance){config->numerator, denominators[which < 3 ? which : 0]};
}

static inline bool chance_holds(struct chance chance, uint64_t random)
{
    return random % chance.denominator < chance.numerator;
}

#endif
