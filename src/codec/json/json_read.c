// SPDX-License-Identifier: Apache-2.0
//
// The reader: one pass by recursive descent, bounded by JSON_DEPTH_MAX. Items and members gather on one
// shared stack and are copied to arrays of exact size when their container closes. Strings are copied
// into text blocks, packed, each with a NUL behind it. Strictness is RFC 8259 with the advice of its
// sections 4 and 8 made rules: names are unique, text is UTF-8, no lone surrogates.
#include "codec/json/json.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/vec.h"

#define TEXT_BLOCK_SIZE 4096u
#define NAME_SHOWN_MAX 100u    // bytes of a name in an error
#define PAIRWISE_NAMES_MAX 12u // above this many members duplicates are found with a hash table

struct reader {
    struct arena *arena;
    struct str text;
    size_t at;
    unsigned depth;
    char *block; // free part of the current text block
    size_t block_left;
    VEC(struct json_member) stack;
    VEC(uint32_t) slots; // duplicate check
    struct error *err;
};

static enum err parse_value(struct reader *reader, struct json_value **ret_value);

// --- errors ----------------------------------------------------------------------------------------

static enum err fail(struct reader *reader, enum err code, const char *what)
{
    size_t line = 1;
    size_t column = 1;
    for (size_t i = 0; i < reader->at && i < reader->text.size; i++) {
        bool is_newline = reader->text.data[i] == '\n';
        line += is_newline ? 1 : 0;
        column = is_newline ? 1 : column + 1;
    }
    return error_set(reader->err, code, "line %zu column %zu: %s", line, column, what);
}

static enum err bad(struct reader *reader, const char *what)
{
    return fail(reader, ERR_INVALID, reader->at >= reader->text.size ? "unexpected end" : what);
}

// --- small steps -----------------------------------------------------------------------------------

static int peek(const struct reader *reader)
{
    return reader->at < reader->text.size ? (unsigned char)reader->text.data[reader->at] : -1;
}

static void skip_blanks(struct reader *reader)
{
    for (;;) {
        int c = peek(reader);
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r') {
            return;
        }
        reader->at++;
    }
}

static char *text_alloc(struct reader *reader, size_t size)
{
    if (size > reader->block_left) {
        if (size > TEXT_BLOCK_SIZE / 4) {
            return arena_alloc(reader->arena, size);
        }
        // Small documents take a small block: what is left of the input bounds what can come.
        size_t rest = reader->text.size - reader->at + size;
        reader->block_left = rest < TEXT_BLOCK_SIZE ? rest : TEXT_BLOCK_SIZE;
        reader->block = arena_alloc(reader->arena, reader->block_left);
    }
    char *at = reader->block;
    reader->block += size;
    reader->block_left -= size;
    return at;
}

static struct str text_copy(struct reader *reader, size_t from, size_t size)
{
    char *copy = text_alloc(reader, size + 1);
    memcpy(copy, reader->text.data + from, size);
    copy[size] = '\0';
    return str_make(copy, size);
}

static struct json_value *value_new(struct reader *reader, enum json_type type)
{
    struct json_value *value = arena_alloc(reader->arena, sizeof(*value));
    *value = (struct json_value){.type = type};
    return value;
}

// --- strings ---------------------------------------------------------------------------------------

// True when one of eight bytes is a quote, a backslash, a control byte or not ASCII.
static bool word_is_special(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u;
    const uint64_t highs = 0x8080808080808080u;
    uint64_t quote = word ^ (ones * '"');
    uint64_t slash = word ^ (ones * '\\');
    uint64_t hit = (word - ones * 0x20) | word | ((quote - ones) & ~quote) | ((slash - ones) & ~slash);
    return (hit & highs) != 0;
}

static size_t skip_plain(struct str text, size_t at)
{
    while (text.size - at >= sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, text.data + at, sizeof(word));
        if (word_is_special(word)) {
            break;
        }
        at += sizeof(word);
    }
    while (at < text.size) {
        unsigned char c = (unsigned char)text.data[at];
        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') {
            break;
        }
        at++;
    }
    return at;
}

