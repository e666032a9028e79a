// SPDX-License-Identifier: Apache-2.0
#include "lab/world/kubeconfigs.h"

#include "base/memory.h"
#include "codec/json/json.h"
#include "codec/yaml/yaml.h"

static bool has_name(const struct json_value *list, struct str name)
{
    for (size_t i = 0; i < json_count(list); i++) {
        if (str_equal(json_get_str(json_at(list, i), "name"), name)) {
            return true;
        }
    }
    return false;
}

static void merge_list(struct arena *arena, struct json_value *merged, const struct json_value *one, const char *name)
{
    struct json_value *list = json_ensure_array(arena, merged, name);
    const struct json_value *from = json_get(one, name);
    for (size_t i = 0; i < json_count(from); i++) {
        struct json_value *entry = json_at(from, i);
        if (!has_name(list, json_get_str(entry, "name"))) {
            json_push(arena, list, entry);
        }
    }
}

enum err kubeconfigs_merge(struct arena *arena, const struct str *texts, size_t count, struct buf *out,
                           struct error *err)
{
    static const char *const lists[] = {"clusters", "contexts", "users"};
    struct json_value *merged = json_new_object(arena);
    json_set_cstr(arena, merged, "apiVersion", "v1");
    json_set_cstr(arena, merged, "kind", "Config");
    json_set(arena, merged, STR("preferences"), json_new_object(arena));
    for (size_t i = 0; i < count; i++) {
        struct json_value *one = NULL;
        enum err code = yaml_parse(arena, texts[i], &one, err);
        if (code != ERR_OK) {
            return code;
        }
        if (json_get(merged, "current-context") == NULL) {
            json_set_str(arena, merged, "current-context", json_get_str(one, "current-context"));
        }
        for (size_t k = 0; k < array_count(lists); k++) {
            merge_list(arena, merged, one, lists[k]);
        }
    }
    yaml_write(merged, out);
    return ERR_OK;
}
