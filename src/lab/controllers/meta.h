// SPDX-License-Identifier: Apache-2.0
//
// meta: objects handed to the pure functions, and what they all ask of objects.
#ifndef LAB_CONTROLLERS_META_H
#define LAB_CONTROLLERS_META_H

#include "base/vec.h"
#include "kube/object.h"

// Borrowed objects; grows by vec_push(), ends with vec_done().
struct object_list {
    const struct json_value **items;
    size_t count;
    size_t capacity;
};

struct str meta_name(const struct json_value *object);
struct str meta_ns(const struct json_value *object);
struct str meta_uid(const struct json_value *object);
bool meta_is_deleting(const struct json_value *object);

// uid of the owner that controls it; empty: none.
struct str meta_controller_uid(const struct json_value *object);
// The ownerReference with controller: true; NULL: none.
const struct json_value *meta_controller(const struct json_value *object);
// metadata.ownerReferences = [owner], as its controller.
void meta_set_controller(struct arena *arena, struct json_value *metadata, const struct kube_resource *kind,
                           const struct json_value *owner);

// The entry of status.conditions; NULL: none.
const struct json_value *condition_find(const struct json_value *object, struct str type);
bool condition_is_true(const struct json_value *object, struct str type);
// One condition of a status under construction. Without a change of status lastTransitionTime stays.
struct json_value *condition_new(struct arena *arena, const struct json_value *old, struct str type, bool status,
                                 struct str reason, struct str message, struct str now);

// Pods: neither ended nor being deleted.
bool pod_is_active(const struct json_value *pod);
bool pod_is_ready(const struct json_value *pod);

#endif
