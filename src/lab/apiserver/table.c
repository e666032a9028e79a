// SPDX-License-Identifier: Apache-2.0
//
// The columns of each kind and how their cells are made. A kind without a row shows Name and Age; custom
// kinds show the additionalPrinterColumns of their definition.
#include "lab/apiserver/table.h"

#include "lab/apiserver/kinds.h"
#include "lab/apiserver/metadata.h"
#include "lab/apiserver/table_cells.h"

// clang-format off
#define CELL(title, type, format, priority, make) {title, type, format, priority, make, NULL}
#define PATH(title, type, priority, path) {title, type, "", priority, NULL, path}
#define NAME CELL("Name", "string", "name", 0, cell_name)
#define AGE CELL("Age", "string", "", 0, cell_age)
#define CREATED CELL("Created At", "date", "", 0, cell_created)
#define CONTAINERS CELL("Containers", "string", "", 1, cell_containers)
#define IMAGES CELL("Images", "string", "", 1, cell_images)
#define SELECTOR CELL("Selector", "string", "", 1, cell_selector)

static const struct column pod_columns[] = {
    NAME, CELL("Ready", "string", "", 0, cell_pod_ready), CELL("Status", "string", "", 0, cell_pod_status),
    CELL("Restarts", "string", "", 0, cell_pod_restarts), AGE, PATH("IP", "string", 1, "status.podIP"),
    PATH("Node", "string", 1, "spec.nodeName"), PATH("Nominated Node", "string", 1, "status.nominatedNodeName"),
    CELL("Readiness Gates", "string", "", 1, cell_none)};
static const struct column service_columns[] = {
    NAME, PATH("Type", "string", 0, "spec.type"), PATH("Cluster-IP", "string", 0, "spec.clusterIP"),
    CELL("External-IP", "string", "", 0, cell_service_external), CELL("Port(s)", "string", "", 0, cell_service_ports), AGE,
    CELL("Selector", "string", "", 1, cell_map_selector)};
static const struct column node_columns[] = {
    NAME, CELL("Status", "string", "", 0, cell_node_status), CELL("Roles", "string", "", 0, cell_node_roles), AGE,
    PATH("Version", "string", 0, "status.nodeInfo.kubeletVersion"), CELL("Internal-IP", "string", "", 1, cell_node_internal),
    CELL("External-IP", "string", "", 1, cell_none), PATH("OS-Image", "string", 1, "status.nodeInfo.osImage"),
    PATH("Kernel-Version", "string", 1, "status.nodeInfo.kernelVersion"),
    PATH("Container-Runtime", "string", 1, "status.nodeInfo.containerRuntimeVersion")};
static const struct column deployment_columns[] = {
    NAME, CELL("Ready", "string", "", 0, cell_ready_of_desired), PATH("Up-to-date", "integer", 0, "status.updatedReplicas"),
    PATH("Available", "integer", 0, "status.availableReplicas"), AGE, CONTAINERS, IMAGES, SELECTOR};
static const struct column replica_set_columns[] = {
    NAME, PATH("Desired", "integer", 0, "spec.replicas"), PATH("Current", "integer", 0, "status.replicas"),
    PATH("Ready", "integer", 0, "status.readyReplicas"), AGE, CONTAINERS, IMAGES, SELECTOR};
static const struct column stateful_set_columns[] = {
    NAME, CELL("Ready", "string", "", 0, cell_ready_of_desired), AGE, CONTAINERS, IMAGES};
static const struct column daemon_set_columns[] = {
    NAME, PATH("Desired", "integer", 0, "status.desiredNumberScheduled"),
    PATH("Current", "integer", 0, "status.currentNumberScheduled"), PATH("Ready", "integer", 0, "status.numberReady"),
    PATH("Up-to-date", "integer", 0, "status.updatedNumberScheduled"),
    PATH("Available", "integer", 0, "status.numberAvailable"), CELL("Node Selector", "string", "", 0, cell_node_selector), AGE,
    CONTAINERS, IMAGES, SELECTOR};
