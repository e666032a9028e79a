// SPDX-License-Identifier: Apache-2.0
//
// isthmesh-lab: `isthmesh-lab up|down|status|shell|exec|logs` keeps labs; `isthmesh-lab serve` is one lab
// cluster: API server, controllers, node agent, DNS and load balancer on one loop. The lab starts it in a node's
// namespaces, as the first process of its process namespace.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/version.h"
#include "kube/client.h"
#include "lab/apiserver/apiserver.h"
#include "lab/controllers/controllers.h"
#include "lab/dns/server.h"
#include "lab/loadbalancer/loadbalancer.h"
#include "lab/node/exec.h"
#include "lab/node/node.h"
#include "lab/world/command.h"
#include "loop/loop.h"
#include "net/address.h"

#define API_PORT 6443
#define READY_POLL_MS 10u
#define DRAIN_MS 300u
#define RUN_DIRECTORY_MODE 0700

static struct log_scope scope = LOG_SCOPE("lab");

struct flags {
    struct str name;
    struct str lab;
    struct str state_directory;
    struct str api_fd;
    struct str ready_fd;
    struct str api_url;
    struct str node_ip;
    struct str pod_cidr;
    struct str service_cidr;
    struct str region;
    struct str zone;
};

struct serve {
    struct flags flags;
    struct arena arena;
    struct loop *loop;
    struct str inside_url;
    struct apiserver *apiserver;
    struct kube_client *client;
    struct controllers *controllers;
    struct node *node;
    struct dns_server *dns;
    struct loadbalancer *loadbalancer;
    struct loop_timer ready;
    int ready_fd;
};

static const struct {
    const char *name;
    size_t offset;
    bool is_needed;
} flag_table[] = {
    {"--name", offsetof(struct flags, name), true},
    {"--lab", offsetof(struct flags, lab), true},
    {"--state-dir", offsetof(struct flags, state_directory), true},
    {"--api-fd", offsetof(struct flags, api_fd), false},
    {"--ready-fd", offsetof(struct flags, ready_fd), false},
    {"--api-url", offsetof(struct flags, api_url), false},
    {"--node-ip", offsetof(struct flags, node_ip), true},
    {"--pod-cidr", offsetof(struct flags, pod_cidr), true},
    {"--service-cidr", offsetof(struct flags, service_cidr), true},
    {"--region", offsetof(struct flags, region), false},
    {"--zone", offsetof(struct flags, zone), false},
};

static struct str *flag_value(struct flags *flags, size_t index)
{
    return (struct str *)(void *)((char *)flags + flag_table[index].offset);
}

static enum err parse_flags(int count, char **arguments, struct flags *flags, struct error *err)
{
    for (int i = 0; i < count; i++) {
        struct str value = str_of(arguments[i]);
        struct str name = str_split(&value, '=');
        bool is_known = false;
        for (size_t k = 0; k < array_count(flag_table); k++) {
            if (str_equal_c(name, flag_table[k].name) && value.data != NULL) {
                *flag_value(flags, k) = value;
                is_known = true;
            }
        }
        if (!is_known) {
            return error_set(err, ERR_INVALID, "serve has no flag \"%s\" (flags are --name=value)", arguments[i]);
        }
    }
    for (size_t k = 0; k < array_count(flag_table); k++) {
        if (flag_table[k].is_needed && flag_value(flags, k)->size == 0) {
            return error_set(err, ERR_INVALID, "serve needs %s", flag_table[k].name);
        }
    }
    return ERR_OK;
}

// The n-th address of a range: kubeadm gives the tenth to DNS.
static struct str range_address(struct arena *arena, struct str range, uint32_t n)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr base = {0};
    struct str host = str_split(&range, '/');
    (void)snprintf(text, sizeof(text), "%.*s", STR_ARG(host));
    (void)inet_pton(AF_INET, text, &base);
    base.s_addr = htonl(ntohl(base.s_addr) + n);
    (void)inet_ntop(AF_INET, &base, text, sizeof(text));
    return arena_str(arena, str_of(text));
}

