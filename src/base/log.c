// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/memory.h"
#include "base/vec.h"

#define LOG_LINE_MAX 4096u  // one write() of it stays atomic on a pipe; fields that do not fit are left out
#define LOG_VALUE_MAX 1024u // of one field, escapes included

static const char *const level_names[] = {"none", "error", "warning", "info", "debug", "trace"};

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_scope *log_scopes; // guarded by log_lock
static int log_default_level = LOG_INFO;
static bool log_json;

// Levels asked for before their scope was first used; guarded by log_lock.
struct pending_level {
    char *name;
    int level;
};
static VEC(struct pending_level) log_pending;

static int level_from_name(struct str name)
{
    for (size_t i = 0; i < array_count(level_names); i++) {
        if (str_equal_c(name, level_names[i])) {
            return (int)i;
        }
    }
    return str_equal_c(name, "warn") ? LOG_WARNING : -1;
}

// Must hold log_lock.
static void set_one(struct str name, int level)
{
    if (str_equal_c(name, "default") || str_equal_c(name, "all")) {
        __atomic_store_n(&log_default_level, level, __ATOMIC_RELAXED);
        for (struct log_scope *scope = log_scopes; scope != NULL; scope = scope->next) {
            __atomic_store_n(&scope->level, level, __ATOMIC_RELAXED);
        }
        return;
    }
    for (struct log_scope *scope = log_scopes; scope != NULL; scope = scope->next) {
        if (str_equal_c(name, scope->name)) {
            __atomic_store_n(&scope->level, level, __ATOMIC_RELAXED);
            return;
        }
    }
    for (size_t i = 0; i < log_pending.count; i++) {
        if (str_equal_c(name, log_pending.items[i].name)) {
            log_pending.items[i].level = level;
            return;
        }
    }
    char *copy = mem_alloc(name.size + 1);
    memcpy(copy, name.data, name.size);
    copy[name.size] = '\0';
    vec_push(&log_pending, (struct pending_level){.name = copy, .level = level});
}

bool log_set_levels(struct str spec, struct error *err)
{
    for (int pass = 0; pass < 2; pass++) { // check all first: a bad part changes nothing
        struct str rest = spec;
        while (rest.data != NULL) {
            struct str part = str_split(&rest, ',');
            ptrdiff_t colon = str_find_char(part, ':');
            struct str name = colon < 0 ? STR("default") : str_sub(part, 0, (size_t)colon);
            struct str level_text = colon < 0 ? part : str_from(part, (size_t)colon + 1);
            int level = level_from_name(level_text);
            if (level < 0 || name.size == 0) {
                error_set(err, ERR_INVALID,
                          "log level \"%.*s\": want [scope:]none|error|warning|info|debug|trace",
                          STR_ARG(part));
                return false;
            }
            if (pass == 1) {
                pthread_mutex_lock(&log_lock);
                set_one(name, level);
                pthread_mutex_unlock(&log_lock);
            }
        }
    }
    return true;
}

void log_set_json(bool json)
{
    __atomic_store_n(&log_json, json, __ATOMIC_RELAXED);
}

static void register_scope(struct log_scope *scope)
{
    pthread_mutex_lock(&log_lock);
    if (scope->level < 0) {
        int level = log_default_level;
        for (size_t i = 0; i < log_pending.count; i++) {
            if (strcmp(log_pending.items[i].name, scope->name) == 0) {
                level = log_pending.items[i].level;
            }
        }
        scope->next = log_scopes;
        log_scopes = scope;
        __atomic_store_n(&scope->level, level, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&log_lock);
}

bool log_is_on(struct log_scope *scope, enum log_level level)
{
    int scope_level = __atomic_load_n(&scope->level, __ATOMIC_RELAXED);
    if (__builtin_expect(scope_level < 0, 0)) {
        register_scope(scope);
        scope_level = __atomic_load_n(&scope->level, __ATOMIC_RELAXED);
    }
    return (int)level <= scope_level;
}

// Bytes of the character at the start of s that may be shown as they are; 0: it needs an escape. Controls
// (also those of U+0080 to U+009F) and what is not UTF-8 do.
static size_t printable_size(struct str s)
{
    const unsigned char *bytes = (const unsigned char *)s.data;
    if (bytes[0] < 0x80) {
        return bytes[0] >= ' ' && bytes[0] != 0x7f ? 1 : 0;
    }
    size_t size = bytes[0] >= 0xf0 && bytes[0] <= 0xf4   ? 4
                  : bytes[0] >= 0xe0 && bytes[0] <= 0xef ? 3
                  : bytes[0] >= 0xc2 && bytes[0] <= 0xdf ? 2
                                                         : 0;
    if (size == 0 || size > s.size) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool is_bad = (bytes[0] == 0xc2 && bytes[1] < 0xa0) ||  // controls
                  (bytes[0] == 0xe0 && bytes[1] < 0xa0) ||  // too long a form
                  (bytes[0] == 0xed && bytes[1] >= 0xa0) || // surrogates
                  (bytes[0] == 0xf0 && bytes[1] < 0x90) || (bytes[0] == 0xf4 && bytes[1] >= 0x90);
    return is_bad ? 0 : size;
}

static bool needs_quotes(struct str s)
{
    for (size_t i = 0; i < s.size; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f || c >= 0x80) {
            return true;
        }
    }
    return s.size == 0;
}

