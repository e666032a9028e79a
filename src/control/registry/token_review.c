// SPDX-License-Identifier: Apache-2.0
#include "control/registry/token_review.h"

#include "base/memory.h"

struct review {
    token_review_done_fn *on_done;
    void *owner;
    struct arena arena;
    struct str trust_domain;
};

static bool is_service_account(const struct json_value *user)
{
    const struct json_value *groups = json_get(user, "groups");
    for (size_t i = 0; i < json_count(groups); i++) {
        if (str_equal(json_str(json_at(groups, i)), STR("system:serviceaccounts"))) {
            return true;
        }
    }
    return false;
}

// "system:serviceaccount:<namespace>:<account>" of an authenticated review.
static bool read_identity(struct review *review, const struct json_value *body, struct str *ret_identity)
{
    struct str prefix = STR("system:serviceaccount:");
    const struct json_value *status = json_get(body, "status");
    const struct json_value *user = json_get(status, "user");
    struct str name = json_get_str(user, "username");
    if (!json_get_bool(status, "authenticated", false) || !is_service_account(user) ||
        !str_starts_with(name, prefix)) {
        return false;
    }
    struct str rest = str_from(name, prefix.size);
    struct str ns = str_split(&rest, ':');
    if (str_is_empty(ns) || rest.data == NULL || str_is_empty(rest) || str_find_char(rest, ':') >= 0) {
        return false;
    }
    *ret_identity = arena_format(&review->arena, "spiffe://%.*s/ns/%.*s/sa/%.*s",
                                 STR_ARG(review->trust_domain), STR_ARG(ns), STR_ARG(rest));
    return true;
}

static void on_reviewed(void *owner, enum err code, const struct kube_response *response)
{
    struct review *review = owner;
    struct error err = {0};
    struct str identity = STR_EMPTY;
    if (code != ERR_OK) {
        error_set(&err, ERR_UNREACHABLE, "the token could not be reviewed: %.*s",
                  STR_ARG(response->message));
    } else if (!read_identity(review, response->value, &identity)) {
        struct str why = json_str(json_path(response->value, "status", "error", NULL));
        error_set(&err, ERR_DENIED, "the token was not accepted%s%.*s", why.size > 0 ? ": " : "",
                  STR_ARG(str_sub(why, 0, 200)));
    }
    review->on_done(review->owner, identity, &err);
    arena_done(&review->arena);
    mem_free(review);
}

static struct str review_body(struct arena *arena, struct str token)
{
    struct json_value *body = json_new_object(arena);
    json_set_cstr(arena, body, "apiVersion", "authentication.k8s.io/v1");
    json_set_cstr(arena, body, "kind", "TokenReview");
    struct json_value *spec = json_ensure_object(arena, body, "spec");
    json_set_str(arena, spec, "token", token);
    json_push(arena, json_ensure_array(arena, spec, "audiences"),
              json_new_cstr(arena, TOKEN_REVIEW_AUDIENCE));
    return json_to_str(arena, body);
}

void token_review(void *reviewer, struct str cluster, struct str token, token_review_done_fn *on_done,
                  void *owner)
{
    const struct token_reviewer *self = reviewer;
    struct kube_client *client = registry_client(self->registry, cluster);
    if (client == NULL) {
        struct error err = {0};
        error_set(&err, ERR_DENIED, "no cluster \"%.*s\" is known here; is its remote secret missing?",
                  STR_ARG(str_sub(cluster, 0, 100)));
        on_done(owner, STR_EMPTY, &err);
        return;
    }
    struct review *review = mem_new(struct review);
    review->on_done = on_done;
    review->owner = owner;
    review->trust_domain = arena_str(&review->arena, self->trust_domain);
    struct arena body = {0};
    struct kube_request request = {
        .method = STR("POST"),
        .path = STR("/apis/authentication.k8s.io/v1/tokenreviews"),
        .body = review_body(&body, token),
        .timeout_ms = TOKEN_REVIEW_TIMEOUT_MS,
    };
    kube_request(client, &request, on_reviewed, review);
    arena_done(&body);
}
