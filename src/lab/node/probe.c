// SPDX-License-Identifier: Apache-2.0
//
//            period                     answer, timeout
//   WAITING ───────► asking (http, tcp or exec) ───────► count ──► WAITING
//
#include "lab/node/probe.h"

#include <stdio.h>

#include "base/memory.h"
#include "lab/node/process.h"
#include "net/http.h"
#include "net/stream.h"

#define ARGUMENTS_MAX 64
#define MESSAGE_SIZE 256

struct probe {
    struct loop *loop;
    struct arena arena; // holds the copies below
    probe_verdict_fn *on_verdict;
    void *owner;
    const struct json_value *spec;
    struct str pod_ip;
    struct str runc_root;
    struct str container_id;
    uint16_t port;
    uint64_t period_ms;
    uint64_t timeout_ms;
    int64_t success_threshold;
    int64_t failure_threshold;
    // runtime
    struct loop_timer timer;    // next round
    struct loop_timer deadline; // of this one
    struct process *process;
    struct stream *stream;
    struct http_client *client;
    struct http_exchange *exchange;
    struct tls_context *tls;
    struct loop_task cleanup; // of a client that is done, outside its own callbacks
    struct http_client *old_client;
    bool is_asking;
    bool has_verdict;
    bool is_good;
    int64_t success_count; // in a row
    int64_t failure_count;
};

static void tcp_on_open(void *owner, struct stream *stream);
static void tcp_on_read(void *owner, struct stream *stream, struct str bytes);
static void tcp_on_close(void *owner, struct stream *stream, const struct error *err);

static const struct stream_events tcp_events = {.on_open = tcp_on_open, .on_read = tcp_on_read, .on_close = tcp_on_close};

static void free_client(struct loop_task *task)
{
    struct probe *probe = container_of(task, struct probe, cleanup);
    http_client_free(probe->old_client);
    probe->old_client = NULL;
}

// Ends whatever asks; no event of it comes any more.
static void stop_asking(struct probe *probe)
{
    probe->is_asking = false;
    loop_timer_stop(&probe->deadline);
    process_cancel(probe->process);
    probe->process = NULL;
    if (probe->stream != NULL) {
        struct stream *stream = probe->stream;
        probe->stream = NULL; // its on_close is not an answer any more
        stream_set_events(stream, &tcp_events, NULL);
        stream_abort(stream);
    }
    if (probe->exchange != NULL) {
        http_set_events(probe->exchange, NULL, NULL);
        http_cancel(probe->exchange);
        probe->exchange = NULL;
    }
    if (probe->client != NULL) {
        if (probe->old_client != NULL) {
            free_client(&probe->cleanup);
        }
        probe->old_client = probe->client;
        probe->client = NULL;
        loop_task_schedule_close(probe->loop, &probe->cleanup);
    }
}

static void finish(struct probe *probe, bool is_good, const char *message)
{
    stop_asking(probe);
    probe->success_count = is_good ? probe->success_count + 1 : 0;
    probe->failure_count = is_good ? 0 : probe->failure_count + 1;
    bool is_decided = is_good ? probe->success_count >= probe->success_threshold : probe->failure_count >= probe->failure_threshold;
    loop_timer_start(&probe->timer, probe->period_ms);
    if (is_decided && (!probe->has_verdict || probe->is_good != is_good)) {
        probe->has_verdict = true;
        probe->is_good = is_good;
        probe->on_verdict(probe->owner, probe, is_good, message);
    }
}

static void on_deadline(struct loop_timer *timer)
{
    struct probe *probe = container_of(timer, struct probe, deadline);
    finish(probe, false, "no answer in time (timeoutSeconds)");
}

// --- httpGet ---------------------------------------------------------------------------------------

static void http_on_head(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct probe *probe = owner;
    char message[MESSAGE_SIZE];
    (void)exchange;
    (void)end;
    (void)snprintf(message, sizeof(message), "HTTP probe failed with statuscode: %d", head->status);
    finish(probe, head->status >= 200 && head->status < 400, message);
}

static void http_on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)owner;
    (void)exchange;
    (void)bytes;
    (void)end;
}

