// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/memory.h"
#include "loop/socket.h"
#include "net/stream.h"

#define TURNS_MAX 3000 // of 10 ms at most

// --- addresses -------------------------------------------------------------------------------------

static void addresses_parse_and_print(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *want; // NULL: invalid
        uint16_t want_port;
    } rows[] = {
        {"10.0.0.1:80", "10.0.0.1:80", 80},
        {":8080", "0.0.0.0:8080", 8080},
        {"[::1]:443", "[::1]:443", 443},
        {"[::]:0", "[::]:0", 0},
        {"unix:/run/x.sock", "unix:/run/x.sock", 0},
        {"10.0.0.1", NULL, 0},
        {"10.0.0.1:", NULL, 0},
        {"10.0.0.1:65536", NULL, 0},
        {"10.0.0.1:-1", NULL, 0},
        {"::1:80", NULL, 0},
        {"[10.0.0.1]:80", NULL, 0},
        {"localhost:80", NULL, 0},
        {"unix:", NULL, 0},
        {"", NULL, 0},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct address address = {0};
        struct error err = {0};
        char text[ADDRESS_TEXT_SIZE] = "";
        enum err code = address_parse(str_of(rows[i].text), &address, &err);
        if (code == ERR_OK) {
            (void)address_format(&address, text);
        }
        bool ok = rows[i].want == NULL ? code == ERR_INVALID && err.message[0] != '\0'
                                       : strcmp(text, rows[i].want) == 0;
        check_row(rows[i].text, ok, "got %s \"%s\"", err_name(code), text);
        check_row(rows[i].text, code != ERR_OK || address_port(&address) == rows[i].want_port, "port");
    }
}

static void addresses_in_use_are_named(void **state)
{
    (void)state;
    struct address address;
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &address, NULL), ERR_OK);
    int fd = -1;
    assert_int_equal(address_listen(&address, NULL, &fd, NULL), ERR_OK);
    assert_true(address_local(fd, &address));
    int second = -1;
    struct error err = {0};
    assert_int_equal(address_listen(&address, NULL, &second, &err), ERR_EXISTS);
    char text[ADDRESS_TEXT_SIZE];
    assert_non_null(strstr(err.message, address_format(&address, text)));
    assert_int_equal(second, -1);
    (void)close(fd);
}

static void stale_unix_sockets_are_replaced(void **state)
{
    (void)state;
    char directory[] = "/tmp/stream-test-XXXXXX";
    assert_non_null(mkdtemp(directory));
    char text[64];
    (void)snprintf(text, sizeof(text), "unix:%s/s", directory);
    struct address address;
    assert_int_equal(address_parse(str_of(text), &address, NULL), ERR_OK);
    int fd = -1;
    int second = -1;
    assert_int_equal(address_listen(&address, NULL, &fd, NULL), ERR_OK);
    assert_int_equal(address_listen(&address, NULL, &second, NULL), ERR_EXISTS); // alive
    (void)close(fd);
    assert_int_equal(address_listen(&address, NULL, &second, NULL), ERR_OK);
    (void)close(second);
    (void)unlink(text + 5);
    (void)rmdir(directory);
}

// --- streams ---------------------------------------------------------------------------------------

struct end {
    struct stream *stream; // NULL after on_close
    struct buf received;
    int opened;
    int eofs;
    int drained;
    int closed;
    struct error err;
    bool keep_open_at_eof;
    bool close_in_read;
    bool abort_in_open;
    size_t unread_once; // bytes to hand back in the first on_read
};

static void on_open(void *owner, struct stream *stream)
{
    struct end *end = owner;
    end->opened++;
    if (end->abort_in_open) {
        stream_abort(stream);
    }
}

static void on_read(void *owner, struct stream *stream, struct str bytes)
{
    struct end *end = owner;
    if (end->unread_once > 0) {
        size_t keep = bytes.size - end->unread_once;
        end->unread_once = 0;
        stream_unread(stream, str_from(bytes, keep));
        bytes = str_sub(bytes, 0, keep);
    }
    buf_append_str(&end->received, bytes);
    if (end->close_in_read) {
        stream_close(stream);
    }
}

static void on_eof(void *owner, struct stream *stream)
{
    struct end *end = owner;
    end->eofs++;
    if (!end->keep_open_at_eof) {
        stream_close(stream);
    }
}

