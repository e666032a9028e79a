// SPDX-License-Identifier: Apache-2.0
#include "kube/work_queue.h"

#include "base/assert.h"
#include "base/list.h"
#include "base/map.h"
#include "base/memory.h"

enum item_state {
    ITEM_IDLE = 0, // only while it is being moved
    ITEM_QUEUED,   // in queue->queued
    ITEM_DELAYED,  // its timer runs
    ITEM_RUNNING,  // on_item was called
};

struct item {
    struct work_queue *queue;
    struct list node;
    struct loop_timer timer;
    enum item_state state;
    bool again;              // added while running
    bool again_later;        // the same, with a delay
    uint64_t again_after_ms;
    uint64_t backoff_ms;     // 0: the last work was well
    size_t key_size;
    char key[];
};

struct work_queue {
    struct loop *loop;
    struct map items;
    struct list queued;
    struct loop_task task;
    unsigned running;
    unsigned running_max;
    bool started;
    work_queue_fn *on_item;
    void *owner;
};

static struct str key_of(const struct item *item)
{
    return str_make(item->key, item->key_size);
}

static void item_free(struct item *item)
{
    loop_timer_stop(&item->timer);
    list_remove(&item->node);
    (void)map_remove(&item->queue->items, key_of(item));
    mem_free(item);
}

static void set_queued(struct item *item)
{
    loop_timer_stop(&item->timer);
    item->state = ITEM_QUEUED;
    list_append(&item->queue->queued, &item->node);
    if (item->queue->started) {
        loop_task_schedule(item->queue->loop, &item->queue->task);
    }
}

static void set_delayed(struct item *item, uint64_t delay_ms)
{
    item->state = ITEM_DELAYED;
    loop_timer_start(&item->timer, delay_ms);
}

static void on_timer(struct loop_timer *timer)
{
    set_queued(container_of(timer, struct item, timer));
}

static void on_task(struct loop_task *task)
{
    struct work_queue *queue = container_of(task, struct work_queue, task);
    struct list *first = NULL;
    while (queue->running < queue->running_max && (first = list_first(&queue->queued)) != NULL) {
        struct item *item = container_of(first, struct item, node);
        list_remove(&item->node);
        item->state = ITEM_RUNNING;
        queue->running++;
        queue->on_item(queue->owner, key_of(item));
    }
}

struct work_queue *work_queue_new(struct loop *loop, const struct work_queue_options *options, work_queue_fn *on_item,
                                  void *owner)
{
    struct work_queue *queue = mem_new(struct work_queue);
    queue->loop = loop;
    queue->running_max = options != NULL && options->running_max > 0 ? options->running_max : WORK_QUEUE_RUNNING_MAX;
    queue->on_item = on_item;
    queue->owner = owner;
    list_init(&queue->queued);
    loop_task_init(&queue->task, on_task);
    return queue;
}

void work_queue_free(struct work_queue *queue)
{
    if (queue == NULL) {
        return;
    }
    loop_task_cancel(&queue->task);
    void *item = NULL;
    for (size_t at = 0; map_each(&queue->items, &at, NULL, &item);) {
        item_free(item);
    }
    map_done(&queue->items);
    mem_free(queue);
}

void work_queue_start(struct work_queue *queue)
{
    queue->started = true;
    loop_task_schedule(queue->loop, &queue->task);
}

static struct item *item_for(struct work_queue *queue, struct str key)
{
    struct item *item = map_get(&queue->items, key);
    if (item != NULL) {
        return item;
    }
    item = mem_zalloc(sizeof(*item) + key.size);
    item->queue = queue;
    item->key_size = key.size;
    memcpy(item->key, key.data, key.size);
    list_init(&item->node);
    loop_timer_init(&item->timer, queue->loop, on_timer);
    (void)map_set(&queue->items, key, item);
    return item;
}

void work_queue_add(struct work_queue *queue, struct str key)
{
    struct item *item = item_for(queue, key);
    switch (item->state) {
    case ITEM_IDLE:
        set_queued(item);
        break;
    case ITEM_DELAYED:
        // A key that failed keeps its delay: events do not make a broken thing be tried faster.
        if (item->backoff_ms == 0) {
            set_queued(item);
        }
        break;
    case ITEM_RUNNING:
        item->again = true;
        break;
    case ITEM_QUEUED:
        break;
    }
}

void work_queue_add_after(struct work_queue *queue, struct str key, uint64_t delay_ms)
{
    struct item *item = item_for(queue, key);
    if (item->state == ITEM_IDLE) {
        set_delayed(item, delay_ms);
    } else if (item->state == ITEM_RUNNING) {
        bool is_sooner = !item->again_later || delay_ms < item->again_after_ms;
        item->again_after_ms = is_sooner ? delay_ms : item->again_after_ms;
        item->again_later = true;
    }
}

static void set_failed(struct item *item)
{
    item->backoff_ms = item->backoff_ms == 0 ? WORK_QUEUE_BACKOFF_MIN_MS : item->backoff_ms * 2;
    if (item->backoff_ms > WORK_QUEUE_BACKOFF_MAX_MS) {
        item->backoff_ms = WORK_QUEUE_BACKOFF_MAX_MS;
    }
    set_delayed(item, item->backoff_ms);
}

void work_queue_done(struct work_queue *queue, struct str key, bool ok)
{
    struct item *item = map_get(&queue->items, key);
    ASSERT(item != NULL && item->state == ITEM_RUNNING);
    bool again = item->again;
    bool again_later = item->again_later;
    item->again = false;
    item->again_later = false;
    item->state = ITEM_IDLE;
    queue->running--;
    if (!ok) {
        set_failed(item);
    } else if (again) {
        item->backoff_ms = 0;
        set_queued(item);
    } else if (again_later) {
        item->backoff_ms = 0;
        set_delayed(item, item->again_after_ms);
    } else {
        item_free(item);
    }
    if (!list_is_empty(&queue->queued)) {
        loop_task_schedule(queue->loop, &queue->task);
    }
}

size_t work_queue_count(const struct work_queue *queue)
{
    return map_count(&queue->items);
}
