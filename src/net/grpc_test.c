// SPDX-License-Identifier: Apache-2.0
//
// Calls over loopback: unary, streaming both ways, every way a call may end.
#include "test.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/memory.h"
#include "net/grpc.h"

struct place {
    struct loop *loop;
    struct http_server *server;
    struct grpc_service *service;
    struct http_client *client;
    unsigned closed_ok;
    unsigned closed_cancelled;
    unsigned closed_late;
    struct grpc_call *hanging;
    bool is_plain; // answers as a web server that knows no gRPC
};

// --- methods ---------------------------------------------------------------------------------------

static void echo_on_message(void *owner, struct grpc_call *call, struct str message)
{
    (void)owner;
    grpc_send(call, message);
}

static void echo_on_half_close(void *owner, struct grpc_call *call)
{
    (void)owner;
    grpc_finish(call, GRPC_OK, STR_EMPTY);
}

static void place_on_close(void *owner, struct grpc_call *call, enum grpc_status status, struct str message)
{
    (void)message;
    struct place *place = owner;
    place->closed_ok += status == GRPC_OK ? 1 : 0;
    place->closed_cancelled += status == GRPC_CANCELLED ? 1 : 0;
    place->closed_late += status == GRPC_DEADLINE_EXCEEDED ? 1 : 0;
    if (place->hanging == call) {
        place->hanging = NULL;
    }
}

static const struct grpc_events echo_events = {
    .on_message = echo_on_message,
    .on_half_close = echo_on_half_close,
    .on_close = place_on_close,
};

static void on_echo(void *owner, struct grpc_call *call)
{
    grpc_set_events(call, &echo_events, owner);
}

static const struct grpc_events hang_events = {.on_close = place_on_close};

static void on_hang(void *owner, struct grpc_call *call)
{
    struct place *place = owner;
    place->hanging = call;
    grpc_set_events(call, &hang_events, owner);
}

static void on_refuse(void *owner, struct grpc_call *call)
{
    grpc_set_events(call, &hang_events, owner);
    grpc_finish(call, GRPC_NOT_FOUND, STR("no 100% \xc3\xa9\n"));
}

static void late_on_message(void *owner, struct grpc_call *call, struct str message)
{
    (void)owner;
    grpc_send(call, message);
    grpc_finish(call, GRPC_ABORTED, STR("enough"));
}

static const struct grpc_events late_events = {.on_message = late_on_message, .on_close = place_on_close};

static void on_late(void *owner, struct grpc_call *call)
{
    grpc_set_events(call, &late_events, owner);
}

static void on_who(void *owner, struct grpc_call *call)
{
    grpc_set_events(call, &hang_events, owner);
    grpc_send(call, grpc_metadata(call, STR("authorization")));
    grpc_finish(call, GRPC_OK, STR_EMPTY);
}

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct place *place = owner;
    if (place->is_plain || !grpc_service_handle(place->service, exchange, head, end)) {
        http_respond(exchange, 503, STR("text/plain"), STR("not here"));
    }
}

static void place_open(struct place *place)
{
    *place = (struct place){.loop = loop_new(), .service = grpc_service_new()};
    static const struct {
        const char *path;
        grpc_method_fn *on_call;
    } methods[] = {
        {"/test.T/Echo", on_echo}, {"/test.T/Hang", on_hang}, {"/test.T/Refuse", on_refuse},
        {"/test.T/Late", on_late}, {"/test.T/Who", on_who},
    };
    for (size_t i = 0; i < array_count(methods); i++) {
        grpc_service_add(place->service, methods[i].path, methods[i].on_call, place);
    }
    const struct http_server_options server_options = {.http2 = true};
    place->server = http_server_new(place->loop, &server_options, on_request, place);
    struct address address;
    int fd = -1;
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &address, NULL), ERR_OK);
    assert_int_equal(address_listen(&address, &(struct listen_options){0}, &fd, NULL), ERR_OK);
    struct http_client_options client_options = {.protocol = HTTP_PROTOCOL_2};
    assert_true(address_local(fd, &client_options.address));
    http_server_listen(place->server, fd, NULL);
    place->client = http_client_new(place->loop, &client_options);
}

static void turns(struct loop *loop, int count)
{
    for (int i = 0; i < count; i++) {
        loop_turn(loop, 1);
    }
}

static void place_close(struct place *place)
{
    http_client_free(place->client);
    http_server_free(place->server);
    grpc_service_free(place->service);
    turns(place->loop, 3);
    loop_free(place->loop);
}

// --- the caller ------------------------------------------------------------------------------------

struct talk {
    struct grpc_call *call;
    struct http_client *free_on_message;
    struct buf first;
    size_t bytes;
    unsigned count;
    bool closed;
    enum grpc_status status;
    struct buf message;
};

