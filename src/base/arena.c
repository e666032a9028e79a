// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

#define ARENA_ALIGN 16u
#define ARENA_CHUNK_MIN 1024u
#define ARENA_CHUNK_MAX (64u * 1024)

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; // of data
    _Alignas(ARENA_ALIGN) char data[];
};

void arena_init(struct arena *arena)
{
    *arena = (struct arena){0};
}

static void free_chunks(struct arena_chunk *chunk)
{
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        mem_free(chunk);
        chunk = next;
    }
}

void arena_done(struct arena *arena)
{
    free_chunks(arena->chunks);
    arena_init(arena);
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *keep = arena->chunks;
    if (keep == NULL) {
        return;
    }
    free_chunks(keep->next);
    keep->next = NULL;
    arena->at = keep->data;
    arena->left = keep->size;
    arena->total = keep->size;
}

static struct arena_chunk *chunk_new(struct arena *arena, size_t size)
{
    struct arena_chunk *chunk = mem_alloc(sizeof(*chunk) + size);
    chunk->size = size;
    arena->total += size;
    return chunk;
}

static void *alloc_slow(struct arena *arena, size_t size)
{
    // Chunks double with what the arena already holds, up to a bound.
    size_t usual = arena->total < ARENA_CHUNK_MIN   ? ARENA_CHUNK_MIN
                   : arena->total > ARENA_CHUNK_MAX ? ARENA_CHUNK_MAX
                                                    : arena->total;
    if (size > usual / 4 && arena->chunks != NULL) {
        // A chunk of its own behind the current one, whose rest stays in use.
        struct arena_chunk *big = chunk_new(arena, size);
        big->next = arena->chunks->next;
        arena->chunks->next = big;
        return big->data;
    }
    struct arena_chunk *chunk = chunk_new(arena, size > usual ? size : usual);
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->at = chunk->data + size;
    arena->left = chunk->size - size;
    return chunk->data;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    ASSERT(size <= SIZE_MAX / 2);
    size = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (size > arena->left) {
        return alloc_slow(arena, size);
    }
    if (arena->at == NULL) {
        return alloc_slow(arena, size); // zero bytes from an arena without a chunk
    }
    void *pointer = arena->at;
    arena->at += size;
    arena->left -= size;
    return pointer;
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    return memset(arena_alloc(arena, size), 0, size);
}

char *arena_strdup(struct arena *arena, struct str s)
{
    char *copy = arena_alloc(arena, s.size + 1);
    if (s.size > 0) {
        memcpy(copy, s.data, s.size);
    }
    copy[s.size] = '\0';
    return copy;
}

struct str arena_str(struct arena *arena, struct str s)
{
    return str_make(arena_strdup(arena, s), s.size);
}

struct str arena_vformat(struct arena *arena, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    ASSERT(size >= 0);
    char *text = arena_alloc(arena, (size_t)size + 1);
    (void)vsnprintf(text, (size_t)size + 1, format, again);
    va_end(again);
    return str_make(text, (size_t)size);
}

struct str arena_format(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct str text = arena_vformat(arena, format, args);
    va_end(args);
    return text;
}
