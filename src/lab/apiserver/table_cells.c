// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/table_cells.h"

#include "lab/apiserver/metadata.h"
#include "lab/apiserver/table.h"

#define ENDPOINTS_SHOWN_MAX 3u

const struct json_value *cell_follow(const struct json_value *object, struct str path)
{
    const struct json_value *value = object;
    for (struct str rest = path; rest.data != NULL && value != NULL;) {
        value = json_get_str_name(value, str_split(&rest, '.'));
    }
    return value;
}

static struct json_value *text(struct row *row, struct buf *out)
{
    struct json_value *value = json_new_str(row->arena, buf_view(out));
    buf_done(out);
    return value;
}

static struct json_value *text_or_none(struct row *row, struct buf *out)
{
    if (out->size == 0) {
        buf_printf(out, "<none>");
    }
    return text(row, out);
}

static struct json_value *format_str(struct row *row, struct str value)
{
    return json_new_str(row->arena, str_is_empty(value) ? STR("<none>") : value);
}

static int64_t get_int(struct row *row, const char *path, int64_t otherwise)
{
    int64_t value;
    return json_int(cell_follow(row->object, str_of(path)), &value) ? value : otherwise;
}

static struct str get_str(struct row *row, const char *path)
{
    return json_str(cell_follow(row->object, str_of(path)));
}

// --- common ----------------------------------------------------------------------------------------

struct json_value *cell_name(struct row *row)
{
    return json_new_str(row->arena, get_str(row, "metadata.name"));
}

struct json_value *cell_age(struct row *row)
{
    return json_new_str(row->arena, table_age(row->arena, get_str(row, "metadata.creationTimestamp"), row->now_ms));
}

struct json_value *cell_created(struct row *row)
{
    return json_new_str(row->arena, get_str(row, "metadata.creationTimestamp"));
}

struct json_value *cell_none(struct row *row)
{
    return json_new_cstr(row->arena, "<none>");
}

static struct json_value *join_containers(struct row *row, const char *field)
{
    const struct json_value *containers = cell_follow(row->object, STR("spec.template.spec.containers"));
    struct buf out = {0};
    for (size_t i = 0; i < json_count(containers); i++) {
        buf_printf(&out, "%s%.*s", i == 0 ? "" : ",", STR_ARG(json_get_str(json_at(containers, i), field)));
    }
    return text_or_none(row, &out);
}

struct json_value *cell_containers(struct row *row)
{
    return join_containers(row, "name");
}

struct json_value *cell_images(struct row *row)
{
    return join_containers(row, "image");
}

static void append_map(struct buf *out, const struct json_value *map)
{
    for (size_t i = 0; json_is(map, JSON_OBJECT) && i < map->object.count; i++) {
        buf_printf(out, "%s%.*s=%.*s", out->size == 0 ? "" : ",", STR_ARG(map->object.members[i].name),
                   STR_ARG(json_str(map->object.members[i].value)));
    }
}

struct json_value *cell_selector(struct row *row)
{
    struct buf out = {0};
    append_map(&out, cell_follow(row->object, STR("spec.selector.matchLabels")));
    return text_or_none(row, &out);
}

struct json_value *cell_map_selector(struct row *row)
{
    struct buf out = {0};
    append_map(&out, cell_follow(row->object, STR("spec.selector")));
    return text_or_none(row, &out);
}

struct json_value *cell_node_selector(struct row *row)
{
    struct buf out = {0};
    append_map(&out, cell_follow(row->object, STR("spec.template.spec.nodeSelector")));
    return text_or_none(row, &out);
}

struct json_value *cell_ready_of_desired(struct row *row)
{
    return json_new_str(row->arena,
                        arena_format(row->arena, "%lld/%lld", (long long)get_int(row, "status.readyReplicas", 0),
                                     (long long)get_int(row, "spec.replicas", 1)));
}

struct json_value *cell_data_count(struct row *row)
{
    size_t count = json_count(json_get(row->object, "data")) + json_count(json_get(row->object, "binaryData"));
    return json_new_int(row->arena, (int64_t)count);
}

struct json_value *cell_secret_count(struct row *row)
{
    return json_new_int(row->arena, (int64_t)json_count(json_get(row->object, "secrets")));
}

struct json_value *cell_webhook_count(struct row *row)
{
    return json_new_int(row->arena, (int64_t)json_count(json_get(row->object, "webhooks")));
}

