// SPDX-License-Identifier: Apache-2.0
//
// pod_files: the files every container of a pod gets: /etc/hosts and /etc/resolv.conf. Pure.
#ifndef LAB_NODE_POD_FILES_H
#define LAB_NODE_POD_FILES_H

#include "lab/node/context.h"

// Host name of a pod's processes: spec.hostname, else its name, cut to what the kernel takes.
struct str pod_files_host_name(struct arena *arena, const struct json_value *pod, struct str node_name);
struct str pod_files_hosts(struct arena *arena, const struct pod_context *context);
// machine: the machine's own resolv.conf, for dnsPolicy Default.
struct str pod_files_resolv(struct arena *arena, const struct pod_context *context, struct str dns_ip, struct str machine);

#endif
