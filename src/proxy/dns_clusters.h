// SPDX-License-Identifier: Apache-2.0
//
// dns_clusters: keeps the host names of STRICT_DNS clusters resolved. Main thread only. Answers go into
// the configuration store; a failed look-up keeps the last good answer and is tried again. The system's
// resolver does not tell how long an answer lives, so every name is asked again after its cluster's
// refresh rate.
#ifndef PROXY_DNS_CLUSTERS_H
#define PROXY_DNS_CLUSTERS_H

#include "proxy/config_store.h"

#define DNS_NAMES_MAX 10000u      // beyond it names are not looked up
#define DNS_REFRESH_MIN_MS 1000u

struct dns_clusters;

// on_changed: an answer changed the store.
struct dns_clusters *dns_clusters_new(struct loop *loop, struct config_store *store, void (*on_changed)(void *owner), void *owner);
void dns_clusters_free(struct dns_clusters *dns); // NULL is fine
void dns_clusters_refresh(struct dns_clusters *dns); // the clusters changed

#endif
