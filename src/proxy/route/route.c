// SPDX-License-Identifier: Apache-2.0
#include "proxy/route/route.h"

#include <stdatomic.h>

#include "base/assert.h"
#include "base/map.h"
#include "base/memory.h"
#include "codec/pb/pb.h"
#include "proxy/route/matcher.h"

#define RETRY_BASE_MS 25u
#define RETRY_MAX_FACTOR 10u

enum path_kind { PATH_PREFIX, PATH_EXACT, PATH_SEGMENTS, PATH_CONNECT };

struct route_conditions {
    enum path_kind path_kind;
    struct str path;
    bool ignore_case;
    bool grpc_only;
    bool by_chance;
    uint64_t chance_numerator;
    uint64_t chance_denominator;
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
    struct arena arena;
    struct str name;
    bool ignore_port;
    struct map exact; // host → virtual host
    struct wildcard_index suffixes;
    struct wildcard_index prefixes;
    struct route_virtual_host *any;
    struct header_changes request;
    struct header_changes response;
};

// --- compiling -----------------------------------------------------------------------------------------

typedef Envoy__Config__Core__V3__HeaderValueOption header_option;

static struct str lower(struct arena *arena, struct str text)
{
    char *copy = arena_strdup(arena, text);
    for (size_t i = 0; i < text.size; i++) {
        if (copy[i] >= 'A' && copy[i] <= 'Z') {
            copy[i] = (char)(copy[i] - 'A' + 'a');
        }
    }
    return str_make(copy, text.size);
}

static uint64_t duration_ms(const Google__Protobuf__Duration *duration)
{
    return pb_duration_to_ms(duration, 0);
}

// A value may hold access log operators; only the escaped percent sign is known here.
static enum err compile_header_value(struct arena *arena, struct str text, struct str *ret_value, struct error *err)
{
    char *out = arena_alloc(arena, text.size + 1);
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '%') {
            if (i + 1 >= text.size || text.data[i + 1] != '%') {
                return error_set(err, ERR_UNSUPPORTED, "header value \"%.*s\": operators are not supported", STR_ARG(text));
            }
            i++;
        }
        out[size++] = text.data[i];
    }
    out[size] = 0;
    *ret_value = str_make(out, size);
    return ERR_OK;
}

static enum err compile_changes(struct arena *arena, header_option **options, size_t option_count, char **removals,
                                size_t removal_count, struct header_changes *ret_changes, struct error *err)
{
    struct str *names = arena_array(arena, struct str, removal_count);
    for (size_t i = 0; i < removal_count; i++) {
        names[i] = lower(arena, str_of(removals[i]));
    }
    struct header_addition *additions = arena_array(arena, struct header_addition, option_count);
    size_t count = 0;
    for (size_t i = 0; i < option_count; i++) {
        const header_option *option = options[i];
        if (option->header == NULL || option->header->key[0] == 0) {
            return error_set(err, ERR_INVALID, "header to add without a name");
        }
        struct header_addition *addition = &additions[count];
        addition->name = lower(arena, str_of(option->header->key));
        addition->action = (enum header_action)option->append_action;
        if (option->append != NULL) { // the older field
            addition->action = option->append->value ? HEADER_APPEND : HEADER_OVERWRITE;
        }
        if (addition->name.data[0] == ':' || str_equal(addition->name, STR("host"))) {
            return error_set(err, ERR_INVALID, "header %s cannot be changed this way", option->header->key);
        }
        enum err result = compile_header_value(arena, str_of(option->header->value), &addition->value, err);
        if (result != ERR_OK) {
            return result;
        }
        count += addition->value.size > 0 || option->keep_empty_value ? 1 : 0;
    }
    *ret_changes = (struct header_changes){names, removal_count, additions, count};
    return ERR_OK;
}

static enum err compile_path(struct arena *arena, const Envoy__Config__Route__V3__RouteMatch *config,
                             struct route_conditions *conditions, struct error *err)
{
    const char *path = "";
    switch (config->path_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX:
        conditions->path_kind = PATH_PREFIX;
        path = config->prefix;
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH:
        conditions->path_kind = PATH_EXACT;
        path = config->path;
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH_SEPARATED_PREFIX:
        conditions->path_kind = PATH_SEGMENTS;
        path = config->path_separated_prefix;
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_CONNECT_MATCHER:
        conditions->path_kind = PATH_CONNECT;
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX:
        return error_set(err, ERR_UNSUPPORTED, "regular expressions in path matches are not supported");
    default:
        return error_set(err, ERR_INVALID, "route match without a path");
    }
    conditions->path = arena_str(arena, str_of(path));
    return ERR_OK;
}

