// SPDX-License-Identifier: Apache-2.0
#include "lab/dns/records.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>

#define SLICE_SERVICE_LABEL "kubernetes.io/service-name"
#define LABELS_MAX 128

struct lookup {
    struct arena *arena;
    const struct dns_source *source;
    struct dns_answer *answer;
    struct str name; // lower case
    unsigned type;
};

static void add(struct lookup *lookup, const struct dns_record *record)
{
    if (lookup->answer->records.count < DNS_RECORDS_MAX) {
        vec_push(&lookup->answer->records, *record);
    }
}

static bool wants(const struct lookup *lookup, enum dns_type type)
{
    return lookup->type == type || lookup->type == DNS_ANY;
}

static void add_address(struct lookup *lookup, struct str name, struct str ip)
{
    if (wants(lookup, DNS_A)) {
        add(lookup, &(struct dns_record){.name = name, .type = DNS_A, .value = ip});
    }
}

static void fail(struct lookup *lookup)
{
    lookup->answer->code = DNS_NO_SUCH_NAME;
}

static struct str service_ns(const struct json_value *object)
{
    return json_str(json_path(object, "metadata", "namespace", NULL));
}

static struct str service_name(const struct json_value *object)
{
    return json_str(json_path(object, "metadata", "name", NULL));
}

static bool is_headless(const struct json_value *service)
{
    return str_equal_c(json_str(json_path(service, "spec", "clusterIP", NULL)), "None");
}

static struct str full_name(struct lookup *lookup, const struct json_value *service)
{
    return arena_format(lookup->arena, "%.*s.%.*s.svc." DNS_ZONE, STR_ARG(service_name(service)), STR_ARG(service_ns(service)));
}

// "10.244.0.5" → "10-244-0-5"
static struct str dashed(struct arena *arena, struct str ip)
{
    char *text = arena_strdup(arena, ip);
    for (size_t i = 0; i < ip.size; i++) {
        text[i] = text[i] == '.' ? '-' : text[i];
    }
    return str_make(text, ip.size);
}

// --- endpoints -------------------------------------------------------------------------------------

struct endpoint {
    const struct json_value *slice;
    struct str ip;
    struct str host; // its name below the service
};

typedef VEC(struct endpoint) endpoint_list;

static void add_endpoints(struct lookup *lookup, const struct json_value *slice, bool with_unready, endpoint_list *list)
{
    const struct json_value *endpoints = json_get(slice, "endpoints");
    for (size_t i = 0; i < json_count(endpoints); i++) {
        const struct json_value *endpoint = json_at(endpoints, i);
        struct str ip = json_str(json_at(json_get(endpoint, "addresses"), 0));
        struct str host = json_get_str(endpoint, "hostname");
        bool is_ready = json_get_bool(json_get(endpoint, "conditions"), "ready", true);
        if (ip.size > 0 && (is_ready || with_unready) && list->count < DNS_RECORDS_MAX) {
            vec_push(list, (struct endpoint){.slice = slice, .ip = ip, .host = host.size > 0 ? host : dashed(lookup->arena, ip)});
        }
    }
}

static void find_endpoints(struct lookup *lookup, const struct json_value *service, endpoint_list *list)
{
    bool with_unready = json_get_bool(json_get(service, "spec"), "publishNotReadyAddresses", false);
    size_t at = 0;
    for (const struct json_value *slice; (slice = lookup->source->each_slice(lookup->source->owner, &at)) != NULL;) {
        struct str owner = json_str(json_path(slice, "metadata", "labels", SLICE_SERVICE_LABEL, NULL));
        if (str_equal(owner, service_name(service)) && str_equal(service_ns(slice), service_ns(service))) {
            add_endpoints(lookup, slice, with_unready, list);
        }
    }
}

// --- names below svc -------------------------------------------------------------------------------

static void answer_service(struct lookup *lookup, const struct json_value *service)
{
    struct str external = json_str(json_path(service, "spec", "externalName", NULL));
    if (str_equal_c(json_str(json_path(service, "spec", "type", NULL)), "ExternalName")) {
        add(lookup, &(struct dns_record){.name = lookup->name, .type = DNS_CNAME, .value = external});
        return;
    }
    if (!is_headless(service)) {
        struct str ip = json_str(json_path(service, "spec", "clusterIP", NULL));
        if (ip.size > 0) {
            add_address(lookup, lookup->name, ip);
        }
        return;
    }
    endpoint_list list = {0};
    find_endpoints(lookup, service, &list);
    for (size_t i = 0; i < list.count; i++) {
        add_address(lookup, lookup->name, list.items[i].ip);
    }
    vec_done(&list);
}

