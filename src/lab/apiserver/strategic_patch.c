// SPDX-License-Identifier: Apache-2.0
//
// Strategic merge patch. Objects merge as in a merge patch; lists merge element by element where the
// API types say so. Which lists do is told by the table below, by the name of the list and of the object
// it lies in: the built-in kinds use their field names so consistently that no full schema is needed.
//
// Directives (keys that begin with a dollar sign, never stored):
//   "$patch": replace | delete | merge        of the object they stand in
//   "$retainKeys": [names]                    drops every other key after merging
//   "$deleteFromPrimitiveList/F": [values]    removes from the merged list F of primitives
//   "$setElementOrder/F": [values or {key}]   order of the merged list F
#include "base/vec.h"
#include "lab/apiserver/patch.h"

struct merge_rule {
    const char *parent; // name of the field whose value holds the list; "*": any
    const char *field;
    const char *kind;   // limits the rule to one kind; NULL: all
    const char *key;    // merge key; "": list of primitives
};

// clang-format off
static const struct merge_rule merge_rules[] = {
    {"metadata", "ownerReferences",          NULL, "uid"},
    {"metadata", "finalizers",               NULL, ""},
    {"spec",     "volumes",                  NULL, "name"},
    {"spec",     "containers",               NULL, "name"},
    {"spec",     "initContainers",           NULL, "name"},
    {"spec",     "ephemeralContainers",      NULL, "name"},
    {"spec",     "imagePullSecrets",         NULL, "name"},
    {"spec",     "schedulingGates",          NULL, "name"},
    {"spec",     "resourceClaims",           NULL, "name"},
    {"spec",     "hostAliases",              NULL, "ip"},
    {"spec",     "topologySpreadConstraints",NULL, "topologyKey"},
    {"spec",     "podCIDRs",                 "Node", ""},
    {"spec",     "ports",                    "Service", "port"},
    {"[]",       "ports",                    NULL, "containerPort"}, // of a container
    {"[]",       "env",                      NULL, "name"},
    {"[]",       "volumeMounts",             NULL, "mountPath"},
    {"[]",       "volumeDevices",            NULL, "devicePath"},
    {"[]",       "matchConditions",          NULL, "name"},
    {"",         "secrets",                  "ServiceAccount", "name"},
    {"",         "webhooks",                 "MutatingWebhookConfiguration", "name"},
    {"",         "webhooks",                 "ValidatingWebhookConfiguration", "name"},
    {"status",   "conditions",               NULL, "type"},
    {"status",   "podIPs",                   NULL, "ip"},
    {"status",   "hostIPs",                  NULL, "ip"},
    {"status",   "addresses",                "Node", "type"},
};
// clang-format on

struct strategic {
    struct arena *arena;
    struct str kind;
    struct error *err;
};

static const char *find_merge_key(struct str kind, struct str parent, struct str field)
{
    for (size_t i = 0; i < array_count(merge_rules); i++) {
        const struct merge_rule *rule = &merge_rules[i];
        if (str_equal_c(field, rule->field) && str_equal_c(parent, rule->parent) &&
            (rule->kind == NULL || str_equal_c(kind, rule->kind))) {
            return rule->key;
        }
    }
    return NULL;
}

const char *strategic_merge_key(struct str kind, struct str path)
{
    ptrdiff_t dot = str_find_last_char(path, '.');
    struct str field = dot < 0 ? path : str_from(path, (size_t)dot + 1);
    struct str parent = dot < 0 ? STR_EMPTY : str_sub(path, 0, (size_t)dot);
    dot = str_find_last_char(parent, '.');
    return find_merge_key(kind, dot < 0 ? parent : str_from(parent, (size_t)dot + 1), field);
}

static enum err merge_object(struct strategic *run, struct str parent, struct json_value *live,
                             const struct json_value *patch, struct json_value **ret_value);

static struct json_value *find_element(const struct json_value *list, const char *key,
                                       const struct json_value *value, size_t *ret_index)
{
    for (size_t i = 0; i < json_count(list); i++) {
        struct json_value *item = json_at(list, i);
        const struct json_value *other = *key == '\0' ? item : json_get(item, key);
        if (other != NULL && json_equal(other, value)) {
            *ret_index = i;
            return item;
        }
    }
    return NULL;
}

