// SPDX-License-Identifier: Apache-2.0
#include "cli/lab.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LAB_PROGRAM "isthmesh-lab"

int cli_lab(int argc, char **argv)
{
    (void)argc;
    char path[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - sizeof(LAB_PROGRAM));
    if (size < 0) {
        (void)fprintf(stderr, "isthmesh lab: cannot read /proc/self/exe: %s\n", strerror(errno));
        return 1;
    }
    path[size] = '\0';
    char *slash = strrchr(path, '/');
    char *name = slash == NULL ? path : slash + 1;
    memcpy(name, LAB_PROGRAM, sizeof(LAB_PROGRAM));
    execv(path, argv);
    (void)fprintf(stderr, "isthmesh lab: cannot start %s: %s; install it beside isthmesh\n", path, strerror(errno));
    return 1;
}
