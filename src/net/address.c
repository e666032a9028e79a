// SPDX-License-Identifier: Apache-2.0
#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"

#define LISTEN_BACKLOG 1024
// <linux/netfilter_ipv6/ip6_tables.h> has it, but does not get along with <netinet/in.h>.
#define ORIGINAL_DST_V6 80

// --- parsing ---------------------------------------------------------------------------------------

enum err address_from_ip(struct str ip, uint16_t port, struct address *ret_address, struct error *err)
{
    char text[INET6_ADDRSTRLEN];
    if (ip.size == 0 || ip.size >= sizeof(text) || memchr(ip.data, '\0', ip.size) != NULL) {
        return error_set(err, ERR_INVALID, "\"%.*s\" is not an IP address", (int)(ip.size < 64 ? ip.size : 64),
                         ip.data == NULL ? "" : ip.data);
    }
    memcpy(text, ip.data, ip.size);
    text[ip.size] = '\0';
    struct address address = {0};
    if (inet_pton(AF_INET, text, &address.v4.sin_addr) == 1) {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons(port);
        address.size = sizeof(address.v4);
    } else if (inet_pton(AF_INET6, text, &address.v6.sin6_addr) == 1) {
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons(port);
        address.size = sizeof(address.v6);
    } else {
        return error_set(err, ERR_INVALID, "\"%s\" is not an IP address", text);
    }
    *ret_address = address;
    return ERR_OK;
}

static enum err parse_unix(struct str path, struct address *ret_address, struct error *err)
{
    struct address address = {0};
    if (path.size == 0 || path.size >= sizeof(address.un.sun_path) ||
        memchr(path.data, '\0', path.size) != NULL) {
        return error_set(err, ERR_INVALID, "a Unix socket path has 1 to %zu bytes and no NUL",
                         sizeof(address.un.sun_path) - 1);
    }
    address.un.sun_family = AF_UNIX;
    memcpy(address.un.sun_path, path.data, path.size);
    address.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.size + 1);
    *ret_address = address;
    return ERR_OK;
}

// The host part of "host:port", without the brackets of an IPv6 literal.
static bool split_port(struct str text, struct str *ret_host, struct str *ret_port)
{
    ptrdiff_t colon = str_find_last_char(text, ':');
    if (colon < 0) {
        return false;
    }
    struct str host = str_sub(text, 0, (size_t)colon);
    bool has_brackets = host.size >= 2 && host.data[0] == '[' && host.data[host.size - 1] == ']';
    if (has_brackets) {
        host = str_sub(host, 1, host.size - 2);
    }
    // "::1:80" could mean two things; brackets are for IPv6 and for nothing else.
    if ((str_find_char(host, ':') >= 0) != has_brackets) {
        return false;
    }
    *ret_host = host;
    *ret_port = str_from(text, (size_t)colon + 1);
    return true;
}

enum err address_parse(struct str text, struct address *ret_address, struct error *err)
{
    if (str_starts_with(text, STR("unix:"))) {
        return parse_unix(str_from(text, 5), ret_address, err);
    }
    struct str host;
    struct str port_text;
    uint64_t port;
    if (text.size > ADDRESS_TEXT_SIZE || !split_port(text, &host, &port_text) ||
        !str_to_u64(port_text, &port) || port > UINT16_MAX) {
        return error_set(err, ERR_INVALID, "\"%.*s\" is not an address (want IP:PORT, [IPv6]:PORT or unix:PATH)",
                         (int)(text.size < 64 ? text.size : 64), text.data == NULL ? "" : text.data);
    }
    return address_from_ip(host.size == 0 ? STR("0.0.0.0") : host, (uint16_t)port, ret_address, err);
}

bool address_from_sockaddr(const struct sockaddr *sockaddr, socklen_t size, struct address *ret_address)
{
    if (size < sizeof(sa_family_t) || size > sizeof(ret_address->storage)) {
        return false;
    }
    bool is_complete = (sockaddr->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) ||
                       (sockaddr->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6)) ||
                       sockaddr->sa_family == AF_UNIX;
    if (!is_complete) {
        return false;
    }
    *ret_address = (struct address){.size = size};
    memcpy(&ret_address->storage, sockaddr, size);
    return true;
}

// --- printing and comparing ------------------------------------------------------------------------

const char *address_format_ip(const struct address *address, char out[static ADDRESS_TEXT_SIZE])
{
    out[0] = '\0';
    if (address->size == 0) {
        return out;
    }
    if (address->any.sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &address->v4.sin_addr, out, ADDRESS_TEXT_SIZE);
    } else if (address->any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &address->v6.sin6_addr, out, ADDRESS_TEXT_SIZE);
    } else if (address->any.sa_family == AF_UNIX) {
        // Unnamed (socketpair, unbound client) and abstract addresses have no path to show.
        size_t path_size = address->size - offsetof(struct sockaddr_un, sun_path);
        bool has_path = address->size > offsetof(struct sockaddr_un, sun_path) && address->un.sun_path[0] != '\0';
        (void)snprintf(out, ADDRESS_TEXT_SIZE, "unix:%.*s", has_path ? (int)path_size : 0, address->un.sun_path);
    }
    return out;
}

const char *address_format(const struct address *address, char out[static ADDRESS_TEXT_SIZE])
{
    char ip[ADDRESS_TEXT_SIZE];
    (void)address_format_ip(address, ip);
    if (address->size == 0 || address->any.sa_family == AF_UNIX) {
        memcpy(out, ip, sizeof(ip));
        return out;
    }
    bool is_v6 = address->any.sa_family == AF_INET6;
    (void)snprintf(out, ADDRESS_TEXT_SIZE, "%s%.50s%s:%u", is_v6 ? "[" : "", ip, is_v6 ? "]" : "",
                   (unsigned)address_port(address));
    return out;
}

