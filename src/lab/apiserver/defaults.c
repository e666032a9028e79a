// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/defaults.h"

#include "base/memory.h"

static bool is_absent(const struct json_value *object, const char *name)
{
    const struct json_value *value = json_get(object, name);
    return value == NULL || value->type == JSON_NULL;
}

void default_str(struct arena *arena, struct json_value *object, const char *name, const char *value)
{
    if (is_absent(object, name) || str_is_empty(json_get_str(object, name))) {
        json_set_cstr(arena, object, name, value);
    }
}

void default_int(struct arena *arena, struct json_value *object, const char *name, int64_t value)
{
    if (is_absent(object, name)) {
        json_set_int(arena, object, name, value);
    }
}

void default_bool(struct arena *arena, struct json_value *object, const char *name, bool value)
{
    if (is_absent(object, name)) {
        json_set_bool(arena, object, name, value);
    }
}

void default_object(struct arena *arena, struct json_value *object, const char *name)
{
    if (is_absent(object, name)) {
        json_set(arena, object, str_of(name), json_new_object(arena));
    }
}

static void probe_defaults(struct arena *arena, struct json_value *container, const char *name)
{
    struct json_value *probe = json_get(container, name);
    if (!json_is(probe, JSON_OBJECT)) {
        return;
    }
    default_int(arena, probe, "timeoutSeconds", 1);
    default_int(arena, probe, "periodSeconds", 10);
    default_int(arena, probe, "successThreshold", 1);
    default_int(arena, probe, "failureThreshold", 3);
    struct json_value *http_get = json_get(probe, "httpGet");
    if (json_is(http_get, JSON_OBJECT)) {
        default_str(arena, http_get, "path", "/");
        default_str(arena, http_get, "scheme", "HTTP");
    }
}

// ":latest" and no tag at all are pulled anew every time.
static const char *pull_policy(struct str image)
{
    ptrdiff_t slash = str_find_last_char(image, '/');
    struct str last = slash < 0 ? image : str_from(image, (size_t)slash + 1);
    bool is_pinned = str_find_char(last, '@') >= 0;
    bool has_tag = str_find_char(last, ':') >= 0 && !str_ends_with(last, STR(":latest"));
    return is_pinned || has_tag ? "IfNotPresent" : "Always";
}

static void requests_from_limits(struct arena *arena, struct json_value *resources)
{
    const struct json_value *limits = json_get(resources, "limits");
    if (json_count(limits) == 0) {
        return;
    }
    struct json_value *requests = json_ensure_object(arena, resources, "requests");
    for (size_t i = 0; i < limits->object.count; i++) {
        const struct json_member *limit = &limits->object.members[i];
        if (json_get_str_name(requests, limit->name) == NULL) {
            json_set(arena, requests, limit->name, json_copy(arena, limit->value));
        }
    }
}

static void container_defaults(struct arena *arena, struct json_value *container)
{
    static const char *const probes[] = {"livenessProbe", "readinessProbe", "startupProbe"};
    default_str(arena, container, "terminationMessagePath", "/dev/termination-log");
    default_str(arena, container, "terminationMessagePolicy", "File");
    default_str(arena, container, "imagePullPolicy", pull_policy(json_get_str(container, "image")));
    default_object(arena, container, "resources");
    requests_from_limits(arena, json_get(container, "resources"));
    const struct json_value *ports = json_get(container, "ports");
    for (size_t i = 0; i < json_count(ports); i++) {
        default_str(arena, json_at(ports, i), "protocol", "TCP");
    }
    const struct json_value *variables = json_get(container, "env");
    for (size_t i = 0; i < json_count(variables); i++) {
        struct json_value *field = json_path(json_at(variables, i), "valueFrom", "fieldRef", NULL);
        if (json_is(field, JSON_OBJECT)) {
            default_str(arena, field, "apiVersion", "v1");
        }
    }
    for (size_t i = 0; i < array_count(probes); i++) {
        probe_defaults(arena, container, probes[i]);
    }
}

static void volume_defaults(struct arena *arena, struct json_value *volume)
{
    static const char *const sources[] = {"secret", "configMap", "projected", "downwardAPI"};
    if (json_is(volume, JSON_OBJECT) && json_count(volume) == 1) {
        default_object(arena, volume, "emptyDir"); // a name alone
    }
    for (size_t i = 0; i < array_count(sources); i++) {
        struct json_value *source = json_get(volume, sources[i]);
        if (json_is(source, JSON_OBJECT)) {
            default_int(arena, source, "defaultMode", 0644);
        }
    }
    const struct json_value *projections = json_path(volume, "projected", "sources", NULL);
    for (size_t i = 0; i < json_count(projections); i++) {
        struct json_value *token = json_get(json_at(projections, i), "serviceAccountToken");
        if (json_is(token, JSON_OBJECT)) {
            default_int(arena, token, "expirationSeconds", 3600);
        }
    }
    struct json_value *host_path = json_get(volume, "hostPath");
    if (json_is(host_path, JSON_OBJECT) && json_get(host_path, "type") == NULL) {
        json_set_cstr(arena, host_path, "type", "");
    }
}

void pod_spec_defaults(struct arena *arena, struct json_value *spec)
{
    static const char *const lists[] = {"containers", "initContainers"};
    if (!json_is(spec, JSON_OBJECT)) {
        return;
    }
    for (size_t l = 0; l < array_count(lists); l++) {
        const struct json_value *containers = json_get(spec, lists[l]);
        for (size_t i = 0; i < json_count(containers); i++) {
            if (json_is(json_at(containers, i), JSON_OBJECT)) {
                container_defaults(arena, json_at(containers, i));
            }
        }
    }
    const struct json_value *volumes = json_get(spec, "volumes");
    for (size_t i = 0; i < json_count(volumes); i++) {
        if (json_is(json_at(volumes, i), JSON_OBJECT)) {
            volume_defaults(arena, json_at(volumes, i));
        }
    }
    default_str(arena, spec, "restartPolicy", "Always");
    default_int(arena, spec, "terminationGracePeriodSeconds", 30);
    default_str(arena, spec, "dnsPolicy", "ClusterFirst");
    default_object(arena, spec, "securityContext");
    default_str(arena, spec, "schedulerName", "default-scheduler");
    struct str account = json_get_str(spec, "serviceAccountName");
    struct str old_name = json_get_str(spec, "serviceAccount");
    if (str_is_empty(account) && !str_is_empty(old_name)) {
        json_set_str(arena, spec, "serviceAccountName", old_name);
    } else if (!str_is_empty(account)) {
        json_set_str(arena, spec, "serviceAccount", account);
    }
}
