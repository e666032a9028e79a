// SPDX-License-Identifier: Apache-2.0
//
// create and update, and the pipeline all writes of objects go through:
//
//   begin:  latest stored state ─► make ─► server's fields ─► defaults ─► built-in admission
//        ─► mutating webhooks ─► (after_mutation) server's fields, defaults, prepare, validate
//        ─► validating webhooks ─► (after_validation) still the latest? ─► allocate ─► store ─► answer
//
// Webhooks take time: when another write came in between, the pipeline begins again (up to
// REQUEST_PATCH_ATTEMPTS_MAX times) unless the client named the version it changed.
#include <inttypes.h>

#include "codec/yaml/yaml.h"
#include "lab/apiserver/metadata.h"
#include "lab/apiserver/protobuf.h"
#include "lab/apiserver/request.h"
#include "lab/apiserver/schema.h"
#include "lab/apiserver/webhook.h"

// --- bodies ----------------------------------------------------------------------------------------

enum body_type { BODY_JSON, BODY_YAML, BODY_PROTOBUF, BODY_UNKNOWN };

static enum body_type body_type(struct str content_type)
{
    static const struct {
        const char *name;
        enum body_type type;
    } types[] = {
        {"", BODY_JSON}, // kubectl 1.20 names none at times
        {"application/json", BODY_JSON},
        {"application/yaml", BODY_YAML},
        {"application/vnd.kubernetes.protobuf", BODY_PROTOBUF},
    };
    struct str type = str_trim(str_split(&content_type, ';'));
    for (size_t i = 0; i < array_count(types); i++) {
        if (str_equal_nocase(type, str_of(types[i].name))) {
            return types[i].type;
        }
    }
    return BODY_UNKNOWN;
}

static bool unsupported_body(struct request *request, const char *why)
{
    return failure_set(&request->failure, &request->arena, 415, "UnsupportedMediaType",
                       "the body of the request was in an unknown format - accepted media types include: application/json, "
                       "application/yaml, application/vnd.kubernetes.protobuf%s%s", why[0] == '\0' ? "" : ": ", why);
}

// Custom resources and status have no rows in its table.
static bool parse_protobuf(struct request *request, struct json_value **ret_object)
{
    struct protobuf_result result;
    struct error err = {0};
    bool is_status = str_equal(request->path.subresource, STR("status"));
    if (is_status || (request->kind != NULL && kind_has(request->kind, KIND_CUSTOM))) {
        return unsupported_body(request, is_status ? "status is not read in protobuf here" : "custom resources have no protobuf");
    }
    enum err code = protobuf_parse(&request->arena, buf_view(&request->body), &result, &err);
    if (code == ERR_UNSUPPORTED) {
        return unsupported_body(request, err.message);
    }
    if (code != ERR_OK) {
        return failure_bad_request(&request->failure, &request->arena, "%s", err.message);
    }
    for (size_t i = 0; i < result.unknown_count; i++) {
        request_warn(request, "field %u of %s is not known here and was left out", (unsigned)result.unknown[i].field,
                     result.unknown[i].message);
    }
    *ret_object = result.object;
    return true;
}

bool request_parse_body(struct request *request, struct json_value **ret_object)
{
    struct arena *arena = &request->arena;
    struct error err = {0};
    struct json_value *object = NULL;
    enum body_type type = body_type(request->content_type);
    if (type == BODY_UNKNOWN) {
        return unsupported_body(request, "");
    }
    if (type == BODY_PROTOBUF) {
        return parse_protobuf(request, ret_object);
    }
    struct str body = buf_view(&request->body);
    enum err code = type == BODY_YAML ? yaml_parse(arena, body, &object, &err) : json_parse(arena, body, &object, &err);
    if (code != ERR_OK) {
        return failure_bad_request(&request->failure, arena, "the body is not valid %s: %s", type == BODY_YAML ? "YAML" : "JSON",
                                   err.message);
    }
    if (!json_is(object, JSON_OBJECT)) {
        return failure_bad_request(&request->failure, arena, "the body is not a JSON object");
    }
    *ret_object = object;
    return true;
}

