// SPDX-License-Identifier: Apache-2.0
//
// namespace: what every active namespace has: ServiceAccount `default` and the cluster's roots.
#ifndef LAB_CONTROLLERS_NAMESPACE_H
#define LAB_CONTROLLERS_NAMESPACE_H

#include "lab/controllers/plan.h"

// account, config_map: as they are now; NULL: not there.
void namespace_plan(struct plan *plan, const struct json_value *ns, const struct json_value *account,
                    const struct json_value *config_map, struct str ca_pem);

#endif
