// SPDX-License-Identifier: Apache-2.0
#include "proxy/cluster/cluster.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/map.h"
#include "base/memory.h"
#include "codec/pb/pb.h"
#include "envoy/extensions/upstreams/http/v3/http_protocol_options.pb-c.h"
#include "proxy/lb/consistent.h"

#define HTTP_OPTIONS_KEY "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
#define IDLE_TIMEOUT_DEFAULT_MS 3600000u
#define BREAKER_DEFAULT 1024u
#define RETRIES_DEFAULT 3u
#define PANIC_DEFAULT 50u
#define DNS_REFRESH_DEFAULT_MS 5000u

typedef Envoy__Config__Cluster__V3__Cluster cluster_message;
typedef Envoy__Extensions__Upstreams__Http__V3__HttpProtocolOptions http_options;

enum err address_compile(const Envoy__Config__Core__V3__Address *config, struct address *ret_address, struct error *err)
{
    if (config == NULL) {
        return error_set(err, ERR_INVALID, "no address");
    }
    if (config->address_case == ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS) {
        const Envoy__Config__Core__V3__SocketAddress *from = config->socket_address;
        uint32_t port = from->port_specifier_case == ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE ? from->port_value : 0;
        if (port > 65535 || from->protocol != ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PROTOCOL__TCP) {
            return error_set(err, ERR_INVALID, "address %s: port %u or protocol is not valid", from->address, port);
        }
        return address_from_ip(str_of(from->address), (uint16_t)port, ret_address, err);
    }
    if (config->address_case == ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_PIPE) {
        char text[ADDRESS_TEXT_SIZE + 8];
        int size = snprintf(text, sizeof(text), "unix:%s", config->pipe->path);
        if (size < 0 || (size_t)size >= sizeof(text)) {
            return error_set(err, ERR_LIMIT, "socket path %s is too long", config->pipe->path);
        }
        return address_parse(str_of(text), ret_address, err);
    }
    return error_set(err, ERR_UNSUPPORTED, "internal listener addresses are not supported");
}

// --- parts of a cluster --------------------------------------------------------------------------------

static enum err compile_kind(const cluster_message *message, struct cluster_config *config, struct error *err)
{
    if (message->cluster_discovery_type_case == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_CLUSTER_TYPE) {
        return error_set(err, ERR_UNSUPPORTED, "cluster type %s is not supported", message->cluster_type->name);
    }
    switch (message->type) {
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__STATIC:
        config->kind = CLUSTER_STATIC;
        return ERR_OK;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__EDS:
        config->kind = CLUSTER_EDS;
        return ERR_OK;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST:
        config->kind = CLUSTER_ORIGINAL_DST;
        return ERR_OK;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__STRICT_DNS:
        config->kind = CLUSTER_DNS;
        config->dns_family = (unsigned)message->dns_lookup_family > DNS_ALL ? DNS_AUTO : (enum cluster_dns_family)message->dns_lookup_family;
        config->dns_refresh_ms = pb_duration_to_ms(message->dns_refresh_rate, DNS_REFRESH_DEFAULT_MS);
        return ERR_OK;
    default:
        return error_set(err, ERR_UNSUPPORTED, "cluster type LOGICAL_DNS is not supported");
    }
}

