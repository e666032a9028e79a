// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "proxy/lb/consistent.h"
#include "proxy/lb/lb.h"

#define HOSTS_MAX 32u

// health per host and priority: 'h' healthy, 'd' degraded, 'u' unhealthy, '/' next priority
static uint32_t parse_hosts(const char *text, struct lb_host *hosts)
{
    uint32_t count = 0;
    uint32_t priority = 0;
    for (const char *c = text; *c != 0; c++) {
        if (*c == '/') {
            priority++;
            continue;
        }
        hosts[count++] = (struct lb_host){.weight = 1, .priority = priority, .health = *c == 'h' ? LB_HEALTHY : *c == 'd' ? LB_DEGRADED : LB_UNHEALTHY};
    }
    return count;
}

// Shares by the sheet's integer formulas: health = min(100, F * healthy / n), then of the sum.
static void test_priority_loads(void **state)
{
    (void)state;
    static const struct {
        const char *hosts;
        uint32_t panic;
        uint32_t factor;
        uint32_t want[3];
        uint32_t want_degraded[3];
    } rows[] = {
        {"hhhh", 50, 0, {100, 0, 0}, {0}},
        {"hhhu/hhhh", 50, 0, {100, 0, 0}, {0}}, // 140 * 3 / 4 = 105 → 100
        {"hhuu/hhhh", 50, 0, {70, 30, 0}, {0}},
        {"huuu/hhhh", 50, 0, {35, 65, 0}, {0}},
        {"uuuu/hhhh", 50, 0, {0, 100, 0}, {0}},
        {"huuu/huuu/hhhh", 0, 0, {35, 35, 30}, {0}},
        {"huuu/huuu", 0, 0, {50, 50, 0}, {0}}, // 35 + 35 normalised
        {"uuuu", 0, 0, {100, 0, 0}, {0}},
        {"uuuu/uuuu", 50, 0, {50, 50, 0}, {0}}, // all panic: by number of hosts
        {"uuu/u", 50, 0, {75, 25, 0}, {0}},
        {"uu/u", 50, 0, {67, 33, 0}, {0}}, // what rounding leaves goes to the first that has hosts
        {"huuuuu/huu", 0, 0, {34, 66, 0}, {0}}, // 23 + 46 of 69 → 33 + 66, and 1
        {"hhuu/hhhh", 50, 100, {50, 50, 0}, {0}},
        {"hhuu/hhhh", 50, 200, {100, 0, 0}, {0}},
        {"hddd", 50, 0, {35, 0, 0}, {65, 0, 0}}, // degraded takes what healthy leaves
        {"dddd/hhhh", 50, 0, {0, 100, 0}, {0}},  // healthy of any priority before degraded of the first
        {"uudd/huuu", 0, 0, {0, 35, 0}, {65, 0, 0}},
        {"/hhhh", 50, 0, {0, 100, 0}, {0}}, // a priority without hosts
        {"/", 50, 0, {100, 0, 0}, {0}},     // no host at all
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct lb_host hosts[HOSTS_MAX] = {0};
        uint32_t count = parse_hosts(rows[i].hosts, hosts);
        struct random random;
        random_init(&random, 1);
        uint32_t weight = 1;
        const struct lb_options options = {.policy = LB_RANDOM, .panic_threshold = rows[i].panic, .overprovisioning = rows[i].factor};
        struct lb *lb = lb_new(&options, hosts, count, &weight, 1, &random);
        for (uint32_t p = 0; p < 3; p++) {
            uint32_t healthy;
            uint32_t degraded;
            lb_priority_load(lb, p, &healthy, &degraded);
            check_row(rows[i].hosts, healthy == rows[i].want[p], "priority %u: got %u, want %u", p, healthy, rows[i].want[p]);
            check_row(rows[i].hosts, degraded == rows[i].want_degraded[p], "priority %u: degraded %u, want %u", p, degraded, rows[i].want_degraded[p]);
        }
        lb_free(lb);
    }
}

