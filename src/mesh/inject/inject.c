// SPDX-License-Identifier: Apache-2.0
//
// Order of work: decide → render the template's strings → merge template and pod (lists by their key,
// the pod wins) → labels and annotations. The merge is the strategic merge of Kubernetes for the few
// lists a template has.
#include "mesh/inject/inject.h"

#include "base/assert.h"
#include "base/memory.h"
#include "codec/yaml/yaml.h"
#include "mesh/inject/templates.h"
#include "mesh/labels.h"
#include "mesh/workload.h"

#define PROXY_CONTAINER "istio-proxy"
#define STATUS_ANNOTATION "sidecar.istio.io/status"

// --- decision --------------------------------------------------------------------------------------------

const char *inject_verdict_text(enum inject_verdict verdict)
{
    static const char *const texts[] = {
        [INJECT_YES] = "injected",
        [INJECT_HOST_NETWORK] = "the pod uses the host's network",
        [INJECT_SYSTEM_NAMESPACE] = "system namespace",
        [INJECT_OPTED_OUT] = "sidecar.istio.io/inject says no",
        [INJECT_ALREADY] = "already injected",
    };
    ASSERT((size_t)verdict < array_count(texts));
    return texts[verdict];
}

static bool is_one_of(struct str text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (str_equal_c(text, words[i])) {
            return true;
        }
    }
    return false;
}

static struct str label(const struct json_value *pod, const char *name)
{
    return json_str(json_path(pod, "metadata", "labels", name, NULL));
}

static struct str annotation(const struct json_value *pod, const char *name)
{
    return json_str(json_path(pod, "metadata", "annotations", name, NULL));
}

enum inject_verdict inject_decide(const struct json_value *pod, struct str ns)
{
    static const char *const system_namespaces[] = {
        "kube-system", "kube-public", "kube-node-lease", "local-path-storage"};
    static const char *const yes[] = {"y", "yes", "true", "on"};
    if (json_get_bool(json_get(pod, "spec"), "hostNetwork", false)) {
        return INJECT_HOST_NETWORK;
    }
    if (is_one_of(ns, system_namespaces, array_count(system_namespaces))) {
        return INJECT_SYSTEM_NAMESPACE;
    }
    struct str wish = label(pod, "sidecar.istio.io/inject");
    wish = str_is_empty(wish) ? annotation(pod, "sidecar.istio.io/inject") : wish;
    if (!str_is_empty(wish) && !is_one_of(wish, yes, array_count(yes))) {
        return INJECT_OPTED_OUT;
    }
    return annotation(pod, STATUS_ANNOTATION).data != NULL ? INJECT_ALREADY : INJECT_YES;
}

// --- rendering -------------------------------------------------------------------------------------------

struct binding {
    const char *name;
    struct str value;
};

struct rendering {
    struct arena *arena;
    struct binding bindings[16];
    size_t count;
};

static void bind(struct rendering *rendering, const char *name, struct str value)
{
    ASSERT(rendering->count < array_count(rendering->bindings));
    rendering->bindings[rendering->count++] = (struct binding){name, value};
}

static struct str lookup(const struct rendering *rendering, struct str name)
{
    for (size_t i = 0; i < rendering->count; i++) {
        if (str_equal_c(name, rendering->bindings[i].name)) {
            return rendering->bindings[i].value;
        }
    }
    ASSERT(false); // a template names something that nobody binds
    return STR_EMPTY;
}

static struct str render_text(const struct rendering *rendering, struct str text)
{
    ptrdiff_t at = str_find(text, STR("${"));
    if (at < 0) {
        return text;
    }
    struct str before = str_sub(text, 0, (size_t)at);
    struct str rest = str_from(text, (size_t)at + 2);
    struct str name = str_split(&rest, '}');
    return arena_format(rendering->arena, "%.*s%.*s%.*s", STR_ARG(before),
                        STR_ARG(lookup(rendering, name)), STR_ARG(render_text(rendering, rest)));
}

static void render(const struct rendering *rendering, struct json_value *value)
{
    if (value->type == JSON_STRING) {
        value->text = render_text(rendering, value->text);
    }
    for (size_t i = 0; value->type == JSON_ARRAY && i < value->array.count; i++) {
        render(rendering, value->array.items[i]);
    }
    for (size_t i = 0; value->type == JSON_OBJECT && i < value->object.count; i++) {
        render(rendering, value->object.members[i].value);
    }
}

