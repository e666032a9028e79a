// SPDX-License-Identifier: Apache-2.0
//
// Server and client over loopback and socket pairs: what goes over the wire byte by byte, the same
// scenarios on HTTP/1.1 and HTTP/2, and the unhappy ends.
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/memory.h"
#include "net/http.h"

#define BIG_SIZE (8u * 1024 * 1024)

// --- a server with one behaviour per path ----------------------------------------------------------

struct site {
    struct loop *loop;
    struct http_server *server;
    struct address address;
    struct http_exchange *held; // of /hold
    size_t received;            // body bytes of all requests
    size_t sent;                // of /big
    size_t sent_max_ahead;      // of /big: sent before the client had taken it
    const size_t *taken;
    unsigned closed_well;
    unsigned closed_badly;
    enum err close_code;
    bool saw_trailer;
    bool drained;
};

struct visit {
    struct site *site;
    bool echo;
    size_t left;
};

static const char filler[16384];

static void send_big(struct visit *visit, struct http_exchange *exchange)
{
    while (visit->left > 0 && !http_is_congested(exchange)) {
        size_t size = visit->left < sizeof(filler) ? visit->left : sizeof(filler);
        visit->left -= size;
        visit->site->sent += size;
        http_send_data(exchange, str_make(filler, size), visit->left == 0);
        if (visit->site->taken != NULL && visit->site->sent - *visit->site->taken > visit->site->sent_max_ahead) {
            visit->site->sent_max_ahead = visit->site->sent - *visit->site->taken;
        }
    }
}

static void visit_on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    struct visit *visit = owner;
    visit->site->received += bytes.size;
    if (visit->echo) {
        http_send_data(exchange, bytes, end);
        if (!end && http_is_congested(exchange)) {
            http_pause(exchange);
        }
    } else if (end) {
        http_respond(exchange, 200, STR("text/plain"), STR("taken"));
    }
}

static void visit_on_trailers(void *owner, struct http_exchange *exchange, const struct http_head *trailers)
{
    struct visit *visit = owner;
    visit->site->saw_trailer = str_equal(http_head_get(trailers, STR("x-sum")), STR("1"));
    visit_on_data(owner, exchange, STR_EMPTY, true);
}

static void visit_on_drained(void *owner, struct http_exchange *exchange)
{
    struct visit *visit = owner;
    if (visit->left > 0) {
        send_big(visit, exchange);
    }
    http_resume(exchange);
}

static void visit_on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    struct visit *visit = owner;
    if (visit->site->held == exchange) {
        visit->site->held = NULL;
    }
    if (err->code == ERR_OK) {
        visit->site->closed_well++;
    } else {
        visit->site->closed_badly++;
        visit->site->close_code = err->code;
    }
    mem_free(visit);
}

static const struct http_events visit_events = {
    .on_data = visit_on_data,
    .on_trailers = visit_on_trailers,
    .on_drained = visit_on_drained,
    .on_close = visit_on_close,
};

static void respond_head(struct http_exchange *exchange, int status, bool end)
{
    struct http_head head;
    http_head_init_response(&head, status);
    http_send_head(exchange, &head, end);
}

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct site *site = owner;
    struct visit *visit = mem_new(struct visit);
    visit->site = site;
    http_set_events(exchange, &visit_events, visit);
    struct str path = head->path;
    if (str_equal(path, STR("/hello"))) {
        http_respond(exchange, 200, STR("text/plain"), STR("hello"));
    } else if (str_equal(path, STR("/empty"))) {
        respond_head(exchange, 200, true);
    } else if (str_equal(path, STR("/204"))) {
        respond_head(exchange, 204, true);
    } else if (str_equal(path, STR("/304"))) {
        respond_head(exchange, 304, true);
    } else if (str_equal(path, STR("/chunks"))) {
        respond_head(exchange, 200, false);
        http_send_data(exchange, STR("one"), false);
        http_send_data(exchange, STR("three"), true);
    } else if (str_equal(path, STR("/trailers"))) {
        respond_head(exchange, 200, false);
        http_send_data(exchange, STR("body"), false);
        struct http_head trailers;
        http_head_init_response(&trailers, 0);
        http_head_add(&trailers, STR("x-sum"), STR("1"));
        http_send_trailers(exchange, &trailers);
    } else if (str_equal(path, STR("/echo"))) {
        visit->echo = true;
        respond_head(exchange, 200, end);
    } else if (str_equal(path, STR("/hold"))) {
        site->held = exchange;
    } else if (str_equal(path, STR("/big"))) {
        visit->left = BIG_SIZE;
        site->sent = 0;
        respond_head(exchange, 200, false);
        send_big(visit, exchange);
    } else if (str_equal(path, STR("/cancel"))) {
        respond_head(exchange, 200, false);
        http_send_data(exchange, STR("partial"), false);
        http_cancel(exchange);
    } else if (head->upgrade.size > 0) {
        struct http_head response;
        http_head_init_response(&response, 101);
        response.upgrade = head->upgrade;
        visit->echo = true;
        http_send_head(exchange, &response, false);
    } else if (end) {
        http_respond(exchange, 404, STR("text/plain"), STR("no"));
    }
}