// A value of the patch that has nothing to merge with: a copy without directives and nulls.
static struct json_value *without_directives(struct arena *arena, const struct json_value *value)
{
    if (json_is(value, JSON_ARRAY)) {
        struct json_value *list = json_new_array(arena);
        for (size_t i = 0; i < json_count(value); i++) {
            const struct json_value *item = json_at(value, i);
            if (!str_equal(json_get_str(item, "$patch"), STR("delete"))) {
                json_push(arena, list, without_directives(arena, item));
            }
        }
        return list;
    }
    if (!json_is(value, JSON_OBJECT)) {
        return json_copy(arena, value);
    }
    struct json_value *object = json_new_object(arena);
    for (size_t i = 0; i < value->object.count; i++) {
        const struct json_member *member = &value->object.members[i];
        bool is_directive = !str_is_empty(member->name) && member->name.data[0] == '$';
        if (!is_directive && member->value->type != JSON_NULL) {
            json_set(arena, object, member->name, without_directives(arena, member->value));
        }
    }
    return object;
}

// --- lists -----------------------------------------------------------------------------------------

static enum err merge_elements(struct strategic *run, const char *key, struct json_value *result,
                               const struct json_value *patch)
{
    for (size_t i = 0; i < json_count(patch); i++) {
        const struct json_value *item = json_at(patch, i);
        struct str directive = json_get_str(item, "$patch");
        const struct json_value *identity = *key == '\0' ? item : json_get(item, key);
        size_t index = 0;
        if (str_equal(directive, STR("replace")) && json_count(item) == 1) {
            continue; // the whole list was replaced by the caller
        }
        if (identity == NULL) {
            return error_set(run->err, ERR_INVALID, "map: does not contain declared merge key: %s", key);
        }
        struct json_value *live = find_element(result, key, identity, &index);
        if (str_equal(directive, STR("delete"))) {
            while (live != NULL) {
                json_array_remove(result, index);
                live = find_element(result, key, identity, &index);
            }
        } else if (live == NULL) {
            json_push(run->arena, result, without_directives(run->arena, item));
        } else if (*key != '\0') {
            struct json_value *merged;
            enum err code = merge_object(run, STR("[]"), live, item, &merged);
            if (code != ERR_OK) {
                return code;
            }
            result->array.items[index] = merged;
        }
    }
    return ERR_OK;
}

// Index of item in the wanted order; -1: not named there.
static ptrdiff_t order_index(const struct json_value *order, const char *key, const struct json_value *item)
{
    const struct json_value *identity = *key == '\0' ? item : json_get(item, key);
    size_t index;
    if (identity == NULL || find_element(order, key, identity, &index) == NULL) {
        return -1;
    }
    return (ptrdiff_t)index;
}

// Named elements take the order given; elements nobody named keep their place behind the named
// neighbour they followed.
static struct json_value *reorder(struct arena *arena, const char *key, struct json_value *list,
                                  const struct json_value *order)
{
    struct json_value *result = json_new_array(arena);
    size_t count = json_count(list);
    size_t leading = 0;
    while (leading < count && order_index(order, key, json_at(list, leading)) < 0) {
        json_push(arena, result, json_at(list, leading++));
    }
    for (size_t wanted = 0; wanted < json_count(order); wanted++) {
        for (size_t i = leading; i < count; i++) {
            if (order_index(order, key, json_at(list, i)) != (ptrdiff_t)wanted) {
                continue;
            }
            json_push(arena, result, json_at(list, i));
            for (size_t next = i + 1; next < count && order_index(order, key, json_at(list, next)) < 0;
                 next++) {
                json_push(arena, result, json_at(list, next));
            }
        }
    }
    return result;
}

static bool replaces_list(const struct json_value *patch)
{
    for (size_t i = 0; i < json_count(patch); i++) {
        const struct json_value *item = json_at(patch, i);
        if (str_equal(json_get_str(item, "$patch"), STR("replace")) && json_count(item) == 1) {
            return true;
        }
    }
    return false;
}

static const struct json_value *find_directive(struct strategic *run, const struct json_value *patch,
                                               const char *directive, struct str field)
{
    struct str name = arena_format(run->arena, "$%s/%.*s", directive, STR_ARG(field));
    return json_get_str_name(patch, name);
}

static void delete_primitives(struct json_value *list, const struct json_value *values)
{
    for (size_t i = 0; i < json_count(values); i++) {
        size_t index;
        while (find_element(list, "", json_at(values, i), &index) != NULL) {
            json_array_remove(list, index);
        }
    }
}

// The merged list F = field of the object patch stands for; items may be NULL (directives only).
static enum err merge_list(struct strategic *run, struct str field, const char *key, struct json_value *object,
                           const struct json_value *patch, const struct json_value *items)
{
    struct json_value *live = json_get_str_name(object, field);
    struct json_value *result = json_is(live, JSON_ARRAY) ? live : json_new_array(run->arena);
    if (replaces_list(items)) {
        result = json_new_array(run->arena);
    }
    if (*key == '\0') {
        delete_primitives(result, find_directive(run, patch, "deleteFromPrimitiveList", field));
    }
    enum err code = merge_elements(run, key, result, items);
    if (code != ERR_OK) {
        error_prefix(run->err, "%.*s", STR_ARG(field));
        return code;
    }
    const struct json_value *order = find_directive(run, patch, "setElementOrder", field);
    if (json_is(order, JSON_ARRAY)) {
        result = reorder(run->arena, key, result, order);
    }
    if (live != NULL || json_count(result) > 0 || items != NULL) {
        json_set(run->arena, object, field, result);
    }
    return ERR_OK;
}