static void on_drained(void *owner, struct stream *stream)
{
    (void)stream;
    struct end *end = owner;
    end->drained++;
}

static void on_close(void *owner, struct stream *stream, const struct error *err)
{
    struct end *end = owner;
    (void)stream;
    end->closed++;
    end->stream = NULL;
    end->err = *err;
}

static const struct stream_events events = {on_open, on_read, on_eof, on_drained, on_close};

static void make_pair(struct loop *loop, struct end ends[2])
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    for (int i = 0; i < 2; i++) {
        ends[i] = (struct end){0};
        ends[i].stream = stream_accept(loop, fds[i], NULL, STR_EMPTY, &events, &ends[i]);
    }
}

static void turn_until_size(struct loop *loop, const size_t *value, size_t want)
{
    for (int i = 0; i < TURNS_MAX && *value != want; i++) {
        loop_turn(loop, 10);
    }
    assert_int_equal(*value, want);
}

static void turn_until(struct loop *loop, const int *value, int want)
{
    for (int i = 0; i < TURNS_MAX && *value != want; i++) {
        loop_turn(loop, 10);
    }
    assert_int_equal(*value, want);
}

static void done_pair(struct loop *loop, struct end ends[2])
{
    for (int i = 0; i < 2; i++) {
        if (ends[i].stream != NULL) {
            stream_abort(ends[i].stream);
        }
    }
    loop_turn(loop, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ends[i].closed, 1);
        buf_done(&ends[i].received);
    }
}

static void bytes_and_the_end_arrive(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct end ends[2];
    make_pair(loop, ends);
    stream_write(ends[0].stream, STR("hello "));
    stream_write(ends[0].stream, STR("world"));
    assert_int_equal(stream_queued(ends[0].stream), 11); // one write per turn
    stream_close(ends[0].stream);
    stream_close(ends[0].stream);
    turn_until(loop, &ends[0].closed, 1);
    turn_until(loop, &ends[1].closed, 1);
    assert_str(buf_view(&ends[1].received), "hello world");
    assert_int_equal(ends[1].opened, 1);
    assert_int_equal(ends[1].eofs, 1);
    assert_int_equal(ends[0].err.code, ERR_OK);
    assert_int_equal(ends[1].err.code, ERR_OK); // it called stream_close() itself
    done_pair(loop, ends);
    loop_free(loop);
}

static void half_close_lets_the_answer_through(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct end ends[2];
    make_pair(loop, ends);
    ends[1].keep_open_at_eof = true;
    ends[0].keep_open_at_eof = true;
    stream_write(ends[0].stream, STR("request"));
    stream_write_eof(ends[0].stream);
    turn_until(loop, &ends[1].eofs, 1);
    stream_write(ends[1].stream, STR("answer"));
    stream_write_eof(ends[1].stream);
    turn_until(loop, &ends[0].closed, 1); // both directions ended: it closes itself
    turn_until(loop, &ends[1].closed, 1);
    assert_str(buf_view(&ends[0].received), "answer");
    assert_int_equal(ends[0].err.code, ERR_OK);
    done_pair(loop, ends);
    loop_free(loop);
}

static void already_read_and_handed_back_bytes_come_first(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct end ends[2] = {0};
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(write(fds[1], "DEF", 3), 3);
    ends[0].stream = stream_accept(loop, fds[0], NULL, STR("ABC"), &events, &ends[0]);
    ends[0].unread_once = 2;
    ends[1].stream = stream_accept(loop, fds[1], NULL, STR_EMPTY, &events, &ends[1]);
    turn_until_size(loop, &ends[0].received.size, 6);
    assert_str(buf_view(&ends[0].received), "ABCDEF");
    done_pair(loop, ends);
    loop_free(loop);
}

