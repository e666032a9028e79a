// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"
#include "lab/apiserver/defaults.h"
#include "lab/apiserver/request.h"
#include "lab/apiserver/webhook.h"

static struct log_scope scope = LOG_SCOPE("apiserver");

static const char *const operation_names[] = {
    [WEBHOOK_CREATE] = "CREATE", [WEBHOOK_UPDATE] = "UPDATE", [WEBHOOK_DELETE] = "DELETE"};

// --- rules -----------------------------------------------------------------------------------------

static bool list_has(const struct json_value *list, struct str value)
{
    for (size_t i = 0; i < json_count(list); i++) {
        struct str item = json_str(json_at(list, i));
        if (str_equal(item, value) || str_equal(item, STR("*"))) {
            return true;
        }
    }
    return false;
}

// "*" is every resource without its subresources, "*/*" everything, "pods/*" all of a pod's.
static bool list_has_resource(const struct json_value *list, struct str resource)
{
    ptrdiff_t slash = str_find_char(resource, '/');
    struct str plural = slash < 0 ? resource : str_sub(resource, 0, (size_t)slash);
    struct str below = slash < 0 ? STR_EMPTY : str_from(resource, (size_t)slash + 1);
    for (size_t i = 0; i < json_count(list); i++) {
        struct str item = json_str(json_at(list, i));
        ptrdiff_t cut = str_find_char(item, '/');
        struct str item_plural = cut < 0 ? item : str_sub(item, 0, (size_t)cut);
        struct str item_below = cut < 0 ? STR_EMPTY : str_from(item, (size_t)cut + 1);
        bool plural_matches = str_equal(item_plural, STR("*")) || str_equal(item_plural, plural);
        bool below_matches = str_equal(item_below, STR("*")) || str_equal(item_below, below);
        if (plural_matches && below_matches) {
            return true;
        }
    }
    return false;
}

bool webhook_rules_match(const struct json_value *webhook, const char *operation, struct str group,
                         struct str version, struct str resource, bool is_namespaced)
{
    const struct json_value *rules = json_get(webhook, "rules");
    for (size_t i = 0; i < json_count(rules); i++) {
        const struct json_value *rule = json_at(rules, i);
        struct str rule_scope = json_get_str(rule, "scope");
        bool scope_matches = str_is_empty(rule_scope) || str_equal(rule_scope, STR("*")) ||
                             str_equal(rule_scope, STR("Namespaced")) == is_namespaced;
        if (scope_matches && list_has(json_get(rule, "operations"), str_of(operation)) &&
            list_has(json_get(rule, "apiGroups"), group) && list_has(json_get(rule, "apiVersions"), version) &&
            list_has_resource(json_get(rule, "resources"), resource)) {
            return true;
        }
    }
    return false;
}

// --- selectors -------------------------------------------------------------------------------------

static bool expression_matches(const struct json_value *expression, const struct json_value *labels)
{
    struct str operator = json_get_str(expression, "operator");
    struct str value = json_str(json_get_str_name(labels, json_get_str(expression, "key")));
    bool is_present = json_get_str_name(labels, json_get_str(expression, "key")) != NULL;
    const struct json_value *values = json_get(expression, "values");
    bool is_listed = false;
    for (size_t i = 0; i < json_count(values) && is_present; i++) {
        is_listed = is_listed || str_equal(json_str(json_at(values, i)), value);
    }
    if (str_equal(operator, STR("In"))) {
        return is_listed;
    }
    if (str_equal(operator, STR("NotIn"))) {
        return !is_listed;
    }
    return str_equal(operator, STR("Exists")) ? is_present : str_equal(operator, STR("DoesNotExist")) && !is_present;
}

bool webhook_selector_matches(const struct json_value *selector, const struct json_value *labels)
{
    const struct json_value *pairs = json_get(selector, "matchLabels");
    const struct json_value *expressions = json_get(selector, "matchExpressions");
    for (size_t i = 0; json_is(pairs, JSON_OBJECT) && i < pairs->object.count; i++) {
        const struct json_member *pair = &pairs->object.members[i];
        const struct json_value *label = json_get_str_name(labels, pair->name);
        if (label == NULL || !str_equal(json_str(label), json_str(pair->value))) {
            return false;
        }
    }
    for (size_t i = 0; i < json_count(expressions); i++) {
        if (!expression_matches(json_at(expressions, i), labels)) {
            return false;
        }
    }
    return true;
}

static const struct json_value *labels_of(const struct json_value *object)
{
    return json_get(object_metadata(object), "labels");
}

static bool namespace_matches(struct request *request, const struct json_value *webhook,
                              const struct json_value *object, const struct json_value *old)
{
    const struct json_value *selector = json_get(webhook, "namespaceSelector");
    if (kind_is(request->kind, "", "namespaces")) {
        return webhook_selector_matches(selector, labels_of(object != NULL ? object : old));
    }
    if (!kind_has(request->kind, KIND_NAMESPACED)) {
        return true;
    }
    const struct kind *kind = kind_find(&request->server->kinds, STR_EMPTY, STR("v1"), STR("namespaces"));
    struct store_value *value = store_latest(kind->bucket, request->path.ns);
    return webhook_selector_matches(selector, value == NULL ? NULL : labels_of(value_object(value)));
}

