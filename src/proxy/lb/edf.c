// SPDX-License-Identifier: Apache-2.0
#include "proxy/lb/edf.h"

#include <stdbool.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/vec.h"

#define WEIGHT_MIN 0.0000001 // keeps deadlines finite whatever the bias does

void edf_done(struct edf *edf)
{
    mem_free(edf->entries);
    *edf = (struct edf){0};
}

static bool is_before(const struct edf_entry *a, const struct edf_entry *b)
{
    return a->deadline < b->deadline || (a->deadline <= b->deadline && a->order < b->order);
}

static void sift_up(struct edf *edf, size_t at)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!is_before(&edf->entries[at], &edf->entries[parent])) {
            return;
        }
        struct edf_entry swap = edf->entries[at];
        edf->entries[at] = edf->entries[parent];
        edf->entries[parent] = swap;
        at = parent;
    }
}

static void sift_down(struct edf *edf, size_t at)
{
    for (;;) {
        size_t first = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < edf->count; child++) {
            if (is_before(&edf->entries[child], &edf->entries[first])) {
                first = child;
            }
        }
        if (first == at) {
            return;
        }
        struct edf_entry swap = edf->entries[at];
        edf->entries[at] = edf->entries[first];
        edf->entries[first] = swap;
        at = first;
    }
}

void edf_add(struct edf *edf, uint32_t value, double weight)
{
    if (weight <= 0) {
        return;
    }
    if (edf->count == edf->capacity) {
        edf->entries = vec_grow(edf->entries, edf->count, &edf->capacity, sizeof(*edf->entries));
    }
    edf->entries[edf->count] = (struct edf_entry){edf->now + 1 / weight, edf->next_order++, value};
    sift_up(edf, edf->count++);
}

uint32_t edf_pick(struct edf *edf, edf_weight_fn *weight, void *owner)
{
    ASSERT(edf->count > 0);
    struct edf_entry *top = &edf->entries[0];
    uint32_t value = top->value;
    double present = weight(owner, value);
    edf->now = top->deadline;
    top->deadline = edf->now + 1 / (present > WEIGHT_MIN ? present : WEIGHT_MIN);
    top->order = edf->next_order++;
    sift_down(edf, 0);
    return value;
}
