// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/token.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/base64.h"
#include "lab/apiserver/request.h"

#define LEGACY_ISSUER "kubernetes/serviceaccount"

// The URL alphabet without padding (RFC 7515 section 2).
static struct str encode_url(struct arena *arena, struct str bytes)
{
    struct str text = base64_encode(arena, bytes);
    char *out = arena_strdup(arena, text);
    size_t size = 0;
    while (size < text.size && out[size] != '=') {
        out[size] = out[size] == '+' ? '-' : out[size] == '/' ? '_' : out[size];
        size++;
    }
    return str_make(out, size);
}

// --- RS256 -----------------------------------------------------------------------------------------

static EVP_PKEY *key_read(struct str pem, bool is_private)
{
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
    EVP_PKEY *key = NULL;
    if (bio != NULL) {
        key = is_private ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL)
                         : PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    }
    BIO_free(bio);
    return key;
}

static bool signature_make(struct arena *arena, struct str key_pem, struct str text, struct str *ret_bytes)
{
    EVP_PKEY *key = key_read(key_pem, true);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t size = 0;
    bool done = false;
    if (key != NULL && context != NULL &&
        EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
        EVP_DigestSign(context, NULL, &size, (const unsigned char *)text.data, text.size) == 1) {
        unsigned char *bytes = arena_alloc(arena, size);
        done = EVP_DigestSign(context, bytes, &size, (const unsigned char *)text.data, text.size) == 1;
        *ret_bytes = str_make((const char *)bytes, size);
    }
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    return done;
}

static bool signature_check(struct str key_pem, struct str text, struct str signature)
{
    EVP_PKEY *key = key_read(key_pem, false);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = key != NULL && context != NULL &&
                EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestVerify(context, (const unsigned char *)signature.data, signature.size,
                                 (const unsigned char *)text.data, text.size) == 1;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    return good;
}

enum err token_sign(struct arena *arena, const struct pki *pki, const struct json_value *claims,
                    struct str *ret_token, struct error *err)
{
    struct json_value *header = json_new_object(arena);
    json_set_cstr(arena, header, "alg", "RS256");
    json_set_str(arena, header, "kid", pki->token_key_id);
    struct str text = arena_format(arena, "%.*s.%.*s",
                                   STR_ARG(encode_url(arena, json_to_str(arena, header))),
                                   STR_ARG(encode_url(arena, json_to_str(arena, claims))));
    struct str signature;
    if (!signature_make(arena, pki->token_key_pem, text, &signature)) {
        return error_set(err, ERR_INTERNAL, "the token could not be signed");
    }
    *ret_token = arena_format(arena, "%.*s.%.*s", STR_ARG(text), STR_ARG(encode_url(arena, signature)));
    return ERR_OK;
}

static enum err token_part(struct arena *arena, struct str part, struct json_value **ret_value, struct error *err)
{
    struct str text;
    struct error ignored = {0};
    if (!base64_decode(arena, part, &text) || json_parse(arena, text, ret_value, &ignored) != ERR_OK ||
        !json_is(*ret_value, JSON_OBJECT)) {
        return error_set(err, ERR_DENIED, "the token is malformed");
    }
    return ERR_OK;
}

enum err token_verify(struct arena *arena, const struct pki *pki, struct str token, int64_t now,
                      struct json_value **ret_claims, struct error *err)
{
    if (token.size > TOKEN_SIZE_MAX) {
        return error_set(err, ERR_LIMIT, "the token is longer than %u bytes", TOKEN_SIZE_MAX);
    }
    ptrdiff_t second = str_find_last_char(token, '.');
    struct str signed_text = second < 0 ? STR_EMPTY : str_sub(token, 0, (size_t)second);
    ptrdiff_t first = str_find_char(signed_text, '.');
    if (first < 0) {
        return error_set(err, ERR_DENIED, "the token is malformed");
    }
    struct json_value *header;
    struct json_value *claims;
    enum err code = token_part(arena, str_sub(signed_text, 0, (size_t)first), &header, err);
    if (code == ERR_OK) {
        code = token_part(arena, str_from(signed_text, (size_t)first + 1), &claims, err);
    }
    if (code != ERR_OK) {
        return code;
    }
    struct str signature;
    if (!str_equal(json_get_str(header, "alg"), STR("RS256")) ||
        !base64_decode(arena, str_from(token, (size_t)second + 1), &signature) ||
        !signature_check(pki->token_public_key_pem, signed_text, signature)) {
        return error_set(err, ERR_DENIED, "the token was not signed by this cluster");
    }
    int64_t not_before = json_get_int(claims, "nbf", 0);
    int64_t expires = json_get_int(claims, "exp", INT64_MAX);
    if (now >= expires || now < not_before) {
        return error_set(err, ERR_EXPIRED, "the token has expired");
    }
    *ret_claims = claims;
    return ERR_OK;
}

