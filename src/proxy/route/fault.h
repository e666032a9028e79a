// SPDX-License-Identifier: Apache-2.0
//
// fault: injected delays and aborts (per-route settings of Envoy's fault filter). Pure: the dice are
// arguments. First the delay, then the abort; each has its own share of requests.
#ifndef PROXY_ROUTE_FAULT_H
#define PROXY_ROUTE_FAULT_H

#include "envoy/extensions/filters/http/fault/v3/fault.pb-c.h"
#include "proxy/route/chance.h"
#include "proxy/route/matcher.h"

#define FAULT_BODY "fault filter abort"
#define FAULT_DELAY_MAX_MS 86400000u // longer delays are refused

struct fault {
    struct chance delay_chance; // CHANCE_NEVER: no delay
    uint64_t delay_ms;
    struct chance abort_chance;
    int http_status;
    int grpc_status; // -1: the HTTP status is mapped
    struct str upstream_cluster; // empty: every
    const struct header_match *headers; // all must match
    size_t header_count;
};

struct fault_verdict {
    uint64_t delay_ms; // 0: none
    bool aborts;
    int http_status;
    int grpc_status;
};

enum err fault_compile(struct rule_memory *memory, const Envoy__Extensions__Filters__Http__Fault__V3__HTTPFault *config,
                       const struct fault **ret_fault, struct error *err) must_check;
struct fault_verdict fault_decide(const struct fault *fault, const struct http_head *head, struct str cluster,
                                  uint64_t delay_dice, uint64_t abort_dice);

#endif
