// SPDX-License-Identifier: Apache-2.0
//
// One question after the other to one API server: each request runs the loop until its answer is there, so
// that the algorithm reads top to bottom.
#include "cli/remote_secret.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/memory.h"
#include "cli/options.h"
#include "codec/yaml/yaml.h"
#include "kube/client.h"

#define SYSTEM_NAMESPACE "istio-system"
#define TOKEN_TRIES_MAX 5
#define TOKEN_WAIT_MS 1000
#define TOKEN_SECRET_TYPE "kubernetes.io/service-account-token"
#define ACCOUNT_ANNOTATION "kubernetes.io/service-account.name"

static const struct kube_resource cluster_roles = {
    .group = {"rbac.authorization.k8s.io", 25}, .version = {"v1", 2}, .plural = {"clusterroles", 12}, .kind = {"ClusterRole", 11}};
static const struct kube_resource cluster_role_bindings = {.group = {"rbac.authorization.k8s.io", 25},
                                                           .version = {"v1", 2},
                                                           .plural = {"clusterrolebindings", 19},
                                                           .kind = {"ClusterRoleBinding", 18}};

struct settings {
    const char *name;
    const char *context;
    const char *kubeconfig;
    const char *ns;
    const char *istio_ns;
    const char *server;
    const char *tls_server_name;
    const char *type;
    const char *account;
    const char *secret_name;
    const char *auth_type;
    bool create_account;
};

struct session {
    struct arena arena;
    struct error err;
    struct loop *loop;
    struct kube_client *client;
    struct loop_timer timer;
    // The answer of the request under way.
    bool is_done;
    enum err code;
    struct json_value *value; // in the arena
};

// --- asking ----------------------------------------------------------------------------------------

static void on_done(void *owner, enum err code, const struct kube_response *response)
{
    struct session *session = owner;
    session->is_done = true;
    session->code = code;
    session->value = response->value == NULL ? NULL : json_copy(&session->arena, response->value);
    if (code != ERR_OK) {
        (void)error_set(&session->err, code, "%.*s", STR_ARG(response->message));
    }
    loop_stop(session->loop);
}

// An answer may come before the loop runs (a closed client, a bad address).
static void run_until_done(struct session *session)
{
    while (!session->is_done) {
        loop_run(session->loop);
    }
}

static enum err get(struct session *session, const struct kube_resource *resource, struct str ns, struct str name)
{
    session->is_done = false;
    (void)kube_get(session->client, resource, ns, name, on_done, session);
    run_until_done(session);
    if (session->code != ERR_OK) {
        error_prefix(&session->err, "get %.*s %.*s", STR_ARG(resource->plural), STR_ARG(name));
    }
    return session->code;
}

// Created, or there already.
static enum err create(struct session *session, const struct kube_resource *resource, struct str ns, const struct json_value *object)
{
    session->is_done = false;
    (void)kube_create(session->client, resource, ns, object, on_done, session);
    run_until_done(session);
    if (session->code == ERR_EXISTS || session->code == ERR_CONFLICT) {
        session->code = ERR_OK;
    }
    if (session->code != ERR_OK) {
        error_prefix(&session->err, "create %.*s", STR_ARG(resource->plural));
    }
    return session->code;
}

static void on_waited(struct loop_timer *timer)
{
    loop_stop(timer->loop);
}

static void wait_a_moment(struct session *session)
{
    loop_timer_start(&session->timer, TOKEN_WAIT_MS);
    loop_run(session->loop);
}

// --- objects ---------------------------------------------------------------------------------------

static struct json_value *make_object(struct arena *arena, const struct kube_resource *resource, struct str ns, struct str name)
{
    struct json_value *object = json_new_object(arena);
    json_set_str(arena, object, "apiVersion",
                 resource->group.size == 0 ? resource->version
                                           : arena_format(arena, "%.*s/%.*s", STR_ARG(resource->group), STR_ARG(resource->version)));
    json_set_str(arena, object, "kind", resource->kind);
    struct json_value *metadata = json_ensure_object(arena, object, "metadata");
    json_set_str(arena, metadata, "name", name);
    if (ns.size > 0) {
        json_set_str(arena, metadata, "namespace", ns);
    }
    return object;
}

