// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "net/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// What parses prints as something that parses to the same address.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct address address;
    struct error err = {0};
    if (address_parse(str_make((const char *)data, size), &address, &err) != ERR_OK) {
        ASSERT(err.message[0] != '\0');
        return 0;
    }
    char text[ADDRESS_TEXT_SIZE];
    struct address again;
    ASSERT(address_parse(str_of(address_format(&address, text)), &again, &err) == ERR_OK);
    ASSERT(address_equal(&address, &again));
    return 0;
}
