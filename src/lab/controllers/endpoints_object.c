// SPDX-License-Identifier: Apache-2.0
//
// Endpoints, the older form: one subset per set of ports, ready and other addresses apart. Pods that are
// terminating are left out.
#include "lab/controllers/endpoints_internal.h"

static struct json_value *address_new(struct arena *arena, const struct backend *backend)
{
    struct json_value *address = json_new_object(arena);
    json_set_str(arena, address, "ip", backend->ip);
    if (!str_is_empty(backend->hostname)) {
        json_set_str(arena, address, "hostname", backend->hostname);
    }
    if (!str_is_empty(backend->node)) {
        json_set_str(arena, address, "nodeName", backend->node);
    }
    json_set(arena, address, STR("targetRef"), backend_target(arena, backend->pod));
    return address;
}

// Ports without a name have no `name` here.
static struct json_value *subset_ports(struct arena *arena, const struct json_value *ports)
{
    struct json_value *copy = json_copy(arena, ports);
    for (size_t i = 0; i < json_count(copy); i++) {
        if (str_is_empty(json_get_str(json_at(copy, i), "name"))) {
            (void)json_remove(json_at(copy, i), STR("name"));
        }
    }
    return copy;
}

static struct json_value *make_subsets(struct arena *arena, const struct backend_list *backends)
{
    struct json_value *subsets = json_new_array(arena);
    bool *done = arena_array(arena, bool, backends->count + 1);
    for (size_t first = 0; first < backends->count; first++) {
        struct json_value *subset = json_new_object(arena);
        for (size_t i = first; i < backends->count; i++) {
            const struct backend *backend = &backends->items[i];
            if (done[i] || !json_equal(backend->ports, backends->items[first].ports)) {
                continue;
            }
            done[i] = true;
            if (!backend->terminating || backend->ready) {
                const char *list = backend->ready ? "addresses" : "notReadyAddresses";
                json_push(arena, json_ensure_array(arena, subset, list), address_new(arena, backend));
            }
        }
        if (json_count(subset) > 0) {
            if (json_count(backends->items[first].ports) > 0) {
                json_set(arena, subset, STR("ports"), subset_ports(arena, backends->items[first].ports));
            }
            json_push(arena, subsets, subset);
        }
    }
    return subsets;
}

void endpoints_object_plan(struct plan *plan, const struct endpoints_input *input,
                           const struct backend_list *backends)
{
    struct arena *arena = &plan->arena;
    struct json_value *subsets = make_subsets(arena, backends);
    const struct json_value *old = json_get(input->endpoints, "subsets");
    if (input->endpoints != NULL) {
        bool is_same = (json_count(old) == 0 && json_count(subsets) == 0) || json_equal(old, subsets);
        if (!is_same && !meta_is_deleting(input->endpoints)) {
            struct json_value *patch = json_new_object(arena);
            json_set(arena, patch, STR("subsets"), subsets);
            plan_merge(plan, &kube_endpoints, input->endpoints, NULL, patch);
        }
        return;
    }
    struct json_value *object = json_new_object(arena);
    json_set_cstr(arena, object, "apiVersion", "v1");
    json_set_cstr(arena, object, "kind", "Endpoints");
    struct json_value *metadata = json_ensure_object(arena, object, "metadata");
    json_set_str(arena, metadata, "name", meta_name(input->service));
    json_set_str(arena, metadata, "namespace", meta_ns(input->service));
    struct json_value *labels = backend_labels(arena, input->service);
    if (json_count(labels) > 0) {
        json_set(arena, metadata, STR("labels"), labels);
    }
    json_set(arena, object, STR("subsets"), subsets);
    plan_create(plan, &kube_endpoints, meta_ns(input->service), object);
}
