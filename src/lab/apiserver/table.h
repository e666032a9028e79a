// SPDX-License-Identifier: Apache-2.0
//
// table: objects as rows for people (meta.k8s.io/v1 Table), which is what `kubectl get` asks for.
#ifndef LAB_APISERVER_TABLE_H
#define LAB_APISERVER_TABLE_H

#include "codec/json/json.h"

struct kind;

// A Table with the kind's columns and no rows.
struct json_value *table_new(struct arena *arena, const struct kind *kind);
// include: "None", "Object", else metadata only.
void table_add(struct arena *arena, struct json_value *table, const struct kind *kind,
               const struct json_value *object, struct str include, uint64_t now_ms);
// PartialObjectMetadata of an object.
struct json_value *partial_metadata(struct arena *arena, const struct json_value *object);

// "5m10s": the age of something that began at an RFC 3339 time; "<unknown>" when it is no time.
struct str table_age(struct arena *arena, struct str begin, uint64_t now_ms);
struct str table_duration(struct arena *arena, int64_t seconds);

#endif
