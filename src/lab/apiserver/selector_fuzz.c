// SPDX-License-Identifier: Apache-2.0
//
// First byte: "l" label selector, "f" field selector, else a request target.
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "lab/apiserver/request_path.h"
#include "lab/apiserver/selector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct str text = str_make((const char *)data + 1, size - 1);
    struct arena arena = {0};
    struct error err = {0};
    struct selector selector;
    struct request_path path;
    struct json_value *object = json_new_object(&arena);
    json_set_cstr(&arena, object, "a", "1");
    if (data[0] == 'l') {
        if (selector_parse_labels(&arena, text, &selector, &err) == ERR_OK) {
            (void)selector_matches_labels(&selector, object);
        }
    } else if (data[0] == 'f') {
        if (selector_parse_fields(&arena, text, &selector, &err) == ERR_OK) {
            (void)selector_matches_fields(&selector, object);
        }
    } else if (request_path_parse(&arena, text, &path, &err) == ERR_OK) {
        ASSERT(!path.is_resource || !str_is_empty(path.plural));
    }
    arena_done(&arena);
    return 0;
}
