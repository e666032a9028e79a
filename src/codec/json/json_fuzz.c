// SPDX-License-Identifier: Apache-2.0
//
// What the reader accepts, the writer writes so that it reads back equal, compact and pretty.
#include "codec/json/json.h"

#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_reads_back(struct arena *arena, const struct json_value *value, bool pretty)
{
    struct buf out = {0};
    if (pretty) {
        json_write_pretty(value, &out);
    } else {
        json_write(value, &out);
    }
    struct json_value *again = NULL;
    struct error err = {0};
    ASSERT(json_parse(arena, buf_view(&out), &again, &err) == ERR_OK);
    ASSERT(json_equal(value, again));
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct json_value *value = NULL;
    struct error err = {0};
    if (json_parse(&arena, str_make((const char *)data, size), &value, &err) == ERR_OK) {
        check_reads_back(&arena, value, false);
        check_reads_back(&arena, value, true);
        ASSERT(json_equal(value, json_copy(&arena, value)));
    } else {
        ASSERT(err.code != ERR_OK && err.message[0] != '\0');
    }
    arena_done(&arena);
    return 0;
}