// Who is chosen: '1' some, '0' never.
static void test_panic(void **state)
{
    (void)state;
    static const struct {
        const char *hosts;
        uint32_t panic;
        const char *want;
    } rows[] = {
        {"huuu", 50, "1111"},  // a quarter is too few: all of them
        {"hhuu", 50, "1100"},  // half is not less than half
        {"huuu", 0, "1000"},   // no panic, as Istio asks with outlier detection
        {"huuu", 25, "1000"},
        {"uuuu", 50, "1111"},
        {"uuuu/huuu", 0, "00001000"},
        {"huuu/hhhh", 50, "10001111"}, // while the shares reach 100 nobody panics
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct lb_host hosts[HOSTS_MAX] = {0};
        uint32_t count = parse_hosts(rows[i].hosts, hosts);
        bool seen[HOSTS_MAX] = {0};
        struct random random;
        random_init(&random, 1);
        uint32_t weight = 1;
        const struct lb_options options = {.policy = LB_RANDOM, .panic_threshold = rows[i].panic};
        struct lb *lb = lb_new(&options, hosts, count, &weight, 1, &random);
        for (int k = 0; k < 2000; k++) {
            uint32_t host = lb_pick(lb, &random, NULL, NULL, 0);
            assert_true(host < count);
            seen[host] = true;
        }
        for (uint32_t h = 0; h < count; h++) {
            check_row(rows[i].hosts, seen[h] == (rows[i].want[h] == '1'), "host %u, threshold %u", h, rows[i].panic);
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

// Weights 80 and 20; half of the first locality's hosts go: 80 * min(1, 1.4 * 1/2) = 56 of 76.
static void test_localities_that_lose_hosts(void **state)
{
    (void)state;
    const struct lb_host hosts[] = {{.weight = 1, .locality = 0}, {.weight = 1, .locality = 0, .health = LB_UNHEALTHY}, {.weight = 1, .locality = 1}};
    const uint32_t weights[] = {80, 20};
    struct random random;
    random_init(&random, 9);
    const struct lb_options options = {.policy = LB_LEAST_REQUEST, .active_bias = 1, .locality_weighted = true};
    struct lb *lb = lb_new(&options, hosts, 3, weights, 2, &random);
    uint32_t counts[3] = {0};
    count_picks(lb, &random, 7600, counts);
    assert_in_range(counts[0], 5598, 5602);
    assert_int_equal(counts[1], 0);
    assert_in_range(counts[2], 1998, 2002);
    lb_free(lb);
}

static struct consistent_host consistent_hosts[6];
static char consistent_keys[6][16];

static void make_keys(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(consistent_keys[i], sizeof(consistent_keys[i]), "127.0.0.1:9%zu", i);
        consistent_hosts[i] = (struct consistent_host){(uint32_t)i, str_of(consistent_keys[i]), 1.0 / (double)count};
    }
}

// The ring that Envoy's own documents and tests show for six hosts, 127.0.0.1:90 to :95, and 12 entries.
static void test_ring_is_envoys(void **state)
{
    (void)state;
    static const struct {
        uint64_t hash;
        uint32_t host;
    } want[] = {
        {833437586790550860u, 4},   {928266305478181108u, 2},   {1033482794131418490u, 0},  {3551244743356806947u, 5},
        {3851675632748031481u, 3},  {5583722120771150861u, 1},  {6311230543546372928u, 1},  {7700377290971790572u, 3},
        {13144177310400110813u, 5}, {13444792449719432967u, 2}, {15516499411664133160u, 4}, {16117243373044804889u, 0},
    };
    struct consistent ring = {0};
    make_keys(6);
    consistent_make_ring(&ring, consistent_hosts, 6, 12, RING_SIZE_MAX_DEFAULT);
    assert_int_equal(ring.size, 12);
    for (size_t i = 0; i < 12; i++) {
        assert_true(ring.ring[i].hash == want[i].hash);
        assert_int_equal(ring.ring[i].host, want[i].host);
        assert_int_equal(consistent_find(&ring, want[i].hash, 0), want[i].host);
        assert_int_equal(consistent_find(&ring, want[i].hash, 1), want[(i + 1) % 12].host);
    }
    assert_int_equal(consistent_find(&ring, 0, 0), 4);
    assert_int_equal(consistent_find(&ring, UINT64_MAX, 0), 4); // wraps
    consistent_done(&ring);
}

static void test_ring_by_weight(void **state)
{
    (void)state;
    struct consistent ring = {0};
    uint32_t counts[2] = {0};
    make_keys(2);
    consistent_hosts[0].weight = 0.25;
    consistent_hosts[1].weight = 0.75;
    consistent_make_ring(&ring, consistent_hosts, 2, 1024, RING_SIZE_MAX_DEFAULT);
    assert_int_equal(ring.size, 1024);
    for (size_t i = 0; i < ring.size; i++) {
        counts[ring.ring[i].host]++;
    }
    assert_int_equal(counts[0], 256);
    consistent_done(&ring);
    consistent_make_ring(&ring, consistent_hosts, 0, 1024, 1024);
    assert_int_equal(consistent_find(&ring, 1, 0), LB_NONE);
}

// Shares are even to within one slot of a turn, and losing one host moves few of the others' slots.
static void test_maglev(void **state)
{
    (void)state;
    struct consistent before = {0};
    struct consistent after = {0};
    uint32_t counts[6] = {0};
    uint32_t moved = 0;
    make_keys(6);
    consistent_make_maglev(&before, consistent_hosts, 6, MAGLEV_SIZE_DEFAULT);
    make_keys(5);
    consistent_make_maglev(&after, consistent_hosts, 5, MAGLEV_SIZE_DEFAULT);
    for (size_t i = 0; i < before.size; i++) {
        counts[before.maglev[i]]++;
        moved += before.maglev[i] != 5 && before.maglev[i] != after.maglev[i] ? 1 : 0;
    }
    for (size_t i = 0; i < 6; i++) {
        assert_in_range(counts[i], MAGLEV_SIZE_DEFAULT / 6, MAGLEV_SIZE_DEFAULT / 6 + 1);
    }
    assert_true(moved < MAGLEV_SIZE_DEFAULT / 10);
    assert_int_equal(consistent_find(&before, 7, 0), before.maglev[7]);
    consistent_done(&before);
    consistent_done(&after);
    assert_true(maglev_size_is_valid(65537));
    assert_false(maglev_size_is_valid(65536));
    assert_false(maglev_size_is_valid(0));
}

// The same hash goes to the same host, until that host is ejected; the others stay where they were.
static void test_hashed_picks(void **state)
{
    (void)state;
    const enum lb_policy_kind policies[] = {LB_RING_HASH, LB_MAGLEV};
    for (size_t i = 0; i < array_count(policies); i++) {
        struct lb_host hosts[6] = {0};
        struct random random;
        uint32_t weight = 1;
        make_keys(6);
        for (size_t h = 0; h < 6; h++) {
            hosts[h] = (struct lb_host){.weight = 1, .key = consistent_hosts[h].key};
        }
        random_init(&random, 1);
        const struct lb_options options = {.policy = policies[i]};
        struct lb *all = lb_new(&options, hosts, 6, &weight, 1, &random);
        hosts[2].health = LB_UNHEALTHY;
        struct lb *fewer = lb_new(&options, hosts, 6, &weight, 1, &random);
        uint32_t stayed = 0;
        uint32_t others = 0;
        for (uint64_t k = 0; k < 1000; k++) {
            uint64_t hash = k * 0x9e3779b97f4a7c15u;
            uint32_t first = lb_pick_hashed(all, &random, &hash, NULL, NULL, 0);
            assert_int_equal(lb_pick_hashed(all, &random, &hash, NULL, NULL, 0), first);
            uint32_t later = lb_pick_hashed(fewer, &random, &hash, NULL, NULL, 0);
            assert_true(later != 2);
            others += first != 2 ? 1 : 0;
            stayed += first != 2 && first == later ? 1 : 0;
        }
        assert_true(stayed * 4 > others * 3); // a ring of fewer hosts has more entries of each
        assert_true(lb_pick(all, &random, NULL, NULL, 0) < 6); // without a hash: anywhere
        lb_free(all);
        lb_free(fewer);
    }
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
        cmocka_unit_test(test_panic),               cmocka_unit_test(test_localities_that_lose_hosts),
        cmocka_unit_test(test_ring_is_envoys),      cmocka_unit_test(test_ring_by_weight),
        cmocka_unit_test(test_maglev),              cmocka_unit_test(test_hashed_picks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