static enum err compile_match(struct arena *arena, const Envoy__Config__Route__V3__RouteMatch *config,
                              struct route_conditions **ret_conditions, struct error *err)
{
    static const uint64_t denominators[] = {100, 10000, 1000000};
    if (config == NULL) {
        return error_set(err, ERR_INVALID, "route without a match");
    }
    struct route_conditions *conditions = arena_new(arena, struct route_conditions);
    enum err result = compile_path(arena, config, conditions, err);
    conditions->ignore_case = config->case_sensitive != NULL && !config->case_sensitive->value;
    conditions->grpc_only = config->grpc != NULL;
    if (config->runtime_fraction != NULL && config->runtime_fraction->default_value != NULL) {
        conditions->by_chance = true;
        conditions->chance_numerator = config->runtime_fraction->default_value->numerator;
        unsigned which = (unsigned)config->runtime_fraction->default_value->denominator;
        conditions->chance_denominator = denominators[which < 3 ? which : 0];
    }
    conditions->headers = arena_array(arena, struct header_match, config->n_headers);
    for (size_t i = 0; i < config->n_headers && result == ERR_OK; i++) {
        result = header_match_compile(arena, config->headers[i], &conditions->headers[i], err);
    }
    conditions->header_count = config->n_headers;
    conditions->queries = arena_array(arena, struct query_match, config->n_query_parameters);
    for (size_t i = 0; i < config->n_query_parameters && result == ERR_OK; i++) {
        result = query_match_compile(arena, config->query_parameters[i], &conditions->queries[i], err);
    }
    conditions->query_count = config->n_query_parameters;
    *ret_conditions = conditions;
    return result;
}

static const struct retry_policy *compile_retry(struct arena *arena, const Envoy__Config__Route__V3__RetryPolicy *config)
{
    struct retry_policy *policy = arena_new(arena, struct retry_policy);
    policy->on = retry_conditions_parse(str_of(config->retry_on));
    policy->retries_max = config->num_retries == NULL ? ROUTE_RETRIES_DEFAULT : config->num_retries->value;
    policy->per_try_timeout_ms = duration_ms(config->per_try_timeout);
    policy->base_interval_ms = RETRY_BASE_MS;
    if (config->retry_back_off != NULL && duration_ms(config->retry_back_off->base_interval) > 0) {
        policy->base_interval_ms = duration_ms(config->retry_back_off->base_interval);
    }
    policy->max_interval_ms = policy->base_interval_ms * RETRY_MAX_FACTOR;
    if (config->retry_back_off != NULL && duration_ms(config->retry_back_off->max_interval) > 0) {
        policy->max_interval_ms = duration_ms(config->retry_back_off->max_interval);
    }
    policy->host_attempts_max = config->host_selection_retry_max_attempts > 0 ? (uint32_t)config->host_selection_retry_max_attempts : 1;
    for (size_t i = 0; i < config->n_retry_host_predicate; i++) {
        policy->avoid_previous_hosts |= strcmp(config->retry_host_predicate[i]->name, "envoy.retry_host_predicates.previous_hosts") == 0;
    }
    uint32_t *codes = arena_array(arena, uint32_t, config->n_retriable_status_codes);
    for (size_t i = 0; i < config->n_retriable_status_codes; i++) {
        codes[i] = config->retriable_status_codes[i];
    }
    policy->status_codes = codes;
    policy->status_code_count = config->n_retriable_status_codes;
    return policy;
}

static enum err compile_weights(struct arena *arena, const Envoy__Config__Route__V3__WeightedCluster *config,
                                struct route *route, struct error *err)
{
    struct route_cluster_weight *weights = arena_array(arena, struct route_cluster_weight, config->n_clusters);
    uint64_t sum = 0;
    for (size_t i = 0; i < config->n_clusters; i++) {
        const Envoy__Config__Route__V3__WeightedCluster__ClusterWeight *from = config->clusters[i];
        weights[i].cluster = arena_str(arena, str_of(from->name));
        weights[i].weight = from->weight == NULL ? 0 : from->weight->value;
        if (from->host_rewrite_specifier_case ==
            ENVOY__CONFIG__ROUTE__V3__WEIGHTED_CLUSTER__CLUSTER_WEIGHT__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL) {
            weights[i].host_rewrite = arena_str(arena, str_of(from->host_rewrite_literal));
        }
        sum += weights[i].weight;
        enum err result = compile_changes(arena, from->request_headers_to_add, from->n_request_headers_to_add,
                                          from->request_headers_to_remove, from->n_request_headers_to_remove,
                                          &weights[i].request, err);
        if (result == ERR_OK) {
            result = compile_changes(arena, from->response_headers_to_add, from->n_response_headers_to_add,
                                     from->response_headers_to_remove, from->n_response_headers_to_remove,
                                     &weights[i].response, err);
        }
        if (result != ERR_OK) {
            return result;
        }
    }
    if (sum == 0 || sum > UINT32_MAX) {
        return error_set(err, ERR_INVALID, "sum of cluster weights is %s", sum == 0 ? "zero" : "too large");
    }
    route->weights = weights;
    route->weight_count = config->n_clusters;
    route->weight_sum = (uint32_t)sum;
    return ERR_OK;
}

