// SPDX-License-Identifier: Apache-2.0
#include "lab/node/unit.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "lab/node/container.h"
#include "lab/node/node_internal.h"
#include "lab/node/probe.h"
#include "lab/node/process.h"

#define REASON_SIZE 40
#define HOOK_ARGUMENTS_MAX 64
#define STOP_GRACE_DEFAULT_MS 30000u

static struct log_scope scope = LOG_SCOPE("pod");

enum { PROBE_STARTUP, PROBE_LIVENESS, PROBE_READINESS, PROBE_COUNT };

static const char *const probe_fields[] = {"startupProbe", "livenessProbe", "readinessProbe"};
static const char *const probe_names[] = {"Startup", "Liveness", "Readiness"};

struct unit {
    struct unit_host host;
    const struct json_value *spec;
    bool is_init;
    bool is_sidecar;
    enum unit_state state;
    struct container *container;
    struct arena arena; // of this start: id, pod facts for hooks and probes
    struct str id;
    struct str pod_ip;
    unsigned restart_count;
    char reason[REASON_SIZE];
    char message[ERROR_MESSAGE_SIZE];
    uint64_t started_ms;
    struct unit_outcome outcome;
    struct unit_outcome last;
    char outcome_id[256];
    char last_id[256];
    uint64_t backoff_ms;
    struct loop_timer retry; // runs: not to be started yet
    struct loop_timer kill;
    struct probe *probes[PROBE_COUNT];
    bool is_started;
    bool is_ready;
    bool is_stopping;
    struct process *hook;
    bool hook_is_done;
};

static void changed(struct unit *unit)
{
    unit->host.on_change(unit->host.owner);
}

static void on_retry(struct loop_timer *timer)
{
    changed(container_of(timer, struct unit, retry));
}

static void on_kill(struct loop_timer *timer)
{
    struct unit *unit = container_of(timer, struct unit, kill);
    if (unit->container != NULL) {
        container_signal(unit->container, SIGKILL);
    }
}

struct unit *unit_new(const struct unit_host *host, const struct json_value *spec, bool is_init)
{
    struct unit *unit = mem_new(struct unit);
    *unit = (struct unit){.host = *host, .spec = spec, .is_init = is_init};
    unit->is_sidecar = is_init && str_equal_c(json_get_str(spec, "restartPolicy"), "Always");
    loop_timer_init(&unit->retry, host->node->loop, on_retry);
    loop_timer_init(&unit->kill, host->node->loop, on_kill);
    unit_set_waiting(unit, is_init ? "PodInitializing" : "ContainerCreating", "");
    return unit;
}

static void free_probes(struct unit *unit)
{
    for (int i = 0; i < PROBE_COUNT; i++) {
        probe_free(unit->probes[i]);
        unit->probes[i] = NULL;
    }
}

// Ends everything of the present start.
static void drop_container(struct unit *unit)
{
    free_probes(unit);
    loop_timer_stop(&unit->kill);
    process_cancel(unit->hook);
    unit->hook = NULL;
    container_free(unit->container);
    unit->container = NULL;
}

void unit_free(struct unit *unit)
{
    if (unit == NULL) {
        return;
    }
    drop_container(unit);
    loop_timer_stop(&unit->retry);
    arena_done(&unit->arena);
    mem_free(unit);
}

void unit_set_waiting(struct unit *unit, const char *reason, const char *message)
{
    (void)snprintf(unit->reason, sizeof(unit->reason), "%s", reason);
    (void)snprintf(unit->message, sizeof(unit->message), "%s", message);
}

static void record(struct unit *unit, const char *type, const char *reason, const char *format, ...) printf_like(4, 5);
static void record(struct unit *unit, const char *type, const char *reason, const char *format, ...)
{
    char text[ERROR_MESSAGE_SIZE + 128];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    node_record_event(unit->host.node, unit->host.pod, type, reason, str_of(text));
}

// --- while it runs ---------------------------------------------------------------------------------

static void start_probes(struct unit *unit);

