// SPDX-License-Identifier: Apache-2.0
#include "lab/node/pod.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/vec.h"
#include "lab/node/node_internal.h"
#include "lab/node/pod_files.h"
#include "lab/node/pod_status.h"
#include "lab/node/pod_tokens.h"
#include "lab/node/unit.h"
#include "lab/node/volumes.h"

#define RETRY_MS 1000u
#define GRACE_DEFAULT_S 30
#define UNITS_MAX 64u
#define OPEN_DESCRIPTORS_MAX 16

static struct log_scope scope = LOG_SCOPE("pod");

enum pod_state {
    POD_PREPARING, // waits for its network, or for what it mounts
    POD_RUNNING,
    POD_OVER,      // every container has ended for good
    POD_STOPPING,  // deleted: containers are being ended
    POD_DELETING,  // nothing is left here; the API server has not forgotten it yet
    POD_GONE,
};

static const char *const state_names[] = {"preparing", "running", "over", "stopping", "deleting", "gone"};

struct volume_state {
    uint64_t hash; // of what was written; 0: nothing yet
};

struct pod {
    struct node *node;
    struct kube_object *first;  // spec: what units and tokens point into
    struct kube_object *object; // as it is now
    bool is_removed;            // from the API server
    enum pod_state state;
    struct loop_task task;
    struct loop_timer retry;
    struct sandbox sandbox;
    bool has_address;
    struct in_addr address;
    char ip[INET_ADDRSTRLEN];
    struct str host_name;
    struct str directory; // RUN/pods/UID
    struct arena arena;
    struct pod_tokens *tokens;
    VEC(struct unit *) units; // init containers first
    VEC(struct volume_state) volumes;
    uint64_t volume_version;
    char waiting[ERROR_MESSAGE_SIZE]; // the last thing that was reported as missing
    uint64_t start_ms;
    // status
    struct arena status_arena;
    struct json_value *status; // sent, or being sent
    struct kube_call *status_call;
    bool status_failed;
    struct kube_call *delete_call;
};

static struct str spec_str(const struct pod *pod, const char *name)
{
    return json_get_str(json_get(pod->first->value, "spec"), name);
}

static bool is_on_host(const struct pod *pod)
{
    return json_get_bool(json_get(pod->first->value, "spec"), "hostNetwork", false);
}

static void set_state(struct pod *pod, enum pod_state state)
{
    log_debug(&scope, "pod changes state", LOG_STR("namespace", pod->first->ns), LOG_STR("pod", pod->first->name),
              LOG_CSTR("from", state_names[pod->state]), LOG_CSTR("to", state_names[state]));
    pod->state = state;
}

void pod_wake(struct pod *pod)
{
    loop_task_schedule(pod->node->loop, &pod->task);
}

static void wake(void *owner)
{
    pod_wake(owner);
}

static void on_retry(struct loop_timer *timer)
{
    pod_wake(container_of(timer, struct pod, retry));
}

// --- what the pure parts see -----------------------------------------------------------------------

static const struct json_value *source_find(void *owner, enum object_kind kind, struct str ns, struct str name)
{
    const struct pod *pod = owner;
    return pod->node->source.find(pod->node->source.owner, kind, ns, name);
}

static const struct json_value *source_each_service(void *owner, size_t *at)
{
    const struct pod *pod = owner;
    return pod->node->source.each_service(pod->node->source.owner, at);
}

static struct str source_token(void *owner, struct str volume, size_t source)
{
    const struct pod *pod = owner;
    return pod_tokens_get(pod->tokens, volume, source);
}

static struct pod_context make_context(struct pod *pod)
{
    return (struct pod_context){
        .pod = pod->object->value,
        .ns = pod->first->ns,
        .name = pod->first->name,
        .uid = pod->first->uid,
        .pod_ip = str_of(pod->ip),
        .host_ip = pod->node->node_ip,
        .node_name = pod->node->name,
        .host_name = pod->host_name,
        .source = {.owner = pod, .find = source_find, .each_service = source_each_service, .token = source_token},
    };
}

// --- preparing -------------------------------------------------------------------------------------