static void site_open(struct site *site, bool http2)
{
    *site = (struct site){.loop = loop_new()};
    const struct http_server_options options = {.http2 = http2, .limits = {.head_bytes = 2048, .header_count = 20}};
    site->server = http_server_new(site->loop, &options, on_request, site);
}

static void site_listen(struct site *site)
{
    struct address any;
    int fd = -1;
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &any, NULL), ERR_OK);
    assert_int_equal(address_listen(&any, &(struct listen_options){0}, &fd, NULL), ERR_OK);
    assert_true(address_local(fd, &site->address));
    http_server_listen(site->server, fd, NULL);
}

static void turns(struct loop *loop, int count)
{
    for (int i = 0; i < count; i++) {
        loop_turn(loop, 0);
    }
}

static void site_close(struct site *site)
{
    http_server_free(site->server);
    turns(site->loop, 3);
    loop_free(site->loop);
}

// --- a raw peer ------------------------------------------------------------------------------------

static int raw_connect(struct site *site)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    static const struct stream_events no_events;
    http_server_adopt(site->server, stream_accept(site->loop, fds[0], NULL, STR_EMPTY, &no_events, NULL));
    return fds[1];
}

// Writes text in pieces (0: at once), turning the loop; appends what comes back. True: the server closed.
static bool raw_exchange(struct site *site, int fd, struct str text, size_t piece, struct buf *out)
{
    bool closed = false;
    for (int quiet = 0; quiet < 4;) {
        struct str part = str_sub(text, 0, piece == 0 ? text.size : piece);
        ssize_t written = part.size > 0 ? write(fd, part.data, part.size) : 0;
        if (written > 0) {
            text = str_from(text, (size_t)written);
        }
        loop_turn(site->loop, 0);
        ssize_t got = read(fd, buf_reserve(out, 65536), 65536);
        if (got > 0) {
            buf_commit(out, (size_t)got);
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            closed = true;
            break;
        }
        quiet = written > 0 || got > 0 ? 0 : quiet + 1;
    }
    return closed;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define HELLO "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
#define TAKEN "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\ntaken"

static const struct {
    const char *name;
    const char *send;
    const char *want; // a trailing '*' matches anything
    bool want_closed;
} wire_rows[] = {
    {"one", GET("/hello"), "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello", false},
    {"pipeline in order", GET("/hello") GET("/chunks") GET("/204") GET("/hello"),
     HELLO "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"
     "HTTP/1.1 204 No Content\r\n\r\n" HELLO, false},
    {"close", "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" GET("/hello"),
     "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello", true},
    {"HTTP/1.0", "GET /chunks HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonethree", true},
    {"HTTP/1.0 keep-alive", "GET /empty HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
     "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n", false},
    {"HEAD", "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\nHEAD /chunks HTTP/1.1\r\nHost: a\r\n\r\n" GET("/hello"),
     "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" HELLO, false},
    {"304", GET("/304") GET("/empty"), "HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false},
    {"length", "POST /in HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789" GET("/hello"), TAKEN HELLO, false},
    {"chunked upload", "POST /in HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n" GET("/hello"),
     TAKEN HELLO, false},
    {"upload with trailers", "POST /in HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n" GET("/hello"),
     TAKEN HELLO, false},
    {"trailers", GET("/trailers"), "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n", false},
    {"early answer, body dropped", "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345" GET("/hello"), HELLO HELLO, false},
    {"early answer, chunks dropped", "POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: 1\r\n\r\n" GET("/hello"),
     HELLO HELLO, false},
    {"early answer, long body", "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n12345",
     "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello", true},
    {"100-continue", "POST /in HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 100 Continue\r\n\r\n" TAKEN, false},
    {"100-continue refused", "POST /hello HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
     "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello", true},
    {"upgrade", "GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nraw bytes",
     "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\nraw bytes", false},
    {"upgrade ignored", "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n" GET("/hello"), HELLO HELLO, false},
    {"malformed", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n*", true},
    {"HTTP/0.9", "GET /\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n*", true},
    {"lower-case protocol", "GET / http/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n*", true},
    {"malformed second", GET("/hello") "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", HELLO "HTTP/1.1 400 Bad Request\r\n*", true},
    {"too many headers", "GET / HTTP/1.1\r\nHost: a\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\n"
     "a: 1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\n\r\n", "HTTP/1.1 431 Request Header Fields Too Large\r\n*", true},
    {"bad chunk", "POST /in HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 Bad Request\r\n*", true},
    {"smuggling", "POST /in HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET("/hello"),
     "HTTP/1.1 400 Bad Request\r\n*", true},
    {"cancelled midway", GET("/cancel"), "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\npartial\r\n*", true},
};

static bool matches(struct str got, const char *want)
{
    struct str pattern = str_of(want);
    if (str_ends_with(pattern, STR("*"))) {
        return str_starts_with(got, str_sub(pattern, 0, pattern.size - 1));
    }
    return str_equal(got, pattern);
}

static void wire(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(wire_rows); i++) {
        for (int http2 = 0; http2 < 2; http2++) {
            for (size_t piece = 0; piece < 3; piece++) {
                struct site site;
                site_open(&site, http2 != 0);
                int fd = raw_connect(&site);
                struct buf out = {0};
                bool closed = raw_exchange(&site, fd, str_of(wire_rows[i].send), piece, &out);
                bool cancelled = strstr(wire_rows[i].name, "cancelled") != NULL; // may overtake its output
                check_row(wire_rows[i].name, cancelled || matches(buf_view(&out), wire_rows[i].want), "piece %zu: got %.*s",
                          piece, STR_ARG(buf_view(&out)));
                check_row(wire_rows[i].name, closed == wire_rows[i].want_closed, "piece %zu: closed %d", piece, closed);
                buf_done(&out);
                (void)close(fd);
                site_close(&site);
            }
        }
    }
}

static void wire_target_too_long(void **state)
{
    (void)state;
    struct site site;
    site_open(&site, true);
    int fd = raw_connect(&site);
    struct buf text = {0};
    struct buf out = {0};
    buf_append_str(&text, STR("GET /"));
    for (int i = 0; i < 4000; i++) {
        buf_append_char(&text, 'x');
    }
    assert_true(raw_exchange(&site, fd, buf_view(&text), 0, &out));
    assert_true(str_starts_with(buf_view(&out), STR("HTTP/1.1 414 URI Too Long\r\n")));
    buf_done(&text);
    buf_done(&out);
    (void)close(fd);
    site_close(&site);
}

// A client that leaves is noticed while its answer is being prepared.
static void peer_leaves_while_held(void **state)
{
    (void)state;
    struct site site;
    site_open(&site, true);
    int fd = raw_connect(&site);
    struct buf out = {0};
    (void)raw_exchange(&site, fd, STR(GET("/hold")), 0, &out);
    assert_non_null(site.held);
    (void)close(fd);
    turns(site.loop, 4);
    assert_null(site.held);
    assert_int_equal(site.closed_badly, 1);
    assert_int_equal(site.close_code, ERR_CLOSED);
    buf_done(&out);
    site_close(&site);
}

// Each part of a long response is sent at once: a watch.
static void watch_flushes(void **state)
{
    (void)state;
    struct site site;
    site_open(&site, true);
    int fd = raw_connect(&site);
    struct buf out = {0};
    (void)raw_exchange(&site, fd, STR(GET("/hold")), 0, &out);
    respond_head(site.held, 200, false);
    (void)raw_exchange(&site, fd, STR_EMPTY, 0, &out);
    assert_str(buf_view(&out), "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        buf_reset(&out);
        http_send_data(site.held, STR("{\"type\":\"ADDED\"}\n"), false);
        (void)raw_exchange(&site, fd, STR_EMPTY, 0, &out);
        assert_str(buf_view(&out), "11\r\n{\"type\":\"ADDED\"}\n\r\n");
    }
    buf_reset(&out);
    http_send_data(site.held, STR_EMPTY, true);
    assert_false(raw_exchange(&site, fd, STR(GET("/hello")), 0, &out));
    assert_str(buf_view(&out), "0\r\n\r\n" HELLO);
    buf_done(&out);
    (void)close(fd);
    site_close(&site);
}

static void on_drain_done(void *owner)
{
    ((struct site *)owner)->drained = true;
}

static void drain_finishes_requests(void **state)
{
    (void)state;
    struct site site;
    site_open(&site, true);
    int busy = raw_connect(&site);
    int idle = raw_connect(&site);
    struct buf out = {0};
    (void)raw_exchange(&site, busy, STR(GET("/hold")), 0, &out);
    http_server_drain(site.server, 10000, on_drain_done, &site);
    assert_true(raw_exchange(&site, idle, STR_EMPTY, 0, &out));
    assert_int_equal(out.size, 0);
    (void)close(idle);
    assert_false(site.drained);
    http_respond(site.held, 200, STR_EMPTY, STR("late"));
    assert_true(raw_exchange(&site, busy, STR_EMPTY, 0, &out));
    assert_str(buf_view(&out), "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nlate");
    (void)close(busy);
    turns(site.loop, 4);
    assert_true(site.drained);
    buf_done(&out);
    site_close(&site);
}

// --- the client ------------------------------------------------------------------------------------

struct call {
    struct http_exchange *exchange;
    struct http_client *free_on_head; // freed from on_head
    int status;
    struct buf body;
    size_t size;
    size_t pause_at; // pauses when so much has come; 0: never
    bool paused;
    bool ended;
    bool saw_trailer;
    bool closed;
    enum err code;
    unsigned drained_count;
    size_t upload_left;
};

static void call_on_head(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    (void)exchange;
    struct call *call = owner;
    assert_int_equal(call->status, 0);
    call->status = head->status;
    call->ended = end;
    if (call->free_on_head != NULL) {
        http_client_free(call->free_on_head);
    }
}

static void call_on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    struct call *call = owner;
    assert_false(call->ended);
    assert_false(call->closed);
    assert_false(call->paused);
    call->size += bytes.size;
    if (call->body.size < 64) {
        buf_append_str(&call->body, str_sub(bytes, 0, 64));
    }
    call->ended = end;
    if (call->pause_at > 0 && call->size >= call->pause_at && !end) {
        call->paused = true;
        http_pause(exchange);
    }
}

static void call_on_trailers(void *owner, struct http_exchange *exchange, const struct http_head *trailers)
{
    (void)exchange;
    struct call *call = owner;
    call->saw_trailer = str_equal(http_head_get(trailers, STR("x-sum")), STR("1"));
    call->ended = true;
}

static void call_upload(struct call *call)
{
    while (call->upload_left > 0 && !http_is_congested(call->exchange)) {
        size_t size = call->upload_left < sizeof(filler) ? call->upload_left : sizeof(filler);
        call->upload_left -= size;
        http_send_data(call->exchange, str_make(filler, size), call->upload_left == 0);
    }
}

static void call_on_drained(void *owner, struct http_exchange *exchange)
{
    (void)exchange;
    struct call *call = owner;
    call->drained_count++;
    call_upload(call);
}

static void call_on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    struct call *call = owner;
    assert_false(call->closed);
    call->closed = true;
    call->code = err->code;
    call->exchange = NULL;
}

