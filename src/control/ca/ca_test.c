// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "codec/x509/x509.h"
#include "control/ca/ca.h"

#define NOW 1800000000
#define DAY 86400

// A root and an intermediate, as the operator's tools make them.
struct fixture {
    struct arena arena;
    struct ca_files files;
    struct str other_key;  // belongs to nothing here
    struct str leaf;       // certificate of the intermediate's, no CA
    struct str leaf_key;
};

static struct x509_certificate *issue(const struct x509_template *wanted, const struct x509_key *key,
                                      const struct x509_certificate *issuer, const struct x509_key *issuer_key)
{
    struct error err = {0};
    struct x509_certificate *certificate = x509_issue(wanted, key, issuer, issuer_key, &err);
    assert_non_null(certificate);
    return certificate;
}

static int setup(void **state)
{
    struct fixture *fixture = mem_new(struct fixture);
    struct x509_key *keys[3];
    for (size_t i = 0; i < 3; i++) {
        keys[i] = x509_key_generate(X509_KEY_P256, NULL);
    }
    struct x509_template wanted = {
        .subject = {.common_name = STR("Root CA")}, .not_before = NOW - DAY, .not_after = NOW + 100 * DAY, .is_ca = true,
        .path_length = -1, .usage = X509_USAGE_CERT_SIGN,
    };
    struct x509_certificate *root = issue(&wanted, keys[0], NULL, keys[0]);
    wanted.subject.common_name = STR("Intermediate CA");
    wanted.path_length = 0;
    wanted.not_after = NOW + 10 * DAY;
    struct x509_certificate *intermediate = issue(&wanted, keys[1], root, keys[0]);
    wanted = (struct x509_template){.not_before = NOW, .not_after = NOW + DAY, .usage = X509_USAGE_LEAF};
    struct x509_certificate *leaf = issue(&wanted, keys[2], intermediate, keys[1]);
    struct arena *arena = &fixture->arena;
    fixture->files.certificate = x509_certificate_pem(arena, intermediate);
    fixture->files.key = x509_key_pem(arena, keys[1]);
    fixture->files.root = x509_certificate_pem(arena, root);
    fixture->files.chain = arena_format(arena, "%s%s", fixture->files.certificate.data, fixture->files.root.data);
    fixture->other_key = x509_key_pem(arena, keys[0]);
    fixture->leaf = x509_certificate_pem(arena, leaf);
    fixture->leaf_key = x509_key_pem(arena, keys[2]);
    x509_certificate_free(root);
    x509_certificate_free(intermediate);
    x509_certificate_free(leaf);
    for (size_t i = 0; i < 3; i++) {
        x509_key_free(keys[i]);
    }
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    arena_done(&fixture->arena);
    mem_free(fixture);
    return 0;
}

