// SPDX-License-Identifier: Apache-2.0
//
// Secrets and ConfigMaps: text that becomes bytes, tokens of ServiceAccounts, and immutability.
#include "base/base64.h"
#include "lab/apiserver/defaults.h"
#include "lab/apiserver/request.h"
#include "lab/apiserver/token.h"

#define TOKEN_TYPE "kubernetes.io/service-account-token"
#define SECRET_BYTES_MAX (1024u * 1024)

static void secret_set_defaults(struct arena *arena, struct json_value *object)
{
    default_str(arena, object, "type", "Opaque");
    const struct json_value *text = json_get(object, "stringData");
    if (!json_is(text, JSON_OBJECT)) {
        return;
    }
    struct json_value *data = json_ensure_object(arena, object, "data");
    for (size_t i = 0; i < text->object.count; i++) {
        const struct json_member *member = &text->object.members[i];
        json_set(arena, data, member->name, json_new_str(arena, base64_encode(arena, json_str(member->value))));
    }
    (void)json_remove(object, STR("stringData"));
}

// Fills in the token when the account exists; else it comes when the account does (account_committed).
static bool fill_token(struct apiserver *server, struct arena *arena, struct json_value *secret, struct error *err)
{
    struct json_value *metadata = json_ensure_object(arena, secret, "metadata");
    struct str ns = json_get_str(metadata, "namespace");
    struct str name = json_get_str(json_get(metadata, "annotations"), "kubernetes.io/service-account.name");
    const struct kind *accounts = kind_find(&server->kinds, STR_EMPTY, STR("v1"), STR("serviceaccounts"));
    struct store_value *value = store_latest(accounts->bucket, kind_key(arena, accounts, ns, name));
    struct json_value *data = json_ensure_object(arena, secret, "data");
    if (value == NULL || json_get(data, "token") != NULL) {
        return false;
    }
    struct str uid = json_get_str(object_metadata(value_object(value)), "uid");
    struct str token;
    if (token_sign_legacy(arena, &server->pki, ns, name, uid, json_get_str(metadata, "name"), &token, err) != ERR_OK) {
        return false;
    }
    json_set_str(arena, json_ensure_object(arena, metadata, "annotations"), "kubernetes.io/service-account.uid", uid);
    json_set_str(arena, data, "token", base64_encode(arena, token));
    json_set_str(arena, data, "ca.crt", base64_encode(arena, server->pki.ca_pem));
    json_set_str(arena, data, "namespace", base64_encode(arena, ns));
    return true;
}

static bool secret_admit(struct request *request, struct json_value *object, const struct json_value *old)
{
    (void)old;
    if (!str_equal(json_get_str(object, "type"), STR(TOKEN_TYPE))) {
        return true;
    }
    struct error err = {0};
    (void)fill_token(request->server, &request->arena, object, &err);
    if (err.code != ERR_OK) {
        return failure_set(&request->failure, &request->arena, 500, "InternalError", "Internal error occurred: %s",
                           err.message);
    }
    return true;
}

static void validate_immutable(const struct json_value *object, const struct json_value *old, const char *const *fields,
                               struct field_errors *errors)
{
    if (old == NULL || !json_get_bool(old, "immutable", false)) {
        return;
    }
    if (!json_get_bool(object, "immutable", false)) {
        field_error(errors, "FieldValueForbidden", "immutable",
                    "Forbidden: field is immutable when `immutable` is set");
    }
    for (; *fields != NULL; fields++) {
        const struct json_value *before = json_get(old, *fields);
        const struct json_value *after = json_get(object, *fields);
        bool same = before == NULL || after == NULL ? json_count(before) == json_count(after) : json_equal(before, after);
        if (!same) {
            field_error(errors, "FieldValueForbidden", *fields,
                        "Forbidden: field is immutable when `immutable` is set");
        }
    }
}

