// SPDX-License-Identifier: Apache-2.0
//
// pod_tokens: the service account tokens a pod's projected volumes ask for: requested from the API server
// bound to the pod, and again when four fifths of their life have passed.
#ifndef LAB_NODE_POD_TOKENS_H
#define LAB_NODE_POD_TOKENS_H

#include "lab/node/context.h"
#include "loop/loop.h"

struct node;
struct pod_tokens;

// pod outlives it. on_change: a token came, or a request failed and will be repeated (error says why).
struct pod_tokens *pod_tokens_new(struct node *node, const struct json_value *pod, void (*on_change)(void *owner), void *owner);
void pod_tokens_free(struct pod_tokens *tokens);
void pod_tokens_start(struct pod_tokens *tokens); // once
struct str pod_tokens_get(const struct pod_tokens *tokens, struct str volume, size_t source); // data NULL: not yet
const char *pod_tokens_error(const struct pod_tokens *tokens); // of the last failure; ""

#endif
