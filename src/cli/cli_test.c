// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/file.h"
#include "base/memory.h"
#include "cli/ca.h"
#include "cli/options.h"
#include "cli/remote_secret.h"
#include "codec/x509/x509.h"
#include "codec/yaml/yaml.h"

#define ARGUMENTS_MAX 12

static int split(const char *line, char *storage, size_t size, char **argv)
{
    (void)snprintf(storage, size, "%s", line);
    int argc = 0;
    for (char *at = storage; *at != '\0' && argc < ARGUMENTS_MAX;) {
        argv[argc++] = at;
        at += strcspn(at, " ");
        if (*at == ' ') {
            *at++ = '\0';
        }
    }
    argv[argc] = NULL;
    return argc;
}

static void flags_are_found_anywhere(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum options_result want;
        const char *want_name;
        bool want_switch;
        const char *want_first; // positional
    } rows[] = {
        {"x --name a first", OPTIONS_RUN, "a", true, "first"},
        {"x first --name=a", OPTIONS_RUN, "a", true, "first"},
        {"x -n a first --on=false", OPTIONS_RUN, "a", false, "first"},
        {"x --name=a=b first", OPTIONS_RUN, "a=b", true, "first"},
        {"x -- --name", OPTIONS_RUN, "", true, "--name"},
        {"x - --on", OPTIONS_RUN, "", true, "-"},
        {"x first --name", OPTIONS_WRONG, NULL, true, NULL},
        {"x first --nam a", OPTIONS_WRONG, NULL, true, NULL},
        {"x first --on=maybe", OPTIONS_WRONG, NULL, true, NULL},
        {"x", OPTIONS_WRONG, NULL, true, NULL},
        {"x first second third", OPTIONS_WRONG, NULL, true, NULL},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        const char *name = "";
        bool on = true;
        const struct option_row table[] = {{"name", 'n', "NAME", "", &name, NULL}, {"on", 0, NULL, "", NULL, &on}};
        const struct option_usage usage = {"x", "", "", table, array_count(table)};
        char storage[128];
        char *argv[ARGUMENTS_MAX + 1];
        int argc = split(rows[i].line, storage, sizeof(storage), argv);
        int count = 0;
        enum options_result got = options_parse(&usage, argc, argv, 1, 2, &count);
        check_row(rows[i].line, got == rows[i].want, "got %d", got);
        if (got == OPTIONS_RUN) {
            check_row(rows[i].line, strcmp(name, rows[i].want_name) == 0 && on == rows[i].want_switch, "got %s %d", name, on);
            check_row(rows[i].line, strcmp(argv[1], rows[i].want_first) == 0, "got %s", argv[1]);
        }
    }
}

static int run_ca(const char *line)
{
    char storage[512];
    char *argv[ARGUMENTS_MAX + 1];
    int argc = split(line, storage, sizeof(storage), argv);
    return cli_ca(argc, argv);
}

static struct str slurp(struct arena *arena, const char *directory, const char *name)
{
    char path[512];
    struct str text;
    struct error err = {0};
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (file_read(arena, path, FILE_READ_MAX, &text, &err) != ERR_OK) {
        fail_msg("%s", err.message);
    }
    return text;
}

static void check_intermediate(struct arena *arena, const char *directory)
{
    struct x509_bundle roots;
    struct x509_bundle chain;
    struct error err = {0};
    assert_int_equal(x509_bundle_parse(slurp(arena, directory, "root-cert.pem"), &roots, &err), ERR_OK);
    assert_int_equal(x509_bundle_parse(slurp(arena, directory, "cluster1/cert-chain.pem"), &chain, &err), ERR_OK);
    assert_int_equal(chain.count, 2);
    struct x509_certificate *certificate = x509_certificate_parse(slurp(arena, directory, "cluster1/ca-cert.pem"), &err);
    struct x509_key *key = x509_key_parse(slurp(arena, directory, "cluster1/ca-key.pem"), &err);
    assert_true(x509_certificate_matches_key(certificate, key));
    struct x509_facts facts;
    x509_certificate_facts(arena, certificate, &facts);
    assert_int_equal(x509_verify(certificate, NULL, &roots, facts.not_before + 1, &err), ERR_OK);
    assert_str(facts.subject, "L=cluster1,CN=Intermediate CA,O=Istio");
    assert_str(facts.issuer, "CN=Root CA,O=Istio");
    assert_int_equal(facts.path_length, 0);
    assert_str(facts.sans[0].value, "istiod.istio-system.svc");
    x509_bundle_done(&roots);
    x509_bundle_done(&chain);
    x509_certificate_free(certificate);
    x509_key_free(key);
}