static enum err compile_forward(struct arena *arena, const Envoy__Config__Route__V3__RouteAction *config,
                                struct route *route, struct error *err)
{
    static const int not_found_statuses[] = {503, 404, 500};
    enum err result = ERR_OK;
    route->action = ROUTE_FORWARD;
    switch (config->cluster_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER:
        route->cluster = arena_str(arena, str_of(config->cluster));
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER_HEADER:
        route->cluster_header = lower(arena, str_of(config->cluster_header));
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS:
        result = compile_weights(arena, config->weighted_clusters, route, err);
        break;
    default:
        return error_set(err, ERR_UNSUPPORTED, "route action without a known cluster specifier");
    }
    unsigned not_found = (unsigned)config->cluster_not_found_response_code;
    route->cluster_not_found_status = not_found_statuses[not_found < 3 ? not_found : 0];
    route->timeout_ms = config->timeout == NULL ? ROUTE_TIMEOUT_DEFAULT_MS : duration_ms(config->timeout);
    route->has_idle_timeout = config->idle_timeout != NULL;
    route->idle_timeout_ms = duration_ms(config->idle_timeout);
    route->uses_grpc_timeout = config->max_grpc_timeout != NULL;
    route->grpc_timeout_max_ms = duration_ms(config->max_grpc_timeout);
    route->prefix_rewrite = arena_str(arena, str_of(config->prefix_rewrite));
    switch (config->host_rewrite_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL:
        route->host_rewrite = arena_str(arena, str_of(config->host_rewrite_literal));
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_AUTO_HOST_REWRITE:
        route->auto_host_rewrite = config->auto_host_rewrite->value;
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER__NOT_SET:
        break;
    default:
        return error_set(err, ERR_UNSUPPORTED, "host rewrite by header or expression is not supported");
    }
    if (config->regex_rewrite != NULL) {
        return error_set(err, ERR_UNSUPPORTED, "path rewrite by regular expression is not supported");
    }
    if (config->retry_policy != NULL) {
        route->retry = compile_retry(arena, config->retry_policy);
    }
    return result;
}

static enum err compile_redirect(struct arena *arena, const Envoy__Config__Route__V3__RedirectAction *config,
                                 struct route *route, struct error *err)
{
    static const int statuses[] = {301, 302, 303, 307, 308};
    unsigned code = (unsigned)config->response_code;
    struct route_redirect *redirect = &route->redirect;
    route->action = ROUTE_REDIRECT;
    redirect->status = statuses[code < array_count(statuses) ? code : 0];
    redirect->host = arena_str(arena, str_of(config->host_redirect));
    redirect->port = config->port_redirect;
    redirect->strip_query = config->strip_query;
    if (config->scheme_rewrite_specifier_case == ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_HTTPS_REDIRECT) {
        redirect->https = config->https_redirect;
    } else if (config->scheme_rewrite_specifier_case == ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_SCHEME_REDIRECT) {
        redirect->scheme = arena_str(arena, str_of(config->scheme_redirect));
    }
    switch (config->path_rewrite_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PATH_REDIRECT:
        redirect->path = arena_str(arena, str_of(config->path_redirect));
        break;
    case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PREFIX_REWRITE:
        redirect->prefix_rewrite = arena_str(arena, str_of(config->prefix_rewrite));
        break;
    case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_REGEX_REWRITE:
        return error_set(err, ERR_UNSUPPORTED, "redirect by regular expression is not supported");
    default:
        break;
    }
    return ERR_OK;
}

