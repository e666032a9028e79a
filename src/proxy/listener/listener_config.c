// SPDX-License-Identifier: Apache-2.0
#include "proxy/listener/listener_config.h"

#include <stdio.h>

#include "base/memory.h"
#include "codec/pb/pb.h"
#include "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.pb-c.h"
#include "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.pb-c.h"

typedef Envoy__Config__Listener__V3__Listener listener_message;
typedef Envoy__Config__Listener__V3__FilterChain chain_message;
typedef Envoy__Config__Listener__V3__FilterChainMatch match_message;
typedef Envoy__Config__Listener__V3__ListenerFilterChainMatchPredicate predicate_message;
typedef Envoy__Config__Core__V3__CidrRange range_message;

static struct str type_tail(struct arena *arena, const Google__Protobuf__Any *any)
{
    struct str url = any == NULL ? STR_EMPTY : pb_any_type_url(arena, any);
    return str_from(url, (size_t)(str_find_last_char(url, '/') + 1));
}

// --- network filters -----------------------------------------------------------------------------------

static enum err compile_tcp(struct arena *arena, const Google__Protobuf__Any *any, struct filter_chain *chain, struct error *err)
{
    const Envoy__Extensions__Filters__Network__TcpProxy__V3__TcpProxy *message =
        pb_any_unpack(arena, any, &envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__descriptor, err);
    return message == NULL ? ERR_INVALID : tcp_proxy_compile(arena, message, &chain->tcp, err);
}

static enum err compile_http(struct arena *arena, const Google__Protobuf__Any *any, struct filter_chain *chain, struct error *err)
{
    const Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager *message =
        pb_any_unpack(arena, any, &envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__descriptor, err);
    return message == NULL ? ERR_INVALID : http_manager_compile(arena, message, &chain->http, err);
}

static enum err compile_nothing(struct arena *arena, const Google__Protobuf__Any *any, struct filter_chain *chain, struct error *err)
{
    (void)arena;
    (void)any;
    (void)chain;
    (void)err;
    return ERR_OK;
}

// clang-format off
static const struct {
    const char *type;
    enum err (*compile)(struct arena *arena, const Google__Protobuf__Any *any, struct filter_chain *chain, struct error *err);
} network_filters[] = {
    {"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",                             compile_tcp},
    {"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",  compile_http},
    {"envoy.tcp.metadataexchange.config.MetadataExchange", compile_nothing}, // telemetry only: names of peers
    {"stats.PluginConfig",                                 compile_nothing}, // telemetry only
};
// clang-format on

static enum err compile_filter(struct arena *arena, const Envoy__Config__Listener__V3__Filter *filter, struct filter_chain *chain,
                               struct error *err)
{
    struct str type = type_tail(arena, filter->typed_config);
    for (size_t i = 0; i < array_count(network_filters); i++) {
        if (str_equal_c(type, network_filters[i].type)) {
            enum err result = network_filters[i].compile(arena, filter->typed_config, chain, err);
            if (result != ERR_OK) {
                error_prefix(err, "filter %s", filter->name);
            }
            return result;
        }
    }
    return error_set(err, ERR_UNSUPPORTED, "network filter %s (%.*s) is not supported", filter->name, STR_ARG(type));
}

static enum err compile_chain(struct arena *arena, const chain_message *message, struct filter_chain *chain, struct error *err)
{
    chain->name = arena_str(arena, str_of(message->name));
    enum err result = transport_socket_compile(arena, message->transport_socket, TLS_SERVER, &chain->transport, err);
    for (size_t i = 0; i < message->n_filters && result == ERR_OK; i++) {
        result = compile_filter(arena, message->filters[i], chain, err);
    }
    if (result == ERR_OK && (chain->tcp == NULL) == (chain->http == NULL)) {
        result = error_set(err, ERR_INVALID, "not exactly one of tcp_proxy and http_connection_manager");
    }
    if (result != ERR_OK) {
        error_prefix(err, "filter chain \"%s\"", message->name);
    }
    return result;
}

// --- matching ------------------------------------------------------------------------------------------

static enum err compile_ranges(struct arena *arena, range_message **ranges, size_t count, const struct chain_prefix **ret_prefixes,
                               struct error *err)
{
    struct chain_prefix *prefixes = arena_array(arena, struct chain_prefix, count + 1);
    for (size_t i = 0; i < count; i++) {
        if (!chain_prefix_make(str_of(ranges[i]->address_prefix), pb_uint32_or(ranges[i]->prefix_len, 0), &prefixes[i])) {
            return error_set(err, ERR_INVALID, "address range %s is not valid", ranges[i]->address_prefix);
        }
    }
    *ret_prefixes = prefixes;
    return ERR_OK;
}

static const struct str *views_of(struct arena *arena, char **texts, size_t count)
{
    struct str *views = arena_array(arena, struct str, count + 1);
    for (size_t i = 0; i < count; i++) {
        views[i] = str_of(texts[i]);
    }
    return views;
}

