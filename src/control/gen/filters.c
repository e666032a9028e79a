// SPDX-License-Identifier: Apache-2.0
//
// Filters: the network and HTTP filters that chains are made of, in the order Istio uses.
#include "control/gen/gen_internal.h"

#include "envoy/extensions/access_loggers/file/v3/file.pb-c.h"
#include "envoy/extensions/filters/http/cors/v3/cors.pb-c.h"
#include "envoy/extensions/filters/http/fault/v3/fault.pb-c.h"
#include "envoy/extensions/filters/http/grpc_stats/v3/config.pb-c.h"
#include "envoy/extensions/filters/http/router/v3/router.pb-c.h"
#include "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.pb-c.h"
#include "envoy/extensions/filters/listener/original_dst/v3/original_dst.pb-c.h"
#include "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.pb-c.h"
#include "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.pb-c.h"
#include "envoy/extensions/request_id/uuid/v3/uuid.pb-c.h"
#include "istio/envoy/config/filter/http/alpn/v2alpha1/config.pb-c.h"

#define TLS_INSPECTOR_BUFFER 512u

const char *const gen_alpn_all_mesh[5] = {"istio", "istio-peer-exchange", "istio-http/1.0",
                                          "istio-http/1.1", "istio-h2"};
const char *const gen_alpn_mesh_http[3] = {"istio-http/1.0", "istio-http/1.1", "istio-h2"};
const char *const gen_alpn_mesh_tcp[2] = {"istio-peer-exchange", "istio"};
const char *const gen_alpn_plain_http[2] = {"http/1.1", "h2c"};

// Istio's default line, as its documentation lists the fields.
static const char access_log_format[] =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" "
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" "
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% "
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

// --- access log ------------------------------------------------------------------------------------------

WireAccessLog *gen_access_log(struct gen *gen)
{
    struct arena *arena = gen->arena;
    struct str path = gen->snapshot->config.access_log_file;
    if (str_is_empty(path)) {
        return NULL;
    }
    Envoy__Config__Core__V3__DataSource *text =
        pb_new(arena, &envoy__config__core__v3__data_source__descriptor);
    text->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING;
    text->inline_string = pb_text(arena, str_of(access_log_format));
    Envoy__Config__Core__V3__SubstitutionFormatString *format =
        pb_new(arena, &envoy__config__core__v3__substitution_format_string__descriptor);
    format->format_case =
        ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT_SOURCE;
    format->text_format_source = text;
    Envoy__Extensions__AccessLoggers__File__V3__FileAccessLog *file =
        pb_new(arena, &envoy__extensions__access_loggers__file__v3__file_access_log__descriptor);
    file->path = pb_text(arena, path);
    file->access_log_format_case =
        ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_LOG_FORMAT;
    file->log_format = format;
    WireAccessLog *log = pb_new(arena, &envoy__config__accesslog__v3__access_log__descriptor);
    log->name = pb_text(arena, STR("envoy.access_loggers.file"));
    log->config_type_case = ENVOY__CONFIG__ACCESSLOG__V3__ACCESS_LOG__CONFIG_TYPE_TYPED_CONFIG;
    log->typed_config = pb_any(arena, file);
    return log;
}

WireAccessLog *gen_access_log_of_unmatched(struct gen *gen)
{
    struct arena *arena = gen->arena;
    WireAccessLog *log = gen_access_log(gen);
    if (log == NULL) {
        return NULL;
    }
    Envoy__Config__Accesslog__V3__ResponseFlagFilter *flags =
        pb_new(arena, &envoy__config__accesslog__v3__response_flag_filter__descriptor);
    PB_PUSH(arena, flags, flags, pb_text(arena, STR("NR")));
    log->filter = pb_new(arena, &envoy__config__accesslog__v3__access_log_filter__descriptor);
    log->filter->filter_specifier_case =
        ENVOY__CONFIG__ACCESSLOG__V3__ACCESS_LOG_FILTER__FILTER_SPECIFIER_RESPONSE_FLAG_FILTER;
    log->filter->response_flag_filter = flags;
    return log;
}

