// SPDX-License-Identifier: Apache-2.0
//
// The store's memory: buckets of sorted visible values, pending writes, event windows. See store.h for
// the model and store_commit.c for durability.
#include "lab/store/store.h"

#include <inttypes.h>

#include "base/assert.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/vec.h"
#include "lab/store/store_internal.h"

struct store_bucket {
    struct store *store;
    char *name;
    VEC(struct store_value *) values; // visible, sorted by key
    struct map pending;               // key → newest struct store_write under way
    uint64_t revision;                // of the last visible write here
    // Window of events: the event with sequence number n is at events[n % STORE_EVENTS_MAX].
    struct store_event **events; // allocated with the first event
    uint64_t first;              // sequence number of the oldest kept
    uint64_t next;               // of the next to come
    uint64_t floor;              // revision below (and at) which events are unknown
    struct list watches;
};

struct store {
    struct loop *loop;
    struct store_committer *committer;
    struct map buckets;
    uint64_t revision; // visible
    uint64_t assigned; // last number given to a write
    size_t pending_count;
};

// --- values ----------------------------------------------------------------------------------------

static struct store_value *value_new(struct str key, struct str bytes, uint64_t revision)
{
    struct store_value *value = mem_new(struct store_value);
    char *storage = mem_alloc(key.size + bytes.size + 1);
    if (key.size > 0) {
        memcpy(storage, key.data, key.size);
    }
    if (bytes.size > 0) {
        memcpy(storage + key.size, bytes.data, bytes.size);
    }
    value->references = 1;
    value->revision = revision;
    value->key = str_make(storage, key.size);
    value->bytes = str_make(storage + key.size, bytes.size);
    return value;
}

struct store_value *store_value_ref(struct store_value *value)
{
    value->references++;
    return value;
}

void store_value_unref(struct store_value *value)
{
    if (value == NULL || --value->references > 0) {
        return;
    }
    if (value->decoded != NULL) {
        value->decoded_free(value->decoded);
    }
    // Key and bytes share one allocation that begins with the key.
    mem_free((void *)(uintptr_t)value->key.data);
    mem_free(value);
}

static void event_unref(struct store_event *event)
{
    if (event == NULL || --event->references > 0) {
        return;
    }
    store_value_unref(event->value);
    store_value_unref(event->previous);
    mem_free(event->encoded);
    mem_free(event);
}

// --- buckets ---------------------------------------------------------------------------------------

struct store_bucket *store_bucket(struct store *store, struct str name)
{
    struct store_bucket *bucket = map_get(&store->buckets, name);
    if (bucket == NULL) {
        bucket = mem_new(struct store_bucket);
        bucket->store = store;
        bucket->name = mem_alloc(name.size + 1);
        memcpy(bucket->name, name.data, name.size);
        bucket->name[name.size] = '\0';
        bucket->floor = store->revision;
        list_init(&bucket->watches);
        map_set(&store->buckets, name, bucket);
    }
    return bucket;
}

static void bucket_free(struct store_bucket *bucket)
{
    for (size_t i = 0; i < bucket->values.count; i++) {
        store_value_unref(bucket->values.items[i]);
    }
    for (uint64_t at = bucket->first; at < bucket->next; at++) {
        event_unref(bucket->events[at % STORE_EVENTS_MAX]);
    }
    ASSERT(list_is_empty(&bucket->watches));
    vec_done(&bucket->values);
    map_done(&bucket->pending);
    mem_free(bucket->events);
    mem_free(bucket->name);
    mem_free(bucket);
}

