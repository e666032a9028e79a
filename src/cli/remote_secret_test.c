// SPDX-License-Identifier: Apache-2.0
//
// create-remote-secret against the lab's API server, which runs in a thread of its own: what it prints must
// open the cluster for reading, and for no more.
#include "test.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "cli/remote_secret.h"
#include "codec/yaml/yaml.h"
#include "kube/client.h"
#include "lab/apiserver/apiserver.h"
#include "net/address.h"

struct place {
    char directory[64];
    struct arena arena;
    struct loop *loop; // the server's
    struct apiserver *server;
    pthread_t thread;
    struct str url;
    const char *kubeconfig; // path
    const char *output;     // path
};

static void *serve(void *argument)
{
    struct place *place = argument;
    loop_run(place->loop);
    return NULL;
}

static void on_drained(void *owner)
{
    struct place *place = owner;
    loop_stop(place->loop);
}

static void stop(void *argument) // on the server's loop
{
    struct place *place = argument;
    apiserver_drain(place->server, 1000, on_drained, place);
}

static int setup(void **state)
{
    struct place *place = mem_new(struct place);
    struct error err = {0};
    struct address address;
    int fd = -1;
    (void)snprintf(place->directory, sizeof(place->directory), "/tmp/remote-secret-test-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    place->kubeconfig = arena_format(&place->arena, "%s/kubeconfig", place->directory).data;
    place->output = arena_format(&place->arena, "%s/output", place->directory).data;
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &address, NULL), ERR_OK);
    assert_int_equal(address_listen(&address, &(struct listen_options){0}, &fd, &err), ERR_OK);
    assert_true(address_local(fd, &address));
    place->loop = loop_new();
    const struct apiserver_options options = {.cluster_name = STR("cluster1"), .listen_fds = &fd, .listen_fd_count = 1,
                                              .advertise_ip = STR("127.0.0.1"), .advertise_port = address_port(&address)};
    place->server = apiserver_new(place->loop, &options, &err);
    if (place->server == NULL) {
        fail_msg("%s", err.message);
    }
    place->url = arena_format(&place->arena, "https://127.0.0.1:%u", address_port(&address));
    struct str text = apiserver_kubeconfig(place->server, &place->arena, place->url);
    assert_int_equal(file_write_atomic(place->kubeconfig, text, 0600, &err), ERR_OK);
    assert_int_equal(pthread_create(&place->thread, NULL, serve, place), 0);
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    loop_post(place->loop, stop, place);
    (void)pthread_join(place->thread, NULL);
    apiserver_free(place->server);
    for (int i = 0; i < 3; i++) {
        loop_turn(place->loop, 0);
    }
    loop_free(place->loop);
    (void)unlink(place->kubeconfig);
    (void)unlink(place->output);
    assert_int_equal(rmdir(place->directory), 0);
    arena_done(&place->arena);
    mem_free(place);
    return 0;
}

// Runs the command with its output in a file; returns the exit status.
static int run(struct place *place, char *const *flags, size_t flag_count)
{
    char name[] = "create-remote-secret";
    char kubeconfig_flag[] = "--kubeconfig";
    char *argv[16] = {name, kubeconfig_flag, arena_strdup(&place->arena, str_of(place->kubeconfig))};
    int argc = 3;
    for (size_t i = 0; i < flag_count; i++) {
        argv[argc++] = flags[i];
    }
    (void)fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    assert_non_null(freopen(place->output, "w", stdout));
    int status = cli_create_remote_secret(argc, argv);
    (void)fflush(stdout);
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    (void)close(saved);
    return status;
}

static void on_done(void *owner, enum err code, const struct kube_response *response)
{
    (void)response;
    *(enum err *)owner = code;
}

static enum err ask(const struct kube_config *config, const struct kube_resource *resource, struct str ns, bool make)
{
    struct loop *loop = loop_new();
    struct arena arena = {0};
    struct error err = {0};
    struct kube_client *client = kube_client_new(loop, config, &err);
    enum err code = ERR_COUNT;
    assert_non_null(client);
    if (make) {
        struct json_value *object = NULL;
        assert_int_equal(yaml_parse(&arena, STR("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 1}]}}"), &object, NULL), ERR_OK);
        (void)kube_create(client, resource, ns, object, on_done, &code);
    } else {
        struct kube_request request = {.method = STR("GET"), .path = kube_path(&arena, resource, ns, STR_EMPTY)};
        (void)kube_request(client, &request, on_done, &code);
    }
    for (int i = 0; i < 200 && code == ERR_COUNT; i++) {
        loop_turn(loop, 100);
    }
    kube_client_free(client);
    for (int i = 0; i < 3; i++) {
        loop_turn(loop, 0);
    }
    loop_free(loop);
    arena_done(&arena);
    return code;
}

static void secret_opens_the_cluster_for_reading(void **state)
{
    struct place *place = *state;
    struct error err = {0};
    char name_flag[] = "--name=cluster1";
    char *flags[] = {name_flag};
    // Twice: the second run finds account and token where the first left them.
    for (int i = 0; i < 2; i++) {
        assert_int_equal(run(place, flags, 1), 0);
        struct str text;
        struct json_value *secret;
        assert_int_equal(file_read(&place->arena, place->output, FILE_READ_MAX, &text, &err), ERR_OK);
        assert_int_equal(yaml_parse(&place->arena, text, &secret, &err), ERR_OK);
        assert_str(json_str(json_path(secret, "metadata", "namespace", NULL)), "istio-system");
        struct str config_text = json_str(json_path(secret, "stringData", "cluster1", NULL));
        struct kube_config config;
        if (kube_config_parse(&place->arena, config_text, STR_EMPTY, KUBE_CONFIG_REMOTE, &config, &err) != ERR_OK) {
            fail_msg("%s", err.message);
        }
        assert_true(str_equal(config.server, place->url));
        assert_true(config.token.size > 0);
        assert_int_equal(ask(&config, &kube_services, STR_EMPTY, false), ERR_OK);
        assert_int_equal(ask(&config, &kube_endpointslices, STR_EMPTY, false), ERR_OK);
        assert_int_equal(ask(&config, &kube_services, STR("default"), true), ERR_DENIED);
    }
}

static void name_defaults_to_the_clusters_uid(void **state)
{
    struct place *place = *state;
    struct str text;
    assert_int_equal(run(place, NULL, 0), 0);
    assert_int_equal(file_read(&place->arena, place->output, FILE_READ_MAX, &text, NULL), ERR_OK);
    assert_true(str_find(text, STR("istio-remote-secret-")) > 0);
    assert_true(str_find(text, STR("istio-remote-secret-cluster1")) < 0);
}

static void mistakes_are_named(void **state)
{
    struct place *place = *state;
    char bad_name[] = "--name=Not_A_Label";
    char name[] = "--name=x";
    char absent[] = "--service-account=absent";
    char make_none[] = "--create-service-account=false";
    char context[] = "--context=none";
    char *rows[][3] = {{bad_name, NULL, NULL}, {name, absent, make_none}, {name, context, NULL}};
    static const size_t counts[] = {1, 3, 2};
    for (size_t i = 0; i < array_count(rows); i++) {
        assert_int_equal(run(place, rows[i], counts[i]), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secret_opens_the_cluster_for_reading),
        cmocka_unit_test(name_defaults_to_the_clusters_uid),
        cmocka_unit_test(mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
