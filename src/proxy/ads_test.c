// SPDX-License-Identifier: Apache-2.0
//
// The whole way from nothing to an answered request against a control plane in the same process: order
// of subscriptions, ACK and NACK, reconnecting with what is in force, and a certificate from a CA.
#include "test.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/memory.h"
#include "codec/pb/pb.h"
#include "codec/x509/x509.h"
#include "codec/yaml/yaml.h"
#include "envoy/service/discovery/v3/discovery.pb-c.h"
#include "istio/v1/auth/ca.pb-c.h"
#include "net/grpc.h"
#include "proxy/ads.h"
#include "proxy/identity/identity.h"
#include "xds/type.h"

#define REQUESTS_MAX 32u

struct plane {
    struct arena arena;
    struct loop *loop;
    struct http_server *server;
    struct grpc_service *service;
    uint16_t port;
    struct grpc_call *stream;
    unsigned streams;
    Envoy__Service__Discovery__V3__DiscoveryRequest *requests[REQUESTS_MAX];
    size_t request_count;
    unsigned nonce;
    uint16_t proxy_port;
    // CA
    struct x509_key *ca_key;
    struct x509_certificate *ca;
    unsigned refusals; // of the next CSRs
    unsigned signings;
    int64_t life_s;
};

static void stream_on_message(void *owner, struct grpc_call *call, struct str message)
{
    struct plane *plane = owner;
    struct error err = {0};
    (void)call;
    assert_true(plane->request_count < REQUESTS_MAX);
    plane->requests[plane->request_count++] =
        pb_unpack(&plane->arena, &envoy__service__discovery__v3__discovery_request__descriptor, message, &err);
    assert_non_null(plane->requests[plane->request_count - 1]);
}

static void stream_on_close(void *owner, struct grpc_call *call, enum grpc_status status, struct str message)
{
    struct plane *plane = owner;
    (void)status;
    (void)message;
    plane->stream = plane->stream == call ? NULL : plane->stream;
}

static const struct grpc_events stream_events = {.on_message = stream_on_message, .on_close = stream_on_close};

static void on_stream(void *owner, struct grpc_call *call)
{
    struct plane *plane = owner;
    plane->stream = call;
    plane->streams++;
    grpc_set_events(call, &stream_events, plane);
}

static void sign_on_message(void *owner, struct grpc_call *call, struct str message)
{
    struct plane *plane = owner;
    struct error err = {0};
    assert_str(grpc_metadata(call, STR("authorization")), "Bearer the-token");
    assert_str(grpc_metadata(call, STR("clusterid")), "cluster1");
    if (plane->refusals > 0) {
        plane->refusals--;
        grpc_finish(call, GRPC_UNAUTHENTICATED, STR("request authenticate failure"));
        return;
    }
    Istio__V1__Auth__IstioCertificateRequest *request =
        pb_unpack(&plane->arena, &istio__v1__auth__istio_certificate_request__descriptor, message, &err);
    struct x509_request csr;
    assert_int_equal(x509_request_parse(&plane->arena, str_of(request->csr), &csr, &err), ERR_OK);
    assert_int_equal(request->validity_duration, IDENTITY_TTL_S);
    int64_t now = (int64_t)(loop_wall_ms(plane->loop) / 1000);
    const struct x509_template wanted = {.sans = csr.sans, .san_count = csr.san_count, .sans_critical = true, .not_before = now - 120,
                                         .not_after = now + plane->life_s, .path_length = -1, .usage = X509_USAGE_LEAF};
    struct x509_certificate *leaf = x509_issue(&wanted, csr.public_key, plane->ca, plane->ca_key, &err);
    assert_non_null(leaf);
    Istio__V1__Auth__IstioCertificateResponse *response = pb_new(&plane->arena, &istio__v1__auth__istio_certificate_response__descriptor);
    PB_PUSH(&plane->arena, response, cert_chain, pb_text(&plane->arena, x509_certificate_pem(&plane->arena, leaf)));
    PB_PUSH(&plane->arena, response, cert_chain, pb_text(&plane->arena, x509_certificate_pem(&plane->arena, plane->ca)));
    x509_certificate_free(leaf);
    x509_request_done(&csr);
    plane->signings++;
    grpc_send(call, pb_pack_str(&plane->arena, response));
    grpc_finish(call, GRPC_OK, STR_EMPTY);
}

static const struct grpc_events sign_events = {.on_message = sign_on_message, .on_close = stream_on_close};

static void on_sign(void *owner, struct grpc_call *call)
{
    grpc_set_events(call, &sign_events, owner);
}

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct plane *plane = owner;
    assert_true(grpc_service_handle(plane->service, exchange, head, end));
}

