// SPDX-License-Identifier: Apache-2.0
//
// A frame's bytes; what is read as a request is answered, and no answer reads as a request again.
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "lab/loadbalancer/arp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct arp_hardware own = {{2, 0, 0, 0, 0, 1}};
    uint8_t frame[ARP_FRAME_SIZE];
    struct arp_request request;
    struct arp_request answer;
    if (arp_read_request(str_make((const char *)data, size), &request)) {
        arp_write_reply(&request, &own, frame);
        ASSERT(!arp_read_request(str_make((const char *)frame, sizeof(frame)), &answer));
    }
    return 0;
}
