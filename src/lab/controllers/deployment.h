// SPDX-License-Identifier: Apache-2.0
//
// deployment: a ReplicaSet per template, scaled so that a change of template rolls through, and the
// status kubectl rollout reads.
#ifndef LAB_CONTROLLERS_DEPLOYMENT_H
#define LAB_CONTROLLERS_DEPLOYMENT_H

#include "lab/controllers/meta.h"
#include "lab/controllers/plan.h"

// sets: the ReplicaSets of its namespace.
void deployment_plan(struct plan *plan, const struct json_value *deployment, const struct object_list *sets);

#endif
