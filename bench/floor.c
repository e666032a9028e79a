// SPDX-License-Identifier: Apache-2.0
//
// floor: what the kernel alone costs. Two programs in one, both on level-triggered epoll, one thread:
//
//   floor server ADDR:PORT BYTES     reads to the blank line, writes a fixed answer with a body of BYTES
//   floor proxy ADDR:PORT ADDR:PORT  moves bytes between each client and a connection of its own to the
//                                    second address
//
// Neither parses, checks, times out or logs anything: no server or proxy can be cheaper on these system
// calls, so that the ratio to the floor tells what our own code adds. Not for use on a network.
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/str.h"
#include "net/address.h"

#define FLOOR_FDS_MAX 65536
#define FLOOR_READ_SIZE (64u * 1024)
#define FLOOR_BODY_MAX (16u * 1024 * 1024)
#define FLOOR_BATCH 128

struct peer {
    int other;        // proxy: the descriptor bytes go to; -1: none
    unsigned matched; // server: bytes of the blank line seen
    const char *left; // bytes the kernel did not take yet
    size_t left_size;
    char *kept; // proxy: what left points into
    bool ended;       // the other side has sent its last byte
};

struct floor {
    int epoll_fd;
    int listen_fd;
    bool is_proxy;
    struct address backend;
    struct str answer;
    struct peer *peers; // by descriptor
    char buffer[FLOOR_READ_SIZE];
};

static void watch(struct floor *floor, int fd, unsigned events, int operation)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    (void)epoll_ctl(floor->epoll_fd, operation, fd, &event);
}

static void drop(struct floor *floor, int fd)
{
    int other = floor->peers[fd].other;
    int fds[] = {fd, other};
    for (size_t i = 0; i < array_count(fds) && fds[i] >= 0; i++) {
        mem_free(floor->peers[fds[i]].kept);
        floor->peers[fds[i]] = (struct peer){.other = -1};
        (void)close(fds[i]);
    }
}

// What does not fit is kept, and the other side is not read meanwhile.
static bool give(struct floor *floor, int fd, const char *bytes, size_t size)
{
    ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) {
        return false;
    }
    size_t taken = sent < 0 ? 0 : (size_t)sent;
    if (taken == size) {
        return true;
    }
    struct peer *peer = &floor->peers[fd];
    peer->left_size = size - taken;
    peer->left = bytes + taken; // server: the answer stays where it is
    if (floor->is_proxy) {
        peer->kept = mem_alloc(peer->left_size);
        memcpy(peer->kept, peer->left, peer->left_size);
        peer->left = peer->kept;
    }
    watch(floor, fd, EPOLLOUT, EPOLL_CTL_MOD);
    if (peer->other >= 0) {
        watch(floor, peer->other, floor->peers[peer->other].left != NULL ? EPOLLOUT : 0, EPOLL_CTL_MOD);
    }
    return true;
}

static bool give_left(struct floor *floor, int fd)
{
    struct peer *peer = &floor->peers[fd];
    ssize_t sent = send(fd, peer->left, peer->left_size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        return errno == EAGAIN;
    }
    peer->left += sent;
    peer->left_size -= (size_t)sent;
    if (peer->left_size > 0) {
        return true;
    }
    mem_free(peer->kept);
    peer->kept = NULL;
    peer->left = NULL;
    watch(floor, fd, EPOLLIN, EPOLL_CTL_MOD);
    if (peer->ended) {
        (void)shutdown(fd, SHUT_WR);
    }
    if (peer->other >= 0 && floor->peers[peer->other].left == NULL) {
        watch(floor, peer->other, EPOLLIN, EPOLL_CTL_MOD);
    }
    return true;
}

// One answer for each blank line; a pipeline is answered piece by piece.
static bool answer(struct floor *floor, int fd, const char *bytes, size_t size)
{
    static const char blank[] = "\r\n\r\n";
    struct peer *peer = &floor->peers[fd];
    if (peer->matched == 0 && size > 4 && memcmp(bytes + size - 4, blank, 4) == 0 &&
        memmem(bytes, size, blank, 4) == bytes + size - 4) {
        return give(floor, fd, floor->answer.data, floor->answer.size);
    }
    for (size_t i = 0; i < size; i++) {
        peer->matched = bytes[i] == blank[peer->matched] ? peer->matched + 1 : bytes[i] == '\r' ? 1 : 0;
        if (peer->matched == 4) {
            peer->matched = 0;
            if (peer->left != NULL || !give(floor, fd, floor->answer.data, floor->answer.size)) {
                return false;
            }
        }
    }
    return true;
}

