// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/authorize.h"

#include "lab/apiserver/request.h"

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

// "pods", "pods/log", "*", "*/log".
static bool list_has_resource(const struct json_value *list, struct str resource)
{
    ptrdiff_t slash = str_find_char(resource, '/');
    for (size_t i = 0; i < json_count(list); i++) {
        struct str item = json_str(json_at(list, i));
        if (str_equal(item, resource) || str_equal(item, STR("*"))) {
            return true;
        }
        if (slash >= 0 && str_starts_with(item, STR("*/")) &&
            str_equal(str_from(item, 2), str_from(resource, (size_t)slash + 1))) {
            return true;
        }
    }
    return false;
}

static bool list_has_path(const struct json_value *list, struct str path)
{
    for (size_t i = 0; i < json_count(list); i++) {
        struct str item = json_str(json_at(list, i));
        bool is_prefix = !str_is_empty(item) && item.data[item.size - 1] == '*';
        if (is_prefix ? str_starts_with(path, str_sub(item, 0, item.size - 1)) : str_equal(item, path)) {
            return true;
        }
    }
    return false;
}

static bool rule_allows(const struct json_value *rule, const struct attributes *wanted)
{
    if (!list_has(json_get(rule, "verbs"), wanted->verb)) {
        return false;
    }
    if (!wanted->is_resource) {
        return list_has_path(json_get(rule, "nonResourceURLs"), wanted->path);
    }
    const struct json_value *names = json_get(rule, "resourceNames");
    return list_has(json_get(rule, "apiGroups"), wanted->group) &&
           list_has_resource(json_get(rule, "resources"), wanted->resource) &&
           (json_count(names) == 0 || (!str_is_empty(wanted->name) && list_has(names, wanted->name)));
}

static bool user_in_group(const struct user *user, struct str group)
{
    for (size_t i = 0; i < user->group_count; i++) {
        if (str_equal(user->groups[i], group)) {
            return true;
        }
    }
    return false;
}

static bool subject_matches(struct arena *arena, const struct json_value *subject, const struct user *user,
                            struct str binding_ns)
{
    struct str kind = json_get_str(subject, "kind");
    struct str name = json_get_str(subject, "name");
    if (str_equal(kind, STR("User"))) {
        return str_equal(name, user->name);
    }
    if (str_equal(kind, STR("Group"))) {
        return user_in_group(user, name);
    }
    if (str_equal(kind, STR("ServiceAccount"))) {
        struct str ns = json_get_str(subject, "namespace");
        ns = str_is_empty(ns) ? binding_ns : ns;
        return str_equal(user->name,
                         arena_format(arena, "system:serviceaccount:%.*s:%.*s", STR_ARG(ns), STR_ARG(name)));
    }
    return false;
}

static bool binding_has_user(struct arena *arena, const struct json_value *binding, const struct user *user,
                             struct str ns)
{
    const struct json_value *subjects = json_get(binding, "subjects");
    for (size_t i = 0; i < json_count(subjects); i++) {
        if (subject_matches(arena, json_at(subjects, i), user, ns)) {
            return true;
        }
    }
    return false;
}

static const struct json_value *role_rules(struct apiserver *server, struct arena *arena,
                                           const struct json_value *binding, struct str ns)
{
    const struct json_value *reference = json_get(binding, "roleRef");
    bool is_cluster = str_equal(json_get_str(reference, "kind"), STR("ClusterRole"));
    const struct kind *kind = kind_find_resource(&server->kinds, STR("rbac.authorization.k8s.io"),
                                                 is_cluster ? STR("clusterroles") : STR("roles"));
    struct store_value *role =
        store_get(kind->bucket, kind_key(arena, kind, ns, json_get_str(reference, "name")));
    return role == NULL ? NULL : json_get(value_object(role), "rules");
}

// Calls on_rules for the rules of every binding that names the user; stops when it returns true.
struct rule_visitor {
    bool (*on_rules)(struct rule_visitor *visitor, const struct json_value *binding, const struct json_value *rules,
                     bool is_cluster);
};

