// SPDX-License-Identifier: Apache-2.0
#include "lab/node/service_rules.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/memory.h"
#include "base/vec.h"

#define SLICE_SERVICE_LABEL "kubernetes.io/service-name"

struct endpoint {
    struct str ip;
    uint16_t port;
};

typedef VEC(struct endpoint) endpoint_list;

// Everything is collected first: maps stand before the chains that use them.
struct writer {
    const struct service_rules_input *input;
    struct arena arena;
    const struct json_value **services; // sorted
    struct buf service_map;             // "10.96.0.1 . tcp . 443 : goto svc_0"
    struct buf node_port_map;
    struct buf reject_map;
    struct buf chains;
    unsigned number;
};

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

static int compare_objects(const void *a, const void *b)
{
    const struct json_value *const *left = a;
    const struct json_value *const *right = b;
    int order = str_compare(json_str(json_path(*left, "metadata", "namespace", NULL)), json_str(json_path(*right, "metadata", "namespace", NULL)));
    return order != 0 ? order
                      : str_compare(json_str(json_path(*left, "metadata", "name", NULL)), json_str(json_path(*right, "metadata", "name", NULL)));
}

static int compare_endpoints(const void *a, const void *b)
{
    const struct endpoint *left = a;
    const struct endpoint *right = b;
    int order = str_compare(left->ip, right->ip);
    return order != 0 ? order : (int)left->port - (int)right->port;
}

// --- endpoints of one service port -----------------------------------------------------------------

static bool belongs_to(const struct json_value *slice, const struct json_value *service)
{
    return str_equal(json_str(json_path(slice, "metadata", "namespace", NULL)), json_str(json_path(service, "metadata", "namespace", NULL))) &&
           str_equal(json_str(json_path(slice, "metadata", "labels", SLICE_SERVICE_LABEL, NULL)),
                     json_str(json_path(service, "metadata", "name", NULL)));
}

// The port of a slice that serves a service's port: same name ("" and absent are the same), same protocol.
static uint16_t slice_port(const struct json_value *slice, const struct json_value *service_port)
{
    const struct json_value *ports = json_get(slice, "ports");
    struct str name = json_get_str(service_port, "name");
    for (size_t i = 0; i < json_count(ports); i++) {
        int64_t number = json_get_int(json_at(ports, i), "port", 0);
        if (str_equal(json_get_str(json_at(ports, i), "name"), name) && number > 0 && number <= UINT16_MAX) {
            return (uint16_t)number;
        }
    }
    return 0;
}

static void add_addresses(endpoint_list *list, const struct json_value *endpoint, uint16_t port)
{
    const struct json_value *addresses = json_get(endpoint, "addresses");
    for (size_t i = 0; i < json_count(addresses) && list->count < SERVICE_ENDPOINTS_MAX; i++) {
        struct str ip = json_str(json_at(addresses, i));
        if (is_ipv4(ip)) {
            vec_push(list, (struct endpoint){.ip = ip, .port = port});
        }
    }
}

static void collect(const struct writer *writer, const struct json_value *service, const struct json_value *port, bool ready,
                    endpoint_list *list)
{
    for (size_t i = 0; i < writer->input->slice_count; i++) {
        const struct json_value *slice = writer->input->slices[i];
        uint16_t number = belongs_to(slice, service) ? slice_port(slice, port) : 0;
        const struct json_value *endpoints = number == 0 ? NULL : json_get(slice, "endpoints");
        for (size_t k = 0; k < json_count(endpoints); k++) {
            const struct json_value *conditions = json_get(json_at(endpoints, k), "conditions");
            bool is_ready = json_get_bool(conditions, "ready", true);
            bool is_serving = json_get_bool(conditions, "serving", is_ready) && json_get_bool(conditions, "terminating", false);
            if (ready ? is_ready : is_serving) {
                add_addresses(list, json_at(endpoints, k), number);
            }
        }
    }
}

// Ready ones; when there are none, those that still serve while they terminate. Sorted, each once.
static void find_endpoints(const struct writer *writer, const struct json_value *service, const struct json_value *port,
                           endpoint_list *list)
{
    size_t kept = 0;
    collect(writer, service, port, true, list);
    if (list->count == 0) {
        collect(writer, service, port, false, list);
    }
    if (list->count == 0) {
        return;
    }
    qsort(list->items, list->count, sizeof(list->items[0]), compare_endpoints);
    for (size_t i = 1; i < list->count; i++) {
        if (compare_endpoints(&list->items[kept], &list->items[i]) != 0) {
            list->items[++kept] = list->items[i];
        }
    }
    list->count = kept + 1;
}

