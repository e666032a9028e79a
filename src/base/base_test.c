// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/metrics.h"
#include "base/random.h"
#include "base/vec.h"

static void str_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool want_ok;
        int64_t want;
    } rows[] = {
        {"0", true, 0},
        {"-1", true, -1},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"1 ", false, 0},
        {"+1", false, 0},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        int64_t got = 0;
        bool ok = str_to_i64(str_of(rows[i].text), &got);
        check_row(rows[i].text, ok == rows[i].want_ok && got == rows[i].want, "got %d %lld", ok, (long long)got);
    }
}

static void str_splitting(void **state)
{
    (void)state;
    struct str rest = STR("a,,b");
    assert_str(str_split(&rest, ','), "a");
    assert_str(str_split(&rest, ','), "");
    assert_str(str_split(&rest, ','), "b");
    assert_null(rest.data);
    assert_str(str_trim(STR(" \tx y\r\n")), "x y");
    assert_true(str_equal_nocase(STR("Host"), STR("hOST")));
    assert_int_equal(str_find(STR("abcabc"), STR("ca")), 2);
    assert_int_equal(str_find(STR("abc"), STR("d")), -1);
}

static void arena_keeps_what_it_gave(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct str parts[200];
    for (size_t i = 0; i < array_count(parts); i++) {
        parts[i] = arena_format(&arena, "%zu:%0*d", i, (int)(i * 37 % 3000), 7);
    }
    for (size_t i = 0; i < array_count(parts); i++) {
        char want[16];
        (void)snprintf(want, sizeof(want), "%zu:", i);
        assert_true(str_starts_with(parts[i], str_of(want)));
        assert_int_equal(parts[i].data[parts[i].size], '\0');
    }
    arena_reset(&arena);
    assert_str(arena_str(&arena, STR("again")), "again");
    arena_done(&arena);
}

static void buf_reads_and_writes(void **state)
{
    (void)state;
    struct buf buf = {0};
    for (int i = 0; i < 1000; i++) {
        buf_append_u64(&buf, (uint64_t)i);
        if (i >= 10) {
            buf_consume(&buf, 1);
        }
    }
    assert_true(str_ends_with(buf_view(&buf), STR("998999")));
    buf_reset(&buf);
    buf_release(&buf);
    assert_null(buf.data);
    buf_printf(&buf, "%s-%d", "x", 5);
    size_t size = 0;
    char *text = buf_detach(&buf, &size);
    assert_string_equal(text, "x-5");
    assert_int_equal(size, 3);
    mem_free(text);
}

static void map_against_model(void **state)
{
    (void)state;
    enum { KEYS = 300 };
    static int values[KEYS];
    bool present[KEYS] = {false};
    struct map map = {0};
    struct random random;
    random_init(&random, 42);
    size_t count = 0;
    for (int step = 0; step < 20000; step++) {
        size_t k = (size_t)random_below(&random, KEYS);
        char key[16];
        (void)snprintf(key, sizeof(key), "key%zu", k);
        if (random_below(&random, 2) == 0) {
            void *old = map_set(&map, str_of(key), &values[k]);
            assert_ptr_equal(old, present[k] ? &values[k] : NULL);
            count += present[k] ? 0 : 1;
            present[k] = true;
        } else {
            void *old = map_remove(&map, str_of(key));
            assert_ptr_equal(old, present[k] ? &values[k] : NULL);
            count -= present[k] ? 1 : 0;
            present[k] = false;
        }
        assert_int_equal(map_count(&map), count);
    }
    size_t seen = 0;
    void *value;
    for (size_t at = 0; map_each(&map, &at, NULL, &value);) {
        assert_true(present[(int *)value - values]);
        seen++;
    }
    assert_int_equal(seen, count);
    map_done(&map);
}

static void heap_sorts_and_removes(void **state)
{
    (void)state;
    struct heap heap = {0};
    struct heap_node nodes[500] = {0};
    struct random random;
    random_init(&random, 7);
    for (size_t i = 0; i < array_count(nodes); i++) {
        heap_insert(&heap, &nodes[i], random_below(&random, 100));
    }
    for (size_t i = 0; i < array_count(nodes); i += 3) {
        heap_remove(&heap, &nodes[i]);
        heap_remove(&heap, &nodes[i]);
    }
    heap_insert(&heap, &nodes[1], 1000);
    uint64_t last = 0;
    size_t count = 0;
    struct heap_node *first;
    while ((first = heap_first(&heap)) != NULL) {
        assert_true(first->key >= last);
        last = first->key;
        heap_remove(&heap, first);
        count++;
    }
    assert_int_equal(last, 1000);
    assert_int_equal(count, array_count(nodes) - (array_count(nodes) + 2) / 3);
    heap_done(&heap);
}

static void error_messages(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(error_set(&err, ERR_INVALID, "field %s", "x"), ERR_INVALID);
    error_prefix(&err, "file %d", 1);
    assert_string_equal(err.message, "file 1: field x");
    char long_text[ERROR_MESSAGE_SIZE * 2];
    memset(long_text, 'a', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    error_set(&err, ERR_IO, "%s", long_text);
    error_prefix(&err, "p");
    assert_int_equal(strlen(err.message), ERROR_MESSAGE_SIZE - 1);
    assert_int_equal(err_http_status(ERR_NOT_FOUND), 404);
}

static void metrics_text(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    metric_add(metrics_counter(metrics, "b_total", "B.", "k=\"2\""), 3);
    metric_add(metrics_counter(metrics, "b_total", "B.", "k=\"1\""), 1);
    metric_add(metrics_counter(metrics, "b_total", "B.", "k=\"2\""), 1);
    metric_set(metrics_gauge(metrics, "a", "A.", NULL), -4);
    static const double bounds[] = {0.5, 1};
    struct metric *histogram = metrics_histogram(metrics, "c", "C.", NULL, bounds, 2);
    metric_observe(histogram, 0.5);
    metric_observe(histogram, 2);
    struct buf out = {0};
    metrics_write(metrics, &out);
    assert_str(buf_view(&out),
               "# HELP a A.\n# TYPE a gauge\na -4\n"
               "# HELP b_total B.\n# TYPE b_total counter\nb_total{k=\"1\"} 1\nb_total{k=\"2\"} 4\n"
               "# HELP c C.\n# TYPE c histogram\nc_bucket{le=\"0.5\"} 1\nc_bucket{le=\"1\"} 1\n"
               "c_bucket{le=\"+Inf\"} 2\nc_sum 2.5\nc_count 2\n");
    buf_done(&out);
    metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(str_numbers),
        cmocka_unit_test(str_splitting),
        cmocka_unit_test(arena_keeps_what_it_gave),
        cmocka_unit_test(buf_reads_and_writes),
        cmocka_unit_test(map_against_model),
        cmocka_unit_test(heap_sorts_and_removes),
        cmocka_unit_test(error_messages),
        cmocka_unit_test(metrics_text),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