static enum err add_match(struct arena *arena, struct chain_match *match, const match_message *message, int chain, struct error *err)
{
    struct chain_rule rule = {0};
    if (message == NULL) {
        return chain_match_add(match, &rule, chain, err);
    }
    if (message->address_suffix[0] != 0 || message->suffix_len != NULL) {
        return error_set(err, ERR_UNSUPPORTED, "matching by address suffix is not supported");
    }
    uint32_t port = pb_uint32_or(message->destination_port, 0);
    if (port > 65535) {
        return error_set(err, ERR_INVALID, "destination port %u", port);
    }
    rule.destination_port = (uint16_t)port;
    rule.server_names = views_of(arena, message->server_names, message->n_server_names);
    rule.server_name_count = message->n_server_names;
    rule.transport = str_of(message->transport_protocol);
    rule.protocols = views_of(arena, message->application_protocols, message->n_application_protocols);
    rule.protocol_count = message->n_application_protocols;
    rule.source_type = (enum chain_source_type)message->source_type;
    rule.destination_count = message->n_prefix_ranges;
    rule.source_count = message->n_source_prefix_ranges;
    rule.direct_source_count = message->n_direct_source_prefix_ranges;
    uint16_t *ports = arena_array(arena, uint16_t, message->n_source_ports + 1);
    for (size_t i = 0; i < message->n_source_ports; i++) {
        ports[i] = (uint16_t)message->source_ports[i];
    }
    rule.source_ports = ports;
    rule.source_port_count = message->n_source_ports;
    enum err result = compile_ranges(arena, message->prefix_ranges, message->n_prefix_ranges, &rule.destinations, err);
    if (result == ERR_OK) {
        result = compile_ranges(arena, message->source_prefix_ranges, message->n_source_prefix_ranges, &rule.sources, err);
    }
    if (result == ERR_OK) {
        result = compile_ranges(arena, message->direct_source_prefix_ranges, message->n_direct_source_prefix_ranges, &rule.direct_sources, err);
    }
    return result == ERR_OK ? chain_match_add(match, &rule, chain, err) : result;
}

// --- listener filters ----------------------------------------------------------------------------------

// The predicate says on which destination ports an inspector is off. Istio sends a range or an "or" of
// ranges; anything else is refused.
static enum err collect_ports(struct arena *arena, const predicate_message *predicate, struct inspector *inspector, struct port_range *ranges,
                              unsigned depth, struct error *err)
{
    if (depth > LISTENER_PREDICATE_DEPTH_MAX || inspector->disabled_count >= LISTENER_PORT_RANGES_MAX) {
        return error_set(err, ERR_LIMIT, "filter_disabled is too deep or too long");
    }
    switch (predicate->rule_case) {
    case ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_DESTINATION_PORT_RANGE:
        ranges[inspector->disabled_count++] =
            (struct port_range){(uint32_t)predicate->destination_port_range->start, (uint32_t)predicate->destination_port_range->end};
        return ERR_OK;
    case ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_ANY_MATCH:
        ranges[inspector->disabled_count++] = (struct port_range){0, 65536};
        return ERR_OK;
    case ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_OR_MATCH:
        for (size_t i = 0; i < predicate->or_match->n_rules; i++) {
            enum err result = collect_ports(arena, predicate->or_match->rules[i], inspector, ranges, depth + 1, err);
            if (result != ERR_OK) {
                return result;
            }
        }
        return ERR_OK;
    default:
        return error_set(err, ERR_UNSUPPORTED, "filter_disabled other than by destination port is not supported");
    }
}

static enum err compile_inspector(struct arena *arena, const predicate_message *predicate, struct inspector *inspector, struct error *err)
{
    inspector->is_present = true;
    if (predicate == NULL) {
        return ERR_OK;
    }
    struct port_range *ranges = arena_array(arena, struct port_range, LISTENER_PORT_RANGES_MAX);
    inspector->disabled = ranges;
    return collect_ports(arena, predicate, inspector, ranges, 0, err);
}

static enum err compile_listener_filter(struct arena *arena, const Envoy__Config__Listener__V3__ListenerFilter *filter,
                                        struct listener_config *config, struct error *err)
{
    struct str type = type_tail(arena, filter->typed_config);
    if (str_equal(type, STR("envoy.extensions.filters.listener.original_dst.v3.OriginalDst"))) {
        config->restores = true;
        return ERR_OK;
    }
    if (str_equal(type, STR("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"))) {
        return compile_inspector(arena, filter->filter_disabled, &config->tls, err);
    }
    if (str_equal(type, STR("envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"))) {
        return compile_inspector(arena, filter->filter_disabled, &config->http, err);
    }
    return error_set(err, ERR_UNSUPPORTED, "listener filter %s (%.*s) is not supported", filter->name, STR_ARG(type));
}

bool inspector_is_on(const struct inspector *inspector, const struct address *destination)
{
    uint32_t port = address_port(destination);
    for (size_t i = 0; i < inspector->disabled_count; i++) {
        if (port >= inspector->disabled[i].start && port < inspector->disabled[i].end) {
            return false;
        }
    }
    return inspector->is_present;
}

