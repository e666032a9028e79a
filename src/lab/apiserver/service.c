// SPDX-License-Identifier: Apache-2.0
//
// Services: defaults, cluster addresses and node ports, and what an update carries over.
//
// The allocator knows the addresses and ports of stored Services and of writes under way: it takes them in
// allocate(), and gives them back when the change that freed them is visible.
#include <arpa/inet.h>
#include <inttypes.h>

#include "base/memory.h"
#include "base/random.h"
#include "lab/apiserver/defaults.h"
#include "lab/apiserver/metadata.h"
#include "lab/apiserver/request.h"

#define NODE_PORT_FIRST 30000u
#define NODE_PORT_LAST 32767u
#define STATIC_BAND_MAX 256u // lower addresses are for those who choose their own

// --- defaults --------------------------------------------------------------------------------------

static bool has_type(const struct json_value *spec, const char *type)
{
    return str_equal_c(json_get_str(spec, "type"), type);
}

static bool is_headless(const struct json_value *spec)
{
    return str_equal(json_get_str(spec, "clusterIP"), STR("None"));
}

static void service_set_defaults(struct arena *arena, struct json_value *object)
{
    struct json_value *spec = json_ensure_object(arena, object, "spec");
    default_str(arena, spec, "type", "ClusterIP");
    default_str(arena, spec, "sessionAffinity", "None");
    if (str_equal(json_get_str(spec, "sessionAffinity"), STR("ClientIP"))) {
        struct json_value *config = json_ensure_object(arena, spec, "sessionAffinityConfig");
        default_int(arena, json_ensure_object(arena, config, "clientIP"), "timeoutSeconds", 10800);
    }
    const struct json_value *ports = json_get(spec, "ports");
    for (size_t i = 0; i < json_count(ports); i++) {
        struct json_value *port = json_at(ports, i);
        if (!json_is(port, JSON_OBJECT)) {
            continue;
        }
        default_str(arena, port, "protocol", "TCP");
        const struct json_value *target = json_get(port, "targetPort");
        if (target == NULL || target->type == JSON_NULL || (json_is(target, JSON_STRING) && target->text.size == 0)) {
            json_set_int(arena, port, "targetPort", json_get_int(port, "port", 0));
        }
    }
    if (has_type(spec, "ExternalName")) {
        return;
    }
    default_str(arena, spec, "internalTrafficPolicy", "Cluster");
    default_str(arena, spec, "ipFamilyPolicy", "SingleStack");
    if (json_count(json_get(spec, "ipFamilies")) == 0) {
        struct json_value *families = json_new_array(arena);
        json_push(arena, families, json_new_cstr(arena, "IPv4"));
        json_set(arena, spec, STR("ipFamilies"), families);
    }
    if (has_type(spec, "NodePort") || has_type(spec, "LoadBalancer")) {
        default_str(arena, spec, "externalTrafficPolicy", "Cluster");
    }
    if (has_type(spec, "LoadBalancer")) {
        default_bool(arena, spec, "allocateLoadBalancerNodePorts", true);
    }
}

static const struct json_value *find_port(const struct json_value *ports, const struct json_value *like)
{
    for (size_t i = 0; i < json_count(ports); i++) {
        const struct json_value *port = json_at(ports, i);
        if (json_get_int(port, "port", 0) == json_get_int(like, "port", 0) &&
            str_equal(json_get_str(port, "protocol"), json_get_str(like, "protocol"))) {
            return port;
        }
    }
    return NULL;
}

static bool wants_node_ports(const struct json_value *spec)
{
    return has_type(spec, "NodePort") ||
           (has_type(spec, "LoadBalancer") && json_get_bool(spec, "allocateLoadBalancerNodePorts", true));
}

// Old clients leave out on PUT what the server chose: keep it.
static void service_prepare(struct arena *arena, struct json_value *object, const struct json_value *old)
{
    if (old == NULL) {
        struct json_value *status = json_new_object(arena);
        (void)json_ensure_object(arena, status, "loadBalancer");
        json_set(arena, object, STR("status"), status);
        return;
    }
    struct json_value *spec = json_ensure_object(arena, object, "spec");
    const struct json_value *old_spec = json_get(old, "spec");
    static const char *const fields[] = {"clusterIP", "clusterIPs"};
    for (size_t i = 0; i < array_count(fields) && !has_type(spec, "ExternalName"); i++) {
        const struct json_value *value = json_get(old_spec, fields[i]);
        const struct json_value *own = json_get(spec, fields[i]);
        bool is_absent = own == NULL || (json_is(own, JSON_STRING) && own->text.size == 0);
        if (value != NULL && is_absent) {
            json_set(arena, spec, str_of(fields[i]), json_copy(arena, value));
        }
    }
    const struct json_value *ports = json_get(spec, "ports");
    for (size_t i = 0; i < json_count(ports) && wants_node_ports(spec); i++) {
        const struct json_value *before = find_port(json_get(old_spec, "ports"), json_at(ports, i));
        int64_t node_port = json_get_int(before, "nodePort", 0);
        if (node_port > 0 && json_get_int(json_at(ports, i), "nodePort", 0) == 0) {
            json_set_int(arena, json_at(ports, i), "nodePort", node_port);
        }
    }
}

