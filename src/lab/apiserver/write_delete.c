// SPDX-License-Identifier: Apache-2.0
//
// delete and deletecollection. An object goes at once when nothing holds it; finalizers, a pod's grace
// period and a namespace's content do: then it is only marked, and goes when the last of them is taken
// away (write.c). Propagation policies are the garbage collector's business: deletion is what
// "Background" means.
#include "lab/apiserver/metadata.h"
#include "lab/apiserver/request.h"
#include "lab/apiserver/webhook.h"

#define GRACE_SECONDS_DEFAULT 30

static const struct json_value *delete_options(const struct request *request)
{
    return request->write.body;
}

static bool parse_options(struct request *request)
{
    struct json_value *options = json_new_object(&request->arena);
    if (request->body.size > 0 && !request_parse_body(request, &options)) {
        return false;
    }
    request->write.body = options;
    const struct json_value *dry_run = json_get(options, "dryRun");
    if (json_count(dry_run) > 0 && str_equal(json_str(json_at(dry_run, 0)), STR("All"))) {
        request->write.dry_run = true;
    }
    return true;
}

static int64_t wanted_grace(const struct request *request)
{
    int64_t grace;
    if (str_to_i64(request_parameter(&request->path, "gracePeriodSeconds"), &grace)) {
        return grace;
    }
    return json_get_int(delete_options(request), "gracePeriodSeconds", -1);
}

// Seconds a pod gets: none when it never ran anywhere.
static int64_t pod_grace(const struct request *request, const struct json_value *pod)
{
    const struct json_value *spec = json_get(pod, "spec");
    struct str phase = json_get_str(json_get(pod, "status"), "phase");
    if (str_is_empty(json_get_str(spec, "nodeName")) || str_equal(phase, STR("Succeeded")) ||
        str_equal(phase, STR("Failed"))) {
        return 0;
    }
    int64_t grace = wanted_grace(request);
    return grace >= 0 ? grace : json_get_int(spec, "terminationGracePeriodSeconds", GRACE_SECONDS_DEFAULT);
}

static bool check_preconditions(struct request *request)
{
    const struct json_value *wanted = json_get(delete_options(request), "preconditions");
    const struct json_value *metadata = object_metadata(request->write.old);
    static const char *const fields[][2] = {{"uid", "UID"}, {"resourceVersion", "ResourceVersion"}};
    for (size_t i = 0; i < array_count(fields); i++) {
        struct str value = json_get_str(wanted, fields[i][0]);
        struct str have = json_get_str(metadata, fields[i][0]);
        if (!str_is_empty(value) && !str_equal(value, have)) {
            return failure_conflict(&request->failure, &request->arena, request->kind, request->write.name,
                                    "Precondition failed: %s in precondition: %.*s, %s in object meta: %.*s",
                                    fields[i][1], STR_ARG(value), fields[i][1], STR_ARG(have));
        }
    }
    return true;
}

static void respond_gone(struct request *request)
{
    struct arena *arena = &request->arena;
    struct json_value *status = json_new_object(arena);
    json_set_cstr(arena, status, "kind", "Status");
    json_set_cstr(arena, status, "apiVersion", "v1");
    (void)json_ensure_object(arena, status, "metadata");
    json_set_cstr(arena, status, "status", "Success");
    struct json_value *details = json_ensure_object(arena, status, "details");
    json_set_str(arena, details, "name", request->write.name);
    if (!str_is_empty(request->kind->group)) {
        json_set_str(arena, details, "group", request->kind->group);
    }
    json_set_str(arena, details, "kind", request->kind->plural);
    json_set_str(arena, details, "uid", json_get_str(object_metadata(request->write.old), "uid"));
    request_respond_json(request, 200, status);
}

// Marks the object as being deleted; returns the seconds it keeps.
static int64_t mark(struct request *request, struct json_value *object)
{
    struct arena *arena = &request->arena;
    struct json_value *metadata = json_ensure_object(arena, object, "metadata");
    bool was_marked = json_get(metadata, "deletionTimestamp") != NULL;
    int64_t grace = kind_is(request->kind, "", "pods") ? pod_grace(request, object) : 0;
    int64_t before = json_get_int(metadata, "deletionGracePeriodSeconds", INT64_MAX);
    if (was_marked && before != INT64_MAX && grace >= before) {
        return before; // a second deletion may only shorten
    }
    uint64_t now = loop_wall_ms(request->server->loop);
    json_set_str(arena, metadata, "deletionTimestamp", time_text(arena, now + (uint64_t)grace * 1000));
    json_set_int(arena, metadata, "deletionGracePeriodSeconds", grace);
    if (!was_marked && kind_has(request->kind, KIND_SPEC)) {
        json_set_int(arena, metadata, "generation", json_get_int(metadata, "generation", 0) + 1);
    }
    if (kind_is(request->kind, "", "namespaces")) {
        json_set_cstr(arena, json_ensure_object(arena, object, "status"), "phase", "Terminating");
    }
    return grace;
}

static bool is_held(const struct request *request, const struct json_value *object, int64_t grace)
{
    bool is_namespace = kind_is(request->kind, "", "namespaces");
    return grace > 0 || json_count(json_get(object_metadata(object), "finalizers")) > 0 ||
           (is_namespace && json_count(json_path(object, "spec", "finalizers", NULL)) > 0);
}

static void on_deleted(void *owner, const struct error *err)
{
    struct request *request = owner;
    if (err != NULL) {
        (void)failure_set(&request->failure, &request->arena, 500, "InternalError",
                          "Internal error occurred: the write was not kept: %s", err->message);
        write_failed(request);
        return;
    }
    if (request->write.status == 202) {
        request_respond_object(request, 200, request->write.object);
    } else {
        respond_gone(request);
    }
    request_release(request);
}

