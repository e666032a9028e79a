// SPDX-License-Identifier: Apache-2.0
//
// state: what a lab leaves in the file system while it runs, and its removal.
//
//   /run/isthmesh/lab-NAME/
//     lock                  held (flock) by the world's first process for as long as it lives
//     world.pid             that process, as the machine sees it
//     world.log             its log
//     status                one line per cluster: NAME NODE-IP URL PHASE RESTARTS
//     kubeconfig            every cluster, through 127.0.0.1 (for the machine)
//     kubeconfig.inside     every cluster, through 172.18.0.0/16 (for `lab shell`)
//     clusterN/pid          the cluster's server, as the world sees it
//     clusterN/log          its log
//     clusterN/kubeconfig, kubeconfig.inside
//     clusterN/run/         private mount of the cluster: containers, volumes, secrets
//     clusterN/pods/NAMESPACE_POD/default             the container meant when none is named
//     clusterN/pods/NAMESPACE_POD/CONTAINER/{id,N.log}  its id for runc; one log per start
//
// The kernel removes everything else (processes, namespaces, links, rules, private mounts) with the
// world's first process. Control groups and this directory outlive it, so `lab down` removes them, and
// the next `lab up` removes what a killed world left.
#ifndef LAB_WORLD_STATE_H
#define LAB_WORLD_STATE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/str.h"

#define STATE_ROOT "/run/isthmesh"
#define STATE_NAME_MAX 40u // a DNS label with room for what is put around it
#define STATE_DEFAULT_NAME "default"

struct state {
    char name[STATE_NAME_MAX + 1];
    char directory[PATH_MAX / 2]; // STATE_ROOT "/lab-NAME"
    int lock_fd;                  // -1: not held
};

// Names are lower-case letters, digits and inner dashes.
enum err state_init(struct state *state, struct str name, struct error *err) must_check;
void state_done(struct state *state); // gives the lock back

// Makes the directory and takes the lock. ERR_EXISTS: that lab is running.
enum err state_lock(struct state *state, struct error *err) must_check;
bool state_is_running(const struct state *state);
// Everything in the directory but the lock (held by the caller), and the lab's control groups.
enum err state_clear(const struct state *state, struct error *err) must_check;
// state_clear, then the directory itself.
enum err state_remove(struct state *state, struct error *err) must_check;

// DIRECTORY/FILE; returns out.
const char *state_path(const struct state *state, const char *file, char out[static PATH_MAX]);
enum err state_write_pid(const struct state *state, const char *file, pid_t pid, struct error *err) must_check;
enum err state_read_pid(const struct state *state, const char *file, pid_t *ret_pid, struct error *err) must_check;

#endif
