// SPDX-License-Identifier: Apache-2.0
//
// arp: ARP for IPv4 over Ethernet (RFC 826) as the announcer of addresses needs it: requests read, replies
// and gratuitous announcements written. Frames are whole, with their Ethernet head:
//
//    0  6  destination       14  2  hardware type, 1         22  6  sender hardware address
//    6  6  source            16  2  protocol type, 0x0800    28  4  sender protocol address
//   12  2  type, 0x0806      18  1  6                        32  6  target hardware address
//                            19  1  4                        38  4  target protocol address
//                            20  2  operation: 1 request, 2 reply
#ifndef LAB_LOADBALANCER_ARP_H
#define LAB_LOADBALANCER_ARP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define ARP_FRAME_SIZE 42u
#define ARP_HARDWARE_SIZE 6u

enum arp_operation { ARP_REQUEST = 1, ARP_REPLY = 2 };

struct arp_hardware {
    uint8_t bytes[ARP_HARDWARE_SIZE];
};

struct arp_request {
    bool is_broadcast; // of its frame; else sent to `to`
    struct arp_hardware to;
    struct arp_hardware sender;
    uint32_t sender_address; // host order
    uint32_t target_address;
};

// False: not an ARP request for IPv4 over Ethernet. Padding behind the frame is fine.
bool arp_read_request(struct str frame, struct arp_request *ret_request);

// The answer: the address asked for is at `own`.
void arp_write_reply(const struct arp_request *request, const struct arp_hardware *own,
                     uint8_t frame[static ARP_FRAME_SIZE]);
// To everybody: address is at `own`. Both operations are sent, since hosts differ in what they believe.
void arp_write_gratuitous(enum arp_operation operation, uint32_t address, const struct arp_hardware *own,
                          uint8_t frame[static ARP_FRAME_SIZE]);

#endif
