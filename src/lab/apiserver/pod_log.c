// SPDX-License-Identifier: Apache-2.0
//
// pods/log: a container's log file as plain text, and as it grows.
//
// The file is read only as fast as the client takes it. A follower looks at it again every FOLLOW_MS, goes
// over to the new file when the old one was rotated away, and ends when the start of the container it
// belongs to has ended and nothing more comes.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kube/timestamp.h"
#include "lab/apiserver/log_filter.h"
#include "lab/apiserver/pod_container.h"
#include "lab/apiserver/request.h"
#include "lab/apiserver/subresource.h"

#define FOLLOW_MS 100u
#define READ_SIZE (64u * 1024)
#define READS_MAX 16u       // at one go: others want the loop too
#define STARTS_MAX 1000000u // a file's number above it is none of ours

struct pod_log {
    struct request *request;
    struct log_filter filter;
    struct loop_timer timer;
    int fd;
    char path[PATH_MAX];
    struct str container;
    int64_t start; // restart count that the file belongs to
    bool follow;
    bool was_over; // the container had ended when we looked last: what is there now is all
};

// --- which file ------------------------------------------------------------------------------------

// The newest N.log of a folder that is not above `most`; -1: none.
static int64_t newest_log(const char *folder, int64_t most)
{
    int64_t newest = -1;
    DIR *entries = opendir(folder);
    if (entries == NULL) {
        return -1;
    }
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        struct str name = str_of(entry->d_name);
        uint64_t number = 0;
        if (str_ends_with(name, STR(".log")) && str_to_u64(str_sub(name, 0, name.size - 4), &number) && number <= STARTS_MAX &&
            (int64_t)number <= most && (int64_t)number > newest) {
            newest = (int64_t)number;
        }
    }
    (void)closedir(entries);
    return newest;
}

static const struct json_value *find_pod(const struct request *request, struct arena *arena)
{
    struct store_value *value =
        store_latest(request->kind->bucket, kind_key(arena, request->kind, request->path.ns, request->path.name));
    return value == NULL ? NULL : value_object(value);
}

// False: failure set.
static bool open_log(struct pod_log *log, const struct json_value *pod)
{
    struct request *request = log->request;
    struct arena *arena = &request->arena;
    const struct runtime *runtime = &request->server->runtime;
    bool previous = request_flag(&request->path, "previous");
    const struct json_value *status = pod_container_status(pod, log->container);
    int64_t restarts = json_get_int(status, "restartCount", 0);
    struct str folder = runtime->log_folder(runtime->owner, arena, request->path.ns, request->path.name, log->container);
    log->start = newest_log(folder.data, previous ? restarts - 1 : (int64_t)STARTS_MAX);
    int size = snprintf(log->path, sizeof(log->path), "%s/%d.log", folder.data, (int)log->start);
    if (log->start >= 0 && size > 0 && (size_t)size < sizeof(log->path)) {
        log->fd = open(log->path, O_RDONLY | O_CLOEXEC);
    }
    if (log->fd >= 0) {
        return true;
    }
    if (previous) {
        return failure_bad_request(&request->failure, arena, "previous terminated container \"%.*s\" in pod \"%.*s\" not found",
                                   STR_ARG(log->container), STR_ARG(request->path.name));
    }
    struct str reason = json_get_str(json_path(status, "state", "waiting", NULL), "reason");
    if (str_is_empty(reason)) {
        reason = str_equal(json_get_str(json_get(pod, "status"), "phase"), STR("Pending")) ? STR("ContainerCreating") : STR("its log is gone");
    }
    return failure_bad_request(&request->failure, arena, "container \"%.*s\" in pod \"%.*s\" is waiting to start: %.*s",
                               STR_ARG(log->container), STR_ARG(request->path.name), STR_ARG(reason));
}

// --- what the query asks for -----------------------------------------------------------------------

