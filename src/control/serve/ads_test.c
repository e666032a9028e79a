// SPDX-License-Identifier: Apache-2.0
//
// The discovery service over real gRPC on loopback: subscriptions, pushes of what changed, refusals.
#include "test.h"

#include <stdlib.h>

#include "base/memory.h"
#include "codec/pb/pb.h"
#include "control/gen/gen.h"
#include "control/gen/world_test.h"
#include "control/serve/ads.h"
#include "envoy/service/discovery/v3/discovery.pb-c.h"
#include "xds/server.h"

typedef Envoy__Service__Discovery__V3__DiscoveryRequest Request;
typedef Envoy__Service__Discovery__V3__DiscoveryResponse Response;

#define TURNS_MAX 2000

struct fixture {
    struct loop *loop;
    struct metrics *metrics;
    struct authenticator authenticator;
    struct ads *ads;
    struct grpc_service *grpc;
    struct http_server *server;
    struct http_client *client;
    struct test_world world;
    struct snapshot *snapshot;
    // The one client stream of a test.
    struct grpc_call *call;
    struct arena arena; // of responses
    VEC(Response *) responses;
    bool is_closed;
    enum grpc_status status;
};

// --- authentication: tokens "NAMESPACE/ACCOUNT"; "later …" answers in another turn -------------------------

struct late_answer {
    struct loop_task task;
    authenticate_done_fn *on_done;
    void *owner;
};

static void answer_late(struct loop_task *task)
{
    struct late_answer *late = container_of(task, struct late_answer, task);
    struct error ok = {0};
    late->on_done(late->owner, STR("spiffe://cluster.local/ns/sample/sa/sleep"), &ok);
    mem_free(late);
}

static void review(void *reviewer, struct str cluster, struct str token, authenticate_done_fn *on_done,
                   void *owner)
{
    struct fixture *fixture = reviewer;
    struct error err = {0};
    assert_str(cluster, "cluster1");
    if (str_equal(token, STR("later"))) {
        struct late_answer *late = mem_new(struct late_answer);
        late->on_done = on_done;
        late->owner = owner;
        loop_task_init(&late->task, answer_late);
        loop_task_schedule(fixture->loop, &late->task);
    } else if (str_equal(token, STR("nobody"))) {
        error_set(&err, ERR_DENIED, "no such account");
        on_done(owner, STR_EMPTY, &err);
    } else {
        struct arena arena = {0};
        on_done(owner, arena_format(&arena, "spiffe://cluster.local/ns/%.*s/sa/sleep", STR_ARG(token)), &err);
        arena_done(&arena);
    }
}

// --- fixture -------------------------------------------------------------------------------------------------

static void on_server_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct fixture *fixture = owner;
    assert_true(grpc_service_handle(fixture->grpc, exchange, head, end));
}

static void fixture_open(struct fixture *fixture, bool is_plaintext)
{
    static const char *const clusters[] = {"cluster1", "cluster2"};
    const char *root = getenv("ISTHMESH_SOURCE_ROOT");
    struct arena arena = {0};
    struct str directory =
        arena_format(&arena, "%s/tests/golden/crossing", root == NULL ? "." : root);
    *fixture = (struct fixture){.loop = loop_new(), .metrics = metrics_new()};
    test_world_load(&fixture->world, directory.data, "", clusters, array_count(clusters));
    fixture->snapshot = mesh_ingest(&fixture->world.world, NULL, NULL);
    fixture->authenticator = (struct authenticator){
        .review = review, .reviewer = fixture, .trust_domain = STR("cluster.local")};
    struct ads_options options = {
        .generator = &gen_generator,
        .authenticator = &fixture->authenticator,
        .pod = STR("istiod-1"),
        .metrics = fixture->metrics,
    };
    fixture->ads = ads_new(fixture->loop, &options);
    fixture->grpc = grpc_service_new();
    ads_add_to(fixture->ads, fixture->grpc, is_plaintext);
    struct http_server_options server = {.http2 = true};
    fixture->server = http_server_new(fixture->loop, &server, on_server_request, fixture);
    struct address address;
    int fd = -1;
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &address, NULL), ERR_OK);
    assert_int_equal(address_listen(&address, &(struct listen_options){0}, &fd, NULL), ERR_OK);
    assert_true(address_local(fd, &address));
    http_server_listen(fixture->server, fd, NULL);
    struct http_client_options client = {.address = address, .protocol = HTTP_PROTOCOL_2};
    fixture->client = http_client_new(fixture->loop, &client);
    arena_done(&arena);
}

static void fixture_ready(struct fixture *fixture)
{
    ads_set_snapshot(fixture->ads, fixture->snapshot);
    ads_set_ready(fixture->ads);
}

static void fixture_close(struct fixture *fixture)
{
    if (!fixture->is_closed && fixture->call != NULL) {
        grpc_set_events(fixture->call, NULL, NULL);
        grpc_cancel(fixture->call);
    }
    http_client_free(fixture->client);
    ads_free(fixture->ads);
    http_server_free(fixture->server);
    for (int i = 0; i < 5; i++) {
        loop_turn(fixture->loop, 0);
    }
    grpc_service_free(fixture->grpc);
    snapshot_unref(fixture->snapshot);
    test_world_done(&fixture->world);
    vec_done(&fixture->responses);
    arena_done(&fixture->arena);
    loop_free(fixture->loop);
    metrics_free(fixture->metrics);
}

