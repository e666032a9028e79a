// SPDX-License-Identifier: Apache-2.0
//
// table_cells: what stands in one cell of a table: functions of an object, one per special column.
#ifndef LAB_APISERVER_TABLE_CELLS_H
#define LAB_APISERVER_TABLE_CELLS_H

#include "codec/json/json.h"

struct row {
    struct arena *arena;
    const struct json_value *object;
    uint64_t now_ms;
};

typedef struct json_value *cell_fn(struct row *row);

struct column {
    const char *name;
    const char *type;
    const char *format;
    int priority;     // above 0: with -o wide only
    cell_fn *make;    // NULL: the value at path
    const char *path; // "status.phase"
};

const struct json_value *cell_follow(const struct json_value *object, struct str path);
// The simple part of JSONPath that printer columns use: .a.b, ['a'], [0], [?(@.k=="v")].
const struct json_value *cell_follow_json_path(struct row *row, struct str path);

cell_fn cell_name, cell_age, cell_created, cell_none, cell_containers, cell_images, cell_selector, cell_map_selector,
    cell_pod_ready, cell_pod_status, cell_pod_restarts, cell_service_external, cell_service_ports, cell_node_status,
    cell_node_roles, cell_node_internal, cell_ready_of_desired, cell_node_selector, cell_job_completions,
    cell_job_duration, cell_endpoints, cell_slice_ports, cell_slice_endpoints, cell_data_count, cell_secret_count,
    cell_event_last, cell_event_first, cell_event_object, cell_role, cell_webhook_count, cell_hpa_reference;

#endif
