// SPDX-License-Identifier: Apache-2.0
//
// http1: HTTP/1.x messages from and to bytes (RFC 9112), without I/O. Strict on purpose: whatever
// two implementations could read differently is refused, because that is what request smuggling
// lives on. No line folding, no blank before a colon, no bare CR or LF, no repeated or conflicting
// content-length and transfer-encoding, no transfer coding but one `chunked`.
//
// Reading a message takes three steps:
//
//   http1_scan()             finds the end of the head in bytes that arrive piecemeal; each byte is
//                            looked at once however small the pieces are
//   http1_parse_request()    the whole head at once; header names are lower-cased in place, every
//   http1_parse_response()   view of the head points into the caller's bytes
//   http1_chunked_read()     body bytes as views into the input; then http1_scan() and
//                            http1_parse_trailers() for what follows the last chunk
//
// Hop-by-hop headers (and those named by `connection`) never reach the head: what they say is in
// struct http1_message. `host` becomes head.authority.
#ifndef CODEC_HTTP1_HTTP1_H
#define CODEC_HTTP1_HTTP1_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "codec/http1/http_head.h"

#define HTTP1_METHOD_MAX 32u
#define HTTP1_CHUNK_LINE_MAX 256u               // chunk size, extensions and line end
#define HTTP1_CHUNK_EXTENSIONS_MAX (16u * 1024) // of all chunks of one message
#define HTTP1_CONNECTION_HEADERS_MAX 8u         // lines of `connection` in one head

enum http1_result {
    HTTP1_DONE,
    HTTP1_MORE, // not an error: more bytes are needed
    HTTP1_BAD,
};

// Why a message was refused: the status to answer with and a sentence.
struct http1_problem {
    int status;
    const char *reason;
};

struct http1_limits {
    size_t head_bytes;     // whole head or trailer section
    unsigned header_count; // at most HTTP_HEADERS_MAX
};

enum http1_section { HTTP1_REQUEST_HEAD, HTTP1_RESPONSE_HEAD, HTTP1_TRAILERS };

// Zero-initialized: at the start of a section.
struct http1_scan {
    size_t at;         // bytes looked at
    size_t line_start; // of the line being scanned
    size_t start;      // of the section: 2 behind one tolerated empty line (RFC 9112 section 2.2)
    unsigned lines;    // complete lines of the section
};

// DONE: the section is bytes[scan->start, scan->at). `bytes` must begin where it began in earlier
// calls.
enum http1_result http1_scan(struct http1_scan *scan, enum http1_section section, struct str bytes,
                             const struct http1_limits *limits, struct http1_problem *ret_problem);

enum http1_body {
    HTTP1_BODY_NONE,
    HTTP1_BODY_LENGTH,
    HTTP1_BODY_CHUNKED,
    HTTP1_BODY_UNTIL_CLOSE, // responses only
    HTTP1_BODY_TUNNEL,      // CONNECT request; 2xx answer to it; 101
};

struct http1_message {
    int version; // 10 or 11
    enum http1_body body;
    uint64_t length;      // HTTP1_BODY_LENGTH
    bool keep_alive;      // what the sender allows
    bool expect_continue; // requests
};

// bytes: a whole head as http1_scan() delimited it. False: refused, *ret_problem says why.
bool http1_parse_request(char *bytes, size_t size, const struct http1_limits *limits,
                         struct http_head *head, struct http1_message *message,
                         struct http1_problem *ret_problem);
// The framing of a response depends on the request's method.
bool http1_parse_response(char *bytes, size_t size, const struct http1_limits *limits,
                          struct str request_method, struct http_head *head,
                          struct http1_message *message, struct http1_problem *ret_problem);
// Fields that must not be trailers (framing, routing: RFC 9110 section 6.5.1) are dropped.
bool http1_parse_trailers(char *bytes, size_t size, const struct http1_limits *limits,
                          struct http_head *trailers, struct http1_problem *ret_problem);

// --- chunked bodies
// --------------------------------------------------------------------------------

enum http1_chunked_state {
    HTTP1_CHUNK_SIZE = 0,  // before the first digit
    HTTP1_CHUNK_DIGITS,    // in the size
    HTTP1_CHUNK_BLANK,     // blanks between size and ';'
    HTTP1_CHUNK_EXTENSION, // behind ';'
    HTTP1_CHUNK_SIZE_LF,   // LF of the size line
    HTTP1_CHUNK_DATA,
    HTTP1_CHUNK_DATA_CR,
    HTTP1_CHUNK_DATA_LF,
    HTTP1_CHUNK_END, // the last chunk's line was read; the trailer section follows
};

struct http1_chunked {
    enum http1_chunked_state state;
    uint64_t left; // of this chunk
    unsigned line_bytes;
    unsigned extension_bytes;
};

// Takes from the front of *input. MORE with a non-empty *ret_data: body bytes, call again; MORE
// with an empty one: input is used up. DONE: behind the last chunk. BAD: *ret_problem.
enum http1_result http1_chunked_read(struct http1_chunked *chunked, struct str *input,
                                     struct str *ret_data, struct http1_problem *ret_problem);

// --- writing
// ---------------------------------------------------------------------------------------

// Appended as the header says; bytes that could split a message (CR, LF, NUL, other controls)
// become blanks in values, and a header whose name is not a token is left out.
void http1_write_header(struct buf *out, struct str name, struct str value);
void http1_write_request_line(struct buf *out, const struct http_head *head);
void http1_write_status_line(struct buf *out, int status);
// All entries but those that framing owns: hop-by-hop ones, and content-length unless with_length.
void http1_write_headers(struct buf *out, const struct http_head *head, bool with_length);
void http1_write_chunk_start(struct buf *out, size_t size); // "1f\r\n"

// A list of tokens separated by commas contains `token` (lower-case).
bool http1_list_has(struct str list, struct str token);

#endif