static const struct column job_columns[] = {
    NAME, CELL("Completions", "string", "", 0, cell_job_completions), CELL("Duration", "string", "", 0, cell_job_duration),
    AGE, CONTAINERS, IMAGES, SELECTOR};
static const struct column endpoints_columns[] = {NAME, CELL("Endpoints", "string", "", 0, cell_endpoints), AGE};
static const struct column slice_columns[] = {
    NAME, PATH("AddressType", "string", 0, "addressType"), CELL("Ports", "string", "", 0, cell_slice_ports),
    CELL("Endpoints", "string", "", 0, cell_slice_endpoints), AGE};
static const struct column namespace_columns[] = {NAME, PATH("Status", "string", 0, "status.phase"), AGE};
static const struct column secret_columns[] = {
    NAME, PATH("Type", "string", 0, "type"), CELL("Data", "integer", "", 0, cell_data_count), AGE};
static const struct column config_map_columns[] = {NAME, CELL("Data", "integer", "", 0, cell_data_count), AGE};
static const struct column account_columns[] = {NAME, CELL("Secrets", "integer", "", 0, cell_secret_count), AGE};
static const struct column event_columns[] = {
    CELL("Last Seen", "string", "", 0, cell_event_last), PATH("Type", "string", 0, "type"), PATH("Reason", "string", 0, "reason"),
    CELL("Object", "string", "", 0, cell_event_object), PATH("Subobject", "string", 1, "involvedObject.fieldPath"),
    PATH("Source", "string", 1, "source.component"), PATH("Message", "string", 0, "message"),
    CELL("First Seen", "string", "", 1, cell_event_first), PATH("Count", "integer", 1, "count"), CELL("Name", "string", "name", 1, cell_name)};
static const struct column role_columns[] = {NAME, CREATED};
static const struct column binding_columns[] = {NAME, CELL("Role", "string", "", 0, cell_role), AGE};
static const struct column webhook_columns[] = {NAME, CELL("Webhooks", "integer", "", 0, cell_webhook_count), AGE};
static const struct column lease_columns[] = {NAME, PATH("Holder", "string", 0, "spec.holderIdentity"), AGE};
static const struct column hpa_columns[] = {
    NAME, CELL("Reference", "string", "", 0, cell_hpa_reference), PATH("MinPods", "string", 0, "spec.minReplicas"),
    PATH("MaxPods", "string", 0, "spec.maxReplicas"), PATH("Replicas", "integer", 0, "status.currentReplicas"), AGE};
static const struct column pdb_columns[] = {
    NAME, PATH("Min Available", "string", 0, "spec.minAvailable"), PATH("Max Unavailable", "string", 0, "spec.maxUnavailable"),
    PATH("Allowed Disruptions", "integer", 0, "status.disruptionsAllowed"), AGE};
static const struct column plain_columns[] = {NAME, AGE};

#define COLUMNS(array) array, array_count(array)
static const struct {
    const char *group;
    const char *plural;
    const struct column *columns;
    size_t count;
} kind_columns[] = {
    {"", "pods", COLUMNS(pod_columns)}, {"", "services", COLUMNS(service_columns)}, {"", "nodes", COLUMNS(node_columns)},
    {"apps", "deployments", COLUMNS(deployment_columns)}, {"apps", "replicasets", COLUMNS(replica_set_columns)},
    {"", "replicationcontrollers", COLUMNS(replica_set_columns)}, {"apps", "statefulsets", COLUMNS(stateful_set_columns)},
    {"apps", "daemonsets", COLUMNS(daemon_set_columns)}, {"batch", "jobs", COLUMNS(job_columns)},
    {"", "endpoints", COLUMNS(endpoints_columns)}, {"discovery.k8s.io", "endpointslices", COLUMNS(slice_columns)},
    {"", "namespaces", COLUMNS(namespace_columns)}, {"", "secrets", COLUMNS(secret_columns)},
    {"", "configmaps", COLUMNS(config_map_columns)}, {"", "serviceaccounts", COLUMNS(account_columns)},
    {"", "events", COLUMNS(event_columns)}, {"rbac.authorization.k8s.io", "roles", COLUMNS(role_columns)},
    {"rbac.authorization.k8s.io", "clusterroles", COLUMNS(role_columns)},
    {"rbac.authorization.k8s.io", "rolebindings", COLUMNS(binding_columns)},
    {"rbac.authorization.k8s.io", "clusterrolebindings", COLUMNS(binding_columns)},
    {"admissionregistration.k8s.io", "mutatingwebhookconfigurations", COLUMNS(webhook_columns)},
    {"admissionregistration.k8s.io", "validatingwebhookconfigurations", COLUMNS(webhook_columns)},
    {"coordination.k8s.io", "leases", COLUMNS(lease_columns)},
    {"apiextensions.k8s.io", "customresourcedefinitions", COLUMNS(role_columns)},
    {"autoscaling", "horizontalpodautoscalers", COLUMNS(hpa_columns)},
    {"policy", "poddisruptionbudgets", COLUMNS(pdb_columns)},
};
// clang-format on

