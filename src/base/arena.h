// SPDX-License-Identifier: Apache-2.0
//
// Arena: many small allocations, one free. One arena per request, per connection or per
// configuration generation; what lives longer than it never points into it. Not thread-safe.
//
// Memory is 16-byte aligned and not zeroed unless the name says so. The first chunk is allocated at
// first use, so an arena that is never used costs its struct only.
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "base/error.h"
#include "base/str.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; // newest first
    char *at;
    size_t left;
    size_t total; // bytes of all chunks
};

void arena_init(struct arena *arena); // same as zero-initialization
void arena_done(struct arena *arena);
void arena_reset(struct arena *arena); // frees all but one chunk, which it keeps for reuse

void *arena_alloc(struct arena *arena, size_t size) __attribute__((alloc_size(2), returns_nonnull));
void *arena_zalloc(struct arena *arena, size_t size) __attribute__((alloc_size(2), returns_nonnull));
#define arena_new(arena, type) ((type *)arena_zalloc((arena), sizeof(type)))
#define arena_array(arena, type, count) ((type *)arena_zalloc((arena), sizeof(type) * (size_t)(count)))

// Copies; the copy is NUL-terminated behind its size, so that .data can go to system calls.
struct str arena_str(struct arena *arena, struct str s);
char *arena_strdup(struct arena *arena, struct str s);
struct str arena_format(struct arena *arena, const char *format, ...) printf_like(2, 3);
struct str arena_vformat(struct arena *arena, const char *format, va_list args) printf_like(2, 0);

#endif