static struct json_value *load_template(const struct rendering *rendering, const char *yaml)
{
    struct json_value *parsed = NULL;
    enum err code = yaml_parse(rendering->arena, str_of(yaml), &parsed, NULL);
    ASSERT(code == ERR_OK); // a constant of ours
    // The copy unshares what a YAML alias makes appear twice.
    struct json_value *value = json_copy(rendering->arena, parsed);
    render(rendering, value);
    return value;
}

// --- merging ---------------------------------------------------------------------------------------------

// Lists of objects that are maps in disguise, and the member that is their key.
static const struct {
    const char *list;
    const char *key;
} keyed_lists[] = {
    {"containers", "name"}, {"initContainers", "name"},     {"volumes", "name"}, {"env", "name"},
    {"ports", "containerPort"}, {"volumeMounts", "mountPath"}, {"sysctls", "name"},
};

static const char *list_key(struct str list)
{
    for (size_t i = 0; i < array_count(keyed_lists); i++) {
        if (str_equal_c(list, keyed_lists[i].list)) {
            return keyed_lists[i].key;
        }
    }
    return NULL;
}

static struct json_value *find_keyed(const struct json_value *list, const char *key,
                                     const struct json_value *wanted)
{
    for (size_t i = 0; i < json_count(list); i++) {
        const struct json_value *found = json_get(json_at(list, i), key);
        if (found != NULL && wanted != NULL && json_equal(found, wanted)) {
            return json_at(list, i);
        }
    }
    return NULL;
}

static void merge(struct arena *arena, struct json_value *base, const struct json_value *over);

static void merge_list(struct arena *arena, struct json_value *base, const struct json_value *over,
                       const char *key)
{
    for (size_t i = 0; i < over->array.count; i++) {
        const struct json_value *item = over->array.items[i];
        struct json_value *same = find_keyed(base, key, json_get(item, key));
        if (same != NULL) {
            merge(arena, same, item);
        } else {
            json_push(arena, base, json_copy(arena, item));
        }
    }
}

// `over` wins: objects member by member, keyed lists item by item, everything else replaced.
static void merge(struct arena *arena, struct json_value *base, const struct json_value *over)
{
    for (size_t i = 0; i < over->object.count; i++) {
        const struct json_member *member = &over->object.members[i];
        struct json_value *old = json_get_str_name(base, member->name);
        const char *key = list_key(member->name);
        if (json_is(old, JSON_OBJECT) && json_is(member->value, JSON_OBJECT)) {
            merge(arena, old, member->value);
        } else if (key != NULL && json_is(old, JSON_ARRAY) && json_is(member->value, JSON_ARRAY)) {
            merge_list(arena, old, member->value, key);
        } else {
            json_set(arena, base, member->name, json_copy(arena, member->value));
        }
    }
}

// --- values of one injection -----------------------------------------------------------------------------

static bool is_proxy_container(const struct json_value *container)
{
    return str_equal(json_get_str(container, "name"), STR(PROXY_CONTAINER));
}

static struct str app_containers(struct arena *arena, const struct json_value *spec)
{
    struct buf text = {0};
    const struct json_value *containers = json_get(spec, "containers");
    for (size_t i = 0; i < json_count(containers); i++) {
        if (!is_proxy_container(json_at(containers, i))) {
            buf_append_str(&text, text.size == 0 ? STR("") : STR(","));
            buf_append_str(&text, json_get_str(json_at(containers, i), "name"));
        }
    }
    struct str copy = arena_str(arena, buf_view(&text));
    buf_done(&text);
    return copy;
}

static struct str pod_ports(struct arena *arena, const struct json_value *spec)
{
    struct json_value *all = json_new_array(arena);
    const struct json_value *containers = json_get(spec, "containers");
    for (size_t i = 0; i < json_count(containers); i++) {
        const struct json_value *ports = json_get(json_at(containers, i), "ports");
        for (size_t j = 0; j < json_count(ports); j++) {
            json_push(arena, all, json_copy(arena, json_at(ports, j)));
        }
    }
    return json_to_str(arena, all);
}

