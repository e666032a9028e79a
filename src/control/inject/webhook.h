// SPDX-License-Identifier: Apache-2.0
//
// webhook: the admission webhook around mesh/inject. POST /inject with an AdmissionReview (v1 or
// v1beta1) of a pod; the answer allows it, with a JSON patch when a proxy is injected. A pod that cannot
// be injected although it should is refused with the reason: started without its proxy it would send
// and accept plaintext.
#ifndef CONTROL_INJECT_WEBHOOK_H
#define CONTROL_INJECT_WEBHOOK_H

#include "base/metrics.h"
#include "mesh/inject/inject.h"
#include "net/http.h"

#define WEBHOOK_BODY_MAX (8u * 1024 * 1024)
#define WEBHOOK_PATH "/inject"

// The AdmissionReview to answer with; pure. ERR_INVALID: not a review of a pod (HTTP 400).
enum err webhook_review(struct arena *arena, struct str body, const struct inject_options *options,
                        struct json_value **ret_answer, enum inject_verdict *ret_verdict,
                        struct error *err) must_check;

struct webhook;

// options are copied.
struct webhook *webhook_new(struct loop *loop, const struct inject_options *options, struct metrics *metrics);
void webhook_set_options(struct webhook *webhook, const struct inject_options *options);
void webhook_listen(struct webhook *webhook, int fd, struct tls_context *tls); // takes the socket
void webhook_set_tls(struct webhook *webhook, struct tls_context *tls);
void webhook_free(struct webhook *webhook); // NULL is fine

#endif
