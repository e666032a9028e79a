// SPDX-License-Identifier: Apache-2.0
//
// json: a value tree in an arena, its reader and its writer. YAML (codec/yaml) builds the same tree.
//
// Trees are plain data: read them directly, change them with json_set and its kin. All memory is the
// arena's; strings borrow from it, never from the input. Numbers keep their text, so that every int64,
// uint64 and decimal survives unchanged. Objects keep their order; reading rejects duplicate keys.
//
// The reader is strict RFC 8259 and UTF-8, bounded in depth and size; errors say line and column.
#ifndef CODEC_JSON_JSON_H
#define CODEC_JSON_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

#define JSON_DEPTH_MAX 128u
#define JSON_SIZE_MAX (64u * 1024 * 1024)

enum json_type { JSON_NULL = 0, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_value;

struct json_member {
    struct str name;
    struct json_value *value; // never NULL
};

struct json_value {
    enum json_type type;
    union {
        bool boolean;
        struct str text; // JSON_STRING: decoded. JSON_NUMBER: as written.
        struct {
            struct json_value **items;
            size_t count;
            size_t capacity;
        } array;
        struct {
            struct json_member *members;
            size_t count;
            size_t capacity;
        } object;
    };
};

enum err json_parse(struct arena *arena, struct str text, struct json_value **ret_value, struct error *err) must_check;

// Compact, or indented by two blanks. Strings are escaped minimally (and <, >, & are not).
void json_write(const struct json_value *value, struct buf *out);
void json_write_pretty(const struct json_value *value, struct buf *out);
struct str json_to_str(struct arena *arena, const struct json_value *value); // compact
void json_write_string(struct str s, struct buf *out); // with quotes

// --- making ----------------------------------------------------------------------------------------

struct json_value *json_new_null(struct arena *arena);
struct json_value *json_new_bool(struct arena *arena, bool value);
struct json_value *json_new_int(struct arena *arena, int64_t value);
struct json_value *json_new_double(struct arena *arena, double value);
struct json_value *json_new_str(struct arena *arena, struct str value); // copies
struct json_value *json_new_cstr(struct arena *arena, const char *value);
struct json_value *json_new_array(struct arena *arena);
struct json_value *json_new_object(struct arena *arena);
struct json_value *json_copy(struct arena *arena, const struct json_value *value); // deep

void json_push(struct arena *arena, struct json_value *array, struct json_value *item);
void json_set(struct arena *arena, struct json_value *object, struct str name, struct json_value *value); // replaces in place
bool json_remove(struct json_value *object, struct str name); // keeps the order of the rest
void json_array_remove(struct json_value *array, size_t index);
void json_array_insert(struct arena *arena, struct json_value *array, size_t index, struct json_value *item);

// Shorthands on objects.
void json_set_str(struct arena *arena, struct json_value *object, const char *name, struct str value);
void json_set_cstr(struct arena *arena, struct json_value *object, const char *name, const char *value);
void json_set_int(struct arena *arena, struct json_value *object, const char *name, int64_t value);
void json_set_bool(struct arena *arena, struct json_value *object, const char *name, bool value);
// The member as an object (array); made, or replaced when it has another type.
struct json_value *json_ensure_object(struct arena *arena, struct json_value *object, const char *name);
struct json_value *json_ensure_array(struct arena *arena, struct json_value *object, const char *name);

// --- reading: all take NULL and wrong types, and answer "absent" ------------------------------------

struct json_value *json_get(const struct json_value *object, const char *name); // NULL: absent
struct json_value *json_get_str_name(const struct json_value *object, struct str name);
// Walks members: json_path(pod, "metadata", "labels", NULL).
struct json_value *json_path(const struct json_value *value, ...) __attribute__((sentinel));
struct str json_str(const struct json_value *value);                 // empty view (data NULL) unless a string
struct str json_get_str(const struct json_value *object, const char *name);
bool json_get_bool(const struct json_value *object, const char *name, bool otherwise);
int64_t json_get_int(const struct json_value *object, const char *name, int64_t otherwise); // numbers without fraction only
bool json_int(const struct json_value *value, int64_t *ret_value);
bool json_double(const struct json_value *value, double *ret_value);
size_t json_count(const struct json_value *value);                   // items or members; else 0
struct json_value *json_at(const struct json_value *array, size_t index); // NULL beyond
static inline bool json_is(const struct json_value *value, enum json_type type)
{
    return value != NULL && value->type == type;
}
bool json_equal(const struct json_value *a, const struct json_value *b); // members in any order; 1 == 1.0

#endif
