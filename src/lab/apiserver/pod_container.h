// SPDX-License-Identifier: Apache-2.0
//
// pod_container: which container of a pod a request for its log or a process in it means. Pure.
#ifndef LAB_APISERVER_POD_CONTAINER_H
#define LAB_APISERVER_POD_CONTAINER_H

#include "codec/json/json.h"
#include "lab/apiserver/failure.h"

// The container named, or the only one. False: the failure says which there are.
bool pod_container_choose(struct arena *arena, const struct json_value *pod, struct str wanted, struct str *ret_name,
                          struct failure *failure);
// Its entry in the pod's status; NULL: none yet.
const struct json_value *pod_container_status(const struct json_value *pod, struct str name);
// "runc://ID" of a running container without its scheme; data NULL: it does not run.
struct str pod_container_id(const struct json_value *status);

#endif
