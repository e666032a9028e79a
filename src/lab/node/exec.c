// SPDX-License-Identifier: Apache-2.0
//
// A process is `runc exec` and its descriptors: three pipes, or one terminal. runc copies between them and
// the program, and ends with its exit status. The container's own end takes the program with it.
#include "lab/node/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/memory.h"
#include "lab/node/node_internal.h"

#define READ_SIZE (16u * 1024)
#define HEAD_WORDS 6u // runc --root DIR exec [--tty] ID

extern char **environ;

struct runtime_process {
    struct loop *loop;
    const struct runtime_events *events;
    void *owner;
    pid_t pid;
    struct loop_fd readers[2]; // by enum runtime_stream; with a terminal the second is closed
    struct loop_fd writer;
    struct buf input;
    bool has_terminal;
    bool input_ended;
};

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

static void close_watch(struct loop_fd *watch)
{
    if (watch->fd >= 0) {
        loop_fd_stop(watch);
        close_fd(&watch->fd);
    }
}

static void destroy(struct runtime_process *process)
{
    close_watch(&process->readers[RUNTIME_OUTPUT]);
    close_watch(&process->readers[RUNTIME_ERROR]);
    close_watch(&process->writer);
    buf_done(&process->input);
    mem_free(process);
}

// --- what flows ------------------------------------------------------------------------------------

// False when nothing more comes (for now, or at all).
static bool read_some(struct runtime_process *process, enum runtime_stream stream)
{
    char bytes[READ_SIZE];
    struct loop_fd *watch = &process->readers[stream];
    ssize_t size = read(watch->fd, bytes, sizeof(bytes));
    if (size <= 0) {
        // A terminal whose other end is closed answers EIO.
        if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
            close_watch(watch);
        }
        return false;
    }
    process->events->on_output(process->owner, stream, str_make(bytes, (size_t)size));
    return true;
}

static void on_output(struct loop_fd *watch, unsigned events)
{
    (void)events;
    (void)read_some(container_of(watch, struct runtime_process, readers[RUNTIME_OUTPUT]), RUNTIME_OUTPUT);
}

static void on_error_output(struct loop_fd *watch, unsigned events)
{
    (void)events;
    (void)read_some(container_of(watch, struct runtime_process, readers[RUNTIME_ERROR]), RUNTIME_ERROR);
}

// The end of what is typed at a terminal is a character, elsewhere a closed pipe.
static void end_input(struct runtime_process *process)
{
    if (!process->has_terminal) {
        close_watch(&process->writer);
    }
}

static void on_input(struct loop_fd *watch, unsigned events)
{
    struct runtime_process *process = container_of(watch, struct runtime_process, writer);
    (void)events;
    struct str rest = buf_view(&process->input);
    ssize_t size = write(watch->fd, rest.data, rest.size);
    if (size < 0 && errno != EAGAIN && errno != EINTR) {
        buf_reset(&process->input); // the program reads no more: what is left has no taker
        close_watch(watch);
    } else if (size > 0) {
        buf_consume(&process->input, (size_t)size);
    }
    if (process->input.size == 0) {
        buf_release(&process->input);
        loop_fd_stop(watch);
        if (process->input_ended) {
            end_input(process);
        }
        process->events->on_drained(process->owner);
    }
}

static void on_exit_status(void *owner, pid_t pid, int status)
{
    struct runtime_process *process = owner;
    (void)pid;
    // What the program has said is in the pipes by now; a grandchild that keeps them open is not waited for.
    for (int stream = 0; stream <= RUNTIME_ERROR; stream++) {
        while (process->readers[stream].fd >= 0 && read_some(process, (enum runtime_stream)stream)) {
        }
    }
    process->events->on_end(process->owner, status);
    destroy(process);
}

// --- start -----------------------------------------------------------------------------------------

struct ends {
    int child[3];
    int ours[3]; // input, output, error; -1: none
};

static bool open_pipe(struct ends *ends, int index)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return false;
    }
    bool is_input = index == STDIN_FILENO;
    ends->child[index] = fds[is_input ? 0 : 1];
    ends->ours[index] = fds[is_input ? 1 : 0];
    return fcntl(ends->ours[index], F_SETFL, O_NONBLOCK) == 0;
}

static bool open_pipes(struct ends *ends, bool has_input)
{
    if (!has_input) {
        ends->child[STDIN_FILENO] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    bool is_good = has_input ? open_pipe(ends, STDIN_FILENO) : ends->child[STDIN_FILENO] >= 0;
    return is_good && open_pipe(ends, STDOUT_FILENO) && open_pipe(ends, STDERR_FILENO);
}

// runc sets its end to raw; the terminal that the program sees is another one, of the container.
static bool open_terminal(struct ends *ends)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (master < 0) {
        return false;
    }
    ends->ours[STDOUT_FILENO] = master;
    int slave = -1;
    if (unlockpt(master) == 0) {
        slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC); // without a name: /dev/pts may be another's
    }
    if (slave < 0) {
        return false;
    }
    ends->child[STDIN_FILENO] = slave;
    ends->child[STDOUT_FILENO] = fcntl(slave, F_DUPFD_CLOEXEC, 3);
    ends->child[STDERR_FILENO] = fcntl(slave, F_DUPFD_CLOEXEC, 3);
    ends->ours[STDIN_FILENO] = fcntl(master, F_DUPFD_CLOEXEC, 3);
    return ends->child[STDOUT_FILENO] >= 0 && ends->child[STDERR_FILENO] >= 0 && ends->ours[STDIN_FILENO] >= 0;
}

