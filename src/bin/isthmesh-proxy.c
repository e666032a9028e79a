// SPDX-License-Identifier: Apache-2.0
//
// isthmesh-proxy: the data plane.
//
//   isthmesh-proxy proxy sidecar|router [--domain D] [--concurrency N]   in a pod
//   isthmesh-proxy init …  (alias istio-iptables)                        traffic capture rules
//   isthmesh-proxy -c FILE [--admin IP:PORT] [--concurrency N]           static configuration
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/version.h"
#include "codec/json/json.h"
#include "codec/yaml/yaml.h"
#include "proxy/admin.h"
#include "proxy/ads.h"
#include "proxy/bootstrap.h"
#include "proxy/capture/capture.h"
#include "proxy/identity/identity.h"
#include "proxy/proxy.h"

static struct log_scope scope = LOG_SCOPE("main");

#define CONCURRENCY_DEFAULT 2u
#define CONTROL_PLANE_DEFAULT "istiod.istio-system.svc:15012"
#define ROOTS_DEFAULT "/var/run/secrets/istio/root-cert.pem"
#define TOKEN_DEFAULT "/var/run/secrets/tokens/istio-token"
#define POD_DIRECTORY "/etc/istio/pod"

extern char **environ;

struct options {
    const char *file;   // -c
    const char *role;   // "sidecar", "router"; NULL: static
    const char *domain;
    const char *admin;
    uint64_t concurrency;
    bool has_concurrency;
};

static const char *lookup_environment(const char *name)
{
    const char *value = getenv(name);
    return value == NULL ? "" : value;
}

static struct str environment_or(const char *name, const char *otherwise)
{
    const char *value = lookup_environment(name);
    return str_of(value[0] != 0 ? value : otherwise);
}

static int usage(FILE *out, int status)
{
    (void)fputs("usage: isthmesh-proxy proxy sidecar|router [--domain DOMAIN] [--concurrency N]\n"
                "       isthmesh-proxy init [istio-iptables flags] [--dry-run] [--clean]\n"
                "       isthmesh-proxy -c FILE [--admin IP:PORT] [--concurrency N]\n",
                out);
    return status;
}

// --- flags ---------------------------------------------------------------------------------------------

// Flags of pilot-agent and Envoy that injected pods carry and that change nothing here.
static const char *const ignored_flags[] = {
    "--proxyLogLevel", "--proxyComponentLogLevel", "--log_output_level", "--serviceCluster", "--stsPort",
    "--drain-time-s", "--drain-strategy", "--local-address-ip-version", "--file-flush-interval-msec", "--log-format", "-l",
};

static bool is_ignored(struct str name)
{
    for (size_t i = 0; i < array_count(ignored_flags); i++) {
        if (str_equal_c(name, ignored_flags[i])) {
            return true;
        }
    }
    return false;
}

static bool set_flag(struct options *options, struct str name, const char *value)
{
    if (str_equal(name, STR("-c")) || str_equal(name, STR("--config-path"))) {
        options->file = value;
    } else if (str_equal(name, STR("--domain"))) {
        options->domain = value;
    } else if (str_equal(name, STR("--admin"))) {
        options->admin = value;
    } else if (str_equal(name, STR("--concurrency"))) {
        options->has_concurrency = true;
        return str_to_u64(str_of(value), &options->concurrency) && options->concurrency <= WORKERS_MAX;
    } else {
        return is_ignored(name);
    }
    return true;
}

static bool parse_flags(struct options *options, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (argv[i][0] != '-') {
            if (options->role != NULL && options->role[0] == 0) {
                options->role = argv[i];
                continue;
            }
            (void)fprintf(stderr, "isthmesh-proxy: unexpected argument %s\n", argv[i]);
            return false;
        }
        struct str rest = str_of(argv[i]);
        struct str name = str_split(&rest, '=');
        const char *value = rest.data;
        if (value == NULL) {
            value = ++i < argc ? argv[i] : NULL;
        }
        if (value == NULL || !set_flag(options, name, value)) {
            (void)fprintf(stderr, "isthmesh-proxy: flag %.*s is unknown, or its value is missing or bad\n", STR_ARG(name));
            return false;
        }
    }
    if (options->role != NULL && strcmp(options->role, "sidecar") != 0 && strcmp(options->role, "router") != 0) {
        (void)fprintf(stderr, "isthmesh-proxy: proxy needs a role, sidecar or router\n");
        return false;
    }
    return true;
}

// --- wiring --------------------------------------------------------------------------------------------

static void on_identity(void *owner, struct str chain_pem, struct str key_pem, struct str roots_pem)
{
    struct proxy *proxy = owner;
    struct secrets *secrets = secrets_new(config_store_secrets(proxy->store));
    secrets_set_certificate(secrets, STR("default"), chain_pem, key_pem);
    secrets_set_roots(secrets, STR("ROOTCA"), roots_pem);
    config_store_set_secrets(proxy->store, secrets);
    secrets_unref(secrets);
    proxy_changed(proxy);
}

static bool split_host_port(struct str text, struct str *ret_host, uint16_t *ret_port)
{
    ptrdiff_t colon = str_find_last_char(text, ':');
    uint64_t port = 0;
    if (colon <= 0 || !str_to_u64(str_from(text, (size_t)colon + 1), &port) || port == 0 || port > 65535) {
        return false;
    }
    *ret_host = str_sub(text, 0, (size_t)colon);
    *ret_port = (uint16_t)port;
    return true;
}

// Address of the control plane: PROXY_CONFIG's discoveryAddress, else the CA's, else the usual one.
static struct str discovery_address(struct arena *arena)
{
    struct json_value *config;
    struct str address = environment_or("CA_ADDR", CONTROL_PLANE_DEFAULT);
    struct str text = environment_or("PROXY_CONFIG", "");
    if (text.size > 0 && yaml_parse(arena, text, &config, NULL) == ERR_OK && json_get_str(config, "discoveryAddress").size > 0) {
        address = json_get_str(config, "discoveryAddress");
    }
    return address;
}

