// SPDX-License-Identifier: Apache-2.0
#include "lab/node/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/memory.h"

enum { STREAM_OUTPUT, STREAM_ERROR, STREAM_COUNT };

static const char *const stream_names[] = {"stdout", "stderr"};

struct log_stream {
    struct log_file *log;
    struct loop_fd watch;
    int writing_fd;
    struct buf line; // begun, not ended
};

struct log_file {
    struct loop *loop;
    int fd;
    size_t size;
    char *path;
    struct log_stream streams[STREAM_COUNT];
};

static bool open_file(struct log_file *log, struct error *err)
{
    log->fd = open(log->path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    log->size = 0;
    if (log->fd < 0) {
        (void)error_set_errno(err, errno, "%s", log->path);
    }
    return log->fd >= 0;
}

static void rotate(struct log_file *log)
{
    char old[PATH_MAX];
    (void)snprintf(old, sizeof(old), "%s.1", log->path);
    (void)rename(log->path, old);
    (void)close(log->fd);
    (void)open_file(log, NULL);
}

// A disk that is full loses log lines, not the container.
static void write_entry(struct log_stream *stream, struct str text, bool is_whole)
{
    struct log_file *log = stream->log;
    char stamp[80];
    struct tm parts;
    uint64_t now = loop_wall_ms(log->loop);
    time_t seconds = (time_t)(now / 1000);
    size_t kind = (size_t)(stream - log->streams);
    struct buf entry = {0};
    (void)gmtime_r(&seconds, &parts);
    (void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &parts);
    buf_printf(&entry, "%s.%03u000000Z %s %c %.*s\n", stamp, (unsigned)(now % 1000), stream_names[kind], is_whole ? 'F' : 'P',
               STR_ARG(text));
    if (log->fd >= 0) {
        ssize_t size = write(log->fd, entry.data + entry.start, entry.size);
        log->size += size > 0 ? (size_t)size : 0;
        if (log->size > LOG_FILE_MAX) {
            rotate(log);
        }
    }
    buf_done(&entry);
}

static void take_lines(struct log_stream *stream)
{
    for (;;) {
        struct str text = buf_view(&stream->line);
        ptrdiff_t end = str_find_char(text, '\n');
        if (end < 0 && text.size < LOG_LINE_MAX) {
            return;
        }
        bool is_whole = end >= 0 && (size_t)end <= LOG_LINE_MAX;
        size_t size = is_whole ? (size_t)end : LOG_LINE_MAX;
        write_entry(stream, str_sub(text, 0, size), is_whole);
        buf_consume(&stream->line, size + (is_whole ? 1 : 0));
    }
}

static void end_stream(struct log_stream *stream)
{
    if (stream->watch.fd < 0) {
        return;
    }
    loop_fd_stop(&stream->watch);
    (void)close(stream->watch.fd);
    stream->watch.fd = -1;
    if (stream->line.size > 0) {
        write_entry(stream, buf_view(&stream->line), true);
    }
    buf_done(&stream->line);
}

// False when nothing more is there now.
static bool read_stream(struct log_stream *stream)
{
    ssize_t size = read(stream->watch.fd, buf_reserve(&stream->line, LOG_LINE_MAX), LOG_LINE_MAX);
    if (size > 0) {
        buf_commit(&stream->line, (size_t)size);
        take_lines(stream);
        buf_release(&stream->line);
        return true;
    }
    if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
        end_stream(stream);
    }
    return false;
}

static void on_readable(struct loop_fd *watch, unsigned events)
{
    (void)events;
    (void)read_stream(container_of(watch, struct log_stream, watch));
}

struct log_file *log_file_new(struct loop *loop, const char *path, struct error *err)
{
    struct log_file *log = mem_new(struct log_file);
    *log = (struct log_file){.loop = loop, .fd = -1, .path = mem_strdup(path)};
    for (int i = 0; i < STREAM_COUNT; i++) {
        log->streams[i] = (struct log_stream){.log = log, .writing_fd = -1};
        loop_fd_init(&log->streams[i].watch, loop, -1, on_readable);
    }
    bool is_good = open_file(log, err);
    for (int i = 0; i < STREAM_COUNT && is_good; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0) {
            (void)error_set_errno(err, errno, "cannot make a pipe");
            is_good = false;
            break;
        }
        (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
        loop_fd_init(&log->streams[i].watch, loop, ends[0], on_readable);
        log->streams[i].writing_fd = ends[1];
        loop_fd_start(&log->streams[i].watch, LOOP_FD_READ);
    }
    if (!is_good) {
        log_file_free(log);
        return NULL;
    }
    return log;
}

void log_file_free(struct log_file *log)
{
    if (log == NULL) {
        return;
    }
    log_file_release(log);
    for (int i = 0; i < STREAM_COUNT; i++) {
        while (log->streams[i].watch.fd >= 0 && read_stream(&log->streams[i])) {
        }
        end_stream(&log->streams[i]);
        buf_done(&log->streams[i].line);
    }
    if (log->fd >= 0) {
        (void)close(log->fd);
    }
    mem_free(log->path);
    mem_free(log);
}

int log_file_output_fd(const struct log_file *log)
{
    return log->streams[STREAM_OUTPUT].writing_fd;
}

int log_file_error_fd(const struct log_file *log)
{
    return log->streams[STREAM_ERROR].writing_fd;
}

void log_file_release(struct log_file *log)
{
    for (int i = 0; i < STREAM_COUNT; i++) {
        if (log->streams[i].writing_fd >= 0) {
            (void)close(log->streams[i].writing_fd);
            log->streams[i].writing_fd = -1;
        }
    }
}
