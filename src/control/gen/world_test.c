// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "control/gen/world_test.h"

#include <stdlib.h>

#include "base/file.h"
#include "codec/pb/pb.h"
#include "codec/yaml/yaml.h"
#include "control/gen/wire.h"

static void load_file(struct test_world *world, struct mesh_cluster *cluster, const char *path)
{
    struct error err = {0};
    struct str text;
    if (file_read(&world->arena, path, FILE_READ_MAX, &text, &err) != ERR_OK) {
        fail_msg("%s: %s", path, err.message);
    }
    struct yaml_documents documents;
    if (yaml_parse_all(&world->arena, text, &documents, &err) != ERR_OK) {
        fail_msg("%s: %s", path, err.message);
    }
    for (size_t i = 0; i < documents.count; i++) {
        (void)mesh_objects_add(&cluster->objects, documents.items[i]);
    }
}

void test_world_load(struct test_world *world, const char *directory, const char *prefix,
                     const char *const *cluster_ids, size_t cluster_count)
{
    *world = (struct test_world){0};
    world->world = (struct mesh_world){
        .clusters = world->clusters,
        .cluster_count = cluster_count,
        .domain = STR("cluster.local"),
        .system_namespace = STR("istio-system"),
    };
    for (size_t i = 0; i < cluster_count; i++) {
        struct mesh_cluster *cluster = &world->clusters[i];
        cluster->id = str_of(cluster_ids[i]);
        struct str path =
            arena_format(&world->arena, "%s/%s%s.yaml", directory, prefix, cluster_ids[i]);
        load_file(world, cluster, path.data);
    }
}

void test_world_add(struct test_world *world, size_t cluster, const char *json)
{
    struct json_value *object = NULL;
    struct error err = {0};
    if (json_parse(&world->arena, str_of(json), &object, &err) != ERR_OK) {
        fail_msg("%s: %s", json, err.message);
    }
    assert_true(mesh_objects_add(&world->clusters[cluster].objects, object));
}

void test_world_done(struct test_world *world)
{
    for (size_t i = 0; i < world->world.cluster_count; i++) {
        mesh_objects_done(&world->clusters[i].objects);
    }
    arena_done(&world->arena);
}

// --- generating ------------------------------------------------------------------------------------------

static int compare_resources(const void *a, const void *b)
{
    return str_compare(((const struct xds_resource *)a)->name, ((const struct xds_resource *)b)->name);
}

static void find_eds_names(struct arena *arena, const struct xds_resources *clusters,
                           struct str **ret_names, size_t *ret_count)
{
    struct str *names = arena_array(arena, struct str, clusters->items.count + 1);
    size_t count = 0;
    for (size_t i = 0; i < clusters->items.count; i++) {
        const WireCluster *cluster = clusters->items.items[i].message;
        if (cluster->eds_cluster_config != NULL) {
            names[count++] = str_of(cluster->eds_cluster_config->service_name);
        }
    }
    *ret_names = names;
    *ret_count = count;
}

static struct str rds_name(struct arena *arena, const WireFilter *filter)
{
    static const ProtobufCMessageDescriptor *const hcm_type =
        &envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__descriptor;
    if (!pb_any_is(filter->typed_config, hcm_type)) {
        return STR_EMPTY;
    }
    const WireHcm *hcm = pb_any_unpack(arena, filter->typed_config, hcm_type, NULL);
    assert_non_null(hcm);
    return hcm->route_specifier_case ==
                   ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS
               ? str_of(hcm->rds->route_config_name) : STR_EMPTY;
}

static void find_rds_names(struct arena *arena, const struct xds_resources *listeners,
                           struct str **ret_names, size_t *ret_count)
{
    struct str *names = arena_array(arena, struct str, listeners->items.count + 1);
    size_t count = 0;
    for (size_t i = 0; i < listeners->items.count; i++) {
        const WireListener *listener = listeners->items.items[i].message;
        for (size_t j = 0; j < listener->n_filter_chains; j++) {
            const WireFilterChain *chain = listener->filter_chains[j];
            for (size_t k = 0; k < chain->n_filters; k++) {
                struct str name = rds_name(arena, chain->filters[k]);
                if (!str_is_empty(name)) {
                    names[count++] = name;
                }
            }
        }
    }
    *ret_names = names;
    *ret_count = count;
}

static struct json_value *to_json(struct arena *arena, struct xds_resources *resources)
{
    struct json_value *array = json_new_array(arena);
    if (resources->items.count > 0) {
        qsort(resources->items.items, resources->items.count, sizeof(struct xds_resource),
              compare_resources);
    }
    for (size_t i = 0; i < resources->items.count; i++) {
        json_push(arena, array, pb_to_json(arena, resources->items.items[i].message, 0));
    }
    return array;
}

static struct str node_locality(struct arena *arena, const struct json_value *node)
{
    const struct json_value *locality = json_get(node, "locality");
    locality = locality == NULL ? node : locality;
    struct str region = json_get_str(locality, "region");
    struct str zone = json_get_str(locality, "zone");
    return arena_format(arena, "%.*s/%.*s", STR_ARG(region), STR_ARG(zone));
}

struct json_value *test_generate(struct arena *arena, const struct snapshot *snapshot,
                                 const struct json_value *node)
{
    struct mesh_proxy proxy;
    struct error err = {0};
    if (mesh_proxy_from_node(arena, json_get_str(node, "id"), json_get(node, "metadata"),
                             node_locality(arena, node), &proxy, &err) != ERR_OK) {
        fail_msg("node: %s", err.message);
    }
    struct xds_resources out[XDS_ROUTE + 1] = {0};
    struct str *names;
    size_t count;
    assert_true(gen_generate(arena, snapshot, &proxy, XDS_CLUSTER, NULL, 0, &out[XDS_CLUSTER]));
    find_eds_names(arena, &out[XDS_CLUSTER], &names, &count);
    assert_true(gen_generate(arena, snapshot, &proxy, XDS_ENDPOINT, names, count, &out[XDS_ENDPOINT]));
    assert_true(gen_generate(arena, snapshot, &proxy, XDS_LISTENER, NULL, 0, &out[XDS_LISTENER]));
    find_rds_names(arena, &out[XDS_LISTENER], &names, &count);
    assert_true(gen_generate(arena, snapshot, &proxy, XDS_ROUTE, names, count, &out[XDS_ROUTE]));
    static const char *const keys[] = {
        [XDS_CLUSTER] = "clusters", [XDS_ENDPOINT] = "endpoints",
        [XDS_LISTENER] = "listeners", [XDS_ROUTE] = "routes",
    };
    struct json_value *json = json_new_object(arena);
    for (size_t i = 0; i < array_count(keys); i++) {
        json_set(arena, json, str_of(keys[i]), to_json(arena, &out[i]));
        vec_done(&out[i].items);
    }
    bool has_dns = str_equal(json_str(json_path(node, "metadata", "DNS_CAPTURE", NULL)), STR("true"));
    if (has_dns && proxy.type == MESH_PROXY_SIDECAR) {
        struct xds_resources table = {0};
        assert_true(gen_generate(arena, snapshot, &proxy, XDS_NAME_TABLE, NULL, 0, &table));
        json_set(arena, json, STR("nameTable"), to_json(arena, &table));
        vec_done(&table.items);
    }
    return json;
}
