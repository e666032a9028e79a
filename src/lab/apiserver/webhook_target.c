// SPDX-License-Identifier: Apache-2.0
//
// Where a webhook is. The server runs on the node and dials pods directly, as the service proxy's rules
// would: a ready endpoint from the EndpointSlices, else the ClusterIP.
#include <arpa/inet.h>

#include "base/random.h"
#include "lab/apiserver/request.h"
#include "lab/apiserver/webhook.h"

static struct store_value *find_service(struct apiserver *server, struct arena *arena, struct str ns, struct str name)
{
    const struct kind *kind = kind_find(&server->kinds, STR_EMPTY, STR("v1"), STR("services"));
    return store_get(kind->bucket, kind_key(arena, kind, ns, name));
}

static const struct json_value *find_service_port(const struct json_value *service, int64_t number)
{
    const struct json_value *ports = json_path(service, "spec", "ports", NULL);
    for (size_t i = 0; i < json_count(ports); i++) {
        if (json_get_int(json_at(ports, i), "port", 0) == number) {
            return json_at(ports, i);
        }
    }
    return NULL;
}

static const struct json_value *find_slice_port(const struct json_value *slice, struct str name)
{
    const struct json_value *ports = json_get(slice, "ports");
    for (size_t i = 0; i < json_count(ports); i++) {
        struct str own = json_get_str(json_at(ports, i), "name");
        if (str_equal(own, name)) {
            return json_at(ports, i);
        }
    }
    return NULL;
}

struct choice {
    struct str address;
    int64_t port;
    uint64_t seen; // ready ones so far: each is chosen with equal chance
};

static void consider_slice(const struct json_value *slice, struct str port_name, struct random *random,
                           struct choice *choice)
{
    const struct json_value *port = find_slice_port(slice, port_name);
    const struct json_value *endpoints = json_get(slice, "endpoints");
    for (size_t i = 0; port != NULL && i < json_count(endpoints); i++) {
        const struct json_value *endpoint = json_at(endpoints, i);
        struct str address = json_str(json_at(json_get(endpoint, "addresses"), 0));
        if (!json_get_bool(json_get(endpoint, "conditions"), "ready", true) || str_is_empty(address)) {
            continue;
        }
        choice->seen++;
        if (random_below(random, choice->seen) == 0) {
            choice->address = address;
            choice->port = json_get_int(port, "port", 0);
        }
    }
}

static struct choice choose_endpoint(struct apiserver *server, struct arena *arena, struct str ns, struct str service,
                                     struct str port_name)
{
    const struct kind *kind = kind_find(&server->kinds, STR("discovery.k8s.io"), STR("v1"), STR("endpointslices"));
    struct str prefix = arena_format(arena, "%.*s/", STR_ARG(ns));
    struct choice choice = {0};
    struct random random;
    random_init_from_kernel(&random);
    for (size_t i = store_seek(kind->bucket, prefix); i < store_count(kind->bucket); i++) {
        struct store_value *value = store_at(kind->bucket, i);
        if (!str_starts_with(value->key, prefix)) {
            break;
        }
        const struct json_value *slice = value_object(value);
        struct str owner = json_get_str(json_get(object_metadata(slice), "labels"), "kubernetes.io/service-name");
        if (str_equal(owner, service)) {
            consider_slice(slice, port_name, &random, &choice);
        }
    }
    return choice;
}

static bool set_address(struct webhook_target *target, struct arena *arena, struct str ip, int64_t port,
                        struct str *ret_reason)
{
    struct error err = {0};
    if (port < 1 || port > 65535 || address_from_ip(ip, (uint16_t)port, &target->address, &err) != ERR_OK) {
        *ret_reason = arena_format(arena, "bad address %.*s: %s", STR_ARG(ip), err.message);
        return false;
    }
    return true;
}

// --- parts of the lab that answer for a Service ----------------------------------------------------

struct stand_in {
    struct stand_in *next;
    struct str ns;
    struct str service;
    struct address address;
};

void apiserver_stand_in(struct apiserver *server, struct str ns, struct str service, const struct address *address)
{
    struct stand_in *stand_in = arena_new(&server->arena, struct stand_in);
    *stand_in = (struct stand_in){.next = server->stand_ins,
                                  .ns = arena_str(&server->arena, ns),
                                  .service = arena_str(&server->arena, service),
                                  .address = *address};
    server->stand_ins = stand_in;
}

static const struct stand_in *find_stand_in(const struct apiserver *server, struct str ns, struct str service)
{
    for (const struct stand_in *stand_in = server->stand_ins; stand_in != NULL; stand_in = stand_in->next) {
        if (str_equal(stand_in->ns, ns) && str_equal(stand_in->service, service)) {
            return stand_in;
        }
    }
    return NULL;
}

