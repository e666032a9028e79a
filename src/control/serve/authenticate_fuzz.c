// SPDX-License-Identifier: Apache-2.0
#include <stdint.h>

#include "base/assert.h"
#include "control/serve/authenticate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spiffe_id id;
    if (spiffe_id_parse(str_make((const char *)data, size), &id)) {
        ASSERT(!str_is_empty(id.trust_domain) && !str_is_empty(id.ns) && !str_is_empty(id.service_account));
    }
    return 0;
}