static const struct http_events call_events = {
    .on_head = call_on_head,
    .on_data = call_on_data,
    .on_trailers = call_on_trailers,
    .on_drained = call_on_drained,
    .on_close = call_on_close,
};

static void call_start(struct call *call, struct http_client *client, const char *method, const char *path, bool end)
{
    *call = (struct call){0};
    struct http_head head;
    http_head_init_request(&head, str_of(method), STR("http"), STR("a"), str_of(path));
    call->exchange = http_request(client, &head, end, &call_events, call);
}

static void call_wait(struct call *call, struct loop *loop)
{
    for (int i = 0; i < 20000 && !call->closed; i++) {
        loop_turn(loop, 100);
    }
    assert_true(call->closed);
}

static void call_done(struct call *call)
{
    buf_done(&call->body);
}

static struct http_client *client_new(struct site *site, int version)
{
    const struct http_client_options options = {
        .address = site->address,
        .protocol = version == 2 ? HTTP_PROTOCOL_2 : HTTP_PROTOCOL_1,
    };
    return http_client_new(site->loop, &options);
}

static const struct {
    const char *method;
    const char *path;
    int want_status;
    const char *want_body;
    enum err want_code;
} call_rows[] = {
    {"GET", "/hello", 200, "hello", ERR_OK},
    {"GET", "/chunks", 200, "onethree", ERR_OK},
    {"HEAD", "/hello", 200, "", ERR_OK},
    {"HEAD", "/chunks", 200, "", ERR_OK},
    {"GET", "/204", 204, "", ERR_OK},
    {"GET", "/304", 304, "", ERR_OK},
    {"GET", "/empty", 200, "", ERR_OK},
    {"GET", "/trailers", 200, "body", ERR_OK},
    {"POST", "/missing", 404, "no", ERR_OK},
    {"GET", "/hello", 200, "hello", ERR_OK},
};

