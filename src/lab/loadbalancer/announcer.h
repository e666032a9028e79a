// SPDX-License-Identifier: Apache-2.0
//
// announcer: says on the node's underlay network that addresses are here, as MetalLB's speaker does in layer 2
// mode. The addresses are on no interface: the service rules take what arrives for them. Linux would not
// answer for them, so a packet socket does; and when an address comes here, everybody is told, at once and
// every 1.1 s for 5 s, because neighbours remember where it was. Nothing is said when it leaves.
//
// Runs on one loop, in the node's network namespace (that of its making).
#ifndef LAB_LOADBALANCER_ANNOUNCER_H
#define LAB_LOADBALANCER_ANNOUNCER_H

#include "base/error.h"
#include "loop/loop.h"

#define ANNOUNCER_ADDRESSES_MAX 4096u
#define ANNOUNCER_REPEAT_MS 1100u
#define ANNOUNCER_BURST_MS 5000u

struct announcer;

struct announcer_stats {
    uint64_t requests_received; // for addresses that are announced
    uint64_t responses_sent;
    uint64_t gratuitous_sent;
    uint64_t send_failures;
};

struct announcer *announcer_new(struct loop *loop, const char *interface, struct error *err);
void announcer_free(struct announcer *announcer); // NULL is fine

// All addresses (host order) that are here from now on, beyond the maximum none. Those that were not here
// before are told to everybody.
void announcer_set(struct announcer *announcer, const uint32_t *addresses, size_t count);

bool announcer_has(const struct announcer *announcer, uint32_t address);
const struct announcer_stats *announcer_stats(const struct announcer *announcer);

#endif