// Sizes of the tables of consistent hashing, where the policy is one.
static enum err compile_consistent(const cluster_message *message, struct cluster_config *config, struct error *err)
{
    const Envoy__Config__Cluster__V3__Cluster__CommonLbConfig *common = message->common_lb_config;
    if (common != NULL && common->consistent_hashing_lb_config != NULL) {
        config->hashes_host_names = common->consistent_hashing_lb_config->use_hostname_for_hashing;
        if (common->consistent_hashing_lb_config->hash_balance_factor != NULL) {
            return error_set(err, ERR_UNSUPPORTED, "bounded loads (hash_balance_factor) are not supported");
        }
    }
    if (message->lb_config_case == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_RING_HASH_LB_CONFIG) {
        const Envoy__Config__Cluster__V3__Cluster__RingHashLbConfig *ring = message->ring_hash_lb_config;
        config->lb.ring_size_min = ring->minimum_ring_size == NULL ? RING_SIZE_MIN_DEFAULT : ring->minimum_ring_size->value;
        config->lb.ring_size_max = ring->maximum_ring_size == NULL ? RING_SIZE_MAX_DEFAULT : ring->maximum_ring_size->value;
        if (ring->hash_function != ENVOY__CONFIG__CLUSTER__V3__CLUSTER__RING_HASH_LB_CONFIG__HASH_FUNCTION__XX_HASH) {
            return error_set(err, ERR_UNSUPPORTED, "ring hash with MurmurHash is not supported");
        }
        if (config->lb.ring_size_min == 0 || config->lb.ring_size_max > RING_SIZE_MAX_DEFAULT || config->lb.ring_size_min > config->lb.ring_size_max) {
            return error_set(err, ERR_INVALID, "ring sizes %llu to %llu: want 1 to %u", (unsigned long long)config->lb.ring_size_min,
                             (unsigned long long)config->lb.ring_size_max, RING_SIZE_MAX_DEFAULT);
        }
    } else if (message->lb_config_case == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_MAGLEV_LB_CONFIG &&
               message->maglev_lb_config->table_size != NULL) {
        config->lb.maglev_size = message->maglev_lb_config->table_size->value;
        if (!maglev_size_is_valid(config->lb.maglev_size)) {
            return error_set(err, ERR_INVALID, "maglev table size is not a prime up to %u", MAGLEV_SIZE_MAX);
        }
    }
    return ERR_OK;
}

static enum err compile_balancing(const cluster_message *message, struct cluster_config *config, struct error *err)
{
    config->lb = (struct lb_options){.choice_count = 2, .active_bias = 1.0, .panic_threshold = PANIC_DEFAULT};
    switch (message->lb_policy) {
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__ROUND_ROBIN:
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__CLUSTER_PROVIDED:
        config->lb.policy = LB_ROUND_ROBIN;
        break;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__LEAST_REQUEST:
        config->lb.policy = LB_LEAST_REQUEST;
        break;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RANDOM:
        config->lb.policy = LB_RANDOM;
        break;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RING_HASH:
        config->lb.policy = LB_RING_HASH;
        break;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__MAGLEV:
        config->lb.policy = LB_MAGLEV;
        break;
    default:
        return error_set(err, ERR_UNSUPPORTED, "load balancing policy %d is not supported", (int)message->lb_policy);
    }
    if (message->lb_config_case == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_LEAST_REQUEST_LB_CONFIG) {
        config->lb.choice_count = pb_uint32_or(message->least_request_lb_config->choice_count, 2);
        if (message->least_request_lb_config->active_request_bias != NULL) {
            config->lb.active_bias = message->least_request_lb_config->active_request_bias->default_value;
        }
    } else if (message->lb_config_case == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_ORIGINAL_DST_LB_CONFIG) {
        if (message->original_dst_lb_config->use_http_header) {
            return error_set(err, ERR_UNSUPPORTED, "original destination from a header is not supported");
        }
        config->original_port_override = (uint16_t)pb_uint32_or(message->original_dst_lb_config->upstream_port_override, 0);
    }
    const Envoy__Config__Cluster__V3__Cluster__CommonLbConfig *common = message->common_lb_config;
    if (common != NULL && common->healthy_panic_threshold != NULL) {
        double threshold = common->healthy_panic_threshold->value; // present with 0: no panic
        config->lb.panic_threshold = threshold < 0 ? 0 : threshold > 100 ? 100 : (uint32_t)threshold;
    }
    config->lb.locality_weighted =
        common != NULL && common->locality_config_specifier_case ==
                              ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_LOCALITY_WEIGHTED_LB_CONFIG;
    return compile_consistent(message, config, err);
}

static enum err compile_outlier(const cluster_message *message, struct cluster_config *config, struct error *err)
{
    struct outlier_options options;
    if (message->outlier_detection == NULL) {
        return ERR_OK;
    }
    enum err result = outlier_options_compile(message->outlier_detection, &options, err);
    if (result == ERR_OK) {
        config->outlier = outlier_new(&options);
    }
    return result;
}

