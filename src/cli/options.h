// SPDX-License-Identifier: Apache-2.0
//
// options: a command's flags as a table: "--name value", "--name=value", "-n value"; positional arguments
// may stand anywhere; "--" ends flags. Help is made from the same table.
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

struct option_row {
    const char *name;      // without the dashes
    char letter;           // 0: none
    const char *argument;  // name of the value in help; NULL: a switch
    const char *help;
    const char **value;    // of options with an argument
    bool *is_set;          // of switches; "--name=false" clears it
};

struct option_usage {
    const char *command;   // "isthmesh ca root"
    const char *arguments; // "NAME [flags]"
    const char *summary;   // paragraph under the usage line
    const struct option_row *rows;
    size_t row_count;
};

enum options_result {
    OPTIONS_RUN,   // go on
    OPTIONS_DONE,  // help was printed: exit 0
    OPTIONS_WRONG, // a line on standard error says what: exit 2
};

// Positional arguments are left in argv[1 … *ret_count]; more than positional_max, or fewer than
// positional_min, are wrong usage.
enum options_result options_parse(const struct option_usage *usage, int argc, char **argv, int positional_min,
                                  int positional_max, int *ret_count);

#endif
