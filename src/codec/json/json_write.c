// SPDX-License-Identifier: Apache-2.0
//
// The writer. What it writes is valid JSON in valid UTF-8 whatever the tree's strings hold: bytes that
// are not UTF-8 become U+FFFD. Output of the reader reads back equal.
#include "codec/json/json.h"

#include "base/assert.h"

#define INDENT_MAX 256u

struct writer {
    struct buf *out;
    bool pretty;
};

// --- strings ---------------------------------------------------------------------------------------

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

static size_t utf8_size(const unsigned char *s, size_t left)
{
    size_t size = s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    if (size == 0 || size > left) {
        return 0;
    }
    uint32_t code = s[0] & (0xffu >> (size + 1));
    for (size_t i = 1; i < size; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (s[i] & 0x3fu);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    bool is_surrogate = code >= 0xd800 && code < 0xe000;
    return code < least[size] || code > 0x10ffff || is_surrogate ? 0 : size;
}

static void write_escape(struct buf *out, unsigned char c)
{
    static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt"; // pairs: byte, letter
    for (size_t i = 0; i + 1 < sizeof(names); i += 2) {
        if ((unsigned char)names[i] == c) {
            buf_append_char(out, '\\');
            buf_append_char(out, names[i + 1]);
            return;
        }
    }
    buf_printf(out, "\\u%04x", c);
}

void json_write_string(struct str s, struct buf *out)
{
    const unsigned char *bytes = (const unsigned char *)s.data;
    buf_append_char(out, '"');
    size_t at = 0;
    while (at < s.size) {
        size_t from = at;
        size_t sequence = 0;
        while (at < s.size && (is_plain(bytes[at]) || (bytes[at] >= 0x80 &&
                                                       (sequence = utf8_size(bytes + at, s.size - at)) > 0))) {
            at += bytes[at] < 0x80 ? 1 : sequence;
        }
        buf_append(out, s.data + from, at - from);
        if (at == s.size) {
            break;
        }
        if (bytes[at] >= 0x80) {
            buf_append_str(out, STR("\xef\xbf\xbd"));
        } else {
            write_escape(out, bytes[at]);
        }
        at++;
    }
    buf_append_char(out, '"');
}

// --- values ----------------------------------------------------------------------------------------

static void write_value(const struct writer *writer, const struct json_value *value, unsigned depth);

static void write_break(const struct writer *writer, unsigned depth)
{
    if (!writer->pretty) {
        return;
    }
    buf_append_char(writer->out, '\n');
    size_t blanks = depth < INDENT_MAX ? depth * 2u : INDENT_MAX * 2u;
    memset(buf_reserve(writer->out, blanks), ' ', blanks);
    buf_commit(writer->out, blanks);
}

static void write_array(const struct writer *writer, const struct json_value *array, unsigned depth)
{
    buf_append_char(writer->out, '[');
    for (size_t i = 0; i < array->array.count; i++) {
        if (i > 0) {
            buf_append_char(writer->out, ',');
        }
        write_break(writer, depth + 1);
        write_value(writer, array->array.items[i], depth + 1);
    }
    if (array->array.count > 0) {
        write_break(writer, depth);
    }
    buf_append_char(writer->out, ']');
}

static void write_object(const struct writer *writer, const struct json_value *object, unsigned depth)
{
    buf_append_char(writer->out, '{');
    for (size_t i = 0; i < object->object.count; i++) {
        if (i > 0) {
            buf_append_char(writer->out, ',');
        }
        write_break(writer, depth + 1);
        json_write_string(object->object.members[i].name, writer->out);
        buf_append_str(writer->out, writer->pretty ? STR(": ") : STR(":"));
        write_value(writer, object->object.members[i].value, depth + 1);
    }
    if (object->object.count > 0) {
        write_break(writer, depth);
    }
    buf_append_char(writer->out, '}');
}

static void write_value(const struct writer *writer, const struct json_value *value, unsigned depth)
{
    switch (value->type) {
    case JSON_NULL:
        buf_append_str(writer->out, STR("null"));
        break;
    case JSON_BOOL:
        buf_append_str(writer->out, value->boolean ? STR("true") : STR("false"));
        break;
    case JSON_NUMBER:
        buf_append_str(writer->out, value->text);
        break;
    case JSON_STRING:
        json_write_string(value->text, writer->out);
        break;
    case JSON_ARRAY:
        write_array(writer, value, depth);
        break;
    case JSON_OBJECT:
        write_object(writer, value, depth);
        break;
    }
}

void json_write(const struct json_value *value, struct buf *out)
{
    write_value(&(struct writer){.out = out}, value, 0);
}

void json_write_pretty(const struct json_value *value, struct buf *out)
{
    write_value(&(struct writer){.out = out, .pretty = true}, value, 0);
}

struct str json_to_str(struct arena *arena, const struct json_value *value)
{
    struct buf out = {0};
    json_write(value, &out);
    struct str text = arena_str(arena, buf_view(&out));
    buf_done(&out);
    return text;
}
