// SPDX-License-Identifier: Apache-2.0
#include "lab/node/quantity.h"

#include "base/memory.h"

static const struct {
    const char *suffix;
    uint64_t factor; // of thousandths
} suffixes[] = {
    {"m", 1},
    {"", 1000},
    {"k", 1000ull * 1000},
    {"M", 1000ull * 1000 * 1000},
    {"G", 1000ull * 1000 * 1000 * 1000},
    {"T", 1000ull * 1000 * 1000 * 1000 * 1000},
    {"Ki", 1000ull << 10},
    {"Mi", 1000ull << 20},
    {"Gi", 1000ull << 30},
    {"Ti", 1000ull << 40},
    {"e3", 1000ull * 1000},
    {"e6", 1000ull * 1000 * 1000},
    {"e9", 1000ull * 1000 * 1000 * 1000},
};

static bool find_factor(struct str suffix, uint64_t *ret_factor)
{
    for (size_t i = 0; i < array_count(suffixes); i++) {
        if (str_equal_c(suffix, suffixes[i].suffix)) {
            *ret_factor = suffixes[i].factor;
            return true;
        }
    }
    return false;
}

bool quantity_parse(struct str text, uint64_t *ret_thousandths)
{
    uint64_t digits = 0;
    uint64_t divisor = 1;
    uint64_t factor = 0;
    uint64_t product = 0;
    bool has_point = false;
    size_t digit_count = 0;
    size_t at = 0;
    for (; at < text.size && digit_count < 18; at++) {
        char c = text.data[at];
        if (c == '.' && !has_point) {
            has_point = true;
        } else if (c >= '0' && c <= '9') {
            digits = digits * 10 + (uint64_t)(c - '0');
            divisor *= has_point ? 10 : 1;
            digit_count++;
        } else {
            break;
        }
    }
    if (digit_count == 0 || !find_factor(str_from(text, at), &factor)) {
        return false;
    }
    if (__builtin_mul_overflow(digits, factor, &product)) {
        return false;
    }
    *ret_thousandths = (product + divisor - 1) / divisor; // rounded up
    return true;
}