static uint16_t listen_anywhere(int *ret_fd)
{
    struct address address;
    const struct listen_options options = {0};
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &address, NULL), ERR_OK);
    assert_int_equal(address_listen(&address, &options, ret_fd, NULL), ERR_OK);
    assert_true(address_local(*ret_fd, &address));
    return address_port(&address);
}

static void plane_open(struct plane *plane)
{
    *plane = (struct plane){.loop = loop_new(), .life_s = 86400};
    plane->service = grpc_service_new();
    grpc_service_add(plane->service, XDS_ADS_PATH, on_stream, plane);
    grpc_service_add(plane->service, "/istio.v1.auth.IstioCertificateService/CreateCertificate", on_sign, plane);
    const struct http_server_options options = {.http2 = true};
    plane->server = http_server_new(plane->loop, &options, on_request, plane);
    int fd;
    plane->port = listen_anywhere(&fd);
    http_server_listen(plane->server, fd, NULL);
    int spare; // a port that is free a moment later
    plane->proxy_port = listen_anywhere(&spare);
    (void)close(spare);
    plane->ca_key = x509_key_generate(X509_KEY_P256, NULL);
    int64_t now = (int64_t)(loop_wall_ms(plane->loop) / 1000);
    const struct x509_template root = {.subject = {.common_name = STR("root")}, .not_before = now - 60, .not_after = now + 86400, .is_ca = true,
                                       .path_length = -1, .usage = X509_USAGE_CERT_SIGN};
    plane->ca = x509_issue(&root, plane->ca_key, NULL, plane->ca_key, NULL);
    assert_non_null(plane->ca);
}

static void plane_close(struct plane *plane)
{
    http_server_free(plane->server);
    grpc_service_free(plane->service);
    x509_certificate_free(plane->ca);
    x509_key_free(plane->ca_key);
    for (int i = 0; i < 50; i++) {
        loop_turn(plane->loop, 0);
    }
    loop_free(plane->loop);
    arena_done(&plane->arena);
}

// Turns the loop until the n-th request is there and looks at it.
static const Envoy__Service__Discovery__V3__DiscoveryRequest *await_request(struct plane *plane, size_t index, enum xds_type type)
{
    for (int i = 0; i < 2000 && plane->request_count <= index; i++) {
        loop_turn(plane->loop, 10);
    }
    assert_true(plane->request_count > index);
    assert_string_equal(plane->requests[index]->type_url, xds_type_url(type));
    return plane->requests[index];
}

// YAML documents of one type, with the proxy's port put in for PORT.
static void answer(struct plane *plane, enum xds_type type, const char *version, const char *yaml)
{
    struct arena *arena = &plane->arena;
    struct yaml_documents documents;
    struct error err = {0};
    struct buf text = {0};
    struct str rest = str_of(yaml);
    for (ptrdiff_t at; (at = str_find(rest, STR("PORT"))) >= 0; rest = str_from(rest, (size_t)at + 4)) {
        buf_append_str(&text, str_sub(rest, 0, (size_t)at));
        buf_append_u64(&text, plane->proxy_port);
    }
    buf_append_str(&text, rest);
    if (yaml_parse_all(arena, buf_view(&text), &documents, &err) != ERR_OK) {
        fail_msg("%s", err.message);
    }
    buf_done(&text);
    Envoy__Service__Discovery__V3__DiscoveryResponse *response = pb_new(arena, &envoy__service__discovery__v3__discovery_response__descriptor);
    for (size_t i = 0; i < documents.count; i++) {
        void *message = pb_from_json(arena, xds_type_descriptor(type), documents.items[i], PB_JSON_STRICT, &err);
        if (message == NULL) {
            fail_msg("%s", err.message);
        }
        PB_PUSH(arena, response, resources, pb_any(arena, message));
    }
    response->type_url = pb_text(arena, str_of(xds_type_url(type)));
    response->version_info = pb_text(arena, str_of(version));
    response->nonce = pb_text(arena, arena_format(arena, "n%u", ++plane->nonce));
    assert_non_null(plane->stream);
    grpc_send(plane->stream, pb_pack_str(arena, response));
}

static struct ads *connect_proxy(struct plane *plane, struct proxy *proxy)
{
    proxy_init(proxy, plane->loop, 0);
    Envoy__Config__Core__V3__Node *node = pb_new(&plane->arena, &envoy__config__core__v3__node__descriptor);
    node->id = pb_text(&plane->arena, STR("sidecar~10.0.0.1~a.b~b.svc.cluster.local"));
    proxy->node = node;
    const struct ads_options options = {.host = STR("127.0.0.1"), .port = plane->port, .cluster_id = STR("cluster1"), .plaintext = true};
    proxy->ads = ads_new(proxy, &options);
    return proxy->ads;
}

