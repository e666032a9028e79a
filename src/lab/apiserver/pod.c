// SPDX-License-Identifier: Apache-2.0
//
// Pods: defaults, the ServiceAccount admission (account, token volume, pull secrets), what may change
// later, and binding to a node.
#include "lab/apiserver/defaults.h"
#include "lab/apiserver/metadata.h"
#include "lab/apiserver/request.h"
#include "lab/apiserver/subresource.h"

#define TOKEN_MOUNT "/var/run/secrets/kubernetes.io/serviceaccount"
#define TOKEN_SECONDS 3607 // what upstream asks for, so that rotation is tested

static void pod_set_defaults(struct arena *arena, struct json_value *pod)
{
    struct json_value *spec = json_ensure_object(arena, pod, "spec");
    pod_spec_defaults(arena, spec);
    default_bool(arena, spec, "enableServiceLinks", true);
    default_int(arena, spec, "priority", 0);
    default_str(arena, spec, "preemptionPolicy", "PreemptLowerPriority");
}

// --- ServiceAccount admission ----------------------------------------------------------------------

static const struct json_value *find_account(struct request *request, struct str name)
{
    const struct kind *kind = kind_find(&request->server->kinds, STR_EMPTY, STR("v1"), STR("serviceaccounts"));
    struct store_value *value =
        store_latest(kind->bucket, kind_key(&request->arena, kind, request->path.ns, name));
    return value == NULL ? NULL : value_object(value);
}

static bool has_token_mount(const struct json_value *container)
{
    const struct json_value *mounts = json_get(container, "volumeMounts");
    for (size_t i = 0; i < json_count(mounts); i++) {
        if (str_equal(json_get_str(json_at(mounts, i), "mountPath"), STR(TOKEN_MOUNT))) {
            return true;
        }
    }
    return false;
}

static struct json_value *make_projection(struct arena *arena, struct json_value *sources, const char *source)
{
    struct json_value *item = json_new_object(arena);
    json_push(arena, sources, item);
    return json_ensure_object(arena, item, source);
}

static struct json_value *make_token_volume(struct arena *arena, struct str name)
{
    struct json_value *volume = json_new_object(arena);
    json_set_str(arena, volume, "name", name);
    struct json_value *projected = json_ensure_object(arena, volume, "projected");
    json_set_int(arena, projected, "defaultMode", 0644);
    struct json_value *sources = json_ensure_array(arena, projected, "sources");
    struct json_value *token = make_projection(arena, sources, "serviceAccountToken");
    json_set_int(arena, token, "expirationSeconds", TOKEN_SECONDS);
    json_set_cstr(arena, token, "path", "token");
    struct json_value *roots = make_projection(arena, sources, "configMap");
    json_set_cstr(arena, roots, "name", "kube-root-ca.crt");
    struct json_value *item = json_new_object(arena);
    json_set_cstr(arena, item, "key", "ca.crt");
    json_set_cstr(arena, item, "path", "ca.crt");
    json_push(arena, json_ensure_array(arena, roots, "items"), item);
    struct json_value *downward = make_projection(arena, sources, "downwardAPI");
    item = json_new_object(arena);
    json_set_cstr(arena, item, "path", "namespace");
    struct json_value *field = json_ensure_object(arena, item, "fieldRef");
    json_set_cstr(arena, field, "apiVersion", "v1");
    json_set_cstr(arena, field, "fieldPath", "metadata.namespace");
    json_push(arena, json_ensure_array(arena, downward, "items"), item);
    return volume;
}

static bool mount_token(struct arena *arena, struct json_value *spec, const char *list, struct str volume)
{
    bool mounted = false;
    const struct json_value *containers = json_get(spec, list);
    for (size_t i = 0; i < json_count(containers); i++) {
        struct json_value *container = json_at(containers, i);
        if (!json_is(container, JSON_OBJECT) || has_token_mount(container)) {
            continue;
        }
        struct json_value *mount = json_new_object(arena);
        json_set_str(arena, mount, "name", volume);
        json_set_cstr(arena, mount, "mountPath", TOKEN_MOUNT);
        json_set_bool(arena, mount, "readOnly", true);
        json_push(arena, json_ensure_array(arena, container, "volumeMounts"), mount);
        mounted = true;
    }
    return mounted;
}

static void add_token(struct arena *arena, struct json_value *spec)
{
    struct str name = name_generate(arena, STR("kube-api-access-"));
    bool in_mains = mount_token(arena, spec, "containers", name);
    bool in_inits = mount_token(arena, spec, "initContainers", name);
    if (in_mains || in_inits) {
        json_push(arena, json_ensure_array(arena, spec, "volumes"), make_token_volume(arena, name));
    }
}

