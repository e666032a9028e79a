// SPDX-License-Identifier: Apache-2.0
//
// controllers: what kube-controller-manager and kube-scheduler do, as far as a lab needs it:
//
//   namespaces    account `default` and ConfigMap kube-root-ca.crt in each; deletion of their content
//   deployments   to ReplicaSets, with rolling updates and status
//   replica sets  to Pods
//   daemon sets   to Pods, one on each node
//   scheduler     binds Pods to ready Nodes
//   endpoints     EndpointSlices and Endpoints of Services with selectors
//   garbage       objects whose owners are gone
//
// They know the cluster through informers only and change it through the API only, so they run in any
// process. What to do is decided by pure functions (objects in, steps out: plan.h); a key is worked on by
// one plan at a time, and its next plan waits until the informers show what the last one did.
#ifndef LAB_CONTROLLERS_CONTROLLERS_H
#define LAB_CONTROLLERS_CONTROLLERS_H

#include "kube/client.h"

struct controllers;

struct controllers_options {
    struct str ca_pem; // of the API server, for kube-root-ca.crt; copied
};

// Starts at once; keys wait until all informers have synced. The client outlives it.
struct controllers *controllers_new(struct loop *loop, struct kube_client *client,
                                    const struct controllers_options *options);
void controllers_free(struct controllers *controllers); // NULL is fine; work under way is dropped
bool controllers_are_synced(const struct controllers *controllers);

#endif
