// SPDX-License-Identifier: Apache-2.0
#include "proxy/bootstrap.h"

#include <stdio.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/version.h"
#include "codec/pb/pb.h"
#include "codec/yaml/yaml.h"
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "envoy/config/listener/v3/listener.pb-c.h"

#define POD_FILE_MAX (1024u * 1024)
#define ISTIO_VERSION_SPOKEN "1.20.1" // the dialect we ask for

Envoy__Config__Bootstrap__V3__Bootstrap *bootstrap_read(struct arena *arena, const char *path, struct error *err)
{
    struct str text;
    struct json_value *json;
    if (file_read(arena, path, BOOTSTRAP_FILE_MAX, &text, err) != ERR_OK) {
        return NULL;
    }
    if (yaml_parse(arena, text, &json, err) != ERR_OK) {
        error_prefix(err, "%s", path);
        return NULL;
    }
    Envoy__Config__Bootstrap__V3__Bootstrap *bootstrap =
        pb_from_json(arena, &envoy__config__bootstrap__v3__bootstrap__descriptor, json, PB_JSON_STRICT, err);
    if (bootstrap == NULL) {
        error_prefix(err, "%s", path);
    }
    return bootstrap;
}

static void apply_secrets(const Envoy__Config__Bootstrap__V3__Bootstrap__StaticResources *resources, struct config_store *store,
                          struct arena *arena, enum err *result, struct error *err)
{
    struct secrets *secrets = secrets_new(config_store_secrets(store));
    for (size_t i = 0; i < resources->n_secrets && *result == ERR_OK; i++) {
        const Envoy__Extensions__TransportSockets__Tls__V3__Secret *secret = resources->secrets[i];
        struct str chain = STR_EMPTY;
        struct str key = STR_EMPTY;
        if (secret->type_case == ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SECRET__TYPE_TLS_CERTIFICATE) {
            *result = data_source_read(arena, secret->tls_certificate->certificate_chain, &chain, err);
            if (*result == ERR_OK) {
                *result = data_source_read(arena, secret->tls_certificate->private_key, &key, err);
            }
            secrets_set_certificate(secrets, str_of(secret->name), chain, key);
        } else if (secret->type_case == ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SECRET__TYPE_VALIDATION_CONTEXT) {
            *result = data_source_read(arena, secret->validation_context->trusted_ca, &chain, err);
            secrets_set_roots(secrets, str_of(secret->name), chain);
        }
    }
    config_store_set_secrets(store, secrets);
    secrets_unref(secrets);
}

enum err bootstrap_apply(const Envoy__Config__Bootstrap__V3__Bootstrap *bootstrap, struct config_store *store, struct error *err)
{
    const Envoy__Config__Bootstrap__V3__Bootstrap__StaticResources *resources = bootstrap->static_resources;
    if (resources == NULL) {
        return ERR_OK;
    }
    struct arena arena = {0};
    enum err result = ERR_OK;
    for (size_t i = 0; i < resources->n_clusters && result == ERR_OK; i++) {
        result = config_store_add_static(store, XDS_CLUSTER, pb_any(&arena, resources->clusters[i]), err);
    }
    for (size_t i = 0; i < resources->n_listeners && result == ERR_OK; i++) {
        result = config_store_add_static(store, XDS_LISTENER, pb_any(&arena, resources->listeners[i]), err);
    }
    if (result == ERR_OK && resources->n_secrets > 0) {
        apply_secrets(resources, store, &arena, &result, err);
    }
    arena_done(&arena);
    return result;
}

// --- node ----------------------------------------------------------------------------------------------

// Lines key="value" as the downward API writes them; the value is a Go string literal.
static struct json_value *read_pod_file(struct arena *arena, const char *directory, const char *name)
{
    char path[512];
    struct str text;
    struct json_value *object = json_new_object(arena);
    int size = snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (size < 0 || (size_t)size >= sizeof(path) || file_read(arena, path, POD_FILE_MAX, &text, NULL) != ERR_OK) {
        return object;
    }
    while (text.data != NULL && text.size > 0) {
        struct str value = str_split(&text, '\n');
        struct str key = str_split(&value, '=');
        struct json_value *parsed;
        if (value.data != NULL && key.size > 0 && json_parse(arena, value, &parsed, NULL) == ERR_OK && json_is(parsed, JSON_STRING)) {
            json_set(arena, object, arena_str(arena, key), parsed);
        }
    }
    return object;
}

