// SPDX-License-Identifier: Apache-2.0
//
// CustomResourceDefinitions: defaults, conditions, and the kinds they define. Schemas are stored and
// served back; objects are stored as they are sent, without pruning or validation by the schema.
#include "base/log.h"
#include "lab/apiserver/defaults.h"
#include "lab/apiserver/metadata.h"
#include "lab/apiserver/request.h"

static struct log_scope scope = LOG_SCOPE("apiserver");

static void crd_set_defaults(struct arena *arena, struct json_value *object)
{
    struct json_value *spec = json_ensure_object(arena, object, "spec");
    struct json_value *names = json_ensure_object(arena, spec, "names");
    struct str kind = json_get_str(names, "kind");
    char *singular = arena_strdup(arena, kind);
    for (char *c = singular; *c != '\0'; c++) {
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    }
    default_str(arena, names, "singular", singular);
    default_str(arena, names, "listKind", arena_strdup(arena, arena_format(arena, "%.*sList", STR_ARG(kind))));
    default_str(arena, json_ensure_object(arena, spec, "conversion"), "strategy", "None");
}

static void add_condition(struct arena *arena, struct json_value *conditions, const char *type, const char *reason,
                          const char *message, struct str when)
{
    struct json_value *condition = json_new_object(arena);
    json_set_str(arena, condition, "lastTransitionTime", when);
    json_set_cstr(arena, condition, "message", message);
    json_set_cstr(arena, condition, "reason", reason);
    json_set_cstr(arena, condition, "status", "True");
    json_set_cstr(arena, condition, "type", type);
    json_push(arena, conditions, condition);
}

static struct str storage_version(const struct json_value *spec)
{
    const struct json_value *versions = json_get(spec, "versions");
    for (size_t i = 0; i < json_count(versions); i++) {
        if (json_get_bool(json_at(versions, i), "storage", false)) {
            return json_get_str(json_at(versions, i), "name");
        }
    }
    return STR_EMPTY;
}

// Names are accepted at once: there is one server, and it has looked for clashes (validate).
static void crd_prepare(struct arena *arena, struct json_value *object, const struct json_value *old)
{
    const struct json_value *spec = json_get(object, "spec");
    struct json_value *status = json_ensure_object(arena, object, "status");
    json_set(arena, status, STR("acceptedNames"), json_copy(arena, json_get(spec, "names")));
    struct json_value *stored = json_ensure_array(arena, status, "storedVersions");
    bool is_listed = false;
    for (size_t i = 0; i < json_count(stored); i++) {
        is_listed = is_listed || str_equal(json_str(json_at(stored, i)), storage_version(spec));
    }
    if (!is_listed) {
        json_push(arena, stored, json_new_str(arena, storage_version(spec)));
    }
    if (old == NULL) {
        struct str when = json_get_str(object_metadata(object), "creationTimestamp");
        struct json_value *conditions = json_new_array(arena);
        add_condition(arena, conditions, "NamesAccepted", "NoConflicts", "no conflicts found", when);
        add_condition(arena, conditions, "Established", "InitialNamesAccepted",
                      "the initial names have been accepted", when);
        json_set(arena, status, STR("conditions"), conditions);
    }
}

