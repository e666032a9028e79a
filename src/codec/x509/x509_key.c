// SPDX-License-Identifier: Apache-2.0
//
// Keys, and what all of x509 shares: errors and memory BIOs.
#include "codec/x509/x509_internal.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/assert.h"
#include "base/memory.h"

enum err x509_fail(struct error *err, enum err code, const char *format, ...)
{
    unsigned long reason = ERR_peek_last_error();
    if (err != NULL) {
        struct arena scratch = {0};
        va_list args;
        va_start(args, format);
        struct str what = arena_vformat(&scratch, format, args);
        va_end(args);
        const char *text = reason != 0 ? ERR_reason_error_string(reason) : NULL;
        (void)error_set(err, code, "%.*s%s%s", STR_ARG(what), text != NULL ? ": " : "", text != NULL ? text : "");
        arena_done(&scratch);
    }
    ERR_clear_error();
    return code;
}

BIO *x509_bio_reader(struct str pem)
{
    // OpenSSL takes an int; longer text is cut and then fails to parse. Callers bound it by X509_PEM_MAX.
    BIO *bio = BIO_new_mem_buf(pem.size == 0 ? "" : pem.data, pem.size > INT_MAX ? INT_MAX : (int)pem.size);
    ASSERT(bio != NULL);
    return bio;
}

struct str x509_bio_take(struct arena *arena, BIO *bio)
{
    char *data = NULL;
    long size = BIO_get_mem_data(bio, &data);
    struct str text = arena_str(arena, str_make(data, size > 0 ? (size_t)size : 0));
    BIO_free(bio);
    return text;
}

struct x509_key *x509_key_wrap(EVP_PKEY *pkey, bool is_private)
{
    struct x509_key *key = mem_new(struct x509_key);
    key->pkey = pkey;
    key->is_private = is_private;
    return key;
}

static EVP_PKEY *generate(enum x509_key_type type)
{
    switch (type) {
    case X509_KEY_P256:
        return EVP_EC_gen("P-256");
    case X509_KEY_P384:
        return EVP_EC_gen("P-384");
    case X509_KEY_RSA_2048:
        return EVP_RSA_gen(2048);
    case X509_KEY_RSA_4096:
        return EVP_RSA_gen(4096);
    }
    return NULL;
}

struct x509_key *x509_key_generate(enum x509_key_type type, struct error *err)
{
    EVP_PKEY *pkey = generate(type);
    if (pkey == NULL) {
        (void)x509_fail(err, ERR_INTERNAL, "cannot generate a key");
        return NULL;
    }
    return x509_key_wrap(pkey, true);
}

// Encrypted keys are refused rather than asked about on the terminal, which is OpenSSL's default.
static int no_password(char *buffer, int size, int is_writing, void *user)
{
    (void)buffer;
    (void)size;
    (void)is_writing;
    (void)user;
    return -1;
}

struct x509_key *x509_key_parse(struct str pem, struct error *err)
{
    if (pem.size > X509_PEM_MAX) {
        (void)error_set(err, ERR_LIMIT, "key of %zu bytes, the limit is %u", pem.size, X509_PEM_MAX);
        return NULL;
    }
    BIO *bio = x509_bio_reader(pem);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    BIO_free(bio);
    if (pkey == NULL) {
        (void)x509_fail(err, ERR_INVALID, "not an unencrypted PEM private key");
        return NULL;
    }
    ERR_clear_error();
    return x509_key_wrap(pkey, true);
}

struct x509_key *x509_key_ref(struct x509_key *key)
{
    ASSERT(EVP_PKEY_up_ref(key->pkey) == 1);
    return x509_key_wrap(key->pkey, key->is_private);
}

void x509_key_free(struct x509_key *key)
{
    if (key != NULL) {
        EVP_PKEY_free(key->pkey);
        mem_free(key);
    }
}

struct str x509_key_pem(struct arena *arena, const struct x509_key *key)
{
    ASSERT(key->is_private);
    BIO *bio = BIO_new(BIO_s_secmem());
    ASSERT(bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) == 1);
    return x509_bio_take(arena, bio);
}

struct str x509_key_public_pem(struct arena *arena, const struct x509_key *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    ASSERT(bio != NULL && PEM_write_bio_PUBKEY(bio, key->pkey) == 1);
    return x509_bio_take(arena, bio);
}

struct str x509_key_describe(struct arena *arena, const struct x509_key *key)
{
    return arena_format(arena, "%s %d", EVP_PKEY_get0_type_name(key->pkey), EVP_PKEY_get_bits(key->pkey));
}
