// SPDX-License-Identifier: Apache-2.0
#include "proxy/generation.h"

#include "base/memory.h"

struct generation *generation_new(struct secrets *secrets)
{
    struct generation *generation = mem_new(struct generation);
    atomic_init(&generation->references, 1);
    generation->secrets = secrets_ref(secrets);
    return generation;
}

struct generation *generation_ref(struct generation *generation)
{
    atomic_fetch_add_explicit(&generation->references, 1, memory_order_relaxed);
    return generation;
}

void generation_unref(struct generation *generation)
{
    if (generation == NULL || atomic_fetch_sub_explicit(&generation->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    void *value;
    for (size_t at = 0; map_each(&generation->clusters, &at, NULL, &value);) {
        cluster_unref(value);
    }
    for (size_t at = 0; map_each(&generation->routes, &at, NULL, &value);) {
        route_table_unref(value);
    }
    for (size_t i = 0; i < generation->listeners.count; i++) {
        listener_config_unref(generation->listeners.items[i]);
    }
    map_done(&generation->clusters);
    map_done(&generation->routes);
    vec_done(&generation->listeners);
    secrets_unref(generation->secrets);
    mem_free(generation);
}
