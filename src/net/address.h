// SPDX-License-Identifier: Apache-2.0
//
// address: IPv4, IPv6 and Unix socket addresses as values; parsing, printing, listening sockets.
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/error.h"
#include "base/str.h"

struct address {
    socklen_t size; // 0: none
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    };
};

#define ADDRESS_TEXT_SIZE 128

// "10.0.0.1:80", "[::1]:80", ":8080" (any address), "unix:/path". No names: see net/resolve.h.
enum err address_parse(struct str text, struct address *ret_address, struct error *err) must_check;
// IP literal and port separately; ERR_INVALID when ip is not a literal.
enum err address_from_ip(struct str ip, uint16_t port, struct address *ret_address, struct error *err) must_check;
bool address_from_sockaddr(const struct sockaddr *sockaddr, socklen_t size, struct address *ret_address);

// "10.0.0.1:80"; returns out.
const char *address_format(const struct address *address, char out[static ADDRESS_TEXT_SIZE]);
const char *address_format_ip(const struct address *address, char out[static ADDRESS_TEXT_SIZE]);
uint16_t address_port(const struct address *address);
void address_set_port(struct address *address, uint16_t port);
bool address_equal(const struct address *a, const struct address *b);

bool address_local(int fd, struct address *ret_address);  // getsockname
bool address_peer(int fd, struct address *ret_address);   // getpeername
// The destination before REDIRECT (SO_ORIGINAL_DST, IPv4 and IPv6).
bool address_original_destination(int fd, struct address *ret_address);

struct listen_options {
    bool reuse_port;
    bool v6_only;
    int backlog;  // 0: 1024
    mode_t mode;  // Unix sockets; 0: 0600
};

// A bound, listening, non-blocking, close-on-exec socket. A stale Unix socket file is replaced, a live
// one is ERR_EXISTS. "address in use" says which address and what to do.
enum err address_listen(const struct address *address, const struct listen_options *options,
                        int *ret_fd, struct error *err) must_check;

#endif
