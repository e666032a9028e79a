// SPDX-License-Identifier: Apache-2.0
#include "base/vec.h"

#include "base/assert.h"

void *vec_grow(void *items, size_t count, size_t *capacity, size_t item_size)
{
    size_t wanted = count < 4 ? 4 : count * 2;
    size_t bytes;
    ASSERT(!__builtin_mul_overflow(wanted, item_size, &bytes));
    *capacity = wanted;
    return mem_realloc(items, bytes);
}
