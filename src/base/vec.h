// SPDX-License-Identifier: Apache-2.0
//
// VEC(type): growable array. A plain struct {items, count, capacity}; zero-initialized is empty.
//
//   VEC(struct str) names = {0};
//   vec_push(&names, STR("a"));
//   for (size_t i = 0; i < names.count; i++) { use(names.items[i]); }
//   vec_done(&names);
//
// Pointers to items are valid until the next push. Elements are not destroyed: the owner does that.
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include <stddef.h>

#include "base/memory.h"

#define VEC(type)        \
    struct {             \
        type *items;     \
        size_t count;    \
        size_t capacity; \
    }

// Storage for one more item than count; used by the macros below.
void *vec_grow(void *items, size_t count, size_t *capacity, size_t item_size);

#define vec_push(vec, ...)                                                                       \
    do {                                                                                         \
        if ((vec)->count == (vec)->capacity) {                                                   \
            (vec)->items = vec_grow((vec)->items, (vec)->count, &(vec)->capacity,                \
                                    sizeof(*(vec)->items));                                      \
        }                                                                                        \
        (vec)->items[(vec)->count++] = (__VA_ARGS__);                                            \
    } while (0)

// Removes item i; the last one takes its place (order is lost).
#define vec_remove_swap(vec, i) ((vec)->items[(i)] = (vec)->items[--(vec)->count])

#define vec_reset(vec) ((void)((vec)->count = 0))

#define vec_done(vec)              \
    do {                           \
        mem_free((vec)->items);    \
        (vec)->items = NULL;       \
        (vec)->count = 0;          \
        (vec)->capacity = 0;       \
    } while (0)

#endif
