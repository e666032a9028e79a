// SPDX-License-Identifier: Apache-2.0
#include "lab/node/volumes.h"

#include "base/memory.h"

#define MODE_DEFAULT 0644

struct builder {
    struct arena *arena;
    const struct pod_context *context;
    struct volume_files *files;
    uint32_t default_mode;
    struct error *err;
};

typedef enum err source_fn(struct builder *builder, const struct json_value *source, struct str volume, size_t index);

// A relative path without "." and ".." parts: it becomes one inside the volume.
static bool is_safe(struct str path)
{
    if (str_is_empty(path) || path.size > 1024 || memchr(path.data, '\0', path.size) != NULL) {
        return false;
    }
    for (struct str rest = path; rest.data != NULL;) {
        struct str part = str_split(&rest, '/');
        if (str_is_empty(part) || str_equal_c(part, ".") || str_starts_with(part, STR(".."))) {
            return false;
        }
    }
    return true;
}

static uint32_t mode_of(const struct builder *builder, const struct json_value *item)
{
    return (uint32_t)json_get_int(item, "mode", builder->default_mode) & 0777;
}

static enum err add(struct builder *builder, struct str path, struct str bytes, uint32_t mode)
{
    if (!is_safe(path)) {
        return error_set(builder->err, ERR_INVALID, "\"%.*s\" is no path inside a volume", STR_ARG(path));
    }
    if (builder->files->list.count == VOLUME_FILES_MAX) {
        return error_set(builder->err, ERR_LIMIT, "a volume has more than %u files", VOLUME_FILES_MAX);
    }
    vec_push(&builder->files->list, (struct volume_file){.path = path, .bytes = bytes, .mode = mode});
    return ERR_OK;
}

static enum err add_keys(struct builder *builder, enum object_kind kind, const struct json_value *object, const char *part)
{
    const struct json_value *data = json_get(object, part);
    for (size_t i = 0; json_is(data, JSON_OBJECT) && i < data->object.count; i++) {
        struct str key = data->object.members[i].name;
        struct str bytes = context_value(builder->arena, kind, object, key);
        enum err code = add(builder, key, bytes, builder->default_mode);
        if (code != ERR_OK) {
            return code;
        }
    }
    return ERR_OK;
}

static enum err add_items(struct builder *builder, enum object_kind kind, const struct json_value *object,
                          const struct json_value *items, bool is_optional)
{
    for (size_t i = 0; i < json_count(items); i++) {
        const struct json_value *item = json_at(items, i);
        struct str key = json_get_str(item, "key");
        struct str bytes = context_value(builder->arena, kind, object, key);
        if (bytes.data == NULL && is_optional) {
            continue;
        }
        if (bytes.data == NULL) {
            return error_set(builder->err, ERR_NOT_FOUND, "references non-existent key: %.*s", STR_ARG(key));
        }
        enum err code = add(builder, json_get_str(item, "path"), bytes, mode_of(builder, item));
        if (code != ERR_OK) {
            return code;
        }
    }
    return ERR_OK;
}

static enum err add_object(struct builder *builder, enum object_kind kind, const struct json_value *source, struct str name)
{
    bool is_optional = json_get_bool(source, "optional", false);
    const struct json_value *items = json_get(source, "items");
    struct error missing = {0};
    const struct json_value *object = context_find(builder->context, kind, name, &missing);
    if (object == NULL) {
        return is_optional ? ERR_OK : error_set(builder->err, missing.code, "%s", missing.message);
    }
    if (json_count(items) > 0) {
        return add_items(builder, kind, object, items, is_optional);
    }
    enum err code = add_keys(builder, kind, object, "data");
    return code == ERR_OK && kind == OBJECT_CONFIG_MAP ? add_keys(builder, kind, object, "binaryData") : code;
}

static enum err add_config_map(struct builder *builder, const struct json_value *source, struct str volume, size_t index)
{
    (void)volume;
    (void)index;
    return add_object(builder, OBJECT_CONFIG_MAP, source, json_get_str(source, "name"));
}

// A secret volume says secretName, a projected source says name.
static enum err add_secret(struct builder *builder, const struct json_value *source, struct str volume, size_t index)
{
    struct str name = json_get_str(source, "secretName");
    (void)volume;
    (void)index;
    return add_object(builder, OBJECT_SECRET, source, name.data == NULL ? json_get_str(source, "name") : name);
}