// Webhooks add containers after admission ran: those get the token too, from the same volume.
static void spread_token(struct arena *arena, struct json_value *spec)
{
    const struct json_value *volumes = json_get(spec, "volumes");
    for (size_t i = 0; i < json_count(volumes); i++) {
        struct str name = json_get_str(json_at(volumes, i), "name");
        if (str_starts_with(name, STR("kube-api-access-"))) {
            (void)mount_token(arena, spec, "containers", name);
            (void)mount_token(arena, spec, "initContainers", name);
        }
    }
}

static bool pod_admit(struct request *request, struct json_value *pod, const struct json_value *old)
{
    struct arena *arena = &request->arena;
    if (old != NULL) {
        return true;
    }
    struct json_value *spec = json_ensure_object(arena, pod, "spec");
    default_str(arena, spec, "serviceAccountName", "default");
    struct str name = json_get_str(spec, "serviceAccountName");
    json_set_str(arena, spec, "serviceAccount", name);
    const struct json_value *account = find_account(request, name);
    if (account == NULL) {
        return failure_forbidden(&request->failure, arena, request->kind, request->write.name,
                                 "error looking up service account %.*s/%.*s: serviceaccount \"%.*s\" not found",
                                 STR_ARG(request->path.ns), STR_ARG(name), STR_ARG(name));
    }
    bool automount = json_get_bool(account, "automountServiceAccountToken", true);
    if (json_get_bool(spec, "automountServiceAccountToken", automount)) {
        add_token(arena, spec);
    }
    const struct json_value *pull_secrets = json_get(account, "imagePullSecrets");
    if (json_count(pull_secrets) > 0 && json_count(json_get(spec, "imagePullSecrets")) == 0) {
        json_set(arena, spec, STR("imagePullSecrets"), json_copy(arena, pull_secrets));
    }
    return true;
}

// --- creation --------------------------------------------------------------------------------------

static bool has_resources(const struct json_value *spec, const char *field)
{
    static const char *const lists[] = {"containers", "initContainers"};
    for (size_t l = 0; l < array_count(lists); l++) {
        const struct json_value *containers = json_get(spec, lists[l]);
        for (size_t i = 0; i < json_count(containers); i++) {
            if (json_count(json_path(json_at(containers, i), "resources", field, NULL)) > 0) {
                return true;
            }
        }
    }
    return false;
}

static bool is_guaranteed(const struct json_value *spec)
{
    const struct json_value *containers = json_get(spec, "containers");
    for (size_t i = 0; i < json_count(containers); i++) {
        const struct json_value *resources = json_get(json_at(containers, i), "resources");
        const struct json_value *limits = json_get(resources, "limits");
        const struct json_value *requests = json_get(resources, "requests");
        if (json_get(limits, "cpu") == NULL || json_get(limits, "memory") == NULL || !json_equal(limits, requests)) {
            return false;
        }
    }
    return true;
}

static void pod_prepare(struct arena *arena, struct json_value *pod, const struct json_value *old)
{
    if (old != NULL) {
        return;
    }
    struct json_value *spec = json_ensure_object(arena, pod, "spec");
    spread_token(arena, spec);
    struct json_value *status = json_new_object(arena);
    json_set_cstr(arena, status, "phase", "Pending");
    bool has_any = has_resources(spec, "requests") || has_resources(spec, "limits");
    json_set_cstr(arena, status, "qosClass", !has_any ? "BestEffort" : is_guaranteed(spec) ? "Guaranteed" : "Burstable");
    json_set(arena, pod, STR("status"), status);
}

static void validate_containers(const struct json_value *spec, const char *list, bool is_required,
                                struct field_errors *errors)
{
    const struct json_value *containers = json_get(spec, list);
    struct str field = arena_format(errors->arena, "spec.%s", list);
    if (json_count(containers) == 0 && is_required) {
        field_error(errors, "FieldValueRequired", field.data, "Required value");
    }
    for (size_t i = 0; i < json_count(containers); i++) {
        const struct json_value *container = json_at(containers, i);
        struct str name = json_get_str(container, "name");
        if (!name_is_label(name)) {
            field_error(errors, str_is_empty(name) ? "FieldValueRequired" : "FieldValueInvalid",
                        arena_format(errors->arena, "spec.%s[%zu].name", list, i).data,
                        str_is_empty(name) ? "Required value%.*s" : "Invalid value: \"%.*s\": a lowercase RFC 1123 label",
                        STR_ARG(name));
        }
        if (str_is_empty(json_get_str(container, "image"))) {
            field_error(errors, "FieldValueRequired",
                        arena_format(errors->arena, "spec.%s[%zu].image", list, i).data, "Required value");
        }
        for (size_t k = 0; k < i; k++) {
            if (str_equal(json_get_str(json_at(containers, k), "name"), name)) {
                field_error(errors, "FieldValueDuplicate",
                            arena_format(errors->arena, "spec.%s[%zu].name", list, i).data,
                            "Duplicate value: \"%.*s\"", STR_ARG(name));
            }
        }
    }
}

