// SPDX-License-Identifier: Apache-2.0
//
// CreateCertificate over loopback, with an authenticator that answers now, later, or no.
#include "test.h"

#include "base/buf.h"
#include "base/memory.h"
#include "codec/pb/pb.h"
#include "codec/x509/x509.h"
#include "control/ca/ca_service.h"
#include "istio/v1/auth/ca.pb-c.h"

#define METHOD "/istio.v1.auth.IstioCertificateService/CreateCertificate"

enum verdict { ALLOW, ALLOW_LATER, DENY, DENY_UNREACHABLE, HOLD };

struct place {
    struct loop *loop;
    struct http_server *server;
    struct grpc_service *grpc;
    struct http_client *client;
    struct metrics *metrics;
    struct ca *ca;
    struct ca_service *service;
    enum verdict verdict;
    struct ca_ticket *held;
};

static struct str identities[] = {{"spiffe://cluster.local/ns/sample/sa/sleep", 41}};

static void allow_later(void *argument)
{
    ca_ticket_allow(argument, identities, 1);
}

static void authenticate(void *owner, struct grpc_call *call, struct ca_ticket *ticket)
{
    struct place *place = owner;
    struct error err = {0};
    assert_str(grpc_metadata(call, STR("authorization")), "Bearer token");
    switch (place->verdict) {
    case ALLOW:
        ca_ticket_allow(ticket, identities, 1);
        return;
    case ALLOW_LATER:
        loop_post(place->loop, allow_later, ticket);
        return;
    case DENY:
    case DENY_UNREACHABLE:
        (void)error_set(&err, place->verdict == DENY ? ERR_DENIED : ERR_UNREACHABLE, "no");
        ca_ticket_deny(ticket, &err);
        return;
    case HOLD:
        place->held = ticket;
        return;
    }
}

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct place *place = owner;
    assert_true(grpc_service_handle(place->grpc, exchange, head, end));
}

static void place_open(struct place *place)
{
    *place = (struct place){.loop = loop_new(), .grpc = grpc_service_new(), .metrics = metrics_new()};
    place->ca = ca_self_signed(STR("cluster.local"), (int64_t)(loop_wall_ms(place->loop) / 1000), NULL);
    assert_non_null(place->ca);
    place->service = ca_service_new(place->loop, place->ca, place->metrics, authenticate, place);
    ca_service_add_to(place->service, place->grpc);
    const struct http_server_options server_options = {.http2 = true};
    place->server = http_server_new(place->loop, &server_options, on_request, place);
    struct http_client_options client_options = {.protocol = HTTP_PROTOCOL_2};
    struct address address;
    int fd = -1;
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &address, NULL), ERR_OK);
    assert_int_equal(address_listen(&address, &(struct listen_options){0}, &fd, NULL), ERR_OK);
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
    turns(place->loop, 3);
    ca_service_free(place->service);
    turns(place->loop, 3);
    grpc_service_free(place->grpc);
    ca_unref(place->ca);
    metrics_free(place->metrics);
    loop_free(place->loop);
}

struct talk {
    struct arena arena;
    struct grpc_call *call;
    Istio__V1__Auth__IstioCertificateResponse *response;
    bool closed;
    enum grpc_status status;
    struct str message;
};

static void talk_on_message(void *owner, struct grpc_call *call, struct str message)
{
    (void)call;
    struct talk *talk = owner;
    talk->response = pb_unpack(&talk->arena, &istio__v1__auth__istio_certificate_response__descriptor, message, NULL);
    assert_non_null(talk->response);
}

static void talk_on_close(void *owner, struct grpc_call *call, enum grpc_status status, struct str message)
{
    (void)call;
    struct talk *talk = owner;
    talk->closed = true;
    talk->status = status;
    talk->message = arena_str(&talk->arena, message);
}

