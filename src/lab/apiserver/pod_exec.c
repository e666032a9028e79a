// SPDX-License-Identifier: Apache-2.0
//
// pods/exec: a program in a running container, its streams carried by channels.
//
//   request ─► container chosen ─► 101 ─► all channels there ─► runtime->exec ─► bytes both ways ─► Status
//
// Back-pressure goes through: a client that reads slowly stops the reading of the program's output, a program
// that reads slowly the client's. When the client goes away the program is hung up on.
#include <sys/wait.h>

#include "lab/apiserver/channels.h"
#include "lab/apiserver/pod_container.h"
#include "lab/apiserver/request.h"
#include "lab/apiserver/subresource.h"

#define TERMINAL_SIDE_MAX 10000

struct pod_exec {
    struct request *request;
    struct channels *channels;
    struct runtime_process *process; // NULL: not yet, or ended
    struct runtime_command command;
    unsigned columns;
    unsigned rows;
    bool input_ended; // before the process was there
};

// --- how it ended ----------------------------------------------------------------------------------

static struct json_value *status_new(struct arena *arena, const char *outcome)
{
    struct json_value *status = json_new_object(arena);
    (void)json_ensure_object(arena, status, "metadata");
    json_set_cstr(arena, status, "status", outcome);
    return status;
}

static struct json_value *exit_status(struct arena *arena, int status)
{
    int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    if (code == 0) {
        return status_new(arena, "Success");
    }
    struct json_value *result = status_new(arena, "Failure");
    struct json_value *cause = json_new_object(arena);
    json_set_str(arena, result, "message",
                 arena_format(arena, "command terminated with non-zero exit code: exit status %d", code));
    json_set_cstr(arena, result, "reason", "NonZeroExitCode");
    json_set_cstr(arena, cause, "reason", "ExitCode");
    json_set_str(arena, cause, "message", arena_format(arena, "%d", code));
    json_push(arena, json_ensure_array(arena, json_ensure_object(arena, result, "details"), "causes"), cause);
    return result;
}

static struct json_value *internal_status(struct arena *arena, const struct error *err)
{
    struct json_value *result = status_new(arena, "Failure");
    json_set_str(arena, result, "message", arena_format(arena, "Internal error occurred: %s", err->message));
    json_set_cstr(arena, result, "reason", "InternalError");
    json_set_int(arena, result, "code", 500);
    return result;
}

// --- the program -----------------------------------------------------------------------------------

static const struct runtime *runtime_of(const struct pod_exec *exec)
{
    return &exec->request->server->runtime;
}

static void process_on_output(void *owner, enum runtime_stream stream, struct str bytes)
{
    struct pod_exec *exec = owner;
    channels_send(exec->channels, stream == RUNTIME_OUTPUT ? CHANNEL_STDOUT : CHANNEL_STDERR, bytes);
    if (channels_is_congested(exec->channels)) {
        runtime_of(exec)->read(exec->process, false);
    }
}

static void process_on_drained(void *owner)
{
    struct pod_exec *exec = owner;
    channels_read(exec->channels, true);
}

static void process_on_end(void *owner, int status)
{
    struct pod_exec *exec = owner;
    exec->process = NULL;
    channels_finish(exec->channels, exit_status(&exec->request->arena, status));
}

static void start(struct pod_exec *exec)
{
    static const struct runtime_events events = {process_on_output, process_on_drained, process_on_end};
    const struct runtime *runtime = runtime_of(exec);
    struct error err = {0};
    if (runtime->exec == NULL) {
        (void)error_set(&err, ERR_CLOSED, "the node is going away");
    } else {
        exec->process = runtime->exec(runtime->owner, &exec->command, &events, exec, &err);
    }
    if (exec->process == NULL) {
        channels_finish(exec->channels, internal_status(&exec->request->arena, &err));
        return;
    }
    if (exec->columns > 0) {
        runtime->resize(exec->process, exec->columns, exec->rows);
    }
    if (exec->input_ended) {
        runtime->write_end(exec->process);
    }
}

// --- the client ------------------------------------------------------------------------------------

static void resize(struct pod_exec *exec, struct str text)
{
    struct arena arena = {0};
    struct json_value *size;
    if (json_parse(&arena, text, &size, NULL) == ERR_OK) {
        int64_t columns = json_get_int(size, "Width", 0);
        int64_t rows = json_get_int(size, "Height", 0);
        if (columns > 0 && rows > 0 && columns <= TERMINAL_SIDE_MAX && rows <= TERMINAL_SIDE_MAX) {
            exec->columns = (unsigned)columns;
            exec->rows = (unsigned)rows;
            if (exec->process != NULL) {
                runtime_of(exec)->resize(exec->process, exec->columns, exec->rows);
            }
        }
    }
    arena_done(&arena);
}

static void on_ready(void *owner)
{
    start(owner);
}

