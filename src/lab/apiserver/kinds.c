// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/kinds.h"

#include "base/memory.h"
#include "lab/apiserver/hooks.h"

struct kind_row {
    const char *group;
    const char *version;
    const char *plural;
    const char *singular;
    const char *kind;
    const char *short_names;
    const char *categories;
    unsigned traits;
    const struct kind_hooks *hooks;
    const struct kind_subresource *subresources;
};

static const struct kind_subresource namespace_subresources[] = {
    {"finalize", "", "v1", "Namespace", "update"},
    {NULL, NULL, NULL, NULL, NULL},
};

static const struct kind_subresource pod_subresources[] = {
    {"binding", "", "v1", "Binding", "create"},
    {"eviction", "policy", "v1", "Eviction", "create"},
    {"exec", "", "v1", "PodExecOptions", "create,get"},
    {"log", "", "v1", "Pod", "get"},
    {NULL, NULL, NULL, NULL, NULL},
};

static const struct kind_subresource service_account_subresources[] = {
    {"token", "authentication.k8s.io", "v1", "TokenRequest", "create"},
    {NULL, NULL, NULL, NULL, NULL},
};

#define NS KIND_NAMESPACED
#define STATUS (KIND_STATUS | KIND_SPEC)
#define SCALE KIND_SCALE

#define RBAC "rbac.authorization.k8s.io"
#define AUTHORIZATION "authorization.k8s.io"
#define ADMISSION "admissionregistration.k8s.io"

