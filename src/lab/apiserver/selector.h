// SPDX-License-Identifier: Apache-2.0
//
// selector: label and field selectors of list and watch requests. Pure; parsed into an arena.
#ifndef LAB_APISERVER_SELECTOR_H
#define LAB_APISERVER_SELECTOR_H

#include "codec/json/json.h"

#define SELECTOR_REQUIREMENTS_MAX 128u
#define SELECTOR_VALUES_MAX 1024u // of one requirement

enum selector_operator {
    SELECTOR_EQUALS,     // k=v, k==v
    SELECTOR_NOT_EQUALS, // k!=v; holds when k is absent
    SELECTOR_IN,         // k in (a,b)
    SELECTOR_NOT_IN,     // k notin (a,b); holds when k is absent
    SELECTOR_EXISTS,     // k
    SELECTOR_ABSENT,     // !k
    SELECTOR_GREATER,    // k>1
    SELECTOR_LESS,       // k<1
};

struct selector_requirement {
    struct str key;
    enum selector_operator operator;
    struct str *values;
    size_t value_count;
};

struct selector {
    struct selector_requirement *requirements; // all must hold; none: everything matches
    size_t count;
};

enum err selector_parse_labels(struct arena *arena, struct str text, struct selector *ret_selector,
                               struct error *err) must_check;
bool selector_matches_labels(const struct selector *selector, const struct json_value *labels);

// f=v, f==v, f!=v; a backslash escapes comma, equal sign and itself.
enum err selector_parse_fields(struct arena *arena, struct str text, struct selector *ret_selector,
                               struct error *err) must_check;
// "spec.nodeName" of object. Absent is "" as upstream has it; booleans read "true" and "false".
bool selector_matches_fields(const struct selector *selector, const struct json_value *object);
// The value a selector demands of a field (metadata.name); data NULL when it demands none.
struct str selector_exact(const struct selector *selector, const char *key);

#endif