enum err token_sign_legacy(struct arena *arena, const struct pki *pki, struct str ns, struct str account,
                           struct str account_uid, struct str secret, struct str *ret_token, struct error *err)
{
    struct json_value *claims = json_new_object(arena);
    json_set_cstr(arena, claims, "iss", LEGACY_ISSUER);
    json_set_str(arena, claims, "kubernetes.io/serviceaccount/namespace", ns);
    json_set_str(arena, claims, "kubernetes.io/serviceaccount/secret.name", secret);
    json_set_str(arena, claims, "kubernetes.io/serviceaccount/service-account.name", account);
    json_set_str(arena, claims, "kubernetes.io/serviceaccount/service-account.uid", account_uid);
    json_set_str(arena, claims, "sub",
                 arena_format(arena, "system:serviceaccount:%.*s:%.*s", STR_ARG(ns), STR_ARG(account)));
    return token_sign(arena, pki, claims, ret_token, err);
}

// --- whom a token names ----------------------------------------------------------------------------

static bool object_is_alive(struct apiserver *server, struct arena *arena, const char *plural, struct str ns,
                            struct str name, struct str uid)
{
    const struct kind *kind = kind_find(&server->kinds, STR_EMPTY, STR("v1"), str_of(plural));
    struct store_value *value = store_get(kind->bucket, kind_key(arena, kind, ns, name));
    if (value == NULL) {
        return false;
    }
    const struct json_value *metadata = object_metadata(value_object(value));
    return str_is_empty(uid) || str_equal(json_get_str(metadata, "uid"), uid);
}

static bool audience_matches(const struct json_value *claims, struct str audience)
{
    const struct json_value *own = json_get(claims, "aud");
    if (own == NULL) { // legacy tokens are for the API server
        return str_equal(audience, STR(TOKEN_ISSUER));
    }
    if (json_is(own, JSON_STRING)) {
        return str_equal(own->text, audience);
    }
    for (size_t i = 0; i < json_count(own); i++) {
        if (str_equal(json_str(json_at(own, i)), audience)) {
            return true;
        }
    }
    return false;
}

static enum err audiences_check(struct arena *arena, const struct json_value *claims,
                                const struct json_value *wanted, struct json_value **ret_audiences,
                                struct error *err)
{
    struct json_value *issuer = json_new_array(arena);
    json_push(arena, issuer, json_new_cstr(arena, TOKEN_ISSUER));
    const struct json_value *list = json_count(wanted) > 0 ? wanted : issuer;
    struct json_value *common = json_new_array(arena);
    for (size_t i = 0; i < json_count(list); i++) {
        struct str audience = json_str(json_at(list, i));
        if (audience.data != NULL && audience_matches(claims, audience)) {
            json_push(arena, common, json_new_str(arena, audience));
        }
    }
    if (json_count(common) == 0) {
        const struct json_value *own = json_get(claims, "aud");
        return error_set(err, ERR_DENIED, "token audiences %.*s is invalid for the target audiences %.*s",
                         STR_ARG(own == NULL ? STR("[]") : json_to_str(arena, own)),
                         STR_ARG(json_to_str(arena, list)));
    }
    *ret_audiences = common;
    return ERR_OK;
}

static void user_add_extra(struct arena *arena, struct user *user, const char *key, struct str value)
{
    if (user->extra == NULL) {
        user->extra = json_new_object(arena);
    }
    json_push(arena, json_ensure_array(arena, user->extra, key), json_new_str(arena, value));
}

