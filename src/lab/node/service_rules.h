// SPDX-License-Identifier: Apache-2.0
//
// service_rules: Services and EndpointSlices in, one nftables transaction out: what kube-proxy does on a
// node. Pure; the same objects in any order give the same text.
//
// The table is replaced whole, in one transaction: established connections keep their translation
// (conntrack), new ones see the new rules, and nobody sees none.
//
//   ClusterIP, externalIP, LoadBalancer address, NodePort ─► svc_N ─► (at random) ep_N_M ─► DNAT
//   without endpoints ─► reject at once (TCP reset, else ICMP port unreachable)
//   from outside the cluster, and an endpoint that reaches itself ─► masqueraded, so that replies return
//   pods to the underlay ─► masqueraded as the node
#ifndef LAB_NODE_SERVICE_RULES_H
#define LAB_NODE_SERVICE_RULES_H

#include "base/buf.h"
#include "codec/json/json.h"

#define SERVICE_RULES_TABLE "isthmesh_services"
#define SERVICE_ENDPOINTS_MAX 1000u // of one port; the rest is left out

struct service_rules_input {
    const struct json_value **services;
    size_t service_count;
    const struct json_value **slices; // EndpointSlices
    size_t slice_count;
    struct str node_ip;
    struct str pod_cidr; // of the cluster
};

void service_rules_write(const struct service_rules_input *input, struct buf *out);

#endif
