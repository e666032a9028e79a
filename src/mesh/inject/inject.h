// SPDX-License-Identifier: Apache-2.0
//
// inject: pod → pod with a proxy, as a JSON patch. Pure: the webhook around it (control/inject) and
// offline tools give it the pod and the mesh's values.
//
// Templates: "sidecar" (default) adds the init container that captures traffic, the proxy and its
// volumes; "gateway" (annotation inject.istio.io/templates) makes the pod's own container istio-proxy
// with image "auto" a router. What the pod's author set in that container wins over the template.
#ifndef MESH_INJECT_INJECT_H
#define MESH_INJECT_INJECT_H

#include "base/error.h"
#include "codec/json/json.h"

struct inject_options {
    struct str image;             // "isthmesh/proxy"
    struct str cluster;
    struct str network;           // may be empty; the pod's label wins
    struct str mesh_id;           // may be empty
    struct str trust_domain;
    struct str domain;            // "cluster.local"
    struct str revision;          // "default"
    struct str discovery_address; // host:port of xDS and CA
};

enum inject_verdict {
    INJECT_YES = 0,
    INJECT_HOST_NETWORK,      // capture would take the node's own traffic
    INJECT_SYSTEM_NAMESPACE,  // kube-system and its like
    INJECT_OPTED_OUT,         // label or annotation sidecar.istio.io/inject
    INJECT_ALREADY,           // has a status annotation
};
const char *inject_verdict_text(enum inject_verdict verdict);

// Decides by the pod alone: which namespaces take part is the webhook's selectors' business.
enum inject_verdict inject_decide(const struct json_value *pod, struct str ns);

// The pod with the template applied; pod stays as it is. ns: the admission request's (the pod's own may
// be empty yet). ERR_INVALID: unknown template.
enum err inject_apply(struct arena *arena, const struct json_value *pod, struct str ns,
                      const struct inject_options *options, struct json_value **ret_pod,
                      struct error *err) must_check;

// RFC 6902 operations that turn `from` into `to`: members one by one, changed arrays whole.
struct json_value *json_patch_diff(struct arena *arena, const struct json_value *from,
                                   const struct json_value *to);

#endif
