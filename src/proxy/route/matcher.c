// SPDX-License-Identifier: Apache-2.0
#include "proxy/route/matcher.h"

#include "base/buf.h"

#define HEADER_JOIN_MAX (64u * 1024) // bytes of a repeated header looked at

static enum err compile_regex(struct rule_memory *memory, const Envoy__Type__Matcher__V3__RegexMatcher *config, bool ignore_case,
                              struct string_match *ret_match, struct error *err)
{
    const struct regex *regex = regex_compile(memory, str_of(config->regex), ignore_case ? REGEX_FULL_IGNORE_CASE : REGEX_FULL, err);
    if (regex == NULL) {
        return err->code;
    }
    *ret_match = (struct string_match){.kind = STRING_MATCH_REGEX, .regex = regex};
    return ERR_OK;
}

enum err string_match_compile(struct rule_memory *memory, const Envoy__Type__Matcher__V3__StringMatcher *config,
                              struct string_match *ret_match, struct error *err)
{
    struct string_match match = {.ignore_case = config->ignore_case};
    const char *text = "";
    switch (config->match_pattern_case) {
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT:
        match.kind = STRING_MATCH_EXACT;
        text = config->exact;
        break;
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_PREFIX:
        match.kind = STRING_MATCH_PREFIX;
        text = config->prefix;
        break;
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SUFFIX:
        match.kind = STRING_MATCH_SUFFIX;
        text = config->suffix;
        break;
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_CONTAINS:
        match.kind = STRING_MATCH_CONTAINS;
        text = config->contains;
        break;
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX:
        return compile_regex(memory, config->safe_regex, config->ignore_case, ret_match, err);
    default:
        return error_set(err, ERR_INVALID, "string matcher without a pattern");
    }
    match.value = arena_str(&memory->arena, str_of(text));
    *ret_match = match;
    return ERR_OK;
}

static bool equal_case(struct str a, struct str b, bool ignore_case)
{
    return ignore_case ? str_equal_nocase(a, b) : str_equal(a, b);
}

bool string_match_test(const struct string_match *match, struct str value)
{
    struct str want = match->value;
    if (match->kind == STRING_MATCH_REGEX) {
        return regex_match_full(match->regex, value);
    }
    if (value.size < want.size) {
        return false;
    }
    switch (match->kind) {
    case STRING_MATCH_EXACT:
        return equal_case(value, want, match->ignore_case);
    case STRING_MATCH_PREFIX:
        return equal_case(str_sub(value, 0, want.size), want, match->ignore_case);
    case STRING_MATCH_SUFFIX:
        return equal_case(str_from(value, value.size - want.size), want, match->ignore_case);
    case STRING_MATCH_CONTAINS:
        for (size_t i = 0; i + want.size <= value.size; i++) {
            if (equal_case(str_sub(value, i, want.size), want, match->ignore_case)) {
                return true;
            }
        }
        return false;
    case STRING_MATCH_REGEX:
        break;
    }
    return false;
}

// --- headers -------------------------------------------------------------------------------------------

static struct str lower_name(struct arena *arena, const char *name)
{
    char *copy = arena_strdup(arena, str_of(name));
    size_t size = 0;
    for (; copy[size] != 0; size++) {
        if (copy[size] >= 'A' && copy[size] <= 'Z') {
            copy[size] = (char)(copy[size] - 'A' + 'a');
        }
    }
    return str_make(copy, size);
}

