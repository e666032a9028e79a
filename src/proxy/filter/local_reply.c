// SPDX-License-Identifier: Apache-2.0
#include "proxy/filter/local_reply.h"

#include "base/assert.h"
#include "proxy/filter/access_log.h"

// clang-format off
static const struct {
    int status;
    const char *body;
    unsigned flag;
    const char *details;
} replies[REPLY_COUNT] = {
    [REPLY_NO_ROUTE]        = {404, "",                          FLAG_NO_ROUTE,            "route_not_found"},
    [REPLY_NO_CLUSTER]      = {503, "",                          FLAG_NO_CLUSTER,          "cluster_not_found"},
    [REPLY_NO_HOST]         = {503, "no healthy upstream",       FLAG_NO_HEALTHY_UPSTREAM, "no_healthy_upstream"},
    [REPLY_OVERFLOW]        = {503, "upstream connect error or disconnect/reset before headers. reset reason: overflow",
                                                                 FLAG_UPSTREAM_OVERFLOW,   "upstream_reset_before_response_started{overflow}"},
    [REPLY_RESET]           = {503, "",                          0,                        "upstream_reset_before_response_started"},
    [REPLY_ROUTE_TIMEOUT]   = {504, "upstream request timeout",  FLAG_UPSTREAM_TIMEOUT,    "response_timeout"},
    [REPLY_TRY_TIMEOUT]     = {504, "upstream request timeout",  FLAG_UPSTREAM_TIMEOUT,    "upstream_per_try_timeout"},
    [REPLY_STREAM_IDLE]     = {408, "stream timeout",            FLAG_STREAM_IDLE,         "stream_idle_timeout"},
    [REPLY_BAD_PATH]        = {400, "",                          0,                        "path_normalization_failed"},
    [REPLY_UPGRADE_REFUSED] = {403, "",                          0,                        "upgrade_failed"},
};
// clang-format on

struct local_reply local_reply_get(enum local_reply_kind kind)
{
    ASSERT(kind < REPLY_COUNT);
    return (struct local_reply){replies[kind].status, str_of(replies[kind].body), replies[kind].flag, str_of(replies[kind].details)};
}

static int grpc_status_of(int status)
{
    switch (status) {
    case 400:
        return 13;
    case 401:
        return 16;
    case 403:
        return 7;
    case 404:
        return 12;
    case 429:
    case 502:
    case 503:
    case 504:
        return 14;
    default:
        return 2;
    }
}

// Percent-encoding of grpc-message: everything but printable ASCII, and the percent sign itself.
static struct str encode_message(struct arena *arena, struct str text)
{
    static const char digits[] = "0123456789ABCDEF";
    char *out = arena_alloc(arena, text.size * 3 + 1);
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c >= ' ' && c < 0x7f && c != '%') {
            out[size++] = (char)c;
            continue;
        }
        out[size++] = '%';
        out[size++] = digits[c >> 4];
        out[size++] = digits[c & 15];
    }
    return str_make(out, size);
}

void local_reply_send(struct http_exchange *exchange, bool is_grpc, bool is_head_request, int status, struct str body,
                      struct str server_name, struct http_head *ret_head, struct arena *arena)
{
    struct http_head *head = ret_head;
    if (is_grpc) {
        struct str given = head->status == 0 ? STR_EMPTY : http_head_get(head, STR("grpc-status")); // the caller knows better
        http_head_init_response(head, 200);
        (void)http_head_add(head, STR("content-type"), STR("application/grpc"));
        (void)http_head_add(head, STR("grpc-status"), given.size > 0 ? given : arena_format(arena, "%d", grpc_status_of(status)));
        if (body.size > 0) {
            (void)http_head_add(head, STR("grpc-message"), encode_message(arena, body));
        }
        (void)http_head_add(head, STR("server"), server_name);
        http_send_head(exchange, head, true);
        return;
    }
    if (head->status != status) { // a caller with headers of its own has begun the head
        http_head_init_response(head, status);
    }
    (void)http_head_set(head, STR("content-length"), arena_format(arena, "%zu", body.size));
    if (body.size > 0 && !http_head_has(head, STR("content-type"))) {
        (void)http_head_add(head, STR("content-type"), STR("text/plain"));
    }
    (void)http_head_set(head, STR("server"), server_name);
    bool ends = body.size == 0 || is_head_request;
    http_send_head(exchange, head, ends);
    if (!ends) {
        http_send_data(exchange, body, true);
    }
}
