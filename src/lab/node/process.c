// SPDX-License-Identifier: Apache-2.0
#include "lab/node/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/memory.h"

#define READ_SIZE 4096

extern char **environ;

struct process {
    struct loop *loop;
    process_done_fn *on_done;
    void *owner;
    pid_t pid;
    struct loop_timer deadline;
    struct loop_fd reader; // its output
    struct loop_fd writer; // its input
    struct buf output;
    struct buf input;
};

static void close_watch(struct loop_fd *watch)
{
    if (watch->fd >= 0) {
        loop_fd_stop(watch);
        (void)close(watch->fd);
        watch->fd = -1;
    }
}

static void destroy(struct process *process)
{
    loop_timer_stop(&process->deadline);
    close_watch(&process->reader);
    close_watch(&process->writer);
    buf_done(&process->output);
    buf_done(&process->input);
    mem_free(process);
}

// False when nothing more comes (for now, or at all).
static bool read_some(struct process *process)
{
    char bytes[READ_SIZE];
    ssize_t size = read(process->reader.fd, bytes, sizeof(bytes));
    if (size <= 0) {
        if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
            close_watch(&process->reader);
        }
        return false;
    }
    size_t room = PROCESS_OUTPUT_MAX - process->output.size;
    buf_append(&process->output, bytes, (size_t)size < room ? (size_t)size : room);
    return true;
}

static void on_output(struct loop_fd *watch, unsigned events)
{
    (void)events;
    (void)read_some(container_of(watch, struct process, reader));
}

static void on_input(struct loop_fd *watch, unsigned events)
{
    struct process *process = container_of(watch, struct process, writer);
    (void)events;
    struct str rest = buf_view(&process->input);
    ssize_t size = write(watch->fd, rest.data, rest.size);
    if (size > 0) {
        buf_consume(&process->input, (size_t)size);
    }
    if (process->input.size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) {
        close_watch(watch);
    }
}

static void on_deadline(struct loop_timer *timer)
{
    struct process *process = container_of(timer, struct process, deadline);
    (void)kill(process->pid, SIGKILL);
}

static void on_exit_status(void *owner, pid_t pid, int status)
{
    struct process *process = owner;
    (void)pid;
    // A grandchild may keep the pipe open: what is there now is what the program said.
    while (process->reader.fd >= 0 && read_some(process)) {
    }
    process->on_done(process->owner, status, buf_view(&process->output));
    destroy(process);
}

// Starts it with the three descriptors; the child gets default signals whatever we ignore or block.
static int spawn(const struct process_options *options, int in, int out, pid_t *ret_pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
    (void)posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    (void)posix_spawn_file_actions_adddup2(&files, options->error_fd >= 0 ? options->error_fd : out, STDERR_FILENO);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    // argv of posix_spawn is not const for historical reasons only.
    union {
        const char *const *in;
        char *const *out;
    } arguments = {.in = options->arguments};
    int failure = posix_spawnp(ret_pid, options->arguments[0], &files, &attributes, arguments.out, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&files);
    return failure;
}

static bool open_input(struct str input, int ret_fds[2])
{
    ret_fds[1] = -1;
    if (input.size == 0) {
        ret_fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return ret_fds[0] >= 0;
    }
    return pipe2(ret_fds, O_CLOEXEC) == 0 && fcntl(ret_fds[1], F_SETFL, O_NONBLOCK) == 0;
}

static bool open_output(int given_fd, int ret_fds[2])
{
    ret_fds[0] = -1;
    if (given_fd >= 0) {
        ret_fds[1] = fcntl(given_fd, F_DUPFD_CLOEXEC, 3);
        return ret_fds[1] >= 0;
    }
    return pipe2(ret_fds, O_CLOEXEC) == 0 && fcntl(ret_fds[0], F_SETFL, O_NONBLOCK) == 0;
}

static void close_fd(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

struct process *process_start(struct loop *loop, const struct process_options *options, process_done_fn *on_done,
                              void *owner, struct error *err)
{
    int in[2] = {-1, -1};
    int out[2] = {-1, -1};
    pid_t pid = 0;
    if (!open_input(options->input, in) || !open_output(options->output_fd, out)) {
        (void)error_set_errno(err, errno, "cannot make a pipe");
    } else {
        int failure = spawn(options, in[0], out[1], &pid);
        if (failure != 0) {
            (void)error_set_errno(err, failure, "cannot start %s", options->arguments[0]);
            pid = 0;
        }
    }
    close_fd(in[0]);
    close_fd(out[1]);
    if (pid == 0) {
        close_fd(in[1]);
        close_fd(out[0]);
        return NULL;
    }
    struct process *process = mem_new(struct process);
    *process = (struct process){.loop = loop, .on_done = on_done, .owner = owner, .pid = pid};
    loop_timer_init(&process->deadline, loop, on_deadline);
    loop_fd_init(&process->reader, loop, out[0], on_output);
    loop_fd_init(&process->writer, loop, in[1], on_input);
    if (out[0] >= 0) {
        loop_fd_start(&process->reader, LOOP_FD_READ);
    }
    if (in[1] >= 0) {
        buf_append_str(&process->input, options->input);
        loop_fd_start(&process->writer, LOOP_FD_WRITE);
    }
    if (options->timeout_ms != 0) {
        loop_timer_start(&process->deadline, options->timeout_ms);
    }
    loop_child_watch(loop, pid, on_exit_status, process);
    return process;
}

void process_cancel(struct process *process)
{
    if (process == NULL) {
        return;
    }
    loop_child_unwatch(process->loop, process->pid);
    (void)kill(process->pid, SIGKILL);
    // The loop reaps what nobody asks about (loop_child_reap_all).
    destroy(process);
}

const char *process_status_text(int status, char out[static 48])
{
    if (WIFSIGNALED(status)) {
        (void)snprintf(out, 48, "killed by signal %d", WTERMSIG(status));
    } else {
        (void)snprintf(out, 48, "exit status %d", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    }
    return out;
}
