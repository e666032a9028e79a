// SPDX-License-Identifier: Apache-2.0
//
// root_publisher: keeps ConfigMap istio-ca-root-cert (key root-cert.pem) in every namespace of the own
// cluster, so that pods can verify the control plane: made, repaired when edited or deleted, updated
// when the root changes. Kubernetes' own namespaces are left alone.
#ifndef CONTROL_REGISTRY_ROOT_PUBLISHER_H
#define CONTROL_REGISTRY_ROOT_PUBLISHER_H

#include "kube/client.h"

#define ROOT_PUBLISHER_RETRY_MS 2000u

struct root_publisher;

struct root_publisher *root_publisher_new(struct loop *loop, struct kube_client *client, struct str root_pem);
void root_publisher_set_root(struct root_publisher *publisher, struct str root_pem);
void root_publisher_free(struct root_publisher *publisher); // NULL is fine

#endif