static enum err compile_direct(struct arena *arena, const Envoy__Config__Route__V3__DirectResponseAction *config,
                               struct route *route, struct error *err)
{
    if (config->status < 200 || config->status > 599) {
        return error_set(err, ERR_INVALID, "direct response status %u", config->status);
    }
    route->action = ROUTE_DIRECT;
    route->direct_status = (int)config->status;
    const Envoy__Config__Core__V3__DataSource *body = config->body;
    if (body == NULL) {
        return ERR_OK;
    }
    if (body->specifier_case == ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING) {
        route->direct_body = arena_str(arena, str_of(body->inline_string));
    } else if (body->specifier_case == ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES) {
        route->direct_body = arena_str(arena, str_make((const char *)body->inline_bytes.data, body->inline_bytes.len));
    } else {
        return error_set(err, ERR_UNSUPPORTED, "direct response body from a file is not supported");
    }
    return ERR_OK;
}

static enum err compile_route(struct arena *arena, const Envoy__Config__Route__V3__Route *config, struct route *route,
                              struct error *err)
{
    route->name = arena_str(arena, str_of(config->name));
    enum err result = compile_match(arena, config->match, &route->conditions, err);
    if (result == ERR_OK) {
        result = compile_changes(arena, config->request_headers_to_add, config->n_request_headers_to_add,
                                 config->request_headers_to_remove, config->n_request_headers_to_remove, &route->request, err);
    }
    if (result == ERR_OK) {
        result = compile_changes(arena, config->response_headers_to_add, config->n_response_headers_to_add,
                                 config->response_headers_to_remove, config->n_response_headers_to_remove, &route->response, err);
    }
    if (config->decorator != NULL) {
        route->decorator = arena_str(arena, str_of(config->decorator->operation));
    }
    if (result != ERR_OK) {
        return result;
    }
    switch (config->action_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE:
        return compile_forward(arena, config->route, route, err);
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_REDIRECT:
        return compile_redirect(arena, config->redirect, route, err);
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE:
        return compile_direct(arena, config->direct_response, route, err);
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_NON_FORWARDING_ACTION:
        route->action = ROUTE_NONE;
        return ERR_OK;
    default:
        return error_set(err, ERR_UNSUPPORTED, "route without a known action");
    }
}

static void add_wildcard(struct route_table *table, struct wildcard_index *index, struct str text, struct route_virtual_host *host)
{
    (void)map_set(&index->by_text, text, host);
    size_t at = 0;
    while (at < index->size_count && index->sizes[at] > text.size) {
        at++;
    }
    if (at < index->size_count && index->sizes[at] == text.size) {
        return;
    }
    size_t *sizes = arena_array(&table->arena, size_t, index->size_count + 1);
    for (size_t i = 0, k = 0; i <= index->size_count; i++) {
        sizes[i] = i == at ? text.size : index->sizes[k++];
    }
    index->sizes = sizes;
    index->size_count++;
}

static enum err add_domain(struct route_table *table, struct str domain, struct route_virtual_host *host, struct error *err)
{
    struct str name = lower(&table->arena, domain);
    bool taken;
    if (str_equal(name, STR("*"))) {
        taken = table->any != NULL;
        table->any = host;
    } else if (name.size > 0 && name.data[0] == '*') {
        taken = map_has(&table->suffixes.by_text, str_from(name, 1));
        add_wildcard(table, &table->suffixes, str_from(name, 1), host);
    } else if (name.size > 0 && name.data[name.size - 1] == '*') {
        taken = map_has(&table->prefixes.by_text, str_sub(name, 0, name.size - 1));
        add_wildcard(table, &table->prefixes, str_sub(name, 0, name.size - 1), host);
    } else {
        taken = map_set(&table->exact, name, host) != NULL;
    }
    if (taken) {
        return error_set(err, ERR_INVALID, "domain %.*s appears in two virtual hosts", STR_ARG(domain));
    }
    return ERR_OK;
}