static void calls(void **state)
{
    (void)state;
    for (int version = 1; version <= 2; version++) {
        struct site site;
        site_open(&site, true);
        site_listen(&site);
        struct http_client *client = client_new(&site, version);
        for (size_t i = 0; i < 100; i++) {
            size_t row = i % array_count(call_rows);
            struct call call;
            call_start(&call, client, call_rows[row].method, call_rows[row].path, true);
            call_wait(&call, site.loop);
            check_row(call_rows[row].path, call.status == call_rows[row].want_status, "v%d status %d", version, call.status);
            check_row(call_rows[row].path, call.code == call_rows[row].want_code, "v%d code %s", version, err_name(call.code));
            check_row(call_rows[row].path, str_equal_c(buf_view(&call.body), call_rows[row].want_body), "v%d body %.*s",
                      version, STR_ARG(buf_view(&call.body)));
            check_row(call_rows[row].path, call.ended, "v%d no end", version);
            check_row(call_rows[row].path, call.saw_trailer == (strcmp(call_rows[row].path, "/trailers") == 0), "v%d trailers", version);
            call_done(&call);
        }
        turns(site.loop, 3);
        assert_int_equal(site.closed_well, 100);
        assert_int_equal(site.closed_badly, 0);
        http_client_free(client);
        site_close(&site);
    }
}

