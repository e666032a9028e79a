// SPDX-License-Identifier: Apache-2.0
//
// HTTP routes of a VirtualService, for one gateway (or the sidecars, "mesh") and one port. Each rule gives
// one route per match, in order; a rule without matches ends the list, nothing behind it could be reached.
// What does not depend on the request (port, gateways, labels of the caller) is decided here.
#include "control/gen/gen_internal.h"

#include <stdlib.h>

#include "envoy/extensions/filters/http/cors/v3/cors.pb-c.h"
#include "envoy/extensions/filters/http/fault/v3/fault.pb-c.h"
#include "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.pb-c.h"

typedef Istio__Networking__V1alpha3__HTTPRoute HttpRule;
typedef Istio__Networking__V1alpha3__HTTPMatchRequest HttpMatch;
typedef Istio__Networking__V1alpha3__StringMatch StringMatch;
typedef Istio__Networking__V1alpha3__Destination Destination;
typedef Istio__Networking__V1alpha3__Headers Headers;
typedef Envoy__Type__Matcher__V3__StringMatcher WireStringMatcher;
typedef Envoy__Type__V3__FractionalPercent WireFraction;
typedef Envoy__Config__Core__V3__HeaderValueOption WireHeaderOption;


// --- static conditions -----------------------------------------------------------------------------------

static bool is_listed(char *const *items, size_t count, struct str text)
{
    for (size_t i = 0; i < count; i++) {
        if (str_equal(str_of(items[i]), text)) {
            return true;
        }
    }
    return false;
}

static bool caller_matches(const struct gen *gen, const HttpMatch *match)
{
    for (size_t i = 0; i < match->n_source_labels; i++) {
        struct str value = mesh_labels_get(&gen->proxy->labels, str_of(match->source_labels[i]->key));
        if (value.data == NULL || !str_equal(value, str_of(match->source_labels[i]->value))) {
            return false;
        }
    }
    struct str ns = str_of(match->source_namespace);
    return str_is_empty(ns) || str_equal(ns, gen->proxy->ns);
}

static bool applies(const struct gen *gen, const struct gen_http_context *context, const HttpMatch *match)
{
    if (match->port != 0 && match->port != context->port) {
        return false;
    }
    if (match->n_gateways > 0) { // then the caller's labels are not looked at
        return is_listed(match->gateways, match->n_gateways, context->gateway);
    }
    return caller_matches(gen, match);
}

// --- matches -----------------------------------------------------------------------------------------------

static Envoy__Type__Matcher__V3__RegexMatcher *regex(struct gen *gen, const char *text)
{
    Envoy__Type__Matcher__V3__RegexMatcher *matcher =
        pb_new(gen->arena, &envoy__type__matcher__v3__regex_matcher__descriptor);
    matcher->regex = pb_text(gen->arena, str_of(text));
    return matcher;
}

// NULL: anything that is there.
static WireStringMatcher *string_matcher(struct gen *gen, const StringMatch *match)
{
    WireStringMatcher *out = pb_new(gen->arena, &envoy__type__matcher__v3__string_matcher__descriptor);
    switch (match->match_type_case) {
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_EXACT:
        out->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT;
        out->exact = pb_text(gen->arena, str_of(match->exact));
        return out;
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX:
        out->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_PREFIX;
        out->prefix = pb_text(gen->arena, str_of(match->prefix));
        return out;
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX:
        if (str_equal(str_of(match->regex), STR("*"))) {
            return NULL;
        }
        out->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX;
        out->safe_regex = regex(gen, match->regex);
        return out;
    default:
        return NULL;
    }
}

static void add_header_match(struct gen *gen, Envoy__Config__Route__V3__RouteMatch *out, const char *name,
                             const StringMatch *match, bool inverted)
{
    Envoy__Config__Route__V3__HeaderMatcher *header =
        pb_new(gen->arena, &envoy__config__route__v3__header_matcher__descriptor);
    header->name = pb_text(gen->arena, str_of(name));
    header->invert_match = inverted;
    WireStringMatcher *matcher = match == NULL ? NULL : string_matcher(gen, match);
    if (matcher == NULL) {
        header->header_match_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PRESENT_MATCH;
        header->present_match = true;
    } else {
        header->header_match_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_STRING_MATCH;
        header->string_match = matcher;
        header->treat_missing_header_as_empty = inverted; // "not x" holds without the header too
    }
    PB_PUSH(gen->arena, out, headers, header);
}

static void set_path(struct gen *gen, const HttpMatch *match, Envoy__Config__Route__V3__RouteMatch *out)
{
    struct arena *arena = gen->arena;
    out->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
    out->prefix = pb_text(arena, STR("/"));
    if (match == NULL) {
        return;
    }
    out->case_sensitive = pb_bool(arena, !match->ignore_uri_case);
    const StringMatch *uri = match->uri;
    if (uri == NULL) {
        return;
    }
    switch (uri->match_type_case) {
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_EXACT:
        out->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH;
        out->path = pb_text(arena, str_of(uri->exact));
        break;
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX:
        out->prefix = pb_text(arena, str_of(uri->prefix));
        break;
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX:
        out->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX;
        out->safe_regex = regex(gen, uri->regex);
        break;
    default:
        break;
    }
}

