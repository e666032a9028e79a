// SPDX-License-Identifier: Apache-2.0
#include "net/tls_names.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/x509v3.h>

#include "base/assert.h"

static bool is_clean(struct str name)
{
    for (size_t i = 0; i < name.size; i++) {
        unsigned char byte = (unsigned char)name.data[i];
        if (byte < 0x20 || byte == 0x7f) {
            return false;
        }
    }
    return name.size > 0;
}

static struct str text_of(const ASN1_STRING *value)
{
    return str_make((const char *)ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
}

// The name as text; false for kinds we do not know and for unclean ones. ip is storage for the result.
static bool name_text(const GENERAL_NAME *name, char ip[static INET6_ADDRSTRLEN], struct str *ret_text)
{
    struct str text;
    if (name->type == GEN_URI) {
        text = text_of(name->d.uniformResourceIdentifier);
    } else if (name->type == GEN_DNS) {
        text = text_of(name->d.dNSName);
    } else if (name->type == GEN_IPADD) {
        struct str raw = text_of(name->d.iPAddress);
        if (raw.size != 4 && raw.size != 16) {
            return false;
        }
        (void)inet_ntop(raw.size == 4 ? AF_INET : AF_INET6, raw.data, ip, INET6_ADDRSTRLEN);
        text = str_of(ip);
    } else {
        return false;
    }
    if (!is_clean(text)) {
        return false;
    }
    *ret_text = text;
    return true;
}

static GENERAL_NAMES *get_names(X509 *certificate)
{
    return X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
}

void tls_names_first_uri(X509 *certificate, struct buf *out)
{
    GENERAL_NAMES *names = get_names(certificate);
    int count = names == NULL ? 0 : sk_GENERAL_NAME_num(names);
    for (int i = 0; i < count && i < TLS_SANS_MAX; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        char ip[INET6_ADDRSTRLEN];
        struct str text;
        if (name->type == GEN_URI && name_text(name, ip, &text)) {
            buf_append_str(out, text);
            break;
        }
    }
    GENERAL_NAMES_free(names);
}

void tls_names_subject(X509 *certificate, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    ASSERT(bio != NULL);
    (void)X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
    char *data = NULL;
    long size = BIO_get_mem_data(bio, &data);
    buf_append(out, data, size > 0 ? (size_t)size : 0);
    BIO_free(bio);
}

bool tls_names_attribute(X509 *certificate, int nid, int index, struct buf *out)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int at = -1;
    for (int i = 0; i <= index; i++) {
        at = X509_NAME_get_index_by_NID(subject, nid, at);
        if (at < 0) {
            return false;
        }
    }
    unsigned char *utf8 = NULL;
    int size = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (size < 0) {
        return true; // a value in no known encoding: there, and empty
    }
    struct str text = str_make((const char *)utf8, (size_t)size);
    if (is_clean(text)) {
        buf_append_str(out, text);
    }
    OPENSSL_free(utf8);
    return true;
}

static bool matches(struct str name, const struct tls_san_matcher *matcher)
{
    switch (matcher->match) {
    case TLS_SAN_EXACT:
        return str_equal(name, matcher->value);
    case TLS_SAN_PREFIX:
        return str_starts_with(name, matcher->value);
    case TLS_SAN_SUFFIX:
        return str_ends_with(name, matcher->value);
    }
    return false;
}

bool tls_names_match(X509 *certificate, const struct tls_san_matcher *matchers, size_t count, struct buf *seen)
{
    GENERAL_NAMES *names = get_names(certificate);
    int name_count = names == NULL ? 0 : sk_GENERAL_NAME_num(names);
    bool found = false;
    for (int i = 0; i < name_count && i < TLS_SANS_MAX && !found; i++) {
        char ip[INET6_ADDRSTRLEN];
        struct str text;
        if (!name_text(sk_GENERAL_NAME_value(names, i), ip, &text)) {
            continue;
        }
        for (size_t k = 0; k < count && !found; k++) {
            found = matches(text, &matchers[k]);
        }
        buf_append_str(seen, seen->size > 0 ? STR(", ") : STR_EMPTY);
        buf_append_str(seen, text);
    }
    GENERAL_NAMES_free(names);
    return found;
}
