// SPDX-License-Identifier: Apache-2.0
#include "codec/http1/http1.h"

#include "codec/http1/http1_internal.h"

// Room first, then plain stores: a head is written without a capacity check per part.
static char *put(char *at, struct str s)
{
    if (s.size > 0) {
        memcpy(at, s.data, s.size);
    }
    return at + s.size;
}

static char *put_value(char *at, struct str value)
{
    for (size_t i = 0; i < value.size; i++) {
        *at++ = http1_is(value.data[i], HTTP1_VALUE) ? value.data[i] : ' ';
    }
    return at;
}

static bool is_token(struct str name)
{
    for (size_t i = 0; i < name.size; i++) {
        if (!http1_is(name.data[i], HTTP1_TOKEN)) {
            return false;
        }
    }
    return name.size > 0;
}

void http1_write_header(struct buf *out, struct str name, struct str value)
{
    if (!is_token(name)) {
        return;
    }
    size_t size = name.size + value.size + 4;
    char *at = buf_reserve(out, size);
    at = put(at, name);
    at = put(at, STR(": "));
    at = put_value(at, value);
    (void)put(at, STR("\r\n"));
    buf_commit(out, size);
}

static bool is_framing(struct str name)
{
    switch (name.size) {
    case 2:
        return str_equal(name, STR("te"));
    case 4:
        return str_equal(name, STR("host"));
    case 7:
        return str_equal(name, STR("upgrade"));
    case 10:
        return str_equal(name, STR("connection")) || str_equal(name, STR("keep-alive"));
    case 16:
        return str_equal(name, STR("proxy-connection"));
    case 17:
        return str_equal(name, STR("transfer-encoding"));
    default:
        return false;
    }
}

void http1_write_headers(struct buf *out, const struct http_head *head, bool with_length)
{
    for (size_t i = 0; i < head->header_count; i++) {
        struct str name = head->headers[i].name;
        if (!is_framing(name) && (with_length || !str_equal(name, STR("content-length")))) {
            http1_write_header(out, name, head->headers[i].value);
        }
    }
}

// A blank inside a target would forge the rest of the line: anything not allowed there is encoded.
static void write_target(struct buf *out, struct str target)
{
    static const char digits[] = "0123456789ABCDEF";
    char *start = buf_reserve(out, target.size * 3);
    char *at = start;
    for (size_t i = 0; i < target.size; i++) {
        unsigned char c = (unsigned char)target.data[i];
        if (http1_is((char)c, HTTP1_TARGET)) {
            *at++ = (char)c;
        } else {
            *at++ = '%';
            *at++ = digits[c >> 4];
            *at++ = digits[c & 15];
        }
    }
    buf_commit(out, (size_t)(at - start));
}

void http1_write_request_line(struct buf *out, const struct http_head *head)
{
    buf_append_str(out, is_token(head->method) ? head->method : STR("GET"));
    buf_append_char(out, ' ');
    bool connect = str_equal(head->method, STR("CONNECT"));
    struct str target = connect ? head->authority : head->path;
    write_target(out, target.size > 0 ? target : STR("/"));
    buf_append_str(out, STR(" HTTP/1.1\r\n"));
    http1_write_header(out, STR("host"), head->authority);
}

void http1_write_status_line(struct buf *out, int status)
{
    if (status == 200) {
        buf_append_str(out, STR("HTTP/1.1 200 OK\r\n")); // most of them
        return;
    }
    buf_append_str(out, STR("HTTP/1.1 "));
    buf_append_u64(out, status >= 100 && status <= 999 ? (uint64_t)status : 500);
    buf_append_char(out, ' ');
    buf_append_str(out, str_of(http_status_text(status)));
    buf_append_str(out, STR("\r\n"));
}

void http1_write_chunk_start(struct buf *out, size_t size)
{
    char digits[sizeof(size) * 2];
    size_t at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdef"[size & 15];
        size >>= 4;
    } while (size > 0);
    buf_append(out, digits + at, sizeof(digits) - at);
    buf_append_str(out, STR("\r\n"));
}