static void user_fill(struct arena *arena, struct user *user, struct str ns, struct str account, struct str uid)
{
    *user = (struct user){.uid = uid};
    user->name = arena_format(arena, "system:serviceaccount:%.*s:%.*s", STR_ARG(ns), STR_ARG(account));
    user->groups[0] = STR("system:serviceaccounts");
    user->groups[1] = arena_format(arena, "system:serviceaccounts:%.*s", STR_ARG(ns));
    user->groups[2] = STR("system:authenticated");
    user->group_count = 3;
}

static enum err identify_bound(struct apiserver *server, struct arena *arena, const struct json_value *claims,
                               struct user *user, struct error *err)
{
    const struct json_value *bound = json_get(claims, "kubernetes.io");
    const struct json_value *account = json_get(bound, "serviceaccount");
    const struct json_value *pod = json_get(bound, "pod");
    const struct json_value *secret = json_get(bound, "secret");
    struct str ns = json_get_str(bound, "namespace");
    struct str name = json_get_str(account, "name");
    struct str uid = json_get_str(account, "uid");
    if (!object_is_alive(server, arena, "serviceaccounts", ns, name, uid)) {
        return error_set(err, ERR_DENIED, "the token's service account %.*s/%.*s is gone", STR_ARG(ns),
                         STR_ARG(name));
    }
    user_fill(arena, user, ns, name, uid);
    if (pod != NULL) {
        struct str pod_name = json_get_str(pod, "name");
        struct str pod_uid = json_get_str(pod, "uid");
        if (!object_is_alive(server, arena, "pods", ns, pod_name, pod_uid)) {
            return error_set(err, ERR_DENIED, "the token's pod %.*s is gone", STR_ARG(pod_name));
        }
        user_add_extra(arena, user, "authentication.kubernetes.io/pod-name", pod_name);
        user_add_extra(arena, user, "authentication.kubernetes.io/pod-uid", pod_uid);
    }
    if (secret != NULL && !object_is_alive(server, arena, "secrets", ns, json_get_str(secret, "name"),
                                           json_get_str(secret, "uid"))) {
        return error_set(err, ERR_DENIED, "the token's secret is gone");
    }
    return ERR_OK;
}

static enum err identify_legacy(struct apiserver *server, struct arena *arena, const struct json_value *claims,
                                struct user *user, struct error *err)
{
    struct str ns = json_get_str(claims, "kubernetes.io/serviceaccount/namespace");
    struct str name = json_get_str(claims, "kubernetes.io/serviceaccount/service-account.name");
    struct str uid = json_get_str(claims, "kubernetes.io/serviceaccount/service-account.uid");
    struct str secret = json_get_str(claims, "kubernetes.io/serviceaccount/secret.name");
    if (!object_is_alive(server, arena, "serviceaccounts", ns, name, uid)) {
        return error_set(err, ERR_DENIED, "the token's service account %.*s/%.*s is gone", STR_ARG(ns),
                         STR_ARG(name));
    }
    if (!object_is_alive(server, arena, "secrets", ns, secret, STR_EMPTY)) {
        return error_set(err, ERR_DENIED, "the token's secret %.*s is gone", STR_ARG(secret));
    }
    user_fill(arena, user, ns, name, uid);
    return ERR_OK;
}

enum err token_identify(struct apiserver *server, struct arena *arena, struct str token,
                        const struct json_value *audiences, struct user *ret_user,
                        struct json_value **ret_audiences, struct error *err)
{
    struct json_value *claims;
    int64_t now = (int64_t)(loop_wall_ms(server->loop) / 1000);
    enum err code = token_verify(arena, &server->pki, token, now, &claims, err);
    if (code != ERR_OK) {
        return code;
    }
    struct user user;
    if (str_equal(json_get_str(claims, "iss"), STR(LEGACY_ISSUER))) {
        code = identify_legacy(server, arena, claims, &user, err);
    } else if (str_equal(json_get_str(claims, "iss"), STR(TOKEN_ISSUER))) {
        code = identify_bound(server, arena, claims, &user, err);
    } else {
        code = error_set(err, ERR_DENIED, "the token has an unknown issuer");
    }
    struct json_value *common = NULL;
    if (code == ERR_OK) {
        code = audiences_check(arena, claims, audiences, &common, err);
    }
    if (code == ERR_OK) {
        *ret_user = user;
        *ret_audiences = common;
    }
    return code;
}
