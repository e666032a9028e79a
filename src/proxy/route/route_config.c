// SPDX-License-Identifier: Apache-2.0
//
// Compiling a RouteConfiguration into a route table.
#include "base/assert.h"
#include "base/memory.h"
#include "codec/pb/pb.h"
#include "proxy/route/route_table.h"

#define RETRY_BASE_MS 25u
#define RETRY_MAX_FACTOR 10u

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

// Settings of HTTP filters for this level, over those of the level above. What we do not know would be
// silently not enforced: it is refused, unless the sender calls it optional.
static enum err compile_filter_setting(struct rule_memory *memory, struct str filter, const Google__Protobuf__Any *setting,
                                       struct route_filters *filters, struct error *err)
{
    struct str url = pb_any_type_url(&memory->arena, setting);
    struct str type = str_from(url, (size_t)(str_find_last_char(url, '/') + 1));
    if (str_equal(type, STR("envoy.extensions.filters.http.fault.v3.HTTPFault"))) {
        const void *message = pb_any_unpack(&memory->arena, setting, &envoy__extensions__filters__http__fault__v3__httpfault__descriptor, err);
        return message == NULL ? ERR_INVALID : fault_compile(memory, message, &filters->fault, err);
    }
    if (str_equal(type, STR("envoy.extensions.filters.http.cors.v3.CorsPolicy"))) {
        const void *message = pb_any_unpack(&memory->arena, setting, &envoy__extensions__filters__http__cors__v3__cors_policy__descriptor, err);
        return message == NULL ? ERR_INVALID : cors_compile(memory, message, &filters->cors, err);
    }
    return error_set(err, ERR_UNSUPPORTED, "settings of filter %.*s (%.*s) are not supported", STR_ARG(filter), STR_ARG(type));
}

static enum err compile_optional_setting(struct rule_memory *memory, struct str filter, const Google__Protobuf__Any *setting,
                                        struct route_filters *filters, struct error *err)
{
    const Envoy__Config__Route__V3__FilterConfig *wrapper =
        pb_any_unpack(&memory->arena, setting, &envoy__config__route__v3__filter_config__descriptor, err);
    if (wrapper == NULL) {
        return ERR_INVALID;
    }
    if (wrapper->disabled && str_equal(filter, STR("envoy.filters.http.fault"))) {
        filters->fault = NULL;
        return ERR_OK;
    }
    if (wrapper->disabled && str_equal(filter, STR("envoy.filters.http.cors"))) {
        filters->cors = NULL;
        return ERR_OK;
    }
    enum err result = wrapper->config == NULL || wrapper->disabled
                          ? error_set(err, ERR_UNSUPPORTED, "switch of filter %.*s is not supported", STR_ARG(filter))
                          : compile_filter_setting(memory, filter, wrapper->config, filters, err);
    return result == ERR_UNSUPPORTED && wrapper->is_optional ? ERR_OK : result;
}

#define COMPILE_FILTERS(memory, config, filters, err) \
    compile_filters((memory), (const filter_setting *const *)(void *)(config)->typed_per_filter_config, (config)->n_typed_per_filter_config, (filters), (err))

// The map's entries have a type of their own per message, all of the same shape.
typedef Envoy__Config__Route__V3__Route__TypedPerFilterConfigEntry filter_setting;

static enum err compile_filters(struct rule_memory *memory, const filter_setting *const *settings, size_t count,
                                struct route_filters *filters, struct error *err)
{
    enum err result = ERR_OK;
    for (size_t i = 0; i < count && result == ERR_OK; i++) {
        if (settings[i]->value == NULL) {
            continue;
        }
        bool is_wrapped = str_equal(pb_any_type_url(&memory->arena, settings[i]->value), STR("type.googleapis.com/envoy.config.route.v3.FilterConfig"));
        result = is_wrapped ? compile_optional_setting(memory, str_of(settings[i]->key), settings[i]->value, filters, err)
                            : compile_filter_setting(memory, str_of(settings[i]->key), settings[i]->value, filters, err);
    }
    return result;
}

