// SPDX-License-Identifier: Apache-2.0
#ifndef CODEC_X509_X509_INTERNAL_H
#define CODEC_X509_X509_INTERNAL_H

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "codec/x509/x509.h"

struct x509_key {
    EVP_PKEY *pkey; // which counts references itself; this struct belongs to one holder
    bool is_private;
};

struct x509_certificate {
    X509 *x509;
};

// OpenSSL's reason behind "<format>: "; empties its queue.
enum err x509_fail(struct error *err, enum err code, const char *format, ...) printf_like(3, 4);

BIO *x509_bio_reader(struct str pem);               // never NULL
struct str x509_bio_take(struct arena *arena, BIO *bio); // the text written; frees the bio

struct x509_key *x509_key_wrap(EVP_PKEY *pkey, bool is_private); // takes the reference
struct x509_certificate *x509_certificate_wrap(X509 *x509);

X509_NAME *x509_name_make(const struct x509_subject *subject); // never NULL
// Common name and organizations of a name, in the arena.
struct str x509_name_common(struct arena *arena, const X509_NAME *name);
size_t x509_name_organizations(struct arena *arena, const X509_NAME *name, struct str **ret_items);

// NULL and a sentence when a value is not of its type.
GENERAL_NAMES *x509_sans_make(const struct x509_san *sans, size_t count, struct error *err);
size_t x509_sans_read(struct arena *arena, const GENERAL_NAMES *names, struct x509_san **ret_items);

#endif
