// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "proxy/listener/http_inspect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A verdict never changes when more bytes arrive.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t half = size / 2;
    enum http_inspect_result early = http_inspect(str_make((const char *)data, half));
    enum http_inspect_result late = http_inspect(str_make((const char *)data, size));
    ASSERT(early == HTTP_INSPECT_MORE || early == late);
    return 0;
}
