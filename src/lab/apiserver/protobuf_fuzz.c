// SPDX-License-Identifier: Apache-2.0
//
// A request body in protobuf; what is read must be writable as JSON and readable again.
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "lab/apiserver/protobuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct protobuf_result result;
    struct error err = {0};
    if (protobuf_parse(&arena, str_make((const char *)data, size), &result, &err) == ERR_OK) {
        struct json_value *again;
        enum err code = json_parse(&arena, json_to_str(&arena, result.object), &again, &err);
        ASSERT(code == ERR_OK);
    }
    arena_done(&arena);
    return 0;
}