static int compare_headers(const void *a, const void *b)
{
    return strcmp((*(Istio__Networking__V1alpha3__HTTPMatchRequest__HeadersEntry *const *)a)->key,
                  (*(Istio__Networking__V1alpha3__HTTPMatchRequest__HeadersEntry *const *)b)->key);
}

static int compare_without_headers(const void *a, const void *b)
{
    return strcmp((*(Istio__Networking__V1alpha3__HTTPMatchRequest__WithoutHeadersEntry *const *)a)->key,
                  (*(Istio__Networking__V1alpha3__HTTPMatchRequest__WithoutHeadersEntry *const *)b)->key);
}

static void add_headers(struct gen *gen, const HttpMatch *match, Envoy__Config__Route__V3__RouteMatch *out)
{
    // Sorted copies: maps have no order of their own, and the object is shared.
    Istio__Networking__V1alpha3__HTTPMatchRequest__HeadersEntry **headers = arena_array(
        gen->arena, Istio__Networking__V1alpha3__HTTPMatchRequest__HeadersEntry *, match->n_headers + 1);
    Istio__Networking__V1alpha3__HTTPMatchRequest__WithoutHeadersEntry **without = arena_array(
        gen->arena, Istio__Networking__V1alpha3__HTTPMatchRequest__WithoutHeadersEntry *,
        match->n_without_headers + 1);
    for (size_t i = 0; i < match->n_headers; i++) {
        headers[i] = match->headers[i];
    }
    for (size_t i = 0; i < match->n_without_headers; i++) {
        without[i] = match->without_headers[i];
    }
    qsort(headers, match->n_headers, sizeof(*headers), compare_headers);
    qsort(without, match->n_without_headers, sizeof(*without), compare_without_headers);
    for (size_t i = 0; i < match->n_headers; i++) {
        add_header_match(gen, out, headers[i]->key, headers[i]->value, false);
    }
    for (size_t i = 0; i < match->n_without_headers; i++) {
        add_header_match(gen, out, without[i]->key, without[i]->value, true);
    }
    if (match->method != NULL) {
        add_header_match(gen, out, ":method", match->method, false);
    }
    if (match->authority != NULL) {
        add_header_match(gen, out, ":authority", match->authority, false);
    }
    if (match->scheme != NULL) {
        add_header_match(gen, out, ":scheme", match->scheme, false);
    }
}

static int compare_query(const void *a, const void *b)
{
    return strcmp((*(Istio__Networking__V1alpha3__HTTPMatchRequest__QueryParamsEntry *const *)a)->key,
                  (*(Istio__Networking__V1alpha3__HTTPMatchRequest__QueryParamsEntry *const *)b)->key);
}

static void add_query(struct gen *gen, const HttpMatch *match, Envoy__Config__Route__V3__RouteMatch *out)
{
    Istio__Networking__V1alpha3__HTTPMatchRequest__QueryParamsEntry **params = arena_array(
        gen->arena, Istio__Networking__V1alpha3__HTTPMatchRequest__QueryParamsEntry *,
        match->n_query_params + 1);
    for (size_t i = 0; i < match->n_query_params; i++) {
        params[i] = match->query_params[i];
    }
    qsort(params, match->n_query_params, sizeof(*params), compare_query);
    for (size_t i = 0; i < match->n_query_params; i++) {
        Envoy__Config__Route__V3__QueryParameterMatcher *query =
            pb_new(gen->arena, &envoy__config__route__v3__query_parameter_matcher__descriptor);
        query->name = pb_text(gen->arena, str_of(params[i]->key));
        const StringMatch *value = params[i]->value;
        WireStringMatcher *matcher = value == NULL ? NULL : string_matcher(gen, value);
        if (matcher == NULL) {
            query->query_parameter_match_specifier_case =
                ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_PRESENT_MATCH;
            query->present_match = true;
        } else {
            query->query_parameter_match_specifier_case =
                ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_STRING_MATCH;
            query->string_match = matcher;
        }
        PB_PUSH(gen->arena, out, query_parameters, query);
    }
}

static Envoy__Config__Route__V3__RouteMatch *new_match(struct gen *gen, const HttpMatch *match)
{
    Envoy__Config__Route__V3__RouteMatch *out =
        pb_new(gen->arena, &envoy__config__route__v3__route_match__descriptor);
    set_path(gen, match, out);
    if (match != NULL) {
        add_headers(gen, match, out);
        add_query(gen, match, out);
    }
    return out;
}

bool gen_is_catch_all(const WireRoute *route)
{
    const Envoy__Config__Route__V3__RouteMatch *match = route->match;
    bool is_any_prefix =
        match->path_specifier_case == ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX &&
        str_equal(str_of(match->prefix), STR("/"));
    bool is_any_regex =
        match->path_specifier_case == ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX &&
        str_equal(str_of(match->safe_regex->regex), STR(".*"));
    return (is_any_prefix || is_any_regex) && match->n_headers == 0 && match->n_query_parameters == 0;
}

