// SPDX-License-Identifier: Apache-2.0
//
// defaults: filling absent fields of objects, and the defaults of a pod's specification, which workloads
// share. Pure.
#ifndef LAB_APISERVER_DEFAULTS_H
#define LAB_APISERVER_DEFAULTS_H

#include "codec/json/json.h"

// Sets a member only when it is absent or null.
void default_str(struct arena *arena, struct json_value *object, const char *name, const char *value);
void default_int(struct arena *arena, struct json_value *object, const char *name, int64_t value);
void default_bool(struct arena *arena, struct json_value *object, const char *name, bool value);
void default_object(struct arena *arena, struct json_value *object, const char *name);

// Of a PodSpec. Absent lists stay absent.
void pod_spec_defaults(struct arena *arena, struct json_value *spec);

#endif
