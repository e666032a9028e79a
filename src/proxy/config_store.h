// SPDX-License-Identifier: Apache-2.0
//
// config_store: the configuration as it was received, and what of it is ready to serve. Main thread only.
//
// Resources come in by type, as xDS sends them. A cluster is ready when its endpoints and secrets are
// there, a listener when its route tables and secrets are. While a new version of something waits
// ("warming"), the version before it serves on. A bad resource is refused alone, with a reason; the good
// ones of the same push apply. What is refused leaves the last good version in force.
#ifndef PROXY_CONFIG_STORE_H
#define PROXY_CONFIG_STORE_H

#include "base/buf.h"
#include "codec/json/json.h"
#include "google/protobuf/any.pb-c.h"
#include "proxy/cluster/stats.h"
#include "proxy/generation.h"
#include "xds/type.h"

#define CONFIG_RESOURCES_MAX 200000u // of one type

struct config_store;

struct config_store *config_store_new(struct stats *stats);
void config_store_free(struct config_store *store);

// A whole response of one type. For clusters and listeners what is missing is removed (static ones stay).
// ERR_INVALID: some were refused; `reasons` has "name: reason" for each, joined by "; ".
enum err config_store_receive(struct config_store *store, enum xds_type type, Google__Protobuf__Any *const *resources,
                              size_t count, struct str version, struct buf *reasons) must_check;
// One resource of the bootstrap: never removed by a response.
enum err config_store_add_static(struct config_store *store, enum xds_type type, const Google__Protobuf__Any *resource,
                                 struct error *err) must_check;
void config_store_set_secrets(struct config_store *store, struct secrets *secrets); // takes a reference of its own
struct secrets *config_store_secrets(struct config_store *store);                   // borrowed

// Names the configuration refers to: endpoints of EDS clusters, route tables of listeners. In the arena.
void config_store_wanted(struct config_store *store, struct arena *arena, enum xds_type type, struct str **ret_names, size_t *ret_count);

// Host names of DNS clusters, for whoever resolves them. A cluster is ready when each of its names has
// been answered once, be it by a failure.
struct config_host {
    struct str name;
    uint64_t refresh_ms;
};
void config_store_wanted_hosts(struct config_store *store, struct arena *arena, struct config_host **ret_hosts, size_t *ret_count);
// count 0: not found, the answer before stands. True: something changed.
bool config_store_set_host(struct config_store *store, struct str name, const struct address *addresses, size_t count);
void config_store_forget_host(struct config_store *store, struct str name);

// The generation of everything that is ready, or NULL when nothing changed since the last call.
struct generation *config_store_generation(struct config_store *store);
struct generation *config_store_current(struct config_store *store); // borrowed

size_t config_store_warming(const struct config_store *store, enum xds_type type); // waiting resources
// Sections of Envoy's /config_dump. Private keys are not in it.
struct json_value *config_store_dump(struct config_store *store, struct arena *arena, bool with_endpoints);
// Value of the type's last response; empty: none.
struct str config_store_version(const struct config_store *store, enum xds_type type);

#endif
