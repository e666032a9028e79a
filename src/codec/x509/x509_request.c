// SPDX-License-Identifier: Apache-2.0
//
// Certificate signing requests (PKCS#10, RFC 2986).
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/assert.h"
#include "codec/x509/x509_internal.h"

static enum err add_sans(X509_REQ *request, const struct x509_san *sans, size_t count, struct error *err)
{
    if (count == 0) {
        return ERR_OK;
    }
    struct error detail = {0};
    GENERAL_NAMES *names = x509_sans_make(sans, count, &detail);
    if (names == NULL) {
        return error_set(err, detail.code, "%s", detail.message);
    }
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    bool ok = X509V3_add1_i2d(&extensions, NID_subject_alt_name, names, 1, X509V3_ADD_DEFAULT) == 1 &&
              X509_REQ_add_extensions(request, extensions) == 1;
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    GENERAL_NAMES_free(names);
    return ok ? ERR_OK : x509_fail(err, ERR_INTERNAL, "cannot add alternative names");
}

enum err x509_request_make(struct arena *arena, const struct x509_key *key, const struct x509_subject *subject,
                           const struct x509_san *sans, size_t san_count, struct str *ret_pem, struct error *err)
{
    X509_REQ *request = X509_REQ_new();
    X509_NAME *name = x509_name_make(subject);
    ASSERT(request != NULL);
    enum err code = add_sans(request, sans, san_count, err);
    if (code == ERR_OK && (X509_REQ_set_version(request, X509_REQ_VERSION_1) != 1 || X509_REQ_set_subject_name(request, name) != 1 ||
                           X509_REQ_set_pubkey(request, key->pkey) != 1 || X509_REQ_sign(request, key->pkey, EVP_sha256()) <= 0)) {
        code = x509_fail(err, ERR_INTERNAL, "cannot make a certificate request");
    }
    if (code == ERR_OK) {
        BIO *bio = BIO_new(BIO_s_mem());
        ASSERT(bio != NULL && PEM_write_bio_X509_REQ(bio, request) == 1);
        *ret_pem = x509_bio_take(arena, bio);
    }
    X509_NAME_free(name);
    X509_REQ_free(request);
    return code;
}

static void read_sans(struct arena *arena, X509_REQ *request, struct x509_request *out)
{
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
    GENERAL_NAMES *names = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
    out->san_count = x509_sans_read(arena, names, &out->sans);
    GENERAL_NAMES_free(names);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
}

enum err x509_request_parse(struct arena *arena, struct str pem, struct x509_request *ret_request, struct error *err)
{
    if (pem.size > X509_PEM_MAX) {
        return error_set(err, ERR_LIMIT, "certificate request of %zu bytes, the limit is %u", pem.size, X509_PEM_MAX);
    }
    BIO *bio = x509_bio_reader(pem);
    X509_REQ *request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    BIO_free(bio);
    if (request == NULL) {
        return x509_fail(err, ERR_INVALID, "not a PEM certificate request");
    }
    EVP_PKEY *key = X509_REQ_get_pubkey(request);
    if (key == NULL || X509_REQ_verify(request, key) != 1) {
        EVP_PKEY_free(key);
        X509_REQ_free(request);
        return x509_fail(err, ERR_INVALID, "the certificate request is not signed by its own key");
    }
    const X509_NAME *name = X509_REQ_get_subject_name(request);
    struct x509_request out = {.public_key = x509_key_wrap(key, false), .common_name = x509_name_common(arena, name)};
    out.organization_count = x509_name_organizations(arena, name, &out.organizations);
    read_sans(arena, request, &out);
    X509_REQ_free(request);
    ERR_clear_error();
    *ret_request = out;
    return ERR_OK;
}

void x509_request_done(struct x509_request *request)
{
    x509_key_free(request->public_key);
    *request = (struct x509_request){0};
}
