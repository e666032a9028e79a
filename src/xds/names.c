// SPDX-License-Identifier: Apache-2.0
#include "xds/names.h"

#include <stdlib.h>

void xds_names_done(struct xds_names *names)
{
    arena_done(&names->arena);
    *names = (struct xds_names){0};
}

static int compare(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

bool xds_names_has(const struct xds_names *names, struct str name)
{
    return names->count > 0 && bsearch(&name, names->items, names->count, sizeof(name), compare) != NULL;
}

static enum err check(const struct str *items, size_t count, struct error *err)
{
    if (count > XDS_NAMES_MAX) {
        return error_set(err, ERR_LIMIT, "%zu resource names, the limit is %u", count, XDS_NAMES_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (items[i].size > XDS_NAME_SIZE_MAX) {
            return error_set(err, ERR_LIMIT, "resource name of %zu bytes, the limit is %u", items[i].size, XDS_NAME_SIZE_MAX);
        }
    }
    return ERR_OK;
}

static void copy_sorted(struct xds_names *fresh, const struct str *items, size_t count)
{
    fresh->items = arena_array(&fresh->arena, struct str, count + 1);
    memcpy(fresh->items, items, sizeof(*items) * count);
    qsort(fresh->items, count, sizeof(*items), compare);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || !str_equal(fresh->items[fresh->count - 1], fresh->items[i])) {
            fresh->items[fresh->count++] = arena_str(&fresh->arena, fresh->items[i]);
        }
    }
}

enum err xds_names_replace(struct xds_names *names, const struct str *items, size_t count,
                           struct xds_names_change *ret_change, struct error *err)
{
    enum err code = check(items, count, err);
    if (code != ERR_OK) {
        return code;
    }
    struct xds_names fresh = {0};
    if (count > 0) {
        copy_sorted(&fresh, items, count);
    }
    struct xds_names_change change = {.added = arena_array(&fresh.arena, struct str, fresh.count + 1)};
    for (size_t i = 0; i < fresh.count; i++) {
        if (!xds_names_has(names, fresh.items[i])) {
            change.added[change.added_count++] = fresh.items[i];
        }
    }
    change.removed_count = names->count - (fresh.count - change.added_count);
    xds_names_done(names);
    *names = fresh;
    *ret_change = change;
    return ERR_OK;
}
