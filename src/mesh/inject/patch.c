// SPDX-License-Identifier: Apache-2.0
#include "mesh/inject/inject.h"

// RFC 6901 section 3: "~" and "/" are escaped.
static struct str pointer(struct arena *arena, struct str parent, struct str name)
{
    struct buf text = {0};
    buf_append_str(&text, parent);
    buf_append_char(&text, '/');
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] == '~') {
            buf_append_str(&text, STR("~0"));
        } else if (name.data[i] == '/') {
            buf_append_str(&text, STR("~1"));
        } else {
            buf_append_char(&text, name.data[i]);
        }
    }
    struct str copy = arena_str(arena, buf_view(&text));
    buf_done(&text);
    return copy;
}

static void add_operation(struct arena *arena, struct json_value *patch, const char *operation,
                          struct str path, const struct json_value *value)
{
    struct json_value *entry = json_new_object(arena);
    json_set_cstr(arena, entry, "op", operation);
    json_set_str(arena, entry, "path", path);
    if (value != NULL) {
        json_set(arena, entry, STR("value"), json_copy(arena, value));
    }
    json_push(arena, patch, entry);
}

static void diff(struct arena *arena, struct json_value *patch, struct str path,
                 const struct json_value *from, const struct json_value *to)
{
    for (size_t i = 0; i < from->object.count; i++) {
        struct str name = from->object.members[i].name;
        if (json_get_str_name(to, name) == NULL) {
            add_operation(arena, patch, "remove", pointer(arena, path, name), NULL);
        }
    }
    for (size_t i = 0; i < to->object.count; i++) {
        const struct json_member *member = &to->object.members[i];
        const struct json_value *old = json_get_str_name(from, member->name);
        struct str below = pointer(arena, path, member->name);
        if (old == NULL) {
            add_operation(arena, patch, "add", below, member->value);
        } else if (json_is(old, JSON_OBJECT) && json_is(member->value, JSON_OBJECT)) {
            diff(arena, patch, below, old, member->value);
        } else if (!json_equal(old, member->value)) {
            add_operation(arena, patch, "replace", below, member->value);
        }
    }
}

struct json_value *json_patch_diff(struct arena *arena, const struct json_value *from,
                                   const struct json_value *to)
{
    struct json_value *patch = json_new_array(arena);
    if (json_is(from, JSON_OBJECT) && json_is(to, JSON_OBJECT)) {
        diff(arena, patch, STR_EMPTY, from, to);
    }
    return patch;
}