static void concurrent_calls(void **state)
{
    (void)state;
    for (int version = 1; version <= 2; version++) {
        struct site site;
        site_open(&site, true);
        site_listen(&site);
        struct http_client *client = client_new(&site, version);
        struct call many[150];
        for (int round = 0; round < 3; round++) {
            for (size_t i = 0; i < array_count(many); i++) {
                call_start(&many[i], client, "POST", "/echo", false);
                http_send_data(many[i].exchange, STR("some "), false);
                http_send_data(many[i].exchange, STR("body"), true);
            }
            for (size_t i = 0; i < array_count(many); i++) {
                call_wait(&many[i], site.loop);
                assert_int_equal(many[i].status, 200);
                assert_str(buf_view(&many[i].body), "some body");
                call_done(&many[i]);
            }
        }
        http_client_free(client);
        site_close(&site);
    }
}

static void upload_and_echo(void **state)
{
    (void)state;
    for (int version = 1; version <= 2; version++) {
        struct site site;
        site_open(&site, true);
        site_listen(&site);
        struct http_client *client = client_new(&site, version);
        struct call call;
        call_start(&call, client, "POST", "/echo", false);
        call.upload_left = BIG_SIZE;
        call_upload(&call);
        call_wait(&call, site.loop);
        assert_int_equal(call.code, ERR_OK);
        assert_int_equal(site.received, BIG_SIZE);
        assert_int_equal(call.size, BIG_SIZE);
        assert_true(call.drained_count > 0);
        call_done(&call);
        http_client_free(client);
        site_close(&site);
    }
}