static enum err connect_mesh(struct proxy *proxy, const struct options *options, struct arena *arena, struct error *err)
{
    const struct node_facts facts = {
        .type = str_of(options->role),
        .domain = str_of(options->domain),
        .pod_directory = POD_DIRECTORY,
        .lookup = lookup_environment,
        .environment = (const char *const *)environ,
    };
    proxy->node = node_make(arena, &facts, err);
    if (proxy->node == NULL) {
        return err->code;
    }
    struct identity_options identity = {
        .roots_path = environment_or("CA_ROOT_CA", ROOTS_DEFAULT),
        .token_path = STR(TOKEN_DEFAULT),
        .cluster_id = environment_or("ISTIO_META_CLUSTER_ID", "Kubernetes"),
        .server_name = environment_or("ISTIOD_SAN", ""),
        .spiffe_id = arena_format(arena, "spiffe://%s/ns/%s/sa/%s", environment_or("TRUST_DOMAIN", "cluster.local").data,
                                  lookup_environment("POD_NAMESPACE"), environment_or("SERVICE_ACCOUNT", "default").data),
    };
    struct ads_options ads = {
        .roots_path = environment_or("XDS_ROOT_CA", ROOTS_DEFAULT),
        .token_path = identity.token_path,
        .cluster_id = identity.cluster_id,
        .server_name = identity.server_name,
    };
    if (!split_host_port(environment_or("CA_ADDR", CONTROL_PLANE_DEFAULT), &identity.ca_host, &identity.ca_port) ||
        !split_host_port(discovery_address(arena), &ads.host, &ads.port)) {
        return error_set(err, ERR_INVALID, "CA_ADDR and discoveryAddress must be HOST:PORT");
    }
    proxy->identity = identity_new(proxy->loop, &identity, on_identity, proxy);
    proxy->ads = ads_new(proxy, &ads);
    return ERR_OK;
}

static enum err listen_admin(struct proxy *proxy, const struct options *options, struct error *err)
{
    static const struct {
        const char *address;
        bool is_public;
    } pod_addresses[] = {{"127.0.0.1:15000", false}, {"0.0.0.0:15020", true}, {"0.0.0.0:15021", true}, {"0.0.0.0:15090", true}};
    proxy->admin = admin_new(proxy);
    struct address address;
    if (options->admin != NULL) {
        enum err result = address_parse(str_of(options->admin), &address, err);
        return result == ERR_OK ? admin_listen(proxy->admin, &address, false, err) : result;
    }
    for (size_t i = 0; options->role != NULL && i < array_count(pod_addresses); i++) {
        enum err result = address_parse(str_of(pod_addresses[i].address), &address, err);
        if (result == ERR_OK) {
            result = admin_listen(proxy->admin, &address, pod_addresses[i].is_public, err);
        }
        if (result != ERR_OK) {
            return result;
        }
    }
    return ERR_OK;
}

static void on_terminate(void *owner, int signal_number)
{
    (void)signal_number;
    proxy_shut_down(owner);
}

static enum err start(struct proxy *proxy, const struct options *options, struct arena *arena, struct error *err)
{
    enum err result = listen_admin(proxy, options, err);
    if (result == ERR_OK && options->file != NULL) {
        const Envoy__Config__Bootstrap__V3__Bootstrap *bootstrap = bootstrap_read(arena, options->file, err);
        result = bootstrap == NULL ? ERR_INVALID : bootstrap_apply(bootstrap, proxy->store, err);
    }
    if (result == ERR_OK && options->role != NULL) {
        result = connect_mesh(proxy, options, arena, err);
    }
    proxy_changed(proxy);
    return result;
}

static int run(const struct options *options)
{
    struct arena arena = {0};
    struct error err = {0};
    struct proxy proxy;
    struct loop *loop = loop_new();
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    proxy_init(&proxy, loop, options->has_concurrency ? (unsigned)options->concurrency : CONCURRENCY_DEFAULT);
    loop_signal_watch(loop, SIGTERM, on_terminate, &proxy);
    loop_signal_watch(loop, SIGINT, on_terminate, &proxy);
    int status = 1;
    if (start(&proxy, options, &arena, &err) == ERR_OK) {
        log_info(&scope, "started", LOG_CSTR("version", version_number), LOG_CSTR("role", options->role == NULL ? "static" : options->role),
                 LOG_U64("workers", proxy.worker_count));
        loop_run(loop);
        status = 0;
    } else {
        (void)fprintf(stderr, "isthmesh-proxy: %s\n", err.message);
    }
    proxy_done(&proxy);
    loop_turn(loop, 0);
    loop_free(loop);
    arena_done(&arena);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        return usage(stderr, 2);
    }
    const char *command = argv[1];
    if (strcmp(command, "--version") == 0 || strcmp(command, "version") == 0) {
        (void)printf("isthmesh-proxy %s (%s)\n", version_number, version_commit);
        return 0;
    }
    if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0) {
        return usage(stdout, 0);
    }
    if (strcmp(command, "init") == 0 || strcmp(command, "istio-iptables") == 0) {
        return capture_main(argc - 2, argv + 2);
    }
    struct options options = {0};
    bool in_pod = strcmp(command, "proxy") == 0;
    if (in_pod) {
        options.role = "";
    }
    if (!parse_flags(&options, argc - (in_pod ? 2 : 1), argv + (in_pod ? 2 : 1))) {
        return 2;
    }
    if (!in_pod && options.file == NULL) {
        return usage(stderr, 2);
    }
    return run(&options);
}