static void on_data(void *owner, enum channel channel, struct str bytes)
{
    struct pod_exec *exec = owner;
    if (channel == CHANNEL_RESIZE) {
        resize(exec, bytes);
    } else if (channel == CHANNEL_STDIN && exec->process != NULL) {
        runtime_of(exec)->write(exec->process, bytes);
        if (runtime_of(exec)->is_congested(exec->process)) {
            channels_read(exec->channels, false);
        }
    }
}

static void on_end(void *owner, enum channel channel)
{
    struct pod_exec *exec = owner;
    if (channel != CHANNEL_STDIN) {
        return;
    }
    exec->input_ended = true;
    if (exec->process != NULL) {
        runtime_of(exec)->write_end(exec->process);
    }
}

static void on_drained(void *owner)
{
    struct pod_exec *exec = owner;
    if (exec->process != NULL) {
        runtime_of(exec)->read(exec->process, true);
    }
}

static void on_close(void *owner)
{
    struct pod_exec *exec = owner;
    if (exec->process != NULL) {
        runtime_of(exec)->cancel(exec->process);
        exec->process = NULL;
    }
}

static const struct channels_events channels_events = {on_ready, on_data, on_end, on_drained, on_close};

// --- the request -----------------------------------------------------------------------------------

// Words from the query; false: failure set.
static bool read_command(struct request *request, struct runtime_command *command)
{
    struct str *words = arena_array(&request->arena, struct str, REQUEST_PARAMETERS_MAX);
    for (size_t i = 0; i < request->path.parameter_count; i++) {
        if (str_equal(request->path.parameters[i].name, STR("command"))) {
            words[command->word_count++] = request->path.parameters[i].value;
        }
    }
    command->words = words;
    if (command->word_count == 0) {
        return failure_bad_request(&request->failure, &request->arena, "you must specify at least 1 command for the container");
    }
    return true;
}

// The container to run in; false: failure set.
static bool find_container(struct request *request, struct runtime_command *command)
{
    struct arena *arena = &request->arena;
    struct str name;
    struct store_value *value =
        store_latest(request->kind->bucket, kind_key(arena, request->kind, request->path.ns, request->path.name));
    if (value == NULL) {
        return failure_not_found(&request->failure, arena, request->kind, request->path.name);
    }
    const struct json_value *pod = value_object(value);
    if (!pod_container_choose(arena, pod, request_parameter(&request->path, "container"), &name, &request->failure)) {
        return false;
    }
    if (str_is_empty(json_get_str(json_get(pod, "spec"), "nodeName"))) {
        return failure_bad_request(&request->failure, arena, "pod %.*s does not have a host assigned", STR_ARG(request->path.name));
    }
    struct str id = pod_container_id(pod_container_status(pod, name));
    if (str_is_empty(id)) {
        return failure_set(&request->failure, arena, 404, "NotFound",
                           "unable to upgrade connection: container not found (\"%.*s\")", STR_ARG(name));
    }
    command->container_id = arena_str(arena, id);
    return true;
}

// Which streams the client asked for; false: failure set.
static bool read_streams(struct request *request, struct runtime_command *command, unsigned *ret_wanted)
{
    unsigned wanted = 0;
    command->has_terminal = request_flag(&request->path, "tty");
    command->has_input = request_flag(&request->path, "stdin");
    wanted |= command->has_input ? 1u << CHANNEL_STDIN : 0;
    wanted |= request_flag(&request->path, "stdout") ? 1u << CHANNEL_STDOUT : 0;
    wanted |= request_flag(&request->path, "stderr") && !command->has_terminal ? 1u << CHANNEL_STDERR : 0;
    if (wanted == 0) {
        return failure_bad_request(&request->failure, &request->arena,
                                   "you must specify at least 1 of stdin, stdout, stderr");
    }
    *ret_wanted = wanted | (command->has_terminal ? 1u << CHANNEL_RESIZE : 0);
    return true;
}

void pod_exec_serve(struct request *request)
{
    struct pod_exec *exec = arena_new(&request->arena, struct pod_exec);
    unsigned wanted = 0;
    exec->request = request;
    if (request->verb != VERB_GET && request->verb != VERB_CREATE) {
        (void)failure_method(&request->failure, &request->arena);
    } else if (request->server->runtime.exec == NULL) {
        (void)failure_set(&request->failure, &request->arena, 503, "ServiceUnavailable",
                          "the node that runs the pod is not there yet");
    } else if (find_container(request, &exec->command) && read_command(request, &exec->command) &&
               read_streams(request, &exec->command, &wanted)) {
        exec->channels = channels_accept(request, wanted, &channels_events, exec);
    }
    if (exec->channels == NULL) {
        request_fail(request);
    } else if (channels_are_ready(exec->channels)) {
        start(exec);
    }
}
