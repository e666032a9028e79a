// SPDX-License-Identifier: Apache-2.0
//
// Who asks: a bearer token, a client certificate of the cluster CA, or nobody (system:anonymous). A token
// that is bad is an error even where nobody would have been let in.
#include "base/log.h"
#include "lab/apiserver/authorize.h"
#include "lab/apiserver/request.h"
#include "lab/apiserver/token.h"

static struct log_scope scope = LOG_SCOPE("apiserver");

static void user_add_group(struct user *user, struct str group)
{
    if (user->group_count < USER_GROUPS_MAX) {
        user->groups[user->group_count++] = group;
    }
}

static bool authenticate_token(struct request *request)
{
    struct str text = request->authorization;
    ptrdiff_t blank = str_find_char(text, ' ');
    struct error err = {0};
    struct json_value *audiences;
    if (blank < 0 || !str_equal_nocase(str_sub(text, 0, (size_t)blank), STR("bearer"))) {
        (void)error_set(&err, ERR_DENIED, "the Authorization header is not a bearer token");
    } else if (token_identify(request->server, &request->arena, str_trim(str_from(text, (size_t)blank + 1)), NULL,
                              &request->user, &audiences, &err) == ERR_OK) {
        return true;
    }
    log_debug(&scope, "token refused", LOG_ERR(&err));
    return failure_set(&request->failure, &request->arena, 401, "Unauthorized", "Unauthorized");
}

static void authenticate_certificate(struct request *request, const struct tls_session *session)
{
    struct arena *arena = &request->arena;
    struct user *user = &request->user;
    user->name = arena_str(arena, tls_session_peer_common_name(session));
    struct str organizations[USER_GROUPS_MAX - 1];
    size_t count = tls_session_peer_organizations(session, organizations, USER_GROUPS_MAX - 1);
    for (size_t i = 0; i < count && i < USER_GROUPS_MAX - 1; i++) {
        user_add_group(user, arena_str(arena, organizations[i]));
    }
    user_add_group(user, STR("system:authenticated"));
}

static bool authenticate_self(struct request *request)
{
    if (!str_is_empty(request->authorization)) {
        return authenticate_token(request);
    }
    const struct tls_session *session = request->exchange == NULL ? NULL : http_tls(request->exchange);
    if (session != NULL && tls_session_has_peer(session) &&
        !str_is_empty(tls_session_peer_common_name(session))) {
        authenticate_certificate(request, session);
        return true;
    }
    request->user.name = STR("system:anonymous");
    user_add_group(&request->user, STR("system:unauthenticated"));
    return true;
}

// --- asking as somebody else -----------------------------------------------------------------------

static bool may_impersonate(struct request *request, const char *resource, struct str name)
{
    struct attributes wanted = {
        .verb = STR("impersonate"), .is_resource = true, .resource = str_of(resource), .name = name};
    if (authorize_allows(request->server, &request->arena, &request->user, &wanted, NULL)) {
        return true;
    }
    struct kind about = {.plural = str_of(resource)};
    return failure_forbidden(&request->failure, &request->arena, &about, name,
                             "User \"%.*s\" cannot impersonate resource \"%s\" in API group \"\" at the cluster scope",
                             STR_ARG(request->user.name), resource);
}

static bool impersonate(struct request *request)
{
    struct user user = {.name = request->impersonate_user};
    if (!may_impersonate(request, "users", user.name)) {
        return false;
    }
    for (size_t i = 0; i < request->impersonate_group_count; i++) {
        if (!may_impersonate(request, "groups", request->impersonate_groups[i])) {
            return false;
        }
        user_add_group(&user, request->impersonate_groups[i]);
    }
    bool is_anonymous = str_equal(user.name, STR("system:anonymous"));
    user_add_group(&user, is_anonymous ? STR("system:unauthenticated") : STR("system:authenticated"));
    request->user = user;
    return true;
}

bool authenticate(struct request *request)
{
    if (!authenticate_self(request)) {
        return false;
    }
    return request->impersonate_user.data == NULL || impersonate(request);
}
