// SPDX-License-Identifier: Apache-2.0
#include "mesh/labels.h"

#include "base/memory.h"

struct mesh_labels mesh_labels_from_json(struct arena *arena, const struct json_value *object)
{
    struct mesh_labels labels = {0};
    if (!json_is(object, JSON_OBJECT) || object->object.count == 0) {
        return labels;
    }
    labels.items = arena_array(arena, struct mesh_label, object->object.count);
    for (size_t i = 0; i < object->object.count; i++) {
        const struct json_member *member = &object->object.members[i];
        if (!json_is(member->value, JSON_STRING)) {
            continue;
        }
        labels.items[labels.count++] = (struct mesh_label){
            .name = arena_str(arena, member->name),
            .value = arena_str(arena, member->value->text),
        };
    }
    return labels;
}

struct mesh_labels mesh_labels_copy(struct arena *arena, const struct mesh_labels *labels)
{
    struct mesh_labels copy = {.count = labels->count};
    if (labels->count == 0) {
        return copy;
    }
    copy.items = arena_array(arena, struct mesh_label, labels->count);
    for (size_t i = 0; i < labels->count; i++) {
        copy.items[i].name = arena_str(arena, labels->items[i].name);
        copy.items[i].value = arena_str(arena, labels->items[i].value);
    }
    return copy;
}

struct str mesh_labels_get(const struct mesh_labels *labels, struct str name)
{
    for (size_t i = 0; i < labels->count; i++) {
        if (str_equal(labels->items[i].name, name)) {
            return labels->items[i].value;
        }
    }
    return (struct str){0};
}

struct str mesh_labels_first(const struct mesh_labels *labels, const char *const *names,
                             size_t name_count, struct str otherwise)
{
    for (size_t i = 0; i < name_count; i++) {
        struct str value = mesh_labels_get(labels, str_of(names[i]));
        if (!str_is_empty(value)) {
            return value;
        }
    }
    return otherwise;
}

bool mesh_labels_contain(const struct mesh_labels *labels, const struct mesh_labels *selector)
{
    for (size_t i = 0; i < selector->count; i++) {
        struct str value = mesh_labels_get(labels, selector->items[i].name);
        if (value.data == NULL || !str_equal(value, selector->items[i].value)) {
            return false;
        }
    }
    return true;
}

bool mesh_labels_equal(const struct mesh_labels *a, const struct mesh_labels *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (!str_equal(a->items[i].name, b->items[i].name) ||
            !str_equal(a->items[i].value, b->items[i].value)) {
            return false;
        }
    }
    return true;
}

struct str mesh_canonical_name(const struct mesh_labels *labels, struct str workload_name)
{
    static const char *const names[] = {
        "service.istio.io/canonical-name", "app.kubernetes.io/name", "app"};
    return mesh_labels_first(labels, names, array_count(names), workload_name);
}

struct str mesh_canonical_revision(const struct mesh_labels *labels)
{
    static const char *const names[] = {
        "service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"};
    return mesh_labels_first(labels, names, array_count(names), STR("latest"));
}
