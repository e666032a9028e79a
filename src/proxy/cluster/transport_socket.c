// SPDX-License-Identifier: Apache-2.0
#include "proxy/cluster/transport_socket.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/file.h"
#include "codec/pb/pb.h"
#include "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.pb-c.h"
#include "envoy/extensions/transport_sockets/tls/v3/tls.pb-c.h"

#define DATA_SOURCE_MAX (1024u * 1024)

typedef Envoy__Extensions__TransportSockets__Tls__V3__CommonTlsContext common_context;
typedef Envoy__Extensions__TransportSockets__Tls__V3__CertificateValidationContext validation_context;
typedef Envoy__Extensions__TransportSockets__Tls__V3__TlsCertificate certificate;

enum err data_source_read(struct arena *arena, const Envoy__Config__Core__V3__DataSource *source, struct str *ret_text,
                          struct error *err)
{
    if (source == NULL) {
        *ret_text = STR_EMPTY;
        return ERR_OK;
    }
    switch (source->specifier_case) {
    case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_FILENAME:
        return file_read(arena, source->filename, DATA_SOURCE_MAX, ret_text, err);
    case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES:
        *ret_text = arena_str(arena, str_make((const char *)source->inline_bytes.data, source->inline_bytes.len));
        return ERR_OK;
    case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING:
        *ret_text = arena_str(arena, str_of(source->inline_string));
        return ERR_OK;
    case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_ENVIRONMENT_VARIABLE: {
        const char *value = getenv(source->environment_variable);
        if (value == NULL) {
            return error_set(err, ERR_NOT_FOUND, "environment variable %s is not set", source->environment_variable);
        }
        *ret_text = arena_str(arena, str_of(value));
        return ERR_OK;
    }
    default:
        return error_set(err, ERR_INVALID, "data source without a source");
    }
}

// --- compiling -----------------------------------------------------------------------------------------

static enum err compile_san(struct arena *arena, const Envoy__Type__Matcher__V3__StringMatcher *config,
                            struct tls_san_matcher *ret_matcher, struct error *err)
{
    const char *value;
    if (config == NULL) {
        return error_set(err, ERR_INVALID, "subject alternative name matcher without a pattern");
    }
    switch (config->match_pattern_case) {
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT:
        ret_matcher->match = TLS_SAN_EXACT;
        value = config->exact;
        break;
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_PREFIX:
        ret_matcher->match = TLS_SAN_PREFIX;
        value = config->prefix;
        break;
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SUFFIX:
        ret_matcher->match = TLS_SAN_SUFFIX;
        value = config->suffix;
        break;
    default:
        return error_set(err, ERR_UNSUPPORTED, "subject alternative names by expression or part are not supported");
    }
    ret_matcher->value = arena_str(arena, str_of(value));
    return ERR_OK;
}

// Appends the SAN rules of a validation context; both lists count.
static enum err compile_sans(struct arena *arena, const validation_context *config, struct transport_socket *socket,
                             struct error *err)
{
    size_t count = config->n_match_subject_alt_names + config->n_match_typed_subject_alt_names;
    if (count > TRANSPORT_SANS_MAX) {
        return error_set(err, ERR_LIMIT, "more than %u subject alternative names", TRANSPORT_SANS_MAX);
    }
    struct tls_san_matcher *sans = arena_array(arena, struct tls_san_matcher, count + 1);
    for (size_t i = 0; i < count; i++) {
        size_t typed = i - config->n_match_subject_alt_names;
        const Envoy__Type__Matcher__V3__StringMatcher *matcher =
            i < config->n_match_subject_alt_names ? config->match_subject_alt_names[i]
                                                  : config->match_typed_subject_alt_names[typed]->matcher;
        enum err result = compile_san(arena, matcher, &sans[i], err);
        if (result != ERR_OK) {
            return result;
        }
    }
    socket->sans = sans;
    socket->san_count = count;
    return ERR_OK;
}

