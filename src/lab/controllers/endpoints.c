// SPDX-License-Identifier: Apache-2.0
#include "lab/controllers/endpoints_internal.h"

#include <stdlib.h>

#define ZONE_LABEL "topology.kubernetes.io/zone"

static struct str text_or_empty(const struct json_value *value)
{
    struct str text = json_str(value);
    return text.data == NULL ? STR_EMPTY : text;
}

bool service_is_headless(const struct json_value *service)
{
    return str_equal(json_str(json_path(service, "spec", "clusterIP", NULL)), STR("None"));
}

// --- ports -----------------------------------------------------------------------------------------

static int64_t find_named_port(const struct json_value *containers, struct str name, struct str protocol)
{
    for (size_t i = 0; i < json_count(containers); i++) {
        const struct json_value *ports = json_get(json_at(containers, i), "ports");
        for (size_t k = 0; k < json_count(ports); k++) {
            const struct json_value *port = json_at(ports, k);
            struct str own = json_get_str(port, "protocol");
            if (str_equal(json_get_str(port, "name"), name) &&
                str_equal(str_is_empty(own) ? STR("TCP") : own, protocol)) {
                return json_get_int(port, "containerPort", 0);
            }
        }
    }
    return 0;
}

// The number behind targetPort on this pod; 0: a name it does not have.
static int64_t resolve_port(const struct json_value *pod, const struct json_value *service_port)
{
    const struct json_value *target = json_get(service_port, "targetPort");
    struct str protocol = json_get_str(service_port, "protocol");
    int64_t number = 0;
    if (json_int(target, &number) && number > 0) {
        return number;
    }
    if (json_is(target, JSON_STRING) && !str_is_empty(target->text)) {
        return find_named_port(json_path(pod, "spec", "containers", NULL), target->text,
                               str_is_empty(protocol) ? STR("TCP") : protocol);
    }
    return json_get_int(service_port, "port", 0);
}

static struct json_value *resolve_ports(struct arena *arena, const struct json_value *service,
                                        const struct json_value *pod)
{
    struct json_value *ports = json_new_array(arena);
    const struct json_value *wanted = json_path(service, "spec", "ports", NULL);
    for (size_t i = 0; i < json_count(wanted); i++) {
        const struct json_value *service_port = json_at(wanted, i);
        struct str protocol = json_get_str(service_port, "protocol");
        struct str application = json_get_str(service_port, "appProtocol");
        int64_t number = resolve_port(pod, service_port);
        if (number <= 0) {
            continue;
        }
        struct json_value *port = json_new_object(arena);
        json_set_str(arena, port, "name", text_or_empty(json_get(service_port, "name")));
        json_set_int(arena, port, "port", number);
        json_set_str(arena, port, "protocol", str_is_empty(protocol) ? STR("TCP") : protocol);
        if (!str_is_empty(application)) {
            json_set_str(arena, port, "appProtocol", application);
        }
        json_push(arena, ports, port);
    }
    return ports;
}

// --- pods ------------------------------------------------------------------------------------------

static struct str zone_of(const struct object_list *nodes, struct str name)
{
    for (size_t i = 0; i < nodes->count; i++) {
        if (str_equal(meta_name(nodes->items[i]), name)) {
            struct str zone = kube_label(nodes->items[i], STR(ZONE_LABEL));
            return zone.data == NULL ? STR_EMPTY : zone;
        }
    }
    return STR_EMPTY;
}

static bool is_backend(const struct json_value *service, const struct json_value *pod)
{
    struct str phase = json_str(json_path(pod, "status", "phase", NULL));
    return kube_map_selector_matches(json_path(service, "spec", "selector", NULL),
                                     json_path(pod, "metadata", "labels", NULL)) &&
           !str_is_empty(json_str(json_path(pod, "status", "podIP", NULL))) &&
           !str_equal(phase, STR("Failed")) && !str_equal(phase, STR("Succeeded"));
}

static int compare_backends(const void *left, const void *right)
{
    const struct backend *a = left;
    const struct backend *b = right;
    return str_compare(meta_name(a->pod), meta_name(b->pod));
}

void backends_gather(struct arena *arena, const struct endpoints_input *input, struct backend_list *ret_backends)
{
    const struct json_value *service = input->service;
    bool publishes_all = json_get_bool(json_get(service, "spec"), "publishNotReadyAddresses", false);
    for (size_t i = 0; i < input->pods.count; i++) {
        const struct json_value *pod = input->pods.items[i];
        if (!is_backend(service, pod)) {
            continue;
        }
        struct str subdomain = text_or_empty(json_path(pod, "spec", "subdomain", NULL));
        struct backend backend = {
            .pod = pod,
            .ip = json_str(json_path(pod, "status", "podIP", NULL)),
            .node = text_or_empty(json_path(pod, "spec", "nodeName", NULL)),
            .hostname = STR_EMPTY,
            .serving = pod_is_ready(pod),
            .terminating = meta_is_deleting(pod),
        };
        backend.ready = publishes_all || (backend.serving && !backend.terminating);
        backend.zone = zone_of(&input->nodes, backend.node);
        if (str_equal(subdomain, meta_name(service))) {
            backend.hostname = text_or_empty(json_path(pod, "spec", "hostname", NULL));
        }
        backend.ports = resolve_ports(arena, service, pod);
        vec_push(ret_backends, backend);
    }
    if (ret_backends->count > 0) {
        qsort(ret_backends->items, ret_backends->count, sizeof(*ret_backends->items), compare_backends);
    }
}

struct json_value *backend_target(struct arena *arena, const struct json_value *pod)
{
    struct json_value *target = json_new_object(arena);
    json_set_cstr(arena, target, "kind", "Pod");
    json_set_str(arena, target, "namespace", meta_ns(pod));
    json_set_str(arena, target, "name", meta_name(pod));
    json_set_str(arena, target, "uid", meta_uid(pod));
    return target;
}

struct json_value *backend_labels(struct arena *arena, const struct json_value *service)
{
    const struct json_value *own = json_path(service, "metadata", "labels", NULL);
    struct json_value *labels = json_is(own, JSON_OBJECT) ? json_copy(arena, own) : json_new_object(arena);
    if (service_is_headless(service)) {
        json_set_cstr(arena, labels, "service.kubernetes.io/headless", "");
    }
    return labels;
}

// ---------------------------------------------------------------------------------------------------

void endpoints_plan(struct plan *plan, const struct endpoints_input *input)
{
    const struct json_value *service = input->service;
    if (service == NULL) {
        // Slices have the Service as their owner and go with it.
        if (input->endpoints != NULL && !meta_is_deleting(input->endpoints)) {
            plan_delete(plan, &kube_endpoints, input->endpoints);
        }
        return;
    }
    bool is_external = str_equal(json_str(json_path(service, "spec", "type", NULL)), STR("ExternalName"));
    if (is_external || meta_is_deleting(service) ||
        json_count(json_path(service, "spec", "selector", NULL)) == 0) {
        return; // its endpoints are somebody else's
    }
    struct backend_list backends = {0};
    backends_gather(&plan->arena, input, &backends);
    slices_plan(plan, input, &backends);
    endpoints_object_plan(plan, input, &backends);
    vec_done(&backends);
}
