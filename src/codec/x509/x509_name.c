// SPDX-License-Identifier: Apache-2.0
//
// Subjects and alternative names: our structs on one side, OpenSSL's on the other.
#include <arpa/inet.h>

#include "base/assert.h"
#include "base/memory.h"
#include "codec/x509/x509_internal.h"

static void add_part(X509_NAME *name, int kind, struct str value)
{
    if (value.size > 0) {
        // Longer than X.520 allows (64 for names) is refused by OpenSSL; the part is left out then. Callers
        // that care check first.
        (void)X509_NAME_add_entry_by_NID(name, kind, MBSTRING_UTF8, (const unsigned char *)value.data, (int)value.size, -1, 0);
    }
}

X509_NAME *x509_name_make(const struct x509_subject *subject)
{
    X509_NAME *name = X509_NAME_new();
    ASSERT(name != NULL);
    for (size_t i = 0; i < subject->organization_count; i++) {
        add_part(name, NID_organizationName, subject->organizations[i]);
    }
    add_part(name, NID_commonName, subject->common_name);
    add_part(name, NID_localityName, subject->locality);
    return name;
}

static struct str asn1_text(struct arena *arena, const ASN1_STRING *string)
{
    unsigned char *utf8 = NULL;
    int size = ASN1_STRING_to_UTF8(&utf8, string);
    if (size < 0) {
        return STR_EMPTY;
    }
    struct str text = arena_str(arena, str_make((const char *)utf8, (size_t)size));
    OPENSSL_free(utf8);
    return text;
}

struct str x509_name_common(struct arena *arena, const X509_NAME *name)
{
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    return at < 0 ? STR_EMPTY : asn1_text(arena, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
}

size_t x509_name_organizations(struct arena *arena, const X509_NAME *name, struct str **ret_items)
{
    size_t count = 0;
    for (int at = -1; (at = X509_NAME_get_index_by_NID(name, NID_organizationName, at)) >= 0;) {
        count++;
    }
    struct str *items = arena_array(arena, struct str, count + 1);
    size_t i = 0;
    for (int at = -1; (at = X509_NAME_get_index_by_NID(name, NID_organizationName, at)) >= 0;) {
        items[i++] = asn1_text(arena, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    }
    *ret_items = items;
    return count;
}

// --- alternative names -----------------------------------------------------------------------------

// Bytes of an IP address; 0 when it is none.
static size_t parse_ip(struct str text, unsigned char out[static 16])
{
    char terminated[INET6_ADDRSTRLEN];
    if (text.size == 0 || text.size >= sizeof(terminated)) {
        return 0;
    }
    memcpy(terminated, text.data, text.size);
    terminated[text.size] = '\0';
    if (inet_pton(AF_INET, terminated, out) == 1) {
        return 4;
    }
    return inet_pton(AF_INET6, terminated, out) == 1 ? 16 : 0;
}

struct x509_san x509_san_of(struct str value)
{
    unsigned char bytes[16];
    if (str_find(value, STR("://")) > 0) {
        return (struct x509_san){.type = X509_SAN_URI, .value = value};
    }
    return (struct x509_san){.type = parse_ip(value, bytes) != 0 ? X509_SAN_IP : X509_SAN_DNS, .value = value};
}

static bool is_ia5(struct str text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] <= ' ' || text.data[i] > '~') {
            return false;
        }
    }
    return text.size > 0;
}

static GENERAL_NAME *make_san(const struct x509_san *san)
{
    unsigned char ip[16];
    size_t ip_size = san->type == X509_SAN_IP ? parse_ip(san->value, ip) : 0;
    if (san->type == X509_SAN_IP ? ip_size == 0 : !is_ia5(san->value)) {
        return NULL;
    }
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *string = san->type == X509_SAN_IP ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
    ASSERT(name != NULL && string != NULL);
    bool is_ip = san->type == X509_SAN_IP;
    const void *bytes = is_ip ? (const void *)ip : (const void *)san->value.data;
    ASSERT(ASN1_STRING_set(string, bytes, (int)(is_ip ? ip_size : san->value.size)) == 1);
    GENERAL_NAME_set0_value(name, is_ip ? GEN_IPADD : san->type == X509_SAN_URI ? GEN_URI : GEN_DNS, string);
    return name;
}

GENERAL_NAMES *x509_sans_make(const struct x509_san *sans, size_t count, struct error *err)
{
    if (count > X509_SANS_MAX) {
        (void)error_set(err, ERR_LIMIT, "%zu alternative names, the limit is %u", count, X509_SANS_MAX);
        return NULL;
    }
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    ASSERT(names != NULL);
    for (size_t i = 0; i < count; i++) {
        GENERAL_NAME *name = make_san(&sans[i]);
        if (name == NULL) {
            (void)error_set(err, ERR_INVALID, "\"%.*s\" cannot be an alternative name", STR_ARG(sans[i].value));
            GENERAL_NAMES_free(names);
            return NULL;
        }
        ASSERT(sk_GENERAL_NAME_push(names, name) > 0);
    }
    return names;
}

static bool read_san(struct arena *arena, const GENERAL_NAME *name, struct x509_san *ret_san)
{
    int type;
    const ASN1_STRING *string = GENERAL_NAME_get0_value(name, &type);
    if (type == GEN_IPADD) {
        int size = ASN1_STRING_length(string);
        char text[INET6_ADDRSTRLEN];
        if (size != 4 && size != 16) {
            return false;
        }
        (void)inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(string), text, sizeof(text));
        *ret_san = (struct x509_san){.type = X509_SAN_IP, .value = arena_str(arena, str_of(text))};
        return true;
    }
    if (type != GEN_DNS && type != GEN_URI) {
        return false;
    }
    struct str value = str_make((const char *)ASN1_STRING_get0_data(string), (size_t)ASN1_STRING_length(string));
    // A name with a NUL or a blank inside could pass for another one when printed: it is left out.
    if (!is_ia5(value)) {
        return false;
    }
    *ret_san = (struct x509_san){.type = type == GEN_DNS ? X509_SAN_DNS : X509_SAN_URI, .value = arena_str(arena, value)};
    return true;
}

size_t x509_sans_read(struct arena *arena, const GENERAL_NAMES *names, struct x509_san **ret_items)
{
    int total = names == NULL ? 0 : sk_GENERAL_NAME_num(names);
    size_t room = total > (int)X509_SANS_MAX ? X509_SANS_MAX : (size_t)total;
    struct x509_san *items = arena_array(arena, struct x509_san, room + 1);
    size_t count = 0;
    for (int i = 0; i < total && count < room; i++) {
        count += read_san(arena, sk_GENERAL_NAME_value(names, i), &items[count]) ? 1 : 0;
    }
    *ret_items = items;
    return count;
}