struct json_value *cell_role(struct row *row)
{
    struct str role = arena_format(row->arena, "%.*s/%.*s", STR_ARG(get_str(row, "roleRef.kind")),
                                   STR_ARG(get_str(row, "roleRef.name")));
    return json_new_str(row->arena, role);
}

struct json_value *cell_hpa_reference(struct row *row)
{
    struct str reference = arena_format(row->arena, "%.*s/%.*s", STR_ARG(get_str(row, "spec.scaleTargetRef.kind")),
                                        STR_ARG(get_str(row, "spec.scaleTargetRef.name")));
    return json_new_str(row->arena, reference);
}

// --- pods ------------------------------------------------------------------------------------------

static bool is_sidecar(const struct json_value *pod, struct str name)
{
    const struct json_value *list = cell_follow(pod, STR("spec.initContainers"));
    for (size_t i = 0; i < json_count(list); i++) {
        const struct json_value *container = json_at(list, i);
        if (str_equal(json_get_str(container, "name"), name)) {
            return str_equal(json_get_str(container, "restartPolicy"), STR("Always"));
        }
    }
    return false;
}

static void count_ready(const struct json_value *list, const struct json_value *pod, bool sidecars_only, int64_t *ready)
{
    for (size_t i = 0; i < json_count(list); i++) {
        const struct json_value *status = json_at(list, i);
        if ((!sidecars_only || is_sidecar(pod, json_get_str(status, "name"))) && json_get_bool(status, "ready", false)) {
            (*ready)++;
        }
    }
}

struct json_value *cell_pod_ready(struct row *row)
{
    size_t total = json_count(cell_follow(row->object, STR("spec.containers")));
    const struct json_value *inits = cell_follow(row->object, STR("spec.initContainers"));
    for (size_t i = 0; i < json_count(inits); i++) {
        total += str_equal(json_get_str(json_at(inits, i), "restartPolicy"), STR("Always")) ? 1 : 0;
    }
    int64_t ready = 0;
    count_ready(cell_follow(row->object, STR("status.containerStatuses")), row->object, false, &ready);
    count_ready(cell_follow(row->object, STR("status.initContainerStatuses")), row->object, true, &ready);
    return json_new_str(row->arena, arena_format(row->arena, "%lld/%zu", (long long)ready, total));
}

// "Completed", "Signal:9", "ExitCode:1" of a terminated state.
static struct str terminated_text(struct arena *arena, const struct json_value *terminated)
{
    struct str reason = json_get_str(terminated, "reason");
    int64_t signal = json_get_int(terminated, "signal", 0);
    if (!str_is_empty(reason)) {
        return reason;
    }
    return signal != 0 ? arena_format(arena, "Signal:%lld", (long long)signal)
                       : arena_format(arena, "ExitCode:%lld", (long long)json_get_int(terminated, "exitCode", 0));
}

// "Init:…" while an init container is unfinished; data NULL when all are done.
static struct str init_status(struct row *row)
{
    const struct json_value *list = cell_follow(row->object, STR("status.initContainerStatuses"));
    size_t total = json_count(cell_follow(row->object, STR("spec.initContainers")));
    for (size_t i = 0; i < json_count(list); i++) {
        const struct json_value *status = json_at(list, i);
        const struct json_value *terminated = json_path(status, "state", "terminated", NULL);
        struct str waiting = json_get_str(json_path(status, "state", "waiting", NULL), "reason");
        if (terminated != NULL && json_get_int(terminated, "exitCode", 0) == 0) {
            continue;
        }
        if (is_sidecar(row->object, json_get_str(status, "name")) && json_get_bool(status, "started", false)) {
            continue;
        }
        if (terminated != NULL) {
            return arena_format(row->arena, "Init:%.*s", STR_ARG(terminated_text(row->arena, terminated)));
        }
        if (!str_is_empty(waiting) && !str_equal(waiting, STR("PodInitializing"))) {
            return arena_format(row->arena, "Init:%.*s", STR_ARG(waiting));
        }
        return arena_format(row->arena, "Init:%zu/%zu", i, total);
    }
    return (struct str){0};
}

static bool is_pod_ready(struct row *row)
{
    const struct json_value *conditions = cell_follow(row->object, STR("status.conditions"));
    for (size_t i = 0; i < json_count(conditions); i++) {
        const struct json_value *condition = json_at(conditions, i);
        if (str_equal(json_get_str(condition, "type"), STR("Ready"))) {
            return str_equal(json_get_str(condition, "status"), STR("True"));
        }
    }
    return false;
}