static bool visit_bindings(struct apiserver *server, struct arena *arena, const struct user *user, bool is_cluster,
                           struct str ns, struct rule_visitor *visitor)
{
    const struct kind *kind =
        kind_find_resource(&server->kinds, STR("rbac.authorization.k8s.io"),
                           is_cluster ? STR("clusterrolebindings") : STR("rolebindings"));
    struct str prefix = is_cluster ? STR_EMPTY : arena_format(arena, "%.*s/", STR_ARG(ns));
    for (size_t i = store_seek(kind->bucket, prefix); i < store_count(kind->bucket); i++) {
        struct store_value *value = store_at(kind->bucket, i);
        if (!str_starts_with(value->key, prefix)) {
            break;
        }
        const struct json_value *binding = value_object(value);
        if (binding_has_user(arena, binding, user, ns)) {
            const struct json_value *rules = role_rules(server, arena, binding, ns);
            if (rules != NULL && visitor->on_rules(visitor, binding, rules, is_cluster)) {
                return true;
            }
        }
    }
    return false;
}

// --- one question ----------------------------------------------------------------------------------

struct question {
    struct rule_visitor visitor;
    struct arena *arena;
    const struct attributes *wanted;
    struct str reason;
};

static bool question_on_rules(struct rule_visitor *visitor, const struct json_value *binding,
                              const struct json_value *rules, bool is_cluster)
{
    struct question *question = container_of(visitor, struct question, visitor);
    for (size_t i = 0; i < json_count(rules); i++) {
        if (rule_allows(json_at(rules, i), question->wanted)) {
            question->reason =
                arena_format(question->arena, "RBAC: allowed by %s \"%.*s\" of %.*s \"%.*s\"",
                             is_cluster ? "ClusterRoleBinding" : "RoleBinding", STR_ARG(object_name(binding)),
                             STR_ARG(json_get_str(json_get(binding, "roleRef"), "kind")),
                             STR_ARG(json_get_str(json_get(binding, "roleRef"), "name")));
            return true;
        }
    }
    return false;
}

bool authorize_allows(struct apiserver *server, struct arena *arena, const struct user *user,
                      const struct attributes *attributes, struct str *ret_reason)
{
    struct question question = {.visitor.on_rules = question_on_rules, .arena = arena, .wanted = attributes};
    bool allowed = user_in_group(user, STR("system:masters"));
    if (!allowed) {
        allowed = visit_bindings(server, arena, user, true, STR_EMPTY, &question.visitor) ||
                  (attributes->is_resource && !str_is_empty(attributes->ns) &&
                   visit_bindings(server, arena, user, false, attributes->ns, &question.visitor));
    }
    if (ret_reason != NULL) {
        *ret_reason = question.reason;
    }
    return allowed;
}

// --- all rules -------------------------------------------------------------------------------------

struct listing {
    struct rule_visitor visitor;
    struct arena *arena;
    struct json_value *resource_rules;
    struct json_value *other_rules;
};

static bool listing_on_rules(struct rule_visitor *visitor, const struct json_value *binding,
                             const struct json_value *rules, bool is_cluster)
{
    (void)binding;
    struct listing *listing = container_of(visitor, struct listing, visitor);
    for (size_t i = 0; i < json_count(rules); i++) {
        const struct json_value *rule = json_at(rules, i);
        if (json_count(json_get(rule, "resources")) > 0) {
            json_push(listing->arena, listing->resource_rules, json_copy(listing->arena, rule));
        } else if (is_cluster) {
            json_push(listing->arena, listing->other_rules, json_copy(listing->arena, rule));
        }
    }
    return false;
}

void authorize_list_rules(struct apiserver *server, struct arena *arena, const struct user *user, struct str ns,
                          struct json_value *status)
{
    struct listing listing = {
        .visitor.on_rules = listing_on_rules,
        .arena = arena,
        .resource_rules = json_ensure_array(arena, status, "resourceRules"),
        .other_rules = json_ensure_array(arena, status, "nonResourceRules"),
    };
    (void)visit_bindings(server, arena, user, true, STR_EMPTY, &listing.visitor);
    if (!str_is_empty(ns)) {
        (void)visit_bindings(server, arena, user, false, ns, &listing.visitor);
    }
}

// --- the request's own question --------------------------------------------------------------------

