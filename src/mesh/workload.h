// SPDX-License-Identifier: Apache-2.0
//
// workload: the controller that made a pod, as telemetry and injection name it: a Deployment where a
// ReplicaSet with the pod template's hash owns the pod, else the direct owner, else the pod itself.
#ifndef MESH_WORKLOAD_H
#define MESH_WORKLOAD_H

#include "codec/json/json.h"

struct mesh_workload {
    struct str name;
    struct str kind;        // "Deployment"
    struct str api_version; // "apps/v1"
};

// Views borrow from the pod. A pod that is being created may have only metadata.generateName.
struct mesh_workload mesh_workload_of_pod(const struct json_value *pod);

#endif
