// SPDX-License-Identifier: Apache-2.0
//
// metadata: rules for names, labels and the fields of ObjectMeta that the server owns. Pure.
#ifndef LAB_APISERVER_METADATA_H
#define LAB_APISERVER_METADATA_H

#include "lab/apiserver/failure.h"

#define METADATA_GENERATED_SIZE 5u
#define METADATA_ANNOTATIONS_MAX (256u * 1024)

bool name_is_subdomain(struct str name); // DNS-1123, up to 253
bool name_is_label(struct str name);     // DNS-1123, up to 63
bool label_key_is_valid(struct str key);
bool label_value_is_valid(struct str value);

// prefix cut to fit, and five random characters.
struct str name_generate(struct arena *arena, struct str prefix);
// "2026-01-02T03:04:05Z"
struct str time_text(struct arena *arena, uint64_t wall_ms);
bool time_parse(struct str text, int64_t *ret_seconds);

// Drops what clients may not set and gives a new object its identity.
void metadata_init(struct arena *arena, struct json_value *object, const struct kind *kind, struct str ns,
                   uint64_t wall_ms);
// Puts the server's fields of the old object back into its replacement.
void metadata_carry(struct arena *arena, struct json_value *object, const struct json_value *old);
void metadata_validate(const struct json_value *object, const struct kind *kind, struct field_errors *errors);
// Everything but metadata and status differs (status counts for kinds without that subresource).
bool metadata_spec_changed(const struct kind *kind, const struct json_value *object, const struct json_value *old);

#endif
