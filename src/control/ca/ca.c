// SPDX-License-Identifier: Apache-2.0
#include "control/ca/ca.h"

#include <limits.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/file.h"
#include "base/memory.h"
#include "codec/x509/x509.h"

struct ca {
    uint32_t references;
    struct arena arena; // holds the texts
    struct ca_files files;
    struct x509_key *key;
    struct x509_certificate *certificate;
    int64_t not_after;      // of the certificate
    int64_t root_not_after; // of the root that expires first
};

struct ca *ca_ref(struct ca *ca)
{
    __atomic_add_fetch(&ca->references, 1, __ATOMIC_RELAXED);
    return ca;
}

void ca_unref(struct ca *ca)
{
    if (ca == NULL || __atomic_sub_fetch(&ca->references, 1, __ATOMIC_ACQ_REL) > 0) {
        return;
    }
    x509_certificate_free(ca->certificate);
    x509_key_free(ca->key);
    if (ca->files.key.size > 0) {
        mem_wipe((char *)(uintptr_t)ca->files.key.data, ca->files.key.size); // our own copy
    }
    arena_done(&ca->arena);
    mem_free(ca);
}

// --- loading ---------------------------------------------------------------------------------------

static enum err check_chain(struct ca *ca, int64_t now, struct error *err)
{
    struct x509_bundle roots = {0};
    struct x509_bundle chain = {0};
    enum err code = x509_bundle_parse(ca->files.root, &roots, err);
    if (code != ERR_OK) {
        error_prefix(err, "root certificate");
        return code;
    }
    if (ca->files.chain.size > 0 && (code = x509_bundle_parse(ca->files.chain, &chain, err)) != ERR_OK) {
        error_prefix(err, "certificate chain");
    }
    if (code == ERR_OK && (code = x509_verify(ca->certificate, &chain, &roots, now, err)) != ERR_OK) {
        error_prefix(err, "the CA certificate does not verify against the root certificate");
    }
    ca->root_not_after = INT64_MAX;
    for (size_t i = 0; i < roots.count; i++) {
        int64_t end = x509_certificate_not_after(roots.items[i]);
        ca->root_not_after = end < ca->root_not_after ? end : ca->root_not_after;
    }
    x509_bundle_done(&roots);
    x509_bundle_done(&chain);
    return code;
}

static enum err load(struct ca *ca, int64_t now, struct error *err)
{
    ca->certificate = x509_certificate_parse(ca->files.certificate, err);
    if (ca->certificate == NULL) {
        error_prefix(err, "CA certificate");
        return ERR_INVALID;
    }
    ca->key = x509_key_parse(ca->files.key, err);
    if (ca->key == NULL) {
        error_prefix(err, "CA key");
        return ERR_INVALID;
    }
    struct x509_facts facts;
    x509_certificate_facts(&ca->arena, ca->certificate, &facts);
    ca->not_after = facts.not_after;
    if (!facts.is_ca) {
        return error_set(err, ERR_INVALID, "certificate %.*s is not a CA", STR_ARG(facts.subject));
    }
    if (!x509_certificate_matches_key(ca->certificate, ca->key)) {
        return error_set(err, ERR_INVALID, "the CA key does not belong to certificate %.*s", STR_ARG(facts.subject));
    }
    return check_chain(ca, now, err);
}

struct ca *ca_load(const struct ca_files *files, int64_t now, struct error *err)
{
    struct ca *ca = mem_new(struct ca);
    ca->references = 1;
    ca->files = (struct ca_files){
        .certificate = arena_str(&ca->arena, files->certificate),
        .key = arena_str(&ca->arena, files->key),
        .chain = arena_str(&ca->arena, files->chain),
        .root = arena_str(&ca->arena, files->root),
    };
    if (load(ca, now, err) != ERR_OK) {
        ca_unref(ca);
        return NULL;
    }
    return ca;
}

