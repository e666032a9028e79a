// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <stdio.h>
#include <string.h>

static void print_help(const struct option_usage *usage)
{
    (void)printf("usage: %s %s\n\n%s\n", usage->command, usage->arguments, usage->summary);
    for (size_t i = 0; i < usage->row_count; i++) {
        const struct option_row *row = &usage->rows[i];
        char left[80];
        (void)snprintf(left, sizeof(left), "%c%c%s --%s%s%s", row->letter != 0 ? '-' : ' ', row->letter != 0 ? row->letter : ' ',
                       row->letter != 0 ? "," : " ", row->name, row->argument != NULL ? " " : "",
                       row->argument != NULL ? row->argument : "");
        (void)printf("%s  %-34s %s\n", i == 0 ? "\n" : "", left, row->help);
    }
}

static int wrong(const struct option_usage *usage, const char *what, const char *which)
{
    (void)fprintf(stderr, "%s: %s%s%s; %s --help says more\n", usage->command, what, which[0] != '\0' ? " " : "", which,
                  usage->command);
    return -1;
}

// Finds the row of "--name", "--name=value" or "-n"; *ret_value is what stands behind '=', or NULL.
static const struct option_row *find_row(const struct option_usage *usage, const char *argument, const char **ret_value)
{
    const char *name = argument + 2;
    const char *equals = argument[1] == '-' ? strchr(name, '=') : NULL;
    size_t size = equals != NULL ? (size_t)(equals - name) : strlen(argument) - (argument[1] == '-' ? 2 : 1);
    *ret_value = equals != NULL ? equals + 1 : NULL;
    for (size_t i = 0; i < usage->row_count; i++) {
        const struct option_row *row = &usage->rows[i];
        bool matches = argument[1] == '-' ? strlen(row->name) == size && strncmp(row->name, name, size) == 0
                                          : row->letter != 0 && size == 1 && argument[1] == row->letter;
        if (matches) {
            return row;
        }
    }
    return NULL;
}

static int set_switch(const struct option_usage *usage, const struct option_row *row, const char *value)
{
    if (value != NULL && strcmp(value, "true") != 0 && strcmp(value, "false") != 0) {
        return wrong(usage, "want true or false, not", value);
    }
    *row->is_set = value == NULL || strcmp(value, "true") == 0;
    return 0;
}

// The flag at argv[at]; returns how many arguments it took, or -1.
static int take_flag(const struct option_usage *usage, int argc, char **argv, int at)
{
    const char *value = NULL;
    const struct option_row *row = find_row(usage, argv[at], &value);
    if (row == NULL) {
        return wrong(usage, "unknown flag", argv[at]);
    }
    if (row->argument == NULL) {
        return set_switch(usage, row, value) == 0 ? 1 : -1;
    }
    if (value == NULL && at + 1 == argc) {
        return wrong(usage, "a value is missing behind", argv[at]);
    }
    *row->value = value != NULL ? value : argv[at + 1];
    return value != NULL ? 1 : 2;
}

enum options_result options_parse(const struct option_usage *usage, int argc, char **argv, int positional_min,
                                  int positional_max, int *ret_count)
{
    int count = 0;
    bool flags = true;
    for (int at = 1; at < argc;) {
        if (!flags || argv[at][0] != '-' || argv[at][1] == '\0') {
            argv[++count] = argv[at++]; // never overtakes the reader: count < at
        } else if (strcmp(argv[at], "--") == 0) {
            flags = false;
            at++;
        } else if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            print_help(usage);
            return OPTIONS_DONE;
        } else {
            int taken = take_flag(usage, argc, argv, at);
            if (taken < 0) {
                return OPTIONS_WRONG;
            }
            at += taken;
        }
    }
    if (count < positional_min || count > positional_max) {
        (void)wrong(usage, count < positional_min ? "an argument is missing" : "unexpected argument",
                    count < positional_min ? "" : argv[positional_max + 1]);
        return OPTIONS_WRONG;
    }
    *ret_count = count;
    return OPTIONS_RUN;
}
