// SPDX-License-Identifier: Apache-2.0
#include "kube/server_fixture.h"

#include "base/assert.h"
#include "net/address.h"

#define QUIET_TURNS 20
#define NEXT_TURNS 60

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    struct server_fixture *fixture = owner;
    (void)exchange;
    buf_append_str(&fixture->body, bytes);
    fixture->has_request = fixture->has_request || end;
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    struct server_fixture *fixture = owner;
    (void)err;
    fixture->closed++;
    if (fixture->pending == exchange) {
        fixture->pending = NULL;
    }
}

static const struct http_events events = {.on_data = on_data, .on_close = on_close};

static void set_text(struct buf *buf, struct str text)
{
    buf_reset(buf);
    buf_append_str(buf, text);
}

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct server_fixture *fixture = owner;
    http_set_events(exchange, &events, fixture);
    fixture->pending = exchange;
    set_text(&fixture->method, head->method);
    set_text(&fixture->path, head->path);
    set_text(&fixture->authorization, http_head_get(head, STR("authorization")));
    buf_reset(&fixture->body);
    fixture->has_request = end;
}

void server_fixture_init(struct server_fixture *fixture, const char *token_file)
{
    *fixture = (struct server_fixture){.loop = loop_new_fake(1000)};
    struct address address = {0};
    int fd = -1;
    ASSERT(address_from_ip(STR("127.0.0.1"), 0, &address, NULL) == ERR_OK);
    ASSERT(address_listen(&address, &(struct listen_options){0}, &fd, NULL) == ERR_OK);
    ASSERT(address_local(fd, &address));
    fixture->server = http_server_new(fixture->loop, &(struct http_server_options){0}, on_request, fixture);
    http_server_listen(fixture->server, fd, NULL);
    struct arena arena = {0};
    struct kube_config config = {
        .server = arena_format(&arena, "http://127.0.0.1:%u/prefix/", address_port(&address)),
        .token_file = str_of(token_file),
    };
    fixture->client = kube_client_new(fixture->loop, &config, NULL);
    ASSERT(fixture->client != NULL);
    arena_done(&arena);
}

void server_fixture_turns(struct server_fixture *fixture)
{
    for (int i = 0; i < QUIET_TURNS; i++) {
        loop_turn(fixture->loop, 1);
    }
}

void server_fixture_done(struct server_fixture *fixture)
{
    kube_client_free(fixture->client);
    http_server_free(fixture->server);
    server_fixture_turns(fixture);
    loop_free(fixture->loop);
    buf_done(&fixture->method);
    buf_done(&fixture->path);
    buf_done(&fixture->authorization);
    buf_done(&fixture->body);
}

struct str server_fixture_next(struct server_fixture *fixture)
{
    for (int i = 0; i < NEXT_TURNS && !fixture->has_request; i++) {
        loop_turn(fixture->loop, 1);
    }
    if (!fixture->has_request) {
        return STR_EMPTY;
    }
    fixture->has_request = false;
    return buf_view(&fixture->path);
}

void server_fixture_answer(struct server_fixture *fixture, int status, const char *body)
{
    http_respond(fixture->pending, status, STR("application/json"), str_of(body));
    server_fixture_turns(fixture);
}

void server_fixture_answer_later(struct server_fixture *fixture, int status, const char *retry_after, const char *body)
{
    struct http_head head;
    http_head_init_response(&head, status);
    (void)http_head_add(&head, STR("retry-after"), str_of(retry_after));
    http_send_head(fixture->pending, &head, false);
    http_send_data(fixture->pending, str_of(body), true);
    server_fixture_turns(fixture);
}

void server_fixture_open(struct server_fixture *fixture)
{
    struct http_head head;
    http_head_init_response(&head, 200);
    http_send_head(fixture->pending, &head, false);
    server_fixture_turns(fixture);
}

void server_fixture_send(struct server_fixture *fixture, struct str bytes)
{
    http_send_data(fixture->pending, bytes, false);
    for (int i = 0; i < 4; i++) {
        loop_turn(fixture->loop, 1);
    }
}

void server_fixture_end(struct server_fixture *fixture)
{
    http_send_data(fixture->pending, STR_EMPTY, true);
    server_fixture_turns(fixture);
}

void server_fixture_cut(struct server_fixture *fixture)
{
    http_cancel(fixture->pending);
    server_fixture_turns(fixture);
}
