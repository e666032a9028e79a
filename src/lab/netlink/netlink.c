// SPDX-License-Identifier: Apache-2.0
#include "lab/netlink/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"

// Our requests are a few hundred bytes; an answer is an acknowledgement.
#define MESSAGE_SIZE 2048
// One link with all its attributes (statistics, per-family settings) stays below 4 KiB.
#define LINK_ANSWER_SIZE 16384
#define THREAD_NAMESPACE "/proc/thread-self/ns/net"

struct request {
    struct nlmsghdr *header;
    _Alignas(struct nlmsghdr) char buffer[MESSAGE_SIZE];
};

enum err netlink_open(struct netlink *netlink, struct error *err)
{
    netlink->sequence = 0;
    netlink->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (netlink->socket == NULL) {
        return error_set_errno(err, errno, "cannot open a route netlink socket");
    }
    if (mnl_socket_bind(netlink->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        int failure = errno;
        netlink_close(netlink);
        return error_set_errno(err, failure, "cannot bind a route netlink socket");
    }
    return ERR_OK;
}

void netlink_close(struct netlink *netlink)
{
    if (netlink->socket != NULL) {
        (void)mnl_socket_close(netlink->socket);
        netlink->socket = NULL;
    }
}

static void begin(struct request *request, uint16_t type, uint16_t flags)
{
    request->header = mnl_nlmsg_put_header(request->buffer);
    request->header->nlmsg_type = type;
    request->header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
}

// Sends and waits for the acknowledgement; errno says what the kernel refused.
static bool run(struct netlink *netlink, struct request *request)
{
    char answer[MESSAGE_SIZE];
    request->header->nlmsg_seq = ++netlink->sequence;
    if (mnl_socket_sendto(netlink->socket, request->header, request->header->nlmsg_len) < 0) {
        return false;
    }
    ssize_t size = mnl_socket_recvfrom(netlink->socket, answer, sizeof(answer));
    if (size < 0) {
        return false;
    }
    return mnl_cb_run(answer, (size_t)size, netlink->sequence,
                      mnl_socket_get_portid(netlink->socket), NULL, NULL) >= 0;
}

// The index of a link in the socket's own namespace (if_nametoindex would ask the thread's).
static int on_link(const struct nlmsghdr *header, void *data)
{
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);
    *(int *)data = link->ifi_index;
    return MNL_CB_OK;
}

