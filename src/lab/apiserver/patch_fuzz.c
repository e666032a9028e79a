// SPDX-License-Identifier: Apache-2.0
//
// One line each: kind of patch and document, then the patch. "j" JSON patch, "m" merge, "s" strategic.
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "lab/apiserver/patch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_make((const char *)data, size);
    if (size < 2) {
        return 0;
    }
    char type = rest.data[0];
    rest = str_from(rest, 1);
    struct str document_text = str_split(&rest, '\n');
    struct arena arena = {0};
    struct error err = {0};
    struct json_value *document;
    struct json_value *patch;
    if (rest.data != NULL && json_parse(&arena, document_text, &document, &err) == ERR_OK &&
        json_parse(&arena, rest, &patch, &err) == ERR_OK) {
        enum err code = ERR_OK;
        if (type == 'j') {
            code = json_patch_apply(&arena, &document, patch, &err);
        } else if (type == 'm') {
            document = merge_patch_apply(&arena, document, patch);
        } else {
            code = strategic_patch_apply(&arena, STR("Pod"), document, patch, &document, &err);
        }
        ASSERT(code != ERR_OK || document != NULL);
        if (code == ERR_OK) {
            (void)json_to_str(&arena, document);
        }
    }
    arena_done(&arena);
    return 0;
}
