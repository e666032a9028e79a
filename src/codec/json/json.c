// SPDX-License-Identifier: Apache-2.0
#include "codec/json/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/map.h"
#include "base/memory.h"

#define CAPACITY_MIN 4u
#define EQUAL_BY_SCAN_MAX 16u // larger objects are compared through a map

// --- making ----------------------------------------------------------------------------------------

static struct json_value *value_new(struct arena *arena, enum json_type type)
{
    struct json_value *value = arena_new(arena, struct json_value);
    value->type = type;
    return value;
}

struct json_value *json_new_null(struct arena *arena)
{
    return value_new(arena, JSON_NULL);
}

struct json_value *json_new_bool(struct arena *arena, bool boolean)
{
    struct json_value *value = value_new(arena, JSON_BOOL);
    value->boolean = boolean;
    return value;
}

struct json_value *json_new_int(struct arena *arena, int64_t number)
{
    struct json_value *value = value_new(arena, JSON_NUMBER);
    value->text = arena_format(arena, "%lld", (long long)number);
    return value;
}

// The shortest text that reads back as the same number. JSON has no infinities: they become null.
struct json_value *json_new_double(struct arena *arena, double number)
{
    if (!isfinite(number)) {
        return json_new_null(arena);
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, number);
        double back = strtod(text, NULL);
        if (memcmp(&back, &number, sizeof(back)) == 0) {
            break;
        }
    }
    struct json_value *value = value_new(arena, JSON_NUMBER);
    value->text = arena_str(arena, str_of(text));
    return value;
}

struct json_value *json_new_str(struct arena *arena, struct str text)
{
    struct json_value *value = value_new(arena, JSON_STRING);
    value->text = arena_str(arena, text);
    return value;
}

struct json_value *json_new_cstr(struct arena *arena, const char *text)
{
    return json_new_str(arena, str_of(text));
}

struct json_value *json_new_array(struct arena *arena)
{
    return value_new(arena, JSON_ARRAY);
}

struct json_value *json_new_object(struct arena *arena)
{
    return value_new(arena, JSON_OBJECT);
}

// --- copying: texts are counted first, so that a copy packs them into one block ---------------------

static size_t text_size(const struct json_value *value)
{
    size_t size = 0;
    switch (value->type) {
    case JSON_NULL:
    case JSON_BOOL:
        break;
    case JSON_NUMBER:
    case JSON_STRING:
        return value->text.size + 1;
    case JSON_ARRAY:
        for (size_t i = 0; i < value->array.count; i++) {
            size += text_size(value->array.items[i]);
        }
        break;
    case JSON_OBJECT:
        for (size_t i = 0; i < value->object.count; i++) {
            size += value->object.members[i].name.size + 1 + text_size(value->object.members[i].value);
        }
        break;
    }
    return size;
}

static struct str pack_text(char **block, struct str text)
{
    char *copy = *block;
    if (text.size > 0) {
        memcpy(copy, text.data, text.size);
    }
    copy[text.size] = '\0';
    *block += text.size + 1;
    return str_make(copy, text.size);
}

static struct json_value *copy_value(struct arena *arena, const struct json_value *value, char **block)
{
    struct json_value *copy = arena_alloc(arena, sizeof(*copy));
    *copy = *value;
    switch (value->type) {
    case JSON_NULL:
    case JSON_BOOL:
        break;
    case JSON_NUMBER:
    case JSON_STRING:
        copy->text = pack_text(block, value->text);
        break;
    case JSON_ARRAY:
        copy->array.items = arena_alloc(arena, value->array.count * sizeof(*copy->array.items));
        copy->array.capacity = value->array.count;
        for (size_t i = 0; i < value->array.count; i++) {
            copy->array.items[i] = copy_value(arena, value->array.items[i], block);
        }
        break;
    case JSON_OBJECT:
        copy->object.members = arena_alloc(arena, value->object.count * sizeof(*copy->object.members));
        copy->object.capacity = value->object.count;
        for (size_t i = 0; i < value->object.count; i++) {
            const struct json_member *member = &value->object.members[i];
            copy->object.members[i].name = pack_text(block, member->name);
            copy->object.members[i].value = copy_value(arena, member->value, block);
        }
        break;
    }
    return copy;
}

struct json_value *json_copy(struct arena *arena, const struct json_value *value)
{
    size_t size = text_size(value);
    char *block = size == 0 ? NULL : arena_alloc(arena, size);
    return copy_value(arena, value, &block);
}

// --- changing --------------------------------------------------------------------------------------

