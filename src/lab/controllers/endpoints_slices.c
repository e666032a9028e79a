// SPDX-License-Identifier: Apache-2.0
//
// EndpointSlices: backends with equal ports share slices of at most ENDPOINTS_PER_SLICE_MAX. A slice that
// is there and has these ports is filled again before a new one is made; what is left over goes.
#include "lab/controllers/endpoints_internal.h"

#define SERVICE_LABEL "kubernetes.io/service-name"
#define MANAGER_LABEL "endpointslice.kubernetes.io/managed-by"

static struct json_value *endpoint_new(struct arena *arena, const struct backend *backend)
{
    struct json_value *endpoint = json_new_object(arena);
    json_push(arena, json_ensure_array(arena, endpoint, "addresses"), json_new_str(arena, backend->ip));
    struct json_value *conditions = json_ensure_object(arena, endpoint, "conditions");
    json_set_bool(arena, conditions, "ready", backend->ready);
    json_set_bool(arena, conditions, "serving", backend->serving);
    json_set_bool(arena, conditions, "terminating", backend->terminating);
    if (!str_is_empty(backend->hostname)) {
        json_set_str(arena, endpoint, "hostname", backend->hostname);
    }
    json_set(arena, endpoint, STR("targetRef"), backend_target(arena, backend->pod));
    if (!str_is_empty(backend->node)) {
        json_set_str(arena, endpoint, "nodeName", backend->node);
    }
    if (!str_is_empty(backend->zone)) {
        json_set_str(arena, endpoint, "zone", backend->zone);
    }
    return endpoint;
}

static struct json_value *slice_labels(struct arena *arena, const struct json_value *service)
{
    struct json_value *labels = backend_labels(arena, service);
    json_set_str(arena, labels, SERVICE_LABEL, meta_name(service));
    json_set_cstr(arena, labels, MANAGER_LABEL, ENDPOINTS_MANAGER);
    return labels;
}

static void plan_slice_new(struct plan *plan, const struct json_value *service, struct json_value *ports,
                           struct json_value *endpoints)
{
    struct arena *arena = &plan->arena;
    struct json_value *slice = json_new_object(arena);
    json_set_cstr(arena, slice, "apiVersion", "discovery.k8s.io/v1");
    json_set_cstr(arena, slice, "kind", "EndpointSlice");
    struct json_value *metadata = json_ensure_object(arena, slice, "metadata");
    json_set_str(arena, metadata, "generateName", arena_format(arena, "%.*s-", STR_ARG(meta_name(service))));
    json_set_str(arena, metadata, "namespace", meta_ns(service));
    json_set(arena, metadata, STR("labels"), slice_labels(arena, service));
    meta_set_controller(arena, metadata, &kube_services, service);
    json_set_cstr(arena, slice, "addressType", "IPv4");
    json_set(arena, slice, STR("ports"), ports);
    json_set(arena, slice, STR("endpoints"), endpoints);
    plan_create(plan, &kube_endpointslices, meta_ns(service), slice);
}

static bool is_same_list(const struct json_value *have, const struct json_value *want)
{
    return (json_count(have) == 0 && json_count(want) == 0) || json_equal(have, want);
}

static void plan_slice_update(struct plan *plan, const struct json_value *service, const struct json_value *slice,
                              struct json_value *endpoints)
{
    struct arena *arena = &plan->arena;
    struct json_value *labels = slice_labels(arena, service);
    struct json_value *patch = json_new_object(arena);
    if (!is_same_list(json_get(slice, "endpoints"), endpoints)) {
        json_set(arena, patch, STR("endpoints"), endpoints);
    }
    const struct json_value *old_labels = json_path(slice, "metadata", "labels", NULL);
    if (!json_equal(old_labels, labels)) {
        for (size_t i = 0; json_is(old_labels, JSON_OBJECT) && i < old_labels->object.count; i++) {
            struct str name = old_labels->object.members[i].name;
            if (json_get_str_name(labels, name) == NULL) {
                json_set(arena, labels, name, json_new_null(arena));
            }
        }
        json_set(arena, json_ensure_object(arena, patch, "metadata"), STR("labels"), labels);
    }
    if (json_count(patch) > 0) {
        plan_merge(plan, &kube_endpointslices, slice, NULL, patch);
    }
}

static bool is_ours(const struct json_value *slice)
{
    return !meta_is_deleting(slice) && str_equal(kube_label(slice, STR(MANAGER_LABEL)), STR(ENDPOINTS_MANAGER));
}

struct filling {
    struct plan *plan;
    const struct endpoints_input *input;
    bool *used; // per slice of input
};

// The endpoints go to an unused slice with these ports, or to a new one.
static void place(struct filling *filling, struct json_value *ports, struct json_value *endpoints)
{
    const struct object_list *slices = &filling->input->slices;
    for (size_t i = 0; i < slices->count; i++) {
        const struct json_value *slice = slices->items[i];
        if (!filling->used[i] && is_ours(slice) && is_same_list(json_get(slice, "ports"), ports)) {
            filling->used[i] = true;
            plan_slice_update(filling->plan, filling->input->service, slice, endpoints);
            return;
        }
    }
    plan_slice_new(filling->plan, filling->input->service, ports, endpoints);
}

// All backends that have the ports of backends[first], from there on; marks them as done.
static void place_group(struct filling *filling, const struct backend_list *backends, size_t first, bool *done)
{
    struct arena *arena = &filling->plan->arena;
    struct json_value *ports = backends->items[first].ports;
    struct json_value *endpoints = json_new_array(arena);
    for (size_t i = first; i < backends->count; i++) {
        if (done[i] || !json_equal(backends->items[i].ports, ports)) {
            continue;
        }
        done[i] = true;
        json_push(arena, endpoints, endpoint_new(arena, &backends->items[i]));
        if (json_count(endpoints) == ENDPOINTS_PER_SLICE_MAX) {
            place(filling, ports, endpoints);
            endpoints = json_new_array(arena);
        }
    }
    if (json_count(endpoints) > 0) {
        place(filling, ports, endpoints);
    }
}

// A Service without backends keeps one empty slice.
static void keep_one(struct filling *filling)
{
    for (size_t i = 0; i < filling->input->slices.count; i++) {
        const struct json_value *slice = filling->input->slices.items[i];
        if (is_ours(slice)) {
            filling->used[i] = true;
            plan_slice_update(filling->plan, filling->input->service, slice, json_new_array(&filling->plan->arena));
            return;
        }
    }
    struct arena *arena = &filling->plan->arena;
    plan_slice_new(filling->plan, filling->input->service, json_new_array(arena), json_new_array(arena));
}

void slices_plan(struct plan *plan, const struct endpoints_input *input, const struct backend_list *backends)
{
    struct filling filling = {.plan = plan, .input = input};
    filling.used = arena_array(&plan->arena, bool, input->slices.count + 1);
    bool *done = arena_array(&plan->arena, bool, backends->count + 1);
    for (size_t i = 0; i < backends->count; i++) {
        if (!done[i]) {
            place_group(&filling, backends, i, done);
        }
    }
    if (backends->count == 0) {
        keep_one(&filling);
    }
    for (size_t i = 0; i < input->slices.count; i++) {
        if (!filling.used[i] && is_ours(input->slices.items[i])) {
            plan_delete(plan, &kube_endpointslices, input->slices.items[i]);
        }
    }
}
