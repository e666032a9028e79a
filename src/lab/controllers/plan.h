// SPDX-License-Identifier: Apache-2.0
//
// plan: the steps that bring the cluster closer to what an object asks for. Made by pure functions,
// carried out by plan_run. Everything a plan names lives in its arena or is a literal.
#ifndef LAB_CONTROLLERS_PLAN_H
#define LAB_CONTROLLERS_PLAN_H

#include "base/vec.h"
#include "kube/client.h"

#define PLAN_STEPS_MAX 200u // more come with the next plan of the key

enum plan_verb {
    PLAN_CREATE = 0, // POST; with a subresource: to NAME/SUBRESOURCE
    PLAN_MERGE,      // merge patch
    PLAN_DELETE,     // with the uid as a precondition
};

struct plan_step {
    enum plan_verb verb;
    const struct kube_resource *resource;
    struct str ns;
    struct str name; // empty: generateName
    struct str subresource;
    struct json_value *body;
    struct str uid;
};

struct plan {
    struct arena arena;
    VEC(struct plan_step) steps;
    uint64_t again_ms; // look at the key again after this long; 0: on the next event only
    uint64_t wall_ms;  // when it was made
};

void plan_done(struct plan *plan);
void plan_again(struct plan *plan, uint64_t delay_ms); // the shortest of all wins
void plan_create(struct plan *plan, const struct kube_resource *resource, struct str ns, struct json_value *object);
void plan_bind(struct plan *plan, struct str ns, struct str pod, struct json_value *binding);
void plan_merge(struct plan *plan, const struct kube_resource *resource, const struct json_value *object,
                const char *subresource, struct json_value *patch); // NULL subresource: none
void plan_delete(struct plan *plan, const struct kube_resource *resource, const struct json_value *object);

// Adds the step that makes object.status equal to status, unless it is: members that differ are set,
// members that are gone become null.
void plan_status(struct plan *plan, const struct kube_resource *resource, const struct json_value *object,
                 const struct json_value *status);

// One line per step, for tests and logs: "create pods ns/ {…}".
void plan_describe(const struct plan *plan, struct buf *out);

// --- carrying out ----------------------------------------------------------------------------------

#define PLAN_SEEN_MAX_MS 5000u // longer than this we do not wait to see what we did

struct plan_run;

struct plan_run_events {
    // Has what we did reached us? version: of the object as the server answered; 0: it was deleted.
    bool (*is_seen)(void *owner, const struct kube_resource *resource, struct str ns, struct str name, uint64_t version);
    // All steps were answered and seen. ok false: failure names the first step that went wrong.
    void (*on_done)(void *owner, struct plan_run *run, bool ok, struct str failure);
};

// Takes the plan's content over. Never calls back from inside. owner is handed to both events.
struct plan_run *plan_run_start(struct loop *loop, struct kube_client *client, struct plan *plan,
                                const struct plan_run_events *events, void *owner);
void plan_run_look(struct plan_run *run); // something changed: has it been seen?
void plan_run_free(struct plan_run *run); // drops what is under way; NULL is fine; fine in on_done

#endif
