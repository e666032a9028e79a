// SPDX-License-Identifier: Apache-2.0
//
// Questions that are answered and not stored: TokenRequest, TokenReview, access reviews, SelfSubjectReview.
#include <inttypes.h>

#include "base/random.h"
#include "lab/apiserver/authorize.h"
#include "lab/apiserver/metadata.h"
#include "lab/apiserver/request.h"
#include "lab/apiserver/subresource.h"
#include "lab/apiserver/token.h"

static void user_to_json(struct arena *arena, const struct user *user, struct json_value *info)
{
    json_set_str(arena, info, "username", user->name);
    if (!str_is_empty(user->uid)) {
        json_set_str(arena, info, "uid", user->uid);
    }
    struct json_value *groups = json_ensure_array(arena, info, "groups");
    for (size_t i = 0; i < user->group_count; i++) {
        json_push(arena, groups, json_new_str(arena, user->groups[i]));
    }
    if (user->extra != NULL) {
        json_set(arena, info, STR("extra"), json_copy(arena, user->extra));
    }
}

// --- TokenRequest ----------------------------------------------------------------------------------

static bool add_bound_object(struct request *request, const struct json_value *reference, struct json_value *bound)
{
    struct arena *arena = &request->arena;
    struct str name = json_get_str(reference, "name");
    struct str uid = json_get_str(reference, "uid");
    bool is_pod = str_equal(json_get_str(reference, "kind"), STR("Pod"));
    if (!is_pod && !str_equal(json_get_str(reference, "kind"), STR("Secret"))) {
        return failure_bad_request(&request->failure, arena, "cannot bind token to object of type %.*s",
                                   STR_ARG(json_get_str(reference, "kind")));
    }
    const struct kind *kind =
        kind_find(&request->server->kinds, STR_EMPTY, STR("v1"), is_pod ? STR("pods") : STR("secrets"));
    struct store_value *value = store_latest(kind->bucket, kind_key(arena, kind, request->path.ns, name));
    if (value == NULL) {
        return failure_not_found(&request->failure, arena, kind, name);
    }
    const struct json_value *object = value_object(value);
    struct str own_uid = json_get_str(object_metadata(object), "uid");
    if (!str_is_empty(uid) && !str_equal(uid, own_uid)) {
        return failure_conflict(&request->failure, arena, kind, name,
                                "the UID in the bound object reference (%.*s) does not match the UID in record",
                                STR_ARG(uid));
    }
    struct str account = json_get_str(json_get(object, "spec"), "serviceAccountName");
    if (is_pod && !str_equal(account, request->path.name)) {
        return failure_bad_request(&request->failure, arena,
                                   "cannot bind token for serviceaccount \"%.*s\" to pod running with different "
                                   "serviceaccount name.", STR_ARG(request->path.name));
    }
    struct json_value *item = json_ensure_object(arena, bound, is_pod ? "pod" : "secret");
    json_set_str(arena, item, "name", name);
    json_set_str(arena, item, "uid", own_uid);
    return true;
}

static struct json_value *make_audiences(struct arena *arena, const struct json_value *spec)
{
    const struct json_value *wanted = json_get(spec, "audiences");
    if (json_count(wanted) > 0) {
        return json_copy(arena, wanted);
    }
    struct json_value *audiences = json_new_array(arena);
    json_push(arena, audiences, json_new_cstr(arena, TOKEN_ISSUER));
    return audiences;
}

