// SPDX-License-Identifier: Apache-2.0
//
// The registry against two real (lab) API servers in this process: a remote cluster comes, changes its
// credentials, is named by nonsense, and goes; tokens are reviewed; the root is published.
#include "test.h"

#include "base/base64.h"
#include "base/memory.h"
#include "codec/yaml/yaml.h"
#include "control/registry/registry.h"
#include "control/registry/root_publisher.h"
#include "control/registry/token_review.h"
#include "lab/apiserver/apiserver.h"
#include "net/address.h"

#define TURNS_MAX 2000
#define HOST "hello.shop.svc.cluster.local"

struct side {
    struct apiserver *server;
    struct kube_config config;
    struct kube_client *client;
    struct str url;
};

struct fixture {
    struct loop *loop;
    struct arena arena;
    struct metrics *metrics;
    struct side sides[2];
    struct registry *registry;
    struct snapshot *snapshot;
    bool is_ready;
    // The last call's answer.
    bool is_answered;
    enum err code;
    struct buf text; // identity of a review
};

static void on_snapshot(void *owner, struct snapshot *snapshot)
{
    struct fixture *fixture = owner;
    snapshot_unref(fixture->snapshot);
    fixture->snapshot = snapshot_ref(snapshot);
}

static void on_ready(void *owner)
{
    struct fixture *fixture = owner;
    fixture->is_ready = true;
}

static void side_open(struct fixture *fixture, struct side *side, const char *name)
{
    struct address address;
    struct error err = {0};
    char text[ADDRESS_TEXT_SIZE];
    int fd = -1;
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &address, &err), ERR_OK);
    assert_int_equal(address_listen(&address, &(struct listen_options){0}, &fd, &err), ERR_OK);
    assert_true(address_local(fd, &address));
    side->url = arena_format(&fixture->arena, "https://%s", address_format(&address, text));
    struct apiserver_options options = {
        .cluster_name = str_of(name), .listen_fds = &fd, .listen_fd_count = 1,
        .advertise_ip = STR("127.0.0.1"), .advertise_port = address_port(&address),
    };
    side->server = apiserver_new(fixture->loop, &options, &err);
    if (side->server == NULL) {
        fail_msg("%s", err.message);
    }
    side->config = apiserver_client_config(side->server, &fixture->arena, side->url);
    side->client = kube_client_new(fixture->loop, &side->config, &err);
    assert_non_null(side->client);
}

static void on_call(void *owner, enum err code, const struct kube_response *response)
{
    struct fixture *fixture = owner;
    (void)response;
    fixture->is_answered = true;
    fixture->code = code;
}

static void wait_answer(struct fixture *fixture)
{
    for (int i = 0; i < TURNS_MAX && !fixture->is_answered; i++) {
        loop_turn(fixture->loop, 5);
    }
    assert_true(fixture->is_answered);
    fixture->is_answered = false;
}

static void create(struct fixture *fixture, size_t side, const struct kube_resource *resource, const char *ns,
                   const char *text)
{
    struct json_value *object = NULL;
    struct error err = {0};
    if (yaml_parse(&fixture->arena, str_of(text), &object, &err) != ERR_OK) {
        fail_msg("%s: %s", text, err.message);
    }
    kube_create(fixture->sides[side].client, resource, str_of(ns), object, on_call, fixture);
    wait_answer(fixture);
    assert_int_equal(fixture->code, ERR_OK);
}

static size_t cluster_count(const struct fixture *fixture)
{
    const struct mesh_service *service =
        fixture->snapshot == NULL ? NULL : snapshot_service(fixture->snapshot, STR(HOST));
    return service == NULL ? 0 : service->cluster_count;
}

static bool wait_clusters(struct fixture *fixture, size_t want)
{
    for (int i = 0; i < TURNS_MAX && cluster_count(fixture) != want; i++) {
        loop_turn(fixture->loop, 5);
    }
    return cluster_count(fixture) == want;
}

static void add_objects(struct fixture *fixture, size_t side)
{
    create(fixture, side, &kube_namespaces, "", "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}");
    create(fixture, side, &kube_services, "shop",
           "{apiVersion: v1, kind: Service, metadata: {name: hello, namespace: shop},"
           " spec: {selector: {app: hello}, ports: [{name: http, port: 80}]}}");
}

static void fixture_open(struct fixture *fixture)
{
    static const struct registry_events events = {.on_snapshot = on_snapshot, .on_ready = on_ready};
    struct error err = {0};
    *fixture = (struct fixture){.loop = loop_new(), .metrics = metrics_new()};
    side_open(fixture, &fixture->sides[0], "cluster1");
    side_open(fixture, &fixture->sides[1], "cluster2");
    create(fixture, 0, &kube_namespaces, "", "{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}");
    add_objects(fixture, 0);
    add_objects(fixture, 1);
    struct registry_options options = {
        .config = &fixture->sides[0].config, .cluster = STR("cluster1"),
        .system_namespace = STR("istio-system"), .domain = STR("cluster.local"), .metrics = fixture->metrics,
    };
    fixture->registry = registry_new(fixture->loop, &options, &events, fixture, &err);
    assert_non_null(fixture->registry);
    assert_true(wait_clusters(fixture, 1));
    for (int i = 0; i < TURNS_MAX && !fixture->is_ready; i++) {
        loop_turn(fixture->loop, 5);
    }
    assert_true(registry_is_ready(fixture->registry));
}

