// SPDX-License-Identifier: Apache-2.0
#include "kube/object.h"

#include "base/assert.h"
#include "base/memory.h"

#define TEXT(literal) {.data = (literal), .size = sizeof(literal) - 1}
#define RESOURCE(name, in_group, in_version, in_plural, in_kind, is_namespaced)                    \
    const struct kube_resource name = {.group = TEXT(in_group), .version = TEXT(in_version),       \
                                       .plural = TEXT(in_plural), .kind = TEXT(in_kind),           \
                                       .namespaced = (is_namespaced)}

// clang-format off
RESOURCE(kube_namespaces, "", "v1", "namespaces", "Namespace", false);
RESOURCE(kube_services, "", "v1", "services", "Service", true);
RESOURCE(kube_endpointslices, "discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true);
RESOURCE(kube_pods, "", "v1", "pods", "Pod", true);
RESOURCE(kube_nodes, "", "v1", "nodes", "Node", false);
RESOURCE(kube_secrets, "", "v1", "secrets", "Secret", true);
RESOURCE(kube_configmaps, "", "v1", "configmaps", "ConfigMap", true);
RESOURCE(kube_serviceaccounts, "", "v1", "serviceaccounts", "ServiceAccount", true);
RESOURCE(kube_deployments, "apps", "v1", "deployments", "Deployment", true);
RESOURCE(kube_replicasets, "apps", "v1", "replicasets", "ReplicaSet", true);
RESOURCE(kube_events, "", "v1", "events", "Event", true);
RESOURCE(kube_leases, "coordination.k8s.io", "v1", "leases", "Lease", true);
RESOURCE(kube_endpoints, "", "v1", "endpoints", "Endpoints", true);
RESOURCE(kube_mutating_webhooks, "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", false);
RESOURCE(kube_validating_webhooks, "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", false);
RESOURCE(kube_gateways, "networking.istio.io", "v1beta1", "gateways", "Gateway", true);
RESOURCE(kube_virtual_services, "networking.istio.io", "v1beta1", "virtualservices", "VirtualService", true);
RESOURCE(kube_destination_rules, "networking.istio.io", "v1beta1", "destinationrules", "DestinationRule", true);
RESOURCE(kube_service_entries, "networking.istio.io", "v1beta1", "serviceentries", "ServiceEntry", true);
RESOURCE(kube_peer_authentications, "security.istio.io", "v1beta1", "peerauthentications", "PeerAuthentication", true);
RESOURCE(kube_sidecars, "networking.istio.io", "v1beta1", "sidecars", "Sidecar", true);
RESOURCE(kube_workload_entries, "networking.istio.io", "v1beta1", "workloadentries", "WorkloadEntry", true);
// clang-format on

// --- paths -----------------------------------------------------------------------------------------

struct str kube_path(struct arena *arena, const struct kube_resource *resource, struct str ns, struct str name)
{
    struct buf path = {0};
    if (str_is_empty(resource->group)) {
        buf_printf(&path, "/api/%.*s", STR_ARG(resource->version));
    } else {
        buf_printf(&path, "/apis/%.*s/%.*s", STR_ARG(resource->group), STR_ARG(resource->version));
    }
    if (resource->namespaced && !str_is_empty(ns)) {
        buf_printf(&path, "/namespaces/%.*s", STR_ARG(ns));
    }
    buf_printf(&path, "/%.*s", STR_ARG(resource->plural));
    if (!str_is_empty(name)) {
        buf_printf(&path, "/%.*s", STR_ARG(name));
    }
    struct str text = arena_str(arena, buf_view(&path));
    buf_done(&path);
    return text;
}

struct str kube_api_version(struct arena *arena, const struct kube_resource *resource)
{
    return str_is_empty(resource->group)
               ? resource->version
               : arena_format(arena, "%.*s/%.*s", STR_ARG(resource->group), STR_ARG(resource->version));
}

struct str kube_escape(struct arena *arena, struct str text)
{
    struct buf out = {0};
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        bool is_unreserved = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                             c == '-' || c == '.' || c == '_' || c == '~';
        if (is_unreserved) {
            buf_append_char(&out, c);
        } else {
            buf_printf(&out, "%%%02X", (unsigned)(unsigned char)c);
        }
    }
    struct str escaped = arena_str(arena, buf_view(&out));
    buf_done(&out);
    return escaped;
}