static struct str owner_url(struct arena *arena, const struct mesh_workload *workload, struct str ns)
{
    char *kind = arena_strdup(arena, workload->kind);
    for (size_t i = 0; i < workload->kind.size; i++) {
        kind[i] = kind[i] >= 'A' && kind[i] <= 'Z' ? (char)(kind[i] - 'A' + 'a') : kind[i];
    }
    return arena_format(arena, "kubernetes://apis/%.*s/namespaces/%.*s/%ss/%.*s",
                        STR_ARG(workload->api_version), STR_ARG(ns), kind, STR_ARG(workload->name));
}

static struct str proxy_config(struct arena *arena, const struct inject_options *options)
{
    struct json_value *config = json_new_object(arena);
    if (!str_is_empty(options->mesh_id)) {
        json_set_str(arena, config, "meshId", options->mesh_id);
    }
    return json_to_str(arena, config);
}

static struct str network_of(const struct json_value *pod, const struct inject_options *options)
{
    struct str own = label(pod, "topology.istio.io/network");
    return str_is_empty(own) ? options->network : own;
}

static void bind_values(struct rendering *rendering, const struct json_value *pod, struct str ns,
                        const struct inject_options *options)
{
    struct arena *arena = rendering->arena;
    const struct json_value *spec = json_get(pod, "spec");
    struct mesh_workload workload = mesh_workload_of_pod(pod);
    bind(rendering, "IMAGE", options->image);
    bind(rendering, "DOMAIN", options->domain);
    bind(rendering, "DISCOVERY_ADDRESS", options->discovery_address);
    bind(rendering, "PROXY_CONFIG", proxy_config(arena, options));
    bind(rendering, "POD_PORTS", pod_ports(arena, spec));
    bind(rendering, "APP_CONTAINERS", app_containers(arena, spec));
    bind(rendering, "WORKLOAD_NAME", workload.name);
    bind(rendering, "OWNER", owner_url(arena, &workload, ns));
    bind(rendering, "MESH_ID", options->mesh_id);
    bind(rendering, "TRUST_DOMAIN", options->trust_domain);
    bind(rendering, "CLUSTER_ID", options->cluster);
    bind(rendering, "NETWORK", network_of(pod, options));
}

// --- applying --------------------------------------------------------------------------------------------

static void drop_empty_env(struct json_value *container)
{
    struct json_value *env = json_get(container, "env");
    for (size_t i = json_count(env); i-- > 0;) {
        const struct json_value *value = json_get(json_at(env, i), "value");
        if (value != NULL && str_is_empty(json_str(value))) {
            json_array_remove(env, i);
        }
    }
}

// The pod's items first, the template's new ones behind; fields of equal items: the pod wins.
static void apply_list(struct arena *arena, struct json_value *spec, const struct json_value *template,
                       const char *name)
{
    const struct json_value *added = json_get(template, name);
    struct json_value *own = json_ensure_array(arena, spec, name);
    for (size_t i = 0; i < json_count(added); i++) {
        struct json_value *item = json_copy(arena, json_at(added, i));
        const struct json_value *wanted = json_get(item, "name");
        for (size_t j = 0; j < json_count(own); j++) {
            const struct json_value *existing = json_at(own, j);
            if (!json_equal(json_get(existing, "name"), wanted)) {
                continue;
            }
            struct str image = json_get_str(item, "image");
            merge(arena, item, existing);
            if (str_equal(json_get_str(existing, "image"), STR("auto"))) {
                json_set_str(arena, item, "image", image);
            }
            own->array.items[j] = item;
            item = NULL;
            break;
        }
        if (item != NULL) {
            json_push(arena, own, item);
        }
    }
}

static void apply_spec(struct arena *arena, struct json_value *spec, struct json_value *template)
{
    const struct json_value *containers = json_get(template, "containers");
    for (size_t i = 0; i < json_count(containers); i++) {
        drop_empty_env(json_at(containers, i));
    }
    apply_list(arena, spec, template, "containers");
    apply_list(arena, spec, template, "volumes");
    if (json_get(template, "initContainers") != NULL) {
        apply_list(arena, spec, template, "initContainers");
    }
    const struct json_value *context = json_get(template, "securityContext");
    if (context != NULL) {
        struct json_value *merged = json_copy(arena, context);
        const struct json_value *own = json_get(spec, "securityContext");
        if (json_is(own, JSON_OBJECT)) {
            merge(arena, merged, own);
        }
        json_set(arena, spec, STR("securityContext"), merged);
    }
}

