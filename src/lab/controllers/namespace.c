// SPDX-License-Identifier: Apache-2.0
#include "lab/controllers/namespace.h"

#include "lab/controllers/meta.h"

#define ROOTS_NAME "kube-root-ca.crt"

static struct json_value *object_new(struct arena *arena, const struct kube_resource *resource, const char *name,
                                     struct str ns)
{
    struct json_value *object = json_new_object(arena);
    json_set_str(arena, object, "apiVersion", kube_api_version(arena, resource));
    json_set_str(arena, object, "kind", resource->kind);
    struct json_value *metadata = json_ensure_object(arena, object, "metadata");
    json_set_cstr(arena, metadata, "name", name);
    json_set_str(arena, metadata, "namespace", ns);
    return object;
}

static struct json_value *roots_data(struct arena *arena, struct str ca_pem)
{
    struct json_value *data = json_new_object(arena);
    json_set_str(arena, data, "ca.crt", ca_pem);
    return data;
}

void namespace_plan(struct plan *plan, const struct json_value *ns, const struct json_value *account,
                    const struct json_value *config_map, struct str ca_pem)
{
    struct arena *arena = &plan->arena;
    if (ns == NULL || meta_is_deleting(ns)) {
        return;
    }
    struct str name = meta_name(ns);
    if (account == NULL) {
        plan_create(plan, &kube_serviceaccounts, name, object_new(arena, &kube_serviceaccounts, "default", name));
    }
    struct json_value *data = roots_data(arena, ca_pem);
    if (config_map == NULL) {
        struct json_value *object = object_new(arena, &kube_configmaps, ROOTS_NAME, name);
        json_set(arena, object, STR("data"), data);
        plan_create(plan, &kube_configmaps, name, object);
    } else if (!json_equal(json_get(config_map, "data"), data)) {
        struct json_value *patch = json_new_object(arena);
        json_set(arena, patch, STR("data"), data);
        plan_merge(plan, &kube_configmaps, config_map, NULL, patch);
    }
}