static bool make_token(struct request *request, const struct json_value *account, struct json_value *body)
{
    struct arena *arena = &request->arena;
    struct json_value *spec = json_ensure_object(arena, body, "spec");
    uint64_t wall_ms = loop_wall_ms(request->server->loop);
    int64_t now = (int64_t)(wall_ms / 1000);
    int64_t seconds = json_get_int(spec, "expirationSeconds", TOKEN_SECONDS_DEFAULT);
    if (seconds < TOKEN_SECONDS_MIN || seconds > INT32_MAX) {
        return failure_set(&request->failure, arena, 422, "Invalid",
                           "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: "
                           "%" PRId64 ": may not specify a duration less than 10 minutes", seconds);
    }
    struct json_value *claims = json_new_object(arena);
    json_set(arena, claims, STR("aud"), make_audiences(arena, spec));
    json_set_int(arena, claims, "exp", now + seconds);
    json_set_int(arena, claims, "iat", now);
    json_set_cstr(arena, claims, "iss", TOKEN_ISSUER);
    char id[RANDOM_UUID_SIZE];
    random_uuid(id);
    json_set_cstr(arena, claims, "jti", id);
    struct json_value *bound = json_ensure_object(arena, claims, "kubernetes.io");
    json_set_str(arena, bound, "namespace", request->path.ns);
    const struct json_value *reference = json_get(spec, "boundObjectRef");
    if (json_is(reference, JSON_OBJECT) && !add_bound_object(request, reference, bound)) {
        return false;
    }
    struct json_value *self = json_ensure_object(arena, bound, "serviceaccount");
    json_set_str(arena, self, "name", request->path.name);
    json_set_str(arena, self, "uid", json_get_str(object_metadata(account), "uid"));
    json_set_int(arena, claims, "nbf", now);
    json_set_str(arena, claims, "sub", arena_format(arena, "system:serviceaccount:%.*s:%.*s",
                                                    STR_ARG(request->path.ns), STR_ARG(request->path.name)));
    struct str token;
    struct error err = {0};
    if (token_sign(arena, &request->server->pki, claims, &token, &err) != ERR_OK) {
        return failure_set(&request->failure, arena, 500, "InternalError", "Internal error occurred: %s", err.message);
    }
    json_set(arena, spec, STR("audiences"), make_audiences(arena, spec));
    json_set_int(arena, spec, "expirationSeconds", seconds);
    struct json_value *status = json_ensure_object(arena, body, "status");
    json_set_str(arena, status, "token", token);
    json_set_str(arena, status, "expirationTimestamp", time_text(arena, wall_ms + (uint64_t)seconds * 1000));
    return true;
}

void token_request_serve(struct request *request)
{
    struct arena *arena = &request->arena;
    struct json_value *body;
    struct store_value *account =
        store_latest(request->kind->bucket, kind_key(arena, request->kind, request->path.ns, request->path.name));
    if (request->verb != VERB_CREATE) {
        (void)failure_method(&request->failure, arena);
    } else if (account == NULL) {
        (void)failure_not_found(&request->failure, arena, request->kind, request->path.name);
    } else if (request_parse_body(request, &body) && make_token(request, value_object(account), body)) {
        json_set_cstr(arena, body, "kind", "TokenRequest");
        json_set_cstr(arena, body, "apiVersion", "authentication.k8s.io/v1");
        struct json_value *metadata = json_ensure_object(arena, body, "metadata");
        json_set_str(arena, metadata, "name", request->path.name);
        json_set_str(arena, metadata, "namespace", request->path.ns);
        request_respond_json(request, 201, body);
        return;
    }
    request_fail(request);
}

// --- TokenReview -----------------------------------------------------------------------------------

static void token_review(struct request *request, struct json_value *body)
{
    struct arena *arena = &request->arena;
    const struct json_value *spec = json_get(body, "spec");
    struct json_value *status = json_new_object(arena);
    struct json_value *audiences;
    struct user user;
    struct error err = {0};
    if (token_identify(request->server, arena, json_get_str(spec, "token"), json_get(spec, "audiences"), &user,
                       &audiences, &err) == ERR_OK) {
        json_set_bool(arena, status, "authenticated", true);
        user_to_json(arena, &user, json_ensure_object(arena, status, "user"));
        json_set(arena, status, STR("audiences"), audiences);
    } else {
        json_set_bool(arena, status, "authenticated", false);
        (void)json_ensure_object(arena, status, "user");
        json_set_cstr(arena, status, "error", err.message);
    }
    json_set(arena, body, STR("status"), status);
    request_respond_json(request, 201, body);
}

