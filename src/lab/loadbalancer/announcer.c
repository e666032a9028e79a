// SPDX-License-Identifier: Apache-2.0
#include "lab/loadbalancer/announcer.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/vec.h"
#include "lab/loadbalancer/arp.h"

#define TYPE_ARP 0x0806
#define FRAMES_PER_TURN 64
#define FRAME_BUFFER_SIZE 128 // more than ARP and padding need

static struct log_scope scope = LOG_SCOPE("announcer");

struct announced {
    uint32_t address;
    uint64_t until_ms; // of its burst; 0: over
};

struct announcer {
    struct loop *loop;
    int fd;
    int interface_index;
    struct arp_hardware own;
    struct loop_fd watch;
    struct loop_timer repeat;
    VEC(struct announced) addresses;
    struct announcer_stats stats;
};

static struct announced *find(const struct announcer *announcer, uint32_t address)
{
    for (size_t i = 0; i < announcer->addresses.count; i++) {
        if (announcer->addresses.items[i].address == address) {
            return &announcer->addresses.items[i];
        }
    }
    return NULL;
}

bool announcer_has(const struct announcer *announcer, uint32_t address)
{
    return find(announcer, address) != NULL;
}

const struct announcer_stats *announcer_stats(const struct announcer *announcer)
{
    return &announcer->stats;
}

// A full queue or a link that is down loses a frame, as any network may: neighbours ask again.
static void send_frame(struct announcer *announcer, const uint8_t *frame, uint64_t *counter)
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(TYPE_ARP),
                             .sll_ifindex = announcer->interface_index, .sll_halen = ARP_HARDWARE_SIZE};
    memcpy(to.sll_addr, frame, ARP_HARDWARE_SIZE);
    ssize_t size = sendto(announcer->fd, frame, ARP_FRAME_SIZE, MSG_DONTWAIT, (const struct sockaddr *)&to, sizeof(to));
    if (size == (ssize_t)ARP_FRAME_SIZE) {
        (*counter)++;
        return;
    }
    announcer->stats.send_failures++;
    log_debug(&scope, "a frame was not sent", LOG_CSTR("error", strerror(errno)));
}

// --- telling everybody -----------------------------------------------------------------------------

static void tell(struct announcer *announcer, uint32_t address)
{
    uint8_t frame[ARP_FRAME_SIZE];
    arp_write_gratuitous(ARP_REQUEST, address, &announcer->own, frame);
    send_frame(announcer, frame, &announcer->stats.gratuitous_sent);
    arp_write_gratuitous(ARP_REPLY, address, &announcer->own, frame);
    send_frame(announcer, frame, &announcer->stats.gratuitous_sent);
}

static void start_burst(struct announcer *announcer, struct announced *announced)
{
    announced->until_ms = loop_now_ms(announcer->loop) + ANNOUNCER_BURST_MS;
    tell(announcer, announced->address);
    if (!loop_timer_is_running(&announcer->repeat)) {
        loop_timer_start(&announcer->repeat, ANNOUNCER_REPEAT_MS);
    }
}

static void on_repeat(struct loop_timer *timer)
{
    struct announcer *announcer = container_of(timer, struct announcer, repeat);
    bool is_any_left = false;
    for (size_t i = 0; i < announcer->addresses.count; i++) {
        struct announced *announced = &announcer->addresses.items[i];
        if (announced->until_ms > loop_now_ms(announcer->loop)) {
            tell(announcer, announced->address);
            is_any_left = true;
        }
    }
    if (is_any_left) {
        loop_timer_start(timer, ANNOUNCER_REPEAT_MS);
    }
}

