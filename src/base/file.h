// SPDX-License-Identifier: Apache-2.0
//
// Small whole files: configuration, certificates, tokens. Blocking; not for the request path.
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

#define FILE_READ_MAX (64u * 1024 * 1024)

// The whole content, NUL-terminated behind its size, in the arena. ERR_LIMIT above size_max.
enum err file_read(struct arena *arena, const char *path, size_t size_max, struct str *ret_text,
                   struct error *err) must_check;

// Writes to a temporary name beside path, syncs and renames: readers see the old or the new file.
enum err file_write_atomic(const char *path, struct str text, mode_t mode, struct error *err)
    must_check;

// mkdir -p; existing directories are fine.
enum err file_make_directories(const char *path, mode_t mode, struct error *err) must_check;

#endif
