// SPDX-License-Identifier: Apache-2.0
#include "control/serve/authenticate.h"

static bool is_name(struct str text)
{
    return !str_is_empty(text) && str_find_char(text, '/') < 0;
}

bool spiffe_id_parse(struct str text, struct spiffe_id *ret_id)
{
    struct str scheme = STR("spiffe://");
    if (!str_starts_with(text, scheme)) {
        return false;
    }
    struct str rest = str_from(text, scheme.size);
    struct spiffe_id id;
    id.trust_domain = str_split(&rest, '/');
    if (rest.data == NULL || !str_equal(str_split(&rest, '/'), STR("ns")) || rest.data == NULL) {
        return false;
    }
    id.ns = str_split(&rest, '/');
    if (rest.data == NULL || !str_equal(str_split(&rest, '/'), STR("sa")) || rest.data == NULL) {
        return false;
    }
    id.service_account = rest;
    if (!is_name(id.trust_domain) || !is_name(id.ns) || !is_name(id.service_account)) {
        return false;
    }
    *ret_id = id;
    return true;
}

static void deny(authenticate_done_fn *on_done, void *owner, const char *reason)
{
    struct error err = {0};
    error_set(&err, ERR_DENIED, "%s", reason);
    on_done(owner, STR_EMPTY, &err);
}

void authenticate_start(const struct authenticator *authenticator, struct grpc_call *call,
                        authenticate_done_fn *on_done, void *owner)
{
    const struct tls_session *session = http_tls(grpc_exchange(call));
    if (session != NULL && tls_session_has_peer(session)) {
        struct spiffe_id id;
        struct str uri = tls_session_peer_uri(session);
        if (!spiffe_id_parse(uri, &id) || !str_equal(id.trust_domain, authenticator->trust_domain)) {
            deny(on_done, owner, "the client certificate has no identity of this trust domain");
            return;
        }
        struct error ok = {0};
        on_done(owner, uri, &ok);
        return;
    }
    struct str header = grpc_metadata(call, STR("authorization"));
    struct str bearer = STR("Bearer ");
    if (header.data == NULL || !str_starts_with(header, bearer)) {
        deny(on_done, owner, "request authenticate failure: no client certificate and no bearer token");
    } else if (header.size > AUTHENTICATE_TOKEN_MAX) {
        deny(on_done, owner, "request authenticate failure: the token is too large");
    } else {
        struct str cluster = grpc_metadata(call, STR("clusterid"));
        authenticator->review(authenticator->reviewer, cluster.data == NULL ? STR_EMPTY : cluster,
                              str_trim(str_from(header, bearer.size)), on_done, owner);
    }
}