static enum err compile_changes(struct rule_memory *memory, header_option **options, size_t option_count, char **removals,
                                size_t removal_count, struct header_changes *ret_changes, struct error *err)
{
    struct str *names = arena_array(&memory->arena, struct str, removal_count);
    for (size_t i = 0; i < removal_count; i++) {
        names[i] = lower(&memory->arena, str_of(removals[i]));
    }
    struct header_addition *additions = arena_array(&memory->arena, struct header_addition, option_count);
    size_t count = 0;
    for (size_t i = 0; i < option_count; i++) {
        const header_option *option = options[i];
        if (option->header == NULL || option->header->key[0] == 0) {
            return error_set(err, ERR_INVALID, "header to add without a name");
        }
        struct header_addition *addition = &additions[count];
        addition->name = lower(&memory->arena, str_of(option->header->key));
        addition->action = (enum header_action)option->append_action;
        if (option->append != NULL) { // the older field
            addition->action = option->append->value ? HEADER_APPEND : HEADER_OVERWRITE;
        }
        if (addition->name.data[0] == ':' || str_equal(addition->name, STR("host"))) {
            return error_set(err, ERR_INVALID, "header %s cannot be changed this way", option->header->key);
        }
        enum err result = header_value_compile(&memory->arena, str_of(option->header->value), &addition->value, &addition->computed, err);
        if (result != ERR_OK) {
            return result;
        }
        addition->keeps_empty = option->keep_empty_value;
        count += addition->value.size > 0 || addition->computed != NULL || option->keep_empty_value ? 1 : 0;
    }
    *ret_changes = (struct header_changes){names, removal_count, additions, count};
    return ERR_OK;
}

static enum err compile_path(struct rule_memory *memory, const Envoy__Config__Route__V3__RouteMatch *config,
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
        conditions->path_kind = PATH_REGEX;
        conditions->regex = regex_compile(memory, str_of(config->safe_regex->regex), REGEX_FULL, err);
        if (conditions->regex == NULL) {
            return err->code;
        }
        break;
    default:
        return error_set(err, ERR_INVALID, "route match without a path");
    }
    conditions->path = arena_str(&memory->arena, str_of(path));
    return ERR_OK;
}

static enum err compile_match(struct rule_memory *memory, const Envoy__Config__Route__V3__RouteMatch *config,
                              struct route_conditions **ret_conditions, struct error *err)
{
    if (config == NULL) {
        return error_set(err, ERR_INVALID, "route without a match");
    }
    struct route_conditions *conditions = arena_new(&memory->arena, struct route_conditions);
    enum err result = compile_path(memory, config, conditions, err);
    conditions->ignore_case = config->case_sensitive != NULL && !config->case_sensitive->value;
    conditions->grpc_only = config->grpc != NULL;
    conditions->chance = chance_from(config->runtime_fraction == NULL ? NULL : config->runtime_fraction->default_value, CHANCE_ALWAYS);
    conditions->headers = arena_array(&memory->arena, struct header_match, config->n_headers);
    for (size_t i = 0; i < config->n_headers && result == ERR_OK; i++) {
        result = header_match_compile(memory, config->headers[i], &conditions->headers[i], err);
    }
    conditions->header_count = config->n_headers;
    conditions->queries = arena_array(&memory->arena, struct query_match, config->n_query_parameters);
    for (size_t i = 0; i < config->n_query_parameters && result == ERR_OK; i++) {
        result = query_match_compile(memory, config->query_parameters[i], &conditions->queries[i], err);
    }
    conditions->query_count = config->n_query_parameters;
    *ret_conditions = conditions;
    return result;
}

static const struct retry_policy *compile_retry(struct rule_memory *memory, const Envoy__Config__Route__V3__RetryPolicy *config)
{
    struct retry_policy *policy = arena_new(&memory->arena, struct retry_policy);
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
    uint32_t *codes = arena_array(&memory->arena, uint32_t, config->n_retriable_status_codes);
    for (size_t i = 0; i < config->n_retriable_status_codes; i++) {
        codes[i] = config->retriable_status_codes[i];
    }
    policy->status_codes = codes;
    policy->status_code_count = config->n_retriable_status_codes;
    return policy;
}

