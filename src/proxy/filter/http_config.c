// SPDX-License-Identifier: Apache-2.0
//
// Compiling an HTTP connection manager and its filters.
#include "base/memory.h"
#include "codec/pb/pb.h"
#include "envoy/extensions/filters/http/cors/v3/cors.pb-c.h"
#include "envoy/extensions/filters/http/fault/v3/fault.pb-c.h"
#include "istio/envoy/config/filter/http/alpn/v2alpha1/config.pb-c.h"
#include "proxy/filter/http_manager.h"

typedef Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager manager_message;
typedef Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpFilter filter_message;
typedef enum err filter_compile_fn(struct arena *arena, const filter_message *filter, struct http_manager_config *config,
                                   struct error *err);

// --- filters -------------------------------------------------------------------------------------------

static enum err compile_nothing(struct arena *arena, const filter_message *filter, struct http_manager_config *config, struct error *err)
{
    (void)arena;
    (void)filter;
    (void)config;
    (void)err;
    return ERR_OK;
}

static enum err compile_metadata_exchange(struct arena *arena, const filter_message *filter, struct http_manager_config *config,
                                          struct error *err)
{
    (void)arena;
    (void)filter;
    (void)err;
    config->exchanges_metadata = true;
    return ERR_OK;
}

static enum err compile_alpn(struct arena *arena, const filter_message *filter, struct http_manager_config *config, struct error *err)
{
    const Istio__Envoy__Config__Filter__Http__Alpn__V2alpha1__FilterConfig *message =
        pb_any_unpack(arena, filter->typed_config, &istio__envoy__config__filter__http__alpn__v2alpha1__filter_config__descriptor, err);
    if (message == NULL) {
        return ERR_INVALID;
    }
    config->overrides_alpn = true;
    for (size_t i = 0; i < message->n_alpn_override; i++) {
        unsigned protocol = (unsigned)message->alpn_override[i]->upstream_protocol;
        if (protocol >= array_count(config->alpn)) {
            return error_set(err, ERR_INVALID, "upstream protocol %u is not known", protocol);
        }
        struct alpn_override *alpn = &config->alpn[protocol];
        for (size_t k = 0; k < message->alpn_override[i]->n_alpn_override && alpn->count < HTTP_ALPN_MAX; k++) {
            alpn->protocols[alpn->count++] = arena_str(arena, str_of(message->alpn_override[i]->alpn_override[k]));
        }
    }
    return ERR_OK;
}

static enum err compile_fault(struct arena *arena, const filter_message *filter, struct http_manager_config *config, struct error *err)
{
    const Envoy__Extensions__Filters__Http__Fault__V3__HTTPFault *message =
        pb_any_unpack(arena, filter->typed_config, &envoy__extensions__filters__http__fault__v3__httpfault__descriptor, err);
    if (message == NULL) {
        return ERR_INVALID;
    }
    if (message->delay != NULL || message->abort != NULL) {
        return error_set(err, ERR_UNSUPPORTED, "faults for all routes at once are not supported, only settings of routes");
    }
    config->injects_faults = true;
    return ERR_OK;
}

static enum err compile_cors(struct arena *arena, const filter_message *filter, struct http_manager_config *config, struct error *err)
{
    (void)arena;
    (void)filter;
    (void)err;
    config->checks_origins = true;
    return ERR_OK;
}

// Every filter we accept, by the tail of its type, and what becomes of it. Where nothing is done, the
// reason is here.
// clang-format off
static const struct {
    const char *type;
    filter_compile_fn *compile;
} filters[] = {
    {"envoy.extensions.filters.http.router.v3.Router",               compile_nothing}, // always the end of the chain
    {"io.istio.http.peer_metadata.Config",                           compile_metadata_exchange}, // strips the peer's headers
    {"istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",    compile_alpn},
    {"envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",     compile_nothing}, // message counts, not used by the mesh
    {"envoy.extensions.filters.http.fault.v3.HTTPFault",             compile_fault},   // empty: routes carry the settings
    {"envoy.extensions.filters.http.cors.v3.Cors",                   compile_cors},    // empty: routes carry the settings
    {"stats.PluginConfig",                                           compile_nothing}, // standard metrics are built in
};
// clang-format on

