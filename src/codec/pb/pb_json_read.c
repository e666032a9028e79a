// SPDX-License-Identifier: Apache-2.0
//
// JSON → message, by reflection over the descriptors (proto3 JSON mapping).
//
// The types with a JSON form of their own (Any, Duration, Struct, wrappers …) are rows of a table;
// everything else follows the descriptor. Errors carry the path of the field they are about, which is
// kept as a chain of stack frames and written out only when needed.
#include <math.h>

#include "base/base64.h"
#include "base/memory.h"
#include "codec/pb/pb_internal.h"

struct reader {
    struct arena *arena;
    unsigned flags;
    struct error *err;
};

static void *read_message(struct reader *reader, const ProtobufCMessageDescriptor *type, const struct json_value *value,
                          const struct pb_path *path, unsigned depth);

// --- errors ----------------------------------------------------------------------------------------

static void write_path(const struct pb_path *path, struct buf *out)
{
    const struct pb_path *chain[PB_DEPTH_MAX * 2 + 2];
    size_t count = 0;
    for (; path != NULL && count < array_count(chain); path = path->parent) {
        chain[count++] = path;
    }
    while (count-- > 0) {
        const struct pb_path *part = chain[count];
        if (part->name == NULL) {
            buf_printf(out, "[%zu]", part->index);
        } else if (part->name[0] == '\0') {
            buf_printf(out, "[\"%.*s\"]", STR_ARG(part->key));
        } else {
            buf_printf(out, "%s%s", out->size > 0 ? "." : "", part->name);
        }
    }
}

static void *printf_like(4, 5)
    fail(struct reader *reader, const struct pb_path *path, enum err code, const char *format, ...)
{
    if (reader->err == NULL) {
        return NULL;
    }
    struct arena scratch = {0};
    struct buf where = {0};
    write_path(path, &where);
    va_list args;
    va_start(args, format);
    struct str what = arena_vformat(&scratch, format, args);
    va_end(args);
    struct str at = buf_view(&where);
    (void)error_set(reader->err, code, "%.*s%s%.*s", STR_ARG(at), at.size > 0 ? ": " : "", STR_ARG(what));
    buf_done(&where);
    arena_done(&scratch);
    return NULL;
}

static bool refuse(struct reader *reader, const struct pb_path *path, const char *want)
{
    (void)fail(reader, path, ERR_INVALID, "want %s", want);
    return false;
}

// --- scalars ---------------------------------------------------------------------------------------

// Number or text of a JSON number; empty otherwise.
static struct str number_text(const struct json_value *value)
{
    return value->type == JSON_NUMBER || value->type == JSON_STRING ? value->text : STR_EMPTY;
}

// Whole numbers written with a fraction or exponent ("1e3", "5.0") count as integers.
static bool whole_double(const struct json_value *value, double *ret_value)
{
    double number;
    if (value->type != JSON_NUMBER || !json_double(value, &number) || !isfinite(number) || number != floor(number) ||
        fabs(number) > 9007199254740992.0) {
        return false;
    }
    *ret_value = number;
    return true;
}

static bool read_i64(const struct json_value *value, int64_t low, int64_t high, int64_t *ret_value)
{
    int64_t number;
    double whole;
    if (!str_to_i64(number_text(value), &number)) {
        if (!whole_double(value, &whole)) {
            return false;
        }
        number = (int64_t)whole;
    }
    if (number < low || number > high) {
        return false;
    }
    *ret_value = number;
    return true;
}

static bool read_u64(const struct json_value *value, uint64_t high, uint64_t *ret_value)
{
    uint64_t number;
    double whole;
    if (!str_to_u64(number_text(value), &number)) {
        if (!whole_double(value, &whole) || whole < 0) {
            return false;
        }
        number = (uint64_t)whole;
    }
    if (number > high) {
        return false;
    }
    *ret_value = number;
    return true;
}