void announcer_set(struct announcer *announcer, const uint32_t *addresses, size_t count)
{
    VEC(struct announced) fresh = {0};
    for (size_t i = 0; i < count && fresh.count < ANNOUNCER_ADDRESSES_MAX; i++) {
        const struct announced *old = find(announcer, addresses[i]);
        vec_push(&fresh, (struct announced){.address = addresses[i], .until_ms = old == NULL ? UINT64_MAX : old->until_ms});
    }
    vec_done(&announcer->addresses);
    announcer->addresses.items = fresh.items;
    announcer->addresses.count = fresh.count;
    announcer->addresses.capacity = fresh.capacity;
    for (size_t i = 0; i < fresh.count; i++) {
        if (fresh.items[i].until_ms == UINT64_MAX) {
            start_burst(announcer, &fresh.items[i]);
        }
    }
}

// --- answering -------------------------------------------------------------------------------------

static void answer(struct announcer *announcer, struct str bytes)
{
    struct arp_request request;
    uint8_t frame[ARP_FRAME_SIZE];
    bool is_for_us = arp_read_request(bytes, &request) &&
                     (request.is_broadcast || memcmp(&request.to, &announcer->own, sizeof(request.to)) == 0);
    if (!is_for_us || !announcer_has(announcer, request.target_address)) {
        return;
    }
    announcer->stats.requests_received++;
    arp_write_reply(&request, &announcer->own, frame);
    send_frame(announcer, frame, &announcer->stats.responses_sent);
}

static void on_readable(struct loop_fd *watch, unsigned events)
{
    (void)events;
    struct announcer *announcer = container_of(watch, struct announcer, watch);
    for (int i = 0; i < FRAMES_PER_TURN; i++) {
        char bytes[FRAME_BUFFER_SIZE];
        struct sockaddr_ll from = {0};
        socklen_t from_size = sizeof(from);
        ssize_t size = recvfrom(announcer->fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&from, &from_size);
        if (size < 0) {
            return; // nothing more; a link that went down says so once here and is read again when it is up
        }
        if (from.sll_pkttype != PACKET_OUTGOING) {
            answer(announcer, str_make(bytes, (size_t)size));
        }
    }
}

// --- life ------------------------------------------------------------------------------------------

static enum err open_socket(struct announcer *announcer, const char *interface, struct error *err)
{
    struct ifreq request = {0};
    announcer->fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (announcer->fd < 0) {
        return error_set_errno(err, errno, "cannot open a packet socket");
    }
    (void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
    if (ioctl(announcer->fd, SIOCGIFINDEX, &request) != 0) {
        return error_set_errno(err, errno, "cannot find the interface %s", interface);
    }
    announcer->interface_index = request.ifr_ifindex;
    if (ioctl(announcer->fd, SIOCGIFHWADDR, &request) != 0) {
        return error_set_errno(err, errno, "cannot read the hardware address of %s", interface);
    }
    memcpy(announcer->own.bytes, request.ifr_hwaddr.sa_data, ARP_HARDWARE_SIZE);
    struct sockaddr_ll own = {.sll_family = AF_PACKET, .sll_protocol = htons(TYPE_ARP),
                              .sll_ifindex = announcer->interface_index};
    if (bind(announcer->fd, (const struct sockaddr *)&own, sizeof(own)) != 0) {
        return error_set_errno(err, errno, "cannot listen for ARP on %s", interface);
    }
    return ERR_OK;
}

struct announcer *announcer_new(struct loop *loop, const char *interface, struct error *err)
{
    struct announcer *announcer = mem_new(struct announcer);
    announcer->loop = loop;
    loop_timer_init(&announcer->repeat, loop, on_repeat);
    if (open_socket(announcer, interface, err) != ERR_OK) {
        announcer_free(announcer);
        return NULL;
    }
    loop_fd_init(&announcer->watch, loop, announcer->fd, on_readable);
    loop_fd_start(&announcer->watch, LOOP_FD_READ);
    return announcer;
}

void announcer_free(struct announcer *announcer)
{
    if (announcer == NULL) {
        return;
    }
    loop_timer_stop(&announcer->repeat);
    if (announcer->watch.loop != NULL) {
        loop_fd_stop(&announcer->watch);
    }
    if (announcer->fd >= 0) {
        (void)close(announcer->fd);
    }
    vec_done(&announcer->addresses);
    mem_free(announcer);
}
