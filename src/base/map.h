// SPDX-License-Identifier: Apache-2.0
//
// map: hash map from str to pointer. Keys are copied; values are borrowed (their owner frees them,
// map_each() helps). Open addressing with linear probing over insertion-ordered entries, so iteration
// follows insertion order except where entries were removed. Not thread-safe.
//
//   struct map map = {0};
//   map_set(&map, STR("key"), value);
//   for (size_t at = 0; map_each(&map, &at, &key, &value);) { … }   // removal of the visited entry is fine
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct map_entry {
    uint64_t hash;
    char *key; // NULL: removed
    size_t key_size;
    void *value;
};

struct map {
    struct map_entry *entries;
    uint32_t *slots; // entry index + 1; 0 = empty
    size_t entry_count; // used entries, removed ones included
    size_t slot_count;  // power of two, or 0
    size_t count;
};

void map_done(struct map *map); // frees keys and tables, not values
void map_reset(struct map *map);

void *map_get(const struct map *map, struct str key); // NULL: not there
bool map_has(const struct map *map, struct str key);
// Returns the value it replaced, or NULL.
void *map_set(struct map *map, struct str key, void *value);
// Returns the value it removed, or NULL.
void *map_remove(struct map *map, struct str key);

static inline size_t map_count(const struct map *map)
{
    return map->count;
}

// Steps over all entries; *at starts at 0. Either output may be NULL.
bool map_each(const struct map *map, size_t *at, struct str *ret_key, void **ret_value);

#endif