// Says once what the pod waits for (not at once: tokens take a moment), and tries again on its own if
// nothing wakes it earlier.
static void wait_for(struct pod *pod, const char *reason, const char *message)
{
    if (!loop_timer_is_running(&pod->retry)) {
        loop_timer_start(&pod->retry, RETRY_MS);
    }
    bool is_early = loop_wall_ms(pod->node->loop) - pod->start_ms < RETRY_MS;
    if (is_early || str_equal_c(str_of(pod->waiting), message)) {
        return;
    }
    (void)snprintf(pod->waiting, sizeof(pod->waiting), "%s", message);
    node_record_event(pod->node, pod->first->value, "Warning", reason, str_of(message));
}

static bool open_sandbox(struct pod *pod)
{
    struct error err = {0};
    struct node *node = pod->node;
    if (sandbox_is_open(&pod->sandbox)) {
        return true;
    }
    if (!is_on_host(pod) && !pod->has_address) {
        pod->has_address = address_pool_take(&node->addresses, &pod->address);
        if (!pod->has_address) {
            wait_for(pod, "FailedCreatePodSandBox", "no address is left in the node's pod range");
            return false;
        }
    }
    struct sandbox_options options = {.number = ++node->sandbox_count, .host_network = is_on_host(pod), .address = pod->address,
                                      .gateway = node->gateway, .host_name = pod->host_name.data};
    if (sandbox_open(&pod->sandbox, &options, &err) != ERR_OK) {
        wait_for(pod, "FailedCreatePodSandBox", err.message);
        return false;
    }
    if (is_on_host(pod)) {
        (void)snprintf(pod->ip, sizeof(pod->ip), "%.*s", STR_ARG(node->node_ip));
    } else {
        (void)inet_ntop(AF_INET, &pod->address, pod->ip, sizeof(pod->ip));
    }
    return true;
}

static enum err write_pod_files(struct pod *pod, struct error *err)
{
    struct arena arena = {0};
    struct pod_context context = make_context(pod);
    struct str path = arena_format(&arena, "%.*s/hosts", STR_ARG(pod->directory));
    enum err code = file_make_directories(pod->directory.data, 0755, err);
    if (code == ERR_OK) {
        code = file_write_atomic(path.data, pod_files_hosts(&arena, &context), 0644, err);
    }
    path = arena_format(&arena, "%.*s/resolv.conf", STR_ARG(pod->directory));
    if (code == ERR_OK) {
        struct str text = pod_files_resolv(&arena, &context, pod->node->dns_ip, pod->node->machine_resolv);
        code = file_write_atomic(path.data, text, 0644, err);
    }
    path = arena_format(&arena, "%.*s/volumes", STR_ARG(pod->directory));
    if (code == ERR_OK) {
        code = volumes_make_directories(path.data, pod->first->value, err);
    }
    arena_done(&arena);
    return code;
}

static enum err write_volume(struct pod *pod, const struct json_value *volume, struct volume_state *state, struct error *err)
{
    struct arena arena = {0};
    struct volume_files files = {0};
    struct pod_context context = make_context(pod);
    int64_t group = -1;
    (void)json_int(json_path(pod->first->value, "spec", "securityContext", "fsGroup", NULL), &group);
    enum err code = volume_build(&arena, &context, volume, &files, err);
    uint64_t hash = volume_hash(&files);
    if (code == ERR_OK && hash != state->hash) {
        struct str path = arena_format(&arena, "%.*s/volumes/%.*s", STR_ARG(pod->directory), STR_ARG(json_get_str(volume, "name")));
        code = volume_write(path.data, &files, ++pod->volume_version, group, err);
        state->hash = code == ERR_OK ? hash : 0;
    }
    vec_done(&files.list);
    arena_done(&arena);
    return code;
}

// All volumes as they should be now. Also brings running pods up to date.
static bool write_volumes(struct pod *pod, struct error *err)
{
    const struct json_value *volumes = json_path(pod->first->value, "spec", "volumes", NULL);
    for (size_t i = 0; i < json_count(volumes); i++) {
        const struct json_value *volume = json_at(volumes, i);
        if (volume_has_files(volume) && write_volume(pod, volume, &pod->volumes.items[i], err) != ERR_OK) {
            return false;
        }
    }
    return true;
}

