// SPDX-License-Identifier: Apache-2.0
//
// quantity: Kubernetes resource quantities ("100m", "1Gi", "0.5", "1e3") in thousandths.
#ifndef LAB_NODE_QUANTITY_H
#define LAB_NODE_QUANTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

// False when it is none, is negative, or does not fit.
bool quantity_parse(struct str text, uint64_t *ret_thousandths);

#endif
