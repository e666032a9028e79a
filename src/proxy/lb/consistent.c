// SPDX-License-Identifier: Apache-2.0
#include "proxy/lb/consistent.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/memory.h"

#define EMPTY UINT32_MAX

void consistent_done(struct consistent *table)
{
    mem_free(table->ring);
    mem_free(table->maglev);
    *table = (struct consistent){0};
}

// --- ring ----------------------------------------------------------------------------------------------

static int compare_entries(const void *a, const void *b)
{
    const struct ring_entry *left = a;
    const struct ring_entry *right = b;
    return left->hash < right->hash ? -1 : left->hash > right->hash ? 1 : left->host < right->host ? -1 : left->host > right->host;
}

// A scale that gives the lightest host a whole number of entries, within the limits.
static double ring_scale(const struct consistent_host *hosts, size_t count, uint64_t size_min, uint64_t size_max)
{
    double lightest = hosts[0].weight;
    for (size_t i = 1; i < count; i++) {
        lightest = hosts[i].weight < lightest ? hosts[i].weight : lightest;
    }
    double scale = ceil(lightest * (double)size_min) / lightest;
    return scale < (double)size_max ? scale : (double)size_max;
}

void consistent_make_ring(struct consistent *table, const struct consistent_host *hosts, size_t count, uint64_t size_min, uint64_t size_max)
{
    if (count == 0) {
        return;
    }
    double scale = ring_scale(hosts, count, size_min, size_max);
    size_t capacity = (size_t)ceil(scale) + count + 1; // rounding of the sums never adds more than one each
    table->ring = mem_alloc(sizeof(*table->ring) * capacity);
    double target = 0;
    double current = 0;
    struct buf text = {0};
    for (size_t i = 0; i < count; i++) {
        target += scale * hosts[i].weight;
        for (uint64_t k = 0; current < target && table->size < capacity; k++) {
            buf_reset(&text);
            buf_append_str(&text, hosts[i].key);
            buf_append_char(&text, '_');
            buf_append_u64(&text, k);
            table->ring[table->size++] = (struct ring_entry){XXH64(text.data, text.size, 0), hosts[i].host};
            current++;
        }
    }
    buf_done(&text);
    qsort(table->ring, table->size, sizeof(*table->ring), compare_entries);
}

static uint32_t find_on_ring(const struct consistent *table, uint64_t hash, uint32_t attempt)
{
    size_t low = 0;
    size_t high = table->size;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (table->ring[middle].hash < hash) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return table->ring[((low == table->size ? 0 : low) + attempt) % table->size].host;
}

// --- Maglev --------------------------------------------------------------------------------------------

struct maglev_builder {
    const struct consistent_host *host;
    uint64_t offset;
    uint64_t skip;
    uint64_t next;
    double target;
};

static int compare_builders(const void *a, const void *b)
{
    struct str left = ((const struct maglev_builder *)a)->host->key;
    struct str right = ((const struct maglev_builder *)b)->host->key;
    int order = memcmp(left.data, right.data, left.size < right.size ? left.size : right.size);
    return order != 0 ? order : left.size < right.size ? -1 : left.size > right.size;
}

static double heaviest(const struct consistent_host *hosts, size_t count)
{
    double weight = 0;
    for (size_t i = 0; i < count; i++) {
        weight = hosts[i].weight > weight ? hosts[i].weight : weight;
    }
    return weight;
}

// One turn of a host: the next free slot of its permutation becomes its own.
static void take_slot(struct consistent *table, struct maglev_builder *builder)
{
    uint64_t slot = 0;
    do {
        slot = (builder->offset + builder->skip * builder->next++) % table->size;
    } while (table->maglev[slot] != EMPTY);
    table->maglev[slot] = builder->host->host;
}

bool maglev_size_is_valid(uint64_t size)
{
    if (size < 2 || size > MAGLEV_SIZE_MAX) {
        return false;
    }
    for (uint64_t divisor = 2; divisor * divisor <= size; divisor++) {
        if (size % divisor == 0) {
            return false;
        }
    }
    return true;
}

void consistent_make_maglev(struct consistent *table, const struct consistent_host *hosts, size_t count, uint64_t size)
{
    if (count == 0) {
        return;
    }
    struct maglev_builder *builders = mem_zalloc(sizeof(*builders) * count);
    double weight_max = heaviest(hosts, count);
    for (size_t i = 0; i < count; i++) {
        builders[i].host = &hosts[i];
        builders[i].offset = XXH64(hosts[i].key.data, hosts[i].key.size, 0) % size;
        builders[i].skip = XXH64(hosts[i].key.data, hosts[i].key.size, 1) % (size - 1) + 1;
    }
    qsort(builders, count, sizeof(*builders), compare_builders);
    table->size = (size_t)size;
    table->maglev = mem_alloc(sizeof(*table->maglev) * table->size);
    memset(table->maglev, 0xff, sizeof(*table->maglev) * table->size);
    size_t filled = 0;
    for (uint64_t turn = 1; filled < table->size; turn++) {
        for (size_t i = 0; i < count && filled < table->size; i++) {
            if ((double)turn * builders[i].host->weight < builders[i].target) {
                continue; // lighter hosts sit out some turns
            }
            builders[i].target += weight_max;
            take_slot(table, &builders[i]);
            filled++;
        }
    }
    mem_free(builders);
}

uint32_t consistent_find(const struct consistent *table, uint64_t hash, uint32_t attempt)
{
    if (table->size == 0) {
        return EMPTY;
    }
    if (table->ring != NULL) {
        return find_on_ring(table, hash, attempt);
    }
    if (attempt > 0) {
        hash ^= ~(uint64_t)0 - attempt + 1;
    }
    return table->maglev[hash % table->size];
}
