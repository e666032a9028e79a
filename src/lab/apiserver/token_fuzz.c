// SPDX-License-Identifier: Apache-2.0
//
// First byte: "t" a bearer token, "p" a printer column's path (then, behind a newline, the object).
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "lab/apiserver/table_cells.h"
#include "lab/apiserver/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct str text = str_make((const char *)data + 1, size - 1);
    struct arena arena = {0};
    struct error err = {0};
    struct json_value *value;
    if (data[0] == 't') {
        // No key: nothing may be accepted, whatever it says.
        struct pki none = {0};
        ASSERT(token_verify(&arena, &none, text, 0, &value, &err) != ERR_OK);
    } else {
        struct str path = str_split(&text, '\n');
        if (text.data != NULL && json_parse(&arena, text, &value, &err) == ERR_OK) {
            struct row row = {.arena = &arena, .object = value};
            (void)cell_follow_json_path(&row, path);
        }
    }
    arena_done(&arena);
    return 0;
}
