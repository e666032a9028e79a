// SPDX-License-Identifier: Apache-2.0
#include "control/serve/pages.h"

#include "base/memory.h"

struct pages {
    struct http_server *server;
    const struct page *table;
    size_t count;
    void *owner;
};

static const struct page *find(const struct pages *pages, struct str path)
{
    ptrdiff_t query = str_find_char(path, '?');
    path = query < 0 ? path : str_sub(path, 0, (size_t)query);
    for (size_t i = 0; i < pages->count; i++) {
        if (str_equal_c(path, pages->table[i].path)) {
            return &pages->table[i];
        }
    }
    return NULL;
}

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)owner; // the body of a GET means nothing
    (void)exchange;
    (void)bytes;
    (void)end;
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)owner;
    (void)exchange;
    (void)err;
}

static const struct http_events page_events = {.on_data = on_data, .on_close = on_close};

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct pages *pages = owner;
    const struct page *page = find(pages, head->path);
    (void)end;
    http_set_events(exchange, &page_events, pages);
    if (page == NULL) {
        http_respond(exchange, 404, STR("text/plain"), STR("no such page\n"));
    } else if (!str_equal(head->method, STR("GET")) && !str_equal(head->method, STR("HEAD"))) {
        http_respond(exchange, 405, STR("text/plain"), STR("only GET\n"));
    } else {
        struct buf body = {0};
        int status = page->write(pages->owner, &body);
        http_respond(exchange, status, str_of(page->content_type), buf_view(&body));
        buf_done(&body);
    }
}

struct pages *pages_new(struct loop *loop, const struct page *table, size_t count, void *owner,
                        struct metrics *metrics, const char *metric_prefix)
{
    struct pages *pages = mem_new(struct pages);
    struct http_server_options options = {.metrics = metrics, .metric_prefix = metric_prefix};
    pages->table = table;
    pages->count = count;
    pages->owner = owner;
    pages->server = http_server_new(loop, &options, on_request, pages);
    return pages;
}

void pages_listen(struct pages *pages, int fd)
{
    http_server_listen(pages->server, fd, NULL);
}

void pages_free(struct pages *pages)
{
    if (pages != NULL) {
        http_server_free(pages->server);
        mem_free(pages);
    }
}
