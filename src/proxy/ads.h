// SPDX-License-Identifier: Apache-2.0
//
// ads: the stream to the control plane: state-of-the-world xDS over one gRPC call. Subscribes in the
// order clusters, endpoints, listeners, routes; applies what comes, answers ACK or NACK, and reconnects
// with back-off. What was received stays in force while the control plane is away.
#ifndef PROXY_ADS_H
#define PROXY_ADS_H

#include "proxy/proxy.h"

#define ADS_RETRY_MIN_MS 500u
#define ADS_RETRY_MAX_MS 30000u
#define ADS_TOKEN_MAX (64u * 1024)

struct ads;

struct ads_options {
    struct str host;
    uint16_t port;
    struct str server_name; // empty: host
    struct str roots_path;  // read at each connection
    struct str token_path;  // bearer token, read at each connection; empty: none
    struct str cluster_id;
    bool plaintext;
};

struct ads *ads_new(struct proxy *proxy, const struct ads_options *options); // views are copied; starts at once
void ads_free(struct ads *ads); // NULL is fine
void ads_on_published(struct ads *ads); // a generation went to the workers
bool ads_is_connected(const struct ads *ads);

#endif
