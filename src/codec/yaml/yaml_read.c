// SPDX-License-Identifier: Apache-2.0
//
// The reader: libyaml's events into a tree, by recursive descent bounded by YAML_DEPTH_MAX (events that
// go deeper end the parse before they are built). An anchor names the finished value; an alias copies
// it, counted against YAML_ALIASED_MAX, so that a "billion laughs" text fails early. An alias to a value
// that is still open cannot be resolved and is an error.
#include "codec/yaml/yaml_internal.h"

#include <yaml.h>

#include "base/assert.h"
#include "base/map.h"
#include "base/memory.h"

#define TAG_PREFIX "tag:yaml.org,2002:"

struct reader {
    struct arena *arena;
    yaml_parser_t parser;
    struct map anchors; // name → struct json_value *
    size_t values;
    size_t aliased;
    unsigned depth;
    struct error *err;
};

static enum err read_node(struct reader *reader, const yaml_event_t *event, struct json_value **ret_value);

// --- errors and events -----------------------------------------------------------------------------

static enum err fail_at(struct reader *reader, enum err code, yaml_mark_t mark, const char *what)
{
    return error_set(reader->err, code, "line %zu column %zu: %s", mark.line + 1, mark.column + 1, what);
}

static enum err next_event(struct reader *reader, yaml_event_t *event)
{
    if (yaml_parser_parse(&reader->parser, event) == 1) {
        return ERR_OK;
    }
    const yaml_parser_t *parser = &reader->parser;
    if (parser->error == YAML_READER_ERROR) {
        return error_set(reader->err, ERR_INVALID, "byte %zu: %s", parser->problem_offset,
                         parser->problem == NULL ? "not UTF-8" : parser->problem);
    }
    return fail_at(reader, ERR_INVALID, parser->problem_mark,
                   parser->problem == NULL ? "not YAML" : parser->problem);
}

static struct str text_of(const yaml_char_t *text)
{
    return str_of((const char *)text);
}

static enum err count_value(struct reader *reader, const yaml_event_t *event)
{
    reader->values++;
    return reader->values <= YAML_VALUES_MAX
               ? ERR_OK
               : fail_at(reader, ERR_LIMIT, event->start_mark, "too many values");
}

static size_t count_values(const struct json_value *value)
{
    size_t count = 1;
    for (size_t i = 0; i < json_count(value); i++) {
        count += count_values(value->type == JSON_ARRAY ? value->array.items[i]
                                                        : value->object.members[i].value);
    }
    return count;
}

static void remember(struct reader *reader, const yaml_char_t *anchor, struct json_value *value)
{
    if (anchor != NULL) {
        map_set(&reader->anchors, text_of(anchor), value);
    }
}

// --- scalars ---------------------------------------------------------------------------------------

static struct json_value *number_new(struct arena *arena, struct str text)
{
    struct json_value *value = arena_new(arena, struct json_value);
    value->type = JSON_NUMBER;
    value->text = text;
    return value;
}

static enum err resolve_plain(struct reader *reader, const yaml_event_t *event, struct str text,
                              struct json_value **ret_value)
{
    struct str number = STR_EMPTY;
    switch (yaml_plain_resolve(reader->arena, text, &number)) {
    case YAML_PLAIN_NULL:
        *ret_value = json_new_null(reader->arena);
        return ERR_OK;
    case YAML_PLAIN_TRUE:
        *ret_value = json_new_bool(reader->arena, true);
        return ERR_OK;
    case YAML_PLAIN_FALSE:
        *ret_value = json_new_bool(reader->arena, false);
        return ERR_OK;
    case YAML_PLAIN_NUMBER:
        *ret_value = number_new(reader->arena, number);
        return ERR_OK;
    case YAML_PLAIN_INFINITE:
        return fail_at(reader, ERR_INVALID, event->start_mark, "infinities and NaN are not JSON numbers");
    case YAML_PLAIN_STRING:
        break;
    }
    *ret_value = json_new_str(reader->arena, text);
    return ERR_OK;
}

// The type a core tag asks for, or JSON_NULL with *ret_known false.
static enum json_type tag_type(struct str tag, bool *ret_known)
{
    static const struct {
        const char *name;
        enum json_type type;
    } tags[] = {
        {"str", JSON_STRING}, {"int", JSON_NUMBER},  {"float", JSON_NUMBER}, {"bool", JSON_BOOL},
        {"null", JSON_NULL},  {"map", JSON_OBJECT}, {"seq", JSON_ARRAY},
    };
    *ret_known = false;
    if (!str_starts_with(tag, STR(TAG_PREFIX))) {
        return JSON_NULL;
    }
    struct str name = str_from(tag, sizeof(TAG_PREFIX) - 1);
    for (size_t i = 0; i < array_count(tags); i++) {
        if (str_equal_c(name, tags[i].name)) {
            *ret_known = true;
            return tags[i].type;
        }
    }
    return JSON_NULL;
}

