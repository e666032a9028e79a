// SPDX-License-Identifier: Apache-2.0
//
// yaml: YAML 1.1 as Kubernetes reads it, into the tree of codec/json, and back. Scalars follow the
// YAML 1.2 core schema with the extra booleans Kubernetes' library knows (yes/no/on/off are strings
// there too); quoted scalars are strings. Anchors and aliases are resolved with a bound on the expanded
// size; tags other than the core ones and duplicate keys are errors. Positions in errors.
#ifndef CODEC_YAML_YAML_H
#define CODEC_YAML_YAML_H

#include "codec/json/json.h"

#define YAML_DOCUMENTS_MAX 4096u

struct yaml_documents {
    struct json_value **items; // empty documents are left out
    size_t count;
};

enum err yaml_parse(struct arena *arena, struct str text, struct json_value **ret_value, struct error *err) must_check; // one document
enum err yaml_parse_all(struct arena *arena, struct str text, struct yaml_documents *ret_documents, struct error *err) must_check;
void yaml_write(const struct json_value *value, struct buf *out); // block style, no document marker

#endif
