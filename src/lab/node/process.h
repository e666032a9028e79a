// SPDX-License-Identifier: Apache-2.0
//
// process: runs a program on the loop: text in, its end and what it said out. For runc, nft and exec
// probes. The child starts with default signals, an empty mask and no descriptors but the three.
//
// on_done comes exactly once unless process_cancel() came first; the process is gone after it.
#ifndef LAB_NODE_PROCESS_H
#define LAB_NODE_PROCESS_H

#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "loop/loop.h"

#define PROCESS_OUTPUT_MAX (64u * 1024) // the rest is read and dropped

struct process;

// status as from waitpid; output valid during the call.
typedef void process_done_fn(void *owner, int status, struct str output);

struct process_options {
    const char *const *arguments; // NULL-terminated; [0] is searched on PATH
    struct str input;             // standard input; copied; empty: /dev/null
    int output_fd;                // standard output goes here; -1: both are collected for on_done
    int error_fd;                 // standard error; -1: where standard output goes
    uint64_t timeout_ms;          // 0: none; then SIGKILL
};

// NULL: could not be started, and err says why.
struct process *process_start(struct loop *loop, const struct process_options *options, process_done_fn *on_done,
                              void *owner, struct error *err);
void process_cancel(struct process *process); // kills it; NULL is fine

// "exit status 1" or "killed by signal 9", for messages.
const char *process_status_text(int status, char out[static 48]);

#endif