// --- text ------------------------------------------------------------------------------------------

static bool is_name(struct str text)
{
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.')) {
            return false;
        }
    }
    return text.size > 0;
}

// For people who read the rules. Names come from outside: one with a line break would be a rule.
static void write_comment(struct buf *out, const struct json_value *service, const struct json_value *port)
{
    struct str ns = json_str(json_path(service, "metadata", "namespace", NULL));
    struct str name = json_str(json_path(service, "metadata", "name", NULL));
    if (is_name(ns) && is_name(name)) {
        buf_printf(out, "    # %.*s/%.*s:%lld\n", STR_ARG(ns), STR_ARG(name), (long long)json_get_int(port, "port", 0));
    }
}

static void write_chains(struct writer *writer, const struct json_value *service, const struct json_value *port, const char *protocol,
                         const endpoint_list *list)
{
    struct buf *out = &writer->chains;
    unsigned number = writer->number;
    bool keeps_client = str_equal_c(json_str(json_path(service, "spec", "externalTrafficPolicy", NULL)), "Local");
    for (size_t i = 0; i < list->count; i++) {
        const struct endpoint *endpoint = &list->items[i];
        buf_printf(out, "  chain ep_%u_%zu {\n    ip saddr %.*s jump mark_masquerade\n", number, i, STR_ARG(endpoint->ip));
        buf_printf(out, "    meta l4proto %s dnat to %.*s:%u\n  }\n", protocol, STR_ARG(endpoint->ip), endpoint->port);
    }
    buf_printf(out, "  chain svc_%u {\n", number);
    write_comment(out, service, port);
    if (list->count == 1) {
        buf_printf(out, "    goto ep_%u_0\n  }\n", number);
    } else {
        buf_printf(out, "    numgen random mod %zu vmap {", list->count);
        for (size_t i = 0; i < list->count; i++) {
            buf_printf(out, "%s %zu : goto ep_%u_%zu", i == 0 ? "" : ",", i, number, i);
        }
        buf_append_str(out, STR(" }\n  }\n"));
    }
    buf_printf(out, "  chain ext_%u {\n%s    goto svc_%u\n  }\n", number, keeps_client ? "" : "    jump mark_masquerade\n", number);
}

static void add_element(struct buf *map, const char *format, ...) printf_like(2, 3);
static void add_element(struct buf *map, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    buf_append_str(map, map->size == 0 ? STR("      ") : STR(",\n      "));
    buf_vprintf(map, format, args);
    va_end(args);
}

static void add_address(struct writer *writer, struct str ip, const char *protocol, long long port, const char *chain, bool has_endpoints)
{
    if (!is_ipv4(ip)) {
        return; // "None", and addresses of the other family
    }
    if (has_endpoints) {
        add_element(&writer->service_map, "%.*s . %s . %lld : goto %s_%u", STR_ARG(ip), protocol, port, chain, writer->number);
    } else {
        add_element(&writer->reject_map, "%.*s . %s . %lld : goto refuse", STR_ARG(ip), protocol, port);
    }
}

static void write_port(struct writer *writer, const struct json_value *service, const struct json_value *port)
{
    const struct json_value *spec = json_get(service, "spec");
    const struct json_value *external = json_get(spec, "externalIPs");
    const struct json_value *ingress = json_path(service, "status", "loadBalancer", "ingress", NULL);
    struct str wanted = json_get_str(port, "protocol");
    const char *protocol = str_equal_c(wanted, "UDP") ? "udp" : "tcp";
    long long number = json_get_int(port, "port", 0);
    long long node_port = json_get_int(port, "nodePort", 0);
    endpoint_list list = {0};
    if (number < 1 || number > UINT16_MAX || str_equal_c(wanted, "SCTP")) {
        return;
    }
    find_endpoints(writer, service, port, &list);
    bool has_endpoints = list.count > 0;
    add_address(writer, json_get_str(spec, "clusterIP"), protocol, number, "svc", has_endpoints);
    for (size_t i = 0; i < json_count(external); i++) {
        add_address(writer, json_str(json_at(external, i)), protocol, number, "ext", has_endpoints);
    }
    for (size_t i = 0; i < json_count(ingress); i++) {
        add_address(writer, json_get_str(json_at(ingress, i), "ip"), protocol, number, "ext", has_endpoints);
    }
    if (node_port > 0 && node_port <= UINT16_MAX && has_endpoints) {
        add_element(&writer->node_port_map, "%s . %lld : goto ext_%u", protocol, node_port, writer->number);
    }
    if (has_endpoints) {
        write_chains(writer, service, port, protocol, &list);
        writer->number++;
    }
    vec_done(&list);
}