static void compile_breakers(const cluster_message *message, struct cluster_config *config)
{
    config->connections_max = config->pending_max = config->requests_max = BREAKER_DEFAULT;
    config->retries_max = RETRIES_DEFAULT;
    for (size_t i = 0; message->circuit_breakers != NULL && i < message->circuit_breakers->n_thresholds; i++) {
        const Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds *limits = message->circuit_breakers->thresholds[i];
        if (limits->priority != ENVOY__CONFIG__CORE__V3__ROUTING_PRIORITY__DEFAULT) {
            continue;
        }
        config->connections_max = pb_uint32_or(limits->max_connections, BREAKER_DEFAULT);
        config->pending_max = pb_uint32_or(limits->max_pending_requests, BREAKER_DEFAULT);
        config->requests_max = pb_uint32_or(limits->max_requests, BREAKER_DEFAULT);
        config->retries_max = pb_uint32_or(limits->max_retries, RETRIES_DEFAULT);
    }
}

static enum err compile_protocol(const cluster_message *message, struct cluster_config *config, struct error *err)
{
    config->protocol = message->http2_protocol_options != NULL ? CLUSTER_HTTP2 : CLUSTER_HTTP1;
    config->idle_timeout_ms = IDLE_TIMEOUT_DEFAULT_MS;
    config->requests_per_connection_max = pb_uint32_or(message->max_requests_per_connection, 0);
    for (size_t i = 0; i < message->n_typed_extension_protocol_options; i++) {
        if (strcmp(message->typed_extension_protocol_options[i]->key, HTTP_OPTIONS_KEY) != 0) {
            continue;
        }
        const http_options *options = pb_any_unpack(&config->arena, message->typed_extension_protocol_options[i]->value,
                                                    &envoy__extensions__upstreams__http__v3__http_protocol_options__descriptor, err);
        if (options == NULL) {
            return ERR_INVALID;
        }
        if (options->common_http_protocol_options != NULL) {
            config->idle_timeout_ms = pb_duration_to_ms(options->common_http_protocol_options->idle_timeout, IDLE_TIMEOUT_DEFAULT_MS);
            config->requests_per_connection_max = pb_uint32_or(options->common_http_protocol_options->max_requests_per_connection,
                                                               config->requests_per_connection_max);
        }
        switch (options->upstream_protocol_options_case) {
        case ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_EXPLICIT_HTTP_CONFIG:
            config->protocol = options->explicit_http_config->protocol_config_case ==
                                       ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP2_PROTOCOL_OPTIONS
                                   ? CLUSTER_HTTP2
                                   : CLUSTER_HTTP1;
            break;
        case ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_USE_DOWNSTREAM_PROTOCOL_CONFIG:
            config->protocol = CLUSTER_AS_DOWNSTREAM;
            break;
        case ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_AUTO_CONFIG:
            config->protocol = CLUSTER_BY_ALPN;
            break;
        default:
            break;
        }
    }
    return ERR_OK;
}

static enum err compile_transports(const cluster_message *message, struct cluster_config *config, struct error *err)
{
    enum err result = transport_socket_compile(&config->arena, message->transport_socket, TLS_CLIENT, &config->transport, err);
    struct transport_choice *choices = arena_array(&config->arena, struct transport_choice, message->n_transport_socket_matches + 1);
    for (size_t i = 0; i < message->n_transport_socket_matches && result == ERR_OK; i++) {
        choices[i].name = arena_str(&config->arena, str_of(message->transport_socket_matches[i]->name));
        choices[i].match = message->transport_socket_matches[i]->match;
        result = transport_socket_compile(&config->arena, message->transport_socket_matches[i]->transport_socket, TLS_CLIENT,
                                          &choices[i].socket, err);
    }
    config->choices = choices;
    config->choice_count = message->n_transport_socket_matches;
    return result;
}

static const Google__Protobuf__Struct *find_metadata(const Envoy__Config__Core__V3__Metadata *metadata, const char *name)
{
    for (size_t i = 0; metadata != NULL && i < metadata->n_filter_metadata; i++) {
        if (strcmp(metadata->filter_metadata[i]->key, name) == 0) {
            return metadata->filter_metadata[i]->value;
        }
    }
    return NULL;
}

