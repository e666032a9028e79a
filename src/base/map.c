// SPDX-License-Identifier: Apache-2.0
#include "base/map.h"

#include "base/assert.h"
#include "base/memory.h"

#define MAP_SLOTS_MIN 8u

void map_reset(struct map *map)
{
    for (size_t i = 0; i < map->entry_count; i++) {
        mem_free(map->entries[i].key);
    }
    mem_free(map->entries);
    mem_free(map->slots);
    *map = (struct map){0};
}

void map_done(struct map *map)
{
    map_reset(map);
}

static bool entry_matches(const struct map_entry *entry, uint64_t hash, struct str key)
{
    return entry->key != NULL && entry->hash == hash &&
           str_equal(str_make(entry->key, entry->key_size), key);
}

// Removed entries keep their slot until the next rebuild, so a probe ends at the first empty slot.
static struct map_entry *find(const struct map *map, uint64_t hash, struct str key)
{
    if (map->slot_count == 0) {
        return NULL;
    }
    size_t mask = map->slot_count - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        uint32_t slot = map->slots[i];
        if (slot == 0) {
            return NULL;
        }
        struct map_entry *entry = &map->entries[slot - 1];
        if (entry_matches(entry, hash, key)) {
            return entry;
        }
    }
}

void *map_get(const struct map *map, struct str key)
{
    const struct map_entry *entry = find(map, str_hash(key), key);
    return entry == NULL ? NULL : entry->value;
}

bool map_has(const struct map *map, struct str key)
{
    return find(map, str_hash(key), key) != NULL;
}

static void place(struct map *map, size_t entry_index)
{
    size_t mask = map->slot_count - 1;
    size_t i = map->entries[entry_index].hash & mask;
    while (map->slots[i] != 0) {
        i = (i + 1) & mask;
    }
    map->slots[i] = (uint32_t)entry_index + 1;
}

static void rebuild(struct map *map)
{
    size_t slot_count = MAP_SLOTS_MIN;
    while (slot_count < (map->count + 1) * 2) {
        slot_count *= 2;
    }
    ASSERT(slot_count <= UINT32_MAX / 2);
    size_t kept = 0;
    for (size_t i = 0; i < map->entry_count; i++) {
        if (map->entries[i].key != NULL) {
            map->entries[kept++] = map->entries[i];
        }
    }
    map->entry_count = kept;
    map->entries = mem_realloc(map->entries, slot_count / 2 * sizeof(*map->entries));
    mem_free(map->slots);
    map->slots = mem_zalloc(slot_count * sizeof(*map->slots));
    map->slot_count = slot_count;
    for (size_t i = 0; i < kept; i++) {
        place(map, i);
    }
}

void *map_set(struct map *map, struct str key, void *value)
{
    uint64_t hash = str_hash(key);
    struct map_entry *entry = find(map, hash, key);
    if (entry != NULL) {
        void *old = entry->value;
        entry->value = value;
        return old;
    }
    if (map->entry_count >= map->slot_count / 2) {
        rebuild(map);
    }
    char *copy = mem_alloc(key.size + 1);
    if (key.size > 0) {
        memcpy(copy, key.data, key.size);
    }
    copy[key.size] = '\0';
    map->entries[map->entry_count] =
        (struct map_entry){.hash = hash, .key = copy, .key_size = key.size, .value = value};
    place(map, map->entry_count);
    map->entry_count++;
    map->count++;
    return NULL;
}

void *map_remove(struct map *map, struct str key)
{
    struct map_entry *entry = find(map, str_hash(key), key);
    if (entry == NULL) {
        return NULL;
    }
    void *value = entry->value;
    mem_free(entry->key);
    entry->key = NULL;
    entry->value = NULL;
    map->count--;
    return value;
}

bool map_each(const struct map *map, size_t *at, struct str *ret_key, void **ret_value)
{
    while (*at < map->entry_count) {
        const struct map_entry *entry = &map->entries[(*at)++];
        if (entry->key == NULL) {
            continue;
        }
        if (ret_key != NULL) {
            *ret_key = str_make(entry->key, entry->key_size);
        }
        if (ret_value != NULL) {
            *ret_value = entry->value;
        }
        return true;
    }
    return false;
}
