// SPDX-License-Identifier: Apache-2.0
//
// Golden worlds. Our own in tests/golden/<world>/: cluster*.yaml and proxies.json in, one
// <proxy>.json out each; UPDATE_GOLDEN=1 writes them. And the answers of a real istiod to the same kind
// of world, from $ISTHMESH_SHARED or ../shared: compared in full, except what the table of excuses
// names. Where that folder is missing the test says what it did not run; with CI=1 it fails.
#include "test.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "control/gen/world_test.h"

// --- comparing -------------------------------------------------------------------------------------------

#define DIFFERENCES_SHOWN 40

// Members of istiod's answers that we leave out, and why that is right today.
static const struct {
    const char *member;
    const char *reason;
} excuses[] = {
    {"@type", "resources stand in their Any; the plain message has no type"},
    {"tracing", "no tracing provider is configured: spans would go nowhere"},
};

struct comparison {
    struct arena *arena;
    unsigned count;
};

static void differ(struct comparison *comparison, struct str path, const char *what,
                   const struct json_value *got, const struct json_value *want)
{
    if (comparison->count++ < DIFFERENCES_SHOWN) {
        struct str got_text = got == NULL ? STR("nothing") : json_to_str(comparison->arena, got);
        struct str want_text = want == NULL ? STR("nothing") : json_to_str(comparison->arena, want);
        print_error("%.*s: %s\n    got  %.*s\n    want %.*s\n", STR_ARG(path), what,
                    STR_ARG(str_sub(got_text, 0, 400)), STR_ARG(str_sub(want_text, 0, 400)));
    }
}

static bool is_excused(struct str member, bool is_resource)
{
    for (size_t i = 0; i < array_count(excuses); i++) {
        bool applies = is_resource || !str_equal_c(member, "@type");
        if (applies && str_equal_c(member, excuses[i].member)) {
            return true;
        }
    }
    return false;
}

static void compare(struct comparison *comparison, struct str path, const struct json_value *got,
                    const struct json_value *want, int depth);

static void compare_objects(struct comparison *comparison, struct str path, const struct json_value *got,
                            const struct json_value *want, int depth)
{
    for (size_t i = 0; i < want->object.count; i++) {
        struct str name = want->object.members[i].name;
        if (is_excused(name, depth == 2)) {
            continue;
        }
        struct str below = arena_format(comparison->arena, "%.*s.%.*s", STR_ARG(path), STR_ARG(name));
        const struct json_value *value = json_get_str_name(got, name);
        if (value == NULL) {
            differ(comparison, below, "missing", NULL, want->object.members[i].value);
        } else {
            compare(comparison, below, value, want->object.members[i].value, depth + 1);
        }
    }
    for (size_t i = 0; i < got->object.count; i++) {
        struct str name = got->object.members[i].name;
        if (json_get_str_name(want, name) == NULL && !is_excused(name, depth == 2)) {
            struct str below =
                arena_format(comparison->arena, "%.*s.%.*s", STR_ARG(path), STR_ARG(name));
            differ(comparison, below, "unexpected", got->object.members[i].value, NULL);
        }
    }
}

// Resources have names; filter chains of a passthrough gateway have their SNI.
static struct str resource_name(const struct json_value *resource)
{
    struct str sni =
        json_str(json_at(json_path(resource, "filterChainMatch", "serverNames", NULL), 0));
    if (!str_is_empty(sni)) {
        return sni;
    }
    struct str name = json_get_str(resource, "name");
    return str_is_empty(name) ? json_get_str(resource, "clusterName") : name;
}

static bool is_matched_by_sni(const struct json_value *array)
{
    return json_path(json_at(array, 0), "filterChainMatch", "serverNames", NULL) != NULL;
}

static const struct json_value *find_named(const struct json_value *array, struct str name)
{
    for (size_t i = 0; i < json_count(array); i++) {
        if (str_equal(resource_name(json_at(array, i)), name)) {
            return json_at(array, i);
        }
    }
    return NULL;
}

// Lists of resources go by name (which service is oldest decides nothing there); others by position.
static void compare_resources(struct comparison *comparison, struct str path,
                              const struct json_value *got, const struct json_value *want)
{
    for (size_t i = 0; i < json_count(want); i++) {
        struct str name = resource_name(json_at(want, i));
        struct str below = arena_format(comparison->arena, "%.*s[%.*s]", STR_ARG(path), STR_ARG(name));
        const struct json_value *found = find_named(got, name);
        if (found == NULL) {
            differ(comparison, below, "missing", NULL, json_at(want, i));
        } else {
            compare(comparison, below, found, json_at(want, i), 2);
        }
    }
    for (size_t i = 0; i < json_count(got); i++) {
        struct str name = resource_name(json_at(got, i));
        if (find_named(want, name) == NULL) {
            struct str below =
                arena_format(comparison->arena, "%.*s[%.*s]", STR_ARG(path), STR_ARG(name));
            differ(comparison, below, "unexpected", json_at(got, i), NULL);
        }
    }
}