static struct attributes request_attributes(struct request *request)
{
    const struct request_path *path = &request->path;
    if (!path->is_resource) {
        char *verb = arena_strdup(&request->arena, request->method);
        for (char *c = verb; *c != '\0'; c++) {
            *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
        }
        return (struct attributes){.verb = str_of(verb), .path = path->path};
    }
    struct attributes wanted = {
        .verb = str_of(request_verb_name(request->verb)),
        .is_resource = true,
        .group = path->group,
        .resource = path->plural,
        .ns = path->ns,
        .name = path->name,
    };
    if (!str_is_empty(path->subresource)) {
        wanted.resource =
            arena_format(&request->arena, "%.*s/%.*s", STR_ARG(path->plural), STR_ARG(path->subresource));
    }
    // A namespace lies in itself.
    if (str_is_empty(path->group) && str_equal(path->plural, STR("namespaces"))) {
        wanted.ns = path->name;
    }
    struct str field = request_parameter(path, "fieldSelector");
    if (str_is_empty(wanted.name) && str_starts_with(field, STR("metadata.name=")) &&
        str_find_char(field, ',') < 0) {
        wanted.name = str_from(field, sizeof("metadata.name=") - 1);
    }
    return wanted;
}

bool authorize(struct request *request)
{
    struct arena *arena = &request->arena;
    struct attributes wanted = request_attributes(request);
    if (authorize_allows(request->server, arena, &request->user, &wanted, NULL)) {
        return true;
    }
    struct str user = request->user.name;
    if (!wanted.is_resource) {
        return failure_set(&request->failure, arena, 403, "Forbidden",
                           "forbidden: User \"%.*s\" cannot %.*s path \"%.*s\"", STR_ARG(user),
                           STR_ARG(wanted.verb), STR_ARG(wanted.path));
    }
    struct str where = str_is_empty(wanted.ns)
                           ? STR("at the cluster scope")
                           : arena_format(arena, "in the namespace \"%.*s\"", STR_ARG(wanted.ns));
    struct kind about = {.group = wanted.group, .plural = request->path.plural};
    return failure_forbidden(&request->failure, arena, &about, request->path.name,
                             "User \"%.*s\" cannot %.*s resource \"%.*s\" in API group \"%.*s\" %.*s",
                             STR_ARG(user), STR_ARG(wanted.verb), STR_ARG(wanted.resource),
                             STR_ARG(wanted.group), STR_ARG(where));
}

// --- bindings --------------------------------------------------------------------------------------

static void binding_set_defaults(struct arena *arena, struct json_value *object)
{
    struct json_value *role = json_ensure_object(arena, object, "roleRef");
    if (str_is_empty(json_get_str(role, "apiGroup"))) {
        json_set_cstr(arena, role, "apiGroup", "rbac.authorization.k8s.io");
    }
    const struct json_value *subjects = json_get(object, "subjects");
    for (size_t i = 0; i < json_count(subjects); i++) {
        struct json_value *subject = json_at(subjects, i);
        bool is_account = str_equal(json_get_str(subject, "kind"), STR("ServiceAccount"));
        if (json_is(subject, JSON_OBJECT) && !is_account && json_get(subject, "apiGroup") == NULL) {
            json_set_cstr(arena, subject, "apiGroup", "rbac.authorization.k8s.io");
        }
    }
}

static void binding_validate(const struct json_value *object, const struct json_value *old, struct field_errors *errors)
{
    const struct json_value *role = json_get(object, "roleRef");
    struct str kind = json_get_str(role, "kind");
    if (!str_equal(kind, STR("Role")) && !str_equal(kind, STR("ClusterRole"))) {
        field_error(errors, "FieldValueNotSupported", "roleRef.kind",
                    "Unsupported value: \"%.*s\": supported values: \"ClusterRole\", \"Role\"", STR_ARG(kind));
    }
    if (str_is_empty(json_get_str(role, "name"))) {
        field_error(errors, "FieldValueRequired", "roleRef.name", "Required value");
    }
    if (old != NULL && !json_equal(role, json_get(old, "roleRef"))) {
        field_error(errors, "FieldValueInvalid", "roleRef", "Invalid value: %.*s: cannot change roleRef",
                    STR_ARG(json_to_str(errors->arena, role)));
    }
}

const struct kind_hooks role_binding_hooks = {.set_defaults = binding_set_defaults, .validate = binding_validate};
