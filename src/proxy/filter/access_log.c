// SPDX-License-Identifier: Apache-2.0
#include "proxy/filter/access_log.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/vec.h"
#include "codec/pb/pb.h"
#include "envoy/extensions/access_loggers/file/v3/file.pb-c.h"

#define FORMAT_PARTS_MAX 256u
#define HEADER_NAME_MAX 128u

#define DEFAULT_FORMAT                                                                                                   \
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% "  \
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" "         \
    "\"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n"

static const struct {
    unsigned flag;
    const char *name;
} flag_names[] = {
    {FLAG_NO_HEALTHY_UPSTREAM, "UH"}, {FLAG_UPSTREAM_TIMEOUT, "UT"},     {FLAG_LOCAL_RESET, "LR"},
    {FLAG_UPSTREAM_RESET, "UR"},      {FLAG_UPSTREAM_CONNECT_FAILURE, "UF"}, {FLAG_UPSTREAM_TERMINATION, "UC"},
    {FLAG_UPSTREAM_OVERFLOW, "UO"},   {FLAG_NO_ROUTE, "NR"},             {FLAG_DOWNSTREAM_TERMINATION, "DC"},
    {FLAG_RETRY_LIMIT, "URX"},        {FLAG_STREAM_IDLE, "SI"},          {FLAG_DOWNSTREAM_PROTOCOL, "DPE"},
    {FLAG_DURATION, "DT"},            {FLAG_UPSTREAM_PROTOCOL, "UPE"},   {FLAG_NO_CLUSTER, "NC"},
    {FLAG_FAULT_DELAY, "DI"},         {FLAG_FAULT_ABORT, "FI"},
};

void response_flags_write(unsigned flags, struct buf *out)
{
    bool first = true;
    for (size_t i = 0; i < array_count(flag_names); i++) {
        if ((flags & flag_names[i].flag) != 0) {
            buf_printf(out, "%s%s", first ? "" : ",", flag_names[i].name);
            first = false;
        }
    }
    if (first) {
        buf_append_char(out, '-');
    }
}

// --- format: literal text and operators ----------------------------------------------------------------

enum operator_kind {
    OP_LITERAL, OP_START_TIME, OP_REQUEST_HEADER, OP_RESPONSE_HEADER, OP_PROTOCOL, OP_STATUS, OP_FLAGS, OP_DETAILS,
    OP_TERMINATION, OP_UPSTREAM_FAILURE, OP_BYTES_RECEIVED, OP_BYTES_SENT, OP_DURATION, OP_UPSTREAM_HOST,
    OP_UPSTREAM_CLUSTER, OP_UPSTREAM_LOCAL, OP_DOWNSTREAM_LOCAL, OP_DOWNSTREAM_REMOTE, OP_SERVER_NAME, OP_ROUTE_NAME,
};

static const struct {
    const char *name;
    enum operator_kind kind;
} operators[] = {
    {"START_TIME", OP_START_TIME},
    {"REQ", OP_REQUEST_HEADER},
    {"RESP", OP_RESPONSE_HEADER},
    {"PROTOCOL", OP_PROTOCOL},
    {"RESPONSE_CODE", OP_STATUS},
    {"RESPONSE_FLAGS", OP_FLAGS},
    {"RESPONSE_CODE_DETAILS", OP_DETAILS},
    {"CONNECTION_TERMINATION_DETAILS", OP_TERMINATION},
    {"UPSTREAM_TRANSPORT_FAILURE_REASON", OP_UPSTREAM_FAILURE},
    {"BYTES_RECEIVED", OP_BYTES_RECEIVED},
    {"BYTES_SENT", OP_BYTES_SENT},
    {"DURATION", OP_DURATION},
    {"UPSTREAM_HOST", OP_UPSTREAM_HOST},
    {"UPSTREAM_CLUSTER", OP_UPSTREAM_CLUSTER},
    {"UPSTREAM_CLUSTER_RAW", OP_UPSTREAM_CLUSTER},
    {"UPSTREAM_LOCAL_ADDRESS", OP_UPSTREAM_LOCAL},
    {"DOWNSTREAM_LOCAL_ADDRESS", OP_DOWNSTREAM_LOCAL},
    {"DOWNSTREAM_REMOTE_ADDRESS", OP_DOWNSTREAM_REMOTE},
    {"REQUESTED_SERVER_NAME", OP_SERVER_NAME},
    {"ROUTE_NAME", OP_ROUTE_NAME},
};

