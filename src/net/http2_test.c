// SPDX-License-Identifier: Apache-2.0
//
// What is particular to HTTP/2 and to pools: guards seen by raw frames, GOAWAY, ALPN, limits of a pool.
#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/memory.h"
#include "codec/x509/x509.h"
#include "net/http.h"

struct site {
    struct loop *loop;
    struct http_server *server;
    struct address address;
    struct http_exchange *held;
    unsigned request_count;
    unsigned close_count;
    unsigned opened_count; // the client's connections
    unsigned shut_count;
    unsigned tag_closed_count;
    bool drained;
    int version; // of the last request
    bool is_tls;
};

static void site_on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)owner;
    (void)exchange;
    (void)bytes;
    (void)end;
}

static void site_on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)err;
    struct site *site = owner;
    site->close_count++;
    if (site->held == exchange) {
        site->held = NULL;
    }
}

static const struct http_events site_events = {.on_data = site_on_data, .on_close = site_on_close};

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    (void)end;
    struct site *site = owner;
    site->request_count++;
    site->version = http_version(exchange);
    site->is_tls = http_tls(exchange) != NULL && str_equal(head->scheme, STR("https"));
    http_set_events(exchange, &site_events, site);
    if (str_equal(head->path, STR("/hold"))) {
        site->held = exchange;
    } else if (str_equal(head->path, STR("/cookie"))) {
        http_respond(exchange, 200, STR_EMPTY, http_head_get(head, STR("cookie")));
    } else {
        http_respond(exchange, 200, STR_EMPTY, STR("hello"));
    }
}

static void site_open(struct site *site, const struct http_limits *limits, struct tls_context *tls)
{
    *site = (struct site){.loop = loop_new()};
    struct http_server_options options = {.http2 = true};
    if (limits != NULL) {
        options.limits = *limits;
    }
    site->server = http_server_new(site->loop, &options, on_request, site);
    struct address any;
    int fd = -1;
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &any, NULL), ERR_OK);
    assert_int_equal(address_listen(&any, &(struct listen_options){0}, &fd, NULL), ERR_OK);
    assert_true(address_local(fd, &site->address));
    http_server_listen(site->server, fd, tls);
}

static void turns(struct loop *loop, int count)
{
    for (int i = 0; i < count; i++) {
        loop_turn(loop, 1);
    }
}

static void site_close(struct site *site)
{
    http_server_free(site->server);
    turns(site->loop, 3);
    loop_free(site->loop);
}

// --- calls -----------------------------------------------------------------------------------------

struct call {
    struct http_exchange *exchange;
    int status;
    int version;
    struct buf body;
    bool closed;
    enum err code;
};

static void call_on_head(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    (void)end;
    struct call *call = owner;
    call->status = head->status;
    call->version = http_version(exchange);
}

static void call_on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)exchange;
    (void)end;
    buf_append_str(&((struct call *)owner)->body, bytes);
}

static void call_on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    struct call *call = owner;
    call->closed = true;
    call->code = err->code;
}

static const struct http_events call_events = {
    .on_head = call_on_head,
    .on_data = call_on_data,
    .on_close = call_on_close,
};

static void call_start(struct call *call, struct http_client *client, const char *path)
{
    *call = (struct call){0};
    struct http_head head;
    http_head_init_request(&head, STR("GET"), STR_EMPTY, STR("a"), str_of(path));
    call->exchange = http_request(client, &head, true, &call_events, call);
}

static void call_wait(struct call *call, struct loop *loop)
{
    for (int i = 0; i < 5000 && !call->closed; i++) {
        loop_turn(loop, 100);
    }
    assert_true(call->closed);
}

static void wait_held(struct site *site)
{
    for (int i = 0; i < 1000 && site->held == NULL; i++) {
        loop_turn(site->loop, 10);
    }
    assert_non_null(site->held);
}

// --- raw frames ------------------------------------------------------------------------------------

static void add_frame(struct buf *out, uint8_t type, uint8_t flags, uint32_t stream, struct str payload)
{
    const char head[9] = {(char)(payload.size >> 16), (char)(payload.size >> 8), (char)payload.size, (char)type, (char)flags,
                          (char)(stream >> 24), (char)(stream >> 16), (char)(stream >> 8), (char)stream};
    buf_append(out, head, sizeof(head));
    buf_append_str(out, payload);
}

