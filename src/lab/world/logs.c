// SPDX-License-Identifier: Apache-2.0
//
// logs: `lab logs`: the files containers' output is kept in, one per start, printed and followed.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lab/world/command_internal.h"
#include "lab/world/enter.h"

#define FOLLOW_INTERVAL_US 200000
#define COPY_SIZE 65536

// The newest N.log of a folder, or the one before it; -1: none.
static int newest_log(const char *directory, bool previous)
{
    int newest = -1;
    int before = -1;
    DIR *entries = opendir(directory);
    if (entries == NULL) {
        return -1;
    }
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        struct str name = str_of(entry->d_name);
        uint64_t number = 0;
        if (!str_ends_with(name, STR(".log")) || !str_to_u64(str_sub(name, 0, name.size - 4), &number) || number > 1000000) {
            continue;
        }
        if ((int)number > newest) {
            before = newest;
            newest = (int)number;
        } else if ((int)number > before) {
            before = (int)number;
        }
    }
    (void)closedir(entries);
    return previous ? before : newest;
}

// Prints what a container wrote, without the log's own words "TIME STREAM TAG " before each line.
struct printer {
    bool is_container; // else everything is printed as it is
    int blanks;        // seen in this line so far
    bool is_part;      // the line's tag is P: it goes on in the next
};

static void print_bytes(struct printer *printer, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        char c = bytes[i];
        if (!printer->is_container || (printer->blanks == 3 && c != '\n')) {
            (void)putchar_unlocked(c);
        } else if (c == '\n') {
            printer->blanks = 0;
            if (!printer->is_part) {
                (void)putchar_unlocked(c);
            }
        } else if (c == ' ') {
            printer->blanks++;
        } else if (printer->blanks == 2) {
            printer->is_part = c == 'P';
        }
    }
}

static enum err print_file(const char *path, bool is_container, bool follow, struct error *err)
{
    static char bytes[COPY_SIZE];
    struct printer printer = {.is_container = is_container};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_set_errno(err, errno, "%s", path);
    }
    for (;;) {
        ssize_t size = read(fd, bytes, sizeof(bytes));
        if (size > 0) {
            print_bytes(&printer, bytes, (size_t)size);
            if (ferror(stdout)) {
                break;
            }
            continue;
        }
        (void)fflush(stdout);
        // A file that lost its last name belongs to a lab that is gone.
        if (size < 0 || !follow || access(path, F_OK) != 0) {
            break;
        }
        (void)usleep(FOLLOW_INTERVAL_US); // lint: allow sleep, a command that only waits
    }
    (void)close(fd);
    return ERR_OK;
}

static enum err pod_log_path(const struct state *state, const struct command_target *target, char out[static PATH_MAX],
                             struct error *err)
{
    char cluster[32];
    char pod[NAME_MAX];
    char container[NAME_MAX];
    char directory[PATH_MAX];
    enum err code = command_cluster_name(target, cluster, err);
    if (code == ERR_OK) {
        code = command_pod_name(target, pod, err);
    }
    if (code == ERR_OK && str_is_empty(target->container)) {
        code = enter_read_pod_file(state, cluster, pod, "default", container, err);
    } else {
        (void)snprintf(container, sizeof(container), "%.*s", STR_ARG(target->container));
    }
    if (code != ERR_OK) {
        return code;
    }
    int size = snprintf(directory, sizeof(directory), "%s/%s/pods/%s/%s", state->directory, cluster, pod, container);
    int number = newest_log(directory, target->previous);
    if (size < 0 || (size_t)size >= sizeof(directory) || number < 0) {
        return error_set(err, ERR_NOT_FOUND, "%s %s has no %slog of a container \"%s\"", cluster, pod,
                         target->previous ? "previous " : "", container);
    }
    size = snprintf(out, PATH_MAX, "%s/%d.log", directory, number);
    return size > 0 && size < PATH_MAX ? ERR_OK : error_set(err, ERR_LIMIT, "path too long");
}

enum err command_logs(const struct state *state, const struct command_target *target, struct error *err)
{
    char path[PATH_MAX];
    char cluster[32];
    enum err code = command_cluster_name(target, cluster, err);
    if (code == ERR_OK && !str_is_empty(target->pod)) {
        code = pod_log_path(state, target, path, err);
    } else if (code == ERR_OK) {
        (void)snprintf(path, sizeof(path), "%s/%s/log", state->directory, cluster);
    }
    return code == ERR_OK ? print_file(path, !str_is_empty(target->pod), target->follow, err) : code;
}
