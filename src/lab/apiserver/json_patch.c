// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/patch.h"

struct place {
    struct json_value *parent; // NULL: the whole document
    struct str token;          // last one, decoded
};

// One reference token with ~0 and ~1 decoded (RFC 6901 section 3); data NULL when malformed.
static struct str pointer_decode(struct arena *arena, struct str token)
{
    char *out = arena_alloc(arena, token.size + 1);
    size_t size = 0;
    for (size_t i = 0; i < token.size; i++) {
        char c = token.data[i];
        if (c == '~') {
            if (i + 1 == token.size || (token.data[i + 1] != '0' && token.data[i + 1] != '1')) {
                return (struct str){0};
            }
            c = token.data[++i] == '0' ? '~' : '/';
        }
        out[size++] = c;
    }
    out[size] = '\0';
    return str_make(out, size);
}

// Array index without leading zeros (RFC 6901 section 4), below limit.
static bool pointer_index(struct str token, size_t limit, size_t *ret_index)
{
    uint64_t index;
    if (!str_to_u64(token, &index) || (token.size > 1 && token.data[0] == '0') || index >= limit) {
        return false;
    }
    *ret_index = (size_t)index;
    return true;
}

static struct json_value *place_get(const struct place *place)
{
    size_t index;
    if (json_is(place->parent, JSON_OBJECT)) {
        return json_get_str_name(place->parent, place->token);
    }
    if (json_is(place->parent, JSON_ARRAY) &&
        pointer_index(place->token, json_count(place->parent), &index)) {
        return json_at(place->parent, index);
    }
    return NULL;
}

static enum err pointer_find(struct arena *arena, struct json_value *document, struct str pointer,
                             struct place *ret_place, struct error *err)
{
    *ret_place = (struct place){0};
    if (str_is_empty(pointer)) {
        return ERR_OK;
    }
    if (pointer.data[0] != '/') {
        return error_set(err, ERR_INVALID, "JSON pointer \"%.*s\" does not begin with a slash",
                         STR_ARG(str_sub(pointer, 0, 128)));
    }
    struct place place = {0};
    struct json_value *at = document;
    for (struct str rest = str_from(pointer, 1); rest.data != NULL;) {
        struct str token = pointer_decode(arena, str_split(&rest, '/'));
        if (token.data == NULL) {
            return error_set(err, ERR_INVALID, "JSON pointer \"%.*s\": a tilde must be ~0 or ~1",
                             STR_ARG(str_sub(pointer, 0, 128)));
        }
        if (!json_is(at, JSON_OBJECT) && !json_is(at, JSON_ARRAY)) {
            return error_set(err, ERR_CONFLICT, "the path \"%.*s\" does not exist",
                             STR_ARG(str_sub(pointer, 0, 128)));
        }
        place = (struct place){.parent = at, .token = token};
        at = place_get(&place);
    }
    *ret_place = place;
    return ERR_OK;
}

static enum err missing(struct str pointer, struct error *err)
{
    return error_set(err, ERR_CONFLICT, "the path \"%.*s\" does not exist",
                     STR_ARG(str_sub(pointer, 0, 128)));
}

static enum err patch_add(struct arena *arena, struct json_value **document, struct str pointer,
                          struct json_value *value, struct error *err)
{
    struct place place;
    enum err code = pointer_find(arena, *document, pointer, &place, err);
    if (code != ERR_OK) {
        return code;
    }
    size_t index;
    if (place.parent == NULL) {
        *document = value;
    } else if (json_is(place.parent, JSON_OBJECT)) {
        json_set(arena, place.parent, place.token, value);
    } else if (str_equal(place.token, STR("-"))) {
        json_push(arena, place.parent, value);
    } else if (pointer_index(place.token, json_count(place.parent) + 1, &index)) {
        json_array_insert(arena, place.parent, index, value);
    } else {
        return error_set(err, ERR_CONFLICT, "the index in \"%.*s\" is out of bounds",
                         STR_ARG(str_sub(pointer, 0, 128)));
    }
    return ERR_OK;
}

static enum err patch_remove(struct arena *arena, struct json_value *document, struct str pointer,
                             struct json_value **ret_removed, struct error *err)
{
    struct place place;
    enum err code = pointer_find(arena, document, pointer, &place, err);
    if (code != ERR_OK) {
        return code;
    }
    struct json_value *value = place_get(&place);
    if (value == NULL) {
        return missing(pointer, err);
    }
    size_t index = 0;
    if (json_is(place.parent, JSON_OBJECT)) {
        (void)json_remove(place.parent, place.token);
    } else if (pointer_index(place.token, json_count(place.parent), &index)) {
        json_array_remove(place.parent, index);
    }
    *ret_removed = value;
    return ERR_OK;
}

