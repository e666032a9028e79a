// SPDX-License-Identifier: Apache-2.0
//
// What every cluster has from the start: namespaces, roles and their bindings, and the Service
// default/kubernetes. Objects that exist are left alone, except the endpoints of this server, whose address
// may have changed.
#include "lab/apiserver/metadata.h"
#include "lab/apiserver/request.h"

#define RBAC "rbac.authorization.k8s.io"

struct bootstrap {
    struct apiserver *server;
    struct arena arena;
    struct error *err;
};

// Writes an object as the server itself: defaults and preparation, no admission.
static enum err put(struct bootstrap *run, const char *group, const char *plural, struct str ns,
                    struct json_value *object, bool replaces)
{
    const struct kind *kind = kind_find_resource(&run->server->kinds, str_of(group), str_of(plural));
    struct arena *arena = &run->arena;
    struct store_value *value = store_latest(kind->bucket, kind_key(arena, kind, ns, object_name(object)));
    if (value != NULL && !replaces) {
        return ERR_OK;
    }
    json_set_str(arena, object, "kind", kind->kind);
    json_set_str(arena, object, "apiVersion", kind->api_version);
    if (value == NULL) {
        metadata_init(arena, object, kind, ns, loop_wall_ms(run->server->loop));
    } else {
        metadata_carry(arena, object, value_object(value));
    }
    if (kind->hooks->set_defaults != NULL) {
        kind->hooks->set_defaults(arena, object);
    }
    if (kind->hooks->prepare != NULL) {
        kind->hooks->prepare(arena, object, NULL);
    }
    if (value != NULL && json_equal(object, value_object(value))) {
        return ERR_OK;
    }
    return write_store(run->server, kind, arena, STORE_PUT, object, NULL, NULL, run->err);
}

static struct json_value *named(struct bootstrap *run, const char *name)
{
    struct json_value *object = json_new_object(&run->arena);
    // kind and apiVersion come first in what people read.
    json_set_cstr(&run->arena, object, "kind", "");
    json_set_cstr(&run->arena, object, "apiVersion", "");
    json_set_cstr(&run->arena, json_ensure_object(&run->arena, object, "metadata"), "name", name);
    return object;
}

static enum err put_namespaces(struct bootstrap *run)
{
    static const char *const names[] = {"default", "kube-system", "kube-public", "kube-node-lease"};
    enum err code = ERR_OK;
    for (size_t i = 0; i < array_count(names) && code == ERR_OK; i++) {
        code = put(run, "", "namespaces", STR_EMPTY, named(run, names[i]), false);
    }
    return code;
}

// --- roles -----------------------------------------------------------------------------------------

#define READ "get,list,watch"
#define WRITE "create,delete,deletecollection,patch,update"
#define WORKLOAD_GROUPS ",apps,batch,autoscaling,policy,networking.k8s.io,discovery.k8s.io,events.k8s.io"
#define OPEN_RESOURCES                                                                                            \
    "bindings,configmaps,endpoints,endpointslices,events,limitranges,namespaces,persistentvolumeclaims,pods,pods/*,"  \
    "replicationcontrollers,replicationcontrollers/*,resourcequotas,serviceaccounts,services,services/*,"         \
    "controllerrevisions,daemonsets,daemonsets/*,deployments,deployments/*,replicasets,replicasets/*,"            \
    "statefulsets,statefulsets/*,cronjobs,jobs,horizontalpodautoscalers,poddisruptionbudgets,ingresses,networkpolicies"
#define INFO_PATHS "/healthz,/livez,/readyz,/version,/version/"

