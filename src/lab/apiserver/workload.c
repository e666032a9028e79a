// SPDX-License-Identifier: Apache-2.0
//
// Deployments, ReplicaSets, StatefulSets and DaemonSets: defaults, and the selector that must choose the
// template's pods and never changes.
#include "kube/object.h"
#include "lab/apiserver/defaults.h"
#include "lab/apiserver/request.h"

static void strategy_defaults(struct arena *arena, struct json_value *spec, const char *member)
{
    struct json_value *strategy = json_ensure_object(arena, spec, member);
    default_str(arena, strategy, "type", "RollingUpdate");
    if (!str_equal(json_get_str(strategy, "type"), STR("RollingUpdate"))) {
        return;
    }
    struct json_value *rolling = json_ensure_object(arena, strategy, "rollingUpdate");
    if (json_get(rolling, "maxUnavailable") == NULL) {
        json_set_cstr(arena, rolling, "maxUnavailable", "25%");
    }
    if (json_get(rolling, "maxSurge") == NULL) {
        json_set_cstr(arena, rolling, "maxSurge", "25%");
    }
}

static void workload_set_defaults(struct arena *arena, struct json_value *object)
{
    struct json_value *spec = json_ensure_object(arena, object, "spec");
    struct json_value *template = json_get(spec, "template");
    if (json_is(template, JSON_OBJECT)) {
        struct json_value *metadata = json_ensure_object(arena, template, "metadata");
        if (json_get(metadata, "creationTimestamp") == NULL) {
            json_set(arena, metadata, STR("creationTimestamp"), json_new_null(arena));
        }
        pod_spec_defaults(arena, json_ensure_object(arena, template, "spec"));
    }
    struct str kind = json_get_str(object, "kind");
    if (!str_equal(kind, STR("DaemonSet"))) {
        default_int(arena, spec, "replicas", 1);
    }
    if (str_equal(kind, STR("Deployment"))) {
        default_int(arena, spec, "revisionHistoryLimit", 10);
        default_int(arena, spec, "progressDeadlineSeconds", 600);
        strategy_defaults(arena, spec, "strategy");
    } else if (str_equal(kind, STR("StatefulSet"))) {
        default_int(arena, spec, "revisionHistoryLimit", 10);
        default_str(arena, spec, "podManagementPolicy", "OrderedReady");
        struct json_value *strategy = json_ensure_object(arena, spec, "updateStrategy");
        default_str(arena, strategy, "type", "RollingUpdate");
        if (str_equal(json_get_str(strategy, "type"), STR("RollingUpdate"))) {
            default_int(arena, json_ensure_object(arena, strategy, "rollingUpdate"), "partition", 0);
        }
    } else if (str_equal(kind, STR("DaemonSet"))) {
        default_int(arena, spec, "revisionHistoryLimit", 10);
        struct json_value *strategy = json_ensure_object(arena, spec, "updateStrategy");
        default_str(arena, strategy, "type", "RollingUpdate");
        if (str_equal(json_get_str(strategy, "type"), STR("RollingUpdate"))) {
            struct json_value *rolling = json_ensure_object(arena, strategy, "rollingUpdate");
            default_int(arena, rolling, "maxUnavailable", 1);
            default_int(arena, rolling, "maxSurge", 0);
        }
    }
}

static void workload_prepare(struct arena *arena, struct json_value *object, const struct json_value *old)
{
    if (old == NULL) {
        json_set(arena, object, STR("status"), json_new_object(arena));
    }
}

static void workload_validate(const struct json_value *object, const struct json_value *old,
                              struct field_errors *errors)
{
    const struct json_value *spec = json_get(object, "spec");
    const struct json_value *selector = json_get(spec, "selector");
    const struct json_value *labels = json_path(spec, "template", "metadata", "labels", NULL);
    int64_t replicas = json_get_int(spec, "replicas", 0);
    if (replicas < 0) {
        field_error(errors, "FieldValueInvalid", "spec.replicas",
                    "Invalid value: %lld: must be greater than or equal to 0", (long long)replicas);
    }
    if (json_count(json_get(selector, "matchLabels")) == 0 && json_count(json_get(selector, "matchExpressions")) == 0) {
        field_error(errors, "FieldValueRequired", "spec.selector", "Required value");
    } else if (!kube_selector_matches(selector, labels)) {
        struct str text = labels == NULL ? STR("null") : json_to_str(errors->arena, labels);
        field_error(errors, "FieldValueInvalid", "spec.template.metadata.labels",
                    "Invalid value: %.*s: `selector` does not match template `labels`", STR_ARG(text));
    }
    if (old != NULL && !json_equal(selector, json_path(old, "spec", "selector", NULL))) {
        field_error(errors, "FieldValueInvalid", "spec.selector", "Invalid value: %.*s: field is immutable",
                    STR_ARG(json_to_str(errors->arena, selector)));
    }
    if (json_count(json_path(spec, "template", "spec", "containers", NULL)) == 0) {
        field_error(errors, "FieldValueRequired", "spec.template.spec.containers", "Required value");
    }
}

const struct kind_hooks workload_hooks = {
    .set_defaults = workload_set_defaults,
    .prepare = workload_prepare,
    .validate = workload_validate,
};
