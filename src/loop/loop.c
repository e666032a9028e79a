// SPDX-License-Identifier: Apache-2.0
//
// One epoll instance per loop, level-triggered. Descriptors are found by the pointer in the event; a
// watch stopped by an earlier callback of the same batch is erased from the rest of the batch, so that
// its memory may go at the close point. Messages from other threads arrive through a locked vector and
// one eventfd, written only when the vector was empty.
#include "loop/loop.h"

#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/vec.h"
#include "loop/loop_internal.h"
#include "loop/socket.h"
#include "loop/timer_wheel.h"

#define LOOP_BATCH 128            // descriptors per wait
#define LOOP_ROUNDS_MAX 64        // task and close rounds per turn; the rest waits for the next turn
#define LOOP_TASKS_MAX 10000      // tasks per round, so that a task that re-schedules itself cannot starve
#define LOOP_WAIT_MAX_MS 3600000u // longest single wait; keeps the int of epoll_wait in range
#define LOOP_FAKE_WALL_MS 1767225600000u // 2026-01-01T00:00:00Z: Unix time of a fake clock's zero

struct message {
    void (*on_message)(void *argument);
    void *argument;
};

struct messages {
    struct message *items;
    size_t count;
    size_t capacity;
};

struct loop {
    int epoll_fd;
    bool is_fake;
    bool stopping;
    bool in_turn;
    uint64_t now_ms;
    struct timer_wheel timers;
    struct list firing; // fell due in this turn, earliest first
    struct list tasks;
    struct list closing;
    char *read_buffer;
    char *scratch;
    struct loop_process *process;

    struct epoll_event batch[LOOP_BATCH];
    int batch_at; // next event to handle
    int batch_count;

    struct loop_fd wake;
    pthread_mutex_t lock; // guards posted
    struct messages posted;
    struct messages running; // swapped with posted; loop thread only
};

