// SPDX-License-Identifier: Apache-2.0
#include "lab/node/control_groups.h"

#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/file.h"

#define CONTROLLERS_MAX 4096u

bool control_groups_lists(struct str controllers, struct str name)
{
    controllers = str_trim(controllers);
    while (controllers.data != NULL) {
        if (str_equal(str_split(&controllers, ' '), name)) {
            return true;
        }
    }
    return false;
}

static bool has_hierarchy(const char *root, const char *controller)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s/tasks", root, controller); // only version 1 has it
    return access(path, W_OK) == 0;
}

void control_groups_detect(const char *root, struct control_groups *ret_groups)
{
    struct statfs facts;
    *ret_groups = (struct control_groups){0};
    if (statfs(root, &facts) != 0) {
        return;
    }
    if ((unsigned long)facts.f_type != CGROUP2_SUPER_MAGIC) {
        ret_groups->has_cpu = has_hierarchy(root, "cpu");
        ret_groups->has_memory = has_hierarchy(root, "memory");
        return;
    }
    ret_groups->is_unified = true;
    struct arena arena = {0};
    struct str controllers;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/cgroup.controllers", root);
    if (file_read(&arena, path, CONTROLLERS_MAX, &controllers, NULL) == ERR_OK) {
        ret_groups->has_cpu = control_groups_lists(controllers, STR("cpu"));
        ret_groups->has_memory = control_groups_lists(controllers, STR("memory"));
    }
    arena_done(&arena);
}
