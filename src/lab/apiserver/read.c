// SPDX-License-Identifier: Apache-2.0
//
// get and list. Lists of plain objects are written from the stored bytes without decoding them, unless a
// selector, another version or another form asks for more. `limit` is ignored: every list is complete.
#include <inttypes.h>

#include "lab/apiserver/request.h"
#include "lab/apiserver/table.h"

void read_get(struct request *request)
{
    struct kind *kind = request->kind;
    struct str key = kind_key(&request->arena, kind, request->path.ns, request->path.name);
    struct store_value *value = kind->bucket == NULL ? NULL : store_get(kind->bucket, key);
    if (value == NULL) {
        (void)failure_not_found(&request->failure, &request->arena, kind, request->path.name);
        request_fail(request);
        return;
    }
    const struct json_value *object = value_object_for(&request->arena, kind, value);
    if (request->form == FORM_OBJECT && object == value_object(value)) {
        request_respond(request, 200, STR("application/json"), value->bytes);
        return;
    }
    request_respond_object(request, 200, object);
}

// A list at a version the client has seen somewhere but that we have not reached: its memory is of
// another life of this cluster.
static bool check_version(struct request *request)
{
    struct str text = request_parameter(&request->path, "resourceVersion");
    uint64_t wanted = 0;
    if (!str_is_empty(text) && !str_to_u64(text, &wanted)) {
        return failure_bad_request(&request->failure, &request->arena,
                                   "invalid resource version: %.*s", STR_ARG(text));
    }
    if (wanted > store_revision(request->server->store)) {
        struct failure *failure = &request->failure;
        (void)failure_set(failure, &request->arena, 504, "Timeout",
                          "Timeout: Too large resource version: %" PRIu64 ", current: %" PRIu64, wanted,
                          store_revision(request->server->store));
        failure->causes[0] = (struct failure_cause){.reason = "ResourceVersionTooLarge",
                                                    .message = STR("Too large resource version")};
        failure->cause_count = 1;
        failure->retry_after_seconds = 1;
        return false;
    }
    if (str_equal(request_parameter(&request->path, "resourceVersionMatch"), STR("Exact")) &&
        wanted != store_revision(request->server->store)) {
        return failure_set(&request->failure, &request->arena, 410, "Expired",
                           "The resourceVersion for the provided list is too old.");
    }
    return true;
}

static bool is_selected(struct request *request, const struct request_selectors *selectors, struct str prefix,
                        struct store_value *value)
{
    (void)request;
    return str_starts_with(value->key, prefix) &&
           (selectors->is_empty || request_selects(selectors, value_object(value)));
}

static void list_bytes(struct request *request, const struct request_selectors *selectors, struct str prefix)
{
    struct kind *kind = request->kind;
    struct buf text = {0};
    buf_printf(&text, "{\"kind\":\"%.*s\",\"apiVersion\":\"%.*s\",\"metadata\":{\"resourceVersion\":\"%" PRIu64
                      "\"},\"items\":[",
               STR_ARG(kind->list_kind), STR_ARG(kind->api_version), store_revision(request->server->store));
    bool is_first = true;
    size_t count = kind->bucket == NULL ? 0 : store_count(kind->bucket);
    for (size_t i = count == 0 ? 0 : store_seek(kind->bucket, prefix); i < count; i++) {
        struct store_value *value = store_at(kind->bucket, i);
        if (!str_starts_with(value->key, prefix)) {
            break;
        }
        if (!is_selected(request, selectors, prefix, value)) {
            continue;
        }
        if (!is_first) {
            buf_append_char(&text, ',');
        }
        is_first = false;
        const struct json_value *object =
            kind_has(kind, KIND_CUSTOM) ? value_object_for(&request->arena, kind, value) : NULL;
        if (object == NULL || object == value_object(value)) {
            buf_append_str(&text, value->bytes);
        } else {
            json_write(object, &text);
        }
    }
    buf_printf(&text, "]}\n");
    request_respond(request, 200, STR("application/json"), buf_view(&text));
    buf_done(&text);
}