static void what_can_be_loaded(void **state)
{
    const struct fixture *fixture = *state;
    const struct ca_files good = fixture->files;
    const struct {
        const char *name;
        struct ca_files files;
        int64_t now;
        const char *want; // part of the error; NULL: fine
    } rows[] = {
        {"complete", good, NOW, NULL},
        {"without a chain", {good.certificate, good.key, STR_EMPTY, good.root}, NOW, NULL},
        {"another's key", {good.certificate, fixture->other_key, good.chain, good.root}, NOW, "does not belong"},
        {"not a CA", {fixture->leaf, fixture->leaf_key, good.chain, good.root}, NOW, "is not a CA"},
        {"another root", {good.certificate, good.key, STR_EMPTY, fixture->leaf}, NOW, "does not verify"},
        {"expired", good, NOW + 11 * DAY, "does not verify"},
        {"no key", {good.certificate, STR("x"), good.chain, good.root}, NOW, "CA key"},
        {"no root", {good.certificate, good.key, good.chain, STR_EMPTY}, NOW, "root certificate"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct error err = {0};
        struct ca *ca = ca_load(&rows[i].files, rows[i].now, &err);
        bool as_wanted = rows[i].want == NULL ? ca != NULL : ca == NULL && strstr(err.message, rows[i].want) != NULL;
        check_row(rows[i].name, as_wanted, "got \"%s\"", err.message);
        ca_unref(ca);
    }
}

static struct str make_csr(struct arena *arena, struct str common_name)
{
    struct x509_key *key = x509_key_generate(X509_KEY_P256, NULL);
    struct x509_san san = {.type = X509_SAN_URI, .value = STR("spiffe://cluster.local/ns/kube-system/sa/admin")};
    struct x509_subject subject = {.common_name = common_name};
    struct str pem;
    assert_int_equal(x509_request_make(arena, key, &subject, &san, 1, &pem, NULL), ERR_OK);
    x509_key_free(key);
    return pem;
}

static void identities_come_from_authentication(void **state)
{
    const struct fixture *fixture = *state;
    struct arena arena = {0};
    struct error err = {0};
    struct ca *ca = ca_load(&fixture->files, NOW, &err);
    struct str identity = ca_spiffe_id(&arena, STR("cluster.local"), STR("sample"), STR("sleep"));
    assert_str(identity, "spiffe://cluster.local/ns/sample/sa/sleep");
    struct ca_request request = {.csr_pem = make_csr(&arena, STR_EMPTY), .identities = &identity, .identity_count = 1};
    struct ca_response response;
    assert_int_equal(ca_sign(ca, &arena, &request, NOW, &response, &err), ERR_OK);
    assert_int_equal(response.part_count, 3);
    assert_true(str_equal(response.parts[1], fixture->files.chain));
    assert_true(str_equal(response.parts[2], fixture->files.root));

    struct x509_certificate *leaf = x509_certificate_parse(response.parts[0], &err);
    struct x509_facts facts;
    x509_certificate_facts(&arena, leaf, &facts);
    assert_int_equal(facts.san_count, 1);
    assert_str(facts.sans[0].value, "spiffe://cluster.local/ns/sample/sa/sleep");
    assert_str(facts.subject, "");
    assert_int_equal(facts.not_before, NOW - CA_LEAF_BACKDATE_S);
    assert_int_equal(facts.not_after, NOW + CA_TTL_DEFAULT_S);
    x509_certificate_free(leaf);

    request.csr_pem = make_csr(&arena, STR("x"));
    assert_int_equal(ca_sign(ca, &arena, &request, NOW, &response, &err), ERR_OK);
    leaf = x509_certificate_parse(response.parts[0], &err);
    x509_certificate_facts(&arena, leaf, &facts);
    assert_str(facts.common_name, "spiffe://cluster.local/ns/sample/sa/sleep");
    x509_certificate_free(leaf);
    ca_unref(ca);
    arena_done(&arena);
}

static void lifetimes_are_bounded(void **state)
{
    const struct fixture *fixture = *state;
    static const struct {
        const char *name;
        int64_t ttl_s;
        int64_t now;
        enum err want;
        int64_t want_end;
    } rows[] = {
        {"default", 0, NOW, ERR_OK, NOW + CA_TTL_DEFAULT_S},
        {"negative", -5, NOW, ERR_OK, NOW + CA_TTL_DEFAULT_S},
        {"an hour", 3600, NOW, ERR_OK, NOW + 3600},
        {"beyond the CA", 50 * DAY, NOW, ERR_OK, NOW + 10 * DAY},
        {"default near the CA's end", 0, NOW + 10 * DAY - 60, ERR_OK, NOW + 10 * DAY},
        {"at the limit", CA_TTL_MAX_S, NOW, ERR_OK, NOW + 10 * DAY},
        {"above the limit", CA_TTL_MAX_S + 1, NOW, ERR_INVALID, 0},
        {"expired CA", 0, NOW + 10 * DAY, ERR_EXPIRED, 0},
    };
    struct arena arena = {0};
    struct ca *ca = ca_load(&fixture->files, NOW, NULL);
    struct str identity = STR("spiffe://cluster.local/ns/a/sa/b");
    for (size_t i = 0; i < array_count(rows); i++) {
        struct ca_request request = {
            .csr_pem = make_csr(&arena, STR_EMPTY), .identities = &identity, .identity_count = 1, .ttl_s = rows[i].ttl_s};
        struct ca_response response = {0};
        struct error err = {0};
        enum err got = ca_sign(ca, &arena, &request, rows[i].now, &response, &err);
        check_row(rows[i].name, got == rows[i].want && response.not_after == rows[i].want_end, "got %s, end in %lld s (%s)",
                  err_name(got), (long long)(response.not_after - rows[i].now), err.message);
    }
    struct ca_request bad = {.csr_pem = STR("-----BEGIN CERTIFICATE REQUEST-----"), .identities = &identity, .identity_count = 1};
    struct ca_response response;
    assert_int_equal(ca_sign(ca, &arena, &bad, NOW, &response, NULL), ERR_INVALID);
    bad.identity_count = 0;
    assert_int_equal(ca_sign(ca, &arena, &bad, NOW, &response, NULL), ERR_INVALID);
    ca_unref(ca);
    arena_done(&arena);
}

static void self_signed_can_be_kept(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error err = {0};
    struct ca *ca = ca_self_signed(STR("cluster.local"), NOW, &err);
    assert_non_null(ca);
    struct ca_files files;
    ca_files(ca, &files);
    struct ca *again = ca_load(&files, NOW + 1, &err);
    assert_non_null(again);
    assert_true(str_equal(ca_root_pem(ca), ca_root_pem(again)));
    assert_int_equal(ca_not_after(again), NOW + CA_SELF_SIGNED_TTL_S);

    struct str names[] = {STR("istiod.istio-system.svc"), STR("127.0.0.1")};
    struct ca_serving serving;
    assert_int_equal(ca_issue_serving(again, &arena, names, 2, NOW, &serving, &err), ERR_OK);
    struct x509_bundle roots;
    assert_int_equal(x509_bundle_parse(ca_root_pem(again), &roots, &err), ERR_OK);
    struct x509_certificate *leaf = x509_certificate_parse(serving.certificate_pem, &err);
    assert_int_equal(x509_verify(leaf, NULL, &roots, NOW + DAY, &err), ERR_OK);
    struct x509_facts facts;
    x509_certificate_facts(&arena, leaf, &facts);
    assert_int_equal(facts.san_count, 2);
    assert_int_equal(facts.sans[1].type, X509_SAN_IP);
    x509_certificate_free(leaf);
    x509_bundle_done(&roots);
    ca_unref(again);
    ca_unref(ca);
    arena_done(&arena);
}

static void write_file(const char *directory, const char *name, struct str text)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (text.data == NULL) {
        (void)unlink(path);
    } else {
        assert_int_equal(file_write_atomic(path, text, 0600, NULL), ERR_OK);
    }
}

