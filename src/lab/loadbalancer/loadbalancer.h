// SPDX-License-Identifier: Apache-2.0
//
// loadbalancer: MetalLB's part in a lab cluster, in one process: what its controller does (addresses from
// IPAddressPools for Services of type LoadBalancer, status, Events) and what its speaker does on one node
// (announcing them by ARP), and the validation its webhooks do. Driven by MetalLB's own objects in
// metallb-system, as soon as their CRDs are there; the pods of MetalLB's manifest have nothing left to do.
//
// It keeps no state: what is allocated stands in the status of the Services. One status is written at a
// time, and the next decision waits until that write is seen.
//
// Runs on one loop, in the node's network namespace.
#ifndef LAB_LOADBALANCER_LOADBALANCER_H
#define LAB_LOADBALANCER_LOADBALANCER_H

#include "kube/client.h"
#include "net/address.h"

#define LOADBALANCER_DELAY_MS 2u       // changes are gathered this long
#define LOADBALANCER_RETRY_MS 1000u    // after a write that failed
#define LOADBALANCER_SEEN_MAX_MS 5000u // longer than this we do not wait to see what we wrote

struct loadbalancer;

struct loadbalancer_options {
    struct str node;    // name of the Node object
    struct str node_ip; // the interface that has it is the one on which addresses are announced
};

// The client outlives it. NULL and a sentence on failure.
struct loadbalancer *loadbalancer_new(struct loop *loop, struct kube_client *client,
                                      const struct loadbalancer_options *options, struct error *err);
void loadbalancer_free(struct loadbalancer *loadbalancer); // NULL is fine

// Where webhooks that name these Services of metallb-system are answered; the API server is told.
extern const struct str loadbalancer_webhook_services[2];
const struct address *loadbalancer_webhook_address(const struct loadbalancer *loadbalancer);

#endif