// Groups in the order discovery shows them.
// clang-format off
static const struct kind_row kind_rows[] = {
    {"", "v1", "bindings", "binding", "Binding", "", "", NS | KIND_REVIEW, &binding_hooks, NULL},
    {"", "v1", "componentstatuses", "componentstatus", "ComponentStatus", "cs", "", 0, &plain_hooks, NULL},
    {"", "v1", "configmaps", "configmap", "ConfigMap", "cm", "", NS, &config_map_hooks, NULL},
    {"", "v1", "endpoints", "endpoints", "Endpoints", "ep", "", NS, &plain_hooks, NULL},
    {"", "v1", "events", "event", "Event", "ev", "", NS, &plain_hooks, NULL},
    {"", "v1", "limitranges", "limitrange", "LimitRange", "limits", "", NS, &plain_hooks, NULL},
    {"", "v1", "namespaces", "namespace", "Namespace", "ns", "", KIND_STATUS | KIND_LABEL_NAME, &namespace_hooks, namespace_subresources},
    {"", "v1", "nodes", "node", "Node", "no", "", KIND_STATUS, &plain_hooks, NULL},
    {"", "v1", "persistentvolumeclaims", "persistentvolumeclaim", "PersistentVolumeClaim", "pvc", "", NS | KIND_STATUS, &plain_hooks, NULL},
    {"", "v1", "persistentvolumes", "persistentvolume", "PersistentVolume", "pv", "", KIND_STATUS, &plain_hooks, NULL},
    {"", "v1", "pods", "pod", "Pod", "po", "all", NS | KIND_STATUS, &pod_hooks, pod_subresources},
    {"", "v1", "podtemplates", "podtemplate", "PodTemplate", "", "", NS, &plain_hooks, NULL},
    {"", "v1", "replicationcontrollers", "replicationcontroller", "ReplicationController", "rc", "all", NS | STATUS | SCALE, &plain_hooks, NULL},
    {"", "v1", "resourcequotas", "resourcequota", "ResourceQuota", "quota", "", NS | KIND_STATUS, &plain_hooks, NULL},
    {"", "v1", "secrets", "secret", "Secret", "", "", NS, &secret_hooks, NULL},
    {"", "v1", "serviceaccounts", "serviceaccount", "ServiceAccount", "sa", "", NS, &account_hooks, service_account_subresources},
    {"", "v1", "services", "service", "Service", "svc", "all", NS | KIND_STATUS | KIND_LABEL_NAME, &service_hooks, NULL},
    {"apps", "v1", "controllerrevisions", "controllerrevision", "ControllerRevision", "", "", NS, &plain_hooks, NULL},
    {"apps", "v1", "daemonsets", "daemonset", "DaemonSet", "ds", "all", NS | STATUS, &workload_hooks, NULL},
    {"apps", "v1", "deployments", "deployment", "Deployment", "deploy", "all", NS | STATUS | SCALE, &workload_hooks, NULL},
    {"apps", "v1", "replicasets", "replicaset", "ReplicaSet", "rs", "all", NS | STATUS | SCALE, &workload_hooks, NULL},
    {"apps", "v1", "statefulsets", "statefulset", "StatefulSet", "sts", "all", NS | STATUS | SCALE, &workload_hooks, NULL},
    {"authentication.k8s.io", "v1", "selfsubjectreviews", "selfsubjectreview", "SelfSubjectReview", "", "", KIND_REVIEW, &self_subject_review_hooks, NULL},
    {"authentication.k8s.io", "v1", "tokenreviews", "tokenreview", "TokenReview", "", "", KIND_REVIEW, &token_review_hooks, NULL},
    {AUTHORIZATION, "v1", "localsubjectaccessreviews", "localsubjectaccessreview", "LocalSubjectAccessReview", "", "", NS | KIND_REVIEW, &access_review_hooks, NULL},
    {AUTHORIZATION, "v1", "selfsubjectaccessreviews", "selfsubjectaccessreview", "SelfSubjectAccessReview", "", "", KIND_REVIEW, &access_review_hooks, NULL},
    {AUTHORIZATION, "v1", "selfsubjectrulesreviews", "selfsubjectrulesreview", "SelfSubjectRulesReview", "", "", KIND_REVIEW, &rules_review_hooks, NULL},
    {AUTHORIZATION, "v1", "subjectaccessreviews", "subjectaccessreview", "SubjectAccessReview", "", "", KIND_REVIEW, &access_review_hooks, NULL},
    {"autoscaling", "v2", "horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler", "hpa", "all", NS | KIND_STATUS, &plain_hooks, NULL},
    {"autoscaling", "v1", "horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler", "hpa", "all", NS | KIND_STATUS, &plain_hooks, NULL},
    {"batch", "v1", "cronjobs", "cronjob", "CronJob", "cj", "all", NS | STATUS, &plain_hooks, NULL},
    {"batch", "v1", "jobs", "job", "Job", "", "all", NS | STATUS, &plain_hooks, NULL},
    {"coordination.k8s.io", "v1", "leases", "lease", "Lease", "", "", NS, &plain_hooks, NULL},
    {"discovery.k8s.io", "v1", "endpointslices", "endpointslice", "EndpointSlice", "", "", NS | KIND_SPEC, &endpoint_slice_hooks, NULL},
    {"events.k8s.io", "v1", "events", "event", "Event", "ev", "", NS, &plain_hooks, NULL},
    {"networking.k8s.io", "v1", "ingressclasses", "ingressclass", "IngressClass", "", "", KIND_SPEC, &plain_hooks, NULL},
    {"networking.k8s.io", "v1", "ingresses", "ingress", "Ingress", "ing", "", NS | STATUS, &plain_hooks, NULL},
    {"networking.k8s.io", "v1", "networkpolicies", "networkpolicy", "NetworkPolicy", "netpol", "", NS | KIND_SPEC, &plain_hooks, NULL},
    {"policy", "v1", "poddisruptionbudgets", "poddisruptionbudget", "PodDisruptionBudget", "pdb", "", NS | STATUS, &plain_hooks, NULL},
    {RBAC, "v1", "clusterrolebindings", "clusterrolebinding", "ClusterRoleBinding", "", "", KIND_FREE_NAME, &role_binding_hooks, NULL},
    {RBAC, "v1", "clusterroles", "clusterrole", "ClusterRole", "", "", KIND_FREE_NAME, &plain_hooks, NULL},
    {RBAC, "v1", "rolebindings", "rolebinding", "RoleBinding", "", "", NS | KIND_FREE_NAME, &role_binding_hooks, NULL},
    {RBAC, "v1", "roles", "role", "Role", "", "", NS | KIND_FREE_NAME, &plain_hooks, NULL},
    {"scheduling.k8s.io", "v1", "priorityclasses", "priorityclass", "PriorityClass", "pc", "", KIND_SPEC, &plain_hooks, NULL},
    {"storage.k8s.io", "v1", "storageclasses", "storageclass", "StorageClass", "sc", "", 0, &plain_hooks, NULL},
    {ADMISSION, "v1", "mutatingwebhookconfigurations", "mutatingwebhookconfiguration", "MutatingWebhookConfiguration", "", "api-extensions", KIND_SPEC | KIND_WEBHOOK_EXEMPT, &webhook_configuration_hooks, NULL},
    {ADMISSION, "v1", "validatingwebhookconfigurations", "validatingwebhookconfiguration", "ValidatingWebhookConfiguration", "", "api-extensions", KIND_SPEC | KIND_WEBHOOK_EXEMPT, &webhook_configuration_hooks, NULL},
    {"apiextensions.k8s.io", "v1", "customresourcedefinitions", "customresourcedefinition", "CustomResourceDefinition", "crd,crds", "api-extensions", STATUS, &crd_hooks, NULL},
};
// clang-format on