// Reads the named files of a directory. ERR_NOT_FOUND when the first is missing; a set that begins but is
// not complete is a mistake, not an invitation to sign for ourselves.
static enum err read_set(struct arena *arena, const char *directory, const char *const names[static 4],
                         struct str *const slots[static 4], struct error *err)
{
    for (size_t i = 0; i < 4 && names[i] != NULL; i++) {
        char path[PATH_MAX];
        (void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        enum err code = file_read(arena, path, X509_PEM_MAX, slots[i], err);
        if (code != ERR_OK) {
            return i > 0 && code == ERR_NOT_FOUND ? error_set(err, ERR_INVALID, "%s is missing beside %s", path, names[0]) : code;
        }
    }
    return ERR_OK;
}

static enum err read_directory(struct arena *arena, const char *directory, struct ca_files *files, struct error *err)
{
    // A kubernetes.io/tls secret, as cert-manager writes it; else the files of Istio's certificate tools.
    static const char *const tls_names[4] = {"tls.crt", "tls.key", "ca.crt", NULL};
    static const char *const istio_names[4] = {"ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"};
    struct str *tls_slots[4] = {&files->certificate, &files->key, &files->root, NULL};
    struct str *istio_slots[4] = {&files->certificate, &files->key, &files->chain, &files->root};
    enum err code = read_set(arena, directory, tls_names, tls_slots, err);
    if (code == ERR_OK) {
        files->chain = arena_format(arena, "%.*s%.*s", STR_ARG(files->certificate), STR_ARG(files->root));
    } else if (code == ERR_NOT_FOUND) {
        code = read_set(arena, directory, istio_names, istio_slots, err);
    }
    return code;
}

struct ca *ca_load_directory(const char *directory, int64_t now, struct error *err)
{
    struct arena arena = {0};
    struct ca_files files = {0};
    struct error detail = {0};
    struct ca *ca = NULL;
    if (read_directory(&arena, directory, &files, &detail) == ERR_OK) {
        ca = ca_load(&files, now, &detail);
        error_prefix(&detail, "%s", directory);
    }
    if (ca == NULL) {
        (void)error_set(err, detail.code, "%s", detail.message);
    }
    if (files.key.size > 0) {
        mem_wipe((char *)(uintptr_t)files.key.data, files.key.size);
    }
    arena_done(&arena);
    return ca;
}

struct ca *ca_self_signed(struct str trust_domain, int64_t now, struct error *err)
{
    struct x509_key *key = x509_key_generate(X509_KEY_RSA_2048, err);
    if (key == NULL) {
        return NULL;
    }
    struct x509_template wanted = {
        .subject = {.organizations = &trust_domain, .organization_count = 1},
        .not_before = now - CA_LEAF_BACKDATE_S,
        .not_after = now + CA_SELF_SIGNED_TTL_S,
        .is_ca = true,
        .path_length = -1,
        .usage = X509_USAGE_CERT_SIGN,
    };
    struct arena arena = {0};
    struct ca *ca = NULL;
    struct x509_certificate *certificate = x509_issue(&wanted, key, NULL, key, err);
    if (certificate != NULL) {
        struct str pem = x509_certificate_pem(&arena, certificate);
        struct str key_pem = x509_key_pem(&arena, key);
        ca = ca_load(&(struct ca_files){.certificate = pem, .key = key_pem, .root = pem}, now, err);
        mem_wipe((char *)(uintptr_t)key_pem.data, key_pem.size);
    }
    x509_certificate_free(certificate);
    x509_key_free(key);
    arena_done(&arena);
    return ca;
}

struct str ca_root_pem(const struct ca *ca)
{
    return ca->files.root;
}

void ca_files(const struct ca *ca, struct ca_files *ret_files)
{
    *ret_files = ca->files;
}

int64_t ca_not_after(const struct ca *ca)
{
    return ca->not_after;
}

int64_t ca_root_not_after(const struct ca *ca)
{
    return ca->root_not_after;
}

// --- signing ---------------------------------------------------------------------------------------

// A leaf must not outlive what vouches for it.
static int64_t last_moment(const struct ca *ca)
{
    return ca->not_after < ca->root_not_after ? ca->not_after : ca->root_not_after;
}

static enum err choose_end(const struct ca *ca, int64_t ttl_s, int64_t now, int64_t *ret_end, struct error *err)
{
    if (ttl_s > CA_TTL_MAX_S) {
        return error_set(err, ERR_INVALID, "requested lifetime %lld s is above the limit of %d s", (long long)ttl_s, CA_TTL_MAX_S);
    }
    int64_t end = now + (ttl_s > 0 ? ttl_s : CA_TTL_DEFAULT_S);
    int64_t last = last_moment(ca);
    if (now >= last) {
        return error_set(err, ERR_EXPIRED, "the CA certificate has expired: install a new one in secret cacerts");
    }
    *ret_end = end < last ? end : last;
    return ERR_OK;
}

static void make_sans(struct arena *arena, const struct str *names, size_t count, struct x509_template *wanted)
{
    struct x509_san *sans = arena_array(arena, struct x509_san, count);
    for (size_t i = 0; i < count; i++) {
        sans[i] = x509_san_of(names[i]);
    }
    wanted->sans = sans;
    wanted->san_count = count;
    // RFC 5280 section 4.2.1.6: critical where the subject says nothing.
    wanted->sans_critical = true;
}

static enum err issue_leaf(const struct ca *ca, struct arena *arena, const struct ca_request *request, int64_t now,
                           int64_t end, struct str *ret_pem, struct error *err)
{
    struct x509_request csr;
    enum err code = x509_request_parse(arena, request->csr_pem, &csr, err);
    if (code != ERR_OK) {
        return code;
    }
    struct x509_template wanted = {.not_before = now - CA_LEAF_BACKDATE_S, .not_after = end, .usage = X509_USAGE_LEAF};
    make_sans(arena, request->identities, request->identity_count, &wanted);
    // Some readers want a common name where the request had one; X.520 allows 64 characters.
    if (csr.common_name.size > 0 && request->identities[0].size <= 64) {
        wanted.subject.common_name = request->identities[0];
    }
    struct error detail = {0};
    struct x509_certificate *leaf = x509_issue(&wanted, csr.public_key, ca->certificate, ca->key, &detail);
    x509_request_done(&csr);
    if (leaf == NULL) {
        return error_set(err, detail.code, "%s", detail.message);
    }
    *ret_pem = x509_certificate_pem(arena, leaf);
    x509_certificate_free(leaf);
    return ERR_OK;
}

enum err ca_sign(const struct ca *ca, struct arena *arena, const struct ca_request *request, int64_t now,
                 struct ca_response *ret_response, struct error *err)
{
    if (request->identity_count == 0 || request->identity_count > CA_IDENTITIES_MAX) {
        return error_set(err, ERR_INVALID, "%zu identities, want 1 to %u", request->identity_count, CA_IDENTITIES_MAX);
    }
    struct ca_response response = {0};
    enum err code = choose_end(ca, request->ttl_s, now, &response.not_after, err);
    if (code != ERR_OK) {
        return code;
    }
    code = issue_leaf(ca, arena, request, now, response.not_after, &response.parts[response.part_count++], err);
    if (code != ERR_OK) {
        return code;
    }
    if (ca->files.chain.size > 0) {
        response.parts[response.part_count++] = arena_str(arena, ca->files.chain);
    }
    response.parts[response.part_count++] = arena_str(arena, ca->files.root);
    *ret_response = response;
    return ERR_OK;
}

enum err ca_issue_serving(const struct ca *ca, struct arena *arena, const struct str *names, size_t name_count,
                          int64_t now, struct ca_serving *ret_serving, struct error *err)
{
    struct x509_template wanted = {.not_before = now - CA_LEAF_BACKDATE_S, .not_after = last_moment(ca), .usage = X509_USAGE_LEAF};
    if (now >= wanted.not_after) {
        return error_set(err, ERR_EXPIRED, "the CA certificate has expired: install a new one in secret cacerts");
    }
    make_sans(arena, names, name_count, &wanted);
    struct error detail = {0};
    struct x509_key *key = x509_key_generate(X509_KEY_RSA_2048, &detail);
    struct x509_certificate *leaf = key == NULL ? NULL : x509_issue(&wanted, key, ca->certificate, ca->key, &detail);
    if (leaf != NULL) {
        struct str leaf_pem = x509_certificate_pem(arena, leaf);
        ret_serving->certificate_pem = arena_format(arena, "%.*s%.*s", STR_ARG(leaf_pem), STR_ARG(ca->files.chain));
        ret_serving->key_pem = x509_key_pem(arena, key);
    }
    x509_certificate_free(leaf);
    x509_key_free(key);
    return leaf != NULL ? ERR_OK : error_set(err, detail.code, "%s", detail.message);
}

struct str ca_spiffe_id(struct arena *arena, struct str trust_domain, struct str ns, struct str service_account)
{
    char *domain = arena_strdup(arena, trust_domain);
    for (char *at = domain; *at != '\0'; at++) {
        *at = *at == '@' ? '.' : *at;
    }
    return arena_format(arena, "spiffe://%s/ns/%.*s/sa/%.*s", domain, STR_ARG(ns), STR_ARG(service_account));
}