// --- network filters -------------------------------------------------------------------------------------

static WireFilter *new_filter(struct gen *gen, const char *name, WireAny *config)
{
    WireFilter *filter = pb_new(gen->arena, &envoy__config__listener__v3__filter__descriptor);
    filter->name = pb_text(gen->arena, str_of(name));
    filter->config_type_case = ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG;
    filter->typed_config = config;
    return filter;
}

WireFilter *gen_tcp_proxy_filter(struct gen *gen, const void *tcp_proxy)
{
    return new_filter(gen, "envoy.filters.network.tcp_proxy", pb_any(gen->arena, tcp_proxy));
}

WireFilter *gen_tcp_proxy(struct gen *gen, struct str cluster, bool log)
{
    struct arena *arena = gen->arena;
    Envoy__Extensions__Filters__Network__TcpProxy__V3__TcpProxy *proxy =
        pb_new(arena, &envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__descriptor);
    proxy->stat_prefix = pb_text(arena, cluster);
    proxy->cluster_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_CLUSTER;
    proxy->cluster = pb_text(arena, cluster);
    WireAccessLog *access_log = log ? gen_access_log(gen) : NULL;
    if (access_log != NULL) {
        PB_PUSH(arena, proxy, access_log, access_log);
    }
    return gen_tcp_proxy_filter(gen, proxy);
}

WireFilter *gen_metadata_exchange(struct gen *gen)
{
    return new_filter(gen, "istio.metadata_exchange",
        wire_typed_struct(gen->arena, STR("envoy.tcp.metadataexchange.config.MetadataExchange"),
            "{\"enable_discovery\":true,\"protocol\":\"istio-peer-exchange\"}"));
}

// --- HTTP filters ----------------------------------------------------------------------------------------

static void add_http_filter(struct gen *gen, WireHcm *hcm, const char *name, WireAny *config)
{
    WireHttpFilter *filter = pb_new(
        gen->arena, &envoy__extensions__filters__network__http_connection_manager__v3__http_filter__descriptor);
    filter->name = pb_text(gen->arena, str_of(name));
    filter->config_type_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__CONFIG_TYPE_TYPED_CONFIG;
    filter->typed_config = config;
    PB_PUSH(gen->arena, hcm, http_filters, filter);
}

static WireAny *peer_metadata(struct gen *gen, bool is_inbound)
{
    static const char inbound[] =
        "{\"downstream_discovery\":[{\"istio_headers\":{}},{\"workload_discovery\":{}}],"
        "\"downstream_propagation\":[{\"istio_headers\":{}}]}";
    static const char outbound[] =
        "{\"upstream_discovery\":[{\"istio_headers\":{}},{\"workload_discovery\":{}}],"
        "\"upstream_propagation\":[{\"istio_headers\":{}}]}";
    return wire_typed_struct(gen->arena, STR("io.istio.http.peer_metadata.Config"),
                             is_inbound ? inbound : outbound);
}

static WireAny *grpc_stats(struct gen *gen)
{
    Envoy__Extensions__Filters__Http__GrpcStats__V3__FilterConfig *config =
        pb_new(gen->arena, &envoy__extensions__filters__http__grpc_stats__v3__filter_config__descriptor);
    config->emit_filter_state = true;
    config->per_method_stat_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__HTTP__GRPC_STATS__V3__FILTER_CONFIG__PER_METHOD_STAT_SPECIFIER_STATS_FOR_ALL_METHODS;
    config->stats_for_all_methods = pb_bool(gen->arena, false);
    return pb_any(gen->arena, config);
}