static void compare(struct comparison *comparison, struct str path, const struct json_value *got,
                    const struct json_value *want, int depth)
{
    if (json_is(got, JSON_OBJECT) && json_is(want, JSON_OBJECT)) {
        compare_objects(comparison, path, got, want, depth);
    } else if (json_is(got, JSON_ARRAY) && json_is(want, JSON_ARRAY) &&
               (depth == 1 || is_matched_by_sni(want))) {
        compare_resources(comparison, path, got, want);
    } else if (json_is(got, JSON_ARRAY) && json_is(want, JSON_ARRAY) &&
               json_count(got) == json_count(want)) {
        for (size_t i = 0; i < json_count(want); i++) {
            struct str below = arena_format(comparison->arena, "%.*s[%zu]", STR_ARG(path), i);
            compare(comparison, below, json_at(got, i), json_at(want, i), depth + 1);
        }
    } else if (!json_equal(got, want)) {
        differ(comparison, path, "differs", got, want);
    }
}

static struct json_value *read_json(struct arena *arena, const char *path)
{
    struct str text;
    struct error err = {0};
    struct json_value *json = NULL;
    if (file_read(arena, path, FILE_READ_MAX, &text, &err) != ERR_OK ||
        json_parse(arena, text, &json, &err) != ERR_OK) {
        fail_msg("%s: %s", path, err.message);
    }
    return json;
}

// --- our own worlds ----------------------------------------------------------------------------------------

static void run_golden_world(const char *directory)
{
    static const char *const clusters[] = {"cluster1", "cluster2"};
    bool update = getenv("UPDATE_GOLDEN") != NULL;
    unsigned differences = 0;
    struct test_world world;
    test_world_load(&world, directory, "", clusters, array_count(clusters));
    struct mesh_ingest_report report;
    struct snapshot *snapshot = mesh_ingest(&world.world, NULL, &report);
    if (report.objects_refused > 0) {
        fail_msg("%s: %s", directory, report.first.message);
    }
    struct str path = arena_format(&world.arena, "%s/proxies.json", directory);
    const struct json_value *proxies = read_json(&world.arena, path.data);
    for (size_t i = 0; i < json_count(proxies); i++) {
        struct arena arena = {0};
        const struct json_value *node = json_at(proxies, i);
        struct json_value *got = test_generate(&arena, snapshot, node);
        struct str file = arena_format(&arena, "%s/%.*s.json", directory,
                                       STR_ARG(json_get_str(node, "file")));
        if (update) {
            struct buf text = {0};
            json_write_pretty(got, &text);
            buf_append_char(&text, '\n');
            struct error err = {0};
            assert_int_equal(file_write_atomic(file.data, buf_view(&text), 0644, &err), ERR_OK);
            buf_done(&text);
        }
        struct comparison comparison = {.arena = &arena};
        compare(&comparison, json_get_str(node, "file"), got, read_json(&arena, file.data), 0);
        differences += comparison.count;
        arena_done(&arena);
    }
    snapshot_unref(snapshot);
    test_world_done(&world);
    assert_int_equal(differences, 0);
}

static struct str source_root(struct arena *arena)
{
    const char *root = getenv("ISTHMESH_SOURCE_ROOT");
    return arena_format(arena, "%s", root == NULL ? "." : root);
}

static void run_own_world(const char *name)
{
    struct arena arena = {0};
    struct str directory =
        arena_format(&arena, "%.*s/tests/golden/%s", STR_ARG(source_root(&arena)), name);
    run_golden_world(directory.data);
    arena_done(&arena);
}

static void golden_crossing(void **state)
{
    (void)state;
    run_own_world("crossing");
}

static void golden_traffic(void **state)
{
    (void)state;
    run_own_world("traffic");
}

// --- a real istiod's answers ---------------------------------------------------------------------------------

// Made by the API server itself, so not among the objects of the world's files; %d: its port there.
static const char kubernetes_service[] =
    "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"kubernetes\","
    "\"namespace\":\"default\"},\"spec\":{\"clusterIP\":\"10.96.0.1\",\"ports\":[{\"name\":\"https\","
    "\"port\":443,\"protocol\":\"TCP\",\"targetPort\":%d}]}}";
static const char kubernetes_slice[] =
    "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":"
    "\"kubernetes\",\"namespace\":\"default\",\"labels\":{\"kubernetes.io/service-name\":\"kubernetes\"}},"
    "\"addressType\":\"IPv4\",\"ports\":[{\"name\":\"https\",\"port\":%d,\"protocol\":\"TCP\"}],"
    "\"endpoints\":[{\"addresses\":[\"192.0.2.2\"],\"conditions\":{\"ready\":true}}]}";

static void add_kubernetes(struct test_world *world, size_t cluster, const char *id)
{
    int port = strcmp(id, "cluster1") == 0 ? 19443 : 19543;
    char text[1024];
    assert_true(snprintf(text, sizeof(text), kubernetes_service, port) < (int)sizeof(text));
    test_world_add(world, cluster, text);
    assert_true(snprintf(text, sizeof(text), kubernetes_slice, port) < (int)sizeof(text));
    test_world_add(world, cluster, text);
}

