// SPDX-License-Identifier: Apache-2.0
//
// The chunked transfer coding (RFC 9112 section 7.1):
//
//   SIZE -> DIGITS -> [BLANK] -> [EXTENSION] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
//                                                  | size 0
//                                                  +-> END (the trailer section follows)
//
// Extensions are skipped, not understood; their bytes are bounded per line and per message.
#include "codec/http1/http1.h"

#include "codec/http1/http1_internal.h"

static enum http1_result refuse(struct http1_problem *problem, const char *reason)
{
    *problem = (struct http1_problem){.status = 400, .reason = reason};
    return HTTP1_BAD;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = http1_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum http1_result read_digits(struct http1_chunked *chunked, char c,
                                     struct http1_problem *problem)
{
    int digit = hex_digit(c);
    if (digit >= 0) {
        if (chunked->left >> 58 != 0) {
            return refuse(problem, "chunk size too large");
        }
        chunked->left = chunked->left << 4 | (unsigned)digit;
        chunked->state = HTTP1_CHUNK_DIGITS;
        return HTTP1_MORE;
    }
    if (chunked->state == HTTP1_CHUNK_SIZE) {
        return refuse(problem, "chunk size is missing");
    }
    switch (c) {
    case '\r':
        chunked->state = HTTP1_CHUNK_SIZE_LF;
        return HTTP1_MORE;
    case ';':
        chunked->state = HTTP1_CHUNK_EXTENSION;
        return HTTP1_MORE;
    case ' ':
    case '\t':
        chunked->state = HTTP1_CHUNK_BLANK;
        return HTTP1_MORE;
    default:
        return refuse(problem, "malformed chunk size");
    }
}

static enum http1_result read_extension(struct http1_chunked *chunked, char c,
                                        struct http1_problem *problem)
{
    if (++chunked->extension_bytes > HTTP1_CHUNK_EXTENSIONS_MAX) {
        return refuse(problem, "chunk extensions too large");
    }
    if (c == '\r') {
        chunked->state = HTTP1_CHUNK_SIZE_LF;
        return HTTP1_MORE;
    }
    return http1_is(c, HTTP1_VALUE) ? HTTP1_MORE
                                    : refuse(problem, "control character in chunk extension");
}

// One byte of anything but chunk data.
static enum http1_result read_line_byte(struct http1_chunked *chunked, char c,
                                        struct http1_problem *problem)
{
    if (++chunked->line_bytes > HTTP1_CHUNK_LINE_MAX) {
        return refuse(problem, "chunk line too long");
    }
    switch (chunked->state) {
    case HTTP1_CHUNK_SIZE:
    case HTTP1_CHUNK_DIGITS:
        return read_digits(chunked, c, problem);
    case HTTP1_CHUNK_BLANK:
        if (c == ';') {
            chunked->state = HTTP1_CHUNK_EXTENSION;
            return HTTP1_MORE;
        }
        return c == ' ' || c == '\t' ? HTTP1_MORE : refuse(problem, "blank behind chunk size");
    case HTTP1_CHUNK_EXTENSION:
        return read_extension(chunked, c, problem);
    case HTTP1_CHUNK_SIZE_LF:
        if (c != '\n') {
            return refuse(problem, "chunk line ends without LF");
        }
        chunked->line_bytes = 0;
        chunked->state = chunked->left > 0 ? HTTP1_CHUNK_DATA : HTTP1_CHUNK_END;
        return chunked->left > 0 ? HTTP1_MORE : HTTP1_DONE;
    case HTTP1_CHUNK_DATA_CR:
        chunked->state = HTTP1_CHUNK_DATA_LF;
        return c == '\r' ? HTTP1_MORE : refuse(problem, "chunk is longer than its size");
    case HTTP1_CHUNK_DATA_LF:
        chunked->line_bytes = 0;
        chunked->state = HTTP1_CHUNK_SIZE;
        return c == '\n' ? HTTP1_MORE : refuse(problem, "chunk ends without LF");
    case HTTP1_CHUNK_DATA:
    case HTTP1_CHUNK_END:
        break;
    }
    return HTTP1_DONE;
}

enum http1_result http1_chunked_read(struct http1_chunked *chunked, struct str *input,
                                     struct str *ret_data, struct http1_problem *ret_problem)
{
    *ret_data = STR_EMPTY;
    while (input->size > 0 && chunked->state != HTTP1_CHUNK_END) {
        if (chunked->state == HTTP1_CHUNK_DATA) {
            size_t size = input->size < chunked->left ? input->size : (size_t)chunked->left;
            *ret_data = str_make(input->data, size);
            *input = str_make(input->data + size, input->size - size);
            chunked->left -= size;
            chunked->state = chunked->left > 0 ? HTTP1_CHUNK_DATA : HTTP1_CHUNK_DATA_CR;
            return HTTP1_MORE;
        }
        char c = input->data[0];
        *input = str_make(input->data + 1, input->size - 1);
        enum http1_result result = read_line_byte(chunked, c, ret_problem);
        if (result != HTTP1_MORE) {
            return result;
        }
    }
    return chunked->state == HTTP1_CHUNK_END ? HTTP1_DONE : HTTP1_MORE;
}