// What Istio says about the cluster: which service it stands for, and whether ALPN is to be left alone.
static void compile_metadata(const cluster_message *message, struct cluster_config *config)
{
    const Google__Protobuf__Struct *istio = find_metadata(message->metadata, "istio");
    config->keeps_alpn = str_equal(pb_struct_get_str(istio, "alpn_override"), STR("false"));
    const Google__Protobuf__Value *services = pb_struct_get(istio, "services");
    if (services == NULL || services->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE || services->list_value->n_values == 0 ||
        services->list_value->values[0]->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE) {
        return;
    }
    const Google__Protobuf__Struct *service = services->list_value->values[0]->struct_value;
    config->service_host = arena_str(&config->arena, pb_struct_get_str(service, "host"));
    config->service_short_name = arena_str(&config->arena, pb_struct_get_str(service, "name"));
    config->service_namespace = arena_str(&config->arena, pb_struct_get_str(service, "namespace"));
}

static enum err compile_bind(const cluster_message *message, struct cluster_config *config, struct error *err)
{
    if (message->upstream_bind_config == NULL || message->upstream_bind_config->source_address == NULL) {
        return ERR_OK;
    }
    const Envoy__Config__Core__V3__SocketAddress *source = message->upstream_bind_config->source_address;
    config->has_bind = true;
    return address_from_ip(str_of(source->address), (uint16_t)source->port_value, &config->bind, err);
}

static struct str stat_name(struct arena *arena, const cluster_message *message)
{
    struct str name = str_of(message->alt_stat_name[0] != 0 ? message->alt_stat_name : message->name);
    if (name.size > 0 && name.data[name.size - 1] == ';') { // a mark for Istio's own tag extraction
        name.size--;
    }
    return arena_str(arena, name);
}

// The message is kept with the compiled form: endpoints are matched against its structs later.
static enum err compile(struct cluster_config *config, const cluster_message *message, struct error *err)
{
    struct arena *arena = &config->arena;
    config->name = arena_str(arena, str_of(message->name));
    config->stat_name = stat_name(arena, message);
    struct str service = message->eds_cluster_config == NULL ? STR_EMPTY : str_of(message->eds_cluster_config->service_name);
    config->service_name = service.size > 0 ? arena_str(arena, service) : config->name;
    config->connect_timeout_ms = pb_duration_to_ms(message->connect_timeout, CLUSTER_CONNECT_DEFAULT_MS);
    config->assignment = message->load_assignment;
    compile_breakers(message, config);
    compile_metadata(message, config);
    enum err result = compile_kind(message, config, err);
    if (result == ERR_OK) {
        result = compile_balancing(message, config, err);
    }
    if (result == ERR_OK) {
        result = compile_outlier(message, config, err);
    }
    if (result == ERR_OK) {
        result = compile_protocol(message, config, err);
    }
    if (result == ERR_OK) {
        result = compile_transports(message, config, err);
    }
    return result == ERR_OK ? compile_bind(message, config, err) : result;
}

struct cluster_config *cluster_config_new(const cluster_message *message, struct error *err)
{
    struct error ignored = {0};
    err = err == NULL ? &ignored : err;
    struct cluster_config *config = mem_new(struct cluster_config);
    atomic_init(&config->references, 1);
    if (message->name[0] == 0) {
        (void)error_set(err, ERR_INVALID, "cluster without a name");
        cluster_config_unref(config);
        return NULL;
    }
    // A copy of the message in our arena, because its structs outlive the push that brought it.
    struct arena scratch = {0};
    struct str bytes = pb_pack_str(&scratch, message);
    const cluster_message *copy = pb_unpack(&config->arena, &envoy__config__cluster__v3__cluster__descriptor, bytes, err);
    arena_done(&scratch);
    if (copy == NULL || compile(config, copy, err) != ERR_OK) {
        cluster_config_unref(config);
        return NULL;
    }
    return config;
}

struct cluster_config *cluster_config_ref(struct cluster_config *config)
{
    atomic_fetch_add_explicit(&config->references, 1, memory_order_relaxed);
    return config;
}

void cluster_config_unref(struct cluster_config *config)
{
    if (config != NULL && atomic_fetch_sub_explicit(&config->references, 1, memory_order_acq_rel) == 1) {
        outlier_free(config->outlier);
        arena_done(&config->arena);
        mem_free(config);
    }
}

bool cluster_config_is_supplied(const struct cluster_config *config, const struct secrets *secrets)
{
    bool supplied = secrets_has_all(secrets, config->transport);
    for (size_t i = 0; i < config->choice_count; i++) {
        supplied = supplied && secrets_has_all(secrets, config->choices[i].socket);
    }
    return supplied;
}