// Kind and version of a body must be the ones of the path, or be left out.
static bool check_type(struct request *request, struct json_value *object)
{
    struct arena *arena = &request->arena;
    const struct kind *kind = request->kind;
    struct str api_version = json_get_str(object, "apiVersion");
    struct str name = json_get_str(object, "kind");
    if (!str_is_empty(api_version) && !str_equal(api_version, kind->api_version)) {
        return failure_bad_request(&request->failure, arena,
                                   "the API version in the data (%.*s) does not match the expected API version "
                                   "(%.*s)", STR_ARG(api_version), STR_ARG(kind->api_version));
    }
    if (!str_is_empty(name) && !str_equal(name, kind->kind)) {
        return failure_bad_request(&request->failure, arena,
                                   "%.*s in version \"%.*s\" cannot be handled as a %.*s: no kind \"%.*s\" is served here",
                                   STR_ARG(name), STR_ARG(kind->version), STR_ARG(kind->kind), STR_ARG(name));
    }
    json_set_str(arena, object, "kind", kind->kind);
    json_set_str(arena, object, "apiVersion", kind->api_version);
    if (!json_is(json_get(object, "metadata"), JSON_OBJECT)) {
        (void)json_ensure_object(arena, object, "metadata");
    }
    return true;
}

bool write_check_dry_run(struct request *request)
{
    struct str value = request_parameter(&request->path, "dryRun");
    request->write.dry_run = str_equal(value, STR("All"));
    if (value.data != NULL && !request->write.dry_run) {
        return failure_set(&request->failure, &request->arena, 422, "Invalid",
                           "dryRun: Unsupported value: \"%.*s\": supported values: \"All\"", STR_ARG(value));
    }
    return true;
}

bool write_prepare(struct request *request, struct str name)
{
    request->write = (struct write){.name = name, .status = 200};
    return write_check_dry_run(request);
}

// --- identity --------------------------------------------------------------------------------------

bool write_check_identity(struct request *request, const struct json_value *object)
{
    struct arena *arena = &request->arena;
    struct write *write = &request->write;
    const struct json_value *metadata = object_metadata(object);
    struct str name = json_get_str(metadata, "name");
    struct str ns = json_get_str(metadata, "namespace");
    struct str uid = json_get_str(metadata, "uid");
    struct str version = json_get_str(metadata, "resourceVersion");
    if (!str_is_empty(name) && !str_equal(name, write->name)) {
        return failure_bad_request(&request->failure, arena,
                                   "the name of the object (%.*s) does not match the name on the URL (%.*s)",
                                   STR_ARG(name), STR_ARG(write->name));
    }
    if (kind_has(request->kind, KIND_NAMESPACED) && !str_is_empty(ns) && !str_equal(ns, request->path.ns)) {
        return failure_bad_request(
            &request->failure, arena,
            "the namespace of the provided object does not match the namespace sent on the request");
    }
    const struct json_value *old_metadata = object_metadata(write->old);
    struct str old_uid = json_get_str(old_metadata, "uid");
    if (!str_is_empty(uid) && !str_equal(uid, old_uid)) {
        return failure_conflict(&request->failure, arena, request->kind, write->name,
                                "Precondition failed: UID in precondition: %.*s, UID in object meta: %.*s",
                                STR_ARG(uid), STR_ARG(old_uid));
    }
    if (!str_is_empty(version) && !str_equal(version, json_get_str(old_metadata, "resourceVersion"))) {
        return failure_conflict(&request->failure, arena, request->kind, write->name,
                                "the object has been modified; please apply your changes to the latest version "
                                "and try again");
    }
    return true;
}

static bool check_namespace(struct request *request)
{
    if (!kind_has(request->kind, KIND_NAMESPACED)) {
        return true;
    }
    struct arena *arena = &request->arena;
    const struct kind *namespaces = kind_find(&request->server->kinds, STR_EMPTY, STR("v1"), STR("namespaces"));
    struct store_value *value = store_latest(namespaces->bucket, request->path.ns);
    if (value == NULL) {
        return failure_not_found(&request->failure, arena, namespaces, request->path.ns);
    }
    if (json_get(object_metadata(value_object(value)), "deletionTimestamp") != NULL) {
        (void)failure_forbidden(&request->failure, arena, request->kind, request->write.name,
                                "unable to create new content in namespace %.*s because it is being terminated",
                                STR_ARG(request->path.ns));
        request->failure.causes[0] = (struct failure_cause){
            .reason = "NamespaceTerminating",
            .message = arena_format(arena, "namespace %.*s is being terminated", STR_ARG(request->path.ns)),
            .field = STR("metadata.namespace")};
        request->failure.cause_count = 1;
        return false;
    }
    return true;
}