static void directories_are_understood(void **state)
{
    const struct fixture *fixture = *state;
    const struct str none = {.data = NULL, .size = 0};
    char directory[] = "/tmp/ca-test-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct error err = {0};
    assert_null(ca_load_directory(directory, NOW, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    write_file(directory, "ca-cert.pem", fixture->files.certificate);
    assert_null(ca_load_directory(directory, NOW, &err));
    assert_int_equal(err.code, ERR_INVALID);
    write_file(directory, "ca-key.pem", fixture->files.key);
    write_file(directory, "cert-chain.pem", fixture->files.chain);
    write_file(directory, "root-cert.pem", fixture->files.root);
    struct ca *ca = ca_load_directory(directory, NOW, &err);
    assert_non_null(ca);
    ca_unref(ca);
    write_file(directory, "tls.crt", fixture->files.certificate);
    write_file(directory, "tls.key", fixture->files.key);
    write_file(directory, "ca.crt", fixture->files.root);
    write_file(directory, "ca-cert.pem", none);
    ca = ca_load_directory(directory, NOW, &err);
    assert_non_null(ca);
    ca_unref(ca);
    static const char *const names[] = {"ca-key.pem", "cert-chain.pem", "root-cert.pem", "tls.crt", "tls.key", "ca.crt"};
    for (size_t i = 0; i < array_count(names); i++) {
        write_file(directory, names[i], none);
    }
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_can_be_loaded),
        cmocka_unit_test(identities_come_from_authentication),
        cmocka_unit_test(lifetimes_are_bounded),
        cmocka_unit_test(self_signed_can_be_kept),
        cmocka_unit_test(directories_are_understood),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
