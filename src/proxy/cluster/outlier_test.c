// SPDX-License-Identifier: Apache-2.0
//
// Outlier detection with a clock and dice of the test's own.
#include "test.h"

#include <pthread.h>

#include "base/memory.h"
#include "codec/pb/pb.h"
#include "codec/yaml/yaml.h"
#include "proxy/cluster/outlier.h"

#define HOSTS 10u

struct place {
    struct outlier *outlier;
    struct outlier_host hosts[HOSTS];
    struct outlier_host *pointers[HOSTS];
    struct outlier_view view;
    struct random random;
    uint64_t now_ms;
    struct outlier_counts counts;
};

static enum err compile(const char *yaml, struct outlier_options *ret_options, struct error *err)
{
    struct arena arena = {0};
    struct json_value *json;
    assert_int_equal(yaml_parse(&arena, str_of(yaml), &json, err), ERR_OK);
    const void *message = pb_from_json(&arena, &envoy__config__cluster__v3__outlier_detection__descriptor, json, PB_JSON_STRICT, err);
    if (message == NULL) {
        fail_msg("%s", err->message);
    }
    enum err result = outlier_options_compile(message, ret_options, err);
    arena_done(&arena);
    return result;
}

static void place_open(struct place *place, const char *yaml, uint32_t count)
{
    struct outlier_options options;
    struct error err = {0};
    *place = (struct place){.now_ms = 1000};
    assert_int_equal(compile(yaml, &options, &err), ERR_OK);
    place->outlier = outlier_new(&options);
    for (uint32_t i = 0; i < count; i++) {
        place->pointers[i] = &place->hosts[i];
    }
    place->view = (struct outlier_view){place->pointers, count};
    random_init(&place->random, 1);
}

static void place_close(struct place *place)
{
    outlier_free(place->outlier);
}

// '2' … '5': an answer of that class ('g' a 503); 'c' connected, 'f' connect failure, 't' timeout.
static void report(struct place *place, uint32_t host, const char *events)
{
    for (const char *c = events; *c != 0; c++) {
        enum outlier_kind kind = OUTLIER_KIND_COUNT;
        bool fired = *c == 'c'   ? outlier_report_local(place->outlier, &place->hosts[host], OUTLIER_CONNECTED, false, &kind)
                     : *c == 'f' ? outlier_report_local(place->outlier, &place->hosts[host], OUTLIER_CONNECT_FAILED, false, &kind)
                     : *c == 't' ? outlier_report_local(place->outlier, &place->hosts[host], OUTLIER_TIMED_OUT, false, &kind)
                                 : outlier_report_status(place->outlier, &place->hosts[host], *c == 'g' ? 503 : (*c - '0') * 100, &kind);
        if (fired) {
            outlier_eject(place->outlier, &place->view, &place->hosts[host], kind, place->now_ms, &place->random, &place->counts);
        }
    }
}

static void sweep(struct place *place, uint64_t at_ms)
{
    place->now_ms = at_ms;
    outlier_sweep(place->outlier, &place->view, at_ms, &place->random, &place->counts);
}

