// SPDX-License-Identifier: Apache-2.0
#include "lab/loadbalancer/arp.h"

#include <string.h>

#define TYPE_ARP 0x0806u
#define TYPE_IPV4 0x0800u
#define HARDWARE_ETHERNET 1u

static const struct arp_hardware everybody = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

static uint32_t read_number(const uint8_t *bytes, size_t size)
{
    uint32_t number = 0;
    for (size_t i = 0; i < size; i++) {
        number = number << 8 | bytes[i];
    }
    return number;
}

static void write_number(uint8_t *bytes, size_t size, uint32_t number)
{
    for (size_t i = size; i > 0; i--) {
        bytes[i - 1] = (uint8_t)number;
        number >>= 8;
    }
}

bool arp_read_request(struct str frame, struct arp_request *ret_request)
{
    const uint8_t *bytes = (const uint8_t *)frame.data;
    if (frame.size < ARP_FRAME_SIZE || read_number(bytes + 12, 2) != TYPE_ARP ||
        read_number(bytes + 14, 2) != HARDWARE_ETHERNET || read_number(bytes + 16, 2) != TYPE_IPV4 ||
        bytes[18] != ARP_HARDWARE_SIZE || bytes[19] != 4 || read_number(bytes + 20, 2) != ARP_REQUEST) {
        return false;
    }
    ret_request->is_broadcast = memcmp(bytes, everybody.bytes, ARP_HARDWARE_SIZE) == 0;
    memcpy(ret_request->to.bytes, bytes, ARP_HARDWARE_SIZE);
    memcpy(ret_request->sender.bytes, bytes + 22, ARP_HARDWARE_SIZE);
    ret_request->sender_address = read_number(bytes + 28, 4);
    ret_request->target_address = read_number(bytes + 38, 4);
    return true;
}

static void write_frame(uint8_t *frame, const struct arp_hardware *to, const struct arp_hardware *own,
                        enum arp_operation operation, uint32_t sender, uint32_t target)
{
    memcpy(frame, to->bytes, ARP_HARDWARE_SIZE);
    memcpy(frame + 6, own->bytes, ARP_HARDWARE_SIZE);
    write_number(frame + 12, 2, TYPE_ARP);
    write_number(frame + 14, 2, HARDWARE_ETHERNET);
    write_number(frame + 16, 2, TYPE_IPV4);
    frame[18] = ARP_HARDWARE_SIZE;
    frame[19] = 4;
    write_number(frame + 20, 2, operation);
    memcpy(frame + 22, own->bytes, ARP_HARDWARE_SIZE);
    write_number(frame + 28, 4, sender);
    memcpy(frame + 32, to->bytes, ARP_HARDWARE_SIZE);
    write_number(frame + 38, 4, target);
}

void arp_write_reply(const struct arp_request *request, const struct arp_hardware *own,
                     uint8_t frame[static ARP_FRAME_SIZE])
{
    write_frame(frame, &request->sender, own, ARP_REPLY, request->target_address, request->sender_address);
}

void arp_write_gratuitous(enum arp_operation operation, uint32_t address, const struct arp_hardware *own,
                          uint8_t frame[static ARP_FRAME_SIZE])
{
    write_frame(frame, &everybody, own, operation, address, address);
}
