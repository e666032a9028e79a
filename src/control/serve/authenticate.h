// SPDX-License-Identifier: Apache-2.0
//
// authenticate: who is at the other end of a gRPC call: the SPIFFE identity of its verified client
// certificate, or the service account behind its bearer token. Tokens are reviewed by the API server of
// the cluster that the metadata `clusterid` names; the reviewer is given, so that this module needs to
// know no Kubernetes.
//
// authenticate_start() answers exactly once through on_done, at once or later. The call may be gone by
// then: nothing here points to it after the function returns.
#ifndef CONTROL_SERVE_AUTHENTICATE_H
#define CONTROL_SERVE_AUTHENTICATE_H

#include "net/grpc.h"

#define AUTHENTICATE_TOKEN_MAX (16u * 1024)

// identity: "spiffe://…", valid during the call. err ERR_OK, ERR_DENIED (no or bad credentials) or
// ERR_UNREACHABLE (the reviewer could not be asked).
typedef void authenticate_done_fn(void *owner, struct str identity, const struct error *err);

// Must call on_done exactly once. cluster may be empty: the own one.
typedef void authenticate_review_fn(void *reviewer, struct str cluster, struct str token,
                                    authenticate_done_fn *on_done, void *owner);

struct authenticator {
    authenticate_review_fn *review;
    void *reviewer;
    struct str trust_domain; // client certificates of other trust domains are refused
};

void authenticate_start(const struct authenticator *authenticator, struct grpc_call *call,
                        authenticate_done_fn *on_done, void *owner);

struct spiffe_id {
    struct str trust_domain;
    struct str ns;
    struct str service_account;
};

// "spiffe://td/ns/NS/sa/SA", nothing more and nothing less.
bool spiffe_id_parse(struct str text, struct spiffe_id *ret_id);

#endif