// A reader that stops: the sender stops as well, with a bounded amount under way.
static void slow_reader(void **state)
{
    (void)state;
    for (int version = 1; version <= 2; version++) {
        struct site site;
        site_open(&site, true);
        site_listen(&site);
        struct http_client *client = client_new(&site, version);
        struct call call;
        call_start(&call, client, "GET", "/big", true);
        site.taken = &call.size;
        call.pause_at = 1;
        while (!call.paused) {
            loop_turn(site.loop, 100);
        }
        size_t before = call.size;
        turns(site.loop, 2000);
        assert_int_equal(call.size, before);
        assert_true(site.sent < BIG_SIZE);
        while (!call.closed) {
            if (call.paused) {
                call.paused = false;
                call.pause_at = call.size + 512 * 1024;
                http_resume(call.exchange);
            }
            loop_turn(site.loop, 100);
        }
        assert_int_equal(call.code, ERR_OK);
        assert_int_equal(call.size, BIG_SIZE);
        assert_true(site.sent_max_ahead < BIG_SIZE - 1024 * 1024);
        call_done(&call);
        http_client_free(client);
        site_close(&site);
    }
}

// Paused to the end: everything has arrived, and is reported after resuming.
static void pause_keeps_the_end(void **state)
{
    (void)state;
    for (int version = 1; version <= 2; version++) {
        for (int with_trailers = 0; with_trailers < 2; with_trailers++) {
            struct site site;
            site_open(&site, true);
            site_listen(&site);
            struct http_client *client = client_new(&site, version);
            struct call call;
            call_start(&call, client, "GET", with_trailers != 0 ? "/trailers" : "/chunks", true);
            http_pause(call.exchange);
            for (int i = 0; i < 50; i++) {
                loop_turn(site.loop, 1);
            }
            assert_int_equal(call.status, 200);
            assert_int_equal(call.size, 0);
            http_resume(call.exchange);
            call_wait(&call, site.loop);
            assert_true(call.ended);
            assert_int_equal(call.code, ERR_OK);
            assert_int_equal(call.saw_trailer, with_trailers != 0);
            call_done(&call);
            http_client_free(client);
            site_close(&site);
        }
    }
}

static void unhappy_ends(void **state)
{
    (void)state;
    for (int version = 1; version <= 2; version++) {
        struct site site;
        site_open(&site, true);
        site_listen(&site);
        struct http_client *client = client_new(&site, version);
        struct call call;
        // The server gives up in the middle.
        call_start(&call, client, "GET", "/cancel", true);
        call_wait(&call, site.loop);
        assert_int_equal(call.code, ERR_CLOSED);
        call_done(&call);
        // The client gives up: before a connection, and while it waits for an answer.
        call_start(&call, client, "GET", "/hold", true);
        http_cancel(call.exchange);
        http_cancel(call.exchange);
        call_wait(&call, site.loop);
        assert_int_equal(call.code, ERR_CLOSED);
        call_start(&call, client, "GET", "/hold", true);
        while (site.held == NULL) {
            loop_turn(site.loop, 100);
        }
        http_cancel(call.exchange);
        assert_false(call.closed);
        call_wait(&call, site.loop);
        assert_int_equal(call.code, ERR_CLOSED);
        for (int i = 0; i < 100 && site.held != NULL; i++) {
            loop_turn(site.loop, 10);
        }
        assert_null(site.held);
        // An answer before the upload is through.
        call_start(&call, client, "POST", "/hello", false);
        http_send_data(call.exchange, STR("part"), false);
        call_wait(&call, site.loop);
        assert_int_equal(call.status, 200);
        assert_int_equal(call.code, ERR_OK);
        call_done(&call);
        // The server goes away while a request is held.
        call_start(&call, client, "GET", "/hold", true);
        while (site.held == NULL) {
            loop_turn(site.loop, 100);
        }
        http_server_free(site.server);
        site.server = NULL;
        call_wait(&call, site.loop);
        // On HTTP/2 the connection was a pooled one, so the request is tried once more, on a new one.
        assert_int_equal(call.code, version == 1 ? ERR_CLOSED : ERR_UNREACHABLE);
        // Nobody listens any more.
        call_start(&call, client, "GET", "/hello", true);
        call_wait(&call, site.loop);
        assert_int_equal(call.code, ERR_UNREACHABLE);
        http_client_free(client);
        site_close(&site);
    }
}

