// SPDX-License-Identifier: Apache-2.0
//
// capture: the packet rules that send a pod's traffic through its proxy. Flags are those of
// istio-iptables; the rules are nftables with the same effect, in one table of our own (`isthmesh`, per
// address family), so that applying twice gives the same state and removing is one command.
//
//   outbound   connection of the application ─ nat output ─ redirect ─► 127.0.0.1:15001
//   inbound    connection from outside ─ nat prerouting ─ redirect ─► :15006
//   left alone what the proxy itself sends (its uid and gid), loopback, excluded ports and ranges
//
// capture_rules() is pure; capture_apply() runs `nft -f -` once.
#ifndef PROXY_CAPTURE_CAPTURE_H
#define PROXY_CAPTURE_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

#define CAPTURE_LIST_MAX 256u // entries of one list flag

enum capture_family { CAPTURE_IPV4, CAPTURE_IPV6 };

// Lists are as given on the command line: comma separated, "*" for all, empty for none.
struct capture_options {
    struct str outbound_port;          // -p
    struct str inbound_port;           // -z
    struct str tunnel_port;            // -e
    struct str proxy_uids;             // -u
    struct str proxy_gids;             // -g; empty: as proxy_uids
    struct str mode;                   // -m REDIRECT
    struct str inbound_ports;          // -b
    struct str inbound_ports_excluded; // -d
    struct str outbound_ranges;        // -i
    struct str outbound_ranges_excluded; // -x
    struct str outbound_ports;         // -q
    struct str outbound_ports_excluded; // -o
    struct str interfaces_excluded;    // -c
    struct str virtual_interfaces;     // -k
    bool dry_run;                      // -n
    bool clean;                        // --clean
    bool ipv6;                         // --dual-stack, or found
};

void capture_options_init(struct capture_options *options); // the defaults of istio-iptables

// argv without the program and subcommand names. Views borrow from argv. Environment variables of the
// same meaning (ENVOY_PORT, …) were applied by the caller through `lookup`, which may be NULL.
enum err capture_options_parse(struct capture_options *options, int argc, char **argv,
                               const char *(*lookup)(const char *name), struct error *err) must_check;

// Appends the nft script that replaces our tables. Every value was checked: nothing of the command line
// reaches the script unvalidated.
enum err capture_rules(const struct capture_options *options, struct buf *out, struct error *err) must_check;
void capture_rules_clean(struct buf *out);

// Runs nft with the script on its standard input and waits.
enum err capture_apply(struct str script, struct error *err) must_check;

// The subcommand `init`; returns the exit status.
int capture_main(int argc, char **argv);

#endif
