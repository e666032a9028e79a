// SPDX-License-Identifier: Apache-2.0
//
// Reading, inspecting and verifying certificates.
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/assert.h"
#include "base/memory.h"
#include "codec/x509/x509_internal.h"

struct x509_certificate *x509_certificate_wrap(X509 *x509)
{
    struct x509_certificate *certificate = mem_new(struct x509_certificate);
    certificate->x509 = x509;
    return certificate;
}

void x509_certificate_free(struct x509_certificate *certificate)
{
    if (certificate != NULL) {
        X509_free(certificate->x509);
        mem_free(certificate);
    }
}

struct x509_certificate *x509_certificate_parse(struct str pem, struct error *err)
{
    if (pem.size > X509_PEM_MAX) {
        (void)error_set(err, ERR_LIMIT, "certificate of %zu bytes, the limit is %u", pem.size, X509_PEM_MAX);
        return NULL;
    }
    BIO *bio = x509_bio_reader(pem);
    X509 *x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    if (x509 == NULL) {
        (void)x509_fail(err, ERR_INVALID, "not a PEM certificate");
        return NULL;
    }
    return x509_certificate_wrap(x509);
}

struct x509_certificate *x509_certificate_parse_der(struct str der, struct error *err)
{
    const unsigned char *at = (const unsigned char *)der.data;
    X509 *x509 = der.size > X509_PEM_MAX ? NULL : d2i_X509(NULL, &at, (long)der.size);
    if (x509 == NULL) {
        (void)x509_fail(err, ERR_INVALID, "not a DER certificate");
        return NULL;
    }
    return x509_certificate_wrap(x509);
}

struct str x509_certificate_pem(struct arena *arena, const struct x509_certificate *certificate)
{
    BIO *bio = BIO_new(BIO_s_mem());
    ASSERT(bio != NULL && PEM_write_bio_X509(bio, certificate->x509) == 1);
    return x509_bio_take(arena, bio);
}

enum err x509_bundle_parse(struct str pem, struct x509_bundle *ret_bundle, struct error *err)
{
    if (pem.size > X509_PEM_MAX) {
        return error_set(err, ERR_LIMIT, "certificates of %zu bytes, the limit is %u", pem.size, X509_PEM_MAX);
    }
    struct x509_bundle bundle = {0};
    BIO *bio = x509_bio_reader(pem);
    enum err code = ERR_OK;
    for (X509 *x509; code == ERR_OK && (x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL;) {
        if (bundle.count == X509_CHAIN_MAX) {
            X509_free(x509);
            code = error_set(err, ERR_LIMIT, "more than %u certificates", X509_CHAIN_MAX);
        } else {
            bundle.items[bundle.count++] = x509_certificate_wrap(x509);
        }
    }
    BIO_free(bio);
    // The reader stops at the end of the text or at a block it cannot read: only the first is fine.
    unsigned long reason = ERR_peek_last_error();
    bool is_end = reason == 0 || (ERR_GET_LIB(reason) == ERR_LIB_PEM && ERR_GET_REASON(reason) == PEM_R_NO_START_LINE);
    if (code == ERR_OK && (bundle.count == 0 || !is_end)) {
        code = x509_fail(err, ERR_INVALID, "certificate %zu of the bundle is not readable", bundle.count + 1);
    }
    ERR_clear_error();
    if (code != ERR_OK) {
        x509_bundle_done(&bundle);
        return code;
    }
    *ret_bundle = bundle;
    return ERR_OK;
}

void x509_bundle_done(struct x509_bundle *bundle)
{
    for (size_t i = 0; i < bundle->count; i++) {
        x509_certificate_free(bundle->items[i]);
    }
    bundle->count = 0;
}

// --- inspecting ------------------------------------------------------------------------------------

static int64_t epoch_of(const ASN1_TIME *time)
{
    int days = 0;
    int seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    if (epoch == NULL || ASN1_TIME_diff(&days, &seconds, epoch, time) != 1) {
        days = 0; // malformed dates count as 1970: expired
        seconds = 0;
    }
    ASN1_TIME_free(epoch);
    return (int64_t)days * 86400 + seconds;
}

static struct str name_text(struct arena *arena, const X509_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    ASSERT(bio != NULL);
    (void)X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
    return x509_bio_take(arena, bio);
}

static struct str serial_text(struct arena *arena, const X509 *x509)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x509), NULL);
    char *hex = number == NULL ? NULL : BN_bn2hex(number);
    struct str text = arena_str(arena, str_of(hex == NULL ? "" : hex));
    for (size_t i = 0; i < text.size; i++) {
        char *c = (char *)(uintptr_t)&text.data[i]; // our own copy
        *c = *c >= 'A' && *c <= 'F' ? (char)(*c - 'A' + 'a') : *c;
    }
    OPENSSL_free(hex);
    BN_free(number);
    return text;
}

