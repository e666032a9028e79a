// SPDX-License-Identifier: Apache-2.0
#include "proxy/listener/http_inspect.h"

#include <stdbool.h>

#define METHOD_MAX 24u // longer first words are not a method

static const struct str preface = {.data = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .size = 24};

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

// The request line without its end.
static enum http_inspect_result judge_line(struct str line)
{
    if (line.size > 0 && line.data[line.size - 1] == '\r') {
        line.size--;
    }
    ptrdiff_t method_end = str_find_char(line, ' ');
    ptrdiff_t target_end = str_find_last_char(line, ' ');
    if (method_end <= 0 || target_end <= method_end + 1) {
        return HTTP_INSPECT_OTHER;
    }
    struct str version = str_from(line, (size_t)target_end + 1);
    if (version.size != 8 || !str_starts_with(version, STR("HTTP/"))) {
        return HTTP_INSPECT_OTHER;
    }
    return str_equal(version, STR("HTTP/1.1")) ? HTTP_INSPECT_HTTP11 : HTTP_INSPECT_HTTP10;
}

enum http_inspect_result http_inspect(struct str bytes)
{
    size_t same = bytes.size < preface.size ? bytes.size : preface.size;
    if (same > 0 && memcmp(bytes.data, preface.data, same) == 0) {
        return same == preface.size ? HTTP_INSPECT_HTTP2 : HTTP_INSPECT_MORE;
    }
    for (size_t i = 0; i < bytes.size; i++) {
        char c = bytes.data[i];
        if (c == ' ' && i > 0) {
            ptrdiff_t end = str_find_char(bytes, '\n');
            return end < 0 ? HTTP_INSPECT_MORE : judge_line(str_sub(bytes, 0, (size_t)end));
        }
        if (i >= METHOD_MAX || !is_token_char(c)) {
            return HTTP_INSPECT_OTHER;
        }
    }
    return HTTP_INSPECT_MORE;
}

struct str http_inspect_protocol(enum http_inspect_result result)
{
    switch (result) {
    case HTTP_INSPECT_HTTP10:
        return STR("http/1.0");
    case HTTP_INSPECT_HTTP11:
        return STR("http/1.1");
    case HTTP_INSPECT_HTTP2:
        return STR("h2c");
    case HTTP_INSPECT_MORE:
    case HTTP_INSPECT_OTHER:
        break;
    }
    return STR_EMPTY;
}
