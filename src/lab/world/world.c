// SPDX-License-Identifier: Apache-2.0
#include "lab/world/world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "lab/netlink/netlink.h"

#define BRIDGE "isthmesh0"
#define NODE_NETWORK_FIRST 2u // 172.18.0.2 is the first node
#define API_BACKLOG 1024
#define RESTART_DELAY_MS 1000u
#define STOP_DEADLINE_MS 8000u
#define REPORT_LINE_MAX 1024u
// Descriptors a cluster's server starts with.
#define SERVE_API_FD 3
#define SERVE_READY_FD 4
#define SERVE_ARGUMENTS_MAX 32

#define NAMESPACES (CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC)

static struct log_scope scope = LOG_SCOPE("world");

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); // lint: allow wall-clock, a process without a loop
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// --- before the world ------------------------------------------------------------------------------

static enum err open_listener(uint16_t port, int *ret_fd, uint16_t *ret_port, struct error *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return error_set_errno(err, errno, "cannot make a socket");
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, API_BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        int failure = errno;
        (void)close(fd);
        return error_set_errno(err, failure, "cannot listen on 127.0.0.1:%u (another --api-port may be free)", port);
    }
    *ret_fd = fd;
    *ret_port = ntohs(address.sin_port);
    return ERR_OK;
}

enum err world_init(struct world *world, const struct world_options *options, struct state *state,
                    const char *program, struct error *err)
{
    *world = (struct world){.options = options, .state = state, .program = program, .report_fd = -1};
    for (unsigned i = 0; i < WORLD_CLUSTERS_MAX; i++) {
        world->clusters[i].api_fd = -1;
        world->clusters[i].ready_fd = -1;
    }
    for (unsigned i = 0; i < options->cluster_count; i++) {
        struct world_cluster *cluster = &world->clusters[i];
        uint16_t port = 0;
        (void)snprintf(cluster->name, sizeof(cluster->name), "cluster%u", i + 1);
        (void)snprintf(cluster->node_ip, sizeof(cluster->node_ip), "172.18.0.%u", i + NODE_NETWORK_FIRST);
        cluster->region = world_list_item(options->regions, i);
        cluster->zone = world_list_item(options->zones, i);
        uint16_t wanted = options->api_port == 0 ? 0 : (uint16_t)(options->api_port + i);
        enum err code = open_listener(wanted, &cluster->api_fd, &port, err);
        if (code != ERR_OK) {
            world_done(world);
            return code;
        }
        (void)snprintf(cluster->outside_url, sizeof(cluster->outside_url), "https://127.0.0.1:%u", port);
    }
    return ERR_OK;
}

void world_done(struct world *world)
{
    for (unsigned i = 0; i < WORLD_CLUSTERS_MAX; i++) {
        if (world->clusters[i].api_fd >= 0) {
            (void)close(world->clusters[i].api_fd);
            world->clusters[i].api_fd = -1;
        }
    }
}

// --- one cluster: made by the world's first process ------------------------------------------------

static void report(const struct world *world, const char *format, ...) printf_like(2, 3);
static void report(const struct world *world, const char *format, ...)
{
    char line[REPORT_LINE_MAX];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    if (world->report_fd < 0 || size < 0) {
        return;
    }
    size_t length = (size_t)size < sizeof(line) - 1 ? (size_t)size : sizeof(line) - 2;
    line[length] = '\n';
    // Nobody reading is fine: `lab up` may have been interrupted, and SIGPIPE is ignored.
    ssize_t written = write(world->report_fd, line, length + 1);
    (void)written;
}

// A process with namespaces of its own, as fork() returns.
static pid_t fork_with_namespaces(void)
{
    return (pid_t)syscall(SYS_clone, (unsigned long)(NAMESPACES | SIGCHLD), NULL, NULL, NULL, NULL);
}

static enum err make_own_mounts(struct error *err)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return error_set_errno(err, errno, "cannot make mounts private");
    }
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0) {
        return error_set_errno(err, errno, "cannot mount /proc");
    }
    return ERR_OK;
}

