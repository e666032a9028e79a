// SPDX-License-Identifier: Apache-2.0
//
// cors: cross-origin rules of a route (per-route settings of Envoy's cors filter). Pure: it says what
// to answer or to add; the router does it.
#ifndef PROXY_ROUTE_CORS_H
#define PROXY_ROUTE_CORS_H

#include "envoy/extensions/filters/http/cors/v3/cors.pb-c.h"
#include "proxy/route/chance.h"
#include "proxy/route/matcher.h"

struct cors {
    struct chance enabled;
    const struct string_match *origins;
    size_t origin_count;
    struct str methods;
    struct str headers;
    struct str exposed;
    struct str max_age;
    bool credentials;
    bool forward_other_preflights;
};

enum cors_verdict {
    CORS_NOT_CONCERNED, // no origin, or rules off
    CORS_SIMPLE,        // origin allowed: cors_add_simple() on the response
    CORS_PREFLIGHT,     // answer 200 with cors_add_preflight()
    CORS_REFUSED,       // preflight of another origin, not to be forwarded: 200 without CORS headers
};

enum err cors_compile(struct rule_memory *memory, const Envoy__Extensions__Filters__Http__Cors__V3__CorsPolicy *config,
                      const struct cors **ret_cors, struct error *err) must_check;
enum cors_verdict cors_decide(const struct cors *cors, const struct http_head *head, uint64_t dice);
void cors_add_preflight(const struct cors *cors, struct str origin, struct http_head *response);
void cors_add_simple(const struct cors *cors, struct str origin, struct http_head *response);

#endif
