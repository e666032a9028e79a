// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/subresource.h"

#include "lab/apiserver/request.h"

// --- status ----------------------------------------------------------------------------------------

static void serve_status(struct request *request)
{
    switch (request->verb) {
    case VERB_GET:
        read_get(request);
        return;
    case VERB_UPDATE:
        write_update(request);
        return;
    case VERB_PATCH:
        write_patch(request);
        return;
    case VERB_LIST:
    case VERB_WATCH:
    case VERB_CREATE:
    case VERB_DELETE:
    case VERB_DELETECOLLECTION:
        break;
    }
    (void)failure_method(&request->failure, &request->arena);
    request_fail(request);
}

// --- namespaces/finalize ---------------------------------------------------------------------------

static bool make_finalize(struct request *request)
{
    struct arena *arena = &request->arena;
    struct write *write = &request->write;
    if (!write_check_identity(request, write->body)) {
        return false;
    }
    write->object = json_copy(arena, write->old);
    const struct json_value *finalizers = json_path(write->body, "spec", "finalizers", NULL);
    struct json_value *spec = json_ensure_object(arena, write->object, "spec");
    if (json_count(finalizers) == 0) {
        (void)json_remove(spec, STR("finalizers"));
    } else {
        json_set(arena, spec, STR("finalizers"), json_copy(arena, finalizers));
    }
    return true;
}

static void serve_finalize(struct request *request)
{
    struct json_value *body;
    if (request->verb != VERB_UPDATE || !kind_is(request->kind, "", "namespaces")) {
        (void)failure_method(&request->failure, &request->arena);
        request_fail(request);
        return;
    }
    if (!write_prepare(request, request->path.name) || !request_parse_body(request, &body)) {
        request_fail(request);
        return;
    }
    request->write.body = body;
    request->write.is_system = true;
    request->write.make = make_finalize;
    write_begin(request);
}

// --- scale -----------------------------------------------------------------------------------------

// "a=b,c in (d)" of a LabelSelector; matchExpressions as kubectl writes them.
static struct str selector_text(struct arena *arena, const struct json_value *selector)
{
    struct buf text = {0};
    const struct json_value *labels = json_get(selector, "matchLabels");
    for (size_t i = 0; i < json_count(labels); i++) {
        buf_printf(&text, "%s%.*s=%.*s", text.size == 0 ? "" : ",", STR_ARG(labels->object.members[i].name),
                   STR_ARG(json_str(labels->object.members[i].value)));
    }
    struct str copy = arena_str(arena, buf_view(&text));
    buf_done(&text);
    return copy;
}

// ".spec.replicas" of a custom kind's scale.
static struct json_value *follow(const struct json_value *object, struct str path)
{
    const struct json_value *value = object;
    struct str rest = str_starts_with(path, STR(".")) ? str_from(path, 1) : path;
    while (rest.data != NULL && value != NULL) {
        value = json_get_str_name(value, str_split(&rest, '.'));
    }
    return value == object ? NULL : (struct json_value *)(uintptr_t)value;
}

