// SPDX-License-Identifier: Apache-2.0
#include "lab/world/command.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/memory.h"
#include "codec/json/json.h"
#include "lab/world/command_internal.h"
#include "lab/world/enter.h"
#include "lab/world/kubeconfigs.h"
#include "lab/world/world.h"

#define UP_DEADLINE_MS 60000
#define DOWN_DEADLINE_MS 15000
#define KILL_DEADLINE_MS 5000
#define STATUS_SIZE_MAX 65536u
#define WRONG_USAGE 2

static int run_up(int count, char **arguments);
static int run_down(int count, char **arguments);
static int run_status(int count, char **arguments);
static int run_shell(int count, char **arguments);
static int run_exec(int count, char **arguments);
static int run_logs(int count, char **arguments);

static const struct {
    const char *name;
    const char *arguments;
    const char *summary;
    int (*run)(int count, char **arguments);
} commands[] = {
    {"up", "[--clusters N] [--name NAME] [--api-port P] [--pod-cidr R] [--service-cidr R] [--regions A,B] [--zones A,B] [-o json]",
     "start a lab", run_up},
    {"down", "[--name NAME]", "end it and remove what it left", run_down},
    {"status", "[--name NAME] [-o json]", "show its clusters", run_status},
    {"shell", "[--name NAME] [-- PROGRAM …]", "run a program inside the lab, where all addresses are reachable", run_shell},
    {"exec", "[--cluster cN] NAMESPACE/POD [-c CONTAINER] -- PROGRAM …", "run a program in a container", run_exec},
    {"logs", "[--cluster cN] [NAMESPACE/POD] [-c CONTAINER] [-f] [-p]", "print a container's output, or the cluster's own log",
     run_logs},
};

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); // lint: allow wall-clock, a command without a loop
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int command_fail(const struct error *err)
{
    (void)fprintf(stderr, "isthmesh lab: %s\n", err->message);
    return err->code == ERR_INVALID ? WRONG_USAGE : 1;
}

static void print_usage(FILE *out)
{
    (void)fprintf(out, "usage: isthmesh lab COMMAND\n\nWhole clusters on this machine, without Docker.\n\n");
    for (size_t i = 0; i < array_count(commands); i++) {
        (void)fprintf(out, "  %-7s %s\n          %s\n", commands[i].name, commands[i].arguments, commands[i].summary);
    }
}

bool world_has_command(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return true;
    }
    for (size_t i = 0; i < array_count(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return true;
        }
    }
    return false;
}

int world_command(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return WRONG_USAGE;
    }
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_usage(stdout);
            return 0;
        }
    }
    for (size_t i = 0; i < array_count(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 2, argv + 2);
        }
    }
    (void)fprintf(stderr, "isthmesh lab: no command \"%s\"; isthmesh lab --help lists them\n", argv[1]);
    return WRONG_USAGE;
}

// --- what the world says of itself -----------------------------------------------------------------

// Its clusters from the status file: [{name, context, nodeAddress, server, phase, restarts}].
static struct json_value *read_clusters(struct arena *arena, const struct state *state)
{
    struct json_value *clusters = json_new_array(arena);
    char path[PATH_MAX];
    struct str text;
    if (file_read(arena, state_path(state, "status", path), STATUS_SIZE_MAX, &text, NULL) != ERR_OK) {
        return clusters;
    }
    for (struct str rest = text; rest.data != NULL;) {
        struct str line = str_split(&rest, '\n');
        struct str name = str_split(&line, ' ');
        if (line.data == NULL) {
            continue;
        }
        struct json_value *cluster = json_new_object(arena);
        uint64_t restarts = 0;
        json_set_str(arena, cluster, "name", name);
        json_set_str(arena, cluster, "context", arena_format(arena, "kind-%.*s", STR_ARG(name)));
        json_set_str(arena, cluster, "nodeAddress", str_split(&line, ' '));
        json_set_str(arena, cluster, "server", str_split(&line, ' '));
        json_set_str(arena, cluster, "phase", str_split(&line, ' '));
        (void)str_to_u64(line, &restarts);
        json_set_int(arena, cluster, "restarts", (int64_t)restarts);
        json_push(arena, clusters, cluster);
    }
    return clusters;
}