static void ca_writes_the_makefiles_files(void **state)
{
    (void)state;
    struct arena arena = {0};
    char directory[] = "/tmp/cli-test-XXXXXX";
    assert_non_null(mkdtemp(directory));
    char root[256];
    char intermediate[256];
    (void)snprintf(root, sizeof(root), "ca root --key p256 --directory %s", directory);
    (void)snprintf(intermediate, sizeof(intermediate), "ca intermediate cluster1 --key p256 --directory %s", directory);
    assert_int_equal(run_ca(intermediate), 1); // no root yet
    assert_int_equal(run_ca(root), 0);
    assert_int_equal(run_ca(intermediate), 0);
    check_intermediate(&arena, directory);
    struct stat facts;
    assert_int_equal(stat(arena_format(&arena, "%s/root-key.pem", directory).data, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0600);

    // Again: nothing changes.
    struct str before = slurp(&arena, directory, "cluster1/ca-cert.pem");
    assert_int_equal(run_ca(root), 0);
    assert_int_equal(run_ca(intermediate), 0);
    assert_true(str_equal(before, slurp(&arena, directory, "cluster1/ca-cert.pem")));
    assert_int_equal(run_ca(arena_format(&arena, "ca inspect %s/cluster1/cert-chain.pem", directory).data), 0);

    static const char *const names[] = {
        "cluster1/intermediate.conf", "cluster1/cluster-ca.csr", "cluster1/ca-key.pem", "cluster1/ca-cert.pem", "cluster1/cert-chain.pem",
        "cluster1/root-cert.pem", "root-ca.conf", "root-key.pem", "root-cert.csr", "root-cert.pem",
    };
    for (size_t i = 0; i < array_count(names); i++) {
        assert_int_equal(unlink(arena_format(&arena, "%s/%s", directory, names[i]).data), 0);
    }
    assert_int_equal(rmdir(arena_format(&arena, "%s/cluster1", directory).data), 0);
    assert_int_equal(rmdir(directory), 0);
    arena_done(&arena);
}

static void ca_refuses_what_it_must(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int want;
    } rows[] = {
        {"ca", 2}, {"ca leaf", 2}, {"ca --help", 0}, {"ca root --help", 0}, {"ca root extra", 2}, {"ca root --key dsa", 1},
        {"ca root --days 0", 1}, {"ca intermediate", 2}, {"ca intermediate ../x", 1}, {"ca inspect /no/such/file", 1},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        int got = run_ca(rows[i].line);
        check_row(rows[i].line, got == rows[i].want, "got %d", got);
    }
}

static void remote_secret_has_istios_shape(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error err = {0};
    struct remote_secret secret = {.name = STR("cluster1"), .ns = STR("istio-system"), .server = STR("https://172.18.0.2:6443"),
                                   .ca_pem = STR("PEM\n"), .token = STR("abc.def")};
    struct str text = remote_secret_write(&arena, &secret);
    assert_true(str_starts_with(text, STR("# This file is autogenerated, do not edit.\napiVersion: v1\n")));
    assert_true(str_ends_with(text, STR("---\n")));
    struct json_value *object;
    assert_int_equal(yaml_parse(&arena, text, &object, &err), ERR_OK);
    assert_str(json_str(json_path(object, "metadata", "name", NULL)), "istio-remote-secret-cluster1");
    assert_str(json_str(json_path(object, "metadata", "labels", "istio/multiCluster", NULL)), "true");
    assert_str(json_str(json_path(object, "metadata", "annotations", "networking.istio.io/cluster", NULL)), "cluster1");
    struct json_value *config;
    assert_int_equal(yaml_parse(&arena, json_str(json_path(object, "stringData", "cluster1", NULL)), &config, &err), ERR_OK);
    assert_str(json_get_str(config, "current-context"), "cluster1");
    const struct json_value *cluster = json_get(json_at(json_get(config, "clusters"), 0), "cluster");
    assert_str(json_get_str(cluster, "server"), "https://172.18.0.2:6443");
    assert_str(json_get_str(cluster, "certificate-authority-data"), "UEVNCg==");
    assert_str(json_str(json_path(json_at(json_get(config, "users"), 0), "user", "token", NULL)), "abc.def");
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_are_found_anywhere),
        cmocka_unit_test(ca_writes_the_makefiles_files),
        cmocka_unit_test(ca_refuses_what_it_must),
        cmocka_unit_test(remote_secret_has_istios_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