// --- objects ---------------------------------------------------------------------------------------

static void retain_keys(struct json_value *object, const struct json_value *keys)
{
    for (size_t i = object->object.count; i > 0; i--) {
        struct str name = object->object.members[i - 1].name;
        bool retained = false;
        for (size_t k = 0; k < json_count(keys) && !retained; k++) {
            retained = str_equal(json_str(json_at(keys, k)), name);
        }
        if (!retained) {
            (void)json_remove(object, name);
        }
    }
}

static enum err merge_member(struct strategic *run, struct str parent, struct json_value *object,
                             const struct json_value *patch, const struct json_member *member)
{
    struct str name = member->name;
    const struct json_value *value = member->value;
    if (value->type == JSON_NULL) {
        (void)json_remove(object, name);
        return ERR_OK;
    }
    if (value->type == JSON_ARRAY) {
        const char *key = find_merge_key(run->kind, parent, name);
        if (key != NULL) {
            return merge_list(run, name, key, object, patch, value);
        }
        json_set(run->arena, object, name, without_directives(run->arena, value));
        return ERR_OK;
    }
    if (value->type == JSON_OBJECT) {
        struct json_value *merged;
        enum err code = merge_object(run, name, json_get_str_name(object, name), value, &merged);
        if (code != ERR_OK) {
            error_prefix(run->err, "%.*s", STR_ARG(name));
            return code;
        }
        if (merged == NULL) {
            (void)json_remove(object, name);
        } else {
            json_set(run->arena, object, name, merged);
        }
        return ERR_OK;
    }
    json_set(run->arena, object, name, json_copy(run->arena, value));
    return ERR_OK;
}

// A directive about a list the patch has no elements for ("$setElementOrder/ports" alone).
static enum err merge_lone_directive(struct strategic *run, struct str parent, struct json_value *object,
                                     const struct json_value *patch, struct str name)
{
    ptrdiff_t slash = str_find_char(name, '/');
    if (slash < 0) {
        return ERR_OK;
    }
    struct str field = str_from(name, (size_t)slash + 1);
    const char *key = find_merge_key(run->kind, parent, field);
    if (key == NULL || json_get_str_name(patch, field) != NULL) {
        return ERR_OK;
    }
    return merge_list(run, field, key, object, patch, NULL);
}

// *ret_value NULL: the object is deleted.
static enum err merge_object(struct strategic *run, struct str parent, struct json_value *live,
                             const struct json_value *patch, struct json_value **ret_value)
{
    struct str directive = json_get_str(patch, "$patch");
    if (str_equal(directive, STR("delete"))) {
        *ret_value = NULL;
        return ERR_OK;
    }
    if (str_equal(directive, STR("replace"))) {
        *ret_value = without_directives(run->arena, patch);
        return ERR_OK;
    }
    struct json_value *object = json_is(live, JSON_OBJECT) ? live : json_new_object(run->arena);
    for (size_t i = 0; i < patch->object.count; i++) {
        const struct json_member *member = &patch->object.members[i];
        bool is_directive = !str_is_empty(member->name) && member->name.data[0] == '$';
        enum err code = is_directive ? merge_lone_directive(run, parent, object, patch, member->name)
                                     : merge_member(run, parent, object, patch, member);
        if (code != ERR_OK) {
            return code;
        }
    }
    const struct json_value *retained = json_get(patch, "$retainKeys");
    if (json_is(retained, JSON_ARRAY)) {
        retain_keys(object, retained);
    }
    *ret_value = object;
    return ERR_OK;
}

enum err strategic_patch_apply(struct arena *arena, struct str kind, struct json_value *document,
                               const struct json_value *patch, struct json_value **ret_document,
                               struct error *err)
{
    if (!json_is(patch, JSON_OBJECT)) {
        return error_set(err, ERR_INVALID, "a strategic merge patch is an object");
    }
    struct strategic run = {.arena = arena, .kind = kind, .err = err};
    struct json_value *result;
    enum err code = merge_object(&run, STR_EMPTY, document, patch, &result);
    if (code == ERR_OK) {
        *ret_document = result == NULL ? json_new_object(arena) : result;
    }
    return code;
}