// --- client --------------------------------------------------------------------------------------------------

static void on_response(void *owner, struct grpc_call *call, struct str message)
{
    struct fixture *fixture = owner;
    struct error err = {0};
    (void)call;
    Response *response = pb_unpack(&fixture->arena,
        &envoy__service__discovery__v3__discovery_response__descriptor, message, &err);
    assert_non_null(response);
    vec_push(&fixture->responses, response);
}

static void on_closed(void *owner, struct grpc_call *call, enum grpc_status status, struct str message)
{
    struct fixture *fixture = owner;
    (void)call;
    (void)message;
    fixture->is_closed = true;
    fixture->status = status;
}

static void start_stream(struct fixture *fixture, const char *token)
{
    static const struct grpc_events events = {.on_message = on_response, .on_close = on_closed};
    struct arena arena = {0};
    struct http_header metadata[] = {
        {STR("clusterid"), STR("cluster1")},
        {STR("authorization"), arena_format(&arena, "Bearer %s", token == NULL ? "" : token)},
    };
    struct grpc_call_options options = {
        .authority = STR("istiod"), .metadata = metadata, .metadata_count = token == NULL ? 1 : 2};
    fixture->call = grpc_start(fixture->client, XDS_ADS_PATH, &options, &events, fixture);
    arena_done(&arena);
}

static void send_request(struct fixture *fixture, enum xds_type type, const char *const *names,
                         size_t name_count, const Response *acked, bool with_node)
{
    struct arena arena = {0};
    Request *request = pb_new(&arena, &envoy__service__discovery__v3__discovery_request__descriptor);
    request->type_url = pb_text(&arena, str_of(xds_type_url(type)));
    for (size_t i = 0; i < name_count; i++) {
        PB_PUSH(&arena, request, resource_names, pb_text(&arena, str_of(names[i])));
    }
    if (acked != NULL) {
        request->response_nonce = pb_text(&arena, str_of(acked->nonce));
        request->version_info = pb_text(&arena, str_of(acked->version_info));
    }
    if (with_node) {
        struct json_value *metadata = NULL;
        assert_int_equal(json_parse(&arena,
            STR("{\"CLUSTER_ID\":\"cluster1\",\"NETWORK\":\"network1\",\"NAMESPACE\":\"sample\","
                "\"SERVICE_ACCOUNT\":\"sleep\",\"LABELS\":{\"app\":\"sleep\"}}"), &metadata, NULL), ERR_OK);
        request->node = pb_new(&arena, &envoy__config__core__v3__node__descriptor);
        request->node->id =
            pb_text(&arena, STR("sidecar~10.244.0.9~sleep-1.sample~sample.svc.cluster.local"));
        request->node->metadata = pb_struct_from_json(&arena, metadata);
    }
    grpc_send(fixture->call, pb_pack_str(&arena, request));
    arena_done(&arena);
}

static bool wait_for(struct fixture *fixture, size_t response_count)
{
    for (int i = 0; i < TURNS_MAX && fixture->responses.count < response_count && !fixture->is_closed; i++) {
        loop_turn(fixture->loop, 5);
    }
    return fixture->responses.count == response_count;
}

static void settle(struct fixture *fixture)
{
    for (int i = 0; i < 20; i++) {
        loop_turn(fixture->loop, 1);
    }
}

static enum grpc_status wait_closed(struct fixture *fixture)
{
    for (int i = 0; i < TURNS_MAX && !fixture->is_closed; i++) {
        loop_turn(fixture->loop, 5);
    }
    assert_true(fixture->is_closed);
    return fixture->status;
}

// --- tests ---------------------------------------------------------------------------------------------------

static const char helloworld[] = "outbound|5000||helloworld.sample.svc.cluster.local";
static const char sleep_cluster[] = "outbound|80||sleep.sample.svc.cluster.local";