static enum err read_scalar(struct reader *reader, const yaml_event_t *event, struct json_value **ret_value)
{
    struct str text = str_make((const char *)event->data.scalar.value, event->data.scalar.length);
    const yaml_char_t *tag = event->data.scalar.tag;
    bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    bool is_known = true;
    // "!" alone says "a string, whatever it looks like".
    bool is_string = tag != NULL && str_equal(text_of(tag), STR("!"));
    enum json_type wanted = tag == NULL || is_string ? JSON_STRING : tag_type(text_of(tag), &is_known);
    if (!is_known || wanted == JSON_OBJECT || wanted == JSON_ARRAY) {
        return fail_at(reader, ERR_INVALID, event->start_mark, "unknown tag for a scalar");
    }
    if (wanted == JSON_STRING && (tag != NULL || !is_plain)) {
        *ret_value = json_new_str(reader->arena, text);
        return ERR_OK;
    }
    enum err failed = resolve_plain(reader, event, text, ret_value);
    if (failed == ERR_OK && tag != NULL && (*ret_value)->type != wanted) {
        return fail_at(reader, ERR_INVALID, event->start_mark, "the value does not fit its tag");
    }
    return failed;
}

// --- aliases ---------------------------------------------------------------------------------------

static enum err read_alias(struct reader *reader, const yaml_event_t *event, struct json_value **ret_value)
{
    const struct json_value *value = map_get(&reader->anchors, text_of(event->data.alias.anchor));
    if (value == NULL) {
        return fail_at(reader, ERR_INVALID, event->start_mark, "unknown anchor, or one that is still open");
    }
    reader->aliased += count_values(value);
    if (reader->aliased > YAML_ALIASED_MAX) {
        return fail_at(reader, ERR_LIMIT, event->start_mark, "aliases expand to too many values");
    }
    *ret_value = json_copy(reader->arena, value);
    return ERR_OK;
}

// --- collections -----------------------------------------------------------------------------------

static enum err check_tag(struct reader *reader, const yaml_event_t *event, const yaml_char_t *tag,
                          enum json_type type)
{
    bool is_known = false;
    if (tag != NULL && (tag_type(text_of(tag), &is_known) != type || !is_known)) {
        return fail_at(reader, ERR_INVALID, event->start_mark, "unknown tag for a collection");
    }
    return ERR_OK;
}

static enum err enter(struct reader *reader, const yaml_event_t *event)
{
    if (reader->depth == YAML_DEPTH_MAX) {
        return fail_at(reader, ERR_LIMIT, event->start_mark, "nested too deeply");
    }
    reader->depth++;
    return ERR_OK;
}

// Reads the next event and, unless it ends the collection, its node.
static enum err read_next(struct reader *reader, yaml_event_type_t end, bool *ret_ended,
                          yaml_mark_t *ret_mark, struct json_value **ret_value)
{
    yaml_event_t event;
    enum err failed = next_event(reader, &event);
    if (failed != ERR_OK) {
        return failed;
    }
    *ret_ended = event.type == end;
    *ret_mark = event.start_mark;
    if (!*ret_ended) {
        failed = read_node(reader, &event, ret_value);
    }
    yaml_event_delete(&event);
    return failed;
}

static enum err read_sequence(struct reader *reader, const yaml_event_t *event, struct json_value **ret_value)
{
    enum err failed = check_tag(reader, event, event->data.sequence_start.tag, JSON_ARRAY);
    struct json_value *array = json_new_array(reader->arena);
    while (failed == ERR_OK) {
        struct json_value *item = NULL;
        bool ended = false;
        yaml_mark_t mark;
        failed = read_next(reader, YAML_SEQUENCE_END_EVENT, &ended, &mark, &item);
        if (ended) {
            break;
        }
        if (failed == ERR_OK) {
            json_push(reader->arena, array, item);
        }
    }
    *ret_value = array;
    return failed;
}

struct mapping {
    struct json_value *object;
    struct map own;   // keys written in this mapping
    struct json_value *merged; // value of <<, or NULL
};

