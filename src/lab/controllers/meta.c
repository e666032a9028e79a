// SPDX-License-Identifier: Apache-2.0
#include "lab/controllers/meta.h"

static struct str metadata_str(const struct json_value *object, const char *name)
{
    struct str text = json_str(json_path(object, "metadata", name, NULL));
    return text.data == NULL ? STR_EMPTY : text;
}

struct str meta_name(const struct json_value *object)
{
    return metadata_str(object, "name");
}

struct str meta_ns(const struct json_value *object)
{
    return metadata_str(object, "namespace");
}

struct str meta_uid(const struct json_value *object)
{
    return metadata_str(object, "uid");
}

bool meta_is_deleting(const struct json_value *object)
{
    return json_is(json_path(object, "metadata", "deletionTimestamp", NULL), JSON_STRING);
}

const struct json_value *meta_controller(const struct json_value *object)
{
    const struct json_value *owners = json_path(object, "metadata", "ownerReferences", NULL);
    for (size_t i = 0; i < json_count(owners); i++) {
        if (json_get_bool(json_at(owners, i), "controller", false)) {
            return json_at(owners, i);
        }
    }
    return NULL;
}

struct str meta_controller_uid(const struct json_value *object)
{
    struct str uid = json_get_str(meta_controller(object), "uid");
    return uid.data == NULL ? STR_EMPTY : uid;
}

void meta_set_controller(struct arena *arena, struct json_value *metadata, const struct kube_resource *kind,
                           const struct json_value *owner)
{
    struct json_value *reference = json_new_object(arena);
    json_set_str(arena, reference, "apiVersion", kube_api_version(arena, kind));
    json_set_str(arena, reference, "kind", kind->kind);
    json_set_str(arena, reference, "name", meta_name(owner));
    json_set_str(arena, reference, "uid", meta_uid(owner));
    json_set_bool(arena, reference, "controller", true);
    json_set_bool(arena, reference, "blockOwnerDeletion", true);
    json_push(arena, json_ensure_array(arena, metadata, "ownerReferences"), reference);
}

const struct json_value *condition_find(const struct json_value *object, struct str type)
{
    const struct json_value *conditions = json_path(object, "status", "conditions", NULL);
    for (size_t i = 0; i < json_count(conditions); i++) {
        if (str_equal(json_get_str(json_at(conditions, i), "type"), type)) {
            return json_at(conditions, i);
        }
    }
    return NULL;
}

bool condition_is_true(const struct json_value *object, struct str type)
{
    return str_equal(json_get_str(condition_find(object, type), "status"), STR("True"));
}

struct json_value *condition_new(struct arena *arena, const struct json_value *old, struct str type, bool status,
                                 struct str reason, struct str message, struct str now)
{
    struct json_value *condition = json_new_object(arena);
    struct str text = status ? STR("True") : STR("False");
    struct str since = json_get_str(old, "lastTransitionTime");
    bool is_unchanged = !str_is_empty(since) && str_equal(json_get_str(old, "status"), text);
    json_set_str(arena, condition, "type", type);
    json_set_str(arena, condition, "status", text);
    json_set_str(arena, condition, "lastTransitionTime", is_unchanged ? since : now);
    json_set_str(arena, condition, "reason", reason);
    json_set_str(arena, condition, "message", message);
    return condition;
}

bool pod_is_active(const struct json_value *pod)
{
    struct str phase = json_str(json_path(pod, "status", "phase", NULL));
    return !meta_is_deleting(pod) && !str_equal(phase, STR("Failed")) && !str_equal(phase, STR("Succeeded"));
}

bool pod_is_ready(const struct json_value *pod)
{
    return condition_is_true(pod, STR("Ready"));
}