static void only_what_changed_is_pushed(void **state)
{
    (void)state;
    struct fixture fixture;
    const char *const names[] = {helloworld, sleep_cluster};
    fixture_open(&fixture, true);
    fixture_ready(&fixture);
    start_stream(&fixture, NULL);
    send_request(&fixture, XDS_CLUSTER, NULL, 0, NULL, true);
    assert_true(wait_for(&fixture, 1));
    assert_string_equal(fixture.responses.items[0]->type_url, xds_type_url(XDS_CLUSTER));
    assert_true(fixture.responses.items[0]->n_resources > 10);
    send_request(&fixture, XDS_CLUSTER, NULL, 0, fixture.responses.items[0], false);
    send_request(&fixture, XDS_ENDPOINT, names, 2, NULL, false);
    assert_true(wait_for(&fixture, 2));
    assert_int_equal(fixture.responses.items[1]->n_resources, 2);
    send_request(&fixture, XDS_ENDPOINT, names, 2, fixture.responses.items[1], false);
    settle(&fixture);
    assert_int_equal(fixture.responses.count, 2); // acknowledgements are not answered

    // One more helloworld pod: one endpoint resource, no clusters.
    test_world_add(&fixture.world, 0,
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"extra\",\"namespace\":\"sample\","
        "\"labels\":{\"app\":\"helloworld\",\"security.istio.io/tlsMode\":\"istio\"}},"
        "\"spec\":{\"serviceAccountName\":\"default\"}}");
    test_world_add(&fixture.world, 0,
        "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"helloworld-x2\","
        "\"namespace\":\"sample\",\"labels\":{\"kubernetes.io/service-name\":\"helloworld\"}},"
        "\"ports\":[{\"name\":\"http\",\"port\":5000}],\"endpoints\":[{\"addresses\":[\"10.244.0.99\"],"
        "\"targetRef\":{\"kind\":\"Pod\",\"name\":\"extra\",\"namespace\":\"sample\"}}]}");
    struct snapshot *next = mesh_ingest(&fixture.world.world, fixture.snapshot, NULL);
    assert_ptr_not_equal(next, fixture.snapshot);
    ads_set_snapshot(fixture.ads, next);
    snapshot_unref(next);
    assert_true(wait_for(&fixture, 3));
    settle(&fixture);
    assert_int_equal(fixture.responses.count, 3);
    const Response *push = fixture.responses.items[2];
    assert_string_equal(push->type_url, xds_type_url(XDS_ENDPOINT));
    assert_int_equal(push->n_resources, 1);
    fixture_close(&fixture);
}

static void an_equal_world_is_the_same_snapshot(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, true);
    struct snapshot *again = mesh_ingest(&fixture.world.world, fixture.snapshot, NULL);
    assert_ptr_equal(again, fixture.snapshot);
    snapshot_unref(again);
    fixture_close(&fixture);
}

static void streams_wait_for_readiness(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, true);
    start_stream(&fixture, NULL);
    assert_int_equal(wait_closed(&fixture), GRPC_UNAVAILABLE);
    fixture_close(&fixture);
}

static void identities(void **state)
{
    static const struct {
        const char *name;
        const char *token;
        bool want_served;
        enum grpc_status want;
    } rows[] = {
        {"own namespace", "sample", true, GRPC_OK},
        {"answer in a later turn", "later", true, GRPC_OK},
        {"other namespace", "elsewhere", false, GRPC_PERMISSION_DENIED},
        {"token refused", "nobody", false, GRPC_UNAUTHENTICATED},
        {"no token", NULL, false, GRPC_UNAUTHENTICATED},
    };
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct fixture fixture;
        fixture_open(&fixture, false);
        fixture_ready(&fixture);
        start_stream(&fixture, rows[i].token);
        send_request(&fixture, XDS_CLUSTER, NULL, 0, NULL, true);
        if (rows[i].want_served) {
            check_row(rows[i].name, wait_for(&fixture, 1), "not served");
        } else {
            enum grpc_status got = wait_closed(&fixture);
            check_row(rows[i].name, got == rows[i].want, "got %s", grpc_status_name(got));
        }
        fixture_close(&fixture);
    }
}

static void the_first_request_must_introduce(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, true);
    fixture_ready(&fixture);
    start_stream(&fixture, NULL);
    send_request(&fixture, XDS_CLUSTER, NULL, 0, NULL, false);
    assert_int_equal(wait_closed(&fixture), GRPC_INVALID_ARGUMENT);
    fixture_close(&fixture);
}

static void a_client_that_leaves_while_reviewed(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    fixture_ready(&fixture);
    start_stream(&fixture, "later");
    grpc_set_events(fixture.call, NULL, NULL);
    grpc_cancel(fixture.call);
    fixture.is_closed = true;
    settle(&fixture);
    assert_int_equal(ads_stream_count(fixture.ads), 0);
    fixture_close(&fixture);
}

static void spiffe_ids(void **state)
{
    static const struct {
        const char *text;
        bool want;
    } rows[] = {
        {"spiffe://cluster.local/ns/sample/sa/sleep", true},
        {"spiffe://cluster.local/ns/sample/sa/", false},
        {"spiffe://cluster.local/ns//sa/sleep", false},
        {"spiffe:///ns/sample/sa/sleep", false},
        {"spiffe://cluster.local/ns/sample/sa/sleep/more", false},
        {"spiffe://cluster.local/ns/sample", false},
        {"http://cluster.local/ns/sample/sa/sleep", false},
        {"", false},
    };
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct spiffe_id id;
        bool got = spiffe_id_parse(str_of(rows[i].text), &id);
        check_row(rows[i].text, got == rows[i].want, "got %d", got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_changed_is_pushed),
        cmocka_unit_test(an_equal_world_is_the_same_snapshot),
        cmocka_unit_test(streams_wait_for_readiness),
        cmocka_unit_test(identities),
        cmocka_unit_test(the_first_request_must_introduce),
        cmocka_unit_test(a_client_that_leaves_while_reviewed),
        cmocka_unit_test(spiffe_ids),
    };
    return cmocka_run_group_tests_name("serve/ads", tests, NULL, NULL);
}
