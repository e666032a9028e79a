// SPDX-License-Identifier: Apache-2.0
//
// Peers that are slow, silent, greedy or hostile. Each costs bounded memory and time, and another
// client of the same server is answered meanwhile. The clock is the test's.
#include "test.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/memory.h"
#include "loop/socket.h"
#include "net/http.h"

#define HEAD_MS 10000u
#define BODY_MS 20000u
#define IDLE_MS 60000u
#define TAKEN_MAX (8u * 1024 * 1024) // what a server may have taken from a peer that reads nothing

struct site {
    struct loop *loop;
    struct http_server *server;
    struct http_exchange *held;
    bool hold_paused;
    unsigned open;
    unsigned request_count;
    enum err close_code;
};

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)owner;
    (void)bytes;
    if (end) {
        http_respond(exchange, 200, STR_EMPTY, STR("taken"));
    }
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    struct site *site = owner;
    site->open--;
    site->close_code = err->code;
    site->held = site->held == exchange ? NULL : site->held;
}

static const struct http_events events = {.on_data = on_data, .on_close = on_close};

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct site *site = owner;
    site->request_count++;
    site->open++;
    http_set_events(exchange, &events, site);
    if (str_equal(head->path, STR("/hold"))) {
        site->held = exchange;
        if (site->hold_paused) {
            http_pause(exchange);
        }
    } else if (str_equal(head->path, STR("/early"))) {
        http_respond(exchange, 200, STR_EMPTY, STR("early"));
    } else if (end) {
        http_respond(exchange, 200, STR_EMPTY, STR("hello"));
    }
}

static void site_open(struct site *site)
{
    *site = (struct site){.loop = loop_new_fake(1000)};
    const struct http_server_options options = {
        .http2 = true,
        .limits = {.head_timeout_ms = HEAD_MS, .body_timeout_ms = BODY_MS, .idle_timeout_ms = IDLE_MS},
    };
    site->server = http_server_new(site->loop, &options, on_request, site);
}

static void turns(struct loop *loop, int count)
{
    for (int i = 0; i < count; i++) {
        loop_turn(loop, 0);
        loop_advance(loop, 0);
    }
}

static void site_close(struct site *site)
{
    http_server_free(site->server);
    turns(site->loop, 3);
    assert_int_equal(site->open, 0);
    loop_free(site->loop);
}

static int raw_connect(struct site *site)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    static const struct stream_events no_events;
    http_server_adopt(site->server, stream_accept(site->loop, fds[0], NULL, STR_EMPTY, &no_events, NULL));
    return fds[1];
}

// Reads what is there; true when the server has closed.
static bool raw_read(struct site *site, int fd, struct buf *out)
{
    for (int quiet = 0; quiet < 4;) {
        turns(site->loop, 1);
        ssize_t got = read(fd, buf_reserve(out, 65536), 65536);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            return true;
        }
        quiet = got > 0 ? 0 : quiet + 1;
        buf_commit(out, got > 0 ? (size_t)got : 0);
    }
    return false;
}

static void raw_write(struct site *site, int fd, struct str text)
{
    while (text.size > 0) {
        ssize_t written = send(fd, text.data, text.size, MSG_NOSIGNAL);
        if (written < 0 && errno != EAGAIN) {
            return;
        }
        text = str_from(text, written < 0 ? 0 : (size_t)written);
        turns(site->loop, 1);
    }
}

