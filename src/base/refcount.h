// SPDX-License-Identifier: Apache-2.0
//
// refcount: how objects are shared that do not change after publication (snapshots, TLS contexts). Any
// thread may take and drop references; whoever drops the last one frees the object and sees everything
// that others did with it before.
//
//   struct foo *foo_ref(struct foo *foo) { refcount_ref(&foo->references); return foo; }
//   void foo_unref(struct foo *foo)
//   {
//       if (foo != NULL && refcount_unref(&foo->references)) { … free … }
//   }
#ifndef BASE_REFCOUNT_H
#define BASE_REFCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"

#define REFCOUNT_MAX (UINT32_MAX / 2) // beyond: references leak; stop before the count wraps

struct refcount {
    uint32_t value; // atomic
};

static inline void refcount_init(struct refcount *count) // with one reference, the maker's
{
    __atomic_store_n(&count->value, 1, __ATOMIC_RELAXED);
}

static inline void refcount_ref(struct refcount *count)
{
    uint32_t before = __atomic_fetch_add(&count->value, 1, __ATOMIC_RELAXED);
    ASSERT(before > 0 && before < REFCOUNT_MAX); // 0: it is being freed, and the caller holds nothing
}

// True: that was the last one.
static inline bool refcount_unref(struct refcount *count)
{
    uint32_t before = __atomic_fetch_sub(&count->value, 1, __ATOMIC_ACQ_REL);
    ASSERT(before > 0);
    return before == 1;
}

// For tests, dumps, and "am I the only holder".
static inline uint32_t refcount_get(const struct refcount *count)
{
    return __atomic_load_n(&count->value, __ATOMIC_ACQUIRE);
}

#endif
