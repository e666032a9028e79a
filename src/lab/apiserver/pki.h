// SPDX-License-Identifier: Apache-2.0
//
// pki: the cluster's certificate authority, the server's and the administrator's certificates, and the
// key that signs ServiceAccount tokens.
#ifndef LAB_APISERVER_PKI_H
#define LAB_APISERVER_PKI_H

#include "base/arena.h"
#include "base/error.h"
#include "codec/x509/x509.h"

#define PKI_CA_DAYS 3650
#define PKI_LEAF_DAYS 365

struct pki {
    struct arena arena; // of the PEM texts
    struct x509_key *ca_key;
    struct x509_certificate *ca;
    struct str ca_pem;
    struct str serving_pem;
    struct str serving_key_pem;
    struct str admin_pem;
    struct str admin_key_pem;
    struct str token_key_pem;        // RSA, private
    struct str token_public_key_pem;
    struct str token_key_id;         // "kid" of the tokens: hash of the public key
};

// directory empty: nothing is kept. names and addresses go into the serving certificate.
enum err pki_init(struct pki *pki, struct str directory, const struct str *names, size_t name_count,
                  int64_t now, struct error *err) must_check;
void pki_done(struct pki *pki);

#endif
