// SPDX-License-Identifier: Apache-2.0
//
// client: requests to one API server, over net/http. Bearer tokens from files are re-read as they
// rotate. Retries are the caller's: what the server said comes back as it is.
#ifndef KUBE_CLIENT_H
#define KUBE_CLIENT_H

#include "kube/config.h"
#include "kube/object.h"
#include "loop/loop.h"

struct kube_client;
struct kube_call;

struct kube_client *kube_client_new(struct loop *loop, const struct kube_config *config, struct error *err); // copies config
void kube_client_free(struct kube_client *client); // calls under way end with ERR_CLOSED
struct str kube_client_server(const struct kube_client *client);

struct kube_response {
    int status;               // HTTP status; 0 when the request did not get an answer
    struct arena *arena;      // holds value; valid during the call, or arena_… copy out
    struct json_value *value; // body as JSON (a Status on failures); NULL when there is none
    struct str reason;        // Status.reason
    struct str message;       // Status.message, or what went wrong on the way
    uint64_t retry_after_ms;  // 0: not said
};

// err: ERR_OK on 2xx; else from the status (404 NOT_FOUND, 409 EXISTS/CONFLICT, 410 EXPIRED, 401/403
// DENIED, 4xx INVALID, 5xx UNREACHABLE) or the transport.
typedef void kube_done_fn(void *owner, enum err code, const struct kube_response *response);

struct kube_request {
    struct str method;       // "GET"…
    struct str path;         // with query
    struct str content_type; // of the body; empty: application/json
    struct str body;         // copied
    uint64_t timeout_ms;     // 0: 30 000
};

// on_done exactly once unless cancelled. NULL on_done: nobody waits.
struct kube_call *kube_request(struct kube_client *client, const struct kube_request *request,
                               kube_done_fn *on_done, void *owner);
void kube_call_cancel(struct kube_call *call);

// Shorthands.
struct kube_call *kube_get(struct kube_client *client, const struct kube_resource *resource, struct str ns, struct str name, kube_done_fn *on_done, void *owner);
struct kube_call *kube_create(struct kube_client *client, const struct kube_resource *resource, struct str ns, const struct json_value *object, kube_done_fn *on_done, void *owner);
struct kube_call *kube_update(struct kube_client *client, const struct kube_resource *resource, struct str ns, struct str name, struct str subresource, const struct json_value *object, kube_done_fn *on_done, void *owner);
struct kube_call *kube_patch(struct kube_client *client, const struct kube_resource *resource, struct str ns, struct str name, struct str subresource, struct str patch_type, const struct json_value *patch, kube_done_fn *on_done, void *owner);
struct kube_call *kube_delete(struct kube_client *client, const struct kube_resource *resource, struct str ns, struct str name, int64_t grace_seconds, kube_done_fn *on_done, void *owner); // grace < 0: not sent

#endif
