// SPDX-License-Identifier: Apache-2.0
#include "mesh/workload.h"

static const struct json_value *controller_of(const struct json_value *pod)
{
    const struct json_value *owners = json_path(pod, "metadata", "ownerReferences", NULL);
    for (size_t i = 0; i < json_count(owners); i++) {
        if (json_get_bool(json_at(owners, i), "controller", false)) {
            return json_at(owners, i);
        }
    }
    return NULL;
}

// "reviews-v1" of the ReplicaSet "reviews-v1-5f7d9c" whose pods have the hash "5f7d9c".
static bool deployment_name(const struct json_value *pod, struct str replica_set, struct str *ret_name)
{
    struct str hash = json_str(json_path(pod, "metadata", "labels", "pod-template-hash", NULL));
    if (str_is_empty(hash) || replica_set.size <= hash.size + 1 ||
        !str_ends_with(replica_set, hash) || replica_set.data[replica_set.size - hash.size - 1] != '-') {
        return false;
    }
    *ret_name = str_sub(replica_set, 0, replica_set.size - hash.size - 1);
    return true;
}

struct mesh_workload mesh_workload_of_pod(const struct json_value *pod)
{
    const struct json_value *metadata = json_get(pod, "metadata");
    const struct json_value *controller = controller_of(pod);
    struct mesh_workload workload = {0};
    if (controller != NULL) {
        workload.name = json_get_str(controller, "name");
        workload.kind = json_get_str(controller, "kind");
        workload.api_version = json_get_str(controller, "apiVersion");
        if (str_equal(workload.kind, STR("ReplicaSet")) &&
            deployment_name(pod, workload.name, &workload.name)) {
            workload.kind = STR("Deployment");
        }
        return workload;
    }
    workload.kind = STR("Pod");
    workload.api_version = STR("v1");
    workload.name = json_get_str(metadata, "name");
    if (str_is_empty(workload.name)) {
        workload.name = json_get_str(metadata, "generateName");
        if (str_ends_with(workload.name, STR("-"))) {
            workload.name.size--;
        }
    }
    return workload;
}