static void assert_served(struct site *site)
{
    int fd = raw_connect(site);
    struct buf out = {0};
    raw_write(site, fd, STR("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_false(raw_read(site, fd, &out));
    assert_true(str_starts_with(buf_view(&out), STR("HTTP/1.1 200 OK\r\n")));
    assert_true(str_ends_with(buf_view(&out), STR("hello")));
    buf_done(&out);
    (void)close(fd);
}

// --- slow senders ----------------------------------------------------------------------------------

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" "\0\0\0\4\0\0\0\0\0"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define H2_POST "\0\0\6\1\4\0\0\0\1\x83\x84\x86\x41\1a"    // END_HEADERS only: a body follows
#define TEXT(text) {text, sizeof(text) - 1}

static const struct {
    const char *name;
    struct str send;  // at once
    struct str drip;  // one byte of it, over and over
    uint64_t want_ms; // closed then, and not before
    const char *want; // is in what it says at last
} slow_rows[] = {
    {"no byte", TEXT(""), TEXT(""), IDLE_MS, ""},
    {"idle between requests", TEXT("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), TEXT(""), IDLE_MS, "hello"},
    {"head stops", TEXT("GET / HTTP/1.1\r\nHo"), TEXT(""), HEAD_MS, "HTTP/1.1 408 "},
    {"head drips", TEXT("GET / HTTP/1.1\r\nX: "), TEXT("x"), HEAD_MS, "HTTP/1.1 408 "},
    {"second head stops", TEXT("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET"), TEXT(""), HEAD_MS, "HTTP/1.1 408 "},
    {"body stops", TEXT(POST "Content-Length: 9\r\n\r\nabc"), TEXT(""), BODY_MS, "HTTP/1.1 408 "},
    {"chunk size stops", TEXT(POST "Transfer-Encoding: chunked\r\n\r\n1"), TEXT(""), BODY_MS, "HTTP/1.1 408 "},
    {"chunk stops", TEXT(POST "Transfer-Encoding: chunked\r\n\r\n5\r\nab"), TEXT(""), BODY_MS, "HTTP/1.1 408 "},
    {"trailers stop", TEXT(POST "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y"), TEXT(""), BODY_MS, "HTTP/1.1 408 "},
    {"body behind its answer drips", TEXT("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\na"), TEXT("a"), HEAD_MS, "early"},
    {"preface stops", TEXT("PRI * HTTP/2.0\r\n"), TEXT(""), HEAD_MS, ""},
    {"HTTP/2, no byte", TEXT(PREFACE), TEXT(""), IDLE_MS, ""},
    {"HTTP/2, head without end", TEXT(PREFACE "\0\0\1\1\1\0\0\0\1\x82"), TEXT(""), HEAD_MS, ""},
    {"HTTP/2, head frame drips", TEXT(PREFACE "\0\0\xff\1\5\0\0\0\1\x82\x84\x86\x41\1a"), TEXT("\x90"), HEAD_MS, ""},
    {"HTTP/2, body stops", TEXT(PREFACE H2_POST), TEXT(""), BODY_MS + IDLE_MS, ""},
};

static void slow_senders(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(slow_rows); i++) {
        struct site site;
        site_open(&site);
        int fd = raw_connect(&site);
        struct buf out = {0};
        bool closed = false;
        raw_write(&site, fd, slow_rows[i].send);
        uint64_t begun_ms = loop_now_ms(site.loop);
        while (!closed && loop_now_ms(site.loop) < begun_ms + 2 * slow_rows[i].want_ms) {
            closed = raw_read(&site, fd, &out);
            raw_write(&site, fd, slow_rows[i].drip);
            loop_advance(site.loop, 500);
        }
        uint64_t took_ms = loop_now_ms(site.loop) - begun_ms;
        check_row(slow_rows[i].name, closed, "still open");
        check_row(slow_rows[i].name, took_ms >= slow_rows[i].want_ms && took_ms <= slow_rows[i].want_ms + 2000,
                  "closed after %llu ms", (unsigned long long)took_ms);
        check_row(slow_rows[i].name, str_find(buf_view(&out), str_of(slow_rows[i].want)) >= 0, "got %.*s",
                  STR_ARG(buf_view(&out)));
        assert_int_equal(site.open, 0);
        assert_served(&site);
        buf_done(&out);
        (void)close(fd);
        site_close(&site);
    }
}

// A body that is held back by us is not slow.
static void paused_bodies_have_time(void **state)
{
    (void)state;
    static const struct str rows[] = {
        TEXT("POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab"),
        TEXT(PREFACE "\0\0\x0c\1\4\0\0\0\1\x83\x04\5/hold\x86\x41\1a" "\0\0\2\0\0\0\0\0\1ab"),
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct site site;
        site_open(&site);
        site.hold_paused = true;
        int fd = raw_connect(&site);
        struct buf out = {0};
        raw_write(&site, fd, rows[i]);
        assert_non_null(site.held);
        loop_advance(site.loop, 10 * BODY_MS);
        assert_false(raw_read(&site, fd, &out));
        assert_non_null(site.held);
        http_resume(site.held);
        assert_false(raw_read(&site, fd, &out));
        for (int step = 0; step < 5; step++) { // the timer looks again at its own pace
            loop_advance(site.loop, BODY_MS / 2);
            (void)raw_read(&site, fd, &out);
        }
        assert_null(site.held);
        assert_int_equal(site.close_code, ERR_TIMEOUT);
        buf_done(&out);
        (void)close(fd);
        site_close(&site);
    }
}

// --- peers that do not read ------------------------------------------------------------------------

static void make_h2_requests(struct buf *out, uint32_t first, unsigned count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = first + 2 * i;
        const char head[9] = {0, 0, 6, 1, 5, (char)(id >> 24), (char)(id >> 16), (char)(id >> 8), (char)id};
        buf_append(out, head, sizeof(head));
        buf_append_str(out, STR("\x82\x84\x86\x41\x01" "a"));
    }
}

static const struct {
    const char *name;
    struct str begin;
    struct str repeat; // data NULL: requests on ever new streams
} greedy_rows[] = {
    {"pipelined requests", TEXT(""), TEXT("GET / HTTP/1.1\r\nHost: a\r\n\r\n")},
    {"pipelined uploads", TEXT(""), TEXT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na")},
    {"PING", TEXT(PREFACE), TEXT("\0\0\x08\6\0\0\0\0\0abcdefgh")},
    {"SETTINGS", TEXT(PREFACE), TEXT("\0\0\0\4\0\0\0\0\0")},
    {"requests", TEXT(PREFACE), {NULL, 0}},
    {"PRIORITY on one idle stream", TEXT(PREFACE), TEXT("\0\0\5\2\0\0\0\0\1\0\0\0\0\1")},
};

// Sends without reading until nothing more is taken, the server has closed, or far too much was taken.
static size_t send_greedily(struct site *site, int fd, size_t row)
{
    struct buf text = {0};
    size_t taken = 0;
    uint32_t stream_id = 1;
    buf_append_str(&text, greedy_rows[row].begin);
    for (int stuck = 0; stuck < 5 && taken < TAKEN_MAX;) {
        while (text.size < 64u * 1024) {
            if (greedy_rows[row].repeat.data != NULL) {
                buf_append_str(&text, greedy_rows[row].repeat);
            } else {
                make_h2_requests(&text, stream_id, 100);
                stream_id += 200;
            }
        }
        ssize_t written = send(fd, text.data + text.start, text.size, MSG_NOSIGNAL);
        if (written < 0 && errno != EAGAIN) {
            break;
        }
        stuck = written > 0 ? 0 : stuck + 1;
        taken += written > 0 ? (size_t)written : 0;
        buf_consume(&text, written > 0 ? (size_t)written : 0);
        turns(site->loop, 2);
        loop_advance(site->loop, 100); // a connection given up still drops input for a while
    }
    buf_done(&text);
    return taken;
}

static void peers_that_never_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(greedy_rows); i++) {
        struct site site;
        site_open(&site);
        int fd = raw_connect(&site);
        size_t taken = send_greedily(&site, fd, i);
        bool harmless = str_starts_with(str_of(greedy_rows[i].name), STR("PRIORITY")); // costs nothing to keep
        check_row(greedy_rows[i].name, harmless || taken < TAKEN_MAX, "took %zu bytes", taken);
        check_row(greedy_rows[i].name, site.request_count < 40000, "%u requests", site.request_count);
        assert_served(&site);
        (void)close(fd);
        turns(site.loop, 4);
        site_close(&site);
    }
}

// The requests that were held back come when the answers are read at last: none is lost, none twice.
static void a_late_reader_gets_all(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    int fd = raw_connect(&site);
    enum { REQUESTS = 30000 };
    const struct str request = STR("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    struct buf text = {0};
    struct buf out = {0};
    for (int i = 0; i < REQUESTS; i++) {
        buf_append_str(&text, request);
    }
    for (int turn = 0; turn < 200 && text.size > 0; turn++) { // as far as it goes without reading
        ssize_t written = send(fd, text.data + text.start, text.size, MSG_NOSIGNAL);
        buf_consume(&text, written > 0 ? (size_t)written : 0);
        turns(site.loop, 1);
    }
    assert_true(text.size > 0 || site.request_count < REQUESTS);
    for (int turn = 0; turn < 100000 && site.request_count < REQUESTS; turn++) {
        ssize_t written = text.size > 0 ? send(fd, text.data + text.start, text.size, MSG_NOSIGNAL) : 0;
        buf_consume(&text, written > 0 ? (size_t)written : 0);
        ssize_t got = read(fd, buf_reserve(&out, 65536), 65536);
        buf_commit(&out, got > 0 ? (size_t)got : 0);
        turns(site.loop, 1);
    }
    assert_false(raw_read(&site, fd, &out));
    const struct str answer = STR("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    assert_int_equal(site.request_count, REQUESTS);
    assert_int_equal(out.size, REQUESTS * answer.size);
    buf_done(&text);
    buf_done(&out);
    (void)close(fd);
    site_close(&site);
}

// --- floods ----------------------------------------------------------------------------------------

static int last_goaway(struct str bytes)
{
    int code = -1;
    while (bytes.size >= 17) {
        const unsigned char *head = (const unsigned char *)bytes.data;
        size_t size = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        code = head[3] == 7 ? head[9 + 7] : code;
        bytes = str_from(bytes, 9 + size < bytes.size ? 9 + size : bytes.size);
    }
    return code;
}

static void repeat(struct buf *out, struct str piece, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        buf_append_str(out, piece);
    }
}

static void add_empty_continuations(struct buf *out)
{
    buf_append_str(out, STR("\0\0\6\1\1\0\0\0\1\x82\x84\x86\x41\1a"));
    repeat(out, STR("\0\0\0\x09\0\0\0\0\1"), 100000);
}

static void add_full_continuations(struct buf *out)
{
    buf_append_str(out, STR("\0\0\6\1\1\0\0\0\1\x82\x84\x86\x41\1a"));
    for (int frame = 0; frame < 500; frame++) {
        buf_append_str(out, STR("\0\x20\0\x09\0\0\0\0\1"));
        repeat(out, STR("\x40\1a\1b"), 0x2000 / 5);
        repeat(out, STR("\x82"), 0x2000 % 5);
    }
}

// One large entry of the dynamic table, named again and again by one byte each.
static void add_compression_bomb(struct buf *out)
{
    buf_append_str(out, STR("\0\x0f\xac\1\4\0\0\0\1\x82\x84\x86\x41\1a" "\x40\1x\x7f\x80\x1e"));
    repeat(out, STR("v"), 0x0fac - 6 - 6);
    for (uint8_t id = 3; id < 9; id = (uint8_t)(id + 2)) {
        const char head[9] = {0, 0x40, 0, 1, 4, 0, 0, 0, (char)id};
        buf_append(out, head, sizeof(head));
        repeat(out, STR("\xbe"), 0x4000);
    }
}

static void add_resets(struct buf *out)
{
    for (uint32_t i = 0; i < 5000; i++) {
        make_h2_requests(out, 1 + 2 * i, 1);
        const char id[4] = {0, 0, (char)((1 + 2 * i) >> 8), (char)(1 + 2 * i)};
        buf_append_str(out, STR("\0\0\4\3\0"));
        buf_append(out, id, 4);
        buf_append_str(out, STR("\0\0\0\x08"));
    }
}

// Resets that the server is made to send: every stream begins and at once breaks the rules.
static void add_resets_provoked(struct buf *out)
{
    for (uint32_t i = 0; i < 20000; i++) {
        make_h2_requests(out, 1 + 2 * i, 1);
        const char id[4] = {0, (char)((1 + 2 * i) >> 16), (char)((1 + 2 * i) >> 8), (char)(1 + 2 * i)};
        buf_append_str(out, STR("\0\0\4\x08\0"));
        buf_append(out, id, 4);
        buf_append_str(out, STR("\0\0\0\0")); // an increment of 0
    }
}

static const struct {
    const char *name;
    void (*add)(struct buf *out);
    unsigned requests_max; // that reach the owner
} flood_rows[] = {
    {"empty CONTINUATION frames", add_empty_continuations, 0},
    {"full CONTINUATION frames", add_full_continuations, 0},
    {"compression bomb", add_compression_bomb, 3},
    {"rapid reset", add_resets, 500},
    {"provoked resets", add_resets_provoked, 1500},
};

static void floods(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(flood_rows); i++) {
        struct site site;
        site_open(&site);
        int fd = raw_connect(&site);
        struct buf text = {0};
        struct buf out = {0};
        buf_append_str(&text, (struct str)TEXT(PREFACE));
        flood_rows[i].add(&text);
        bool closed = false;
        while (!closed && text.size > 0) {
            ssize_t written = send(fd, text.data + text.start, text.size, MSG_NOSIGNAL);
            buf_consume(&text, written > 0 ? (size_t)written : 0);
            closed = raw_read(&site, fd, &out) || (written < 0 && errno != EAGAIN);
        }
        (void)raw_read(&site, fd, &out);
        check_row(flood_rows[i].name, closed, "still open, %u requests", site.request_count);
        check_row(flood_rows[i].name, last_goaway(buf_view(&out)) > 0, "GOAWAY %d", last_goaway(buf_view(&out)));
        check_row(flood_rows[i].name, site.request_count <= flood_rows[i].requests_max, "%u requests",
                  site.request_count);
        assert_served(&site);
        buf_done(&text);
        buf_done(&out);
        (void)close(fd);
        turns(site.loop, 4);
        site_close(&site);
    }
}

// --- resets and ends -------------------------------------------------------------------------------

static const struct {
    const char *name;
    struct str send;
    bool half;        // the peer's FIN only, else all of it goes away
    const char *want; // answered all the same
} leaving_rows[] = {
    {"before anything", TEXT(""), false, ""},
    {"inside a head", TEXT("GET / HT"), false, ""},
    {"inside a body", TEXT(POST "Content-Length: 9\r\n\r\nabc"), false, ""},
    {"inside a chunk", TEXT(POST "Transfer-Encoding: chunked\r\n\r\n9\r\nab"), false, ""},
    {"before the answer", TEXT("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"), false, ""},
    {"HTTP/2, inside a frame", TEXT(PREFACE "\0\0\x22\1\5\0\0\0\1\x82"), false, ""},
    {"HTTP/2, inside a body", TEXT(PREFACE H2_POST "\0\0\5\0\1\0\0\0\1ab"), false, ""},
    {"half-close behind a request", TEXT("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), true, "hello"},
    {"half-close inside a head", TEXT("GET / HT"), true, ""},
    {"half-close inside a body", TEXT(POST "Content-Length: 9\r\n\r\nabc"), true, ""},
    {"half-close behind a pipeline", TEXT("GET / HTTP/1.1\r\nHost: a\r\n\r\n" POST "Content-Length: 1\r\n\r\na"), true, "taken"},
};

static void peers_that_leave(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(leaving_rows); i++) {
        struct site site;
        site_open(&site);
        int fd = raw_connect(&site);
        struct buf out = {0};
        for (size_t at = 0; at < leaving_rows[i].send.size; at++) { // one byte at a time
            raw_write(&site, fd, str_sub(leaving_rows[i].send, at, 1));
        }
        if (leaving_rows[i].half) {
            assert_int_equal(shutdown(fd, SHUT_WR), 0);
            check_row(leaving_rows[i].name, raw_read(&site, fd, &out), "still open");
            check_row(leaving_rows[i].name, str_find(buf_view(&out), str_of(leaving_rows[i].want)) >= 0, "got %.*s",
                      STR_ARG(buf_view(&out)));
        }
        (void)close(fd);
        turns(site.loop, 4);
        check_row(leaving_rows[i].name, site.open == 0 && site.held == NULL, "%u still open", site.open);
        assert_served(&site);
        buf_done(&out);
        site_close(&site);
    }
}

// --- descriptors run out ---------------------------------------------------------------------------

static int connect_to(const struct address *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &address->any, address->size), 0);
    return fd;
}

