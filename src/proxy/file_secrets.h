// SPDX-License-Identifier: Apache-2.0
//
// file_secrets: secrets that are files, as Istio names them in clusters that originate TLS:
// "file-root:PATH", "file-root:system" (the roots the machine trusts), "file-cert:CHAIN~KEY". They are
// read once, when a cluster first names them; a file that cannot be read leaves the cluster warming, until
// its configuration comes again.
#ifndef PROXY_FILE_SECRETS_H
#define PROXY_FILE_SECRETS_H

#include "proxy/cluster/cluster.h"

#define FILE_SECRET_SIZE_MAX (4u * 1024 * 1024)

// The secrets with what the cluster's sockets lack, a new reference; NULL: nothing to add.
struct secrets *file_secrets_add(const struct secrets *present, const struct cluster_config *config);

#endif
