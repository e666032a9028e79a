// SPDX-License-Identifier: Apache-2.0
//
// A connection's whole input against a server, HTTP/1 or HTTP/2 as the bytes say. First byte: size of
// the pieces. Second: what the handler does, two bits per request in turn. Nothing is compared; the
// sanitizers and our assertions are the judges, and every exchange must be closed exactly once.
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "net/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TURNS_MAX 400u

struct site {
    struct http_server *server;
    unsigned behaviour;
    unsigned open;
};

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)owner;
    http_send_data(exchange, bytes, end);
    if (!end && bytes.size % 3 == 0) {
        http_pause(exchange);
        http_resume(exchange);
    }
    if (bytes.size == 13) {
        http_cancel(exchange);
    }
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    (void)err;
    ((struct site *)owner)->open--;
}

static const struct http_events events = {.on_data = on_data, .on_close = on_close};

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct site *site = owner;
    site->open++;
    http_set_events(exchange, &events, site);
    unsigned behaviour = site->behaviour & 3;
    site->behaviour = site->behaviour >> 2 | behaviour << 6;
    struct http_head response;
    http_head_init_response(&response, head->upgrade.size > 0 ? 101 : 200);
    response.upgrade = head->upgrade;
    if (behaviour == 0) {
        http_respond(exchange, 200, STR("text/plain"), head->path);
    } else if (behaviour == 1) {
        http_send_head(exchange, &response, end && response.status == 200);
    } else if (behaviour == 2) {
        http_send_head(exchange, &response, false);
        http_send_data(exchange, STR("partial"), false);
        http_cancel(exchange);
    } // else never answered
}

static void feed(struct loop *loop, int fd, struct str text, size_t piece)
{
    char answer[4096];
    for (unsigned turn = 0; turn < TURNS_MAX && text.size > 0; turn++) {
        struct str part = str_sub(text, 0, turn + 1 == TURNS_MAX ? text.size : piece);
        ssize_t written = send(fd, part.data, part.size, MSG_NOSIGNAL | MSG_DONTWAIT);
        text = str_from(text, written > 0 ? (size_t)written : 0);
        loop_turn(loop, 0);
        while (recv(fd, answer, sizeof(answer), MSG_DONTWAIT) > 0) {
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
        return 0;
    }
    struct loop *loop = loop_new();
    struct site site = {.behaviour = data[1]};
    const struct http_server_options options = {.http2 = true, .limits = {.head_bytes = 1024, .header_count = 16}};
    site.server = http_server_new(loop, &options, on_request, &site);
    http_server_adopt(site.server, stream_accept(loop, fds[0], NULL, STR_EMPTY, NULL, NULL));
    feed(loop, fds[1], str_make((const char *)data + 2, size - 2), (size_t)data[0] + 1);
    if ((data[1] & 1) != 0) {
        (void)close(fds[1]);
    }
    loop_turn(loop, 0);
    http_server_free(site.server);
    ASSERT(site.open == 0);
    if ((data[1] & 1) == 0) {
        (void)close(fds[1]);
    }
    for (int i = 0; i < 3; i++) {
        loop_turn(loop, 0);
    }
    loop_free(loop);
    return 0;
}
