// SPDX-License-Identifier: Apache-2.0
//
// gen: snapshot + proxy → xDS resources, in Istio's dialect. Pure: all inputs are arguments, nothing is
// remembered, so the same inputs give the same bytes, online and offline.
//
// Clusters and listeners come whole (their names are the server's choice); endpoints and routes are
// answered for the names asked. A name that means nothing here still gets its empty resource: a proxy
// that waits for it must not wait for ever.
#ifndef CONTROL_GEN_GEN_H
#define CONTROL_GEN_GEN_H

#include "mesh/proxy.h"
#include "mesh/snapshot.h"
#include "xds/generator.h"

// As struct generator says. Messages live in the arena; the list of them is the caller's
// (vec_done(&resources.items)).
bool gen_generate(struct arena *arena, const struct snapshot *snapshot, const struct mesh_proxy *proxy,
                  enum xds_type type, const struct str *names, size_t name_count,
                  struct xds_resources *ret_resources);

extern const struct generator gen_generator;

#endif