static void test_what_ejects(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *yaml;
        const char *events;
        bool want;
        enum outlier_kind kind;
    } rows[] = {
        {"five in a row", "{max_ejection_percent: 100}", "55555", true, OUTLIER_CONSECUTIVE_5XX},
        {"four in a row", "{max_ejection_percent: 100}", "5555", false, OUTLIER_CONSECUTIVE_5XX},
        {"a success between", "{max_ejection_percent: 100}", "5555255", false, OUTLIER_CONSECUTIVE_5XX},
        {"a 404 is a success", "{max_ejection_percent: 100}", "5555455", false, OUTLIER_CONSECUTIVE_5XX},
        {"Istio's consecutive5xxErrors 1", "{consecutive_5xx: 1, enforcing_consecutive_5xx: 100, max_ejection_percent: 100}", "5", true, OUTLIER_CONSECUTIVE_5XX},
        {"gateway failures are not enforced by default", "{consecutive_gateway_failure: 2, max_ejection_percent: 100}", "ggg", false, OUTLIER_GATEWAY_FAILURE},
        {"gateway failures", "{consecutive_gateway_failure: 3, enforcing_consecutive_gateway_failure: 100, max_ejection_percent: 100}", "ggg", true, OUTLIER_GATEWAY_FAILURE},
        {"a 500 between", "{consecutive_gateway_failure: 3, enforcing_consecutive_gateway_failure: 100, max_ejection_percent: 100}", "gg5g", false, OUTLIER_GATEWAY_FAILURE},
        {"connect failures are 503", "{consecutive_5xx: 3, max_ejection_percent: 100}", "fft", true, OUTLIER_CONSECUTIVE_5XX},
        {"connecting is no success of HTTP", "{consecutive_5xx: 3, max_ejection_percent: 100}", "ffcf", true, OUTLIER_CONSECUTIVE_5XX},
        {"split: local failures", "{split_external_local_origin_errors: true, consecutive_local_origin_failure: 2, max_ejection_percent: 100}", "ft", true, OUTLIER_LOCAL_FAILURE},
        {"split: connected between", "{split_external_local_origin_errors: true, consecutive_local_origin_failure: 2, max_ejection_percent: 100}", "fcf", false, OUTLIER_LOCAL_FAILURE},
        {"split: not added to statuses", "{split_external_local_origin_errors: true, consecutive_5xx: 2, max_ejection_percent: 100}", "5f", false, OUTLIER_CONSECUTIVE_5XX},
        {"limit 0 is off", "{consecutive_5xx: 0, max_ejection_percent: 100}", "5555555", false, OUTLIER_CONSECUTIVE_5XX},
        {"ten percent of ten", "{}", "55555", true, OUTLIER_CONSECUTIVE_5XX},
        {"not enforced", "{enforcing_consecutive_5xx: 0}", "55555", false, OUTLIER_CONSECUTIVE_5XX},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct place place;
        place_open(&place, rows[i].yaml, HOSTS);
        report(&place, 0, rows[i].events);
        bool got = atomic_load(&place.hosts[0].ejected);
        check_row(rows[i].name, got == rows[i].want, "ejected %d, want %d", got, rows[i].want);
        check_row(rows[i].name, !got || place.counts.enforced[rows[i].kind] == 1, "another kind ejected");
        check_row(rows[i].name, outlier_epoch(place.outlier) == (got ? 1u : 0u), "epoch %u", outlier_epoch(place.outlier));
        place_close(&place);
    }
}

static void test_share_of_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        uint32_t hosts;
        uint32_t failing;
        uint32_t want;
    } rows[] = {
        {"{}", 2, 2, 1}, // unset: the first is always allowed
        {"{always_eject_one_host: true}", 3, 3, 1},
        {"{always_eject_one_host: false}", 3, 3, 0}, // 10 % of three pods is none
        {"{}", 10, 3, 1},
        {"{max_ejection_percent: 50}", 4, 4, 2},
        {"{max_ejection_percent: 33}", 3, 3, 1},
        {"{max_ejection_percent: 100}", 3, 3, 3},
        {"{max_ejection_percent: 0}", 3, 3, 1},
        {"{max_ejection_percent: 0, always_eject_one_host: false}", 3, 3, 0},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct place place;
        place_open(&place, rows[i].yaml, rows[i].hosts);
        for (uint32_t host = 0; host < rows[i].failing; host++) {
            report(&place, host, "55555");
        }
        check_row(rows[i].yaml, outlier_active(&place.view) == rows[i].want, "%u hosts: %u ejected, want %u", rows[i].hosts,
                  outlier_active(&place.view), rows[i].want);
        assert_int_equal(place.counts.overflow, rows[i].failing - rows[i].want);
        place_close(&place);
    }
}

// base 30 s, interval 10 s: the second ejection in a row lasts twice as long, and quiet intervals pay it back.
static void test_times(void **state)
{
    (void)state;
    struct place place;
    place_open(&place, "{interval: 10s, base_ejection_time: 30s, max_ejection_percent: 100, max_ejection_time: 50s}", 2);
    report(&place, 0, "55555");
    for (uint64_t at = 10000; at <= 30000; at += 10000) {
        sweep(&place, at);
        assert_true(atomic_load(&place.hosts[0].ejected));
    }
    sweep(&place, 40000); // 39 s after
    assert_false(atomic_load(&place.hosts[0].ejected));
    report(&place, 0, "55555");
    assert_true(atomic_load(&place.hosts[0].ejected));
    for (uint64_t at = 50000; at <= 80000; at += 10000) {
        sweep(&place, at);
        assert_true(atomic_load(&place.hosts[0].ejected));
    }
    sweep(&place, 90000); // 60 s, cut to 50
    assert_false(atomic_load(&place.hosts[0].ejected));
    assert_int_equal(place.hosts[0].backoff, 2);
    sweep(&place, 100000);
    sweep(&place, 110000);
    assert_int_equal(place.hosts[0].backoff, 0);
    sweep(&place, 111000); // another worker's timer: the interval was swept
    report(&place, 0, "55555");
    sweep(&place, 120000);
    sweep(&place, 142000);
    assert_false(atomic_load(&place.hosts[0].ejected));
    place_close(&place);
}