// The text of a key. False: not a scalar.
static bool key_text(struct arena *arena, const struct json_value *key, struct str *ret_text)
{
    switch (key->type) {
    case JSON_STRING:
    case JSON_NUMBER:
        *ret_text = key->text;
        return true;
    case JSON_BOOL:
        *ret_text = arena_str(arena, key->boolean ? STR("true") : STR("false"));
        return true;
    case JSON_NULL:
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    return false;
}

static bool is_merge_key(const yaml_event_t *event)
{
    return event->type == YAML_SCALAR_EVENT && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           event->data.scalar.tag == NULL &&
           str_equal(text_of(event->data.scalar.value), STR("<<"));
}

static enum err set_member(struct reader *reader, struct mapping *mapping, yaml_mark_t mark,
                           struct str name, struct json_value *value)
{
    if (map_has(&mapping->own, name)) {
        enum err failed = fail_at(reader, ERR_INVALID, mark, "duplicate key");
        struct str shown = str_sub(name, 0, 100);
        error_prefix(reader->err, "key \"%.*s\"", STR_ARG(shown));
        return failed;
    }
    map_set(&mapping->own, name, value);
    // Names are unique here, so this appends without the search of json_set.
    struct json_value *object = mapping->object;
    if (object->object.count == object->object.capacity) {
        size_t capacity = object->object.capacity == 0 ? 4 : object->object.capacity * 2;
        struct json_member *members = arena_alloc(reader->arena, capacity * sizeof(*members));
        if (object->object.count > 0) {
            memcpy(members, object->object.members, object->object.count * sizeof(*members));
        }
        object->object.members = members;
        object->object.capacity = capacity;
    }
    object->object.members[object->object.count++] =
        (struct json_member){.name = arena_str(reader->arena, name), .value = value};
    return ERR_OK;
}

static enum err read_pair(struct reader *reader, struct mapping *mapping, const yaml_event_t *key_event)
{
    bool is_merge = is_merge_key(key_event);
    struct json_value *key = NULL;
    struct json_value *value = NULL;
    enum err failed = read_node(reader, key_event, &key);
    if (failed != ERR_OK) {
        return failed;
    }
    struct str name = STR_EMPTY;
    if (!key_text(reader->arena, key, &name)) {
        return fail_at(reader, ERR_INVALID, key_event->start_mark, "a key must be a scalar and not null");
    }
    bool ended = false;
    yaml_mark_t mark;
    failed = read_next(reader, YAML_NO_EVENT, &ended, &mark, &value);
    if (failed != ERR_OK) {
        return failed;
    }
    if (!is_merge) {
        return set_member(reader, mapping, key_event->start_mark, name, value);
    }
    if (mapping->merged != NULL) {
        return fail_at(reader, ERR_INVALID, key_event->start_mark, "duplicate merge key");
    }
    mapping->merged = value;
    return ERR_OK;
}

// Members of the merged mapping that the mapping does not have itself. Earlier ones win.
static enum err merge_one(struct reader *reader, struct mapping *mapping, yaml_mark_t mark,
                          const struct json_value *from)
{
    if (!json_is(from, JSON_OBJECT)) {
        return fail_at(reader, ERR_INVALID, mark, "a merge key wants a mapping or a list of mappings");
    }
    for (size_t i = 0; i < from->object.count; i++) {
        const struct json_member *member = &from->object.members[i];
        if (!map_has(&mapping->own, member->name)) {
            enum err failed = set_member(reader, mapping, mark, member->name, member->value);
            if (failed != ERR_OK) {
                return failed;
            }
        }
    }
    return ERR_OK;
}

static enum err merge(struct reader *reader, struct mapping *mapping, yaml_mark_t mark)
{
    if (!json_is(mapping->merged, JSON_ARRAY)) {
        return mapping->merged == NULL ? ERR_OK : merge_one(reader, mapping, mark, mapping->merged);
    }
    enum err failed = ERR_OK;
    for (size_t i = 0; i < mapping->merged->array.count && failed == ERR_OK; i++) {
        failed = merge_one(reader, mapping, mark, mapping->merged->array.items[i]);
    }
    return failed;
}

static enum err read_mapping(struct reader *reader, const yaml_event_t *event, struct json_value **ret_value)
{
    enum err failed = check_tag(reader, event, event->data.mapping_start.tag, JSON_OBJECT);
    struct mapping mapping = {.object = json_new_object(reader->arena)};
    while (failed == ERR_OK) {
        yaml_event_t key;
        failed = next_event(reader, &key);
        if (failed != ERR_OK) {
            break;
        }
        bool ended = key.type == YAML_MAPPING_END_EVENT;
        failed = ended ? merge(reader, &mapping, event->start_mark) : read_pair(reader, &mapping, &key);
        yaml_event_delete(&key);
        if (ended) {
            break;
        }
    }
    map_done(&mapping.own);
    *ret_value = mapping.object;
    return failed;
}

// --- nodes and documents ---------------------------------------------------------------------------

static enum err read_collection(struct reader *reader, const yaml_event_t *event,
                                struct json_value **ret_value)
{
    bool is_mapping = event->type == YAML_MAPPING_START_EVENT;
    enum err failed = enter(reader, event);
    if (failed != ERR_OK) {
        return failed;
    }
    failed = is_mapping ? read_mapping(reader, event, ret_value) : read_sequence(reader, event, ret_value);
    reader->depth--;
    if (failed == ERR_OK) {
        remember(reader, is_mapping ? event->data.mapping_start.anchor : event->data.sequence_start.anchor,
                 *ret_value);
    }
    return failed;
}

static enum err read_node(struct reader *reader, const yaml_event_t *event, struct json_value **ret_value)
{
    enum err failed = count_value(reader, event);
    if (failed != ERR_OK) {
        return failed;
    }
    if (event->type == YAML_ALIAS_EVENT) {
        return read_alias(reader, event, ret_value);
    }
    if (event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT) {
        return read_collection(reader, event, ret_value);
    }
    if (event->type != YAML_SCALAR_EVENT) {
        return fail_at(reader, ERR_INVALID, event->start_mark, "expected a value");
    }
    failed = read_scalar(reader, event, ret_value);
    if (failed == ERR_OK) {
        remember(reader, event->data.scalar.anchor, *ret_value);
    }
    return failed;
}

// libyaml hands the node of an empty document over as an empty plain scalar.
static bool is_nothing(const yaml_event_t *event)
{
    return event->type == YAML_SCALAR_EVENT && event->data.scalar.length == 0 &&
           event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && event->data.scalar.tag == NULL;
}

// The node and the end of a document whose start was read. *ret_value stays NULL when it is empty.
static enum err read_document(struct reader *reader, struct json_value **ret_value)
{
    yaml_event_t event;
    enum err failed = next_event(reader, &event);
    if (failed != ERR_OK) {
        return failed;
    }
    map_reset(&reader->anchors); // anchors end with their document
    struct json_value *value = NULL;
    bool is_empty = is_nothing(&event);
    if (!is_empty) {
        failed = read_node(reader, &event, &value);
    }
    yaml_event_delete(&event);
    if (failed != ERR_OK) {
        return failed;
    }
    failed = next_event(reader, &event);
    if (failed == ERR_OK) {
        ASSERT(event.type == YAML_DOCUMENT_END_EVENT); // the parser's grammar
        yaml_event_delete(&event);
        *ret_value = value;
    }
    return failed;
}

static enum err read_stream(struct reader *reader, struct yaml_documents *documents)
{
    size_t capacity = 0;
    for (;;) {
        yaml_event_t event;
        enum err failed = next_event(reader, &event);
        if (failed != ERR_OK) {
            return failed;
        }
        yaml_event_type_t type = event.type;
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT) {
            return ERR_OK;
        }
        struct json_value *value = NULL;
        failed = type == YAML_DOCUMENT_START_EVENT ? read_document(reader, &value) : ERR_OK;
        if (failed != ERR_OK) {
            return failed;
        }
        if (value == NULL) {
            continue;
        }
        if (documents->count == YAML_DOCUMENTS_MAX) {
            return error_set(reader->err, ERR_LIMIT, "more than %u documents", YAML_DOCUMENTS_MAX);
        }
        if (documents->count == capacity) {
            capacity = capacity == 0 ? 4 : capacity * 2;
            struct json_value **items = arena_array(reader->arena, struct json_value *, capacity);
            if (documents->count > 0) {
                memcpy(items, documents->items, documents->count * sizeof(*items));
            }
            documents->items = items;
        }
        documents->items[documents->count++] = value;
    }
}

enum err yaml_parse_all(struct arena *arena, struct str text, struct yaml_documents *ret_documents,
                        struct error *err)
{
    if (text.size > JSON_SIZE_MAX) {
        return error_set(err, ERR_LIMIT, "YAML text of %zu bytes, %u are allowed", text.size, JSON_SIZE_MAX);
    }
    struct reader reader = {.arena = arena, .err = err};
    ASSERT(yaml_parser_initialize(&reader.parser) == 1); // fails for lack of memory only
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text.data, text.size);
    struct yaml_documents documents = {0};
    enum err failed = read_stream(&reader, &documents);
    yaml_parser_delete(&reader.parser);
    map_done(&reader.anchors);
    if (failed == ERR_OK) {
        *ret_documents = documents;
    }
    return failed;
}

enum err yaml_parse(struct arena *arena, struct str text, struct json_value **ret_value, struct error *err)
{
    struct yaml_documents documents = {0};
    enum err failed = yaml_parse_all(arena, text, &documents, err);
    if (failed != ERR_OK) {
        return failed;
    }
    if (documents.count != 1) {
        return error_set(err, ERR_INVALID, "%zu YAML documents, expected one", documents.count);
    }
    *ret_value = documents.items[0];
    return ERR_OK;
}
