// SPDX-License-Identifier: Apache-2.0
//
// command: `isthmesh lab up|down|status|shell|exec|logs`, as isthmesh-lab runs them.
#ifndef LAB_WORLD_COMMAND_H
#define LAB_WORLD_COMMAND_H

#include <stdbool.h>

// Whether argv[1] names one of the commands (or asks for help).
bool world_has_command(int argc, char **argv);
// Returns the exit status: 0 done, 1 failed, 2 wrong usage; exec and shell return that of the program.
int world_command(int argc, char **argv);

#endif
