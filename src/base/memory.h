// SPDX-License-Identifier: Apache-2.0
//
// The heap. Allocation failure aborts: input is bounded instead, so that error paths stay about the
// outside world. This is the only place that calls malloc and its kin.
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>

#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))
#define array_count(array) (sizeof(array) / sizeof((array)[0]))

void *mem_alloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *mem_zalloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull)); // zeroed
void *mem_realloc(void *pointer, size_t size) __attribute__((alloc_size(2)));
void mem_free(void *pointer); // NULL is fine
char *mem_strdup(const char *text);

// Overwrites in a way the compiler keeps: for keys and tokens.
void mem_wipe(void *pointer, size_t size);

// Zeroed object of a type: struct foo *foo = mem_new(struct foo);
#define mem_new(type) ((type *)mem_zalloc(sizeof(type)))

#endif