static void answer_endpoint(struct lookup *lookup, const struct json_value *service, struct str host)
{
    bool is_known = false;
    endpoint_list list = {0};
    find_endpoints(lookup, service, &list);
    for (size_t i = 0; i < list.count && is_headless(service); i++) {
        if (str_equal_nocase(list.items[i].host, host)) {
            is_known = true;
            add_address(lookup, lookup->name, list.items[i].ip);
        }
    }
    vec_done(&list);
    if (!is_known) {
        fail(lookup);
    }
}

static void add_srv(struct lookup *lookup, struct str target, uint16_t port, size_t count)
{
    if (wants(lookup, DNS_SRV)) {
        add(lookup, &(struct dns_record){.name = lookup->name, .type = DNS_SRV, .value = target, .port = port,
                                         .weight = (uint16_t)(count == 0 ? 100 : 100 / count)});
    }
}

static const struct json_value *find_port(const struct json_value *ports, struct str name, struct str protocol)
{
    for (size_t i = 0; i < json_count(ports); i++) {
        struct str own = json_get_str(json_at(ports, i), "protocol");
        if (str_equal_nocase(json_get_str(json_at(ports, i), "name"), name) &&
            str_equal_nocase(own.size == 0 ? STR("TCP") : own, protocol)) {
            return json_at(ports, i);
        }
    }
    return NULL;
}

// _PORT._PROTO before the service's name.
static void answer_port(struct lookup *lookup, const struct json_value *service, struct str port_label, struct str protocol_label)
{
    struct str name = str_from(port_label, 1);
    struct str protocol = str_from(protocol_label, 1);
    const struct json_value *port = find_port(json_path(service, "spec", "ports", NULL), name, protocol);
    if (port == NULL) {
        fail(lookup);
        return;
    }
    struct str base = full_name(lookup, service);
    if (!is_headless(service)) {
        add_srv(lookup, base, (uint16_t)json_get_int(port, "port", 0), 1);
        return;
    }
    endpoint_list list = {0};
    find_endpoints(lookup, service, &list);
    for (size_t i = 0; i < list.count; i++) {
        const struct json_value *own = find_port(json_get(list.items[i].slice, "ports"), name, protocol);
        struct str target = arena_format(lookup->arena, "%.*s.%.*s", STR_ARG(list.items[i].host), STR_ARG(base));
        if (own != NULL) {
            add_srv(lookup, target, (uint16_t)json_get_int(own, "port", 0), list.count);
        }
    }
    vec_done(&list);
}

static bool namespace_has_services(const struct lookup *lookup, struct str ns)
{
    size_t at = 0;
    for (const struct json_value *service; (service = lookup->source->each_service(lookup->source->owner, &at)) != NULL;) {
        if (str_equal(service_ns(service), ns)) {
            return true;
        }
    }
    return false;
}

// labels[0 … count): what stands before ".svc.cluster.local".
static void answer_svc(struct lookup *lookup, const struct str *labels, size_t count)
{
    if (count < 2) {
        if (count == 1 && !namespace_has_services(lookup, labels[0])) {
            fail(lookup);
        }
        return;
    }
    struct str ns = labels[count - 1];
    const struct json_value *service = lookup->source->find_service(lookup->source->owner, ns, labels[count - 2]);
    if (service == NULL) {
        fail(lookup);
    } else if (count == 2) {
        answer_service(lookup, service);
    } else if (count == 3) {
        answer_endpoint(lookup, service, labels[0]);
    } else if (count == 4 && labels[0].size > 1 && labels[0].data[0] == '_' && labels[1].size > 1 && labels[1].data[0] == '_') {
        answer_port(lookup, service, labels[0], labels[1]);
    } else {
        fail(lookup);
    }
}

// --- the rest of the zone --------------------------------------------------------------------------

static bool is_ipv4(struct str text)
{
    char copy[INET_ADDRSTRLEN];
    struct in_addr address;
    if (text.size == 0 || text.size >= sizeof(copy)) {
        return false;
    }
    (void)snprintf(copy, sizeof(copy), "%.*s", STR_ARG(text));
    return inet_pton(AF_INET, copy, &address) == 1;
}

