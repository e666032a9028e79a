// SPDX-License-Identifier: Apache-2.0
//
// str: a borrowed view of bytes, pointer plus length, passed by value. Not NUL-terminated unless a
// comment says so; may contain any byte. The empty view has size 0 and any pointer, NULL included.
// Whoever made the bytes owns them: a str never frees.
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *data;
    size_t size;
};

#define STR(literal) ((struct str){.data = "" literal, .size = sizeof(literal) - 1})
#define STR_EMPTY ((struct str){.data = "", .size = 0})
// printf("%.*s", STR_ARG(s)); views longer than INT_MAX do not occur: input is bounded.
#define STR_ARG(s) (int)(s).size, (s).data

static inline struct str str_make(const char *data, size_t size)
{
    return (struct str){.data = data, .size = size};
}

static inline struct str str_of(const char *text) // NULL gives the empty view
{
    return text == NULL ? STR_EMPTY : str_make(text, strlen(text));
}

static inline bool str_is_empty(struct str s)
{
    return s.size == 0;
}

static inline bool str_equal(struct str a, struct str b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool str_equal_c(struct str a, const char *b)
{
    return str_equal(a, str_of(b));
}

int str_compare(struct str a, struct str b); // as strcmp, bytes unsigned
bool str_equal_nocase(struct str a, struct str b); // ASCII only
bool str_starts_with(struct str s, struct str prefix);
bool str_ends_with(struct str s, struct str suffix);

// [from, from+size) cut to what exists.
struct str str_sub(struct str s, size_t from, size_t size);
static inline struct str str_from(struct str s, size_t from)
{
    return str_sub(s, from, (size_t)-1);
}

// Index of the first match, or -1.
ptrdiff_t str_find_char(struct str s, char c);
ptrdiff_t str_find_last_char(struct str s, char c);
ptrdiff_t str_find(struct str s, struct str needle);

// Cuts at the first separator: returns what stood before it and advances *rest behind it. When there
// is none, returns all of *rest and leaves it empty with data NULL: loop while rest.data != NULL.
struct str str_split(struct str *rest, char separator);

struct str str_trim(struct str s); // ASCII blanks, tabs, CR, LF at both ends

// Whole view as a decimal number; false (ret untouched) on anything else or overflow.
bool str_to_u64(struct str s, uint64_t *ret_value);
bool str_to_i64(struct str s, int64_t *ret_value);

uint64_t str_hash(struct str s); // seeded per process; not stable between runs

#endif
