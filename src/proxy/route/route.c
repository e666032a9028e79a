// SPDX-License-Identifier: Apache-2.0
#include "proxy/route/route.h"

#include "base/memory.h"
#include "proxy/route/route_table.h"

struct route_table *route_table_ref(struct route_table *table)
{
    atomic_fetch_add_explicit(&table->references, 1, memory_order_relaxed);
    return table;
}

void route_table_unref(struct route_table *table)
{
    if (table == NULL || atomic_fetch_sub_explicit(&table->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    map_done(&table->exact);
    map_done(&table->suffixes.by_text);
    map_done(&table->prefixes.by_text);
    rule_memory_done(&table->memory);
    mem_free(table);
}

struct str route_table_name(const struct route_table *table)
{
    return table->name;
}

const struct header_changes *route_table_request_changes(const struct route_table *table)
{
    return &table->request;
}

const struct header_changes *route_table_response_changes(const struct route_table *table)
{
    return &table->response;
}

// --- matching ------------------------------------------------------------------------------------------

#define HOST_SIZE_MAX 512u // longer authorities match only "*"

static struct str strip_port(struct str host)
{
    ptrdiff_t colon = str_find_last_char(host, ':');
    ptrdiff_t bracket = str_find_last_char(host, ']');
    return colon < 0 || colon < bracket ? host : str_sub(host, 0, (size_t)colon);
}

static const struct route_virtual_host *find_virtual_host(const struct route_table *table, struct str authority)
{
    char lowered[HOST_SIZE_MAX];
    struct str host = table->ignore_port ? strip_port(authority) : authority;
    if (host.size > sizeof(lowered)) {
        return table->any;
    }
    for (size_t i = 0; i < host.size; i++) {
        char c = host.data[i];
        lowered[i] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    host.data = lowered;
    const struct route_virtual_host *found = map_get(&table->exact, host);
    for (size_t i = 0; i < table->suffixes.size_count && found == NULL; i++) {
        size_t size = table->suffixes.sizes[i]; // the wildcard covers at least one character
        found = size < host.size ? map_get(&table->suffixes.by_text, str_from(host, host.size - size)) : NULL;
    }
    for (size_t i = 0; i < table->prefixes.size_count && found == NULL; i++) {
        size_t size = table->prefixes.sizes[i];
        found = size < host.size ? map_get(&table->prefixes.by_text, str_sub(host, 0, size)) : NULL;
    }
    return found != NULL ? found : table->any;
}

static bool path_equal(struct str a, struct str b, bool ignore_case)
{
    return ignore_case ? str_equal_nocase(a, b) : str_equal(a, b);
}

static bool path_matches(const struct route_conditions *conditions, const struct http_head *head, struct str path)
{
    struct str want = conditions->path;
    bool is_connect = str_equal(head->method, STR("CONNECT"));
    if (is_connect || conditions->path_kind == PATH_CONNECT) {
        return is_connect && conditions->path_kind == PATH_CONNECT;
    }
    if (conditions->path_kind == PATH_REGEX) {
        return regex_match_full(conditions->regex, path);
    }
    if (conditions->path_kind == PATH_EXACT) {
        return path_equal(path, want, conditions->ignore_case);
    }
    if (path.size < want.size || !path_equal(str_sub(path, 0, want.size), want, conditions->ignore_case)) {
        return false;
    }
    return conditions->path_kind == PATH_PREFIX || path.size == want.size || path.data[want.size] == '/';
}

static struct str cut_at(struct str *rest, char separator)
{
    struct str before = str_split(rest, separator);
    if (rest->data == NULL) {
        *rest = STR_EMPTY;
    }
    return before;
}

static bool is_grpc(const struct http_head *head)
{
    struct str type = http_head_get(head, STR("content-type"));
    return str_starts_with(type, STR("application/grpc")) &&
           (type.size == 16 || type.data[16] == '+' || type.data[16] == ';');
}

static bool conditions_hold(const struct route_conditions *conditions, const struct http_head *head, struct str path,
                            struct str query, uint64_t random)
{
    if (!path_matches(conditions, head, path) || (conditions->grpc_only && !is_grpc(head))) {
        return false;
    }
    if (!chance_holds(conditions->chance, random)) {
        return false;
    }
    for (size_t i = 0; i < conditions->header_count; i++) {
        if (!header_match_test(&conditions->headers[i], head)) {
            return false;
        }
    }
    for (size_t i = 0; i < conditions->query_count; i++) {
        if (!query_match_test(&conditions->queries[i], query)) {
            return false;
        }
    }
    return true;
}

const struct route *route_find(const struct route_table *table, const struct http_head *head, uint64_t random)
{
    const struct route_virtual_host *host = find_virtual_host(table, head->authority);
    if (host == NULL) {
        return NULL;
    }
    struct str rest = head->path;
    struct str without_fragment = cut_at(&rest, '#');
    struct str path = cut_at(&without_fragment, '?');
    for (size_t i = 0; i < host->route_count; i++) {
        if (conditions_hold(host->routes[i].conditions, head, path, without_fragment, random)) {
            return &host->routes[i];
        }
    }
    return NULL;
}

struct str route_pick_cluster(const struct route *route, const struct http_head *head, uint64_t random,
                              const struct route_cluster_weight **ret_weight)
{
    *ret_weight = NULL;
    if (route->cluster_header.size > 0) {
        return http_head_get(head, route->cluster_header);
    }
    if (route->weight_count == 0) {
        return route->cluster;
    }
    uint64_t dice = random % route->weight_sum;
    uint64_t sum = 0;
    for (size_t i = 0; i < route->weight_count; i++) {
        sum += route->weights[i].weight;
        if (sum > dice) {
            *ret_weight = &route->weights[i];
            return route->weights[i].cluster.size > 0 ? route->weights[i].cluster : http_head_get(head, route->weights[i].cluster_header);
        }
    }
    return STR_EMPTY;
}

// --- what a route does to a request --------------------------------------------------------------------

static struct str replace_matched(const struct route *route, struct str path, struct str by, struct arena *arena)
{
    size_t matched = route->conditions->path.size;
    if (route->conditions->path_kind == PATH_EXACT || route->conditions->path_kind == PATH_REGEX || matched > path.size) {
        struct str rest = path;
        struct str before = cut_at(&rest, '?');
        matched = before.size;
    }
    return arena_format(arena, "%.*s%.*s", STR_ARG(by), STR_ARG(str_from(path, matched)));
}

// The expression sees the path without its query.
static struct str replace_by_regex(const struct route_rewrite *rewrite, struct str path, struct arena *arena)
{
    ptrdiff_t query = str_find_char(path, '?');
    struct str before = query < 0 ? path : str_sub(path, 0, (size_t)query);
    struct str after = query < 0 ? STR_EMPTY : str_from(path, (size_t)query);
    struct str result = regex_replace_all(rewrite->regex, before, rewrite->substitution, arena);
    return result.data == before.data ? path : arena_format(arena, "%.*s%.*s", STR_ARG(result), STR_ARG(after));
}

struct str route_rewrite_path(const struct route *route, struct str path, struct arena *arena)
{
    if (route->path_rewrite.regex != NULL) {
        return replace_by_regex(&route->path_rewrite, path, arena);
    }
    return route->prefix_rewrite.size == 0 ? path : replace_matched(route, path, route->prefix_rewrite, arena);
}

struct str route_rewrite_host(const struct route *route, const struct route_cluster_weight *weight, const struct http_head *head,
                              struct str endpoint_host, struct arena *arena)
{
    if (weight != NULL && weight->host_rewrite.size > 0) {
        return weight->host_rewrite;
    }
    if (route->host_rewrite_header.size > 0) {
        return http_head_get(head, route->host_rewrite_header);
    }
    if (route->host_rewrite_path.regex != NULL) {
        struct str path = head->path;
        return regex_replace_all(route->host_rewrite_path.regex, cut_at(&path, '?'), route->host_rewrite_path.substitution, arena);
    }
    return route->auto_host_rewrite ? endpoint_host : route->host_rewrite;
}

const struct route_filters *route_filters_of(const struct route *route, const struct route_cluster_weight *weight)
{
    return weight == NULL ? &route->filters : &weight->filters;
}

struct str route_redirect_location(const struct route *route, const struct http_head *head, bool is_tls, struct arena *arena)
{
    const struct route_redirect *redirect = &route->redirect;
    struct str scheme = redirect->https ? STR("https") : redirect->scheme.size > 0 ? redirect->scheme : is_tls ? STR("https") : STR("http");
    struct str host = redirect->host.size > 0 ? redirect->host : head->authority;
    if (redirect->port != 0) {
        host = arena_format(arena, "%.*s:%u", STR_ARG(strip_port(host)), redirect->port);
    }
    struct str query = head->path;
    struct str path = cut_at(&query, '?');
    if (redirect->path.size > 0) {
        path = redirect->path;
        query = str_find_char(path, '?') >= 0 ? STR_EMPTY : query;
    } else if (redirect->path_rewrite.regex != NULL) {
        path = regex_replace_all(redirect->path_rewrite.regex, path, redirect->path_rewrite.substitution, arena);
    } else if (redirect->prefix_rewrite.size > 0) {
        path = replace_matched(route, path, redirect->prefix_rewrite, arena);
    }
    if (redirect->strip_query) {
        query = STR_EMPTY;
    }
    return arena_format(arena, "%.*s://%.*s%.*s%s%.*s", STR_ARG(scheme), STR_ARG(host), STR_ARG(path),
                        query.size > 0 ? "?" : "", STR_ARG(query));
}

static void add_header(const struct header_addition *addition, struct str value, struct http_head *head)
{
    bool present = http_head_has(head, addition->name);
    switch (addition->action) {
    case HEADER_APPEND:
        (void)http_head_add(head, addition->name, value);
        break;
    case HEADER_ADD_IF_ABSENT:
        if (!present) {
            (void)http_head_add(head, addition->name, value);
        }
        break;
    case HEADER_OVERWRITE:
        (void)http_head_set(head, addition->name, value);
        break;
    case HEADER_OVERWRITE_IF_EXISTS:
        if (present) {
            (void)http_head_set(head, addition->name, value);
        }
        break;
    }
}

void header_changes_apply(const struct header_changes *changes, struct http_head *head, const struct header_facts *facts,
                          struct arena *arena)
{
    for (size_t i = 0; i < changes->removal_count; i++) {
        http_head_remove(head, changes->removals[i]);
    }
    for (size_t i = 0; i < changes->addition_count; i++) {
        const struct header_addition *addition = &changes->additions[i];
        struct str value = addition->computed == NULL ? addition->value : header_value_make(addition->computed, facts, arena);
        if (addition->computed == NULL || value.size > 0 || addition->keeps_empty) {
            add_header(addition, value, head);
        }
    }
}
