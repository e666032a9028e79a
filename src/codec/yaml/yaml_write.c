// SPDX-License-Identifier: Apache-2.0
//
// The writer: block style as kubectl prints it (lists not indented under their key), strings plain where
// they read back as the same string, as a literal block when they have several lines, else in double
// quotes with JSON's escapes, which YAML's double quotes contain.
#include "codec/yaml/yaml_internal.h"

#include "base/memory.h"

#define INDENT_MAX 512u
#define SIMPLE_KEY_MAX 1000u // YAML 1.1 section 9.3: 1024 characters, in which ": " must come

static void write_block(const struct json_value *value, unsigned indent, struct buf *out);

static void write_indent(unsigned indent, struct buf *out)
{
    size_t blanks = indent < INDENT_MAX ? indent : INDENT_MAX;
    memset(buf_reserve(out, blanks), ' ', blanks);
    buf_commit(out, blanks);
}

// --- strings ---------------------------------------------------------------------------------------

static bool is_plain_byte(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '-' || c == '.' || c == '/' || c == '+' || c == '=' || c == '(' || c == ')' || c == '~' ||
           c == ';' || c == '^' || c == '$';
}

// A careful subset of YAML's plain scalars: what is doubtful gets quotes.
static bool can_be_plain(struct str s)
{
    if (s.size == 0 || !is_plain_byte((unsigned char)s.data[0]) || s.data[0] == '=' ||
        s.data[s.size - 1] == ':' || s.data[s.size - 1] == ' ' || str_equal(s, STR("<<")) ||
        str_starts_with(s, STR("---")) || str_starts_with(s, STR("...")) ||
        (s.data[0] == '-' && (s.size == 1 || s.data[1] == ' '))) {
        return false;
    }
    for (size_t i = 0; i < s.size; i++) {
        unsigned char c = (unsigned char)s.data[i];
        bool is_colon = c == ':' && i + 1 < s.size && s.data[i + 1] != ' ';
        bool is_hash = c == '#' && s.data[i - 1] != ' ';
        bool is_inner = c == ' ' || c == ',' || c == '@' || c == '%' || c == '*' || c == '&' || c == '!';
        if (!is_plain_byte(c) && !is_colon && !is_hash && !is_inner) {
            return false;
        }
    }
    struct arena arena = {0};
    struct str number = STR_EMPTY;
    bool is_string = yaml_plain_resolve(&arena, s, &number) == YAML_PLAIN_STRING;
    arena_done(&arena);
    return is_string;
}

// A literal block keeps everything as it is, so only printable ASCII lines without blanks at the ends go
// there: a line of blanks or a leading blank would need indentation marks.
static bool can_be_literal(struct str s)
{
    bool at_line_start = true;
    bool has_newline = false;
    for (size_t i = 0; i < s.size; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (c == '\n') {
            has_newline = true;
            if (i == 0 || s.data[i - 1] == '\n' || s.data[i - 1] == ' ') {
                return false;
            }
            at_line_start = true;
            continue;
        }
        if (c < 0x20 || c >= 0x7f || (c == ' ' && i == 0)) {
            return false;
        }
        at_line_start = false;
    }
    return has_newline && (at_line_start || s.data[s.size - 1] != ' ');
}

static void write_literal(struct str s, unsigned indent, struct buf *out)
{
    bool ends_line = s.data[s.size - 1] == '\n';
    buf_append_str(out, ends_line ? STR("|\n") : STR("|-\n"));
    struct str rest = ends_line ? str_sub(s, 0, s.size - 1) : s;
    while (rest.data != NULL) {
        struct str line = str_split(&rest, '\n');
        write_indent(indent, out);
        buf_append_str(out, line);
        buf_append_char(out, '\n');
    }
}

// Code points that JSON leaves as they are and YAML takes for line breaks or refuses.
static const struct {
    struct str bytes;
    const char *escape;
} yaml_escapes[] = {
    {{.data = "\x7f", .size = 1}, "\\u007f"},         {{.data = "\xe2\x80\xa8", .size = 3}, "\\u2028"},
    {{.data = "\xe2\x80\xa9", .size = 3}, "\\u2029"}, {{.data = "\xef\xbb\xbf", .size = 3}, "\\ufeff"},
    {{.data = "\xef\xbf\xbe", .size = 3}, "\\ufffe"}, {{.data = "\xef\xbf\xbf", .size = 3}, "\\uffff"},
};

