// SPDX-License-Identifier: Apache-2.0
//
// request_path: what a request line asks for: the resource path and the query parameters of the
// Kubernetes REST conventions. Pure; views live in the arena.
#ifndef LAB_APISERVER_REQUEST_PATH_H
#define LAB_APISERVER_REQUEST_PATH_H

#include "base/arena.h"
#include "base/error.h"

#define REQUEST_PATH_MAX 8192u       // bytes of path and query
#define REQUEST_PARAMETERS_MAX 64u   // query parameters

struct request_parameter {
    struct str name;
    struct str value;
};

struct request_path {
    struct str path; // decoded, without query, without a slash at the end
    bool is_resource; // below /api/VERSION/… or /apis/GROUP/VERSION/…
    // Of a resource path:
    struct str group;
    struct str version;
    struct str ns; // empty: cluster-scoped or all namespaces
    struct str plural;
    struct str name;
    struct str subresource; // "status", or with deeper ones "proxy/a/b"
    bool watch_prefix;      // the old /api/v1/watch/… form
    struct request_parameter parameters[REQUEST_PARAMETERS_MAX];
    size_t parameter_count;
};

// target: origin form with query. ERR_INVALID: malformed; ERR_LIMIT: too long or too many parameters.
enum err request_path_parse(struct arena *arena, struct str target, struct request_path *ret_path,
                            struct error *err) must_check;

// First parameter of that name; data NULL when absent.
struct str request_parameter(const struct request_path *path, const char *name);
bool request_flag(const struct request_path *path, const char *name); // 1, t, true, True…
bool request_has_value(const struct request_path *path, const char *name, const char *value); // any of them

#endif
