// SPDX-License-Identifier: Apache-2.0
//
// loop: one event loop per thread. Everything made with a loop belongs to that loop's thread; only
// loop_post() may be called from others. There are no locks above it.
//
// One turn: expired timers, then completed socket operations (loop/socket.h), then posted and
// deferred tasks, then the close point, where objects closed in this turn are released. Nothing is
// freed inside a callback that its caller still holds.
//
// Time: loop_now_ms() is monotonic and read once per turn; loop_wall_ms() is Unix time. A test makes a
// loop with a fake clock and moves it by hand: no test sleeps.
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/list.h"

struct loop;

struct loop *loop_new(void);
struct loop *loop_new_fake(uint64_t now_ms); // time moves with loop_advance() only
void loop_free(struct loop *loop); // every timer, socket and watcher on it must be stopped by then

void loop_run(struct loop *loop);  // until loop_stop()
void loop_stop(struct loop *loop); // returns from loop_run() after the current turn
// One turn: waits at most wait_ms for something to do (0: not at all, -1: as long as it takes).
void loop_turn(struct loop *loop, int wait_ms);
void loop_advance(struct loop *loop, uint64_t ms); // fake clock: fires what falls due, in order

uint64_t loop_now_ms(const struct loop *loop);
uint64_t loop_wall_ms(const struct loop *loop);

// Working space shared by everybody on the loop; its content is valid until the callback that filled it
// returns. For layers that turn bytes into other bytes (decryption) so that no connection needs its own.
#define LOOP_SCRATCH_SIZE (32u * 1024)
char *loop_scratch(struct loop *loop);

// --- timers: embedded in their owner; a stopped timer costs nothing --------------------------------

struct loop_timer;
typedef void loop_timer_fn(struct loop_timer *timer);

struct loop_timer {
    struct list node; // next NULL: stopped, so that a zeroed timer is a stopped one
    uint64_t due_ms;
    struct loop *loop;
    loop_timer_fn *on_fire;
};

void loop_timer_init(struct loop_timer *timer, struct loop *loop, loop_timer_fn *on_fire);
void loop_timer_start(struct loop_timer *timer, uint64_t delay_ms); // re-arms when running
void loop_timer_stop(struct loop_timer *timer);                     // idempotent
bool loop_timer_is_running(const struct loop_timer *timer);

// --- deferred tasks: run later in this turn (before waiting), in order; embedded -------------------

struct loop_task;
typedef void loop_task_fn(struct loop_task *task);

struct loop_task {
    struct list node;
    loop_task_fn *on_run;
};

void loop_task_init(struct loop_task *task, loop_task_fn *on_run);
void loop_task_schedule(struct loop *loop, struct loop_task *task); // once, however often called
void loop_task_cancel(struct loop_task *task);                      // idempotent
// The close point: as loop_task_schedule, but after all other work of the turn. For freeing.
void loop_task_schedule_close(struct loop *loop, struct loop_task *task);

// --- from other threads ----------------------------------------------------------------------------

// Runs on_message(argument) on the loop's thread, in order per sender. Thread-safe.
void loop_post(struct loop *loop, void (*on_message)(void *argument), void *argument);

// --- signals and children: one loop of the process, the main thread's ------------------------------

// Blocks the signal for the process and delivers it to the loop instead. One handler per signal. Call
// it before threads are made, which inherit the mask; children inherit it as well and reset it.
void loop_signal_watch(struct loop *loop, int signal_number,
                       void (*on_signal)(void *owner, int signal_number), void *owner);

// Reports the end of a child (status as from waitpid). Works with many children at once; exits of
// processes nobody asked about are reaped silently when reap_all is set (process 1 of a world). When pid
// is no child of ours its end is reported with status -1.
void loop_child_watch(struct loop *loop, pid_t pid,
                      void (*on_exit)(void *owner, pid_t pid, int status), void *owner);
void loop_child_unwatch(struct loop *loop, pid_t pid);
void loop_child_reap_all(struct loop *loop);

// --- raw descriptors: pipes, netlink, inotify. Sockets use loop/socket.h ---------------------------

enum loop_fd_events { LOOP_FD_READ = 1, LOOP_FD_WRITE = 2 };

struct loop_fd;
typedef void loop_fd_fn(struct loop_fd *watch, unsigned events);

struct loop_fd {
    struct loop *loop;
    int fd;
    unsigned events; // watched; 0 = stopped
    loop_fd_fn *on_ready;
};

void loop_fd_init(struct loop_fd *watch, struct loop *loop, int fd, loop_fd_fn *on_ready);
void loop_fd_start(struct loop_fd *watch, unsigned events); // level-triggered; replaces the old set
void loop_fd_stop(struct loop_fd *watch);                   // idempotent; the fd stays the caller's

#endif
