// SPDX-License-Identifier: Apache-2.0
#include "proxy/route/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/memory.h"

struct regex {
    pcre2_general_context *memory;
    pcre2_code *code;
    pcre2_match_context *limits;
    uint32_t group_count;
    struct regex *next;
};

// A statistic, not a state: shown by admin, changes no decision.
static atomic_ullong limits_reached;

static void *allocate(size_t size, void *owner)
{
    (void)owner;
    return mem_alloc(size);
}

static void release(void *pointer, void *owner)
{
    (void)owner;
    mem_free(pointer);
}

static void regex_free(struct regex *regex)
{
    pcre2_code_free(regex->code);
    pcre2_match_context_free(regex->limits);
    pcre2_general_context_free(regex->memory);
    mem_free(regex);
}

void rule_memory_done(struct rule_memory *memory)
{
    for (struct regex *regex = memory->regexes; regex != NULL;) {
        struct regex *next = regex->next;
        regex_free(regex);
        regex = next;
    }
    memory->regexes = NULL;
    arena_done(&memory->arena);
}

// --- compiling -----------------------------------------------------------------------------------------

// What RE2 does not have: "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?|", "(?R)", "(*VERB)", back references, and
// possessive quantifiers. Returns what it found, or NULL.
static const char *beyond_re2(struct str pattern)
{
    bool in_class = false;
    for (size_t i = 0; i < pattern.size; i++) {
        char c = pattern.data[i];
        char next = i + 1 < pattern.size ? pattern.data[i + 1] : 0;
        if (c == '\\') {
            if (!in_class && ((next >= '1' && next <= '9') || next == 'g' || next == 'k' || next == 'K')) {
                return "an escape (back reference or \\K)";
            }
            i++;
        } else if (in_class) {
            in_class = c != ']';
        } else if (c == '[') {
            in_class = true;
            i += next == '^' ? 1 : 0;
            i += i + 1 < pattern.size && pattern.data[i + 1] == ']' ? 1 : 0; // a bracket that stands first is meant
        } else if (c == '(' && next == '*') {
            return "a verb";
        } else if (c == '(' && next == '?') {
            char kind = i + 2 < pattern.size ? pattern.data[i + 2] : 0;
            char after = i + 3 < pattern.size ? pattern.data[i + 3] : 0;
            bool is_known = kind == ':' || kind == 'P' || kind == 'i' || kind == 's' || kind == 'm' || kind == 'U' || kind == '-' ||
                            (kind == '<' && after != '=' && after != '!');
            if (!is_known || (kind == 'P' && after != '<')) {
                return "a group of a kind";
            }
        } else if ((c == '*' || c == '+' || c == '?' || c == '}') && next == '+') {
            return "a possessive quantifier";
        }
    }
    return NULL;
}

const struct regex *regex_compile(struct rule_memory *memory, struct str pattern, enum regex_use use, struct error *err)
{
    int code = 0;
    PCRE2_SIZE position = 0;
    if (pattern.size == 0 || pattern.size > REGEX_PATTERN_MAX) {
        (void)error_set(err, ERR_LIMIT, "regular expression is %s", pattern.size == 0 ? "empty" : "too long");
        return NULL;
    }
    const char *foreign = beyond_re2(pattern);
    if (foreign != NULL) {
        (void)error_set(err, ERR_UNSUPPORTED, "regular expression \"%.*s\" has %s that RE2 does not know", STR_ARG(pattern), foreign);
        return NULL;
    }
    struct regex *regex = mem_new(struct regex);
    regex->memory = pcre2_general_context_create(allocate, release, NULL);
    regex->limits = pcre2_match_context_create(regex->memory);
    pcre2_compile_context *options = pcre2_compile_context_create(regex->memory);
    // RE2 knows no newline conventions: "." misses "\n" only, and "$" is the end of the text.
    // Anchors are given here, not at the match: there they would turn just-in-time code off.
    uint32_t flags = PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C | (use == REGEX_SEARCH ? 0u : PCRE2_ANCHORED | PCRE2_ENDANCHORED) |
                     (use == REGEX_FULL_IGNORE_CASE ? PCRE2_CASELESS : 0u);
    (void)pcre2_set_newline(options, PCRE2_NEWLINE_LF);
    (void)pcre2_set_parens_nest_limit(options, 100);
    regex->code = pcre2_compile((PCRE2_SPTR)pattern.data, pattern.size, flags, &code, &position, options);
    pcre2_compile_context_free(options);
    if (regex->code == NULL) {
        PCRE2_UCHAR reason[128] = {0};
        (void)pcre2_get_error_message(code, reason, sizeof(reason));
        (void)error_set(err, ERR_INVALID, "regular expression \"%.*s\", at %zu: %s", STR_ARG(pattern), (size_t)position, (const char *)reason);
        regex_free(regex);
        return NULL;
    }
    (void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); // without it matching is only slower
    (void)pcre2_set_match_limit(regex->limits, REGEX_STEPS_MAX);
    (void)pcre2_set_depth_limit(regex->limits, REGEX_DEPTH_MAX);
    (void)pcre2_set_heap_limit(regex->limits, REGEX_HEAP_KB_MAX);
    (void)pcre2_pattern_info(regex->code, PCRE2_INFO_CAPTURECOUNT, &regex->group_count);
    regex->next = memory->regexes;
    memory->regexes = regex;
    return regex;
}