static void prepare(struct pod *pod)
{
    struct error err = {0};
    if (!open_sandbox(pod)) {
        return;
    }
    if (write_pod_files(pod, &err) != ERR_OK || !write_volumes(pod, &err)) {
        const char *token_error = pod_tokens_error(pod->tokens);
        wait_for(pod, "FailedMount", token_error[0] != '\0' ? token_error : err.message);
        return;
    }
    loop_timer_stop(&pod->retry);
    set_state(pod, POD_RUNNING);
}

// --- running ---------------------------------------------------------------------------------------

static bool should_restart(const struct pod *pod, const struct unit_view *view)
{
    struct str policy = spec_str(pod, "restartPolicy");
    bool has_failed = view->outcome.exit_code != 0;
    if (view->is_sidecar) {
        return true;
    }
    if (view->is_init || str_equal_c(policy, "OnFailure")) {
        return has_failed && !str_equal_c(policy, "Never");
    }
    return !str_equal_c(policy, "Never");
}

static void start_unit(struct pod *pod, struct unit *unit)
{
    struct arena arena = {0};
    struct pod_context context = make_context(pod);
    struct container_place place = {.programs = pod->node->programs};
    int own = (int)getpid();
    place.hosts_file = arena_format(&arena, "%.*s/hosts", STR_ARG(pod->directory));
    place.resolv_file = arena_format(&arena, "%.*s/resolv.conf", STR_ARG(pod->directory));
    place.volumes = arena_format(&arena, "%.*s/volumes", STR_ARG(pod->directory));
    if (!is_on_host(pod)) {
        place.net_namespace = arena_format(&arena, "/proc/%d/fd/%d", own, pod->sandbox.net_fd);
        place.uts_namespace = arena_format(&arena, "/proc/%d/fd/%d", own, pod->sandbox.uts_fd);
        place.ipc_namespace = arena_format(&arena, "/proc/%d/fd/%d", own, pod->sandbox.ipc_fd);
    }
    unit_start(unit, &context, &place);
    arena_done(&arena);
}

// Starts or restarts a unit if it is due. True: those behind it may go on.
static bool step_unit(struct pod *pod, struct unit *unit)
{
    unit_tick(unit);
    struct unit_view view = unit_view(unit);
    if (view.state == UNIT_ENDED && should_restart(pod, &view)) {
        unit_schedule_restart(unit);
        view = unit_view(unit);
    }
    if (view.state == UNIT_WAITING && unit_may_start(unit)) {
        start_unit(pod, unit);
        view = unit_view(unit);
    }
    if (view.is_init && !view.is_sidecar) {
        return view.state == UNIT_ENDED && view.outcome.exit_code == 0;
    }
    if (view.is_sidecar) {
        return view.state == UNIT_RUNNING && view.is_started;
    }
    return !unit_blocks_next(unit);
}

static void run_units(struct pod *pod)
{
    struct error err = {0};
    if (!write_volumes(pod, &err)) {
        log_warning(&scope, "cannot renew a volume, keeping the old content", LOG_STR("pod", pod->first->name), LOG_ERR(&err));
    }
    for (size_t i = 0; i < pod->units.count; i++) {
        if (!step_unit(pod, pod->units.items[i])) {
            break;
        }
    }
}

// --- status ----------------------------------------------------------------------------------------

static void send_status(struct pod *pod);

static void status_on_done(void *owner, enum err code, const struct kube_response *response)
{
    struct pod *pod = owner;
    pod->status_call = NULL;
    pod->status_failed = code != ERR_OK && code != ERR_NOT_FOUND;
    if (pod->status_failed) {
        log_debug(&scope, "status was not taken, trying again", LOG_STR("pod", pod->first->name), LOG_STR("error", response->message));
        loop_timer_start(&pod->retry, RETRY_MS);
        return;
    }
    pod_wake(pod); // what changed meanwhile
}

static struct pod_view make_view(const struct pod *pod, struct unit_view *units)
{
    for (size_t i = 0; i < pod->units.count; i++) {
        units[i] = unit_view(pod->units.items[i]);
    }
    return (struct pod_view){.pod = pod->object->value,
                             .previous = pod->status != NULL ? pod->status : json_get(pod->object->value, "status"),
                             .units = units,
                             .unit_count = pod->units.count,
                             .pod_ip = str_of(pod->ip),
                             .host_ip = pod->node->node_ip,
                             .start_ms = pod->start_ms,
                             .now_ms = loop_wall_ms(pod->node->loop)};
}