static void congestion_bounds_memory(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct end ends[2];
    make_pair(loop, ends);
    loop_turn(loop, 0);
    stream_read_stop(ends[1].stream);
    char block[10000];
    memset(block, 'x', sizeof(block));
    size_t total = 0;
    while (!stream_is_congested(ends[0].stream)) {
        stream_write(ends[0].stream, str_make(block, sizeof(block)));
        total += sizeof(block);
        assert_true(total < 8u * 1024 * 1024);
    }
    assert_true(stream_queued(ends[0].stream) <= STREAM_HIGH_WATER + sizeof(block));
    loop_turn(loop, 0);
    assert_int_equal(ends[0].drained, 0);
    stream_read_start(ends[1].stream);
    turn_until_size(loop, &ends[1].received.size, total);
    assert_int_equal(ends[0].drained, 1);
    assert_false(stream_is_congested(ends[0].stream));
    done_pair(loop, ends);
    loop_free(loop);
}

static void large_writes_need_no_copy(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct end ends[2];
    make_pair(loop, ends);
    char *block = mem_zalloc(STREAM_HIGH_WATER);
    stream_write(ends[0].stream, STR("a"));
    stream_write(ends[0].stream, str_make(block, 20000)); // goes out at once, behind the "a"
    assert_int_equal(stream_queued(ends[0].stream), 0);
    size_t total = 20001;
    for (int i = 0; i < 20; i++) {
        stream_write(ends[0].stream, str_make(block, STREAM_HIGH_WATER));
        total += STREAM_HIGH_WATER;
    }
    struct buf rest = {0};
    buf_append(&rest, "end", 3);
    stream_write_buf(ends[0].stream, &rest);
    assert_int_equal(rest.size, 0);
    buf_done(&rest);
    turn_until_size(loop, &ends[1].received.size, total + 3);
    assert_int_equal(ends[1].received.data[ends[1].received.start], 'a');
    assert_str(str_from(buf_view(&ends[1].received), total), "end");
    mem_free(block);
    done_pair(loop, ends);
    loop_free(loop);
}

static void closing_inside_callbacks(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct end ends[2];
    make_pair(loop, ends);
    ends[0].abort_in_open = true;
    ends[1].close_in_read = true;
    stream_write(ends[0].stream, STR("never sent"));
    turn_until(loop, &ends[0].closed, 1);
    turn_until(loop, &ends[1].closed, 1);
    assert_int_equal(ends[0].err.code, ERR_CLOSED);
    done_pair(loop, ends);

    make_pair(loop, ends);
    ends[1].close_in_read = true;
    stream_write(ends[0].stream, STR("x"));
    turn_until(loop, &ends[1].closed, 1);
    turn_until(loop, &ends[0].closed, 1);
    assert_str(buf_view(&ends[1].received), "x");
    done_pair(loop, ends);
    loop_free(loop);
}

static void a_peer_that_never_closes_is_left(void **state)
{
    (void)state;
    struct loop *loop = loop_new_fake(0);
    struct end ends[2];
    make_pair(loop, ends);
    ends[1].keep_open_at_eof = true;
    stream_close(ends[0].stream);
    loop_turn(loop, 0);
    loop_turn(loop, 0);
    loop_advance(loop, STREAM_LINGER_MS - 1);
    assert_int_equal(ends[0].closed, 0);
    loop_advance(loop, 1);
    assert_int_equal(ends[0].closed, 1);
    assert_int_equal(ends[0].err.code, ERR_OK);
    done_pair(loop, ends);

    // A peer that does not read keeps us flushing; that ends as well, and says so.
    make_pair(loop, ends);
    loop_turn(loop, 0);
    stream_read_stop(ends[1].stream);
    char block[4096] = {0};
    for (int i = 0; i < 1000; i++) {
        stream_write(ends[0].stream, str_make(block, sizeof(block)));
    }
    stream_close(ends[0].stream);
    loop_turn(loop, 0);
    loop_advance(loop, STREAM_LINGER_MS);
    assert_int_equal(ends[0].closed, 1);
    assert_int_equal(ends[0].err.code, ERR_TIMEOUT);
    done_pair(loop, ends);
    loop_free(loop);
}

// --- connecting ------------------------------------------------------------------------------------

struct door {
    struct acceptor acceptor;
    struct loop *loop;
    struct end *end;
};

static void on_accept(struct acceptor *acceptor, int fd, const struct sockaddr *peer, socklen_t peer_size)
{
    (void)peer;
    (void)peer_size;
    struct door *door = container_of(acceptor, struct door, acceptor);
    door->end->stream = stream_accept(door->loop, fd, NULL, STR_EMPTY, &events, door->end);
}