static void delete_now(struct request *request, bool allowed)
{
    struct write *write = &request->write;
    const struct kind *kind = request->kind;
    struct arena *arena = &request->arena;
    if (!allowed) {
        write_failed(request);
        return;
    }
    // Webhooks may have taken time: delete what is there now.
    struct store_value *value = store_latest(kind->bucket, kind_key(arena, kind, request->path.ns, write->name));
    if (value == NULL) {
        (void)failure_not_found(&request->failure, arena, kind, write->name);
        write_failed(request);
        return;
    }
    write->object = json_copy(arena, value_object(value));
    int64_t grace = mark(request, write->object);
    bool held = is_held(request, write->object, grace);
    write->status = held ? 202 : 200;
    if (write->dry_run || (held && json_equal(write->object, value_object(value)))) {
        on_deleted(request, NULL);
        return;
    }
    struct error err = {0};
    if (write_store(request->server, kind, arena, held ? STORE_PUT : STORE_DELETE, write->object, on_deleted, request,
                    &err) != ERR_OK) {
        on_deleted(request, &err);
    }
}

void write_delete(struct request *request)
{
    struct write *write = &request->write;
    const struct kind *kind = request->kind;
    if (!write_prepare(request, request->path.name) || !parse_options(request)) {
        request_fail(request);
        return;
    }
    struct store_value *value =
        kind->bucket == NULL
            ? NULL
            : store_latest(kind->bucket, kind_key(&request->arena, kind, request->path.ns, write->name));
    if (value == NULL) {
        (void)failure_not_found(&request->failure, &request->arena, kind, write->name);
        request_fail(request);
        return;
    }
    write->base = store_value_ref(value);
    write->old = value_object(value);
    if (kind_is(kind, "", "namespaces") &&
        (str_equal(write->name, STR("default")) || str_starts_with(write->name, STR("kube-")))) {
        (void)failure_forbidden(&request->failure, &request->arena, kind, write->name,
                                "this namespace may not be deleted");
    }
    if (request->failure.code != 0 || !check_preconditions(request)) {
        request_fail(request);
        return;
    }
    request_hold(request);
    webhooks_run(request, WEBHOOK_VALIDATING, WEBHOOK_DELETE, delete_now);
}

// --- deletecollection ------------------------------------------------------------------------------

struct collection {
    struct request *request;
    size_t waiting;
    struct error err;
};

static void collection_finish(struct collection *collection)
{
    struct request *request = collection->request;
    if (collection->err.code != ERR_OK) {
        (void)failure_set(&request->failure, &request->arena, 500, "InternalError",
                          "Internal error occurred: %s", collection->err.message);
        write_failed(request);
        return;
    }
    request_respond_json(request, 200, request->write.object);
    request_release(request);
}

static void collection_on_deleted(void *owner, const struct error *err)
{
    struct collection *collection = owner;
    if (err != NULL) {
        collection->err = *err;
    }
    if (--collection->waiting == 0) {
        collection_finish(collection);
    }
}

static void collection_delete(struct collection *collection, struct store_value *value)
{
    struct request *request = collection->request;
    struct arena *arena = &request->arena;
    struct json_value *object = json_copy(arena, value_object(value));
    int64_t grace = mark(request, object);
    bool held = is_held(request, object, grace);
    json_push(arena, json_ensure_array(arena, request->write.object, "items"), object);
    if (request->write.dry_run || (held && json_equal(object, value_object(value)))) {
        return;
    }
    struct error err = {0};
    collection->waiting++;
    if (write_store(request->server, request->kind, arena, held ? STORE_PUT : STORE_DELETE, object,
                    collection_on_deleted, collection, &err) != ERR_OK) {
        collection->waiting--;
        collection->err = err;
    }
}

// Validating webhooks are asked for single deletions only.
void write_delete_collection(struct request *request)
{
    struct arena *arena = &request->arena;
    const struct kind *kind = request->kind;
    struct request_selectors selectors;
    if (!write_prepare(request, STR_EMPTY) || !parse_options(request) || !request_selectors(request, &selectors)) {
        request_fail(request);
        return;
    }
    if (kind->bucket == NULL || kind_is(kind, "", "namespaces")) {
        (void)failure_method(&request->failure, arena);
        request_fail(request);
        return;
    }
    request_hold(request);
    request->write.object = json_new_object(arena);
    json_set_str(arena, request->write.object, "kind", kind->list_kind);
    json_set_str(arena, request->write.object, "apiVersion", kind->api_version);
    (void)json_ensure_object(arena, request->write.object, "metadata");
    (void)json_ensure_array(arena, request->write.object, "items");
    struct collection *collection = arena_new(arena, struct collection);
    collection->request = request;
    collection->waiting = 1;
    struct str prefix =
        str_is_empty(request->path.ns) ? STR_EMPTY : arena_format(arena, "%.*s/", STR_ARG(request->path.ns));
    for (size_t i = store_seek(kind->bucket, prefix); i < store_count(kind->bucket); i++) {
        struct store_value *value = store_at(kind->bucket, i);
        if (!str_starts_with(value->key, prefix)) {
            break;
        }
        struct store_value *latest = store_latest(kind->bucket, value->key);
        if (latest != NULL && request_selects(&selectors, value_object(latest))) {
            collection_delete(collection, latest);
        }
    }
    collection_on_deleted(collection, NULL);
}