static const struct json_value *find_container(const struct json_value *pod, struct str name)
{
    static const char *const lists[] = {"containers", "initContainers"};
    for (size_t k = 0; k < array_count(lists); k++) {
        const struct json_value *list = json_path(pod, "spec", lists[k], NULL);
        for (size_t i = 0; i < json_count(list); i++) {
            if (str_equal(json_get_str(json_at(list, i), "name"), name)) {
                return json_at(list, i);
            }
        }
    }
    return NULL;
}

static enum err add_downward(struct builder *builder, const struct json_value *source, struct str volume, size_t index)
{
    const struct json_value *items = json_get(source, "items");
    (void)volume;
    (void)index;
    for (size_t i = 0; i < json_count(items); i++) {
        const struct json_value *item = json_at(items, i);
        const struct json_value *field = json_get(item, "fieldRef");
        const struct json_value *resource = json_get(item, "resourceFieldRef");
        struct str container = json_get_str(resource, "containerName");
        struct str bytes = field != NULL
                               ? context_field(builder->arena, builder->context, json_get_str(field, "fieldPath"))
                               : context_resource(builder->arena, find_container(builder->context->pod, container), resource);
        enum err code = add(builder, json_get_str(item, "path"), bytes.data == NULL ? STR_EMPTY : bytes, mode_of(builder, item));
        if (code != ERR_OK) {
            return code;
        }
    }
    return ERR_OK;
}

static enum err add_token(struct builder *builder, const struct json_value *source, struct str volume, size_t index)
{
    struct str token = builder->context->source.token(builder->context->source.owner, volume, index);
    if (token.data == NULL) {
        return error_set(builder->err, ERR_NOT_FOUND, "the service account token of volume \"%.*s\" is not there yet",
                         STR_ARG(volume));
    }
    return add(builder, json_get_str(source, "path"), token, builder->default_mode);
}

static const struct {
    const char *name;
    source_fn *add;
} sources[] = {
    {"configMap", add_config_map},
    {"secret", add_secret},
    {"downwardAPI", add_downward},
    {"serviceAccountToken", add_token},
};

static enum err add_projected(struct builder *builder, const struct json_value *projected, struct str volume)
{
    const struct json_value *list = json_get(projected, "sources");
    for (size_t i = 0; i < json_count(list); i++) {
        enum err code = ERR_OK;
        for (size_t k = 0; k < array_count(sources) && code == ERR_OK; k++) {
            const struct json_value *source = json_get(json_at(list, i), sources[k].name);
            if (source != NULL) {
                code = sources[k].add(builder, source, volume, i);
            }
        }
        if (code != ERR_OK) {
            return code;
        }
    }
    return ERR_OK;
}

static const struct json_value *file_source(const struct json_value *volume, source_fn **ret_add)
{
    for (size_t k = 0; k < array_count(sources); k++) {
        const struct json_value *source = json_get(volume, sources[k].name);
        if (source != NULL) {
            *ret_add = sources[k].add;
            return source;
        }
    }
    *ret_add = NULL;
    return json_get(volume, "projected");
}

bool volume_has_files(const struct json_value *volume)
{
    source_fn *source_add = NULL;
    return file_source(volume, &source_add) != NULL;
}

enum err volume_build(struct arena *arena, const struct pod_context *context, const struct json_value *volume,
                      struct volume_files *files, struct error *err)
{
    source_fn *source_add = NULL;
    struct str name = json_get_str(volume, "name");
    struct error cause = {0};
    const struct json_value *source = file_source(volume, &source_add);
    struct builder builder = {.arena = arena, .context = context, .files = files, .err = &cause,
                              .default_mode = (uint32_t)json_get_int(source, "defaultMode", MODE_DEFAULT) & 0777};
    enum err code = source_add == NULL ? add_projected(&builder, source, name) : source_add(&builder, source, name, 0);
    return code == ERR_OK ? ERR_OK
                          : error_set(err, code, "MountVolume.SetUp failed for volume \"%.*s\" : %s", STR_ARG(name), cause.message);
}

uint64_t volume_hash(const struct volume_files *files)
{
    uint64_t hash = files->list.count + 1;
    for (size_t i = 0; i < files->list.count; i++) {
        const struct volume_file *file = &files->list.items[i];
        hash = hash * 1099511628211u ^ str_hash(file->path);
        hash = hash * 1099511628211u ^ str_hash(file->bytes) ^ file->mode;
    }
    return hash;
}