// --- makers ----------------------------------------------------------------------------------------

static bool make_create(struct request *request)
{
    struct arena *arena = &request->arena;
    struct write *write = &request->write;
    write->object = json_copy(arena, write->body);
    struct json_value *metadata = json_ensure_object(arena, write->object, "metadata");
    struct str ns = json_get_str(metadata, "namespace");
    if (kind_has(request->kind, KIND_NAMESPACED) && !str_is_empty(ns) && !str_equal(ns, request->path.ns)) {
        return failure_bad_request(
            &request->failure, arena,
            "the namespace of the provided object does not match the namespace sent on the request");
    }
    if (!str_is_empty(json_get_str(metadata, "resourceVersion"))) {
        return failure_bad_request(&request->failure, arena,
                                   "resourceVersion should not be set on objects to be created");
    }
    struct str prefix = json_get_str(metadata, "generateName");
    write->name = json_get_str(metadata, "name");
    for (unsigned i = 0; str_is_empty(write->name) && !str_is_empty(prefix) && i < 8; i++) {
        struct str name = name_generate(arena, prefix);
        if (store_latest(request->kind->bucket, kind_key(arena, request->kind, request->path.ns, name)) == NULL) {
            write->name = name;
            json_set_str(arena, metadata, "name", name);
        }
    }
    if (store_latest(request->kind->bucket, kind_key(arena, request->kind, request->path.ns, write->name)) != NULL) {
        return failure_exists(&request->failure, arena, request->kind, write->name);
    }
    metadata_init(arena, write->object, request->kind, request->path.ns, loop_wall_ms(request->server->loop));
    return check_namespace(request);
}

bool write_make_update(struct request *request)
{
    struct write *write = &request->write;
    write->object = json_copy(&request->arena, write->body);
    return write_check_identity(request, write->object);
}

// Of a write to /status the status counts, and for built-in kinds what people put into metadata.
static void keep_only_status(struct request *request)
{
    struct arena *arena = &request->arena;
    struct write *write = &request->write;
    const struct json_value *status = json_get(write->object, "status");
    const struct json_value *metadata = object_metadata(write->object);
    struct json_value *object = json_copy(arena, write->old);
    if (!kind_has(request->kind, KIND_CUSTOM)) {
        static const char *const fields[] = {"labels", "annotations", "finalizers"};
        struct json_value *own = json_ensure_object(arena, object, "metadata");
        for (size_t i = 0; i < array_count(fields); i++) {
            struct json_value *value = json_get(metadata, fields[i]);
            if (value != NULL) {
                json_set(arena, own, str_of(fields[i]), value);
            }
        }
    }
    if (status == NULL) {
        (void)json_remove(object, STR("status"));
    } else {
        json_set(arena, object, STR("status"), json_copy(arena, status));
    }
    write->object = object;
}

bool write_make_status(struct request *request)
{
    if (!write_make_update(request)) {
        return false;
    }
    keep_only_status(request);
    return true;
}

// --- the pipeline ----------------------------------------------------------------------------------

static bool is_status_write(const struct request *request)
{
    return str_equal(request->path.subresource, STR("status"));
}

// Puts the server's own fields right, whatever clients and webhooks wrote there.
static void normalize(struct request *request)
{
    struct arena *arena = &request->arena;
    struct write *write = &request->write;
    struct json_value *object = write->object;
    json_set_str(arena, object, "kind", request->kind->kind);
    json_set_str(arena, object, "apiVersion", request->kind->api_version);
    if (write->is_create) {
        return;
    }
    metadata_carry(arena, object, write->old);
    json_set_str(arena, json_ensure_object(arena, object, "metadata"), "name", write->name);
    if (kind_has(request->kind, KIND_STATUS) && !is_status_write(request) && !write->is_system) {
        const struct json_value *status = json_get(write->old, "status");
        if (status == NULL) {
            (void)json_remove(object, STR("status"));
        } else {
            json_set(arena, object, STR("status"), json_copy(arena, status));
        }
    }
}

// Of a custom kind; NULL: none.
static const struct json_value *schema_of(const struct request *request)
{
    return json_path(request->kind->crd_version, "schema", "openAPIV3Schema", NULL);
}

static void set_defaults(struct request *request)
{
    schema_complete(&request->arena, request->write.object, schema_of(request));
    if (request->kind->hooks->set_defaults != NULL) {
        request->kind->hooks->set_defaults(&request->arena, request->write.object);
    }
}

