// SPDX-License-Identifier: Apache-2.0
//
// Order of work: index each cluster's pods, nodes and slices; walk the Services of all clusters in
// order, so that the first cluster's object decides; build each service with its endpoints in an arena
// of its own; keep the previous snapshot's one where it is equal. Comparing values instead of tracking
// what changed costs a pass over everything per snapshot, and makes a stale answer impossible.
#include "mesh/ingest.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "base/memory.h"
#include "mesh/workload.h"

#define LABEL_NETWORK "topology.istio.io/network"
#define LABEL_GATEWAY_PORT "networking.istio.io/gatewayPort"
#define LABEL_TLS_MODE "security.istio.io/tlsMode"
#define LABEL_LOCALITY "istio-locality"
#define LABEL_SERVICE_NAME "kubernetes.io/service-name"

struct slice_list {
    VEC(const struct json_value *) items;
};

// One cluster's objects by name, for the time of one ingest.
struct cluster_index {
    const struct mesh_cluster *cluster;
    struct str network;   // of the system namespace
    struct map pods;      // "ns/name" → object
    struct map nodes;     // name → object
    struct map slices;    // "ns/service" → struct slice_list
    struct map services;  // "ns/name" → object
};

struct ingest {
    const struct mesh_world *world;
    struct snapshot *previous;
    struct snapshot *next;
    struct cluster_index *indexes;
    struct mesh_ingest_report *report;
    struct arena scratch;
    VEC(struct mesh_service *) services;
};

static void refuse(struct ingest *ingest, const struct json_value *object, const struct error *err)
{
    if (ingest->report->objects_refused++ > 0) {
        return;
    }
    const struct json_value *metadata = json_get(object, "metadata");
    ingest->report->first = *err;
    error_prefix(&ingest->report->first, "%.*s %.*s/%.*s", STR_ARG(json_get_str(object, "kind")),
                 STR_ARG(json_get_str(metadata, "namespace")),
                 STR_ARG(json_get_str(metadata, "name")));
}

static struct str object_name(const struct json_value *object)
{
    return json_str(json_path(object, "metadata", "name", NULL));
}

static struct str object_namespace(const struct json_value *object)
{
    return json_str(json_path(object, "metadata", "namespace", NULL));
}

static struct str object_label(const struct json_value *object, const char *name)
{
    return json_str(json_path(object, "metadata", "labels", name, NULL));
}