// Sends what differs from what was sent last; one call at a time.
static void send_status(struct pod *pod)
{
    struct unit_view units[UNITS_MAX];
    struct arena arena = {0};
    if (pod->status_call != NULL || pod->is_removed || pod->state >= POD_DELETING) {
        return;
    }
    struct pod_view view = make_view(pod, units);
    struct json_value *status = pod_status_build(&arena, &view);
    if (!pod->status_failed && pod->status != NULL && json_equal(status, pod->status)) {
        arena_done(&arena);
        return;
    }
    struct json_value *patch = json_new_object(&arena);
    json_set(&arena, patch, STR("status"), status);
    pod->status_call = kube_patch(pod->node->client, &kube_pods, pod->first->ns, pod->first->name, STR("status"),
                                  STR("application/merge-patch+json"), patch, status_on_done, pod);
    arena_done(&pod->status_arena);
    pod->status_arena = arena;
    pod->status = status;
}

// --- stopping --------------------------------------------------------------------------------------

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

static void clean_up(struct pod *pod)
{
    char path[PATH_MAX];
    sandbox_close(&pod->sandbox);
    if (pod->has_address) {
        address_pool_give(&pod->node->addresses, pod->address);
        pod->has_address = false;
    }
    (void)nftw(pod->directory.data, remove_entry, OPEN_DESCRIPTORS_MAX, FTW_DEPTH | FTW_PHYS);
    (void)snprintf(path, sizeof(path), "%.*s/pods/%.*s_%.*s", STR_ARG(pod->node->state_directory), STR_ARG(pod->first->ns),
                   STR_ARG(pod->first->name));
    (void)nftw(path, remove_entry, OPEN_DESCRIPTORS_MAX, FTW_DEPTH | FTW_PHYS);
}

static void delete_on_done(void *owner, enum err code, const struct kube_response *response)
{
    struct pod *pod = owner;
    (void)response;
    pod->delete_call = NULL;
    if (code != ERR_OK && code != ERR_NOT_FOUND) {
        loop_timer_start(&pod->retry, RETRY_MS);
    } else if (code == ERR_NOT_FOUND) {
        pod->is_removed = true;
        pod_wake(pod);
    }
}

static bool all_idle(const struct pod *pod)
{
    for (size_t i = 0; i < pod->units.count; i++) {
        unit_tick(pod->units.items[i]);
        if (!unit_is_idle(pod->units.items[i])) {
            return false;
        }
    }
    return true;
}

static void step_stopping(struct pod *pod)
{
    if (pod->state == POD_STOPPING && all_idle(pod)) {
        clean_up(pod);
        set_state(pod, POD_DELETING);
    }
    if (pod->state != POD_DELETING) {
        return;
    }
    if (pod->is_removed || pod->node->is_draining) {
        set_state(pod, POD_GONE);
    } else if (pod->delete_call == NULL) {
        pod->delete_call = kube_delete(pod->node->client, &kube_pods, pod->first->ns, pod->first->name, 0, delete_on_done, pod);
    }
}

void pod_stop(struct pod *pod, uint64_t grace_ms)
{
    if (pod->state < POD_STOPPING) {
        set_state(pod, POD_STOPPING);
        node_record_event(pod->node, pod->first->value, "Normal", "Killing", STR("Stopping containers"));
    }
    for (size_t i = 0; i < pod->units.count; i++) {
        unit_stop(pod->units.items[i], grace_ms);
    }
    pod_wake(pod);
}

// --- the one function that looks at everything -----------------------------------------------------

static void on_run(struct loop_task *task)
{
    struct pod *pod = container_of(task, struct pod, task);
    struct unit_view units[UNITS_MAX];
    if (pod->state == POD_PREPARING) {
        prepare(pod);
    }
    if (pod->state == POD_RUNNING) {
        run_units(pod);
        struct pod_view view = make_view(pod, units);
        const char *phase = pod_status_phase(&view);
        if (phase[0] == 'S' || phase[0] == 'F') {
            set_state(pod, POD_OVER);
        }
    }
    if (pod->state >= POD_STOPPING) {
        step_stopping(pod);
    }
    send_status(pod);
    if (pod->state == POD_GONE) {
        struct node *node = pod->node;
        struct str uid = pod->first->uid;
        node_forget_pod(node, uid);
    }
}

// --- life ------------------------------------------------------------------------------------------

