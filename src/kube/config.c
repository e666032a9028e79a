// SPDX-License-Identifier: Apache-2.0
//
// A kubeconfig names a context, which names a cluster and a user. Only what identifies and authenticates
// is taken. Programs (exec, auth-provider) are never run: client certificates and tokens are enough
// for every boundary we have.
#include "kube/config.h"

#include <stdlib.h>

#include "base/base64.h"
#include "base/file.h"
#include "base/memory.h"
#include "codec/yaml/yaml.h"

#define CREDENTIAL_SIZE_MAX (1024u * 1024)
#define CONFIG_SIZE_MAX (16u * 1024 * 1024)
#define SERVICE_ACCOUNT_DIRECTORY "/var/run/secrets/kubernetes.io/serviceaccount"

struct source {
    struct arena *arena;
    struct str directory; // relative paths start here; empty: the working directory
    enum kube_config_trust trust;
    struct error *err;
};

// --- entries ---------------------------------------------------------------------------------------

// {"name": N, "<member>": {...}} in a list; returns the inner object.
static const struct json_value *find_entry(const struct json_value *root, const char *list, struct str name,
                                           const char *member)
{
    const struct json_value *entries = json_get(root, list);
    for (size_t i = 0; i < json_count(entries); i++) {
        const struct json_value *entry = json_at(entries, i);
        if (str_equal(json_get_str(entry, "name"), name)) {
            return json_get(entry, member);
        }
    }
    return NULL;
}

static enum err read_path(const struct source *source, struct str path, struct str *ret_text)
{
    bool is_relative = path.size > 0 && path.data[0] != '/' && source->directory.size > 0;
    struct str full = is_relative ? arena_format(source->arena, "%.*s/%.*s", STR_ARG(source->directory), STR_ARG(path))
                                  : arena_str(source->arena, path);
    return file_read(source->arena, full.data, CREDENTIAL_SIZE_MAX, ret_text, source->err);
}

// "<name>-data" as base64, or "<name>" as a path.
static enum err read_credential(const struct source *source, const struct json_value *entry, const char *name,
                                struct str *ret_text)
{
    struct str data_name = arena_format(source->arena, "%s-data", name);
    struct str data = json_str(json_get_str_name(entry, data_name));
    if (!str_is_empty(data)) {
        return base64_decode(source->arena, data, ret_text)
                   ? ERR_OK
                   : error_set(source->err, ERR_INVALID, "%s-data is not base64", name);
    }
    struct str path = json_get_str(entry, name);
    return str_is_empty(path) ? ERR_OK : read_path(source, path, ret_text);
}

// --- what a remote secret may say ------------------------------------------------------------------

static const char *const forbidden_user_members[] = {"client-certificate", "client-key", "tokenFile",
                                                     "exec", "auth-provider"};
static const char *const forbidden_cluster_members[] = {"certificate-authority", "proxy-url"};

static enum err check_members(const struct source *source, const struct json_value *root, const char *list,
                              const char *inner, const char *const *forbidden, size_t count)
{
    const struct json_value *entries = json_get(root, list);
    for (size_t i = 0; i < json_count(entries); i++) {
        for (size_t k = 0; k < count; k++) {
            if (json_path(json_at(entries, i), inner, forbidden[k], NULL) != NULL) {
                return error_set(source->err, ERR_DENIED,
                                 "kubeconfig is not allowed: %s names a file, program or proxy; put the data inline",
                                 forbidden[k]);
            }
        }
    }
    return ERR_OK;
}

static enum err check_trust(const struct source *source, const struct json_value *root)
{
    if (source->trust == KUBE_CONFIG_LOCAL) {
        return ERR_OK;
    }
    enum err failed = check_members(source, root, "users", "user", forbidden_user_members,
                                    array_count(forbidden_user_members));
    return failed != ERR_OK ? failed
                            : check_members(source, root, "clusters", "cluster", forbidden_cluster_members,
                                            array_count(forbidden_cluster_members));
}

// --- cluster and user ------------------------------------------------------------------------------

static struct str copy_text(const struct source *source, const struct json_value *entry, const char *name)
{
    struct str text = json_get_str(entry, name);
    return text.data == NULL ? STR_EMPTY : arena_str(source->arena, text);
}

static enum err read_cluster(const struct source *source, const struct json_value *cluster,
                             struct kube_config *config)
{
    config->server = copy_text(source, cluster, "server");
    if (str_is_empty(config->server)) {
        return error_set(source->err, ERR_INVALID, "the cluster has no server");
    }
    config->tls_server_name = copy_text(source, cluster, "tls-server-name");
    config->insecure_skip_tls_verify = json_get_bool(cluster, "insecure-skip-tls-verify", false);
    return read_credential(source, cluster, "certificate-authority", &config->ca_pem);
}

