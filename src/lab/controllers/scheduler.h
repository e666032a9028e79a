// SPDX-License-Identifier: Apache-2.0
//
// scheduler: the node for a pod: ready, schedulable, with the labels its nodeSelector asks for and no
// taint it does not tolerate; of those the one with the fewest pods. Affinity and resources are not
// looked at: a lab's nodes are all the same machine.
#ifndef LAB_CONTROLLERS_SCHEDULER_H
#define LAB_CONTROLLERS_SCHEDULER_H

#include "lab/controllers/meta.h"
#include "lab/controllers/plan.h"

bool scheduler_wants(const struct json_value *pod); // waits for a node, from us
// May the pod be on the node, ready or not: has it the labels, are its taints tolerated?
bool scheduler_fits(const struct json_value *pod, const struct json_value *node);
void scheduler_plan(struct plan *plan, const struct json_value *pod, const struct object_list *nodes,
                    const struct object_list *pods);

#endif