static void crd_validate(const struct json_value *object, const struct json_value *old, struct field_errors *errors)
{
    const struct json_value *spec = json_get(object, "spec");
    const struct json_value *names = json_get(spec, "names");
    const struct json_value *versions = json_get(spec, "versions");
    struct str group = json_get_str(spec, "group");
    struct str plural = json_get_str(names, "plural");
    struct str wanted = arena_format(errors->arena, "%.*s.%.*s", STR_ARG(plural), STR_ARG(group));
    if (!name_is_subdomain(group) || str_find_char(group, '.') < 0) {
        field_error(errors, "FieldValueInvalid", "spec.group", "Invalid value: \"%.*s\": should be a domain with at "
                    "least one dot", STR_ARG(group));
    }
    if (!name_is_label(plural)) {
        field_error(errors, "FieldValueInvalid", "spec.names.plural", "Invalid value: \"%.*s\"", STR_ARG(plural));
    }
    if (str_is_empty(json_get_str(names, "kind"))) {
        field_error(errors, "FieldValueRequired", "spec.names.kind", "Required value");
    }
    if (!str_equal(object_name(object), wanted)) {
        field_error(errors, "FieldValueInvalid", "metadata.name",
                    "Invalid value: \"%.*s\": must be spec.names.plural+\".\"+spec.group", STR_ARG(object_name(object)));
    }
    struct str scope_name = json_get_str(spec, "scope");
    if (!str_equal(scope_name, STR("Namespaced")) && !str_equal(scope_name, STR("Cluster"))) {
        field_error(errors, "FieldValueNotSupported", "spec.scope",
                    "Unsupported value: \"%.*s\": supported values: \"Cluster\", \"Namespaced\"", STR_ARG(scope_name));
    }
    if (old != NULL && !str_equal(scope_name, json_get_str(json_get(old, "spec"), "scope"))) {
        field_error(errors, "FieldValueInvalid", "spec.scope", "Invalid value: \"%.*s\": field is immutable",
                    STR_ARG(scope_name));
    }
    size_t storing = 0;
    for (size_t i = 0; i < json_count(versions); i++) {
        storing += json_get_bool(json_at(versions, i), "storage", false) ? 1 : 0;
        if (!name_is_label(json_get_str(json_at(versions, i), "name"))) {
            field_error(errors, "FieldValueInvalid", arena_format(errors->arena, "spec.versions[%zu].name", i).data,
                        "Invalid value: must be a DNS label");
        }
    }
    if (storing != 1) {
        field_error(errors, "FieldValueInvalid", "spec.versions",
                    "Invalid value: must have exactly one version marked as storage version");
    }
}

// A definition that takes a built-in kind's path would hide it.
static bool crd_admit(struct request *request, struct json_value *object, const struct json_value *old)
{
    (void)old;
    const struct json_value *spec = json_get(object, "spec");
    const struct kind *taken = kind_find_resource(&request->server->kinds, json_get_str(spec, "group"),
                                                  json_get_str(json_get(spec, "names"), "plural"));
    if (taken != NULL && !kind_has(taken, KIND_CUSTOM)) {
        return failure_forbidden(&request->failure, &request->arena, request->kind, object_name(object),
                                 "the resource %.*s is built in", STR_ARG(object_name(object)));
    }
    return true;
}

static void delete_instances(struct apiserver *server, const struct json_value *definition)
{
    const struct json_value *spec = json_get(definition, "spec");
    const struct kind *kind = kind_find_resource(&server->kinds, json_get_str(spec, "group"),
                                                 json_get_str(json_get(spec, "names"), "plural"));
    if (kind == NULL) {
        return;
    }
    struct arena arena = {0};
    for (size_t i = 0; i < store_count(kind->bucket); i++) {
        struct error err = {0};
        struct json_value *object = json_copy(&arena, value_object(store_at(kind->bucket, i)));
        if (write_store(server, kind, &arena, STORE_DELETE, object, NULL, NULL, &err) != ERR_OK) {
            log_warning(&scope, "an object of a deleted definition stays", LOG_STR("name", object_name(object)),
                        LOG_ERR(&err));
        }
    }
    arena_done(&arena);
}

static void crd_committed(struct apiserver *server, const struct kind *kind, const struct json_value *old,
                          const struct json_value *object)
{
    (void)kind;
    if (object == NULL) {
        delete_instances(server, old);
        kind_set_undefine(&server->kinds, object_name(old));
    } else if (old == NULL || !json_equal(json_get(old, "spec"), json_get(object, "spec"))) {
        kind_set_define(&server->kinds, object);
    }
}

const struct kind_hooks crd_hooks = {
    .set_defaults = crd_set_defaults,
    .admit = crd_admit,
    .prepare = crd_prepare,
    .validate = crd_validate,
    .committed = crd_committed,
};