// Nine hosts at 100 %, one at 50 %: mean 95, deviation 15; threshold 95 - 1.9 * 15 = 66.5.
static void test_success_rates(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        uint32_t failures; // of 100 at the tenth host
        enum outlier_kind kind;
        bool want;
    } rows[] = {
        {"{consecutive_5xx: 0, max_ejection_percent: 100}", 50, OUTLIER_SUCCESS_RATE, true},
        {"{consecutive_5xx: 0, max_ejection_percent: 100, success_rate_stdev_factor: 3100}", 50, OUTLIER_SUCCESS_RATE, false},
        {"{consecutive_5xx: 0, max_ejection_percent: 100, success_rate_minimum_hosts: 11}", 50, OUTLIER_SUCCESS_RATE, false},
        {"{consecutive_5xx: 0, max_ejection_percent: 100, success_rate_request_volume: 101}", 50, OUTLIER_SUCCESS_RATE, false},
        {"{consecutive_5xx: 0, max_ejection_percent: 100, enforcing_success_rate: 0}", 90, OUTLIER_SUCCESS_RATE, false},
        {"{consecutive_5xx: 0, max_ejection_percent: 100, enforcing_success_rate: 0, enforcing_failure_percentage: 100}", 85, OUTLIER_FAILURE_PERCENTAGE, true},
        {"{consecutive_5xx: 0, max_ejection_percent: 100, enforcing_success_rate: 0, enforcing_failure_percentage: 100}", 84, OUTLIER_FAILURE_PERCENTAGE, false},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct place place;
        place_open(&place, rows[i].yaml, HOSTS);
        for (uint32_t host = 0; host < HOSTS; host++) {
            for (uint32_t k = 0; k < 100; k++) {
                report(&place, host, host == HOSTS - 1 && k < rows[i].failures ? "5" : "2");
            }
        }
        sweep(&place, 10000);
        bool got = atomic_load(&place.hosts[HOSTS - 1].ejected);
        check_row(rows[i].yaml, got == rows[i].want, "ejected %d", got);
        check_row(rows[i].yaml, outlier_active(&place.view) == (rows[i].want ? 1u : 0u), "%u ejected", outlier_active(&place.view));
        check_row(rows[i].yaml, place.counts.enforced[rows[i].kind] == (rows[i].want ? 1u : 0u), "another kind");
        sweep(&place, 20000); // counts began anew
        check_row(rows[i].yaml, outlier_active(&place.view) == (rows[i].want ? 1u : 0u), "more ejected later");
        place_close(&place);
    }
}

#define THREADS 4u

static void *hammer(void *argument)
{
    struct place *place = argument;
    struct random random;
    struct outlier_counts counts = {0};
    random_init(&random, (uint64_t)(uintptr_t)&random);
    for (uint64_t i = 0; i < 20000; i++) {
        struct outlier_host *host = &place->hosts[random_below(&random, HOSTS)];
        enum outlier_kind kind;
        if (outlier_report_status(place->outlier, host, random_below(&random, 4) == 0 ? 200 : 503, &kind)) {
            outlier_eject(place->outlier, &place->view, host, kind, i, &random, &counts);
        }
        if (i % 100 == 0) {
            outlier_sweep(place->outlier, &place->view, i, &random, &counts);
        }
    }
    return NULL;
}

// Several workers at once: never more ejected than allowed, and all come back.
static void test_threads(void **state)
{
    (void)state;
    struct place place;
    pthread_t threads[THREADS];
    place_open(&place, "{interval: 0.1s, base_ejection_time: 0.2s, max_ejection_percent: 50}", HOSTS);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, &place), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    assert_true(outlier_epoch(place.outlier) > 0);
    assert_true(outlier_active(&place.view) <= HOSTS / 2);
    for (uint64_t at = 1000000; outlier_active(&place.view) > 0 && at < 2000000; at += 100) {
        sweep(&place, at);
    }
    assert_int_equal(outlier_active(&place.view), 0);
    place_close(&place);
}

static void test_options(void **state)
{
    (void)state;
    struct outlier_options options;
    struct error err = {0};
    assert_int_equal(compile("{}", &options, &err), ERR_OK);
    assert_int_equal(options.interval_ms, 10000);
    assert_int_equal(options.max_ms, 300000);
    assert_int_equal(compile("{base_ejection_time: 400s}", &options, &err), ERR_OK);
    assert_int_equal(options.max_ms, 400000);
    assert_int_equal(compile("{base_ejection_time: 60s, max_ejection_time: 30s}", &options, &err), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_ejects), cmocka_unit_test(test_share_of_hosts), cmocka_unit_test(test_times),
        cmocka_unit_test(test_success_rates), cmocka_unit_test(test_threads), cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