#define FRAME_HEADERS 1
#define FRAME_RST_STREAM 3
#define FRAME_SETTINGS 4
#define FRAME_GOAWAY 7
#define END_OF_REQUEST 5 // END_STREAM, END_HEADERS
#define GET_HEADERS STR("\x82\x84\x86\x41\x01" "a")

static int raw_connect(struct site *site)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    static const struct stream_events no_events;
    http_server_adopt(site->server, stream_accept(site->loop, fds[0], NULL, STR_EMPTY, &no_events, NULL));
    return fds[1];
}

static void raw_begin(struct buf *out)
{
    buf_append_str(out, STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    add_frame(out, FRAME_SETTINGS, 0, 0, STR_EMPTY);
}

// Sends all of text while reading; true when the server closed.
static bool raw_exchange(struct site *site, int fd, struct str text, struct buf *out)
{
    for (int quiet = 0; quiet < 5;) {
        ssize_t written = text.size > 0 ? write(fd, text.data, text.size) : 0;
        if (written > 0) {
            text = str_from(text, (size_t)written);
        }
        loop_turn(site->loop, 0);
        ssize_t got = read(fd, buf_reserve(out, 65536), 65536);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            return true;
        }
        if (got > 0) {
            buf_commit(out, (size_t)got);
        }
        quiet = written > 0 || got > 0 ? 0 : quiet + 1;
    }
    return false;
}

// The error code of the last GOAWAY in bytes, or -1.
static int find_goaway(struct str bytes)
{
    int code = -1;
    while (bytes.size >= 9) {
        const unsigned char *head = (const unsigned char *)bytes.data;
        size_t size = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        if (bytes.size < 9 + size) {
            break;
        }
        if (head[3] == FRAME_GOAWAY && size >= 8) {
            code = head[9 + 7];
        }
        bytes = str_from(bytes, 9 + size);
    }
    return code;
}

static void rapid_reset(void **state)
{
    (void)state;
    struct site site;
    site_open(&site, NULL, NULL);
    int fd = raw_connect(&site);
    struct buf text = {0};
    struct buf out = {0};
    raw_begin(&text);
    for (uint32_t i = 0; i < 1000; i++) {
        add_frame(&text, FRAME_HEADERS, END_OF_REQUEST, 1 + 2 * i, GET_HEADERS);
        add_frame(&text, FRAME_RST_STREAM, 0, 1 + 2 * i, STR("\0\0\0\x08"));
    }
    assert_true(raw_exchange(&site, fd, buf_view(&text), &out));
    assert_int_equal(find_goaway(buf_view(&out)), 11); // ENHANCE_YOUR_CALM
    assert_true(site.request_count < 500);
    turns(site.loop, 2);
    assert_int_equal(site.close_count, site.request_count);
    buf_done(&text);
    buf_done(&out);
    (void)close(fd);
    site_close(&site);
}

static const struct {
    const char *name;
    const char *frames; // behind preface and SETTINGS
    size_t size;
    int want_goaway; // error code; -1: none
} frame_rows[] = {
#define FRAMES(text) text, sizeof(text) - 1
    {"request", FRAMES("\0\0\6\1\5\0\0\0\1\x82\x84\x86\x41\1a"), -1},
    {"even stream", FRAMES("\0\0\6\1\5\0\0\0\2\x82\x84\x86\x41\1a"), 1},
    {"falling stream, never begun", FRAMES("\0\0\6\1\5\0\0\0\5\x82\x84\x86\x41\1a" "\0\0\6\1\5\0\0\0\3\x82\x84\x86\x41\1a"), 1},
    {"streams 1, 5, 7", FRAMES("\0\0\6\1\5\0\0\0\1\x82\x84\x86\x41\1a" "\0\0\6\1\5\0\0\0\5\x82\x84\x86\x41\1a"
      "\0\0\6\1\5\0\0\0\7\x82\x84\x86\x41\1a"), -1},
    {"DATA on stream 0", FRAMES("\0\0\1\0\0\0\0\0\0a"), 1},
    {"DATA on idle stream", FRAMES("\0\0\1\0\0\0\0\0\1a"), 1},
    {"bad HPACK index", FRAMES("\0\0\1\1\5\0\0\0\1\xff"), 9},
    {"SETTINGS of wrong size", FRAMES("\0\0\5\4\0\0\0\0\0abcde"), 6},
    {"WINDOW_UPDATE of 0", FRAMES("\0\0\4\x08\0\0\0\0\0\0\0\0\0"), 1},
    {"PUSH_PROMISE from a client", FRAMES("\0\0\4\5\4\0\0\0\1\0\0\0\2"), 1},
    {"CONTINUATION alone", FRAMES("\0\0\1\x09\4\0\0\0\1\x82"), 1},
    {"frame too large", FRAMES("\1\0\0\0\0\0\0\0\1"), 6},
};

