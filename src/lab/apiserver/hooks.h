// SPDX-License-Identifier: Apache-2.0
//
// hooks: what a built-in kind does beyond being stored. Each set of hooks lies in the file of its subject;
// absent ones (NULL) do nothing. They run in this order:
//
//   set_defaults → admit → [mutating webhooks] → set_defaults → prepare → validate → [validating webhooks]
//     → allocate → commit → committed
#ifndef LAB_APISERVER_HOOKS_H
#define LAB_APISERVER_HOOKS_H

#include "codec/json/json.h"
#include "lab/apiserver/failure.h"

struct apiserver;
struct request;
struct kind;

struct kind_hooks {
    // Fills absent fields of an object about to be written. Pure.
    void (*set_defaults)(struct arena *arena, struct json_value *object);
    // Built-in admission; old is NULL on create. False: request->failure says why.
    bool (*admit)(struct request *request, struct json_value *object, const struct json_value *old);
    // Puts right what clients may not choose. Pure.
    void (*prepare)(struct arena *arena, struct json_value *object, const struct json_value *old);
    void (*validate)(const struct json_value *object, const struct json_value *old, struct field_errors *errors);
    // Last step before the write. False: request->failure says why.
    bool (*allocate)(struct request *request, struct json_value *object, const struct json_value *old);
    // The change is visible. object NULL: deleted. Also called for every stored object at start.
    void (*committed)(struct apiserver *server, const struct kind *kind, const struct json_value *old,
                      const struct json_value *object);
    // POST of kinds that store nothing: answers the request.
    void (*review)(struct request *request, struct json_value *object);
};

extern const struct kind_hooks plain_hooks;         // namespace.c
extern const struct kind_hooks config_map_hooks;    // secret.c
extern const struct kind_hooks secret_hooks;        // secret.c
extern const struct kind_hooks account_hooks;       // secret.c
extern const struct kind_hooks namespace_hooks;     // namespace.c
extern const struct kind_hooks pod_hooks;           // pod.c
extern const struct kind_hooks binding_hooks;       // pod.c
extern const struct kind_hooks service_hooks;       // service.c
extern const struct kind_hooks endpoint_slice_hooks; // service.c
extern const struct kind_hooks workload_hooks;      // workload.c
extern const struct kind_hooks role_binding_hooks;  // authorize.c
extern const struct kind_hooks webhook_configuration_hooks; // webhook_match.c
extern const struct kind_hooks crd_hooks;           // crd.c
extern const struct kind_hooks token_review_hooks;  // review.c
extern const struct kind_hooks self_subject_review_hooks; // review.c
extern const struct kind_hooks access_review_hooks; // review.c
extern const struct kind_hooks rules_review_hooks;  // review.c

#endif
