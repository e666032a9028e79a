// SPDX-License-Identifier: Apache-2.0
#include "lab/node/container.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "lab/node/container_spec.h"
#include "lab/node/log_file.h"
#include "lab/node/process.h"

#define RUNC_TIMEOUT_MS 30000u
#define MESSAGE_MAX 400u // of runc's own words
#define PID_TEXT_MAX 32u
#define OPEN_DESCRIPTORS_MAX 16

static struct log_scope scope = LOG_SCOPE("container");

enum container_state {
    CONTAINER_CREATING, // runc create runs
    CONTAINER_STARTING, // its process waits for runc start
    CONTAINER_RUNNING,
    CONTAINER_ENDED,
};

struct container {
    struct loop *loop;
    const struct container_events *events;
    void *owner;
    enum container_state state;
    char *id;
    char *runc_root;
    char *bundle;
    pid_t pid; // 0: none, or collected
    bool is_unwanted; // signalled before it had a process
    bool has_ended;
    int status; // of the program, once it has ended
    struct process *runc;
    struct log_file *log;
};

// runc's way to remove a container that may still be half there; lives on its own.
struct removal {
    char *bundle;
};

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

static void removal_on_done(void *owner, int status, struct str output)
{
    struct removal *removal = owner;
    (void)status; // there may have been nothing to remove
    (void)output;
    if (nftw(removal->bundle, remove_entry, OPEN_DESCRIPTORS_MAX, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0 && errno != ENOENT) {
        log_warning(&scope, "cannot remove a container's folder, leaving it", LOG_CSTR("path", removal->bundle));
    }
    mem_free(removal->bundle);
    mem_free(removal);
}

static void start_removal(struct container *container)
{
    const char *const arguments[] = {"runc", "--root", container->runc_root, "delete", "--force", container->id, NULL};
    struct process_options options = {.arguments = arguments, .output_fd = -1, .error_fd = -1, .timeout_ms = RUNC_TIMEOUT_MS};
    struct removal *removal = mem_new(struct removal);
    struct error err = {0};
    removal->bundle = mem_strdup(container->bundle);
    if (process_start(container->loop, &options, removal_on_done, removal, &err) == NULL) {
        log_warning(&scope, "cannot remove a container, leaving it", LOG_CSTR("id", container->id), LOG_ERR(&err));
        mem_free(removal->bundle);
        mem_free(removal);
    }
}

void container_free(struct container *container)
{
    if (container == NULL) {
        return;
    }
    if (container->pid > 0) {
        loop_child_unwatch(container->loop, container->pid);
        (void)kill(container->pid, SIGKILL);
    }
    process_cancel(container->runc);
    log_file_free(container->log);
    start_removal(container);
    mem_free(container->id);
    mem_free(container->runc_root);
    mem_free(container->bundle);
    mem_free(container);
}

static void end(struct container *container, int status, const struct error *err)
{
    container->state = CONTAINER_ENDED;
    if (err != NULL) {
        container->events->on_failed(container->owner, container, err);
    } else {
        container->events->on_ended(container->owner, container, status);
    }
}

// runc writes why it failed to its log file, and to standard error, which is the container's.
static void fail(struct container *container, const char *step, int status)
{
    char path[PATH_MAX];
    char status_text[48];
    struct arena arena = {0};
    struct str said = {0};
    struct error err = {0};
    (void)snprintf(path, sizeof(path), "%s/runc.log", container->bundle);
    if (file_read(&arena, path, PROCESS_OUTPUT_MAX, &said, NULL) == ERR_OK) {
        said = str_trim(said);
        ptrdiff_t line = str_find_last_char(said, '\n');
        said = line < 0 ? said : str_from(said, (size_t)line + 1);
    }
    (void)error_set(&err, ERR_IO, "runc %s: %s: %.*s", step, process_status_text(status, status_text),
                    (int)(said.size < MESSAGE_MAX ? said.size : MESSAGE_MAX), said.data == NULL ? "" : said.data);
    arena_done(&arena);
    end(container, 0, &err);
}

static bool run_runc(struct container *container, const char *const *arguments, process_done_fn *on_done, struct error *err)
{
    struct process_options options = {.arguments = arguments, .output_fd = log_file_output_fd(container->log),
                                      .error_fd = log_file_error_fd(container->log), .timeout_ms = RUNC_TIMEOUT_MS};
    container->runc = process_start(container->loop, &options, on_done, container, err);
    return container->runc != NULL;
}

static void on_program_end(void *owner, pid_t pid, int status)
{
    struct container *container = owner;
    (void)pid;
    container->pid = 0;
    container->has_ended = true;
    container->status = status;
    // While runc start is under way its own end tells whether the program began.
    if (container->state == CONTAINER_RUNNING) {
        end(container, status, NULL);
    }
}

static void start_on_done(void *owner, int status, struct str output)
{
    struct container *container = owner;
    (void)output;
    container->runc = NULL;
    if (status != 0) {
        fail(container, "start", status);
        return;
    }
    container->state = CONTAINER_RUNNING;
    log_file_release(container->log);
    container->events->on_started(container->owner, container);
    if (container->has_ended) {
        end(container, container->status, NULL);
    }
}

static bool read_pid(struct container *container, pid_t *ret_pid)
{
    char path[PATH_MAX];
    struct arena arena = {0};
    struct str text;
    uint64_t pid = 0;
    (void)snprintf(path, sizeof(path), "%s/pid", container->bundle);
    bool is_read = file_read(&arena, path, PID_TEXT_MAX, &text, NULL) == ERR_OK && str_to_u64(str_trim(text), &pid) &&
                   pid > 0 && pid < INT_MAX;
    arena_done(&arena);
    *ret_pid = (pid_t)pid;
    return is_read;
}

static void create_on_done(void *owner, int status, struct str output)
{
    struct container *container = owner;
    struct error err = {0};
    (void)output;
    container->runc = NULL;
    if (status != 0 || !read_pid(container, &container->pid)) {
        container->pid = 0;
        fail(container, "create", status);
        return;
    }
    container->state = CONTAINER_STARTING;
    if (container->is_unwanted) {
        (void)kill(container->pid, SIGKILL); // nothing of it has run yet
    }
    loop_child_watch(container->loop, container->pid, on_program_end, container);
    const char *const arguments[] = {"runc", "--root", container->runc_root, "start", container->id, NULL};
    if (!run_runc(container, arguments, start_on_done, &err)) {
        end(container, 0, &err);
    }
}

static enum err write_bundle(const struct container *container, const struct json_value *spec, struct str host_name,
                             struct error *err)
{
    char path[PATH_MAX];
    struct buf text = {0};
    (void)snprintf(path, sizeof(path), "%s/rootfs", container->bundle);
    enum err code = file_make_directories(path, 0755, err);
    if (code == ERR_OK) {
        code = container_root_make(str_of(path), host_name, err);
    }
    (void)snprintf(path, sizeof(path), "%s/config.json", container->bundle);
    json_write(spec, &text);
    if (code == ERR_OK) {
        code = file_write_atomic(path, buf_view(&text), 0600, err);
    }
    buf_done(&text);
    return code;
}

struct container *container_new(const struct container_options *options, const struct json_value *spec,
                                const struct container_events *events, void *owner, struct error *err)
{
    struct arena arena = {0};
    struct container *container = mem_new(struct container);
    *container = (struct container){.loop = options->loop, .events = events, .owner = owner};
    container->id = mem_strdup(arena_strdup(&arena, options->id));
    container->runc_root = mem_strdup(arena_strdup(&arena, options->runc_root));
    container->bundle = mem_strdup(arena_strdup(&arena, options->bundle));
    const char *const arguments[] = {"runc",
                                     "--root",
                                     container->runc_root,
                                     "--log",
                                     arena_format(&arena, "%s/runc.log", container->bundle).data,
                                     "create",
                                     "--bundle",
                                     container->bundle,
                                     "--pid-file",
                                     arena_format(&arena, "%s/pid", container->bundle).data,
                                     container->id,
                                     NULL};
    bool is_good = write_bundle(container, spec, options->host_name, err) == ERR_OK;
    if (is_good) {
        container->log = log_file_new(options->loop, arena_strdup(&arena, options->log_path), err);
        is_good = container->log != NULL && run_runc(container, arguments, create_on_done, err);
    }
    arena_done(&arena);
    if (!is_good) {
        container_free(container);
        return NULL;
    }
    return container;
}

void container_signal(struct container *container, int signal_number)
{
    if (container->pid > 0) {
        (void)kill(container->pid, signal_number);
    } else {
        container->is_unwanted = container->state == CONTAINER_CREATING;
    }
}

bool container_is_running(const struct container *container)
{
    return container->state == CONTAINER_RUNNING;
}

struct str container_id(const struct container *container)
{
    return str_of(container->id);
}
