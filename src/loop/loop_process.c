// SPDX-License-Identifier: Apache-2.0
//
// Signals by signalfd, children by pidfd. Only loop_child_reap_all() uses SIGCHLD and waits for any
// child: exits it collects of watched children are reported as if their pidfd had fired.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "loop/loop.h"
#include "loop/loop_internal.h"

#define SIGNALS_MAX 65 // Linux: 1..64

struct signal_handler {
    void (*on_signal)(void *owner, int signal_number);
    void *owner;
};

struct child {
    struct list node;
    struct loop_fd watch; // fd is the pidfd; -1 when the process was gone already
    struct loop_task gone_task;
    pid_t pid;
    void (*on_exit)(void *owner, pid_t pid, int status);
    void *owner;
};

struct loop_process {
    struct loop *loop;
    struct loop_fd signal_watch; // fd -1: no signal watched
    sigset_t signals;
    struct signal_handler handlers[SIGNALS_MAX];
    struct list children;
};

static struct loop_process *process_of(struct loop *loop)
{
    struct loop_process **slot = loop_process_slot(loop);
    if (*slot == NULL) {
        struct loop_process *process = mem_new(struct loop_process);
        process->loop = loop;
        process->signal_watch.fd = -1;
        (void)sigemptyset(&process->signals);
        list_init(&process->children);
        *slot = process;
    }
    return *slot;
}

static void free_child(struct child *child)
{
    list_remove(&child->node);
    loop_task_cancel(&child->gone_task);
    loop_fd_stop(&child->watch);
    if (child->watch.fd >= 0) {
        (void)close(child->watch.fd);
    }
    mem_free(child);
}

void loop_process_free(struct loop_process *process)
{
    if (process == NULL) {
        return;
    }
    list_each(&process->children, node) {
        free_child(container_of(node, struct child, node));
    }
    if (process->signal_watch.fd >= 0) {
        loop_fd_stop(&process->signal_watch);
        (void)close(process->signal_watch.fd);
    }
    mem_free(process);
}

// --- signals ---------------------------------------------------------------------------------------

static void on_signals(struct loop_fd *watch, unsigned events)
{
    (void)events;
    struct loop_process *process = container_of(watch, struct loop_process, signal_watch);
    struct signalfd_siginfo info;
    while (read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        const struct signal_handler *handler = &process->handlers[info.ssi_signo % SIGNALS_MAX];
        if (handler->on_signal != NULL) {
            handler->on_signal(handler->owner, (int)info.ssi_signo);
        }
    }
}

void loop_signal_watch(struct loop *loop, int signal_number,
                       void (*on_signal)(void *owner, int signal_number), void *owner)
{
    ASSERT(signal_number > 0 && signal_number < SIGNALS_MAX);
    struct loop_process *process = process_of(loop);
    process->handlers[signal_number] = (struct signal_handler){on_signal, owner};
    (void)sigaddset(&process->signals, signal_number);
    ASSERT(pthread_sigmask(SIG_BLOCK, &process->signals, NULL) == 0);
    int fd = signalfd(process->signal_watch.fd, &process->signals, SFD_NONBLOCK | SFD_CLOEXEC);
    ASSERT(fd >= 0);
    if (process->signal_watch.fd < 0) {
        loop_fd_init(&process->signal_watch, loop, fd, on_signals);
        loop_fd_start(&process->signal_watch, LOOP_FD_READ);
    }
}

// --- children --------------------------------------------------------------------------------------

static void report_exit(struct child *child, int status)
{
    struct child copy = *child;
    free_child(child); // first: the callback may watch another process with the same number
    copy.on_exit(copy.owner, copy.pid, status);
}

static void on_child_ready(struct loop_fd *watch, unsigned events)
{
    (void)events;
    struct child *child = container_of(watch, struct child, watch);
    int status = -1;
    pid_t got = waitpid(child->pid, &status, WNOHANG);
    if (got != 0) {
        report_exit(child, got == child->pid ? status : -1);
    }
}

static void on_child_gone(struct loop_task *task)
{
    report_exit(container_of(task, struct child, gone_task), -1);
}

void loop_child_watch(struct loop *loop, pid_t pid,
                      void (*on_exit)(void *owner, pid_t pid, int status), void *owner)
{
    struct loop_process *process = process_of(loop);
    struct child *child = mem_new(struct child);
    child->pid = pid;
    child->on_exit = on_exit;
    child->owner = owner;
    list_append(&process->children, &child->node);
    loop_task_init(&child->gone_task, on_child_gone);
    int fd = pidfd_open(pid, 0); // also finds a child that ended and was not waited for
    ASSERT(fd >= 0 || errno == ESRCH);
    loop_fd_init(&child->watch, loop, fd, on_child_ready);
    if (fd >= 0) {
        loop_fd_start(&child->watch, LOOP_FD_READ);
    } else {
        loop_task_schedule(loop, &child->gone_task);
    }
}

static struct child *find_child(struct loop_process *process, pid_t pid)
{
    list_each(&process->children, node) {
        struct child *child = container_of(node, struct child, node);
        if (child->pid == pid) {
            return child;
        }
    }
    return NULL;
}

void loop_child_unwatch(struct loop *loop, pid_t pid)
{
    struct child *child = find_child(process_of(loop), pid);
    if (child != NULL) {
        free_child(child);
    }
}

static void reap(struct loop_process *process)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        struct child *child = find_child(process, pid);
        if (child != NULL) {
            report_exit(child, status);
        }
    }
}

static void on_child_signal(void *owner, int signal_number)
{
    (void)signal_number;
    reap(owner);
}

void loop_child_reap_all(struct loop *loop)
{
    struct loop_process *process = process_of(loop);
    loop_signal_watch(loop, SIGCHLD, on_child_signal, process);
    reap(process); // those that ended before the signal was blocked
}
