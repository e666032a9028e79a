// SPDX-License-Identifier: Apache-2.0
//
// pool: IPAddressPools as values. A pool is the list of its prefixes, in the order of its manifest; a range
// "start-end" stands for the fewest prefixes that cover it. Every address of a prefix counts, the first and
// the last included, unless avoidBuggyIPs says otherwise.
//
// Pure: objects in, values out. Sentences of errors are MetalLB's, since its users search for them.
#ifndef LAB_LOADBALANCER_POOL_H
#define LAB_LOADBALANCER_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/json/json.h"

#define POOLS_MAX 256u            // in one cluster
#define POOL_PREFIXES_MAX 1024u   // of one pool
#define POOL_NAMESPACE "metallb-system"

__extension__ typedef unsigned __int128 pool_number; // an address: IPv4 in the low 32 bits

struct pool_prefix {
    bool is_v6;
    uint8_t size; // of the prefix, in bits
    pool_number first;
    pool_number last;
};

struct pool {
    struct str name;
    const struct json_value *object; // borrowed
    struct pool_prefix *prefixes;
    size_t prefix_count;
    bool is_automatic;  // autoAssign
    bool avoids_buggy;  // avoidBuggyIPs: neither .0 nor .255
    const struct json_value *allocation; // spec.serviceAllocation; NULL: none
    int64_t priority;   // of the allocation; 0: none
};

struct pool_list {
    struct pool *items;
    size_t count;
};

#define POOL_PREFIX_TEXT_SIZE 56

// "10.0.0.0/24"; returns out.
const char *pool_prefix_format(const struct pool_prefix *prefix, char out[static POOL_PREFIX_TEXT_SIZE]);

// A prefix (host bits are cut off) or a range; appends to what ret_prefixes holds room for.
enum err pool_parse_addresses(struct str text, struct pool_prefix *prefixes, size_t capacity, size_t *count,
                              struct error *err) must_check;

// All pools, in the order given; none may overlap another. What is returned lives in the arena and borrows
// the objects.
enum err pool_list_read(struct arena *arena, const struct json_value *const *objects, size_t count,
                        struct pool_list *ret_pools, struct error *err) must_check;

// As the address of the pool that may be given out: is it in a prefix, and not one to be avoided?
bool pool_contains_v4(const struct pool *pool, uint32_t address);

#endif
