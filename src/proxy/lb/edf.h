// SPDX-License-Identifier: Apache-2.0
//
// edf: earliest-deadline-first schedule, the core of weighted round robin. An entry of weight w comes up
// every 1/w; entries of equal deadline come in the order they were added. Weights are read again
// whenever an entry is put back, so they may change while running.
#ifndef PROXY_LB_EDF_H
#define PROXY_LB_EDF_H

#include <stddef.h>
#include <stdint.h>

struct edf_entry {
    double deadline;
    uint64_t order;
    uint32_t value;
};

struct edf {
    struct edf_entry *entries; // binary heap
    size_t count;
    size_t capacity;
    double now;
    uint64_t next_order;
};

typedef double edf_weight_fn(void *owner, uint32_t value);

void edf_done(struct edf *edf);
void edf_add(struct edf *edf, uint32_t value, double weight); // weight <= 0: left out
// Takes the next value and puts it back with its present weight. The schedule must not be empty.
uint32_t edf_pick(struct edf *edf, edf_weight_fn *weight, void *owner);

#endif