static struct str kind_path(struct arena *arena, struct str group, struct str version, struct str plural)
{
    return arena_format(arena, "%.*s/%.*s/%.*s", STR_ARG(group), STR_ARG(version), STR_ARG(plural));
}

static void kind_set_add(struct kind_set *set, struct kind *kind)
{
    kind->api_version = str_is_empty(kind->group) ? kind->version
                                                  : arena_format(&kind->arena, "%.*s/%.*s", STR_ARG(kind->group),
                                                                 STR_ARG(kind->version));
    if (str_is_empty(kind->list_kind)) {
        kind->list_kind = arena_format(&kind->arena, "%.*sList", STR_ARG(kind->kind));
    }
    if (!kind_has(kind, KIND_REVIEW)) {
        // Events of both groups are one resource upstream; here they are stored apart by group.
        struct str name = arena_format(&kind->arena, "%.*s/%.*s", STR_ARG(kind->group), STR_ARG(kind->plural));
        kind->bucket = store_bucket(set->store, name);
    }
    kind->references = 1;
    vec_push(&set->items, kind);
    (void)map_set(&set->by_path, kind_path(&kind->arena, kind->group, kind->version, kind->plural), kind);
    set->generation++;
}

struct kind *kind_ref(struct kind *kind)
{
    kind->references++;
    return kind;
}

void kind_unref(struct kind *kind)
{
    if (kind == NULL || --kind->references > 0) {
        return;
    }
    arena_done(&kind->arena);
    mem_free(kind);
}

void kind_set_init(struct kind_set *set, struct store *store)
{
    *set = (struct kind_set){.store = store};
    for (size_t i = 0; i < array_count(kind_rows); i++) {
        const struct kind_row *row = &kind_rows[i];
        struct kind *kind = mem_new(struct kind);
        kind->group = str_of(row->group);
        kind->version = str_of(row->version);
        kind->plural = str_of(row->plural);
        kind->singular = str_of(row->singular);
        kind->kind = str_of(row->kind);
        kind->short_names = str_of(row->short_names);
        kind->categories = str_of(row->categories);
        kind->traits = row->traits;
        kind->hooks = row->hooks;
        kind->subresources = row->subresources;
        kind_set_add(set, kind);
    }
}

void kind_set_done(struct kind_set *set)
{
    for (size_t i = 0; i < set->items.count; i++) {
        kind_unref(set->items.items[i]);
    }
    vec_done(&set->items);
    map_done(&set->by_path);
}

struct kind *kind_find(const struct kind_set *set, struct str group, struct str version, struct str plural)
{
    struct arena arena = {0};
    struct kind *kind = map_get(&set->by_path, kind_path(&arena, group, version, plural));
    arena_done(&arena);
    return kind;
}

struct kind *kind_find_resource(const struct kind_set *set, struct str group, struct str plural)
{
    for (size_t i = 0; i < set->items.count; i++) {
        struct kind *kind = set->items.items[i];
        if (str_equal(kind->group, group) && str_equal(kind->plural, plural)) {
            return kind;
        }
    }
    return NULL;
}

struct kind *kind_find_by_kind(const struct kind_set *set, struct str api_version, struct str name)
{
    for (size_t i = 0; i < set->items.count; i++) {
        struct kind *kind = set->items.items[i];
        if (str_equal(kind->api_version, api_version) && str_equal(kind->kind, name)) {
            return kind;
        }
    }
    return NULL;
}