static struct str container_status(struct row *row, struct str reason)
{
    const struct json_value *list = cell_follow(row->object, STR("status.containerStatuses"));
    bool has_running = false;
    for (size_t i = json_count(list); i > 0; i--) {
        const struct json_value *state = json_get(json_at(list, i - 1), "state");
        const struct json_value *terminated = json_get(state, "terminated");
        struct str waiting = json_get_str(json_get(state, "waiting"), "reason");
        if (!str_is_empty(waiting)) {
            reason = waiting;
        } else if (terminated != NULL) {
            reason = terminated_text(row->arena, terminated);
        } else if (json_get(state, "running") != NULL && json_get_bool(json_at(list, i - 1), "ready", false)) {
            has_running = true;
        }
    }
    if (str_equal(reason, STR("Completed")) && has_running) {
        return is_pod_ready(row) ? STR("Running") : STR("NotReady");
    }
    return reason;
}

struct json_value *cell_pod_status(struct row *row)
{
    struct str reason = get_str(row, "status.reason");
    if (str_is_empty(reason)) {
        reason = get_str(row, "status.phase");
    }
    struct str init = init_status(row);
    reason = init.data != NULL ? init : container_status(row, reason);
    if (cell_follow(row->object, STR("metadata.deletionTimestamp")) != NULL) {
        reason = str_equal(get_str(row, "status.reason"), STR("NodeLost")) ? STR("Unknown") : STR("Terminating");
    }
    return json_new_str(row->arena, reason);
}

struct json_value *cell_pod_restarts(struct row *row)
{
    const struct json_value *list = cell_follow(row->object, STR("status.containerStatuses"));
    int64_t restarts = 0;
    int64_t last = 0;
    for (size_t i = 0; i < json_count(list); i++) {
        const struct json_value *status = json_at(list, i);
        restarts += json_get_int(status, "restartCount", 0);
        int64_t finished;
        struct str at = json_get_str(json_path(status, "lastState", "terminated", NULL), "finishedAt");
        if (time_parse(at, &finished) && finished > last) {
            last = finished;
        }
    }
    if (restarts > 0 && last > 0) {
        struct str ago = table_duration(row->arena, (int64_t)(row->now_ms / 1000) - last);
        return json_new_str(row->arena, arena_format(row->arena, "%lld (%.*s ago)", (long long)restarts, STR_ARG(ago)));
    }
    return json_new_str(row->arena, arena_format(row->arena, "%lld", (long long)restarts));
}

// --- services --------------------------------------------------------------------------------------

struct json_value *cell_service_external(struct row *row)
{
    struct str type = get_str(row, "spec.type");
    struct buf out = {0};
    if (str_equal(type, STR("ExternalName"))) {
        return json_new_str(row->arena, get_str(row, "spec.externalName"));
    }
    if (str_equal(type, STR("LoadBalancer"))) {
        const struct json_value *ingress = cell_follow(row->object, STR("status.loadBalancer.ingress"));
        for (size_t i = 0; i < json_count(ingress); i++) {
            struct str address = json_get_str(json_at(ingress, i), "ip");
            address = str_is_empty(address) ? json_get_str(json_at(ingress, i), "hostname") : address;
            buf_printf(&out, "%s%.*s", out.size == 0 ? "" : ",", STR_ARG(address));
        }
    }
    const struct json_value *addresses = cell_follow(row->object, STR("spec.externalIPs"));
    for (size_t i = 0; i < json_count(addresses); i++) {
        buf_printf(&out, "%s%.*s", out.size == 0 ? "" : ",", STR_ARG(json_str(json_at(addresses, i))));
    }
    if (out.size == 0 && str_equal(type, STR("LoadBalancer"))) {
        buf_printf(&out, "<pending>");
    }
    return text_or_none(row, &out);
}

struct json_value *cell_service_ports(struct row *row)
{
    const struct json_value *ports = cell_follow(row->object, STR("spec.ports"));
    struct buf out = {0};
    for (size_t i = 0; i < json_count(ports); i++) {
        const struct json_value *port = json_at(ports, i);
        int64_t node_port = json_get_int(port, "nodePort", 0);
        buf_printf(&out, "%s%lld", i == 0 ? "" : ",", (long long)json_get_int(port, "port", 0));
        if (node_port > 0) {
            buf_printf(&out, ":%lld", (long long)node_port);
        }
        buf_printf(&out, "/%.*s", STR_ARG(json_get_str(port, "protocol")));
    }
    return text_or_none(row, &out);
}