static void free_client_in_callback(void **state)
{
    (void)state;
    for (int version = 1; version <= 2; version++) {
        struct site site;
        site_open(&site, true);
        site_listen(&site);
        struct http_client *client = client_new(&site, version);
        struct call call;
        struct call other;
        call_start(&other, client, "GET", "/hold", true);
        call_start(&call, client, "GET", "/big", true);
        call.free_on_head = client;
        call_wait(&call, site.loop);
        assert_true(other.closed);
        assert_int_equal(call.code, ERR_CLOSED);
        assert_int_equal(other.code, ERR_CLOSED);
        call_done(&call);
        turns(site.loop, 5);
        site_close(&site);
    }
}

static void client_tunnel(void **state)
{
    (void)state;
    struct site site;
    site_open(&site, false);
    site_listen(&site);
    struct http_client *client = client_new(&site, 1);
    struct call call = {0};
    struct http_head head;
    http_head_init_request(&head, STR("GET"), STR("http"), STR("a"), STR("/up"));
    head.upgrade = STR("echo");
    call.exchange = http_request(client, &head, true, &call_events, &call);
    while (call.status == 0) {
        loop_turn(site.loop, 100);
    }
    assert_int_equal(call.status, 101);
    http_send_data(call.exchange, STR("ping"), false);
    while (call.size < 4) {
        loop_turn(site.loop, 100);
    }
    http_send_data(call.exchange, STR("pong"), true);
    call_wait(&call, site.loop);
    assert_str(buf_view(&call.body), "pingpong");
    assert_int_equal(call.code, ERR_OK);
    call_done(&call);
    http_client_free(client);
    site_close(&site);
}

// A pooled connection that the server has closed meanwhile: repeated once, unseen.
static void dead_pooled_connection(void **state)
{
    (void)state;
    struct address any;
    int listener = -1;
    struct address address;
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &any, NULL), ERR_OK);
    assert_int_equal(address_listen(&any, &(struct listen_options){0}, &listener, NULL), ERR_OK);
    assert_true(address_local(listener, &address));
    struct loop *loop = loop_new();
    const struct http_client_options options = {.address = address};
    struct http_client *client = http_client_new(loop, &options);
    struct call call;
    call_start(&call, client, "GET", "/", true);
    int fd = -1;
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    char request[256];
    for (int connection = 0; connection < 2; connection++) {
        while (fd < 0) {
            loop_turn(loop, 10);
            fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        }
        while (read(fd, request, sizeof(request)) <= 0) {
            loop_turn(loop, 10);
        }
        assert_int_equal(write(fd, answer, sizeof(answer) - 1), sizeof(answer) - 1);
        call_wait(&call, loop);
        assert_int_equal(call.status, 200);
        assert_int_equal(call.code, ERR_OK);
        call_done(&call);
        if (connection == 0) {
            // The next request is written to a socket whose other end is closing.
            call_start(&call, client, "GET", "/again", true);
            (void)close(fd);
            fd = -1;
        }
    }
    (void)close(fd);
    (void)close(listener);
    http_client_free(client);
    turns(loop, 3);
    loop_free(loop);
}

