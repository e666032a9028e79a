// SPDX-License-Identifier: Apache-2.0
//
// Issuing certificates: RFC 5280 profiles of CAs and SPIFFE leaves, chosen by the template.
#include <openssl/err.h>

#include "base/assert.h"
#include "base/random.h"
#include "codec/x509/x509_internal.h"

static bool add_extension(X509 *x509, int kind, void *value, bool critical)
{
    return value != NULL && X509_add1_ext_i2d(x509, kind, value, critical ? 1 : 0, X509V3_ADD_DEFAULT) == 1;
}

static bool add_constraints(X509 *x509, const struct x509_template *wanted)
{
    BASIC_CONSTRAINTS *constraints = BASIC_CONSTRAINTS_new();
    ASSERT(constraints != NULL);
    constraints->ca = wanted->is_ca ? 0xff : 0;
    if (wanted->is_ca && wanted->path_length >= 0) {
        constraints->pathlen = ASN1_INTEGER_new();
        ASSERT(constraints->pathlen != NULL && ASN1_INTEGER_set(constraints->pathlen, wanted->path_length) == 1);
    }
    bool ok = add_extension(x509, NID_basic_constraints, constraints, true);
    BASIC_CONSTRAINTS_free(constraints);
    return ok;
}

static bool add_usage(X509 *x509, unsigned usage)
{
    static const struct {
        enum x509_usage usage;
        int bit; // RFC 5280 section 4.2.1.3
    } rows[] = {
        {X509_USAGE_DIGITAL_SIGNATURE, 0}, {X509_USAGE_NON_REPUDIATION, 1}, {X509_USAGE_KEY_ENCIPHERMENT, 2},
        {X509_USAGE_CERT_SIGN, 5},         {X509_USAGE_CRL_SIGN, 6},
    };
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    ASSERT(bits != NULL);
    bool any = false;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if ((usage & rows[i].usage) != 0) {
            ASSERT(ASN1_BIT_STRING_set_bit(bits, rows[i].bit, 1) == 1);
            any = true;
        }
    }
    bool ok = !any || add_extension(x509, NID_key_usage, bits, true);
    ASN1_BIT_STRING_free(bits);
    return ok;
}

static bool add_extended_usage(X509 *x509, unsigned usage)
{
    if ((usage & (X509_USAGE_SERVER_AUTH | X509_USAGE_CLIENT_AUTH)) == 0) {
        return true;
    }
    EXTENDED_KEY_USAGE *purposes = sk_ASN1_OBJECT_new_null();
    ASSERT(purposes != NULL);
    if ((usage & X509_USAGE_SERVER_AUTH) != 0) {
        ASSERT(sk_ASN1_OBJECT_push(purposes, OBJ_nid2obj(NID_server_auth)) > 0);
    }
    if ((usage & X509_USAGE_CLIENT_AUTH) != 0) {
        ASSERT(sk_ASN1_OBJECT_push(purposes, OBJ_nid2obj(NID_client_auth)) > 0);
    }
    bool ok = add_extension(x509, NID_ext_key_usage, purposes, false);
    sk_ASN1_OBJECT_pop_free(purposes, ASN1_OBJECT_free);
    return ok;
}

// SHA-1 of the public key: method (1) of RFC 5280 section 4.2.1.2, an identifier and not a protection.
static ASN1_OCTET_STRING *key_identifier(const X509 *x509)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    ASN1_OCTET_STRING *identifier = ASN1_OCTET_STRING_new();
    ASSERT(identifier != NULL && X509_pubkey_digest(x509, EVP_sha1(), hash, &size) == 1);
    ASSERT(ASN1_OCTET_STRING_set(identifier, hash, (int)size) == 1);
    return identifier;
}

static bool add_identifiers(X509 *x509, const X509 *issuer)
{
    ASN1_OCTET_STRING *own = key_identifier(x509);
    bool ok = add_extension(x509, NID_subject_key_identifier, own, false);
    ASN1_OCTET_STRING_free(own);
    if (issuer == NULL) {
        return ok; // self-signed: would repeat itself
    }
    const ASN1_OCTET_STRING *given = X509_get0_subject_key_id((X509 *)(uintptr_t)issuer);
    AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();
    ASSERT(authority != NULL);
    authority->keyid = given != NULL ? ASN1_OCTET_STRING_dup(given) : key_identifier(issuer);
    ok = ok && add_extension(x509, NID_authority_key_identifier, authority, false);
    AUTHORITY_KEYID_free(authority);
    return ok;
}

static bool add_sans(X509 *x509, const struct x509_template *wanted, struct error *err)
{
    if (wanted->san_count == 0) {
        return true;
    }
    GENERAL_NAMES *names = x509_sans_make(wanted->sans, wanted->san_count, err);
    bool ok = add_extension(x509, NID_subject_alt_name, names, wanted->sans_critical);
    GENERAL_NAMES_free(names);
    return ok;
}

static bool set_serial(X509 *x509)
{
    unsigned char bytes[16];
    random_bytes(bytes, sizeof(bytes));
    bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40); // positive and always 16 bytes (section 4.1.2.2)
    BIGNUM *number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool ok = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x509)) != NULL;
    BN_free(number);
    return ok;
}

static bool set_dates(X509 *x509, const struct x509_template *wanted)
{
    return ASN1_TIME_set(X509_getm_notBefore(x509), (time_t)wanted->not_before) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(x509), (time_t)wanted->not_after) != NULL;
}

static bool set_names(X509 *x509, const struct x509_template *wanted, const X509 *issuer)
{
    X509_NAME *name = x509_name_make(&wanted->subject);
    const X509_NAME *issuer_name = issuer != NULL ? X509_get_subject_name(issuer) : name;
    bool ok = X509_set_subject_name(x509, name) == 1 && X509_set_issuer_name(x509, issuer_name) == 1;
    X509_NAME_free(name);
    return ok;
}

struct x509_certificate *x509_issue(const struct x509_template *wanted, const struct x509_key *subject_key,
                                    const struct x509_certificate *issuer, const struct x509_key *issuer_key,
                                    struct error *err)
{
    const X509 *issuer_x509 = issuer != NULL ? issuer->x509 : NULL;
    struct error detail = {0};
    X509 *x509 = X509_new();
    ASSERT(x509 != NULL && issuer_key->is_private && wanted->not_before < wanted->not_after);
    bool ok = X509_set_version(x509, X509_VERSION_3) == 1 && set_serial(x509) && set_dates(x509, wanted) &&
              set_names(x509, wanted, issuer_x509) && X509_set_pubkey(x509, subject_key->pkey) == 1 &&
              add_constraints(x509, wanted) && add_usage(x509, wanted->usage) && add_extended_usage(x509, wanted->usage) &&
              add_sans(x509, wanted, &detail) && add_identifiers(x509, issuer_x509) &&
              X509_sign(x509, issuer_key->pkey, EVP_sha256()) > 0;
    if (!ok) {
        X509_free(x509);
        (void)(detail.code != ERR_OK ? error_set(err, detail.code, "%s", detail.message)
                                     : x509_fail(err, ERR_INTERNAL, "cannot issue a certificate"));
        return NULL;
    }
    ERR_clear_error();
    return x509_certificate_wrap(x509);
}
