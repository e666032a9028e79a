// SPDX-License-Identifier: Apache-2.0
//
// subresource: what lies below an object: status, scale, finalize, binding, eviction, token, exec, log.
#ifndef LAB_APISERVER_SUBRESOURCE_H
#define LAB_APISERVER_SUBRESOURCE_H

struct request;

void subresource_serve(struct request *request);

// Steps in other files.
void token_request_serve(struct request *request); // review.c: serviceaccounts/token
void pod_bind(struct request *request);            // pod.c: pods/binding
void pod_exec_serve(struct request *request);      // pod_exec.c: pods/exec
void pod_log_serve(struct request *request);       // pod_log.c: pods/log

#endif