static enum err compile_validation(struct arena *arena, const validation_context *config, struct transport_socket *socket,
                                   struct error *err)
{
    if (config == NULL) {
        return ERR_OK;
    }
    if (config->n_verify_certificate_hash > 0 || config->n_verify_certificate_spki > 0 || config->crl != NULL ||
        config->allow_expired_certificate || config->trust_chain_verification != 0) {
        return error_set(err, ERR_UNSUPPORTED, "certificate hashes, revocation lists and weakened verification are not supported");
    }
    enum err result = compile_sans(arena, config, socket, err);
    return result == ERR_OK ? data_source_read(arena, config->trusted_ca, &socket->roots_pem, err) : result;
}

static enum err compile_validation_choice(struct arena *arena, const common_context *config, struct transport_socket *socket,
                                          struct error *err)
{
    switch (config->validation_context_type_case) {
    case ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT:
        return compile_validation(arena, config->validation_context, socket, err);
    case ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT_SDS_SECRET_CONFIG:
        socket->roots_name = arena_str(arena, str_of(config->validation_context_sds_secret_config->name));
        return ERR_OK;
    case ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_COMBINED_VALIDATION_CONTEXT: {
        if (config->combined_validation_context->validation_context_sds_secret_config != NULL) {
            socket->roots_name =
                arena_str(arena, str_of(config->combined_validation_context->validation_context_sds_secret_config->name));
        }
        return compile_validation(arena, config->combined_validation_context->default_validation_context, socket, err);
    }
    default:
        return ERR_OK;
    }
}

static enum err compile_certificate(struct arena *arena, const common_context *config, struct transport_socket *socket,
                                    struct error *err)
{
    if (config->n_tls_certificates + config->n_tls_certificate_sds_secret_configs > 1) {
        return error_set(err, ERR_UNSUPPORTED, "more than one certificate per TLS context is not supported");
    }
    if (config->n_tls_certificate_sds_secret_configs == 1) {
        socket->certificate_name = arena_str(arena, str_of(config->tls_certificate_sds_secret_configs[0]->name));
    }
    if (config->n_tls_certificates == 0) {
        return ERR_OK;
    }
    const certificate *inline_certificate = config->tls_certificates[0];
    enum err result = data_source_read(arena, inline_certificate->certificate_chain, &socket->certificate_pem, err);
    return result == ERR_OK ? data_source_read(arena, inline_certificate->private_key, &socket->key_pem, err) : result;
}

static void compile_parameters(const common_context *config, struct transport_socket *socket)
{
    socket->version_min = 12;
    socket->version_max = socket->role == TLS_SERVER ? 13 : 12; // Envoy's defaults
    const Envoy__Extensions__TransportSockets__Tls__V3__TlsParameters *parameters = config->tls_params;
    if (parameters == NULL) {
        return;
    }
    if (parameters->tls_minimum_protocol_version == ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__TLS_PARAMETERS__TLS_PROTOCOL__TLSv1_3) {
        socket->version_min = 13;
    }
    if (parameters->tls_maximum_protocol_version == ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__TLS_PARAMETERS__TLS_PROTOCOL__TLSv1_3) {
        socket->version_max = 13;
    } else if (parameters->tls_maximum_protocol_version != ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__TLS_PARAMETERS__TLS_PROTOCOL__TLS_AUTO) {
        socket->version_max = 12;
    }
}

static enum err compile_common(struct arena *arena, const common_context *config, struct transport_socket *socket, struct error *err)
{
    if (config == NULL) {
        config = pb_new(arena, &envoy__extensions__transport_sockets__tls__v3__common_tls_context__descriptor);
    }
    if (config->n_alpn_protocols > TRANSPORT_ALPN_MAX) {
        return error_set(err, ERR_LIMIT, "more than %u application protocols", TRANSPORT_ALPN_MAX);
    }
    struct str *alpn = arena_array(arena, struct str, config->n_alpn_protocols + 1);
    for (size_t i = 0; i < config->n_alpn_protocols; i++) {
        struct str name = str_of(config->alpn_protocols[i]);
        // Agreeing on it promises the peer a frame of metadata in front of the bytes, which we do not
        // send. Without it the peer serves plain bytes, and "istio" still selects its filter chain.
        if (!str_equal(name, STR("istio-peer-exchange"))) {
            alpn[socket->alpn_count++] = arena_str(arena, name);
        }
    }
    socket->alpn = alpn;
    compile_parameters(config, socket);
    enum err result = compile_certificate(arena, config, socket, err);
    return result == ERR_OK ? compile_validation_choice(arena, config, socket, err) : result;
}

