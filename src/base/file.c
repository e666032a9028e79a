// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

static void close_fd(const int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

enum err file_read(struct arena *arena, const char *path, size_t size_max, struct str *ret_text,
                   struct error *err)
{
    __attribute__((cleanup(close_fd))) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_set_errno(err, errno, "open %s", path);
    }
    __attribute__((cleanup(buf_done))) struct buf content = {0};
    for (;;) {
        char *at = buf_reserve(&content, 4096);
        ssize_t got = read(fd, at, content.capacity - content.start - content.size);
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return error_set_errno(err, errno, "read %s", path);
        }
        if (got == 0) {
            break;
        }
        buf_commit(&content, (size_t)got);
        if (content.size > size_max) {
            return error_set(err, ERR_LIMIT, "%s is larger than %zu bytes", path, size_max);
        }
    }
    *ret_text = arena_str(arena, buf_view(&content));
    return ERR_OK;
}

static enum err write_all(int fd, struct str text)
{
    while (text.size > 0) {
        ssize_t wrote = write(fd, text.data, text.size);
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote < 0) {
            return ERR_IO;
        }
        text = str_from(text, (size_t)wrote);
    }
    return ERR_OK;
}

enum err file_write_atomic(const char *path, struct str text, mode_t mode, struct error *err)
{
    char temporary[PATH_MAX];
    int size = snprintf(temporary, sizeof(temporary), "%s.tmp.%ld", path, (long)getpid());
    if (size < 0 || (size_t)size >= sizeof(temporary)) {
        return error_set(err, ERR_INVALID, "path %s is too long", path);
    }
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        return error_set_errno(err, errno, "create %s", temporary);
    }
    bool written = write_all(fd, text) == ERR_OK && fchmod(fd, mode) == 0 && fsync(fd) == 0;
    int saved_errno = errno;
    if (close(fd) != 0 && written) {
        written = false;
        saved_errno = errno;
    }
    if (written && rename(temporary, path) != 0) {
        written = false;
        saved_errno = errno;
    }
    if (!written) {
        (void)unlink(temporary);
        return error_set_errno(err, saved_errno, "write %s", path);
    }
    return ERR_OK;
}

// False: it could not be made, errno says why.
static bool make_directory(const char *path, mode_t mode)
{
    if (mkdir(path, mode) == 0) {
        return true;
    }
    struct stat status;
    int saved_errno = errno;
    bool is_there = saved_errno == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    errno = saved_errno == EEXIST ? ENOTDIR : saved_errno;
    return is_there;
}

enum err file_make_directories(const char *path, mode_t mode, struct error *err)
{
    char partial[PATH_MAX];
    int size = snprintf(partial, sizeof(partial), "%s", path);
    if (size <= 0 || (size_t)size >= sizeof(partial)) {
        return error_set(err, ERR_INVALID, "path \"%s\" is empty or too long", path);
    }
    for (char *at = partial + 1;; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        char saved = *at;
        *at = '\0';
        if (!make_directory(partial, mode)) {
            return error_set_errno(err, errno, "create directory %s", partial);
        }
        *at = saved;
        if (saved == '\0') {
            return ERR_OK;
        }
    }
}