// --- hosts ---------------------------------------------------------------------------------------------

struct upstream_host *upstream_host_new(const struct address *address)
{
    struct upstream_host *host = mem_new(struct upstream_host);
    atomic_init(&host->references, 1);
    host->address = *address;
    (void)address_format(address, host->text);
    return host;
}

struct upstream_host *upstream_host_ref(struct upstream_host *host)
{
    atomic_fetch_add_explicit(&host->references, 1, memory_order_relaxed);
    return host;
}

void upstream_host_unref(struct upstream_host *host)
{
    if (host != NULL && atomic_fetch_sub_explicit(&host->references, 1, memory_order_acq_rel) == 1) {
        mem_free(host);
    }
}

// --- endpoint sets -------------------------------------------------------------------------------------

static bool value_equal(const Google__Protobuf__Value *a, const Google__Protobuf__Value *b)
{
    if (a == NULL || b == NULL || a->kind_case != b->kind_case) {
        return false;
    }
    switch (a->kind_case) {
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        return strcmp(a->string_value, b->string_value) == 0;
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
        return a->bool_value == b->bool_value;
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        return a->number_value >= b->number_value && a->number_value <= b->number_value;
    default:
        return false;
    }
}

enum err endpoint_name(const Envoy__Config__Endpoint__V3__LbEndpoint *from, struct str *ret_name, uint16_t *ret_port, struct error *err)
{
    const Envoy__Config__Endpoint__V3__Endpoint *endpoint =
        from->host_identifier_case == ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT ? from->endpoint : NULL;
    if (endpoint == NULL || endpoint->address == NULL ||
        endpoint->address->address_case != ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS ||
        endpoint->address->socket_address->port_value > 65535 || endpoint->address->socket_address->address[0] == 0) {
        return error_set(err, ERR_INVALID, "endpoint without a host name and port");
    }
    *ret_name = str_of(endpoint->address->socket_address->address);
    *ret_port = (uint16_t)endpoint->address->socket_address->port_value;
    return ERR_OK;
}

// The first choice all of whose keys the endpoint carries; {} matches everything.
static const struct transport_socket *choose_transport(const struct cluster_config *config,
                                                       const Envoy__Config__Core__V3__Metadata *metadata)
{
    const Google__Protobuf__Struct *marks = find_metadata(metadata, "envoy.transport_socket_match");
    for (size_t i = 0; i < config->choice_count; i++) {
        const Google__Protobuf__Struct *match = config->choices[i].match;
        bool fits = true;
        for (size_t k = 0; match != NULL && k < match->n_fields && fits; k++) {
            fits = value_equal(match->fields[k]->value, pb_struct_get(marks, match->fields[k]->key));
        }
        if (fits) {
            return config->choices[i].socket;
        }
    }
    return config->transport;
}

// `known`: hosts of the set before, by address.
static struct upstream_host *carry_host(const struct map *known, const struct address *address)
{
    char text[ADDRESS_TEXT_SIZE];
    struct upstream_host *host = map_get(known, str_of(address_format(address, text)));
    return host != NULL ? upstream_host_ref(host) : upstream_host_new(address);
}

static enum lb_health health_of(Envoy__Config__Core__V3__HealthStatus status)
{
    switch (status) {
    case ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__DEGRADED:
        return LB_DEGRADED;
    case ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__UNHEALTHY:
    case ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__DRAINING:
    case ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__TIMEOUT:
        return LB_UNHEALTHY;
    default:
        return LB_HEALTHY;
    }
}

// What stands for the endpoint in consistent hashing.
static struct str hash_key(struct endpoint_set *set, const struct endpoint *endpoint, const Envoy__Config__Core__V3__Metadata *metadata)
{
    struct str key = pb_struct_get_str(find_metadata(metadata, "envoy.lb"), "hash_key");
    if (key.size > 0) {
        return arena_str(&set->arena, key);
    }
    return set->config->hashes_host_names && endpoint->host_name.size > 0 ? endpoint->host_name : str_of(endpoint->host->text);
}

// Where an endpoint of the assignment belongs.
struct endpoint_place {
    uint32_t locality;
    uint32_t priority;
    const struct map *known;
};

