// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"

#include "base/random.h"

int str_compare(struct str a, struct str b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) {
        return order;
    }
    return a.size < b.size ? -1 : a.size > b.size ? 1 : 0;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool str_equal_nocase(struct str a, struct str b)
{
    if (a.size != b.size) {
        return false;
    }
    for (size_t i = 0; i < a.size; i++) {
        if (lower(a.data[i]) != lower(b.data[i])) {
            return false;
        }
    }
    return true;
}

bool str_starts_with(struct str s, struct str prefix)
{
    return s.size >= prefix.size && str_equal(str_make(s.data, prefix.size), prefix);
}

bool str_ends_with(struct str s, struct str suffix)
{
    return s.size >= suffix.size &&
           str_equal(str_make(s.data + (s.size - suffix.size), suffix.size), suffix);
}

struct str str_sub(struct str s, size_t from, size_t size)
{
    if (from >= s.size) {
        return STR_EMPTY;
    }
    size_t left = s.size - from;
    return str_make(s.data + from, size < left ? size : left);
}

ptrdiff_t str_find_char(struct str s, char c)
{
    const char *found = s.size == 0 ? NULL : memchr(s.data, c, s.size);
    return found == NULL ? -1 : found - s.data;
}

ptrdiff_t str_find_last_char(struct str s, char c)
{
    const char *found = s.size == 0 ? NULL : memrchr(s.data, c, s.size);
    return found == NULL ? -1 : found - s.data;
}

ptrdiff_t str_find(struct str s, struct str needle)
{
    if (needle.size == 0) {
        return 0;
    }
    const char *found = s.size == 0 ? NULL : memmem(s.data, s.size, needle.data, needle.size);
    return found == NULL ? -1 : found - s.data;
}

struct str str_split(struct str *rest, char separator)
{
    ptrdiff_t at = str_find_char(*rest, separator);
    if (at < 0) {
        struct str all = *rest;
        *rest = (struct str){0};
        return all;
    }
    struct str part = str_make(rest->data, (size_t)at);
    *rest = str_make(rest->data + at + 1, rest->size - (size_t)at - 1);
    return part;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
    while (s.size > 0 && is_blank(s.data[0])) {
        s.data++;
        s.size--;
    }
    while (s.size > 0 && is_blank(s.data[s.size - 1])) {
        s.size--;
    }
    return s;
}

bool str_to_u64(struct str s, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (s.size == 0) {
        return false;
    }
    for (size_t i = 0; i < s.size; i++) {
        if (s.data[i] < '0' || s.data[i] > '9' ||
            __builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.data[i] - '0'), &value)) {
            return false;
        }
    }
    *ret_value = value;
    return true;
}

bool str_to_i64(struct str s, int64_t *ret_value)
{
    bool negative = s.size > 0 && s.data[0] == '-';
    uint64_t magnitude = 0;
    if (!str_to_u64(negative ? str_from(s, 1) : s, &magnitude)) {
        return false;
    }
    uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    if (magnitude > limit) {
        return false;
    }
    *ret_value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

// wyhash-style mixing of 8-byte words: short keys dominate, so set-up must cost nothing.
static uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t str_hash(struct str s)
{
    uint64_t state = random_process_seed() ^ (s.size * 0x9e3779b97f4a7c15u);
    const char *at = s.data;
    size_t left = s.size;
    for (; left >= 8; left -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        state = mix(state ^ word, 0xa0761d6478bd642fu);
    }
    if (left > 0) {
        uint64_t word = 0;
        memcpy(&word, at, left);
        state = mix(state ^ word, 0xe7037ed1a0b428dbu);
    }
    return mix(state, 0x8ebc6af09c88c6e3u);
}