static void write_hash(const X509 *x509, char out[static X509_HASH_TEXT_SIZE])
{
    unsigned char hash[EVP_MAX_MD_SIZE] = {0};
    unsigned size = 0;
    ASSERT(X509_digest(x509, EVP_sha256(), hash, &size) == 1 && size == 32);
    for (unsigned i = 0; i < size; i++) {
        out[2 * i] = "0123456789abcdef"[hash[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[hash[i] & 15];
    }
    out[2 * size] = '\0';
}

void x509_certificate_facts(struct arena *arena, const struct x509_certificate *certificate, struct x509_facts *ret_facts)
{
    X509 *x509 = certificate->x509;
    const X509_NAME *subject = X509_get_subject_name(x509);
    struct x509_facts facts = {
        .subject = name_text(arena, subject),
        .issuer = name_text(arena, X509_get_issuer_name(x509)),
        .common_name = x509_name_common(arena, subject),
        .serial = serial_text(arena, x509),
        .not_before = epoch_of(X509_get0_notBefore(x509)),
        .not_after = epoch_of(X509_get0_notAfter(x509)),
        .is_ca = X509_check_ca(x509) == 1,
        .path_length = (int)X509_get_pathlen(x509),
    };
    facts.organization_count = x509_name_organizations(arena, subject, &facts.organizations);
    GENERAL_NAMES *names = X509_get_ext_d2i(x509, NID_subject_alt_name, NULL, NULL);
    facts.san_count = x509_sans_read(arena, names, &facts.sans);
    GENERAL_NAMES_free(names);
    write_hash(x509, facts.sha256);
    ERR_clear_error();
    *ret_facts = facts;
}

int64_t x509_certificate_not_after(const struct x509_certificate *certificate)
{
    return epoch_of(X509_get0_notAfter(certificate->x509));
}

bool x509_certificate_matches_key(const struct x509_certificate *certificate, const struct x509_key *key)
{
    bool matches = X509_check_private_key(certificate->x509, key->pkey) == 1;
    ERR_clear_error();
    return matches;
}

// --- verifying -------------------------------------------------------------------------------------

static void add_all(const struct x509_bundle *bundle, STACK_OF(X509) *stack, X509_STORE *store)
{
    for (size_t i = 0; bundle != NULL && i < bundle->count; i++) {
        if (store != NULL) {
            (void)X509_STORE_add_cert(store, bundle->items[i]->x509); // a duplicate is fine
        } else {
            ASSERT(sk_X509_push(stack, bundle->items[i]->x509) > 0);
        }
    }
}

enum err x509_verify(const struct x509_certificate *leaf, const struct x509_bundle *intermediates,
                     const struct x509_bundle *roots, int64_t now, struct error *err)
{
    X509_STORE *store = X509_STORE_new();
    STACK_OF(X509) *between = sk_X509_new_null();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    ASSERT(store != NULL && between != NULL && context != NULL);
    add_all(roots, NULL, store);
    add_all(intermediates, between, NULL);
    ASSERT(X509_STORE_CTX_init(context, store, leaf->x509, between) == 1);
    X509_VERIFY_PARAM *rules = X509_STORE_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_time(rules, (time_t)now);
    // A trusted certificate need not be self-signed: a cluster may trust an intermediate alone.
    (void)X509_VERIFY_PARAM_set_flags(rules, X509_V_FLAG_PARTIAL_CHAIN);
    enum err code = ERR_OK;
    if (X509_verify_cert(context) != 1) {
        int reason = X509_STORE_CTX_get_error(context);
        code = error_set(err, ERR_TLS, "%s (certificate %d of the chain)", X509_verify_cert_error_string(reason),
                         X509_STORE_CTX_get_error_depth(context) + 1);
    }
    X509_STORE_CTX_free(context);
    sk_X509_free(between);
    X509_STORE_free(store);
    ERR_clear_error();
    return code;
}
