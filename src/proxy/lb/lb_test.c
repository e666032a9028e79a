// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "proxy/lb/lb.h"

static void test_priority_loads(void **state)
{
    (void)state;
    // health per host and priority: 'h' healthy, 'd' degraded, 'u' unhealthy, '/' next priority
    static const struct {
        const char *hosts;
        uint32_t panic;
        uint32_t want[3];
    } rows[] = {
        {"hhhh", 50, {100, 0, 0}},
        {"hhhu/hhhh", 50, {100, 0, 0}}, // 140 * 3 / 4 = 105 → 100
        {"hhuu/hhhh", 50, {70, 30, 0}},
        {"huuu/hhhh", 50, {35, 65, 0}},
        {"uuuu/hhhh", 50, {0, 100, 0}},
        {"huuu/huuu/hhhh", 0, {35, 35, 30}},
        {"huuu/huuu", 0, {50, 50, 0}}, // 35 + 35 normalised
        {"uuuu", 0, {100, 0, 0}},
        {"uuuu/uuuu", 50, {50, 50, 0}}, // all panic: by number of hosts
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct lb_host hosts[32] = {0};
        uint32_t count = 0;
        uint32_t priority = 0;
        for (const char *c = rows[i].hosts; *c != 0; c++) {
            if (*c == '/') {
                priority++;
                continue;
            }
            hosts[count++] = (struct lb_host){.weight = 1, .priority = priority, .health = *c == 'h' ? LB_HEALTHY : *c == 'd' ? LB_DEGRADED : LB_UNHEALTHY};
        }
        struct random random;
        random_init(&random, 1);
        uint32_t weight = 1;
        const struct lb_options options = {.policy = LB_RANDOM, .panic_threshold = rows[i].panic};
        struct lb *lb = lb_new(&options, hosts, count, &weight, 1, &random);
        for (uint32_t p = 0; p < 3; p++) {
            uint32_t healthy;
            uint32_t degraded;
            lb_priority_load(lb, p, &healthy, &degraded);
            check_row(rows[i].hosts, healthy == rows[i].want[p] && degraded == 0, "priority %u: got %u, want %u", p, healthy, rows[i].want[p]);
        }
        lb_free(lb);
    }
}

static void count_picks(struct lb *lb, struct random *random, uint32_t picks, uint32_t *counts)
{
    for (uint32_t i = 0; i < picks; i++) {
        uint32_t host = lb_pick(lb, random, NULL, NULL, 0);
        assert_true(host != LB_NONE);
        counts[host]++;
    }
}

static void test_weights(void **state)
{
    (void)state;
    const enum lb_policy_kind policies[] = {LB_ROUND_ROBIN, LB_LEAST_REQUEST};
    for (size_t i = 0; i < array_count(policies); i++) {
        const struct lb_host hosts[] = {{.weight = 1}, {.weight = 3}};
        struct random random;
        random_init(&random, 7);
        uint32_t weight = 1;
        const struct lb_options options = {.policy = policies[i], .active_bias = 1.0};
        struct lb *lb = lb_new(&options, hosts, 2, &weight, 1, &random);
        uint32_t counts[2] = {0};
        count_picks(lb, &random, 4000, counts);
        assert_in_range(counts[0], 999, 1001);
        lb_free(lb);
    }
}

static void test_round_robin_is_even(void **state)
{
    (void)state;
    const struct lb_host hosts[] = {{.weight = 2}, {.weight = 2}, {.weight = 2}};
    struct random random;
    random_init(&random, 3);
    uint32_t weight = 1;
    const struct lb_options options = {.policy = LB_ROUND_ROBIN};
    struct lb *lb = lb_new(&options, hosts, 3, &weight, 1, &random);
    uint32_t counts[3] = {0};
    count_picks(lb, &random, 300, counts);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(counts[i], 100);
    }
    lb_free(lb);
}

static void test_least_request_prefers_the_idle(void **state)
{
    (void)state;
    atomic_uint busy;
    atomic_uint idle;
    atomic_init(&busy, 10);
    atomic_init(&idle, 0);
    const struct lb_host hosts[] = {{.weight = 1, .active = &busy}, {.weight = 1, .active = &idle}};
    struct random random;
    random_init(&random, 5);
    uint32_t weight = 1;
    const struct lb_options options = {.policy = LB_LEAST_REQUEST, .choice_count = 2};
    struct lb *lb = lb_new(&options, hosts, 2, &weight, 1, &random);
    uint32_t counts[2] = {0};
    count_picks(lb, &random, 4000, counts);
    assert_in_range(counts[0], 800, 1200); // only when both samples are the busy one
    lb_free(lb);
}

static void test_localities(void **state)
{
    (void)state;
    const struct lb_host hosts[] = {{.weight = 1, .locality = 0}, {.weight = 1, .locality = 1}, {.weight = 1, .locality = 1}, {.weight = 1, .locality = 2}};
    const uint32_t weights[] = {80, 20, 0};
    struct random random;
    random_init(&random, 9);
    const struct lb_options options = {.policy = LB_ROUND_ROBIN, .locality_weighted = true};
    struct lb *lb = lb_new(&options, hosts, 4, weights, 3, &random);
    uint32_t counts[4] = {0};
    count_picks(lb, &random, 1000, counts);
    assert_in_range(counts[0], 798, 802);
    assert_in_range(counts[1], 98, 102);
    assert_int_equal(counts[3], 0);
    lb_free(lb);
}

static bool is_first(void *owner, uint32_t host)
{
    (void)owner;
    return host == 0;
}

static void test_avoiding_and_nothing(void **state)
{
    (void)state;
    const struct lb_host hosts[] = {{.weight = 1}, {.weight = 1}};
    struct random random;
    random_init(&random, 11);
    uint32_t weight = 1;
    const struct lb_options options = {.policy = LB_ROUND_ROBIN};
    struct lb *lb = lb_new(&options, hosts, 2, &weight, 1, &random);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(lb_pick(lb, &random, is_first, NULL, 3), 1);
    }
    lb_free(lb);
    lb = lb_new(&options, hosts, 0, &weight, 0, &random);
    assert_int_equal(lb_pick(lb, &random, NULL, NULL, 0), LB_NONE);
    lb_free(lb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_priority_loads),      cmocka_unit_test(test_weights),
        cmocka_unit_test(test_round_robin_is_even), cmocka_unit_test(test_least_request_prefers_the_idle),
        cmocka_unit_test(test_localities),          cmocka_unit_test(test_avoiding_and_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
