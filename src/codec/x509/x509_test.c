// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "codec/x509/x509.h"

#define NOW 1800000000
#define DAY 86400

static struct x509_key *new_key(void)
{
    struct error err = {0};
    struct x509_key *key = x509_key_generate(X509_KEY_P256, &err);
    assert_non_null(key);
    return key;
}

struct authority {
    struct x509_key *root_key;
    struct x509_certificate *root;
    struct x509_key *key;
    struct x509_certificate *certificate;
};

static struct x509_certificate *issue(const struct x509_template *wanted, const struct x509_key *key,
                                      const struct x509_certificate *issuer, const struct x509_key *issuer_key)
{
    struct error err = {0};
    struct x509_certificate *certificate = x509_issue(wanted, key, issuer, issuer_key, &err);
    if (certificate == NULL) {
        fail_msg("%s", err.message);
    }
    return certificate;
}

static void authority_init(struct authority *authority)
{
    static const struct str organization = {.data = "Istio", .size = 5};
    struct x509_template root = {
        .subject = {.common_name = STR("Root CA"), .organizations = &organization, .organization_count = 1},
        .not_before = NOW - DAY, .not_after = NOW + 3650 * DAY, .is_ca = true, .path_length = -1,
        .usage = X509_USAGE_CERT_SIGN | X509_USAGE_DIGITAL_SIGNATURE,
    };
    struct x509_san dns = {.type = X509_SAN_DNS, .value = STR("istiod.istio-system.svc")};
    struct x509_template intermediate = {
        .subject = {.common_name = STR("Intermediate CA"), .organizations = &organization, .organization_count = 1, .locality = STR("cluster1")},
        .sans = &dns, .san_count = 1, .not_before = NOW - DAY, .not_after = NOW + 730 * DAY, .is_ca = true, .path_length = 0,
        .usage = X509_USAGE_CERT_SIGN,
    };
    authority->root_key = new_key();
    authority->root = issue(&root, authority->root_key, NULL, authority->root_key);
    authority->key = new_key();
    authority->certificate = issue(&intermediate, authority->key, authority->root, authority->root_key);
}

static void authority_done(struct authority *authority)
{
    x509_key_free(authority->root_key);
    x509_certificate_free(authority->root);
    x509_key_free(authority->key);
    x509_certificate_free(authority->certificate);
}

static struct x509_certificate *issue_leaf(const struct authority *authority, const struct x509_key *key)
{
    struct x509_san san = {.type = X509_SAN_URI, .value = STR("spiffe://cluster.local/ns/sample/sa/sleep")};
    struct x509_template leaf = {
        .sans = &san, .san_count = 1, .sans_critical = true, .not_before = NOW - 120, .not_after = NOW + DAY, .usage = X509_USAGE_LEAF,
    };
    return issue(&leaf, key, authority->certificate, authority->key);
}

static void keys_survive_pem(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error err = {0};
    static const enum x509_key_type types[] = {X509_KEY_P256, X509_KEY_P384, X509_KEY_RSA_2048};
    for (size_t i = 0; i < array_count(types); i++) {
        struct x509_key *key = x509_key_generate(types[i], &err);
        struct str pem = x509_key_pem(&arena, key);
        assert_true(str_starts_with(pem, STR("-----BEGIN PRIVATE KEY-----")));
        struct x509_key *again = x509_key_parse(pem, &err);
        assert_non_null(again);
        assert_true(str_equal(x509_key_public_pem(&arena, key), x509_key_public_pem(&arena, again)));
        x509_key_free(again);
        x509_key_free(key);
    }
    assert_null(x509_key_parse(STR("nonsense"), &err));
    assert_int_equal(err.code, ERR_INVALID);
    arena_done(&arena);
}

static void requests_carry_key_and_names(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error err = {0};
    struct x509_key *key = new_key();
    struct str organizations[] = {STR("system:nodes"), STR("second")};
    struct x509_subject subject = {.common_name = STR("system:node:a"), .organizations = organizations, .organization_count = 2};
    struct x509_san sans[] = {x509_san_of(STR("spiffe://td/ns/a/sa/b")), x509_san_of(STR("10.0.0.1")), x509_san_of(STR("a.example"))};
    struct str pem;
    assert_int_equal(x509_request_make(&arena, key, &subject, sans, 3, &pem, &err), ERR_OK);
    struct x509_request request;
    assert_int_equal(x509_request_parse(&arena, pem, &request, &err), ERR_OK);
    assert_str(request.common_name, "system:node:a");
    assert_int_equal(request.organization_count, 2);
    assert_str(request.organizations[1], "second");
    assert_int_equal(request.san_count, 3);
    assert_int_equal(request.sans[1].type, X509_SAN_IP);
    assert_str(request.sans[1].value, "10.0.0.1");
    assert_true(str_equal(x509_key_public_pem(&arena, request.public_key), x509_key_public_pem(&arena, key)));
    x509_request_done(&request);

    // A changed byte in the signed part breaks the self-signature (or the encoding).
    char *broken = arena_strdup(&arena, pem);
    broken[60] = broken[60] == 'A' ? 'B' : 'A';
    assert_int_equal(x509_request_parse(&arena, str_of(broken), &request, &err), ERR_INVALID);
    x509_key_free(key);
    arena_done(&arena);
}