static void raw_frames(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(frame_rows); i++) {
        struct site site;
        site_open(&site, NULL, NULL);
        int fd = raw_connect(&site);
        struct buf text = {0};
        struct buf out = {0};
        raw_begin(&text);
        buf_append(&text, frame_rows[i].frames, frame_rows[i].size);
        bool closed = raw_exchange(&site, fd, buf_view(&text), &out);
        int goaway = find_goaway(buf_view(&out));
        check_row(frame_rows[i].name, goaway == frame_rows[i].want_goaway, "GOAWAY %d", goaway);
        check_row(frame_rows[i].name, closed == (frame_rows[i].want_goaway >= 0), "closed %d", closed);
        buf_done(&text);
        buf_done(&out);
        (void)close(fd);
        site_close(&site);
    }
}

// What is neither protocol gets no answer that it could not read.
static void wrong_prefaces(void **state)
{
    (void)state;
    static const struct str rows[] = {STR("INVALID CONNECTION PREFACE\r\n\r\n"), STR("PRI * SPDY/3\r\n\r\nSM\r\n\r\n")};
    for (size_t i = 0; i < array_count(rows); i++) {
        struct site site;
        site_open(&site, NULL, NULL);
        int fd = raw_connect(&site);
        struct buf out = {0};
        assert_true(raw_exchange(&site, fd, rows[i], &out));
        assert_int_equal(out.size, 0);
        buf_done(&out);
        (void)close(fd);
        site_close(&site);
    }
}

// --- heads -----------------------------------------------------------------------------------------

static void large_head_and_cookies(void **state)
{
    (void)state;
    static const char filler[3000];
    char value[sizeof(filler)];
    memset(value, 'x', sizeof(value));
    for (int version = 1; version <= 2; version++) {
        struct site site;
        const struct http_limits limits = {.head_bytes = 2048};
        site_open(&site, &limits, NULL);
        const struct http_client_options options = {
            .address = site.address,
            .protocol = version == 2 ? HTTP_PROTOCOL_2 : HTTP_PROTOCOL_1,
        };
        struct http_client *client = http_client_new(site.loop, &options);
        struct call call = {0};
        struct http_head head;
        http_head_init_request(&head, STR("GET"), STR("http"), STR("a"), STR("/"));
        http_head_add(&head, STR("x-large"), str_make(value, sizeof(value)));
        (void)http_request(client, &head, true, &call_events, &call);
        call_wait(&call, site.loop);
        assert_int_equal(call.status, 431);
        assert_int_equal(site.request_count, 0);
        buf_done(&call.body);
        if (version == 2) {
            call = (struct call){0};
            http_head_init_request(&head, STR("GET"), STR("http"), STR("a"), STR("/cookie"));
            http_head_add(&head, STR("cookie"), STR("a=1"));
            http_head_add(&head, STR("connection"), STR("keep-alive"));
            http_head_add(&head, STR("cookie"), STR("b=2"));
            (void)http_request(client, &head, true, &call_events, &call);
            call_wait(&call, site.loop);
            assert_str(buf_view(&call.body), "a=1; b=2");
            buf_done(&call.body);
        }
        http_client_free(client);
        site_close(&site);
    }
}

// --- going away ------------------------------------------------------------------------------------

static void on_drain_done(void *owner)
{
    ((struct site *)owner)->drained = true;
}

