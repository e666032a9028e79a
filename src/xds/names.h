// SPDX-License-Identifier: Apache-2.0
//
// names: a set of resource names, sorted, with memory of its own; replaced whole.
#ifndef XDS_NAMES_H
#define XDS_NAMES_H

#include "base/arena.h"
#include "base/error.h"

#define XDS_NAMES_MAX 100000u  // in one subscription
#define XDS_NAME_SIZE_MAX 4096u

struct xds_names { // zero-initialized: empty
    struct arena arena;
    struct str *items;
    size_t count;
};

void xds_names_done(struct xds_names *names);
bool xds_names_has(const struct xds_names *names, struct str name);

struct xds_names_change {
    struct str *added; // in the arena of the new set
    size_t added_count;
    size_t removed_count;
};

// Duplicates count once. ERR_LIMIT leaves the set as it was.
enum err xds_names_replace(struct xds_names *names, const struct str *items, size_t count,
                           struct xds_names_change *ret_change, struct error *err) must_check;

#endif
