// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/selector.h"

#include "base/vec.h"

// --- parsing labels --------------------------------------------------------------------------------

struct scanner {
    struct arena *arena;
    struct str rest;
    struct error *err;
};

static void skip_blanks(struct scanner *scanner)
{
    while (!str_is_empty(scanner->rest) && (scanner->rest.data[0] == ' ' || scanner->rest.data[0] == '\t')) {
        scanner->rest = str_from(scanner->rest, 1);
    }
}

static bool take(struct scanner *scanner, const char *token)
{
    struct str text = str_of(token);
    if (!str_starts_with(scanner->rest, text)) {
        return false;
    }
    scanner->rest = str_from(scanner->rest, text.size);
    return true;
}

static bool is_word_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '/';
}

static struct str take_word(struct scanner *scanner)
{
    skip_blanks(scanner);
    size_t size = 0;
    while (size < scanner->rest.size && is_word_character(scanner->rest.data[size])) {
        size++;
    }
    struct str word = arena_str(scanner->arena, str_sub(scanner->rest, 0, size));
    scanner->rest = str_from(scanner->rest, size);
    skip_blanks(scanner);
    return word;
}

static enum err scan_failure(struct scanner *scanner, const char *what)
{
    return error_set(scanner->err, ERR_INVALID, "unable to parse requirement: %s, found '%.*s'", what,
                     STR_ARG(str_sub(scanner->rest, 0, 64)));
}

static void set_one_value(struct arena *arena, struct selector_requirement *requirement, struct str value)
{
    requirement->values = arena_array(arena, struct str, 1);
    requirement->values[0] = value;
    requirement->value_count = 1;
}

static enum err parse_set(struct scanner *scanner, struct selector_requirement *requirement)
{
    skip_blanks(scanner);
    if (!take(scanner, "(")) {
        return scan_failure(scanner, "expected '(' behind in or notin");
    }
    VEC(struct str) values = {0};
    enum err code = ERR_OK;
    do {
        if (values.count == SELECTOR_VALUES_MAX) {
            code = error_set(scanner->err, ERR_LIMIT, "more than %u values in one requirement",
                             SELECTOR_VALUES_MAX);
            break;
        }
        vec_push(&values, take_word(scanner));
    } while (take(scanner, ","));
    if (code == ERR_OK && !take(scanner, ")")) {
        code = scan_failure(scanner, "expected ',' or ')'");
    }
    requirement->values = arena_array(scanner->arena, struct str, values.count);
    memcpy(requirement->values, values.items, values.count * sizeof(struct str));
    requirement->value_count = values.count;
    vec_done(&values);
    return code;
}

static enum err parse_requirement(struct scanner *scanner, struct selector_requirement *requirement)
{
    skip_blanks(scanner);
    *requirement = (struct selector_requirement){.operator = SELECTOR_EXISTS};
    bool negated = take(scanner, "!");
    requirement->key = take_word(scanner);
    if (str_is_empty(requirement->key)) {
        return scan_failure(scanner, "expected a label key");
    }
    if (negated) {
        requirement->operator = SELECTOR_ABSENT;
        return ERR_OK;
    }
    static const struct {
        const char *token;
        enum selector_operator operator;
    } operators[] = {{"==", SELECTOR_EQUALS},
                     {"=", SELECTOR_EQUALS},
                     {"!=", SELECTOR_NOT_EQUALS},
                     {">", SELECTOR_GREATER},
                     {"<", SELECTOR_LESS}};
    for (size_t i = 0; i < array_count(operators); i++) {
        if (take(scanner, operators[i].token)) {
            requirement->operator = operators[i].operator;
            set_one_value(scanner->arena, requirement, take_word(scanner));
            return ERR_OK;
        }
    }
    if (str_is_empty(scanner->rest) || scanner->rest.data[0] == ',') {
        return ERR_OK;
    }
    struct str word = take_word(scanner);
    if (str_equal(word, STR("in")) || str_equal(word, STR("notin"))) {
        requirement->operator = word.size == 2 ? SELECTOR_IN : SELECTOR_NOT_IN;
        return parse_set(scanner, requirement);
    }
    return scan_failure(scanner, "expected an operator");
}

enum err selector_parse_labels(struct arena *arena, struct str text, struct selector *ret_selector,
                               struct error *err)
{
    struct scanner scanner = {.arena = arena, .rest = text, .err = err};
    struct selector selector = {0};
    skip_blanks(&scanner);
    if (str_is_empty(scanner.rest)) {
        *ret_selector = selector;
        return ERR_OK;
    }
    selector.requirements = arena_array(arena, struct selector_requirement, SELECTOR_REQUIREMENTS_MAX);
    do {
        if (selector.count == SELECTOR_REQUIREMENTS_MAX) {
            return error_set(err, ERR_LIMIT, "more than %u requirements", SELECTOR_REQUIREMENTS_MAX);
        }
        enum err code = parse_requirement(&scanner, &selector.requirements[selector.count]);
        if (code != ERR_OK) {
            return code;
        }
        selector.count++;
    } while (take(&scanner, ","));
    if (!str_is_empty(scanner.rest)) {
        return scan_failure(&scanner, "expected ',' or the end");
    }
    *ret_selector = selector;
    return ERR_OK;
}

// --- parsing fields --------------------------------------------------------------------------------

static struct str unescape(struct arena *arena, struct str text)
{
    char *out = arena_alloc(arena, text.size + 1);
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '\\' && i + 1 < text.size) {
            i++;
        }
        out[size++] = text.data[i];
    }
    out[size] = '\0';
    return str_make(out, size);
}

