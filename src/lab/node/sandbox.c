// SPDX-License-Identifier: Apache-2.0
#include "lab/node/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "lab/netlink/netlink.h"

#define SHARED_NAMESPACES (CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC)

static const struct {
    const char *path;
    int type;
    size_t offset; // of its descriptor in struct sandbox
} kinds[] = {
    {"/proc/thread-self/ns/net", CLONE_NEWNET, offsetof(struct sandbox, net_fd)},
    {"/proc/thread-self/ns/uts", CLONE_NEWUTS, offsetof(struct sandbox, uts_fd)},
    {"/proc/thread-self/ns/ipc", CLONE_NEWIPC, offsetof(struct sandbox, ipc_fd)},
};

static int *descriptor(struct sandbox *sandbox, size_t kind)
{
    return (int *)(void *)((char *)sandbox + kinds[kind].offset);
}

void sandbox_init(struct sandbox *sandbox)
{
    *sandbox = (struct sandbox){.net_fd = -1, .uts_fd = -1, .ipc_fd = -1};
}

void sandbox_close(struct sandbox *sandbox)
{
    struct netlink netlink = {0};
    // Closing the last descriptor takes the link down later; freeing the address needs it gone now.
    if (sandbox->device[0] != '\0' && netlink_open(&netlink, NULL) == ERR_OK) {
        (void)!netlink_delete_link(&netlink, sandbox->device, NULL);
        netlink_close(&netlink);
    }
    for (size_t i = 0; i < array_count(kinds); i++) {
        int *fd = descriptor(sandbox, i);
        if (*fd >= 0) {
            (void)close(*fd);
        }
    }
    sandbox_init(sandbox);
}

bool sandbox_is_open(const struct sandbox *sandbox)
{
    return sandbox->ipc_fd >= 0;
}

static enum err open_namespaces(struct sandbox *sandbox, struct error *err)
{
    for (size_t i = 0; i < array_count(kinds); i++) {
        int *fd = descriptor(sandbox, i);
        *fd = open(kinds[i].path, O_RDONLY | O_CLOEXEC);
        if (*fd < 0) {
            return error_set_errno(err, errno, "%s", kinds[i].path);
        }
    }
    return ERR_OK;
}

// Inside the new namespaces.
static enum err prepare_namespaces(const char *host_name, struct error *err)
{
    struct netlink netlink = {0};
    if (sethostname(host_name, strlen(host_name)) != 0) {
        return error_set_errno(err, errno, "cannot set the host name %s", host_name);
    }
    // As container runtimes do: a proxy without rights may listen on port 80, and anybody may ping.
    enum err code = netlink_set_sysctl("ipv4/ip_unprivileged_port_start", "0", err);
    if (code == ERR_OK) {
        code = netlink_set_sysctl("ipv4/ping_group_range", "0 2147483647", err);
    }
    if (code == ERR_OK) {
        code = netlink_open(&netlink, err);
    }
    if (code == ERR_OK) {
        code = netlink_set_up(&netlink, "lo", err);
    }
    netlink_close(&netlink);
    return code;
}

static enum err make_namespaces(struct sandbox *sandbox, const char *host_name, struct error *err)
{
    struct sandbox own;
    sandbox_init(&own);
    enum err code = open_namespaces(&own, err);
    if (code == ERR_OK && unshare(SHARED_NAMESPACES) != 0) {
        code = error_set_errno(err, errno, "cannot make the pod's namespaces");
    } else if (code == ERR_OK) {
        code = open_namespaces(sandbox, err);
        if (code == ERR_OK) {
            code = prepare_namespaces(host_name, err);
        }
        for (size_t i = 0; i < array_count(kinds); i++) {
            ASSERT(setns(*descriptor(&own, i), kinds[i].type) == 0);
        }
    }
    sandbox_close(&own);
    return code;
}

