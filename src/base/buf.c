// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"

#define BUF_CAPACITY_MIN 64u

void buf_init(struct buf *buf)
{
    *buf = (struct buf){0};
}

void buf_done(struct buf *buf)
{
    mem_free(buf->data);
    buf_init(buf);
}

void buf_reset(struct buf *buf)
{
    buf->start = 0;
    buf->size = 0;
}

void buf_release(struct buf *buf)
{
    if (buf->size == 0) {
        buf_done(buf);
    }
}

void buf_swap(struct buf *a, struct buf *b)
{
    struct buf other = *a;
    *a = *b;
    *b = other;
}

char *buf_reserve(struct buf *buf, size_t size)
{
    size_t end = buf->start + buf->size;
    if (buf->data != NULL && buf->capacity - end >= size) {
        return buf->data + end;
    }
    // Moving to the front is enough when at least half of the storage is dead.
    if (buf->data != NULL && buf->capacity - buf->size >= size && buf->start >= buf->capacity / 2) {
        memmove(buf->data, buf->data + buf->start, buf->size);
        buf->start = 0;
        return buf->data + buf->size;
    }
    size_t capacity = buf->capacity < BUF_CAPACITY_MIN ? BUF_CAPACITY_MIN : buf->capacity;
    while (capacity - buf->size < size) {
        ASSERT(capacity <= SIZE_MAX / 4);
        capacity *= 2;
    }
    if (buf->start > 0) {
        memmove(buf->data, buf->data + buf->start, buf->size);
        buf->start = 0;
    }
    buf->data = mem_realloc(buf->data, capacity);
    buf->capacity = capacity;
    return buf->data + buf->size;
}

void buf_commit(struct buf *buf, size_t size)
{
    buf->size += size;
    ASSERT(buf->start + buf->size <= buf->capacity);
}

void buf_append(struct buf *buf, const void *bytes, size_t size)
{
    if (size == 0) {
        return;
    }
    memcpy(buf_reserve(buf, size), bytes, size);
    buf->size += size;
}

void buf_append_str(struct buf *buf, struct str s)
{
    buf_append(buf, s.data, s.size);
}

void buf_append_char(struct buf *buf, char c)
{
    *buf_reserve(buf, 1) = c;
    buf->size++;
}

void buf_append_u64(struct buf *buf, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    buf_append(buf, digits + at, sizeof(digits) - at);
}

void buf_vprintf(struct buf *buf, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    ASSERT(size >= 0);
    char *at = buf_reserve(buf, (size_t)size + 1);
    (void)vsnprintf(at, (size_t)size + 1, format, again);
    va_end(again);
    buf->size += (size_t)size;
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    buf_vprintf(buf, format, args);
    va_end(args);
}

void buf_consume(struct buf *buf, size_t size)
{
    ASSERT(size <= buf->size);
    buf->start += size;
    buf->size -= size;
    if (buf->size == 0) {
        buf->start = 0;
    }
}

void buf_truncate(struct buf *buf, size_t size)
{
    ASSERT(size <= buf->size);
    buf->size = size;
}

char *buf_detach(struct buf *buf, size_t *ret_size)
{
    if (buf->start > 0) {
        memmove(buf->data, buf->data + buf->start, buf->size);
        buf->start = 0;
    }
    *buf_reserve(buf, 1) = '\0';
    if (ret_size != NULL) {
        *ret_size = buf->size;
    }
    char *data = buf->data;
    buf_init(buf);
    return data;
}
