// SPDX-License-Identifier: Apache-2.0
//
// schema: what a CustomResourceDefinition's structural schema does to an object on its way in: unknown fields
// go, absent ones get their defaults, and values are held to types and bounds. Pure.
//
// Not looked at: pattern, format, uniqueItems, multipleOf, allOf/anyOf/oneOf/not and x-kubernetes-validations
// (the first need an engine, the others are rules on top of a structure that is checked here).
#ifndef LAB_APISERVER_SCHEMA_H
#define LAB_APISERVER_SCHEMA_H

#include "codec/json/json.h"
#include "lab/apiserver/failure.h"

// schema: openAPIV3Schema of the version; NULL: nothing is done. apiVersion, kind and metadata always stay.
void schema_complete(struct arena *arena, struct json_value *object, const struct json_value *schema);
void schema_validate(const struct json_value *object, const struct json_value *schema, struct field_errors *errors);

#endif