static struct json_value *scale_of(struct request *request, const struct json_value *object)
{
    struct arena *arena = &request->arena;
    const struct json_value *metadata = object_metadata(object);
    const struct json_value *paths = request->kind->crd_scale;
    const struct json_value *wanted = paths == NULL ? json_path(object, "spec", "replicas", NULL)
                                                    : follow(object, json_get_str(paths, "specReplicasPath"));
    const struct json_value *have = paths == NULL ? json_path(object, "status", "replicas", NULL)
                                                  : follow(object, json_get_str(paths, "statusReplicasPath"));
    struct json_value *scale = json_new_object(arena);
    json_set_cstr(arena, scale, "kind", "Scale");
    json_set_cstr(arena, scale, "apiVersion", "autoscaling/v1");
    struct json_value *own = json_ensure_object(arena, scale, "metadata");
    static const char *const fields[] = {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"};
    for (size_t i = 0; i < array_count(fields); i++) {
        const struct json_value *value = json_get(metadata, fields[i]);
        if (value != NULL) {
            json_set(arena, own, str_of(fields[i]), json_copy(arena, value));
        }
    }
    int64_t count = 0;
    (void)json_int(wanted, &count);
    json_set_int(arena, json_ensure_object(arena, scale, "spec"), "replicas", count);
    count = 0;
    (void)json_int(have, &count);
    struct json_value *status = json_ensure_object(arena, scale, "status");
    json_set_int(arena, status, "replicas", count);
    const struct json_value *selector = json_path(object, "spec", "selector", NULL);
    json_set_str(arena, status, "selector", selector_text(arena, selector));
    return scale;
}

static void respond_scale(struct request *request)
{
    request_respond_json(request, 200, scale_of(request, request->write.object));
}

static bool make_scale(struct request *request)
{
    struct arena *arena = &request->arena;
    struct write *write = &request->write;
    int64_t replicas;
    if (!json_int(json_path(write->body, "spec", "replicas", NULL), &replicas) || replicas < 0 ||
        replicas > INT32_MAX) {
        return failure_set(&request->failure, arena, 422, "Invalid",
                           "Scale.autoscaling \"%.*s\" is invalid: spec.replicas: Invalid value: must be greater "
                           "than or equal to 0", STR_ARG(write->name));
    }
    write->object = json_copy(arena, write->old);
    struct json_value *parent = write->object;
    struct str path = request->kind->crd_scale == NULL ? STR(".spec.replicas")
                                                       : json_get_str(request->kind->crd_scale, "specReplicasPath");
    struct str rest = str_starts_with(path, STR(".")) ? str_from(path, 1) : path;
    while (rest.data != NULL) {
        char *name = arena_strdup(arena, str_split(&rest, '.'));
        if (rest.data == NULL) {
            json_set_int(arena, parent, name, replicas);
        } else {
            parent = json_ensure_object(arena, parent, name);
        }
    }
    return true;
}

static void serve_scale(struct request *request)
{
    struct arena *arena = &request->arena;
    struct store_value *value =
        store_latest(request->kind->bucket, kind_key(arena, request->kind, request->path.ns, request->path.name));
    if (value == NULL) {
        (void)failure_not_found(&request->failure, arena, request->kind, request->path.name);
    } else if (request->verb == VERB_GET) {
        request_respond_json(request, 200, scale_of(request, value_object(value)));
        return;
    } else if (request->verb != VERB_UPDATE && request->verb != VERB_PATCH) {
        (void)failure_method(&request->failure, arena);
    }
    struct json_value *body = NULL;
    struct error err = {0};
    if (request->failure.code != 0 || !write_prepare(request, request->path.name)) {
        // failure is set
    } else if (request->verb == VERB_UPDATE) {
        (void)request_parse_body(request, &body);
    } else if (json_parse(arena, buf_view(&request->body), &body, &err) != ERR_OK || !json_is(body, JSON_OBJECT)) {
        (void)failure_bad_request(&request->failure, arena, "the body is not a merge patch of a Scale");
    }
    if (request->failure.code != 0) {
        request_fail(request);
        return;
    }
    request->write.body = body;
    request->write.make = make_scale;
    request->write.respond = respond_scale;
    write_begin(request);
}

// --- pods/eviction ---------------------------------------------------------------------------------

static void serve_eviction(struct request *request)
{
    struct json_value *body;
    if (request->verb != VERB_CREATE) {
        (void)failure_method(&request->failure, &request->arena);
    } else if (request_parse_body(request, &body)) {
        struct json_value *options = json_get(body, "deleteOptions");
        buf_reset(&request->body);
        request->content_type = STR("application/json");
        if (options != NULL) {
            json_write(options, &request->body);
        }
        write_delete(request);
        return;
    }
    request_fail(request);
}

// --- table -----------------------------------------------------------------------------------------

static const struct {
    const char *group; // NULL: any kind with the trait
    const char *plural;
    const char *name;
    enum kind_trait trait;
    void (*serve)(struct request *request);
} subresources[] = {
    {NULL, NULL, "status", KIND_STATUS, serve_status},
    {NULL, NULL, "scale", KIND_SCALE, serve_scale},
    {"", "namespaces", "finalize", 0, serve_finalize},
    {"", "pods", "binding", 0, pod_bind},
    {"", "pods", "eviction", 0, serve_eviction},
    {"", "pods", "exec", 0, pod_exec_serve},
    {"", "pods", "log", 0, pod_log_serve},
    {"", "serviceaccounts", "token", 0, token_request_serve},
};

void subresource_serve(struct request *request)
{
    for (size_t i = 0; i < array_count(subresources); i++) {
        bool is_of_kind = subresources[i].group == NULL
                              ? kind_has(request->kind, subresources[i].trait)
                              : kind_is(request->kind, subresources[i].group, subresources[i].plural);
        if (is_of_kind && str_equal_c(request->path.subresource, subresources[i].name)) {
            subresources[i].serve(request);
            return;
        }
    }
    (void)failure_set(&request->failure, &request->arena, 404, "NotFound",
                      "the server could not find the requested resource");
    request_fail(request);
}
