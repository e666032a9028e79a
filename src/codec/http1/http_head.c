// SPDX-License-Identifier: Apache-2.0
#include "codec/http1/http_head.h"

#include <stdint.h>

#include "base/memory.h"

struct str http_head_get(const struct http_head *head, struct str name)
{
    for (size_t i = 0; i < head->header_count; i++) {
        if (str_equal(head->headers[i].name, name)) {
            return head->headers[i].value;
        }
    }
    return str_make(NULL, 0);
}

bool http_head_has(const struct http_head *head, struct str name)
{
    for (size_t i = 0; i < head->header_count; i++) {
        if (str_equal(head->headers[i].name, name)) {
            return true;
        }
    }
    return false;
}

bool http_head_add(struct http_head *head, struct str name, struct str value)
{
    if (head->header_count >= HTTP_HEADERS_MAX) {
        return false;
    }
    head->headers[head->header_count++] = (struct http_header){.name = name, .value = value};
    return true;
}

// Removes the entries of that name from index `from` on; order of the others stays.
static void remove_from(struct http_head *head, struct str name, size_t from)
{
    size_t kept = from;
    for (size_t i = from; i < head->header_count; i++) {
        if (!str_equal(head->headers[i].name, name)) {
            head->headers[kept++] = head->headers[i];
        }
    }
    head->header_count = kept;
}

bool http_head_set(struct http_head *head, struct str name, struct str value)
{
    for (size_t i = 0; i < head->header_count; i++) {
        if (str_equal(head->headers[i].name, name)) {
            head->headers[i].value = value;
            remove_from(head, name, i + 1);
            return true;
        }
    }
    return http_head_add(head, name, value);
}

void http_head_remove(struct http_head *head, struct str name)
{
    remove_from(head, name, 0);
}

struct http_head *http_head_copy(struct arena *arena, const struct http_head *head)
{
    size_t used = offsetof(struct http_head, headers);
    size_t text = head->method.size + head->scheme.size + head->authority.size + head->path.size +
                  head->upgrade.size;
    for (size_t i = 0; i < head->header_count; i++) {
        text += head->headers[i].name.size + head->headers[i].value.size;
    }
    // One block for the text: a copied head is two allocations, however many headers it has. The
    // struct is allocated whole so that headers may be added to the copy.
    struct http_head *copy = arena_alloc(arena, sizeof(*copy));
    char *at = arena_alloc(arena, text + 1);
    memcpy(copy, head, used);
    copy->header_count = head->header_count;
    struct str *parts[] = {&copy->method, &copy->scheme, &copy->authority, &copy->path,
                           &copy->upgrade};
    for (size_t i = 0; i < array_count(parts); i++) {
        if (parts[i]->size > 0) {
            memcpy(at, parts[i]->data, parts[i]->size);
            parts[i]->data = at;
            at += parts[i]->size;
        }
    }
    for (size_t i = 0; i < head->header_count; i++) {
        const struct http_header *from = &head->headers[i];
        struct http_header *to = &copy->headers[i];
        if (from->name.size > 0) {
            memcpy(at, from->name.data, from->name.size);
        }
        to->name = str_make(at, from->name.size);
        at += from->name.size;
        if (from->value.size > 0) {
            memcpy(at, from->value.data, from->value.size);
        }
        to->value = str_make(at, from->value.size);
        at += from->value.size;
    }
    return copy;
}

static void clear(struct http_head *head)
{
    // The header slots are not touched: only those below header_count mean anything.
    head->method = (struct str){0};
    head->scheme = (struct str){0};
    head->authority = (struct str){0};
    head->path = (struct str){0};
    head->status = 0;
    head->upgrade = (struct str){0};
    head->header_count = 0;
}

void http_head_init_request(struct http_head *head, struct str method, struct str scheme,
                            struct str authority, struct str path)
{
    clear(head);
    head->method = method;
    head->scheme = scheme;
    head->authority = authority;
    head->path = path;
}

void http_head_init_response(struct http_head *head, int status)
{
    clear(head);
    head->status = status;
}

// IANA's HTTP Status Code Registry.
static const struct {
    int status;
    const char *text;
} status_texts[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {102, "Processing"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {208, "Already Reported"},
    {226, "IM Used"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {305, "Use Proxy"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {506, "Variant Also Negotiates"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
    {511, "Network Authentication Required"},
};

const char *http_status_text(int status)
{
    size_t low = 0;
    size_t high = array_count(status_texts);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (status_texts[middle].status == status) {
            return status_texts[middle].text;
        }
        if (status_texts[middle].status < status) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return "";
}