static enum err patch_find(struct arena *arena, struct json_value *document, struct str pointer,
                           struct json_value **ret_value, struct error *err)
{
    struct place place;
    enum err code = pointer_find(arena, document, pointer, &place, err);
    if (code != ERR_OK) {
        return code;
    }
    struct json_value *value = place.parent == NULL ? document : place_get(&place);
    if (value == NULL) {
        return missing(pointer, err);
    }
    *ret_value = value;
    return ERR_OK;
}

static enum err patch_replace(struct arena *arena, struct json_value **document, struct str pointer,
                              struct json_value *value, struct error *err)
{
    struct place place;
    enum err code = pointer_find(arena, *document, pointer, &place, err);
    if (code != ERR_OK) {
        return code;
    }
    size_t index;
    if (place.parent == NULL) {
        *document = value;
    } else if (place_get(&place) == NULL) {
        return missing(pointer, err);
    } else if (json_is(place.parent, JSON_OBJECT)) {
        json_set(arena, place.parent, place.token, value);
    } else if (pointer_index(place.token, json_count(place.parent), &index)) {
        place.parent->array.items[index] = value;
    }
    return ERR_OK;
}

static enum err patch_move_or_copy(struct arena *arena, struct json_value **document, bool is_move,
                                   struct str from, struct str to, struct error *err)
{
    struct json_value *value;
    enum err code;
    if (is_move) {
        // A location cannot move into its own child (RFC 6902 section 4.4).
        if (str_starts_with(to, from) && to.size > from.size && to.data[from.size] == '/') {
            return error_set(err, ERR_INVALID, "move: \"%.*s\" is inside of \"%.*s\"", STR_ARG(str_sub(to, 0, 128)),
                             STR_ARG(str_sub(from, 0, 128)));
        }
        if (str_equal(to, from)) {
            return patch_find(arena, *document, from, &value, err);
        }
        code = patch_remove(arena, *document, from, &value, err);
    } else {
        code = patch_find(arena, *document, from, &value, err);
        if (code == ERR_OK) {
            value = json_copy(arena, value);
        }
    }
    return code != ERR_OK ? code : patch_add(arena, document, to, value, err);
}

static enum err patch_one(struct arena *arena, struct json_value **document, const struct json_value *operation,
                          struct error *err)
{
    struct str op = json_get_str(operation, "op");
    const struct json_value *path = json_get(operation, "path");
    struct json_value *value = json_get(operation, "value");
    const struct json_value *from = json_get(operation, "from");
    if (!json_is(path, JSON_STRING)) {
        return error_set(err, ERR_INVALID, "an operation has no path");
    }
    struct str pointer = path->text;
    struct json_value *found;
    if (str_equal(op, STR("remove"))) {
        return patch_remove(arena, *document, pointer, &found, err);
    }
    if (str_equal(op, STR("move")) || str_equal(op, STR("copy"))) {
        if (!json_is(from, JSON_STRING)) {
            return error_set(err, ERR_INVALID, "%.*s: no from", STR_ARG(op));
        }
        return patch_move_or_copy(arena, document, op.data[0] == 'm', from->text, pointer, err);
    }
    bool is_add = str_equal(op, STR("add"));
    if (!is_add && !str_equal(op, STR("replace")) && !str_equal(op, STR("test"))) {
        return error_set(err, ERR_INVALID, "unknown operation \"%.*s\"", STR_ARG(str_sub(op, 0, 32)));
    }
    if (value == NULL) {
        return error_set(err, ERR_INVALID, "%.*s: no value", STR_ARG(op));
    }
    if (is_add) {
        return patch_add(arena, document, pointer, json_copy(arena, value), err);
    }
    if (op.data[0] == 'r') {
        return patch_replace(arena, document, pointer, json_copy(arena, value), err);
    }
    enum err code = patch_find(arena, *document, pointer, &found, err);
    if (code == ERR_OK && !json_equal(found, value)) {
        return error_set(err, ERR_CONFLICT, "test: \"%.*s\" has another value",
                         STR_ARG(str_sub(pointer, 0, 128)));
    }
    return code;
}

enum err json_patch_apply(struct arena *arena, struct json_value **document, const struct json_value *patch,
                          struct error *err)
{
    if (!json_is(patch, JSON_ARRAY)) {
        return error_set(err, ERR_INVALID, "a JSON patch is an array of operations");
    }
    if (json_count(patch) > PATCH_OPERATIONS_MAX) {
        return error_set(err, ERR_LIMIT, "a JSON patch may have %u operations", PATCH_OPERATIONS_MAX);
    }
    size_t start = arena->total;
    for (size_t i = 0; i < json_count(patch); i++) {
        enum err code = patch_one(arena, document, json_at(patch, i), err);
        if (code != ERR_OK) {
            error_prefix(err, "operation %zu", i);
            return code;
        }
        // Repeated copies double the document: bound what they add.
        if (arena->total - start > PATCH_GROWTH_MAX) {
            return error_set(err, ERR_LIMIT, "the patch makes more than %u bytes", PATCH_GROWTH_MAX);
        }
    }
    return ERR_OK;
}