static struct json_value *describe(struct arena *arena, const struct state *state)
{
    char path[PATH_MAX];
    struct json_value *facts = json_new_object(arena);
    bool is_running = state_is_running(state);
    json_set_cstr(arena, facts, "name", state->name);
    json_set_bool(arena, facts, "running", is_running);
    json_set_cstr(arena, facts, "kubeconfig", state_path(state, "kubeconfig", path));
    json_set_cstr(arena, facts, "kubeconfigInside", state_path(state, "kubeconfig.inside", path));
    json_set(arena, facts, STR("clusters"), is_running ? read_clusters(arena, state) : json_new_array(arena));
    return facts;
}

static void print_json(const struct json_value *value)
{
    struct buf text = {0};
    json_write_pretty(value, &text);
    (void)printf("%.*s\n", STR_ARG(buf_view(&text)));
    buf_done(&text);
}

static void print_text(const struct json_value *facts)
{
    const struct json_value *clusters = json_get(facts, "clusters");
    for (size_t i = 0; i < json_count(clusters); i++) {
        const struct json_value *cluster = json_at(clusters, i);
        (void)printf("  %-10.*s node %-12.*s API server %-24.*s %.*s\n", STR_ARG(json_get_str(cluster, "name")),
                     STR_ARG(json_get_str(cluster, "nodeAddress")), STR_ARG(json_get_str(cluster, "server")),
                     STR_ARG(json_get_str(cluster, "phase")));
    }
}

// --- up --------------------------------------------------------------------------------------------

static enum err check_machine(struct error *err)
{
    static const struct {
        const char *program;
        const char *package;
    } needs[] = {{"nft", "nftables"}, {"runc", "runc"}};
    char path[PATH_MAX];
    if (geteuid() != 0) {
        return error_set(err, ERR_DENIED, "a lab makes namespaces and needs root for that; run it with sudo");
    }
    for (size_t i = 0; i < array_count(needs); i++) {
        if (!enter_find_program(needs[i].program, path)) {
            return error_set(err, ERR_NOT_FOUND, "%s is not installed; apt-get install %s", needs[i].program,
                             needs[i].package);
        }
    }
    return ERR_OK;
}

static enum err write_kubeconfig(const struct state *state, unsigned cluster_count, const char *file, struct error *err)
{
    struct arena arena = {0};
    struct buf merged = {0};
    struct str texts[WORLD_CLUSTERS_MAX];
    char path[PATH_MAX];
    char name[64];
    enum err code = ERR_OK;
    for (unsigned i = 0; i < cluster_count && code == ERR_OK; i++) {
        (void)snprintf(name, sizeof(name), "cluster%u/%s", i + 1, file);
        code = file_read(&arena, state_path(state, name, path), KUBECONFIG_SIZE_MAX, &texts[i], err);
    }
    if (code == ERR_OK) {
        code = kubeconfigs_merge(&arena, texts, cluster_count, &merged, err);
    }
    if (code == ERR_OK) {
        code = file_write_atomic(state_path(state, file, path), buf_view(&merged), 0600, err);
    }
    buf_done(&merged);
    arena_done(&arena);
    return code;
}