// clang-format off
static const struct {
    const char *role;
    const char *verbs;     // comma separated
    const char *groups;    // comma separated, "" = core; NULL: non-resource
    const char *resources; // or paths
} role_rules[] = {
    {"cluster-admin", "*", "*", "*"},
    {"cluster-admin", "*", NULL, "*"},
    {"admin", READ "," WRITE, WORKLOAD_GROUPS, OPEN_RESOURCES ",secrets"},
    {"admin", READ "," WRITE, RBAC, "roles,rolebindings"},
    {"admin", "create", "", "serviceaccounts/token"},
    {"admin", "create", "authorization.k8s.io", "localsubjectaccessreviews"},
    {"edit", READ "," WRITE, WORKLOAD_GROUPS, OPEN_RESOURCES ",secrets"},
    {"edit", "create", "", "serviceaccounts/token"},
    {"view", READ, WORKLOAD_GROUPS, OPEN_RESOURCES},
    {"system:basic-user", "create", "authorization.k8s.io", "selfsubjectaccessreviews,selfsubjectrulesreviews"},
    {"system:basic-user", "create", "authentication.k8s.io", "selfsubjectreviews"},
    {"system:discovery", "get", NULL, "/api,/api/*,/apis,/apis/*,/openapi,/openapi/*," INFO_PATHS},
    {"system:public-info-viewer", "get", NULL, INFO_PATHS},
    {"system:auth-delegator", "create", "authentication.k8s.io", "tokenreviews"},
    {"system:auth-delegator", "create", "authorization.k8s.io", "subjectaccessreviews"},
};

static const struct {
    const char *binding;
    const char *role;
    const char *groups;
} role_bindings[] = {
    {"cluster-admin", "cluster-admin", "system:masters"},
    {"system:basic-user", "system:basic-user", "system:authenticated"},
    {"system:discovery", "system:discovery", "system:authenticated"},
    {"system:public-info-viewer", "system:public-info-viewer", "system:authenticated,system:unauthenticated"},
};
// clang-format on

static void add_strings(struct arena *arena, struct json_value *object, const char *name, const char *commas)
{
    struct json_value *list = json_ensure_array(arena, object, name);
    for (struct str rest = str_of(commas); rest.data != NULL;) {
        json_push(arena, list, json_new_str(arena, str_split(&rest, ',')));
    }
}

static struct json_value *labelled(struct bootstrap *run, const char *name)
{
    struct json_value *object = named(run, name);
    struct json_value *metadata = json_ensure_object(&run->arena, object, "metadata");
    json_set_cstr(&run->arena, json_ensure_object(&run->arena, metadata, "labels"),
                  "kubernetes.io/bootstrapping", "rbac-defaults");
    return object;
}

static struct json_value *make_role(struct bootstrap *run, const char *name)
{
    struct arena *arena = &run->arena;
    struct json_value *role = labelled(run, name);
    struct json_value *rules = json_ensure_array(arena, role, "rules");
    for (size_t i = 0; i < array_count(role_rules); i++) {
        if (!str_equal_c(str_of(name), role_rules[i].role)) {
            continue;
        }
        struct json_value *rule = json_new_object(arena);
        add_strings(arena, rule, "verbs", role_rules[i].verbs);
        if (role_rules[i].groups == NULL) {
            add_strings(arena, rule, "nonResourceURLs", role_rules[i].resources);
        } else {
            add_strings(arena, rule, "apiGroups", role_rules[i].groups);
            add_strings(arena, rule, "resources", role_rules[i].resources);
        }
        json_push(arena, rules, rule);
    }
    return role;
}

static struct json_value *make_binding(struct bootstrap *run, size_t index)
{
    struct arena *arena = &run->arena;
    struct json_value *binding = labelled(run, role_bindings[index].binding);
    struct json_value *reference = json_ensure_object(arena, binding, "roleRef");
    json_set_cstr(arena, reference, "apiGroup", RBAC);
    json_set_cstr(arena, reference, "kind", "ClusterRole");
    json_set_cstr(arena, reference, "name", role_bindings[index].role);
    struct json_value *subjects = json_ensure_array(arena, binding, "subjects");
    for (struct str rest = str_of(role_bindings[index].groups); rest.data != NULL;) {
        struct json_value *subject = json_new_object(arena);
        json_set_cstr(arena, subject, "kind", "Group");
        json_set_cstr(arena, subject, "apiGroup", RBAC);
        json_set_str(arena, subject, "name", str_split(&rest, ','));
        json_push(arena, subjects, subject);
    }
    return binding;
}