static void write_map(struct buf *out, const char *name, const char *type, const struct buf *elements)
{
    buf_printf(out, "  map %s {\n    type %s : verdict\n", name, type);
    if (elements->size > 0) {
        buf_printf(out, "    elements = {\n%.*s\n    }\n", STR_ARG(buf_view(elements)));
    }
    buf_append_str(out, STR("  }\n"));
}

static const char hooks[] =
    "  chain mark_masquerade {\n    meta mark set meta mark | 0x4000\n  }\n"
    "  chain refuse {\n    meta l4proto tcp reject with tcp reset\n    reject\n  }\n"
    "  chain no_endpoints {\n    ip daddr . meta l4proto . th dport vmap @refused\n  }\n"
    "  chain translate {\n    ip daddr . meta l4proto . th dport vmap @services\n"
    "    ip daddr @node_addresses meta l4proto . th dport vmap @node_ports\n  }\n"
    // Before the nat hooks: destinations are still the original ones.
    "  chain filter_forward {\n    type filter hook forward priority -110\n    ct state new jump no_endpoints\n  }\n"
    "  chain filter_output {\n    type filter hook output priority -110\n    ct state new jump no_endpoints\n  }\n"
    "  chain filter_input {\n    type filter hook input priority -110\n    ct state new jump no_endpoints\n  }\n"
    "  chain nat_prerouting {\n    type nat hook prerouting priority dstnat\n    jump translate\n  }\n"
    "  chain nat_output {\n    type nat hook output priority -100\n    jump translate\n  }\n";

void service_rules_write(const struct service_rules_input *input, struct buf *out)
{
    struct writer writer = {.input = input};
    writer.services = arena_array(&writer.arena, const struct json_value *, input->service_count + 1);
    for (size_t i = 0; i < input->service_count; i++) {
        writer.services[i] = input->services[i];
    }
    qsort(writer.services, input->service_count, sizeof(writer.services[0]), compare_objects);
    for (size_t i = 0; i < input->service_count; i++) {
        const struct json_value *service = writer.services[i];
        const struct json_value *ports = json_path(service, "spec", "ports", NULL);
        bool is_external = str_equal_c(json_str(json_path(service, "spec", "type", NULL)), "ExternalName");
        for (size_t k = 0; k < json_count(ports) && !is_external; k++) {
            write_port(&writer, service, json_at(ports, k));
        }
    }
    buf_append_str(out, STR("table ip " SERVICE_RULES_TABLE "\ndelete table ip " SERVICE_RULES_TABLE "\ntable ip " SERVICE_RULES_TABLE " {\n"));
    write_map(out, "services", "ipv4_addr . inet_proto . inet_service", &writer.service_map);
    write_map(out, "node_ports", "inet_proto . inet_service", &writer.node_port_map);
    write_map(out, "refused", "ipv4_addr . inet_proto . inet_service", &writer.reject_map);
    buf_printf(out, "  set node_addresses {\n    type ipv4_addr\n    elements = { %.*s }\n  }\n", STR_ARG(input->node_ip));
    buf_append_str(out, str_make(hooks, sizeof(hooks) - 1));
    buf_printf(out,
               "  chain nat_postrouting {\n    type nat hook postrouting priority srcnat\n"
               "    meta mark & 0x4000 == 0x4000 masquerade fully-random\n"
               "    ip saddr %.*s ip daddr != %.*s oifname \"eth0\" masquerade\n  }\n",
               STR_ARG(input->pod_cidr), STR_ARG(input->pod_cidr));
    buf_append_str(out, buf_view(&writer.chains));
    buf_append_str(out, STR("}\n"));
    buf_done(&writer.service_map);
    buf_done(&writer.node_port_map);
    buf_done(&writer.reject_map);
    buf_done(&writer.chains);
    arena_done(&writer.arena);
}