// Writes an escape for what text begins with and returns how many bytes that was; 0: nothing to escape.
static size_t write_yaml_escape(struct str text, struct buf *out)
{
    for (size_t i = 0; i < array_count(yaml_escapes); i++) {
        if (str_starts_with(text, yaml_escapes[i].bytes)) {
            buf_append_str(out, str_of(yaml_escapes[i].escape));
            return yaml_escapes[i].bytes.size;
        }
    }
    unsigned char second = text.size > 1 ? (unsigned char)text.data[1] : 0;
    if ((unsigned char)text.data[0] == 0xc2 && second < 0xa0) {
        buf_printf(out, "\\u%04x", second); // U+0080 to U+009F
        return 2;
    }
    return 0;
}

static void write_inline_string(struct str s, struct buf *out)
{
    if (can_be_plain(s)) {
        buf_append_str(out, s);
        return;
    }
    struct buf quoted = {0};
    json_write_string(s, &quoted);
    for (struct str rest = buf_view(&quoted); rest.size > 0;) {
        size_t escaped = write_yaml_escape(rest, out);
        if (escaped == 0) {
            buf_append_char(out, rest.data[0]);
            escaped = 1;
        }
        rest = str_from(rest, escaped);
    }
    buf_done(&quoted);
}

// --- values ----------------------------------------------------------------------------------------

static bool is_inline(const struct json_value *value)
{
    return (value->type != JSON_ARRAY && value->type != JSON_OBJECT) || json_count(value) == 0;
}

// One line, its end included (several when it is a literal block, whose lines stand at indent).
static void write_inline(const struct json_value *value, unsigned indent, struct buf *out)
{
    if (value->type == JSON_STRING && can_be_literal(value->text)) {
        write_literal(value->text, indent, out);
        return;
    }
    if (value->type == JSON_STRING) {
        write_inline_string(value->text, out);
    } else {
        json_write(value, out);
    }
    buf_append_char(out, '\n');
}

// A key, and its colon. A long one has to be announced.
static void write_key(struct str name, unsigned indent, struct buf *out)
{
    struct buf key = {0};
    write_inline_string(name, &key);
    if (key.size > SIMPLE_KEY_MAX) {
        buf_append_str(out, STR("? "));
        buf_append_str(out, buf_view(&key));
        buf_append_char(out, '\n');
        write_indent(indent, out);
    } else {
        buf_append_str(out, buf_view(&key));
    }
    buf_append_char(out, ':');
    buf_done(&key);
}

static void write_members(const struct json_value *object, unsigned indent, bool first_is_placed,
                          struct buf *out)
{
    for (size_t i = 0; i < object->object.count; i++) {
        const struct json_member *member = &object->object.members[i];
        if (i > 0 || !first_is_placed) {
            write_indent(indent, out);
        }
        write_key(member->name, indent, out);
        if (is_inline(member->value)) {
            buf_append_char(out, ' ');
            write_inline(member->value, indent + 2, out);
        } else {
            buf_append_char(out, '\n');
            write_block(member->value, member->value->type == JSON_ARRAY ? indent : indent + 2, out);
        }
    }
}

static void write_items(const struct json_value *array, unsigned indent, bool first_is_placed,
                        struct buf *out)
{
    for (size_t i = 0; i < array->array.count; i++) {
        const struct json_value *item = array->array.items[i];
        if (i > 0 || !first_is_placed) {
            write_indent(indent, out);
        }
        buf_append_str(out, STR("- "));
        if (is_inline(item)) {
            write_inline(item, indent + 2, out);
        } else if (item->type == JSON_OBJECT) {
            write_members(item, indent + 2, true, out);
        } else {
            write_items(item, indent + 2, true, out);
        }
    }
}

static void write_block(const struct json_value *value, unsigned indent, struct buf *out)
{
    if (value->type == JSON_OBJECT) {
        write_members(value, indent, false, out);
    } else {
        write_items(value, indent, false, out);
    }
}

void yaml_write(const struct json_value *value, struct buf *out)
{
    if (is_inline(value)) {
        write_inline(value, 2, out); // a literal block at the margin could hold "..." or "---"
    } else {
        write_block(value, 0, out);
    }
}
