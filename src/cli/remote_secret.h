// SPDX-License-Identifier: Apache-2.0
//
// remote_secret: `isthmesh create-remote-secret`: prints the Secret that, applied in another cluster, lets
// its control plane watch this one. Flags, names and output follow istioctl's command of that name.
#ifndef CLI_REMOTE_SECRET_H
#define CLI_REMOTE_SECRET_H

#include "base/arena.h"
#include "base/str.h"

int cli_create_remote_secret(int argc, char **argv);

// What the secret says; all texts are plain.
struct remote_secret {
    struct str name;      // the cluster's
    struct str ns;        // of the secret
    struct str server;
    struct str tls_server_name; // empty: host of server
    struct str ca_pem;
    struct str token;
};
struct str remote_secret_write(struct arena *arena, const struct remote_secret *secret); // YAML, pure

#endif