struct json_value *cell_endpoints(struct row *row)
{
    const struct json_value *subsets = json_get(row->object, "subsets");
    struct buf out = {0};
    size_t count = 0;
    for (size_t s = 0; s < json_count(subsets); s++) {
        const struct json_value *addresses = json_get(json_at(subsets, s), "addresses");
        const struct json_value *ports = json_get(json_at(subsets, s), "ports");
        for (size_t p = 0; p < json_count(ports); p++) {
            for (size_t a = 0; a < json_count(addresses); a++) {
                if (count++ < ENDPOINTS_SHOWN_MAX) {
                    buf_printf(&out, "%s%.*s:%lld", count == 1 ? "" : ",",
                               STR_ARG(json_get_str(json_at(addresses, a), "ip")),
                               (long long)json_get_int(json_at(ports, p), "port", 0));
                }
            }
        }
    }
    if (count > ENDPOINTS_SHOWN_MAX) {
        buf_printf(&out, " + %zu more...", count - ENDPOINTS_SHOWN_MAX);
    }
    return text_or_none(row, &out);
}

struct json_value *cell_slice_ports(struct row *row)
{
    const struct json_value *ports = json_get(row->object, "ports");
    struct buf out = {0};
    for (size_t i = 0; i < json_count(ports); i++) {
        buf_printf(&out, "%s%lld", i == 0 ? "" : ",", (long long)json_get_int(json_at(ports, i), "port", 0));
    }
    if (out.size == 0) {
        buf_printf(&out, "<unset>");
    }
    return text(row, &out);
}

struct json_value *cell_slice_endpoints(struct row *row)
{
    const struct json_value *endpoints = json_get(row->object, "endpoints");
    struct buf out = {0};
    size_t count = 0;
    for (size_t i = 0; i < json_count(endpoints); i++) {
        const struct json_value *addresses = json_get(json_at(endpoints, i), "addresses");
        for (size_t a = 0; a < json_count(addresses); a++) {
            if (count++ < ENDPOINTS_SHOWN_MAX) {
                buf_printf(&out, "%s%.*s", count == 1 ? "" : ",", STR_ARG(json_str(json_at(addresses, a))));
            }
        }
    }
    if (count > ENDPOINTS_SHOWN_MAX) {
        buf_printf(&out, " + %zu more...", count - ENDPOINTS_SHOWN_MAX);
    }
    if (out.size == 0) {
        buf_printf(&out, "<unset>");
    }
    return text(row, &out);
}

// --- nodes -----------------------------------------------------------------------------------------

struct json_value *cell_node_status(struct row *row)
{
    const struct json_value *conditions = cell_follow(row->object, STR("status.conditions"));
    struct buf out = {0};
    for (size_t i = 0; i < json_count(conditions); i++) {
        const struct json_value *condition = json_at(conditions, i);
        if (str_equal(json_get_str(condition, "type"), STR("Ready"))) {
            buf_printf(&out, "%s", str_equal(json_get_str(condition, "status"), STR("True")) ? "Ready" : "NotReady");
        }
    }
    if (out.size == 0) {
        buf_printf(&out, "Unknown");
    }
    if (json_get_bool(json_get(row->object, "spec"), "unschedulable", false)) {
        buf_printf(&out, ",SchedulingDisabled");
    }
    return text(row, &out);
}

struct json_value *cell_node_roles(struct row *row)
{
    const struct json_value *labels = cell_follow(row->object, STR("metadata.labels"));
    struct str prefix = STR("node-role.kubernetes.io/");
    struct buf out = {0};
    for (size_t i = 0; i < json_count(labels); i++) {
        struct str name = labels->object.members[i].name;
        if (str_starts_with(name, prefix) && name.size > prefix.size) {
            buf_printf(&out, "%s%.*s", out.size == 0 ? "" : ",", STR_ARG(str_from(name, prefix.size)));
        }
    }
    return text_or_none(row, &out);
}

struct json_value *cell_node_internal(struct row *row)
{
    const struct json_value *addresses = cell_follow(row->object, STR("status.addresses"));
    for (size_t i = 0; i < json_count(addresses); i++) {
        if (str_equal(json_get_str(json_at(addresses, i), "type"), STR("InternalIP"))) {
            return format_str(row, json_get_str(json_at(addresses, i), "address"));
        }
    }
    return cell_none(row);
}