// What only this cluster and its pods may see, and what must vanish with them: a mount of our own.
static enum err mount_run_directory(struct serve *serve, struct str *ret_path, struct error *err)
{
    *ret_path = arena_format(&serve->arena, "%.*s/run", STR_ARG(serve->flags.state_directory));
    enum err code = file_make_directories(ret_path->data, RUN_DIRECTORY_MODE, err);
    if (code != ERR_OK) {
        return code;
    }
    if (mount("tmpfs", ret_path->data, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") != 0) {
        return error_set_errno(err, errno, "cannot mount %s", ret_path->data);
    }
    return ERR_OK;
}

static struct str programs_directory(struct arena *arena)
{
    char path[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
    struct str program = str_make(path, size > 0 ? (size_t)size : 0);
    ptrdiff_t slash = str_find_last_char(program, '/');
    return arena_str(arena, str_sub(program, 0, slash > 0 ? (size_t)slash : 0));
}

// --- the parts -------------------------------------------------------------------------------------

static enum err start_apiserver(struct serve *serve, struct error *err)
{
    int fds[2];
    size_t count = 0;
    uint64_t api_fd = 0;
    struct address address;
    struct listen_options listen_options = {0};
    enum err code = address_from_ip(serve->flags.node_ip, API_PORT, &address, err);
    if (code == ERR_OK) {
        code = address_listen(&address, &listen_options, &fds[count], err);
    }
    if (code != ERR_OK) {
        return code;
    }
    count++;
    if (str_to_u64(serve->flags.api_fd, &api_fd) && api_fd <= INT_MAX) {
        fds[count++] = (int)api_fd;
    }
    struct apiserver_options options = {.cluster_name = serve->flags.name,
                                        .state_directory = serve->flags.state_directory,
                                        .listen_fds = fds,
                                        .listen_fd_count = count,
                                        .advertise_ip = serve->flags.node_ip,
                                        .advertise_port = API_PORT,
                                        .service_cidr = serve->flags.service_cidr};
    serve->apiserver = apiserver_new(serve->loop, &options, err);
    return serve->apiserver == NULL ? err->code : ERR_OK;
}

static enum err write_kubeconfig(struct serve *serve, const char *file, struct str url, struct error *err)
{
    struct str path = arena_format(&serve->arena, "%.*s/%s", STR_ARG(serve->flags.state_directory), file);
    return file_write_atomic(path.data, apiserver_kubeconfig(serve->apiserver, &serve->arena, url), 0600, err);
}

static enum err start_client(struct serve *serve, struct error *err)
{
    serve->inside_url = arena_format(&serve->arena, "https://%.*s:%d", STR_ARG(serve->flags.node_ip), API_PORT);
    struct str outside = serve->flags.api_url.size > 0 ? serve->flags.api_url : serve->inside_url;
    enum err code = write_kubeconfig(serve, "kubeconfig", outside, err);
    if (code == ERR_OK) {
        code = write_kubeconfig(serve, "kubeconfig.inside", serve->inside_url, err);
    }
    if (code != ERR_OK) {
        return code;
    }
    struct kube_config config = apiserver_client_config(serve->apiserver, &serve->arena, serve->inside_url);
    serve->client = kube_client_new(serve->loop, &config, err);
    return serve->client == NULL ? err->code : ERR_OK;
}

static enum err start_node(struct serve *serve, struct error *err)
{
    struct str run_directory;
    struct str dns_ip = range_address(&serve->arena, serve->flags.service_cidr, 10);
    enum err code = mount_run_directory(serve, &run_directory, err);
    if (code != ERR_OK) {
        return code;
    }
    struct node_options options = {
        .name = arena_format(&serve->arena, "%.*s-control-plane", STR_ARG(serve->flags.name)),
        .node_ip = serve->flags.node_ip,
        .pod_cidr = serve->flags.pod_cidr,
        .dns_ip = dns_ip,
        .state_directory = serve->flags.state_directory,
        .run_directory = run_directory,
        .programs = programs_directory(&serve->arena),
        .cgroup = arena_format(&serve->arena, "/isthmesh-lab-%.*s/%.*s", STR_ARG(serve->flags.lab), STR_ARG(serve->flags.name)),
        .region = serve->flags.region,
        .zone = serve->flags.zone,
    };
    serve->node = node_new(serve->loop, serve->client, &options, err);
    if (serve->node == NULL) {
        return err->code;
    }
    struct runtime runtime = exec_runtime(serve->node);
    apiserver_set_runtime(serve->apiserver, &runtime);
    serve->dns = dns_server_new(serve->loop, serve->client, serve->flags.node_ip, dns_ip, err);
    return serve->dns == NULL ? err->code : ERR_OK;
}

static enum err start_loadbalancer(struct serve *serve, struct error *err)
{
    struct loadbalancer_options options = {
        .node = arena_format(&serve->arena, "%.*s-control-plane", STR_ARG(serve->flags.name)),
        .node_ip = serve->flags.node_ip,
    };
    serve->loadbalancer = loadbalancer_new(serve->loop, serve->client, &options, err);
    for (size_t i = 0; serve->loadbalancer != NULL && i < array_count(loadbalancer_webhook_services); i++) {
        apiserver_stand_in(serve->apiserver, STR("metallb-system"), loadbalancer_webhook_services[i],
                           loadbalancer_webhook_address(serve->loadbalancer));
    }
    return serve->loadbalancer == NULL ? err->code : ERR_OK;
}

static enum err start(struct serve *serve, struct error *err)
{
    enum err code = start_apiserver(serve, err);
    if (code == ERR_OK) {
        code = start_client(serve, err);
    }
    if (code == ERR_OK) {
        struct controllers_options options = {.ca_pem = apiserver_ca_pem(serve->apiserver)};
        serve->controllers = controllers_new(serve->loop, serve->client, &options);
        code = start_node(serve, err);
    }
    if (code == ERR_OK) {
        code = start_loadbalancer(serve, err);
    }
    return code;
}

// --- life ------------------------------------------------------------------------------------------

static void on_ready_poll(struct loop_timer *timer)
{
    struct serve *serve = container_of(timer, struct serve, ready);
    if (!node_is_ready(serve->node) || !dns_server_is_ready(serve->dns)) {
        loop_timer_start(timer, READY_POLL_MS);
        return;
    }
    log_info(&scope, "cluster is ready", LOG_STR("cluster", serve->flags.name), LOG_STR("server", serve->inside_url));
    if (serve->ready_fd >= 0) {
        static const char word[] = "ready\n";
        if (write(serve->ready_fd, word, sizeof(word) - 1) < 0) {
            log_debug(&scope, "nobody waits for the cluster");
        }
        (void)close(serve->ready_fd);
        serve->ready_fd = -1;
    }
}

static void on_drained(void *owner)
{
    struct serve *serve = owner;
    loop_stop(serve->loop);
}

static void on_signal(void *owner, int signal_number)
{
    struct serve *serve = owner;
    log_info(&scope, "stopping", LOG_I64("signal", signal_number));
    if (serve->node == NULL) {
        loop_stop(serve->loop);
    } else {
        node_drain(serve->node, DRAIN_MS, on_drained, serve);
    }
}

static void stop(struct serve *serve)
{
    loop_timer_stop(&serve->ready);
    loadbalancer_free(serve->loadbalancer);
    dns_server_free(serve->dns);
    node_free(serve->node);
    controllers_free(serve->controllers);
    kube_client_free(serve->client);
    apiserver_free(serve->apiserver);
}

static void report_failure(const struct serve *serve, const struct error *err)
{
    (void)fprintf(stderr, "isthmesh-lab: %s\n", err->message);
    if (serve->ready_fd >= 0) {
        (void)dprintf(serve->ready_fd, "failed %.*s: %s\n", STR_ARG(serve->flags.name), err->message);
    }
}

static int run_serve(int count, char **arguments)
{
    struct serve serve = {.ready_fd = -1};
    struct error err = {0};
    uint64_t ready_fd = 0;
    if (parse_flags(count, arguments, &serve.flags, &err) != ERR_OK) {
        report_failure(&serve, &err);
        return 2;
    }
    if (str_to_u64(serve.flags.ready_fd, &ready_fd) && ready_fd <= INT_MAX) {
        serve.ready_fd = (int)ready_fd;
        (void)fcntl(serve.ready_fd, F_SETFD, FD_CLOEXEC);
    }
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)signal(SIGPIPE, SIG_IGN);
    serve.loop = loop_new();
    loop_signal_watch(serve.loop, SIGTERM, on_signal, &serve);
    loop_signal_watch(serve.loop, SIGINT, on_signal, &serve);
    loop_child_reap_all(serve.loop);
    loop_timer_init(&serve.ready, serve.loop, on_ready_poll);
    enum err code = start(&serve, &err);
    if (code == ERR_OK) {
        loop_timer_start(&serve.ready, 0);
        loop_run(serve.loop);
    } else {
        report_failure(&serve, &err);
    }
    stop(&serve);
    loop_turn(serve.loop, 0); // what closes itself at the end of a turn
    loop_free(serve.loop);
    arena_done(&serve.arena);
    return code == ERR_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        (void)printf("isthmesh-lab %s (%s)\n", version_number, version_commit);
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "serve") == 0) {
        return run_serve(argc - 2, argv + 2);
    }
    return world_command(argc, argv);
}
