// SPDX-License-Identifier: Apache-2.0
#include "lab/controllers/deployment_internal.h"

#define FNV_OFFSET 2166136261u
#define FNV_PRIME 16777619u

static uint32_t hash_bytes(uint32_t hash, struct str bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        hash = (hash ^ (unsigned char)bytes.data[i]) * FNV_PRIME;
    }
    return hash;
}

static uint32_t hash_value(const struct json_value *value)
{
    uint32_t hash = (FNV_OFFSET ^ (uint32_t)value->type) * FNV_PRIME;
    switch (value->type) {
    case JSON_NULL:
        break;
    case JSON_BOOL:
        hash = (hash ^ (value->boolean ? 1u : 0u)) * FNV_PRIME;
        break;
    case JSON_NUMBER:
    case JSON_STRING:
        return hash_bytes(hash, value->text);
    case JSON_ARRAY:
        for (size_t i = 0; i < value->array.count; i++) {
            hash = (hash ^ hash_value(value->array.items[i])) * FNV_PRIME;
        }
        break;
    case JSON_OBJECT: {
        // A sum does not mind the order of members.
        uint32_t sum = 0;
        for (size_t i = 0; i < value->object.count; i++) {
            const struct json_member *member = &value->object.members[i];
            sum += (hash_bytes(FNV_OFFSET, member->name) ^ hash_value(member->value)) * FNV_PRIME;
        }
        hash = (hash ^ sum) * FNV_PRIME;
        break;
    }
    }
    return hash;
}

struct str template_hash(struct arena *arena, const struct json_value *template, int64_t collisions)
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    uint32_t hash = hash_value(template);
    if (collisions > 0) {
        hash = hash_bytes(hash, arena_format(arena, "%lld", (long long)collisions));
    }
    struct str digits = arena_format(arena, "%u", hash);
    char *text = arena_strdup(arena, digits);
    for (size_t i = 0; i < digits.size; i++) {
        text[i] = alphabet[(unsigned char)text[i] % (sizeof(alphabet) - 1)];
    }
    return str_make(text, digits.size);
}
