// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "codec/pb/pb.h"
#include "xds/client.h"
#include "xds/server.h"

typedef Envoy__Service__Discovery__V3__DiscoveryRequest Request;
typedef Envoy__Service__Discovery__V3__DiscoveryResponse Response;

static void types_have_their_urls(void **state)
{
    (void)state;
    for (enum xds_type type = 0; type < XDS_TYPE_COUNT; type++) {
        assert_int_equal(xds_type_find(str_of(xds_type_url(type))), type);
        assert_ptr_equal(pb_type_find(str_of(xds_type_url(type))), xds_type_descriptor(type));
    }
    assert_int_equal(xds_type_find(STR("type.googleapis.com/x")), XDS_TYPE_NONE);
}

// One step of a dialogue: what the client says, what must come of it. Names are single letters.
struct step {
    const char *what;
    enum xds_type type;
    const char *nonce;
    const char *names;
    bool nack;
    const char *then_sent; // nonce of the response sent after the step; NULL: none
    enum xds_event want;
    bool want_respond;
    const char *want_names;
};

static Request *make_request(struct arena *arena, const struct step *step)
{
    Request *request = pb_new(arena, &envoy__service__discovery__v3__discovery_request__descriptor);
    request->type_url = pb_text(arena, str_of(xds_type_url(step->type)));
    request->response_nonce = pb_text(arena, str_of(step->nonce));
    for (const char *name = step->names; *name != '\0'; name++) {
        PB_PUSH(arena, request, resource_names, pb_text(arena, str_make(name, 1)));
    }
    if (step->nack) {
        request->error_detail = pb_new(arena, &google__rpc__status__descriptor);
        request->error_detail->message = pb_text(arena, STR("bad"));
    }
    return request;
}

static void play(const char *title, const struct step *steps, size_t count)
{
    struct arena arena = {0};
    struct xds_server server = {0};
    for (size_t i = 0; i < count; i++) {
        const struct step *step = &steps[i];
        struct xds_decision decision;
        struct error err = {0};
        assert_int_equal(xds_server_on_request(&server, make_request(&arena, step), &decision, &err), ERR_OK);
        char names[32] = "";
        for (size_t n = 0; decision.respond && n < decision.name_count; n++) {
            names[n] = decision.names[n].data[0];
        }
        check_row(step->what, decision.event == step->want && decision.respond == step->want_respond &&
                                  strcmp(names, step->want_respond ? step->want_names : "") == 0,
                  "%s: got %s respond %d names \"%s\"", title, xds_event_name(decision.event), decision.respond, names);
        if (step->then_sent != NULL) {
            xds_server_sent(&server, step->type, str_of(step->then_sent), STR("v"));
        }
    }
    xds_server_done(&server);
    arena_done(&arena);
}

static void server_decides(void **state)
{
    (void)state;
    static const struct step endpoints[] = {
        {"first", XDS_ENDPOINT, "", "ba", false, "n1", XDS_EVENT_SUBSCRIBE, true, "ab"},
        {"ack", XDS_ENDPOINT, "n1", "ab", false, NULL, XDS_EVENT_ACK, false, ""},
        {"one more", XDS_ENDPOINT, "n1", "abc", false, "n2", XDS_EVENT_CHANGE, true, "c"},
        {"old nonce", XDS_ENDPOINT, "n1", "abcd", false, NULL, XDS_EVENT_STALE, false, ""},
        {"nack", XDS_ENDPOINT, "n2", "abc", true, NULL, XDS_EVENT_NACK, false, ""},
        {"fewer", XDS_ENDPOINT, "n2", "ab", false, NULL, XDS_EVENT_CHANGE, false, ""},
        {"other ones", XDS_ENDPOINT, "n2", "xa", false, "n3", XDS_EVENT_CHANGE, true, "x"},
        {"none", XDS_ENDPOINT, "n3", "", false, NULL, XDS_EVENT_UNSUBSCRIBE, false, ""},
        {"again with an old nonce", XDS_ENDPOINT, "n3", "a", false, "n4", XDS_EVENT_SUBSCRIBE, true, "a"},
        {"empty nonce starts over", XDS_ENDPOINT, "", "ab", false, "n5", XDS_EVENT_SUBSCRIBE, true, "ab"},
    };
    static const struct step clusters[] = {
        {"endpoints of an old connection", XDS_ENDPOINT, "old", "a", false, "e1", XDS_EVENT_SUBSCRIBE, true, "a"},
        {"clusters", XDS_CLUSTER, "", "", false, "c1", XDS_EVENT_SUBSCRIBE, true, ""},
        {"clusters acked", XDS_CLUSTER, "c1", "", false, NULL, XDS_EVENT_ACK, false, ""},
        {"endpoints acked, answered once", XDS_ENDPOINT, "e1", "a", false, "e2", XDS_EVENT_ACK, true, "a"},
        {"endpoints acked", XDS_ENDPOINT, "e2", "a", false, NULL, XDS_EVENT_ACK, false, ""},
    };
    play("endpoints", endpoints, array_count(endpoints));
    play("clusters", clusters, array_count(clusters));
}

