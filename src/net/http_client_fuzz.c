// SPDX-License-Identifier: Apache-2.0
//
// What a server may send to our client. First byte: size of the pieces. Second: protocol (bit 0), and
// what the owners do. The sanitizers and our assertions are the judges; every request ends exactly once.
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "net/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUESTS 4u
#define TURNS_MAX 300u

struct owner {
    unsigned behaviour;
    unsigned open;
};

static void on_head(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    ASSERT(head->status >= 100 && head->status <= 999);
    if (!end && (((struct owner *)owner)->behaviour & 2) != 0) {
        http_pause(exchange);
        http_resume(exchange);
    }
}

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    if ((((struct owner *)owner)->behaviour & 4) != 0 && bytes.size % 5 == 1) {
        http_cancel(exchange);
    } else if (!end && bytes.size % 3 == 0) {
        http_send_data(exchange, STR("more"), false); // of a tunnel or an upload; else ignored
    }
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    ASSERT(err->code == ERR_OK || err->message[0] != '\0');
    struct owner *counted = owner;
    ASSERT(counted->open > 0);
    counted->open--;
}

static const struct http_events events = {.on_head = on_head, .on_data = on_data, .on_close = on_close};

static void start_requests(struct http_client *client, struct owner *owner)
{
    static const struct {
        const char *method;
        bool end;
    } rows[REQUESTS] = {{"GET", true}, {"POST", false}, {"HEAD", true}, {"CONNECT", false}};
    for (size_t i = 0; i < REQUESTS; i++) {
        struct http_head head;
        http_head_init_request(&head, str_of(rows[i].method), STR("http"), STR("a:1"), STR("/"));
        head.upgrade = i == 0 && (owner->behaviour & 8) != 0 ? STR("echo") : STR_EMPTY;
        owner->open++;
        struct http_exchange *exchange = http_request(client, &head, rows[i].end, &events, owner);
        if (i == 1) {
            http_send_data(exchange, STR("body"), (owner->behaviour & 16) != 0);
        }
    }
}

static void feed(struct loop *loop, int listener, struct str text, size_t piece)
{
    int fd = -1;
    for (unsigned turn = 0; turn < TURNS_MAX && text.size > 0; turn++) {
        loop_turn(loop, 0);
        if (fd < 0) {
            fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            continue;
        }
        struct str part = str_sub(text, 0, turn + 1 == TURNS_MAX ? text.size : piece);
        ssize_t written = send(fd, part.data, part.size, MSG_NOSIGNAL);
        if (written > 0) {
            text = str_from(text, (size_t)written);
        }
        char asked[4096];
        ssize_t got = recv(fd, asked, sizeof(asked), MSG_DONTWAIT);
        if (got == 0) { // the client went away: the rest is for its next connection
            (void)close(fd);
            fd = -1;
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct address address;
    int listener = -1;
    if (address_parse(STR("127.0.0.1:0"), &address, NULL) != ERR_OK ||
        address_listen(&address, &(struct listen_options){0}, &listener, NULL) != ERR_OK) {
        return 0;
    }
    ASSERT(address_local(listener, &address));
    struct loop *loop = loop_new();
    struct owner owner = {.behaviour = data[1]};
    const struct http_client_options options = {
        .address = address,
        .protocol = (data[1] & 1) != 0 ? HTTP_PROTOCOL_2 : HTTP_PROTOCOL_1,
        .connections_max = 1,
        .limits = {.head_bytes = 1024, .header_count = 16},
    };
    struct http_client *client = http_client_new(loop, &options);
    start_requests(client, &owner);
    feed(loop, listener, str_make((const char *)data + 2, size - 2), (size_t)data[0] + 1);
    loop_turn(loop, 0);
    http_client_free(client);
    ASSERT(owner.open == 0);
    (void)close(listener);
    for (int i = 0; i < 3; i++) {
        loop_turn(loop, 0);
    }
    loop_free(loop);
    return 0;
}
