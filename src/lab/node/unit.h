// SPDX-License-Identifier: Apache-2.0
//
// unit: one container of a pod through all its starts: start, probes, hooks, end, back-off. The pod says
// when to start and stop; everything else that happens wakes the pod.
#ifndef LAB_NODE_UNIT_H
#define LAB_NODE_UNIT_H

#include "lab/node/container_spec.h"
#include "lab/node/pod_status.h"
#include "loop/loop.h"

struct node;
struct unit;

#define UNIT_BACKOFF_FIRST_MS 10000u
#define UNIT_BACKOFF_MAX_MS 300000u
#define UNIT_BACKOFF_RESET_MS 600000u // a start that lasted this long was a good one
#define UNIT_CONFIG_RETRY_MS 2000u

struct unit_host {
    struct node *node;
    const struct json_value *pod; // as first seen; outlives the unit
    void *owner;
    void (*on_change)(void *owner);
};

// spec is the container in host->pod.
struct unit *unit_new(const struct unit_host *host, const struct json_value *spec, bool is_init);
void unit_free(struct unit *unit);

// Starts it unless it waits for its back-off. place->root is filled in here.
void unit_start(struct unit *unit, const struct pod_context *context, struct container_place *place);
// After an end: counts the restart and begins the back-off (the first restart follows at once).
void unit_schedule_restart(struct unit *unit);
// What is due after events, outside their callbacks: probes begin, an ended container's rests go.
void unit_tick(struct unit *unit);
void unit_stop(struct unit *unit, uint64_t grace_ms);
bool unit_is_idle(const struct unit *unit); // no process of it is left
bool unit_may_start(const struct unit *unit);
bool unit_blocks_next(const struct unit *unit); // its postStart hook has not ended yet
void unit_set_waiting(struct unit *unit, const char *reason, const char *message);
struct unit_view unit_view(const struct unit *unit);

#endif