uint16_t address_port(const struct address *address)
{
    if (address->size == 0 || address->any.sa_family == AF_UNIX) {
        return 0;
    }
    return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

void address_set_port(struct address *address, uint16_t port)
{
    if (address->size == 0) {
        return;
    }
    if (address->any.sa_family == AF_INET) {
        address->v4.sin_port = htons(port);
    } else if (address->any.sa_family == AF_INET6) {
        address->v6.sin6_port = htons(port);
    }
}

bool address_equal(const struct address *a, const struct address *b)
{
    if (a->size == 0 || b->size == 0) {
        return a->size == b->size;
    }
    if (a->any.sa_family != b->any.sa_family) {
        return false;
    }
    if (a->any.sa_family == AF_INET) {
        return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    }
    if (a->any.sa_family == AF_INET6) {
        return a->v6.sin6_port == b->v6.sin6_port && a->v6.sin6_scope_id == b->v6.sin6_scope_id &&
               memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr)) == 0;
    }
    return a->size == b->size && memcmp(&a->un, &b->un, a->size) == 0;
}

// --- of descriptors --------------------------------------------------------------------------------

bool address_local(int fd, struct address *ret_address)
{
    struct address address = {.size = sizeof(address.storage)};
    if (getsockname(fd, &address.any, &address.size) != 0) {
        return false;
    }
    *ret_address = address;
    return true;
}

bool address_peer(int fd, struct address *ret_address)
{
    struct address address = {.size = sizeof(address.storage)};
    if (getpeername(fd, &address.any, &address.size) != 0) {
        return false;
    }
    *ret_address = address;
    return true;
}

bool address_original_destination(int fd, struct address *ret_address)
{
    struct address address = {.size = sizeof(address.v4)};
    if (getsockopt(fd, IPPROTO_IP, SO_ORIGINAL_DST, &address.v4, &address.size) != 0) {
        address.size = sizeof(address.v6);
        if (getsockopt(fd, IPPROTO_IPV6, ORIGINAL_DST_V6, &address.v6, &address.size) != 0) {
            return false;
        }
    }
    *ret_address = address;
    return true;
}

// --- listening -------------------------------------------------------------------------------------

// A file left by a program that is gone refuses connections; one that accepts belongs to a live one.
static enum err remove_stale_socket(const struct address *address, struct error *err)
{
    struct stat status;
    if (lstat(address->un.sun_path, &status) != 0) {
        return ERR_OK;
    }
    if (!S_ISSOCK(status.st_mode)) {
        return error_set(err, ERR_EXISTS, "%s exists and is not a socket", address->un.sun_path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return error_set_errno(err, errno, "socket");
    }
    bool is_stale = connect(fd, &address->any, address->size) != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    if (!is_stale) {
        return error_set(err, ERR_EXISTS, "%s is in use by another process", address->un.sun_path);
    }
    if (unlink(address->un.sun_path) != 0 && errno != ENOENT) {
        return error_set_errno(err, errno, "unlink %s", address->un.sun_path);
    }
    return ERR_OK;
}

static void set_listen_options(int fd, const struct address *address, const struct listen_options *options)
{
    int one = 1;
    if (address->any.sa_family == AF_UNIX) {
        return;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    // Accepted sockets inherit it: one call per listener instead of one per connection.
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (options != NULL && options->reuse_port) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    }
    if (address->any.sa_family == AF_INET6) {
        int v6_only = options != NULL && options->v6_only;
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only));
    }
}

static enum err bind_and_listen(int fd, const struct address *address, const struct listen_options *options,
                                struct error *err)
{
    bool is_unix = address->any.sa_family == AF_UNIX;
    mode_t mode = options != NULL && options->mode != 0 ? options->mode : 0600;
    if (bind(fd, &address->any, address->size) != 0) {
        if (errno == EADDRINUSE) {
            return error_set(err, ERR_EXISTS, "address in use; stop the process that listens there "
                             "(ss -ltnp shows it) or choose another port");
        }
        return error_set_errno(err, errno, "bind");
    }
    if (is_unix && chmod(address->un.sun_path, mode) != 0) {
        return error_set_errno(err, errno, "chmod");
    }
    int backlog = options != NULL && options->backlog > 0 ? options->backlog : LISTEN_BACKLOG;
    if (listen(fd, backlog) != 0) {
        return error_set_errno(err, errno, "listen");
    }
    return ERR_OK;
}

enum err address_listen(const struct address *address, const struct listen_options *options,
                        int *ret_fd, struct error *err)
{
    ASSERT(address->size != 0);
    char text[ADDRESS_TEXT_SIZE];
    (void)address_format(address, text);
    enum err code = ERR_OK;
    if (address->any.sa_family == AF_UNIX && (code = remove_stale_socket(address, err)) != ERR_OK) {
        return code;
    }
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        code = error_set_errno(err, errno, "socket");
    } else {
        set_listen_options(fd, address, options);
        code = bind_and_listen(fd, address, options, err);
    }
    if (code != ERR_OK) {
        error_prefix(err, "listen on %s", text);
        if (fd >= 0) {
            (void)close(fd);
        }
        return code;
    }
    *ret_fd = fd;
    return ERR_OK;
}
