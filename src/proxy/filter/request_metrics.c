// SPDX-License-Identifier: Apache-2.0
#include "proxy/filter/request_metrics.h"

#include <stdio.h>

#include "base/buf.h"

static void append_label(struct buf *out, const char *name, struct str value)
{
    buf_printf(out, "%s%s=\"", out->size == 0 ? "" : ",", name);
    if (value.size == 0) {
        value = STR("unknown");
    }
    for (size_t i = 0; i < value.size; i++) {
        char c = value.data[i];
        if (c == '"' || c == '\\') {
            buf_append_char(out, '\\');
        }
        buf_append_char(out, c == '\n' ? ' ' : c);
    }
    buf_append_char(out, '"');
}

static void append_labels(struct buf *out, const struct request_labels *labels)
{
    struct str workload = labels->destination_workload;
    struct str parts[5] = {{0}};
    for (size_t i = 0; i < 5 && workload.data != NULL; i++) {
        parts[i] = str_split(&workload, ';');
    }
    bool inbound = labels->direction == TRAFFIC_INBOUND;
    append_label(out, "reporter", inbound ? STR("destination") : STR("source"));
    append_label(out, "source_principal", labels->source_principal);
    append_label(out, "destination_principal", labels->destination_principal);
    append_label(out, "destination_service", labels->destination_service);
    append_label(out, "destination_service_name", labels->destination_service_name);
    append_label(out, "destination_service_namespace", labels->destination_service_namespace);
    append_label(out, "destination_workload", parts[0]);
    append_label(out, "destination_workload_namespace", parts[1]);
    append_label(out, "destination_canonical_service", parts[2]);
    append_label(out, "destination_canonical_revision", parts[3]);
    append_label(out, "destination_cluster", parts[4]);
    append_label(out, "request_protocol", labels->is_grpc ? STR("grpc") : STR("http"));
    char status[16];
    int size = snprintf(status, sizeof(status), "%d", labels->status);
    append_label(out, "response_code", str_make(status, size < 0 ? 0 : (size_t)size));
    struct buf flags = {0};
    response_flags_write(labels->flags, &flags);
    append_label(out, "response_flags", buf_view(&flags));
    buf_done(&flags);
    // Only the receiving side knows what the connection was.
    append_label(out, "connection_security_policy", !inbound ? STR("unknown") : labels->is_mutual_tls ? STR("mutual_tls") : STR("none"));
}

void request_metrics_count(struct filter_runtime *runtime, const struct request_labels *labels)
{
    if (runtime->metrics == NULL) {
        return;
    }
    struct buf text = {0};
    append_labels(&text, labels);
    struct metric *metric = map_get(&runtime->request_metrics, buf_view(&text));
    if (metric == NULL && map_count(&runtime->request_metrics) < REQUEST_METRICS_MAX) {
        struct str key = buf_view(&text);
        buf_append_char(&text, 0); // the registry wants text that ends
        metric = metrics_counter(runtime->metrics, "istio_requests_total", "Requests.", text.data + text.start);
        key.data = text.data + text.start;
        (void)map_set(&runtime->request_metrics, key, metric);
    }
    if (metric != NULL) {
        metric_add(metric, 1);
    }
    buf_done(&text);
}