static struct json_value *text_list(struct arena *arena, const char *text)
{
    struct json_value *list = json_new_array(arena);
    struct str rest = str_of(text);
    while (rest.data != NULL) {
        json_push(arena, list, json_new_str(arena, str_split(&rest, ',')));
    }
    return list;
}

// What a control plane in another cluster may do here; a subset of these is enough for endpoints, the rest
// is what Istio's role of this name grants.
static struct json_value *reader_rules(struct arena *arena)
{
    static const struct {
        const char *groups;
        const char *resources;
        const char *verbs;
    } rows[] = {
        {"config.istio.io,security.istio.io,networking.istio.io,authentication.istio.io,rbac.istio.io", "*", "get,list,watch"},
        {"", "endpoints,pods,services,nodes,replicationcontrollers,namespaces,secrets", "get,list,watch"},
        {"networking.istio.io", "workloadentries", "get,list,watch"},
        {"gateway.networking.k8s.io,networking.x-k8s.io", "gateways", "get,list,watch"},
        {"apiextensions.k8s.io", "customresourcedefinitions", "get,list,watch"},
        {"discovery.k8s.io", "endpointslices", "get,list,watch"},
        {"multicluster.x-k8s.io", "serviceexports", "get,list,watch,create,delete"},
        {"multicluster.x-k8s.io", "serviceimports", "get,list,watch"},
        {"apps", "replicasets", "get,list,watch"},
        {"authentication.k8s.io", "tokenreviews", "create"},
        {"authorization.k8s.io", "subjectaccessreviews", "create"},
    };
    struct json_value *rules = json_new_array(arena);
    for (size_t i = 0; i < array_count(rows); i++) {
        struct json_value *rule = json_new_object(arena);
        json_set(arena, rule, STR("apiGroups"), text_list(arena, rows[i].groups));
        json_set(arena, rule, STR("resources"), text_list(arena, rows[i].resources));
        json_set(arena, rule, STR("verbs"), text_list(arena, rows[i].verbs));
        json_push(arena, rules, rule);
    }
    return rules;
}

static struct json_value *reader_binding(struct arena *arena, struct str role, struct str ns, struct str account)
{
    struct json_value *binding = make_object(arena, &cluster_role_bindings, STR_EMPTY, role);
    struct json_value *reference = json_ensure_object(arena, binding, "roleRef");
    json_set_cstr(arena, reference, "apiGroup", "rbac.authorization.k8s.io");
    json_set_cstr(arena, reference, "kind", "ClusterRole");
    json_set_str(arena, reference, "name", role);
    struct json_value *subject = json_new_object(arena);
    json_set_cstr(arena, subject, "kind", "ServiceAccount");
    json_set_str(arena, subject, "name", account);
    json_set_str(arena, subject, "namespace", ns);
    json_push(arena, json_ensure_array(arena, binding, "subjects"), subject);
    return binding;
}

// --- the steps -------------------------------------------------------------------------------------

static enum err connect_to(struct session *session, const struct settings *settings, struct kube_config *config)
{
    struct arena *arena = &session->arena;
    struct str path = str_of(settings->kubeconfig);
    if (path.size == 0) {
        struct str list = str_of(getenv("KUBECONFIG"));
        path = str_split(&list, ':'); // the first file of the list
    }
    if (path.size == 0) {
        path = arena_format(arena, "%s/.kube/config", getenv("HOME") != NULL ? getenv("HOME") : "");
    }
    enum err code = kube_config_load(arena, arena_strdup(arena, path), str_of(settings->context), config, &session->err);
    if (code != ERR_OK) {
        return code;
    }
    session->client = kube_client_new(session->loop, config, &session->err);
    return session->client == NULL ? session->err.code : ERR_OK;
}

static bool is_label(struct str name)
{
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        bool is_edge = i == 0 || i + 1 == name.size;
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && !is_edge))) {
            return false;
        }
    }
    return name.size > 0 && name.size <= 63;
}

