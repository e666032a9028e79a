// SPDX-License-Identifier: Apache-2.0
//
// events: Events on Services, as MetalLB's two programs write them.
#ifndef LAB_LOADBALANCER_EVENTS_H
#define LAB_LOADBALANCER_EVENTS_H

#include "kube/client.h"

#define EVENTS_CONTROLLER "metallb-controller"
#define EVENTS_SPEAKER "metallb-speaker"

// type: "Normal" or "Warning". Nobody waits for the answer.
void events_record(struct kube_client *client, const struct json_value *service, const char *source, const char *type,
                   const char *reason, struct str message);

#endif
