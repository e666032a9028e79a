// SPDX-License-Identifier: Apache-2.0
//
// control_groups: which limits this machine can enforce on containers. Control groups come as version 1
// (a hierarchy per controller), as version 2 (one hierarchy, which lists its controllers) and mixed; a
// controller that sits in the other version, or was not delegated to us, cannot be used. Limits are best
// effort: a container runs without those the machine does not have.
#ifndef LAB_NODE_CONTROL_GROUPS_H
#define LAB_NODE_CONTROL_GROUPS_H

#include <stdbool.h>

#include "base/str.h"

struct control_groups {
    bool is_unified; // version 2 is mounted at the root
    bool has_cpu;
    bool has_memory;
};

// What is mounted at root ("/sys/fs/cgroup").
void control_groups_detect(const char *root, struct control_groups *ret_groups);

// From the text of a cgroup.controllers file: names with blanks between them.
bool control_groups_lists(struct str controllers, struct str name);

#endif