static bool read_double(struct reader *reader, const struct json_value *value, double *ret_value)
{
    static const struct {
        const char *text;
        double value;
    } names[] = {{"NaN", NAN}, {"Infinity", INFINITY}, {"-Infinity", -INFINITY}};
    if (value->type == JSON_STRING) {
        for (size_t i = 0; i < array_count(names); i++) {
            if (str_equal_c(value->text, names[i].text)) {
                *ret_value = names[i].value;
                return true;
            }
        }
        struct json_value *number;
        return json_parse(reader->arena, value->text, &number, NULL) == ERR_OK && number->type == JSON_NUMBER &&
               json_double(number, ret_value);
    }
    return value->type == JSON_NUMBER && json_double(value, ret_value);
}

static bool read_enum(const ProtobufCEnumDescriptor *type, const struct json_value *value, int32_t *ret_value)
{
    int64_t number;
    if (value->type == JSON_STRING) {
        for (unsigned i = 0; i < type->n_value_names; i++) {
            if (str_equal_c(value->text, type->values_by_name[i].name)) {
                *ret_value = type->values[type->values_by_name[i].index].value;
                return true;
            }
        }
        return false;
    }
    if (value->type != JSON_NUMBER || !read_i64(value, INT32_MIN, INT32_MAX, &number)) {
        return false;
    }
    *ret_value = (int32_t)number;
    return true;
}

static bool read_bool(const struct json_value *value, protobuf_c_boolean *ret_value)
{
    // As a key of a map a bool is text.
    if (value->type == JSON_STRING && (str_equal_c(value->text, "true") || str_equal_c(value->text, "false"))) {
        *ret_value = value->text.size == 4;
        return true;
    }
    if (value->type != JSON_BOOL) {
        return false;
    }
    *ret_value = value->boolean;
    return true;
}

static bool read_bytes(struct reader *reader, const struct json_value *value, ProtobufCBinaryData *ret_value)
{
    struct str bytes;
    if (value->type != JSON_STRING || !base64_decode(reader->arena, value->text, &bytes)) {
        return false;
    }
    *ret_value = (ProtobufCBinaryData){.len = bytes.size, .data = (uint8_t *)(uintptr_t)bytes.data};
    return true;
}

// One number of the field's type into slot; *ret_want names the type for the error.
static bool read_number(struct reader *reader, ProtobufCType type, const struct json_value *value, void *slot)
{
    int64_t i;
    uint64_t u;
    double d;
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return read_i64(value, INT32_MIN, INT32_MAX, &i) && (*(int32_t *)slot = (int32_t)i, true);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return read_i64(value, INT64_MIN, INT64_MAX, slot);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return read_u64(value, UINT32_MAX, &u) && (*(uint32_t *)slot = (uint32_t)u, true);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return read_u64(value, UINT64_MAX, slot);
    case PROTOBUF_C_TYPE_DOUBLE:
        return read_double(reader, value, slot);
    case PROTOBUF_C_TYPE_FLOAT:
        return read_double(reader, value, &d) && (*(float *)slot = (float)d, true);
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        break;
    }
    return false;
}

static bool read_text(struct reader *reader, const struct json_value *value, char **ret_text, const struct pb_path *path)
{
    if (value->type != JSON_STRING) {
        return refuse(reader, path, "text");
    }
    if (!pb_is_utf8(value->text)) {
        return refuse(reader, path, "UTF-8 text without NUL");
    }
    *ret_text = arena_strdup(reader->arena, value->text);
    return true;
}

static bool read_value(struct reader *reader, const ProtobufCFieldDescriptor *field, const struct json_value *value,
                       void *slot, const struct pb_path *path, unsigned depth)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE: {
        void *message = read_message(reader, field->descriptor, value, path, depth + 1);
        *(void **)slot = message;
        return message != NULL;
    }
    case PROTOBUF_C_TYPE_STRING:
        return read_text(reader, value, slot, path);
    case PROTOBUF_C_TYPE_BYTES:
        return read_bytes(reader, value, slot) || refuse(reader, path, "base64 text");
    case PROTOBUF_C_TYPE_BOOL:
        return read_bool(value, slot) || refuse(reader, path, "true or false");
    case PROTOBUF_C_TYPE_ENUM:
        if (read_enum(field->descriptor, value, slot)) {
            return true;
        }
        (void)fail(reader, path, ERR_INVALID, "\"%.*s\" is not a value of %s", STR_ARG(number_text(value)),
                   ((const ProtobufCEnumDescriptor *)field->descriptor)->name);
        return false;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        break;
    }
    return read_number(reader, field->type, value, slot) || refuse(reader, path, "a number in the field's range");
}

