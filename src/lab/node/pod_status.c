// SPDX-License-Identifier: Apache-2.0
#include "lab/node/pod_status.h"

#include <stdio.h>
#include <time.h>

#include "base/buf.h"
#include "base/memory.h"

struct str pod_status_time(struct arena *arena, uint64_t wall_ms)
{
    char text[40];
    struct tm parts;
    time_t seconds = (time_t)(wall_ms / 1000);
    (void)gmtime_r(&seconds, &parts);
    size_t size = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return arena_str(arena, str_make(text, size));
}

static bool restarts(const struct pod_view *view, const struct unit_view *unit)
{
    struct str policy = json_str(json_path(view->pod, "spec", "restartPolicy", NULL));
    if (unit->is_sidecar) {
        return true;
    }
    if (str_equal_c(policy, "Never")) {
        return false;
    }
    bool failed = unit->outcome.exit_code != 0;
    return unit->is_init || str_equal_c(policy, "OnFailure") ? failed : true;
}

const char *pod_status_phase(const struct pod_view *view)
{
    size_t apps = 0;
    size_t ended = 0;
    size_t failed = 0;
    bool has_begun = true;
    for (size_t i = 0; i < view->unit_count; i++) {
        const struct unit_view *unit = &view->units[i];
        bool is_over = unit->state == UNIT_ENDED && !restarts(view, unit);
        bool has_run = unit->state == UNIT_RUNNING || unit->state == UNIT_ENDED || unit->restart_count > 0;
        if (unit->is_init) {
            if (is_over && unit->outcome.exit_code != 0) {
                return "Failed";
            }
            continue;
        }
        apps++;
        ended += is_over ? 1 : 0;
        failed += is_over && unit->outcome.exit_code != 0 ? 1 : 0;
        has_begun = has_begun && has_run;
    }
    if (!has_begun) {
        return "Pending";
    }
    return ended < apps ? "Running" : failed > 0 ? "Failed" : "Succeeded";
}

// --- containers ------------------------------------------------------------------------------------

static struct json_value *build_terminated(struct arena *arena, const struct unit_outcome *outcome)
{
    struct json_value *terminated = json_new_object(arena);
    json_set_int(arena, terminated, "exitCode", outcome->exit_code);
    if (outcome->signal != 0) {
        json_set_int(arena, terminated, "signal", outcome->signal);
    }
    json_set_cstr(arena, terminated, "reason", outcome->reason);
    json_set_str(arena, terminated, "startedAt", pod_status_time(arena, outcome->started_ms));
    json_set_str(arena, terminated, "finishedAt", pod_status_time(arena, outcome->finished_ms));
    json_set_str(arena, terminated, "containerID", arena_format(arena, "runc://%.*s", STR_ARG(outcome->id)));
    return terminated;
}

static struct json_value *build_state(struct arena *arena, const struct unit_view *unit)
{
    struct json_value *state = json_new_object(arena);
    if (unit->state == UNIT_RUNNING) {
        struct json_value *running = json_ensure_object(arena, state, "running");
        json_set_str(arena, running, "startedAt", pod_status_time(arena, unit->started_ms));
    } else if (unit->state == UNIT_ENDED) {
        json_set(arena, state, STR("terminated"), build_terminated(arena, &unit->outcome));
    } else {
        struct json_value *waiting = json_ensure_object(arena, state, "waiting");
        json_set_cstr(arena, waiting, "reason", unit->reason);
        if (unit->message[0] != '\0') {
            json_set_cstr(arena, waiting, "message", unit->message);
        }
    }
    return state;
}

static struct json_value *build_unit(struct arena *arena, const struct unit_view *unit)
{
    struct json_value *status = json_new_object(arena);
    struct str image = json_get_str(unit->spec, "image");
    bool is_ready = unit->is_init && !unit->is_sidecar ? unit->state == UNIT_ENDED && unit->outcome.exit_code == 0
                                                        : unit->state == UNIT_RUNNING && unit->is_ready;
    json_set_str(arena, status, "name", json_get_str(unit->spec, "name"));
    json_set(arena, status, STR("state"), build_state(arena, unit));
    struct json_value *last = json_ensure_object(arena, status, "lastState");
    if (unit->last.is_set) {
        json_set(arena, last, STR("terminated"), build_terminated(arena, &unit->last));
    }
    json_set_bool(arena, status, "ready", is_ready);
    json_set_int(arena, status, "restartCount", unit->restart_count);
    json_set_str(arena, status, "image", image);
    json_set_str(arena, status, "imageID", unit->id.size == 0 ? STR_EMPTY : image);
    if (unit->id.size != 0) {
        json_set_str(arena, status, "containerID", arena_format(arena, "runc://%.*s", STR_ARG(unit->id)));
    }
    json_set_bool(arena, status, "started", unit->state == UNIT_RUNNING && unit->is_started);
    return status;
}

static struct json_value *build_units(struct arena *arena, const struct pod_view *view, bool is_init)
{
    struct json_value *list = json_new_array(arena);
    for (size_t i = 0; i < view->unit_count; i++) {
        if (view->units[i].is_init == is_init) {
            json_push(arena, list, build_unit(arena, &view->units[i]));
        }
    }
    return list;
}

// --- conditions ------------------------------------------------------------------------------------

static const struct json_value *find_condition(const struct json_value *status, const char *type)
{
    const struct json_value *list = json_get(status, "conditions");
    for (size_t i = 0; i < json_count(list); i++) {
        if (str_equal_c(json_get_str(json_at(list, i), "type"), type)) {
            return json_at(list, i);
        }
    }
    return NULL;
}