static uint64_t clock_ms(clockid_t clock)
{
    struct timespec now;
    ASSERT(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void update_time(struct loop *loop)
{
    if (!loop->is_fake) {
        loop->now_ms = clock_ms(CLOCK_MONOTONIC);
    }
}

static void on_wake(struct loop_fd *watch, unsigned events)
{
    (void)events;
    uint64_t count;
    // EAGAIN is the only failure possible: the event was taken already.
    ssize_t got = read(watch->fd, &count, sizeof(count));
    (void)got;
}

// --- life ------------------------------------------------------------------------------------------

struct loop *loop_new(void)
{
    struct loop *loop = mem_new(struct loop);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    ASSERT(loop->epoll_fd >= 0);
    list_init(&loop->tasks);
    list_init(&loop->closing);
    ASSERT(pthread_mutex_init(&loop->lock, NULL) == 0);
    int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ASSERT(wake_fd >= 0);
    loop_fd_init(&loop->wake, loop, wake_fd, on_wake);
    loop_fd_start(&loop->wake, LOOP_FD_READ);
    update_time(loop);
    list_init(&loop->firing);
    timer_wheel_init(&loop->timers, loop->now_ms);
    return loop;
}

struct loop *loop_new_fake(uint64_t now_ms)
{
    struct loop *loop = loop_new();
    loop->is_fake = true;
    loop->now_ms = now_ms;
    timer_wheel_init(&loop->timers, now_ms);
    return loop;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    ASSERT(!loop->in_turn);
    loop_process_free(loop->process);
    loop_fd_stop(&loop->wake);
    (void)close(loop->wake.fd);
    (void)close(loop->epoll_fd);
    (void)pthread_mutex_destroy(&loop->lock);
    vec_done(&loop->posted);
    vec_done(&loop->running);
    mem_free(loop->read_buffer);
    mem_free(loop->scratch);
    mem_free(loop);
}

char *loop_read_buffer(struct loop *loop)
{
    if (loop->read_buffer == NULL) {
        loop->read_buffer = mem_alloc(SOCKET_READ_SIZE);
    }
    return loop->read_buffer;
}

char *loop_scratch(struct loop *loop)
{
    if (loop->scratch == NULL) {
        loop->scratch = mem_alloc(LOOP_SCRATCH_SIZE);
    }
    return loop->scratch;
}

struct loop_process **loop_process_slot(struct loop *loop)
{
    return &loop->process;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_ms;
}

uint64_t loop_wall_ms(const struct loop *loop)
{
    if (loop->is_fake) {
        return LOOP_FAKE_WALL_MS + loop->now_ms;
    }
    return clock_ms(CLOCK_REALTIME);
}

// --- timers ----------------------------------------------------------------------------------------

void loop_timer_init(struct loop_timer *timer, struct loop *loop, loop_timer_fn *on_fire)
{
    *timer = (struct loop_timer){.loop = loop, .on_fire = on_fire};
}

void loop_timer_start(struct loop_timer *timer, uint64_t delay_ms)
{
    uint64_t now = timer->loop->now_ms;
    loop_timer_stop(timer);
    timer_wheel_insert(&timer->loop->timers, timer, delay_ms > UINT64_MAX - now ? UINT64_MAX : now + delay_ms);
}

void loop_timer_stop(struct loop_timer *timer)
{
    if (timer->node.next != NULL) {
        list_remove(&timer->node);
        timer->node.next = NULL;
    }
}

bool loop_timer_is_running(const struct loop_timer *timer)
{
    return timer->node.next != NULL;
}

// What falls due meanwhile (a timer that re-arms itself with no delay) waits for the next turn.
static void fire_timers(struct loop *loop)
{
    timer_wheel_advance(&loop->timers, loop->now_ms);
    list_append_all(&loop->firing, &loop->timers.due);
    for (struct list *node; (node = list_first(&loop->firing)) != NULL;) {
        struct loop_timer *timer = container_of(node, struct loop_timer, node);
        loop_timer_stop(timer);
        timer->on_fire(timer);
    }
}

// --- tasks -----------------------------------------------------------------------------------------

void loop_task_init(struct loop_task *task, loop_task_fn *on_run)
{
    list_init(&task->node);
    task->on_run = on_run;
}

void loop_task_schedule(struct loop *loop, struct loop_task *task)
{
    if (list_is_empty(&task->node)) {
        list_append(&loop->tasks, &task->node);
    }
}

void loop_task_schedule_close(struct loop *loop, struct loop_task *task)
{
    if (list_is_empty(&task->node)) {
        list_append(&loop->closing, &task->node);
    }
}

void loop_task_cancel(struct loop_task *task)
{
    list_remove(&task->node);
}

static void run_tasks(struct list *tasks)
{
    for (int left = LOOP_TASKS_MAX; left > 0; left--) {
        struct list *node = list_first(tasks);
        if (node == NULL) {
            return;
        }
        list_remove(node);
        struct loop_task *task = container_of(node, struct loop_task, node);
        task->on_run(task);
    }
}

static bool has_tasks(const struct loop *loop)
{
    return !list_is_empty(&loop->tasks) || !list_is_empty(&loop->closing);
}

// What the close point wakes (a peer of a closed stream has to write, say) still runs in this turn.
static void run_tasks_and_close(struct loop *loop)
{
    for (int round = 0; round < LOOP_ROUNDS_MAX && has_tasks(loop); round++) {
        run_tasks(&loop->tasks);
        run_tasks(&loop->closing);
    }
}

// --- messages --------------------------------------------------------------------------------------

void loop_post(struct loop *loop, void (*on_message)(void *argument), void *argument)
{
    ASSERT(pthread_mutex_lock(&loop->lock) == 0);
    bool was_empty = loop->posted.count == 0;
    vec_push(&loop->posted, (struct message){.on_message = on_message, .argument = argument});
    // Written under the lock: the loop cannot be freed between the push and the write by somebody
    // whom this very message told to do so.
    if (was_empty) {
        uint64_t one = 1;
        ssize_t sent = write(loop->wake.fd, &one, sizeof(one));
        ASSERT(sent == (ssize_t)sizeof(one));
    }
    ASSERT(pthread_mutex_unlock(&loop->lock) == 0);
}

static void run_messages(struct loop *loop)
{
    ASSERT(pthread_mutex_lock(&loop->lock) == 0);
    struct messages messages = loop->posted;
    loop->posted = loop->running;
    loop->running = messages;
    ASSERT(pthread_mutex_unlock(&loop->lock) == 0);
    for (size_t i = 0; i < messages.count; i++) {
        messages.items[i].on_message(messages.items[i].argument);
    }
    vec_reset(&loop->running);
}

// --- descriptors -----------------------------------------------------------------------------------

void loop_fd_init(struct loop_fd *watch, struct loop *loop, int fd, loop_fd_fn *on_ready)
{
    *watch = (struct loop_fd){.loop = loop, .fd = fd, .on_ready = on_ready};
}

void loop_fd_start(struct loop_fd *watch, unsigned events)
{
    if (events == watch->events) {
        return;
    }
    if (events == 0) {
        loop_fd_stop(watch);
        return;
    }
    struct epoll_event event = {.data.ptr = watch};
    event.events = ((events & LOOP_FD_READ) != 0 ? (uint32_t)EPOLLIN : 0) |
                   ((events & LOOP_FD_WRITE) != 0 ? (uint32_t)EPOLLOUT : 0);
    int operation = watch->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    ASSERT(epoll_ctl(watch->loop->epoll_fd, operation, watch->fd, &event) == 0);
    watch->events = events;
}

void loop_fd_stop(struct loop_fd *watch)
{
    if (watch->events == 0) {
        return;
    }
    watch->events = 0;
    struct loop *loop = watch->loop;
    struct epoll_event event = {0};
    ASSERT(epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, &event) == 0);
    for (int i = loop->batch_at; i < loop->batch_count; i++) {
        if (loop->batch[i].data.ptr == watch) {
            loop->batch[i].data.ptr = NULL;
        }
    }
}

// Errors and hang-ups go to whichever direction is watched: the next read or write says what it is.
static void handle_event(const struct epoll_event *event)
{
    struct loop_fd *watch = event->data.ptr;
    if (watch == NULL) {
        return;
    }
    unsigned events = 0;
    if ((event->events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
        events |= LOOP_FD_READ;
    }
    if ((event->events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
        events |= LOOP_FD_WRITE;
    }
    events &= watch->events;
    if (events != 0) {
        watch->on_ready(watch, events);
    }
}

// --- turns -----------------------------------------------------------------------------------------

static int wait_time(struct loop *loop, int wait_ms)
{
    if (has_tasks(loop)) {
        return 0;
    }
    uint64_t next = loop->is_fake ? UINT64_MAX : timer_wheel_next(&loop->timers);
    if (next == UINT64_MAX) {
        return wait_ms;
    }
    // A turn may have been long: what the timer has to wait counts from the real time.
    uint64_t now = clock_ms(CLOCK_MONOTONIC);
    uint64_t left = next <= now ? 0 : next - now;
    if (left > LOOP_WAIT_MAX_MS) {
        left = LOOP_WAIT_MAX_MS;
    }
    return wait_ms >= 0 && (uint64_t)wait_ms < left ? wait_ms : (int)left;
}

void loop_turn(struct loop *loop, int wait_ms)
{
    ASSERT(!loop->in_turn); // no loop inside a callback: buffers and lists are in use
    loop->in_turn = true;
    int count = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, wait_time(loop, wait_ms));
    ASSERT(count >= 0 || errno == EINTR);
    loop->batch_count = count < 0 ? 0 : count;
    loop->batch_at = 0;
    update_time(loop);
    fire_timers(loop);
    while (loop->batch_at < loop->batch_count) {
        handle_event(&loop->batch[loop->batch_at++]);
    }
    loop->batch_count = 0;
    run_messages(loop);
    run_tasks_and_close(loop);
    loop->in_turn = false;
}

void loop_run(struct loop *loop)
{
    update_time(loop);
    while (!loop->stopping) {
        loop_turn(loop, -1);
    }
    loop->stopping = false;
}

void loop_stop(struct loop *loop)
{
    loop->stopping = true;
}

void loop_advance(struct loop *loop, uint64_t ms)
{
    ASSERT(loop->is_fake);
    ASSERT(!loop->in_turn);
    loop->in_turn = true;
    uint64_t target = loop->now_ms + ms;
    for (;;) {
        run_tasks_and_close(loop);
        uint64_t next = timer_wheel_next(&loop->timers);
        if (next > target) {
            break;
        }
        loop->now_ms = next > loop->now_ms ? next : loop->now_ms;
        fire_timers(loop);
    }
    loop->now_ms = target;
    loop->in_turn = false;
}
