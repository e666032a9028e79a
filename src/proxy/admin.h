// SPDX-License-Identifier: Apache-2.0
//
// admin: Envoy's administration pages on loopback, and what the kubelet and Prometheus ask for.
//
//   127.0.0.1:15000  /ready /server_info /stats /clusters /listeners /config_dump /certs …
//   0.0.0.0:15021    /healthz/ready
//   0.0.0.0:15090    /stats/prometheus, :15020 the same and /healthz/ready
#ifndef PROXY_ADMIN_H
#define PROXY_ADMIN_H

#include "net/http.h"
#include "proxy/proxy.h"

struct admin;

struct admin *admin_new(struct proxy *proxy);
void admin_free(struct admin *admin); // NULL is fine
// Adds an address; `public` ones answer health and metrics only.
enum err admin_listen(struct admin *admin, const struct address *address, bool is_public, struct error *err) must_check;

#endif
