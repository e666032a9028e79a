// SPDX-License-Identifier: Apache-2.0
#include "bin/isthmeshd_options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/version.h"

enum flag {
    FLAG_READY = 1000, FLAG_WEBHOOK, FLAG_PLAINTEXT, FLAG_SECURE, FLAG_MONITORING, FLAG_DOMAIN,
    FLAG_KUBECONFIG, FLAG_CA_DIRECTORY, FLAG_LOG_LEVELS, FLAG_LOG_JSON, FLAG_IMAGE, FLAG_IGNORED,
    FLAG_HELP, FLAG_VERSION,
};

static const char help[] =
    "usage: isthmeshd [discovery] [flags]\n"
    "\n"
    "The control plane of the mesh in one cluster.\n"
    "\n"
    "  --domain SUFFIX            suffix of service names (cluster.local)\n"
    "  --grpcAddr ADDRESS         xDS without TLS (:15010)\n"
    "  --secureGRPCAddr ADDRESS   xDS and certificates over TLS (:15012)\n"
    "  --httpsAddr ADDRESS        injection webhook (:15017)\n"
    "  --httpAddr ADDRESS         readiness (:8080)\n"
    "  --monitoringAddr ADDRESS   metrics and debug pages (:15014)\n"
    "  --kubeconfig FILE          API server to use instead of the pod's own\n"
    "  --caDirectory DIRECTORY    certificate authority (/etc/cacerts); absent: self-signed\n"
    "  --proxyImage IMAGE         image of injected proxies (isthmesh/proxy)\n"
    "  --log_output_level SPEC    such as info or default:info,ads:debug\n"
    "  --log_as_json              one JSON object per line\n"
    "  --version, --help\n"
    "\n"
    "environment: CLUSTER_ID, POD_NAME, POD_NAMESPACE, NETWORK, MESH_ID, PROXY_IMAGE\n";

static const struct option flags[] = {
    {"httpAddr", required_argument, NULL, FLAG_READY},
    {"httpsAddr", required_argument, NULL, FLAG_WEBHOOK},
    {"grpcAddr", required_argument, NULL, FLAG_PLAINTEXT},
    {"secureGRPCAddr", required_argument, NULL, FLAG_SECURE},
    {"monitoringAddr", required_argument, NULL, FLAG_MONITORING},
    {"domain", required_argument, NULL, FLAG_DOMAIN},
    {"kubeconfig", required_argument, NULL, FLAG_KUBECONFIG},
    {"caDirectory", required_argument, NULL, FLAG_CA_DIRECTORY},
    {"proxyImage", required_argument, NULL, FLAG_IMAGE},
    {"log_output_level", required_argument, NULL, FLAG_LOG_LEVELS},
    {"log_as_json", no_argument, NULL, FLAG_LOG_JSON},
    {"keepaliveMaxServerConnectionAge", required_argument, NULL, FLAG_IGNORED}, // istiod's manifests set it
    {"help", no_argument, NULL, FLAG_HELP},
    {"version", no_argument, NULL, FLAG_VERSION},
    {NULL, 0, NULL, 0},
};

static const char *environment(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value == NULL || value[0] == '\0' ? otherwise : value;
}

// False: not a flag that carries a value of ours.
static bool set_flag(struct isthmeshd_options *options, int flag, const char *value)
{
    switch (flag) {
    case FLAG_READY: options->ready_address = value; return true;
    case FLAG_WEBHOOK: options->webhook_address = value; return true;
    case FLAG_PLAINTEXT: options->plaintext_address = value; return true;
    case FLAG_SECURE: options->secure_address = value; return true;
    case FLAG_MONITORING: options->monitoring_address = value; return true;
    case FLAG_DOMAIN: options->domain = value; return true;
    case FLAG_KUBECONFIG: options->kubeconfig = value; return true;
    case FLAG_CA_DIRECTORY: options->ca_directory = value; return true;
    case FLAG_IMAGE: options->image = value; return true;
    case FLAG_LOG_LEVELS: options->log_levels = value; return true;
    case FLAG_LOG_JSON: options->log_json = true; return true;
    case FLAG_IGNORED: return true;
    default: return false;
    }
}

enum options_verdict isthmeshd_options_read(int argc, char **argv, struct isthmeshd_options *ret_options)
{
    struct isthmeshd_options options = {
        .ready_address = ":8080",
        .webhook_address = ":15017",
        .plaintext_address = ":15010",
        .secure_address = ":15012",
        .monitoring_address = ":15014",
        .domain = "cluster.local",
        .ca_directory = "/etc/cacerts",
        .log_levels = "default:info",
        .image = environment("PROXY_IMAGE", "isthmesh/proxy"),
        .cluster = environment("CLUSTER_ID", "Kubernetes"),
        .pod = environment("POD_NAME", "isthmeshd"),
        .ns = environment("POD_NAMESPACE", "istio-system"),
        .network = environment("NETWORK", ""),
        .mesh_id = environment("MESH_ID", ""),
    };
    int flag;
    while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1) {
        if (flag == FLAG_HELP) {
            fputs(help, stdout);
            return OPTIONS_EXIT_OK;
        }
        if (flag == FLAG_VERSION) {
            printf("isthmeshd %s (%s)\n", version_number, version_commit);
            return OPTIONS_EXIT_OK;
        }
        if (!set_flag(&options, flag, optarg)) {
            fputs("isthmeshd --help lists the flags\n", stderr);
            return OPTIONS_EXIT_FAILURE;
        }
    }
    bool is_discovery = optind + 1 == argc && str_equal_c(str_of(argv[optind]), "discovery");
    if (optind != argc && !is_discovery) {
        fprintf(stderr, "isthmeshd: unexpected argument %s\n", argv[optind]);
        return OPTIONS_EXIT_FAILURE;
    }
    *ret_options = options;
    return OPTIONS_RUN;
}
