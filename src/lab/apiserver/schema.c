// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/schema.h"

#include "base/memory.h"

static bool is_implicit(struct str name)
{
    return str_equal(name, STR("apiVersion")) || str_equal(name, STR("kind")) || str_equal(name, STR("metadata"));
}

static bool is_resource(const struct json_value *schema, bool is_root)
{
    return is_root || json_get_bool(schema, "x-kubernetes-embedded-resource", false);
}

// The schema of a member; NULL: it has none of its own.
static const struct json_value *member_schema(const struct json_value *schema, struct str name)
{
    const struct json_value *property = json_get_str_name(json_get(schema, "properties"), name);
    if (property == NULL && json_is(json_get(schema, "additionalProperties"), JSON_OBJECT)) {
        property = json_get(schema, "additionalProperties");
    }
    return property;
}

// --- pruning ---------------------------------------------------------------------------------------

static void prune(struct json_value *value, const struct json_value *schema, bool is_root)
{
    if (json_is(value, JSON_ARRAY)) {
        const struct json_value *items = json_get(schema, "items");
        for (size_t i = 0; i < json_count(value) && items != NULL; i++) {
            prune(json_at(value, i), items, false);
        }
        return;
    }
    bool keeps_all = json_get_bool(schema, "x-kubernetes-preserve-unknown-fields", false) ||
                     json_get_bool(schema, "additionalProperties", false);
    for (size_t i = 0; json_is(value, JSON_OBJECT) && i < json_count(value);) {
        const struct json_member *member = &value->object.members[i];
        const struct json_value *inner = member_schema(schema, member->name);
        if (is_resource(schema, is_root) && is_implicit(member->name)) {
            i++;
        } else if (inner != NULL) {
            prune(member->value, inner, false);
            i++;
        } else if (keeps_all) {
            i++;
        } else {
            (void)json_remove(value, member->name);
        }
    }
}

// --- defaults --------------------------------------------------------------------------------------

static void set_defaults(struct arena *arena, struct json_value *value, const struct json_value *schema, bool is_root)
{
    const struct json_value *properties = json_get(schema, "properties");
    for (size_t i = 0; json_is(value, JSON_OBJECT) && i < json_count(properties); i++) {
        const struct json_member *property = &properties->object.members[i];
        const struct json_value *otherwise = json_get(property->value, "default");
        const struct json_value *present = json_get_str_name(value, property->name);
        bool is_empty = present == NULL || (present->type == JSON_NULL && !json_get_bool(property->value, "nullable", false));
        if (otherwise != NULL && is_empty && !(is_root && is_implicit(property->name))) {
            json_set(arena, value, arena_str(arena, property->name), json_copy(arena, otherwise));
        }
    }
    for (size_t i = 0; json_is(value, JSON_OBJECT) && i < json_count(value); i++) {
        const struct json_member *member = &value->object.members[i];
        if (!(is_resource(schema, is_root) && is_implicit(member->name))) {
            set_defaults(arena, member->value, member_schema(schema, member->name), false);
        }
    }
    for (size_t i = 0; json_is(value, JSON_ARRAY) && i < json_count(value); i++) {
        set_defaults(arena, json_at(value, i), json_get(schema, "items"), false);
    }
}

void schema_complete(struct arena *arena, struct json_value *object, const struct json_value *schema)
{
    if (schema != NULL) {
        prune(object, schema, true);
        set_defaults(arena, object, schema, true);
    }
}

// --- validation ------------------------------------------------------------------------------------

static const char *type_name(const struct json_value *value)
{
    static const char *const names[] = {[JSON_NULL] = "null", [JSON_BOOL] = "boolean", [JSON_NUMBER] = "number",
                                        [JSON_STRING] = "string", [JSON_ARRAY] = "array", [JSON_OBJECT] = "object"};
    bool is_integer = value->type == JSON_NUMBER && str_find_char(value->text, '.') < 0 && str_find_char(value->text, 'e') < 0 &&
                      str_find_char(value->text, 'E') < 0;
    return is_integer ? "integer" : names[value->type];
}

static bool check_type(const struct json_value *value, const struct json_value *schema, const char *path,
                       struct field_errors *errors)
{
    const char *have = type_name(value);
    struct str want = json_get_str(schema, "type");
    bool is_integer = str_equal_c(str_of(have), "integer");
    if (value->type == JSON_NULL && json_get_bool(schema, "nullable", false)) {
        return true;
    }
    if (json_get_bool(schema, "x-kubernetes-int-or-string", false)) {
        want = value->type == JSON_STRING ? STR("string") : STR("integer");
    }
    if (want.size == 0 || str_equal_c(want, have) || (is_integer && str_equal(want, STR("number")))) {
        return true;
    }
    field_error(errors, "FieldValueInvalid", path, "Invalid value: \"%s\": %s in body must be of type %.*s: \"%s\"", have, path,
                STR_ARG(want), have);
    return false;
}