const struct kind_hooks token_review_hooks = {.review = token_review};

static void self_subject_review(struct request *request, struct json_value *body)
{
    struct arena *arena = &request->arena;
    struct json_value *status = json_ensure_object(arena, body, "status");
    user_to_json(arena, &request->user, json_ensure_object(arena, status, "userInfo"));
    request_respond_json(request, 201, body);
}

const struct kind_hooks self_subject_review_hooks = {.review = self_subject_review};

// --- access reviews --------------------------------------------------------------------------------

static void user_of_spec(const struct json_value *spec, struct user *user)
{
    *user = (struct user){.name = json_get_str(spec, "user"), .uid = json_get_str(spec, "uid")};
    const struct json_value *groups = json_get(spec, "groups");
    for (size_t i = 0; i < json_count(groups) && i < USER_GROUPS_MAX; i++) {
        user->groups[user->group_count++] = json_str(json_at(groups, i));
    }
}

static struct attributes attributes_of_spec(struct arena *arena, const struct json_value *spec)
{
    const struct json_value *resource = json_get(spec, "resourceAttributes");
    const struct json_value *other = json_get(spec, "nonResourceAttributes");
    if (resource == NULL) {
        return (struct attributes){.verb = json_get_str(other, "verb"), .path = json_get_str(other, "path")};
    }
    struct attributes attributes = {
        .verb = json_get_str(resource, "verb"),
        .is_resource = true,
        .group = json_get_str(resource, "group"),
        .resource = json_get_str(resource, "resource"),
        .ns = json_get_str(resource, "namespace"),
        .name = json_get_str(resource, "name"),
    };
    struct str subresource = json_get_str(resource, "subresource");
    if (!str_is_empty(subresource)) {
        attributes.resource =
            arena_format(arena, "%.*s/%.*s", STR_ARG(attributes.resource), STR_ARG(subresource));
    }
    return attributes;
}

static void access_review(struct request *request, struct json_value *body)
{
    struct arena *arena = &request->arena;
    struct json_value *spec = json_ensure_object(arena, body, "spec");
    struct user user = request->user;
    if (!str_equal(request->kind->kind, STR("SelfSubjectAccessReview"))) {
        user_of_spec(spec, &user);
    }
    if (json_get(spec, "resourceAttributes") == NULL && json_get(spec, "nonResourceAttributes") == NULL) {
        (void)failure_set(&request->failure, arena, 422, "Invalid",
                          "%.*s.authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: \"null\": "
                          "exactly one of nonResourceAttributes or resourceAttributes must be specified",
                          STR_ARG(request->kind->kind));
        request_fail(request);
        return;
    }
    struct attributes attributes = attributes_of_spec(arena, spec);
    struct str reason;
    bool allowed = authorize_allows(request->server, arena, &user, &attributes, &reason);
    struct json_value *status = json_new_object(arena);
    json_set_bool(arena, status, "allowed", allowed);
    if (!str_is_empty(reason)) {
        json_set_str(arena, status, "reason", reason);
    }
    json_set(arena, body, STR("status"), status);
    request_respond_json(request, 201, body);
}

const struct kind_hooks access_review_hooks = {.review = access_review};

static void rules_review(struct request *request, struct json_value *body)
{
    struct arena *arena = &request->arena;
    struct json_value *status = json_new_object(arena);
    json_set_bool(arena, status, "incomplete", false);
    authorize_list_rules(request->server, arena, &request->user, json_get_str(json_get(body, "spec"), "namespace"),
                         status);
    json_set(arena, body, STR("status"), status);
    request_respond_json(request, 201, body);
}

const struct kind_hooks rules_review_hooks = {.review = rules_review};