// ISTIO_META_KEY=value gives KEY; ISTIO_METAJSON_X={…} gives the members of the object.
static void add_environment(struct arena *arena, const char *const *environment, struct json_value *metadata)
{
    for (; environment != NULL && *environment != NULL; environment++) {
        struct str value = str_of(*environment);
        struct str name = str_split(&value, '=');
        if (value.data == NULL) {
            continue;
        }
        if (str_starts_with(name, STR("ISTIO_META_"))) {
            json_set(arena, metadata, arena_str(arena, str_from(name, 11)), json_new_str(arena, value));
        } else if (str_starts_with(name, STR("ISTIO_METAJSON_"))) {
            struct json_value *object;
            if (json_parse(arena, value, &object, NULL) != ERR_OK || !json_is(object, JSON_OBJECT)) {
                continue;
            }
            for (size_t i = 0; i < object->object.count; i++) {
                json_set(arena, metadata, object->object.members[i].name, object->object.members[i].value);
            }
        }
    }
}

static struct str lookup(const struct node_facts *facts, const char *name)
{
    return str_of(facts->lookup(name));
}

static void set_if(struct arena *arena, struct json_value *metadata, const char *name, struct str value)
{
    if (value.size > 0) {
        json_set_str(arena, metadata, name, value);
    }
}

static struct json_value *make_metadata(struct arena *arena, const struct node_facts *facts, struct str ips)
{
    struct json_value *metadata = json_new_object(arena);
    set_if(arena, metadata, "NAME", lookup(facts, "POD_NAME"));
    set_if(arena, metadata, "NAMESPACE", lookup(facts, "POD_NAMESPACE"));
    set_if(arena, metadata, "SERVICE_ACCOUNT", lookup(facts, "SERVICE_ACCOUNT"));
    set_if(arena, metadata, "INSTANCE_IPS", ips);
    json_set_cstr(arena, metadata, "ISTIO_VERSION", ISTIO_VERSION_SPOKEN);
    json_set(arena, metadata, STR("LABELS"), read_pod_file(arena, facts->pod_directory, "labels"));
    json_set(arena, metadata, STR("ANNOTATIONS"), read_pod_file(arena, facts->pod_directory, "annotations"));
    struct json_value *proxy_config;
    struct str config = lookup(facts, "PROXY_CONFIG");
    if (config.size == 0 || yaml_parse(arena, config, &proxy_config, NULL) != ERR_OK || !json_is(proxy_config, JSON_OBJECT)) {
        proxy_config = json_new_object(arena);
    }
    json_set(arena, metadata, STR("PROXY_CONFIG"), proxy_config);
    json_set_cstr(arena, metadata, "INTERCEPTION_MODE", "REDIRECT");
    add_environment(arena, facts->environment, metadata);
    return metadata;
}

static char *node_cluster(struct arena *arena, const struct json_value *metadata)
{
    const struct json_value *labels = json_get(metadata, "LABELS");
    struct str name = json_get_str(labels, "service.istio.io/canonical-name");
    name = name.size > 0 ? name : json_get_str(labels, "app");
    name = name.size > 0 ? name : json_get_str(metadata, "WORKLOAD_NAME");
    name = name.size > 0 ? name : STR("istio-proxy");
    return pb_text(arena, arena_format(arena, "%.*s.%.*s", STR_ARG(name), STR_ARG(json_get_str(metadata, "NAMESPACE"))));
}

Envoy__Config__Core__V3__Node *node_make(struct arena *arena, const struct node_facts *facts, struct error *err)
{
    struct str ips = facts->instance_ips.size > 0 ? facts->instance_ips : lookup(facts, "INSTANCE_IP");
    struct str rest = ips;
    struct str first_ip = str_split(&rest, ',');
    struct str pod = lookup(facts, "POD_NAME");
    struct str name_space = lookup(facts, "POD_NAMESPACE");
    if (first_ip.size == 0 || pod.size == 0 || name_space.size == 0) {
        (void)error_set(err, ERR_INVALID, "POD_NAME, POD_NAMESPACE and INSTANCE_IP must be set (the injected pod template does so)");
        return NULL;
    }
    struct json_value *metadata = make_metadata(arena, facts, ips);
    struct str domain = facts->domain.size > 0 ? facts->domain : arena_format(arena, "%.*s.svc.cluster.local", STR_ARG(name_space));
    Envoy__Config__Core__V3__Node *node = pb_new(arena, &envoy__config__core__v3__node__descriptor);
    node->id = pb_text(arena, arena_format(arena, "%.*s~%.*s~%.*s.%.*s~%.*s", STR_ARG(facts->type), STR_ARG(first_ip), STR_ARG(pod),
                                           STR_ARG(name_space), STR_ARG(domain)));
    node->cluster = node_cluster(arena, metadata);
    node->metadata = pb_struct_from_json(arena, metadata);
    node->user_agent_name = pb_text(arena, STR("isthmesh-proxy"));
    node->user_agent_version_type_case = ENVOY__CONFIG__CORE__V3__NODE__USER_AGENT_VERSION_TYPE_USER_AGENT_VERSION;
    node->user_agent_version = pb_text(arena, str_of(version_number));
    return node;
}
