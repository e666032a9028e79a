// SPDX-License-Identifier: Apache-2.0
//
// pages: a small HTTP server for metrics, debug pages and readiness: a table of paths, each written anew
// for every GET.
#ifndef CONTROL_SERVE_PAGES_H
#define CONTROL_SERVE_PAGES_H

#include "net/http.h"

struct page {
    const char *path;         // without query
    const char *content_type; // "application/json"
    // Appends the body; returns the HTTP status.
    int (*write)(void *owner, struct buf *out);
};

struct pages;

// The table must outlive it.
struct pages *pages_new(struct loop *loop, const struct page *table, size_t count, void *owner,
                        struct metrics *metrics, const char *metric_prefix);
void pages_listen(struct pages *pages, int fd); // takes the listening socket
void pages_free(struct pages *pages);           // NULL is fine

#endif
