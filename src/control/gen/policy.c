// SPDX-License-Identifier: Apache-2.0
//
// Which rules hold: the DestinationRule of a service as this proxy sees it, the traffic policy in force
// for one port and subset, and the PeerAuthentication mode of a workload.
//
// DestinationRules are looked for in three places, and the first that has one decides alone: the proxy's
// namespace, the service's namespace, the root namespace. In one place an exact host beats wildcards, a
// longer wildcard beats a shorter one. Several rules of the same host in one namespace are merged: the
// oldest gives the policy, the others add their subsets.
#include "control/gen/gen_internal.h"

// --- DestinationRule -------------------------------------------------------------------------------------

static bool selects_proxy(const struct gen *gen, const struct mesh_object *object)
{
    const Istio__Type__V1beta1__WorkloadSelector *selector =
        object->destination_rule->workload_selector;
    if (selector == NULL) {
        return true;
    }
    if (!str_equal(object->ns, gen->proxy->ns)) {
        return false;
    }
    for (size_t i = 0; i < selector->n_match_labels; i++) {
        struct str value =
            mesh_labels_get(&gen->proxy->labels, str_of(selector->match_labels[i]->key));
        if (value.data == NULL || !str_equal(value, str_of(selector->match_labels[i]->value))) {
            return false;
        }
    }
    return true;
}

static bool is_usable(const struct gen *gen, const struct mesh_object *object, struct str ns)
{
    const MeshDestinationRule *rule = object->destination_rule;
    return str_equal(object->ns, ns) && selects_proxy(gen, object) &&
           mesh_visibility_of(rule->export_to, rule->n_export_to, object->ns, gen->proxy->ns) !=
               MESH_INVISIBLE;
}

static void merge_rule(struct gen *gen, struct gen_rule *rule, const struct mesh_object *object)
{
    const MeshDestinationRule *message = object->destination_rule;
    rule->object = rule->object == NULL ? object : rule->object;
    rule->policy = rule->policy == NULL ? message->traffic_policy : rule->policy;
    for (size_t i = 0; i < message->n_subsets; i++) {
        const struct str name = str_of(message->subsets[i]->name);
        if (gen_subset(rule, name) == NULL) {
            rule->subsets =
                pb_grow(gen->arena, rule->subsets, rule->subset_count, sizeof(*rule->subsets));
            rule->subsets[rule->subset_count++] = message->subsets[i];
        }
    }
}

// Rules with a workload selector are nearer than those without.
static void merge_rules(struct gen *gen, struct gen_rule *rule, const struct mesh_object_list *list,
                        struct str host, struct str ns)
{
    for (int with_selector = 1; with_selector >= 0; with_selector--) {
        for (size_t i = 0; list != NULL && i < list->count; i++) {
            const struct mesh_object *object = list->items[i];
            bool has_selector = object->destination_rule->workload_selector != NULL;
            if (has_selector == (with_selector == 1) && is_usable(gen, object, ns) &&
                str_equal(str_of(object->destination_rule->host), host)) {
                merge_rule(gen, rule, object);
            }
        }
    }
}

static struct str longest_wildcard(const struct gen *gen, struct str hostname, struct str ns)
{
    struct str longest = {0};
    const struct mesh_object_list *list = &gen->snapshot->wildcard_rules;
    for (size_t i = 0; i < list->count; i++) {
        struct str host = str_of(list->items[i]->destination_rule->host);
        if (is_usable(gen, list->items[i], ns) && mesh_host_matches(host, hostname) &&
            (longest.data == NULL || host.size > longest.size)) {
            longest = host;
        }
    }
    return longest;
}

static bool find_rule_in(struct gen *gen, struct str hostname, struct str ns, struct gen_rule *ret_rule)
{
    struct gen_rule rule = {0};
    merge_rules(gen, &rule, map_get(&gen->snapshot->rules_by_host, hostname), hostname, ns);
    if (rule.object == NULL) {
        struct str wildcard = longest_wildcard(gen, hostname, ns);
        if (wildcard.data != NULL) {
            merge_rules(gen, &rule, &gen->snapshot->wildcard_rules, wildcard, ns);
        }
    }
    if (rule.object == NULL) {
        return false;
    }
    *ret_rule = rule;
    return true;
}

void gen_find_rule(struct gen *gen, struct str hostname, struct str service_ns, struct gen_rule *ret_rule)
{
    struct str root = gen->snapshot->config.root_namespace;
    *ret_rule = (struct gen_rule){0};
    if (gen->snapshot->objects[MESH_OBJECT_DESTINATION_RULE].count == 0 ||
        find_rule_in(gen, hostname, gen->proxy->ns, ret_rule) ||
        find_rule_in(gen, hostname, service_ns, ret_rule)) {
        return;
    }
    (void)find_rule_in(gen, hostname, root, ret_rule);
}

const GenSubset *gen_subset(const struct gen_rule *rule, struct str name)
{
    for (size_t i = 0; i < rule->subset_count; i++) {
        if (str_equal(str_of(rule->subsets[i]->name), name)) {
            return rule->subsets[i];
        }
    }
    return NULL;
}

// --- policy ----------------------------------------------------------------------------------------------

