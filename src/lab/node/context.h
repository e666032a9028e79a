// SPDX-License-Identifier: Apache-2.0
//
// context: what the pure parts of the node agent (environment, volumes, container_spec, pod_status) may
// know of a pod and its cluster. Nothing in it changes while one of them runs.
#ifndef LAB_NODE_CONTEXT_H
#define LAB_NODE_CONTEXT_H

#include "codec/json/json.h"

enum object_kind { OBJECT_CONFIG_MAP, OBJECT_SECRET };

// Where the rest of the cluster is seen through.
struct object_source {
    void *owner;
    // Borrowed; NULL: there is none.
    const struct json_value *(*find)(void *owner, enum object_kind kind, struct str ns, struct str name);
    // Services one after the other; *at starts at 0; NULL ends. Borrowed.
    const struct json_value *(*each_service)(void *owner, size_t *at);
    // The token of the source'th source of a projected volume; data NULL: not there yet.
    struct str (*token)(void *owner, struct str volume, size_t source);
};

struct pod_context {
    const struct json_value *pod;
    struct str ns;
    struct str name;
    struct str uid;
    struct str pod_ip;
    struct str host_ip;
    struct str node_name;
    struct str host_name; // as the pod's processes see it
    struct object_source source;
};

// "configmap \"x\" not found" and the like; code NOT_FOUND.
const struct json_value *context_find(const struct pod_context *context, enum object_kind kind, struct str name,
                                      struct error *err);
// The bytes of one key; data NULL: no such key. Values of secrets and binaryData are decoded.
struct str context_value(struct arena *arena, enum object_kind kind, const struct json_value *object, struct str key);

// A downward API field ("metadata.labels['app']"); data NULL: no such field. Maps become k="v" lines.
struct str context_field(struct arena *arena, const struct pod_context *context, struct str path);
// resourceFieldRef {resource, divisor} of a container.
struct str context_resource(struct arena *arena, const struct json_value *container, const struct json_value *reference);

#endif