static void add_address(struct endpoint_set *set, const Envoy__Config__Endpoint__V3__LbEndpoint *from, const struct address *address,
                        struct str host_name, const struct endpoint_place *place)
{
    struct endpoint *endpoint = &set->endpoints[set->count];
    endpoint->host = carry_host(place->known, address);
    endpoint->host_name = host_name;
    endpoint->transport = choose_transport(set->config, from->metadata);
    endpoint->workload = arena_str(&set->arena, pb_struct_get_str(find_metadata(from->metadata, "istio"), "workload"));
    endpoint->health = health_of(from->health_status);
    uint32_t weight = pb_uint32_or(from->load_balancing_weight, 1);
    endpoint->balance = (struct lb_host){
        .weight = weight == 0 ? 1 : weight,
        .priority = place->priority,
        .locality = place->locality,
        .health = endpoint->health,
        .active = &endpoint->host->active,
        .key = hash_key(set, endpoint, from->metadata),
    };
    set->count++;
}

static enum err add_endpoint(struct endpoint_set *set, const Envoy__Config__Endpoint__V3__LbEndpoint *from,
                             const struct endpoint_place *place, struct error *err)
{
    struct address address;
    enum err result = address_compile(from->endpoint->address, &address, err);
    if (result == ERR_OK) {
        add_address(set, from, &address, arena_str(&set->arena, str_of(from->endpoint->hostname)), place);
    }
    return result;
}

static bool is_ipv6(const struct address *address)
{
    return address->storage.ss_family == AF_INET6;
}

// AUTO prefers IPv6 and falls back to IPv4; V4_PREFERRED the other way round.
static bool is_family_wanted(enum cluster_dns_family family, bool has_ipv4, bool has_ipv6, const struct address *address)
{
    switch (family) {
    case DNS_AUTO:
        return is_ipv6(address) == has_ipv6;
    case DNS_V4_ONLY:
        return !is_ipv6(address);
    case DNS_V6_ONLY:
        return is_ipv6(address);
    case DNS_V4_PREFERRED:
        return is_ipv6(address) != has_ipv4;
    case DNS_ALL:
        return true;
    }
    return true;
}

// Every address of the name is a host of its own. A name without an answer yet has none.
static enum err add_names(struct endpoint_set *set, const Envoy__Config__Endpoint__V3__LbEndpoint *from, const struct endpoint_place *place,
                          endpoint_resolve_fn *resolve, void *owner, struct error *err)
{
    struct str name;
    uint16_t port;
    enum err result = endpoint_name(from, &name, &port, err);
    const struct resolved_name *answer = result != ERR_OK || resolve == NULL ? NULL : resolve(owner, name);
    struct str host_name = result == ERR_OK ? arena_str(&set->arena, name) : STR_EMPTY;
    bool has_ipv4 = false;
    bool has_ipv6 = false;
    for (size_t i = 0; answer != NULL && i < answer->count; i++) {
        has_ipv6 = has_ipv6 || is_ipv6(&answer->addresses[i]);
        has_ipv4 = has_ipv4 || !is_ipv6(&answer->addresses[i]);
    }
    for (size_t i = 0; answer != NULL && i < answer->count; i++) {
        struct address address = answer->addresses[i];
        if (!is_family_wanted(set->config->dns_family, has_ipv4, has_ipv6, &address)) {
            continue;
        }
        address_set_port(&address, port);
        add_address(set, from, &address, host_name, place);
    }
    return result;
}

static struct str locality_text(struct arena *arena, const Envoy__Config__Core__V3__Locality *locality)
{
    return locality == NULL ? STR_EMPTY : arena_format(arena, "%s/%s/%s", locality->region, locality->zone, locality->sub_zone);
}

