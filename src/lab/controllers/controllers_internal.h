// SPDX-License-Identifier: Apache-2.0
//
// controllers_internal: the views (one informer each) and queues that the parts of this folder share.
#ifndef LAB_CONTROLLERS_CONTROLLERS_INTERNAL_H
#define LAB_CONTROLLERS_CONTROLLERS_INTERNAL_H

#include "kube/informer.h"
#include "kube/work_queue.h"
#include "lab/controllers/controllers.h"
#include "lab/controllers/meta.h"
#include "lab/controllers/plan.h"

enum view {
    VIEW_NAMESPACES = 0,
    VIEW_ACCOUNTS, // those named default
    VIEW_ROOTS,    // ConfigMaps named kube-root-ca.crt
    VIEW_DEPLOYMENTS,
    VIEW_REPLICA_SETS,
    VIEW_DAEMON_SETS,
    VIEW_PODS,
    VIEW_NODES,
    VIEW_SERVICES,
    VIEW_SLICES,
    VIEW_ENDPOINTS,
    VIEW_COUNT,
};

enum queue {
    QUEUE_NAMESPACES = 0, // key: name
    QUEUE_DEPLOYMENTS,    // ns/name
    QUEUE_REPLICA_SETS,   // ns/name
    QUEUE_DAEMON_SETS,    // ns/name
    QUEUE_SCHEDULER,      // ns/name of a pod
    QUEUE_ENDPOINTS,      // ns/name of a Service
    QUEUE_EMPTYING,       // name of a namespace that is being deleted
    QUEUE_GARBAGE,        // view/ns/name of an object with owners
    QUEUE_COUNT,
};

struct controllers {
    struct loop *loop;
    struct kube_client *client;
    struct arena arena;
    struct str ca_pem;
    struct informer *views[VIEW_COUNT];
    struct work_queue *queues[QUEUE_COUNT];
    struct list works;    // plans being carried out (controllers.c)
    struct list chores;   // namespaces being emptied, garbage being checked
    struct map *failures; // "ns/name" of a ReplicaSet → why its pods could not be created
    bool started;
};

// NULL: not there.
const struct json_value *controllers_find(const struct controllers *controllers, enum view view, struct str ns,
                                          struct str name);
// Appends what the view holds; ns empty: all.
void controllers_list(const struct controllers *controllers, enum view view, struct str ns, struct object_list *list);

// A piece of work that takes several requests. `stop` drops it without a word when the controllers end.
struct chore {
    struct list node;
    struct controllers *controllers;
    void (*stop)(struct chore *chore);
};

void emptying_start(struct controllers *controllers, struct str key);
void garbage_start(struct controllers *controllers, struct str key);
// The view of an owner's kind; VIEW_COUNT: none of ours.
enum view garbage_view_of(const struct json_value *owner);

#endif