static enum err compile_filter(struct arena *arena, const filter_message *filter, struct http_manager_config *config, struct error *err)
{
    struct str url = filter->typed_config == NULL ? STR_EMPTY : pb_any_type_url(arena, filter->typed_config);
    struct str type = str_from(url, (size_t)(str_find_last_char(url, '/') + 1));
    for (size_t i = 0; i < array_count(filters); i++) {
        if (str_equal_c(type, filters[i].type)) {
            enum err result = filters[i].compile(arena, filter, config, err);
            if (result != ERR_OK) {
                error_prefix(err, "filter %s", filter->name);
            }
            return result;
        }
    }
    if (filter->is_optional || filter->disabled) {
        return ERR_OK;
    }
    return error_set(err, ERR_UNSUPPORTED, "HTTP filter %s (%.*s) is not supported", filter->name, STR_ARG(type));
}

// --- the manager ---------------------------------------------------------------------------------------

static void compile_upgrades(struct arena *arena, const manager_message *message, struct http_manager_config *config)
{
    for (size_t i = 0; i < message->n_upgrade_configs && config->upgrade_count < HTTP_UPGRADES_MAX; i++) {
        if (pb_bool_or(message->upgrade_configs[i]->enabled, true)) {
            config->upgrades[config->upgrade_count++] = arena_str(arena, str_of(message->upgrade_configs[i]->upgrade_type));
        }
    }
}

static void compile_plain_fields(struct arena *arena, const manager_message *message, struct http_manager_config *config)
{
    config->stat_prefix = arena_str(arena, str_of(message->stat_prefix));
    if (config->stat_prefix.size > 0 && config->stat_prefix.data[config->stat_prefix.size - 1] == ';') {
        config->stat_prefix.size--; // a mark for Istio's own tag extraction
    }
    config->server_name = message->server_name[0] == 0 ? STR("envoy") : arena_str(arena, str_of(message->server_name));
    config->server_header = (enum server_header)message->server_header_transformation;
    config->head_bytes_max = (size_t)pb_uint32_or(message->max_request_headers_kb, HTTP_HEAD_KB_DEFAULT) * 1024;
    config->stream_idle_timeout_ms = pb_duration_to_ms(message->stream_idle_timeout, HTTP_STREAM_IDLE_DEFAULT_MS);
    if (message->common_http_protocol_options != NULL) {
        config->idle_timeout_ms = pb_duration_to_ms(message->common_http_protocol_options->idle_timeout, 0);
    }
    config->use_remote_address = pb_bool_or(message->use_remote_address, false);
    config->trusted_hops = message->xff_num_trusted_hops;
    config->skip_forwarded_for = message->skip_xff_append;
    config->generate_request_id = pb_bool_or(message->generate_request_id, true);
    config->preserve_request_id = message->preserve_external_request_id;
    config->request_id_in_response = message->always_set_request_id_in_response;
    config->normalize_path = pb_bool_or(message->normalize_path, false);
    config->merge_slashes = message->merge_slashes;
    config->client_cert = (enum client_cert_details)message->forward_client_cert_details;
    if (message->set_current_client_cert_details != NULL) {
        config->cert_subject = pb_bool_or(message->set_current_client_cert_details->subject, false);
        config->cert_uri = message->set_current_client_cert_details->uri;
        config->cert_dns = message->set_current_client_cert_details->dns;
    }
    compile_upgrades(arena, message, config);
}

static enum err compile_routes(struct arena *arena, const manager_message *message, struct http_manager_config *config, struct error *err)
{
    if (message->route_specifier_case ==
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS) {
        config->route_name = arena_str(arena, str_of(message->rds->route_config_name));
        return ERR_OK;
    }
    if (message->route_specifier_case !=
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_ROUTE_CONFIG) {
        return error_set(err, ERR_UNSUPPORTED, "connection manager without rds or route_config");
    }
    config->routes = route_table_new(message->route_config, err);
    return config->routes == NULL ? ERR_INVALID : ERR_OK;
}

enum err http_manager_compile(struct arena *arena, const manager_message *message, struct http_manager_config **ret_config,
                              struct error *err)
{
    struct error ignored = {0};
    err = err == NULL ? &ignored : err;
    struct http_manager_config *config = arena_new(arena, struct http_manager_config);
    compile_plain_fields(arena, message, config);
    enum err result = ERR_OK;
    for (size_t i = 0; i < message->n_http_filters && result == ERR_OK; i++) {
        result = compile_filter(arena, message->http_filters[i], config, err);
    }
    if (result == ERR_OK) {
        result = access_log_compile(arena, message->access_log, message->n_access_log, &config->log, err);
    }
    if (result == ERR_OK) {
        result = compile_routes(arena, message, config, err);
    }
    if (result != ERR_OK) {
        http_manager_config_done(config);
        return result;
    }
    *ret_config = config;
    return ERR_OK;
}

void http_manager_config_done(struct http_manager_config *config)
{
    route_table_unref(config->routes);
    config->routes = NULL;
}
