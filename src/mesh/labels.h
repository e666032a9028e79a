// SPDX-License-Identifier: Apache-2.0
//
// labels: Kubernetes labels as a flat list of pairs, and the "is subset of" test that every selector
// of the mesh is made of. Views borrow from the arena they were copied into.
#ifndef MESH_LABELS_H
#define MESH_LABELS_H

#include "base/arena.h"
#include "base/str.h"
#include "codec/json/json.h"

struct mesh_label {
    struct str name;
    struct str value;
};

struct mesh_labels {
    struct mesh_label *items;
    size_t count;
};

// Copies the string members of a JSON object; anything else gives fewer or no labels.
struct mesh_labels mesh_labels_from_json(struct arena *arena, const struct json_value *object);
struct mesh_labels mesh_labels_copy(struct arena *arena, const struct mesh_labels *labels);

// data NULL when absent.
struct str mesh_labels_get(const struct mesh_labels *labels, struct str name);
// First of several names that is there and not empty; otherwise when there is none.
struct str mesh_labels_first(const struct mesh_labels *labels, const char *const *names,
                             size_t name_count, struct str otherwise);
// Every pair of the selector is among the labels. An empty selector is contained in everything.
bool mesh_labels_contain(const struct mesh_labels *labels, const struct mesh_labels *selector);
bool mesh_labels_equal(const struct mesh_labels *a, const struct mesh_labels *b); // same order

// Telemetry identity: labels service.istio.io/canonical-name, app.kubernetes.io/name, app; and
// service.istio.io/canonical-revision, app.kubernetes.io/version, version.
struct str mesh_canonical_name(const struct mesh_labels *labels, struct str workload_name);
struct str mesh_canonical_revision(const struct mesh_labels *labels); // "latest" without any

#endif