// Reads the world's report lines until "up"; a "failed" line or the deadline ends the wait.
static enum err wait_until_up(int report_fd, bool is_quiet, struct error *err)
{
    struct buf lines = {0};
    int64_t deadline = now_ms() + UP_DEADLINE_MS;
    enum err code = ERR_OK;
    bool is_up = false;
    while (code == ERR_OK && !is_up) {
        struct pollfd wait = {.fd = report_fd, .events = POLLIN};
        int64_t left = deadline - now_ms();
        if (left <= 0 || poll(&wait, 1, (int)left) == 0) {
            code = error_set(err, ERR_TIMEOUT, "the clusters are not ready after %d s", UP_DEADLINE_MS / 1000);
            break;
        }
        ssize_t size = read(report_fd, buf_reserve(&lines, 1024), 1024);
        if (size <= 0) {
            code = error_set(err, ERR_CLOSED, "the lab's first process ended");
            break;
        }
        buf_commit(&lines, (size_t)size);
        for (ptrdiff_t end; code == ERR_OK && (end = str_find_char(buf_view(&lines), '\n')) >= 0;) {
            struct str line = str_sub(buf_view(&lines), 0, (size_t)end);
            if (str_starts_with(line, STR("failed "))) {
                code = error_set(err, ERR_IO, "%.*s", STR_ARG(str_from(line, 7)));
            } else if (str_starts_with(line, STR("ready ")) && !is_quiet) {
                (void)fprintf(stderr, " ready: %.*s\n", STR_ARG(str_from(line, 6)));
            }
            is_up = is_up || str_equal_c(line, "up");
            buf_consume(&lines, (size_t)end + 1);
        }
    }
    buf_done(&lines);
    return code;
}

static enum err start_lab(const struct world_options *options, struct state *state, bool is_quiet, struct error *err)
{
    static struct world world; // large; one per process
    char program[PATH_MAX];
    pid_t pid = 0;
    int report_fd = -1;
    ssize_t size = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (size < 0) {
        return error_set_errno(err, errno, "/proc/self/exe");
    }
    program[size] = '\0';
    enum err code = world_init(&world, options, state, program, err);
    if (code != ERR_OK) {
        return code;
    }
    code = world_start(&world, &pid, &report_fd, err);
    world_done(&world);
    if (code != ERR_OK) {
        return code;
    }
    code = state_write_pid(state, "world.pid", pid, err);
    if (code == ERR_OK) {
        code = wait_until_up(report_fd, is_quiet, err);
    }
    if (code == ERR_OK) {
        code = write_kubeconfig(state, options->cluster_count, "kubeconfig", err);
    }
    if (code == ERR_OK) {
        code = write_kubeconfig(state, options->cluster_count, "kubeconfig.inside", err);
    }
    (void)close(report_fd);
    if (code != ERR_OK) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    return code;
}

static int run_up(int count, char **arguments)
{
    struct error err = {0};
    struct world_options options;
    struct state state;
    struct arena arena = {0};
    char path[PATH_MAX];
    int64_t started = now_ms();
    if (world_options_parse(count, arguments, &options, &err) != ERR_OK ||
        state_init(&state, options.name, &err) != ERR_OK || check_machine(&err) != ERR_OK) {
        return command_fail(&err);
    }
    if (state_lock(&state, &err) != ERR_OK) {
        if (err.code == ERR_EXISTS) {
            (void)error_set(&err, ERR_EXISTS, "lab \"%s\" is already running; isthmesh lab down --name %s ends it", state.name,
                            state.name);
        }
        return command_fail(&err);
    }
    // What a killed lab left is removed here: nobody holds its lock.
    if (state_clear(&state, &err) != ERR_OK || start_lab(&options, &state, options.json, &err) != ERR_OK) {
        int status = command_fail(&err);
        // Logs of a world that began stay to be read; the next up, or down, removes them.
        if (access(state_path(&state, "world.pid", path), F_OK) != 0) {
            (void)!state_remove(&state, NULL);
        }
        state_done(&state);
        return status;
    }
    struct json_value *facts = describe(&arena, &state);
    if (options.json) {
        print_json(facts);
    } else {
        (void)printf("lab \"%s\" is up after %.1f s\n", state.name, (double)(now_ms() - started) / 1000);
        print_text(facts);
        (void)printf("\nexport KUBECONFIG=%.*s\n", STR_ARG(json_get_str(facts, "kubeconfig")));
    }
    arena_done(&arena);
    state_done(&state);
    return 0;
}

// --- the others ------------------------------------------------------------------------------------

static bool wait_until_ended(const struct state *state, int64_t wait_ms)
{
    for (int64_t deadline = now_ms() + wait_ms; now_ms() < deadline;) {
        if (!state_is_running(state)) {
            return true;
        }
        (void)usleep(20000); // lint: allow sleep, a command that only waits
    }
    return false;
}

