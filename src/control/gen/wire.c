// SPDX-License-Identifier: Apache-2.0
#include "control/gen/wire.h"

#include "base/assert.h"
#include "udpa/type/v1/typed_struct.pb-c.h"

WireAddress *wire_address(struct arena *arena, struct str ip, uint32_t port)
{
    WireSocketAddress *socket = pb_new(arena, &envoy__config__core__v3__socket_address__descriptor);
    socket->address = pb_text(arena, ip);
    socket->port_specifier_case = ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE;
    socket->port_value = port;
    WireAddress *address = pb_new(arena, &envoy__config__core__v3__address__descriptor);
    address->address_case = ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS;
    address->socket_address = socket;
    return address;
}

WireConfigSource *wire_ads(struct arena *arena)
{
    WireConfigSource *source = pb_new(arena, &envoy__config__core__v3__config_source__descriptor);
    source->config_source_specifier_case =
        ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_ADS;
    source->ads = pb_new(arena, &envoy__config__core__v3__aggregated_config_source__descriptor);
    // A resource that comes late must not make the proxy start without it.
    source->initial_fetch_timeout = pb_duration_ms(arena, 0);
    source->resource_api_version = ENVOY__CONFIG__CORE__V3__API_VERSION__V3;
    return source;
}

WireLocality *wire_locality(struct arena *arena, struct str locality)
{
    WireLocality *wire = pb_new(arena, &envoy__config__core__v3__locality__descriptor);
    struct str rest = locality;
    if (!str_is_empty(locality)) {
        wire->region = pb_text(arena, str_split(&rest, '/'));
    }
    if (rest.data != NULL && !str_is_empty(rest)) {
        wire->zone = pb_text(arena, str_split(&rest, '/'));
    }
    if (rest.data != NULL && !str_is_empty(rest)) {
        wire->sub_zone = pb_text(arena, str_split(&rest, '/'));
    }
    return wire;
}

WireAny *wire_typed_struct(struct arena *arena, struct str type, const char *json)
{
    struct json_value *value = NULL;
    enum err code = json_parse(arena, str_of(json), &value, NULL);
    ASSERT(code == ERR_OK);
    Udpa__Type__V1__TypedStruct *typed = pb_new(arena, &udpa__type__v1__typed_struct__descriptor);
    typed->type_url =
        pb_text(arena, arena_format(arena, PB_TYPE_URL_PREFIX "%.*s", STR_ARG(type)));
    typed->value = pb_struct_from_json(arena, value);
    return pb_any(arena, typed);
}

void wire_metadata_set(struct arena *arena, WireMetadata *metadata, const char *name,
                       const struct json_value *json)
{
    Envoy__Config__Core__V3__Metadata__FilterMetadataEntry *entry =
        pb_new(arena, &envoy__config__core__v3__metadata__filter_metadata_entry__descriptor);
    entry->key = pb_text(arena, str_of(name));
    entry->value = pb_struct_from_json(arena, json);
    PB_PUSH(arena, metadata, filter_metadata, entry);
}

// --- TLS ---------------------------------------------------------------------------------------------

typedef Envoy__Extensions__TransportSockets__Tls__V3__SdsSecretConfig WireSecretConfig;
typedef Envoy__Extensions__TransportSockets__Tls__V3__TlsParameters WireTlsParameters;