static enum err choose_name(struct session *session, const struct settings *settings, struct str *ret_name)
{
    struct str name = str_of(settings->name);
    if (name.size == 0) {
        enum err code = get(session, &kube_namespaces, STR_EMPTY, STR("kube-system"));
        if (code != ERR_OK) {
            return code;
        }
        name = json_str(json_path(session->value, "metadata", "uid", NULL));
    }
    if (!is_label(name)) {
        return error_set(&session->err, ERR_INVALID, "\"%.*s\" is not a valid cluster name: want a DNS label", STR_ARG(name));
    }
    *ret_name = name;
    return ERR_OK;
}

// The account, made with its role when it is missing and may be made.
static enum err ensure_account(struct session *session, const struct settings *settings, struct str ns, struct str account)
{
    struct arena *arena = &session->arena;
    enum err code = get(session, &kube_serviceaccounts, ns, account);
    if (code != ERR_NOT_FOUND) {
        return code;
    }
    if (!settings->create_account) {
        return error_set(&session->err, ERR_NOT_FOUND,
                         "service account %.*s/%.*s does not exist: install the mesh in this cluster first, or leave out "
                         "--create-service-account=false",
                         STR_ARG(ns), STR_ARG(account));
    }
    struct str role = arena_format(arena, "istio-reader-clusterrole-%.*s", STR_ARG(ns));
    struct json_value *cluster_role = make_object(arena, &cluster_roles, STR_EMPTY, role);
    json_set(arena, cluster_role, STR("rules"), reader_rules(arena));
    const struct {
        const struct kube_resource *resource;
        struct str ns;
        struct json_value *object;
    } rows[] = {
        {&kube_namespaces, STR_EMPTY, make_object(arena, &kube_namespaces, STR_EMPTY, ns)},
        {&kube_serviceaccounts, ns, make_object(arena, &kube_serviceaccounts, ns, account)},
        {&cluster_roles, STR_EMPTY, cluster_role},
        {&cluster_role_bindings, STR_EMPTY, reader_binding(arena, role, ns, account)},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        code = create(session, rows[i].resource, rows[i].ns, rows[i].object);
        if (code != ERR_OK) {
            return code;
        }
    }
    return get(session, &kube_serviceaccounts, ns, account);
}

static bool is_token_of(const struct json_value *secret, struct str account)
{
    return str_equal_c(json_get_str(secret, "type"), TOKEN_SECRET_TYPE) &&
           str_equal(kube_annotation(secret, STR(ACCOUNT_ANNOTATION)), account);
}

// session->value is the account. The secret named by a flag, one the account lists, or one of our own.
static enum err choose_token_secret(struct session *session, const struct settings *settings, struct str ns, struct str account,
                                    struct str *ret_name)
{
    struct arena *arena = &session->arena;
    const struct json_value *listed = json_get(session->value, "secrets");
    if (settings->secret_name[0] != '\0') {
        struct str name = str_of(settings->secret_name);
        enum err code = get(session, &kube_secrets, ns, name);
        if (code == ERR_OK && !is_token_of(session->value, account)) {
            code = error_set(&session->err, ERR_INVALID, "secret %.*s is not of type " TOKEN_SECRET_TYPE " with annotation " ACCOUNT_ANNOTATION ": %.*s",
                             STR_ARG(name), STR_ARG(account));
        }
        *ret_name = name;
        return code;
    }
    for (size_t i = 0; i < json_count(listed); i++) {
        struct str name = json_get_str(json_at(listed, i), "name");
        if (get(session, &kube_secrets, ns, name) == ERR_OK && is_token_of(session->value, account)) {
            *ret_name = name;
            return ERR_OK;
        }
    }
    struct str name = arena_format(arena, "%.*s-istio-remote-secret-token", STR_ARG(account));
    struct json_value *secret = make_object(arena, &kube_secrets, ns, name);
    json_set_str(arena, json_ensure_object(arena, json_get(secret, "metadata"), "annotations"), ACCOUNT_ANNOTATION, account);
    json_set_cstr(arena, secret, "type", TOKEN_SECRET_TYPE);
    *ret_name = name;
    return create(session, &kube_secrets, ns, secret);
}

