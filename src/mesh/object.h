// SPDX-License-Identifier: Apache-2.0
//
// object: one configuration object of the mesh (VirtualService, DestinationRule, PeerAuthentication), as
// decoded from the API server's JSON. Immutable and refcounted once built: a snapshot shares each object
// that did not change with the one before, so "same pointer" means "same content".
//
// Decoding is strict: an unknown field or a value of the wrong kind is an error with the field's path,
// and the object is left out. The spec is kept as the message of schemas/istio, with the names in it
// resolved: hosts and destinations are full host names, gateways are "namespace/name" or "mesh". (A copy
// into structs of our own would repeat the schemas' 250 fields; the messages are plain data in the
// object's arena and no packed bytes ever come near them.)
#ifndef MESH_OBJECT_H
#define MESH_OBJECT_H

#include "base/error.h"
#include "codec/json/json.h"
#include "codec/pb/pb.h"
#include "istio/networking/v1alpha3/destination_rule.pb-c.h"
#include "istio/networking/v1alpha3/virtual_service.pb-c.h"
#include "istio/security/v1beta1/peer_authentication.pb-c.h"
#include "mesh/labels.h"

#define MESH_OBJECT_ROUTES_MAX 4096u // rules, matches and destinations of one VirtualService
#define MESH_OBJECT_SUBSETS_MAX 1024u

enum mesh_object_kind {
    MESH_OBJECT_VIRTUAL_SERVICE = 0,
    MESH_OBJECT_DESTINATION_RULE,
    MESH_OBJECT_PEER_AUTHENTICATION,
    MESH_OBJECT_KIND_COUNT
};

typedef Istio__Networking__V1alpha3__VirtualService MeshVirtualService;
typedef Istio__Networking__V1alpha3__DestinationRule MeshDestinationRule;
typedef Istio__Security__V1beta1__PeerAuthentication MeshPeerAuthentication;

struct mesh_object {
    uint32_t references; // atomic
    struct arena arena;
    enum mesh_object_kind kind;
    struct str ns;
    struct str name;
    struct str created; // sorts as text
    const struct json_value *spec; // as stored
    union {
        void *message;
        MeshVirtualService *virtual_service;
        MeshDestinationRule *destination_rule;
        MeshPeerAuthentication *peer_authentication;
    };
};

// object: metadata and spec; NULL and a sentence when it cannot be used. domain: "cluster.local".
struct mesh_object *mesh_object_new(enum mesh_object_kind kind, const struct json_value *object,
                                    struct str domain, struct error *err);
struct mesh_object *mesh_object_ref(struct mesh_object *object);
void mesh_object_unref(struct mesh_object *object); // NULL is fine
// Was it made of this JSON? (Then it need not be decoded again.)
bool mesh_object_is_made_of(const struct mesh_object *object, const struct json_value *json);

// How an object of namespace `from` with this exportTo list is seen in namespace `ns`, nearest first.
enum mesh_visibility { MESH_PRIVATE = 0, MESH_EXPORTED, MESH_PUBLIC, MESH_INVISIBLE };
enum mesh_visibility mesh_visibility_of(char *const *export_to, size_t count, struct str from,
                                        struct str ns);

// "reviews" → "reviews.<ns>.svc.<domain>"; names with a dot and "*" stay as they are.
struct str mesh_host_resolve(struct arena *arena, struct str host, struct str ns, struct str domain);

#endif