static void answer_pod(struct lookup *lookup, const struct str *labels, size_t count)
{
    if (count != 2) {
        fail(lookup);
        return;
    }
    char *ip = arena_strdup(lookup->arena, labels[0]);
    for (size_t i = 0; i < labels[0].size; i++) {
        ip[i] = ip[i] == '-' ? '.' : ip[i];
    }
    if (!is_ipv4(str_of(ip))) {
        fail(lookup);
        return;
    }
    add_address(lookup, lookup->name, str_of(ip));
}

static void answer_zone(struct lookup *lookup, const struct str *labels, size_t count)
{
    if (count == 0) {
        return; // the zone itself
    }
    struct str last = labels[count - 1];
    if (str_equal_c(last, "svc")) {
        answer_svc(lookup, labels, count - 1);
    } else if (str_equal_c(last, "pod")) {
        answer_pod(lookup, labels, count - 1);
    } else if (count == 1 && str_equal_c(last, "dns-version")) {
        if (wants(lookup, DNS_TXT)) {
            add(lookup, &(struct dns_record){.name = lookup->name, .type = DNS_TXT, .value = STR("1.1.0")});
        }
    } else {
        fail(lookup);
    }
}

static void add_pointer(struct lookup *lookup, struct str name)
{
    if (wants(lookup, DNS_PTR)) {
        add(lookup, &(struct dns_record){.name = lookup->name, .type = DNS_PTR, .value = name});
    }
}

// Of endpoints only those of headless services have names of their own.
static void point_to_endpoints(struct lookup *lookup, struct str ip)
{
    size_t at = 0;
    for (const struct json_value *service; (service = lookup->source->each_service(lookup->source->owner, &at)) != NULL;) {
        endpoint_list list = {0};
        if (is_headless(service)) {
            find_endpoints(lookup, service, &list);
        }
        for (size_t i = 0; i < list.count; i++) {
            if (str_equal(list.items[i].ip, ip)) {
                struct str base = full_name(lookup, service);
                add_pointer(lookup, arena_format(lookup->arena, "%.*s.%.*s", STR_ARG(list.items[i].host), STR_ARG(base)));
            }
        }
        vec_done(&list);
    }
}

static void answer_reverse(struct lookup *lookup, const struct str *labels, size_t count)
{
    if (count != 4) {
        fail(lookup);
        return;
    }
    struct str ip = arena_format(lookup->arena, "%.*s.%.*s.%.*s.%.*s", STR_ARG(labels[3]), STR_ARG(labels[2]), STR_ARG(labels[1]),
                                 STR_ARG(labels[0]));
    size_t at = 0;
    for (const struct json_value *service; (service = lookup->source->each_service(lookup->source->owner, &at)) != NULL;) {
        if (str_equal(json_str(json_path(service, "spec", "clusterIP", NULL)), ip)) {
            add_pointer(lookup, full_name(lookup, service));
        }
    }
    point_to_endpoints(lookup, ip);
    if (lookup->answer->records.count == 0) {
        fail(lookup);
    }
}

// How many of the labels stand before the suffix; -1: the name does not end in it.
static int before_suffix(const struct str *labels, size_t count, struct str suffix)
{
    struct str parts[4];
    size_t part_count = 0;
    for (struct str rest = suffix; rest.data != NULL && part_count < 4;) {
        parts[part_count++] = str_split(&rest, '.');
    }
    for (size_t i = 0; i < part_count; i++) {
        if (count < part_count || !str_equal(labels[count - part_count + i], parts[i])) {
            return -1;
        }
    }
    return (int)(count - part_count);
}

void dns_lookup(struct arena *arena, const struct dns_source *source, struct str name, unsigned type, struct dns_answer *answer)
{
    struct str labels[LABELS_MAX];
    size_t count = 0;
    char *lower = arena_strdup(arena, name);
    for (size_t i = 0; i < name.size; i++) {
        lower[i] = (char)tolower((unsigned char)lower[i]);
    }
    struct lookup lookup = {.arena = arena, .source = source, .answer = answer, .name = str_make(lower, name.size), .type = type};
    for (struct str rest = lookup.name; rest.data != NULL && count < LABELS_MAX;) {
        labels[count++] = str_split(&rest, '.');
    }
    int zone = before_suffix(labels, count, STR(DNS_ZONE));
    int reverse = before_suffix(labels, count, STR("in-addr.arpa"));
    if (zone >= 0) {
        answer_zone(&lookup, labels, (size_t)zone);
    } else if (reverse >= 0) {
        answer_reverse(&lookup, labels, (size_t)reverse);
    } else {
        fail(&lookup); // nothing is behind the lab: an unknown name fails at once
    }
}