// --- header operations -------------------------------------------------------------------------------------

static WireHeaderOption *header_option(struct gen *gen, const char *name, const char *value, bool overwrites)
{
    WireHeaderOption *option = pb_new(gen->arena, &envoy__config__core__v3__header_value_option__descriptor);
    option->header = pb_new(gen->arena, &envoy__config__core__v3__header_value__descriptor);
    option->header->key = pb_text(gen->arena, str_of(name));
    option->header->value = pb_text(gen->arena, str_of(value));
    option->append_action = overwrites
        ? ENVOY__CONFIG__CORE__V3__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__OVERWRITE_IF_EXISTS_OR_ADD
        : ENVOY__CONFIG__CORE__V3__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__APPEND_IF_EXISTS_OR_ADD;
    return option;
}

// Pseudo headers and Host are not for header operations; setting the authority rewrites the host.
static bool is_reserved(const char *name)
{
    return name[0] == ':' || str_equal_nocase(str_of(name), STR("host"));
}

static bool is_authority(const char *name)
{
    return str_equal_nocase(str_of(name), STR(":authority")) ||
           str_equal_nocase(str_of(name), STR("host"));
}

struct header_changes {
    WireHeaderOption **items;
    size_t count;
    char **removed;
    size_t removed_count;
};

static int compare_options(const void *a, const void *b)
{
    return strcmp((*(WireHeaderOption *const *)a)->header->key,
                  (*(WireHeaderOption *const *)b)->header->key);
}

static void collect(struct gen *gen, const Istio__Networking__V1alpha3__Headers__HeaderOperations *operations,
                    struct header_changes *out)
{
    *out = (struct header_changes){0};
    if (operations == NULL) {
        return;
    }
    out->items = arena_array(gen->arena, WireHeaderOption *, operations->n_set + operations->n_add + 1);
    out->removed = arena_array(gen->arena, char *, operations->n_remove + 1);
    for (size_t i = 0; i < operations->n_set; i++) {
        if (!is_reserved(operations->set[i]->key)) {
            out->items[out->count++] =
                header_option(gen, operations->set[i]->key, operations->set[i]->value, true);
        }
    }
    qsort(out->items, out->count, sizeof(*out->items), compare_options);
    size_t set_count = out->count;
    for (size_t i = 0; i < operations->n_add; i++) {
        if (!is_reserved(operations->add[i]->key)) {
            out->items[out->count++] =
                header_option(gen, operations->add[i]->key, operations->add[i]->value, false);
        }
    }
    qsort(out->items + set_count, out->count - set_count, sizeof(*out->items), compare_options);
    for (size_t i = 0; i < operations->n_remove; i++) {
        if (!is_reserved(operations->remove[i])) {
            out->removed[out->removed_count++] = pb_text(gen->arena, str_of(operations->remove[i]));
        }
    }
}

// Route and ClusterWeight name these four fields alike.
#define SET_HEADERS(gen, out, headers)                                  \
    do {                                                                \
        struct header_changes changes;                                  \
        collect((gen), (headers)->request, &changes);                   \
        (out)->request_headers_to_add = changes.items;                  \
        (out)->n_request_headers_to_add = changes.count;                \
        (out)->request_headers_to_remove = changes.removed;             \
        (out)->n_request_headers_to_remove = changes.removed_count;     \
        collect((gen), (headers)->response, &changes);                  \
        (out)->response_headers_to_add = changes.items;                 \
        (out)->n_response_headers_to_add = changes.count;               \
        (out)->response_headers_to_remove = changes.removed;            \
        (out)->n_response_headers_to_remove = changes.removed_count;    \
    } while (0)

static const char *authority_set_by(const Headers *headers)
{
    if (headers == NULL || headers->request == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < headers->request->n_set; i++) {
        if (is_authority(headers->request->set[i]->key)) {
            return headers->request->set[i]->value;
        }
    }
    return NULL;
}

// --- destinations --------------------------------------------------------------------------------------------

// Without a port in the rule: the caller's own on a sidecar; on a gateway, whose ports have nothing to do
// with the service's, the service's only one.
static uint32_t destination_port(const struct gen *gen, const struct gen_http_context *context,
                                 const Destination *destination)
{
    if (destination->port != NULL && destination->port->number != 0) {
        return destination->port->number;
    }
    if (gen->proxy->type == MESH_PROXY_SIDECAR) {
        return context->port;
    }
    const struct mesh_service *service = snapshot_service(gen->snapshot, str_of(destination->host));
    return service != NULL && service->port_count == 1 ? service->ports[0].number : context->port;
}

static struct str destination_cluster(struct gen *gen, const struct gen_http_context *context,
                                      const Destination *destination)
{
    return gen_subset_name(gen, destination_port(gen, context, destination), str_of(destination->subset),
                           str_of(destination->host));
}

