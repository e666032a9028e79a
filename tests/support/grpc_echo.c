// SPDX-License-Identifier: Apache-2.0
//
// grpc_echo: a gRPC server for other people's clients. Methods of /isthmesh.test.Echo/:
//
//   Unary    answers with the message it got; metadata x-status and x-message make it fail with them
//   Stream   sends every message back as it comes; back-pressure both ways
//   Many     answers with as many messages as the request says in decimal digits
//   Hold     never answers; counts calls that are given up
//   GivenUp  answers with that count
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/memory.h"
#include "net/grpc.h"

#define DRAIN_MS 2000u
#define MANY_MAX 1000000u

struct echo {
    struct loop *loop;
    struct http_server *server;
    struct grpc_service *service;
    uint64_t given_up;
};

struct call_state {
    struct echo *echo;
    struct buf message; // unary: the last one
    uint64_t many_left;
};

static void finish_unary(struct grpc_call *call, struct str message)
{
    uint64_t status = 0;
    if (str_to_u64(grpc_metadata(call, STR("x-status")), &status) && status <= GRPC_UNAUTHENTICATED && status > 0) {
        grpc_finish(call, (enum grpc_status)status, grpc_metadata(call, STR("x-message")));
        return;
    }
    grpc_send(call, message);
    grpc_finish(call, GRPC_OK, STR_EMPTY);
}

static void on_message(void *owner, struct grpc_call *call, struct str message)
{
    (void)call;
    struct call_state *state = owner;
    buf_reset(&state->message);
    buf_append_str(&state->message, message);
}

static void on_close(void *owner, struct grpc_call *call, enum grpc_status status, struct str message)
{
    (void)call;
    (void)status;
    (void)message;
    struct call_state *state = owner;
    buf_done(&state->message);
    mem_free(state);
}

static void unary_on_half_close(void *owner, struct grpc_call *call)
{
    struct call_state *state = owner;
    finish_unary(call, buf_view(&state->message));
}

static void stream_on_message(void *owner, struct grpc_call *call, struct str message)
{
    (void)owner;
    grpc_send(call, message);
    if (grpc_is_congested(call)) {
        http_pause(grpc_exchange(call));
    }
}

static void stream_on_drained(void *owner, struct grpc_call *call)
{
    (void)owner;
    http_resume(grpc_exchange(call));
}

static void stream_on_half_close(void *owner, struct grpc_call *call)
{
    (void)owner;
    grpc_finish(call, GRPC_OK, STR_EMPTY);
}

static void send_many(void *owner, struct grpc_call *call)
{
    struct call_state *state = owner;
    while (state->many_left > 0 && !grpc_is_congested(call)) {
        state->many_left--;
        grpc_send(call, STR("one of many"));
    }
    if (state->many_left == 0) {
        grpc_finish(call, GRPC_OK, STR_EMPTY);
    }
}

static void many_on_half_close(void *owner, struct grpc_call *call)
{
    struct call_state *state = owner;
    if (!str_to_u64(buf_view(&state->message), &state->many_left) || state->many_left > MANY_MAX) {
        grpc_finish(call, GRPC_INVALID_ARGUMENT, STR("how many? décimal digits")); // percent-encoded on the wire
        return;
    }
    send_many(state, call);
}

static void nothing_on_half_close(void *owner, struct grpc_call *call)
{
    (void)owner;
    (void)call;
}

static void hold_on_close(void *owner, struct grpc_call *call, enum grpc_status status, struct str message)
{
    struct call_state *state = owner;
    state->echo->given_up += status == GRPC_CANCELLED ? 1 : 0;
    on_close(owner, call, status, message);
}

static void given_up_on_half_close(void *owner, struct grpc_call *call)
{
    struct call_state *state = owner;
    struct buf digits = {0};
    buf_append_u64(&digits, state->echo->given_up);
    grpc_send(call, buf_view(&digits));
    grpc_finish(call, GRPC_OK, STR_EMPTY);
    buf_done(&digits);
}

