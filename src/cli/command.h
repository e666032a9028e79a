// SPDX-License-Identifier: Apache-2.0
//
// command: the one table of commands of `isthmesh`. Help, completion and man pages are made from it.
//
// A command gets its own arguments (argv[0] is its name) and returns the exit status: 0 done, 1 failed,
// 2 wrong usage (EX_USAGE is 64 in istioctl's world; commands that stand in for istioctl use its codes).
// It prints results on standard output, and one line per failure on standard error that names the cause
// and the next step.
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stddef.h>

struct command {
    const char *name;
    const char *arguments; // for the usage line
    const char *summary;   // one line, lower-case, no full stop
    int (*run)(int argc, char **argv);
};

extern const struct command command_table[];
extern const size_t command_count;

// The whole program behind main().
int command_main(int argc, char **argv);

#endif