static const struct column *find_columns(const struct kind *kind, size_t *ret_count)
{
    for (size_t i = 0; i < array_count(kind_columns); i++) {
        if (kind_is(kind, kind_columns[i].group, kind_columns[i].plural)) {
            *ret_count = kind_columns[i].count;
            return kind_columns[i].columns;
        }
    }
    *ret_count = array_count(plain_columns);
    return plain_columns;
}

static const struct json_value *custom_columns(const struct kind *kind)
{
    const struct json_value *columns = json_get(kind->crd_version, "additionalPrinterColumns");
    return json_count(columns) > 0 ? columns : NULL;
}

static void add_definition(struct arena *arena, struct json_value *definitions, struct str name, struct str type,
                           struct str format, int64_t priority)
{
    struct json_value *definition = json_new_object(arena);
    json_set_str(arena, definition, "name", name);
    json_set_str(arena, definition, "type", type);
    json_set_str(arena, definition, "format", format);
    json_set_cstr(arena, definition, "description", "");
    json_set_int(arena, definition, "priority", priority);
    json_push(arena, definitions, definition);
}

struct json_value *table_new(struct arena *arena, const struct kind *kind)
{
    struct json_value *table = json_new_object(arena);
    json_set_cstr(arena, table, "kind", "Table");
    json_set_cstr(arena, table, "apiVersion", "meta.k8s.io/v1");
    (void)json_ensure_object(arena, table, "metadata");
    struct json_value *definitions = json_ensure_array(arena, table, "columnDefinitions");
    (void)json_ensure_array(arena, table, "rows");
    const struct json_value *custom = custom_columns(kind);
    if (custom != NULL) {
        add_definition(arena, definitions, STR("Name"), STR("string"), STR("name"), 0);
        for (size_t i = 0; i < json_count(custom); i++) {
            const struct json_value *column = json_at(custom, i);
            add_definition(arena, definitions, json_get_str(column, "name"), json_get_str(column, "type"),
                           json_get_str(column, "format"), json_get_int(column, "priority", 0));
        }
        return table;
    }
    size_t count;
    const struct column *columns = find_columns(kind, &count);
    for (size_t i = 0; i < count; i++) {
        add_definition(arena, definitions, str_of(columns[i].name), str_of(columns[i].type),
                       str_of(columns[i].format), columns[i].priority);
    }
    return table;
}

struct json_value *partial_metadata(struct arena *arena, const struct json_value *object)
{
    struct json_value *partial = json_new_object(arena);
    json_set_cstr(arena, partial, "kind", "PartialObjectMetadata");
    json_set_cstr(arena, partial, "apiVersion", "meta.k8s.io/v1");
    const struct json_value *metadata = json_get(object, "metadata");
    if (metadata != NULL) {
        json_set(arena, partial, STR("metadata"), json_copy(arena, metadata));
    }
    return partial;
}