static void leaf_has_spiffe_identity(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct authority authority;
    authority_init(&authority);
    struct x509_key *key = new_key();
    struct x509_certificate *leaf = issue_leaf(&authority, key);
    struct x509_facts facts;
    x509_certificate_facts(&arena, leaf, &facts);
    assert_str(facts.subject, "");
    assert_str(facts.issuer, "L=cluster1,CN=Intermediate CA,O=Istio");
    assert_int_equal(facts.san_count, 1);
    assert_int_equal(facts.sans[0].type, X509_SAN_URI);
    assert_str(facts.sans[0].value, "spiffe://cluster.local/ns/sample/sa/sleep");
    assert_false(facts.is_ca);
    assert_int_equal(facts.not_before, NOW - 120);
    assert_int_equal(facts.not_after, NOW + DAY);
    assert_int_equal(facts.serial.size, 32);
    assert_int_equal(strlen(facts.sha256), 64);
    assert_true(x509_certificate_matches_key(leaf, key));
    assert_false(x509_certificate_matches_key(leaf, authority.key));

    x509_certificate_facts(&arena, authority.certificate, &facts);
    assert_true(facts.is_ca);
    assert_int_equal(facts.path_length, 0);
    x509_certificate_facts(&arena, authority.root, &facts);
    assert_int_equal(facts.path_length, -1);
    x509_certificate_free(leaf);
    x509_key_free(key);
    authority_done(&authority);
    arena_done(&arena);
}

static void chains_are_verified(void **state)
{
    (void)state;
    struct authority ours;
    struct authority other;
    authority_init(&ours);
    authority_init(&other);
    struct x509_key *key = new_key();
    struct x509_certificate *leaf = issue_leaf(&ours, key);
    struct x509_bundle root = {.items = {ours.root}, .count = 1};
    struct x509_bundle other_root = {.items = {other.root}, .count = 1};
    struct x509_bundle chain = {.items = {ours.certificate}, .count = 1};
    const struct {
        const char *name;
        const struct x509_bundle *chain;
        const struct x509_bundle *roots;
        int64_t now;
        enum err want;
    } rows[] = {
        {"complete", &chain, &root, NOW, ERR_OK},
        {"intermediate missing", NULL, &root, NOW, ERR_TLS},
        {"other root of the same name", &chain, &other_root, NOW, ERR_TLS},
        {"expired leaf", &chain, &root, NOW + 2 * DAY, ERR_TLS},
        {"not yet valid", &chain, &root, NOW - 3600, ERR_TLS},
        {"intermediate trusted itself", NULL, &chain, NOW, ERR_OK},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct error err = {0};
        enum err got = x509_verify(leaf, rows[i].chain, rows[i].roots, rows[i].now, &err);
        check_row(rows[i].name, got == rows[i].want, "got %s (%s)", err_name(got), err.message);
    }
    x509_certificate_free(leaf);
    x509_key_free(key);
    authority_done(&ours);
    authority_done(&other);
}

static void bundles_keep_order(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error err = {0};
    struct authority authority;
    authority_init(&authority);
    struct str first = x509_certificate_pem(&arena, authority.certificate);
    struct str second = x509_certificate_pem(&arena, authority.root);
    struct x509_bundle bundle;
    struct str text = arena_format(&arena, "# a comment\n%.*s\n%.*s", STR_ARG(first), STR_ARG(second));
    assert_int_equal(x509_bundle_parse(text, &bundle, &err), ERR_OK);
    assert_int_equal(bundle.count, 2);
    assert_true(str_equal(x509_certificate_pem(&arena, bundle.items[1]), second));
    x509_bundle_done(&bundle);
    assert_int_equal(x509_bundle_parse(STR("nothing"), &bundle, &err), ERR_INVALID);
    text = arena_format(&arena, "%.*s-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", STR_ARG(first));
    assert_int_equal(x509_bundle_parse(text, &bundle, &err), ERR_INVALID);
    authority_done(&authority);
    arena_done(&arena);
}

static void bad_names_are_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct x509_key *key = new_key();
    const struct x509_san rows[] = {
        {X509_SAN_IP, STR("300.1.1.1")}, {X509_SAN_DNS, STR("")}, {X509_SAN_URI, STR("spiffe://a b")}, {X509_SAN_DNS, str_make("a\0b", 3)},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct x509_template wanted = {.sans = &rows[i], .san_count = 1, .not_before = NOW, .not_after = NOW + 1};
        assert_null(x509_issue(&wanted, key, NULL, key, &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
    x509_key_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_survive_pem),
        cmocka_unit_test(requests_carry_key_and_names),
        cmocka_unit_test(leaf_has_spiffe_identity),
        cmocka_unit_test(chains_are_verified),
        cmocka_unit_test(bundles_keep_order),
        cmocka_unit_test(bad_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
