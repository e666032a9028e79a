// SPDX-License-Identifier: Apache-2.0
//
// The first byte chooses the role and the piece size; the rest is a connection's input. Whatever it
// is, reading it in pieces must find what reading it at once finds.
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "codec/http1/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    int status; // -1: incomplete, 0: read, else refused
    size_t head_size;
    size_t header_count;
    enum http1_body body;
    uint64_t length;
    uint64_t body_bytes;
};

static const struct http1_limits limits = {.head_bytes = 2048, .header_count = 16};

static void check_views(const struct http_head *head, const char *bytes, size_t size)
{
    for (size_t i = 0; i < head->header_count; i++) {
        struct str name = head->headers[i].name;
        struct str value = head->headers[i].value;
        ASSERT(name.data >= bytes && name.data + name.size <= bytes + size);
        ASSERT(value.data >= bytes && value.data + value.size <= bytes + size);
        ASSERT(memchr(value.data, '\n', value.size) == NULL &&
               memchr(name.data, ':', name.size) == NULL);
    }
}

static void read_chunks(struct str text, size_t piece, struct outcome *outcome)
{
    struct http1_chunked chunked = {0};
    struct http1_problem problem = {0};
    for (size_t at = 0; at < text.size;) {
        struct str input = str_sub(text, at, piece);
        at += input.size;
        struct str part;
        enum http1_result result;
        do {
            result = http1_chunked_read(&chunked, &input, &part, &problem);
            outcome->body_bytes += part.size;
        } while (result == HTTP1_MORE && (part.size > 0 || input.size > 0));
        if (result != HTTP1_MORE) {
            outcome->status = result == HTTP1_BAD ? 400 : 0;
            return;
        }
    }
}

static struct outcome read_message(struct str text, bool request, size_t piece)
{
    struct outcome outcome = {.status = -1};
    struct http1_scan scan = {0};
    struct http1_problem problem = {0};
    enum http1_result result = HTTP1_MORE;
    enum http1_section section = request ? HTTP1_REQUEST_HEAD : HTTP1_RESPONSE_HEAD;
    for (size_t end = 0; result == HTTP1_MORE && end < text.size;) {
        end = text.size - end < piece ? text.size : end + piece;
        result = http1_scan(&scan, section, str_sub(text, 0, end), &limits, &problem);
    }
    if (result == HTTP1_MORE) {
        return outcome;
    }
    outcome.status = problem.status;
    if (result == HTTP1_BAD) {
        return outcome;
    }
    outcome.head_size = scan.at - scan.start;
    char *bytes = malloc(outcome.head_size);
    ASSERT(bytes != NULL);
    memcpy(bytes, text.data + scan.start, outcome.head_size);
    static struct http_head head;
    struct http1_message message = {0};
    bool ok =
        request ? http1_parse_request(bytes, outcome.head_size, &limits, &head, &message, &problem)
                : http1_parse_response(bytes, outcome.head_size, &limits, STR("GET"), &head,
                                       &message, &problem);
    outcome.status = ok ? 0 : problem.status;
    ASSERT(ok || problem.status >= 400);
    if (ok) {
        check_views(&head, bytes, outcome.head_size);
        outcome.header_count = head.header_count;
        outcome.body = message.body;
        outcome.length = message.length;
        if (message.body == HTTP1_BODY_CHUNKED) {
            read_chunks(str_from(text, scan.at), piece, &outcome);
        }
    }
    free(bytes);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct str text = str_make((const char *)data + 1, size - 1);
    bool request = (data[0] & 1) != 0;
    struct outcome whole = read_message(text, request, text.size + 1);
    struct outcome pieces = read_message(text, request, (size_t)(data[0] >> 1) + 1);
    // A piecewise reader may refuse for size what the other refuses for another reason first.
    ASSERT((whole.status > 0) == (pieces.status > 0) || whole.status == -1 || pieces.status == -1);
    if (whole.status == 0 && pieces.status == 0) {
        ASSERT(whole.head_size == pieces.head_size && whole.header_count == pieces.header_count);
        ASSERT(whole.body == pieces.body && whole.length == pieces.length);
        ASSERT(whole.body_bytes == pieces.body_bytes);
    }
    return 0;
}
