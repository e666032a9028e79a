// SPDX-License-Identifier: Apache-2.0
//
// Errors: what can go wrong outside this process, as a value.
//
// A fallible function returns `enum err` (0 = ERR_OK) and takes an optional last argument
// `struct error *err`, storage of the caller, in which it leaves a sentence for people. Callers add
// context in front with error_prefix(). Allocation failure is not an error: it aborts (memory.h).
//
//   struct error err = {0};
//   if (file_read(arena, path, &text, &err) != ERR_OK) {
//       error_prefix(&err, "mesh config %s", path);
//       return err.code;
//   }
//
// Functions that can fail in one way only return bool or NULL instead.
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdarg.h>
#include <stddef.h>

enum err {
    ERR_OK = 0,
    ERR_INVALID,      // malformed or forbidden input; retrying the same input is pointless
    ERR_LIMIT,        // a named limit was exceeded
    ERR_NOT_FOUND,    // the named thing does not exist
    ERR_EXISTS,       // it exists already
    ERR_CONFLICT,     // it changed in between (optimistic concurrency)
    ERR_EXPIRED,      // the version or token asked for is too old
    ERR_DENIED,       // authentication or authorization refused it
    ERR_UNREACHABLE,  // connect failed, connection refused, no route
    ERR_CLOSED,       // the peer closed or reset, or we are shutting down
    ERR_TIMEOUT,      // a deadline passed
    ERR_PROTOCOL,     // the peer broke its protocol
    ERR_TLS,          // handshake or certificate verification failed
    ERR_IO,           // a system call failed; message has errno's text
    ERR_UNSUPPORTED,  // valid, but not something we do
    ERR_INTERNAL,     // a bug that was survived
    ERR_COUNT
};

#define ERROR_MESSAGE_SIZE 512

// Zero-initialized means "no error".
struct error {
    enum err code;
    char message[ERROR_MESSAGE_SIZE]; // NUL-terminated; cut, never overflowed
};

#define must_check __attribute__((warn_unused_result))
#define printf_like(format_index, first_arg) __attribute__((format(printf, format_index, first_arg)))

// Sets code and message; returns code, so that `return error_set(err, ERR_…, "…")` reads well.
// A NULL err is fine: only the code is returned then.
enum err error_set(struct error *err, enum err code, const char *format, ...) printf_like(3, 4);

// As error_set with ": <strerror(errno_value)>" appended; code ERR_IO, or the closer one for
// ENOENT, EEXIST, EACCES, ECONNREFUSED, ETIMEDOUT and their like.
enum err error_set_errno(struct error *err, int errno_value, const char *format, ...)
    printf_like(3, 4);

// Puts "<text>: " in front of the message; keeps the code. NULL is fine.
void error_prefix(struct error *err, const char *format, ...) printf_like(2, 3);

const char *err_name(enum err code);    // "not_found"
int err_http_status(enum err code);     // 404
int err_grpc_status(enum err code);     // 5

#endif