static enum err redirect_output(const char *path, struct error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || null_fd < 0) {
        return error_set_errno(err, errno, "%s", path);
    }
    (void)dup2(null_fd, STDIN_FILENO);
    (void)dup2(fd, STDOUT_FILENO);
    (void)dup2(fd, STDERR_FILENO);
    (void)close(fd);
    (void)close(null_fd);
    return ERR_OK;
}

// In the node's namespaces: its link to the bridge and what forwarding pods needs.
static enum err set_up_node_network(const struct world_cluster *cluster, struct error *err)
{
    static const struct {
        const char *name;
        const char *value;
    } settings[] = {
        {"ipv4/ip_forward", "1"},
        {"ipv4/conf/all/send_redirects", "0"},
        {"ipv4/conf/default/send_redirects", "0"},
        {"ipv4/conf/all/rp_filter", "0"},
        {"ipv4/conf/default/rp_filter", "0"},
        {"ipv4/ip_unprivileged_port_start", "0"},
    };
    struct netlink netlink = {0};
    struct in_addr address;
    struct netlink_route route = {.device = "eth0"};
    enum err code = netlink_open(&netlink, err);
    for (size_t i = 0; code == ERR_OK && i < array_count(settings); i++) {
        code = netlink_set_sysctl(settings[i].name, settings[i].value, err);
    }
    (void)inet_pton(AF_INET, cluster->node_ip, &address);
    (void)inet_pton(AF_INET, WORLD_GATEWAY, &route.via);
    if (code == ERR_OK) {
        code = netlink_set_up(&netlink, "lo", err);
    }
    if (code == ERR_OK) {
        code = netlink_add_address(&netlink, "eth0", address, WORLD_PREFIX_SIZE, err);
    }
    if (code == ERR_OK) {
        code = netlink_set_up(&netlink, "eth0", err);
    }
    // Nothing is behind the gateway, but without a default route a node's own connection to a service
    // address fails before the output hook can rewrite it.
    if (code == ERR_OK) {
        code = netlink_add_route(&netlink, &route, err);
    }
    netlink_close(&netlink);
    return code;
}

static void build_serve_arguments(const struct world *world, const struct world_cluster *cluster,
                                  struct arena *arena, char *arguments[static SERVE_ARGUMENTS_MAX])
{
    const struct {
        const char *flag;
        struct str value;
    } flags[] = {
        {"--name", str_of(cluster->name)},
        {"--lab", str_of(world->state->name)},
        {"--state-dir", arena_format(arena, "%s/%s", world->state->directory, cluster->name)},
        {"--api-fd", arena_format(arena, "%d", SERVE_API_FD)},
        {"--ready-fd", arena_format(arena, "%d", SERVE_READY_FD)},
        {"--api-url", str_of(cluster->outside_url)},
        {"--node-ip", str_of(cluster->node_ip)},
        {"--pod-cidr", world->options->pod_cidr},
        {"--service-cidr", world->options->service_cidr},
        {"--region", cluster->region},
        {"--zone", cluster->zone},
    };
    size_t count = 0;
    arguments[count++] = arena_strdup(arena, str_of(world->program));
    arguments[count++] = arena_strdup(arena, STR("serve"));
    for (size_t i = 0; i < array_count(flags); i++) {
        if (!str_is_empty(flags[i].value)) {
            arguments[count++] =
                arena_strdup(arena, arena_format(arena, "%s=%.*s", flags[i].flag, STR_ARG(flags[i].value)));
        }
    }
    arguments[count] = NULL;
}

// Moves the two inherited descriptors to their agreed numbers; everything else closes on exec.
static bool place_descriptors(int api_fd, int ready_fd)
{
    int api_copy = fcntl(api_fd, F_DUPFD_CLOEXEC, 16);
    int ready_copy = fcntl(ready_fd, F_DUPFD_CLOEXEC, 16);
    return api_copy >= 0 && ready_copy >= 0 && dup2(api_copy, SERVE_API_FD) >= 0 &&
           dup2(ready_copy, SERVE_READY_FD) >= 0;
}