static const struct {
    const char *name;
    const char *answer;
    enum err want;
} bad_answer_rows[] = {
    {"smuggling", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", ERR_PROTOCOL},
    {"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", ERR_PROTOCOL},
    {"bare LF", "HTTP/1.1 200 OK\n\n", ERR_PROTOCOL},
    {"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx", ERR_PROTOCOL},
    {"cut head", "HTTP/1.1 200 OK\r\nConte", ERR_CLOSED},
    {"cut body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", ERR_CLOSED},
    {"cut chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", ERR_CLOSED},
    {"until close", "HTTP/1.1 200 OK\r\n\r\nabc", ERR_OK},
    {"nothing", "", ERR_CLOSED},
};

static void bad_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(bad_answer_rows); i++) {
        struct address any;
        int listener = -1;
        struct address address;
        assert_int_equal(address_parse(STR("127.0.0.1:0"), &any, NULL), ERR_OK);
        assert_int_equal(address_listen(&any, &(struct listen_options){0}, &listener, NULL), ERR_OK);
        assert_true(address_local(listener, &address));
        struct loop *loop = loop_new();
        const struct http_client_options options = {.address = address};
        struct http_client *client = http_client_new(loop, &options);
        struct call call;
        call_start(&call, client, "POST", "/", true);
        int fd = -1;
        while (fd < 0) {
            loop_turn(loop, 10);
            fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        }
        char request[256];
        while (read(fd, request, sizeof(request)) <= 0) {
            loop_turn(loop, 10);
        }
        size_t size = strlen(bad_answer_rows[i].answer);
        assert_int_equal(write(fd, bad_answer_rows[i].answer, size), size);
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        call_wait(&call, loop);
        check_row(bad_answer_rows[i].name, call.code == bad_answer_rows[i].want, "got %s", err_name(call.code));
        call_done(&call);
        (void)close(fd);
        (void)close(listener);
        http_client_free(client);
        turns(loop, 3);
        loop_free(loop);
    }
}

static void timeouts(void **state)
{
    (void)state;
    // The clock is ours; sockets are real.
    struct loop *loop = loop_new_fake(1000);
    struct site site = {.loop = loop};
    const struct http_server_options options = {.limits = {.head_timeout_ms = 500, .idle_timeout_ms = 3000}};
    site.server = http_server_new(loop, &options, on_request, &site);
    struct buf out = {0};
    int fd = raw_connect(&site);
    assert_false(raw_exchange(&site, fd, STR("GET /hello HT"), 0, &out));
    loop_advance(loop, 600);
    assert_true(raw_exchange(&site, fd, STR_EMPTY, 0, &out));
    assert_true(str_starts_with(buf_view(&out), STR("HTTP/1.1 408 Request Timeout\r\n")));
    (void)close(fd);
    fd = raw_connect(&site);
    buf_reset(&out);
    assert_false(raw_exchange(&site, fd, STR(GET("/hello")), 0, &out));
    loop_advance(loop, 2000);
    assert_false(raw_exchange(&site, fd, STR(GET("/hello")), 0, &out));
    loop_advance(loop, 2000);
    assert_false(raw_exchange(&site, fd, STR_EMPTY, 0, &out));
    loop_advance(loop, 1100);
    assert_true(raw_exchange(&site, fd, STR_EMPTY, 0, &out));
    (void)close(fd);
    buf_done(&out);
    site_close(&site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wire),
        cmocka_unit_test(wire_target_too_long),
        cmocka_unit_test(peer_leaves_while_held),
        cmocka_unit_test(watch_flushes),
        cmocka_unit_test(drain_finishes_requests),
        cmocka_unit_test(timeouts),
        cmocka_unit_test(calls),
        cmocka_unit_test(concurrent_calls),
        cmocka_unit_test(upload_and_echo),
        cmocka_unit_test(slow_reader),
        cmocka_unit_test(pause_keeps_the_end),
        cmocka_unit_test(unhappy_ends),
        cmocka_unit_test(free_client_in_callback),
        cmocka_unit_test(client_tunnel),
        cmocka_unit_test(dead_pooled_connection),
        cmocka_unit_test(bad_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
