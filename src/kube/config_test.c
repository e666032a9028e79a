// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "kube/config.h"

#define CONFIG(cluster, user)                                                                          \
    "apiVersion: v1\nkind: Config\ncurrent-context: one\n"                                             \
    "contexts:\n- name: one\n  context: {cluster: c, user: u, namespace: team}\n"                      \
    "- name: two\n  context: {cluster: c, user: v}\n- name: lost\n  context: {cluster: gone, user: v}\n" \
    "clusters:\n- name: c\n  cluster: " cluster "\nusers:\n- name: u\n  user: " user                   \
    "\n- name: v\n  user: {token: other}\n"

struct row {
    const char *name;
    const char *text;
    const char *context;
    enum kube_config_trust trust;
    enum err want;
    const char *want_message; // how it ends
};

#define GOOD_CLUSTER "{server: 'https://172.18.0.2:6443', certificate-authority-data: Y2E=, tls-server-name: api}"
#define GOOD_USER "{client-certificate-data: Y2VydA==, client-key-data: a2V5, token: t}"

static const struct row rows[] = {
    {"current context", CONFIG(GOOD_CLUSTER, GOOD_USER), "", KUBE_CONFIG_REMOTE, ERR_OK, ""},
    {"unknown context", CONFIG(GOOD_CLUSTER, GOOD_USER), "three", KUBE_CONFIG_LOCAL, ERR_NOT_FOUND,
     "there is no context \"three\""},
    {"unknown cluster", CONFIG(GOOD_CLUSTER, GOOD_USER), "lost", KUBE_CONFIG_LOCAL, ERR_NOT_FOUND,
     "there is no cluster \"gone\""},
    {"no server", CONFIG("{}", GOOD_USER), "", KUBE_CONFIG_LOCAL, ERR_INVALID, "the cluster has no server"},
    {"bad base64", CONFIG("{server: s, certificate-authority-data: '*'}", GOOD_USER), "", KUBE_CONFIG_LOCAL,
     ERR_INVALID, "certificate-authority-data is not base64"},
    {"key without certificate", CONFIG(GOOD_CLUSTER, "{client-key-data: a2V5}"), "", KUBE_CONFIG_LOCAL, ERR_INVALID,
     "the user has a client certificate or key without the other"},
    {"exec, local", CONFIG(GOOD_CLUSTER, "{exec: {command: x}}"), "", KUBE_CONFIG_LOCAL, ERR_UNSUPPORTED,
     "use a client certificate or a token"},
    {"exec, remote", CONFIG(GOOD_CLUSTER, "{exec: {command: x}}"), "", KUBE_CONFIG_REMOTE, ERR_DENIED,
     "kubeconfig is not allowed: exec names a file, program or proxy; put the data inline"},
    {"another user's exec, remote", CONFIG(GOOD_CLUSTER, "{exec: {command: x}}"), "two", KUBE_CONFIG_REMOTE,
     ERR_DENIED, "put the data inline"},
    {"key file, remote", CONFIG(GOOD_CLUSTER, "{client-key: /etc/shadow}"), "", KUBE_CONFIG_REMOTE, ERR_DENIED,
     "kubeconfig is not allowed: client-key names a file, program or proxy; put the data inline"},
    {"token file, remote", CONFIG(GOOD_CLUSTER, "{tokenFile: /etc/shadow}"), "", KUBE_CONFIG_REMOTE, ERR_DENIED,
     "put the data inline"},
    {"CA file, remote", CONFIG("{server: s, certificate-authority: /etc/shadow}", GOOD_USER), "",
     KUBE_CONFIG_REMOTE, ERR_DENIED, "put the data inline"},
    {"not YAML", "a: [", "", KUBE_CONFIG_REMOTE, ERR_INVALID, ""},
    {"a scalar", "hello", "", KUBE_CONFIG_REMOTE, ERR_NOT_FOUND, "there is no context \"\""},
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        const struct row *row = &rows[i];
        struct arena arena = {0};
        struct kube_config config = {0};
        struct error err = {0};
        enum err code = kube_config_parse(&arena, str_of(row->text), str_of(row->context), row->trust, &config, &err);
        check_row(row->name, code == row->want, "got %s: %s", err_name(code), err.message);
        check_row(row->name, str_ends_with(str_of(err.message), str_of(row->want_message)), "got %s", err.message);
        arena_done(&arena);
    }
}

static void test_fields(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct kube_config config = {0};
    struct str text = STR(CONFIG(GOOD_CLUSTER, GOOD_USER));
    assert_int_equal(kube_config_parse(&arena, text, STR("one"), KUBE_CONFIG_REMOTE, &config, NULL), ERR_OK);
    assert_str(config.server, "https://172.18.0.2:6443");
    assert_str(config.tls_server_name, "api");
    assert_str(config.ca_pem, "ca");
    assert_str(config.certificate_pem, "cert");
    assert_str(config.key_pem, "key");
    assert_str(config.token, "t");
    assert_str(config.ns, "team");
    assert_false(config.insecure_skip_tls_verify);
    assert_int_equal(kube_config_parse(&arena, text, STR("two"), KUBE_CONFIG_REMOTE, &config, NULL), ERR_OK);
    assert_str(config.token, "other");
    assert_str(config.certificate_pem, "");
    arena_done(&arena);
}

// Paths in a user's own file are relative to that file.
static void test_load(void **state)
{
    (void)state;
    char directory[] = "/tmp/kube-config-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct arena arena = {0};
    struct str path = arena_format(&arena, "%s/config", directory);
    struct str ca_path = arena_format(&arena, "%s/ca.pem", directory);
    struct str text = STR(CONFIG("{server: s, certificate-authority: ca.pem}", "{tokenFile: /run/token}"));
    assert_int_equal(file_write_atomic(path.data, text, 0600, NULL), ERR_OK);
    assert_int_equal(file_write_atomic(ca_path.data, STR("roots"), 0600, NULL), ERR_OK);
    struct kube_config config = {0};
    struct error err = {0};
    enum err code = kube_config_load(&arena, path.data, STR_EMPTY, &config, &err);
    check_row("load", code == ERR_OK, "%s", err.message);
    assert_str(config.ca_pem, "roots");
    assert_str(config.token_file, "/run/token");
    (void)unlink(ca_path.data);
    (void)unlink(path.data);
    (void)rmdir(directory);
    arena_done(&arena);
}

static void test_in_cluster_outside(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct kube_config config = {0};
    (void)unsetenv("KUBERNETES_SERVICE_HOST");
    assert_int_equal(kube_config_in_cluster(&arena, &config, NULL), ERR_NOT_FOUND);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_in_cluster_outside),
    };
    return cmocka_run_group_tests_name("kube_config", tests, NULL, NULL);
}