static void add_weighted(struct gen *gen, const struct gen_http_context *context, const HttpRule *rule,
                         WireRouteAction *action)
{
    struct arena *arena = gen->arena;
    action->cluster_specifier_case =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS;
    action->weighted_clusters = pb_new(arena, &envoy__config__route__v3__weighted_cluster__descriptor);
    for (size_t i = 0; i < rule->n_route; i++) {
        const Istio__Networking__V1alpha3__HTTPRouteDestination *to = rule->route[i];
        if (to->weight == 0) {
            continue;
        }
        Envoy__Config__Route__V3__WeightedCluster__ClusterWeight *cluster =
            pb_new(arena, &envoy__config__route__v3__weighted_cluster__cluster_weight__descriptor);
        cluster->name = pb_text(arena, destination_cluster(gen, context, to->destination));
        cluster->weight = pb_uint32(arena, (uint32_t)to->weight);
        if (to->headers != NULL) {
            SET_HEADERS(gen, cluster, to->headers);
        }
        const char *authority = authority_set_by(to->headers);
        if (authority != NULL) {
            cluster->host_rewrite_specifier_case =
                ENVOY__CONFIG__ROUTE__V3__WEIGHTED_CLUSTER__CLUSTER_WEIGHT__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL;
            cluster->host_rewrite_literal = pb_text(arena, str_of(authority));
        }
        PB_PUSH(arena, action->weighted_clusters, clusters, cluster);
    }
}

// --- hash policy: of the destination's DestinationRule --------------------------------------------------------

typedef Istio__Networking__V1alpha3__LoadBalancerSettings__ConsistentHashLB ConsistentHash;
typedef Envoy__Config__Route__V3__RouteAction__HashPolicy WireHashPolicy;

static WireHashPolicy *hash_policy(struct gen *gen, const ConsistentHash *hash)
{
    struct arena *arena = gen->arena;
    WireHashPolicy *policy = pb_new(arena, &envoy__config__route__v3__route_action__hash_policy__descriptor);
    switch (hash->hash_key_case) {
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_HTTP_HEADER_NAME:
        policy->policy_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_HEADER;
        policy->header =
            pb_new(arena, &envoy__config__route__v3__route_action__hash_policy__header__descriptor);
        policy->header->header_name = pb_text(arena, str_of(hash->http_header_name));
        return policy;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_HTTP_COOKIE:
        policy->policy_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_COOKIE;
        policy->cookie =
            pb_new(arena, &envoy__config__route__v3__route_action__hash_policy__cookie__descriptor);
        policy->cookie->name = pb_text(arena, str_of(hash->http_cookie->name));
        policy->cookie->path = pb_text(arena, str_of(hash->http_cookie->path));
        policy->cookie->ttl = hash->http_cookie->ttl;
        return policy;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_USE_SOURCE_IP:
        policy->policy_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_CONNECTION_PROPERTIES;
        policy->connection_properties = pb_new(
            arena, &envoy__config__route__v3__route_action__hash_policy__connection_properties__descriptor);
        policy->connection_properties->source_ip = hash->use_source_ip;
        return policy;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_HTTP_QUERY_PARAMETER_NAME:
        policy->policy_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_QUERY_PARAMETER;
        policy->query_parameter = pb_new(
            arena, &envoy__config__route__v3__route_action__hash_policy__query_parameter__descriptor);
        policy->query_parameter->name = pb_text(arena, str_of(hash->http_query_parameter_name));
        return policy;
    default:
        return NULL;
    }
}

bool gen_add_hash_policy(struct gen *gen, WireRouteAction *action, struct str host, uint32_t port,
                         struct str subset)
{
    struct gen_rule rule;
    struct gen_policy policy;
    const struct mesh_service *service = snapshot_service(gen->snapshot, host);
    gen_find_rule(gen, host, service == NULL ? gen->proxy->ns : service->ns, &rule);
    gen_policy_of(&rule, port, gen_subset(&rule, subset), &policy);
    if (policy.balancer == NULL ||
        policy.balancer->lb_policy_case !=
            ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__LB_POLICY_CONSISTENT_HASH) {
        return false;
    }
    WireHashPolicy *hash = hash_policy(gen, policy.balancer->consistent_hash);
    if (hash == NULL) {
        return false;
    }
    PB_PUSH(gen->arena, action, hash_policy, hash);
    return true;
}

// --- retries -------------------------------------------------------------------------------------------------

static void add_other_host(struct gen *gen, Envoy__Config__Route__V3__RetryPolicy *policy)
{
    struct arena *arena = gen->arena;
    Envoy__Config__Route__V3__RetryPolicy__RetryHostPredicate *other_host =
        pb_new(arena, &envoy__config__route__v3__retry_policy__retry_host_predicate__descriptor);
    other_host->name = pb_text(arena, STR("envoy.retry_host_predicates.previous_hosts"));
    other_host->config_type_case =
        ENVOY__CONFIG__ROUTE__V3__RETRY_POLICY__RETRY_HOST_PREDICATE__CONFIG_TYPE_TYPED_CONFIG;
    other_host->typed_config = pb_any(arena, pb_new(arena,
        &envoy__extensions__retry__host__previous_hosts__v3__previous_hosts_predicate__descriptor));
    PB_PUSH(arena, policy, retry_host_predicate, other_host);
}