static void http_on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    struct probe *probe = owner;
    (void)exchange;
    probe->exchange = NULL;
    finish(probe, false, err->code == ERR_OK ? "the connection closed without an answer" : err->message);
}

static void ask_http(struct probe *probe, const struct json_value *get)
{
    static const struct http_events events = {.on_head = http_on_head, .on_data = http_on_data, .on_close = http_on_close};
    struct http_client_options options = {.protocol = HTTP_PROTOCOL_1, .connections_max = 1};
    struct http_head head;
    char authority[MESSAGE_SIZE];
    struct str host = json_get_str(get, "host");
    struct str path = json_get_str(get, "path");
    bool is_tls = str_equal_c(json_get_str(get, "scheme"), "HTTPS");
    struct error err = {0};
    host = str_is_empty(host) ? probe->pod_ip : host;
    path = str_is_empty(path) ? STR("/") : path;
    if (address_from_ip(host, probe->port, &options.address, &err) != ERR_OK) {
        finish(probe, false, err.message);
        return;
    }
    if (is_tls && probe->tls == NULL) {
        struct tls_options tls = {.role = TLS_CLIENT, .peer = TLS_PEER_NONE};
        probe->tls = tls_context_new(&tls, &err);
    }
    options.tls = is_tls ? probe->tls : NULL;
    probe->client = http_client_new(probe->loop, &options);
    (void)snprintf(authority, sizeof(authority), "%.*s:%u", STR_ARG(host), probe->port);
    http_head_init_request(&head, STR("GET"), is_tls ? STR("https") : STR("http"), str_of(authority), path);
    (void)http_head_add(&head, STR("user-agent"), STR("kube-probe/1.27"));
    (void)http_head_add(&head, STR("accept"), STR("*/*"));
    const struct json_value *headers = json_get(get, "httpHeaders");
    for (size_t i = 0; i < json_count(headers); i++) {
        struct str name = json_get_str(json_at(headers, i), "name");
        if (str_equal_nocase(name, STR("host"))) {
            head.authority = json_get_str(json_at(headers, i), "value");
        } else {
            (void)http_head_set(&head, name, json_get_str(json_at(headers, i), "value"));
        }
    }
    probe->exchange = http_request(probe->client, &head, true, &events, probe);
}

// --- tcpSocket -------------------------------------------------------------------------------------

static void tcp_on_open(void *owner, struct stream *stream)
{
    (void)stream;
    finish(owner, true, "");
}

static void tcp_on_read(void *owner, struct stream *stream, struct str bytes)
{
    (void)owner;
    (void)stream;
    (void)bytes;
}

static void tcp_on_close(void *owner, struct stream *stream, const struct error *err)
{
    struct probe *probe = owner;
    (void)stream;
    if (probe == NULL || probe->stream == NULL) {
        return;
    }
    probe->stream = NULL;
    finish(probe, false, err->message);
}

static void ask_tcp(struct probe *probe)
{
    struct address address;
    struct error err = {0};
    if (address_from_ip(probe->pod_ip, probe->port, &address, &err) != ERR_OK) {
        finish(probe, false, err.message);
        return;
    }
    probe->stream = stream_connect(probe->loop, &address, NULL, &tcp_events, probe);
}

// --- exec ------------------------------------------------------------------------------------------

static void exec_on_done(void *owner, int status, struct str output)
{
    struct probe *probe = owner;
    char message[MESSAGE_SIZE];
    char text[48];
    probe->process = NULL;
    (void)snprintf(message, sizeof(message), "%s: %.*s", process_status_text(status, text),
                   (int)(output.size < 150 ? output.size : 150), output.data);
    finish(probe, status == 0, message);
}

static void ask_exec(struct probe *probe, const struct json_value *command)
{
    const char *arguments[ARGUMENTS_MAX] = {"runc", "--root", probe->runc_root.data, "exec", probe->container_id.data};
    struct process_options options = {.arguments = arguments, .output_fd = -1, .error_fd = -1};
    struct error err = {0};
    for (size_t i = 0; i < json_count(command) && i + 6 < ARGUMENTS_MAX; i++) {
        arguments[i + 5] = json_str(json_at(command, i)).data; // NUL-terminated: in our arena
    }
    probe->process = process_start(probe->loop, &options, exec_on_done, probe, &err);
    if (probe->process == NULL) {
        finish(probe, false, err.message);
    }
}