struct str kind_key(struct arena *arena, const struct kind *kind, struct str ns, struct str name)
{
    if (!kind_has(kind, KIND_NAMESPACED)) {
        return name;
    }
    return arena_format(arena, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

// --- custom kinds ----------------------------------------------------------------------------------

static struct str join_strings(struct arena *arena, const struct json_value *list)
{
    struct buf text = {0};
    for (size_t i = 0; i < json_count(list); i++) {
        buf_printf(&text, "%s%.*s", i == 0 ? "" : ",", STR_ARG(json_str(json_at(list, i))));
    }
    struct str joined = arena_str(arena, buf_view(&text));
    buf_done(&text);
    return joined;
}

static struct kind *kind_new_custom(const struct json_value *definition, const struct json_value *version)
{
    const struct json_value *spec = json_get(definition, "spec");
    const struct json_value *names = json_get(spec, "names");
    struct kind *kind = mem_new(struct kind);
    struct arena *arena = &kind->arena;
    kind->definition = arena_str(arena, json_get_str(json_get(definition, "metadata"), "name"));
    kind->group = arena_str(arena, json_get_str(spec, "group"));
    kind->version = arena_str(arena, json_get_str(version, "name"));
    kind->plural = arena_str(arena, json_get_str(names, "plural"));
    kind->kind = arena_str(arena, json_get_str(names, "kind"));
    kind->singular = arena_str(arena, json_get_str(names, "singular"));
    kind->list_kind = arena_str(arena, json_get_str(names, "listKind"));
    kind->short_names = join_strings(arena, json_get(names, "shortNames"));
    kind->categories = join_strings(arena, json_get(names, "categories"));
    kind->crd_version = json_copy(arena, version);
    const struct json_value *subresources = json_get(kind->crd_version, "subresources");
    kind->crd_scale = json_get(subresources, "scale");
    kind->traits = KIND_CUSTOM | KIND_SPEC;
    if (str_equal(json_get_str(spec, "scope"), STR("Namespaced"))) {
        kind->traits |= KIND_NAMESPACED;
    }
    if (json_get(subresources, "status") != NULL) {
        kind->traits |= KIND_STATUS;
    }
    if (kind->crd_scale != NULL) {
        kind->traits |= KIND_SCALE;
    }
    kind->hooks = &plain_hooks;
    return kind;
}

// "v1" = 3000…, "v2beta1" = 2…, "v1alpha3" = 1…, anything else 0: GA before beta before alpha, higher first.
static uint64_t version_rank(struct str version)
{
    if (str_is_empty(version) || version.data[0] != 'v') {
        return 0;
    }
    size_t at = 1;
    uint64_t major = 0;
    while (at < version.size && version.data[at] >= '0' && version.data[at] <= '9' && major < 100000) {
        major = major * 10 + (uint64_t)(version.data[at++] - '0');
    }
    struct str rest = str_from(version, at);
    uint64_t stability = 3;
    uint64_t minor = 0;
    if (str_starts_with(rest, STR("beta"))) {
        stability = 2;
        (void)str_to_u64(str_from(rest, 4), &minor);
    } else if (str_starts_with(rest, STR("alpha"))) {
        stability = 1;
        (void)str_to_u64(str_from(rest, 5), &minor);
    } else if (!str_is_empty(rest)) {
        return 0;
    }
    return stability * 1000000000000u + major * 1000000u + (minor < 999999 ? minor : 999999);
}

void kind_set_define(struct kind_set *set, const struct json_value *definition)
{
    kind_set_undefine(set, json_get_str(json_get(definition, "metadata"), "name"));
    const struct json_value *versions = json_path(definition, "spec", "versions", NULL);
    size_t first = set->items.count;
    for (size_t i = 0; i < json_count(versions); i++) {
        const struct json_value *version = json_at(versions, i);
        if (json_get_bool(version, "served", false)) {
            kind_set_add(set, kind_new_custom(definition, version));
        }
    }
    for (size_t i = first + 1; i < set->items.count; i++) {
        struct kind *kind = set->items.items[i];
        size_t at = i;
        while (at > first && version_rank(set->items.items[at - 1]->version) < version_rank(kind->version)) {
            set->items.items[at] = set->items.items[at - 1];
            at--;
        }
        set->items.items[at] = kind;
    }
}

void kind_set_undefine(struct kind_set *set, struct str definition)
{
    size_t kept = 0;
    for (size_t i = 0; i < set->items.count; i++) {
        struct kind *kind = set->items.items[i];
        if (kind_has(kind, KIND_CUSTOM) && str_equal(kind->definition, definition)) {
            (void)map_remove(&set->by_path, kind_path(&kind->arena, kind->group, kind->version, kind->plural));
            kind_unref(kind);
            set->generation++;
        } else {
            set->items.items[kept++] = kind;
        }
    }
    set->items.count = kept;
}