static bool take(struct floor *floor, int fd)
{
    struct peer *peer = &floor->peers[fd];
    ssize_t got = recv(fd, floor->buffer, FLOOR_READ_SIZE, MSG_DONTWAIT);
    if (got < 0) {
        return errno == EAGAIN;
    }
    if (!floor->is_proxy) {
        return got > 0 && answer(floor, fd, floor->buffer, (size_t)got);
    }
    if (got > 0) {
        return give(floor, peer->other, floor->buffer, (size_t)got);
    }
    struct peer *other = &floor->peers[peer->other];
    other->ended = true;
    if (peer->ended) {
        return false;
    }
    watch(floor, fd, 0, EPOLL_CTL_MOD);
    if (other->left == NULL) {
        (void)shutdown(peer->other, SHUT_WR);
    }
    return true;
}

static int connect_backend(const struct floor *floor)
{
    int fd = socket(floor->backend.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, &floor->backend.any, floor->backend.size) != 0) { // loopback: does not wait
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void add(struct floor *floor, int fd, int other)
{
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    floor->peers[fd] = (struct peer){.other = other};
    watch(floor, fd, EPOLLIN, EPOLL_CTL_ADD);
}

static void accept_one(struct floor *floor)
{
    int fd = accept4(floor->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    int other = floor->is_proxy ? connect_backend(floor) : -1;
    if (fd >= FLOOR_FDS_MAX || other >= FLOOR_FDS_MAX || (floor->is_proxy && other < 0)) {
        (void)close(fd);
        if (other >= 0) {
            (void)close(other);
        }
        return;
    }
    add(floor, fd, other);
    if (other >= 0) {
        add(floor, other, fd);
    }
}

static void run(struct floor *floor)
{
    struct epoll_event batch[FLOOR_BATCH];
    for (;;) {
        int count = epoll_wait(floor->epoll_fd, batch, FLOOR_BATCH, -1);
        for (int i = 0; i < count; i++) {
            int fd = batch[i].data.fd;
            if (fd == floor->listen_fd) {
                accept_one(floor);
            } else if ((batch[i].events & EPOLLOUT) != 0 && floor->peers[fd].left != NULL) {
                if (!give_left(floor, fd)) {
                    drop(floor, fd);
                }
            } else if (!take(floor, fd)) {
                drop(floor, fd);
                break; // the rest of the batch may name the pair's other half: it is reported again
            }
        }
    }
}

static struct str make_answer(size_t body_size)
{
    char *text = mem_alloc(256 + body_size);
    int head = snprintf(text, 256, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %zu\r\n\r\n", body_size);
    memset(text + head, 'x', body_size);
    return str_make(text, (size_t)head + body_size);
}

int main(int argc, char **argv)
{
    bool is_proxy = argc == 4 && strcmp(argv[1], "proxy") == 0;
    uint64_t body_size = 0;
    if (!is_proxy && !(argc == 4 && strcmp(argv[1], "server") == 0 && str_to_u64(str_of(argv[3]), &body_size) &&
                       body_size <= FLOOR_BODY_MAX)) {
        (void)fprintf(stderr, "usage: %s server ADDR:PORT BYTES | proxy ADDR:PORT ADDR:PORT\n", argv[0]);
        return 2;
    }
    struct floor *floor = mem_new(struct floor);
    floor->is_proxy = is_proxy;
    struct error err = {0};
    struct address address;
    const struct listen_options options = {.backlog = 4096};
    if (address_parse(str_of(argv[2]), &address, &err) != ERR_OK ||
        (is_proxy && address_parse(str_of(argv[3]), &floor->backend, &err) != ERR_OK) ||
        address_listen(&address, &options, &floor->listen_fd, &err) != ERR_OK) {
        (void)fprintf(stderr, "floor: %s\n", err.message);
        mem_free(floor);
        return 1;
    }
    floor->answer = is_proxy ? STR_EMPTY : make_answer((size_t)body_size);
    floor->peers = mem_zalloc(sizeof(struct peer) * FLOOR_FDS_MAX);
    floor->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(floor, floor->listen_fd, EPOLLIN, EPOLL_CTL_ADD);
    run(floor);
}
