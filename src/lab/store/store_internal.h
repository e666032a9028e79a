// SPDX-License-Identifier: Apache-2.0
//
// Between the store's memory (store.c) and its committer (store_commit.c).
#ifndef LAB_STORE_STORE_INTERNAL_H
#define LAB_STORE_STORE_INTERNAL_H

#include "base/list.h"
#include "lab/store/store.h"

// One write on its way. Made and freed on the loop's thread; the committer only reads it.
struct store_write {
    struct list node;
    struct store_bucket *bucket;
    struct str bucket_name; // the bucket's own
    enum store_change change;
    uint64_t revision;
    struct store_value *value;
    store_done_fn *on_done;
    void *owner;
};

struct store_committer;

// Called on the loop's thread with a list of struct store_write, in order. err NULL: durable. After a
// failure the list holds every write that was taken, and the committer starts afresh.
typedef void store_committed_fn(void *owner, struct list *writes, const struct error *err);

// Calls on_row for each stored value; path empty: memory only, no thread.
struct store_committer *store_committer_new(struct loop *loop, struct str path,
                                            store_committed_fn *on_committed, void *owner,
                                            struct error *err);
enum err store_committer_load(struct store_committer *committer, uint64_t *ret_revision,
                              void (*on_row)(void *owner, struct str bucket, struct str key,
                                             uint64_t revision, struct str bytes),
                              void *owner, struct error *err) must_check;
// Starts the thread; after loading.
enum err store_committer_start(struct store_committer *committer, struct error *err) must_check;
void store_committer_add(struct store_committer *committer, struct store_write *write);
// Ends the thread after what was added is durable; moves writes whose completion was not reported yet
// to ret_left for the caller to free.
void store_committer_free(struct store_committer *committer, struct list *ret_left);

#endif