// "5xx,reset,503": numbers become status codes of their own.
static void set_retry_on(struct gen *gen, Envoy__Config__Route__V3__RetryPolicy *policy, const char *text)
{
    struct arena *arena = gen->arena;
    struct str rest = str_of(text);
    struct str words = STR_EMPTY;
    while (!str_is_empty(rest)) {
        struct str word = str_trim(str_split(&rest, ','));
        uint64_t status = 0;
        if (str_to_u64(word, &status) && status >= 100 && status < 600) {
            PB_PUSH(arena, policy, retriable_status_codes, (uint32_t)status);
        } else if (!str_is_empty(word)) {
            words = str_is_empty(words) ? word
                : arena_format(arena, "%.*s,%.*s", STR_ARG(words), STR_ARG(word));
        }
    }
    if (policy->n_retriable_status_codes > 0) {
        words = str_is_empty(words) ? STR("retriable-status-codes")
            : arena_format(arena, "%.*s,retriable-status-codes", STR_ARG(words));
    }
    policy->retry_on = pb_text(arena, words);
}

// Istio's default: twice, on another host, for failures where nothing was processed.
void gen_set_retries(struct gen *gen, WireRouteAction *action,
                     const Istio__Networking__V1alpha3__HTTPRetry *retries, bool is_sticky)
{
    struct arena *arena = gen->arena;
    if (retries != NULL && retries->attempts <= 0) {
        return;
    }
    Envoy__Config__Route__V3__RetryPolicy *policy =
        pb_new(arena, &envoy__config__route__v3__retry_policy__descriptor);
    policy->retry_on = pb_text(
        arena, STR("connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"));
    policy->num_retries = pb_uint32(arena, retries == NULL ? 2 : (uint32_t)retries->attempts);
    policy->host_selection_retry_max_attempts = 5;
    if (!is_sticky && (retries == NULL || pb_bool_or(retries->retry_ignore_previous_hosts, true))) {
        add_other_host(gen, policy);
    }
    if (retries != NULL) {
        policy->per_try_timeout = retries->per_try_timeout;
        if (!str_is_empty(str_of(retries->retry_on))) {
            set_retry_on(gen, policy, retries->retry_on);
        }
        if (retries->backoff != NULL) {
            policy->retry_back_off =
                pb_new(arena, &envoy__config__route__v3__retry_policy__retry_back_off__descriptor);
            policy->retry_back_off->base_interval = retries->backoff;
        }
    }
    action->retry_policy = policy;
}

// --- actions -------------------------------------------------------------------------------------------------

static WireFraction *fraction(struct gen *gen, double percent)
{
    WireFraction *out = pb_new(gen->arena, &envoy__type__v3__fractional_percent__descriptor);
    double bounded = percent > 100 ? 100 : percent > 0 ? percent : 0;
    out->numerator = (uint32_t)(bounded * 10000);
    out->denominator = ENVOY__TYPE__V3__FRACTIONAL_PERCENT__DENOMINATOR_TYPE__MILLION;
    return out;
}

static void add_mirror(struct gen *gen, const struct gen_http_context *context, WireRouteAction *action,
                       const Destination *destination, double percent)
{
    struct arena *arena = gen->arena;
    if (percent <= 0) {
        return;
    }
    Envoy__Config__Route__V3__RouteAction__RequestMirrorPolicy *mirror =
        pb_new(arena, &envoy__config__route__v3__route_action__request_mirror_policy__descriptor);
    mirror->cluster = pb_text(arena, destination_cluster(gen, context, destination));
    mirror->runtime_fraction =
        pb_new(arena, &envoy__config__core__v3__runtime_fractional_percent__descriptor);
    mirror->runtime_fraction->default_value = fraction(gen, percent);
    mirror->trace_sampled = pb_bool(arena, false);
    // The rewritten host is the one to mirror with, not a made-up name.
    mirror->disable_shadow_host_suffix_append =
        action->host_rewrite_specifier_case ==
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL;
    PB_PUSH(arena, action, request_mirror_policies, mirror);
}

static void set_mirrors(struct gen *gen, const struct gen_http_context *context, const HttpRule *rule,
                        WireRouteAction *action)
{
    if (rule->mirror != NULL) {
        double percent = rule->mirror_percentage != NULL ? rule->mirror_percentage->value
                                                         : pb_uint32_or(rule->mirror_percent, 100);
        add_mirror(gen, context, action, rule->mirror, percent);
    }
    for (size_t i = 0; i < rule->n_mirrors; i++) {
        double percent =
            rule->mirrors[i]->percentage == NULL ? 100 : rule->mirrors[i]->percentage->value;
        add_mirror(gen, context, action, rule->mirrors[i]->destination, percent);
    }
}

