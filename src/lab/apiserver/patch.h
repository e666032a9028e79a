// SPDX-License-Identifier: Apache-2.0
//
// patch: the patch languages of the Kubernetes API, as pure functions: document and patch in, new
// document out. The input document is changed in place where it helps: pass a copy. Recursion is bounded
// by JSON_DEPTH_MAX of the reader.
#ifndef LAB_APISERVER_PATCH_H
#define LAB_APISERVER_PATCH_H

#include "codec/json/json.h"

#define PATCH_OPERATIONS_MAX 10000u // JSON patch
#define PATCH_GROWTH_MAX (64u * 1024 * 1024) // bytes that copy operations may add in all

// RFC 6902 on RFC 6901 pointers. *document changes only on success of the whole patch's caller's copy:
// on failure it is half patched and to be thrown away. ERR_INVALID: malformed; ERR_CONFLICT: a test or a
// path did not hold; ERR_LIMIT.
enum err json_patch_apply(struct arena *arena, struct json_value **document, const struct json_value *patch,
                          struct error *err) must_check;

// RFC 7386.
struct json_value *merge_patch_apply(struct arena *arena, struct json_value *document,
                                     const struct json_value *patch);

// Strategic merge patch of built-in kinds: lists merge by the keys that field names imply (see the table
// in strategic_patch.c).
enum err strategic_patch_apply(struct arena *arena, struct str kind, struct json_value *document,
                               const struct json_value *patch, struct json_value **ret_document,
                               struct error *err) must_check;

// The merge key of the list at `field` of an object of type `type` ("PodSpec"); NULL: no merging;
// "" : a merged list of primitives. For tests.
const char *strategic_merge_key(struct str kind, struct str path);

#endif