static const char clusters[] = "name: remote\ntype: EDS\neds_cluster_config: {eds_config: {ads: {}}}\n---\nname: hole\ntype: STATIC\n";
static const char endpoints[] = "cluster_name: remote\n";
static const char listeners[] =
    "name: l\n"
    "address: {socket_address: {address: 127.0.0.1, port_value: PORT}}\n"
    "filter_chains:\n"
    "- filters:\n"
    "  - name: h\n"
    "    typed_config:\n"
    "      '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n"
    "      stat_prefix: l\n"
    "      rds: {config_source: {ads: {}}, route_config_name: web}\n"
    "      http_filters:\n"
    "      - {name: r, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}\n";
static const char routes[] =
    "name: web\n"
    "virtual_hosts:\n"
    "- name: all\n"
    "  domains: ['*']\n"
    "  routes:\n"
    "  - {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: one}}}\n"
    "  - {match: {prefix: /}, route: {cluster: remote}}\n";

struct fetch {
    int status;
    struct buf body;
    bool closed;
};

static void fetch_on_head(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    (void)exchange;
    (void)end;
    ((struct fetch *)owner)->status = head->status;
}

static void fetch_on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)exchange;
    (void)end;
    buf_append_str(&((struct fetch *)owner)->body, bytes);
}

static void fetch_on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    (void)err;
    ((struct fetch *)owner)->closed = true;
}

static const struct http_events fetch_events = {.on_head = fetch_on_head, .on_data = fetch_on_data, .on_close = fetch_on_close};

static void check_fetch(struct plane *plane, const char *path, int want_status, const char *want_body)
{
    struct fetch fetch = {0};
    struct http_head head;
    struct http_client_options options = {0};
    assert_int_equal(address_from_ip(STR("127.0.0.1"), plane->proxy_port, &options.address, NULL), ERR_OK);
    struct http_client *client = http_client_new(plane->loop, &options);
    http_head_init_request(&head, STR("GET"), STR("http"), STR("web"), str_of(path));
    (void)http_request(client, &head, true, &fetch_events, &fetch);
    for (int i = 0; i < 1000 && !fetch.closed; i++) {
        loop_turn(plane->loop, 10);
    }
    check_row(path, fetch.status == want_status, "status %d, want %d", fetch.status, want_status);
    assert_str(buf_view(&fetch.body), want_body);
    buf_done(&fetch.body);
    http_client_free(client);
}

static void await_ready(struct plane *plane, struct proxy *proxy)
{
    for (int i = 0; i < 1000 && !proxy_is_ready(proxy); i++) {
        loop_turn(plane->loop, 10);
    }
    assert_true(proxy_is_ready(proxy));
}

// Clusters, then endpoints, then listeners, then routes; each answered with an ACK.
static void bring_up(struct plane *plane, struct proxy *proxy)
{
    const Envoy__Service__Discovery__V3__DiscoveryRequest *request = await_request(plane, 0, XDS_CLUSTER);
    assert_string_equal(request->node->id, "sidecar~10.0.0.1~a.b~b.svc.cluster.local");
    assert_int_equal(request->n_resource_names, 0);
    answer(plane, XDS_CLUSTER, "c1", clusters);
    request = await_request(plane, 1, XDS_CLUSTER);
    assert_string_equal(request->version_info, "c1");
    assert_string_equal(request->response_nonce, "n1");
    request = await_request(plane, 2, XDS_ENDPOINT);
    assert_int_equal(request->n_resource_names, 1);
    assert_string_equal(request->resource_names[0], "remote");
    for (int i = 0; i < 20; i++) { // no listeners before clusters are warm
        loop_turn(plane->loop, 1);
    }
    assert_int_equal(plane->request_count, 3);
    answer(plane, XDS_ENDPOINT, "e1", endpoints);
    (void)await_request(plane, 3, XDS_ENDPOINT);
    (void)await_request(plane, 4, XDS_LISTENER);
    answer(plane, XDS_LISTENER, "l1", listeners);
    (void)await_request(plane, 5, XDS_LISTENER);
    request = await_request(plane, 6, XDS_ROUTE);
    assert_string_equal(request->resource_names[0], "web");
    assert_false(proxy_is_ready(proxy));
    answer(plane, XDS_ROUTE, "r1", routes);
    (void)await_request(plane, 7, XDS_ROUTE);
    await_ready(plane, proxy);
}

static void test_from_nothing_to_serving(void **state)
{
    (void)state;
    struct plane plane;
    struct proxy proxy;
    plane_open(&plane);
    (void)connect_proxy(&plane, &proxy);
    bring_up(&plane, &proxy);
    check_fetch(&plane, "/direct", 200, "one");
    check_fetch(&plane, "/other", 503, "no healthy upstream");
    // A route changes: the next request sees it.
    answer(&plane, XDS_ROUTE, "r2",
           "name: web\nvirtual_hosts: [{name: all, domains: ['*'], routes: [{match: {prefix: /}, direct_response: {status: 404}}]}]\n");
    (void)await_request(&plane, 8, XDS_ROUTE);
    loop_turn(plane.loop, 10);
    check_fetch(&plane, "/direct", 404, "");
    proxy_done(&proxy);
    plane_close(&plane);
}

