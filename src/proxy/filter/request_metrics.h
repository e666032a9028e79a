// SPDX-License-Identifier: Apache-2.0
//
// request_metrics: Istio's standard request counter, istio_requests_total. Labels that are not known
// here say "unknown", as Istio's own do.
#ifndef PROXY_FILTER_REQUEST_METRICS_H
#define PROXY_FILTER_REQUEST_METRICS_H

#include "proxy/filter/runtime.h"

#define REQUEST_METRICS_MAX 10000u // label combinations of a worker; beyond it nothing new is counted

struct request_labels {
    enum traffic_direction direction;
    struct str source_principal;
    struct str destination_principal;
    struct str destination_service;      // host
    struct str destination_service_name;
    struct str destination_service_namespace;
    struct str destination_workload; // "name;namespace;canonical name;revision;cluster"
    int status;
    unsigned flags;
    bool is_grpc;
    bool is_mutual_tls;
};

void request_metrics_count(struct filter_runtime *runtime, const struct request_labels *labels);

#endif