size_t store_seek(const struct store_bucket *bucket, struct str key)
{
    size_t low = 0;
    size_t high = bucket->values.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (str_compare(bucket->values.items[middle]->key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct store_value *store_get(const struct store_bucket *bucket, struct str key)
{
    size_t at = store_seek(bucket, key);
    if (at < bucket->values.count && str_equal(bucket->values.items[at]->key, key)) {
        return bucket->values.items[at];
    }
    return NULL;
}

struct store_value *store_latest(const struct store_bucket *bucket, struct str key)
{
    const struct store_write *write = map_get(&bucket->pending, key);
    if (write != NULL) {
        return write->change == STORE_DELETE ? NULL : write->value;
    }
    return store_get(bucket, key);
}

size_t store_count(const struct store_bucket *bucket)
{
    return bucket->values.count;
}

struct store_value *store_at(const struct store_bucket *bucket, size_t index)
{
    ASSERT(index < bucket->values.count);
    return bucket->values.items[index];
}

uint64_t store_bucket_revision(const struct store_bucket *bucket)
{
    return bucket->revision;
}

// Puts value (a reference taken over; NULL: removes) at key; returns the one it replaced, or NULL.
static struct store_value *bucket_replace(struct store_bucket *bucket, struct str key,
                                          struct store_value *value)
{
    size_t at = store_seek(bucket, key);
    bool found = at < bucket->values.count && str_equal(bucket->values.items[at]->key, key);
    struct store_value *old = found ? bucket->values.items[at] : NULL;
    if (found && value != NULL) {
        bucket->values.items[at] = value;
    } else if (found) {
        memmove(&bucket->values.items[at], &bucket->values.items[at + 1],
                (bucket->values.count - at - 1) * sizeof(struct store_value *));
        bucket->values.count--;
    } else if (value != NULL) {
        vec_push(&bucket->values, value);
        memmove(&bucket->values.items[at + 1], &bucket->values.items[at],
                (bucket->values.count - 1 - at) * sizeof(struct store_value *));
        bucket->values.items[at] = value;
    }
    return old;
}

static void bucket_push_event(struct store_bucket *bucket, struct store_event *event)
{
    if (bucket->events == NULL) {
        bucket->events = mem_zalloc(STORE_EVENTS_MAX * sizeof(struct store_event *));
    }
    if (bucket->next - bucket->first == STORE_EVENTS_MAX) {
        struct store_event *oldest = bucket->events[bucket->first % STORE_EVENTS_MAX];
        bucket->floor = oldest->revision;
        event_unref(oldest);
        bucket->first++;
    }
    bucket->events[bucket->next % STORE_EVENTS_MAX] = event;
    bucket->next++;
}

// --- writes ----------------------------------------------------------------------------------------

enum err store_write(struct store_bucket *bucket, enum store_change change, struct str key,
                     struct str bytes, store_done_fn *on_done, void *owner, struct error *err)
{
    struct store *store = bucket->store;
    if (bytes.size > STORE_VALUE_MAX) {
        return error_set(err, ERR_LIMIT, "the object has %zu bytes, more than %u", bytes.size,
                         STORE_VALUE_MAX);
    }
    if (store->pending_count >= STORE_PENDING_MAX) {
        return error_set(err, ERR_LIMIT, "%u writes are waiting for the disk", STORE_PENDING_MAX);
    }
    struct store_write *write = mem_new(struct store_write);
    list_init(&write->node);
    write->bucket = bucket;
    write->bucket_name = str_of(bucket->name);
    write->change = change;
    write->revision = ++store->assigned;
    write->value = value_new(key, bytes, write->revision);
    write->on_done = on_done;
    write->owner = owner;
    map_set(&bucket->pending, key, write);
    store->pending_count++;
    store_committer_add(store->committer, write);
    return ERR_OK;
}

static void write_leave_pending(struct store_write *write)
{
    if (map_get(&write->bucket->pending, write->value->key) == write) {
        map_remove(&write->bucket->pending, write->value->key);
    }
    write->bucket->store->pending_count--;
}

static void write_free(struct store_write *write)
{
    store_value_unref(write->value);
    mem_free(write);
}

static void write_publish(struct store_write *write)
{
    struct store_bucket *bucket = write->bucket;
    bool is_delete = write->change == STORE_DELETE;
    struct store_value *old = bucket_replace(bucket, write->value->key,
                                             is_delete ? NULL : store_value_ref(write->value));
    bucket->revision = write->revision;
    bucket->store->revision = write->revision;
    struct store_event *event = mem_new(struct store_event);
    event->references = 1;
    event->type = is_delete ? STORE_DELETED : old == NULL ? STORE_ADDED : STORE_MODIFIED;
    event->revision = write->revision;
    event->value = store_value_ref(write->value);
    event->previous = old; // the bucket's reference moves to the event
    bucket_push_event(bucket, event);
}

static void bucket_wake_watches(struct store_bucket *bucket)
{
    // A woken watch may stop itself, and stopping another one is possible too: take them one by one
    // from a list of their own.
    struct list woken;
    list_init(&woken);
    for (struct list *node; (node = list_first(&bucket->watches)) != NULL;) {
        list_remove(node);
        list_append(&woken, node);
    }
    for (struct list *node; (node = list_first(&woken)) != NULL;) {
        list_remove(node);
        list_append(&bucket->watches, node);
        struct store_watch *watch = container_of(node, struct store_watch, node);
        watch->on_ready(watch);
    }
}

static void store_on_committed(void *owner, struct list *writes, const struct error *err)
{
    struct store *store = owner;
    list_each(writes, node)
    {
        struct store_write *write = container_of(node, struct store_write, node);
        write_leave_pending(write);
        if (err == NULL) {
            write_publish(write);
        }
    }
    if (err == NULL) {
        struct store_bucket *bucket;
        for (size_t at = 0; map_each(&store->buckets, &at, NULL, (void **)&bucket);) {
            if (!list_is_empty(&bucket->watches) && bucket->next > 0) {
                bucket_wake_watches(bucket);
            }
        }
    }
    for (struct list *node; (node = list_first(writes)) != NULL;) {
        struct store_write *write = container_of(node, struct store_write, node);
        list_remove(node);
        if (write->on_done != NULL) {
            write->on_done(write->owner, err);
        }
        write_free(write);
    }
}

// --- watches ---------------------------------------------------------------------------------------

void store_watch_init(struct store_watch *watch, store_watch_fn *on_ready)
{
    *watch = (struct store_watch){.on_ready = on_ready};
    list_init(&watch->node);
}

enum err store_watch_start(struct store_watch *watch, struct store_bucket *bucket, uint64_t since,
                           struct error *err)
{
    if (since < bucket->floor) {
        return error_set(err, ERR_EXPIRED, "too old resource version: %" PRIu64 " (%" PRIu64 ")", since,
                         bucket->floor);
    }
    uint64_t low = bucket->first;
    uint64_t high = bucket->next;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (bucket->events[middle % STORE_EVENTS_MAX]->revision <= since) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    watch->bucket = bucket;
    watch->position = low;
    list_append(&bucket->watches, &watch->node);
    return ERR_OK;
}

void store_watch_stop(struct store_watch *watch)
{
    list_remove(&watch->node);
    watch->bucket = NULL;
}

struct store_event *store_watch_next(struct store_watch *watch, bool *ret_expired)
{
    const struct store_bucket *bucket = watch->bucket;
    *ret_expired = false;
    if (bucket == NULL || watch->position == bucket->next) {
        return NULL;
    }
    if (watch->position < bucket->first) {
        *ret_expired = true;
        return NULL;
    }
    return bucket->events[watch->position++ % STORE_EVENTS_MAX];
}

// --- life ------------------------------------------------------------------------------------------

static void store_on_row(void *owner, struct str bucket_name, struct str key, uint64_t revision,
                         struct str bytes)
{
    struct store *store = owner;
    struct store_bucket *bucket = store_bucket(store, bucket_name);
    store_value_unref(bucket_replace(bucket, key, value_new(key, bytes, revision)));
    if (bucket->revision < revision) {
        bucket->revision = revision;
    }
}

struct store *store_new(struct loop *loop, const struct store_options *options, struct error *err)
{
    struct store *store = mem_new(struct store);
    store->loop = loop;
    store->committer = store_committer_new(loop, options->path, store_on_committed, store, err);
    // Revision 0 means "any" in the Kubernetes API, so that the count starts at 1.
    uint64_t revision = 1;
    if (store->committer == NULL ||
        store_committer_load(store->committer, &revision, store_on_row, store, err) != ERR_OK) {
        store_free(store);
        return NULL;
    }
    store->revision = revision;
    store->assigned = revision;
    struct store_bucket *bucket;
    for (size_t at = 0; map_each(&store->buckets, &at, NULL, (void **)&bucket);) {
        bucket->floor = revision;
    }
    if (store_committer_start(store->committer, err) != ERR_OK) {
        store_free(store);
        return NULL;
    }
    return store;
}

void store_free(struct store *store)
{
    if (store == NULL) {
        return;
    }
    if (store->committer != NULL) {
        struct list left;
        list_init(&left);
        store_committer_free(store->committer, &left);
        for (struct list *node; (node = list_first(&left)) != NULL;) {
            list_remove(node);
            write_free(container_of(node, struct store_write, node));
        }
    }
    struct store_bucket *bucket;
    for (size_t at = 0; map_each(&store->buckets, &at, NULL, (void **)&bucket);) {
        bucket_free(bucket);
    }
    map_done(&store->buckets);
    mem_free(store);
}

uint64_t store_revision(const struct store *store)
{
    return store->revision;
}

uint64_t store_next_revision(const struct store *store)
{
    return store->assigned + 1;
}