static void set_rewrite(struct gen *gen, const HttpRule *rule, WireRouteAction *action)
{
    struct arena *arena = gen->arena;
    const char *authority = rule->n_route == 1 ? authority_set_by(rule->route[0]->headers) : NULL;
    authority = authority_set_by(rule->headers) != NULL ? authority_set_by(rule->headers) : authority;
    if (rule->rewrite != NULL) {
        if (!str_is_empty(str_of(rule->rewrite->authority))) {
            authority = rule->rewrite->authority;
        }
        if (rule->rewrite->uri_regex_rewrite != NULL) {
            action->regex_rewrite =
                pb_new(arena, &envoy__type__matcher__v3__regex_match_and_substitute__descriptor);
            action->regex_rewrite->pattern = regex(gen, rule->rewrite->uri_regex_rewrite->match);
            action->regex_rewrite->substitution =
                pb_text(arena, str_of(rule->rewrite->uri_regex_rewrite->rewrite));
        } else if (!str_is_empty(str_of(rule->rewrite->uri))) {
            action->prefix_rewrite = pb_text(arena, str_of(rule->rewrite->uri));
        }
    }
    if (authority != NULL) {
        action->host_rewrite_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL;
        action->host_rewrite_literal = pb_text(arena, str_of(authority));
    }
}

static void set_forward(struct gen *gen, const struct gen_http_context *context, const HttpRule *rule,
                        WireRoute *route)
{
    struct arena *arena = gen->arena;
    WireRouteAction *action = pb_new(arena, &envoy__config__route__v3__route_action__descriptor);
    route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    route->route = action;
    action->timeout = rule->timeout != NULL ? rule->timeout : pb_duration_ms(arena, 0);
    action->max_grpc_timeout = action->timeout;
    if (rule->n_route == 1) {
        action->cluster_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
        action->cluster =
            pb_text(arena, destination_cluster(gen, context, rule->route[0]->destination));
        if (rule->route[0]->headers != NULL) {
            SET_HEADERS(gen, route, rule->route[0]->headers);
        }
    } else {
        add_weighted(gen, context, rule, action);
    }
    for (size_t i = 0; i < rule->n_route; i++) {
        const Destination *to = rule->route[i]->destination;
        gen_add_hash_policy(gen, action, str_of(to->host), destination_port(gen, context, to),
                            str_of(to->subset));
    }
    set_rewrite(gen, rule, action);
    set_mirrors(gen, context, rule, action);
    gen_set_retries(gen, action, rule->retries, rule->n_route == 1 && action->n_hash_policy > 0);
}

static void set_redirect(struct gen *gen, const struct gen_http_context *context, const HttpRule *rule,
                         WireRoute *route)
{
    static const struct {
        uint32_t status;
        Envoy__Config__Route__V3__RedirectAction__RedirectResponseCode code;
    } codes[] = {
        {302, ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__FOUND},
        {303, ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__SEE_OTHER},
        {307, ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__TEMPORARY_REDIRECT},
        {308, ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__PERMANENT_REDIRECT},
    };
    struct arena *arena = gen->arena;
    const Istio__Networking__V1alpha3__HTTPRedirect *from = rule->redirect;
    Envoy__Config__Route__V3__RedirectAction *to =
        pb_new(arena, &envoy__config__route__v3__redirect_action__descriptor);
    to->host_redirect = pb_text(arena, str_of(from->authority));
    if (!str_is_empty(str_of(from->uri))) {
        to->path_rewrite_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PATH_REDIRECT;
        to->path_redirect = pb_text(arena, str_of(from->uri));
    }
    if (!str_is_empty(str_of(from->scheme))) {
        to->scheme_rewrite_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_SCHEME_REDIRECT;
        to->scheme_redirect = pb_text(arena, str_of(from->scheme));
    }
    if (from->redirect_port_case == ISTIO__NETWORKING__V1ALPHA3__HTTPREDIRECT__REDIRECT_PORT_PORT) {
        to->port_redirect = from->port;
    } else if (from->redirect_port_case ==
                   ISTIO__NETWORKING__V1ALPHA3__HTTPREDIRECT__REDIRECT_PORT_DERIVE_PORT &&
               from->derive_port ==
                   ISTIO__NETWORKING__V1ALPHA3__HTTPREDIRECT__REDIRECT_PORT_SELECTION__FROM_REQUEST_PORT) {
        to->port_redirect = context->port;
    }
    for (size_t i = 0; i < array_count(codes); i++) {
        to->response_code = codes[i].status == from->redirect_code ? codes[i].code : to->response_code;
    }
    route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_REDIRECT;
    route->redirect = to;
}

static void set_direct_response(struct gen *gen, const HttpRule *rule, WireRoute *route)
{
    struct arena *arena = gen->arena;
    const Istio__Networking__V1alpha3__HTTPBody *body = rule->direct_response->body;
    route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE;
    route->direct_response = pb_new(arena, &envoy__config__route__v3__direct_response_action__descriptor);
    route->direct_response->status = rule->direct_response->status;
    if (body == NULL) {
        return;
    }
    Envoy__Config__Core__V3__DataSource *source =
        pb_new(arena, &envoy__config__core__v3__data_source__descriptor);
    if (body->specifier_case == ISTIO__NETWORKING__V1ALPHA3__HTTPBODY__SPECIFIER_STRING) {
        source->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING;
        source->inline_string = pb_text(arena, str_of(body->string));
    } else if (body->specifier_case == ISTIO__NETWORKING__V1ALPHA3__HTTPBODY__SPECIFIER_BYTES) {
        source->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES;
        source->inline_bytes = body->bytes;
    }
    route->direct_response->body = source;
}