// Tells the peer, by ALPN, which HTTP version comes inside mesh TLS.
static WireAny *alpn(struct gen *gen)
{
    static const struct {
        Istio__Envoy__Config__Filter__Http__Alpn__V2alpha1__FilterConfig__Protocol protocol;
        const char *tokens[3];
    } rows[] = {
        {ISTIO__ENVOY__CONFIG__FILTER__HTTP__ALPN__V2ALPHA1__FILTER_CONFIG__PROTOCOL__HTTP10,
         {"istio-http/1.0", "istio", "http/1.0"}},
        {ISTIO__ENVOY__CONFIG__FILTER__HTTP__ALPN__V2ALPHA1__FILTER_CONFIG__PROTOCOL__HTTP11,
         {"istio-http/1.1", "istio", "http/1.1"}},
        {ISTIO__ENVOY__CONFIG__FILTER__HTTP__ALPN__V2ALPHA1__FILTER_CONFIG__PROTOCOL__HTTP2,
         {"istio-h2", "istio", "h2"}},
    };
    struct arena *arena = gen->arena;
    Istio__Envoy__Config__Filter__Http__Alpn__V2alpha1__FilterConfig *config =
        pb_new(arena, &istio__envoy__config__filter__http__alpn__v2alpha1__filter_config__descriptor);
    for (size_t i = 0; i < array_count(rows); i++) {
        Istio__Envoy__Config__Filter__Http__Alpn__V2alpha1__FilterConfig__AlpnOverride *row = pb_new(
            arena, &istio__envoy__config__filter__http__alpn__v2alpha1__filter_config__alpn_override__descriptor);
        row->upstream_protocol = rows[i].protocol;
        for (size_t j = 0; j < array_count(rows[i].tokens); j++) {
            PB_PUSH(arena, row, alpn_override, pb_text(arena, str_of(rows[i].tokens[j])));
        }
        PB_PUSH(arena, config, alpn_override, row);
    }
    return pb_any(arena, config);
}

static WireAny *empty(struct gen *gen, const ProtobufCMessageDescriptor *type)
{
    return pb_any(gen->arena, pb_new(gen->arena, type));
}

static void add_http_filters(struct gen *gen, WireHcm *hcm, bool is_inbound)
{
    add_http_filter(gen, hcm, "istio.metadata_exchange", peer_metadata(gen, is_inbound));
    add_http_filter(gen, hcm, "envoy.filters.http.grpc_stats", grpc_stats(gen));
    if (!is_inbound) {
        add_http_filter(gen, hcm, "istio.alpn", alpn(gen));
    }
    add_http_filter(gen, hcm, "envoy.filters.http.fault",
                    empty(gen, &envoy__extensions__filters__http__fault__v3__httpfault__descriptor));
    add_http_filter(gen, hcm, "envoy.filters.http.cors",
                    empty(gen, &envoy__extensions__filters__http__cors__v3__cors__descriptor));
    add_http_filter(gen, hcm, "envoy.filters.http.router",
                    empty(gen, &envoy__extensions__filters__http__router__v3__router__descriptor));
}

static void set_inbound_identity(struct gen *gen, WireHcm *hcm)
{
    struct arena *arena = gen->arena;
    hcm->server_name = pb_text(arena, STR("istio-envoy"));
    hcm->forward_client_cert_details =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__FORWARD_CLIENT_CERT_DETAILS__APPEND_FORWARD;
    hcm->set_current_client_cert_details = pb_new(
        arena, &envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__set_current_client_cert_details__descriptor);
    hcm->set_current_client_cert_details->subject = pb_bool(arena, true);
    hcm->set_current_client_cert_details->uri = true;
    hcm->set_current_client_cert_details->dns = true;
}