static void drain_with_goaway(void **state)
{
    (void)state;
    struct site site;
    site_open(&site, NULL, NULL);
    const struct http_client_options options = {.address = site.address, .protocol = HTTP_PROTOCOL_2};
    struct http_client *client = http_client_new(site.loop, &options);
    struct call held;
    struct call late;
    call_start(&held, client, "/hold");
    wait_held(&site);
    http_server_drain(site.server, 5000, on_drain_done, &site);
    turns(site.loop, 5);
    call_start(&late, client, "/"); // GOAWAY was announced: it goes to a new connection, which nobody takes
    call_wait(&late, site.loop);
    assert_int_equal(late.code, ERR_UNREACHABLE);
    assert_false(site.drained);
    http_respond(site.held, 200, STR_EMPTY, STR("done"));
    call_wait(&held, site.loop);
    assert_int_equal(held.code, ERR_OK);
    assert_str(buf_view(&held.body), "done");
    for (int i = 0; i < 200 && !site.drained; i++) {
        loop_turn(site.loop, 20);
    }
    assert_true(site.drained);
    buf_done(&held.body);
    http_client_free(client);
    site_close(&site);
}

static void drain_deadline(void **state)
{
    (void)state;
    for (int version = 1; version <= 2; version++) {
        struct site site;
        site_open(&site, NULL, NULL);
        const struct http_client_options options = {
            .address = site.address,
            .protocol = version == 2 ? HTTP_PROTOCOL_2 : HTTP_PROTOCOL_1,
        };
        struct http_client *client = http_client_new(site.loop, &options);
        struct call held;
        call_start(&held, client, "/hold");
        wait_held(&site);
        http_server_drain(site.server, 30, on_drain_done, &site);
        call_wait(&held, site.loop);
        assert_int_equal(held.code, ERR_CLOSED);
        turns(site.loop, 10);
        assert_true(site.drained);
        http_client_free(client);
        site_close(&site);
    }
}

// --- pools -----------------------------------------------------------------------------------------

static void on_connection(void *owner, bool opened, const struct error *err)
{
    struct site *site = owner;
    assert_null(err);
    site->opened_count += opened ? 1 : 0;
    site->shut_count += opened ? 0 : 1;
}

static int accept_one(struct loop *loop, int listener)
{
    char bytes[512];
    int fd = -1;
    for (int i = 0; i < 1000 && fd < 0; i++) {
        loop_turn(loop, 10);
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    assert_true(fd >= 0);
    for (int i = 0; i < 1000 && read(fd, bytes, sizeof(bytes)) <= 0; i++) {
        loop_turn(loop, 10);
    }
    return fd;
}

static void raw_answer(int fd, struct str frames)
{
    assert_int_equal(write(fd, frames.data, frames.size), frames.size);
}

#define SETTINGS_FRAME "\0\0\0\4\0\0\0\0\0"
#define ANSWER_ON_1 "\0\0\1\1\5\0\0\0\1\x88"

// What a server refused unprocessed goes to another connection, unless the method forbids repeating;
// what was on the wire when a pooled connection died does as well, but no request a third time.
static void unprocessed_requests_are_repeated(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct address address;
    int listener = -1;
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &address, NULL), ERR_OK);
    assert_int_equal(address_listen(&address, &(struct listen_options){0}, &listener, NULL), ERR_OK);
    assert_true(address_local(listener, &address));
    const struct http_client_options options = {.address = address, .protocol = HTTP_PROTOCOL_2};
    struct http_client *client = http_client_new(loop, &options);
    struct call calls[4];
    call_start(&calls[0], client, "/");
    int first = accept_one(loop, listener);
    raw_answer(first, STR(SETTINGS_FRAME ANSWER_ON_1));
    call_wait(&calls[0], loop);
    assert_int_equal(calls[0].code, ERR_OK);
    call_start(&calls[1], client, "/refused"); // stream 3
    call_start(&calls[2], client, "/post");    // stream 5, replaced by a POST
    http_set_events(calls[2].exchange, NULL, NULL);
    http_cancel(calls[2].exchange);
    calls[2] = (struct call){0};
    struct http_head head;
    http_head_init_request(&head, STR("POST"), STR_EMPTY, STR("a"), STR("/post"));
    calls[2].exchange = http_request(client, &head, true, &call_events, &calls[2]); // stream 7
    turns(loop, 3);
    raw_answer(first, STR("\0\0\4\3\0\0\0\0\3\0\0\0\7" "\0\0\4\3\0\0\0\0\7\0\0\0\7"
                          "\0\0\x08\7\0\0\0\0\0\0\0\0\1\0\0\0\0"));
    call_wait(&calls[2], loop);
    assert_int_equal(calls[2].code, ERR_CONFLICT);
    int second = accept_one(loop, listener);
    assert_false(calls[1].closed);
    raw_answer(second, STR(SETTINGS_FRAME ANSWER_ON_1));
    call_wait(&calls[1], loop);
    assert_int_equal(calls[1].code, ERR_OK);
    assert_int_equal(calls[1].status, 200);
    call_start(&calls[3], client, "/dead");
    turns(loop, 3);
    (void)close(second);
    int third = accept_one(loop, listener);
    assert_false(calls[3].closed);
    (void)close(third);
    call_wait(&calls[3], loop);
    assert_int_equal(calls[3].code, ERR_CLOSED);
    (void)close(first);
    (void)close(listener);
    http_client_free(client);
    turns(loop, 3);
    loop_free(loop);
}