static void talk_on_message(void *owner, struct grpc_call *call, struct str message)
{
    (void)call;
    struct talk *talk = owner;
    if (talk->count++ == 0) {
        buf_append_str(&talk->first, str_sub(message, 0, 64));
    }
    talk->bytes += message.size;
    if (talk->free_on_message != NULL) {
        http_client_free(talk->free_on_message);
        talk->free_on_message = NULL;
    }
}

static void talk_on_close(void *owner, struct grpc_call *call, enum grpc_status status, struct str message)
{
    (void)call;
    struct talk *talk = owner;
    assert_false(talk->closed);
    talk->closed = true;
    talk->status = status;
    buf_append_str(&talk->message, message);
}

static const struct grpc_events talk_events = {.on_message = talk_on_message, .on_close = talk_on_close};

static void talk_start(struct talk *talk, struct place *place, const char *path,
                       const struct grpc_call_options *options)
{
    static const struct grpc_call_options defaults = {.authority = {"here", 4}};
    *talk = (struct talk){0};
    talk->call = grpc_start(place->client, path, options == NULL ? &defaults : options, &talk_events, talk);
}

static void talk_wait(struct talk *talk, struct loop *loop)
{
    for (int i = 0; i < 5000 && !talk->closed; i++) {
        loop_turn(loop, 100);
    }
    assert_true(talk->closed);
}

static void talk_done(struct talk *talk)
{
    buf_done(&talk->first);
    buf_done(&talk->message);
}

// --- tests -----------------------------------------------------------------------------------------

static const struct {
    const char *path;
    enum grpc_status want;
    const char *want_message;
    unsigned want_count;
} unary_rows[] = {
    {"/test.T/Echo", GRPC_OK, "", 1},
    {"/test.T/Refuse", GRPC_NOT_FOUND, "no 100% \xc3\xa9\n", 0},
    {"/test.T/Late", GRPC_ABORTED, "enough", 1},
    {"/test.T/Nothing", GRPC_UNIMPLEMENTED, "unknown method", 0},
    {"/other.O/Nothing", GRPC_UNIMPLEMENTED, "unknown method", 0},
};

static void unary(void **state)
{
    (void)state;
    struct place place;
    place_open(&place);
    for (size_t i = 0; i < 50; i++) {
        size_t row = i % array_count(unary_rows);
        struct talk talk;
        talk_start(&talk, &place, unary_rows[row].path, NULL);
        grpc_send(talk.call, STR("question"));
        grpc_half_close(talk.call);
        talk_wait(&talk, place.loop);
        check_row(unary_rows[row].path, talk.status == unary_rows[row].want, "status %s (%.*s)", grpc_status_name(talk.status),
                  STR_ARG(buf_view(&talk.message)));
        assert_str(buf_view(&talk.message), unary_rows[row].want_message);
        assert_int_equal(talk.count, unary_rows[row].want_count);
        talk_done(&talk);
    }
    place_close(&place);
}

static void metadata_and_empty_messages(void **state)
{
    (void)state;
    struct place place;
    place_open(&place);
    const struct http_header metadata[] = {{STR("authorization"), STR("Bearer x")}};
    const struct grpc_call_options options = {.authority = STR("here"), .metadata = metadata, .metadata_count = 1};
    struct talk talk;
    talk_start(&talk, &place, "/test.T/Who", &options);
    grpc_half_close(talk.call);
    talk_wait(&talk, place.loop);
    assert_int_equal(talk.status, GRPC_OK);
    assert_str(buf_view(&talk.first), "Bearer x");
    talk_done(&talk);
    talk_start(&talk, &place, "/test.T/Echo", &options);
    grpc_send(talk.call, STR_EMPTY);
    grpc_send(talk.call, STR_EMPTY);
    grpc_half_close(talk.call);
    talk_wait(&talk, place.loop);
    assert_int_equal(talk.count, 2);
    talk_done(&talk);
    place_close(&place);
}

static void streaming(void **state)
{
    (void)state;
    struct place place;
    place_open(&place);
    struct talk talks[120];
    for (size_t i = 0; i < array_count(talks); i++) {
        talk_start(&talks[i], &place, "/test.T/Echo", NULL);
    }
    for (unsigned round = 0; round < 20; round++) {
        for (size_t i = 0; i < array_count(talks); i++) {
            grpc_send(talks[i].call, STR("some message"));
        }
        turns(place.loop, 2);
    }
    for (size_t i = 0; i < array_count(talks); i++) {
        grpc_half_close(talks[i].call);
    }
    for (size_t i = 0; i < array_count(talks); i++) {
        talk_wait(&talks[i], place.loop);
        assert_int_equal(talks[i].status, GRPC_OK);
        assert_int_equal(talks[i].count, 20);
        talk_done(&talks[i]);
    }
    turns(place.loop, 3);
    assert_int_equal(place.closed_ok, array_count(talks));
    place_close(&place);
}