// The answers of one proxy. first: whose objects decide, the cluster whose istiod is asked.
static unsigned compare_with_istiod(const char *directory, const char *first, const char *other,
                                    const char *file)
{
    const char *const clusters[] = {first, other};
    struct test_world world;
    test_world_load(&world, directory, "world-", clusters, array_count(clusters));
    struct json_value *config = json_new_object(&world.arena);
    json_set_cstr(&world.arena, config, "accessLogFile", "/dev/stdout");
    world.world.mesh_config = config;
    for (size_t i = 0; i < array_count(clusters); i++) {
        add_kubernetes(&world, i, clusters[i]);
    }
    struct mesh_ingest_report report;
    struct snapshot *snapshot = mesh_ingest(&world.world, NULL, &report);
    if (report.objects_refused > 0) {
        print_error("%s: %s\n", directory, report.first.message);
    }
    struct str path = arena_format(&world.arena, "%s/%s", directory, file);
    struct json_value *want = read_json(&world.arena, path.data);
    struct json_value *got = test_generate(&world.arena, snapshot, json_get(want, "node"));
    json_remove(want, STR("node"));
    struct comparison comparison = {.arena = &world.arena};
    compare(&comparison, str_of(file), got, want, 0);
    snapshot_unref(snapshot);
    test_world_done(&world);
    return comparison.count;
}

static const struct {
    const char *world;
    bool is_done; // every proxy of it is equal but for the excuses
} worlds[] = {
    {"non-flat-multi-primary/1-exposed", true},
    {"non-flat-multi-primary/2-ingress", true},
    {"non-flat-multi-primary/3-weights", true},
    {"non-flat-multi-primary/4-failover", true},
    {"non-flat-multi-primary/5-remote-only", true},
    {"non-flat-multi-primary/6a-bookinfo-match-delay", true},
    {"non-flat-multi-primary/6b-bookinfo-weights-abort", true},
    {"non-flat-multi-primary/7-strict-mtls", true},
    {"non-flat-multi-primary/8-service-kinds", false},
    {"non-flat-multi-primary/9-sidecar-scope", false},
    {"flat-multi-primary/2-ingress", true},
    {"flat-multi-primary/4-failover", true},
    {"non-flat-primary-remote/2-ingress", true},
    {"non-flat-primary-remote/4-failover", true},
    {"flat-primary-remote/2-ingress", true},
    {"flat-primary-remote/4-failover", true},
};

// Every answer of the folder; in the primary-remote models cluster1's istiod answers all.
static unsigned compare_world(const char *directory, const char *name)
{
    unsigned differences = 0;
    unsigned proxies = 0;
    DIR *folder = opendir(directory);
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        struct str file = str_of(entry->d_name);
        if (!str_ends_with(file, STR(".json")) || !str_starts_with(file, STR("cluster"))) {
            continue;
        }
        bool is_second = str_starts_with(file, STR("cluster2")) && strstr(name, "primary-remote") == NULL;
        differences += compare_with_istiod(directory, is_second ? "cluster2" : "cluster1",
                                           is_second ? "cluster1" : "cluster2", entry->d_name);
        proxies++;
    }
    closedir(folder);
    assert_true(proxies >= 6);
    return differences;
}

// Where the answers lie; false: not on this machine.
static bool find_answers(struct arena *arena, struct str *ret_base)
{
    const char *shared = getenv("ISTHMESH_SHARED");
    *ret_base = shared == NULL
        ? arena_format(arena, "%.*s/../shared/data/istiod-golden", STR_ARG(source_root(arena)))
        : arena_format(arena, "%s/data/istiod-golden", shared);
    return access(ret_base->data, R_OK) == 0;
}

static void istiod_answers(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct str base;
    if (!find_answers(&arena, &base)) {
        bool must = getenv("CI") != NULL;
        print_message("not run: comparison with istiod's answers (%s is missing)\n", base.data);
        arena_done(&arena);
        assert_false(must);
        skip();
    }
    // One world by name, done or not, with its differences: GOLDEN_WORLD=7-strict-mtls.
    const char *only = getenv("GOLDEN_WORLD");
    unsigned differences = 0;
    for (size_t i = 0; i < array_count(worlds); i++) {
        if (only == NULL ? !worlds[i].is_done : strstr(worlds[i].world, only) == NULL) {
            if (only == NULL) {
                print_message("not yet equal to istiod's answers: %s\n", worlds[i].world);
            }
            continue;
        }
        struct str directory = arena_format(&arena, "%s/%s", base.data, worlds[i].world);
        unsigned found = compare_world(directory.data, worlds[i].world);
        if (found > 0) {
            print_error("%s: %u differences\n", worlds[i].world, found);
        }
        differences += found;
    }
    arena_done(&arena);
    assert_int_equal(differences, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_crossing),
        cmocka_unit_test(golden_traffic),
        cmocka_unit_test(istiod_answers),
    };
    return cmocka_run_group_tests_name("gen/golden", tests, NULL, NULL);
}