static enum err connect_node(const struct sandbox *sandbox, const struct sandbox_options *options, struct error *err)
{
    struct netlink netlink = {0};
    struct netlink_route route = {.to = options->address, .prefix_size = 32, .device = sandbox->device};
    char setting[64];
    enum err code = netlink_open(&netlink, err);
    if (code == ERR_OK) {
        code = netlink_add_veth(&netlink, sandbox->device, "eth0", sandbox->net_fd, err);
    }
    (void)snprintf(setting, sizeof(setting), "ipv4/conf/%s/send_redirects", sandbox->device);
    if (code == ERR_OK) {
        code = netlink_set_sysctl(setting, "0", err);
    }
    if (code == ERR_OK) {
        code = netlink_add_address(&netlink, sandbox->device, options->gateway, 32, err);
    }
    if (code == ERR_OK) {
        code = netlink_set_up(&netlink, sandbox->device, err);
    }
    if (code == ERR_OK) {
        code = netlink_add_route(&netlink, &route, err);
    }
    netlink_close(&netlink);
    return code;
}

static enum err connect_pod(const struct sandbox *sandbox, const struct sandbox_options *options, struct error *err)
{
    struct netlink netlink = {0};
    struct netlink_route to_gateway = {.to = options->gateway, .prefix_size = 32, .device = "eth0"};
    struct netlink_route otherwise = {.via = options->gateway, .from = options->address, .device = "eth0"};
    int old_fd = -1;
    enum err code = netlink_enter_namespace(sandbox->net_fd, &old_fd, err);
    if (code != ERR_OK) {
        return code;
    }
    code = netlink_open(&netlink, err);
    netlink_leave_namespace(old_fd);
    if (code == ERR_OK) {
        code = netlink_add_address(&netlink, "eth0", options->address, 32, err);
    }
    if (code == ERR_OK) {
        code = netlink_set_up(&netlink, "eth0", err);
    }
    if (code == ERR_OK) {
        code = netlink_add_route(&netlink, &to_gateway, err);
    }
    if (code == ERR_OK) {
        code = netlink_add_route(&netlink, &otherwise, err);
    }
    netlink_close(&netlink);
    return code;
}

enum err sandbox_open(struct sandbox *sandbox, const struct sandbox_options *options, struct error *err)
{
    sandbox_init(sandbox);
    if (options->host_network) {
        return open_namespaces(sandbox, err); // the node's own
    }
    (void)snprintf(sandbox->device, sizeof(sandbox->device), "veth%u", options->number);
    enum err code = make_namespaces(sandbox, options->host_name, err);
    if (code == ERR_OK) {
        code = connect_node(sandbox, options, err);
    }
    if (code == ERR_OK) {
        code = connect_pod(sandbox, options, err);
    }
    if (code != ERR_OK) {
        sandbox_close(sandbox);
    }
    return code;
}

// --- addresses -------------------------------------------------------------------------------------

void address_pool_init(struct address_pool *pool, struct in_addr base)
{
    *pool = (struct address_pool){.base = ntohl(base.s_addr) & 0xffffff00u, .next = ADDRESS_POOL_FIRST};
}

// In turn, so that an address is not reused while its old connections may still be remembered.
bool address_pool_take(struct address_pool *pool, struct in_addr *ret_address)
{
    for (uint32_t tried = 0; tried <= ADDRESS_POOL_LAST - ADDRESS_POOL_FIRST; tried++) {
        uint32_t number = pool->next;
        pool->next = number == ADDRESS_POOL_LAST ? ADDRESS_POOL_FIRST : number + 1;
        if (!pool->used[number]) {
            pool->used[number] = true;
            ret_address->s_addr = htonl(pool->base | number);
            return true;
        }
    }
    return false;
}

void address_pool_give(struct address_pool *pool, struct in_addr address)
{
    uint32_t number = ntohl(address.s_addr) & 0xff;
    if ((ntohl(address.s_addr) & 0xffffff00u) == pool->base) {
        pool->used[number] = false;
    }
}
