// SPDX-License-Identifier: Apache-2.0
//
// failure: why a request was refused, as the Status object that goes on the wire. All text lives in the
// request's arena. Functions that fill one return false, so that `return failure_…()` reads well in
// functions that return true on success.
#ifndef LAB_APISERVER_FAILURE_H
#define LAB_APISERVER_FAILURE_H

#include "codec/json/json.h"

#define FAILURE_CAUSES_MAX 32u // further ones are counted in the message only

struct kind;

struct failure_cause {
    const char *reason; // "FieldValueInvalid"
    struct str message;
    struct str field;
};

struct failure {
    int code; // HTTP status; 0: none
    const char *reason;
    struct str message;
    struct str name;
    struct str group;
    struct str kind; // plural, or the Kind of an Invalid
    struct failure_cause causes[FAILURE_CAUSES_MAX];
    size_t cause_count;
    int retry_after_seconds;
};

bool failure_set(struct failure *failure, struct arena *arena, int code, const char *reason,
                 const char *format, ...) printf_like(5, 6);
bool failure_bad_request(struct failure *failure, struct arena *arena, const char *format, ...)
    printf_like(3, 4);
bool failure_not_found(struct failure *failure, struct arena *arena, const struct kind *kind, struct str name);
bool failure_exists(struct failure *failure, struct arena *arena, const struct kind *kind, struct str name);
bool failure_conflict(struct failure *failure, struct arena *arena, const struct kind *kind, struct str name,
                      const char *format, ...) printf_like(5, 6);
bool failure_forbidden(struct failure *failure, struct arena *arena, const struct kind *kind, struct str name,
                       const char *format, ...) printf_like(5, 6);
bool failure_method(struct failure *failure, struct arena *arena);
// "deployments.apps" or "pods".
struct str failure_resource(struct arena *arena, const struct kind *kind);

// The Status object of a failure.
struct json_value *failure_to_json(struct arena *arena, const struct failure *failure);

// --- validation: many errors, one Invalid ----------------------------------------------------------

struct field_errors {
    struct arena *arena;
    struct failure_cause causes[FAILURE_CAUSES_MAX];
    size_t count; // may exceed FAILURE_CAUSES_MAX
};

// reason is one of FieldValue{Required,Invalid,NotSupported,Duplicate,Forbidden,TooLong}; the message is
// the text behind "field: ".
void field_error(struct field_errors *errors, const char *reason, const char *field, const char *format, ...)
    printf_like(4, 5);
// True when there are none; else makes the 422.
bool field_errors_check(const struct field_errors *errors, struct failure *failure, const struct kind *kind,
                        struct str name);

#endif
