// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void out_of_memory(size_t size)
{
    (void)fprintf(stderr, "out of memory: cannot allocate %zu bytes\n", size);
    abort();
}

void *mem_alloc(size_t size)
{
    void *pointer = malloc(size == 0 ? 1 : size);
    if (pointer == NULL) {
        out_of_memory(size);
    }
    return pointer;
}

void *mem_zalloc(size_t size)
{
    void *pointer = calloc(1, size == 0 ? 1 : size);
    if (pointer == NULL) {
        out_of_memory(size);
    }
    return pointer;
}

void *mem_realloc(void *pointer, size_t size)
{
    void *moved = realloc(pointer, size == 0 ? 1 : size);
    if (moved == NULL) {
        out_of_memory(size);
    }
    return moved;
}

void mem_free(void *pointer)
{
    free(pointer);
}

char *mem_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(mem_alloc(size), text, size);
}

void mem_wipe(void *pointer, size_t size)
{
    explicit_bzero(pointer, size);
}
