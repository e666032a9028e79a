// SPDX-License-Identifier: Apache-2.0
#include "lab/world/command_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "lab/world/options.h"

static const struct {
    const char *name;
    const char *short_name;
    size_t offset; // of a struct str
} values[] = {
    {"--name", "--name", offsetof(struct command_target, name)},
    {"--output", "-o", offsetof(struct command_target, output)},
    {"--cluster", "--context", offsetof(struct command_target, cluster)},
    {"--container", "-c", offsetof(struct command_target, container)},
};

static const struct {
    const char *name;
    const char *short_name;
    size_t offset; // of a bool
} switches[] = {
    {"--follow", "-f", offsetof(struct command_target, follow)},
    {"--previous", "-p", offsetof(struct command_target, previous)},
    {"--help", "-h", offsetof(struct command_target, help)},
};

static bool parse_switch(struct command_target *target, struct str argument)
{
    for (size_t i = 0; i < array_count(switches); i++) {
        if (str_equal_c(argument, switches[i].name) || str_equal_c(argument, switches[i].short_name)) {
            *(bool *)(void *)((char *)target + switches[i].offset) = true;
            return true;
        }
    }
    return false;
}

static struct str *find_value(struct command_target *target, struct str name)
{
    for (size_t i = 0; i < array_count(values); i++) {
        if (str_equal_c(name, values[i].name) || str_equal_c(name, values[i].short_name)) {
            return (struct str *)(void *)((char *)target + values[i].offset);
        }
    }
    return NULL;
}

enum err command_parse(int count, char **arguments, struct command_target *ret_target, struct error *err)
{
    struct command_target target = {.name = STR(STATE_DEFAULT_NAME), .cluster = STR("cluster1")};
    for (int i = 0; i < count; i++) {
        struct str argument = str_of(arguments[i]);
        if (str_equal_c(argument, "--")) {
            target.rest = arguments + i + 1;
            target.rest_count = count - i - 1;
            break;
        }
        if (parse_switch(&target, argument)) {
            continue;
        }
        if (!str_starts_with(argument, STR("-"))) {
            if (!str_is_empty(target.pod)) {
                return error_set(err, ERR_INVALID, "\"%s\" is one argument too many; programs follow --", arguments[i]);
            }
            target.pod = argument;
            continue;
        }
        struct str value = argument;
        struct str name = str_split(&value, '=');
        struct str *place = find_value(&target, name);
        if (place == NULL) {
            return error_set(err, ERR_INVALID, "there is no flag \"%.*s\" here", STR_ARG(name));
        }
        if (value.data == NULL && i + 1 == count) {
            return error_set(err, ERR_INVALID, "%.*s wants a value", STR_ARG(name));
        }
        *place = value.data == NULL ? str_of(arguments[++i]) : value;
    }
    *ret_target = target;
    return ERR_OK;
}

enum err command_cluster_name(const struct command_target *target, char out[static 32], struct error *err)
{
    struct str digits = target->cluster;
    uint64_t number = 0;
    if (str_starts_with(digits, STR("kind-"))) {
        digits = str_from(digits, 5);
    }
    if (str_starts_with(digits, STR("cluster"))) {
        digits = str_from(digits, 7);
    } else if (str_starts_with(digits, STR("c"))) {
        digits = str_from(digits, 1);
    }
    if (!str_to_u64(digits, &number) || number == 0 || number > WORLD_CLUSTERS_MAX) {
        return error_set(err, ERR_INVALID, "\"%.*s\" is no cluster; they are called cluster1, cluster2 …",
                         STR_ARG(target->cluster));
    }
    (void)snprintf(out, 32, "cluster%u", (unsigned)number);
    return ERR_OK;
}

enum err command_pod_name(const struct command_target *target, char out[static NAME_MAX], struct error *err)
{
    struct str pod = target->pod;
    struct str ns = str_split(&pod, '/');
    if (pod.data == NULL) {
        pod = ns;
        ns = STR("default");
    }
    // These become parts of a path.
    if (str_is_empty(pod) || str_is_empty(ns) || memchr(pod.data, '/', pod.size) != NULL || ns.data[0] == '.' ||
        ns.size + pod.size + 2 > NAME_MAX) {
        return error_set(err, ERR_INVALID, "name the pod as NAMESPACE/POD");
    }
    (void)snprintf(out, NAME_MAX, "%.*s_%.*s", STR_ARG(ns), STR_ARG(pod));
    return ERR_OK;
}