// Everything a context is made of, so that equal texts may share one.
static struct str make_key(struct arena *arena, const struct transport_socket *socket)
{
    struct buf key = {0};
    buf_printf(&key, "%d|%d|%d|%d|%.*s|%.*s|%.*s|%.*s|%.*s", (int)socket->role, (int)socket->peer, socket->version_min,
               socket->version_max, STR_ARG(socket->certificate_name), STR_ARG(socket->roots_name),
               STR_ARG(socket->certificate_pem), STR_ARG(socket->key_pem), STR_ARG(socket->roots_pem));
    for (size_t i = 0; i < socket->san_count; i++) {
        buf_printf(&key, "|%d%.*s", (int)socket->sans[i].match, STR_ARG(socket->sans[i].value));
    }
    for (size_t i = 0; i < socket->alpn_count; i++) {
        buf_printf(&key, "|a%.*s", STR_ARG(socket->alpn[i]));
    }
    struct str result = arena_str(arena, buf_view(&key));
    buf_done(&key);
    return result;
}

static enum err compile_upstream(struct arena *arena, const Google__Protobuf__Any *any, struct transport_socket *socket, struct error *err)
{
    const Envoy__Extensions__TransportSockets__Tls__V3__UpstreamTlsContext *config =
        pb_any_unpack(arena, any, &envoy__extensions__transport_sockets__tls__v3__upstream_tls_context__descriptor, err);
    if (config == NULL) {
        return err->code;
    }
    if (config->auto_host_sni || config->auto_sni_san_validation) {
        return error_set(err, ERR_UNSUPPORTED, "server names taken from the host are not supported");
    }
    socket->server_name = arena_str(arena, str_of(config->sni));
    enum err result = compile_common(arena, config->common_tls_context, socket, err);
    bool verifies = socket->roots_name.size > 0 || socket->roots_pem.size > 0;
    socket->peer = verifies ? TLS_PEER_REQUIRED : TLS_PEER_NONE;
    return result;
}

static enum err compile_downstream(struct arena *arena, const Google__Protobuf__Any *any, struct transport_socket *socket, struct error *err)
{
    const Envoy__Extensions__TransportSockets__Tls__V3__DownstreamTlsContext *config =
        pb_any_unpack(arena, any, &envoy__extensions__transport_sockets__tls__v3__downstream_tls_context__descriptor, err);
    if (config == NULL) {
        return err->code;
    }
    enum err result = compile_common(arena, config->common_tls_context, socket, err);
    bool verifies = socket->roots_name.size > 0 || socket->roots_pem.size > 0;
    socket->peer = pb_bool_or(config->require_client_certificate, false) ? TLS_PEER_REQUIRED
                   : verifies                                            ? TLS_PEER_OPTIONAL
                                                                         : TLS_PEER_NONE;
    return result;
}

enum err transport_socket_compile(struct arena *arena, const Envoy__Config__Core__V3__TransportSocket *config,
                                  enum tls_role role, const struct transport_socket **ret_socket, struct error *err)
{
    struct error ignored = {0};
    err = err == NULL ? &ignored : err;
    struct transport_socket *socket = arena_new(arena, struct transport_socket);
    socket->role = role;
    const Google__Protobuf__Any *any = config == NULL ? NULL : config->typed_config;
    if (any == NULL || pb_any_is(any, &envoy__extensions__transport_sockets__raw_buffer__v3__raw_buffer__descriptor)) {
        *ret_socket = socket;
        return ERR_OK;
    }
    socket->is_tls = true;
    enum err result = role == TLS_CLIENT ? compile_upstream(arena, any, socket, err) : compile_downstream(arena, any, socket, err);
    if (result != ERR_OK) {
        error_prefix(err, "transport socket %s", config->name);
        return result;
    }
    socket->key = make_key(arena, socket);
    *ret_socket = socket;
    return ERR_OK;
}
