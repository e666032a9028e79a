// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/failure.h"

#include "lab/apiserver/kinds.h"

static bool printf_like(5, 0) failure_fill(struct failure *failure, struct arena *arena, int code,
                                           const char *reason, const char *format, va_list args)
{
    *failure = (struct failure){.code = code, .reason = reason};
    failure->message = arena_vformat(arena, format, args);
    return false;
}

bool failure_set(struct failure *failure, struct arena *arena, int code, const char *reason,
                 const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)failure_fill(failure, arena, code, reason, format, args);
    va_end(args);
    return false;
}

bool failure_bad_request(struct failure *failure, struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)failure_fill(failure, arena, 400, "BadRequest", format, args);
    va_end(args);
    return false;
}

struct str failure_resource(struct arena *arena, const struct kind *kind)
{
    if (str_is_empty(kind->group)) {
        return kind->plural;
    }
    return arena_format(arena, "%.*s.%.*s", STR_ARG(kind->plural), STR_ARG(kind->group));
}

static void failure_about(struct failure *failure, const struct kind *kind, struct str name)
{
    failure->name = name;
    failure->group = kind->group;
    failure->kind = kind->plural;
}

bool failure_not_found(struct failure *failure, struct arena *arena, const struct kind *kind, struct str name)
{
    (void)failure_set(failure, arena, 404, "NotFound", "%.*s \"%.*s\" not found",
                      STR_ARG(failure_resource(arena, kind)), STR_ARG(name));
    failure_about(failure, kind, name);
    return false;
}

bool failure_exists(struct failure *failure, struct arena *arena, const struct kind *kind, struct str name)
{
    (void)failure_set(failure, arena, 409, "AlreadyExists", "%.*s \"%.*s\" already exists",
                      STR_ARG(failure_resource(arena, kind)), STR_ARG(name));
    failure_about(failure, kind, name);
    return false;
}

bool failure_conflict(struct failure *failure, struct arena *arena, const struct kind *kind, struct str name,
                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct str detail = arena_vformat(arena, format, args);
    va_end(args);
    (void)failure_set(failure, arena, 409, "Conflict", "Operation cannot be fulfilled on %.*s \"%.*s\": %.*s",
                      STR_ARG(failure_resource(arena, kind)), STR_ARG(name), STR_ARG(detail));
    failure_about(failure, kind, name);
    return false;
}

bool failure_forbidden(struct failure *failure, struct arena *arena, const struct kind *kind, struct str name,
                       const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct str detail = arena_vformat(arena, format, args);
    va_end(args);
    struct str resource = failure_resource(arena, kind);
    if (str_is_empty(name)) {
        (void)failure_set(failure, arena, 403, "Forbidden", "%.*s is forbidden: %.*s", STR_ARG(resource),
                          STR_ARG(detail));
    } else {
        (void)failure_set(failure, arena, 403, "Forbidden", "%.*s \"%.*s\" is forbidden: %.*s",
                          STR_ARG(resource), STR_ARG(name), STR_ARG(detail));
    }
    failure_about(failure, kind, name);
    return false;
}

bool failure_method(struct failure *failure, struct arena *arena)
{
    return failure_set(failure, arena, 405, "MethodNotAllowed",
                       "the server does not allow this method on the requested resource");
}

static void details_add_causes(struct arena *arena, struct json_value *details,
                               const struct failure *failure)
{
    if (failure->cause_count == 0) {
        return;
    }
    struct json_value *causes = json_ensure_array(arena, details, "causes");
    for (size_t i = 0; i < failure->cause_count; i++) {
        const struct failure_cause *cause = &failure->causes[i];
        struct json_value *item = json_new_object(arena);
        json_set_cstr(arena, item, "reason", cause->reason);
        json_set_str(arena, item, "message", cause->message);
        if (!str_is_empty(cause->field)) {
            json_set_str(arena, item, "field", cause->field);
        }
        json_push(arena, causes, item);
    }
}

struct json_value *failure_to_json(struct arena *arena, const struct failure *failure)
{
    struct json_value *status = json_new_object(arena);
    json_set_cstr(arena, status, "kind", "Status");
    json_set_cstr(arena, status, "apiVersion", "v1");
    (void)json_ensure_object(arena, status, "metadata");
    json_set_cstr(arena, status, "status", "Failure");
    json_set_str(arena, status, "message", failure->message);
    json_set_cstr(arena, status, "reason", failure->reason);
    struct json_value *details = json_new_object(arena);
    if (!str_is_empty(failure->name)) {
        json_set_str(arena, details, "name", failure->name);
    }
    if (!str_is_empty(failure->group)) {
        json_set_str(arena, details, "group", failure->group);
    }
    if (!str_is_empty(failure->kind)) {
        json_set_str(arena, details, "kind", failure->kind);
    }
    details_add_causes(arena, details, failure);
    if (failure->retry_after_seconds > 0) {
        json_set_int(arena, details, "retryAfterSeconds", failure->retry_after_seconds);
    }
    if (json_count(details) > 0) {
        json_set(arena, status, STR("details"), details);
    }
    json_set_int(arena, status, "code", failure->code);
    return status;
}

void field_error(struct field_errors *errors, const char *reason, const char *field, const char *format, ...)
{
    if (errors->count < FAILURE_CAUSES_MAX) {
        va_list args;
        va_start(args, format);
        errors->causes[errors->count] = (struct failure_cause){
            .reason = reason,
            .message = arena_vformat(errors->arena, format, args),
            .field = arena_str(errors->arena, str_of(field)),
        };
        va_end(args);
    }
    errors->count++;
}

bool field_errors_check(const struct field_errors *errors, struct failure *failure, const struct kind *kind,
                        struct str name)
{
    if (errors->count == 0) {
        return true;
    }
    struct arena *arena = errors->arena;
    size_t shown = errors->count < FAILURE_CAUSES_MAX ? errors->count : FAILURE_CAUSES_MAX;
    struct buf text = {0};
    for (size_t i = 0; i < shown; i++) {
        const struct failure_cause *cause = &errors->causes[i];
        buf_printf(&text, "%s%.*s: %.*s", i == 0 ? "" : ", ", STR_ARG(cause->field),
                   STR_ARG(cause->message));
    }
    if (errors->count > shown) {
        buf_printf(&text, ", and %zu more", errors->count - shown);
    }
    const char *dot = str_is_empty(kind->group) ? "" : ".";
    (void)failure_set(failure, arena, 422, "Invalid", "%.*s%s%.*s \"%.*s\" is invalid: %s%.*s%s",
                      STR_ARG(kind->kind), dot, STR_ARG(kind->group), STR_ARG(name),
                      errors->count > 1 ? "[" : "", STR_ARG(buf_view(&text)), errors->count > 1 ? "]" : "");
    buf_done(&text);
    failure->name = name;
    failure->group = kind->group;
    failure->kind = kind->kind;
    memcpy(failure->causes, errors->causes, shown * sizeof(errors->causes[0]));
    failure->cause_count = shown;
    return false;
}