static void list_formed(struct request *request, const struct request_selectors *selectors, struct str prefix)
{
    struct arena *arena = &request->arena;
    struct kind *kind = request->kind;
    bool is_table = request->form == FORM_TABLE;
    struct json_value *list = is_table ? table_new(arena, kind) : json_new_object(arena);
    struct json_value *items = NULL;
    if (!is_table) {
        json_set_cstr(arena, list, "kind", "PartialObjectMetadataList");
        json_set_cstr(arena, list, "apiVersion", "meta.k8s.io/v1");
        items = json_ensure_array(arena, list, "items");
    }
    json_set_str(arena, json_ensure_object(arena, list, "metadata"), "resourceVersion",
                 arena_format(arena, "%" PRIu64, store_revision(request->server->store)));
    uint64_t now = loop_wall_ms(request->server->loop);
    size_t count = kind->bucket == NULL ? 0 : store_count(kind->bucket);
    for (size_t i = count == 0 ? 0 : store_seek(kind->bucket, prefix); i < count; i++) {
        struct store_value *value = store_at(kind->bucket, i);
        if (!str_starts_with(value->key, prefix)) {
            break;
        }
        if (!is_selected(request, selectors, prefix, value)) {
            continue;
        }
        const struct json_value *object = value_object_for(arena, kind, value);
        if (is_table) {
            table_add(arena, list, kind, object, request_parameter(&request->path, "includeObject"), now);
        } else {
            json_push(arena, items, partial_metadata(arena, object));
        }
    }
    request_respond_json(request, 200, list);
}

void read_list(struct request *request)
{
    struct request_selectors selectors;
    if (!check_version(request) || !request_selectors(request, &selectors)) {
        request_fail(request);
        return;
    }
    struct str prefix = str_is_empty(request->path.ns)
                            ? STR_EMPTY
                            : arena_format(&request->arena, "%.*s/", STR_ARG(request->path.ns));
    if (request->form == FORM_OBJECT) {
        list_bytes(request, &selectors, prefix);
    } else {
        list_formed(request, &selectors, prefix);
    }
}

// --- fields to select by ---------------------------------------------------------------------------

static const struct {
    const char *group;
    const char *plural;
    const char *fields; // each between blanks
} selectable[] = {
    {"", "pods",
     " spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName spec.hostNetwork"
     " status.phase status.podIP status.nominatedNodeName "},
    {"", "events",
     " involvedObject.kind involvedObject.namespace involvedObject.name involvedObject.uid"
     " involvedObject.apiVersion involvedObject.resourceVersion involvedObject.fieldPath reason"
     " reportingComponent source type "},
    {"", "secrets", " type "},
    {"", "namespaces", " status.phase "},
    {"", "nodes", " spec.unschedulable "},
    {"", "services", " spec.clusterIP spec.type "},
    {"apps", "replicasets", " status.replicas "},
    {"batch", "jobs", " status.successful "},
};

bool selector_fields_known(const struct kind *kind, const struct selector *selector, struct error *err)
{
    for (size_t i = 0; i < selector->count; i++) {
        struct str key = selector->requirements[i].key;
        bool is_known = str_equal(key, STR("metadata.name")) || str_equal(key, STR("metadata.namespace"));
        for (size_t row = 0; row < array_count(selectable) && !is_known; row++) {
            struct str fields = str_of(selectable[row].fields);
            ptrdiff_t at = kind_is(kind, selectable[row].group, selectable[row].plural) ? str_find(fields, key) : -1;
            is_known = at > 0 && key.size > 0 && fields.data[at - 1] == ' ' &&
                       fields.data[(size_t)at + key.size] == ' ';
        }
        if (!is_known) {
            (void)error_set(err, ERR_INVALID, "field label not supported: %.*s", STR_ARG(str_sub(key, 0, 128)));
            return false;
        }
    }
    return true;
}