static void array_reserve(struct arena *arena, struct json_value *array)
{
    ASSERT(array->type == JSON_ARRAY);
    if (array->array.count < array->array.capacity) {
        return;
    }
    size_t capacity = array->array.capacity < CAPACITY_MIN ? CAPACITY_MIN : array->array.capacity * 2;
    struct json_value **items = arena_alloc(arena, capacity * sizeof(struct json_value *));
    if (array->array.count > 0) {
        memcpy(items, array->array.items, array->array.count * sizeof(struct json_value *));
    }
    array->array.items = items;
    array->array.capacity = capacity;
}

void json_push(struct arena *arena, struct json_value *array, struct json_value *item)
{
    ASSERT(item != NULL);
    array_reserve(arena, array);
    array->array.items[array->array.count++] = item;
}

void json_array_insert(struct arena *arena, struct json_value *array, size_t index, struct json_value *item)
{
    ASSERT(item != NULL && index <= json_count(array));
    array_reserve(arena, array);
    struct json_value **at = array->array.items + index;
    memmove(at + 1, at, (array->array.count - index) * sizeof(struct json_value *));
    *at = item;
    array->array.count++;
}

void json_array_remove(struct json_value *array, size_t index)
{
    ASSERT(json_is(array, JSON_ARRAY) && index < array->array.count);
    struct json_value **at = array->array.items + index;
    array->array.count--;
    memmove(at, at + 1, (array->array.count - index) * sizeof(struct json_value *));
}

static struct json_member *find_member(const struct json_value *object, struct str name)
{
    if (!json_is(object, JSON_OBJECT)) {
        return NULL;
    }
    for (size_t i = 0; i < object->object.count; i++) {
        if (str_equal(object->object.members[i].name, name)) {
            return &object->object.members[i];
        }
    }
    return NULL;
}

static void object_reserve(struct arena *arena, struct json_value *object)
{
    if (object->object.count < object->object.capacity) {
        return;
    }
    size_t capacity = object->object.capacity < CAPACITY_MIN ? CAPACITY_MIN : object->object.capacity * 2;
    struct json_member *members = arena_alloc(arena, capacity * sizeof(*members));
    if (object->object.count > 0) {
        memcpy(members, object->object.members, object->object.count * sizeof(*members));
    }
    object->object.members = members;
    object->object.capacity = capacity;
}

void json_set(struct arena *arena, struct json_value *object, struct str name, struct json_value *value)
{
    ASSERT(object->type == JSON_OBJECT && value != NULL);
    struct json_member *member = find_member(object, name);
    if (member != NULL) {
        member->value = value;
        return;
    }
    object_reserve(arena, object);
    object->object.members[object->object.count++] =
        (struct json_member){.name = arena_str(arena, name), .value = value};
}

bool json_remove(struct json_value *object, struct str name)
{
    struct json_member *member = find_member(object, name);
    if (member == NULL) {
        return false;
    }
    size_t index = (size_t)(member - object->object.members);
    object->object.count--;
    memmove(member, member + 1, (object->object.count - index) * sizeof(*member));
    return true;
}

void json_set_str(struct arena *arena, struct json_value *object, const char *name, struct str value)
{
    json_set(arena, object, str_of(name), json_new_str(arena, value));
}

void json_set_cstr(struct arena *arena, struct json_value *object, const char *name, const char *value)
{
    json_set(arena, object, str_of(name), json_new_cstr(arena, value));
}

void json_set_int(struct arena *arena, struct json_value *object, const char *name, int64_t value)
{
    json_set(arena, object, str_of(name), json_new_int(arena, value));
}

void json_set_bool(struct arena *arena, struct json_value *object, const char *name, bool value)
{
    json_set(arena, object, str_of(name), json_new_bool(arena, value));
}

static struct json_value *ensure(struct arena *arena, struct json_value *object, const char *name,
                                 enum json_type type)
{
    struct json_value *value = json_get(object, name);
    if (!json_is(value, type)) {
        value = value_new(arena, type);
        json_set(arena, object, str_of(name), value);
    }
    return value;
}

struct json_value *json_ensure_object(struct arena *arena, struct json_value *object, const char *name)
{
    return ensure(arena, object, name, JSON_OBJECT);
}

struct json_value *json_ensure_array(struct arena *arena, struct json_value *object, const char *name)
{
    return ensure(arena, object, name, JSON_ARRAY);
}

// --- reading ---------------------------------------------------------------------------------------

struct json_value *json_get_str_name(const struct json_value *object, struct str name)
{
    struct json_member *member = find_member(object, name);
    return member == NULL ? NULL : member->value;
}

struct json_value *json_get(const struct json_value *object, const char *name)
{
    return json_get_str_name(object, str_of(name));
}