static void pool_limits(void **state)
{
    (void)state;
    struct site site;
    site_open(&site, NULL, NULL);
    const struct http_client_options options = {
        .address = site.address,
        .connections_max = 2,
        .requests_max = 5,
        .on_connection = on_connection,
        .owner = &site,
    };
    struct http_client *client = http_client_new(site.loop, &options);
    struct call calls[20];
    for (size_t i = 0; i < array_count(calls); i++) {
        call_start(&calls[i], client, "/");
    }
    for (size_t i = 0; i < array_count(calls); i++) {
        call_wait(&calls[i], site.loop);
        assert_int_equal(calls[i].code, ERR_OK);
        assert_true(site.opened_count - site.shut_count <= 2);
        buf_done(&calls[i].body);
    }
    assert_int_equal(site.opened_count, 4);
    http_client_free(client);
    site_close(&site);
}

// More requests at once than a connection has streams.
static void streams_max(void **state)
{
    (void)state;
    struct site site;
    const struct http_limits limits = {.streams_max = 3};
    site_open(&site, &limits, NULL);
    const struct http_client_options options = {
        .address = site.address,
        .protocol = HTTP_PROTOCOL_2,
        .connections_max = 1,
    };
    struct http_client *client = http_client_new(site.loop, &options);
    struct call calls[20];
    call_start(&calls[0], client, "/");
    call_wait(&calls[0], site.loop);
    buf_done(&calls[0].body);
    for (size_t i = 0; i < array_count(calls); i++) {
        call_start(&calls[i], client, "/");
    }
    for (size_t i = 0; i < array_count(calls); i++) {
        call_wait(&calls[i], site.loop);
        assert_int_equal(calls[i].code, ERR_OK);
        buf_done(&calls[i].body);
    }
    http_client_free(client);
    site_close(&site);
}

static void on_tag_closed(void *tag)
{
    ((struct site *)tag)->tag_closed_count++;
}