static enum err add_locality(struct endpoint_set *set, const Envoy__Config__Endpoint__V3__LocalityLbEndpoints *from,
                             const struct map *known, endpoint_resolve_fn *resolve, void *owner, struct error *err)
{
    if (from->priority >= LB_PRIORITIES_MAX) {
        return error_set(err, ERR_INVALID, "priority %u is above %u", from->priority, LB_PRIORITIES_MAX - 1);
    }
    uint32_t locality = set->locality_count++;
    set->locality_weights[locality] = pb_uint32_or(from->load_balancing_weight, 0);
    struct str text = locality_text(&set->arena, from->locality);
    const struct endpoint_place place = {locality, from->priority, known};
    uint32_t first = set->count;
    for (size_t i = 0; i < from->n_lb_endpoints; i++) {
        if (from->lb_endpoints[i]->host_identifier_case != ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT) {
            return error_set(err, ERR_UNSUPPORTED, "endpoint without an address");
        }
        enum err result = set->config->kind == CLUSTER_DNS ? add_names(set, from->lb_endpoints[i], &place, resolve, owner, err)
                                                           : add_endpoint(set, from->lb_endpoints[i], &place, err);
        if (result != ERR_OK) {
            return result;
        }
    }
    for (uint32_t i = first; i < set->count; i++) {
        set->endpoints[i].locality = text;
    }
    return ERR_OK;
}

struct endpoint_set *endpoint_set_new(struct cluster_config *config,
                                      const Envoy__Config__Endpoint__V3__ClusterLoadAssignment *assignment,
                                      const struct endpoint_set *previous, endpoint_resolve_fn *resolve, void *owner,
                                      struct error *err)
{
    struct endpoint_set *set = mem_new(struct endpoint_set);
    atomic_init(&set->references, 1);
    set->config = cluster_config_ref(config);
    size_t localities = assignment == NULL ? 0 : assignment->n_endpoints;
    size_t total = 0;
    for (size_t i = 0; i < localities; i++) {
        total += assignment->endpoints[i]->n_lb_endpoints * (config->kind == CLUSTER_DNS ? RESOLVE_ADDRESSES_MAX : 1u);
    }
    if (total > CLUSTER_ENDPOINTS_MAX || localities > CLUSTER_ENDPOINTS_MAX) {
        (void)error_set(err, ERR_LIMIT, "more than %u endpoints", CLUSTER_ENDPOINTS_MAX);
        endpoint_set_unref(set);
        return NULL;
    }
    set->endpoints = arena_array(&set->arena, struct endpoint, total + 1);
    set->locality_weights = arena_array(&set->arena, uint32_t, localities + 1);
    struct map known = {0};
    for (uint32_t i = 0; previous != NULL && i < previous->count; i++) {
        (void)map_set(&known, str_of(previous->endpoints[i].host->text), previous->endpoints[i].host);
    }
    enum err result = ERR_OK;
    for (size_t i = 0; i < localities && result == ERR_OK; i++) {
        result = add_locality(set, assignment->endpoints[i], &known, resolve, owner, err);
    }
    map_done(&known);
    if (result != ERR_OK) {
        endpoint_set_unref(set);
        return NULL;
    }
    if (assignment != NULL && assignment->policy != NULL) {
        set->overprovisioning = pb_uint32_or(assignment->policy->overprovisioning_factor, 0);
    }
    return set;
}

struct endpoint_set *endpoint_set_ref(struct endpoint_set *set)
{
    atomic_fetch_add_explicit(&set->references, 1, memory_order_relaxed);
    return set;
}

void endpoint_set_unref(struct endpoint_set *set)
{
    if (set == NULL || atomic_fetch_sub_explicit(&set->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (uint32_t i = 0; i < set->count; i++) {
        upstream_host_unref(set->endpoints[i].host);
    }
    cluster_config_unref(set->config);
    arena_done(&set->arena);
    mem_free(set);
}

// --- cluster -------------------------------------------------------------------------------------------

struct cluster *cluster_new(struct cluster_config *config, struct endpoint_set *endpoints)
{
    ASSERT(endpoints == NULL || endpoints->config == config);
    struct cluster *cluster = mem_new(struct cluster);
    atomic_init(&cluster->references, 1);
    cluster->config = cluster_config_ref(config);
    cluster->endpoints = endpoints == NULL ? NULL : endpoint_set_ref(endpoints);
    return cluster;
}

struct cluster *cluster_ref(struct cluster *cluster)
{
    atomic_fetch_add_explicit(&cluster->references, 1, memory_order_relaxed);
    return cluster;
}

void cluster_unref(struct cluster *cluster)
{
    if (cluster != NULL && atomic_fetch_sub_explicit(&cluster->references, 1, memory_order_acq_rel) == 1) {
        endpoint_set_unref(cluster->endpoints);
        cluster_config_unref(cluster->config);
        mem_free(cluster);
    }
}