static void add_condition(struct arena *arena, const struct pod_view *view, struct json_value *list, const char *type, bool is_true,
                          const char *reason, struct str message)
{
    const struct json_value *before = find_condition(view->previous, type);
    struct json_value *condition = json_new_object(arena);
    struct str status = is_true ? STR("True") : STR("False");
    struct str since = json_get_str(before, "lastTransitionTime");
    bool is_same = str_equal(json_get_str(before, "status"), status) && since.size > 0;
    json_set_cstr(arena, condition, "type", type);
    json_set_str(arena, condition, "status", status);
    json_set(arena, condition, STR("lastProbeTime"), json_new_null(arena));
    json_set_str(arena, condition, "lastTransitionTime", is_same ? since : pod_status_time(arena, view->now_ms));
    if (!is_true) {
        json_set_cstr(arena, condition, "reason", reason);
        json_set_str(arena, condition, "message", message);
    }
    json_push(arena, list, condition);
}

struct tally {
    bool initialized;
    bool ready;
    struct str unready; // "[a b]"
    struct str uninitialized;
};

static struct tally count_units(struct arena *arena, const struct pod_view *view)
{
    struct tally tally = {.initialized = true, .ready = true};
    struct buf unready = {0};
    struct buf uninitialized = {0};
    for (size_t i = 0; i < view->unit_count; i++) {
        const struct unit_view *unit = &view->units[i];
        struct str name = json_get_str(unit->spec, "name");
        bool is_done = unit->is_sidecar ? unit->state == UNIT_RUNNING && unit->is_started
                                        : unit->state == UNIT_ENDED && unit->outcome.exit_code == 0;
        bool is_ready = unit->state == UNIT_RUNNING && unit->is_ready;
        if (unit->is_init && !is_done) {
            tally.initialized = false;
            buf_printf(&uninitialized, "%s%.*s", uninitialized.size > 0 ? " " : "", STR_ARG(name));
        }
        if ((!unit->is_init || unit->is_sidecar) && !is_ready) {
            tally.ready = false;
            buf_printf(&unready, "%s%.*s", unready.size > 0 ? " " : "", STR_ARG(name));
        }
    }
    tally.unready = arena_format(arena, "containers with unready status: [%.*s]", STR_ARG(buf_view(&unready)));
    tally.uninitialized = arena_format(arena, "containers with incomplete status: [%.*s]", STR_ARG(buf_view(&uninitialized)));
    buf_done(&unready);
    buf_done(&uninitialized);
    return tally;
}

static struct json_value *build_conditions(struct arena *arena, const struct pod_view *view, const char *phase)
{
    struct json_value *list = json_new_array(arena);
    struct tally tally = count_units(arena, view);
    const struct json_value *scheduled = find_condition(json_get(view->pod, "status"), "PodScheduled");
    bool is_over = phase[0] == 'S' || phase[0] == 'F';
    const char *reason = phase[0] == 'S' ? "PodCompleted" : phase[0] == 'F' ? "PodFailed" : "ContainersNotReady";
    add_condition(arena, view, list, "Initialized", tally.initialized, "ContainersNotInitialized", tally.uninitialized);
    add_condition(arena, view, list, "Ready", tally.ready && !is_over, reason, tally.unready);
    add_condition(arena, view, list, "ContainersReady", tally.ready && !is_over, reason, tally.unready);
    if (scheduled != NULL) {
        json_push(arena, list, json_copy(arena, scheduled));
    } else {
        add_condition(arena, view, list, "PodScheduled", true, "", STR_EMPTY);
    }
    return list;
}

// --- the whole -------------------------------------------------------------------------------------

static const char *quality_class(const struct pod_view *view)
{
    static const char *const names[] = {"cpu", "memory"};
    bool has_any = false;
    bool is_guaranteed = true;
    for (size_t i = 0; i < view->unit_count; i++) {
        const struct json_value *resources = json_get(view->units[i].spec, "resources");
        const struct json_value *limits = json_get(resources, "limits");
        const struct json_value *requests = json_get(resources, "requests");
        has_any = has_any || json_count(limits) > 0 || json_count(requests) > 0;
        for (size_t k = 0; k < array_count(names); k++) {
            struct str limit = json_get_str(limits, names[k]);
            struct str request = json_get_str(requests, names[k]);
            is_guaranteed = is_guaranteed && limit.size > 0 && (request.size == 0 || str_equal(request, limit));
        }
    }
    return !has_any ? "BestEffort" : is_guaranteed ? "Guaranteed" : "Burstable";
}

static void set_address(struct arena *arena, struct json_value *status, const char *one, const char *many, struct str ip)
{
    struct json_value *entry = json_new_object(arena);
    json_set_str(arena, status, one, ip);
    json_set_str(arena, entry, "ip", ip);
    json_push(arena, json_ensure_array(arena, status, many), entry);
}

struct json_value *pod_status_build(struct arena *arena, const struct pod_view *view)
{
    struct json_value *status = json_new_object(arena);
    const char *phase = pod_status_phase(view);
    json_set_cstr(arena, status, "phase", phase);
    json_set(arena, status, STR("conditions"), build_conditions(arena, view, phase));
    set_address(arena, status, "hostIP", "hostIPs", view->host_ip);
    if (view->pod_ip.size > 0) {
        set_address(arena, status, "podIP", "podIPs", view->pod_ip);
    }
    json_set_str(arena, status, "startTime", pod_status_time(arena, view->start_ms));
    struct json_value *inits = build_units(arena, view, true);
    if (json_count(inits) > 0) {
        json_set(arena, status, STR("initContainerStatuses"), inits);
    }
    json_set(arena, status, STR("containerStatuses"), build_units(arena, view, false));
    json_set_cstr(arena, status, "qosClass", quality_class(view));
    return status;
}
