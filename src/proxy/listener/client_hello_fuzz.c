// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "proxy/listener/client_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client_hello hello = {0};
    if (client_hello_parse(str_make((const char *)data, size), &hello) == CLIENT_HELLO_DONE) {
        ASSERT(hello.server_name_size <= CLIENT_HELLO_NAME_MAX);
        ASSERT(hello.protocol_count <= CLIENT_HELLO_PROTOCOLS_MAX);
        for (size_t i = 0; i < hello.protocol_count; i++) {
            ASSERT(hello.protocols[i].size > 0 && hello.protocols[i].size <= CLIENT_HELLO_PROTOCOL_SIZE_MAX);
        }
    }
    return 0;
}