static void large_message(void **state)
{
    (void)state;
    struct place place;
    place_open(&place);
    size_t size = 5u * 1024 * 1024;
    char *bytes = mem_zalloc(size);
    struct talk talk;
    talk_start(&talk, &place, "/test.T/Echo", NULL);
    grpc_send(talk.call, str_make(bytes, size));
    grpc_send(talk.call, str_make(bytes, size));
    grpc_half_close(talk.call);
    talk_wait(&talk, place.loop);
    assert_int_equal(talk.status, GRPC_OK);
    assert_int_equal(talk.count, 2);
    assert_int_equal(talk.bytes, 2 * size);
    talk_done(&talk);
    mem_free(bytes);
    place_close(&place);
}

static void deadline(void **state)
{
    (void)state;
    struct place place;
    place_open(&place);
    const struct grpc_call_options options = {.authority = STR("here"), .timeout_ms = 50};
    struct talk talk;
    talk_start(&talk, &place, "/test.T/Hang", &options);
    talk_wait(&talk, place.loop);
    assert_int_equal(talk.status, GRPC_DEADLINE_EXCEEDED);
    turns(place.loop, 20);
    assert_null(place.hanging);
    talk_done(&talk);
    place_close(&place);
}

static void cancellation(void **state)
{
    (void)state;
    struct place place;
    place_open(&place);
    struct talk talk;
    talk_start(&talk, &place, "/test.T/Hang", NULL);
    while (place.hanging == NULL) {
        loop_turn(place.loop, 100);
    }
    grpc_cancel(talk.call);
    assert_false(talk.closed);
    talk_wait(&talk, place.loop);
    assert_int_equal(talk.status, GRPC_CANCELLED);
    turns(place.loop, 10);
    assert_int_equal(place.closed_cancelled, 1);
    talk_done(&talk);
    // The server's side gives up.
    talk_start(&talk, &place, "/test.T/Hang", NULL);
    while (place.hanging == NULL) {
        loop_turn(place.loop, 100);
    }
    grpc_cancel(place.hanging);
    talk_wait(&talk, place.loop);
    assert_int_equal(talk.status, GRPC_UNAVAILABLE);
    talk_done(&talk);
    place_close(&place);
}

static void server_gone(void **state)
{
    (void)state;
    struct place place;
    place_open(&place);
    struct talk talk;
    talk_start(&talk, &place, "/test.T/Hang", NULL);
    while (place.hanging == NULL) {
        loop_turn(place.loop, 100);
    }
    http_server_free(place.server);
    place.server = NULL;
    assert_int_equal(place.closed_cancelled, 1);
    talk_wait(&talk, place.loop);
    assert_int_equal(talk.status, GRPC_UNAVAILABLE);
    talk_done(&talk);
    talk_start(&talk, &place, "/test.T/Hang", NULL);
    grpc_send(talk.call, STR("x"));
    talk_wait(&talk, place.loop);
    assert_int_equal(talk.status, GRPC_UNAVAILABLE);
    talk_done(&talk);
    place_close(&place);
}

static void client_freed_in_callback(void **state)
{
    (void)state;
    struct place place;
    place_open(&place);
    struct talk talk;
    talk_start(&talk, &place, "/test.T/Echo", NULL);
    talk.free_on_message = place.client;
    grpc_send(talk.call, STR("a"));
    grpc_send(talk.call, STR("b"));
    talk_wait(&talk, place.loop);
    place.client = NULL;
    assert_int_equal(talk.status, GRPC_UNAVAILABLE);
    assert_int_equal(talk.count, 1);
    talk_done(&talk);
    place_close(&place);
}

// A web server answers where gRPC was expected: its status is translated.
static void not_a_grpc_server(void **state)
{
    (void)state;
    struct place place;
    place_open(&place);
    place.is_plain = true;
    struct talk talk;
    talk_start(&talk, &place, "/test.T/Echo", NULL);
    talk_wait(&talk, place.loop);
    assert_int_equal(talk.status, GRPC_UNAVAILABLE);
    assert_str(buf_view(&talk.message), "not a gRPC response (HTTP status 503)");
    talk_done(&talk);
    place_close(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unary),        cmocka_unit_test(metadata_and_empty_messages),
        cmocka_unit_test(streaming),    cmocka_unit_test(large_message),
        cmocka_unit_test(deadline),     cmocka_unit_test(cancellation),
        cmocka_unit_test(server_gone),  cmocka_unit_test(client_freed_in_callback),
        cmocka_unit_test(not_a_grpc_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
