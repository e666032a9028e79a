// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <pthread.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/metrics.h"
#include "base/random.h"
#include "base/refcount.h"
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

struct item {
    int number;
    struct list node;
};

static void check_list(struct list *head, const char *want)
{
    char got[64] = "";
    size_t size = 0;
    list_each(head, node)
    {
        got[size++] = (char)('0' + container_of(node, struct item, node)->number);
    }
    assert_string_equal(got, want);
    size_t back = size;
    for (struct list *node = head->prev; node != head; node = node->prev) { // the links backwards agree
        assert_int_equal(container_of(node, struct item, node)->number, got[--back] - '0');
    }
    assert_int_equal(back, 0);
}

static void lists_link_and_unlink(void **state)
{
    (void)state;
    struct list head;
    struct list other;
    struct item items[8];
    list_init(&head);
    list_init(&other);
    for (int i = 0; i < 8; i++) {
        items[i].number = i;
        list_init(&items[i].node);
    }
    assert_null(list_first(&head));
    check_list(&head, "");
    list_append(&head, &items[1].node);
    list_append(&head, &items[2].node);
    list_prepend(&head, &items[0].node);
    list_insert_before(&items[2].node, &items[5].node);
    check_list(&head, "0152");
    list_remove(&items[5].node);
    list_remove(&items[5].node); // in no list: nothing happens
    assert_true(list_is_empty(&items[5].node));
    check_list(&head, "012");
    list_append_all(&head, &other); // nothing to move
    list_append(&other, &items[3].node);
    list_append(&other, &items[4].node);
    list_append_all(&head, &other);
    check_list(&head, "01234");
    check_list(&other, "");
    list_append_all(&other, &head); // into an empty one
    check_list(&other, "01234");
    check_list(&head, "");
    list_each(&other, node)
    {
        if (container_of(node, struct item, node)->number % 2 == 0) {
            list_remove(node);
        }
    }
    check_list(&other, "13");
    assert_ptr_equal(list_first(&other), &items[1].node);
}

static void vectors_grow(void **state)
{
    (void)state;
    VEC(int) numbers = {0};
    for (int i = 0; i < 1000; i++) {
        vec_push(&numbers, i);
    }
    assert_int_equal(numbers.count, 1000);
    assert_true(numbers.capacity >= 1000);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(numbers.items[i], i);
    }
    vec_remove_swap(&numbers, 0);
    assert_int_equal(numbers.items[0], 999);
    vec_remove_swap(&numbers, 998); // the last one
    assert_int_equal(numbers.count, 998);
    const int *items = numbers.items;
    vec_reset(&numbers);
    vec_push(&numbers, 7);
    assert_ptr_equal(numbers.items, items); // capacity is kept
    vec_done(&numbers);
    assert_null(numbers.items);
    assert_int_equal(numbers.capacity, 0);
    VEC(struct str) pairs = {0};
    vec_push(&pairs, (struct str){.data = "xy", .size = 2}); // commas are fine
    assert_str(pairs.items[0], "xy");
    vec_done(&pairs);
}

static void random_numbers(void **state)
{
    (void)state;
    struct random random = {.state = {1, 2, 3, 4}}; // the reference sequence of xoshiro256**
    static const uint64_t want[] = {11520, 0, 1509978240, 1215971899390074240};
    for (size_t i = 0; i < array_count(want); i++) {
        assert_true(random_next(&random) == want[i]);
    }
    struct random same;
    random_init(&random, 5);
    random_init(&same, 5);
    assert_true(random_next(&random) == random_next(&same));
    random_init(&same, 6);
    assert_true(random_next(&random) != random_next(&same));
    unsigned counts[6] = {0};
    for (int i = 0; i < 60000; i++) {
        counts[random_below(&random, 6)]++;
    }
    for (size_t i = 0; i < array_count(counts); i++) { // ten times the standard deviation
        assert_in_range(counts[i], 9100, 10900);
    }
    assert_int_equal(random_below(&random, 1), 0);
    for (int i = 0; i < 100; i++) {
        assert_true(random_below(&random, UINT64_MAX) < UINT64_MAX);
    }
    struct random fresh[2];
    random_init_from_kernel(&fresh[0]);
    random_init_from_kernel(&fresh[1]);
    assert_true(random_next(&fresh[0]) != random_next(&fresh[1]));
    assert_true(random_process_seed() != 0 && random_process_seed() == random_process_seed());
    char uuid[2][RANDOM_UUID_SIZE];
    for (int round = 0; round < 100; round++) {
        random_uuid(uuid[0]);
        random_uuid(uuid[1]);
        assert_string_not_equal(uuid[0], uuid[1]);
        assert_int_equal(strlen(uuid[0]), 36);
        assert_int_equal(strspn(uuid[0], "0123456789abcdef-"), 36);
        assert_true(uuid[0][8] == '-' && uuid[0][13] == '-' && uuid[0][18] == '-' && uuid[0][23] == '-');
        assert_true(uuid[0][14] == '4' && strchr("89ab", uuid[0][19]) != NULL);
    }
}

struct shared {
    struct refcount references;
    unsigned seen; // written before dropping, read by whoever frees
    unsigned freed;
};

static void *hold_and_drop(void *argument)
{
    struct shared *shared = argument;
    for (int i = 0; i < 1000; i++) {
        refcount_ref(&shared->references);
        assert_false(refcount_unref(&shared->references));
    }
    __atomic_fetch_add(&shared->seen, 1, __ATOMIC_RELAXED);
    if (refcount_unref(&shared->references)) {
        shared->freed = shared->seen; // an ordinary read: the count orders it
    }
    return NULL;
}

static void the_last_reference_frees(void **state)
{
    (void)state;
    enum { HOLDERS = 4 };
    pthread_t threads[HOLDERS];
    struct shared shared = {0};
    refcount_init(&shared.references);
    for (int i = 0; i < HOLDERS; i++) {
        refcount_ref(&shared.references);
    }
    assert_int_equal(refcount_get(&shared.references), HOLDERS + 1);
    for (int i = 0; i < HOLDERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hold_and_drop, &shared), 0);
    }
    bool mine = refcount_unref(&shared.references);
    for (int i = 0; i < HOLDERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_true(mine || shared.freed == HOLDERS);
    assert_int_equal(refcount_get(&shared.references), 0);
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
        cmocka_unit_test(lists_link_and_unlink),
        cmocka_unit_test(vectors_grow),
        cmocka_unit_test(random_numbers),
        cmocka_unit_test(the_last_reference_frees),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