static void append_escape(struct buf *line, struct str s)
{
    unsigned char c = (unsigned char)s.data[0];
    if (c == '\n') {
        buf_append_str(line, STR("\\n"));
    } else {
        buf_printf(line, "\\u%04x", c < 0x80 ? c : 0xfffdu);
    }
}

// In quotes, JSON's way. A value longer than LOG_VALUE_MAX is cut and ends in "...".
static void append_quoted(struct buf *line, struct str s)
{
    bool is_cut = false;
    size_t end = line->size + LOG_VALUE_MAX;
    buf_append_char(line, '"');
    while (s.size > 0 && !is_cut) {
        size_t size = printable_size(s);
        if (size == 0) {
            append_escape(line, s);
            size = 1;
        } else {
            if (s.data[0] == '"' || s.data[0] == '\\') {
                buf_append_char(line, '\\');
            }
            buf_append_str(line, str_sub(s, 0, size));
        }
        s = str_from(s, size);
        is_cut = s.size > 0 && line->size >= end;
    }
    buf_append_str(line, is_cut ? STR("...\"") : STR("\""));
}

static void append_value(struct buf *line, const struct log_field *field, bool json)
{
    switch (field->type) {
    case LOG_FIELD_STR:
        if (json || field->text.size > LOG_VALUE_MAX || needs_quotes(field->text)) {
            append_quoted(line, field->text);
        } else {
            buf_append_str(line, field->text);
        }
        break;
    case LOG_FIELD_U64:
        buf_append_u64(line, field->number);
        break;
    case LOG_FIELD_I64:
        buf_printf(line, "%lld", (long long)(int64_t)field->number);
        break;
    case LOG_FIELD_BOOL:
        buf_append_str(line, field->number != 0 ? STR("true") : STR("false"));
        break;
    }
}

static void append_time(struct buf *line)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm tm;
    gmtime_r(&now.tv_sec, &tm);
    char text[32];
    size_t size = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    buf_append(line, text, size);
    buf_printf(line, ".%03ldZ", now.tv_nsec / 1000000);
}

void log_write(struct log_scope *scope, enum log_level level, const char *sentence,
               const struct log_field *fields, int field_count)
{
    bool json = __atomic_load_n(&log_json, __ATOMIC_RELAXED);
    struct buf line = {0};
    if (json) {
        buf_append_str(&line, STR("{\"time\":\""));
        append_time(&line);
        buf_printf(&line, "\",\"level\":\"%s\",\"scope\":\"%s\",\"msg\":", level_names[level],
                   scope->name);
        append_quoted(&line, str_of(sentence));
    } else {
        append_time(&line);
        buf_printf(&line, " %-7s %s\t%s", level_names[level], scope->name, sentence);
    }
    for (int i = 0; i < field_count; i++) {
        size_t before = line.size;
        buf_append_str(&line, json ? STR(",\"") : STR(" "));
        buf_append_str(&line, str_of(fields[i].key));
        buf_append_str(&line, json ? STR("\":") : STR("="));
        append_value(&line, &fields[i], json);
        if (line.size > LOG_LINE_MAX - sizeof(",\"cut\":true}\n")) {
            buf_truncate(&line, before);
            buf_append_str(&line, json ? STR(",\"cut\":true") : STR(" cut=true"));
            break;
        }
    }
    buf_append_str(&line, json ? STR("}\n") : STR("\n"));
    struct str text = buf_view(&line);
    // A full or closed standard error must not stop the program; the line is lost then.
    ssize_t written = write(STDERR_FILENO, text.data, text.size);
    (void)written;
    buf_done(&line);
}