static struct str object_key(struct arena *arena, struct str ns, struct str name)
{
    return arena_format(arena, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

static bool is_ip(struct arena *arena, struct str text)
{
    unsigned char bytes[16];
    const char *c_text = arena_strdup(arena, text);
    return inet_pton(AF_INET, c_text, bytes) == 1 || inet_pton(AF_INET6, c_text, bytes) == 1;
}

// --- index -------------------------------------------------------------------------------------------

// Maps hold plain pointers; the objects are only read.
static void *as_value(const struct json_value *object)
{
    union {
        const struct json_value *in;
        void *out;
    } cast = {.in = object};
    return cast.out;
}

static void index_named(struct ingest *ingest, struct map *map, const struct mesh_cluster *cluster,
                        enum mesh_kind kind)
{
    for (size_t i = 0; i < cluster->objects.kinds[kind].count; i++) {
        const struct json_value *object = cluster->objects.kinds[kind].items[i];
        struct str key =
            object_key(&ingest->scratch, object_namespace(object), object_name(object));
        map_set(map, key, as_value(object));
    }
}

static void index_slices(struct ingest *ingest, struct cluster_index *index)
{
    const struct mesh_objects *objects = &index->cluster->objects;
    for (size_t i = 0; i < objects->kinds[MESH_ENDPOINTSLICES].count; i++) {
        const struct json_value *slice = objects->kinds[MESH_ENDPOINTSLICES].items[i];
        struct str service = object_label(slice, LABEL_SERVICE_NAME);
        if (str_is_empty(service)) {
            continue;
        }
        struct str key = object_key(&ingest->scratch, object_namespace(slice), service);
        struct slice_list *list = map_get(&index->slices, key);
        if (list == NULL) {
            list = mem_new(struct slice_list);
            map_set(&index->slices, key, list);
        }
        vec_push(&list->items, slice);
    }
}

static void index_init(struct ingest *ingest, struct cluster_index *index,
                       const struct mesh_cluster *cluster)
{
    index->cluster = cluster;
    index_named(ingest, &index->pods, cluster, MESH_PODS);
    index_named(ingest, &index->nodes, cluster, MESH_NODES);
    index_named(ingest, &index->services, cluster, MESH_SERVICES);
    index_slices(ingest, index);
    for (size_t i = 0; i < cluster->objects.kinds[MESH_NAMESPACES].count; i++) {
        const struct json_value *ns = cluster->objects.kinds[MESH_NAMESPACES].items[i];
        if (str_equal(object_name(ns), ingest->world->system_namespace)) {
            index->network = object_label(ns, LABEL_NETWORK);
        }
    }
}

static void index_done(struct cluster_index *index)
{
    void *value;
    for (size_t at = 0; map_each(&index->slices, &at, NULL, &value);) {
        struct slice_list *list = value;
        vec_done(&list->items);
        mem_free(list);
    }
    map_done(&index->slices);
    map_done(&index->services);
    map_done(&index->pods);
    map_done(&index->nodes);
}

// --- workloads ---------------------------------------------------------------------------------------

// "region/zone/subzone" of a pod: its own label, else its node's labels.
static struct str pod_locality(struct arena *arena, const struct cluster_index *index,
                               const struct json_value *pod)
{
    struct str own = object_label(pod, LABEL_LOCALITY);
    if (!str_is_empty(own)) {
        struct str text = arena_str(arena, own);
        if (str_find_char(text, '/') < 0) { // label values cannot hold slashes: dots stand for them
            char *bytes = arena_strdup(arena, text);
            for (size_t i = 0; i < text.size; i++) {
                bytes[i] = bytes[i] == '.' ? '/' : bytes[i];
            }
            text = str_make(bytes, text.size);
        }
        return text;
    }
    struct str node_name = json_str(json_path(pod, "spec", "nodeName", NULL));
    struct str key = arena_format(arena, "/%.*s", STR_ARG(node_name));
    const struct json_value *node = map_get(&index->nodes, key);
    struct str region = object_label(node, "topology.kubernetes.io/region");
    struct str zone = object_label(node, "topology.kubernetes.io/zone");
    struct str subzone = object_label(node, "topology.istio.io/subzone");
    region = str_is_empty(region)
                 ? object_label(node, "failure-domain.beta.kubernetes.io/region") : region;
    zone = str_is_empty(zone) ? object_label(node, "failure-domain.beta.kubernetes.io/zone") : zone;
    if (str_is_empty(region) && str_is_empty(zone) && str_is_empty(subzone)) {
        return STR_EMPTY;
    }
    if (!str_is_empty(subzone)) {
        return arena_format(arena, "%.*s/%.*s/%.*s", STR_ARG(region), STR_ARG(zone), STR_ARG(subzone));
    }
    return arena_format(arena, "%.*s/%.*s", STR_ARG(region), STR_ARG(zone));
}

// Proxies are pods of these clusters: where they run decides what is near to them.
static void add_localities(struct ingest *ingest, const struct cluster_index *index)
{
    struct arena *arena = &ingest->next->arena;
    const struct mesh_objects *objects = &index->cluster->objects;
    for (size_t i = 0; i < objects->kinds[MESH_PODS].count; i++) {
        const struct json_value *pod = objects->kinds[MESH_PODS].items[i];
        struct str locality = pod_locality(&ingest->scratch, index, pod);
        if (str_is_empty(locality)) {
            continue;
        }
        struct str *value = arena_new(arena, struct str);
        *value = arena_str(arena, locality);
        struct str key = arena_format(&ingest->scratch, "%.*s/%.*s.%.*s", STR_ARG(index->cluster->id),
                                      STR_ARG(object_name(pod)), STR_ARG(object_namespace(pod)));
        map_set(&ingest->next->localities, key, value);
    }
}

static void fill_from_pod(struct ingest *ingest, struct arena *arena,
                          const struct cluster_index *index, const struct json_value *pod,
                          struct mesh_endpoint *endpoint)
{
    struct str ns = object_namespace(pod);
    struct str account = json_str(json_path(pod, "spec", "serviceAccountName", NULL));
    struct str name = mesh_workload_of_pod(pod).name;
    endpoint->ns = arena_str(arena, ns);
    endpoint->pod = arena_str(arena, object_name(pod));
    endpoint->labels = mesh_labels_from_json(arena, json_path(pod, "metadata", "labels", NULL));
    endpoint->locality = pod_locality(arena, index, pod);
    endpoint->hostname = arena_str(arena, json_str(json_path(pod, "spec", "hostname", NULL)));
    endpoint->subdomain = arena_str(arena, json_str(json_path(pod, "spec", "subdomain", NULL)));
    endpoint->identity = arena_format(
        arena, "spiffe://%.*s/ns/%.*s/sa/%.*s", STR_ARG(ingest->next->config.trust_domain),
        STR_ARG(ns), STR_ARG(str_is_empty(account) ? STR("default") : account));
    endpoint->is_mtls =
        str_equal(mesh_labels_get(&endpoint->labels, STR(LABEL_TLS_MODE)), STR("istio"));
    struct str network = mesh_labels_get(&endpoint->labels, STR(LABEL_NETWORK));
    if (!str_is_empty(network)) {
        endpoint->network = network;
    }
    struct str revision = mesh_canonical_revision(&endpoint->labels);
    endpoint->workload = arena_format(
        arena, "%.*s;%.*s;%.*s;%.*s;%.*s", STR_ARG(name), STR_ARG(ns),
        STR_ARG(mesh_canonical_name(&endpoint->labels, name)),
        STR_ARG(str_equal(revision, STR("latest")) ? STR_EMPTY : revision),
        STR_ARG(endpoint->cluster));
}

// --- endpoints ---------------------------------------------------------------------------------------

typedef VEC(struct mesh_endpoint) endpoint_vec;

static size_t slice_ports(struct arena *arena, const struct json_value *slice,
                          struct mesh_endpoint_port **ret_ports)
{
    const struct json_value *ports = json_get(slice, "ports");
    size_t count = 0;
    struct mesh_endpoint_port *out =
        arena_array(arena, struct mesh_endpoint_port, json_count(ports) + 1);
    for (size_t i = 0; i < json_count(ports); i++) {
        int64_t number = json_get_int(json_at(ports, i), "port", 0);
        if (number < 1 || number > 65535) {
            continue;
        }
        out[count++] = (struct mesh_endpoint_port){
            .name = arena_str(arena, json_get_str(json_at(ports, i), "name")),
            .number = (uint32_t)number,
        };
    }
    *ret_ports = out;
    return count;
}

static void add_slice_endpoint(struct ingest *ingest, struct arena *arena,
                               const struct cluster_index *index, const struct json_value *json,
                               const struct mesh_endpoint *shape, endpoint_vec *out)
{
    struct mesh_endpoint endpoint = *shape;
    const struct json_value *target = json_get(json, "targetRef");
    if (str_equal(json_get_str(target, "kind"), STR("Pod"))) {
        struct str key = object_key(&ingest->scratch, json_get_str(target, "namespace"),
                                    json_get_str(target, "name"));
        const struct json_value *pod = map_get(&index->pods, key);
        if (pod == NULL) {
            // Slices and pods are watched separately. Without the pod we would have to guess its
            // identity and send plaintext; it is due any moment, so the endpoint waits for it.
            ingest->report->endpoints_without_pod++;
            return;
        }
        fill_from_pod(ingest, arena, index, pod, &endpoint);
    } else {
        endpoint.workload = arena_format(arena, ";;;;%.*s", STR_ARG(endpoint.cluster));
    }
    endpoint.is_ready = json_get_bool(json_get(json, "conditions"), "ready", true);
    const struct json_value *addresses = json_get(json, "addresses");
    for (size_t i = 0; i < json_count(addresses); i++) {
        struct str address = json_str(json_at(addresses, i));
        if (is_ip(&ingest->scratch, address)) {
            endpoint.address = arena_str(arena, address);
            vec_push(out, endpoint);
        }
    }
}

static bool has_endpoint(const endpoint_vec *endpoints, size_t from, struct str address,
                         const struct mesh_endpoint_port *ports)
{
    for (size_t i = from; i < endpoints->count; i++) {
        if (endpoints->items[i].ports == ports && str_equal(endpoints->items[i].address, address)) {
            return true;
        }
    }
    return false;
}

static int compare_slices(const void *a, const void *b)
{
    return str_compare(object_name(*(const struct json_value *const *)a),
                       object_name(*(const struct json_value *const *)b));
}

static void add_cluster_endpoints(struct ingest *ingest, struct arena *arena,
                                  const struct cluster_index *index, struct str key,
                                  endpoint_vec *out)
{
    struct slice_list *list = map_get(&index->slices, key);
    if (list == NULL) {
        return;
    }
    // Informers have no order; equal worlds must give equal services.
    qsort(list->items.items, list->items.count, sizeof(list->items.items[0]), compare_slices);
    struct str cluster = arena_str(arena, index->cluster->id);
    struct str network = arena_str(arena, index->network);
    for (size_t i = 0; i < list->items.count; i++) {
        const struct json_value *slice = list->items.items[i];
        struct mesh_endpoint_port *ports;
        size_t port_count = slice_ports(arena, slice, &ports);
        struct mesh_endpoint shape = {
            .ports = ports, .port_count = port_count, .cluster = cluster, .network = network,
            .weight = 1,
        };
        const struct json_value *endpoints = json_get(slice, "endpoints");
        size_t from = out->count;
        for (size_t j = 0; j < json_count(endpoints); j++) {
            const struct json_value *json = json_at(endpoints, j);
            struct str first = json_str(json_at(json_get(json, "addresses"), 0));
            if (!has_endpoint(out, from, first, ports)) {
                add_slice_endpoint(ingest, arena, index, json, &shape, out);
            }
        }
    }
}

// --- services ----------------------------------------------------------------------------------------

static size_t service_ports(struct arena *arena, const struct json_value *spec,
                            struct mesh_port **ret_ports)
{
    const struct json_value *ports = json_get(spec, "ports");
    size_t count = 0;
    struct mesh_port *out = arena_array(arena, struct mesh_port, json_count(ports) + 1);
    for (size_t i = 0; i < json_count(ports); i++) {
        const struct json_value *json = json_at(ports, i);
        int64_t number = json_get_int(json, "port", 0);
        if (number < 1 || number > 65535) {
            continue;
        }
        const struct json_value *target = json_get(json, "targetPort");
        int64_t target_number = number;
        bool is_named = json_is(target, JSON_STRING);
        if (target != NULL && !is_named &&
            (!json_int(target, &target_number) || target_number < 1 || target_number > 65535)) {
            continue;
        }
        struct str name = json_get_str(json, "name");
        out[count++] = (struct mesh_port){
            .name = arena_str(arena, name),
            .number = (uint32_t)number,
            .protocol = mesh_protocol_of_port(json_get_str(json, "protocol"),
                                              json_get_str(json, "appProtocol"), name,
                                              (uint32_t)number),
            .target_number = is_named ? 0 : (uint32_t)target_number,
            .target_name = is_named ? arena_str(arena, json_str(target)) : STR_EMPTY,
        };
    }
    *ret_ports = out;
    return count;
}

// What the API server and the control plane of each cluster serve is that cluster's own business.
static bool is_cluster_local(const struct mesh_world *world, struct str ns, struct str name)
{
    return str_equal(ns, STR("kube-system")) ||
           (str_equal(ns, STR("default")) && str_equal(name, STR("kubernetes"))) ||
           (str_equal(ns, world->system_namespace) && str_equal(name, STR("istiod")));
}

static int compare_strs(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

static void collect_identities(struct mesh_service *service)
{
    struct str *all = arena_array(&service->arena, struct str, service->endpoint_count + 1);
    size_t count = 0;
    for (size_t i = 0; i < service->endpoint_count; i++) {
        if (!str_is_empty(service->endpoints[i].identity)) {
            all[count++] = service->endpoints[i].identity;
        }
    }
    qsort(all, count, sizeof(*all), compare_strs);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || !str_equal(all[kept - 1], all[i])) {
            all[kept++] = all[i];
        }
    }
    service->identities = all;
    service->identity_count = kept;
}

static void add_clusters(struct ingest *ingest, struct mesh_service *service, struct str key)
{
    struct arena *arena = &service->arena;
    endpoint_vec endpoints = {0};
    service->clusters =
        arena_array(arena, struct mesh_service_cluster, ingest->world->cluster_count);
    for (size_t i = 0; i < ingest->world->cluster_count; i++) {
        struct cluster_index *index = &ingest->indexes[i];
        const struct json_value *object = map_get(&index->services, key);
        if (object == NULL) {
            continue;
        }
        const struct json_value *spec = json_get(object, "spec");
        struct str address = json_get_str(spec, "clusterIP");
        service->clusters[service->cluster_count++] = (struct mesh_service_cluster){
            .cluster = arena_str(arena, index->cluster->id),
            .address = is_ip(&ingest->scratch, address) ? arena_str(arena, address) : STR_EMPTY,
            .selector = mesh_labels_from_json(arena, json_get(spec, "selector")),
        };
        add_cluster_endpoints(ingest, arena, index, key, &endpoints);
    }
    service->endpoint_count = endpoints.count;
    service->endpoints = arena_array(arena, struct mesh_endpoint, endpoints.count + 1);
    for (size_t i = 0; i < endpoints.count; i++) {
        service->endpoints[i] = endpoints.items[i];
    }
    vec_done(&endpoints);
}

static struct mesh_service *build_service(struct ingest *ingest, const struct json_value *object,
                                          struct str key)
{
    struct mesh_service *service = mem_new(struct mesh_service);
    struct arena *arena = &service->arena;
    const struct json_value *metadata = json_get(object, "metadata");
    const struct json_value *spec = json_get(object, "spec");
    service->references = 1;
    service->name = arena_str(arena, object_name(object));
    service->ns = arena_str(arena, object_namespace(object));
    service->hostname = arena_format(arena, "%.*s.%.*s.svc.%.*s", STR_ARG(service->name),
                                     STR_ARG(service->ns), STR_ARG(ingest->world->domain));
    service->created = arena_str(arena, json_get_str(metadata, "creationTimestamp"));
    service->resolution = str_equal(json_get_str(spec, "clusterIP"), STR("None"))
                              ? MESH_RESOLUTION_PASSTHROUGH : MESH_RESOLUTION_ENDPOINTS;
    service->labels = mesh_labels_from_json(arena, json_get(metadata, "labels"));
    service->port_count = service_ports(arena, spec, &service->ports);
    service->is_cluster_local = is_cluster_local(ingest->world, service->ns, service->name);
    add_clusters(ingest, service, key);
    collect_identities(service);
    return service;
}

static void add_services(struct ingest *ingest)
{
    struct map seen = {0};
    for (size_t i = 0; i < ingest->world->cluster_count; i++) {
        const struct mesh_objects *objects = &ingest->world->clusters[i].objects;
        for (size_t j = 0; j < objects->kinds[MESH_SERVICES].count; j++) {
            const struct json_value *object = objects->kinds[MESH_SERVICES].items[j];
            struct str key =
                object_key(&ingest->scratch, object_namespace(object), object_name(object));
            // ExternalName services have no address to intercept; they are resolved by DNS.
            bool is_external = str_equal(json_str(json_path(object, "spec", "type", NULL)),
                                         STR("ExternalName"));
            if (is_external || map_has(&seen, key)) {
                continue;
            }
            struct mesh_service *service = build_service(ingest, object, key);
            map_set(&seen, key, service);
            struct mesh_service *old = ingest->previous == NULL
                ? NULL : snapshot_service(ingest->previous, service->hostname);
            if (old != NULL && mesh_service_equal(old, service)) {
                mesh_service_unref(service);
                service = mesh_service_ref(old);
            }
            vec_push(&ingest->services, service);
        }
    }
    map_done(&seen);
}

static int compare_services(const void *a, const void *b)
{
    const struct mesh_service *x = *(struct mesh_service *const *)a;
    const struct mesh_service *y = *(struct mesh_service *const *)b;
    int order = str_compare(x->created, y->created);
    return order != 0 ? order : str_compare(x->hostname, y->hostname);
}

static void publish_services(struct ingest *ingest)
{
    struct snapshot *next = ingest->next;
    if (ingest->services.count > 0) {
        qsort(ingest->services.items, ingest->services.count, sizeof(ingest->services.items[0]),
              compare_services);
    }
    next->service_count = ingest->services.count;
    next->services =
        arena_array(&next->arena, struct mesh_service *, ingest->services.count + 1);
    for (size_t i = 0; i < ingest->services.count; i++) {
        next->services[i] = ingest->services.items[i];
        map_set(&next->services_by_hostname, next->services[i]->hostname, next->services[i]);
    }
    vec_done(&ingest->services);
}

// --- network gateways ----------------------------------------------------------------------------------

typedef VEC(struct mesh_network_gateway) network_gateway_vec;

static void add_network_gateway(struct ingest *ingest, const struct mesh_cluster *cluster,
                                const struct json_value *service, struct str address,
                                network_gateway_vec *out)
{
    if (!is_ip(&ingest->scratch, address)) {
        return;
    }
    struct arena *arena = &ingest->next->arena;
    uint64_t port = MESH_DEFAULT_GATEWAY_PORT;
    struct str text = object_label(service, LABEL_GATEWAY_PORT);
    if (!str_is_empty(text) && (!str_to_u64(text, &port) || port == 0 || port > 65535)) {
        port = MESH_DEFAULT_GATEWAY_PORT;
    }
    vec_push(out, (struct mesh_network_gateway){
        .network = arena_str(arena, object_label(service, LABEL_NETWORK)),
        .cluster = arena_str(arena, cluster->id),
        .address = arena_str(arena, address),
        .port = (uint32_t)port,
    });
}

static int compare_network_gateways(const void *a, const void *b)
{
    const struct mesh_network_gateway *x = a;
    const struct mesh_network_gateway *y = b;
    int order = str_compare(x->address, y->address);
    return order != 0 ? order : (x->port > y->port) - (x->port < y->port);
}

static void add_network_gateways(struct ingest *ingest)
{
    network_gateway_vec found = {0};
    for (size_t i = 0; i < ingest->world->cluster_count; i++) {
        const struct mesh_cluster *cluster = &ingest->world->clusters[i];
        for (size_t j = 0; j < cluster->objects.kinds[MESH_SERVICES].count; j++) {
            const struct json_value *service = cluster->objects.kinds[MESH_SERVICES].items[j];
            if (str_is_empty(object_label(service, LABEL_NETWORK))) {
                continue;
            }
            const struct json_value *ingress =
                json_path(service, "status", "loadBalancer", "ingress", NULL);
            for (size_t k = 0; k < json_count(ingress); k++) {
                add_network_gateway(ingest, cluster, service,
                                    json_get_str(json_at(ingress, k), "ip"), &found);
            }
            const struct json_value *external = json_path(service, "spec", "externalIPs", NULL);
            for (size_t k = 0; k < json_count(external); k++) {
                add_network_gateway(ingest, cluster, service, json_str(json_at(external, k)), &found);
            }
        }
    }
    if (found.count > 0) {
        qsort(found.items, found.count, sizeof(found.items[0]), compare_network_gateways);
    }
    struct snapshot *next = ingest->next;
    next->network_gateways =
        arena_array(&next->arena, struct mesh_network_gateway, found.count + 1);
    for (size_t i = 0; i < found.count; i++) {
        next->network_gateways[next->network_gateway_count++] = found.items[i];
    }
    vec_done(&found);
}

// --- configuration -------------------------------------------------------------------------------------

static int compare_gateways(const void *a, const void *b)
{
    const struct mesh_gateway *x = a;
    const struct mesh_gateway *y = b;
    int order = str_compare(x->created, y->created);
    order = order != 0 ? order : str_compare(x->ns, y->ns);
    return order != 0 ? order : str_compare(x->name, y->name);
}

static void add_gateways(struct ingest *ingest)
{
    struct snapshot *next = ingest->next;
    const struct mesh_objects *objects = &ingest->world->clusters[0].objects;
    size_t count = objects->kinds[MESH_GATEWAYS].count;
    next->gateways = arena_array(&next->arena, struct mesh_gateway, count + 1);
    for (size_t i = 0; i < count; i++) {
        struct error err = {0};
        struct mesh_gateway *gateway = &next->gateways[next->gateway_count];
        const struct json_value *object = objects->kinds[MESH_GATEWAYS].items[i];
        if (mesh_gateway_from_json(&next->arena, object, gateway, &err) == ERR_OK) {
            next->gateway_count++;
        } else {
            refuse(ingest, object, &err);
        }
    }
    qsort(next->gateways, next->gateway_count, sizeof(next->gateways[0]), compare_gateways);
}

static int compare_objects(const void *a, const void *b)
{
    const struct mesh_object *x = *(struct mesh_object *const *)a;
    const struct mesh_object *y = *(struct mesh_object *const *)b;
    int order = str_compare(x->created, y->created);
    order = order != 0 ? order : str_compare(x->name, y->name);
    return order != 0 ? order : str_compare(x->ns, y->ns);
}

static struct mesh_object *decode_object(struct ingest *ingest, enum mesh_object_kind kind,
                                         const struct json_value *json)
{
    struct error err = {0};
    struct mesh_object *old = ingest->previous == NULL ? NULL
        : snapshot_object(ingest->previous, &ingest->scratch, kind, object_namespace(json),
                          object_name(json));
    if (old != NULL && mesh_object_is_made_of(old, json)) {
        return mesh_object_ref(old);
    }
    struct mesh_object *object = mesh_object_new(kind, json, ingest->next->config.domain, &err);
    if (object == NULL) {
        refuse(ingest, json, &err);
    }
    return object;
}

static void add_objects(struct ingest *ingest, enum mesh_kind source, enum mesh_object_kind kind)
{
    struct snapshot *next = ingest->next;
    struct mesh_object_list *list = &next->objects[kind];
    const struct mesh_objects *objects = &ingest->world->clusters[0].objects;
    size_t count = objects->kinds[source].count;
    list->items = arena_array(&next->arena, struct mesh_object *, count + 1);
    for (size_t i = 0; i < count; i++) {
        const struct json_value *json = objects->kinds[source].items[i];
        // An API server has no two of one name; files may.
        if (snapshot_object(next, &ingest->scratch, kind, object_namespace(json),
                            object_name(json)) != NULL) {
            continue;
        }
        struct mesh_object *object = decode_object(ingest, kind, json);
        if (object == NULL) {
            continue;
        }
        list->items[list->count++] = object;
        struct str key = arena_format(&next->arena, "%d/%.*s/%.*s", (int)kind, STR_ARG(object->ns),
                                      STR_ARG(object->name));
        map_set(&next->objects_by_key, key, object);
    }
    qsort(list->items, list->count, sizeof(*list->items), compare_objects);
}

static void push_object(struct arena *arena, struct mesh_object_list *list, struct mesh_object *object)
{
    list->items = pb_grow(arena, list->items, list->count, sizeof(*list->items));
    list->items[list->count++] = object;
}

static void index_rules(struct snapshot *next)
{
    const struct mesh_object_list *rules = &next->objects[MESH_OBJECT_DESTINATION_RULE];
    for (size_t i = 0; i < rules->count; i++) {
        struct str host = str_of(rules->items[i]->destination_rule->host);
        struct mesh_object_list *list = &next->wildcard_rules;
        if (!str_starts_with(host, STR("*"))) {
            list = map_get(&next->rules_by_host, host);
            if (list == NULL) {
                list = arena_new(&next->arena, struct mesh_object_list);
                map_set(&next->rules_by_host, host, list);
            }
        }
        push_object(&next->arena, list, rules->items[i]);
    }
}

static void add_configuration(struct ingest *ingest)
{
    if (ingest->world->cluster_count == 0) {
        return;
    }
    add_gateways(ingest);
    add_objects(ingest, MESH_VIRTUAL_SERVICES, MESH_OBJECT_VIRTUAL_SERVICE);
    add_objects(ingest, MESH_DESTINATION_RULES, MESH_OBJECT_DESTINATION_RULE);
    add_objects(ingest, MESH_PEER_AUTHENTICATIONS, MESH_OBJECT_PEER_AUTHENTICATION);
    index_rules(ingest->next);
}

static void read_config(struct ingest *ingest)
{
    struct error err = {0};
    struct snapshot *next = ingest->next;
    if (mesh_config_from_json(&next->arena, ingest->world->mesh_config, ingest->world->domain,
                              &next->config, &err) == ERR_OK) {
        return;
    }
    refuse(ingest, ingest->world->mesh_config, &err);
    // The defaults cannot fail.
    enum err code = mesh_config_from_json(&next->arena, NULL, ingest->world->domain, &next->config, NULL);
    (void)code;
}

struct snapshot *mesh_ingest(const struct mesh_world *world, struct snapshot *previous,
                             struct mesh_ingest_report *ret_report)
{
    struct mesh_ingest_report unused = {0};
    struct ingest ingest = {
        .world = world,
        .previous = previous,
        .next = mem_new(struct snapshot),
        .report = ret_report == NULL ? &unused : ret_report,
    };
    struct snapshot *next = ingest.next;
    *ingest.report = (struct mesh_ingest_report){0};
    next->references = 1;
    next->version = previous == NULL ? 1 : previous->version + 1;
    ingest.indexes = arena_array(&ingest.scratch, struct cluster_index, world->cluster_count + 1);
    read_config(&ingest);
    for (size_t i = 0; i < world->cluster_count; i++) {
        index_init(&ingest, &ingest.indexes[i], &world->clusters[i]);
    }
    add_services(&ingest);
    publish_services(&ingest);
    add_network_gateways(&ingest);
    add_configuration(&ingest);
    for (size_t i = 0; i < world->cluster_count; i++) {
        add_localities(&ingest, &ingest.indexes[i]);
    }
    for (size_t i = 0; i < world->cluster_count; i++) {
        index_done(&ingest.indexes[i]);
    }
    arena_done(&ingest.scratch);
    if (previous != NULL && snapshot_equal(previous, next)) {
        snapshot_unref(next);
        return snapshot_ref(previous);
    }
    return next;
}

// --- worlds from documents -------------------------------------------------------------------------------

static const struct {
    const char *group; // of apiVersion, without the version; "" = core
    const char *kind;
} kinds[MESH_KIND_COUNT] = {
    [MESH_NAMESPACES] = {"", "Namespace"},
    [MESH_NODES] = {"", "Node"},
    [MESH_PODS] = {"", "Pod"},
    [MESH_SERVICES] = {"", "Service"},
    [MESH_ENDPOINTSLICES] = {"discovery.k8s.io", "EndpointSlice"},
    [MESH_GATEWAYS] = {"networking.istio.io", "Gateway"},
    [MESH_VIRTUAL_SERVICES] = {"networking.istio.io", "VirtualService"},
    [MESH_DESTINATION_RULES] = {"networking.istio.io", "DestinationRule"},
    [MESH_PEER_AUTHENTICATIONS] = {"security.istio.io", "PeerAuthentication"},
};

bool mesh_objects_add(struct mesh_objects *objects, const struct json_value *object)
{
    struct str version = json_get_str(object, "apiVersion");
    struct str kind = json_get_str(object, "kind");
    ptrdiff_t slash = str_find_char(version, '/');
    struct str group = slash < 0 ? STR_EMPTY : str_sub(version, 0, (size_t)slash);
    for (int i = 0; i < MESH_KIND_COUNT; i++) {
        if (str_equal_c(group, kinds[i].group) && str_equal_c(kind, kinds[i].kind)) {
            vec_push(&objects->kinds[i], object);
            return true;
        }
    }
    return false;
}

void mesh_objects_done(struct mesh_objects *objects)
{
    for (int i = 0; i < MESH_KIND_COUNT; i++) {
        vec_done(&objects->kinds[i]);
    }
}
