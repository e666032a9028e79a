// SPDX-License-Identifier: Apache-2.0
//
// object: Kubernetes objects as JSON values with typed accessors, and the identity of kinds.
#ifndef KUBE_OBJECT_H
#define KUBE_OBJECT_H

#include "codec/json/json.h"

// A resource as the REST path names it. All views are literals or outlive their user.
struct kube_resource {
    struct str group;   // "" = core
    struct str version; // "v1"
    struct str plural;  // "pods"
    struct str kind;    // "Pod"
    bool namespaced;
};

extern const struct kube_resource kube_namespaces, kube_services, kube_endpointslices, kube_pods,
    kube_nodes, kube_secrets, kube_configmaps, kube_serviceaccounts, kube_deployments,
    kube_replicasets, kube_events, kube_leases, kube_endpoints, kube_mutating_webhooks,
    kube_validating_webhooks, kube_gateways, kube_virtual_services, kube_destination_rules,
    kube_service_entries, kube_peer_authentications, kube_sidecars, kube_workload_entries;

// "/api/v1/namespaces/ns/pods/name" or "/apis/apps/v1/deployments": empty ns and name are left out.
struct str kube_path(struct arena *arena, const struct kube_resource *resource, struct str ns, struct str name);

// "v1", "apps/v1": in the arena or a literal.
struct str kube_api_version(struct arena *arena, const struct kube_resource *resource);
// Percent-encoded for a query value.
struct str kube_escape(struct arena *arena, struct str text);

// An immutable, refcounted object: what informers hold and snapshots share. Its tree lives in an arena
// of its own. Reference counts are atomic: objects may cross threads.
struct kube_object {
    uint32_t references;
    struct arena arena;
    struct json_value *value;
    struct str ns;               // "" when cluster-scoped
    struct str name;
    struct str uid;
    struct str resource_version;
};

// Is it an object with a metadata.name? What comes from a server is asked before kube_object_new.
bool kube_object_is_valid(const struct json_value *value);
// Takes the arena (and what it holds) over; value must be an object with metadata.
struct kube_object *kube_object_new(struct arena *arena, struct json_value *value);
struct kube_object *kube_object_ref(struct kube_object *object);
void kube_object_unref(struct kube_object *object); // NULL is fine

// metadata.labels[name], metadata.annotations[name]; data NULL when absent.
struct str kube_label(const struct json_value *object, struct str name);
struct str kube_annotation(const struct json_value *object, struct str name);
// {matchLabels, matchExpressions}; an empty or absent selector matches everything.
bool kube_selector_matches(const struct json_value *label_selector, const struct json_value *labels);
// Plain map selector (Service.spec.selector): every pair must be in labels. Absent or empty: false.
bool kube_map_selector_matches(const struct json_value *selector, const struct json_value *labels);

#endif
