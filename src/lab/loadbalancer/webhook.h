// SPDX-License-Identifier: Apache-2.0
//
// webhook: answers the API server in place of MetalLB's controller: HTTPS on the node, with a certificate made
// at start, whose root is written into the ValidatingWebhookConfigurations that name MetalLB's webhook service.
#ifndef LAB_LOADBALANCER_WEBHOOK_H
#define LAB_LOADBALANCER_WEBHOOK_H

#include "kube/informer.h"
#include "net/address.h"

#define WEBHOOK_PORT 9443u

struct loadbalancer_webhook;

// pools: asked for at each review; the informer of IPAddressPools, NULL while there is none.
struct loadbalancer_webhook *loadbalancer_webhook_new(struct kube_client *client, struct str ip,
                                                      struct informer *(*pools)(void *owner), void *owner,
                                                      struct error *err);
void loadbalancer_webhook_free(struct loadbalancer_webhook *webhook); // NULL is fine
const struct address *loadbalancer_webhook_own_address(const struct loadbalancer_webhook *webhook);

#endif