struct part {
    enum operator_kind kind;
    struct str text;        // literal, or header name in lower case
    struct str alternative; // header to look at when the first is absent
    size_t size_max;        // 0: whole
};

struct logger {
    int sink; // index into access_sink.pending
    unsigned only_flags; // 0: always
    struct part *parts;
    size_t part_count;
};

struct access_log {
    struct logger *loggers;
    size_t count;
};

static struct str lower(struct arena *arena, struct str text)
{
    char *copy = arena_strdup(arena, text);
    for (size_t i = 0; i < text.size; i++) {
        copy[i] = (char)(copy[i] >= 'A' && copy[i] <= 'Z' ? copy[i] - 'A' + 'a' : copy[i]);
    }
    return str_make(copy, text.size);
}

// "REQ(X-A?:PATH):20" without the percent signs.
static enum err compile_operator(struct arena *arena, struct str text, struct part *part, struct error *err)
{
    struct str name = text;
    struct str argument = STR_EMPTY;
    ptrdiff_t open = str_find_char(text, '(');
    ptrdiff_t close = str_find_last_char(text, ')');
    if (open >= 0 && close > open) {
        name = str_sub(text, 0, (size_t)open);
        argument = str_sub(text, (size_t)open + 1, (size_t)(close - open - 1));
    }
    struct str tail = close >= 0 ? str_from(text, (size_t)close + 1) : STR_EMPTY;
    uint64_t size_max = 0;
    if (tail.size > 1 && tail.data[0] == ':' && str_to_u64(str_from(tail, 1), &size_max)) {
        part->size_max = (size_t)size_max;
    }
    for (size_t i = 0; i < array_count(operators); i++) {
        if (str_equal_c(name, operators[i].name)) {
            struct str first = str_split(&argument, '?');
            part->kind = operators[i].kind;
            part->text = lower(arena, first);
            part->alternative = argument.data == NULL ? STR_EMPTY : lower(arena, argument);
            return ERR_OK;
        }
    }
    return error_set(err, ERR_UNSUPPORTED, "access log operator %%%.*s%% is not supported", STR_ARG(name));
}

static enum err compile_format(struct arena *arena, struct str format, struct logger *logger, struct error *err)
{
    logger->parts = arena_array(arena, struct part, FORMAT_PARTS_MAX);
    size_t at = 0;
    while (at < format.size) {
        if (logger->part_count == FORMAT_PARTS_MAX) {
            return error_set(err, ERR_LIMIT, "access log format with more than %u parts", FORMAT_PARTS_MAX);
        }
        struct part *part = &logger->parts[logger->part_count++];
        struct str rest = str_from(format, at);
        ptrdiff_t percent = str_find_char(rest, '%');
        if (percent != 0) {
            size_t size = percent < 0 ? rest.size : (size_t)percent;
            part->text = arena_str(arena, str_sub(rest, 0, size));
            at += size;
            continue;
        }
        ptrdiff_t end = str_find_char(str_from(rest, 1), '%');
        if (end < 0) {
            return error_set(err, ERR_INVALID, "access log format with an open %%");
        }
        if (end == 0) {
            part->text = STR("%");
        } else if (compile_operator(arena, str_sub(rest, 1, (size_t)end), part, err) != ERR_OK) {
            return ERR_UNSUPPORTED;
        }
        at += (size_t)end + 2;
    }
    return ERR_OK;
}

static enum err compile_filter(const Envoy__Config__Accesslog__V3__AccessLogFilter *filter, struct logger *logger, struct error *err)
{
    if (filter == NULL) {
        return ERR_OK;
    }
    if (filter->filter_specifier_case != ENVOY__CONFIG__ACCESSLOG__V3__ACCESS_LOG_FILTER__FILTER_SPECIFIER_RESPONSE_FLAG_FILTER) {
        return error_set(err, ERR_UNSUPPORTED, "access log filters other than by response flag are not supported");
    }
    for (size_t i = 0; i < filter->response_flag_filter->n_flags; i++) {
        for (size_t k = 0; k < array_count(flag_names); k++) {
            if (strcmp(filter->response_flag_filter->flags[i], flag_names[k].name) == 0) {
                logger->only_flags |= flag_names[k].flag;
            }
        }
    }
    if (filter->response_flag_filter->n_flags == 0) {
        logger->only_flags = UINT32_MAX; // any flag
    }
    return ERR_OK;
}