static bool read_data(struct session *session, const char *key, struct str *ret_text)
{
    struct str coded = json_str(json_path(session->value, "data", key, NULL));
    return coded.size > 0 && base64_decode(&session->arena, coded, ret_text) && ret_text->size > 0;
}

// The token controller fills the secret some time after it was made.
static enum err wait_for_token(struct session *session, struct str ns, struct str name, struct remote_secret *secret)
{
    const char *missing = "";
    for (int i = 0; i < TOKEN_TRIES_MAX; i++) {
        if (i > 0) {
            wait_a_moment(session);
        }
        enum err code = get(session, &kube_secrets, ns, name);
        if (code != ERR_OK) {
            return code;
        }
        missing = !read_data(session, "ca.crt", &secret->ca_pem) ? "ca.crt" : !read_data(session, "token", &secret->token) ? "token" : NULL;
        if (missing == NULL) {
            return ERR_OK;
        }
    }
    return error_set(&session->err, ERR_TIMEOUT, "no \"%s\" data found in secret %.*s/%.*s after %d s", missing, STR_ARG(ns),
                     STR_ARG(name), TOKEN_TRIES_MAX);
}

static struct str choose_server(const struct settings *settings, const struct kube_config *config)
{
    struct str server = settings->server[0] != '\0' ? str_of(settings->server) : config->server;
    if (str_find(server, STR("127.0.0.1")) >= 0 || str_find(server, STR("localhost")) >= 0) {
        (void)fprintf(stderr,
                      "warn: server in Kubeconfig is %.*s. This is likely not reachable from inside the cluster, if you're using "
                      "Kubernetes in Docker, pass --server with the container IP for the API Server.\n",
                      STR_ARG(server));
    }
    return server;
}

// --- output ----------------------------------------------------------------------------------------

// {"name": NAME, "<member>": …} as the only item of a list; returns the inner object.
static struct json_value *add_named(struct arena *arena, struct json_value *root, const char *list, struct str name, const char *member)
{
    struct json_value *entry = json_new_object(arena);
    json_set_str(arena, entry, "name", name);
    struct json_value *inner = json_ensure_object(arena, entry, member);
    json_push(arena, json_ensure_array(arena, root, list), entry);
    return inner;
}

static struct str write_kubeconfig(struct arena *arena, const struct remote_secret *secret)
{
    struct json_value *root = json_new_object(arena);
    json_set_cstr(arena, root, "apiVersion", "v1");
    json_set_cstr(arena, root, "kind", "Config");
    json_set(arena, root, STR("preferences"), json_new_object(arena));
    json_set_str(arena, root, "current-context", secret->name);
    struct json_value *cluster = add_named(arena, root, "clusters", secret->name, "cluster");
    json_set_str(arena, cluster, "certificate-authority-data", base64_encode(arena, secret->ca_pem));
    json_set_str(arena, cluster, "server", secret->server);
    if (secret->tls_server_name.size > 0) {
        json_set_str(arena, cluster, "tls-server-name", secret->tls_server_name);
    }
    struct json_value *context = add_named(arena, root, "contexts", secret->name, "context");
    json_set_str(arena, context, "cluster", secret->name);
    json_set_str(arena, context, "user", secret->name);
    json_set_str(arena, add_named(arena, root, "users", secret->name, "user"), "token", secret->token);
    struct buf out = {0};
    yaml_write(root, &out);
    struct str text = arena_str(arena, buf_view(&out));
    buf_done(&out);
    return text;
}

struct str remote_secret_write(struct arena *arena, const struct remote_secret *secret)
{
    struct str name = arena_format(arena, "istio-remote-secret-%.*s", STR_ARG(secret->name));
    struct json_value *object = make_object(arena, &kube_secrets, secret->ns, name);
    struct json_value *metadata = json_get(object, "metadata");
    json_set_cstr(arena, json_ensure_object(arena, metadata, "labels"), "istio/multiCluster", "true");
    json_set_str(arena, json_ensure_object(arena, metadata, "annotations"), "networking.istio.io/cluster", secret->name);
    json_set(arena, json_ensure_object(arena, object, "stringData"), secret->name,
             json_new_str(arena, write_kubeconfig(arena, secret)));
    struct buf out = {0};
    buf_append_str(&out, STR("# This file is autogenerated, do not edit.\n"));
    yaml_write(object, &out);
    buf_append_str(&out, STR("---\n"));
    struct str text = arena_str(arena, buf_view(&out));
    buf_done(&out);
    return text;
}