static enum err find_link(struct netlink *netlink, const char *name, int *ret_index, struct error *err)
{
    struct request request;
    char answer[LINK_ANSWER_SIZE];
    int index = 0;
    begin(&request, RTM_GETLINK, 0);
    request.header->nlmsg_flags = NLM_F_REQUEST;
    request.header->nlmsg_seq = ++netlink->sequence;
    (void)mnl_nlmsg_put_extra_header(request.header, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(request.header, IFLA_IFNAME, name);
    if (mnl_socket_sendto(netlink->socket, request.header, request.header->nlmsg_len) < 0) {
        return error_set_errno(err, errno, "link %s", name);
    }
    ssize_t size = mnl_socket_recvfrom(netlink->socket, answer, sizeof(answer));
    if (size < 0 || mnl_cb_run(answer, (size_t)size, netlink->sequence,
                               mnl_socket_get_portid(netlink->socket), on_link, &index) < 0) {
        return error_set_errno(err, errno, "link %s", name);
    }
    *ret_index = index;
    return ERR_OK;
}

enum err netlink_add_bridge(struct netlink *netlink, const char *name, struct error *err)
{
    struct request request;
    begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    (void)mnl_nlmsg_put_extra_header(request.header, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(request.header, IFLA_IFNAME, name);
    struct nlattr *info = mnl_attr_nest_start(request.header, IFLA_LINKINFO);
    mnl_attr_put_str(request.header, IFLA_INFO_KIND, "bridge");
    mnl_attr_nest_end(request.header, info);
    return run(netlink, &request) ? ERR_OK : error_set_errno(err, errno, "cannot make bridge %s", name);
}

enum err netlink_add_veth(struct netlink *netlink, const char *name, const char *peer_name,
                          int peer_ns_fd, struct error *err)
{
    struct request request;
    begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    (void)mnl_nlmsg_put_extra_header(request.header, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(request.header, IFLA_IFNAME, name);
    struct nlattr *info = mnl_attr_nest_start(request.header, IFLA_LINKINFO);
    mnl_attr_put_str(request.header, IFLA_INFO_KIND, "veth");
    struct nlattr *data = mnl_attr_nest_start(request.header, IFLA_INFO_DATA);
    struct nlattr *peer = mnl_attr_nest_start(request.header, VETH_INFO_PEER);
    (void)mnl_nlmsg_put_extra_header(request.header, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(request.header, IFLA_IFNAME, peer_name);
    mnl_attr_put_u32(request.header, IFLA_NET_NS_FD, (uint32_t)peer_ns_fd);
    mnl_attr_nest_end(request.header, peer);
    mnl_attr_nest_end(request.header, data);
    mnl_attr_nest_end(request.header, info);
    return run(netlink, &request) ? ERR_OK
                                  : error_set_errno(err, errno, "cannot make veth pair %s", name);
}

// Changes flags, or sets one attribute, of an existing link.
static enum err change_link(struct netlink *netlink, const char *name, unsigned flags, uint16_t attribute,
                            uint32_t value, struct error *err)
{
    struct request request;
    int index = 0;
    if (find_link(netlink, name, &index, err) != ERR_OK) {
        return err == NULL ? ERR_IO : err->code;
    }
    begin(&request, RTM_NEWLINK, 0);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(request.header, sizeof(*link));
    link->ifi_index = index;
    link->ifi_flags = flags;
    link->ifi_change = flags;
    if (attribute != 0) {
        mnl_attr_put_u32(request.header, attribute, value);
    }
    return run(netlink, &request) ? ERR_OK : error_set_errno(err, errno, "cannot change link %s", name);
}

enum err netlink_delete_link(struct netlink *netlink, const char *name, struct error *err)
{
    struct request request;
    begin(&request, RTM_DELLINK, 0);
    (void)mnl_nlmsg_put_extra_header(request.header, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(request.header, IFLA_IFNAME, name);
    return run(netlink, &request) ? ERR_OK : error_set_errno(err, errno, "cannot delete link %s", name);
}

enum err netlink_set_up(struct netlink *netlink, const char *name, struct error *err)
{
    return change_link(netlink, name, IFF_UP, 0, 0, err);
}

enum err netlink_set_master(struct netlink *netlink, const char *name, const char *master,
                            struct error *err)
{
    int index = 0;
    if (find_link(netlink, master, &index, err) != ERR_OK) {
        return err == NULL ? ERR_IO : err->code;
    }
    return change_link(netlink, name, 0, IFLA_MASTER, (uint32_t)index, err);
}

enum err netlink_add_address(struct netlink *netlink, const char *name, struct in_addr address,
                             uint8_t prefix_size, struct error *err)
{
    struct request request;
    int index = 0;
    if (find_link(netlink, name, &index, err) != ERR_OK) {
        return err == NULL ? ERR_IO : err->code;
    }
    begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *message = mnl_nlmsg_put_extra_header(request.header, sizeof(*message));
    message->ifa_family = AF_INET;
    message->ifa_prefixlen = prefix_size;
    message->ifa_index = (uint32_t)index;
    mnl_attr_put_u32(request.header, IFA_LOCAL, address.s_addr);
    mnl_attr_put_u32(request.header, IFA_ADDRESS, address.s_addr);
    return run(netlink, &request) ? ERR_OK : error_set_errno(err, errno, "cannot add address to %s", name);
}

enum err netlink_add_route(struct netlink *netlink, const struct netlink_route *route, struct error *err)
{
    struct request request;
    int index = 0;
    if (find_link(netlink, route->device, &index, err) != ERR_OK) {
        return err == NULL ? ERR_IO : err->code;
    }
    begin(&request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
    struct rtmsg *message = mnl_nlmsg_put_extra_header(request.header, sizeof(*message));
    message->rtm_family = AF_INET;
    message->rtm_dst_len = route->prefix_size;
    message->rtm_table = RT_TABLE_MAIN;
    message->rtm_protocol = RTPROT_STATIC;
    message->rtm_scope = route->via.s_addr == 0 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    message->rtm_type = RTN_UNICAST;
    if (route->prefix_size != 0) {
        mnl_attr_put_u32(request.header, RTA_DST, route->to.s_addr);
    }
    if (route->via.s_addr != 0) {
        mnl_attr_put_u32(request.header, RTA_GATEWAY, route->via.s_addr);
    }
    if (route->from.s_addr != 0) {
        mnl_attr_put_u32(request.header, RTA_PREFSRC, route->from.s_addr);
    }
    mnl_attr_put_u32(request.header, RTA_OIF, (uint32_t)index);
    return run(netlink, &request) ? ERR_OK
                                  : error_set_errno(err, errno, "cannot add a route on %s", route->device);
}

// --- namespaces ------------------------------------------------------------------------------------

static enum err open_current(int *ret_fd, struct error *err)
{
    *ret_fd = open(THREAD_NAMESPACE, O_RDONLY | O_CLOEXEC);
    return *ret_fd < 0 ? error_set_errno(err, errno, "%s", THREAD_NAMESPACE) : ERR_OK;
}

enum err netlink_new_namespace(int *ret_fd, struct error *err)
{
    int old_fd = -1;
    int fd = -1;
    enum err code = open_current(&old_fd, err);
    if (code != ERR_OK) {
        return code;
    }
    if (unshare(CLONE_NEWNET) != 0) {
        code = error_set_errno(err, errno, "cannot make a network namespace");
        (void)close(old_fd);
        return code;
    }
    code = open_current(&fd, err);
    netlink_leave_namespace(old_fd);
    if (code == ERR_OK) {
        *ret_fd = fd;
    }
    return code;
}

enum err netlink_enter_namespace(int fd, int *ret_old_fd, struct error *err)
{
    int old_fd = -1;
    enum err code = open_current(&old_fd, err);
    if (code != ERR_OK) {
        return code;
    }
    if (setns(fd, CLONE_NEWNET) != 0) {
        code = error_set_errno(err, errno, "cannot enter a network namespace");
        (void)close(old_fd);
        return code;
    }
    *ret_old_fd = old_fd;
    return ERR_OK;
}

void netlink_leave_namespace(int old_fd)
{
    // Working on in the wrong namespace would configure somebody else's network.
    ASSERT(setns(old_fd, CLONE_NEWNET) == 0);
    (void)close(old_fd);
}

enum err netlink_set_sysctl(const char *name, const char *value, struct error *err)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_set_errno(err, errno, "%s", path);
    }
    ssize_t size = write(fd, value, strlen(value));
    int failure = errno;
    (void)close(fd);
    return size < 0 ? error_set_errno(err, failure, "%s", path) : ERR_OK;
}
