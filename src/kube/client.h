// SPDX-License-Identifier: Apache-2.0
//
// client: requests to one API server, over net/http (HTTP/1.1; TLS with client certificate or bearer
// token). Bearer tokens from files are re-read as they rotate. Retries are the caller's: what the server
// said comes back as it is.
//
// Calls and watches belong to their client. Their callbacks come from the loop, never from inside the
// function that started them; in a callback everything may be called, kube_client_free() included.
#ifndef KUBE_CLIENT_H
#define KUBE_CLIENT_H

#include "kube/config.h"
#include "kube/object.h"
#include "loop/loop.h"

#define KUBE_BODY_MAX (64u * 1024 * 1024)  // of an answer
#define KUBE_EVENT_MAX (16u * 1024 * 1024) // of one line of a watch
#define KUBE_TIMEOUT_MS 30000u
#define KUBE_TOKEN_REREAD_MS 10000u

struct kube_client;
struct kube_call;
struct kube_watch;

struct kube_client *kube_client_new(struct loop *loop, const struct kube_config *config, struct error *err); // copies config
void kube_client_free(struct kube_client *client); // calls under way end with ERR_CLOSED
struct str kube_client_server(const struct kube_client *client);
struct loop *kube_client_loop(const struct kube_client *client);

struct kube_response {
    int status;               // HTTP status; 0 when the request did not get an answer
    struct arena *arena;      // holds value; valid during the call, or arena_… copy out
    struct json_value *value; // body as JSON (a Status on failures); NULL when there is none
    struct str reason;        // Status.reason
    struct str message;       // Status.message, or what went wrong on the way
    uint64_t retry_after_ms;  // 0: not said
};

// err: ERR_OK on 2xx; else from the status (404 NOT_FOUND, 409 EXISTS/CONFLICT, 410 EXPIRED, 401/403
// DENIED, 429 LIMIT, 4xx INVALID, 5xx UNREACHABLE) or the transport.
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
void kube_call_cancel(struct kube_call *call); // not from its own on_done

// --- watches: an answer that is a stream of JSON texts, one per line -------------------------------

struct kube_watch_events {
    void (*on_open)(void *owner, struct kube_watch *watch); // the server said 2xx; may be NULL
    // One line. event lives in arena: kube_object_new() or a swap may take the arena's content over.
    void (*on_event)(void *owner, struct kube_watch *watch, struct arena *arena, struct json_value *event);
    // Exactly once unless stopped. ERR_OK: the server ended the stream. Else as kube_done_fn.
    void (*on_close)(void *owner, struct kube_watch *watch, enum err code, const struct kube_response *response);
};

struct kube_watch *kube_watch_start(struct kube_client *client, struct str path, uint64_t timeout_ms, // 0: none
                                    const struct kube_watch_events *events, void *owner);
void kube_watch_stop(struct kube_watch *watch); // NULL is fine; no callback comes any more

// Shorthands.
struct kube_call *kube_get(struct kube_client *client, const struct kube_resource *resource, struct str ns, struct str name, kube_done_fn *on_done, void *owner);
struct kube_call *kube_create(struct kube_client *client, const struct kube_resource *resource, struct str ns, const struct json_value *object, kube_done_fn *on_done, void *owner);
struct kube_call *kube_update(struct kube_client *client, const struct kube_resource *resource, struct str ns, struct str name, struct str subresource, const struct json_value *object, kube_done_fn *on_done, void *owner);
struct kube_call *kube_patch(struct kube_client *client, const struct kube_resource *resource, struct str ns, struct str name, struct str subresource, struct str patch_type, const struct json_value *patch, kube_done_fn *on_done, void *owner);
struct kube_call *kube_delete(struct kube_client *client, const struct kube_resource *resource, struct str ns, struct str name, int64_t grace_seconds, kube_done_fn *on_done, void *owner); // grace < 0: not sent

#endif
