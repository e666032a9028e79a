// SPDX-License-Identifier: Apache-2.0
//
// work_queue: keys ("namespace/name") to be looked at, each at most once at a time. Adding a key that
// waits changes nothing; adding one that is being worked on brings it again afterwards. A failed key
// comes again after a delay that doubles; success resets it. Controllers put keys in on every event and
// reconcile what the key names when it comes out: work at our own pace.
//
//   event ─ add ─► queued ─ on_item ─► running ─ done(true) ─► gone
//                    ▲                   │  └── done(false) ─► delayed ─┐
//                    └───────────────────┴─────────────────────────────┘
#ifndef KUBE_WORK_QUEUE_H
#define KUBE_WORK_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "loop/loop.h"

#define WORK_QUEUE_RUNNING_MAX 16u     // default of options.running_max
#define WORK_QUEUE_BACKOFF_MIN_MS 50u
#define WORK_QUEUE_BACKOFF_MAX_MS 30000u

struct work_queue;

struct work_queue_options {
    unsigned running_max; // keys being worked on at a time; 0: default
};

// Start working on key; work_queue_done() follows, from inside or later. key is valid until then.
typedef void work_queue_fn(void *owner, struct str key);

// A new queue only gathers; work_queue_start() lets it run.
struct work_queue *work_queue_new(struct loop *loop, const struct work_queue_options *options, work_queue_fn *on_item,
                                  void *owner);
void work_queue_free(struct work_queue *queue); // not from inside on_item; no call comes any more
void work_queue_start(struct work_queue *queue);

void work_queue_add(struct work_queue *queue, struct str key);
// Not before delay_ms, unless it is added again meanwhile.
void work_queue_add_after(struct work_queue *queue, struct str key, uint64_t delay_ms);
void work_queue_done(struct work_queue *queue, struct str key, bool ok);

size_t work_queue_count(const struct work_queue *queue); // keys in any state

#endif