// Bytes of the well-formed UTF-8 sequence at the start, 0 when there is none: the rows of Unicode's
// table 3-7, which leaves out overlong forms, surrogates and what is above U+10FFFF.
static size_t utf8_sequence(const unsigned char *s, size_t left)
{
    size_t size = s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    if (size == 0 || size > left) {
        return 0;
    }
    unsigned char low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < low || s[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

// Checks the string from reader->at (behind the opening quote) and finds its closing quote, where
// reader->at is left. Escapes are looked at when decoding.
static enum err find_string_end(struct reader *reader, bool *ret_has_escapes)
{
    bool has_escapes = false;
    for (;;) {
        reader->at = skip_plain(reader->text, reader->at);
        int c = peek(reader);
        if (c == '"') {
            *ret_has_escapes = has_escapes;
            return ERR_OK;
        }
        if (c == '\\' && reader->at + 1 < reader->text.size) {
            has_escapes = true;
            reader->at += 2;
            // The second byte is judged by unescape(); a multi-byte one must not be split here.
            if ((unsigned char)reader->text.data[reader->at - 1] >= 0x80) {
                return bad(reader, "unknown escape");
            }
        } else if (c >= 0x80) {
            const char *s = reader->text.data + reader->at;
            size_t size = utf8_sequence((const unsigned char *)s, reader->text.size - reader->at);
            if (size == 0) {
                return bad(reader, "string is not UTF-8");
            }
            reader->at += size;
        } else {
            // A backslash comes here only as the last byte of the text.
            reader->at += c == '\\' ? 1 : 0;
            return bad(reader, "control character in a string");
        }
    }
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

// Four hex digits at `at`, all before end; -1 when they are not.
static int32_t hex4(struct str text, size_t at, size_t end)
{
    int32_t value = 0;
    if (at + 4 > end) {
        return -1;
    }
    for (size_t i = at; i < at + 4; i++) {
        int digit = hex_digit(text.data[i]);
        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

static size_t put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

// One \u escape or a surrogate pair (RFC 8259 section 7), at *at behind "\u"; advances *at.
static enum err unescape_unicode(struct reader *reader, size_t *at, size_t end, uint32_t *ret_code)
{
    int32_t code = hex4(reader->text, *at, end);
    size_t size = 4;
    if (code >= 0xd800 && code < 0xdc00) {
        bool is_pair = *at + 6 <= end && reader->text.data[*at + 4] == '\\' &&
                       reader->text.data[*at + 5] == 'u';
        int32_t low = is_pair ? hex4(reader->text, *at + 6, end) : -1;
        code = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00) : -1;
        size = 10;
    } else if (code >= 0xdc00 && code < 0xe000) {
        code = -1;
    }
    if (code < 0) {
        reader->at = *at - 2;
        return bad(reader, "bad \\u escape");
    }
    *at += size;
    *ret_code = (uint32_t)code;
    return ERR_OK;
}

static char simple_escape(char c) // 0: unknown
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    const char *found = c == '\0' ? NULL : strchr(from, c);
    return found == NULL ? '\0' : to[found - from];
}

static enum err unescape(struct reader *reader, size_t from, size_t end, struct str *ret_text)
{
    char *text = text_alloc(reader, end - from + 1); // decoding never makes it longer
    size_t size = 0;
    for (size_t at = from; at < end;) {
        char c = reader->text.data[at];
        if (c != '\\') {
            text[size++] = c;
            at++;
            continue;
        }
        char escape = reader->text.data[at + 1];
        at += 2;
        if (escape == 'u') {
            uint32_t code = 0;
            enum err failed = unescape_unicode(reader, &at, end, &code);
            if (failed != ERR_OK) {
                return failed;
            }
            size += put_utf8(text + size, code);
        } else if (simple_escape(escape) != '\0') {
            text[size++] = simple_escape(escape);
        } else {
            reader->at = at - 2;
            return bad(reader, "unknown escape");
        }
    }
    text[size] = '\0';
    *ret_text = str_make(text, size);
    return ERR_OK;
}

static enum err parse_string(struct reader *reader, struct str *ret_text)
{
    size_t from = ++reader->at;
    bool has_escapes = false;
    enum err failed = find_string_end(reader, &has_escapes);
    if (failed != ERR_OK) {
        return failed;
    }
    size_t end = reader->at;
    if (has_escapes) {
        failed = unescape(reader, from, end, ret_text);
        if (failed != ERR_OK) {
            return failed;
        }
    } else {
        *ret_text = text_copy(reader, from, end - from);
    }
    reader->at = end + 1;
    return ERR_OK;
}

// --- numbers ---------------------------------------------------------------------------------------

static bool skip_digits(struct reader *reader)
{
    size_t from = reader->at;
    while (peek(reader) >= '0' && peek(reader) <= '9') {
        reader->at++;
    }
    return reader->at > from;
}

static enum err parse_number(struct reader *reader, struct json_value **ret_value)
{
    size_t from = reader->at;
    if (peek(reader) == '-') {
        reader->at++;
    }
    if (peek(reader) == '0') {
        reader->at++;
        if (peek(reader) >= '0' && peek(reader) <= '9') {
            return bad(reader, "number with a leading zero");
        }
    } else if (!skip_digits(reader)) {
        return bad(reader, "expected a value");
    }
    if (peek(reader) == '.') {
        reader->at++;
        if (!skip_digits(reader)) {
            return bad(reader, "expected a digit after the decimal point");
        }
    }
    if (peek(reader) == 'e' || peek(reader) == 'E') {
        reader->at++;
        if (peek(reader) == '+' || peek(reader) == '-') {
            reader->at++;
        }
        if (!skip_digits(reader)) {
            return bad(reader, "expected a digit in the exponent");
        }
    }
    *ret_value = value_new(reader, JSON_NUMBER);
    (*ret_value)->text = text_copy(reader, from, reader->at - from);
    return ERR_OK;
}

// --- containers ------------------------------------------------------------------------------------

static enum err enter(struct reader *reader)
{
    if (reader->depth == JSON_DEPTH_MAX) {
        return fail(reader, ERR_LIMIT, "nested too deeply");
    }
    reader->depth++;
    reader->at++;
    skip_blanks(reader);
    return ERR_OK;
}

// Behind an item: true to go on with the next one; false at the end (or, with *ret_failed, on an error).
static bool next_item(struct reader *reader, char closing, enum err *ret_failed)
{
    skip_blanks(reader);
    int c = peek(reader);
    if (c == ',') {
        reader->at++;
        skip_blanks(reader);
        return true;
    }
    if (c == closing) {
        reader->at++;
        reader->depth--;
    } else {
        *ret_failed = bad(reader, closing == ']' ? "expected ',' or ']'" : "expected ',' or '}'");
    }
    return false;
}

static bool is_empty_container(struct reader *reader, char closing)
{
    if (peek(reader) != closing) {
        return false;
    }
    reader->at++;
    reader->depth--;
    return true;
}

static enum err parse_array(struct reader *reader, struct json_value **ret_value)
{
    enum err failed = enter(reader);
    if (failed != ERR_OK) {
        return failed;
    }
    struct json_value *array = value_new(reader, JSON_ARRAY);
    *ret_value = array;
    if (is_empty_container(reader, ']')) {
        return ERR_OK;
    }
    size_t base = reader->stack.count;
    do {
        struct json_value *item = NULL;
        failed = parse_value(reader, &item);
        if (failed != ERR_OK) {
            return failed;
        }
        vec_push(&reader->stack, (struct json_member){.value = item});
    } while (next_item(reader, ']', &failed));
    size_t count = reader->stack.count - base;
    array->array.items = arena_alloc(reader->arena, count * sizeof(*array->array.items));
    for (size_t i = 0; i < count; i++) {
        array->array.items[i] = reader->stack.items[base + i].value;
    }
    array->array.count = count;
    array->array.capacity = count;
    reader->stack.count = base;
    return failed;
}

static const struct json_member *find_duplicate_pairwise(const struct json_member *members, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (str_equal(members[i].name, members[k].name)) {
                return &members[i];
            }
        }
    }
    return NULL;
}

static const struct json_member *find_duplicate(struct reader *reader, const struct json_member *members,
                                                size_t count)
{
    if (count <= PAIRWISE_NAMES_MAX) {
        return find_duplicate_pairwise(members, count);
    }
    size_t slot_count = 64;
    while (slot_count < count * 2) {
        slot_count *= 2;
    }
    while (reader->slots.count < slot_count) {
        vec_push(&reader->slots, 0);
    }
    uint32_t *slots = reader->slots.items;
    memset(slots, 0, slot_count * sizeof(*slots));
    for (size_t i = 0; i < count; i++) {
        size_t slot = (size_t)str_hash(members[i].name) & (slot_count - 1);
        for (; slots[slot] != 0; slot = (slot + 1) & (slot_count - 1)) {
            if (str_equal(members[slots[slot] - 1].name, members[i].name)) {
                return &members[i];
            }
        }
        slots[slot] = (uint32_t)i + 1;
    }
    return NULL;
}

static enum err parse_member(struct reader *reader)
{
    if (peek(reader) != '"') {
        return bad(reader, "expected a member name");
    }
    struct json_member member = {0};
    enum err failed = parse_string(reader, &member.name);
    if (failed != ERR_OK) {
        return failed;
    }
    skip_blanks(reader);
    if (peek(reader) != ':') {
        return bad(reader, "expected ':' after the member name");
    }
    reader->at++;
    skip_blanks(reader);
    failed = parse_value(reader, &member.value);
    if (failed == ERR_OK) {
        vec_push(&reader->stack, member);
    }
    return failed;
}

static enum err close_object(struct reader *reader, struct json_value *object, size_t base)
{
    size_t count = reader->stack.count - base;
    const struct json_member *members = reader->stack.items + base;
    const struct json_member *duplicate = find_duplicate(reader, members, count);
    if (duplicate != NULL) {
        struct str name = str_sub(duplicate->name, 0, NAME_SHOWN_MAX);
        reader->at--;
        enum err failed = fail(reader, ERR_INVALID, "the object that ends here has a member twice");
        error_prefix(reader->err, "duplicate member \"%.*s\"", STR_ARG(name));
        return failed;
    }
    object->object.members = arena_alloc(reader->arena, count * sizeof(*members));
    memcpy(object->object.members, members, count * sizeof(*members));
    object->object.count = count;
    object->object.capacity = count;
    reader->stack.count = base;
    return ERR_OK;
}

static enum err parse_object(struct reader *reader, struct json_value **ret_value)
{
    enum err failed = enter(reader);
    if (failed != ERR_OK) {
        return failed;
    }
    struct json_value *object = value_new(reader, JSON_OBJECT);
    *ret_value = object;
    if (is_empty_container(reader, '}')) {
        return ERR_OK;
    }
    size_t base = reader->stack.count;
    do {
        failed = parse_member(reader);
        if (failed != ERR_OK) {
            return failed;
        }
    } while (next_item(reader, '}', &failed));
    return failed != ERR_OK ? failed : close_object(reader, object, base);
}

// --- values ----------------------------------------------------------------------------------------

static enum err parse_word(struct reader *reader, struct str word, enum json_type type, bool boolean,
                           struct json_value **ret_value)
{
    if (!str_starts_with(str_from(reader->text, reader->at), word)) {
        return bad(reader, "expected a value");
    }
    reader->at += word.size;
    *ret_value = value_new(reader, type);
    (*ret_value)->boolean = boolean;
    return ERR_OK;
}

static enum err parse_value(struct reader *reader, struct json_value **ret_value)
{
    switch (peek(reader)) {
    case '{':
        return parse_object(reader, ret_value);
    case '[':
        return parse_array(reader, ret_value);
    case '"': {
        struct str text = STR_EMPTY;
        enum err failed = parse_string(reader, &text);
        *ret_value = value_new(reader, JSON_STRING);
        (*ret_value)->text = text;
        return failed;
    }
    case 't':
        return parse_word(reader, STR("true"), JSON_BOOL, true, ret_value);
    case 'f':
        return parse_word(reader, STR("false"), JSON_BOOL, false, ret_value);
    case 'n':
        return parse_word(reader, STR("null"), JSON_NULL, false, ret_value);
    default:
        return parse_number(reader, ret_value);
    }
}

enum err json_parse(struct arena *arena, struct str text, struct json_value **ret_value, struct error *err)
{
    struct reader reader = {.arena = arena, .text = text, .err = err};
    if (text.size > JSON_SIZE_MAX) {
        return error_set(err, ERR_LIMIT, "JSON text of %zu bytes, %u are allowed", text.size,
                         JSON_SIZE_MAX);
    }
    struct json_value *value = NULL;
    skip_blanks(&reader);
    enum err failed = parse_value(&reader, &value);
    if (failed == ERR_OK) {
        skip_blanks(&reader);
        if (reader.at < text.size) {
            failed = bad(&reader, "text behind the value");
        }
    }
    vec_done(&reader.stack);
    vec_done(&reader.slots);
    if (failed == ERR_OK) {
        *ret_value = value;
    }
    return failed;
}