static void fixture_close(struct fixture *fixture)
{
    registry_free(fixture->registry);
    snapshot_unref(fixture->snapshot);
    for (size_t i = 0; i < array_count(fixture->sides); i++) {
        kube_client_free(fixture->sides[i].client);
        apiserver_free(fixture->sides[i].server);
    }
    for (int i = 0; i < 5; i++) {
        loop_turn(fixture->loop, 0);
    }
    buf_done(&fixture->text);
    arena_done(&fixture->arena);
    loop_free(fixture->loop);
    metrics_free(fixture->metrics);
}

static void set_remote_secret(struct fixture *fixture, const char *name, struct str kubeconfig, bool is_new)
{
    struct arena *arena = &fixture->arena;
    struct str encoded = base64_encode(arena, kubeconfig);
    struct str text = arena_format(arena,
        "{apiVersion: v1, kind: Secret, metadata: {name: %s, namespace: istio-system, labels:"
        " {istio/multiCluster: 'true'}}, data: {cluster2: '%.*s'}}", name, STR_ARG(encoded));
    struct json_value *object = NULL;
    assert_int_equal(yaml_parse(arena, text, &object, NULL), ERR_OK);
    struct kube_client *client = fixture->sides[0].client;
    if (is_new) {
        kube_create(client, &kube_secrets, STR("istio-system"), object, on_call, fixture);
    } else {
        kube_patch(client, &kube_secrets, STR("istio-system"), str_of(name), STR_EMPTY,
                   STR("application/merge-patch+json"), object, on_call, fixture);
    }
    wait_answer(fixture);
    assert_int_equal(fixture->code, ERR_OK);
}

static void settle(struct fixture *fixture)
{
    for (int i = 0; i < 50; i++) {
        loop_turn(fixture->loop, 2);
    }
}

static uint64_t refused(const struct fixture *fixture)
{
    return metric_value(metrics_counter(fixture->metrics, "isthmesh_registry_remote_secrets_refused_total",
                                        "Remote secrets that could not be used.", NULL));
}

static void remote_clusters_come_change_and_go(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct str good =
        apiserver_kubeconfig(fixture.sides[1].server, &fixture.arena, fixture.sides[1].url);
    set_remote_secret(&fixture, "remote", good, true);
    assert_true(wait_clusters(&fixture, 2));
    assert_non_null(registry_client(fixture.registry, STR("cluster2")));

    set_remote_secret(&fixture, "remote", STR("users: [{name: u, user: {exec: {command: id}}}]"), false);
    settle(&fixture);
    assert_int_equal(refused(&fixture), 1);
    assert_int_equal(cluster_count(&fixture), 2); // a bad secret never replaces a good view

    struct str same = arena_format(&fixture.arena, "%.*s\n# rotated\n", STR_ARG(good));
    set_remote_secret(&fixture, "remote", same, false);
    settle(&fixture);
    assert_int_equal(cluster_count(&fixture), 2);

    set_remote_secret(&fixture, "second", good, true); // the same id again: ignored
    kube_delete(fixture.sides[0].client, &kube_secrets, STR("istio-system"), STR("remote"), -1, on_call, &fixture);
    wait_answer(&fixture);
    assert_true(wait_clusters(&fixture, 1));
    assert_null(registry_client(fixture.registry, STR("cluster2")));
    fixture_close(&fixture);
}

static void on_reviewed(void *owner, struct str identity, const struct error *err)
{
    struct fixture *fixture = owner;
    fixture->is_answered = true;
    fixture->code = err->code;
    buf_reset(&fixture->text);
    buf_append_str(&fixture->text, identity);
}

static void tokens_are_reviewed_where_they_come_from(void **state)
{
    static const struct {
        const char *name;
        const char *cluster;
        const char *token;
        enum err want;
    } rows[] = {
        {"unknown cluster", "cluster9", "x", ERR_DENIED},
        {"bad token", "cluster1", "x", ERR_DENIED},
        {"bad token, own cluster by default", "", "x", ERR_DENIED},
    };
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct token_reviewer reviewer = {.registry = fixture.registry, .trust_domain = STR("cluster.local")};
    for (size_t i = 0; i < array_count(rows); i++) {
        token_review(&reviewer, str_of(rows[i].cluster), str_of(rows[i].token), on_reviewed, &fixture);
        wait_answer(&fixture);
        check_row(rows[i].name, fixture.code == rows[i].want, "got %s", err_name(fixture.code));
        assert_int_equal(fixture.text.size, 0);
    }
    fixture_close(&fixture);
}

static void the_root_is_in_every_namespace(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct root_publisher *publisher =
        root_publisher_new(fixture.loop, fixture.sides[0].client, STR("-----root-----"));
    enum err code = ERR_NOT_FOUND;
    for (int i = 0; i < 100 && code != ERR_OK; i++) {
        kube_get(fixture.sides[0].client, &kube_configmaps, STR("shop"), STR("istio-ca-root-cert"), on_call, &fixture);
        wait_answer(&fixture);
        code = fixture.code;
    }
    assert_int_equal(code, ERR_OK);
    root_publisher_free(publisher);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remote_clusters_come_change_and_go),
        cmocka_unit_test(tokens_are_reviewed_where_they_come_from),
        cmocka_unit_test(the_root_is_in_every_namespace),
    };
    return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
