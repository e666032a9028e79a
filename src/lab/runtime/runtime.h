// SPDX-License-Identifier: Apache-2.0
//
// runtime: what the API server asks of the node agent that runs containers: programs started in them
// (exec), and where their output is kept (logs). A contract only: lab/node keeps it, lab/apiserver uses
// it, and neither knows the other. Both sides are on one loop.
//
//   exec ─► on_output* … on_drained* … ─► on_end, exactly once, last: the process is gone after it
//
// No event is called from inside a function of this contract.
#ifndef LAB_RUNTIME_RUNTIME_H
#define LAB_RUNTIME_RUNTIME_H

#include "base/arena.h"
#include "base/error.h"

#define RUNTIME_COMMAND_MAX 1024u             // words of one command
#define RUNTIME_INPUT_HIGH_WATER (256u * 1024) // above: runtime->is_congested until on_drained

struct runtime_process;

enum runtime_stream { RUNTIME_OUTPUT, RUNTIME_ERROR };

struct runtime_events {
    void (*on_output)(void *owner, enum runtime_stream stream, struct str bytes); // valid during the call
    void (*on_drained)(void *owner); // what was written has been taken
    // status as from waitpid.
    void (*on_end)(void *owner, int status);
};

struct runtime_command {
    struct str container_id;
    const struct str *words;
    size_t word_count;
    bool has_input; // else its standard input is empty
    bool has_terminal; // output and error are one then
};

struct runtime {
    void *owner;
    // NULL and a sentence when it cannot be started.
    struct runtime_process *(*exec)(void *owner, const struct runtime_command *command,
                                    const struct runtime_events *events, void *events_owner, struct error *err);
    void (*write)(struct runtime_process *process, struct str bytes); // takes all
    void (*write_end)(struct runtime_process *process);               // its input ends behind what was written
    bool (*is_congested)(const struct runtime_process *process);
    void (*read)(struct runtime_process *process, bool is_wanted);    // stops and resumes on_output
    void (*resize)(struct runtime_process *process, unsigned columns, unsigned rows);
    void (*cancel)(struct runtime_process *process); // hangs up on it; no event comes any more
    // The folder with N.log of every start N of a container, in the CRI's format.
    struct str (*log_folder)(void *owner, struct arena *arena, struct str ns, struct str pod, struct str container);
};

#endif
