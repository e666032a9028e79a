// SPDX-License-Identifier: Apache-2.0
#ifndef LAB_CONTROLLERS_ENDPOINTS_INTERNAL_H
#define LAB_CONTROLLERS_ENDPOINTS_INTERNAL_H

#include "lab/controllers/endpoints.h"

// A pod behind the Service, with the ports its containers give to the Service's.
struct backend {
    const struct json_value *pod;
    struct str ip;
    struct str node;
    struct str zone;     // empty: not known
    struct str hostname; // empty: none of its own
    struct json_value *ports; // [{name, port, protocol, appProtocol?}]; pods with equal ports share slices
    bool serving;
    bool terminating;
    bool ready;
};

struct backend_list {
    struct backend *items;
    size_t count;
    size_t capacity;
};

// Selected pods with an address that have not ended, sorted by name.
void backends_gather(struct arena *arena, const struct endpoints_input *input, struct backend_list *ret_backends);
struct json_value *backend_target(struct arena *arena, const struct json_value *pod); // ObjectReference
// The Service's labels, with `service.kubernetes.io/headless` where it is.
struct json_value *backend_labels(struct arena *arena, const struct json_value *service);
bool service_is_headless(const struct json_value *service);

void slices_plan(struct plan *plan, const struct endpoints_input *input, const struct backend_list *backends);
void endpoints_object_plan(struct plan *plan, const struct endpoints_input *input,
                           const struct backend_list *backends);

#endif
