// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/metadata.h"

#include <time.h>

#include "base/random.h"
#include "lab/apiserver/kinds.h"

// --- names -----------------------------------------------------------------------------------------

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool name_is_label(struct str name)
{
    if (name.size == 0 || name.size > 63 || name.data[0] == '-' || name.data[name.size - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < name.size; i++) {
        if (!is_lower_or_digit(name.data[i]) && name.data[i] != '-') {
            return false;
        }
    }
    return true;
}

bool name_is_subdomain(struct str name)
{
    if (name.size == 0 || name.size > 253) {
        return false;
    }
    for (struct str rest = name; rest.data != NULL;) {
        struct str part = str_split(&rest, '.');
        if (part.size == 0 || part.data[0] == '-' || part.data[part.size - 1] == '-') {
            return false;
        }
        for (size_t i = 0; i < part.size; i++) {
            if (!is_lower_or_digit(part.data[i]) && part.data[i] != '-') {
                return false;
            }
        }
    }
    return true;
}

static bool is_alphanumeric(char c)
{
    return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

static bool is_qualified(struct str text)
{
    if (text.size == 0 || text.size > 63 || !is_alphanumeric(text.data[0]) ||
        !is_alphanumeric(text.data[text.size - 1])) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (!is_alphanumeric(c) && c != '-' && c != '_' && c != '.') {
            return false;
        }
    }
    return true;
}

bool label_key_is_valid(struct str key)
{
    ptrdiff_t slash = str_find_char(key, '/');
    if (slash < 0) {
        return is_qualified(key);
    }
    return name_is_subdomain(str_sub(key, 0, (size_t)slash)) && is_qualified(str_from(key, (size_t)slash + 1));
}

bool label_value_is_valid(struct str value)
{
    return value.size == 0 || is_qualified(value);
}

struct str name_generate(struct arena *arena, struct str prefix)
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    struct random random;
    random_init_from_kernel(&random);
    char suffix[METADATA_GENERATED_SIZE];
    for (size_t i = 0; i < sizeof(suffix); i++) {
        suffix[i] = alphabet[random_below(&random, sizeof(alphabet) - 1)];
    }
    prefix = str_sub(prefix, 0, 63 - METADATA_GENERATED_SIZE);
    return arena_format(arena, "%.*s%.*s", STR_ARG(prefix), (int)sizeof(suffix), suffix);
}

// --- times -----------------------------------------------------------------------------------------

struct str time_text(struct arena *arena, uint64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    (void)gmtime_r(&seconds, &parts);
    char text[40];
    size_t size = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return arena_str(arena, str_make(text, size));
}

// Two digits at an index; -1: none.
static int two_digits(struct str text, size_t at)
{
    uint64_t value;
    return at + 2 <= text.size && str_to_u64(str_sub(text, at, 2), &value) ? (int)value : -1;
}

bool time_parse(struct str text, int64_t *ret_seconds)
{
    uint64_t year;
    if (text.size < 20 || !str_to_u64(str_sub(text, 0, 4), &year) || text.data[4] != '-' ||
        text.data[10] != 'T' || text.data[text.size - 1] != 'Z') {
        return false;
    }
    struct tm parts = {
        .tm_year = (int)year - 1900,
        .tm_mon = two_digits(text, 5) - 1,
        .tm_mday = two_digits(text, 8),
        .tm_hour = two_digits(text, 11),
        .tm_min = two_digits(text, 14),
        .tm_sec = two_digits(text, 17),
    };
    if (parts.tm_mon < 0 || parts.tm_mday < 0 || parts.tm_hour < 0 || parts.tm_min < 0 || parts.tm_sec < 0) {
        return false;
    }
    *ret_seconds = (int64_t)timegm(&parts);
    return true;
}

// --- the server's fields ---------------------------------------------------------------------------

static const char *const client_fields_dropped[] = {"managedFields", "selfLink"};
static const char *const server_fields[] = {
    "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "resourceVersion",
};

static struct json_value *metadata_clean(struct arena *arena, struct json_value *object)
{
    struct json_value *metadata = json_ensure_object(arena, object, "metadata");
    for (size_t i = 0; i < array_count(client_fields_dropped); i++) {
        (void)json_remove(metadata, str_of(client_fields_dropped[i]));
    }
    for (size_t i = 0; i < array_count(server_fields); i++) {
        (void)json_remove(metadata, str_of(server_fields[i]));
    }
    return metadata;
}

void metadata_init(struct arena *arena, struct json_value *object, const struct kind *kind, struct str ns,
                   uint64_t wall_ms)
{
    struct json_value *metadata = metadata_clean(arena, object);
    if (kind_has(kind, KIND_NAMESPACED)) {
        json_set_str(arena, metadata, "namespace", ns);
    } else {
        (void)json_remove(metadata, STR("namespace"));
    }
    char uid[RANDOM_UUID_SIZE];
    random_uuid(uid);
    json_set_cstr(arena, metadata, "uid", uid);
    json_set_str(arena, metadata, "creationTimestamp", time_text(arena, wall_ms));
    if (kind_has(kind, KIND_SPEC)) {
        json_set_int(arena, metadata, "generation", 1);
    }
}

