// SPDX-License-Identifier: Apache-2.0
//
// service_proxy: keeps the node's nftables table equal to the cluster's services: watches, generates
// (service_rules), and feeds `nft -f -`. Changes are gathered for SERVICE_PROXY_DELAY_MS; a batch that nft
// refuses is logged and tried again, and the rules in force stay.
#ifndef LAB_NODE_SERVICE_PROXY_H
#define LAB_NODE_SERVICE_PROXY_H

#include "lab/node/node_internal.h"

#define SERVICE_PROXY_DELAY_MS 20u

struct service_proxy *service_proxy_new(struct node *node, void (*on_ready)(void *owner), void *owner);
void service_proxy_free(struct service_proxy *proxy);
void service_proxy_changed(struct service_proxy *proxy); // a Service has changed
bool service_proxy_is_ready(const struct service_proxy *proxy); // the first rules are in force

#endif
