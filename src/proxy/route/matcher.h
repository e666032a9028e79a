// SPDX-License-Identifier: Apache-2.0
//
// matcher: string, header and query parameter conditions of routes, compiled.
#ifndef PROXY_ROUTE_MATCHER_H
#define PROXY_ROUTE_MATCHER_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/error.h"
#include "codec/http1/http_head.h"
#include "envoy/config/route/v3/route_components.pb-c.h"
#include "envoy/type/matcher/v3/string.pb-c.h"
#include "proxy/route/regex.h"

enum string_match_kind { STRING_MATCH_EXACT, STRING_MATCH_PREFIX, STRING_MATCH_SUFFIX, STRING_MATCH_CONTAINS, STRING_MATCH_REGEX };

struct string_match {
    enum string_match_kind kind;
    struct str value;
    bool ignore_case;
    const struct regex *regex; // STRING_MATCH_REGEX
};

enum err string_match_compile(struct rule_memory *memory, const Envoy__Type__Matcher__V3__StringMatcher *config,
                              struct string_match *ret_match, struct error *err) must_check;
bool string_match_test(const struct string_match *match, struct str value);

struct header_match {
    struct str name;
    bool by_presence; // else by text or range
    bool want_present;
    bool by_range;
    int64_t range_start; // inclusive
    int64_t range_end;   // exclusive
    struct string_match text;
    bool invert;
    bool missing_is_empty;
};

enum err header_match_compile(struct rule_memory *memory, const Envoy__Config__Route__V3__HeaderMatcher *config,
                              struct header_match *ret_match, struct error *err) must_check;
bool header_match_test(const struct header_match *match, const struct http_head *head);

struct query_match {
    struct str name;
    bool by_presence;
    bool want_present;
    struct string_match text;
};

enum err query_match_compile(struct rule_memory *memory, const Envoy__Config__Route__V3__QueryParameterMatcher *config,
                             struct query_match *ret_match, struct error *err) must_check;
bool query_match_test(const struct query_match *match, struct str query);

#endif