static int run_down(int count, char **arguments)
{
    struct error err = {0};
    struct command_target target;
    struct state state;
    pid_t pid = 0;
    if (command_parse(count, arguments, &target, &err) != ERR_OK || state_init(&state, target.name, &err) != ERR_OK) {
        return command_fail(&err);
    }
    if (geteuid() != 0) {
        (void)error_set(&err, ERR_DENIED, "ending a lab needs root; run it with sudo");
        return command_fail(&err);
    }
    if (state_is_running(&state)) {
        if (state_read_pid(&state, "world.pid", &pid, &err) != ERR_OK) {
            return command_fail(&err);
        }
        (void)kill(pid, SIGTERM);
        if (!wait_until_ended(&state, DOWN_DEADLINE_MS)) {
            (void)kill(pid, SIGKILL);
            (void)wait_until_ended(&state, KILL_DEADLINE_MS);
        }
    }
    if (access(state.directory, F_OK) != 0) {
        (void)fprintf(stderr, "isthmesh lab: lab \"%s\" is not running, nothing to remove\n", state.name);
        return 0;
    }
    if (state_lock(&state, &err) != ERR_OK || state_remove(&state, &err) != ERR_OK) {
        return command_fail(&err);
    }
    state_done(&state);
    return 0;
}

static int run_status(int count, char **arguments)
{
    struct error err = {0};
    struct command_target target;
    struct state state;
    struct arena arena = {0};
    if (command_parse(count, arguments, &target, &err) != ERR_OK || state_init(&state, target.name, &err) != ERR_OK) {
        return command_fail(&err);
    }
    struct json_value *facts = describe(&arena, &state);
    bool is_running = json_get_bool(facts, "running", false);
    if (str_equal_c(target.output, "json")) {
        print_json(facts);
    } else {
        (void)printf("lab \"%s\" is %s\n", state.name, is_running ? "running" : "not running");
        print_text(facts);
    }
    arena_done(&arena);
    return is_running ? 0 : 1;
}

static int run_shell(int count, char **arguments)
{
    struct error err = {0};
    struct command_target target;
    struct state state;
    int status = 1;
    char *shell = getenv("SHELL");
    char fallback[] = "/bin/sh";
    char *interactive[] = {shell == NULL ? fallback : shell, NULL};
    if (command_parse(count, arguments, &target, &err) != ERR_OK || state_init(&state, target.name, &err) != ERR_OK ||
        enter_world(&state, target.rest_count > 0 ? target.rest : interactive, &status, &err) != ERR_OK) {
        return command_fail(&err);
    }
    return status;
}

static int run_exec(int count, char **arguments)
{
    struct error err = {0};
    struct command_target target;
    struct state state;
    char cluster[32];
    char pod[NAME_MAX];
    char container[NAME_MAX];
    int status = 1;
    if (command_parse(count, arguments, &target, &err) != ERR_OK || state_init(&state, target.name, &err) != ERR_OK ||
        command_cluster_name(&target, cluster, &err) != ERR_OK || command_pod_name(&target, pod, &err) != ERR_OK) {
        return command_fail(&err);
    }
    if (target.rest_count == 0 || target.container.size >= sizeof(container)) {
        (void)error_set(&err, ERR_INVALID, "say what to run: isthmesh lab exec %.*s -- PROGRAM", STR_ARG(target.pod));
        return command_fail(&err);
    }
    (void)snprintf(container, sizeof(container), "%.*s", STR_ARG(target.container));
    if (enter_container(&state, cluster, pod, container, target.rest, target.rest_count, &status, &err) != ERR_OK) {
        return command_fail(&err);
    }
    return status;
}

static int run_logs(int count, char **arguments)
{
    struct error err = {0};
    struct command_target target;
    struct state state;
    if (command_parse(count, arguments, &target, &err) != ERR_OK || state_init(&state, target.name, &err) != ERR_OK ||
        command_logs(&state, &target, &err) != ERR_OK) {
        return command_fail(&err);
    }
    return 0;
}