static void on_verdict(void *owner, struct probe *probe, bool is_good, const char *message)
{
    struct unit *unit = owner;
    for (int i = 0; i < PROBE_COUNT; i++) {
        if (unit->probes[i] != probe) {
            continue;
        }
        if (!is_good) {
            record(unit, "Warning", "Unhealthy", "%s probe failed: %s", probe_names[i], message);
        }
        if (i == PROBE_READINESS) {
            unit->is_ready = is_good;
        } else if (i == PROBE_STARTUP && is_good) {
            unit->is_started = true; // the others begin when the pod wakes
        } else if (!is_good) {
            record(unit, "Normal", "Killing", "Container %.*s failed %s probe, will be restarted",
                   STR_ARG(json_get_str(unit->spec, "name")), i == PROBE_STARTUP ? "startup" : "liveness");
            unit_stop(unit, (uint64_t)json_get_int(json_get(unit->host.pod, "spec"), "terminationGracePeriodSeconds", 30) * 1000);
        }
    }
    changed(unit);
}

static void start_probe(struct unit *unit, int kind)
{
    const struct json_value *spec = json_get(unit->spec, probe_fields[kind]);
    struct error err = {0};
    if (spec == NULL || unit->probes[kind] != NULL) {
        return;
    }
    struct probe_target target = {.loop = unit->host.node->loop, .pod_ip = unit->pod_ip, .runc_root = unit->host.node->runc_root,
                                  .container_id = unit->id, .container = unit->spec};
    unit->probes[kind] = probe_new(&target, spec, on_verdict, unit, &err);
    if (unit->probes[kind] == NULL) {
        record(unit, "Warning", "Unhealthy", "%s probe: %s", probe_names[kind], err.message);
    }
}

static void start_probes(struct unit *unit)
{
    if (!unit->is_started) {
        start_probe(unit, PROBE_STARTUP);
        return;
    }
    start_probe(unit, PROBE_LIVENESS);
    start_probe(unit, PROBE_READINESS);
}

static void hook_on_done(void *owner, int status, struct str output)
{
    struct unit *unit = owner;
    char text[48];
    unit->hook = NULL;
    unit->hook_is_done = true;
    if (status != 0) {
        record(unit, "Warning", "FailedPostStartHook", "PostStart hook of %.*s: %s: %.*s", STR_ARG(json_get_str(unit->spec, "name")),
               process_status_text(status, text), (int)(output.size < 200 ? output.size : 200), output.data);
        unit_stop(unit, STOP_GRACE_DEFAULT_MS);
    }
    changed(unit);
}

static void start_hook(struct unit *unit)
{
    const struct json_value *command = json_path(unit->spec, "lifecycle", "postStart", "exec", "command", NULL);
    const char *arguments[HOOK_ARGUMENTS_MAX] = {"runc", "--root", unit->host.node->runc_root.data, "exec", unit->id.data};
    struct process_options options = {.arguments = arguments, .output_fd = -1, .error_fd = -1};
    struct error err = {0};
    unit->hook_is_done = json_count(command) == 0;
    for (size_t i = 0; i < json_count(command) && i + 6 < HOOK_ARGUMENTS_MAX; i++) {
        arguments[i + 5] = arena_strdup(&unit->arena, json_str(json_at(command, i)));
    }
    if (!unit->hook_is_done) {
        unit->hook = process_start(unit->host.node->loop, &options, hook_on_done, unit, &err);
        if (unit->hook == NULL) {
            unit->hook_is_done = true;
            record(unit, "Warning", "FailedPostStartHook", "%s", err.message);
        }
    }
}

static void container_on_started(void *owner, struct container *container)
{
    struct unit *unit = owner;
    (void)container;
    unit->state = UNIT_RUNNING;
    unit->started_ms = loop_wall_ms(unit->host.node->loop);
    unit->is_started = json_get(unit->spec, "startupProbe") == NULL;
    unit->is_ready = json_get(unit->spec, "readinessProbe") == NULL && unit->is_started;
    record(unit, "Normal", "Started", "Started container %.*s", STR_ARG(json_get_str(unit->spec, "name")));
    start_hook(unit);
    changed(unit);
}

static void set_outcome(struct unit *unit, int exit_code, int signal_number, const char *reason)
{
    uint64_t now = loop_wall_ms(unit->host.node->loop);
    (void)snprintf(unit->outcome_id, sizeof(unit->outcome_id), "%.*s", STR_ARG(unit->id));
    unit->state = UNIT_ENDED;
    unit->is_ready = false;
    unit->outcome = (struct unit_outcome){.is_set = true, .exit_code = exit_code, .signal = signal_number, .reason = reason,
                                          .started_ms = unit->started_ms == 0 ? now : unit->started_ms, .finished_ms = now,
                                          .id = str_of(unit->outcome_id)};
}