// A pod's specification with the fields that may change taken out.
static struct json_value *frozen_spec(struct arena *arena, const struct json_value *pod)
{
    static const char *const free_fields[] = {"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"};
    static const char *const lists[] = {"containers", "initContainers"};
    struct json_value *spec = json_copy(arena, json_get(pod, "spec"));
    for (size_t i = 0; i < array_count(free_fields); i++) {
        (void)json_remove(spec, str_of(free_fields[i]));
    }
    for (size_t l = 0; l < array_count(lists); l++) {
        const struct json_value *containers = json_get(spec, lists[l]);
        for (size_t i = 0; i < json_count(containers); i++) {
            (void)json_remove(json_at(containers, i), STR("image"));
            (void)json_remove(json_at(containers, i), STR("imagePullPolicy"));
        }
    }
    return spec;
}

static void pod_validate(const struct json_value *pod, const struct json_value *old, struct field_errors *errors)
{
    const struct json_value *spec = json_get(pod, "spec");
    validate_containers(spec, "containers", true, errors);
    validate_containers(spec, "initContainers", false, errors);
    if (old != NULL && !json_equal(frozen_spec(errors->arena, pod), frozen_spec(errors->arena, old))) {
        field_error(errors, "FieldValueForbidden", "spec",
                    "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
                    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
                    "existing tolerations),`spec.terminationGracePeriodSeconds`");
    }
}

const struct kind_hooks pod_hooks = {
    .set_defaults = pod_set_defaults,
    .admit = pod_admit,
    .prepare = pod_prepare,
    .validate = pod_validate,
};

// --- binding ---------------------------------------------------------------------------------------

static bool make_binding(struct request *request)
{
    struct arena *arena = &request->arena;
    struct write *write = &request->write;
    struct str node = json_get_str(json_get(write->body, "target"), "name");
    struct str bound = json_get_str(json_get(write->old, "spec"), "nodeName");
    if (str_is_empty(node)) {
        return failure_set(&request->failure, arena, 422, "Invalid",
                           "Binding \"%.*s\" is invalid: target.name: Required value", STR_ARG(write->name));
    }
    if (!str_is_empty(bound)) {
        return failure_conflict(&request->failure, arena, request->kind, write->name,
                                "pod %.*s is already assigned to node \"%.*s\"", STR_ARG(write->name), STR_ARG(bound));
    }
    if (json_get(object_metadata(write->old), "deletionTimestamp") != NULL) {
        return failure_conflict(&request->failure, arena, request->kind, write->name,
                                "pod %.*s is being deleted, cannot be assigned to a host", STR_ARG(write->name));
    }
    write->object = json_copy(arena, write->old);
    json_set_str(arena, json_ensure_object(arena, write->object, "spec"), "nodeName", node);
    struct json_value *conditions =
        json_ensure_array(arena, json_ensure_object(arena, write->object, "status"), "conditions");
    for (size_t i = json_count(conditions); i > 0; i--) {
        if (str_equal(json_get_str(json_at(conditions, i - 1), "type"), STR("PodScheduled"))) {
            json_array_remove(conditions, i - 1);
        }
    }
    struct json_value *condition = json_new_object(arena);
    json_set_cstr(arena, condition, "type", "PodScheduled");
    json_set_cstr(arena, condition, "status", "True");
    json_set_str(arena, condition, "lastTransitionTime", time_text(arena, loop_wall_ms(request->server->loop)));
    json_push(arena, conditions, condition);
    return true;
}

static void respond_bound(struct request *request)
{
    struct json_value *status = json_new_object(&request->arena);
    json_set_cstr(&request->arena, status, "kind", "Status");
    json_set_cstr(&request->arena, status, "apiVersion", "v1");
    (void)json_ensure_object(&request->arena, status, "metadata");
    json_set_cstr(&request->arena, status, "status", "Success");
    json_set_int(&request->arena, status, "code", 201);
    request_respond_json(request, 201, status);
}

static void bind_pod(struct request *request, struct json_value *body, struct str name)
{
    request->write.name = name;
    request->write.body = body;
    request->write.is_system = true;
    request->write.make = make_binding;
    request->write.respond = respond_bound;
    write_begin(request);
}

void pod_bind(struct request *request)
{
    struct json_value *body;
    if (request->verb != VERB_CREATE) {
        (void)failure_method(&request->failure, &request->arena);
        request_fail(request);
    } else if (!write_prepare(request, request->path.name) || !request_parse_body(request, &body)) {
        request_fail(request);
    } else {
        bind_pod(request, body, request->path.name);
    }
}

// POST …/bindings: the old form names the pod in the body.
static void binding_review(struct request *request, struct json_value *body)
{
    struct kind *pods = kind_find(&request->server->kinds, STR_EMPTY, STR("v1"), STR("pods"));
    kind_unref(request->kind);
    request->kind = kind_ref(pods);
    bind_pod(request, body, object_name(body));
}

const struct kind_hooks binding_hooks = {.review = binding_review};