static void check_enum(const struct json_value *value, const struct json_value *schema, const char *path,
                       struct field_errors *errors)
{
    const struct json_value *choices = json_get(schema, "enum");
    struct buf text = {0};
    for (size_t i = 0; i < json_count(choices); i++) {
        if (json_equal(value, json_at(choices, i))) {
            buf_done(&text);
            return;
        }
        buf_append_str(&text, i == 0 ? STR_EMPTY : STR(", "));
        json_write(json_at(choices, i), &text);
    }
    if (choices != NULL) {
        field_error(errors, "FieldValueNotSupported", path, "Unsupported value: %.*s: supported values: %.*s",
                    STR_ARG(json_to_str(errors->arena, value)), STR_ARG(buf_view(&text)));
    }
    buf_done(&text);
}

static void check_number(const struct json_value *value, const struct json_value *schema, const char *path,
                         struct field_errors *errors)
{
    double number = 0;
    double bound = 0;
    if (!json_double(value, &number)) {
        return;
    }
    bool is_low_open = json_get_bool(schema, "exclusiveMinimum", false);
    bool is_high_open = json_get_bool(schema, "exclusiveMaximum", false);
    if (json_double(json_get(schema, "minimum"), &bound) && (number < bound || (is_low_open && number <= bound))) {
        field_error(errors, "FieldValueInvalid", path, "Invalid value: %.*s: %s in body should be greater than %s%.*s",
                    STR_ARG(value->text), path, is_low_open ? "" : "or equal to ", STR_ARG(json_get(schema, "minimum")->text));
    }
    if (json_double(json_get(schema, "maximum"), &bound) && (number > bound || (is_high_open && number >= bound))) {
        field_error(errors, "FieldValueInvalid", path, "Invalid value: %.*s: %s in body should be less than %s%.*s",
                    STR_ARG(value->text), path, is_high_open ? "" : "or equal to ", STR_ARG(json_get(schema, "maximum")->text));
    }
}

// Code points: bytes that do not continue one.
static int64_t count_characters(struct str text)
{
    int64_t count = 0;
    for (size_t i = 0; i < text.size; i++) {
        count += ((unsigned char)text.data[i] & 0xc0) != 0x80 ? 1 : 0;
    }
    return count;
}

static void check_size(const struct json_value *value, const struct json_value *schema, const char *path,
                       struct field_errors *errors)
{
    static const struct {
        enum json_type type;
        const char *min;
        const char *max;
        const char *verb;
        const char *unit;
    } rows[] = {
        {JSON_STRING, "minLength", "maxLength", "be", "chars long"},
        {JSON_ARRAY, "minItems", "maxItems", "have", "items"},
        {JSON_OBJECT, "minProperties", "maxProperties", "have", "properties"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        if (value->type != rows[i].type) {
            continue;
        }
        int64_t size = value->type == JSON_STRING ? count_characters(value->text) : (int64_t)json_count(value);
        int64_t least = json_get_int(schema, rows[i].min, 0);
        int64_t most = json_get_int(schema, rows[i].max, INT64_MAX);
        if (size < least) {
            field_error(errors, "FieldValueInvalid", path, "Invalid value: %.*s: %s in body should %s at least %lld %s",
                        STR_ARG(json_to_str(errors->arena, value)), path, rows[i].verb, (long long)least, rows[i].unit);
        } else if (size > most && value->type == JSON_STRING) {
            field_error(errors, "FieldValueTooLong", path, "Too long: may not be more than %lld bytes", (long long)most);
        } else if (size > most) {
            field_error(errors, "FieldValueTooMany", path, "Too many: %lld: must have at most %lld %s", (long long)size,
                        (long long)most, rows[i].unit);
        }
    }
}

static const char *join(struct arena *arena, const char *path, struct str name)
{
    return arena_format(arena, "%s%s%.*s", path, path[0] == '\0' ? "" : ".", STR_ARG(name)).data;
}

static void validate(const struct json_value *value, const struct json_value *schema, const char *path, bool is_root,
                     struct field_errors *errors)
{
    struct arena *arena = errors->arena;
    if (!check_type(value, schema, path, errors) || value->type == JSON_NULL) {
        return;
    }
    check_enum(value, schema, path, errors);
    check_number(value, schema, path, errors);
    check_size(value, schema, path, errors);
    const struct json_value *required = json_get(schema, "required");
    for (size_t i = 0; value->type == JSON_OBJECT && i < json_count(required); i++) {
        struct str name = json_str(json_at(required, i));
        if (json_get_str_name(value, name) == NULL) {
            field_error(errors, "FieldValueRequired", join(arena, path, name), "Required value");
        }
    }
    for (size_t i = 0; value->type == JSON_OBJECT && i < json_count(value); i++) {
        const struct json_member *member = &value->object.members[i];
        const struct json_value *inner = member_schema(schema, member->name);
        if (inner != NULL && !(is_resource(schema, is_root) && is_implicit(member->name))) {
            validate(member->value, inner, join(arena, path, member->name), false, errors);
        }
    }
    const struct json_value *items = json_get(schema, "items");
    for (size_t i = 0; value->type == JSON_ARRAY && items != NULL && i < json_count(value); i++) {
        validate(json_at(value, i), items, arena_format(arena, "%s[%zu]", path, i).data, false, errors);
    }
}

void schema_validate(const struct json_value *object, const struct json_value *schema, struct field_errors *errors)
{
    if (schema != NULL) {
        validate(object, schema, "", true, errors);
    }
}
