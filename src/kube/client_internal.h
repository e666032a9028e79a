// SPDX-License-Identifier: Apache-2.0
//
// client_internal: what calls and watches share: an exchange with the API server from the head that is
// sent to the answer's status.
#ifndef KUBE_CLIENT_INTERNAL_H
#define KUBE_CLIENT_INTERNAL_H

#include "kube/client.h"
#include "net/http.h"

struct kube_client {
    struct loop *loop;
    struct arena arena; // copies of configuration texts
    struct str server;  // as configured, without a slash at the end
    struct str scheme;
    struct str authority;
    struct str prefix; // path in front of every request; most often empty
    struct str token;  // in the arena, unless token_file says so
    struct str token_file;
    struct buf file_token; // last good content of token_file
    uint64_t token_read_ms;
    bool token_was_read;
    struct http_client *http;
    struct list calls;
    struct list watches;
};

// Starts a request; events and owner as in http_request.
struct http_exchange *kube_client_send(struct kube_client *client, const struct kube_request *request,
                                       const struct http_events *events, void *owner);
// To be told of every status: 401 makes the token file be read again for the next request.
void kube_client_saw_status(struct kube_client *client, int status);

enum err kube_status_err(int status, struct str reason);
// reason, message and value of the response out of a body; true when value is usable.
bool kube_response_read(struct kube_response *response, struct str body);
uint64_t kube_retry_after_ms(const struct http_head *head);

void kube_call_close(struct kube_call *call, struct str why);    // the client is going away
void kube_watch_close(struct kube_watch *watch, struct str why);
struct kube_call *kube_call_of(struct list *node);
struct kube_watch *kube_watch_of(struct list *node);

#endif
