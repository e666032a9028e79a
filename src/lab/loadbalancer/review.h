// SPDX-License-Identifier: Apache-2.0
//
// review: what MetalLB's validating webhooks say to an object, in its words: a pool must be readable and
// overlap no other; everything of metallb.io belongs into metallb-system.
//
// Pure: bytes of an AdmissionReview in, bytes out.
#ifndef LAB_LOADBALANCER_REVIEW_H
#define LAB_LOADBALANCER_REVIEW_H

#include "codec/json/json.h"

#define REVIEW_BODY_MAX (4u * 1024 * 1024)

// pools: the IPAddressPool objects there are. False: the text is no AdmissionReview.
bool review_answer(struct arena *arena, struct str text, const struct json_value *const *pools, size_t pool_count,
                   struct str *ret_answer);

#endif
