// SPDX-License-Identifier: Apache-2.0
//
// Namespaces, and the kinds that have no behaviour of their own.
#include "lab/apiserver/request.h"

const struct kind_hooks plain_hooks = {0};

static void namespace_set_defaults(struct arena *arena, struct json_value *object)
{
    struct json_value *metadata = json_ensure_object(arena, object, "metadata");
    struct str name = json_get_str(metadata, "name");
    if (!str_is_empty(name)) {
        json_set_str(arena, json_ensure_object(arena, metadata, "labels"), "kubernetes.io/metadata.name", name);
    }
}

static void namespace_prepare(struct arena *arena, struct json_value *object, const struct json_value *old)
{
    struct json_value *spec = json_ensure_object(arena, object, "spec");
    if (old != NULL) { // finalizers change through /finalize only
        const struct json_value *finalizers = json_path(old, "spec", "finalizers", NULL);
        if (finalizers != NULL) {
            json_set(arena, spec, STR("finalizers"), json_copy(arena, finalizers));
        }
        return;
    }
    struct json_value *finalizers = json_new_array(arena);
    json_push(arena, finalizers, json_new_cstr(arena, "kubernetes"));
    json_set(arena, spec, STR("finalizers"), finalizers);
    struct json_value *status = json_new_object(arena);
    json_set_cstr(arena, status, "phase", "Active");
    json_set(arena, object, STR("status"), status);
}

const struct kind_hooks namespace_hooks = {
    .set_defaults = namespace_set_defaults,
    .prepare = namespace_prepare,
};