// The first process of a cluster, until it becomes the server. go_fd ends when its link is there.
static _Noreturn void run_cluster(const struct world *world, const struct world_cluster *cluster, int go_fd, int ready_fd)
{
    struct error err = {0};
    struct arena arena = {0};
    char path[PATH_MAX];
    char file[64];
    char host_name[64];
    char *arguments[SERVE_ARGUMENTS_MAX];
    char go = 0;
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)snprintf(file, sizeof(file), "%s/log", cluster->name);
    (void)snprintf(host_name, sizeof(host_name), "%s-control-plane", cluster->name);
    if (read(go_fd, &go, 1) != 1) {
        _exit(1); // the world gave up on us and says why
    }
    build_serve_arguments(world, cluster, &arena, arguments);
    if (redirect_output(state_path(world->state, file, path), &err) == ERR_OK && make_own_mounts(&err) == ERR_OK &&
        set_up_node_network(cluster, &err) == ERR_OK) {
        if (sethostname(host_name, strlen(host_name)) == 0 && place_descriptors(cluster->api_fd, ready_fd)) {
            (void)execv(arguments[0], arguments);
        }
        (void)error_set_errno(&err, errno, "cannot start %s", arguments[0]);
    }
    log_error(&scope, "cluster did not start", LOG_CSTR("cluster", cluster->name), LOG_ERR(&err));
    (void)dprintf(ready_fd, "failed %s\n", err.message);
    _exit(1);
}

static enum err connect_cluster(const struct world_cluster *cluster, pid_t pid, struct error *err)
{
    struct netlink netlink = {0};
    char path[64];
    char link[32];
    (void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    (void)snprintf(link, sizeof(link), "veth-%s", cluster->name);
    int ns_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (ns_fd < 0) {
        return error_set_errno(err, errno, "%s", path);
    }
    enum err code = netlink_open(&netlink, err);
    if (code == ERR_OK) {
        code = netlink_add_veth(&netlink, link, "eth0", ns_fd, err);
    }
    if (code == ERR_OK) {
        code = netlink_set_master(&netlink, link, BRIDGE, err);
    }
    if (code == ERR_OK) {
        code = netlink_set_up(&netlink, link, err);
    }
    netlink_close(&netlink);
    (void)close(ns_fd);
    return code;
}

static enum err start_cluster(struct world *world, struct world_cluster *cluster, struct error *err)
{
    int go[2];
    int ready[2];
    char file[64];
    if (pipe2(go, O_CLOEXEC) != 0) {
        return error_set_errno(err, errno, "cannot make a pipe");
    }
    if (pipe2(ready, O_CLOEXEC | O_NONBLOCK) != 0) {
        (void)close(go[0]);
        (void)close(go[1]);
        return error_set_errno(err, errno, "cannot make a pipe");
    }
    pid_t pid = fork_with_namespaces();
    if (pid == 0) {
        (void)close(go[1]);
        run_cluster(world, cluster, go[0], ready[1]);
    }
    int failure = errno;
    (void)close(go[0]);
    (void)close(ready[1]);
    enum err code = pid < 0 ? error_set_errno(err, failure, "cannot make a node's namespaces")
                            : connect_cluster(cluster, pid, err);
    (void)snprintf(file, sizeof(file), "%s/pid", cluster->name);
    if (code == ERR_OK) {
        code = state_write_pid(world->state, file, pid, err);
    }
    if (code == ERR_OK && write(go[1], "g", 1) != 1) {
        code = error_set_errno(err, errno, "cannot start the server of %s", cluster->name);
    }
    (void)close(go[1]);
    if (code != ERR_OK) {
        (void)close(ready[0]);
        return code; // the child ends at the end of its pipe and is reaped with the others
    }
    cluster->pid = pid;
    cluster->ready_fd = ready[0];
    return ERR_OK;
}

// --- the world's first process ---------------------------------------------------------------------

// What `lab status` shows: one line per cluster.
static void write_status(const struct world *world)
{
    struct error err = {0};
    struct buf text = {0};
    char path[PATH_MAX];
    for (unsigned i = 0; i < world->options->cluster_count; i++) {
        const struct world_cluster *cluster = &world->clusters[i];
        const char *phase = cluster->pid == 0 ? "stopped" : cluster->is_ready ? "ready" : "starting";
        buf_printf(&text, "%s %s %s %s %u\n", cluster->name, cluster->node_ip, cluster->outside_url, phase,
                   cluster->restart_count);
    }
    if (file_write_atomic(state_path(world->state, "status", path), buf_view(&text), 0644, &err) != ERR_OK) {
        log_warning(&scope, "cannot write the status file, going on", LOG_ERR(&err));
    }
    buf_done(&text);
}

static void close_ready(struct world_cluster *cluster)
{
    if (cluster->ready_fd >= 0) {
        (void)close(cluster->ready_fd);
        cluster->ready_fd = -1;
    }
}

static void reap(struct world *world)
{
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        for (unsigned i = 0; i < world->options->cluster_count; i++) {
            struct world_cluster *cluster = &world->clusters[i];
            if (cluster->pid != pid) {
                continue;
            }
            cluster->pid = 0;
            cluster->restart_count++;
            cluster->start_at_ms = now_ms() + RESTART_DELAY_MS;
            log_error(&scope, "the server of a cluster ended, starting it again", LOG_CSTR("cluster", cluster->name),
                      LOG_I64("status", status));
            if (!cluster->is_ready) {
                report(world, "failed %s ended before it was ready; see %s/%s/log", cluster->name,
                       world->state->directory, cluster->name);
            }
            cluster->is_ready = false;
            write_status(world);
        }
    }
}