static const struct method {
    const char *path;
    struct grpc_events events;
} methods[] = {
    {"/isthmesh.test.Echo/Unary",
     {.on_message = on_message, .on_half_close = unary_on_half_close, .on_close = on_close}},
    {"/isthmesh.test.Echo/Stream",
     {.on_message = stream_on_message, .on_half_close = stream_on_half_close, .on_drained = stream_on_drained,
      .on_close = on_close}},
    {"/isthmesh.test.Echo/Many",
     {.on_message = on_message, .on_half_close = many_on_half_close, .on_drained = send_many, .on_close = on_close}},
    {"/isthmesh.test.Echo/Hold",
     {.on_message = on_message, .on_half_close = nothing_on_half_close, .on_close = hold_on_close}},
    {"/isthmesh.test.Echo/GivenUp",
     {.on_message = on_message, .on_half_close = given_up_on_half_close, .on_close = on_close}},
};

struct method_owner {
    struct echo *echo;
    const struct method *method;
};

static void on_call(void *owner, struct grpc_call *call)
{
    const struct method_owner *method = owner;
    struct call_state *state = mem_new(struct call_state);
    state->echo = method->echo;
    grpc_set_events(call, &method->method->events, state);
}

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct echo *echo = owner;
    if (!grpc_service_handle(echo->service, exchange, head, end)) {
        http_respond(exchange, 404, STR("text/plain"), STR("gRPC only\n"));
    }
}

static void on_drained(void *owner)
{
    loop_stop(((struct echo *)owner)->loop);
}

static void on_signal(void *owner, int signal_number)
{
    (void)signal_number;
    struct echo *echo = owner;
    http_server_drain(echo->server, DRAIN_MS, on_drained, echo);
}

static struct tls_context *make_tls(char **argv, struct error *err)
{
    static const struct str alpn[] = {{"h2", 2}};
    struct arena arena = {0};
    struct tls_options options = {.role = TLS_SERVER, .alpn = alpn, .alpn_count = 1};
    struct tls_context *tls = NULL;
    if (file_read(&arena, argv[4], FILE_READ_MAX, &options.certificate_pem, err) == ERR_OK &&
        file_read(&arena, argv[5], FILE_READ_MAX, &options.key_pem, err) == ERR_OK) {
        tls = tls_context_new(&options, err);
    }
    arena_done(&arena);
    return tls;
}

int main(int argc, char **argv)
{
    bool has_tls = argc == 6 && strcmp(argv[3], "--tls") == 0;
    if ((argc != 3 && !has_tls) || strcmp(argv[1], "--listen") != 0) {
        (void)fprintf(stderr, "usage: %s --listen ADDR:PORT [--tls CERT KEY]\n", argv[0]);
        return 2;
    }
    struct error err = {0};
    struct address address;
    int fd = -1;
    struct tls_context *tls = has_tls ? make_tls(argv, &err) : NULL;
    if (err.code != ERR_OK || address_parse(str_of(argv[2]), &address, &err) != ERR_OK ||
        address_listen(&address, &(struct listen_options){0}, &fd, &err) != ERR_OK) {
        (void)fprintf(stderr, "grpc_echo: %s\n", err.message);
        return 1;
    }
    struct echo echo = {.loop = loop_new(), .service = grpc_service_new()};
    struct method_owner owners[array_count(methods)];
    for (size_t i = 0; i < array_count(methods); i++) {
        owners[i] = (struct method_owner){.echo = &echo, .method = &methods[i]};
        grpc_service_add(echo.service, methods[i].path, on_call, &owners[i]);
    }
    const struct http_server_options options = {.http2 = true};
    echo.server = http_server_new(echo.loop, &options, on_request, &echo);
    http_server_listen(echo.server, fd, tls);
    tls_context_unref(tls);
    loop_signal_watch(echo.loop, SIGTERM, on_signal, &echo);
    loop_run(echo.loop);
    http_server_free(echo.server);
    loop_turn(echo.loop, 0);
    grpc_service_free(echo.service);
    loop_free(echo.loop);
    return 0;
}