// Index of the first unescaped c; -1: none.
static ptrdiff_t find_unescaped(struct str text, char c)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '\\') {
            i++;
        } else if (text.data[i] == c) {
            return (ptrdiff_t)i;
        }
    }
    return -1;
}

static enum err parse_field(struct arena *arena, struct str term, struct selector_requirement *requirement,
                            struct error *err)
{
    ptrdiff_t equal = find_unescaped(term, '=');
    if (equal <= 0) {
        return error_set(err, ERR_INVALID, "invalid selector: '%.*s'; can't understand '%.*s'", STR_ARG(term),
                         STR_ARG(term));
    }
    size_t key_size = (size_t)equal;
    struct str value = str_from(term, (size_t)equal + 1);
    requirement->operator = SELECTOR_EQUALS;
    if (term.data[key_size - 1] == '!') {
        requirement->operator = SELECTOR_NOT_EQUALS;
        key_size--;
    } else if (!str_is_empty(value) && value.data[0] == '=') {
        value = str_from(value, 1);
    }
    requirement->key = arena_str(arena, str_trim(str_sub(term, 0, key_size)));
    set_one_value(arena, requirement, unescape(arena, value));
    return ERR_OK;
}

enum err selector_parse_fields(struct arena *arena, struct str text, struct selector *ret_selector,
                               struct error *err)
{
    struct selector selector = {0};
    selector.requirements = arena_array(arena, struct selector_requirement, SELECTOR_REQUIREMENTS_MAX);
    while (!str_is_empty(text)) {
        ptrdiff_t comma = find_unescaped(text, ',');
        struct str term = comma < 0 ? text : str_sub(text, 0, (size_t)comma);
        text = comma < 0 ? STR_EMPTY : str_from(text, (size_t)comma + 1);
        if (str_is_empty(term)) {
            continue;
        }
        if (selector.count == SELECTOR_REQUIREMENTS_MAX) {
            return error_set(err, ERR_LIMIT, "more than %u requirements", SELECTOR_REQUIREMENTS_MAX);
        }
        enum err code = parse_field(arena, term, &selector.requirements[selector.count], err);
        if (code != ERR_OK) {
            return code;
        }
        selector.count++;
    }
    *ret_selector = selector;
    return ERR_OK;
}

// --- matching --------------------------------------------------------------------------------------

static bool has_value(const struct selector_requirement *requirement, struct str value)
{
    for (size_t i = 0; i < requirement->value_count; i++) {
        if (str_equal(requirement->values[i], value)) {
            return true;
        }
    }
    return false;
}

static bool compare_numbers(const struct selector_requirement *requirement, struct str value)
{
    int64_t left;
    int64_t right;
    if (!str_to_i64(value, &left) || !str_to_i64(requirement->values[0], &right)) {
        return false;
    }
    return requirement->operator == SELECTOR_GREATER ? left > right : left < right;
}

static bool requirement_matches(const struct selector_requirement *requirement, struct str value)
{
    bool is_present = value.data != NULL;
    switch (requirement->operator) {
    case SELECTOR_EQUALS:
    case SELECTOR_IN:
        return is_present && has_value(requirement, value);
    case SELECTOR_NOT_EQUALS:
    case SELECTOR_NOT_IN:
        return !is_present || !has_value(requirement, value);
    case SELECTOR_EXISTS:
        return is_present;
    case SELECTOR_ABSENT:
        return !is_present;
    case SELECTOR_GREATER:
    case SELECTOR_LESS:
        return is_present && compare_numbers(requirement, value);
    }
    return false;
}

bool selector_matches_labels(const struct selector *selector, const struct json_value *labels)
{
    for (size_t i = 0; i < selector->count; i++) {
        const struct selector_requirement *requirement = &selector->requirements[i];
        const struct json_value *label = json_get_str_name(labels, requirement->key);
        struct str value = json_str(label);
        if (json_is(label, JSON_STRING) && value.data == NULL) {
            value = STR_EMPTY;
        }
        if (!requirement_matches(requirement, value)) {
            return false;
        }
    }
    return true;
}

static struct str field_value(const struct json_value *object, struct str path)
{
    const struct json_value *value = object;
    for (struct str rest = path; rest.data != NULL && value != NULL;) {
        value = json_get_str_name(value, str_split(&rest, '.'));
    }
    if (json_is(value, JSON_STRING) || json_is(value, JSON_NUMBER)) {
        return value->text.data == NULL ? STR_EMPTY : value->text;
    }
    if (json_is(value, JSON_BOOL)) {
        return value->boolean ? STR("true") : STR("false");
    }
    return STR_EMPTY;
}

bool selector_matches_fields(const struct selector *selector, const struct json_value *object)
{
    for (size_t i = 0; i < selector->count; i++) {
        const struct selector_requirement *requirement = &selector->requirements[i];
        struct str value = field_value(object, requirement->key);
        // An absent boolean is false to whoever asks for one.
        if (str_is_empty(value) && str_equal(requirement->values[0], STR("false"))) {
            value = STR("false");
        }
        if (!requirement_matches(requirement, value)) {
            return false;
        }
    }
    return true;
}

struct str selector_exact(const struct selector *selector, const char *key)
{
    for (size_t i = 0; i < selector->count; i++) {
        const struct selector_requirement *requirement = &selector->requirements[i];
        if (requirement->operator == SELECTOR_EQUALS && str_equal_c(requirement->key, key)) {
            return requirement->values[0];
        }
    }
    return (struct str){0};
}
