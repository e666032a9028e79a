// SPDX-License-Identifier: Apache-2.0
//
// What loop.c shows to the rest of its folder.
#ifndef LOOP_LOOP_INTERNAL_H
#define LOOP_LOOP_INTERNAL_H

#include "loop/loop.h"

// The buffer all sockets of the loop read into (SOCKET_READ_SIZE bytes); valid during a callback.
char *loop_read_buffer(struct loop *loop);

// Signals and children (loop_process.c); made at first use.
struct loop_process;
struct loop_process **loop_process_slot(struct loop *loop);
void loop_process_free(struct loop_process *process);

#endif