static enum err put_roles(struct bootstrap *run)
{
    enum err code = ERR_OK;
    for (size_t i = 0; i < array_count(role_rules) && code == ERR_OK; i++) {
        if (i == 0 || strcmp(role_rules[i].role, role_rules[i - 1].role) != 0) {
            code = put(run, RBAC, "clusterroles", STR_EMPTY, make_role(run, role_rules[i].role), false);
        }
    }
    for (size_t i = 0; i < array_count(role_bindings) && code == ERR_OK; i++) {
        code = put(run, RBAC, "clusterrolebindings", STR_EMPTY, make_binding(run, i), false);
    }
    return code;
}

// --- default/kubernetes ----------------------------------------------------------------------------

static struct json_value *make_port(struct arena *arena, int64_t number, int64_t target)
{
    struct json_value *port = json_new_object(arena);
    json_set_cstr(arena, port, "name", "https");
    json_set_int(arena, port, "port", number);
    json_set_cstr(arena, port, "protocol", "TCP");
    if (target > 0) {
        json_set_int(arena, port, "targetPort", target);
    }
    return port;
}

static struct json_value *make_service(struct bootstrap *run)
{
    struct arena *arena = &run->arena;
    struct json_value *service = named(run, "kubernetes");
    struct json_value *labels =
        json_ensure_object(arena, json_ensure_object(arena, service, "metadata"), "labels");
    json_set_cstr(arena, labels, "component", "apiserver");
    json_set_cstr(arena, labels, "provider", "kubernetes");
    struct json_value *spec = json_ensure_object(arena, service, "spec");
    struct str address = service_first_address(arena, run->server);
    json_set_str(arena, spec, "clusterIP", address);
    json_push(arena, json_ensure_array(arena, spec, "clusterIPs"), json_new_str(arena, address));
    json_push(arena, json_ensure_array(arena, spec, "ports"), make_port(arena, 443, run->server->advertise_port));
    return service;
}

static struct json_value *make_endpoints(struct bootstrap *run)
{
    struct arena *arena = &run->arena;
    struct json_value *endpoints = named(run, "kubernetes");
    struct json_value *subset = json_new_object(arena);
    struct json_value *address = json_new_object(arena);
    json_set_str(arena, address, "ip", run->server->advertise_ip);
    json_push(arena, json_ensure_array(arena, subset, "addresses"), address);
    json_push(arena, json_ensure_array(arena, subset, "ports"), make_port(arena, run->server->advertise_port, 0));
    json_push(arena, json_ensure_array(arena, endpoints, "subsets"), subset);
    json_set_cstr(arena, json_ensure_object(arena, json_ensure_object(arena, endpoints, "metadata"), "labels"),
                  "endpointslice.kubernetes.io/skip-mirror", "true");
    return endpoints;
}

static struct json_value *make_slice(struct bootstrap *run)
{
    struct arena *arena = &run->arena;
    struct json_value *slice = named(run, "kubernetes");
    json_set_cstr(arena, json_ensure_object(arena, json_ensure_object(arena, slice, "metadata"), "labels"),
                  "kubernetes.io/service-name", "kubernetes");
    json_set_cstr(arena, slice, "addressType", "IPv4");
    struct json_value *endpoint = json_new_object(arena);
    json_push(arena, json_ensure_array(arena, endpoint, "addresses"), json_new_str(arena, run->server->advertise_ip));
    json_set_bool(arena, json_ensure_object(arena, endpoint, "conditions"), "ready", true);
    json_push(arena, json_ensure_array(arena, slice, "endpoints"), endpoint);
    json_push(arena, json_ensure_array(arena, slice, "ports"), make_port(arena, run->server->advertise_port, 0));
    return slice;
}

enum err bootstrap_objects(struct apiserver *server, struct error *err)
{
    struct bootstrap run = {.server = server, .err = err};
    enum err code = put_namespaces(&run);
    code = code != ERR_OK ? code : put_roles(&run);
    code = code != ERR_OK ? code : put(&run, "", "services", STR("default"), make_service(&run), false);
    code = code != ERR_OK ? code : put(&run, "", "endpoints", STR("default"), make_endpoints(&run), true);
    code = code != ERR_OK ? code
                          : put(&run, "discovery.k8s.io", "endpointslices", STR("default"), make_slice(&run), true);
    arena_done(&run.arena);
    return code;
}