// --- validation ------------------------------------------------------------------------------------

static void validate_port(const struct json_value *ports, size_t index, struct field_errors *errors)
{
    struct arena *arena = errors->arena;
    const struct json_value *port = json_at(ports, index);
    int64_t number = json_get_int(port, "port", 0);
    struct str name = json_get_str(port, "name");
    if (number < 1 || number > 65535) {
        field_error(errors, "FieldValueInvalid", arena_format(arena, "spec.ports[%zu].port", index).data,
                    "Invalid value: %" PRId64 ": must be between 1 and 65535, inclusive", number);
    }
    if (str_is_empty(name) && json_count(ports) > 1) {
        field_error(errors, "FieldValueRequired", arena_format(arena, "spec.ports[%zu].name", index).data,
                    "Required value");
    } else if (!str_is_empty(name) && !name_is_label(name)) {
        field_error(errors, "FieldValueInvalid", arena_format(arena, "spec.ports[%zu].name", index).data,
                    "Invalid value: \"%.*s\": must be a DNS label", STR_ARG(name));
    }
    for (size_t i = 0; i < index && !str_is_empty(name); i++) {
        if (str_equal(json_get_str(json_at(ports, i), "name"), name)) {
            field_error(errors, "FieldValueDuplicate", arena_format(arena, "spec.ports[%zu].name", index).data,
                        "Duplicate value: \"%.*s\"", STR_ARG(name));
        }
    }
}

