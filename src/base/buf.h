// SPDX-License-Identifier: Apache-2.0
//
// buf: growable bytes with a read end and a write end, for messages being built and streams being
// parsed. Bytes in [start, start+size) are content. Zero-initialized is empty and holds no memory.
// Views from buf_view() are borrowed: valid until the next change.
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

struct buf {
    char *data; // storage; NULL while empty and fresh
    size_t start;
    size_t size;
    size_t capacity;
};

void buf_init(struct buf *buf); // same as zero-initialization
void buf_done(struct buf *buf); // frees, leaves it empty
void buf_reset(struct buf *buf); // empty, keeps capacity
void buf_release(struct buf *buf); // when empty: gives its memory back (idle connections)
void buf_swap(struct buf *a, struct buf *b);

static inline struct str buf_view(const struct buf *buf)
{
    return str_make(buf->data == NULL ? "" : buf->data + buf->start, buf->size);
}

// Room for at least size more bytes behind the content; returns where to write. Follow with
// buf_commit() of what was written.
char *buf_reserve(struct buf *buf, size_t size);
void buf_commit(struct buf *buf, size_t size);

void buf_append(struct buf *buf, const void *bytes, size_t size);
void buf_append_str(struct buf *buf, struct str s);
void buf_append_char(struct buf *buf, char c);
void buf_append_u64(struct buf *buf, uint64_t value); // decimal
void buf_printf(struct buf *buf, const char *format, ...) printf_like(2, 3);
void buf_vprintf(struct buf *buf, const char *format, va_list args) printf_like(2, 0);

void buf_consume(struct buf *buf, size_t size); // drops from the front; size <= buf->size
void buf_truncate(struct buf *buf, size_t size); // keeps the first size bytes

// Content as a heap string with a NUL behind it (caller: mem_free); leaves the buf empty.
char *buf_detach(struct buf *buf, size_t *ret_size);

#endif