// A number parameter not below min; false: an error was noted or it is absent.
static bool read_number(struct request *request, struct field_errors *errors, const char *name, int64_t min, int64_t *ret_value)
{
    struct str text = request_parameter(&request->path, name);
    int64_t value;
    if (str_is_empty(text)) {
        return false;
    }
    if (!str_to_i64(text, &value) || value < min) {
        field_error(errors, "FieldValueInvalid", name, "Invalid value: %.*s: must be greater than %s0", STR_ARG(text),
                    min == 0 ? "or equal to " : "");
        return false;
    }
    *ret_value = value;
    return true;
}

static void read_since(struct pod_log *log, struct field_errors *errors)
{
    struct request *request = log->request;
    struct str since = request_parameter(&request->path, "sinceTime");
    int64_t seconds;
    if (read_number(request, errors, "sinceSeconds", 1, &seconds)) {
        uint64_t now = loop_wall_ms(request->server->loop);
        log->filter.since_ms = (uint64_t)seconds < now / 1000 ? now - (uint64_t)seconds * 1000 : 0;
        if (!str_is_empty(since)) {
            field_error(errors, "FieldValueForbidden", "sinceSeconds", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified");
        }
    } else if (!str_is_empty(since) && !timestamp_parse(since, &log->filter.since_ms)) {
        field_error(errors, "FieldValueInvalid", "sinceTime", "Invalid value: \"%.*s\": must be an RFC 3339 time", STR_ARG(since));
    }
}

static void read_stream(struct pod_log *log, struct field_errors *errors)
{
    struct str stream = request_parameter(&log->request->path, "stream");
    if (str_equal(stream, STR("Stdout"))) {
        log->filter.stream = "stdout";
    } else if (str_equal(stream, STR("Stderr"))) {
        log->filter.stream = "stderr";
    } else if (!str_is_empty(stream) && !str_equal(stream, STR("All"))) {
        field_error(errors, "FieldValueNotSupported", "stream",
                    "Unsupported value: \"%.*s\": supported values: \"All\", \"Stderr\", \"Stdout\"", STR_ARG(stream));
    }
}

// False: failure set. *ret_tail: lines wanted from the end; -1: all.
static bool read_options(struct pod_log *log, int64_t *ret_tail)
{
    struct request *request = log->request;
    struct field_errors errors = {.arena = &request->arena};
    struct kind options = {.kind = STR("PodLogOptions")};
    int64_t value;
    log->follow = request_flag(&request->path, "follow");
    log->filter.timestamps = request_flag(&request->path, "timestamps");
    *ret_tail = read_number(request, &errors, "tailLines", 0, &value) ? value : -1;
    if (read_number(request, &errors, "limitBytes", 1, &value)) {
        log->filter.has_limit = true;
        log->filter.limit_bytes = (uint64_t)value;
    }
    read_since(log, &errors);
    read_stream(log, &errors);
    return field_errors_check(&errors, &request->failure, &options, request->path.name);
}

// One pass over the file (LOG_FILE_MAX bounds it) to know where its last lines begin.
static void skip_to_tail(struct pod_log *log, int64_t tail)
{
    char bytes[READ_SIZE];
    struct log_line_counter counter = {0};
    uint64_t lines = 0;
    off_t at = 0;
    for (ssize_t size; (size = pread(log->fd, bytes, sizeof(bytes), at)) > 0; at += size) {
        lines += log_lines(&counter, str_make(bytes, (size_t)size));
    }
    log->filter.skip_lines = lines > (uint64_t)tail ? lines - (uint64_t)tail : 0;
}

// --- sending ---------------------------------------------------------------------------------------

// The start whose log this is runs no more, or its pod is gone.
static bool is_over(const struct pod_log *log)
{
    struct arena arena = {0};
    const struct json_value *pod = find_pod(log->request, &arena);
    const struct json_value *status = pod_container_status(pod, log->container);
    bool over = status == NULL || json_path(status, "state", "running", NULL) == NULL ||
                json_get_int(status, "restartCount", 0) != log->start;
    arena_done(&arena);
    return over;
}

// The file was rotated away and its successor is there.
static bool open_next(struct pod_log *log)
{
    struct stat ours;
    struct stat present;
    if (fstat(log->fd, &ours) != 0 || stat(log->path, &present) != 0 || ours.st_ino == present.st_ino) {
        return false;
    }
    int fd = open(log->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    (void)close(log->fd);
    log->fd = fd;
    return true;
}

static void finish(struct pod_log *log)
{
    if (log->request->exchange != NULL) {
        http_send_data(log->request->exchange, STR_EMPTY, true);
    }
}

// What the file has, while the client takes it. False: it has no more now.
static bool send_some(struct pod_log *log)
{
    char bytes[READ_SIZE];
    ssize_t size = read(log->fd, bytes, sizeof(bytes));
    if (size <= 0) {
        return size < 0 && errno == EINTR;
    }
    struct buf out = {0};
    log_filter_feed(&log->filter, str_make(bytes, (size_t)size), &out);
    if (out.size > 0) {
        http_send_data(log->request->exchange, buf_view(&out), false);
    }
    buf_done(&out);
    return true;
}

static void advance(struct pod_log *log)
{
    for (unsigned i = 0; i < READS_MAX; i++) {
        if (log_filter_is_full(&log->filter)) {
            finish(log);
            return;
        }
        if (http_is_congested(log->request->exchange)) {
            return; // on_drained goes on
        }
        if (send_some(log) || open_next(log)) {
            continue;
        }
        if (!log->follow || log->was_over) {
            finish(log);
            return;
        }
        log->was_over = is_over(log);
        loop_timer_start(&log->timer, FOLLOW_MS);
        return;
    }
    loop_timer_start(&log->timer, 0);
}

static void on_timer(struct loop_timer *timer)
{
    advance(container_of(timer, struct pod_log, timer));
}

static void on_drained(void *owner, struct http_exchange *exchange)
{
    struct pod_log *log = owner;
    (void)exchange;
    loop_timer_start(&log->timer, 0);
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    struct pod_log *log = owner;
    (void)exchange;
    (void)err;
    loop_timer_stop(&log->timer);
    log_filter_done(&log->filter);
    (void)close(log->fd);
}

static void answer(struct pod_log *log)
{
    static const struct http_events events = {.on_drained = on_drained, .on_close = on_close};
    struct http_head head;
    http_head_init_response(&head, 200);
    (void)http_head_add(&head, STR("content-type"), STR("text/plain"));
    (void)http_head_add(&head, STR("cache-control"), STR("no-cache, private"));
    loop_timer_init(&log->timer, log->request->server->loop, on_timer);
    request_take_over(log->request, &events, log);
    http_send_head(log->request->exchange, &head, false);
    advance(log);
}

void pod_log_serve(struct request *request)
{
    struct arena *arena = &request->arena;
    struct pod_log *log = arena_new(arena, struct pod_log);
    const struct json_value *pod = find_pod(request, arena);
    int64_t tail = -1;
    log->request = request;
    log->fd = -1;
    if (request->verb != VERB_GET || str_equal(request->method, STR("HEAD"))) {
        (void)failure_method(&request->failure, arena);
    } else if (pod == NULL) {
        (void)failure_not_found(&request->failure, arena, request->kind, request->path.name);
    } else if (read_options(log, &tail) &&
               pod_container_choose(arena, pod, request_parameter(&request->path, "container"), &log->container, &request->failure)) {
        if (str_is_empty(json_get_str(json_get(pod, "spec"), "nodeName"))) {
            request_respond(request, 200, STR("text/plain"), STR_EMPTY); // it runs nowhere: it has said nothing
            return;
        }
        log->container = arena_str(arena, log->container);
        if (request->server->runtime.log_folder == NULL) {
            (void)failure_set(&request->failure, arena, 503, "ServiceUnavailable", "the node that runs the pod is not there yet");
        } else if (request->exchange != NULL && open_log(log, pod)) {
            if (tail >= 0) {
                skip_to_tail(log, tail);
            }
            answer(log);
            return;
        }
    }
    request_fail(request);
}
