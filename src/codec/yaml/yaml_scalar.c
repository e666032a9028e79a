// SPDX-License-Identifier: Apache-2.0
#include "codec/yaml/yaml_internal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

#define NUMBER_TEXT_MAX 256u // longer plain scalars are strings

// --- words -----------------------------------------------------------------------------------------

static const struct {
    struct str word; // lower case; also matched in upper case and capitalized
    enum yaml_plain meaning;
} words[] = {
    {{.data = "", .size = 0}, YAML_PLAIN_NULL},      {{.data = "~", .size = 1}, YAML_PLAIN_NULL},
    {{.data = "null", .size = 4}, YAML_PLAIN_NULL},  {{.data = "y", .size = 1}, YAML_PLAIN_TRUE},
    {{.data = "yes", .size = 3}, YAML_PLAIN_TRUE},   {{.data = "on", .size = 2}, YAML_PLAIN_TRUE},
    {{.data = "true", .size = 4}, YAML_PLAIN_TRUE},  {{.data = "n", .size = 1}, YAML_PLAIN_FALSE},
    {{.data = "no", .size = 2}, YAML_PLAIN_FALSE},   {{.data = "off", .size = 3}, YAML_PLAIN_FALSE},
    {{.data = "false", .size = 5}, YAML_PLAIN_FALSE},
};

static const char *const infinite_words[] = {".inf",  ".Inf",  ".INF",  "+.inf", "+.Inf", "+.INF",
                                             "-.inf", "-.Inf", "-.INF", ".nan",  ".NaN",  ".NAN"};

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

// "yes", "YES" and "Yes" are the word; "yEs" is not.
static bool is_spelling_of(struct str text, struct str word)
{
    if (!str_equal_nocase(text, word)) {
        return false;
    }
    size_t upper = 0;
    size_t lower = 0;
    for (size_t i = 0; i < text.size; i++) {
        upper += is_upper(text.data[i]) ? 1 : 0;
        lower += is_lower(text.data[i]) ? 1 : 0;
    }
    return upper == 0 || lower == 0 || (upper == 1 && is_upper(text.data[0]));
}

// --- numbers ---------------------------------------------------------------------------------------

struct digits {
    char text[NUMBER_TEXT_MAX + 1]; // without underscores and sign
    size_t size;
    bool negative;
};

static bool is_decimal(struct str s)
{
    for (size_t i = 0; i < s.size; i++) {
        if (s.data[i] < '0' || s.data[i] > '9') {
            return false;
        }
    }
    return s.size > 0;
}

static bool take_digits(struct str text, struct digits *ret)
{
    if (text.size > NUMBER_TEXT_MAX) {
        return false;
    }
    size_t at = 0;
    if (text.data[0] == '-' || text.data[0] == '+') {
        ret->negative = text.data[0] == '-';
        at++;
    }
    // Underscores may stand between digits, not before them.
    if (at == text.size || !(text.data[at] == '.' || (text.data[at] >= '0' && text.data[at] <= '9'))) {
        return false;
    }
    for (; at < text.size; at++) {
        if (text.data[at] != '_') {
            ret->text[ret->size++] = text.data[at];
        }
    }
    ret->text[ret->size] = '\0';
    return ret->size > 0;
}

// 0x, 0o, 0b, and a leading zero as the octal of old.
static bool parse_based(const struct digits *digits, uint64_t *ret_value)
{
    int base = 10;
    const char *text = digits->text;
    size_t size = digits->size;
    if (size > 1 && text[0] == '0') {
        char mark = text[1];
        base = mark == 'x' || mark == 'X'   ? 16
               : mark == 'o' || mark == 'O' ? 8
               : mark == 'b' || mark == 'B' ? 2
                                            : -8;
        size_t skip = base > 0 ? 2 : 1;
        base = base > 0 ? base : 8;
        text += skip;
        size -= skip;
    }
    static const char alphabet[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        char c = is_upper(text[i]) ? (char)(text[i] - 'A' + 'a') : text[i];
        const char *found = memchr(alphabet, c, (size_t)base);
        if (found == NULL) {
            return false;
        }
    }
    char *end = NULL;
    errno = 0;
    *ret_value = strtoull(text, &end, base);
    return size > 0 && errno == 0 && end == text + size;
}

// digits [. digits] [e [sign] digits], with a digit somewhere before the exponent.
static bool is_float(struct str text)
{
    struct str exponent = text;
    struct str mantissa = text;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == 'e' || text.data[i] == 'E') {
            mantissa = str_sub(text, 0, i);
            exponent = str_from(text, i + 1);
            if (exponent.size > 0 && (exponent.data[0] == '-' || exponent.data[0] == '+')) {
                exponent = str_from(exponent, 1);
            }
            if (!is_decimal(exponent)) {
                return false;
            }
            break;
        }
    }
    struct str fraction = mantissa;
    struct str whole = str_split(&fraction, '.');
    bool has_digit = !str_is_empty(whole) || !str_is_empty(fraction);
    return has_digit && (str_is_empty(whole) || is_decimal(whole)) &&
           (str_is_empty(fraction) || is_decimal(fraction));
}

static bool resolve_number(struct arena *arena, struct str text, struct str *ret_number)
{
    struct digits digits = {0};
    if (!take_digits(text, &digits)) {
        return false;
    }
    uint64_t whole = 0;
    if (parse_based(&digits, &whole) && !(digits.negative && whole > (uint64_t)INT64_MAX + 1)) {
        *ret_number = arena_format(arena, "%s%llu", digits.negative && whole > 0 ? "-" : "",
                                   (unsigned long long)whole);
        return true;
    }
    if (!is_float(str_make(digits.text, digits.size))) {
        return false;
    }
    double value = strtod(digits.text, NULL);
    if (!isfinite(value)) {
        return false; // too large to be a number: a string, as in kubectl
    }
    *ret_number = json_new_double(arena, digits.negative ? -value : value)->text;
    return true;
}

// ---------------------------------------------------------------------------------------------------

enum yaml_plain yaml_plain_resolve(struct arena *arena, struct str text, struct str *ret_number)
{
    for (size_t i = 0; i < array_count(words); i++) {
        if (is_spelling_of(text, words[i].word)) {
            return words[i].meaning;
        }
    }
    for (size_t i = 0; i < array_count(infinite_words); i++) {
        if (str_equal_c(text, infinite_words[i])) {
            return YAML_PLAIN_INFINITE;
        }
    }
    return resolve_number(arena, text, ret_number) ? YAML_PLAIN_NUMBER : YAML_PLAIN_STRING;
}
