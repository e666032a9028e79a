// SPDX-License-Identifier: Apache-2.0
//
// informer: keeps the objects of one resource by LIST then WATCH, for ever. It resumes from the last
// version, honours bookmarks, relists on 410, and backs off with jitter (0.8 s doubling to 30 s) on
// failures. A relist is compared with what is held: only differences are reported, and an error never
// empties the store. So readers see the last good state, with its age.
//
// Objects are kept without metadata.managedFields; apiVersion and kind, which servers leave out of list
// items, are filled in. An object that was deleted and made again unseen is reported as deleted, then
// added. In callbacks the store already shows the new state, and everything may be called,
// informer_free() included.
#ifndef KUBE_INFORMER_H
#define KUBE_INFORMER_H

#include "kube/client.h"

#define INFORMER_PAGE_SIZE 500u            // limit= of a list
#define INFORMER_BACKOFF_MIN_MS 800u
#define INFORMER_BACKOFF_MAX_MS 30000u
#define INFORMER_WATCH_MIN_S 300u          // timeoutSeconds= is drawn from [min, 2 min)
#define INFORMER_WATCH_SLACK_MS 30000u     // the server has this much longer to end a watch
#define INFORMER_SHORT_WATCH_MS 5000u      // a watch without events that ends sooner counts as a failure
#define INFORMER_ABSENT_RETRY_MS 10000u    // optional resources that are not installed
#define INFORMER_ABSENT_MAX 3u             // that many 404 in a row empty an optional store

struct informer;

struct informer_events {
    // old NULL: added. fresh NULL: deleted. Both borrowed; take a reference to keep one.
    void (*on_change)(void *owner, struct informer *informer, struct kube_object *old, struct kube_object *fresh);
    void (*on_synced)(void *owner, struct informer *informer); // first complete list; may be NULL
    void (*on_health)(void *owner, struct informer *informer, bool is_connected, const struct error *err); // may be NULL
};

struct informer_options {
    const struct kube_resource *resource;
    struct str ns;             // empty: all namespaces
    struct str label_selector; // may be empty
    struct str field_selector; // may be empty
    bool optional;             // 404 (CRD not installed) counts as synced and empty; tried again every 10 s
};

struct informer *informer_new(struct kube_client *client, const struct informer_options *options, const struct informer_events *events, void *owner);
void informer_free(struct informer *informer); // no event comes any more; drops its objects

bool informer_is_synced(const struct informer *informer);
bool informer_is_connected(const struct informer *informer);
uint64_t informer_stale_ms(const struct informer *informer); // 0 while connected
const struct kube_resource *informer_resource(const struct informer *informer);
struct kube_object *informer_get(const struct informer *informer, struct str ns, struct str name); // borrowed; NULL: not there
size_t informer_count(const struct informer *informer);
struct kube_object *informer_each(const struct informer *informer, size_t *at); // borrowed; NULL: end

#endif
