// SPDX-License-Identifier: Apache-2.0
#include "lab/world/enter.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/memory.h"

#define SYSTEM_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define CONTAINER_ARGUMENTS_MAX 256

bool enter_find_program(const char *name, char out[static PATH_MAX])
{
    const char *path = getenv("PATH");
    struct str lists[] = {str_of(path), STR(SYSTEM_PATH)};
    for (size_t i = 0; i < array_count(lists); i++) {
        for (struct str rest = lists[i]; rest.data != NULL;) {
            struct str directory = str_split(&rest, ':');
            (void)snprintf(out, PATH_MAX, "%.*s/%s", STR_ARG(directory), name);
            if (directory.size > 0 && access(out, X_OK) == 0) {
                return true;
            }
        }
    }
    return false;
}

// Moves this process (its children, for the process namespace) to where pid lives. All descriptors are
// opened first: behind the mount namespace lies another /proc.
static enum err enter_namespaces(pid_t pid, struct error *err)
{
    static const struct {
        const char *name;
        int type;
    } kinds[] = {
        {"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS}, {"net", CLONE_NEWNET}, {"pid", CLONE_NEWPID}, {"mnt", CLONE_NEWNS},
    };
    int fds[array_count(kinds)];
    char path[64];
    enum err code = ERR_OK;
    for (size_t i = 0; i < array_count(kinds); i++) {
        (void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kinds[i].name);
        fds[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (fds[i] < 0 && code == ERR_OK) {
            code = error_set_errno(err, errno, "%s", path);
        }
    }
    for (size_t i = 0; i < array_count(kinds); i++) {
        if (code == ERR_OK && setns(fds[i], kinds[i].type) != 0) {
            code = error_set_errno(err, errno, "cannot enter the %s namespace", kinds[i].name);
        }
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    return code;
}

static enum err check_running(const struct state *state, struct error *err)
{
    if (geteuid() != 0) {
        return error_set(err, ERR_DENIED, "entering a lab needs root; run it with sudo");
    }
    if (!state_is_running(state)) {
        return error_set(err, ERR_NOT_FOUND, "lab \"%s\" is not running; isthmesh lab up starts it", state->name);
    }
    return ERR_OK;
}

static enum err enter_lab(const struct state *state, struct error *err)
{
    pid_t pid = 0;
    enum err code = check_running(state, err);
    if (code == ERR_OK) {
        code = state_read_pid(state, "world.pid", &pid, err);
    }
    return code == ERR_OK ? enter_namespaces(pid, err) : code;
}

// The terminal's signals go to the child too; we wait for it to decide.
static enum err run(const char *program, char *const *arguments, int *ret_status, struct error *err)
{
    int status = 0;
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        return error_set_errno(err, errno, "cannot start a process");
    }
    if (pid == 0) {
        (void)execvp(program, arguments);
        (void)fprintf(stderr, "isthmesh lab: %s: %s\n", program, strerror(errno));
        _exit(errno == ENOENT ? 127 : 126);
    }
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGQUIT, SIG_IGN);
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return error_set_errno(err, errno, "cannot wait for %s", program);
        }
    }
    *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return ERR_OK;
}

enum err enter_world(const struct state *state, char *const *arguments, int *ret_status, struct error *err)
{
    char path[PATH_MAX];
    char directory[PATH_MAX];
    bool has_directory = getcwd(directory, sizeof(directory)) != NULL;
    enum err code = enter_lab(state, err);
    if (code != ERR_OK) {
        return code;
    }
    if (!has_directory || chdir(directory) != 0) {
        (void)!chdir("/");
    }
    (void)setenv("KUBECONFIG", state_path(state, "kubeconfig.inside", path), 1);
    (void)setenv("ISTHMESH_LAB", state->name, 1);
    return run(arguments[0], arguments, ret_status, err);
}

enum err enter_read_pod_file(const struct state *state, const char *cluster, const char *pod, const char *file,
                             char out[static NAME_MAX], struct error *err)
{
    char path[PATH_MAX];
    struct arena arena = {0};
    struct str text;
    int size = snprintf(path, sizeof(path), "%s/%s/pods/%s/%s", state->directory, cluster, pod, file);
    if (size < 0 || (size_t)size >= sizeof(path)) {
        return error_set(err, ERR_INVALID, "the pod's name is too long");
    }
    enum err code = file_read(&arena, path, NAME_MAX - 1, &text, NULL);
    if (code == ERR_OK) {
        (void)snprintf(out, NAME_MAX, "%.*s", STR_ARG(str_trim(text)));
    } else {
        code = error_set(err, ERR_NOT_FOUND, "%s has no running container for %s; kubectl get pods -A lists the pods",
                         cluster, pod);
    }
    arena_done(&arena);
    return code;
}

enum err enter_container(const struct state *state, const char *cluster, const char *pod, const char *container,
                         char *const *arguments, int argument_count, int *ret_status, struct error *err)
{
    char default_name[NAME_MAX];
    char file[NAME_MAX * 2];
    char id[NAME_MAX];
    char root[PATH_MAX];
    char runc[PATH_MAX];
    char tty[] = "--tty";
    char *full[CONTAINER_ARGUMENTS_MAX];
    pid_t server = 0;
    size_t count = 0;
    enum err code = check_running(state, err);
    if (code == ERR_OK && container[0] == '\0') {
        code = enter_read_pod_file(state, cluster, pod, "default", default_name, err);
        container = default_name;
    }
    if (code == ERR_OK) {
        (void)snprintf(file, sizeof(file), "%s/id", container);
        code = enter_read_pod_file(state, cluster, pod, file, id, err);
    }
    if (code == ERR_OK) {
        code = enter_lab(state, err);
    }
    (void)snprintf(file, sizeof(file), "%s/pid", cluster);
    if (code == ERR_OK) {
        code = state_read_pid(state, file, &server, err);
    }
    if (code == ERR_OK) {
        code = enter_namespaces(server, err);
    }
    if (code == ERR_OK && !enter_find_program("runc", runc)) {
        code = error_set(err, ERR_NOT_FOUND, "runc is not installed; apt-get install runc");
    }
    if (code == ERR_OK && (size_t)argument_count + 8 > array_count(full)) {
        code = error_set(err, ERR_LIMIT, "more than %zu arguments", array_count(full) - 8);
    }
    if (code != ERR_OK) {
        return code;
    }
    (void)snprintf(root, sizeof(root), "%s/%s/run/runc", state->directory, cluster);
    char *const head[] = {runc, (char[]){"--root"}, root, (char[]){"exec"}};
    for (size_t i = 0; i < array_count(head); i++) {
        full[count++] = head[i];
    }
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
        full[count++] = tty;
    }
    full[count++] = id;
    for (int i = 0; i < argument_count; i++) {
        full[count++] = arguments[i];
    }
    full[count] = NULL;
    return run(runc, full, ret_status, err);
}
