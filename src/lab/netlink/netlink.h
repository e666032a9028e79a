// SPDX-License-Identifier: Apache-2.0
//
// netlink: the few rtnetlink requests that wire a world together: links, addresses, routes, and network
// namespaces to put them in.
//
// A struct netlink belongs to the network namespace in which it was opened, whatever namespace the
// thread enters later. Every request waits for the kernel's answer (microseconds); nothing is retried.
// Namespaces are held by descriptors: the last one closed ends the namespace and every link in it.
#ifndef LAB_NETLINK_NETLINK_H
#define LAB_NETLINK_NETLINK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct mnl_socket;

struct netlink {
    struct mnl_socket *socket;
    uint32_t sequence;
};

enum err netlink_open(struct netlink *netlink, struct error *err) must_check;
void netlink_close(struct netlink *netlink); // idempotent; fine on a zeroed struct

enum err netlink_add_bridge(struct netlink *netlink, const char *name, struct error *err) must_check;
// One end here under name, the other in the namespace peer_ns_fd under peer_name.
enum err netlink_add_veth(struct netlink *netlink, const char *name, const char *peer_name,
                          int peer_ns_fd, struct error *err) must_check;
enum err netlink_delete_link(struct netlink *netlink, const char *name, struct error *err) must_check;
enum err netlink_set_up(struct netlink *netlink, const char *name, struct error *err) must_check;
enum err netlink_set_master(struct netlink *netlink, const char *name, const char *master,
                            struct error *err) must_check;
enum err netlink_add_address(struct netlink *netlink, const char *name, struct in_addr address,
                             uint8_t prefix_size, struct error *err) must_check;

struct netlink_route {
    struct in_addr to; // 0.0.0.0 with prefix_size 0: the default route
    uint8_t prefix_size;
    struct in_addr via;  // 0: on the link itself
    struct in_addr from; // preferred source; 0: the kernel's choice
    const char *device;
};
enum err netlink_add_route(struct netlink *netlink, const struct netlink_route *route,
                           struct error *err) must_check;

// --- namespaces ------------------------------------------------------------------------------------

// A new network namespace; the calling thread stays where it is.
enum err netlink_new_namespace(int *ret_fd, struct error *err) must_check;
// Moves the calling thread; returns a descriptor of where it was, for netlink_leave_namespace().
enum err netlink_enter_namespace(int fd, int *ret_old_fd, struct error *err) must_check;
void netlink_leave_namespace(int old_fd); // closes old_fd; going back cannot fail

// Writes a sysctl of the calling thread's network namespace: ("ipv4/ip_forward", "1").
enum err netlink_set_sysctl(const char *name, const char *value, struct error *err) must_check;

#endif