static void container_on_ended(void *owner, struct container *container, int status)
{
    struct unit *unit = owner;
    (void)container;
    int signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    int exit_code = signal_number != 0 ? 128 + signal_number : WEXITSTATUS(status);
    set_outcome(unit, exit_code, signal_number, exit_code == 0 ? "Completed" : "Error");
    changed(unit);
}

static void container_on_failed(void *owner, struct container *container, const struct error *err)
{
    struct unit *unit = owner;
    (void)container;
    record(unit, "Warning", "Failed", "Error: %s", err->message);
    log_warning(&scope, "container did not start", LOG_STR("id", unit->id), LOG_ERR(err));
    unit_set_waiting(unit, "RunContainerError", err->message);
    set_outcome(unit, 128, 0, "StartError");
    changed(unit);
}

// --- start -----------------------------------------------------------------------------------------

// For `lab exec` and `lab logs`: the id, and a log per start.
static enum err make_log_folder(struct unit *unit, const struct pod_context *context, struct str name, struct str *ret_folder,
                                struct error *err)
{
    struct str folder = arena_format(&unit->arena, "%.*s/pods/%.*s_%.*s/%.*s", STR_ARG(unit->host.node->state_directory),
                                     STR_ARG(context->ns), STR_ARG(context->name), STR_ARG(name));
    enum err code = file_make_directories(folder.data, 0755, err);
    if (code == ERR_OK) {
        struct str file = arena_format(&unit->arena, "%.*s/id", STR_ARG(folder));
        code = file_write_atomic(file.data, arena_format(&unit->arena, "%.*s\n", STR_ARG(unit->id)), 0644, err);
    }
    *ret_folder = folder;
    return code;
}

static enum err start_container(struct unit *unit, const struct pod_context *context, struct container_place *place,
                                const struct image *image, struct error *err)
{
    static const struct container_events events = {container_on_started, container_on_failed, container_on_ended};
    struct node *node = unit->host.node;
    struct str name = json_get_str(unit->spec, "name");
    struct json_value *spec = NULL;
    struct str folder;
    struct str bundle = arena_format(&unit->arena, "%.*s/containers/%.*s", STR_ARG(node->run_directory), STR_ARG(unit->id));
    place->root = arena_format(&unit->arena, "%.*s/rootfs", STR_ARG(bundle));
    place->groups = node->groups;
    place->cgroup = arena_format(&unit->arena, "%.*s/%.*s", STR_ARG(node->cgroup), STR_ARG(unit->id));
    enum err code = container_spec_build(&unit->arena, context, unit->spec, image, place, &spec, err);
    if (code != ERR_OK) {
        return code;
    }
    if (make_log_folder(unit, context, name, &folder, err) != ERR_OK) {
        return ERR_IO;
    }
    struct container_options options = {
        .loop = node->loop, .id = unit->id, .runc_root = node->runc_root, .bundle = bundle,
        .log_path = arena_format(&unit->arena, "%.*s/%u.log", STR_ARG(folder), unit->restart_count),
        .host_name = context->host_name};
    unit->container = container_new(&options, spec, &events, unit, err);
    return unit->container == NULL ? ERR_IO : ERR_OK;
}

static void keep_facts(struct unit *unit, const struct pod_context *context)
{
    arena_reset(&unit->arena);
    unit->pod_ip = arena_str(&unit->arena, context->pod_ip);
    unit->id = arena_format(&unit->arena, "%.*s-%.*s-%u", STR_ARG(context->uid), STR_ARG(json_get_str(unit->spec, "name")),
                            unit->restart_count);
    unit->started_ms = 0;
    unit->is_started = false;
    unit->is_ready = false;
    unit->is_stopping = false;
    unit->hook_is_done = false;
}