// --- fields ----------------------------------------------------------------------------------------

// "retry_host_predicate" against "retryHostPredicate", without making the text.
static bool is_camel_of(struct str json_name, const char *original)
{
    size_t at = 0;
    bool upper = false;
    for (; *original != '\0'; original++) {
        if (*original == '_') {
            upper = true;
            continue;
        }
        char want = upper && *original >= 'a' && *original <= 'z' ? (char)(*original - 'a' + 'A') : *original;
        upper = false;
        if (at >= json_name.size || json_name.data[at++] != want) {
            return false;
        }
    }
    return at == json_name.size;
}

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *type, struct str name)
{
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        const char *explicit_name = pb_explicit_json_name(type, field);
        if (str_equal_c(name, field->name) || (explicit_name != NULL && str_equal_c(name, explicit_name)) ||
            (explicit_name == NULL && is_camel_of(name, field->name))) {
            return field;
        }
    }
    return NULL;
}

static void set_repeated(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, void *items, size_t count)
{
    *(size_t *)pb_field(message, field->quantifier_offset) = count;
    *(void **)pb_field(message, field->offset) = items;
}

static bool read_array(struct reader *reader, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                       const struct json_value *value, const struct pb_path *path, unsigned depth)
{
    if (value->type != JSON_ARRAY) {
        return refuse(reader, path, "a list");
    }
    size_t size = pb_value_size(field->type);
    size_t count = value->array.count;
    char *items = count == 0 ? NULL : arena_zalloc(reader->arena, size * count);
    for (size_t i = 0; i < count; i++) {
        struct pb_path item = {.parent = path, .index = i};
        if (!read_value(reader, field, value->array.items[i], items + i * size, &item, depth)) {
            return false;
        }
    }
    set_repeated(message, field, items, count);
    return true;
}

static bool read_map(struct reader *reader, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                     const struct json_value *value, const struct pb_path *path, unsigned depth)
{
    const ProtobufCMessageDescriptor *entry_type = field->descriptor;
    const ProtobufCFieldDescriptor *key_field = protobuf_c_message_descriptor_get_field(entry_type, 1);
    const ProtobufCFieldDescriptor *value_field = protobuf_c_message_descriptor_get_field(entry_type, 2);
    if (value->type != JSON_OBJECT) {
        return refuse(reader, path, "an object");
    }
    size_t count = value->object.count;
    ProtobufCMessage **entries = count == 0 ? NULL : arena_array(reader->arena, ProtobufCMessage *, count);
    for (size_t i = 0; i < count; i++) {
        const struct json_member *member = &value->object.members[i];
        struct json_value key = {.type = JSON_STRING, .text = member->name};
        struct pb_path item = {.parent = path, .name = "", .key = member->name};
        entries[i] = pb_new(reader->arena, entry_type);
        if (!read_value(reader, key_field, &key, pb_field(entries[i], key_field->offset), &item, depth + 1) ||
            !read_value(reader, value_field, member->value, pb_field(entries[i], value_field->offset), &item, depth + 1)) {
            return false;
        }
    }
    set_repeated(message, field, entries, count);
    return true;
}

// null is a value only where the type has a null of its own.
static bool takes_null(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_MESSAGE && field->descriptor == &google__protobuf__value__descriptor;
}

static bool read_field(struct reader *reader, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                       const struct json_value *value, const struct pb_path *path, unsigned depth)
{
    if (value->type == JSON_NULL && !takes_null(field)) {
        return true;
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        bool is_map = field->type == PROTOBUF_C_TYPE_MESSAGE && pb_is_map_entry(field->descriptor);
        return is_map ? read_map(reader, message, field, value, path, depth)
                      : read_array(reader, message, field, value, path, depth);
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        uint32_t *which = pb_field(message, field->quantifier_offset);
        if (*which != 0) {
            return refuse(reader, path, "one of the alternatives, not several");
        }
        *which = field->id;
    }
    return read_value(reader, field, value, pb_field(message, field->offset), path, depth);
}

