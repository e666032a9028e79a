// SPDX-License-Identifier: Apache-2.0
//
// Requests and responses that must be read one way only, or not at all. Section numbers are RFC 9112's
// unless the row says otherwise.
#include "test.h"

#include "base/memory.h"
#include "codec/http1/http1.h"
#include "codec/http1/http1_internal.h"

static const struct http1_limits limits = {.head_bytes = 4096, .header_count = 8};

// Scans text in pieces of `piece` bytes (0: at once), then parses. Returns the status of the refusal, 0
// when accepted, -1 when more is needed. The head's views point into `storage`.
static int read_request(const char *text, size_t size, size_t piece, char *storage, struct http_head *head,
                        struct http1_message *message, const char **ret_reason)
{
    struct http1_scan scan = {0};
    struct http1_problem problem = {0};
    for (size_t end = piece == 0 ? size : piece;; end += piece) {
        if (end > size) {
            end = size;
        }
        enum http1_result result =
            http1_scan(&scan, HTTP1_REQUEST_HEAD, str_make(text, end), &limits, &problem);
        if (result == HTTP1_BAD) {
            *ret_reason = problem.reason;
            return problem.status;
        }
        if (result == HTTP1_DONE) {
            break;
        }
        if (end == size) {
            return -1;
        }
    }
    memcpy(storage, text + scan.start, scan.at - scan.start);
    if (!http1_parse_request(storage, scan.at - scan.start, &limits, head, message, &problem)) {
        *ret_reason = problem.reason;
        return problem.status;
    }
    return 0;
}

#define ROW(section, text, status) {section, text, sizeof(text) - 1, status}
#define HOST "Host: a\r\n"