static int spawn(const char *const *arguments, const struct ends *ends, pid_t *ret_pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawnattr_init(&attributes);
    for (int i = 0; i < 3; i++) {
        (void)posix_spawn_file_actions_adddup2(&files, ends->child[i], i);
    }
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    union { // argv of posix_spawn is not const for historical reasons only
        const char *const *in;
        char *const *out;
    } words = {.in = arguments};
    int failure = posix_spawnp(ret_pid, arguments[0], &files, &attributes, words.out, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&files);
    return failure;
}

static const char *const *make_arguments(struct arena *arena, const struct node *node, const struct runtime_command *command)
{
    const char **arguments = arena_array(arena, const char *, HEAD_WORDS + command->word_count + 1);
    size_t count = 0;
    arguments[count++] = "runc";
    arguments[count++] = "--root";
    arguments[count++] = node->runc_root.data;
    arguments[count++] = "exec";
    if (command->has_terminal) {
        arguments[count++] = "--tty";
    }
    arguments[count++] = arena_strdup(arena, command->container_id);
    for (size_t i = 0; i < command->word_count; i++) {
        arguments[count++] = arena_strdup(arena, command->words[i]);
    }
    return arguments;
}

static struct runtime_process *watch_process(struct node *node, pid_t pid, const struct ends *ends)
{
    struct runtime_process *process = mem_new(struct runtime_process);
    process->loop = node->loop;
    process->pid = pid;
    loop_fd_init(&process->readers[RUNTIME_OUTPUT], node->loop, ends->ours[STDOUT_FILENO], on_output);
    loop_fd_init(&process->readers[RUNTIME_ERROR], node->loop, ends->ours[STDERR_FILENO], on_error_output);
    loop_fd_init(&process->writer, node->loop, ends->ours[STDIN_FILENO], on_input);
    loop_fd_start(&process->readers[RUNTIME_OUTPUT], LOOP_FD_READ);
    if (ends->ours[STDERR_FILENO] >= 0) {
        loop_fd_start(&process->readers[RUNTIME_ERROR], LOOP_FD_READ);
    }
    loop_child_watch(node->loop, pid, on_exit_status, process);
    return process;
}

static struct runtime_process *exec_start(void *owner, const struct runtime_command *command,
                                          const struct runtime_events *events, void *events_owner, struct error *err)
{
    struct node *node = owner;
    struct arena arena = {0};
    struct ends ends = {.child = {-1, -1, -1}, .ours = {-1, -1, -1}};
    pid_t pid = 0;
    if (command->has_terminal ? !open_terminal(&ends) : !open_pipes(&ends, command->has_input)) {
        (void)error_set_errno(err, errno, "cannot make a %s", command->has_terminal ? "terminal" : "pipe");
    } else {
        int failure = spawn(make_arguments(&arena, node, command), &ends, &pid);
        if (failure != 0) {
            (void)error_set_errno(err, failure, "cannot start runc");
            pid = 0;
        }
    }
    struct runtime_process *process = NULL;
    for (int i = 0; i < 3; i++) {
        close_fd(&ends.child[i]);
        if (pid == 0) {
            close_fd(&ends.ours[i]);
        }
    }
    if (pid != 0) {
        process = watch_process(node, pid, &ends);
        process->events = events;
        process->owner = events_owner;
        process->has_terminal = command->has_terminal;
    }
    arena_done(&arena);
    return process;
}

// --- the contract ----------------------------------------------------------------------------------

static void exec_write(struct runtime_process *process, struct str bytes)
{
    if (process->writer.fd < 0 || process->input_ended || bytes.size == 0) {
        return;
    }
    buf_append_str(&process->input, bytes);
    loop_fd_start(&process->writer, LOOP_FD_WRITE);
}

static void exec_write_end(struct runtime_process *process)
{
    process->input_ended = true;
    if (process->input.size == 0) {
        end_input(process);
    }
}

static bool exec_is_congested(const struct runtime_process *process)
{
    return process->input.size > RUNTIME_INPUT_HIGH_WATER;
}

static void exec_read(struct runtime_process *process, bool is_wanted)
{
    for (int i = 0; i <= RUNTIME_ERROR; i++) {
        struct loop_fd *watch = &process->readers[i];
        if (watch->fd >= 0 && is_wanted) {
            loop_fd_start(watch, LOOP_FD_READ);
        } else if (watch->fd >= 0) {
            loop_fd_stop(watch);
        }
    }
}

static void exec_resize(struct runtime_process *process, unsigned columns, unsigned rows)
{
    struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
    if (process->has_terminal && process->readers[RUNTIME_OUTPUT].fd >= 0) {
        (void)ioctl(process->readers[RUNTIME_OUTPUT].fd, TIOCSWINSZ, &size);
        (void)kill(process->pid, SIGWINCH); // it is no terminal of runc's session, so the kernel tells nobody
    }
}

static void exec_cancel(struct runtime_process *process)
{
    loop_child_unwatch(process->loop, process->pid);
    (void)kill(process->pid, SIGHUP); // runc passes it on; the loop reaps what nobody asks about
    destroy(process);
}

static struct str exec_log_folder(void *owner, struct arena *arena, struct str ns, struct str pod, struct str container)
{
    const struct node *node = owner;
    return arena_format(arena, "%.*s/pods/%.*s_%.*s/%.*s", STR_ARG(node->state_directory), STR_ARG(ns), STR_ARG(pod),
                        STR_ARG(container));
}

struct runtime exec_runtime(struct node *node)
{
    return (struct runtime){.owner = node, .exec = exec_start, .write = exec_write, .write_end = exec_write_end,
                            .is_congested = exec_is_congested, .read = exec_read, .resize = exec_resize,
                            .cancel = exec_cancel, .log_folder = exec_log_folder};
}
