// SPDX-License-Identifier: Apache-2.0
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void assert_fail(const char *condition, const char *file, int line)
{
    (void)fprintf(stderr, "bug: %s:%d: assertion failed: %s\n", file, line, condition);
    abort();
}