static void service_validate(const struct json_value *object, const struct json_value *old, struct field_errors *errors)
{
    static const char *const types[] = {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"};
    const struct json_value *spec = json_get(object, "spec");
    const struct json_value *ports = json_get(spec, "ports");
    struct str address = json_get_str(spec, "clusterIP");
    bool known = false;
    for (size_t i = 0; i < array_count(types); i++) {
        known = known || has_type(spec, types[i]);
    }
    if (!known) {
        field_error(errors, "FieldValueNotSupported", "spec.type",
                    "Unsupported value: \"%.*s\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", "
                    "\"NodePort\"", STR_ARG(json_get_str(spec, "type")));
    }
    if (json_count(ports) == 0 && !is_headless(spec) && !has_type(spec, "ExternalName")) {
        field_error(errors, "FieldValueRequired", "spec.ports", "Required value");
    }
    for (size_t i = 0; i < json_count(ports); i++) {
        validate_port(ports, i, errors);
    }
    struct in_addr ignored;
    if (!str_is_empty(address) && !is_headless(spec) &&
        inet_pton(AF_INET, arena_strdup(errors->arena, address), &ignored) != 1) {
        field_error(errors, "FieldValueInvalid", "spec.clusterIP", "Invalid value: \"%.*s\": must be empty, \"None\", or "
                    "a valid IP address", STR_ARG(address));
    }
    struct str before = json_get_str(json_get(old, "spec"), "clusterIP");
    if (!str_is_empty(before) && !has_type(spec, "ExternalName") && !str_equal(before, address)) {
        field_error(errors, "FieldValueInvalid", "spec.clusterIP", "Invalid value: \"%.*s\": field is immutable",
                    STR_ARG(address));
    }
}

// --- the allocator ---------------------------------------------------------------------------------

static struct str address_text(struct arena *arena, uint32_t address)
{
    struct in_addr in = {.s_addr = htonl(address)};
    char text[INET_ADDRSTRLEN];
    return arena_str(arena, str_of(inet_ntop(AF_INET, &in, text, sizeof(text))));
}

struct str service_first_address(struct arena *arena, const struct apiserver *server)
{
    return address_text(arena, server->allocator.network + 1);
}

static bool in_range(const struct service_allocator *allocator, struct arena *arena, struct str text)
{
    struct in_addr in;
    return inet_pton(AF_INET, arena_strdup(arena, text), &in) == 1 && ntohl(in.s_addr) > allocator->network &&
           ntohl(in.s_addr) < allocator->network + allocator->size - 1;
}

static bool choose_address(struct service_allocator *allocator, struct arena *arena, struct str *ret_address)
{
    struct random random;
    random_init_from_kernel(&random);
    uint32_t band = allocator->size / 16 < STATIC_BAND_MAX ? allocator->size / 16 : STATIC_BAND_MAX;
    uint32_t first = band < 16 ? 16 : band;
    if (allocator->size <= first + 2) {
        first = 1;
    }
    uint32_t count = allocator->size - first - 1;
    uint32_t start = (uint32_t)random_below(&random, count);
    for (uint32_t i = 0; i < count; i++) {
        struct str address = address_text(arena, allocator->network + first + (start + i) % count);
        if (!map_has(&allocator->addresses, address)) {
            *ret_address = address;
            return true;
        }
    }
    return false;
}

static bool choose_port(struct service_allocator *allocator, struct arena *arena, uint32_t *ret_port)
{
    struct random random;
    random_init_from_kernel(&random);
    uint32_t count = NODE_PORT_LAST - NODE_PORT_FIRST + 1;
    uint32_t start = (uint32_t)random_below(&random, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t port = NODE_PORT_FIRST + (start + i) % count;
        if (!map_has(&allocator->ports, arena_format(arena, "%u", port))) {
            *ret_port = port;
            return true;
        }
    }
    return false;
}

static bool refuse(struct request *request, const char *field, struct str value, const char *why)
{
    struct field_errors errors = {.arena = &request->arena};
    field_error(&errors, "FieldValueInvalid", field, "Invalid value: %.*s: %s", STR_ARG(value), why);
    return field_errors_check(&errors, &request->failure, request->kind, request->write.name);
}

static bool allocate_address(struct request *request, struct json_value *spec, const struct json_value *old_spec)
{
    struct arena *arena = &request->arena;
    struct service_allocator *allocator = &request->server->allocator;
    struct str address = json_get_str(spec, "clusterIP");
    if (is_headless(spec) || str_equal(address, json_get_str(old_spec, "clusterIP"))) {
        if (!str_is_empty(address)) {
            return true;
        }
    }
    if (str_is_empty(address)) {
        if (!choose_address(allocator, arena, &address)) {
            return failure_set(&request->failure, arena, 500, "InternalError",
                               "Internal error occurred: failed to allocate a serviceIP: range is full");
        }
        json_set_str(arena, spec, "clusterIP", address);
    } else if (!in_range(allocator, arena, address)) {
        return refuse(request, "spec.clusterIPs", arena_format(arena, "[\"%.*s\"]", STR_ARG(address)),
                      "failed to allocate IP: the provided IP is not in the valid range");
    } else if (map_has(&allocator->addresses, address)) {
        return refuse(request, "spec.clusterIPs", arena_format(arena, "[\"%.*s\"]", STR_ARG(address)),
                      "failed to allocate IP: provided IP is already allocated");
    }
    if (!request->write.dry_run) {
        (void)map_set(&allocator->addresses, address, allocator);
    }
    return true;
}

static bool had_port(const struct json_value *old_spec, int64_t node_port)
{
    const struct json_value *ports = json_get(old_spec, "ports");
    for (size_t i = 0; i < json_count(ports); i++) {
        if (json_get_int(json_at(ports, i), "nodePort", 0) == node_port) {
            return true;
        }
    }
    return false;
}

static bool allocate_port(struct request *request, struct json_value *port, const struct json_value *old_spec)
{
    struct arena *arena = &request->arena;
    struct service_allocator *allocator = &request->server->allocator;
    int64_t wanted = json_get_int(port, "nodePort", 0);
    if (wanted > 0 && had_port(old_spec, wanted)) {
        return true;
    }
    uint32_t number = (uint32_t)wanted;
    if (wanted <= 0) {
        if (!choose_port(allocator, arena, &number)) {
            return failure_set(&request->failure, arena, 500, "InternalError",
                               "Internal error occurred: failed to allocate a nodePort: range is full");
        }
        json_set_int(arena, port, "nodePort", number);
    }
    struct str text = arena_format(arena, "%u", number);
    if (number < NODE_PORT_FIRST || number > NODE_PORT_LAST) {
        return refuse(request, "spec.ports[0].nodePort", text,
                      "provided port is not in the valid range. The range of valid ports is 30000-32767");
    }
    if (map_has(&allocator->ports, text)) {
        return refuse(request, "spec.ports[0].nodePort", text, "provided port is already allocated");
    }
    if (!request->write.dry_run) {
        (void)map_set(&allocator->ports, text, allocator);
    }
    return true;
}

static bool service_allocate(struct request *request, struct json_value *object, const struct json_value *old)
{
    struct arena *arena = &request->arena;
    struct json_value *spec = json_ensure_object(arena, object, "spec");
    const struct json_value *old_spec = json_get(old, "spec");
    const struct json_value *ports = json_get(spec, "ports");
    if (has_type(spec, "ExternalName")) {
        (void)json_remove(spec, STR("clusterIP"));
        (void)json_remove(spec, STR("clusterIPs"));
        return true;
    }
    if (!allocate_address(request, spec, old_spec)) {
        return false;
    }
    struct json_value *addresses = json_new_array(arena);
    json_push(arena, addresses, json_new_str(arena, json_get_str(spec, "clusterIP")));
    json_set(arena, spec, STR("clusterIPs"), addresses);
    for (size_t i = 0; i < json_count(ports); i++) {
        if (wants_node_ports(spec)) {
            if (!allocate_port(request, json_at(ports, i), old_spec)) {
                service_allocator_rebuild(request->server);
                return false;
            }
        } else if (has_type(spec, "ClusterIP")) {
            (void)json_remove(json_at(ports, i), STR("nodePort"));
        }
    }
    return true;
}

static void release(struct service_allocator *allocator, const struct json_value *spec)
{
    struct arena arena = {0};
    (void)map_remove(&allocator->addresses, json_get_str(spec, "clusterIP"));
    const struct json_value *ports = json_get(spec, "ports");
    for (size_t i = 0; i < json_count(ports); i++) {
        struct str text = arena_format(&arena, "%" PRId64, json_get_int(json_at(ports, i), "nodePort", 0));
        (void)map_remove(&allocator->ports, text);
    }
    arena_done(&arena);
}

static void take(struct service_allocator *allocator, const struct json_value *spec)
{
    struct arena arena = {0};
    struct str address = json_get_str(spec, "clusterIP");
    if (!str_is_empty(address) && !is_headless(spec)) {
        (void)map_set(&allocator->addresses, address, allocator);
    }
    const struct json_value *ports = json_get(spec, "ports");
    for (size_t i = 0; i < json_count(ports); i++) {
        int64_t port = json_get_int(json_at(ports, i), "nodePort", 0);
        if (port > 0) {
            (void)map_set(&allocator->ports, arena_format(&arena, "%" PRId64, port), allocator);
        }
    }
    arena_done(&arena);
}

static void service_committed(struct apiserver *server, const struct kind *kind, const struct json_value *old,
                              const struct json_value *object)
{
    (void)kind;
    if (old != NULL) {
        release(&server->allocator, json_get(old, "spec"));
    }
    if (object != NULL) {
        take(&server->allocator, json_get(object, "spec"));
    }
}

void service_allocator_init(struct apiserver *server, uint32_t network, uint32_t size)
{
    server->allocator = (struct service_allocator){.network = network, .size = size};
}

void service_allocator_done(struct apiserver *server)
{
    map_done(&server->allocator.addresses);
    map_done(&server->allocator.ports);
}

void service_allocator_rebuild(struct apiserver *server)
{
    const struct kind *kind = kind_find(&server->kinds, STR_EMPTY, STR("v1"), STR("services"));
    map_reset(&server->allocator.addresses);
    map_reset(&server->allocator.ports);
    for (size_t i = 0; i < store_count(kind->bucket); i++) {
        struct store_value *value = store_at(kind->bucket, i);
        struct store_value *latest = store_latest(kind->bucket, value->key);
        take(&server->allocator, json_get(value_object(value), "spec"));
        if (latest != NULL) {
            take(&server->allocator, json_get(value_object(latest), "spec"));
        }
    }
}

const struct kind_hooks service_hooks = {
    .set_defaults = service_set_defaults,
    .prepare = service_prepare,
    .validate = service_validate,
    .allocate = service_allocate,
    .committed = service_committed,
};

// --- EndpointSlices --------------------------------------------------------------------------------

static void slice_set_defaults(struct arena *arena, struct json_value *object)
{
    const struct json_value *ports = json_get(object, "ports");
    for (size_t i = 0; i < json_count(ports); i++) {
        if (json_is(json_at(ports, i), JSON_OBJECT)) {
            default_str(arena, json_at(ports, i), "protocol", "TCP");
            if (json_get(json_at(ports, i), "name") == NULL) {
                json_set_cstr(arena, json_at(ports, i), "name", "");
            }
        }
    }
}

static void slice_validate(const struct json_value *object, const struct json_value *old, struct field_errors *errors)
{
    struct str type = json_get_str(object, "addressType");
    if (!str_equal(type, STR("IPv4")) && !str_equal(type, STR("IPv6")) && !str_equal(type, STR("FQDN"))) {
        field_error(errors, "FieldValueNotSupported", "addressType",
                    "Unsupported value: \"%.*s\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"", STR_ARG(type));
    }
    if (old != NULL && !str_equal(type, json_get_str(old, "addressType"))) {
        field_error(errors, "FieldValueInvalid", "addressType", "Invalid value: \"%.*s\": field is immutable",
                    STR_ARG(type));
    }
}

const struct kind_hooks endpoint_slice_hooks = {.set_defaults = slice_set_defaults, .validate = slice_validate};
