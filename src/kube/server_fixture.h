// SPDX-License-Identifier: Apache-2.0
//
// server_fixture: an API server of which the test is the brain: it waits for the next request, looks at
// it and says what to answer. On loopback, with a fake clock.
#ifndef KUBE_SERVER_FIXTURE_H
#define KUBE_SERVER_FIXTURE_H

#include "kube/client.h"
#include "net/http.h"

struct server_fixture {
    struct loop *loop;
    struct http_server *server;
    struct kube_client *client;
    struct http_exchange *pending; // asked and not answered, or being streamed to
    struct buf method;
    struct buf path;
    struct buf authorization;
    struct buf body;
    bool has_request; // a whole request waits to be looked at
    unsigned closed;  // exchanges that ended
};

void server_fixture_init(struct server_fixture *fixture, const char *token_file); // NULL: no token
void server_fixture_done(struct server_fixture *fixture); // the client's informers are freed by then
void server_fixture_turns(struct server_fixture *fixture); // until nothing more happens
// Waits for a request; its path, or an empty view when none comes. Time stands still.
struct str server_fixture_next(struct server_fixture *fixture);
void server_fixture_answer(struct server_fixture *fixture, int status, const char *body);
void server_fixture_answer_later(struct server_fixture *fixture, int status, const char *retry_after, const char *body);
void server_fixture_open(struct server_fixture *fixture); // a 200 whose body is sent by …
void server_fixture_send(struct server_fixture *fixture, struct str bytes);
void server_fixture_end(struct server_fixture *fixture);
void server_fixture_cut(struct server_fixture *fixture); // drops the connection

#endif
