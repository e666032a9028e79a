// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/patch.h"

struct json_value *merge_patch_apply(struct arena *arena, struct json_value *document,
                                     const struct json_value *patch)
{
    if (!json_is(patch, JSON_OBJECT)) {
        return json_copy(arena, patch);
    }
    struct json_value *result = json_is(document, JSON_OBJECT) ? document : json_new_object(arena);
    for (size_t i = 0; i < patch->object.count; i++) {
        const struct json_member *member = &patch->object.members[i];
        if (member->value->type == JSON_NULL) {
            (void)json_remove(result, member->name);
            continue;
        }
        struct json_value *old = json_get_str_name(result, member->name);
        json_set(arena, result, member->name, merge_patch_apply(arena, old, member->value));
    }
    return result;
}