// --- by Service and by URL -------------------------------------------------------------------------

static bool find_by_service(struct apiserver *server, struct arena *arena, const struct json_value *reference,
                            int64_t timeout_s, struct webhook_target *target, struct str *ret_reason)
{
    struct str ns = json_get_str(reference, "namespace");
    struct str name = json_get_str(reference, "name");
    struct str path = json_get_str(reference, "path");
    int64_t number = json_get_int(reference, "port", 443);
    target->server_name = arena_format(arena, "%.*s.%.*s.svc", STR_ARG(name), STR_ARG(ns));
    target->authority = arena_format(arena, "%.*s:%lld", STR_ARG(target->server_name), (long long)number);
    target->path = arena_format(arena, "%s%.*s?timeout=%llds", str_starts_with(path, STR("/")) ? "" : "/",
                                STR_ARG(path), (long long)timeout_s);
    target->url = arena_format(arena, "https://%.*s%.*s", STR_ARG(target->authority), STR_ARG(target->path));
    struct store_value *value = find_service(server, arena, ns, name);
    if (value == NULL) {
        *ret_reason = arena_format(arena, "service \"%.*s\" not found", STR_ARG(name));
        return false;
    }
    const struct json_value *service = value_object(value);
    const struct json_value *port = find_service_port(service, number);
    if (port == NULL) {
        *ret_reason = arena_format(arena, "no service port %lld found for service \"%.*s\"", (long long)number,
                                   STR_ARG(name));
        return false;
    }
    const struct stand_in *stand_in = find_stand_in(server, ns, name);
    if (stand_in != NULL) {
        target->address = stand_in->address;
        return true;
    }
    struct choice choice = choose_endpoint(server, arena, ns, name, json_get_str(port, "name"));
    if (choice.seen > 0) {
        return set_address(target, arena, choice.address, choice.port, ret_reason);
    }
    bool has_selector = json_count(json_path(service, "spec", "selector", NULL)) > 0;
    struct str cluster_ip = json_get_str(json_get(service, "spec"), "clusterIP");
    if (has_selector || str_is_empty(cluster_ip) || str_equal(cluster_ip, STR("None"))) {
        *ret_reason = arena_format(arena, "no endpoints available for service \"%.*s\"", STR_ARG(name));
        return false;
    }
    return set_address(target, arena, cluster_ip, number, ret_reason);
}

// "https://HOST[:PORT]/PATH" with a literal address or localhost.
static bool find_by_url(struct arena *arena, struct str url, int64_t timeout_s, struct webhook_target *target,
                        struct str *ret_reason)
{
    struct str prefix = STR("https://");
    target->url = url;
    if (!str_starts_with(url, prefix)) {
        *ret_reason = STR("clientConfig.url must begin with https://");
        return false;
    }
    struct str rest = str_from(url, prefix.size);
    ptrdiff_t slash = str_find_char(rest, '/');
    target->authority = slash < 0 ? rest : str_sub(rest, 0, (size_t)slash);
    struct str path = slash < 0 ? STR("/") : str_from(rest, (size_t)slash);
    target->path = arena_format(arena, "%.*s%stimeout=%llds", STR_ARG(path),
                                str_find_char(path, '?') < 0 ? "?" : "&", (long long)timeout_s);
    ptrdiff_t colon = str_find_last_char(target->authority, ':');
    uint64_t port = 443;
    target->server_name = target->authority;
    if (colon >= 0) {
        target->server_name = str_sub(target->authority, 0, (size_t)colon);
        if (!str_to_u64(str_from(target->authority, (size_t)colon + 1), &port)) {
            *ret_reason = STR("clientConfig.url has a bad port");
            return false;
        }
    }
    struct str ip = str_equal(target->server_name, STR("localhost")) ? STR("127.0.0.1") : target->server_name;
    return set_address(target, arena, ip, (int64_t)port, ret_reason);
}

bool webhook_find_target(struct apiserver *server, struct arena *arena, const struct json_value *webhook,
                         struct webhook_target *ret_target, struct str *ret_reason)
{
    const struct json_value *config = json_get(webhook, "clientConfig");
    const struct json_value *service = json_get(config, "service");
    int64_t timeout_s = json_get_int(webhook, "timeoutSeconds", 10);
    *ret_target = (struct webhook_target){0};
    if (json_is(service, JSON_OBJECT)) {
        return find_by_service(server, arena, service, timeout_s, ret_target, ret_reason);
    }
    return find_by_url(arena, json_get_str(config, "url"), timeout_s, ret_target, ret_reason);
}
