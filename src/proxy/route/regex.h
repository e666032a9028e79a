// SPDX-License-Identifier: Apache-2.0
//
// regex: regular expressions of the configuration, compiled once and matched against request text. The
// engine backtracks (PCRE2, just-in-time compiled), so every match has a limit of steps, memory and
// depth: a request that reaches one does not match, and is counted. Matching changes nothing in the
// expression: workers share it.
//
// Expressions are written for RE2. What both know means the same, with the options set here; what only
// PCRE2 knows (back references, look-around) is refused, so that a configuration never depends on us.
#ifndef PROXY_ROUTE_REGEX_H
#define PROXY_ROUTE_REGEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

#define REGEX_PATTERN_MAX 4096u   // bytes of an expression
#define REGEX_SUBJECT_MAX 65536u  // bytes of a text; longer texts do not match
#define REGEX_STEPS_MAX 200000u   // of one match
#define REGEX_DEPTH_MAX 2000u
#define REGEX_HEAP_KB_MAX 1024u
#define REGEX_GROUPS_MAX 10u      // \0 to \9 in substitutions
#define REGEX_OUTPUT_MAX 65536u   // bytes of a rewritten text

struct regex;

// Memory of a rule set: an arena, and the expressions compiled for it, which an arena cannot free.
struct rule_memory {
    struct arena arena;
    struct regex *regexes;
};

void rule_memory_done(struct rule_memory *memory);

enum regex_use {
    REGEX_FULL,            // the whole text must match
    REGEX_FULL_IGNORE_CASE,
    REGEX_SEARCH,          // anywhere in the text: for replacing
};

// NULL: refused, with the reason. Lives as long as the memory.
const struct regex *regex_compile(struct rule_memory *memory, struct str pattern, enum regex_use use, struct error *err);
bool regex_match_full(const struct regex *regex, struct str text);
// Every match replaced; "\1" in the substitution is a group, "\\" a backslash. The text itself when nothing
// matched or a limit was reached.
struct str regex_replace_all(const struct regex *regex, struct str text, struct str substitution, struct arena *arena);
// Is the substitution well formed, and are its groups there?
bool regex_substitution_is_valid(const struct regex *regex, struct str substitution);
// Matches that ended at a limit, in all expressions of the process.
uint64_t regex_limits_reached(void);

#endif