// --- the listener --------------------------------------------------------------------------------------

static struct str stat_name(struct arena *arena, const listener_message *message, const struct address *address)
{
    if (message->stat_prefix[0] != 0) {
        return arena_str(arena, str_of(message->stat_prefix));
    }
    char text[ADDRESS_TEXT_SIZE];
    struct str copy = arena_str(arena, str_of(address_format(address, text)));
    char *bytes = arena_strdup(arena, copy);
    for (size_t i = 0; i < copy.size; i++) {
        bytes[i] = (char)(bytes[i] == ':' ? '_' : bytes[i]);
    }
    return str_make(bytes, copy.size);
}

static enum err compile_chains(struct listener_config *config, const listener_message *message, struct arena *scratch, struct error *err)
{
    if (message->n_filter_chains > LISTENER_CHAINS_MAX) {
        return error_set(err, ERR_LIMIT, "more than %u filter chains", LISTENER_CHAINS_MAX);
    }
    config->chains = arena_array(&config->arena, struct filter_chain, message->n_filter_chains + 1);
    config->match = chain_match_new();
    config->default_chain = CHAIN_MATCH_NONE;
    for (size_t i = 0; i < message->n_filter_chains; i++) {
        config->chain_count = i + 1;
        enum err result = compile_chain(&config->arena, message->filter_chains[i], &config->chains[i], err);
        if (result == ERR_OK) {
            result = add_match(scratch, config->match, message->filter_chains[i]->filter_chain_match, (int)i, err);
        }
        if (result != ERR_OK) {
            return result;
        }
    }
    if (message->default_filter_chain == NULL) {
        return ERR_OK;
    }
    config->default_chain = (int)config->chain_count++;
    return compile_chain(&config->arena, message->default_filter_chain, &config->chains[config->default_chain], err);
}

static enum err compile(struct listener_config *config, const listener_message *message, struct arena *scratch, struct error *err)
{
    struct arena *arena = &config->arena;
    config->name = arena_str(arena, str_of(message->name));
    if (message->listener_specifier_case != ENVOY__CONFIG__LISTENER__V3__LISTENER__LISTENER_SPECIFIER__NOT_SET) {
        return error_set(err, ERR_UNSUPPORTED, "internal listeners are not supported");
    }
    if (message->n_additional_addresses > 0 || pb_bool_or(message->transparent, false)) {
        return error_set(err, ERR_UNSUPPORTED, "additional addresses and transparent listeners are not supported");
    }
    enum err result = address_compile(message->address, &config->address, err);
    if (result != ERR_OK) {
        return result;
    }
    config->stat_name = stat_name(arena, message, &config->address);
    config->binds = pb_bool_or(message->bind_to_port, true) &&
                    (message->deprecated_v1 == NULL || pb_bool_or(message->deprecated_v1->bind_to_port, true));
    config->hands_over = pb_bool_or(message->use_original_dst, false);
    config->reuse_port = pb_bool_or(message->enable_reuse_port, true);
    config->backlog = (int)(pb_uint32_or(message->tcp_backlog_size, 0) & 0xffff);
    config->direction = (enum traffic_direction)message->traffic_direction;
    config->inspect_timeout_ms = pb_duration_to_ms(message->listener_filters_timeout, LISTENER_FILTERS_TIMEOUT_DEFAULT_MS);
    config->goes_on_after_timeout = message->continue_on_listener_filters_timeout;
    for (size_t i = 0; i < message->n_listener_filters && result == ERR_OK; i++) {
        result = compile_listener_filter(arena, message->listener_filters[i], config, err);
    }
    if (result == ERR_OK) {
        result = access_log_compile(arena, message->access_log, message->n_access_log, &config->log, err);
    }
    return result == ERR_OK ? compile_chains(config, message, scratch, err) : result;
}

struct listener_config *listener_config_new(const listener_message *message, struct error *err)
{
    struct error ignored = {0};
    err = err == NULL ? &ignored : err;
    struct listener_config *config = mem_new(struct listener_config);
    struct arena scratch = {0};
    atomic_init(&config->references, 1);
    enum err result = compile(config, message, &scratch, err);
    arena_done(&scratch);
    if (result != ERR_OK) {
        listener_config_unref(config);
        return NULL;
    }
    return config;
}

struct listener_config *listener_config_ref(struct listener_config *config)
{
    atomic_fetch_add_explicit(&config->references, 1, memory_order_relaxed);
    return config;
}

void listener_config_unref(struct listener_config *config)
{
    if (config == NULL || atomic_fetch_sub_explicit(&config->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (size_t i = 0; i < config->chain_count; i++) {
        if (config->chains[i].http != NULL) {
            http_manager_config_done(config->chains[i].http);
        }
    }
    chain_match_free(config->match);
    arena_done(&config->arena);
    mem_free(config);
}

bool listener_config_is_supplied(const struct listener_config *config, const struct secrets *secrets)
{
    for (size_t i = 0; i < config->chain_count; i++) {
        if (!secrets_has_all(secrets, config->chains[i].transport)) {
            return false;
        }
    }
    return true;
}
