// SPDX-License-Identifier: Apache-2.0
//
// consistent: tables for consistent hashing, made once per host set and looked up by a request's hash.
// Two shapes, Envoy's ring (xxHash64 of "<key>_<i>") and Maglev, entry for entry as Envoy makes them, so
// that both proxies send the same hash to the same host.
#ifndef PROXY_LB_CONSISTENT_H
#define PROXY_LB_CONSISTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define RING_SIZE_MIN_DEFAULT 1024u
#define RING_SIZE_MAX_DEFAULT 8388608u
#define MAGLEV_SIZE_DEFAULT 65537u
#define MAGLEV_SIZE_MAX 5000011u

struct consistent_host {
    uint32_t host; // what a look-up answers
    struct str key;
    double weight; // share of all, > 0; the shares add up to 1
};

struct ring_entry {
    uint64_t hash;
    uint32_t host;
};

struct consistent {
    struct ring_entry *ring; // sorted by hash; NULL: not a ring
    uint32_t *maglev;        // NULL: not Maglev
    size_t size;             // 0: no host
};

void consistent_make_ring(struct consistent *table, const struct consistent_host *hosts, size_t count, uint64_t size_min, uint64_t size_max);
bool maglev_size_is_valid(uint64_t size); // a prime, so that every permutation visits every slot
void consistent_make_maglev(struct consistent *table, const struct consistent_host *hosts, size_t count, uint64_t size);
void consistent_done(struct consistent *table);
// attempt: 0 for the first choice, then 1, 2, …: other places of the table. UINT32_MAX: empty.
uint32_t consistent_find(const struct consistent *table, uint64_t hash, uint32_t attempt);

#endif
