// SPDX-License-Identifier: Apache-2.0
//
// server: what the serving side of one ADS stream remembers, and what it decides for each request of the
// state-of-the-world protocol. No sockets, no clock: requests in, decisions out.
//
// Per type: the names subscribed, the nonce sent last, the nonce acknowledged last. A decision says
// whether to answer, and with which names; after sending, call xds_server_sent() with its nonce.
#ifndef XDS_SERVER_H
#define XDS_SERVER_H

#include "base/error.h"
#include "envoy/service/discovery/v3/discovery.pb-c.h"
#include "xds/names.h"
#include "xds/type.h"

#define XDS_NONCE_SIZE 64u // a longer nonce cannot be ours
#define XDS_ERROR_SIZE 1024u

struct xds_watch {
    bool is_active;
    bool always_respond; // the next ACK is answered all the same
    struct xds_names names;
    char nonce_sent[XDS_NONCE_SIZE];
    char nonce_acked[XDS_NONCE_SIZE];
    char version_sent[XDS_NONCE_SIZE];
    char last_error[XDS_ERROR_SIZE]; // of the last NACK; empty once a later nonce is acknowledged
    uint64_t nack_count;
};

struct xds_server { // zero-initialized: a fresh stream
    struct xds_watch watches[XDS_TYPE_COUNT];
};

enum xds_event {
    XDS_EVENT_SUBSCRIBE,   // first request of a type, or a reconnect
    XDS_EVENT_CHANGE,      // names were added or removed
    XDS_EVENT_ACK,
    XDS_EVENT_NACK,
    XDS_EVENT_STALE,       // about a response older than the last one
    XDS_EVENT_UNSUBSCRIBE,
    XDS_EVENT_HEALTH,      // a virtual machine's health report: see error_detail
    XDS_EVENT_DEBUG,       // istio.io/debug…: answered once, no state
    XDS_EVENT_UNKNOWN,     // a type we do not serve
};
const char *xds_event_name(enum xds_event event);

struct xds_decision {
    enum xds_event event;
    enum xds_type type;      // XDS_TYPE_NONE for HEALTH, DEBUG and UNKNOWN
    bool respond;
    // What to generate when respond is set: borrowed until the next request of the type. For wildcard types
    // nothing may be named: generate all. After a change only what was added.
    const struct str *names;
    size_t name_count;
};

void xds_server_done(struct xds_server *server);

// ERR_LIMIT: too many names; the stream should be closed with RESOURCE_EXHAUSTED.
enum err xds_server_on_request(struct xds_server *server, const Envoy__Service__Discovery__V3__DiscoveryRequest *request,
                               struct xds_decision *ret_decision, struct error *err) must_check;
void xds_server_sent(struct xds_server *server, enum xds_type type, struct str nonce, struct str version);

static inline bool xds_server_watches(const struct xds_server *server, enum xds_type type)
{
    return server->watches[type].is_active;
}
// All names subscribed, sorted; for pushes.
static inline const struct xds_names *xds_server_names(const struct xds_server *server, enum xds_type type)
{
    return &server->watches[type].names;
}
// Everything sent was acknowledged (and something was sent).
bool xds_server_is_synced(const struct xds_server *server, enum xds_type type);

#endif
