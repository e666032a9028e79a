// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/str.h"
#include "base/version.h"
#include "cli/ca.h"
#include "cli/lab.h"
#include "cli/remote_secret.h"

static int run_help(int argc, char **argv);
static int run_version(int argc, char **argv);

const struct command command_table[] = {
    {"ca", "root|intermediate|inspect …", "make and look at certificate authorities", cli_ca},
    {"create-remote-secret", "[flags]", "print the secret that lets another cluster watch this one",
     cli_create_remote_secret},
    {"lab", "up|down|status|shell|exec|logs …", "whole clusters on this machine, without Docker", cli_lab},
    {"version", "[--short]", "print the version", run_version},
    {"help", "[COMMAND]", "print this list, or a command's own help", run_help},
};

const size_t command_count = array_count(command_table);

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(command_table[i].name, name) == 0) {
            return &command_table[i];
        }
    }
    return NULL;
}

static void print_commands(FILE *out)
{
    (void)fprintf(out, "usage: isthmesh COMMAND [ARGUMENTS]\n\nA multi-cluster service mesh.\n\n");
    for (size_t i = 0; i < command_count; i++) {
        (void)fprintf(out, "  %-21s %s\n", command_table[i].name, command_table[i].summary);
    }
    (void)fprintf(out, "\nisthmesh COMMAND --help says more.\n");
}

static int run_help(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stdout);
        return 0;
    }
    const struct command *command = find(argv[1]);
    if (command == NULL) {
        (void)fprintf(stderr, "isthmesh: no command \"%s\"; isthmesh help lists them\n", argv[1]);
        return 2;
    }
    char help_flag[] = "--help";
    char *arguments[] = {argv[1], help_flag, NULL};
    return command->run(2, arguments);
}

static int run_version(int argc, char **argv)
{
    bool is_short = argc == 2 && strcmp(argv[1], "--short") == 0;
    if (argc > 1 && !is_short) {
        (void)fprintf(strcmp(argv[1], "--help") == 0 ? stdout : stderr, "usage: isthmesh version [--short]\n");
        return strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
    if (is_short) {
        (void)printf("%s\n", version_number);
    } else {
        (void)printf("isthmesh %s (%s)\n", version_number, version_commit);
    }
    return 0;
}

int command_main(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_commands(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        return run_version(1, argv);
    }
    const struct command *command = find(argv[1]);
    if (command == NULL) {
        (void)fprintf(stderr, "isthmesh: no command \"%s\"; isthmesh help lists them\n", argv[1]);
        return 2;
    }
    return command->run(argc - 1, argv + 1);
}