static enum err compile_logger(struct arena *arena, const Envoy__Config__Accesslog__V3__AccessLog *config, struct logger *logger,
                               struct error *err)
{
    const Envoy__Extensions__AccessLoggers__File__V3__FileAccessLog *file = pb_any_unpack(
        arena, config->typed_config, &envoy__extensions__access_loggers__file__v3__file_access_log__descriptor, err);
    if (file == NULL) {
        return ERR_UNSUPPORTED;
    }
    if (strcmp(file->path, "/dev/stdout") != 0 && strcmp(file->path, "/dev/stderr") != 0) {
        return error_set(err, ERR_UNSUPPORTED, "access log to %s: only /dev/stdout and /dev/stderr are supported", file->path);
    }
    logger->sink = strcmp(file->path, "/dev/stderr") == 0;
    struct str format = STR(DEFAULT_FORMAT);
    if (file->access_log_format_case == ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_FORMAT) {
        format = str_of(file->format);
    } else if (file->access_log_format_case == ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_LOG_FORMAT) {
        const Envoy__Config__Core__V3__SubstitutionFormatString *text = file->log_format;
        if (text->format_case == ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT) {
            format = str_of(text->text_format);
        } else if (text->format_case == ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT_SOURCE &&
                   text->text_format_source->specifier_case == ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING) {
            format = str_of(text->text_format_source->inline_string);
        } else {
            return error_set(err, ERR_UNSUPPORTED, "access logs in JSON are not supported");
        }
    } else if (file->access_log_format_case != ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT__NOT_SET) {
        return error_set(err, ERR_UNSUPPORTED, "access logs in JSON are not supported");
    }
    enum err result = compile_filter(config->filter, logger, err);
    return result == ERR_OK ? compile_format(arena, format, logger, err) : result;
}

enum err access_log_compile(struct arena *arena, Envoy__Config__Accesslog__V3__AccessLog **configs, size_t count,
                            const struct access_log **ret_log, struct error *err)
{
    struct error ignored = {0};
    err = err == NULL ? &ignored : err;
    struct access_log *log = arena_new(arena, struct access_log);
    log->loggers = arena_array(arena, struct logger, count + 1);
    for (size_t i = 0; i < count; i++) {
        enum err result = compile_logger(arena, configs[i], &log->loggers[i], err);
        if (result != ERR_OK) {
            return result;
        }
    }
    log->count = count;
    *ret_log = count == 0 ? NULL : log;
    return ERR_OK;
}

// --- writing -------------------------------------------------------------------------------------------

static struct str head_value(const struct http_head *head, struct str name)
{
    if (head == NULL || name.size == 0) {
        return STR_EMPTY;
    }
    return str_equal(name, STR(":method"))      ? head->method
           : str_equal(name, STR(":path"))      ? head->path
           : str_equal(name, STR(":authority")) ? head->authority
           : str_equal(name, STR(":scheme"))    ? head->scheme
                                                : http_head_get(head, name);
}

static void write_time(uint64_t wall_ms, struct buf *out)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    char text[32] = "";
    if (gmtime_r(&seconds, &parts) != NULL) {
        (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
    }
    buf_printf(out, "%s.%03uZ", text, (unsigned)(wall_ms % 1000));
}

// A line stays a line: control bytes from a peer are replaced.
static void write_text(struct str text, size_t size_max, struct buf *out)
{
    if (text.size == 0) {
        buf_append_char(out, '-');
        return;
    }
    size_t size = size_max > 0 && size_max < text.size ? size_max : text.size;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        buf_append_char(out, c < ' ' || c == 0x7f ? '?' : (char)c);
    }
}

static void write_address(const struct address *address, struct buf *out)
{
    char text[ADDRESS_TEXT_SIZE];
    write_text(address == NULL || address->size == 0 ? STR_EMPTY : str_of(address_format(address, text)), 0, out);
}

static void write_details(struct str text, struct buf *out)
{
    size_t from = out->size;
    write_text(text, 0, out);
    for (size_t i = from; i < out->size; i++) {
        char *c = &out->data[out->start + i];
        *c = *c == ' ' ? '_' : *c;
    }
}

