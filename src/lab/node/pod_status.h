// SPDX-License-Identifier: Apache-2.0
//
// pod_status: the status object of a pod from what its containers do. Pure.
#ifndef LAB_NODE_POD_STATUS_H
#define LAB_NODE_POD_STATUS_H

#include "codec/json/json.h"

enum unit_state {
    UNIT_WAITING = 0, // not started, or waiting for its next start
    UNIT_STARTING,
    UNIT_RUNNING,
    UNIT_ENDED,
};

// How a start of a container ended.
struct unit_outcome {
    bool is_set;
    int exit_code;
    int signal;         // 0: none
    const char *reason; // "Completed", "Error"
    uint64_t started_ms;
    uint64_t finished_ms;
    struct str id;
};

struct unit_view {
    const struct json_value *spec; // of the container
    bool is_init;
    bool is_sidecar; // an init container that runs on
    enum unit_state state;
    bool is_started; // the startup probe, if any, has passed
    bool is_ready;
    unsigned restart_count;
    const char *reason; // while waiting
    const char *message;
    uint64_t started_ms;
    struct str id;
    struct unit_outcome outcome; // of this start, once ended
    struct unit_outcome last;    // of the start before
};

struct pod_view {
    const struct json_value *pod;
    const struct json_value *previous; // status sent last, for the times of conditions
    const struct unit_view *units;     // init containers first
    size_t unit_count;
    struct str pod_ip; // empty: none yet
    struct str host_ip;
    uint64_t start_ms;
    uint64_t now_ms;
};

// "Pending", "Running", "Succeeded" or "Failed".
const char *pod_status_phase(const struct pod_view *view);
struct json_value *pod_status_build(struct arena *arena, const struct pod_view *view);
// "2026-01-02T03:04:05Z"
struct str pod_status_time(struct arena *arena, uint64_t wall_ms);

#endif
