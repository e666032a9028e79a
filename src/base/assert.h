// SPDX-License-Identifier: Apache-2.0
//
// Assertions: what only a bug of ours can break. Never bytes from outside: those are checked,
// counted and answered.
//
//   ASSERT(x)      always on; prints place and condition, aborts.
//   ASSERT_HOT(x)  on in debug builds only (costly or on the request path).
//   NEVER(x)       "impossible, yet survivable": aborts in debug builds, is just x in release ones:
//                  if (NEVER(stream == NULL)) { return; }
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#include <stdbool.h>

_Noreturn void assert_fail(const char *condition, const char *file, int line);

#define ASSERT(condition)                                   \
    do {                                                    \
        if (__builtin_expect(!(condition), 0)) {            \
            assert_fail(#condition, __FILE__, __LINE__);    \
        }                                                   \
    } while (0)

#ifdef ISTHMESH_DEBUG
#define ASSERT_HOT(condition) ASSERT(condition)
#define NEVER(condition) \
    (__builtin_expect(!!(condition), 0) ? (assert_fail("NEVER(" #condition ")", __FILE__, __LINE__), true) : false)
#else
#define ASSERT_HOT(condition) ((void)sizeof(condition))
#define NEVER(condition) __builtin_expect(!!(condition), 0)
#endif

#endif