static void add_units(struct pod *pod, const char *list_name, bool is_init)
{
    struct unit_host host = {.node = pod->node, .pod = pod->first->value, .owner = pod, .on_change = wake};
    const struct json_value *list = json_path(pod->first->value, "spec", list_name, NULL);
    for (size_t i = 0; i < json_count(list) && pod->units.count < UNITS_MAX; i++) {
        vec_push(&pod->units, unit_new(&host, json_at(list, i), is_init));
    }
}

// Which container is meant where none is named.
static void write_default_container(struct pod *pod)
{
    struct error err = {0};
    struct arena arena = {0};
    struct str name = kube_annotation(pod->first->value, STR("kubectl.kubernetes.io/default-container"));
    if (name.size == 0) {
        name = json_get_str(json_at(json_path(pod->first->value, "spec", "containers", NULL), 0), "name");
    }
    struct str folder = arena_format(&arena, "%.*s/pods/%.*s_%.*s", STR_ARG(pod->node->state_directory), STR_ARG(pod->first->ns),
                                     STR_ARG(pod->first->name));
    if (file_make_directories(folder.data, 0755, &err) != ERR_OK ||
        file_write_atomic(arena_format(&arena, "%.*s/default", STR_ARG(folder)).data, arena_format(&arena, "%.*s\n", STR_ARG(name)),
                          0644, &err) != ERR_OK) {
        log_warning(&scope, "cannot note the default container, going on", LOG_ERR(&err));
    }
    arena_done(&arena);
}

struct pod *pod_new(struct node *node, struct kube_object *object)
{
    struct pod *pod = mem_new(struct pod);
    *pod = (struct pod){.node = node, .first = kube_object_ref(object), .object = kube_object_ref(object),
                        .start_ms = loop_wall_ms(node->loop)};
    sandbox_init(&pod->sandbox);
    loop_task_init(&pod->task, on_run);
    loop_timer_init(&pod->retry, node->loop, on_retry);
    pod->host_name = pod_files_host_name(&pod->arena, object->value, node->name);
    pod->directory = arena_format(&pod->arena, "%.*s/pods/%.*s", STR_ARG(node->run_directory), STR_ARG(object->uid));
    pod->tokens = pod_tokens_new(node, pod->first->value, wake, pod);
    add_units(pod, "initContainers", true);
    add_units(pod, "containers", false);
    const struct json_value *volumes = json_path(object->value, "spec", "volumes", NULL);
    for (size_t i = 0; i < json_count(volumes); i++) {
        vec_push(&pod->volumes, (struct volume_state){0});
    }
    write_default_container(pod);
    pod_tokens_start(pod->tokens);
    pod_set_object(pod, object);
    return pod;
}

void pod_set_object(struct pod *pod, struct kube_object *object)
{
    if (object == NULL) {
        pod->is_removed = true;
        pod_stop(pod, 0);
        return;
    }
    kube_object_unref(pod->object);
    pod->object = kube_object_ref(object);
    const struct json_value *metadata = json_get(object->value, "metadata");
    if (json_get_str(metadata, "deletionTimestamp").size > 0) {
        int64_t grace = json_get_int(metadata, "deletionGracePeriodSeconds", GRACE_DEFAULT_S);
        pod_stop(pod, grace < 0 ? 0 : (uint64_t)grace * 1000);
    }
    pod_wake(pod);
}

void pod_free(struct pod *pod)
{
    if (pod == NULL) {
        return;
    }
    loop_task_cancel(&pod->task);
    loop_timer_stop(&pod->retry);
    if (pod->status_call != NULL) {
        kube_call_cancel(pod->status_call);
    }
    if (pod->delete_call != NULL) {
        kube_call_cancel(pod->delete_call);
    }
    for (size_t i = 0; i < pod->units.count; i++) {
        unit_free(pod->units.items[i]);
    }
    vec_done(&pod->units);
    vec_done(&pod->volumes);
    pod_tokens_free(pod->tokens);
    sandbox_close(&pod->sandbox);
    if (pod->has_address) {
        address_pool_give(&pod->node->addresses, pod->address);
    }
    arena_done(&pod->status_arena);
    arena_done(&pod->arena);
    kube_object_unref(pod->object);
    kube_object_unref(pod->first);
    mem_free(pod);
}