void metadata_carry(struct arena *arena, struct json_value *object, const struct json_value *old)
{
    struct json_value *metadata = metadata_clean(arena, object);
    const struct json_value *old_metadata = json_get(old, "metadata");
    for (size_t i = 0; i < array_count(server_fields); i++) {
        const struct json_value *value = json_get(old_metadata, server_fields[i]);
        if (value != NULL) {
            json_set(arena, metadata, str_of(server_fields[i]), json_copy(arena, value));
        }
    }
    const struct json_value *ns = json_get(old_metadata, "namespace");
    if (ns != NULL) {
        json_set(arena, metadata, STR("namespace"), json_copy(arena, ns));
    }
}

static bool name_is_path_segment(struct str name)
{
    return !str_is_empty(name) && !str_equal(name, STR(".")) && !str_equal(name, STR("..")) &&
           str_find_char(name, '/') < 0 && str_find_char(name, '%') < 0;
}

static void validate_name(struct str name, const struct kind *kind, struct field_errors *errors)
{
    if (str_is_empty(name)) {
        field_error(errors, "FieldValueRequired", "metadata.name", "Required value: name or generateName is required");
    } else if (kind_has(kind, KIND_FREE_NAME) ? !name_is_path_segment(name)
               : kind_has(kind, KIND_LABEL_NAME) ? !name_is_label(name)
                                                 : !name_is_subdomain(name)) {
        field_error(errors, "FieldValueInvalid", "metadata.name",
                    "Invalid value: \"%.*s\": must consist of lower case alphanumeric characters, '-'%s, and must "
                    "start and end with an alphanumeric character",
                    STR_ARG(str_sub(name, 0, 253)), kind_has(kind, KIND_LABEL_NAME) ? "" : " or '.'");
    }
}

static void validate_labels(const struct json_value *metadata, struct field_errors *errors)
{
    const struct json_value *labels = json_get(metadata, "labels");
    for (size_t i = 0; i < json_count(labels) && json_is(labels, JSON_OBJECT); i++) {
        const struct json_member *label = &labels->object.members[i];
        if (!label_key_is_valid(label->name)) {
            field_error(errors, "FieldValueInvalid", "metadata.labels", "Invalid value: \"%.*s\": name part must consist of "
                        "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
                        STR_ARG(str_sub(label->name, 0, 253)));
        } else if (!json_is(label->value, JSON_STRING) || !label_value_is_valid(label->value->text)) {
            field_error(errors, "FieldValueInvalid", "metadata.labels", "Invalid value: \"%.*s\": a valid label must be an "
                        "empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
                        "with an alphanumeric character", STR_ARG(str_sub(json_str(label->value), 0, 253)));
        }
    }
}

static void validate_owners(const struct json_value *metadata, struct field_errors *errors)
{
    const struct json_value *owners = json_get(metadata, "ownerReferences");
    size_t controllers = 0;
    for (size_t i = 0; i < json_count(owners); i++) {
        controllers += json_get_bool(json_at(owners, i), "controller", false) ? 1 : 0;
    }
    if (controllers > 1) {
        field_error(errors, "FieldValueInvalid", "metadata.ownerReferences",
                    "Invalid value: only one reference can have Controller set to true");
    }
}

void metadata_validate(const struct json_value *object, const struct kind *kind, struct field_errors *errors)
{
    const struct json_value *metadata = json_get(object, "metadata");
    validate_name(json_get_str(metadata, "name"), kind, errors);
    validate_labels(metadata, errors);
    validate_owners(metadata, errors);
    const struct json_value *annotations = json_get(metadata, "annotations");
    size_t total = 0;
    for (size_t i = 0; i < json_count(annotations) && json_is(annotations, JSON_OBJECT); i++) {
        const struct json_member *annotation = &annotations->object.members[i];
        total += annotation->name.size + json_str(annotation->value).size;
        if (!json_is(annotation->value, JSON_STRING)) {
            field_error(errors, "FieldValueTypeInvalid", "metadata.annotations",
                        "Invalid value: \"%.*s\": must be a string", STR_ARG(str_sub(annotation->name, 0, 253)));
        }
    }
    if (total > METADATA_ANNOTATIONS_MAX) {
        field_error(errors, "FieldValueTooLong", "metadata.annotations", "Too long: must have at most %u bytes",
                    METADATA_ANNOTATIONS_MAX);
    }
}

static bool member_matters(const struct kind *kind, struct str name)
{
    return !str_equal(name, STR("metadata")) && !(kind_has(kind, KIND_STATUS) && str_equal(name, STR("status")));
}

bool metadata_spec_changed(const struct kind *kind, const struct json_value *object, const struct json_value *old)
{
    for (size_t i = 0; i < object->object.count; i++) {
        const struct json_member *member = &object->object.members[i];
        const struct json_value *before = json_get_str_name(old, member->name);
        if (member_matters(kind, member->name) && (before == NULL || !json_equal(before, member->value))) {
            return true;
        }
    }
    for (size_t i = 0; i < old->object.count; i++) {
        const struct json_member *member = &old->object.members[i];
        if (member_matters(kind, member->name) && json_get_str_name(object, member->name) == NULL) {
            return true;
        }
    }
    return false;
}
