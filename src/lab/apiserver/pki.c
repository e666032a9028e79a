// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/pki.h"

#include <openssl/evp.h>
#include <unistd.h>

#include "base/file.h"

#define DAY 86400

// A private key from PATH, or a new one kept there. path empty: a new one that is not kept.
static struct x509_key *key_load_or_make(struct pki *pki, const char *path, enum x509_key_type type,
                                         struct error *err)
{
    struct str pem;
    if (*path != '\0' && access(path, F_OK) == 0) {
        if (file_read(&pki->arena, path, X509_PEM_MAX, &pem, err) != ERR_OK) {
            return NULL;
        }
        struct x509_key *key = x509_key_parse(pem, err);
        if (key == NULL) {
            error_prefix(err, "%s", path);
        }
        return key;
    }
    struct x509_key *key = x509_key_generate(type, err);
    if (key != NULL && *path != '\0' &&
        file_write_atomic(path, x509_key_pem(&pki->arena, key), 0600, err) != ERR_OK) {
        x509_key_free(key);
        return NULL;
    }
    return key;
}

static enum err ca_make(struct pki *pki, const char *path, int64_t now, struct error *err)
{
    struct x509_template wanted = {
        .subject = {.common_name = STR("kubernetes")},
        .not_before = now - DAY,
        .not_after = now + (int64_t)PKI_CA_DAYS * DAY,
        .is_ca = true,
        .path_length = -1,
        .usage = X509_USAGE_DIGITAL_SIGNATURE | X509_USAGE_KEY_ENCIPHERMENT | X509_USAGE_CERT_SIGN,
    };
    pki->ca = x509_issue(&wanted, pki->ca_key, NULL, pki->ca_key, err);
    if (pki->ca == NULL) {
        return ERR_INTERNAL;
    }
    pki->ca_pem = x509_certificate_pem(&pki->arena, pki->ca);
    return *path == '\0' ? ERR_OK : file_write_atomic(path, pki->ca_pem, 0644, err);
}

static enum err ca_load_or_make(struct pki *pki, const char *path, int64_t now, struct error *err)
{
    if (*path == '\0' || access(path, F_OK) != 0) {
        return ca_make(pki, path, now, err);
    }
    enum err code = file_read(&pki->arena, path, X509_PEM_MAX, &pki->ca_pem, err);
    if (code != ERR_OK) {
        return code;
    }
    pki->ca = x509_certificate_parse(pki->ca_pem, err);
    if (pki->ca == NULL) {
        error_prefix(err, "%s", path);
        return ERR_INVALID;
    }
    if (!x509_certificate_matches_key(pki->ca, pki->ca_key)) {
        return error_set(err, ERR_INVALID, "%s does not belong to the key beside it", path);
    }
    return ERR_OK;
}

static enum err leaf_make(struct pki *pki, const struct x509_template *wanted, struct str *ret_pem,
                          struct str *ret_key_pem, struct error *err)
{
    struct x509_key *key = x509_key_generate(X509_KEY_P256, err);
    if (key == NULL) {
        return ERR_INTERNAL;
    }
    struct x509_certificate *leaf = x509_issue(wanted, key, pki->ca, pki->ca_key, err);
    if (leaf != NULL) {
        *ret_pem = x509_certificate_pem(&pki->arena, leaf);
        *ret_key_pem = x509_key_pem(&pki->arena, key);
    }
    x509_key_free(key);
    x509_certificate_free(leaf);
    return leaf == NULL ? ERR_INTERNAL : ERR_OK;
}

static enum err leaves_make(struct pki *pki, const struct str *names, size_t name_count, int64_t now,
                            struct error *err)
{
    struct x509_san *sans = arena_array(&pki->arena, struct x509_san, name_count);
    for (size_t i = 0; i < name_count; i++) {
        sans[i] = x509_san_of(names[i]);
    }
    struct x509_template serving = {
        .subject = {.common_name = STR("kube-apiserver")},
        .sans = sans,
        .san_count = name_count,
        .not_before = now - DAY,
        .not_after = now + (int64_t)PKI_LEAF_DAYS * DAY,
        .usage = X509_USAGE_DIGITAL_SIGNATURE | X509_USAGE_KEY_ENCIPHERMENT | X509_USAGE_SERVER_AUTH,
    };
    enum err code = leaf_make(pki, &serving, &pki->serving_pem, &pki->serving_key_pem, err);
    if (code != ERR_OK) {
        return code;
    }
    static const struct str masters = {.data = "system:masters", .size = sizeof("system:masters") - 1};
    struct x509_template admin = serving;
    admin.subject = (struct x509_subject){
        .common_name = STR("kubernetes-admin"), .organizations = &masters, .organization_count = 1};
    admin.sans = NULL;
    admin.san_count = 0;
    admin.usage = X509_USAGE_DIGITAL_SIGNATURE | X509_USAGE_KEY_ENCIPHERMENT | X509_USAGE_CLIENT_AUTH;
    return leaf_make(pki, &admin, &pki->admin_pem, &pki->admin_key_pem, err);
}

static void make_key_id(struct pki *pki)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    (void)EVP_Digest(pki->token_public_key_pem.data, pki->token_public_key_pem.size, digest, &size,
                     EVP_sha256(), NULL);
    char text[33] = "";
    for (unsigned i = 0; i < 16 && i < size; i++) {
        (void)snprintf(text + (size_t)i * 2, 3, "%02x", digest[i]);
    }
    pki->token_key_id = arena_str(&pki->arena, str_of(text));
}

enum err pki_init(struct pki *pki, struct str directory, const struct str *names, size_t name_count,
                  int64_t now, struct error *err)
{
    *pki = (struct pki){0};
    char *paths[3] = {arena_strdup(&pki->arena, STR_EMPTY), arena_strdup(&pki->arena, STR_EMPTY),
                      arena_strdup(&pki->arena, STR_EMPTY)};
    if (!str_is_empty(directory)) {
        static const char *const files[3] = {"ca.key", "ca.crt", "sa.key"};
        enum err code = file_make_directories(arena_strdup(&pki->arena, directory), 0700, err);
        if (code != ERR_OK) {
            return code;
        }
        for (size_t i = 0; i < 3; i++) {
            struct str path = arena_format(&pki->arena, "%.*s/%s", STR_ARG(directory), files[i]);
            paths[i] = arena_strdup(&pki->arena, path);
        }
    }
    pki->ca_key = key_load_or_make(pki, paths[0], X509_KEY_P256, err);
    if (pki->ca_key == NULL) {
        return ERR_INVALID;
    }
    enum err code = ca_load_or_make(pki, paths[1], now, err);
    if (code == ERR_OK) {
        code = leaves_make(pki, names, name_count, now, err);
    }
    if (code != ERR_OK) {
        return code;
    }
    struct x509_key *token_key = key_load_or_make(pki, paths[2], X509_KEY_RSA_2048, err);
    if (token_key == NULL) {
        return ERR_INVALID;
    }
    pki->token_key_pem = x509_key_pem(&pki->arena, token_key);
    pki->token_public_key_pem = x509_key_public_pem(&pki->arena, token_key);
    x509_key_free(token_key);
    make_key_id(pki);
    return ERR_OK;
}

void pki_done(struct pki *pki)
{
    x509_certificate_free(pki->ca);
    x509_key_free(pki->ca_key);
    arena_done(&pki->arena);
    *pki = (struct pki){0};
}