// --- jobs and events -------------------------------------------------------------------------------

struct json_value *cell_job_completions(struct row *row)
{
    return json_new_str(row->arena,
                        arena_format(row->arena, "%lld/%lld", (long long)get_int(row, "status.succeeded", 0),
                                     (long long)get_int(row, "spec.completions", 1)));
}

struct json_value *cell_job_duration(struct row *row)
{
    int64_t begin;
    int64_t end = (int64_t)(row->now_ms / 1000);
    if (!time_parse(get_str(row, "status.startTime"), &begin)) {
        return json_new_cstr(row->arena, "");
    }
    (void)time_parse(get_str(row, "status.completionTime"), &end);
    return json_new_str(row->arena, table_duration(row->arena, end - begin));
}

static struct json_value *event_time(struct row *row, const char *field)
{
    struct str when = get_str(row, field);
    when = str_is_empty(when) ? get_str(row, "eventTime") : when;
    when = str_is_empty(when) ? get_str(row, "metadata.creationTimestamp") : when;
    return json_new_str(row->arena, table_age(row->arena, when, row->now_ms));
}

struct json_value *cell_event_last(struct row *row)
{
    return event_time(row, "lastTimestamp");
}

struct json_value *cell_event_first(struct row *row)
{
    return event_time(row, "firstTimestamp");
}

struct json_value *cell_event_object(struct row *row)
{
    char *kind = arena_strdup(row->arena, get_str(row, "involvedObject.kind"));
    for (char *c = kind; *c != '\0'; c++) {
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    }
    return json_new_str(row->arena, arena_format(row->arena, "%s/%.*s", kind, STR_ARG(get_str(row, "involvedObject.name"))));
}

// --- JSONPath of printer columns -------------------------------------------------------------------

// "?(@.type=="Ready")" inside of brackets: the first item whose field has the value.
static const struct json_value *filter_items(const struct json_value *list, struct str filter)
{
    ptrdiff_t equal = str_find(filter, STR("=="));
    if (!str_starts_with(filter, STR("?(@.")) || equal < 4 || !str_ends_with(filter, STR(")"))) {
        return NULL;
    }
    struct str field = str_trim(str_sub(filter, 4, (size_t)equal - 4));
    struct str value = str_trim(str_sub(filter, (size_t)equal + 2, filter.size - (size_t)equal - 3));
    if (value.size >= 2 && (value.data[0] == '"' || value.data[0] == '\'')) {
        value = str_sub(value, 1, value.size - 2);
    }
    for (size_t i = 0; i < json_count(list); i++) {
        if (str_equal(json_str(json_get_str_name(json_at(list, i), field)), value)) {
            return json_at(list, i);
        }
    }
    return NULL;
}

static const struct json_value *follow_bracket(const struct json_value *value, struct str inside)
{
    uint64_t index;
    if (inside.size >= 2 && (inside.data[0] == '\'' || inside.data[0] == '"')) {
        return json_get_str_name(value, str_sub(inside, 1, inside.size - 2));
    }
    if (str_to_u64(inside, &index)) {
        return json_at(value, (size_t)index);
    }
    return str_equal(inside, STR("*")) ? json_at(value, 0) : filter_items(value, inside);
}

const struct json_value *cell_follow_json_path(struct row *row, struct str path)
{
    const struct json_value *value = row->object;
    size_t at = 0;
    while (value != NULL && at < path.size) {
        if (path.data[at] == '[') {
            ptrdiff_t close = str_find_char(str_from(path, at), ']');
            if (close < 0) {
                return NULL;
            }
            value = follow_bracket(value, str_sub(path, at + 1, (size_t)close - 1));
            at += (size_t)close + 1;
            continue;
        }
        at += path.data[at] == '.' ? 1 : 0;
        struct buf name = {0};
        while (at < path.size && path.data[at] != '.' && path.data[at] != '[') {
            if (path.data[at] == '\\' && at + 1 < path.size) {
                at++; // "\." is a dot inside of a name
            }
            buf_append_char(&name, path.data[at++]);
        }
        if (name.size > 0) {
            value = json_get_str_name(value, buf_view(&name));
        }
        buf_done(&name);
    }
    return value;
}