static const struct {
    const char *section;
    const char *text;
    size_t size;
    int want; // 0: accepted, -1: incomplete
} request_rows[] = {
    // what is fine
    ROW("3 plain", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    ROW("2.2 one empty line before", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    ROW("3.2.2 absolute form", "GET http://a.b:80/x?y HTTP/1.1\r\nHost: c\r\n\r\n", 0),
    ROW("3.2.3 authority form", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 0),
    ROW("3.2.4 asterisk form", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    ROW("3.2 empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 0),
    ROW("3.2 IPv6 host", "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 0),
    ROW("2.5 HTTP/1.0 without host", "GET / HTTP/1.0\r\n\r\n", 0),
    ROW("2.5 higher minor version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 0),
    ROW("5.1 blanks around value", "GET / HTTP/1.1\r\nHost: \t a \t\r\n\r\n", 0),
    ROW("RFC 9110 5.5 obs-text in value", "GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\r\n\r\n", 0),
    ROW("6.2 content-length 0", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 0),
    ROW("6.1 chunked, any case", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", 0),
    ROW("RFC 9110 10.1.1 expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n", 0),
    // incomplete
    ROW("3 nothing yet", "GE", -1),
    ROW("3 line without end", "GET / HTTP/1.1\r", -1),
    ROW("2.1 no empty line", "GET / HTTP/1.1\r\nHost: a\r\n", -1),
    ROW("2.1 half an empty line", "GET / HTTP/1.1\r\nHost: a\r\n\r", -1),
    // lines
    ROW("2.2 bare LF", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    ROW("2.2 bare LF in headers", "GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
    ROW("2.2 bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    ROW("2.2 bare CR in request line", "GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("2.2 bare CR in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
    ROW("2.2 CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400),
    ROW("2.2 two empty lines before", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("2.2 blank line before first header", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    ROW("2.2 NUL in request line", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    // request line
    ROW("3.1 TLS ClientHello", "\x16\x03\x01\x02\x00\x01", 400),
    ROW("3.1 leading blank", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3.1 method with a separator", "GE:T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3.1 method too long", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3 HTTP/0.9", "GET /\r\n\r\n", 400),
    ROW("3 two blanks", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3 blank in target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3 tab as separator", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3 trailing blank", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    ROW("3.2 fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3.2 raw non-ASCII target", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3.2 DEL in target", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3.2 relative target", "GET index.html HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3.2.2 other scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3.2.2 no authority", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("RFC 9110 4.2.4 user information", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3.2.3 CONNECT without port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3.2.3 CONNECT with a path", "CONNECT a:1/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3.2.4 asterisk with GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("2.3 lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("2.3 version without minor", "GET / HTTP/1\r\nHost: a\r\n\r\n", 400),
    ROW("2.3 two-digit minor", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    ROW("2.3 HTTP/2.0 in text", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    // host
    ROW("3.2 no host", "GET / HTTP/1.1\r\n\r\n", 400),
    ROW("3.2 two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ROW("3.2 host with blank", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ROW("3.2 host with slash", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ROW("3.2 host with user information", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    ROW("3.2 host with bad port", "GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", 400),
    ROW("3.2 host with port too large", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400),
    ROW("3.2 list of hosts", "GET / HTTP/1.1\r\nHost: a, b:1:2\r\n\r\n", 400),
    ROW("3.2 unclosed IPv6", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    // header lines
    ROW("5.1 blank before colon", "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
    ROW("5.1 tab before colon", "GET / HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n", 400),
    ROW("5.1 no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
    ROW("5.1 empty name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
    ROW("5.1 name with separator", "GET / HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n", 400),
    ROW("5.1 non-ASCII name", "GET / HTTP/1.1\r\nHost: a\r\n\xc3\xa9: b\r\n\r\n", 400),
    ROW("5.2 folded line", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
    ROW("5.2 line folded with tab", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", 400),
    ROW("5.2 folded content-length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 5\r\n\r\n", 400),
    ROW("RFC 9110 5.5 NUL in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    ROW("RFC 9110 5.5 control in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x0b" "b\r\n\r\n", 400),
    ROW("RFC 9110 5.5 DEL in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x7f\r\n\r\n", 400),
    // content-length
    ROW("6.2 repeated length, equal", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 400),
    ROW("6.3 repeated length, different", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    ROW("6.3 list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", 400),
    ROW("6.2 plus sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", 400),
    ROW("6.2 minus sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", 400),
    ROW("6.2 hexadecimal", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", 400),
    ROW("6.2 empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
    ROW("6.2 blank inside", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\n", 400),
    ROW("6.2 overflow", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\n", 400),
    ROW("6.2 hidden by a tab", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 5\r\n\r\n", 400),
    // transfer-encoding
    ROW("6.1 both", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ROW("6.1 both, other order", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400),
    ROW("6.1 in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ROW("6.1 twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ROW("6.1 two lines", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 400),
    ROW("6.1 chunked twice in a list", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400),
    ROW("6.1 chunked not last", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400),
    ROW("6.1 other coding before", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    ROW("6.1 identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400),
    ROW("6.1 xchunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
    ROW("6.1 quoted", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", 400),
    ROW("6.1 with parameter", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", 400),
    ROW("6.1 vertical tab before", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b" "chunked\r\n\r\n", 400),
    ROW("6.1 empty coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", 400),
    ROW("6.1 name with blank", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
    ROW("6.1 comma before", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n", 501),
    ROW("6.1 comma behind", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n", 400),
    ROW("6.1 no-break space before", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xc2\xa0" "chunked\r\n\r\n", 400),
    ROW("6.1 form feed behind", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x0c\r\n\r\n", 400),
    ROW("6.1 folded coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", 400),
    ROW("6.1 coding in two folded parts", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunk\r\n ed\r\n\r\n", 400),
    ROW("6.1 hidden behind a bare CR", "POST / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n", 400),
    ROW("6.1 hidden behind a bare LF", "POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ROW("6.1 with a CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ROW("6.1 name in NUL", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\0: chunked\r\n\r\n", 400),
    ROW("6.1 name behind a blank line of blanks", "POST / HTTP/1.1\r\nHost: a\r\n \r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ROW("6.2 comma behind", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,\r\n\r\n", 400),
    ROW("6.2 fraction", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\n", 400),
    ROW("6.2 exponent", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1e1\r\n\r\n", 400),
    ROW("6.2 other digits", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xd9\xa5\r\n\r\n", 400),
    ROW("6.2 vertical tab before", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \x0b" "5\r\n\r\n", 400),
    ROW("6.2 quoted", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \"5\"\r\n\r\n", 400),
    ROW("6.2 repeated in another case", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nCONTENT-LENGTH: 6\r\n\r\n", 400),
    ROW("RFC 9110 7.6.1 connection names the coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n\r\n", 400),
    ROW("3.2 host with NUL", "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400),
    ROW("3.2 host repeated in another case", "GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", 400),
    ROW("3.2 host with a query", "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", 400),
    ROW("3.2 blank before the colon of host", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    ROW("3.2.2 authority with a bad port", "GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3.2.2 blank in the authority", "GET http://a b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("3.2.1 backslash for a slash", "GET \\a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ROW("5 first line is a header", "Host: a\r\nGET / HTTP/1.1\r\n\r\n", 400),
    ROW("5.1 LF before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX\n: b\r\n\r\n", 400),
    ROW("9.3 second request in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \nGET /evil HTTP/1.1\r\n\r\n", 400),
    // others
    ROW("RFC 9110 7.6.1 connection names a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: content-length\r\n\r\n", 400),
    ROW("RFC 9110 7.6.1 connection names host", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Host\r\n\r\n", 400),
    ROW("RFC 9110 10.1.1 other expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n", 417),
    ROW("RFC 9110 9.3.6 CONNECT with length", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", 400),
    ROW("RFC 9110 5.4 too many headers", "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nA: 2\r\nA: 3\r\nA: 4\r\nA: 5\r\nA: 6\r\nA: 7\r\nA: 8\r\n\r\n", 431),
};

static void requests(void **state)
{
    (void)state;
    char storage[8192];
    struct http_head head;
    struct http1_message message;
    for (size_t i = 0; i < array_count(request_rows); i++) {
        for (size_t piece = 0; piece < 4; piece++) {
            const char *reason = "accepted";
            int got = read_request(request_rows[i].text, request_rows[i].size, piece, storage, &head,
                                   &message, &reason);
            check_row(request_rows[i].section, got == request_rows[i].want, "piece %zu: got %d (%s), want %d",
                      piece, got, reason, request_rows[i].want);
        }
    }
}

static void request_fields(void **state)
{
    (void)state;
    char storage[8192];
    struct http_head head;
    struct http1_message message;
    const char *reason = NULL;
    const char *text = "POST http://Example.com:81?q=1 HTTP/1.1\r\nhost: other\r\nX-Hop: 1\r\nX-KEEP: a b \r\n"
                       "Connection: x-hop, Upgrade\r\nUpgrade: websocket\r\nTE: trailers\r\n"
                       "Content-Length: 007\r\n\r\nbody";
    assert_int_equal(read_request(text, strlen(text), 0, storage, &head, &message, &reason), 0);
    assert_str(head.method, "POST");
    assert_str(head.authority, "Example.com:81");
    assert_str(head.path, "/?q=1");
    assert_str(head.upgrade, "websocket");
    assert_int_equal(head.header_count, 2);
    assert_str(http_head_get(&head, STR("x-keep")), "a b");
    assert_false(http_head_has(&head, STR("x-hop")));
    assert_int_equal(message.body, HTTP1_BODY_LENGTH);
    assert_int_equal(message.length, 7);
    assert_true(message.keep_alive);

    text = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    assert_int_equal(read_request(text, strlen(text), 0, storage, &head, &message, &reason), 0);
    assert_true(message.keep_alive);
    text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: foo\r\nConnection: close\r\n\r\n";
    assert_int_equal(read_request(text, strlen(text), 0, storage, &head, &message, &reason), 0);
    assert_false(message.keep_alive);
    text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\n"
           "HTTP2-Settings: AAMAAABk\r\n\r\n";
    assert_int_equal(read_request(text, strlen(text), 0, storage, &head, &message, &reason), 0);
    assert_int_equal(head.upgrade.size, 0);
    assert_int_equal(head.header_count, 0);
}

static void sizes(void **state)
{
    (void)state;
    struct buf text = {0};
    char storage[16384];
    struct http_head head;
    struct http1_message message;
    const char *reason = NULL;
    buf_append_str(&text, STR("GET /"));
    for (int i = 0; i < 5000; i++) {
        buf_append_char(&text, 'a');
    }
    assert_int_equal(read_request(text.data, text.size, 0, storage, &head, &message, &reason), 414);
    assert_int_equal(read_request(text.data, text.size, 100, storage, &head, &message, &reason), 414);
    buf_reset(&text);
    buf_append_str(&text, STR("GET / HTTP/1.1\r\nHost: a\r\nX: "));
    for (int i = 0; i < 5000; i++) {
        buf_append_char(&text, 'a');
    }
    assert_int_equal(read_request(text.data, text.size, 0, storage, &head, &message, &reason), 431);
    buf_append_str(&text, STR("\r\n\r\n"));
    assert_int_equal(read_request(text.data, text.size, 0, storage, &head, &message, &reason), 431);
    buf_done(&text);
}

static const struct {
    const char *name;
    const char *text;
    const char *method;
    bool want;
    enum http1_body want_body;
} response_rows[] = {
    {"4 plain", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", true, HTTP1_BODY_LENGTH},
    {"4 no reason", "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n", "GET", true, HTTP1_BODY_LENGTH},
    {"4 no reason, no blank", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", "GET", true, HTTP1_BODY_LENGTH},
    {"6.3 HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", true, HTTP1_BODY_NONE},
    {"6.3 204", "HTTP/1.1 204 No Content\r\n\r\n", "GET", true, HTTP1_BODY_NONE},
    {"6.3 304 with length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET", true, HTTP1_BODY_NONE},
    {"6.3 100", "HTTP/1.1 100 Continue\r\n\r\n", "GET", true, HTTP1_BODY_NONE},
    {"6.3 CONNECT", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "CONNECT", true, HTTP1_BODY_TUNNEL},
    {"6.3 CONNECT refused", "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n", "CONNECT", true, HTTP1_BODY_LENGTH},
    {"6.3 until close", "HTTP/1.1 200 OK\r\n\r\n", "GET", true, HTTP1_BODY_UNTIL_CLOSE},
    {"6.1 chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", true, HTTP1_BODY_CHUNKED},
    {"RFC 9110 7.8 upgrade", "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "GET", true, HTTP1_BODY_TUNNEL},
    {"RFC 9110 7.8 101 without upgrade", "HTTP/1.1 101 S\r\n\r\n", "GET", false, 0},
    {"6.3 both", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "GET", false, 0},
    {"6.3 two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "GET", false, 0},
    {"6.3 two lengths on HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "HEAD", false, 0},
    {"6.1 gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "GET", false, 0},
    {"RFC 9110 8.6 204 with a body", "HTTP/1.1 204 N\r\nContent-Length: 5\r\n\r\n", "GET", false, 0},
    {"6.1 204 chunked", "HTTP/1.1 204 N\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", false, 0},
    {"4 status of two digits", "HTTP/1.1 20 OK\r\n\r\n", "GET", false, 0},
    {"4 status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", "GET", false, 0},
    {"4 status 099", "HTTP/1.1 099 OK\r\n\r\n", "GET", false, 0},
    {"4 other protocol", "ICY 200 OK and more\r\n\r\n", "GET", false, 0},
    {"2.3 HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", "GET", false, 0},
    {"5.2 folded", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "GET", false, 0},
    {"2.2 empty line before", "\r\nHTTP/1.1 200 OK\r\n\r\n", "GET", false, 0},
};

static void responses(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(response_rows); i++) {
        char storage[1024];
        struct http_head head;
        struct http1_message message = {0};
        struct http1_problem problem = {0};
        struct http1_scan scan = {0};
        struct str text = str_of(response_rows[i].text);
        bool ok = http1_scan(&scan, HTTP1_RESPONSE_HEAD, text, &limits, &problem) == HTTP1_DONE;
        if (ok) {
            memcpy(storage, text.data, scan.at);
            ok = http1_parse_response(storage, scan.at, &limits, str_of(response_rows[i].method), &head,
                                      &message, &problem);
        }
        check_row(response_rows[i].name, ok == response_rows[i].want, "got %d (%s)", ok,
                  problem.reason == NULL ? "" : problem.reason);
        check_row(response_rows[i].name, !ok || message.body == response_rows[i].want_body, "body %d",
                  (int)message.body);
    }
}

static const struct {
    const char *name;
    const char *text;
    const char *want; // NULL: refused
} chunk_rows[] = {
    {"7.1 plain", "5\r\nhello\r\n0\r\n", "hello"},
    {"7.1 two", "5\r\nhello\r\nA\r\n0123456789\r\n0\r\n", "hello0123456789"},
    {"7.1 leading zeros", "0005\r\nhello\r\n000\r\n", "hello"},
    {"7.1.1 extension", "5;a=b;c=\"d;e\"\r\nhello\r\n0;x\r\n", "hello"},
    {"7.1.1 blank before extension", "5 ;a\r\nhello\r\n0\r\n", "hello"},
    {"7.1 empty", "0\r\n", ""},
    {"7.1 no size", "\r\nhello\r\n0\r\n", NULL},
    {"7.1 extension only", ";a\r\n", NULL},
    {"7.1 not hexadecimal", "g\r\n", NULL},
    {"7.1 0x prefix", "0x5\r\nhello\r\n0\r\n", NULL},
    {"7.1 plus sign", "+5\r\nhello\r\n0\r\n", NULL},
    {"7.1 minus sign", "-1\r\n", NULL},
    {"7.1 leading blank", " 5\r\nhello\r\n0\r\n", NULL},
    {"7.1 trailing blank", "5 \r\nhello\r\n0\r\n", NULL},
    {"7.1 bare LF behind size", "5\nhello\r\n0\r\n", NULL},
    {"7.1 bare CR behind size", "5\rhello\r\n0\r\n", NULL},
    {"7.1 bare LF behind data", "5\r\nhello\n0\r\n", NULL},
    {"7.1 longer than its size", "4\r\nhello\r\n0\r\n", NULL},
    {"7.1 size overflow", "10000000000000005\r\nhello\r\n0\r\n", NULL},
    {"7.1 size overflow by zeros", "fffffffffffffffff\r\n", NULL},
    {"7.1.1 LF in extension", "5;a\nhello\r\n0\r\n", NULL},
    {"7.1.1 NUL-like control in extension", "5;\x01\r\nhello\r\n0\r\n", NULL},
};

static bool decode(const char *text, size_t size, size_t piece, struct buf *out)
{
    struct http1_chunked chunked = {0};
    struct http1_problem problem = {0};
    for (size_t at = 0; at < size;) {
        size_t step = piece == 0 || piece > size - at ? size - at : piece;
        struct str input = str_make(text + at, step);
        at += step;
        struct str data;
        enum http1_result result;
        do {
            result = http1_chunked_read(&chunked, &input, &data, &problem);
            buf_append_str(out, data);
        } while (result == HTTP1_MORE && (data.size > 0 || input.size > 0));
        if (result != HTTP1_MORE) {
            return result == HTTP1_DONE && at == size && input.size == 0;
        }
    }
    return false;
}

static void chunks(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(chunk_rows); i++) {
        for (size_t piece = 0; piece < 5; piece++) {
            struct buf out = {0};
            bool ok = decode(chunk_rows[i].text, strlen(chunk_rows[i].text), piece, &out);
            check_row(chunk_rows[i].name, ok == (chunk_rows[i].want != NULL), "piece %zu: got %d", piece, ok);
            check_row(chunk_rows[i].name, !ok || str_equal_c(buf_view(&out), chunk_rows[i].want), "got %.*s",
                      STR_ARG(buf_view(&out)));
            buf_done(&out);
        }
    }
    // A line longer than its limit, and many small extensions that add up.
    struct buf text = {0};
    struct buf out = {0};
    buf_append_str(&text, STR("1;"));
    for (unsigned i = 0; i < HTTP1_CHUNK_LINE_MAX; i++) {
        buf_append_char(&text, 'a');
    }
    buf_append_str(&text, STR("\r\nx\r\n0\r\n"));
    assert_false(decode(text.data, text.size, 0, &out));
    buf_reset(&text);
    for (unsigned i = 0; i < HTTP1_CHUNK_EXTENSIONS_MAX / 8; i++) {
        buf_append_str(&text, STR("1;abcdefghij\r\nx\r\n"));
    }
    buf_append_str(&text, STR("0\r\n"));
    assert_false(decode(text.data, text.size, 0, &out));
    buf_done(&text);
    buf_done(&out);
}

static void trailers(void **state)
{
    (void)state;
    struct http1_problem problem = {0};
    struct http_head head;
    char text[] = "X-Sum: 1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b\r\n\r\n";
    struct http1_scan scan = {0};
    assert_int_equal(http1_scan(&scan, HTTP1_TRAILERS, str_of(text), &limits, &problem), HTTP1_DONE);
    assert_true(http1_parse_trailers(text, scan.at, &limits, &head, &problem));
    assert_int_equal(head.header_count, 1);
    assert_str(http_head_get(&head, STR("x-sum")), "1");
    scan = (struct http1_scan){0};
    assert_int_equal(http1_scan(&scan, HTTP1_TRAILERS, STR("\r\n"), &limits, &problem), HTTP1_DONE);
    scan = (struct http1_scan){0};
    assert_int_equal(http1_scan(&scan, HTTP1_TRAILERS, STR("X: 1\r\n"), &limits, &problem), HTTP1_MORE);
}

static void writing(void **state)
{
    (void)state;
    struct buf out = {0};
    struct http_head head;
    http_head_init_request(&head, STR("GET"), STR("http"), STR("a:1"), STR("/x y\r\nz"));
    http_head_add(&head, STR("x-a"), STR("1\r\nx-evil: 2"));
    http_head_add(&head, STR("bad name"), STR("1"));
    http_head_add(&head, STR("connection"), STR("close"));
    http_head_add(&head, STR("content-length"), STR("5"));
    http1_write_request_line(&out, &head);
    http1_write_headers(&out, &head, false);
    assert_str(buf_view(&out), "GET /x%20y%0D%0Az HTTP/1.1\r\nhost: a:1\r\nx-a: 1  x-evil: 2\r\n");
    buf_reset(&out);
    http1_write_status_line(&out, 404);
    http1_write_chunk_start(&out, 0x1f0);
    http1_write_chunk_start(&out, 0);
    assert_str(buf_view(&out), "HTTP/1.1 404 Not Found\r\n1f0\r\n0\r\n");
    buf_done(&out);
}

static void heads(void **state)
{
    (void)state;
    struct http_head head;
    http_head_init_response(&head, 200);
    assert_true(http_head_add(&head, STR("a"), STR("1")));
    assert_true(http_head_add(&head, STR("b"), STR("2")));
    assert_true(http_head_add(&head, STR("a"), STR("3")));
    assert_true(http_head_set(&head, STR("a"), STR("4")));
    assert_int_equal(head.header_count, 2);
    struct arena arena = {0};
    struct http_head *copy = http_head_copy(&arena, &head);
    http_head_remove(&head, STR("a"));
    assert_null(http_head_get(&head, STR("a")).data);
    assert_str(http_head_get(copy, STR("a")), "4");
    assert_str(http_head_get(copy, STR("b")), "2");
    arena_done(&arena);
    while (http_head_add(&head, STR("x"), STR("y"))) {
    }
    assert_int_equal(head.header_count, HTTP_HEADERS_MAX);
    assert_string_equal(http_status_text(404), "Not Found");
    assert_string_equal(http_status_text(299), "");
}

// The table of characters is what the grammar says.
static void classes(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool token = alnum || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
        bool name = alnum || (c != 0 && strchr("-._~!$&'()*+,;=%", c) != NULL);
        assert_int_equal(http1_is((char)c, HTTP1_TOKEN), token);
        assert_int_equal(http1_is((char)c, HTTP1_NAME), name);
        assert_int_equal(http1_is((char)c, HTTP1_VALUE), c == '\t' || (c >= ' ' && c != 0x7f));
        assert_int_equal(http1_is((char)c, HTTP1_TARGET), c > ' ' && c < 0x7f && c != '#');
    }
}

// Values are looked at in words: each byte at each place of one, alone and beside a tab.
static void value_bytes(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        for (size_t at = 0; at < 2 * 20; at++) {
            char text[] = "GET / HTTP/1.1\r\nHost: a\r\nX: ,ab\xff" "cdefgh ijklmnop,q,\r\n\r\n";
            char *value = strchr(text, ',') + 1;
            value[(at + 3) % 20] = at < 20 ? value[(at + 3) % 20] : '\t';
            value[at % 20] = (char)c;
            char storage[sizeof(text)];
            struct http_head head;
            struct http1_message message;
            const char *reason = NULL;
            int status = read_request(text, sizeof(text) - 1, 0, storage, &head, &message, &reason);
            assert_int_equal(status, http1_is((char)c, HTTP1_VALUE) ? 0 : 400);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests), cmocka_unit_test(request_fields), cmocka_unit_test(sizes),
        cmocka_unit_test(responses), cmocka_unit_test(chunks),        cmocka_unit_test(trailers),
        cmocka_unit_test(writing),  cmocka_unit_test(heads),          cmocka_unit_test(classes),
        cmocka_unit_test(value_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
