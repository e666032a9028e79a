// SPDX-License-Identifier: Apache-2.0
//
// endpoints: the pods behind a Service with a selector, as EndpointSlices and as Endpoints.
#ifndef LAB_CONTROLLERS_ENDPOINTS_H
#define LAB_CONTROLLERS_ENDPOINTS_H

#include "lab/controllers/meta.h"
#include "lab/controllers/plan.h"

#define ENDPOINTS_PER_SLICE_MAX 100u
#define ENDPOINTS_MANAGER "endpointslice-controller.k8s.io"

struct endpoints_input {
    const struct json_value *service;   // NULL: it is gone
    struct object_list pods;            // all of its namespace
    struct object_list nodes;
    struct object_list slices;          // those labelled with its name
    const struct json_value *endpoints; // of its name; NULL: none
};

void endpoints_plan(struct plan *plan, const struct endpoints_input *input);

#endif