// --- per-route filters -----------------------------------------------------------------------------------------

static void add_filter_config(struct gen *gen, WireRoute *route, const char *name, const void *config)
{
    Envoy__Config__Route__V3__Route__TypedPerFilterConfigEntry *entry =
        pb_new(gen->arena, &envoy__config__route__v3__route__typed_per_filter_config_entry__descriptor);
    entry->key = pb_text(gen->arena, str_of(name));
    entry->value = pb_any(gen->arena, config);
    PB_PUSH(gen->arena, route, typed_per_filter_config, entry);
}

static void set_delay(struct gen *gen, const Istio__Networking__V1alpha3__HTTPFaultInjection__Delay *delay,
                      Envoy__Extensions__Filters__Http__Fault__V3__HTTPFault *fault)
{
    struct arena *arena = gen->arena;
    if (delay == NULL || delay->http_delay_type_case !=
                             ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__DELAY__HTTP_DELAY_TYPE_FIXED_DELAY) {
        return;
    }
    fault->delay = pb_new(arena, &envoy__extensions__filters__common__fault__v3__fault_delay__descriptor);
    fault->delay->fault_delay_secifier_case =
        ENVOY__EXTENSIONS__FILTERS__COMMON__FAULT__V3__FAULT_DELAY__FAULT_DELAY_SECIFIER_FIXED_DELAY;
    fault->delay->fixed_delay = delay->fixed_delay;
    fault->delay->percentage =
        fraction(gen, delay->percentage != NULL ? delay->percentage->value : delay->percent);
}

static void set_abort(struct gen *gen, const Istio__Networking__V1alpha3__HTTPFaultInjection__Abort *abort,
                      Envoy__Extensions__Filters__Http__Fault__V3__HTTPFault *fault)
{
    struct arena *arena = gen->arena;
    if (abort == NULL) {
        return;
    }
    Envoy__Extensions__Filters__Http__Fault__V3__FaultAbort *out =
        pb_new(arena, &envoy__extensions__filters__http__fault__v3__fault_abort__descriptor);
    out->percentage = fraction(gen, abort->percentage == NULL ? 0 : abort->percentage->value);
    uint64_t status = 0;
    if (abort->error_type_case ==
        ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__ABORT__ERROR_TYPE_HTTP_STATUS) {
        out->error_type_case = ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_HTTP_STATUS;
        out->http_status = (uint32_t)abort->http_status;
    } else if (abort->error_type_case ==
                   ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__ABORT__ERROR_TYPE_GRPC_STATUS &&
               gen_grpc_status(str_of(abort->grpc_status), &status)) {
        out->error_type_case = ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_GRPC_STATUS;
        out->grpc_status = (uint32_t)status;
    } else {
        return;
    }
    fault->abort = out;
}

