// SPDX-License-Identifier: Apache-2.0
//
// yaml_internal: what a plain scalar means, shared by the reader and the writer (which quotes what
// would not read back as a string).
#ifndef CODEC_YAML_YAML_INTERNAL_H
#define CODEC_YAML_YAML_INTERNAL_H

#include "codec/yaml/yaml.h"

enum yaml_plain {
    YAML_PLAIN_STRING = 0,
    YAML_PLAIN_NULL,
    YAML_PLAIN_TRUE,
    YAML_PLAIN_FALSE,
    YAML_PLAIN_NUMBER,
    YAML_PLAIN_INFINITE, // .inf, .nan: JSON has no word for it
};

// *ret_number: the JSON spelling of a number, in the arena.
enum yaml_plain yaml_plain_resolve(struct arena *arena, struct str text, struct str *ret_number);

#endif