enum err header_match_compile(struct rule_memory *memory, const Envoy__Config__Route__V3__HeaderMatcher *config,
                              struct header_match *ret_match, struct error *err)
{
    struct header_match match = {.invert = config->invert_match, .missing_is_empty = config->treat_missing_header_as_empty};
    match.name = lower_name(&memory->arena, config->name);
    enum err result = ERR_OK;
    switch (config->header_match_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_EXACT_MATCH:
        match.text = (struct string_match){.kind = STRING_MATCH_EXACT, .value = arena_str(&memory->arena, str_of(config->exact_match))};
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PREFIX_MATCH:
        match.text = (struct string_match){.kind = STRING_MATCH_PREFIX, .value = arena_str(&memory->arena, str_of(config->prefix_match))};
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_SUFFIX_MATCH:
        match.text = (struct string_match){.kind = STRING_MATCH_SUFFIX, .value = arena_str(&memory->arena, str_of(config->suffix_match))};
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_CONTAINS_MATCH:
        match.text = (struct string_match){.kind = STRING_MATCH_CONTAINS, .value = arena_str(&memory->arena, str_of(config->contains_match))};
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_STRING_MATCH:
        result = string_match_compile(memory, config->string_match, &match.text, err);
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_RANGE_MATCH:
        match.by_range = true;
        match.range_start = config->range_match->start;
        match.range_end = config->range_match->end;
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_SAFE_REGEX_MATCH:
        result = compile_regex(memory, config->safe_regex_match, false, &match.text, err);
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PRESENT_MATCH:
        match.by_presence = true;
        match.want_present = config->present_match;
        break;
    default: // no specifier means "present"
        match.by_presence = true;
        match.want_present = true;
        break;
    }
    if (result == ERR_OK) {
        *ret_match = match;
    }
    return result;
}

// Values of a repeated header are joined with commas before matching. A single value is not copied.
static bool header_value(const struct http_head *head, struct str name, struct buf *joined, struct str *ret_value)
{
    if (name.size > 0 && name.data[0] == ':') {
        *ret_value = str_equal(name, STR(":path"))        ? head->path
                     : str_equal(name, STR(":method"))    ? head->method
                     : str_equal(name, STR(":authority")) ? head->authority
                     : str_equal(name, STR(":scheme"))    ? head->scheme
                                                          : STR_EMPTY;
        return ret_value->size > 0;
    }
    size_t count = 0;
    for (size_t i = 0; i < head->header_count; i++) {
        if (!str_equal(head->headers[i].name, name)) {
            continue;
        }
        if (count++ == 0) {
            *ret_value = head->headers[i].value;
            continue;
        }
        if (count == 2) {
            buf_append_str(joined, *ret_value);
        }
        if (joined->size < HEADER_JOIN_MAX) {
            buf_append_char(joined, ',');
            buf_append_str(joined, head->headers[i].value);
        }
    }
    if (count > 1) {
        *ret_value = buf_view(joined);
    }
    return count > 0;
}

bool header_match_test(const struct header_match *match, const struct http_head *head)
{
    struct buf joined = {0};
    struct str value = STR_EMPTY;
    bool present = header_value(head, match->name, &joined, &value);
    bool result;
    if (match->by_presence) {
        result = (present || match->missing_is_empty) == match->want_present;
        result = result != match->invert;
    } else if (!present && !match->missing_is_empty) {
        result = false; // a missing header matches nothing, not even inverted
    } else if (match->by_range) {
        int64_t number = 0;
        result = str_to_i64(value, &number) && number >= match->range_start && number < match->range_end;
        result = result != match->invert;
    } else {
        result = string_match_test(&match->text, value) != match->invert;
    }
    buf_done(&joined);
    return result;
}

// --- query parameters ----------------------------------------------------------------------------------

enum err query_match_compile(struct rule_memory *memory, const Envoy__Config__Route__V3__QueryParameterMatcher *config,
                             struct query_match *ret_match, struct error *err)
{
    struct query_match match = {.name = arena_str(&memory->arena, str_of(config->name)), .by_presence = true, .want_present = true};
    if (config->query_parameter_match_specifier_case ==
        ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_STRING_MATCH) {
        match.by_presence = false;
        enum err result = string_match_compile(memory, config->string_match, &match.text, err);
        if (result != ERR_OK) {
            return result;
        }
    } else if (config->query_parameter_match_specifier_case ==
               ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_PRESENT_MATCH) {
        match.want_present = config->present_match;
    }
    *ret_match = match;
    return ERR_OK;
}

bool query_match_test(const struct query_match *match, struct str query)
{
    while (query.data != NULL && query.size > 0) {
        struct str value = str_split(&query, '&');
        struct str name = str_split(&value, '=');
        if (str_equal(name, match->name)) {
            return match->by_presence ? match->want_present : string_match_test(&match->text, value);
        }
    }
    return match->by_presence && !match->want_present;
}
