// SPDX-License-Identifier: Apache-2.0
//
// enter: running programs inside a world, or inside a container of one of its pods.
#ifndef LAB_WORLD_ENTER_H
#define LAB_WORLD_ENTER_H

#include "base/error.h"
#include "lab/world/state.h"

// A program found on PATH, /usr/sbin or /sbin; false when there is none.
bool enter_find_program(const char *name, char out[static PATH_MAX]);

// Runs arguments (NULL-terminated) in the world; returns the exit status (128 + signal when killed).
enum err enter_world(const struct state *state, char *const *arguments, int *ret_status, struct error *err) must_check;

// Runs arguments in a container, as `kubectl exec` would. cluster: "cluster1"; pod: "NAMESPACE_POD" as the
// state directory names it; container empty: the pod's default one.
enum err enter_container(const struct state *state, const char *cluster, const char *pod, const char *container,
                         char *const *arguments, int argument_count, int *ret_status, struct error *err) must_check;

// Reads the first line of clusterN/pods/POD/FILE; ERR_NOT_FOUND with a next step when there is no such pod.
enum err enter_read_pod_file(const struct state *state, const char *cluster, const char *pod, const char *file,
                             char out[static NAME_MAX], struct error *err) must_check;

#endif