static void talk_start(struct talk *talk, struct place *place, struct str csr, int64_t ttl_s)
{
    static const struct grpc_events events = {.on_message = talk_on_message, .on_close = talk_on_close};
    static const struct http_header metadata[] = {{{"authorization", 13}, {"Bearer token", 12}}};
    const struct grpc_call_options options = {.authority = STR("istiod"), .metadata = metadata, .metadata_count = 1};
    *talk = (struct talk){0};
    Istio__V1__Auth__IstioCertificateRequest *request =
        pb_new(&talk->arena, &istio__v1__auth__istio_certificate_request__descriptor);
    request->csr = pb_text(&talk->arena, csr);
    request->validity_duration = ttl_s;
    talk->call = grpc_start(place->client, METHOD, &options, &events, talk);
    grpc_send(talk->call, pb_pack_str(&talk->arena, request));
    grpc_half_close(talk->call);
}

static void talk_wait(struct talk *talk, struct loop *loop)
{
    for (int i = 0; i < 500 && !talk->closed; i++) {
        loop_turn(loop, 100);
    }
    assert_true(talk->closed);
}

static struct str make_csr(struct arena *arena)
{
    struct x509_key *key = x509_key_generate(X509_KEY_P256, NULL);
    struct str pem;
    assert_int_equal(x509_request_make(arena, key, &(struct x509_subject){0}, NULL, 0, &pem, NULL), ERR_OK);
    x509_key_free(key);
    return pem;
}

static void requests_are_answered(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct str csr = make_csr(&arena);
    const struct {
        const char *name;
        enum verdict verdict;
        struct str csr;
        int64_t ttl_s;
        enum grpc_status want;
        size_t want_parts;
    } rows[] = {
        {"at once", ALLOW, csr, 3600, GRPC_OK, 2},
        {"later", ALLOW_LATER, csr, 0, GRPC_OK, 2},
        {"denied", DENY, csr, 0, GRPC_UNAUTHENTICATED, 0},
        {"token review out of reach", DENY_UNREACHABLE, csr, 0, GRPC_UNAVAILABLE, 0},
        {"no request", ALLOW, STR("nonsense"), 0, GRPC_INVALID_ARGUMENT, 0},
        {"too long", ALLOW, csr, CA_TTL_MAX_S + 1, GRPC_INVALID_ARGUMENT, 0},
    };
    struct place place;
    place_open(&place);
    for (size_t i = 0; i < array_count(rows); i++) {
        struct talk talk;
        place.verdict = rows[i].verdict;
        talk_start(&talk, &place, rows[i].csr, rows[i].ttl_s);
        talk_wait(&talk, place.loop);
        size_t parts = talk.response == NULL ? 0 : talk.response->n_cert_chain;
        check_row(rows[i].name, talk.status == rows[i].want && parts == rows[i].want_parts, "got %s (%.*s), %zu parts",
                  grpc_status_name(talk.status), STR_ARG(talk.message), parts);
        if (parts > 0) {
            struct x509_certificate *leaf = x509_certificate_parse(str_of(talk.response->cert_chain[0]), NULL);
            struct x509_facts facts;
            x509_certificate_facts(&arena, leaf, &facts);
            assert_str(facts.sans[0].value, "spiffe://cluster.local/ns/sample/sa/sleep");
            assert_str(str_of(talk.response->cert_chain[parts - 1]), ca_root_pem(place.ca).data);
            x509_certificate_free(leaf);
        }
        arena_done(&talk.arena);
    }
    place_close(&place);
    arena_done(&arena);
}

// The client goes while the authenticator thinks; then the service goes.
static void nobody_waits_any_more(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct place place;
    struct talk talk;
    place_open(&place);
    place.verdict = HOLD;
    talk_start(&talk, &place, make_csr(&arena), 0);
    for (int i = 0; i < 500 && place.held == NULL; i++) {
        loop_turn(place.loop, 100);
    }
    assert_non_null(place.held);
    struct ca_ticket *first = place.held;
    grpc_cancel(talk.call);
    turns(place.loop, 5);
    ca_ticket_allow(first, identities, 1);
    arena_done(&talk.arena);

    struct talk second;
    place.held = NULL;
    talk_start(&second, &place, make_csr(&arena), 0);
    for (int i = 0; i < 500 && place.held == NULL; i++) {
        loop_turn(place.loop, 100);
    }
    struct ca_ticket *held = place.held;
    assert_non_null(held);
    place_close(&place);
    ca_ticket_allow(held, identities, 1);
    arena_done(&second.arena);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_answered),
        cmocka_unit_test(nobody_waits_any_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
