// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "control/gen/gen_internal.h"

#define DISTRIBUTE "{\"distribute\":[{\"from\":\"region1/*\",\"to\":{\"region1/*\":80,\"region2/*\":20}}]}"
#define FAILOVER "{\"failover\":[{\"from\":\"r1\",\"to\":\"r2\"}]}"

struct row {
    const char *name;
    const char *proxy;
    const char *setting; // JSON; NULL: none
    bool has_outliers;
    const char *groups; // "locality=weight …"
    const char *want;   // "locality=weight@priority …"; weight - : emptied
};

static const struct row rows[] = {
    {"shares are split by the number of pods", "region1/zone1", DISTRIBUTE, false,
     "region1/zone1=3 region1/zone2=1 region2/zone1=5 region3/zone1=2",
     "region1/zone1=60@0 region1/zone2=20@0 region2/zone1=20@0 region3/zone1=-@0"},
    {"a proxy no entry is for", "region2/zone1", DISTRIBUTE, false,
     "region1/zone1=3 region2/zone1=5", "region1/zone1=3@0 region2/zone1=5@0"},
    {"the more specific pattern goes first", "r1/z1",
     "{\"distribute\":[{\"from\":\"*\",\"to\":{\"*\":30,\"r1/z1\":70}}]}", false,
     "r1/z1=1 r2/z1=1", "r1/z1=70@0 r2/z1=30@0"},
    {"shares round up", "r1", "{\"distribute\":[{\"from\":\"r1\",\"to\":{\"*\":100}}]}", false,
     "r1=1 r2=1 r3=1", "r1=34@0 r2=34@0 r3=34@0"},
    {"large weights do not overflow", "r1", "{\"distribute\":[{\"from\":\"r1\",\"to\":{\"*\":100}}]}", false,
     "r1=4000000000 r2=4000000000", "r1=50@0 r2=50@0"},
    {"the named region comes before the others", "r1/z1/s1", FAILOVER, true,
     "r1/z1/s1=1 r1/z2=1 r2/z1=1 r3/z1=1", "r1/z1/s1=1@0 r1/z2=1@1 r2/z1=1@2 r3/z1=1@3"},
    {"without an entry all other regions are equal", "r1/z1/s1", "{\"enabled\":true}", true,
     "r1/z1/s1=1 r1/z2=1 r2/z1=1 r3/z1=1", "r1/z1/s1=1@0 r1/z2=1@1 r2/z1=1@2 r3/z1=1@2"},
    {"without a setting too", "r1/z1", NULL, true, "r1/z1=1 r2/z1=1", "r1/z1=1@0 r2/z1=1@1"},
    {"no outlier detection, no failover", "r1/z1", FAILOVER, false, "r1/z1=1 r2/z1=1",
     "r1/z1=1@0 r2/z1=1@0"},
    {"priorities have no holes", "r1/z1", FAILOVER, true, "r3/z1=1 r2/z1=1", "r3/z1=1@1 r2/z1=1@0"},
    {"switched off", "r1/z1", "{\"enabled\":false}", true, "r1/z1=1 r2/z1=1", "r1/z1=1@0 r2/z1=1@0"},
    {"a proxy that is nowhere", "", FAILOVER, true, "r1/z1=1 r2/z1=1", "r1/z1=1@0 r2/z1=1@0"},
    {"no groups", "r1/z1", FAILOVER, true, "", ""},
};

static WireLoadAssignment *parse_groups(struct arena *arena, const char *text)
{
    WireLoadAssignment *assignment = pb_new(arena, &wire_load_assignment_type);
    struct str rest = str_of(text);
    while (!str_is_empty(rest)) {
        struct str word = str_split(&rest, ' ');
        ptrdiff_t equal = str_find_char(word, '=');
        uint64_t weight = 0;
        assert_true(equal > 0 && str_to_u64(str_from(word, (size_t)equal + 1), &weight));
        WireLocalityEndpoints *group =
            pb_new(arena, &envoy__config__endpoint__v3__locality_lb_endpoints__descriptor);
        group->locality = wire_locality(arena, str_sub(word, 0, (size_t)equal));
        group->load_balancing_weight = pb_uint32(arena, (uint32_t)weight);
        PB_PUSH(arena, assignment, endpoints, group);
    }
    return assignment;
}

static struct str part(struct arena *arena, const char *text)
{
    return text[0] == 0 ? STR_EMPTY : arena_format(arena, "/%s", text);
}

static struct str describe(struct arena *arena, const WireLoadAssignment *assignment)
{
    struct str text = STR_EMPTY;
    for (size_t i = 0; i < assignment->n_endpoints; i++) {
        const WireLocalityEndpoints *group = assignment->endpoints[i];
        struct str weight = group->load_balancing_weight == NULL
            ? STR("-") : arena_format(arena, "%u", group->load_balancing_weight->value);
        text = arena_format(arena, "%.*s%s%s%.*s%.*s=%.*s@%u", STR_ARG(text), i == 0 ? "" : " ",
                            group->locality->region, STR_ARG(part(arena, group->locality->zone)),
                            STR_ARG(part(arena, group->locality->sub_zone)), STR_ARG(weight),
                            group->priority);
    }
    return text;
}

static void parse_setting(struct arena *arena, const char *text,
                          Istio__Networking__V1alpha3__LoadBalancerSettings *balancer)
{
    struct json_value *json = NULL;
    struct error err = {0};
    if (text == NULL) {
        return;
    }
    assert_int_equal(json_parse(arena, str_of(text), &json, &err), ERR_OK);
    balancer->locality_lb_setting =
        pb_from_json(arena, &istio__networking__v1alpha3__locality_load_balancer_setting__descriptor, json,
                     PB_JSON_STRICT, &err);
    assert_non_null(balancer->locality_lb_setting);
}

static void groups_by_locality(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct mesh_proxy proxy = {.locality = str_of(rows[i].proxy)};
        struct gen gen = {.arena = &arena, .proxy = &proxy};
        Istio__Networking__V1alpha3__LoadBalancerSettings *balancer =
            pb_new(&arena, &istio__networking__v1alpha3__load_balancer_settings__descriptor);
        parse_setting(&arena, rows[i].setting, balancer);
        struct gen_policy policy = {.balancer = balancer};
        if (rows[i].has_outliers) {
            policy.outliers =
                pb_new(&arena, &istio__networking__v1alpha3__outlier_detection__descriptor);
        }
        WireLoadAssignment *assignment = parse_groups(&arena, rows[i].groups);
        gen_apply_locality(&gen, &policy, assignment);
        struct str got = describe(&arena, assignment);
        if (!str_equal_c(got, rows[i].want)) {
            fail_msg("%s:\n  got  %.*s\n  want %s", rows[i].name, STR_ARG(got), rows[i].want);
        }
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(groups_by_locality)};
    return cmocka_run_group_tests_name("gen/locality", tests, NULL, NULL);
}
