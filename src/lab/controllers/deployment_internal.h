// SPDX-License-Identifier: Apache-2.0
//
// deployment_internal: the numbers deployment.c and deployment_status.c work with.
#ifndef LAB_CONTROLLERS_DEPLOYMENT_INTERNAL_H
#define LAB_CONTROLLERS_DEPLOYMENT_INTERNAL_H

#include "lab/controllers/deployment.h"

struct rollout {
    const struct json_value *deployment;
    const struct json_value *current; // the set with today's template; NULL: not made yet
    struct object_list sets;          // all of the deployment, oldest first
    struct object_list old;           // without current
    int64_t replicas;
    int64_t surge;       // pods above replicas
    int64_t unavailable; // pods below replicas
    bool makes_current;  // this plan creates it
    struct str current_name;
    bool has_collision;  // another template has that name
};

int64_t rollout_set_wanted(const struct json_value *set);                      // spec.replicas
int64_t rollout_set_status(const struct json_value *set, const char *counter); // of status; 0 when absent

void rollout_plan_status(struct plan *plan, const struct rollout *rollout);

// A short name for a template, in letters no word is made of: the same template gives the same name.
struct str template_hash(struct arena *arena, const struct json_value *template, int64_t collisions);

#endif
