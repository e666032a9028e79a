// SPDX-License-Identifier: Apache-2.0
//
// sandbox: the namespaces the containers of one pod share (network, host name, IPC), and the pod's link
// to its node. Point to point, without a bridge:
//
//   node  vethN  10.244.0.1/32, route 10.244.0.5/32 dev vethN
//   pod   eth0   10.244.0.5/32, routes 10.244.0.1 dev eth0, default via 10.244.0.1
//
// The descriptors hold the namespaces: sandbox_close() ends them and the link with them.
#ifndef LAB_NODE_SANDBOX_H
#define LAB_NODE_SANDBOX_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

#define HOST_NAME_SIZE 64 // with NUL

struct sandbox {
    int net_fd; // -1 on the host network
    int uts_fd;
    int ipc_fd;
    char device[IF_NAMESIZE]; // the node's end; empty on the host network
};

struct sandbox_options {
    unsigned number;        // names the node's end of the link
    bool host_network;      // the pod uses the node's network and host name
    struct in_addr address; // of the pod
    struct in_addr gateway; // the node, as pods see it
    const char *host_name;
};

void sandbox_init(struct sandbox *sandbox); // closed
enum err sandbox_open(struct sandbox *sandbox, const struct sandbox_options *options, struct error *err) must_check;
void sandbox_close(struct sandbox *sandbox); // idempotent
bool sandbox_is_open(const struct sandbox *sandbox);

// --- pod addresses of a node: .2 to .254 of its /24 -------------------------------------------------

#define ADDRESS_POOL_FIRST 2u
#define ADDRESS_POOL_LAST 254u

struct address_pool {
    uint32_t base; // host order
    uint32_t next;
    bool used[256];
};

void address_pool_init(struct address_pool *pool, struct in_addr base);
bool address_pool_take(struct address_pool *pool, struct in_addr *ret_address); // false: none is left
void address_pool_give(struct address_pool *pool, struct in_addr address);

#endif
