// SPDX-License-Identifier: Apache-2.0
//
// client: what the receiving side of ADS remembers across streams, and the requests it sends, in the
// state-of-the-world protocol. No sockets: bytes to send come out, decoded responses go in.
//
//   stream opens      xds_client_open()                     forgets nonces; then request every type again:
//   (re)subscribe     if (xds_client_subscribe(…)) send xds_client_request(…)
//   response comes    xds_client_receive(…) says whether to apply it; then
//                       accepted   send xds_client_ack(…)
//                       rejected   send xds_client_nack(…, "name: reason")
//
// The node goes out with the first request of each stream only. After a reconnect the last accepted
// version is named, with an empty nonce.
#ifndef XDS_CLIENT_H
#define XDS_CLIENT_H

#include "envoy/config/core/v3/base.pb-c.h"
#include "envoy/service/discovery/v3/discovery.pb-c.h"
#include "xds/names.h"
#include "xds/type.h"

#define XDS_NACK_MESSAGE_MAX 4096u

struct xds_client;

struct xds_client *xds_client_new(const Envoy__Config__Core__V3__Node *node); // copies the node
void xds_client_free(struct xds_client *client);

void xds_client_open(struct xds_client *client);

// Names are ignored for wildcard types. True: send xds_client_request() now, if the stream is open and
// the type's turn has come. For other types no names means unsubscribed; then responses are ignored.
bool xds_client_subscribe(struct xds_client *client, enum xds_type type, const struct str *names, size_t count);
bool xds_client_is_subscribed(const struct xds_client *client, enum xds_type type);
bool xds_client_wants(const struct xds_client *client, enum xds_type type, struct str name);

// Encoded DiscoveryRequest in the arena: the current subscription with the last version and nonce.
struct str xds_client_request(struct xds_client *client, struct arena *arena, enum xds_type type);

// The type of a response to apply; XDS_TYPE_NONE: unknown or not subscribed, to be ignored without an answer.
enum xds_type xds_client_receive(struct xds_client *client, const Envoy__Service__Discovery__V3__DiscoveryResponse *response);
// About the response received last of that type.
struct str xds_client_ack(struct xds_client *client, struct arena *arena, enum xds_type type);
struct str xds_client_nack(struct xds_client *client, struct arena *arena, enum xds_type type, struct str reason);

// Version accepted last; empty: none yet. Borrowed until the next ACK.
struct str xds_client_version(const struct xds_client *client, enum xds_type type);

#endif