// --- life ------------------------------------------------------------------------------------------

static void on_timer(struct loop_timer *timer)
{
    struct probe *probe = container_of(timer, struct probe, timer);
    const struct json_value *get = json_get(probe->spec, "httpGet");
    const struct json_value *exec = json_get(probe->spec, "exec");
    probe->is_asking = true;
    loop_timer_start(&probe->deadline, probe->timeout_ms);
    if (get != NULL) {
        ask_http(probe, get);
    } else if (exec != NULL) {
        ask_exec(probe, json_get(exec, "command"));
    } else {
        ask_tcp(probe);
    }
}

// A number, or the name of one of the container's ports; 0: there is none.
static uint16_t find_port(const struct json_value *port, const struct json_value *container)
{
    int64_t number = 0;
    uint64_t parsed = 0;
    const struct json_value *ports = json_get(container, "ports");
    if (!json_int(port, &number) && str_to_u64(json_str(port), &parsed) && parsed <= UINT16_MAX) {
        number = (int64_t)parsed;
    }
    for (size_t i = 0; number == 0 && i < json_count(ports); i++) {
        if (str_equal(json_get_str(json_at(ports, i), "name"), json_str(port))) {
            number = json_get_int(json_at(ports, i), "containerPort", 0);
        }
    }
    return number > 0 && number <= UINT16_MAX ? (uint16_t)number : 0;
}

static int64_t positive(const struct json_value *spec, const char *name, int64_t otherwise)
{
    int64_t value = json_get_int(spec, name, otherwise);
    return value > 0 ? value : otherwise;
}

struct probe *probe_new(const struct probe_target *target, const struct json_value *spec, probe_verdict_fn *on_verdict, void *owner,
                        struct error *err)
{
    const struct json_value *get = json_get(spec, "httpGet");
    const struct json_value *tcp = json_get(spec, "tcpSocket");
    const struct json_value *exec = json_get(spec, "exec");
    const struct json_value *port = json_get(get != NULL ? get : tcp, "port");
    if (get == NULL && tcp == NULL && exec == NULL) {
        (void)error_set(err, ERR_UNSUPPORTED, "the lab probes by httpGet, tcpSocket and exec only");
        return NULL;
    }
    uint16_t number = find_port(port, target->container);
    if (exec == NULL && number == 0) {
        (void)error_set(err, ERR_INVALID, "the probe's port is neither a number nor the name of a port of the container");
        return NULL;
    }
    struct probe *probe = mem_new(struct probe);
    *probe = (struct probe){.loop = target->loop, .on_verdict = on_verdict, .owner = owner, .port = number};
    probe->spec = json_copy(&probe->arena, spec);
    probe->pod_ip = arena_str(&probe->arena, target->pod_ip);
    probe->runc_root = arena_str(&probe->arena, target->runc_root);
    probe->container_id = arena_str(&probe->arena, target->container_id);
    probe->period_ms = (uint64_t)positive(spec, "periodSeconds", 10) * 1000;
    probe->timeout_ms = (uint64_t)positive(spec, "timeoutSeconds", 1) * 1000;
    probe->success_threshold = positive(spec, "successThreshold", 1);
    probe->failure_threshold = positive(spec, "failureThreshold", 3);
    loop_timer_init(&probe->timer, target->loop, on_timer);
    loop_timer_init(&probe->deadline, target->loop, on_deadline);
    loop_task_init(&probe->cleanup, free_client);
    loop_timer_start(&probe->timer, (uint64_t)json_get_int(spec, "initialDelaySeconds", 0) * 1000);
    return probe;
}

void probe_free(struct probe *probe)
{
    if (probe == NULL) {
        return;
    }
    loop_timer_stop(&probe->timer);
    stop_asking(probe);
    loop_task_cancel(&probe->cleanup);
    http_client_free(probe->old_client);
    tls_context_unref(probe->tls);
    arena_done(&probe->arena);
    mem_free(probe);
}