static void secret_validate(const struct json_value *object, const struct json_value *old, struct field_errors *errors)
{
    static const char *const fields[] = {"data", NULL};
    const struct json_value *data = json_get(object, "data");
    size_t total = 0;
    for (size_t i = 0; i < json_count(data); i++) {
        const struct json_member *member = &data->object.members[i];
        struct str bytes;
        if (!json_is(member->value, JSON_STRING) || !base64_decode(errors->arena, member->value->text, &bytes)) {
            field_error(errors, "FieldValueInvalid", arena_format(errors->arena, "data[%.*s]", STR_ARG(member->name)).data,
                        "Invalid value: must be base64");
            continue;
        }
        total += bytes.size;
    }
    if (total > SECRET_BYTES_MAX) {
        field_error(errors, "FieldValueTooLong", "data", "Too long: must have at most %u bytes", SECRET_BYTES_MAX);
    }
    struct str type = json_get_str(object, "type");
    if (old != NULL && !str_equal(type, json_get_str(old, "type"))) {
        field_error(errors, "FieldValueInvalid", "type", "Invalid value: \"%.*s\": field is immutable", STR_ARG(type));
    }
    const struct json_value *annotations = json_path(object, "metadata", "annotations", NULL);
    if (str_equal(type, STR(TOKEN_TYPE)) &&
        str_is_empty(json_get_str(annotations, "kubernetes.io/service-account.name"))) {
        field_error(errors, "FieldValueRequired", "metadata.annotations[kubernetes.io/service-account.name]",
                    "Required value");
    }
    validate_immutable(object, old, fields, errors);
}

static void config_map_validate(const struct json_value *object, const struct json_value *old,
                                struct field_errors *errors)
{
    static const char *const fields[] = {"data", "binaryData", NULL};
    const struct json_value *data = json_get(object, "data");
    for (size_t i = 0; i < json_count(data); i++) {
        const struct json_member *member = &data->object.members[i];
        if (!json_is(member->value, JSON_STRING)) {
            field_error(errors, "FieldValueTypeInvalid",
                        arena_format(errors->arena, "data[%.*s]", STR_ARG(member->name)).data,
                        "Invalid value: must be a string");
        }
    }
    validate_immutable(object, old, fields, errors);
}

// A new account: the token Secrets that waited for it get their tokens.
static void account_committed(struct apiserver *server, const struct kind *kind, const struct json_value *old,
                              const struct json_value *object)
{
    (void)kind;
    if (old != NULL || object == NULL) {
        return;
    }
    const struct json_value *metadata = object_metadata(object);
    const struct kind *secrets = kind_find(&server->kinds, STR_EMPTY, STR("v1"), STR("secrets"));
    struct arena arena = {0};
    struct str prefix = arena_format(&arena, "%.*s/", STR_ARG(json_get_str(metadata, "namespace")));
    for (size_t i = store_seek(secrets->bucket, prefix); i < store_count(secrets->bucket); i++) {
        struct store_value *value = store_at(secrets->bucket, i);
        if (!str_starts_with(value->key, prefix)) {
            break;
        }
        struct store_value *latest = store_latest(secrets->bucket, value->key);
        const struct json_value *secret = latest == NULL ? NULL : value_object(latest);
        struct str wanted = json_get_str(json_get(object_metadata(secret), "annotations"),
                                         "kubernetes.io/service-account.name");
        if (!str_equal(json_get_str(secret, "type"), STR(TOKEN_TYPE)) || !str_equal(wanted, object_name(object))) {
            continue;
        }
        struct error err = {0};
        struct json_value *filled = json_copy(&arena, secret);
        if (fill_token(server, &arena, filled, &err)) {
            // Should the store refuse it, the secret stays without a token, as if the account were missing.
            enum err ignored = write_store(server, secrets, &arena, STORE_PUT, filled, NULL, NULL, &err);
            (void)ignored;
        }
    }
    arena_done(&arena);
}

const struct kind_hooks secret_hooks = {
    .set_defaults = secret_set_defaults,
    .admit = secret_admit,
    .validate = secret_validate,
};

const struct kind_hooks config_map_hooks = {.validate = config_map_validate};
const struct kind_hooks account_hooks = {.committed = account_committed};