struct json_value *json_path(const struct json_value *value, ...)
{
    va_list names;
    va_start(names, value);
    const char *name = va_arg(names, const char *);
    struct json_value *found = name == NULL ? NULL : json_get(value, name);
    while (name != NULL && (name = va_arg(names, const char *)) != NULL) {
        found = json_get(found, name);
    }
    va_end(names);
    return found;
}

struct str json_str(const struct json_value *value)
{
    return json_is(value, JSON_STRING) ? value->text : (struct str){0};
}

struct str json_get_str(const struct json_value *object, const char *name)
{
    return json_str(json_get(object, name));
}

bool json_get_bool(const struct json_value *object, const char *name, bool otherwise)
{
    const struct json_value *value = json_get(object, name);
    return json_is(value, JSON_BOOL) ? value->boolean : otherwise;
}

int64_t json_get_int(const struct json_value *object, const char *name, int64_t otherwise)
{
    int64_t value = otherwise;
    return json_int(json_get(object, name), &value) ? value : otherwise;
}

bool json_int(const struct json_value *value, int64_t *ret_value)
{
    return json_is(value, JSON_NUMBER) && str_to_i64(value->text, ret_value);
}

bool json_double(const struct json_value *value, double *ret_value)
{
    if (!json_is(value, JSON_NUMBER)) {
        return false;
    }
    // Trees made by hand need not have a NUL behind their numbers.
    char small[64];
    bool fits = value->text.size < sizeof(small);
    char *text = fits ? small : mem_alloc(value->text.size + 1);
    if (value->text.size > 0) {
        memcpy(text, value->text.data, value->text.size);
    }
    text[value->text.size] = '\0';
    char *end = NULL;
    double number = strtod(text, &end);
    bool is_whole = end == text + value->text.size && end != text;
    if (!fits) {
        mem_free(text);
    }
    if (is_whole) {
        *ret_value = number;
    }
    return is_whole;
}

size_t json_count(const struct json_value *value)
{
    return json_is(value, JSON_ARRAY)    ? value->array.count
           : json_is(value, JSON_OBJECT) ? value->object.count
                                         : 0;
}

struct json_value *json_at(const struct json_value *array, size_t index)
{
    return json_is(array, JSON_ARRAY) && index < array->array.count ? array->array.items[index] : NULL;
}

// --- comparing -------------------------------------------------------------------------------------

static bool numbers_equal(const struct json_value *a, const struct json_value *b)
{
    if (str_equal(a->text, b->text)) {
        return true;
    }
    int64_t int_a = 0;
    int64_t int_b = 0;
    bool is_int_a = json_int(a, &int_a);
    bool is_int_b = json_int(b, &int_b);
    if (is_int_a && is_int_b) {
        return int_a == int_b;
    }
    uint64_t big = 0;
    if (!is_int_a && !is_int_b && str_to_u64(a->text, &big) && str_to_u64(b->text, &big)) {
        return false; // above int64: different digits are different numbers
    }
    double double_a = 0;
    double double_b = 0;
    return json_double(a, &double_a) && json_double(b, &double_b) && !(double_a < double_b) &&
           !(double_a > double_b);
}

static bool arrays_equal(const struct json_value *a, const struct json_value *b)
{
    for (size_t i = 0; i < a->array.count; i++) {
        if (!json_equal(a->array.items[i], b->array.items[i])) {
            return false;
        }
    }
    return true;
}

// Names within an object are unique, so equal counts and one direction are enough.
static bool objects_equal(const struct json_value *a, const struct json_value *b)
{
    struct map index = {0};
    if (b->object.count > EQUAL_BY_SCAN_MAX) {
        for (size_t i = 0; i < b->object.count; i++) {
            map_set(&index, b->object.members[i].name, b->object.members[i].value);
        }
    }
    bool equal = true;
    for (size_t i = 0; i < a->object.count && equal; i++) {
        const struct json_member *member = &a->object.members[i];
        // Most often both sides have the same order.
        const struct json_member *same = &b->object.members[i];
        const struct json_value *other = str_equal(same->name, member->name) ? same->value
                                         : map_count(&index) > 0 ? map_get(&index, member->name)
                                                                 : json_get_str_name(b, member->name);
        equal = json_equal(member->value, other);
    }
    map_done(&index);
    return equal;
}

bool json_equal(const struct json_value *a, const struct json_value *b)
{
    if (a == b) {
        return true;
    }
    if (a == NULL || b == NULL || a->type != b->type) {
        return false;
    }
    switch (a->type) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return a->boolean == b->boolean;
    case JSON_NUMBER:
        return numbers_equal(a, b);
    case JSON_STRING:
        return str_equal(a->text, b->text);
    case JSON_ARRAY:
        return a->array.count == b->array.count && arrays_equal(a, b);
    case JSON_OBJECT:
        return a->object.count == b->object.count && objects_equal(a, b);
    }
    return false;
}