static void *read_plain(struct reader *reader, const ProtobufCMessageDescriptor *type, const struct json_value *value,
                        const struct pb_path *path, unsigned depth)
{
    if (value->type != JSON_OBJECT) {
        return fail(reader, path, ERR_INVALID, "want an object");
    }
    ProtobufCMessage *message = pb_new(reader->arena, type);
    struct pb_seen seen = {0};
    for (size_t i = 0; i < value->object.count; i++) {
        const struct json_member *member = &value->object.members[i];
        const ProtobufCFieldDescriptor *field = find_field(type, member->name);
        if (field == NULL) {
            if ((reader->flags & PB_JSON_IGNORE_UNKNOWN) != 0) {
                continue;
            }
            return fail(reader, path, ERR_INVALID, "unknown field \"%.*s\" of %s", STR_ARG(member->name), type->short_name);
        }
        struct pb_path at = {.parent = path, .name = field->name};
        if (pb_seen_twice(&seen, (size_t)(field - type->fields))) {
            return fail(reader, &at, ERR_INVALID, "given twice");
        }
        if (!read_field(reader, message, field, member->value, &at, depth)) {
            return NULL;
        }
    }
    return message;
}

// --- types with a JSON form of their own -----------------------------------------------------------

static void *read_wrapper(struct reader *reader, const ProtobufCMessageDescriptor *type, const struct json_value *value,
                          const struct pb_path *path, unsigned depth)
{
    ProtobufCMessage *message = pb_new(reader->arena, type);
    const ProtobufCFieldDescriptor *field = &type->fields[0];
    return read_value(reader, field, value, pb_field(message, field->offset), path, depth) ? message : NULL;
}

static void *read_duration(struct reader *reader, const ProtobufCMessageDescriptor *type, const struct json_value *value,
                           const struct pb_path *path, unsigned depth)
{
    (void)depth;
    Google__Protobuf__Duration *duration = pb_new(reader->arena, type);
    bool is_read = value->type == JSON_STRING &&
                   (pb_duration_parse(value->text, &duration->seconds, &duration->nanos) ||
                    ((reader->flags & PB_JSON_GO_DURATIONS) != 0 &&
                     pb_go_duration_parse(value->text, &duration->seconds, &duration->nanos)));
    if (!is_read) {
        return fail(reader, path, ERR_INVALID, "want a duration such as \"1.5s\"");
    }
    return duration;
}

static void *read_timestamp(struct reader *reader, const ProtobufCMessageDescriptor *type, const struct json_value *value,
                            const struct pb_path *path, unsigned depth)
{
    (void)depth;
    Google__Protobuf__Timestamp *timestamp = pb_new(reader->arena, type);
    if (value->type != JSON_STRING || !pb_timestamp_parse(value->text, &timestamp->seconds, &timestamp->nanos)) {
        return fail(reader, path, ERR_INVALID, "want a time such as \"2026-01-02T03:04:05Z\"");
    }
    return timestamp;
}

static void *read_struct_kind(struct reader *reader, const ProtobufCMessageDescriptor *type, const struct json_value *value,
                              const struct pb_path *path, unsigned depth)
{
    void *message = NULL;
    if (type == &google__protobuf__struct__descriptor) {
        message = pb_json_struct_read(reader->arena, value, depth);
    } else if (type == &google__protobuf__list_value__descriptor) {
        message = pb_json_list_read(reader->arena, value, depth);
    } else {
        message = pb_json_value_read(reader->arena, value, depth);
    }
    return message != NULL ? message : fail(reader, path, ERR_INVALID, "not a value for %s", type->short_name);
}

static void *read_any(struct reader *reader, const ProtobufCMessageDescriptor *type, const struct json_value *value,
                      const struct pb_path *path, unsigned depth);

