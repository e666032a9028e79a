// SPDX-License-Identifier: Apache-2.0
//
// listener: one worker's listeners. A connection goes through these steps:
//
//   accepted ─► original destination ─► hand-over ─► inspected (TLS, HTTP) ─► filter chain ─► filter
//
// Listeners that do not bind are reached by hand-over only: by the address the client wanted to reach,
// exactly, then by its port on the wildcard address. Bytes read while inspecting go to the filter first.
//
// A listener that changes keeps its socket; its old connections finish on the old configuration.
#ifndef PROXY_LISTENER_LISTENER_H
#define PROXY_LISTENER_LISTENER_H

#include "proxy/listener/listener_config.h"

#define LISTENER_DRAIN_MS 45000u          // connections of a listener that went have so long to end
#define LISTENER_CONNECTIONS_MAX 1000000u // of a worker, all listeners

struct listeners;

struct listeners *listeners_new(struct filter_runtime *runtime);
// Stops listening and aborts every connection; they are gone some turns of the loop later.
void listeners_stop(struct listeners *listeners);
void listeners_free(struct listeners *listeners); // after listeners_stop(), when no connection is left
void listeners_set_secrets(struct listeners *listeners, struct secrets *secrets); // takes a reference of its own

// Replaces the whole set. A socket that cannot be made is logged and counted; the other listeners work.
void listeners_apply(struct listeners *listeners, struct listener_config *const *configs, size_t count);

// Stops accepting in that direction (TRAFFIC_UNSPECIFIED: all) and asks HTTP clients to go.
void listeners_drain(struct listeners *listeners, enum traffic_direction direction);
size_t listeners_connection_count(const struct listeners *listeners);

#endif