static enum err compile_virtual_host(struct route_table *table, const Envoy__Config__Route__V3__VirtualHost *config,
                                     struct error *err)
{
    struct arena *arena = &table->arena;
    struct route_virtual_host *host = arena_new(arena, struct route_virtual_host);
    host->name = arena_str(arena, str_of(config->name));
    host->attempt_count_in_request = config->include_request_attempt_count;
    host->attempt_count_in_response = config->include_attempt_count_in_response;
    host->require_tls = config->require_tls != ENVOY__CONFIG__ROUTE__V3__VIRTUAL_HOST__TLS_REQUIREMENT_TYPE__NONE;
    host->routes = arena_array(arena, struct route, config->n_routes);
    host->route_count = config->n_routes;
    enum err result = compile_changes(arena, config->request_headers_to_add, config->n_request_headers_to_add,
                                      config->request_headers_to_remove, config->n_request_headers_to_remove, &host->request, err);
    if (result == ERR_OK) {
        result = compile_changes(arena, config->response_headers_to_add, config->n_response_headers_to_add,
                                 config->response_headers_to_remove, config->n_response_headers_to_remove, &host->response, err);
    }
    for (size_t i = 0; i < config->n_routes && result == ERR_OK; i++) {
        result = compile_route(arena, config->routes[i], &host->routes[i], err);
        host->routes[i].virtual_host = host;
        if (result != ERR_OK) {
            error_prefix(err, "route %zu \"%s\"", i, config->routes[i]->name);
        } else if (host->routes[i].action == ROUTE_FORWARD && host->routes[i].retry == NULL && config->retry_policy != NULL) {
            host->routes[i].retry = compile_retry(arena, config->retry_policy);
        }
    }
    for (size_t i = 0; i < config->n_domains && result == ERR_OK; i++) {
        result = add_domain(table, str_of(config->domains[i]), host, err);
    }
    if (result != ERR_OK) {
        error_prefix(err, "virtual host %s", config->name);
    }
    return result;
}

struct route_table *route_table_new(const Envoy__Config__Route__V3__RouteConfiguration *config, struct error *err)
{
    struct route_table *table = mem_new(struct route_table);
    atomic_init(&table->references, 1);
    table->name = arena_str(&table->arena, str_of(config->name));
    table->ignore_port = config->ignore_port_in_host_matching;
    enum err result = compile_changes(&table->arena, config->request_headers_to_add, config->n_request_headers_to_add,
                                      config->request_headers_to_remove, config->n_request_headers_to_remove, &table->request, err);
    if (result == ERR_OK) {
        result = compile_changes(&table->arena, config->response_headers_to_add, config->n_response_headers_to_add,
                                 config->response_headers_to_remove, config->n_response_headers_to_remove, &table->response, err);
    }
    for (size_t i = 0; i < config->n_virtual_hosts && result == ERR_OK; i++) {
        result = compile_virtual_host(table, config->virtual_hosts[i], err);
    }
    if (result != ERR_OK) {
        route_table_unref(table);
        return NULL;
    }
    return table;
}

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
    arena_done(&table->arena);
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
    if (conditions->by_chance && random % conditions->chance_denominator >= conditions->chance_numerator) {
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
            return route->weights[i].cluster;
        }
    }
    return STR_EMPTY;
}

// --- what a route does to a request --------------------------------------------------------------------

static struct str replace_matched(const struct route *route, struct str path, struct str by, struct arena *arena)
{
    size_t matched = route->conditions->path.size;
    if (route->conditions->path_kind == PATH_EXACT || matched > path.size) {
        struct str rest = path;
        struct str before = cut_at(&rest, '?');
        matched = before.size;
    }
    return arena_format(arena, "%.*s%.*s", STR_ARG(by), STR_ARG(str_from(path, matched)));
}

struct str route_rewrite_path(const struct route *route, struct str path, struct arena *arena)
{
    return route->prefix_rewrite.size == 0 ? path : replace_matched(route, path, route->prefix_rewrite, arena);
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
    } else if (redirect->prefix_rewrite.size > 0) {
        path = replace_matched(route, path, redirect->prefix_rewrite, arena);
    }
    if (redirect->strip_query) {
        query = STR_EMPTY;
    }
    return arena_format(arena, "%.*s://%.*s%.*s%s%.*s", STR_ARG(scheme), STR_ARG(host), STR_ARG(path),
                        query.size > 0 ? "?" : "", STR_ARG(query));
}

void header_changes_apply(const struct header_changes *changes, struct http_head *head)
{
    for (size_t i = 0; i < changes->removal_count; i++) {
        http_head_remove(head, changes->removals[i]);
    }
    for (size_t i = 0; i < changes->addition_count; i++) {
        const struct header_addition *addition = &changes->additions[i];
        bool present = http_head_has(head, addition->name);
        switch (addition->action) {
        case HEADER_APPEND:
            (void)http_head_add(head, addition->name, addition->value);
            break;
        case HEADER_ADD_IF_ABSENT:
            if (!present) {
                (void)http_head_add(head, addition->name, addition->value);
            }
            break;
        case HEADER_OVERWRITE:
            (void)http_head_set(head, addition->name, addition->value);
            break;
        case HEADER_OVERWRITE_IF_EXISTS:
            if (present) {
                (void)http_head_set(head, addition->name, addition->value);
            }
            break;
        }
    }
}