// --- the command -----------------------------------------------------------------------------------

static enum err run(struct session *session, const struct settings *settings)
{
    struct kube_config config = {0};
    struct remote_secret secret = {.tls_server_name = str_of(settings->tls_server_name)};
    struct str account = str_of(settings->account);
    struct str token_secret = STR_EMPTY;
    if (strcmp(settings->type, "remote") != 0 || strcmp(settings->auth_type, "bearer-token") != 0) {
        return error_set(&session->err, ERR_UNSUPPORTED, "only --type=remote with --auth-type=bearer-token is available");
    }
    enum err code = connect_to(session, settings, &config);
    if (code != ERR_OK) {
        return code;
    }
    secret.ns = settings->ns[0] != '\0' ? str_of(settings->ns) : config.ns.size > 0 ? config.ns : str_of(settings->istio_ns);
    code = choose_name(session, settings, &secret.name);
    code = code == ERR_OK ? ensure_account(session, settings, secret.ns, account) : code;
    code = code == ERR_OK ? choose_token_secret(session, settings, secret.ns, account, &token_secret) : code;
    code = code == ERR_OK ? wait_for_token(session, secret.ns, token_secret, &secret) : code;
    if (code == ERR_OK) {
        secret.server = choose_server(settings, &config);
        struct str text = remote_secret_write(&session->arena, &secret);
        (void)fwrite(text.data, 1, text.size, stdout);
    }
    return code;
}

int cli_create_remote_secret(int argc, char **argv)
{
    struct settings settings = {"", "", "", "", SYSTEM_NAMESPACE, "", "", "remote", "istio-reader-service-account", "", "bearer-token", true};
    const struct option_row rows[] = {
        {"name", 0, "NAME", "name of the cluster (default: UID of namespace kube-system)", &settings.name, NULL},
        {"context", 0, "NAME", "context of the kubeconfig (default: the current one)", &settings.context, NULL},
        {"kubeconfig", 'c', "FILE", "default: $KUBECONFIG, then ~/.kube/config", &settings.kubeconfig, NULL},
        {"namespace", 'n', "NAME", "namespace of account and secret", &settings.ns, NULL},
        {"istioNamespace", 'i', "NAME", "where the mesh is installed (default istio-system)", &settings.istio_ns, NULL},
        {"server", 0, "URL", "API server as the other cluster reaches it", &settings.server, NULL},
        {"tls-server-name", 0, "NAME", "name its certificate is checked for", &settings.tls_server_name, NULL},
        {"type", 0, "TYPE", "remote", &settings.type, NULL},
        {"auth-type", 0, "TYPE", "bearer-token", &settings.auth_type, NULL},
        {"service-account", 0, "NAME", "account whose token is used", &settings.account, NULL},
        {"secret-name", 0, "NAME", "token secret to use", &settings.secret_name, NULL},
        {"create-service-account", 0, NULL, "make the account when it is missing (default true)", NULL, &settings.create_account},
    };
    const struct option_usage usage = {"isthmesh create-remote-secret", "[flags]",
                                       "Prints a Secret for the other cluster: isthmesh create-remote-secret --context A --name a |\n"
                                       "kubectl apply --context B -f -",
                                       rows, array_count(rows)};
    int count;
    enum options_result result = options_parse(&usage, argc, argv, 0, 0, &count);
    if (result != OPTIONS_RUN) {
        return result == OPTIONS_DONE ? 0 : 2;
    }
    struct session session = {.loop = loop_new()};
    loop_timer_init(&session.timer, session.loop, on_waited);
    enum err code = run(&session, &settings);
    if (code != ERR_OK) {
        (void)fprintf(stderr, "isthmesh create-remote-secret: %s\n", session.err.message);
    }
    kube_client_free(session.client);
    loop_turn(session.loop, 0); // what closed is released at the end of a turn
    loop_free(session.loop);
    arena_done(&session.arena);
    return code == ERR_OK ? 0 : 1;
}
