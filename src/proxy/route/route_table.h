// SPDX-License-Identifier: Apache-2.0
//
// route_table: the inside of a route table, for the file that compiles it and the one that searches it.
#ifndef PROXY_ROUTE_ROUTE_TABLE_H
#define PROXY_ROUTE_ROUTE_TABLE_H

#include <stdatomic.h>

#include "base/map.h"
#include "proxy/route/chance.h"
#include "proxy/route/matcher.h"
#include "proxy/route/route.h"

enum path_kind { PATH_PREFIX, PATH_EXACT, PATH_SEGMENTS, PATH_CONNECT, PATH_REGEX };

struct route_conditions {
    enum path_kind path_kind;
    struct str path;
    const struct regex *regex; // PATH_REGEX
    bool ignore_case;
    bool grpc_only;
    struct chance chance;
    struct header_match *headers;
    size_t header_count;
    struct query_match *queries;
    size_t query_count;
};

// Wildcard domains by the size of their fixed part, longest first.
struct wildcard_index {
    struct map by_text;
    size_t *sizes;
    size_t size_count;
};

struct route_table {
    atomic_uint references;
    struct rule_memory memory;
    struct str name;
    bool ignore_port;
    struct map exact; // host → virtual host
    struct wildcard_index suffixes;
    struct wildcard_index prefixes;
    struct route_virtual_host *any;
    struct header_changes request;
    struct header_changes response;
    struct route_filters filters;
};

#endif
