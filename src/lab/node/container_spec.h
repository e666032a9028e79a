// SPDX-License-Identifier: Apache-2.0
//
// container_spec: a container of a pod as an OCI runtime specification 1.0 configuration, and the files
// its root file system begins with.
//
// The root is a folder on a private tmpfs. The machine's programs and libraries appear in it read-only;
// everything else is the container's own. The configuration is a function of its inputs and of which of
// those folders the machine has.
#ifndef LAB_NODE_CONTAINER_SPEC_H
#define LAB_NODE_CONTAINER_SPEC_H

#include "lab/node/context.h"
#include "lab/node/control_groups.h"
#include "lab/node/images.h"

struct container_place {
    struct str root;          // its root file system
    struct str programs;      // our programs on this machine; seen at IMAGE_PROGRAMS
    struct str hosts_file;    // becomes /etc/hosts
    struct str resolv_file;   // becomes /etc/resolv.conf
    struct str volumes;       // folder of the pod's volumes, one folder each
    struct str cgroup;        // control group path
    struct control_groups groups; // limits that can be enforced; others are left out
    struct str net_namespace; // paths; empty: the node's own
    struct str uts_namespace;
    struct str ipc_namespace;
};

// ERR_NOT_FOUND and ERR_INVALID are the pod's fault (CreateContainerConfigError).
enum err container_spec_build(struct arena *arena, const struct pod_context *context, const struct json_value *container,
                              const struct image *image, const struct container_place *place,
                              struct json_value **ret_spec, struct error *err) must_check;

// Makes the root folder: empty directories, links as the machine has them (bin → usr/bin), users.
enum err container_root_make(struct str root, struct str host_name, struct error *err) must_check;

#endif