WireHcm *gen_hcm(struct gen *gen, bool is_inbound, struct str stat_prefix)
{
    struct arena *arena = gen->arena;
    WireHcm *hcm = pb_new(
        arena, &envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__descriptor);
    hcm->stat_prefix = pb_text(arena, arena_format(arena, "%.*s;", STR_ARG(stat_prefix)));
    hcm->use_remote_address = pb_bool(arena, false); // the peer is the application or another sidecar
    hcm->proxy_100_continue = true;
    hcm->stream_idle_timeout = pb_duration_ms(arena, 0);
    hcm->normalize_path = pb_bool(arena, true);
    hcm->path_with_escaped_slashes_action =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__KEEP_UNCHANGED;
    Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager__UpgradeConfig *websocket =
        pb_new(arena, &envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__upgrade_config__descriptor);
    websocket->upgrade_type = pb_text(arena, STR("websocket"));
    PB_PUSH(arena, hcm, upgrade_configs, websocket);
    Envoy__Extensions__RequestId__Uuid__V3__UuidRequestIdConfig *uuid =
        pb_new(arena, &envoy__extensions__request_id__uuid__v3__uuid_request_id_config__descriptor);
    uuid->use_request_id_for_trace_sampling = pb_bool(arena, true);
    hcm->request_id_extension = pb_new(
        arena, &envoy__extensions__filters__network__http_connection_manager__v3__request_idextension__descriptor);
    hcm->request_id_extension->typed_config = pb_any(arena, uuid);
    WireAccessLog *log = gen_access_log(gen);
    if (log != NULL) {
        PB_PUSH(arena, hcm, access_log, log);
    }
    add_http_filters(gen, hcm, is_inbound);
    if (is_inbound) {
        set_inbound_identity(gen, hcm);
    }
    return hcm;
}

WireFilter *gen_hcm_filter(struct gen *gen, const WireHcm *hcm)
{
    return new_filter(gen, "envoy.filters.network.http_connection_manager", pb_any(gen->arena, hcm));
}

// --- listener filters and matches ------------------------------------------------------------------------

static WireListenerFilter *new_listener_filter(struct gen *gen, const char *name, const void *config)
{
    WireListenerFilter *filter =
        pb_new(gen->arena, &envoy__config__listener__v3__listener_filter__descriptor);
    filter->name = pb_text(gen->arena, str_of(name));
    filter->config_type_case = ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER__CONFIG_TYPE_TYPED_CONFIG;
    filter->typed_config = pb_any(gen->arena, config);
    return filter;
}

WireListenerFilter *gen_tls_inspector(struct gen *gen)
{
    Envoy__Extensions__Filters__Listener__TlsInspector__V3__TlsInspector *inspector = pb_new(
        gen->arena, &envoy__extensions__filters__listener__tls_inspector__v3__tls_inspector__descriptor);
    inspector->initial_read_buffer_size = pb_uint32(gen->arena, TLS_INSPECTOR_BUFFER);
    return new_listener_filter(gen, "envoy.filters.listener.tls_inspector", inspector);
}

WireListenerFilter *gen_http_inspector(struct gen *gen)
{
    return new_listener_filter(gen, "envoy.filters.listener.http_inspector",
        pb_new(gen->arena, &envoy__extensions__filters__listener__http_inspector__v3__http_inspector__descriptor));
}

WireListenerFilter *gen_original_dst(struct gen *gen)
{
    return new_listener_filter(gen, "envoy.filters.listener.original_dst",
        pb_new(gen->arena, &envoy__extensions__filters__listener__original_dst__v3__original_dst__descriptor));
}

WireFilterChainMatch *gen_match(struct gen *gen, uint32_t port, const char *transport,
                                const char *const *alpn_tokens, size_t alpn_count)
{
    struct arena *arena = gen->arena;
    WireFilterChainMatch *match = pb_new(arena, &wire_filter_chain_match_type);
    if (port != 0) {
        match->destination_port = pb_uint32(arena, port);
    }
    if (transport != NULL) {
        match->transport_protocol = pb_text(arena, str_of(transport));
    }
    for (size_t i = 0; i < alpn_count; i++) {
        PB_PUSH(arena, match, application_protocols, pb_text(arena, str_of(alpn_tokens[i])));
    }
    return match;
}
