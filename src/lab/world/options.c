// SPDX-License-Identifier: Apache-2.0
#include "lab/world/options.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "base/memory.h"
#include "lab/world/state.h"

struct option {
    const char *name;
    enum err (*set)(struct world_options *options, struct str value, struct error *err);
};

static enum err set_name(struct world_options *options, struct str value, struct error *err)
{
    (void)err;
    options->name = value; // state_init checks it
    return ERR_OK;
}

static enum err set_clusters(struct world_options *options, struct str value, struct error *err)
{
    uint64_t count = 0;
    if (!str_to_u64(value, &count) || count == 0 || count > WORLD_CLUSTERS_MAX) {
        return error_set(err, ERR_INVALID, "--clusters wants a number from 1 to %u", WORLD_CLUSTERS_MAX);
    }
    options->cluster_count = (unsigned)count;
    return ERR_OK;
}

static enum err set_api_port(struct world_options *options, struct str value, struct error *err)
{
    uint64_t port = 0;
    if (!str_to_u64(value, &port) || port > UINT16_MAX - WORLD_CLUSTERS_MAX) {
        return error_set(err, ERR_INVALID, "--api-port wants a port number (0: a free one)");
    }
    options->api_port = (uint16_t)port;
    return ERR_OK;
}

// The node gets a /24 of the pod range; a service range below /28 has no room for the fixed addresses.
static bool is_range(struct str text, uint64_t size_min, uint64_t size_max)
{
    char address[INET_ADDRSTRLEN];
    struct in_addr parsed;
    uint64_t size = 0;
    struct str rest = text;
    struct str host = str_split(&rest, '/');
    if (rest.data == NULL || host.size >= sizeof(address) || !str_to_u64(rest, &size)) {
        return false;
    }
    (void)snprintf(address, sizeof(address), "%.*s", STR_ARG(host));
    return inet_pton(AF_INET, address, &parsed) == 1 && size >= size_min && size <= size_max &&
           (ntohl(parsed.s_addr) & (uint32_t)((1ull << (32 - size)) - 1)) == 0;
}

static enum err set_pods(struct world_options *options, struct str value, struct error *err)
{
    if (!is_range(value, 8, 24)) {
        return error_set(err, ERR_INVALID, "--pod-cidr wants an IPv4 range of /8 to /24, such as " WORLD_DEFAULT_PODS);
    }
    options->pod_cidr = value;
    return ERR_OK;
}

static enum err set_services(struct world_options *options, struct str value, struct error *err)
{
    if (!is_range(value, 12, 24)) {
        return error_set(err, ERR_INVALID,
                         "--service-cidr wants an IPv4 range of /12 to /24, such as " WORLD_DEFAULT_SERVICES);
    }
    options->service_cidr = value;
    return ERR_OK;
}

static enum err set_regions(struct world_options *options, struct str value, struct error *err)
{
    (void)err;
    options->regions = value;
    return ERR_OK;
}

static enum err set_zones(struct world_options *options, struct str value, struct error *err)
{
    (void)err;
    options->zones = value;
    return ERR_OK;
}

static enum err set_output(struct world_options *options, struct str value, struct error *err)
{
    if (!str_equal_c(value, "json")) {
        return error_set(err, ERR_INVALID, "-o wants json");
    }
    options->json = true;
    return ERR_OK;
}

static const struct option table[] = {
    {"--name", set_name},         {"--clusters", set_clusters},         {"--api-port", set_api_port},
    {"--pod-cidr", set_pods},     {"--service-cidr", set_services},     {"--regions", set_regions},
    {"--zones", set_zones},       {"-o", set_output},                   {"--output", set_output},
};

static const struct option *find(struct str name)
{
    for (size_t i = 0; i < array_count(table); i++) {
        if (str_equal_c(name, table[i].name)) {
            return &table[i];
        }
    }
    return NULL;
}

enum err world_options_parse(int count, char **arguments, struct world_options *ret_options, struct error *err)
{
    struct world_options options = {
        .name = STR(STATE_DEFAULT_NAME),
        .cluster_count = 2,
        .pod_cidr = STR(WORLD_DEFAULT_PODS),
        .service_cidr = STR(WORLD_DEFAULT_SERVICES),
    };
    for (int i = 0; i < count; i++) {
        struct str value = str_of(arguments[i]);
        struct str name = str_split(&value, '=');
        const struct option *option = find(name);
        if (option == NULL) {
            return error_set(err, ERR_INVALID, "lab up has no flag \"%.*s\"", STR_ARG(name));
        }
        if (value.data == NULL) {
            if (i + 1 == count) {
                return error_set(err, ERR_INVALID, "%s wants a value", option->name);
            }
            value = str_of(arguments[++i]);
        }
        enum err code = option->set(&options, value, err);
        if (code != ERR_OK) {
            return code;
        }
    }
    *ret_options = options;
    return ERR_OK;
}

struct str world_list_item(struct str list, unsigned index)
{
    while (list.data != NULL) {
        struct str item = str_split(&list, ',');
        if (index-- == 0) {
            return str_trim(item);
        }
    }
    return STR_EMPTY;
}
