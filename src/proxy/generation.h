// SPDX-License-Identifier: Apache-2.0
//
// generation: one state of the whole configuration, as the workers see it: clusters with their endpoints,
// route tables, listeners, secrets. Immutable and refcounted atomically; a new one replaces it whole and
// shares every part that did not change.
#ifndef PROXY_GENERATION_H
#define PROXY_GENERATION_H

#include "base/map.h"
#include "base/vec.h"
#include "proxy/cluster/cluster.h"
#include "proxy/listener/listener_config.h"
#include "proxy/route/route.h"

struct generation {
    atomic_uint references;
    struct map clusters; // name → struct cluster, a reference each
    struct map routes;   // name → struct route_table
    VEC(struct listener_config *) listeners;
    struct secrets *secrets;
};

struct generation *generation_new(struct secrets *secrets); // fill before sharing
struct generation *generation_ref(struct generation *generation);
void generation_unref(struct generation *generation); // NULL is fine

#endif