static void read_ready(struct world *world, struct world_cluster *cluster)
{
    char line[REPORT_LINE_MAX];
    ssize_t size = read(cluster->ready_fd, line, sizeof(line) - 1);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (size > 0) {
        struct str text = str_trim(str_make(line, (size_t)size));
        if (str_equal_c(text, "ready")) {
            cluster->is_ready = true;
            write_status(world);
            report(world, "ready %s %s %s", cluster->name, cluster->node_ip, cluster->outside_url);
        } else {
            report(world, "%.*s", STR_ARG(text));
        }
    }
    close_ready(cluster);
}

static void note_up(struct world *world)
{
    if (world->is_up) {
        return;
    }
    for (unsigned i = 0; i < world->options->cluster_count; i++) {
        if (!world->clusters[i].is_ready) {
            return;
        }
    }
    world->is_up = true;
    report(world, "up");
    (void)close(world->report_fd);
    world->report_fd = -1;
}

static void start_due(struct world *world)
{
    for (unsigned i = 0; i < world->options->cluster_count; i++) {
        struct world_cluster *cluster = &world->clusters[i];
        struct error err = {0};
        if (cluster->pid != 0 || cluster->start_at_ms > now_ms()) {
            continue;
        }
        close_ready(cluster);
        if (start_cluster(world, cluster, &err) != ERR_OK) {
            cluster->start_at_ms = now_ms() + RESTART_DELAY_MS;
            log_error(&scope, "cannot start a cluster, trying again", LOG_CSTR("cluster", cluster->name), LOG_ERR(&err));
            report(world, "failed %s: %s", cluster->name, err.message);
        }
    }
}

static int poll_timeout(const struct world *world)
{
    for (unsigned i = 0; i < world->options->cluster_count; i++) {
        if (world->clusters[i].pid == 0) {
            return (int)RESTART_DELAY_MS / 4;
        }
    }
    return -1;
}

