// SPDX-License-Identifier: Apache-2.0
#ifndef LAB_WORLD_COMMAND_INTERNAL_H
#define LAB_WORLD_COMMAND_INTERNAL_H

#include "base/error.h"
#include "base/str.h"
#include "lab/world/state.h"

// What the commands after `up` are told. Views borrow from the arguments.
struct command_target {
    struct str name;      // --name
    struct str output;    // -o
    struct str cluster;   // --cluster: "cluster1"; "c1" and "1" mean the same
    struct str pod;       // NAMESPACE/POD or POD (namespace default); empty: none given
    struct str container; // -c
    bool follow;          // -f
    bool previous;        // -p
    bool help;
    char **rest; // behind "--"
    int rest_count;
};

enum err command_parse(int count, char **arguments, struct command_target *ret_target, struct error *err) must_check;

// "cluster1" and "NAMESPACE_POD", as the state directory names them.
enum err command_cluster_name(const struct command_target *target, char out[static 32], struct error *err) must_check;
enum err command_pod_name(const struct command_target *target, char out[static NAME_MAX], struct error *err) must_check;

enum err command_logs(const struct state *state, const struct command_target *target, struct error *err) must_check;

// One line on standard error; returns the exit status.
int command_fail(const struct error *err);

#endif
