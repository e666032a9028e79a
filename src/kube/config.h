// SPDX-License-Identifier: Apache-2.0
//
// config: how to reach an API server: from a kubeconfig or from inside a pod.
#ifndef KUBE_CONFIG_H
#define KUBE_CONFIG_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

struct kube_config {
    struct str server;          // "https://172.18.0.2:6443"
    struct str tls_server_name; // empty: host of server
    struct str ca_pem;          // empty: system roots
    struct str certificate_pem; // client certificate, or empty
    struct str key_pem;
    struct str token;           // bearer, or empty
    struct str token_file;      // re-read as it rotates; wins over token
    struct str ns;              // default namespace of the context
    bool insecure_skip_tls_verify;
};

enum kube_config_trust {
    KUBE_CONFIG_LOCAL,  // a user's own file: paths to certificates and tokens are read
    KUBE_CONFIG_REMOTE, // from a remote secret: anything that names a file or program is refused
};

// context empty: current-context. All results live in the arena.
enum err kube_config_parse(struct arena *arena, struct str text, struct str context,
                           enum kube_config_trust trust, struct kube_config *ret_config,
                           struct error *err) must_check;
enum err kube_config_load(struct arena *arena, const char *path, struct str context,
                          struct kube_config *ret_config, struct error *err) must_check;
// KUBERNETES_SERVICE_HOST/PORT and /var/run/secrets/kubernetes.io/serviceaccount.
enum err kube_config_in_cluster(struct arena *arena, struct kube_config *ret_config, struct error *err) must_check;

#endif
