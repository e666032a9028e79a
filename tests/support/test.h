// SPDX-License-Identifier: Apache-2.0
//
// test: cmocka with its includes in the order it needs, and views in failure messages.
#ifndef TESTS_SUPPORT_TEST_H
#define TESTS_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"

// Fails with both texts when they differ.
#define assert_str(got, want)                                                                      \
    do {                                                                                           \
        struct str got_ = (got);                                                                   \
        struct str want_ = str_of(want);                                                           \
        if (!str_equal(got_, want_)) {                                                             \
            fail_msg("%s: got \"%.*s\", want \"%.*s\"", #got, STR_ARG(got_), STR_ARG(want_));      \
        }                                                                                          \
    } while (0)

// In table-driven tests: names the row.
#define check_row(row_name, condition, ...)                       \
    do {                                                          \
        if (!(condition)) {                                       \
            print_error("row %s: ", (row_name));                  \
            fail_msg(__VA_ARGS__);                                \
        }                                                         \
    } while (0)

#endif