static void tagged_connections(void **state)
{
    (void)state;
    for (int version = 1; version <= 2; version++) {
        struct site site;
        site_open(&site, NULL, NULL);
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
        static const struct stream_events no_events;
        struct buf text = {0};
        struct buf out = {0};
        if (version == 2) {
            raw_begin(&text);
            add_frame(&text, FRAME_HEADERS, END_OF_REQUEST, 1, STR("\x82\x44\x05/hold\x86\x41\x01" "a"));
        } else {
            buf_append_str(&text, STR("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
        }
        // Half of it was read while the connection was inspected.
        struct str inspected = str_sub(buf_view(&text), 0, 11);
        struct stream *stream = stream_accept(site.loop, fds[0], NULL, inspected, &no_events, NULL);
        http_server_adopt_tagged(site.server, stream, &site, on_tag_closed);
        assert_false(raw_exchange(&site, fds[1], str_from(buf_view(&text), 11), &out));
        assert_non_null(site.held);
        assert_ptr_equal(http_connection_tag(site.held), &site);
        assert_int_equal(site.version, version == 2 ? 20 : 11);
        assert_int_equal(site.tag_closed_count, 0);
        (void)close(fds[1]);
        turns(site.loop, 3);
        assert_null(site.held);
        assert_int_equal(site.tag_closed_count, 1);
        buf_done(&text);
        buf_done(&out);
        site_close(&site);
    }
}

// --- TLS -------------------------------------------------------------------------------------------

static void make_contexts(struct arena *arena, struct tls_context **ret_server, struct tls_context **ret_client)
{
    const struct x509_san san = x509_san_of(STR("a.test"));
    const struct x509_template wanted = {
        .subject = {.common_name = STR("a.test")},
        .sans = &san,
        .san_count = 1,
        .not_before = (int64_t)time(NULL) - 60,
        .not_after = (int64_t)time(NULL) + 3600,
        .usage = X509_USAGE_LEAF,
    };
    struct x509_key *key = x509_key_generate(X509_KEY_P256, NULL);
    struct x509_certificate *certificate = x509_issue(&wanted, key, NULL, key, NULL);
    assert_non_null(certificate);
    struct str pem = x509_certificate_pem(arena, certificate);
    const struct str alpn[] = {STR("h2"), STR("http/1.1")};
    const struct tls_options server = {
        .role = TLS_SERVER,
        .certificate_pem = pem,
        .key_pem = x509_key_pem(arena, key),
        .alpn = alpn,
        .alpn_count = array_count(alpn),
    };
    const struct tls_options client = {
        .role = TLS_CLIENT,
        .roots_pem = pem,
        .peer = TLS_PEER_REQUIRED,
        .verify_host = true,
        .alpn = alpn,
        .alpn_count = array_count(alpn),
    };
    *ret_server = tls_context_new(&server, NULL);
    *ret_client = tls_context_new(&client, NULL);
    assert_non_null(*ret_server);
    assert_non_null(*ret_client);
    x509_certificate_free(certificate);
    x509_key_free(key);
}

static const struct {
    const char *name;
    const char *server_name;
    enum http_protocol protocol;
    const char *alpn; // instead of the context's
    enum err want;
    int want_version;
} tls_rows[] = {
    {"negotiated", "a.test", HTTP_PROTOCOL_ALPN, NULL, ERR_OK, 20},
    {"only HTTP/1.1 offered", "a.test", HTTP_PROTOCOL_ALPN, "http/1.1", ERR_OK, 11},
    {"HTTP/2 fixed", "a.test", HTTP_PROTOCOL_2, "h2", ERR_OK, 20},
    {"HTTP/1 fixed", "a.test", HTTP_PROTOCOL_1, "http/1.1", ERR_OK, 11},
    {"wrong name", "b.test", HTTP_PROTOCOL_ALPN, NULL, ERR_TLS, 0},
};

static void tls(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct tls_context *server_tls = NULL;
    struct tls_context *client_tls = NULL;
    make_contexts(&arena, &server_tls, &client_tls);
    for (size_t i = 0; i < array_count(tls_rows); i++) {
        struct site site;
        site_open(&site, NULL, server_tls);
        const struct str alpn = str_of(tls_rows[i].alpn);
        const struct http_client_options options = {
            .address = site.address,
            .tls = client_tls,
            .tls_server_name = str_of(tls_rows[i].server_name),
            .alpn = &alpn,
            .alpn_count = tls_rows[i].alpn != NULL ? 1 : 0,
            .protocol = tls_rows[i].protocol,
        };
        struct http_client *client = http_client_new(site.loop, &options);
        struct call calls[10];
        for (size_t n = 0; n < array_count(calls); n++) {
            call_start(&calls[n], client, "/");
        }
        for (size_t n = 0; n < array_count(calls); n++) {
            call_wait(&calls[n], site.loop);
            check_row(tls_rows[i].name, calls[n].code == tls_rows[i].want, "got %s", err_name(calls[n].code));
            check_row(tls_rows[i].name, calls[n].version == tls_rows[i].want_version, "version %d", calls[n].version);
            check_row(tls_rows[i].name, tls_rows[i].want != ERR_OK || site.is_tls, "not TLS");
            buf_done(&calls[n].body);
        }
        http_client_free(client);
        site_close(&site);
    }
    tls_context_unref(server_tls);
    tls_context_unref(client_tls);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rapid_reset),
        cmocka_unit_test(raw_frames),
        cmocka_unit_test(wrong_prefaces),
        cmocka_unit_test(large_head_and_cookies),
        cmocka_unit_test(drain_with_goaway),
        cmocka_unit_test(drain_deadline),
        cmocka_unit_test(unprocessed_requests_are_repeated),
        cmocka_unit_test(pool_limits),
        cmocka_unit_test(streams_max),
        cmocka_unit_test(tagged_connections),
        cmocka_unit_test(tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