static const struct special {
    const ProtobufCMessageDescriptor *type;
    void *(*read)(struct reader *reader, const ProtobufCMessageDescriptor *type, const struct json_value *value,
                  const struct pb_path *path, unsigned depth);
} specials[] = {
    {&google__protobuf__any__descriptor, read_any},
    {&google__protobuf__duration__descriptor, read_duration},
    {&google__protobuf__timestamp__descriptor, read_timestamp},
    {&google__protobuf__struct__descriptor, read_struct_kind},
    {&google__protobuf__value__descriptor, read_struct_kind},
    {&google__protobuf__list_value__descriptor, read_struct_kind},
    {&google__protobuf__bool_value__descriptor, read_wrapper},
    {&google__protobuf__uint32_value__descriptor, read_wrapper},
    {&google__protobuf__uint64_value__descriptor, read_wrapper},
    {&google__protobuf__int32_value__descriptor, read_wrapper},
    {&google__protobuf__int64_value__descriptor, read_wrapper},
    {&google__protobuf__float_value__descriptor, read_wrapper},
    {&google__protobuf__double_value__descriptor, read_wrapper},
    {&google__protobuf__string_value__descriptor, read_wrapper},
    {&google__protobuf__bytes_value__descriptor, read_wrapper},
};

static const struct special *find_special(const ProtobufCMessageDescriptor *type)
{
    if (strncmp(type->name, "google.protobuf.", strlen("google.protobuf.")) != 0) {
        return NULL;
    }
    for (size_t i = 0; i < array_count(specials); i++) {
        if (specials[i].type == type) {
            return &specials[i];
        }
    }
    return NULL;
}

static void *read_any(struct reader *reader, const ProtobufCMessageDescriptor *type, const struct json_value *value,
                      const struct pb_path *path, unsigned depth)
{
    struct str url = json_get_str(value, "@type");
    if (value->type != JSON_OBJECT || (url.data == NULL && value->object.count > 0)) {
        return fail(reader, path, ERR_INVALID, "want an object with \"@type\"");
    }
    if (value->object.count == 0) {
        return pb_new(reader->arena, type);
    }
    const ProtobufCMessageDescriptor *inner_type = pb_type_find(url);
    if (inner_type == NULL) {
        return fail(reader, path, ERR_UNSUPPORTED, "unknown type %.*s", STR_ARG(url));
    }
    const struct json_value *body = NULL;
    if (find_special(inner_type) != NULL) {
        body = json_get(value, "value");
    } else {
        struct json_value *rest = json_new_object(reader->arena);
        for (size_t i = 0; i < value->object.count; i++) {
            if (!str_equal_c(value->object.members[i].name, "@type")) {
                json_set(reader->arena, rest, value->object.members[i].name, value->object.members[i].value);
            }
        }
        body = rest;
    }
    if (body == NULL) {
        return fail(reader, path, ERR_INVALID, "want \"value\" beside \"@type\"");
    }
    const ProtobufCMessage *inner = read_message(reader, inner_type, body, path, depth + 1);
    if (inner == NULL) {
        return NULL;
    }
    Google__Protobuf__Any *any = pb_any(reader->arena, inner);
    any->type_url = arena_strdup(reader->arena, url);
    return any;
}

static void *read_message(struct reader *reader, const ProtobufCMessageDescriptor *type, const struct json_value *value,
                          const struct pb_path *path, unsigned depth)
{
    if (depth >= PB_DEPTH_MAX) {
        return fail(reader, path, ERR_LIMIT, "nests deeper than %u", PB_DEPTH_MAX);
    }
    const struct special *special = find_special(type);
    return special != NULL ? special->read(reader, type, value, path, depth) : read_plain(reader, type, value, path, depth);
}

void *pb_from_json(struct arena *arena, const ProtobufCMessageDescriptor *type, const struct json_value *value,
                   unsigned flags, struct error *err)
{
    struct reader reader = {.arena = arena, .flags = flags, .err = err};
    return read_message(&reader, type, value, NULL, 0);
}