static struct json_value *make_cell(struct row *row, const struct column *column)
{
    if (column->make != NULL) {
        return column->make(row);
    }
    const struct json_value *value = cell_follow(row->object, str_of(column->path));
    if (value == NULL || value->type == JSON_NULL) {
        bool is_number = column->type[0] == 'i';
        return is_number ? json_new_int(row->arena, 0) : json_new_cstr(row->arena, "<none>");
    }
    return json_copy(row->arena, value);
}

static struct json_value *make_custom_cell(struct row *row, const struct json_value *column)
{
    const struct json_value *value = cell_follow_json_path(row, json_get_str(column, "jsonPath"));
    if (value == NULL) {
        return json_new_cstr(row->arena, "");
    }
    if (str_equal(json_get_str(column, "type"), STR("date"))) {
        return json_new_str(row->arena, table_age(row->arena, json_str(value), row->now_ms));
    }
    if (json_is(value, JSON_ARRAY) || json_is(value, JSON_OBJECT)) {
        return json_new_str(row->arena, json_to_str(row->arena, value));
    }
    return json_copy(row->arena, value);
}

void table_add(struct arena *arena, struct json_value *table, const struct kind *kind,
               const struct json_value *object, struct str include, uint64_t now_ms)
{
    struct row row = {.arena = arena, .object = object, .now_ms = now_ms};
    struct json_value *item = json_new_object(arena);
    struct json_value *cells = json_ensure_array(arena, item, "cells");
    const struct json_value *custom = custom_columns(kind);
    if (custom != NULL) {
        json_push(arena, cells, cell_name(&row));
        for (size_t i = 0; i < json_count(custom); i++) {
            json_push(arena, cells, make_custom_cell(&row, json_at(custom, i)));
        }
    } else {
        size_t count;
        const struct column *columns = find_columns(kind, &count);
        for (size_t i = 0; i < count; i++) {
            json_push(arena, cells, make_cell(&row, &columns[i]));
        }
    }
    if (str_equal(include, STR("Object"))) {
        json_set(arena, item, STR("object"), json_copy(arena, object));
    } else if (!str_equal(include, STR("None"))) {
        json_set(arena, item, STR("object"), partial_metadata(arena, object));
    }
    json_push(arena, json_ensure_array(arena, table, "rows"), item);
}

// --- ages ------------------------------------------------------------------------------------------

struct str table_duration(struct arena *arena, int64_t seconds)
{
    int64_t minutes = seconds / 60;
    int64_t hours = seconds / 3600;
    int64_t days = seconds / 86400;
    int64_t years = days / 365;
#define PARTS(whole, unit, rest, rest_unit) \
    ((rest) == 0 ? arena_format(arena, "%lld" unit, (long long)(whole)) \
                 : arena_format(arena, "%lld" unit "%lld" rest_unit, (long long)(whole), (long long)(rest)))
    if (seconds < 0) {
        return seconds >= -1 ? STR("0s") : STR("<invalid>");
    }
    if (seconds < 120) {
        return arena_format(arena, "%llds", (long long)seconds);
    }
    if (minutes < 10) {
        return PARTS(minutes, "m", seconds % 60, "s");
    }
    if (hours < 3) {
        return arena_format(arena, "%lldm", (long long)minutes);
    }
    if (hours < 8) {
        return PARTS(hours, "h", minutes % 60, "m");
    }
    if (hours < 48) {
        return arena_format(arena, "%lldh", (long long)hours);
    }
    if (days < 8) {
        return PARTS(days, "d", hours % 24, "h");
    }
    if (years < 2) {
        return arena_format(arena, "%lldd", (long long)days);
    }
    if (years < 8) {
        return PARTS(years, "y", days % 365, "d");
    }
    return arena_format(arena, "%lldy", (long long)years);
#undef PARTS
}

struct str table_age(struct arena *arena, struct str begin, uint64_t now_ms)
{
    int64_t seconds;
    if (!time_parse(begin, &seconds)) {
        return STR("<unknown>");
    }
    return table_duration(arena, (int64_t)(now_ms / 1000) - seconds);
}
