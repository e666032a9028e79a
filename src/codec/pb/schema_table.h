// SPDX-License-Identifier: Apache-2.0
//
// All message types of schemas/, sorted by full name, and what protobuf-c's descriptors leave out.
// Made by tools/generate-schemas; codec/pb is the only reader.
#ifndef CODEC_PB_SCHEMA_TABLE_H
#define CODEC_PB_SCHEMA_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

struct schema_type {
    const ProtobufCMessageDescriptor *descriptor;
    bool is_map_entry;
};

extern const struct schema_type schema_types[];
extern const size_t schema_type_count;

// JSON names that are not the lower-camel form of the field's name; sorted; a NULL row ends the table.
struct schema_json_name {
    const char *message;
    const char *field;
    const char *json_name;
};

extern const struct schema_json_name schema_json_names[];
extern const size_t schema_json_name_count;

#endif
