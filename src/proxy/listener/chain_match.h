// SPDX-License-Identifier: Apache-2.0
//
// chain_match: which filter chain serves a connection. Nested tables, one level per criterion, in the
// order of Envoy's FilterChainMatch; each level takes its most specific key and never backtracks. That
// has a consequence people rely on: when a chain names the destination port, chains without a port are
// not tried for that port, even if nothing below matches.
//
// Built once per listener (chain_match_add, in any order), then immutable and safe to share.
#ifndef PROXY_LISTENER_CHAIN_MATCH_H
#define PROXY_LISTENER_CHAIN_MATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "net/address.h"

#define CHAIN_MATCH_NODES_MAX (1u << 20) // of one listener, all levels
#define CHAIN_MATCH_NONE (-1)

struct chain_prefix {
    uint8_t family; // 4 or 6
    uint8_t length; // bits
    uint8_t bytes[16];
};

bool chain_prefix_make(struct str address, uint32_t length, struct chain_prefix *ret_prefix);

enum chain_source_type { CHAIN_SOURCE_ANY = 0, CHAIN_SOURCE_SAME_OR_LOOPBACK = 1, CHAIN_SOURCE_EXTERNAL = 2 };

// Empty lists and a zero port mean "any".
struct chain_rule {
    uint16_t destination_port;
    const struct chain_prefix *destinations;
    size_t destination_count;
    const struct str *server_names; // "a.b", "*.b"
    size_t server_name_count;
    struct str transport; // "tls", "raw_buffer"
    const struct str *protocols;
    size_t protocol_count;
    const struct chain_prefix *direct_sources;
    size_t direct_source_count;
    enum chain_source_type source_type;
    const struct chain_prefix *sources;
    size_t source_count;
    const uint16_t *source_ports;
    size_t source_port_count;
};

// What is known about a connection when its chain is chosen.
struct chain_facts {
    const struct address *destination; // original destination
    const struct address *source;
    struct str server_name; // lower-case
    struct str transport;   // "raw_buffer" when nothing was detected
    const struct str *protocols;
    size_t protocol_count;
    bool source_is_local;
};

struct chain_match;

struct chain_match *chain_match_new(void);
void chain_match_free(struct chain_match *match);
// ERR_INVALID: another chain has the same criteria, or a server name is malformed.
enum err chain_match_add(struct chain_match *match, const struct chain_rule *rule, int chain, struct error *err) must_check;
int chain_match_find(const struct chain_match *match, const struct chain_facts *facts); // or CHAIN_MATCH_NONE

#endif
