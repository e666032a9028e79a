// SPDX-License-Identifier: Apache-2.0
//
// route: from a request to what to do with it. A route table is a compiled RouteConfiguration:
// immutable, refcounted (atomically: workers share it). route_find() is pure; the dice are an argument.
//
//   host ─► virtual host (exact, then longest suffix, longest prefix, "*") ─► first route that matches
//
// A request whose virtual host has no matching route gets 404: there is no falling through to "*".
#ifndef PROXY_ROUTE_ROUTE_H
#define PROXY_ROUTE_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "codec/http1/http_head.h"
#include "envoy/config/route/v3/route.pb-c.h"
#include "proxy/route/cors.h"
#include "proxy/route/fault.h"
#include "proxy/route/hash_policy.h"
#include "proxy/route/header_value.h"

#define ROUTE_TIMEOUT_DEFAULT_MS 15000u
#define ROUTE_RETRIES_DEFAULT 1u
#define ROUTE_DOMAINS_MAX 100000u // of one table
#define ROUTE_MIRRORS_MAX 8u      // of one route

struct route_table;

enum route_action { ROUTE_FORWARD, ROUTE_REDIRECT, ROUTE_DIRECT, ROUTE_NONE };

// Conditions under which a request is tried again; bits of retry_policy.on.
enum retry_condition {
    RETRY_5XX = 1 << 0,
    RETRY_GATEWAY_ERROR = 1 << 1,
    RETRY_RESET = 1 << 2,
    RETRY_RESET_BEFORE_REQUEST = 1 << 3,
    RETRY_CONNECT_FAILURE = 1 << 4,
    RETRY_REFUSED_STREAM = 1 << 5,
    RETRY_RETRIABLE_4XX = 1 << 6,
    RETRY_RETRIABLE_STATUS_CODES = 1 << 7,
    RETRY_GRPC_CANCELLED = 1 << 8,
    RETRY_GRPC_DEADLINE_EXCEEDED = 1 << 9,
    RETRY_GRPC_INTERNAL = 1 << 10,
    RETRY_GRPC_RESOURCE_EXHAUSTED = 1 << 11,
    RETRY_GRPC_UNAVAILABLE = 1 << 12,
};

struct retry_policy {
    unsigned on;
    uint32_t retries_max;
    uint64_t per_try_timeout_ms; // 0: none
    uint64_t base_interval_ms;
    uint64_t max_interval_ms;
    uint32_t host_attempts_max;
    bool avoid_previous_hosts;
    const uint32_t *status_codes;
    size_t status_code_count;
};

enum header_action { HEADER_APPEND, HEADER_ADD_IF_ABSENT, HEADER_OVERWRITE, HEADER_OVERWRITE_IF_EXISTS };

struct header_addition {
    enum header_action action;
    struct str name;
    struct str value;
    const struct header_value *computed; // instead of `value`; NULL: none
    bool keeps_empty;                    // computed: added even when it has no value
};

// What one level does to the headers: removals first, then additions.
struct header_changes {
    const struct str *removals;
    size_t removal_count;
    const struct header_addition *additions;
    size_t addition_count;
};

// Settings of HTTP filters, the most specific level's; NULL: the filter has nothing to do.
struct route_filters {
    const struct fault *fault;
    const struct cors *cors;
};

// What to put where the expression matches.
struct route_rewrite {
    const struct regex *regex; // NULL: none
    struct str substitution;
};

// A copy of the request goes there; its answer is thrown away.
struct route_mirror {
    struct str cluster;
    struct str cluster_header; // names it, when cluster is empty
    bool keeps_host;           // else "-shadow" is added
    struct chance chance;
};

struct route_cluster_weight {
    struct str cluster;
    struct str cluster_header; // names it, when cluster is empty
    struct route_filters filters;
    uint32_t weight;
    struct header_changes request;
    struct header_changes response;
    struct str host_rewrite;
};

struct route_redirect {
    int status;
    bool https;
    struct str scheme;
    struct str host;
    uint32_t port;
    struct str path;
    struct str prefix_rewrite;
    struct route_rewrite path_rewrite;
    bool strip_query;
};

struct route_virtual_host {
    struct str name;
    bool attempt_count_in_request;
    bool attempt_count_in_response;
    bool require_tls;
    struct header_changes request;
    struct header_changes response;
    struct route *routes;
    size_t route_count;
};

struct route {
    struct str name;
    const struct route_virtual_host *virtual_host;
    enum route_action action;
    struct route_conditions *conditions;
    struct header_changes request;
    struct header_changes response;
    struct route_filters filters;

    // ROUTE_FORWARD: exactly one of cluster, cluster_header, weights
    struct str cluster;
    struct str cluster_header;
    const struct route_cluster_weight *weights;
    size_t weight_count;
    uint32_t weight_sum;
    int cluster_not_found_status;
    uint64_t timeout_ms; // 0: none
    bool has_idle_timeout;
    uint64_t idle_timeout_ms;
    bool uses_grpc_timeout;
    uint64_t grpc_timeout_max_ms; // 0: as the request says
    struct str prefix_rewrite;
    struct route_rewrite path_rewrite;
    struct str host_rewrite;
    struct str host_rewrite_header;         // empty: none
    struct route_rewrite host_rewrite_path; // of the path
    bool auto_host_rewrite;
    const struct route_mirror *mirrors;
    size_t mirror_count;
    const struct hash_policy *hash_policies;
    size_t hash_policy_count;
    const struct retry_policy *retry; // NULL: none
    struct str decorator;

    struct route_redirect redirect; // ROUTE_REDIRECT
    int direct_status;              // ROUTE_DIRECT
    struct str direct_body;
};

struct route_table *route_table_new(const Envoy__Config__Route__V3__RouteConfiguration *config, struct error *err); // NULL: refused
struct route_table *route_table_ref(struct route_table *table);
void route_table_unref(struct route_table *table); // NULL is fine
struct str route_table_name(const struct route_table *table);
const struct header_changes *route_table_request_changes(const struct route_table *table);
const struct header_changes *route_table_response_changes(const struct route_table *table);

// NULL: no route (404). Valid while the table is.
const struct route *route_find(const struct route_table *table, const struct http_head *head, uint64_t random);
// The cluster of a forwarding route for this request; *ret_weight is the chosen share or NULL. Empty:
// the request does not carry the header that names it.
struct str route_pick_cluster(const struct route *route, const struct http_head *head, uint64_t random,
                              const struct route_cluster_weight **ret_weight);

// Path with the route's rewrite; borrows from the head or lives in the arena.
struct str route_rewrite_path(const struct route *route, struct str path, struct arena *arena);
// The host to ask for instead of the request's; empty: the same. endpoint_host: name of the chosen endpoint.
struct str route_rewrite_host(const struct route *route, const struct route_cluster_weight *weight, const struct http_head *head,
                              struct str endpoint_host, struct arena *arena);
const struct route_filters *route_filters_of(const struct route *route, const struct route_cluster_weight *weight);
struct str route_redirect_location(const struct route *route, const struct http_head *head, bool is_tls, struct arena *arena);

// Values that were computed live in the arena.
void header_changes_apply(const struct header_changes *changes, struct http_head *head, const struct header_facts *facts,
                          struct arena *arena);

// "connect-failure,503,…" into bits; unknown words are ignored as Envoy does.
unsigned retry_conditions_parse(struct str text);

#endif