static WireSecretConfig *agent_secret(struct arena *arena, const char *name)
{
    Envoy__Config__Core__V3__GrpcService *service =
        pb_new(arena, &envoy__config__core__v3__grpc_service__descriptor);
    service->target_specifier_case =
        ENVOY__CONFIG__CORE__V3__GRPC_SERVICE__TARGET_SPECIFIER_ENVOY_GRPC;
    service->envoy_grpc = pb_new(arena, &envoy__config__core__v3__grpc_service__envoy_grpc__descriptor);
    service->envoy_grpc->cluster_name = pb_text(arena, STR("sds-grpc"));

    Envoy__Config__Core__V3__ApiConfigSource *api =
        pb_new(arena, &envoy__config__core__v3__api_config_source__descriptor);
    api->api_type = ENVOY__CONFIG__CORE__V3__API_CONFIG_SOURCE__API_TYPE__GRPC;
    api->set_node_on_first_message_only = true;
    api->transport_api_version = ENVOY__CONFIG__CORE__V3__API_VERSION__V3;
    PB_PUSH(arena, api, grpc_services, service);

    WireConfigSource *source = pb_new(arena, &envoy__config__core__v3__config_source__descriptor);
    source->config_source_specifier_case =
        ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_API_CONFIG_SOURCE;
    source->api_config_source = api;
    source->initial_fetch_timeout = pb_duration_ms(arena, 0);
    source->resource_api_version = ENVOY__CONFIG__CORE__V3__API_VERSION__V3;

    WireSecretConfig *secret =
        pb_new(arena, &envoy__extensions__transport_sockets__tls__v3__sds_secret_config__descriptor);
    secret->name = pb_text(arena, str_of(name));
    secret->sds_config = source;
    return secret;
}

static Envoy__Type__Matcher__V3__StringMatcher *san_matcher(struct arena *arena, struct str san,
                                                            bool is_prefix)
{
    Envoy__Type__Matcher__V3__StringMatcher *matcher =
        pb_new(arena, &envoy__type__matcher__v3__string_matcher__descriptor);
    if (is_prefix) {
        matcher->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_PREFIX;
        matcher->prefix = pb_text(arena, san);
    } else {
        matcher->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT;
        matcher->exact = pb_text(arena, san);
    }
    return matcher;
}

WireCommonTls *wire_mesh_tls(struct arena *arena, const char *const *alpn, size_t alpn_count,
                             const struct str *sans, size_t san_count, bool sans_are_prefixes)
{
    WireTlsParameters *parameters =
        pb_new(arena, &envoy__extensions__transport_sockets__tls__v3__tls_parameters__descriptor);
    parameters->tls_minimum_protocol_version =
        ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__TLS_PARAMETERS__TLS_PROTOCOL__TLSv1_2;
    parameters->tls_maximum_protocol_version =
        ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__TLS_PARAMETERS__TLS_PROTOCOL__TLSv1_3;

    Envoy__Extensions__TransportSockets__Tls__V3__CertificateValidationContext *validation =
        pb_new(arena, &envoy__extensions__transport_sockets__tls__v3__certificate_validation_context__descriptor);
    for (size_t i = 0; i < san_count; i++) {
        PB_PUSH(arena, validation, match_subject_alt_names,
                san_matcher(arena, sans[i], sans_are_prefixes));
    }
    Envoy__Extensions__TransportSockets__Tls__V3__CommonTlsContext__CombinedCertificateValidationContext *combined =
        pb_new(arena, &envoy__extensions__transport_sockets__tls__v3__common_tls_context__combined_certificate_validation_context__descriptor);
    combined->default_validation_context = validation;
    combined->validation_context_sds_secret_config = agent_secret(arena, "ROOTCA");

    WireCommonTls *common =
        pb_new(arena, &envoy__extensions__transport_sockets__tls__v3__common_tls_context__descriptor);
    common->tls_params = parameters;
    common->validation_context_type_case =
        ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_COMBINED_VALIDATION_CONTEXT;
    common->combined_validation_context = combined;
    PB_PUSH(arena, common, tls_certificate_sds_secret_configs, agent_secret(arena, "default"));
    for (size_t i = 0; i < alpn_count; i++) {
        PB_PUSH(arena, common, alpn_protocols, pb_text(arena, str_of(alpn[i])));
    }
    return common;
}

WireTransportSocket *wire_transport_socket(struct arena *arena, const char *name, const void *config)
{
    WireTransportSocket *socket = pb_new(arena, &envoy__config__core__v3__transport_socket__descriptor);
    socket->name = pb_text(arena, str_of(name));
    socket->config_type_case = ENVOY__CONFIG__CORE__V3__TRANSPORT_SOCKET__CONFIG_TYPE_TYPED_CONFIG;
    socket->typed_config = pb_any(arena, config);
    return socket;
}