static void server_special_types(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        enum xds_event want;
        bool want_respond;
    } rows[] = {
        {"type.googleapis.com/istio.v1.HealthInformation", XDS_EVENT_HEALTH, false},
        {"istio.io/debug/syncz", XDS_EVENT_DEBUG, true},
        {"type.googleapis.com/istio.workload.Address", XDS_EVENT_UNKNOWN, false},
        {"", XDS_EVENT_UNKNOWN, false},
    };
    struct arena arena = {0};
    struct xds_server server = {0};
    for (size_t i = 0; i < array_count(rows); i++) {
        Request *request = pb_new(&arena, &envoy__service__discovery__v3__discovery_request__descriptor);
        struct xds_decision decision;
        request->type_url = pb_text(&arena, str_of(rows[i].url));
        assert_int_equal(xds_server_on_request(&server, request, &decision, NULL), ERR_OK);
        check_row(rows[i].url, decision.event == rows[i].want && decision.respond == rows[i].want_respond, "got %s",
                  xds_event_name(decision.event));
    }
    xds_server_done(&server);
    arena_done(&arena);
}

static void server_knows_what_is_synced(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct xds_server server = {0};
    struct xds_decision decision;
    struct step step = {.type = XDS_LISTENER, .nonce = "", .names = ""};
    assert_int_equal(xds_server_on_request(&server, make_request(&arena, &step), &decision, NULL), ERR_OK);
    assert_false(xds_server_is_synced(&server, XDS_LISTENER));
    xds_server_sent(&server, XDS_LISTENER, STR("n"), STR("v"));
    assert_false(xds_server_is_synced(&server, XDS_LISTENER));
    step.nonce = "n";
    step.nack = true;
    assert_int_equal(xds_server_on_request(&server, make_request(&arena, &step), &decision, NULL), ERR_OK);
    assert_false(xds_server_is_synced(&server, XDS_LISTENER));
    assert_string_equal(server.watches[XDS_LISTENER].last_error, "bad");
    step.nack = false;
    assert_int_equal(xds_server_on_request(&server, make_request(&arena, &step), &decision, NULL), ERR_OK);
    assert_true(xds_server_is_synced(&server, XDS_LISTENER));
    xds_server_done(&server);
    arena_done(&arena);
}

static void server_bounds_names(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct xds_server server = {0};
    struct xds_decision decision;
    struct error err = {0};
    Request *request = pb_new(&arena, &envoy__service__discovery__v3__discovery_request__descriptor);
    request->type_url = pb_text(&arena, str_of(xds_type_url(XDS_ENDPOINT)));
    request->n_resource_names = XDS_NAMES_MAX + 1;
    request->resource_names = arena_array(&arena, char *, request->n_resource_names);
    for (size_t i = 0; i < request->n_resource_names; i++) {
        request->resource_names[i] = pb_text(&arena, STR("a"));
    }
    assert_int_equal(xds_server_on_request(&server, request, &decision, &err), ERR_LIMIT);
    xds_server_done(&server);
    arena_done(&arena);
}

// --- client ----------------------------------------------------------------------------------------

static Request *decode(struct arena *arena, struct str bytes)
{
    Request *request = pb_unpack(arena, &envoy__service__discovery__v3__discovery_request__descriptor, bytes, NULL);
    assert_non_null(request);
    return request;
}