static void bump_generation(struct request *request)
{
    struct write *write = &request->write;
    if (write->is_create || !kind_has(request->kind, KIND_SPEC) || is_status_write(request) ||
        !metadata_spec_changed(request->kind, write->object, write->old)) {
        return;
    }
    int64_t generation = json_get_int(object_metadata(write->old), "generation", 0);
    json_set_int(&request->arena, json_ensure_object(&request->arena, write->object, "metadata"), "generation",
                 generation + 1);
}

void write_failed(struct request *request)
{
    request_fail(request);
    request_release(request);
}

static void on_mutated(struct request *request, bool allowed)
{
    if (allowed) {
        write_after_mutation(request);
    } else {
        write_failed(request);
    }
}

static void on_validated(struct request *request, bool allowed)
{
    if (allowed) {
        write_after_validation(request);
    } else {
        write_failed(request);
    }
}

static enum webhook_operation operation_of(const struct write *write)
{
    return write->is_create ? WEBHOOK_CREATE : WEBHOOK_UPDATE;
}

static bool load_base(struct request *request)
{
    struct arena *arena = &request->arena;
    struct write *write = &request->write;
    store_value_unref(write->base);
    write->base = NULL;
    write->old = NULL;
    if (write->is_create) {
        return true;
    }
    struct store_value *value =
        store_latest(request->kind->bucket, kind_key(arena, request->kind, request->path.ns, write->name));
    if (value == NULL) {
        return failure_not_found(&request->failure, arena, request->kind, write->name);
    }
    write->base = store_value_ref(value);
    write->old = value_object_for(arena, request->kind, value);
    return true;
}

// Holds the request from here to write_failed() or the answer.
void write_begin(struct request *request)
{
    struct write *write = &request->write;
    request_hold(request);
    if (!load_base(request) || !write->make(request)) {
        write_failed(request);
        return;
    }
    normalize(request);
    set_defaults(request);
    const struct kind_hooks *hooks = request->kind->hooks;
    if (hooks->admit != NULL && !is_status_write(request) && !write->is_system &&
        !hooks->admit(request, write->object, write->old)) {
        write_failed(request);
        return;
    }
    webhooks_run(request, WEBHOOK_MUTATING, operation_of(write), on_mutated);
}

static bool check_finalizers(struct request *request)
{
    const struct write *write = &request->write;
    if (write->is_create || json_get(object_metadata(write->old), "deletionTimestamp") == NULL) {
        return true;
    }
    const struct json_value *before = json_get(object_metadata(write->old), "finalizers");
    const struct json_value *after = json_get(object_metadata(write->object), "finalizers");
    for (size_t i = 0; i < json_count(after); i++) {
        bool was_there = false;
        for (size_t k = 0; k < json_count(before) && !was_there; k++) {
            was_there = json_equal(json_at(before, k), json_at(after, i));
        }
        if (!was_there) {
            struct field_errors errors = {.arena = &request->arena};
            field_error(&errors, "FieldValueForbidden", "metadata.finalizers",
                        "Forbidden: no new finalizers can be added if the object is being deleted, found new "
                        "finalizers [\"%.*s\"]", STR_ARG(json_str(json_at(after, i))));
            return field_errors_check(&errors, &request->failure, request->kind, write->name);
        }
    }
    return true;
}

void write_after_mutation(struct request *request)
{
    struct write *write = &request->write;
    const struct kind_hooks *hooks = request->kind->hooks;
    normalize(request);
    set_defaults(request);
    if (hooks->prepare != NULL && !is_status_write(request) && !write->is_system) {
        hooks->prepare(&request->arena, write->object, write->old);
    }
    bump_generation(request);
    struct field_errors errors = {.arena = &request->arena};
    metadata_validate(write->object, request->kind, &errors);
    schema_validate(write->object, schema_of(request), &errors);
    if (hooks->validate != NULL && !write->is_system && !is_status_write(request)) {
        hooks->validate(write->object, write->old, &errors);
    }
    if (!field_errors_check(&errors, &request->failure, request->kind, write->name) ||
        !check_finalizers(request)) {
        write_failed(request);
        return;
    }
    webhooks_run(request, WEBHOOK_VALIDATING, operation_of(write), on_validated);
}