// --- objects ---------------------------------------------------------------------------------------

bool kube_object_is_valid(const struct json_value *value)
{
    struct str name = json_str(json_path(value, "metadata", "name", NULL));
    return json_is(value, JSON_OBJECT) && !str_is_empty(name);
}

static struct str text_or_empty(const struct json_value *metadata, const char *name)
{
    struct str text = json_get_str(metadata, name);
    return text.data == NULL ? STR_EMPTY : text;
}

struct kube_object *kube_object_new(struct arena *arena, struct json_value *value)
{
    const struct json_value *metadata = json_get(value, "metadata");
    ASSERT(json_is(metadata, JSON_OBJECT));
    struct kube_object *object = mem_new(struct kube_object);
    object->references = 1;
    object->arena = *arena;
    arena_init(arena);
    object->value = value;
    object->ns = text_or_empty(metadata, "namespace");
    object->name = text_or_empty(metadata, "name");
    object->uid = text_or_empty(metadata, "uid");
    object->resource_version = text_or_empty(metadata, "resourceVersion");
    return object;
}

struct kube_object *kube_object_ref(struct kube_object *object)
{
    __atomic_add_fetch(&object->references, 1, __ATOMIC_RELAXED);
    return object;
}

void kube_object_unref(struct kube_object *object)
{
    if (object == NULL || __atomic_sub_fetch(&object->references, 1, __ATOMIC_ACQ_REL) > 0) {
        return;
    }
    arena_done(&object->arena);
    mem_free(object);
}

struct str kube_label(const struct json_value *object, struct str name)
{
    return json_str(json_get_str_name(json_path(object, "metadata", "labels", NULL), name));
}

struct str kube_annotation(const struct json_value *object, struct str name)
{
    return json_str(json_get_str_name(json_path(object, "metadata", "annotations", NULL), name));
}

// --- selectors -------------------------------------------------------------------------------------

static bool all_pairs_match(const struct json_value *pairs, const struct json_value *labels)
{
    for (size_t i = 0; i < json_count(pairs); i++) {
        const struct json_member *pair = &pairs->object.members[i];
        struct str have = json_str(json_get_str_name(labels, pair->name));
        if (have.data == NULL || !json_is(pair->value, JSON_STRING) || !str_equal(have, pair->value->text)) {
            return false;
        }
    }
    return true;
}

static bool is_one_of(struct str value, const struct json_value *values)
{
    for (size_t i = 0; i < json_count(values); i++) {
        if (value.data != NULL && str_equal(value, json_str(json_at(values, i)))) {
            return true;
        }
    }
    return false;
}

static bool expression_matches(const struct json_value *expression, const struct json_value *labels)
{
    struct str key = json_get_str(expression, "key");
    struct str operator = json_get_str(expression, "operator");
    const struct json_value *values = json_get(expression, "values");
    struct str have = json_str(json_get_str_name(labels, key));
    if (str_equal(operator, STR("In"))) {
        return is_one_of(have, values);
    }
    if (str_equal(operator, STR("NotIn"))) {
        return !is_one_of(have, values); // absence matches
    }
    if (str_equal(operator, STR("Exists"))) {
        return have.data != NULL;
    }
    return str_equal(operator, STR("DoesNotExist")) && have.data == NULL;
}

bool kube_selector_matches(const struct json_value *label_selector, const struct json_value *labels)
{
    const struct json_value *pairs = json_get(label_selector, "matchLabels");
    if (json_is(pairs, JSON_OBJECT) && !all_pairs_match(pairs, labels)) {
        return false;
    }
    const struct json_value *expressions = json_get(label_selector, "matchExpressions");
    for (size_t i = 0; i < json_count(expressions); i++) {
        if (!expression_matches(json_at(expressions, i), labels)) {
            return false;
        }
    }
    return true;
}

bool kube_map_selector_matches(const struct json_value *selector, const struct json_value *labels)
{
    return json_is(selector, JSON_OBJECT) && json_count(selector) > 0 && all_pairs_match(selector, labels);
}
