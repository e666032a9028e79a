// SPDX-License-Identifier: Apache-2.0
//
// server: the cluster's DNS over UDP and TCP, from kube informers. It listens on the node's own address;
// the Service kube-system/kube-dns and its EndpointSlice, which it creates, lead the cluster's pods there.
#ifndef LAB_DNS_SERVER_H
#define LAB_DNS_SERVER_H

#include "base/error.h"
#include "base/str.h"
#include "kube/client.h"
#include "loop/loop.h"

#define DNS_CONNECTIONS_MAX 256u // over TCP; further ones are closed at once

struct dns_server;

// ip: the node's; dns_ip: of the service. client outlives the server. NULL and a sentence on failure.
struct dns_server *dns_server_new(struct loop *loop, struct kube_client *client, struct str ip, struct str dns_ip, struct error *err);
bool dns_server_is_ready(const struct dns_server *server); // informers synced, service announced
void dns_server_free(struct dns_server *server); // NULL is fine

#endif
