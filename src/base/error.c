// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int http_status;
    int grpc_status;
} err_table[ERR_COUNT] = {
    [ERR_OK]          = {"ok",          200, 0},
    [ERR_INVALID]     = {"invalid",     400, 3},
    [ERR_LIMIT]       = {"limit",       429, 8},
    [ERR_NOT_FOUND]   = {"not_found",   404, 5},
    [ERR_EXISTS]      = {"exists",      409, 6},
    [ERR_CONFLICT]    = {"conflict",    409, 10},
    [ERR_EXPIRED]     = {"expired",     410, 11},
    [ERR_DENIED]      = {"denied",      403, 7},
    [ERR_UNREACHABLE] = {"unreachable", 503, 14},
    [ERR_CLOSED]      = {"closed",      503, 14},
    [ERR_TIMEOUT]     = {"timeout",     504, 4},
    [ERR_PROTOCOL]    = {"protocol",    502, 13},
    [ERR_TLS]         = {"tls",         503, 14},
    [ERR_IO]          = {"io",          500, 13},
    [ERR_UNSUPPORTED] = {"unsupported", 501, 12},
    [ERR_INTERNAL]    = {"internal",    500, 13},
};

static void printf_like(2, 0)
    format_message(struct error *err, const char *format, va_list args)
{
    (void)vsnprintf(err->message, sizeof(err->message), format, args);
}

enum err error_set(struct error *err, enum err code, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        err->code = code;
        format_message(err, format, args);
        va_end(args);
    }
    return code;
}

static enum err err_from_errno(int errno_value)
{
    switch (errno_value) {
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return ERR_UNREACHABLE;
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED:
        return ERR_CLOSED;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_IO;
    }
}

enum err error_set_errno(struct error *err, int errno_value, const char *format, ...)
{
    enum err code = err_from_errno(errno_value);
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        err->code = code;
        format_message(err, format, args);
        va_end(args);
        size_t used = strlen(err->message);
        char text[128];
        const char *reason = strerror_r(errno_value, text, sizeof(text));
        (void)snprintf(err->message + used, sizeof(err->message) - used, ": %s", reason);
    }
    return code;
}

void error_prefix(struct error *err, const char *format, ...)
{
    if (err == NULL) {
        return;
    }
    char prefix[ERROR_MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(prefix, sizeof(prefix), format, args);
    va_end(args);

    size_t prefix_size = strlen(prefix);
    size_t message_size = strlen(err->message);
    size_t room = sizeof(err->message) - 1;
    if (prefix_size + 2 > room) {
        return;
    }
    if (prefix_size + 2 + message_size > room) {
        message_size = room - prefix_size - 2;
    }
    memmove(err->message + prefix_size + 2, err->message, message_size);
    memcpy(err->message, prefix, prefix_size);
    memcpy(err->message + prefix_size, ": ", 2);
    err->message[prefix_size + 2 + message_size] = '\0';
}

const char *err_name(enum err code)
{
    return (unsigned)code < ERR_COUNT ? err_table[code].name : "unknown";
}

int err_http_status(enum err code)
{
    return (unsigned)code < ERR_COUNT ? err_table[code].http_status : 500;
}

int err_grpc_status(enum err code)
{
    return (unsigned)code < ERR_COUNT ? err_table[code].grpc_status : 2;
}
