// SPDX-License-Identifier: Apache-2.0
//
// heap: intrusive binary min-heap ordered by a 64-bit key (deadlines, schedules). A node knows its
// place, so removal and re-keying are O(log n). Equal keys come out in no particular order.
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    uint64_t key;
    size_t place; // index + 1; 0 = in no heap
};

struct heap {
    struct heap_node **nodes;
    size_t count;
    size_t capacity;
};

void heap_done(struct heap *heap); // nodes stay with their owners
void heap_insert(struct heap *heap, struct heap_node *node, uint64_t key); // moves it if already in
void heap_remove(struct heap *heap, struct heap_node *node); // no-op when it is in no heap
struct heap_node *heap_first(const struct heap *heap); // smallest key, or NULL

static inline bool heap_has(const struct heap_node *node)
{
    return node->place != 0;
}

#endif
