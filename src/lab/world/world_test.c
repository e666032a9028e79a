// SPDX-License-Identifier: Apache-2.0
//
// What of the lab command needs no root: flags, names, the merged kubeconfig.
#include "test.h"

#include "base/memory.h"
#include "codec/json/json.h"
#include "codec/yaml/yaml.h"
#include "lab/world/command_internal.h"
#include "lab/world/kubeconfigs.h"
#include "lab/world/options.h"

#define ARGUMENTS_MAX 8

// "a b c" as an argument vector in the arena.
static int split(struct arena *arena, const char *text, char *out[static ARGUMENTS_MAX])
{
    int count = 0;
    for (struct str rest = str_of(text); rest.data != NULL && rest.size > 0 && count < ARGUMENTS_MAX;) {
        out[count++] = arena_strdup(arena, str_split(&rest, ' '));
    }
    return count;
}

static void up_flags(void **state)
{
    (void)state;
    static const struct {
        const char *flags;
        const char *want; // "NAME COUNT PORT PODS SERVICES"; or the error's start
    } rows[] = {
        {"", "default 2 0 10.244.0.0/16 10.96.0.0/16"},
        {"--name x --clusters=3 --api-port 7000", "x 3 7000 10.244.0.0/16 10.96.0.0/16"},
        {"--pod-cidr 10.1.0.0/16 --service-cidr=10.2.0.0/20", "default 2 0 10.1.0.0/16 10.2.0.0/20"},
        {"--clusters 17", "--clusters wants"},
        {"--clusters", "--clusters wants a value"},
        {"--pod-cidr 10.1.0.1/16", "--pod-cidr wants"},
        {"--pod-cidr 10.1.0.0/25", "--pod-cidr wants"},
        {"--service-cidr 10.1.0.0", "--service-cidr wants"},
        {"--api-port 99999", "--api-port wants"},
        {"-o yaml", "-o wants json"},
        {"extra", "lab up has no flag"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        char *arguments[ARGUMENTS_MAX];
        struct world_options options;
        struct error err = {0};
        int count = split(&arena, rows[i].flags, arguments);
        struct str got;
        if (world_options_parse(count, arguments, &options, &err) == ERR_OK) {
            got = arena_format(&arena, "%.*s %u %u %.*s %.*s", STR_ARG(options.name), options.cluster_count, options.api_port,
                               STR_ARG(options.pod_cidr), STR_ARG(options.service_cidr));
        } else {
            got = str_of(err.message);
        }
        check_row(rows[i].flags, str_starts_with(got, str_of(rows[i].want)), "got \"%.*s\"", STR_ARG(got));
        arena_done(&arena);
    }
}

static void list_items(void **state)
{
    (void)state;
    assert_str(world_list_item(STR("a, b"), 0), "a");
    assert_str(world_list_item(STR("a, b"), 1), "b");
    assert_str(world_list_item(STR("a, b"), 2), "");
    assert_str(world_list_item((struct str){0}, 0), "");
}

static void targets(void **state)
{
    (void)state;
    static const struct {
        const char *arguments;
        const char *want; // "LAB CLUSTER POD CONTAINER REST-COUNT"; or the error's start
    } rows[] = {
        {"sample/web -c main -- ls -l", "default cluster1 sample_web main 2"},
        {"--cluster c2 web -- -c", "default cluster2 default_web  1"},
        {"--name x --cluster=kind-cluster2 a/b", "x cluster2 a_b  0"},
        {"--cluster 3 a/b", "default cluster3 a_b  0"},
        {"--cluster nine a/b", "\"nine\" is no cluster"},
        {"--cluster 0 a/b", "\"0\" is no cluster"},
        {"a/b c/d", "\"c/d\" is one argument too many"},
        {"../b", "name the pod as"},
        {"a/b/c", "name the pod as"},
        {"/b", "name the pod as"},
        {"-c", "-c wants a value"},
        {"--frob a/b", "there is no flag"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        char *arguments[ARGUMENTS_MAX];
        char cluster[32];
        char pod[NAME_MAX];
        struct command_target target = {0};
        struct error err = {0};
        struct str got;
        if (command_parse(split(&arena, rows[i].arguments, arguments), arguments, &target, &err) == ERR_OK &&
            command_cluster_name(&target, cluster, &err) == ERR_OK && command_pod_name(&target, pod, &err) == ERR_OK) {
            got = arena_format(&arena, "%.*s %s %s %.*s %d", STR_ARG(target.name), cluster, pod, STR_ARG(target.container), target.rest_count);
        } else {
            got = str_of(err.message);
        }
        check_row(rows[i].arguments, str_starts_with(got, str_of(rows[i].want)), "got \"%.*s\"", STR_ARG(got));
        arena_done(&arena);
    }
}

static void lab_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool want;
    } rows[] = {
        {"a", true}, {"my-lab-2", true}, {"", false}, {"-a", false}, {"a-", false}, {"A", false}, {"a/b", false}, {"..", false},
        {"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq", false},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct state lab;
        bool got = state_init(&lab, str_of(rows[i].name), NULL) == ERR_OK;
        check_row(rows[i].name, got == rows[i].want, "got %d", got);
    }
}

static void kubeconfigs_become_one(void **state)
{
    (void)state;
    static const char first[] = "current-context: kind-cluster1\nclusters: [{name: kind-cluster1, cluster: {server: a}}]\n"
                                "contexts: [{name: kind-cluster1, context: {cluster: kind-cluster1}}]\nusers: [{name: kind-cluster1, user: {}}]\n";
    static const char second[] = "{\"current-context\":\"kind-cluster2\",\"clusters\":[{\"name\":\"kind-cluster2\",\"cluster\":{\"server\":\"b\"}},"
                                 "{\"name\":\"kind-cluster1\",\"cluster\":{\"server\":\"late\"}}],\"contexts\":[{\"name\":\"kind-cluster2\"}],\"users\":[]}";
    struct str texts[] = {str_of(first), str_of(second)};
    struct arena arena = {0};
    struct buf merged = {0};
    struct json_value *value = NULL;
    struct error err = {0};
    assert_int_equal(kubeconfigs_merge(&arena, texts, 2, &merged, &err), ERR_OK);
    assert_int_equal(yaml_parse(&arena, buf_view(&merged), &value, &err), ERR_OK);
    assert_str(json_get_str(value, "current-context"), "kind-cluster1");
    assert_int_equal(json_count(json_get(value, "clusters")), 2);
    assert_str(json_str(json_path(json_at(json_get(value, "clusters"), 0), "cluster", "server", NULL)), "a");
    assert_int_equal(json_count(json_get(value, "contexts")), 2);
    assert_int_equal(json_count(json_get(value, "users")), 1);
    texts[1] = STR("{");
    assert_int_not_equal(kubeconfigs_merge(&arena, texts, 2, &merged, &err), ERR_OK);
    buf_done(&merged);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(up_flags),  cmocka_unit_test(list_items),           cmocka_unit_test(targets),
        cmocka_unit_test(lab_names), cmocka_unit_test(kubeconfigs_become_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