static void open_door(struct door *door, struct address *ret_address)
{
    assert_int_equal(address_parse(STR("127.0.0.1:0"), ret_address, NULL), ERR_OK);
    int fd = -1;
    assert_int_equal(address_listen(ret_address, NULL, &fd, NULL), ERR_OK);
    assert_true(address_local(fd, ret_address));
    acceptor_init(&door->acceptor, door->loop, on_accept);
    acceptor_start(&door->acceptor, fd);
}

static void tcp_connects_and_resets(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct end ends[2] = {0};
    struct door door = {.loop = loop, .end = &ends[1]};
    struct address address;
    open_door(&door, &address);
    struct address bind_to;
    assert_int_equal(address_parse(STR("127.0.0.6:0"), &bind_to, NULL), ERR_OK);
    struct stream_connect_options options = {.bind_to = &bind_to};
    ends[0].stream = stream_connect(loop, &address, &options, &events, &ends[0]);
    stream_write(ends[0].stream, STR("early")); // waits for the connection
    turn_until_size(loop, &ends[1].received.size, 5);
    assert_int_equal(ends[0].opened, 1);
    char text[ADDRESS_TEXT_SIZE];
    assert_str(str_of(address_format_ip(stream_peer(ends[1].stream), text)), "127.0.0.6");
    assert_true(address_equal(stream_peer(ends[0].stream), stream_local(ends[1].stream)));
    assert_true(address_equal(stream_local(ends[0].stream), stream_peer(ends[1].stream)));
    assert_true(stream_is_open(ends[0].stream));

    stream_abort(ends[1].stream);
    turn_until(loop, &ends[0].closed, 1);
    assert_int_equal(ends[0].err.code, ERR_CLOSED); // a reset, not an end
    assert_int_equal(ends[0].eofs, 0);
    acceptor_stop(&door.acceptor);
    done_pair(loop, ends);

    // Nobody listens there any more.
    ends[0] = (struct end){0};
    ends[0].stream = stream_connect(loop, &address, NULL, &events, &ends[0]);
    turn_until(loop, &ends[0].closed, 1);
    assert_int_equal(ends[0].err.code, ERR_UNREACHABLE);
    assert_non_null(strstr(ends[0].err.message, address_format(&address, text)));
    assert_int_equal(ends[0].opened, 0);
    loop_free(loop);
}

static void connecting_has_a_deadline(void **state)
{
    (void)state;
    struct loop *loop = loop_new_fake(0);
    struct address address;
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &address, NULL), ERR_OK);
    int fd = -1;
    assert_int_equal(address_listen(&address, &(struct listen_options){.backlog = 1}, &fd, NULL), ERR_OK);
    assert_true(address_local(fd, &address));
    // Nobody accepts: with the queue full, further connections get no answer.
    struct end ends[8] = {0};
    for (size_t i = 0; i < 8; i++) {
        ends[i].stream = stream_connect(loop, &address, &(struct stream_connect_options){.timeout_ms = 50},
                                        &events, &ends[i]);
    }
    for (int i = 0; i < 20; i++) {
        loop_turn(loop, 1);
    }
    loop_advance(loop, 50);
    assert_int_equal(ends[7].closed, 1);
    assert_int_equal(ends[7].err.code, ERR_TIMEOUT);
    for (size_t i = 0; i < 8; i++) {
        if (ends[i].stream != NULL) {
            stream_abort(ends[i].stream);
        }
    }
    loop_turn(loop, 0);
    (void)close(fd);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_parse_and_print),
        cmocka_unit_test(addresses_in_use_are_named),
        cmocka_unit_test(stale_unix_sockets_are_replaced),
        cmocka_unit_test(bytes_and_the_end_arrive),
        cmocka_unit_test(half_close_lets_the_answer_through),
        cmocka_unit_test(already_read_and_handed_back_bytes_come_first),
        cmocka_unit_test(congestion_bounds_memory),
        cmocka_unit_test(large_writes_need_no_copy),
        cmocka_unit_test(closing_inside_callbacks),
        cmocka_unit_test(a_peer_that_never_closes_is_left),
        cmocka_unit_test(tcp_connects_and_resets),
        cmocka_unit_test(connecting_has_a_deadline),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