static enum err compile_weights(struct rule_memory *memory, const Envoy__Config__Route__V3__WeightedCluster *config,
                                struct route *route, struct error *err)
{
    struct route_cluster_weight *weights = arena_array(&memory->arena, struct route_cluster_weight, config->n_clusters);
    uint64_t sum = 0;
    for (size_t i = 0; i < config->n_clusters; i++) {
        const Envoy__Config__Route__V3__WeightedCluster__ClusterWeight *from = config->clusters[i];
        weights[i].cluster = arena_str(&memory->arena, str_of(from->name));
        weights[i].cluster_header = lower(&memory->arena, str_of(from->cluster_header));
        weights[i].filters = route->filters;
        weights[i].weight = from->weight == NULL ? 0 : from->weight->value;
        if (from->host_rewrite_specifier_case ==
            ENVOY__CONFIG__ROUTE__V3__WEIGHTED_CLUSTER__CLUSTER_WEIGHT__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL) {
            weights[i].host_rewrite = arena_str(&memory->arena, str_of(from->host_rewrite_literal));
        }
        sum += weights[i].weight;
        enum err result = compile_changes(memory, from->request_headers_to_add, from->n_request_headers_to_add,
                                          from->request_headers_to_remove, from->n_request_headers_to_remove,
                                          &weights[i].request, err);
        if (result == ERR_OK) {
            result = compile_changes(memory, from->response_headers_to_add, from->n_response_headers_to_add,
                                     from->response_headers_to_remove, from->n_response_headers_to_remove,
                                     &weights[i].response, err);
        }
        if (result == ERR_OK) {
            result = COMPILE_FILTERS(memory, from, &weights[i].filters, err);
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

static enum err compile_rewrite(struct rule_memory *memory, const Envoy__Type__Matcher__V3__RegexMatchAndSubstitute *config,
                                struct route_rewrite *ret_rewrite, struct error *err)
{
    if (config->pattern == NULL) {
        return error_set(err, ERR_INVALID, "rewrite without a pattern");
    }
    ret_rewrite->regex = regex_compile(memory, str_of(config->pattern->regex), REGEX_SEARCH, err);
    if (ret_rewrite->regex == NULL) {
        return err->code;
    }
    ret_rewrite->substitution = arena_str(&memory->arena, str_of(config->substitution));
    if (!regex_substitution_is_valid(ret_rewrite->regex, ret_rewrite->substitution)) {
        return error_set(err, ERR_INVALID, "substitution \"%s\" names a group that is not there", config->substitution);
    }
    return ERR_OK;
}

static enum err compile_mirrors(struct rule_memory *memory, const Envoy__Config__Route__V3__RouteAction *config,
                                struct route *route, struct error *err)
{
    struct route_mirror *mirrors = arena_array(&memory->arena, struct route_mirror, config->n_request_mirror_policies);
    if (config->n_request_mirror_policies > ROUTE_MIRRORS_MAX) {
        return error_set(err, ERR_LIMIT, "more than %u mirrors", ROUTE_MIRRORS_MAX);
    }
    for (size_t i = 0; i < config->n_request_mirror_policies; i++) {
        const Envoy__Config__Route__V3__RouteAction__RequestMirrorPolicy *from = config->request_mirror_policies[i];
        mirrors[i].cluster = arena_str(&memory->arena, str_of(from->cluster));
        mirrors[i].cluster_header = lower(&memory->arena, str_of(from->cluster_header));
        mirrors[i].keeps_host = from->disable_shadow_host_suffix_append;
        mirrors[i].chance = chance_from(from->runtime_fraction == NULL ? NULL : from->runtime_fraction->default_value, CHANCE_ALWAYS);
        if (mirrors[i].cluster.size == 0 && mirrors[i].cluster_header.size == 0) {
            return error_set(err, ERR_INVALID, "mirror without a cluster");
        }
    }
    route->mirrors = mirrors;
    route->mirror_count = config->n_request_mirror_policies;
    return ERR_OK;
}

static enum err compile_hashes(struct rule_memory *memory, const Envoy__Config__Route__V3__RouteAction *config, struct route *route,
                               struct error *err)
{
    struct hash_policy *policies = arena_array(&memory->arena, struct hash_policy, config->n_hash_policy);
    for (size_t i = 0; i < config->n_hash_policy; i++) {
        enum err result = hash_policy_compile(memory, config->hash_policy[i], &policies[i], err);
        if (result != ERR_OK) {
            return result;
        }
    }
    route->hash_policies = policies;
    route->hash_policy_count = config->n_hash_policy;
    return ERR_OK;
}

static enum err compile_forward(struct rule_memory *memory, const Envoy__Config__Route__V3__RouteAction *config,
                                struct route *route, struct error *err)
{
    static const int not_found_statuses[] = {503, 404, 500};
    enum err result = ERR_OK;
    route->action = ROUTE_FORWARD;
    switch (config->cluster_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER:
        route->cluster = arena_str(&memory->arena, str_of(config->cluster));
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER_HEADER:
        route->cluster_header = lower(&memory->arena, str_of(config->cluster_header));
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS:
        result = compile_weights(memory, config->weighted_clusters, route, err);
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
    route->prefix_rewrite = arena_str(&memory->arena, str_of(config->prefix_rewrite));
    switch (config->host_rewrite_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL:
        route->host_rewrite = arena_str(&memory->arena, str_of(config->host_rewrite_literal));
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_AUTO_HOST_REWRITE:
        route->auto_host_rewrite = config->auto_host_rewrite->value;
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER__NOT_SET:
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_HEADER:
        route->host_rewrite_header = lower(&memory->arena, str_of(config->host_rewrite_header));
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_PATH_REGEX:
        result = result != ERR_OK ? result : compile_rewrite(memory, config->host_rewrite_path_regex, &route->host_rewrite_path, err);
        break;
    default:
        return error_set(err, ERR_UNSUPPORTED, "host rewrite of a kind that is not supported");
    }
    if (result == ERR_OK && config->regex_rewrite != NULL) {
        result = compile_rewrite(memory, config->regex_rewrite, &route->path_rewrite, err);
    }
    if (result == ERR_OK) {
        result = compile_mirrors(memory, config, route, err);
    }
    if (result == ERR_OK) {
        result = compile_hashes(memory, config, route, err);
    }
    if (config->retry_policy != NULL) {
        route->retry = compile_retry(memory, config->retry_policy);
    }
    return result;
}

static enum err compile_redirect(struct rule_memory *memory, const Envoy__Config__Route__V3__RedirectAction *config,
                                 struct route *route, struct error *err)
{
    static const int statuses[] = {301, 302, 303, 307, 308};
    unsigned code = (unsigned)config->response_code;
    struct route_redirect *redirect = &route->redirect;
    route->action = ROUTE_REDIRECT;
    redirect->status = statuses[code < array_count(statuses) ? code : 0];
    redirect->host = arena_str(&memory->arena, str_of(config->host_redirect));
    redirect->port = config->port_redirect;
    redirect->strip_query = config->strip_query;
    if (config->scheme_rewrite_specifier_case == ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_HTTPS_REDIRECT) {
        redirect->https = config->https_redirect;
    } else if (config->scheme_rewrite_specifier_case == ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_SCHEME_REDIRECT) {
        redirect->scheme = arena_str(&memory->arena, str_of(config->scheme_redirect));
    }
    switch (config->path_rewrite_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PATH_REDIRECT:
        redirect->path = arena_str(&memory->arena, str_of(config->path_redirect));
        break;
    case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PREFIX_REWRITE:
        redirect->prefix_rewrite = arena_str(&memory->arena, str_of(config->prefix_rewrite));
        break;
    case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_REGEX_REWRITE:
        return compile_rewrite(memory, config->regex_rewrite, &redirect->path_rewrite, err);
    default:
        break;
    }
    return ERR_OK;
}

static enum err compile_direct(struct rule_memory *memory, const Envoy__Config__Route__V3__DirectResponseAction *config,
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
        route->direct_body = arena_str(&memory->arena, str_of(body->inline_string));
    } else if (body->specifier_case == ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES) {
        route->direct_body = arena_str(&memory->arena, str_make((const char *)body->inline_bytes.data, body->inline_bytes.len));
    } else {
        return error_set(err, ERR_UNSUPPORTED, "direct response body from a file is not supported");
    }
    return ERR_OK;
}

static enum err compile_route(struct rule_memory *memory, const Envoy__Config__Route__V3__Route *config, struct route *route,
                              struct error *err)
{
    route->name = arena_str(&memory->arena, str_of(config->name));
    enum err result = compile_match(memory, config->match, &route->conditions, err);
    if (result == ERR_OK) {
        result = compile_changes(memory, config->request_headers_to_add, config->n_request_headers_to_add,
                                 config->request_headers_to_remove, config->n_request_headers_to_remove, &route->request, err);
    }
    if (result == ERR_OK) {
        result = compile_changes(memory, config->response_headers_to_add, config->n_response_headers_to_add,
                                 config->response_headers_to_remove, config->n_response_headers_to_remove, &route->response, err);
    }
    if (result == ERR_OK) {
        result = COMPILE_FILTERS(memory, config, &route->filters, err);
    }
    if (config->decorator != NULL) {
        route->decorator = arena_str(&memory->arena, str_of(config->decorator->operation));
    }
    if (result != ERR_OK) {
        return result;
    }
    switch (config->action_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE:
        return compile_forward(memory, config->route, route, err);
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_REDIRECT:
        return compile_redirect(memory, config->redirect, route, err);
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE:
        return compile_direct(memory, config->direct_response, route, err);
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
    size_t *sizes = arena_array(&table->memory.arena, size_t, index->size_count + 1);
    for (size_t i = 0, k = 0; i <= index->size_count; i++) {
        sizes[i] = i == at ? text.size : index->sizes[k++];
    }
    index->sizes = sizes;
    index->size_count++;
}

static enum err add_domain(struct route_table *table, struct str domain, struct route_virtual_host *host, struct error *err)
{
    struct str name = lower(&table->memory.arena, domain);
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
    struct rule_memory *memory = &table->memory;
    struct route_virtual_host *host = arena_new(&memory->arena, struct route_virtual_host);
    host->name = arena_str(&memory->arena, str_of(config->name));
    host->attempt_count_in_request = config->include_request_attempt_count;
    host->attempt_count_in_response = config->include_attempt_count_in_response;
    host->require_tls = config->require_tls != ENVOY__CONFIG__ROUTE__V3__VIRTUAL_HOST__TLS_REQUIREMENT_TYPE__NONE;
    host->routes = arena_array(&memory->arena, struct route, config->n_routes);
    host->route_count = config->n_routes;
    enum err result = compile_changes(memory, config->request_headers_to_add, config->n_request_headers_to_add,
                                      config->request_headers_to_remove, config->n_request_headers_to_remove, &host->request, err);
    if (result == ERR_OK) {
        result = compile_changes(memory, config->response_headers_to_add, config->n_response_headers_to_add,
                                 config->response_headers_to_remove, config->n_response_headers_to_remove, &host->response, err);
    }
    struct route_filters filters = table->filters;
    if (result == ERR_OK) {
        result = COMPILE_FILTERS(memory, config, &filters, err);
    }
    for (size_t i = 0; i < config->n_routes && result == ERR_OK; i++) {
        host->routes[i].virtual_host = host;
        host->routes[i].filters = filters;
        result = compile_route(memory, config->routes[i], &host->routes[i], err);
        if (result != ERR_OK) {
            error_prefix(err, "route %zu \"%s\"", i, config->routes[i]->name);
        } else if (host->routes[i].action == ROUTE_FORWARD && host->routes[i].retry == NULL && config->retry_policy != NULL) {
            host->routes[i].retry = compile_retry(memory, config->retry_policy);
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
    struct error ignored = {0};
    err = err == NULL ? &ignored : err;
    struct route_table *table = mem_new(struct route_table);
    atomic_init(&table->references, 1);
    table->name = arena_str(&table->memory.arena, str_of(config->name));
    table->ignore_port = config->ignore_port_in_host_matching;
    enum err result = compile_changes(&table->memory, config->request_headers_to_add, config->n_request_headers_to_add,
                                      config->request_headers_to_remove, config->n_request_headers_to_remove, &table->request, err);
    if (result == ERR_OK) {
        result = compile_changes(&table->memory, config->response_headers_to_add, config->n_response_headers_to_add,
                                 config->response_headers_to_remove, config->n_response_headers_to_remove, &table->response, err);
    }
    if (result == ERR_OK) {
        result = COMPILE_FILTERS(&table->memory, config, &table->filters, err);
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
