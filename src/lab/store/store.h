// SPDX-License-Identifier: Apache-2.0
//
// store: the API server's memory: a versioned key-value log with watch.
//
// Values are encoded bytes in buckets ("apps/deployments") under keys ("ns/name"). One revision counts
// all writes of all buckets. A write is checked and numbered at once on the loop's thread, made durable
// by the committer thread (SQLite, WAL; all writes that wait form one transaction), and only then
// becomes visible: readers, watchers and the writer's on_done see nothing that a crash could undo.
//
//   store_write ──► pending (store_latest) ──► committer ──► visible (store_get) ──► watches ──► on_done
//
// Writers that read, change and write use store_latest(), which includes writes under way, so that
// they build on each other without conflicts. When a transaction fails (disk full), every pending write
// fails with its error and memory goes back to what is durable; reads go on.
//
// Each bucket keeps its last STORE_EVENTS_MAX events; a watch that starts or falls behind that window
// is told ERR_EXPIRED. The event log is not durable: after a restart the window begins at the revision
// that was loaded. Everything runs on the loop's thread; only the committer is another one.
#ifndef LAB_STORE_STORE_H
#define LAB_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "base/str.h"
#include "loop/loop.h"

#define STORE_EVENTS_MAX 2048u              // per bucket
#define STORE_PENDING_MAX 8192u             // writes under way; above: ERR_LIMIT
#define STORE_VALUE_MAX (4u * 1024 * 1024)  // bytes of one value; above: ERR_LIMIT

struct store;
struct store_bucket;

struct store_options {
    struct str path; // of the SQLite file, made when missing; empty: memory only
};

// NULL and a sentence when the file cannot be opened or is not ours.
struct store *store_new(struct loop *loop, const struct store_options *options, struct error *err);
// Waits for the committer; writes that were taken are durable, but on_done comes no more. Watches must
// be stopped by then. NULL is fine.
void store_free(struct store *store);

uint64_t store_revision(const struct store *store);      // of the last visible write
uint64_t store_next_revision(const struct store *store); // what the next store_write() will get

// Made on demand, lives as long as the store.
struct store_bucket *store_bucket(struct store *store, struct str name);

// --- values: immutable, refcounted on the loop's thread --------------------------------------------

struct store_value {
    uint32_t references;
    uint64_t revision;
    struct str key;
    struct str bytes;
    // What the reader made of bytes, kept beside them; freed with the value.
    void *decoded;
    void (*decoded_free)(void *decoded);
};

struct store_value *store_value_ref(struct store_value *value);
void store_value_unref(struct store_value *value); // NULL is fine

struct store_value *store_get(const struct store_bucket *bucket, struct str key);    // visible; borrowed
struct store_value *store_latest(const struct store_bucket *bucket, struct str key); // with pending writes; borrowed
size_t store_count(const struct store_bucket *bucket);
// Visible values in the order of their keys; index < store_count().
struct store_value *store_at(const struct store_bucket *bucket, size_t index);
// Index of the first key >= key.
size_t store_seek(const struct store_bucket *bucket, struct str key);
// Number of the last visible write to this bucket; for caches made from it.
uint64_t store_bucket_revision(const struct store_bucket *bucket);

// --- writes ----------------------------------------------------------------------------------------

enum store_change { STORE_PUT, STORE_DELETE };

// err NULL: durable and visible.
typedef void store_done_fn(void *owner, const struct error *err);

// STORE_DELETE removes the key; bytes are then the last state for watchers. on_done (may be NULL) comes
// in a later turn, exactly once, unless this returns an error.
enum err store_write(struct store_bucket *bucket, enum store_change change, struct str key,
                     struct str bytes, store_done_fn *on_done, void *owner, struct error *err) must_check;

// --- watches ---------------------------------------------------------------------------------------

enum store_event_type { STORE_ADDED = 0, STORE_MODIFIED, STORE_DELETED };

struct store_event {
    uint32_t references;
    enum store_event_type type;
    uint64_t revision;
    struct store_value *value;    // after the change; of a deletion the last state
    struct store_value *previous; // before the change; NULL when added
    // One encoding shared by all watches that need the same; made by the first, freed with the event.
    char *encoded;
    size_t encoded_size;
};

struct store_watch;
typedef void store_watch_fn(struct store_watch *watch);

// Embedded in its owner. A watch is a position in the bucket's log: on_ready says that there is
// something to read, store_watch_next() reads as fast as the owner likes.
struct store_watch {
    struct list node;
    struct store_bucket *bucket;
    uint64_t position; // sequence number of the next event
    store_watch_fn *on_ready;
};

void store_watch_init(struct store_watch *watch, store_watch_fn *on_ready);
// Events with a revision above since. ERR_EXPIRED when some of those are gone.
enum err store_watch_start(struct store_watch *watch, struct store_bucket *bucket, uint64_t since,
                           struct error *err) must_check;
void store_watch_stop(struct store_watch *watch); // idempotent
// Next event, borrowed until the next turn; NULL: none yet. *ret_expired: it fell behind the window.
struct store_event *store_watch_next(struct store_watch *watch, bool *ret_expired);

#endif
