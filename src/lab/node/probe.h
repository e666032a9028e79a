// SPDX-License-Identifier: Apache-2.0
//
// probe: asks a container time and again whether it is well: httpGet, tcpSocket or exec, as Kubernetes
// defines them. Results are counted against the thresholds; on_verdict tells when the answer changes, and
// for a failed one what was seen. The first verdict is always told.
//
// Runs from the node: HTTP and TCP go to the pod's address, exec runs inside the container.
#ifndef LAB_NODE_PROBE_H
#define LAB_NODE_PROBE_H

#include "base/error.h"
#include "codec/json/json.h"
#include "loop/loop.h"

struct probe;

typedef void probe_verdict_fn(void *owner, struct probe *probe, bool is_good, const char *message);

struct probe_target {
    struct loop *loop;
    struct str pod_ip;
    struct str runc_root;
    struct str container_id;
    const struct json_value *container; // named ports
};

// spec: {httpGet|tcpSocket|exec, initialDelaySeconds, periodSeconds, …}. Views and trees are copied. NULL
// and a sentence when the spec asks for a kind of probe that there is none of here (grpc).
struct probe *probe_new(const struct probe_target *target, const struct json_value *spec, probe_verdict_fn *on_verdict,
                        void *owner, struct error *err);
void probe_free(struct probe *probe); // not inside on_verdict; NULL is fine

#endif