static Response *make_response(struct arena *arena, enum xds_type type, const char *version, const char *nonce)
{
    Response *response = pb_new(arena, &envoy__service__discovery__v3__discovery_response__descriptor);
    response->type_url = pb_text(arena, str_of(xds_type_url(type)));
    response->version_info = pb_text(arena, str_of(version));
    response->nonce = pb_text(arena, str_of(nonce));
    return response;
}

static void client_talks(void **state)
{
    (void)state;
    struct arena arena = {0};
    Envoy__Config__Core__V3__Node *node = pb_new(&arena, &envoy__config__core__v3__node__descriptor);
    const char *id = "sidecar~10.0.0.1~a.b~b.svc.cluster.local";
    node->id = pb_text(&arena, str_of(id));
    struct xds_client *client = xds_client_new(node);
    xds_client_open(client);
    assert_int_equal(xds_client_receive(client, make_response(&arena, XDS_CLUSTER, "1", "x")), XDS_TYPE_NONE);
    assert_true(xds_client_subscribe(client, XDS_CLUSTER, NULL, 0));
    assert_false(xds_client_subscribe(client, XDS_CLUSTER, NULL, 0));
    Request *request = decode(&arena, xds_client_request(client, &arena, XDS_CLUSTER));
    assert_string_equal(request->node->id, id);
    assert_string_equal(request->version_info, "");

    assert_int_equal(xds_client_receive(client, make_response(&arena, XDS_CLUSTER, "1", "n1")), XDS_CLUSTER);
    request = decode(&arena, xds_client_ack(client, &arena, XDS_CLUSTER));
    assert_null(request->node);
    assert_string_equal(request->version_info, "1");
    assert_string_equal(request->response_nonce, "n1");
    assert_null(request->error_detail);

    assert_int_equal(xds_client_receive(client, make_response(&arena, XDS_CLUSTER, "2", "n2")), XDS_CLUSTER);
    request = decode(&arena, xds_client_nack(client, &arena, XDS_CLUSTER, STR("c: broken")));
    assert_string_equal(request->version_info, "1");
    assert_string_equal(request->response_nonce, "n2");
    assert_string_equal(request->error_detail->message, "c: broken");

    struct str names[] = {STR("b"), STR("a"), STR("b")};
    assert_true(xds_client_subscribe(client, XDS_ENDPOINT, names, 3));
    assert_false(xds_client_subscribe(client, XDS_ENDPOINT, names, 2));
    assert_true(xds_client_wants(client, XDS_ENDPOINT, STR("a")));
    assert_false(xds_client_wants(client, XDS_ENDPOINT, STR("c")));
    request = decode(&arena, xds_client_request(client, &arena, XDS_ENDPOINT));
    assert_int_equal(request->n_resource_names, 2);

    // A new stream names the version in force, but no nonce; the node comes first again.
    xds_client_open(client);
    request = decode(&arena, xds_client_request(client, &arena, XDS_CLUSTER));
    assert_string_equal(request->node->id, id);
    assert_string_equal(request->version_info, "1");
    assert_string_equal(request->response_nonce, "");
    assert_str(xds_client_version(client, XDS_CLUSTER), "1");

    assert_true(xds_client_subscribe(client, XDS_ENDPOINT, NULL, 0));
    assert_int_equal(xds_client_receive(client, make_response(&arena, XDS_ENDPOINT, "1", "x")), XDS_TYPE_NONE);
    xds_client_free(client);
    arena_done(&arena);
}

static void client_cuts_long_reasons(void **state)
{
    (void)state;
    struct arena arena = {0};
    Envoy__Config__Core__V3__Node *node = pb_new(&arena, &envoy__config__core__v3__node__descriptor);
    struct xds_client *client = xds_client_new(node);
    char *reason = arena_alloc(&arena, 9001);
    for (size_t i = 0; i < 3000; i++) {
        memcpy(reason + 3 * i, "\xe2\x82\xac", 3);
    }
    Request *request = decode(&arena, xds_client_nack(client, &arena, XDS_ROUTE, str_make(reason, 9000)));
    assert_true(strlen(request->error_detail->message) <= XDS_NACK_MESSAGE_MAX);
    xds_client_free(client);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_have_their_urls),
        cmocka_unit_test(server_decides),
        cmocka_unit_test(server_special_types),
        cmocka_unit_test(server_knows_what_is_synced),
        cmocka_unit_test(server_bounds_names),
        cmocka_unit_test(client_talks),
        cmocka_unit_test(client_cuts_long_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
