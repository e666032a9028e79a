// SPDX-License-Identifier: Apache-2.0
//
// ca_bundle: keeps the caBundle of the MutatingWebhookConfiguration up to date with our root, so that
// the API server trusts the webhook. Repaired whenever somebody applies the manifest again.
#ifndef CONTROL_INJECT_CA_BUNDLE_H
#define CONTROL_INJECT_CA_BUNDLE_H

#include "kube/client.h"

#define CA_BUNDLE_RETRY_MS 2000u

struct ca_bundle;

struct ca_bundle *ca_bundle_new(struct loop *loop, struct kube_client *client, struct str webhook_name,
                                struct str root_pem);
void ca_bundle_set_root(struct ca_bundle *bundle, struct str root_pem);
void ca_bundle_free(struct ca_bundle *bundle); // NULL is fine

// The JSON patch that gives every webhook of the configuration this bundle; NULL: all have it. Pure.
struct json_value *ca_bundle_patch(struct arena *arena, const struct json_value *configuration,
                                   struct str bundle_base64);

#endif