// Until SIGTERM or SIGINT.
static void supervise(struct world *world, int signal_fd)
{
    for (;;) {
        struct pollfd polls[WORLD_CLUSTERS_MAX + 1] = {{.fd = signal_fd, .events = POLLIN}};
        start_due(world);
        for (unsigned i = 0; i < world->options->cluster_count; i++) {
            polls[i + 1] = (struct pollfd){.fd = world->clusters[i].ready_fd, .events = POLLIN};
        }
        if (poll(polls, world->options->cluster_count + 1, poll_timeout(world)) < 0) {
            continue;
        }
        struct signalfd_siginfo signal;
        while (read(signal_fd, &signal, sizeof(signal)) == (ssize_t)sizeof(signal)) {
            if (signal.ssi_signo != SIGCHLD) {
                return;
            }
        }
        for (unsigned i = 0; i < world->options->cluster_count; i++) {
            if (polls[i + 1].revents != 0) {
                read_ready(world, &world->clusters[i]);
            }
        }
        reap(world);
        note_up(world);
    }
}

// Asks the servers to end and waits for them; what is left then dies with us.
static void stop_clusters(struct world *world)
{
    uint64_t deadline = now_ms() + STOP_DEADLINE_MS;
    for (unsigned i = 0; i < world->options->cluster_count; i++) {
        if (world->clusters[i].pid > 0) {
            (void)kill(world->clusters[i].pid, SIGTERM);
        }
    }
    for (pid_t pid; now_ms() < deadline && (pid = waitpid(-1, NULL, WNOHANG)) >= 0;) {
        if (pid == 0) {
            (void)usleep(20000); // lint: allow sleep, the end of a process without a loop
        }
    }
}

static enum err make_bridge(struct error *err)
{
    struct netlink netlink = {0};
    struct in_addr gateway;
    (void)inet_pton(AF_INET, WORLD_GATEWAY, &gateway);
    enum err code = netlink_open(&netlink, err);
    if (code == ERR_OK) {
        code = netlink_set_up(&netlink, "lo", err);
    }
    if (code == ERR_OK) {
        code = netlink_add_bridge(&netlink, BRIDGE, err);
    }
    if (code == ERR_OK) {
        code = netlink_add_address(&netlink, BRIDGE, gateway, WORLD_PREFIX_SIZE, err);
    }
    if (code == ERR_OK) {
        code = netlink_set_up(&netlink, BRIDGE, err);
    }
    netlink_close(&netlink);
    return code;
}

static enum err make_directories(const struct world *world, struct error *err)
{
    char path[PATH_MAX];
    for (unsigned i = 0; i < world->options->cluster_count; i++) {
        enum err code = file_make_directories(state_path(world->state, world->clusters[i].name, path), 0755, err);
        if (code != ERR_OK) {
            return code;
        }
    }
    return ERR_OK;
}

static _Noreturn void run_world(struct world *world)
{
    struct error err = {0};
    char path[PATH_MAX];
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGCHLD);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigprocmask(SIG_SETMASK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)setsid();
    (void)umask(022);
    int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    enum err code = redirect_output(state_path(world->state, "world.log", path), &err);
    if (code == ERR_OK) {
        code = make_own_mounts(&err);
    }
    if (code == ERR_OK && sethostname("isthmesh-world", strlen("isthmesh-world")) != 0) {
        code = error_set_errno(&err, errno, "cannot set the host name");
    }
    if (code == ERR_OK) {
        code = make_bridge(&err);
    }
    if (code == ERR_OK) {
        code = make_directories(world, &err);
    }
    if (code != ERR_OK || signal_fd < 0) {
        report(world, "failed %s", err.message);
        _exit(1);
    }
    supervise(world, signal_fd);
    stop_clusters(world);
    _exit(0);
}

enum err world_start(struct world *world, pid_t *ret_pid, int *ret_report_fd, struct error *err)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
        return error_set_errno(err, errno, "cannot make a pipe");
    }
    pid_t pid = fork_with_namespaces();
    if (pid == 0) {
        (void)close(pipe_fds[0]);
        world->report_fd = pipe_fds[1];
        run_world(world);
    }
    int failure = errno;
    (void)close(pipe_fds[1]);
    if (pid < 0) {
        (void)close(pipe_fds[0]);
        return error_set_errno(err, failure, "cannot make the world's namespaces");
    }
    *ret_pid = pid;
    *ret_report_fd = pipe_fds[0];
    return ERR_OK;
}
