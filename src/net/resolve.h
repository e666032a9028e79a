// SPDX-License-Identifier: Apache-2.0
//
// resolve: host names to addresses without blocking the loop. Uses the system's resolver configuration
// (/etc/hosts, resolv.conf with search domains and ndots) on a helper thread.
#ifndef NET_RESOLVE_H
#define NET_RESOLVE_H

#include "base/error.h"
#include "loop/loop.h"
#include "net/address.h"

#define RESOLVE_ADDRESSES_MAX 16u

struct resolve; // one look-up under way

// on_done exactly once, on the loop, unless cancelled; addresses are valid during the call only. An IP
// literal is answered too, in a later turn. port is put into every address.
struct resolve *resolve_start(struct loop *loop, struct str host, uint16_t port,
                              void (*on_done)(void *owner, const struct address *addresses,
                                              size_t count, const struct error *err),
                              void *owner);
void resolve_cancel(struct resolve *resolve); // NULL is fine

#endif