static enum err read_user(const struct source *source, const struct json_value *user, struct kube_config *config)
{
    if (json_get(user, "exec") != NULL || json_get(user, "auth-provider") != NULL ||
        json_get(user, "username") != NULL) {
        return error_set(source->err, ERR_UNSUPPORTED,
                         "users with exec, auth-provider or a password are not supported; use a client "
                         "certificate or a token");
    }
    enum err failed = read_credential(source, user, "client-certificate", &config->certificate_pem);
    if (failed == ERR_OK) {
        failed = read_credential(source, user, "client-key", &config->key_pem);
    }
    if (failed != ERR_OK) {
        return failed;
    }
    if (str_is_empty(config->certificate_pem) != str_is_empty(config->key_pem)) {
        return error_set(source->err, ERR_INVALID, "the user has a client certificate or key without the other");
    }
    config->token = copy_text(source, user, "token");
    config->token_file = copy_text(source, user, "tokenFile");
    return ERR_OK;
}

static enum err parse(const struct source *source, struct str text, struct str context_name,
                      struct kube_config *ret_config)
{
    struct json_value *root = NULL;
    enum err failed = yaml_parse(source->arena, text, &root, source->err);
    if (failed == ERR_OK) {
        failed = check_trust(source, root);
    }
    if (failed != ERR_OK) {
        return failed;
    }
    if (str_is_empty(context_name)) {
        context_name = json_get_str(root, "current-context");
    }
    const struct json_value *context = find_entry(root, "contexts", context_name, "context");
    if (context == NULL) {
        return error_set(source->err, ERR_NOT_FOUND, "there is no context \"%.*s\"", STR_ARG(context_name));
    }
    struct str cluster_name = json_get_str(context, "cluster");
    struct str user_name = json_get_str(context, "user");
    const struct json_value *cluster = find_entry(root, "clusters", cluster_name, "cluster");
    if (cluster == NULL) {
        return error_set(source->err, ERR_NOT_FOUND, "there is no cluster \"%.*s\"", STR_ARG(cluster_name));
    }
    struct kube_config config = {.ns = copy_text(source, context, "namespace")};
    failed = read_cluster(source, cluster, &config);
    if (failed == ERR_OK) {
        failed = read_user(source, find_entry(root, "users", user_name, "user"), &config);
    }
    if (failed == ERR_OK) {
        *ret_config = config;
    }
    return failed;
}

// --- public ----------------------------------------------------------------------------------------

enum err kube_config_parse(struct arena *arena, struct str text, struct str context,
                           enum kube_config_trust trust, struct kube_config *ret_config, struct error *err)
{
    struct source source = {.arena = arena, .trust = trust, .err = err};
    return parse(&source, text, context, ret_config);
}

enum err kube_config_load(struct arena *arena, const char *path, struct str context,
                          struct kube_config *ret_config, struct error *err)
{
    struct str text = STR_EMPTY;
    enum err failed = file_read(arena, path, CONFIG_SIZE_MAX, &text, err);
    if (failed != ERR_OK) {
        return failed;
    }
    ptrdiff_t slash = str_find_last_char(str_of(path), '/');
    struct source source = {.arena = arena, .trust = KUBE_CONFIG_LOCAL, .err = err};
    source.directory = slash < 0 ? STR_EMPTY : str_sub(str_of(path), 0, slash == 0 ? 1 : (size_t)slash);
    failed = parse(&source, text, context, ret_config);
    if (failed != ERR_OK) {
        error_prefix(err, "kubeconfig %s", path);
    }
    return failed;
}

enum err kube_config_in_cluster(struct arena *arena, struct kube_config *ret_config, struct error *err)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    const char *port = getenv("KUBERNETES_SERVICE_PORT");
    if (host == NULL || port == NULL || *host == '\0' || *port == '\0') {
        return error_set(err, ERR_NOT_FOUND,
                         "not in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
    }
    struct kube_config config = {.token_file = STR(SERVICE_ACCOUNT_DIRECTORY "/token")};
    enum err failed = file_read(arena, SERVICE_ACCOUNT_DIRECTORY "/ca.crt", CREDENTIAL_SIZE_MAX, &config.ca_pem, err);
    if (failed != ERR_OK) {
        return failed;
    }
    struct str ns = STR_EMPTY;
    if (file_read(arena, SERVICE_ACCOUNT_DIRECTORY "/namespace", 1024, &ns, NULL) == ERR_OK) {
        config.ns = str_trim(ns);
    }
    bool is_v6 = strchr(host, ':') != NULL;
    config.server = arena_format(arena, is_v6 ? "https://[%s]:%s" : "https://%s:%s", host, port);
    *ret_config = config;
    return ERR_OK;
}
