// SPDX-License-Identifier: Apache-2.0
//
// hash_policy: from a request to the number that consistent hashing places on its ring. Elements are
// combined in order; xxHash64 with seed 0, so that the same request goes to the same host through Envoy.
#ifndef PROXY_ROUTE_HASH_POLICY_H
#define PROXY_ROUTE_HASH_POLICY_H

#include "base/arena.h"
#include "base/error.h"
#include "codec/http1/http_head.h"
#include "envoy/config/route/v3/route_components.pb-c.h"
#include "proxy/route/regex.h"

enum hash_source { HASH_HEADER, HASH_COOKIE, HASH_SOURCE_IP, HASH_QUERY };

struct hash_policy {
    enum hash_source source;
    struct str name;
    const struct regex *rewrite; // HASH_HEADER; NULL: none
    struct str substitution;
    bool makes_cookie; // when the request has none
    uint64_t ttl_s;    // 0: until the browser ends
    struct str path;
    struct str attributes; // "; Name=value" each
    bool is_terminal;
};

struct hash_facts {
    const struct http_head *head;
    struct str source_ip;      // without the port
    struct str remote_address; // with the port
    struct str local_address;
};

struct hash_verdict {
    bool found;
    uint64_t hash;
    struct str set_cookie; // value of the response's header; empty: none
};

enum err hash_policy_compile(struct rule_memory *memory, const Envoy__Config__Route__V3__RouteAction__HashPolicy *config,
                             struct hash_policy *ret_policy, struct error *err) must_check;
struct hash_verdict hash_policy_decide(const struct hash_policy *policies, size_t count, const struct hash_facts *facts, struct arena *arena);
uint64_t hash_text(struct str text);

#endif
