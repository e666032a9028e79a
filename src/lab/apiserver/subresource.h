// SPDX-License-Identifier: Apache-2.0
//
// subresource: what lies below an object: status, scale, finalize, binding, eviction, token.
#ifndef LAB_APISERVER_SUBRESOURCE_H
#define LAB_APISERVER_SUBRESOURCE_H

struct request;

void subresource_serve(struct request *request);

// Steps in other files.
void token_request_serve(struct request *request); // review.c: serviceaccounts/token
void pod_bind(struct request *request);            // pod.c: pods/binding

#endif
