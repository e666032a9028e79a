// SPDX-License-Identifier: Apache-2.0
//
// What the reader accepts, the writer writes so that it reads back equal.
#include "codec/yaml/yaml.h"

#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct yaml_documents documents = {0};
    struct error err = {0};
    if (yaml_parse_all(&arena, str_make((const char *)data, size), &documents, &err) != ERR_OK) {
        ASSERT(err.message[0] != '\0');
    }
    for (size_t i = 0; i < documents.count; i++) {
        struct buf out = {0};
        struct json_value *again = NULL;
        yaml_write(documents.items[i], &out);
        // An explicit null reads back as an empty document.
        if (documents.items[i]->type != JSON_NULL) {
            ASSERT(yaml_parse(&arena, buf_view(&out), &again, &err) == ERR_OK);
            ASSERT(json_equal(documents.items[i], again));
        }
        buf_done(&out);
    }
    arena_done(&arena);
    return 0;
}
