// SPDX-License-Identifier: Apache-2.0
//
// ads: the aggregated discovery service. One stream per proxy: it introduces itself by its node, is
// checked against its authenticated identity, subscribes to types, and is sent what changed whenever a
// new snapshot comes, in the order clusters, endpoints, listeners, routes.
//
//   AUTHENTICATING ──identity──► INTRODUCING ──first request with a node──► SERVING ──► (closed)
//   requests that come while authenticating wait, bounded by ADS_WAITING_*
//
// A resource is sent again only when its bytes changed, judged by a hash the stream keeps. A proxy that
// does not read is not pushed to until it has drained; then it gets the newest state, not the history.
//
// Runs on one loop's thread.
#ifndef CONTROL_SERVE_ADS_H
#define CONTROL_SERVE_ADS_H

#include "base/metrics.h"
#include "control/serve/authenticate.h"
#include "mesh/snapshot.h"
#include "xds/generator.h"

#define ADS_STREAMS_MAX 20000u
#define ADS_REQUEST_MAX (4u * 1024 * 1024)
#define ADS_WAITING_MESSAGES_MAX 64u
#define ADS_WAITING_BYTES_MAX (1024u * 1024)
#define ADS_PUSHES_PER_TURN 16u // streams; the loop serves others in between

struct ads;

struct ads_options {
    const struct generator *generator;
    const struct authenticator *authenticator; // for streams on TLS ports; outlives ads
    struct str pod;                            // named in responses and debug pages
    struct metrics *metrics;
};

struct ads *ads_new(struct loop *loop, const struct ads_options *options);
void ads_free(struct ads *ads); // streams are cancelled; NULL is fine
// The plaintext service trusts its callers (it is for the pod's own network only), as Istio's does.
void ads_add_to(struct ads *ads, struct grpc_service *grpc, bool is_plaintext);

// Until the first snapshot and ready, streams are refused with UNAVAILABLE: they come again.
void ads_set_ready(struct ads *ads);
void ads_set_snapshot(struct ads *ads, struct snapshot *snapshot);
// Ends all streams with UNAVAILABLE, so that proxies reconnect elsewhere.
void ads_close_streams(struct ads *ads);

void ads_write_syncz(const struct ads *ads, struct buf *out); // JSON of /debug/syncz
size_t ads_stream_count(const struct ads *ads);

#endif