static void set_default(struct arena *arena, struct json_value *object, const char *name, struct str value)
{
    if (json_get(object, name) == NULL && !str_is_empty(value)) {
        json_set_str(arena, object, name, value);
    }
}

static struct json_value *names_of(struct arena *arena, const struct json_value *list)
{
    struct json_value *names = json_new_array(arena);
    for (size_t i = 0; i < json_count(list); i++) {
        json_push(arena, names, json_new_str(arena, json_get_str(json_at(list, i), "name")));
    }
    return names;
}

static struct str status_text(struct arena *arena, const struct json_value *template, struct str revision)
{
    struct json_value *status = json_new_object(arena);
    json_set(arena, status, STR("initContainers"), names_of(arena, json_get(template, "initContainers")));
    json_set(arena, status, STR("containers"), names_of(arena, json_get(template, "containers")));
    json_set(arena, status, STR("volumes"), names_of(arena, json_get(template, "volumes")));
    json_set(arena, status, STR("imagePullSecrets"), json_new_null(arena));
    json_set_str(arena, status, "revision", revision);
    return json_to_str(arena, status);
}

static void apply_metadata(struct arena *arena, struct json_value *pod, const struct json_value *original,
                           const struct json_value *template, const struct inject_options *options,
                           bool is_gateway)
{
    struct json_value *metadata = json_ensure_object(arena, pod, "metadata");
    struct mesh_labels own = mesh_labels_from_json(arena, json_get(metadata, "labels"));
    struct json_value *labels = json_ensure_object(arena, metadata, "labels");
    struct json_value *annotations = json_ensure_object(arena, metadata, "annotations");
    struct mesh_workload workload = mesh_workload_of_pod(original);
    if (!is_gateway) {
        set_default(arena, labels, "security.istio.io/tlsMode", STR("istio"));
    }
    set_default(arena, labels, "service.istio.io/canonical-name",
                mesh_canonical_name(&own, workload.name));
    set_default(arena, labels, "service.istio.io/canonical-revision", mesh_canonical_revision(&own));
    set_default(arena, labels, "topology.istio.io/network", options->network);
    const struct json_value *containers = json_path(original, "spec", "containers", NULL);
    struct str first = json_get_str(json_at(containers, 0), "name");
    set_default(arena, annotations, "kubectl.kubernetes.io/default-container", first);
    set_default(arena, annotations, "kubectl.kubernetes.io/default-logs-container", first);
    set_default(arena, annotations, "istio.io/rev", options->revision);
    set_default(arena, annotations, "prometheus.io/scrape", STR("true"));
    set_default(arena, annotations, "prometheus.io/port", STR("15020"));
    set_default(arena, annotations, "prometheus.io/path", STR("/stats/prometheus"));
    json_set_str(arena, annotations, STATUS_ANNOTATION,
                 status_text(arena, template, options->revision));
}

enum err inject_apply(struct arena *arena, const struct json_value *pod, struct str ns,
                      const struct inject_options *options, struct json_value **ret_pod,
                      struct error *err)
{
    struct str wanted = annotation(pod, "inject.istio.io/templates");
    bool is_gateway = str_equal(wanted, STR("gateway"));
    if (!is_gateway && !str_is_empty(wanted) && !str_equal(wanted, STR("sidecar"))) {
        return error_set(err, ERR_INVALID,
                         "annotation inject.istio.io/templates: \"%.*s\" is unknown; use sidecar or gateway",
                         STR_ARG(wanted));
    }
    if (!json_is(json_get(pod, "spec"), JSON_OBJECT) || !json_is(json_get(pod, "metadata"), JSON_OBJECT)) {
        return error_set(err, ERR_INVALID, "the pod has no metadata or no spec");
    }
    struct rendering rendering = {.arena = arena};
    bind_values(&rendering, pod, ns, options);
    struct json_value *template = load_template(
        &rendering, is_gateway ? inject_template_gateway : inject_template_sidecar);
    merge(arena, template, load_template(&rendering, inject_template_proxy));
    struct json_value *result = json_copy(arena, pod);
    apply_spec(arena, json_get(result, "spec"), template);
    apply_metadata(arena, result, pod, template, options, is_gateway);
    *ret_pod = result;
    return ERR_OK;
}
