// SPDX-License-Identifier: Apache-2.0
//
// Counting from many threads at once: nothing is lost, whichever shard a thread got.
#include "test.h"

#include <pthread.h>

#include "base/memory.h"
#include "base/metrics.h"

#define THREADS 80 // more than there are shards of their own
#define ROUNDS 2000

struct work {
    struct metrics *metrics;
    struct metric *counter;
    struct metric *gauge;
    struct metric *histogram;
    pthread_barrier_t *begin; // all threads exist at the same time
};

static const double bounds[] = {1, 10};

static void *count_much(void *argument)
{
    struct work *work = argument;
    metric_add(work->counter, 1); // takes the shard
    (void)pthread_barrier_wait(work->begin);
    for (int i = 0; i < ROUNDS; i++) {
        metric_add(work->counter, 2);
        metric_adjust(work->gauge, i % 2 == 0 ? 3 : -2);
        metric_observe(work->histogram, i % 20);
    }
    metric_add(metrics_counter(work->metrics, "late", "L.", NULL), 1);
    return NULL;
}

static void threads_count_together(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    pthread_barrier_t begin;
    assert_int_equal(pthread_barrier_init(&begin, NULL, THREADS + 1), 0);
    struct work work = {
        .metrics = metrics,
        .counter = metrics_counter(metrics, "c", "C.", NULL),
        .gauge = metrics_gauge(metrics, "g", "G.", NULL),
        .histogram = metrics_histogram(metrics, "h", "H.", NULL, bounds, array_count(bounds)),
        .begin = &begin,
    };
    metric_set(work.gauge, 7);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, &work), 0);
    }
    (void)pthread_barrier_wait(&begin);
    struct buf out = {0};
    metrics_write(metrics, &out); // while they count
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    buf_reset(&out);
    metrics_write(metrics, &out);
    char want[512];
    unsigned each = THREADS * (ROUNDS / 20);
    (void)snprintf(want, sizeof(want),
                   "# HELP c C.\n# TYPE c counter\nc %u\n# HELP g G.\n# TYPE g gauge\ng %u\n"
                   "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} %u\nh_bucket{le=\"10\"} %u\n"
                   "h_bucket{le=\"+Inf\"} %u\nh_sum %u\nh_count %u\n# HELP late L.\n# TYPE late counter\nlate %u\n",
                   THREADS * (2 * ROUNDS + 1), 7 + THREADS * (ROUNDS / 2), each * 2, each * 11, each * 20,
                   each * 190, each * 20, THREADS);
    assert_str(buf_view(&out), want);
    metric_set(work.gauge, -1);
    assert_int_equal((int64_t)metric_value(work.gauge), -1);
    (void)pthread_barrier_destroy(&begin);
    buf_done(&out);
    metrics_free(metrics);
}

static void *count_once(void *argument)
{
    metric_add(argument, 1);
    return NULL;
}

// Threads that come and go leave their shards to each other.
static void short_threads_keep_their_counts(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    struct metric *counter = metrics_counter(metrics, "c", "C.", NULL);
    for (int i = 0; i < 300; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, count_once, counter), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    assert_int_equal(metric_value(counter), 300);
    metrics_free(metrics);
}

// Labels may come from outside: their number is bounded, and counting beyond harms nobody.
static void a_full_registry_says_so(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    struct metric *first = metrics_counter(metrics, "a", "A.", NULL);
    struct metric *last = NULL;
    for (unsigned i = 0; i < 60000; i++) {
        char labels[32];
        (void)snprintf(labels, sizeof(labels), "i=\"%u\"", i);
        last = metrics_histogram(metrics, "h", "H.", labels, (const double[]){1, 2, 3, 4, 5, 6, 7, 8}, 8);
    }
    metric_add(first, 1);
    metric_observe(last, 1);
    assert_int_equal(metric_value(first), 1);
    struct buf out = {0};
    metrics_write(metrics, &out);
    assert_true(str_ends_with(buf_view(&out), STR(" metrics more: the registry is full\n")));
    assert_true(str_find(buf_view(&out), STR("i=\"59999\"")) < 0);
    buf_done(&out);
    metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_count_together),
        cmocka_unit_test(short_threads_keep_their_counts),
        cmocka_unit_test(a_full_registry_says_so),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
