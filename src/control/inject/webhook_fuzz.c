// SPDX-License-Identifier: Apache-2.0
#include <stdint.h>

#include "base/assert.h"
#include "control/inject/webhook.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Whatever the review holds: an answer or a reason.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct inject_options options = {
        .image = {"image", 5}, .cluster = {"c", 1}, .trust_domain = {"td", 2}, .domain = {"d", 1},
        .revision = {"default", 7}, .discovery_address = {"a:1", 3},
    };
    struct arena arena = {0};
    struct error err = {0};
    struct json_value *answer = NULL;
    enum inject_verdict verdict;
    if (webhook_review(&arena, str_make((const char *)data, size), &options, &answer, &verdict, &err) == ERR_OK) {
        ASSERT(json_get(answer, "response") != NULL);
    } else {
        ASSERT(err.code != ERR_OK && err.message[0] != '\0');
    }
    arena_done(&arena);
    return 0;
}
