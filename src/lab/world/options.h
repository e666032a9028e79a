// SPDX-License-Identifier: Apache-2.0
//
// options: the flags of `lab up`, checked.
#ifndef LAB_WORLD_OPTIONS_H
#define LAB_WORLD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

#define WORLD_CLUSTERS_MAX 16u
#define WORLD_DEFAULT_PODS "10.244.0.0/16"
#define WORLD_DEFAULT_SERVICES "10.96.0.0/16"

// Views borrow from the arguments.
struct world_options {
    struct str name;
    unsigned cluster_count;
    uint16_t api_port; // of the first cluster on 127.0.0.1; the others follow. 0: free ones
    struct str pod_cidr;
    struct str service_cidr;
    struct str regions; // comma list, one per cluster in order; shorter or empty: no label
    struct str zones;
    bool json; // -o json: the result as JSON, no progress
};

// arguments[0] is the first flag. "--flag value" and "--flag=value".
enum err world_options_parse(int count, char **arguments, struct world_options *ret_options,
                             struct error *err) must_check;
// The entry of a comma list; empty beyond its end.
struct str world_list_item(struct str list, unsigned index);

#endif
