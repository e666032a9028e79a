// SPDX-License-Identifier: Apache-2.0
//
// The decision list, first match wins:
//
//   health report ─ debug ─ unknown type ─ NACK ─ unsubscribe ─ subscribe ─ stale ─ ACK or changed names
//
// A NACK is never answered: the client would reject the same content again. A request with an empty nonce,
// or with a nonce when nothing is remembered (the client moved here from another replica), subscribes.
#include "xds/server.h"

#include <stdio.h>

#include "base/assert.h"

const char *xds_event_name(enum xds_event event)
{
    static const char *const names[] = {
        [XDS_EVENT_SUBSCRIBE] = "subscribe", [XDS_EVENT_CHANGE] = "change",           [XDS_EVENT_ACK] = "ack",
        [XDS_EVENT_NACK] = "nack",           [XDS_EVENT_STALE] = "stale",             [XDS_EVENT_UNSUBSCRIBE] = "unsubscribe",
        [XDS_EVENT_HEALTH] = "health",       [XDS_EVENT_DEBUG] = "debug",             [XDS_EVENT_UNKNOWN] = "unknown",
    };
    return names[event];
}

static void watch_reset(struct xds_watch *watch)
{
    xds_names_done(&watch->names);
    *watch = (struct xds_watch){.nack_count = watch->nack_count};
}

void xds_server_done(struct xds_server *server)
{
    for (enum xds_type type = 0; type < XDS_TYPE_COUNT; type++) {
        watch_reset(&server->watches[type]);
    }
}

static void copy(char *out, size_t size, struct str text)
{
    size_t length = text.size < size - 1 ? text.size : size - 1;
    if (length > 0) {
        memcpy(out, text.data, length);
    }
    out[length] = '\0';
}

static enum err take_names(struct xds_watch *watch, const Envoy__Service__Discovery__V3__DiscoveryRequest *request,
                           struct xds_names_change *ret_change, struct error *err)
{
    if (request->n_resource_names > XDS_NAMES_MAX) {
        return error_set(err, ERR_LIMIT, "%zu resource names, the limit is %u", request->n_resource_names, XDS_NAMES_MAX);
    }
    struct arena scratch = {0};
    struct str *names = arena_array(&scratch, struct str, request->n_resource_names + 1);
    for (size_t i = 0; i < request->n_resource_names; i++) {
        names[i] = str_of(request->resource_names[i]);
    }
    enum err code = xds_names_replace(&watch->names, names, request->n_resource_names, ret_change, err);
    arena_done(&scratch);
    return code;
}

static void respond_with_all(struct xds_watch *watch, struct xds_decision *decision)
{
    decision->respond = true;
    decision->names = watch->names.items;
    decision->name_count = watch->names.count;
}

static enum err subscribe(struct xds_server *server, struct xds_watch *watch,
                          const Envoy__Service__Discovery__V3__DiscoveryRequest *request, struct xds_decision *decision,
                          struct error *err)
{
    struct xds_names_change change;
    watch_reset(watch);
    enum err code = take_names(watch, request, &change, err);
    if (code != ERR_OK) {
        return code;
    }
    watch->is_active = true;
    decision->event = XDS_EVENT_SUBSCRIBE;
    respond_with_all(watch, decision);
    // New clusters warm until they see endpoints: the client's next word on endpoints, even a plain ACK,
    // must be answered.
    struct xds_watch *endpoints = &server->watches[XDS_ENDPOINT];
    if (decision->type == XDS_CLUSTER && endpoints->is_active) {
        endpoints->always_respond = true;
    }
    return ERR_OK;
}

static enum err acknowledge(struct xds_watch *watch, const Envoy__Service__Discovery__V3__DiscoveryRequest *request,
                            struct xds_decision *decision, struct error *err)
{
    struct xds_names_change change;
    enum err code = take_names(watch, request, &change, err);
    if (code != ERR_OK) {
        return code;
    }
    copy(watch->nonce_acked, sizeof(watch->nonce_acked), str_of(request->response_nonce));
    watch->last_error[0] = '\0';
    bool always = watch->always_respond;
    watch->always_respond = false;
    if (change.added_count == 0 && change.removed_count == 0) {
        decision->event = XDS_EVENT_ACK;
        if (always) {
            respond_with_all(watch, decision);
        }
        return ERR_OK;
    }
    decision->event = XDS_EVENT_CHANGE;
    if (always || xds_type_is_wildcard(decision->type)) {
        respond_with_all(watch, decision);
        return ERR_OK;
    }
    // What was only removed needs no answer: the client has forgotten it.
    decision->respond = change.added_count > 0;
    decision->names = change.added;
    decision->name_count = change.added_count;
    return ERR_OK;
}

static void reject(struct xds_watch *watch, const Google__Rpc__Status *detail)
{
    watch->nack_count++;
    copy(watch->last_error, sizeof(watch->last_error), str_of(detail->message));
}

enum err xds_server_on_request(struct xds_server *server, const Envoy__Service__Discovery__V3__DiscoveryRequest *request,
                               struct xds_decision *ret_decision, struct error *err)
{
    struct str url = str_of(request->type_url);
    enum xds_type type = xds_type_find(url);
    struct xds_decision decision = {.type = type, .event = XDS_EVENT_UNKNOWN};
    struct xds_watch *watch = type == XDS_TYPE_NONE ? NULL : &server->watches[type];
    enum err code = ERR_OK;
    if (str_ends_with(url, STR("istio.v1.HealthInformation"))) {
        decision.event = XDS_EVENT_HEALTH;
    } else if (str_starts_with(url, STR(XDS_DEBUG_PREFIX))) {
        decision.event = XDS_EVENT_DEBUG;
        decision.respond = true;
    } else if (watch == NULL) {
        decision.event = XDS_EVENT_UNKNOWN;
    } else if (request->error_detail != NULL) {
        decision.event = XDS_EVENT_NACK;
        reject(watch, request->error_detail);
    } else if (request->n_resource_names == 0 && !xds_type_is_wildcard(type)) {
        decision.event = XDS_EVENT_UNSUBSCRIBE;
        watch_reset(watch);
    } else if (request->response_nonce[0] == '\0' || !watch->is_active) {
        code = subscribe(server, watch, request, &decision, err);
    } else if (strcmp(request->response_nonce, watch->nonce_sent) != 0) {
        decision.event = XDS_EVENT_STALE;
    } else {
        code = acknowledge(watch, request, &decision, err);
    }
    if (code == ERR_OK) {
        *ret_decision = decision;
    }
    return code;
}

void xds_server_sent(struct xds_server *server, enum xds_type type, struct str nonce, struct str version)
{
    struct xds_watch *watch = &server->watches[type];
    ASSERT(nonce.size > 0 && nonce.size < XDS_NONCE_SIZE);
    copy(watch->nonce_sent, sizeof(watch->nonce_sent), nonce);
    copy(watch->version_sent, sizeof(watch->version_sent), version);
}

bool xds_server_is_synced(const struct xds_server *server, enum xds_type type)
{
    const struct xds_watch *watch = &server->watches[type];
    return watch->nonce_sent[0] != '\0' && strcmp(watch->nonce_sent, watch->nonce_acked) == 0;
}