void unit_start(struct unit *unit, const struct pod_context *context, struct container_place *place)
{
    struct error err = {0};
    struct str image_name = json_get_str(unit->spec, "image");
    drop_container(unit);
    keep_facts(unit, context);
    const struct image *image = image_find(image_name, &err);
    if (image == NULL) {
        // The table does not change while we run, so there is nothing to try again.
        if (unit->reason[0] != 'E') {
            record(unit, "Warning", "Failed", "Failed to pull image \"%.*s\": %s", STR_ARG(image_name), err.message);
        }
        unit_set_waiting(unit, "ErrImagePull", err.message);
        loop_timer_start(&unit->retry, UNIT_BACKOFF_MAX_MS);
        return;
    }
    enum err code = start_container(unit, context, place, image, &err);
    if (code == ERR_OK) {
        unit->state = UNIT_STARTING;
        return;
    }
    bool is_config = code == ERR_NOT_FOUND || code == ERR_INVALID;
    const char *reason = is_config ? "CreateContainerConfigError" : "RunContainerError";
    if (!str_equal_c(str_of(unit->message), err.message)) {
        record(unit, "Warning", "Failed", "Error: %s", err.message);
    }
    unit_set_waiting(unit, reason, err.message);
    loop_timer_start(&unit->retry, UNIT_CONFIG_RETRY_MS);
}

void unit_schedule_restart(struct unit *unit)
{
    bool was_good = unit->outcome.finished_ms - unit->outcome.started_ms >= UNIT_BACKOFF_RESET_MS;
    uint64_t delay = was_good ? 0 : unit->backoff_ms;
    drop_container(unit);
    unit->last = unit->outcome;
    (void)snprintf(unit->last_id, sizeof(unit->last_id), "%s", unit->outcome_id);
    unit->last.id = str_of(unit->last_id);
    unit->outcome = (struct unit_outcome){0};
    unit->state = UNIT_WAITING;
    unit->restart_count++;
    unit->backoff_ms = delay == 0 ? UNIT_BACKOFF_FIRST_MS : delay * 2 < UNIT_BACKOFF_MAX_MS ? delay * 2 : UNIT_BACKOFF_MAX_MS;
    if (delay > 0) {
        char message[96];
        (void)snprintf(message, sizeof(message), "back-off %llus restarting failed container", (unsigned long long)delay / 1000);
        unit_set_waiting(unit, "CrashLoopBackOff", message);
        record(unit, "Warning", "BackOff", "Back-off restarting failed container %.*s", STR_ARG(json_get_str(unit->spec, "name")));
        loop_timer_start(&unit->retry, delay);
    }
}

void unit_stop(struct unit *unit, uint64_t grace_ms)
{
    if (unit->container == NULL || unit->state == UNIT_ENDED || unit->is_stopping) {
        return;
    }
    unit->is_stopping = true;
    container_signal(unit->container, grace_ms == 0 ? SIGKILL : SIGTERM);
    // A start under way has no process yet to take the first signal.
    loop_timer_start(&unit->kill, grace_ms == 0 ? 1 : grace_ms);
}

bool unit_is_idle(const struct unit *unit)
{
    return unit->state == UNIT_WAITING || unit->state == UNIT_ENDED;
}

bool unit_may_start(const struct unit *unit)
{
    return unit->state == UNIT_WAITING && !loop_timer_is_running(&unit->retry);
}

bool unit_blocks_next(const struct unit *unit)
{
    return json_path(unit->spec, "lifecycle", "postStart", NULL) != NULL && !(unit->state == UNIT_RUNNING && unit->hook_is_done);
}

void unit_tick(struct unit *unit)
{
    if (unit->state == UNIT_RUNNING && !unit->is_stopping) {
        if (unit->is_started && unit->probes[PROBE_STARTUP] != NULL) {
            probe_free(unit->probes[PROBE_STARTUP]);
            unit->probes[PROBE_STARTUP] = NULL;
            unit->is_ready = unit->is_ready || json_get(unit->spec, "readinessProbe") == NULL;
        }
        start_probes(unit);
    } else if (unit->state == UNIT_ENDED && unit->container != NULL) {
        drop_container(unit);
    }
}

struct unit_view unit_view(const struct unit *unit)
{
    return (struct unit_view){.spec = unit->spec,
                              .is_init = unit->is_init,
                              .is_sidecar = unit->is_sidecar,
                              .state = unit->state,
                              .is_started = unit->is_started,
                              .is_ready = unit->is_ready,
                              .restart_count = unit->restart_count,
                              .reason = unit->reason,
                              .message = unit->message,
                              .started_ms = unit->started_ms,
                              .id = unit->state == UNIT_WAITING ? unit->last.id : unit->id,
                              .outcome = unit->outcome,
                              .last = unit->last};
}