static void accepting_recovers(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    struct address address;
    int listening = -1;
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &address, NULL), ERR_OK);
    assert_int_equal(address_listen(&address, &(struct listen_options){0}, &listening, NULL), ERR_OK);
    assert_true(address_local(listening, &address));
    http_server_listen(site.server, listening, NULL);
    int clients[3];
    for (size_t i = 0; i < array_count(clients); i++) {
        clients[i] = connect_to(&address); // waits in the backlog
    }
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = (rlim_t)clients[2] + 1, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    turns(site.loop, 20);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    turns(site.loop, 5);
    assert_int_equal(site.request_count, 0);
    loop_advance(site.loop, ACCEPTOR_PAUSE_MS);
    for (size_t i = 0; i < array_count(clients); i++) {
        assert_int_equal(write(clients[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27), 27);
    }
    for (int i = 0; i < 1000 && site.request_count < array_count(clients); i++) {
        turns(site.loop, 1);
    }
    assert_int_equal(site.request_count, array_count(clients));
    for (size_t i = 0; i < array_count(clients); i++) {
        (void)close(clients[i]);
    }
    turns(site.loop, 5);
    site_close(&site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_senders),
        cmocka_unit_test(paused_bodies_have_time),
        cmocka_unit_test(peers_that_never_read),
        cmocka_unit_test(a_late_reader_gets_all),
        cmocka_unit_test(floods),
        cmocka_unit_test(peers_that_leave),
        cmocka_unit_test(accepting_recovers),
    };
    return cmocka_run_group_tests_name("http_faults", tests, NULL, NULL);
}