static void write_answer(struct request *request)
{
    struct write *write = &request->write;
    if (write->respond != NULL) {
        write->respond(request);
    } else {
        request_respond_object(request, write->status, write->object);
    }
    request_release(request);
}

static void on_stored(void *owner, const struct error *err)
{
    struct request *request = owner;
    if (err == NULL) {
        write_answer(request);
        return;
    }
    service_allocator_rebuild(request->server);
    (void)failure_set(&request->failure, &request->arena, 500, "InternalError",
                      "Internal error occurred: the write was not kept: %s", err->message);
    write_failed(request);
}

enum err write_store(struct apiserver *server, const struct kind *kind, struct arena *arena,
                     enum store_change change, struct json_value *object, store_done_fn *on_done, void *owner,
                     struct error *err)
{
    struct json_value *metadata = json_ensure_object(arena, object, "metadata");
    json_set_str(arena, metadata, "resourceVersion",
                 arena_format(arena, "%" PRIu64, store_next_revision(server->store)));
    struct str key = kind_key(arena, kind, json_get_str(metadata, "namespace"), json_get_str(metadata, "name"));
    struct buf bytes = {0};
    json_write(object, &bytes);
    enum err code = store_write(kind->bucket, change, key, buf_view(&bytes), on_done, owner, err);
    buf_done(&bytes);
    return code;
}

// Nothing holds the object any more: an update that took the last finalizer off removes it.
static bool is_finished(const struct request *request)
{
    const struct json_value *object = request->write.object;
    const struct json_value *metadata = object_metadata(object);
    bool is_namespace = kind_is(request->kind, "", "namespaces");
    return json_get(metadata, "deletionTimestamp") != NULL && json_count(json_get(metadata, "finalizers")) == 0 &&
           json_get_int(metadata, "deletionGracePeriodSeconds", 0) == 0 &&
           (!is_namespace || json_count(json_path(object, "spec", "finalizers", NULL)) == 0);
}

void write_after_validation(struct request *request)
{
    struct write *write = &request->write;
    struct arena *arena = &request->arena;
    const struct kind *kind = request->kind;
    struct store_value *latest = store_latest(kind->bucket, kind_key(arena, kind, request->path.ns, write->name));
    if (latest != write->base) {
        bool again = !write->is_create && !write->has_precondition && latest != NULL &&
                     ++write->attempts < REQUEST_PATCH_ATTEMPTS_MAX;
        if (again) {
            write_begin(request);
            request_release(request);
            return;
        }
        if (write->is_create) {
            (void)failure_exists(&request->failure, arena, kind, write->name);
        } else {
            (void)failure_conflict(&request->failure, arena, kind, write->name,
                                   "the object has been modified; please apply your changes to the latest version "
                                   "and try again");
        }
        write_failed(request);
        return;
    }
    if (kind->hooks->allocate != NULL && !is_status_write(request) &&
        !kind->hooks->allocate(request, write->object, write->old)) {
        write_failed(request);
        return;
    }
    bool is_removal = !write->is_create && is_finished(request);
    bool is_unchanged = !write->is_create && !is_removal && json_equal(write->object, write->old);
    if (write->dry_run || is_unchanged) {
        write_answer(request);
        return;
    }
    struct error err = {0};
    if (write_store(request->server, kind, arena, is_removal ? STORE_DELETE : STORE_PUT, write->object, on_stored,
                    request, &err) != ERR_OK) {
        on_stored(request, &err);
    }
}

// --- verbs -----------------------------------------------------------------------------------------

void write_create(struct request *request)
{
    struct json_value *object;
    if (!write_prepare(request, STR_EMPTY) || !request_parse_body(request, &object) ||
        !check_type(request, object)) {
        request_fail(request);
        return;
    }
    if (kind_has(request->kind, KIND_REVIEW)) {
        request->kind->hooks->review(request, object);
        return;
    }
    request->write.is_create = true;
    request->write.status = 201;
    request->write.body = object;
    request->write.make = make_create;
    write_begin(request);
}

void write_update(struct request *request)
{
    struct json_value *object;
    if (!write_prepare(request, request->path.name) || !request_parse_body(request, &object) ||
        !check_type(request, object)) {
        request_fail(request);
        return;
    }
    struct str version = json_get_str(object_metadata(object), "resourceVersion");
    request->write.has_precondition = !str_is_empty(version);
    request->write.body = object;
    request->write.make = is_status_write(request) ? write_make_status : write_make_update;
    write_begin(request);
}