// A port's entry replaces all four parts, those it leaves out too.
static void apply_policy(const Istio__Networking__V1alpha3__TrafficPolicy *policy, uint32_t port,
                         struct gen_policy *out)
{
    if (policy == NULL) {
        return;
    }
    out->pool = policy->connection_pool != NULL ? policy->connection_pool : out->pool;
    out->balancer = policy->load_balancer != NULL ? policy->load_balancer : out->balancer;
    out->outliers = policy->outlier_detection != NULL ? policy->outlier_detection : out->outliers;
    out->tls = policy->tls != NULL ? policy->tls : out->tls;
    for (size_t i = 0; i < policy->n_port_level_settings; i++) {
        const Istio__Networking__V1alpha3__TrafficPolicy__PortTrafficPolicy *entry =
            policy->port_level_settings[i];
        if (entry->port != NULL && entry->port->number == port) {
            *out = (struct gen_policy){
                .pool = entry->connection_pool,
                .balancer = entry->load_balancer,
                .outliers = entry->outlier_detection,
                .tls = entry->tls,
            };
            return;
        }
    }
}

void gen_policy_of(const struct gen_rule *rule, uint32_t port, const GenSubset *subset,
                   struct gen_policy *ret_policy)
{
    *ret_policy = (struct gen_policy){0};
    apply_policy(rule->policy, port, ret_policy);
    if (subset != NULL) {
        apply_policy(subset->traffic_policy, port, ret_policy);
    }
}

const GenLocality *gen_locality_of(const struct gen_policy *policy)
{
    const GenLocality *setting =
        policy->balancer == NULL ? NULL : policy->balancer->locality_lb_setting;
    return setting == NULL || !pb_bool_or(setting->enabled, true) ? NULL : setting;
}

bool gen_locality_is_off(const struct gen_policy *policy)
{
    const GenLocality *setting =
        policy->balancer == NULL ? NULL : policy->balancer->locality_lb_setting;
    return setting != NULL && !pb_bool_or(setting->enabled, true);
}

bool gen_is_passthrough_balancer(const struct gen_policy *policy)
{
    return policy->balancer != NULL &&
           policy->balancer->lb_policy_case ==
               ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__LB_POLICY_SIMPLE &&
           policy->balancer->simple ==
               ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__SIMPLE_LB__PASSTHROUGH;
}

struct str gen_config_path(struct gen *gen, const struct mesh_object *object, const char *kind)
{
    return arena_format(gen->arena, "/apis/networking.istio.io/v1/namespaces/%.*s/%s/%.*s",
                        STR_ARG(object->ns), kind, STR_ARG(object->name));
}

// --- PeerAuthentication ------------------------------------------------------------------------------------

typedef Istio__Security__V1beta1__PeerAuthentication__MutualTLS MutualTls;

#define MODE(name) ISTIO__SECURITY__V1BETA1__PEER_AUTHENTICATION__MUTUAL_TLS__MODE__##name

static enum gen_mtls inherit(const MutualTls *tls, enum gen_mtls parent)
{
    if (tls == NULL) {
        return parent;
    }
    switch (tls->mode) {
    case MODE(DISABLE):
        return GEN_MTLS_DISABLE;
    case MODE(STRICT):
        return GEN_MTLS_STRICT;
    case MODE(PERMISSIVE):
        return GEN_MTLS_PERMISSIVE;
    default: // UNSET, or a number of a later version
        return parent;
    }
}

static bool selects_labels(const MeshPeerAuthentication *policy, const struct mesh_labels *labels)
{
    for (size_t i = 0; i < policy->selector->n_match_labels; i++) {
        struct str value = mesh_labels_get(labels, str_of(policy->selector->match_labels[i]->key));
        if (value.data == NULL || !str_equal(value, str_of(policy->selector->match_labels[i]->value))) {
            return false;
        }
    }
    return true;
}

static bool has_selector(const MeshPeerAuthentication *policy)
{
    return policy->selector != NULL && policy->selector->n_match_labels > 0;
}

// The oldest policy of a level; labels NULL: the namespace's own.
static const MeshPeerAuthentication *find_policy(const struct gen *gen, struct str ns,
                                                 const struct mesh_labels *labels)
{
    const struct mesh_object_list *list = &gen->snapshot->objects[MESH_OBJECT_PEER_AUTHENTICATION];
    for (size_t i = 0; i < list->count; i++) {
        const MeshPeerAuthentication *policy = list->items[i]->peer_authentication;
        if (str_equal(list->items[i]->ns, ns) && has_selector(policy) == (labels != NULL) &&
            (labels == NULL || selects_labels(policy, labels))) {
            return policy;
        }
    }
    return NULL;
}

enum gen_mtls gen_namespace_mtls(const struct gen *gen, struct str ns)
{
    struct str root = gen->snapshot->config.root_namespace;
    const MeshPeerAuthentication *mesh = find_policy(gen, root, NULL);
    const MeshPeerAuthentication *own = str_equal(ns, root) ? NULL : find_policy(gen, ns, NULL);
    enum gen_mtls mode = inherit(mesh == NULL ? NULL : mesh->mtls, GEN_MTLS_PERMISSIVE);
    return inherit(own == NULL ? NULL : own->mtls, mode);
}

enum gen_mtls gen_workload_mtls(const struct gen *gen, struct str ns, const struct mesh_labels *labels,
                                uint32_t port)
{
    enum gen_mtls mode = gen_namespace_mtls(gen, ns);
    if (gen->snapshot->objects[MESH_OBJECT_PEER_AUTHENTICATION].count == 0 ||
        str_equal(ns, gen->snapshot->config.root_namespace)) { // selectors mean nothing there
        return mode;
    }
    const MeshPeerAuthentication *own = find_policy(gen, ns, labels);
    if (own == NULL) {
        return mode;
    }
    mode = inherit(own->mtls, mode);
    for (size_t i = 0; i < own->n_port_level_mtls; i++) {
        if (own->port_level_mtls[i]->key == port) {
            return inherit(own->port_level_mtls[i]->value, mode);
        }
    }
    return mode;
}