// --- matching ------------------------------------------------------------------------------------------

// Groups found, or 0: no match, or a limit.
static int match_at(const struct regex *regex, struct str text, size_t from, pcre2_match_data *found)
{
    PCRE2_SPTR subject = (PCRE2_SPTR)(text.data == NULL ? "" : text.data);
    int count = pcre2_match(regex->code, subject, text.size, from, 0, found, regex->limits);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT) { // its stack is small; the interpreter's is our heap limit
        count = pcre2_match(regex->code, subject, text.size, from, PCRE2_NO_JIT, found, regex->limits);
    }
    if (count < 0 && count != PCRE2_ERROR_NOMATCH) {
        (void)atomic_fetch_add_explicit(&limits_reached, 1, memory_order_relaxed);
    }
    // 0: more groups matched than there is room for; those that fit are there.
    return count < 0 ? 0 : count == 0 ? (int)pcre2_get_ovector_count(found) : count;
}

bool regex_match_full(const struct regex *regex, struct str text)
{
    if (text.size > REGEX_SUBJECT_MAX) {
        return false;
    }
    pcre2_match_data *found = pcre2_match_data_create(1, regex->memory);
    bool result = match_at(regex, text, 0, found) > 0;
    pcre2_match_data_free(found);
    return result;
}

bool regex_substitution_is_valid(const struct regex *regex, struct str substitution)
{
    for (size_t i = 0; i < substitution.size; i++) {
        if (substitution.data[i] != '\\') {
            continue;
        }
        char c = ++i < substitution.size ? substitution.data[i] : 0;
        if (c != '\\' && (c < '0' || c > '9' || (uint32_t)(c - '0') > regex->group_count)) {
            return false;
        }
    }
    return true;
}

static void append_substitution(struct buf *out, struct str text, struct str substitution, const PCRE2_SIZE *groups, uint32_t group_count)
{
    for (size_t i = 0; i < substitution.size; i++) {
        char c = substitution.data[i];
        if (c != '\\' || i + 1 >= substitution.size) {
            buf_append_char(out, c);
            continue;
        }
        c = substitution.data[++i];
        uint32_t group = (uint32_t)(c - '0');
        if (c == '\\') {
            buf_append_char(out, c);
        } else if (group < group_count && groups[2 * group] != PCRE2_UNSET) {
            buf_append_str(out, str_sub(text, groups[2 * group], groups[2 * group + 1] - groups[2 * group]));
        }
    }
}

struct str regex_replace_all(const struct regex *regex, struct str text, struct str substitution, struct arena *arena)
{
    if (text.size > REGEX_SUBJECT_MAX) {
        return text;
    }
    pcre2_match_data *found = pcre2_match_data_create(REGEX_GROUPS_MAX, regex->memory);
    struct buf out = {0};
    size_t copied = 0;
    size_t at = 0;
    bool any = false;
    while (at <= text.size && out.size <= REGEX_OUTPUT_MAX) {
        int count = match_at(regex, text, at, found);
        if (count == 0) {
            break;
        }
        const PCRE2_SIZE *groups = pcre2_get_ovector_pointer(found);
        size_t start = groups[0];
        size_t end = groups[1];
        if (start < copied || end < start) {
            break; // "\K" and its like: not ours to understand
        }
        any = true;
        buf_append_str(&out, str_sub(text, copied, start - copied));
        append_substitution(&out, text, substitution, groups, (uint32_t)count);
        copied = end;
        at = end > start ? end : end + 1; // an empty match moves on by one
    }
    struct str result = text;
    if (any && out.size <= REGEX_OUTPUT_MAX) {
        buf_append_str(&out, str_from(text, copied));
        result = arena_str(arena, buf_view(&out));
    }
    buf_done(&out);
    pcre2_match_data_free(found);
    return result;
}

uint64_t regex_limits_reached(void)
{
    return atomic_load_explicit(&limits_reached, memory_order_relaxed);
}
