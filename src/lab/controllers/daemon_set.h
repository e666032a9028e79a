// SPDX-License-Identifier: Apache-2.0
//
// daemon_set: one pod of a template on every node that its nodeSelector chooses and whose taints it
// tolerates. The pods are bound by this controller itself and run on nodes that are not ready or cordoned
// as well. A changed template replaces them one after the other (strategy RollingUpdate with one pod
// unavailable; OnDelete leaves them to people). Node affinity is not looked at, as in the scheduler.
#ifndef LAB_CONTROLLERS_DAEMON_SET_H
#define LAB_CONTROLLERS_DAEMON_SET_H

#include "lab/controllers/meta.h"
#include "lab/controllers/plan.h"

extern const struct kube_resource daemon_set_resource;

// pods: all of its namespace. nodes: all.
void daemon_set_plan(struct plan *plan, const struct json_value *set, const struct object_list *pods,
                     const struct object_list *nodes);

#endif
