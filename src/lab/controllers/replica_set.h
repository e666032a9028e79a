// SPDX-License-Identifier: Apache-2.0
//
// replica_set: as many pods of a template as asked for.
#ifndef LAB_CONTROLLERS_REPLICA_SET_H
#define LAB_CONTROLLERS_REPLICA_SET_H

#include "lab/controllers/meta.h"
#include "lab/controllers/plan.h"

#define REPLICA_SET_BURST_MAX 100u // pods created or deleted by one plan

// pods: all of its namespace. failure: why pods could not be created the last time; empty: they could.
void replica_set_plan(struct plan *plan, const struct json_value *set, const struct object_list *pods,
                      struct str failure);

#endif
