// SPDX-License-Identifier: Apache-2.0
//
// yaml: YAML as Kubernetes' tools read it, into the tree of codec/json, and back. Plain scalars resolve as
// kubectl resolves them (observed): YAML 1.1 booleans, y/n, yes/no and on/off included, in lower, upper and
// capitalized spelling; null, ~ and nothing; integers in bases 2, 8, 10 and 16 with a sign and underscores;
// floats, written as JSON numbers; anything else, dates too, is a string. Quoted and block scalars are
// strings. Keys become the text of what they resolve to. Merge keys (<<) work. Anchors and aliases are
// resolved with a bound on the expanded size. Duplicate keys, infinities, and tags other than the core
// ones are errors. Errors say line and column.
#ifndef CODEC_YAML_YAML_H
#define CODEC_YAML_YAML_H

#include "codec/json/json.h"

#define YAML_DOCUMENTS_MAX 4096u
#define YAML_DEPTH_MAX JSON_DEPTH_MAX
#define YAML_VALUES_MAX (4u * 1024 * 1024)    // of one text, aliases expanded
#define YAML_ALIASED_MAX (256u * 1024)        // values that came by aliases

struct yaml_documents {
    struct json_value **items; // empty documents are left out
    size_t count;
};

enum err yaml_parse(struct arena *arena, struct str text, struct json_value **ret_value, struct error *err) must_check; // one document
enum err yaml_parse_all(struct arena *arena, struct str text, struct yaml_documents *ret_documents, struct error *err) must_check;
void yaml_write(const struct json_value *value, struct buf *out); // block style, no document marker

#endif