// "UNAVAILABLE" → 14; numbers are taken too.
bool gen_grpc_status(struct str text, uint64_t *ret_status)
{
    static const char *const names[] = {
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
        "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
        "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    };
    for (size_t i = 0; i < array_count(names); i++) {
        if (str_equal_c(text, names[i])) {
            *ret_status = i;
            return true;
        }
    }
    return str_to_u64(text, ret_status) && *ret_status < array_count(names);
}

static void set_fault(struct gen *gen, const HttpRule *rule, WireRoute *route)
{
    if (rule->fault == NULL) {
        return;
    }
    Envoy__Extensions__Filters__Http__Fault__V3__HTTPFault *fault =
        pb_new(gen->arena, &envoy__extensions__filters__http__fault__v3__httpfault__descriptor);
    set_delay(gen, rule->fault->delay, fault);
    set_abort(gen, rule->fault->abort, fault);
    add_filter_config(gen, route, "envoy.filters.http.fault", fault);
}

static char *join(struct gen *gen, char *const *items, size_t count)
{
    struct str text = STR_EMPTY;
    for (size_t i = 0; i < count; i++) {
        text = i == 0 ? str_of(items[i]) : arena_format(gen->arena, "%.*s,%s", STR_ARG(text), items[i]);
    }
    return pb_text(gen->arena, text);
}

static void set_cors(struct gen *gen, const HttpRule *rule, WireRoute *route)
{
    struct arena *arena = gen->arena;
    const Istio__Networking__V1alpha3__CorsPolicy *from = rule->cors_policy;
    if (from == NULL) {
        return;
    }
    Envoy__Extensions__Filters__Http__Cors__V3__CorsPolicy *cors =
        pb_new(arena, &envoy__extensions__filters__http__cors__v3__cors_policy__descriptor);
    for (size_t i = 0; i < from->n_allow_origins; i++) {
        WireStringMatcher *matcher = string_matcher(gen, from->allow_origins[i]);
        if (matcher != NULL) {
            PB_PUSH(arena, cors, allow_origin_string_match, matcher);
        }
    }
    for (size_t i = 0; i < from->n_allow_origin; i++) {
        WireStringMatcher *matcher = pb_new(arena, &envoy__type__matcher__v3__string_matcher__descriptor);
        matcher->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT;
        matcher->exact = pb_text(arena, str_of(from->allow_origin[i]));
        PB_PUSH(arena, cors, allow_origin_string_match, matcher);
    }
    cors->allow_methods = join(gen, from->allow_methods, from->n_allow_methods);
    cors->allow_headers = join(gen, from->allow_headers, from->n_allow_headers);
    cors->expose_headers = join(gen, from->expose_headers, from->n_expose_headers);
    if (from->max_age != NULL) {
        cors->max_age =
            pb_text(arena, arena_format(arena, "%lld", (long long)from->max_age->seconds));
    }
    cors->allow_credentials = from->allow_credentials;
    cors->filter_enabled = pb_new(arena, &envoy__config__core__v3__runtime_fractional_percent__descriptor);
    cors->filter_enabled->default_value = pb_new(arena, &envoy__type__v3__fractional_percent__descriptor);
    cors->filter_enabled->default_value->numerator = 100;
    cors->forward_not_matching_preflights = pb_bool(
        arena, from->unmatched_preflights !=
                   ISTIO__NETWORKING__V1ALPHA3__CORS_POLICY__UNMATCHED_PREFLIGHTS__IGNORE);
    add_filter_config(gen, route, "envoy.filters.http.cors", cors);
}

// --- one route -------------------------------------------------------------------------------------------------

// What the route is called in traces: "host:port/path*".
static void set_operation(struct gen *gen, const struct gen_http_context *context,
                          const struct mesh_object *object, const HttpRule *rule, WireRoute *route)
{
    struct arena *arena = gen->arena;
    struct str host = object->name;
    uint32_t port = context->port;
    if (route->action_case == ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE && rule->n_route == 1) {
        host = str_of(rule->route[0]->destination->host);
        port = destination_port(gen, context, rule->route[0]->destination);
    }
    struct str path = STR("/*");
    switch (route->match->path_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH:
        path = str_of(route->match->path);
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX:
        path = str_of(route->match->safe_regex->regex);
        break;
    default:
        path = arena_format(arena, "%s*", route->match->prefix);
        break;
    }
    route->decorator = pb_new(arena, &envoy__config__route__v3__decorator__descriptor);
    route->decorator->operation = pb_text(
        arena, arena_format(arena, "%.*s:%u%.*s", STR_ARG(host), port, STR_ARG(path)));
}

static void set_name(struct gen *gen, const HttpRule *rule, const HttpMatch *match, WireRoute *route)
{
    struct str name = str_of(rule->name);
    if (match != NULL && !str_is_empty(name) && !str_is_empty(str_of(match->name))) {
        name = arena_format(gen->arena, "%.*s.%s", STR_ARG(name), match->name);
    }
    route->name = pb_text(gen->arena, name);
    if (match != NULL) {
        route->stat_prefix = pb_text(gen->arena, str_of(match->stat_prefix));
    }
}

static WireRoute *new_route(struct gen *gen, const struct gen_http_context *context,
                            const struct mesh_object *object, const HttpRule *rule, const HttpMatch *match)
{
    struct arena *arena = gen->arena;
    WireRoute *route = pb_new(arena, &envoy__config__route__v3__route__descriptor);
    route->match = new_match(gen, match);
    set_name(gen, rule, match, route);
    struct json_value *istio = json_new_object(arena);
    json_set_str(arena, istio, "config", gen_config_path(gen, object, "virtual-service"));
    route->metadata = pb_new(arena, &envoy__config__core__v3__metadata__descriptor);
    wire_metadata_set(arena, route->metadata, "istio", istio);
    if (rule->headers != NULL) {
        SET_HEADERS(gen, route, rule->headers);
    }
    if (rule->redirect != NULL) {
        set_redirect(gen, context, rule, route);
    } else if (rule->direct_response != NULL) {
        set_direct_response(gen, rule, route);
    } else {
        set_forward(gen, context, rule, route);
    }
    set_operation(gen, context, object, rule, route);
    set_fault(gen, rule, route);
    set_cors(gen, rule, route);
    return route;
}

size_t gen_add_http_routes(struct gen *gen, const struct gen_http_context *context,
                           const struct mesh_object *object, WireVirtualHost *host)
{
    const MeshVirtualService *service = object->virtual_service;
    size_t before = host->n_routes;
    for (size_t i = 0; i < service->n_http; i++) {
        const HttpRule *rule = service->http[i];
        bool acts = rule->n_route > 0 || rule->redirect != NULL || rule->direct_response != NULL;
        if (!acts) { // delegates are not in force
            continue;
        }
        if (rule->n_match == 0) {
            PB_PUSH(gen->arena, host, routes, new_route(gen, context, object, rule, NULL));
            break;
        }
        for (size_t j = 0; j < rule->n_match; j++) {
            if (!applies(gen, context, rule->match[j])) {
                continue;
            }
            WireRoute *route = new_route(gen, context, object, rule, rule->match[j]);
            PB_PUSH(gen->arena, host, routes, route);
            if (gen_is_catch_all(route)) {
                return host->n_routes - before;
            }
        }
    }
    return host->n_routes - before;
}
