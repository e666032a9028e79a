// SPDX-License-Identifier: Apache-2.0
//
// parse: CPU time of reading one request head, ours and http-parser's in turns in one process.
//
//   parse ROUNDS      prints one JSON object: nanoseconds per head of each round, and the head's size
//
// Ours is what a connection does: find the end, copy the head to where it may be changed, parse it into
// a table of lower-case names and values with routing and framing decided. Theirs runs with callbacks
// that note each name and value in a table of the same size: the least any user of it needs.
#include <http_parser.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/memory.h"
#include "codec/http1/http1.h"

#define PARSE_HEADS 50000 // per round and parser
#define PARSE_ROUNDS_MAX 1000u

// What a browser sends, cut to 500 bytes.
static const char head_text[] =
    "GET /shop/products/4711?colour=blue&size=medium HTTP/1.1\r\n"
    "Host: store.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-GB,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Referer: https://store.example.com/shop/\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=4f2c9a1e7b8d30; theme=dark; consent=1\r\n"
    "X-Request-Id: 6ba7b810-9dad-11d1-80b4-00c04fd430\r\n"
    "Priority: u=0, i\r\n"
    "\r\n";

static uint64_t cpu_ns(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// --- ours ------------------------------------------------------------------------------------------

struct ours {
    struct buf bytes;
    struct http_head head;
    struct http1_message message;
};

static void parse_ours(struct ours *ours, struct str text)
{
    static const struct http1_limits limits = {.head_bytes = 64 * 1024, .header_count = 100};
    struct http1_scan scan = {0};
    struct http1_problem problem = {0};
    ASSERT(http1_scan(&scan, HTTP1_REQUEST_HEAD, text, &limits, &problem) == HTTP1_DONE);
    buf_reset(&ours->bytes);
    buf_append_str(&ours->bytes, str_sub(text, scan.start, scan.at - scan.start));
    ASSERT(http1_parse_request(ours->bytes.data + ours->bytes.start, ours->bytes.size, &limits, &ours->head,
                               &ours->message, &problem));
}

// --- theirs ----------------------------------------------------------------------------------------

struct theirs {
    http_parser parser;
    struct str target;
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t count;
    bool complete;
};

static int on_url(http_parser *parser, const char *at, size_t size)
{
    struct theirs *theirs = parser->data;
    theirs->target = str_make(at, size);
    return 0;
}

static int on_name(http_parser *parser, const char *at, size_t size)
{
    struct theirs *theirs = parser->data;
    ASSERT(theirs->count < HTTP_HEADERS_MAX);
    theirs->headers[theirs->count].name = str_make(at, size);
    return 0;
}

static int on_value(http_parser *parser, const char *at, size_t size)
{
    struct theirs *theirs = parser->data;
    theirs->headers[theirs->count++].value = str_make(at, size);
    return 0;
}

static int on_complete(http_parser *parser)
{
    struct theirs *theirs = parser->data;
    theirs->complete = true;
    return 0;
}

static void parse_theirs(struct theirs *theirs, const http_parser_settings *settings, struct str text)
{
    http_parser_init(&theirs->parser, HTTP_REQUEST);
    theirs->parser.data = theirs;
    theirs->count = 0;
    theirs->complete = false;
    ASSERT(http_parser_execute(&theirs->parser, settings, text.data, text.size) == text.size);
    ASSERT(theirs->complete);
}

// --- rounds ----------------------------------------------------------------------------------------

static void print_list(const char *name, const double *values, size_t count)
{
    (void)printf("\"%s\": [", name);
    for (size_t i = 0; i < count; i++) {
        (void)printf("%s%.1f", i > 0 ? ", " : "", values[i]);
    }
    (void)printf("]");
}

int main(int argc, char **argv)
{
    uint64_t rounds = 0;
    if (argc != 2 || !str_to_u64(str_of(argv[1]), &rounds) || rounds == 0 || rounds > PARSE_ROUNDS_MAX) {
        (void)fprintf(stderr, "usage: %s ROUNDS\n", argv[0]);
        return 2;
    }
    static struct ours ours;
    static struct theirs theirs;
    static double ours_ns[PARSE_ROUNDS_MAX];
    static double theirs_ns[PARSE_ROUNDS_MAX];
    const http_parser_settings settings = {
        .on_url = on_url, .on_header_field = on_name, .on_header_value = on_value, .on_message_complete = on_complete};
    struct str text = str_make(head_text, sizeof(head_text) - 1);
    for (size_t round = 0; round < rounds; round++) {
        uint64_t start = cpu_ns();
        for (int i = 0; i < PARSE_HEADS; i++) {
            parse_ours(&ours, text);
        }
        uint64_t middle = cpu_ns();
        for (int i = 0; i < PARSE_HEADS; i++) {
            parse_theirs(&theirs, &settings, text);
        }
        ours_ns[round] = (double)(middle - start) / PARSE_HEADS;
        theirs_ns[round] = (double)(cpu_ns() - middle) / PARSE_HEADS;
    }
    (void)printf("{\"head_bytes\": %zu, ", text.size);
    print_list("isthmesh", ours_ns, rounds);
    (void)printf(", ");
    print_list("http_parser", theirs_ns, rounds);
    (void)printf("}\n");
    buf_done(&ours.bytes);
    return 0;
}