static struct str protocol_text(int protocol)
{
    return protocol == 10 ? STR("HTTP/1.0") : protocol == 11 ? STR("HTTP/1.1") : protocol == 20 ? STR("HTTP/2") : STR_EMPTY;
}

static void write_part(const struct part *part, const struct access_facts *facts, struct buf *out)
{
    struct str value;
    switch (part->kind) {
    case OP_LITERAL:
        buf_append_str(out, part->text);
        return;
    case OP_START_TIME:
        write_time(facts->start_wall_ms, out);
        return;
    case OP_REQUEST_HEADER:
    case OP_RESPONSE_HEADER: {
        const struct http_head *head = part->kind == OP_REQUEST_HEADER ? facts->request : facts->response;
        value = head_value(head, part->text);
        write_text(value.size > 0 ? value : head_value(head, part->alternative), part->size_max, out);
        return;
    }
    case OP_PROTOCOL:
        write_text(protocol_text(facts->protocol), 0, out);
        return;
    case OP_STATUS:
        buf_printf(out, "%d", facts->status);
        return;
    case OP_FLAGS:
        response_flags_write(facts->flags, out);
        return;
    case OP_DETAILS:
        write_details(facts->details, out);
        return;
    case OP_TERMINATION:
        write_details(facts->termination_details, out);
        return;
    case OP_UPSTREAM_FAILURE:
        write_text(facts->upstream_failure, 0, out);
        return;
    case OP_BYTES_RECEIVED:
        buf_append_u64(out, facts->bytes_received);
        return;
    case OP_BYTES_SENT:
        buf_append_u64(out, facts->bytes_sent);
        return;
    case OP_DURATION:
        buf_append_u64(out, facts->duration_ms);
        return;
    case OP_UPSTREAM_HOST:
        write_text(facts->upstream_host, 0, out);
        return;
    case OP_UPSTREAM_CLUSTER:
        write_text(facts->upstream_cluster, 0, out);
        return;
    case OP_UPSTREAM_LOCAL:
        write_address(facts->upstream_local, out);
        return;
    case OP_DOWNSTREAM_LOCAL:
        write_address(facts->downstream_local, out);
        return;
    case OP_DOWNSTREAM_REMOTE:
        write_address(facts->downstream_remote, out);
        return;
    case OP_SERVER_NAME:
        write_text(facts->server_name, 0, out);
        return;
    case OP_ROUTE_NAME:
        write_text(facts->route_name, 0, out);
        return;
    }
}

static void flush_one(struct buf *pending, int fd)
{
    while (pending->size > 0) {
        struct str bytes = buf_view(pending);
        ssize_t written = write(fd, bytes.data, bytes.size);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) { // a reader that is gone or slow must not stop traffic
            return;
        }
        buf_consume(pending, (size_t)written);
    }
    buf_release(pending);
}

static void on_flush(struct loop_timer *timer)
{
    struct access_sink *sink = container_of(timer, struct access_sink, flush);
    flush_one(&sink->pending[0], STDOUT_FILENO);
    flush_one(&sink->pending[1], STDERR_FILENO);
}

void access_sink_init(struct access_sink *sink, struct loop *loop)
{
    *sink = (struct access_sink){.loop = loop};
    loop_timer_init(&sink->flush, loop, on_flush);
}

void access_sink_done(struct access_sink *sink)
{
    loop_timer_stop(&sink->flush);
    on_flush(&sink->flush);
    buf_done(&sink->pending[0]);
    buf_done(&sink->pending[1]);
}

void access_log_write(const struct access_log *log, struct access_sink *sink, const struct access_facts *facts)
{
    for (size_t i = 0; log != NULL && i < log->count; i++) {
        const struct logger *logger = &log->loggers[i];
        struct buf *out = &sink->pending[logger->sink];
        if (logger->only_flags != 0 && (logger->only_flags & facts->flags) == 0) {
            continue;
        }
        if (out->size > ACCESS_LOG_PENDING_MAX) {
            sink->dropped++;
            continue;
        }
        for (size_t k = 0; k < logger->part_count; k++) {
            write_part(&logger->parts[k], facts, out);
        }
        if (out->size >= ACCESS_LOG_FLUSH_SIZE) {
            on_flush(&sink->flush);
        } else if (!loop_timer_is_running(&sink->flush)) {
            loop_timer_start(&sink->flush, ACCESS_LOG_FLUSH_MS);
        }
    }
}
