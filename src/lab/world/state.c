// SPDX-License-Identifier: Apache-2.0
#include "lab/world/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
#define LOCK_FILE "lock"
#define OPEN_DESCRIPTORS_MAX 32 // of one walk
#define PID_TEXT_MAX 32u

static bool is_name(struct str name)
{
    if (name.size == 0 || name.size > STATE_NAME_MAX || name.data[0] == '-' || name.data[name.size - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
            return false;
        }
    }
    return true;
}

enum err state_init(struct state *state, struct str name, struct error *err)
{
    if (!is_name(name)) {
        return error_set(err, ERR_INVALID, "\"%.*s\" is no lab name: use up to %u of a-z, 0-9 and inner dashes",
                         STR_ARG(name), STATE_NAME_MAX);
    }
    (void)snprintf(state->name, sizeof(state->name), "%.*s", STR_ARG(name));
    (void)snprintf(state->directory, sizeof(state->directory), STATE_ROOT "/lab-%s", state->name);
    state->lock_fd = -1;
    return ERR_OK;
}

void state_done(struct state *state)
{
    if (state->lock_fd >= 0) {
        (void)close(state->lock_fd);
        state->lock_fd = -1;
    }
}

const char *state_path(const struct state *state, const char *file, char out[static PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/%s", state->directory, file);
    return out;
}

enum err state_lock(struct state *state, struct error *err)
{
    char path[PATH_MAX];
    enum err code = file_make_directories(state->directory, 0755, err);
    if (code != ERR_OK) {
        return code;
    }
    int fd = open(state_path(state, LOCK_FILE, path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return error_set_errno(err, errno, "%s", path);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int failure = errno;
        (void)close(fd);
        if (failure == EWOULDBLOCK) {
            return error_set(err, ERR_EXISTS, "lab \"%s\" is running", state->name);
        }
        return error_set_errno(err, failure, "%s", path);
    }
    state->lock_fd = fd;
    return ERR_OK;
}

bool state_is_running(const struct state *state)
{
    char path[PATH_MAX];
    int fd = open(state_path(state, LOCK_FILE, path), O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool is_locked = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    (void)close(fd);
    return is_locked;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    if (place->level == 0 || (place->level == 1 && strcmp(path + place->base, LOCK_FILE) == 0)) {
        return 0;
    }
    (void)kind;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

static int remove_group(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)place;
    // Files of a control group go with their directory. A group whose last process is still being
    // reaped is busy for a moment.
    for (int attempt = 0; kind == FTW_DP && rmdir(path) != 0 && errno == EBUSY && attempt < 50; attempt++) {
        (void)usleep(20000); // lint: allow sleep, a command that only waits
    }
    return 0;
}

static void remove_groups(const struct state *state)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), CGROUP_ROOT "/isthmesh-lab-%s", state->name);
    (void)nftw(path, remove_group, OPEN_DESCRIPTORS_MAX, FTW_DEPTH | FTW_PHYS);
    DIR *hierarchies = opendir(CGROUP_ROOT);
    if (hierarchies == NULL) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(hierarchies)) != NULL;) {
        if (entry->d_name[0] != '.') {
            (void)snprintf(path, sizeof(path), CGROUP_ROOT "/%s/isthmesh-lab-%s", entry->d_name, state->name);
            (void)nftw(path, remove_group, OPEN_DESCRIPTORS_MAX, FTW_DEPTH | FTW_PHYS);
        }
    }
    (void)closedir(hierarchies);
}

enum err state_clear(const struct state *state, struct error *err)
{
    remove_groups(state);
    if (nftw(state->directory, remove_entry, OPEN_DESCRIPTORS_MAX, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT) {
        return error_set_errno(err, errno, "cannot empty %s", state->directory);
    }
    return ERR_OK;
}

enum err state_remove(struct state *state, struct error *err)
{
    char path[PATH_MAX];
    enum err code = state_clear(state, err);
    if (code != ERR_OK) {
        return code;
    }
    (void)unlink(state_path(state, LOCK_FILE, path));
    if (rmdir(state->directory) != 0 && errno != ENOENT) {
        return error_set_errno(err, errno, "cannot remove %s", state->directory);
    }
    (void)rmdir(STATE_ROOT); // stays while another lab is there
    return ERR_OK;
}

enum err state_write_pid(const struct state *state, const char *file, pid_t pid, struct error *err)
{
    char path[PATH_MAX];
    char text[PID_TEXT_MAX];
    int size = snprintf(text, sizeof(text), "%d\n", (int)pid);
    return file_write_atomic(state_path(state, file, path), str_make(text, (size_t)size), 0644, err);
}

enum err state_read_pid(const struct state *state, const char *file, pid_t *ret_pid, struct error *err)
{
    char path[PATH_MAX];
    struct arena arena = {0};
    struct str text;
    uint64_t pid = 0;
    enum err code = file_read(&arena, state_path(state, file, path), PID_TEXT_MAX, &text, err);
    if (code == ERR_OK && (!str_to_u64(str_trim(text), &pid) || pid == 0 || pid > INT_MAX)) {
        code = error_set(err, ERR_INVALID, "%s holds no process id", path);
    }
    if (code == ERR_OK) {
        *ret_pid = (pid_t)pid;
    }
    arena_done(&arena);
    return code;
}
