// SPDX-License-Identifier: Apache-2.0
//
// pod: one pod on this node, from the moment it is bound to it until nothing of it is left.
//
//   PREPARING ─► RUNNING ─► (all containers over, and not to be started again) OVER
//       └───────────┴── deleted ──► STOPPING ─► cleaned up, DELETE with grace 0 ─► GONE
//
// PREPARING waits for what the pod mounts (config maps, secrets, tokens). RUNNING starts init containers
// one after the other, then the others in order, and starts again what ended, by the restart policy.
// Every event only wakes the pod; one function looks at all of it and does what is due.
#ifndef LAB_NODE_POD_H
#define LAB_NODE_POD_H

#include "kube/object.h"

struct node;
struct pod;

struct pod *pod_new(struct node *node, struct kube_object *object);
void pod_set_object(struct pod *pod, struct kube_object *object); // changed; NULL: removed from the API server
void pod_wake(struct pod *pod);                                   // something it may wait for has changed
void pod_stop(struct pod *pod, uint64_t grace_ms);                // as on deletion, without touching the object
void pod_free(struct pod *pod);                                   // kills what runs

#endif
