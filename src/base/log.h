// SPDX-License-Identifier: Apache-2.0
//
// Log: one event, one line, on standard error. A scope is a name with a level of its own that can be
// changed while running; each module that logs defines one:
//
//   static struct log_scope scope = LOG_SCOPE("xds");
//   log_info(&scope, "push complete", LOG_STR("proxy", id), LOG_U64("resources", count));
//
// prints  2026-01-02T03:04:05.678Z info  xds  push complete  proxy=a.b resources=12
// or, in JSON mode, one object per line with the same keys. Values with blanks or quotes are quoted;
// control bytes are escaped, so a peer cannot forge lines. Arguments are evaluated only when the level
// is on. Secrets never go here. base, codec, mesh and xds log at debug only; components may do more.
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

enum log_level { LOG_NONE = 0, LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG, LOG_TRACE };

struct log_scope {
    const char *name;
    int level;              // enum log_level; -1 = not registered yet
    struct log_scope *next; // registered scopes
};

#define LOG_SCOPE(scope_name) {.name = (scope_name), .level = -1}

enum log_field_type { LOG_FIELD_STR, LOG_FIELD_U64, LOG_FIELD_I64, LOG_FIELD_BOOL };

struct log_field {
    const char *key;
    enum log_field_type type;
    struct str text;
    uint64_t number;
};

#define LOG_STR(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_STR, .text = (v)})
#define LOG_CSTR(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_STR, .text = str_of(v)})
#define LOG_U64(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_U64, .number = (uint64_t)(v)})
#define LOG_I64(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_I64, .number = (uint64_t)(int64_t)(v)})
#define LOG_BOOL(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_BOOL, .number = (v) ? 1 : 0})
#define LOG_ERR(e) LOG_CSTR("error", (e)->message)

// Default level of scopes (info), or one scope's: "debug", "default:info,xds:debug". Scopes not yet
// seen get their level when they first log. False and a sentence when the text is malformed.
bool log_set_levels(struct str spec, struct error *err);
void log_set_json(bool json);

bool log_is_on(struct log_scope *scope, enum log_level level);
void log_write(struct log_scope *scope, enum log_level level, const char *sentence,
               const struct log_field *fields, int field_count);

#define log_at(scope, level, sentence, ...)                                               \
    do {                                                                                  \
        if (log_is_on((scope), (level))) {                                                \
            const struct log_field log_fields_[] = {__VA_ARGS__ __VA_OPT__(,) {0}};       \
            log_write((scope), (level), (sentence), log_fields_,                          \
                      (int)(sizeof(log_fields_) / sizeof(log_fields_[0])) - 1);           \
        }                                                                                 \
    } while (0)

#define log_error(scope, sentence, ...) log_at(scope, LOG_ERROR, sentence __VA_OPT__(,) __VA_ARGS__)
#define log_warning(scope, sentence, ...) log_at(scope, LOG_WARNING, sentence __VA_OPT__(,) __VA_ARGS__)
#define log_info(scope, sentence, ...) log_at(scope, LOG_INFO, sentence __VA_OPT__(,) __VA_ARGS__)
#define log_debug(scope, sentence, ...) log_at(scope, LOG_DEBUG, sentence __VA_OPT__(,) __VA_ARGS__)
#define log_trace(scope, sentence, ...) log_at(scope, LOG_TRACE, sentence __VA_OPT__(,) __VA_ARGS__)

#endif
