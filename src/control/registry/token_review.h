// SPDX-License-Identifier: Apache-2.0
//
// token_review: whose token is this? Asked of the API server of the cluster the token comes from
// (TokenReview, audience istio-ca). The answer is the SPIFFE identity of the service account.
#ifndef CONTROL_REGISTRY_TOKEN_REVIEW_H
#define CONTROL_REGISTRY_TOKEN_REVIEW_H

#include "control/registry/registry.h"

#define TOKEN_REVIEW_AUDIENCE "istio-ca"
#define TOKEN_REVIEW_TIMEOUT_MS 10000u

struct token_reviewer {
    struct registry *registry;
    struct str trust_domain;
};

// identity: valid during the call. err: ERR_OK, ERR_DENIED, or ERR_UNREACHABLE when the API server gave
// no answer. The token is copied.
typedef void token_review_done_fn(void *owner, struct str identity, const struct error *err);

// on_done is called exactly once, at once or later; at the latest when the registry's clients end.
// reviewer is a struct token_reviewer.
void token_review(void *reviewer, struct str cluster, struct str token, token_review_done_fn *on_done,
                  void *owner);

#endif