static void test_a_bad_push_is_refused_and_the_rest_serves(void **state)
{
    (void)state;
    struct plane plane;
    struct proxy proxy;
    plane_open(&plane);
    (void)connect_proxy(&plane, &proxy);
    bring_up(&plane, &proxy);
    answer(&plane, XDS_CLUSTER, "c2", "name: remote\ntype: EDS\nlb_policy: LOAD_BALANCING_POLICY_CONFIG\n---\nname: fresh\ntype: STATIC\n");
    const Envoy__Service__Discovery__V3__DiscoveryRequest *request = await_request(&plane, 8, XDS_CLUSTER);
    assert_string_equal(request->version_info, "c1");
    assert_non_null(request->error_detail);
    assert_true(str_starts_with(str_of(request->error_detail->message), STR("remote: ")));
    loop_turn(plane.loop, 10);
    assert_non_null(map_get(&config_store_current(proxy.store)->clusters, STR("fresh")));
    check_fetch(&plane, "/other", 503, "no healthy upstream"); // "remote" as it was
    proxy_done(&proxy);
    plane_close(&plane);
}

static void test_serving_on_without_a_control_plane(void **state)
{
    (void)state;
    struct plane plane;
    struct proxy proxy;
    plane_open(&plane);
    struct ads *ads = connect_proxy(&plane, &proxy);
    bring_up(&plane, &proxy);
    size_t before = plane.request_count;
    grpc_finish(plane.stream, GRPC_UNAVAILABLE, STR("restart"));
    for (int i = 0; i < 1000 && ads_is_connected(ads); i++) {
        loop_turn(plane.loop, 10);
    }
    assert_false(ads_is_connected(ads));
    check_fetch(&plane, "/direct", 200, "one");
    const Envoy__Service__Discovery__V3__DiscoveryRequest *request = await_request(&plane, before, XDS_CLUSTER);
    assert_non_null(request->node);
    assert_string_equal(request->version_info, "c1");
    assert_string_equal(request->response_nonce, "");
    assert_string_equal(await_request(&plane, before + 1, XDS_ENDPOINT)->resource_names[0], "remote");
    (void)await_request(&plane, before + 2, XDS_LISTENER);
    (void)await_request(&plane, before + 3, XDS_ROUTE);
    assert_int_equal(plane.streams, 2);
    proxy_done(&proxy);
    plane_close(&plane);
}

// --- identity ------------------------------------------------------------------------------------------

struct holder {
    unsigned count;
    bool chain_starts_with_leaf;
    struct buf roots;
};

static void on_identity(void *owner, struct str chain_pem, struct str key_pem, struct str roots_pem)
{
    struct holder *holder = owner;
    struct x509_certificate *leaf = x509_certificate_parse(chain_pem, NULL);
    struct x509_key *key = x509_key_parse(key_pem, NULL);
    assert_non_null(leaf);
    assert_non_null(key);
    assert_true(x509_certificate_matches_key(leaf, key));
    x509_certificate_free(leaf);
    x509_key_free(key);
    holder->count++;
    buf_reset(&holder->roots);
    buf_append_str(&holder->roots, roots_pem);
}

static void test_identity_is_got_and_renewed(void **state)
{
    (void)state;
    struct plane plane;
    struct holder holder = {0};
    plane_open(&plane);
    plane.refusals = 2; // tried again
    plane.life_s = 2;   // renewed after one second
    char path[] = "/tmp/isthmesh-token-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "the-token\n", 10), 10);
    (void)close(fd);
    const struct identity_options options = {.ca_host = STR("127.0.0.1"), .ca_port = plane.port, .token_path = str_of(path), .plaintext = true,
                                             .cluster_id = STR("cluster1"), .spiffe_id = STR("spiffe://cluster.local/ns/a/sa/b")};
    struct identity *identity = identity_new(plane.loop, &options, on_identity, &holder);
    for (int i = 0; i < 1000 && holder.count < 2; i++) {
        loop_turn(plane.loop, 10);
    }
    assert_true(holder.count >= 2);
    assert_int_equal(plane.refusals, 0);
    assert_str(buf_view(&holder.roots), x509_certificate_pem(&plane.arena, plane.ca).data);
    assert_int_equal(identity_last_error(identity).size, 0);
    identity_free(identity);
    buf_done(&holder.roots);
    (void)unlink(path);
    plane_close(&plane);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_nothing_to_serving),
        cmocka_unit_test(test_a_bad_push_is_refused_and_the_rest_serves),
        cmocka_unit_test(test_serving_on_without_a_control_plane),
        cmocka_unit_test(test_identity_is_got_and_renewed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