static bool object_matches(const struct json_value *webhook, const struct json_value *object,
                           const struct json_value *old)
{
    const struct json_value *selector = json_get(webhook, "objectSelector");
    return (object != NULL && webhook_selector_matches(selector, labels_of(object))) ||
           (old != NULL && webhook_selector_matches(selector, labels_of(old)));
}

// --- all of them -----------------------------------------------------------------------------------

size_t webhooks_match(struct request *request, enum webhook_phase phase, enum webhook_operation operation,
                      const struct json_value *object, const struct json_value *old,
                      const struct json_value *ret_webhooks[static WEBHOOKS_MAX])
{
    const struct kind *kind = request->kind;
    if (kind_has(kind, KIND_WEBHOOK_EXEMPT)) {
        return 0;
    }
    const struct kind *configurations =
        kind_find(&request->server->kinds, STR("admissionregistration.k8s.io"), STR("v1"),
                  phase == WEBHOOK_MUTATING ? STR("mutatingwebhookconfigurations")
                                            : STR("validatingwebhookconfigurations"));
    struct str resource = kind->plural;
    if (!str_is_empty(request->path.subresource) && operation != WEBHOOK_DELETE) {
        resource = arena_format(&request->arena, "%.*s/%.*s", STR_ARG(kind->plural), STR_ARG(request->path.subresource));
    }
    size_t count = 0;
    for (size_t i = 0; i < store_count(configurations->bucket); i++) {
        const struct json_value *webhooks = json_get(value_object(store_at(configurations->bucket, i)), "webhooks");
        for (size_t k = 0; k < json_count(webhooks); k++) {
            const struct json_value *webhook = json_at(webhooks, k);
            if (!webhook_rules_match(webhook, operation_names[operation], kind->group, kind->version, resource,
                                     kind_has(kind, KIND_NAMESPACED)) ||
                !namespace_matches(request, webhook, object, old) || !object_matches(webhook, object, old)) {
                continue;
            }
            if (count == WEBHOOKS_MAX) {
                log_warning(&scope, "more webhooks than one write may pass, leaving the rest out",
                            LOG_U64("limit", WEBHOOKS_MAX));
                return count;
            }
            // The configuration may be replaced while webhooks are asked.
            ret_webhooks[count++] = json_copy(&request->arena, webhook);
        }
    }
    return count;
}

// --- configurations --------------------------------------------------------------------------------

static void configuration_set_defaults(struct arena *arena, struct json_value *object)
{
    const struct json_value *webhooks = json_get(object, "webhooks");
    bool is_mutating = str_equal(json_get_str(object, "kind"), STR("MutatingWebhookConfiguration"));
    for (size_t i = 0; i < json_count(webhooks); i++) {
        struct json_value *webhook = json_at(webhooks, i);
        if (!json_is(webhook, JSON_OBJECT)) {
            continue;
        }
        default_str(arena, webhook, "failurePolicy", "Fail");
        default_str(arena, webhook, "matchPolicy", "Equivalent");
        default_int(arena, webhook, "timeoutSeconds", 10);
        default_object(arena, webhook, "namespaceSelector");
        default_object(arena, webhook, "objectSelector");
        if (is_mutating) {
            default_str(arena, webhook, "reinvocationPolicy", "Never");
        }
        struct json_value *service = json_path(webhook, "clientConfig", "service", NULL);
        if (json_is(service, JSON_OBJECT)) {
            default_int(arena, service, "port", 443);
        }
        const struct json_value *rules = json_get(webhook, "rules");
        for (size_t k = 0; k < json_count(rules); k++) {
            if (json_is(json_at(rules, k), JSON_OBJECT)) {
                default_str(arena, json_at(rules, k), "scope", "*");
            }
        }
    }
}

static void configuration_validate(const struct json_value *object, const struct json_value *old,
                                   struct field_errors *errors)
{
    (void)old;
    const struct json_value *webhooks = json_get(object, "webhooks");
    for (size_t i = 0; i < json_count(webhooks); i++) {
        const struct json_value *webhook = json_at(webhooks, i);
        struct str effects = json_get_str(webhook, "sideEffects");
        if (str_is_empty(json_get_str(webhook, "name"))) {
            field_error(errors, "FieldValueRequired", arena_format(errors->arena, "webhooks[%zu].name", i).data,
                        "Required value");
        }
        if (!str_equal(effects, STR("None")) && !str_equal(effects, STR("NoneOnDryRun"))) {
            field_error(errors, str_is_empty(effects) ? "FieldValueRequired" : "FieldValueNotSupported",
                        arena_format(errors->arena, "webhooks[%zu].sideEffects", i).data,
                        "Required value: must specify one of None, NoneOnDryRun");
        }
        if (!list_has(json_get(webhook, "admissionReviewVersions"), STR("v1"))) {
            field_error(errors, "FieldValueInvalid",
                        arena_format(errors->arena, "webhooks[%zu].admissionReviewVersions", i).data,
                        "Invalid value: must include v1");
        }
    }
}

const struct kind_hooks webhook_configuration_hooks = {
    .set_defaults = configuration_set_defaults,
    .validate = configuration_validate,
};
