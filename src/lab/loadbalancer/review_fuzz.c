// SPDX-License-Identifier: Apache-2.0
//
// An AdmissionReview's bytes, beside one pool that is there already.
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "lab/loadbalancer/review.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char there[] = "{\"metadata\":{\"name\":\"there\"},\"spec\":{\"addresses\":[\"10.0.0.0/24\"]}}";
    struct arena arena = {0};
    struct json_value *pool = NULL;
    struct str answer;
    if (json_parse(&arena, str_of(there), &pool, NULL) == ERR_OK) {
        const struct json_value *pools[] = {pool};
        if (review_answer(&arena, str_make((const char *)data, size), pools, 1, &answer)) {
            struct json_value *value = NULL;
            ASSERT(json_parse(&arena, answer, &value, NULL) == ERR_OK);
        }
    }
    arena_done(&arena);
    return 0;
}
