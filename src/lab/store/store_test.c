// SPDX-License-Identifier: Apache-2.0
#include "lab/store/store.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/memory.h"
#include "test.h"

#define WAIT_TURNS 2000

struct outcome {
    int done;
    int failed;
    struct error err;
};

static void on_done(void *owner, const struct error *err)
{
    struct outcome *outcome = owner;
    outcome->done++;
    if (err != NULL) {
        outcome->failed++;
        outcome->err = *err;
    }
}

static void wait_for(struct loop *loop, const struct outcome *outcome, int count)
{
    for (int turn = 0; turn < WAIT_TURNS && outcome->done < count; turn++) {
        loop_turn(loop, 10);
    }
    assert_int_equal(outcome->done, count);
}

static struct store *open_store(struct loop *loop, const char *path)
{
    struct error err = {0};
    struct store_options options = {.path = str_of(path)};
    struct store *store = store_new(loop, &options, &err);
    if (store == NULL) {
        fail_msg("%s", err.message);
    }
    return store;
}

static void put(struct store_bucket *bucket, const char *key, const char *bytes, struct outcome *outcome)
{
    struct error err = {0};
    assert_int_equal(store_write(bucket, STORE_PUT, str_of(key), str_of(bytes), on_done, outcome, &err), ERR_OK);
}

static void erase(struct store_bucket *bucket, const char *key, const char *bytes, struct outcome *outcome)
{
    struct error err = {0};
    assert_int_equal(store_write(bucket, STORE_DELETE, str_of(key), str_of(bytes), on_done, outcome, &err), ERR_OK);
}

static void make_path(char path[static 64])
{
    (void)snprintf(path, 64, "/tmp/isthmesh-store-XXXXXX");
    assert_non_null(mkdtemp(path));
    size_t size = strlen(path);
    (void)snprintf(path + size, 64 - size, "/store.db");
}

static void remove_path(char path[static 64])
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < array_count(suffixes); i++) {
        char name[80];
        (void)snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
        (void)unlink(name);
    }
    *strrchr(path, '/') = '\0';
    (void)rmdir(path);
}

static void test_pending_is_latest_but_not_visible(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct store *store = open_store(loop, "");
    struct store_bucket *bucket = store_bucket(store, STR("pods"));
    struct outcome outcome = {0};
    uint64_t next = store_next_revision(store);
    put(bucket, "ns/a", "1", &outcome);
    assert_null(store_get(bucket, STR("ns/a")));
    assert_non_null(store_latest(bucket, STR("ns/a")));
    assert_int_equal(store_latest(bucket, STR("ns/a"))->revision, next);
    wait_for(loop, &outcome, 1);
    assert_str(store_get(bucket, STR("ns/a"))->bytes, "1");
    erase(bucket, "ns/a", "gone", &outcome);
    assert_null(store_latest(bucket, STR("ns/a")));
    assert_non_null(store_get(bucket, STR("ns/a")));
    wait_for(loop, &outcome, 2);
    assert_null(store_get(bucket, STR("ns/a")));
    assert_int_equal(store_revision(store), next + 1);
    store_free(store);
    loop_free(loop);
}

static void test_keys_are_sorted(void **state)
{
    (void)state;
    static const char *const keys[] = {"b/x", "a/z", "c", "a/a", "b/a"};
    static const char *const want[] = {"a/a", "a/z", "b/a", "b/x", "c"};
    struct loop *loop = loop_new();
    struct store *store = open_store(loop, "");
    struct store_bucket *bucket = store_bucket(store, STR("pods"));
    struct outcome outcome = {0};
    for (size_t i = 0; i < array_count(keys); i++) {
        put(bucket, keys[i], keys[i], &outcome);
    }
    wait_for(loop, &outcome, (int)array_count(keys));
    assert_int_equal(store_count(bucket), array_count(want));
    for (size_t i = 0; i < array_count(want); i++) {
        assert_str(store_at(bucket, i)->key, want[i]);
    }
    assert_int_equal(store_seek(bucket, STR("b/")), 2);
    store_free(store);
    loop_free(loop);
}

static int ready_count;

static void on_ready(struct store_watch *watch)
{
    (void)watch;
    ready_count++;
}

static void test_watch_sees_changes_in_order(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct store *store = open_store(loop, "");
    struct store_bucket *bucket = store_bucket(store, STR("pods"));
    struct outcome outcome = {0};
    struct error err = {0};
    put(bucket, "a", "1", &outcome);
    wait_for(loop, &outcome, 1);
    uint64_t since = store_revision(store);
    struct store_watch watch;
    store_watch_init(&watch, on_ready);
    assert_int_equal(store_watch_start(&watch, bucket, since, &err), ERR_OK);
    ready_count = 0;
    put(bucket, "a", "2", &outcome);
    put(bucket, "b", "3", &outcome);
    erase(bucket, "a", "4", &outcome);
    wait_for(loop, &outcome, 4);
    assert_true(ready_count > 0);
    static const struct {
        enum store_event_type type;
        const char *bytes;
        const char *previous;
    } want[] = {{STORE_MODIFIED, "2", "1"}, {STORE_ADDED, "3", NULL}, {STORE_DELETED, "4", "2"}};
    bool expired;
    for (size_t i = 0; i < array_count(want); i++) {
        struct store_event *event = store_watch_next(&watch, &expired);
        assert_non_null(event);
        assert_int_equal(event->type, want[i].type);
        assert_str(event->value->bytes, want[i].bytes);
        assert_true((event->previous == NULL) == (want[i].previous == NULL));
        assert_int_equal(event->revision, since + 1 + i);
    }
    assert_null(store_watch_next(&watch, &expired));
    assert_false(expired);
    store_watch_stop(&watch);
    store_free(store);
    loop_free(loop);
}

static void test_window_expires(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct store *store = open_store(loop, "");
    struct store_bucket *bucket = store_bucket(store, STR("leases"));
    struct outcome outcome = {0};
    struct error err = {0};
    uint64_t since = store_revision(store);
    struct store_watch slow;
    store_watch_init(&slow, on_ready);
    assert_int_equal(store_watch_start(&slow, bucket, since, &err), ERR_OK);
    for (unsigned i = 0; i < STORE_EVENTS_MAX + 1; i++) {
        put(bucket, "a", "x", &outcome);
    }
    wait_for(loop, &outcome, (int)STORE_EVENTS_MAX + 1);
    bool expired;
    assert_null(store_watch_next(&slow, &expired));
    assert_true(expired);
    store_watch_stop(&slow);
    struct store_watch late;
    store_watch_init(&late, on_ready);
    assert_int_equal(store_watch_start(&late, bucket, since, &err), ERR_EXPIRED);
    assert_int_equal(store_watch_start(&late, bucket, since + 1, &err), ERR_OK);
    assert_non_null(store_watch_next(&late, &expired));
    store_watch_stop(&late);
    store_free(store);
    loop_free(loop);
}

static void test_restart_keeps_what_was_acknowledged(void **state)
{
    (void)state;
    char path[64];
    make_path(path);
    struct loop *loop = loop_new();
    struct store *store = open_store(loop, path);
    struct outcome outcome = {0};
    for (int i = 0; i < 200; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%03d", i);
        put(store_bucket(store, STR("pods")), key, "value", &outcome);
    }
    erase(store_bucket(store, STR("pods")), "k007", "value", &outcome);
    wait_for(loop, &outcome, 201);
    assert_int_equal(outcome.failed, 0);
    uint64_t revision = store_revision(store);
    store_free(store);
    store = open_store(loop, path);
    struct store_bucket *bucket = store_bucket(store, STR("pods"));
    assert_int_equal(store_revision(store), revision);
    assert_int_equal(store_count(bucket), 199);
    assert_null(store_get(bucket, STR("k007")));
    assert_str(store_get(bucket, STR("k199"))->bytes, "value");
    struct store_watch watch;
    struct error err = {0};
    store_watch_init(&watch, on_ready);
    assert_int_equal(store_watch_start(&watch, bucket, revision - 1, &err), ERR_EXPIRED);
    assert_int_equal(store_watch_start(&watch, bucket, revision, &err), ERR_OK);
    store_watch_stop(&watch);
    store_free(store);
    loop_free(loop);
    remove_path(path);
}

// A file that may not grow is as good as a full disk.
static void test_full_disk_fails_writes_and_keeps_reads(void **state)
{
    (void)state;
    char path[64];
    make_path(path);
    (void)signal(SIGXFSZ, SIG_IGN);
    struct loop *loop = loop_new();
    struct store *store = open_store(loop, path);
    struct store_bucket *bucket = store_bucket(store, STR("pods"));
    struct outcome outcome = {0};
    put(bucket, "a", "kept", &outcome);
    wait_for(loop, &outcome, 1);
    uint64_t revision = store_revision(store);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit tight = {.rlim_cur = 4096, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    put(bucket, "a", "lost", &outcome);
    put(bucket, "b", "lost", &outcome);
    wait_for(loop, &outcome, 3);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(outcome.failed, 2);
    assert_true(strlen(outcome.err.message) > 0);
    assert_str(store_get(bucket, STR("a"))->bytes, "kept");
    assert_str(store_latest(bucket, STR("a"))->bytes, "kept");
    assert_null(store_latest(bucket, STR("b")));
    assert_int_equal(store_revision(store), revision);
    put(bucket, "b", "again", &outcome);
    wait_for(loop, &outcome, 4);
    assert_int_equal(outcome.failed, 2);
    assert_str(store_get(bucket, STR("b"))->bytes, "again");
    store_free(store);
    loop_free(loop);
    remove_path(path);
}

static void test_foreign_file_is_refused(void **state)
{
    (void)state;
    char path[64];
    make_path(path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs("this is not a database, and long enough to be looked at as one", file);
    (void)fclose(file);
    struct loop *loop = loop_new();
    struct error err = {0};
    struct store_options options = {.path = str_of(path)};
    assert_null(store_new(loop, &options, &err));
    assert_true(strlen(err.message) > 0);
    loop_free(loop);
    remove_path(path);
}

static void test_limits(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct store *store = open_store(loop, "");
    struct store_bucket *bucket = store_bucket(store, STR("pods"));
    struct error err = {0};
    char *large = mem_zalloc(STORE_VALUE_MAX + 1);
    assert_int_equal(store_write(bucket, STORE_PUT, STR("a"), str_make(large, STORE_VALUE_MAX + 1), NULL, NULL, &err),
                     ERR_LIMIT);
    mem_free(large);
    for (unsigned i = 0; i < STORE_PENDING_MAX; i++) {
        assert_int_equal(store_write(bucket, STORE_PUT, STR("a"), STR("x"), NULL, NULL, &err), ERR_OK);
    }
    assert_int_equal(store_write(bucket, STORE_PUT, STR("a"), STR("x"), NULL, NULL, &err), ERR_LIMIT);
    store_free(store); // with everything still under way
    loop_turn(loop, 0);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pending_is_latest_but_not_visible),
        cmocka_unit_test(test_keys_are_sorted),
        cmocka_unit_test(test_watch_sees_changes_in_order),
        cmocka_unit_test(test_window_expires),
        cmocka_unit_test(test_restart_keeps_what_was_acknowledged),
        cmocka_unit_test(test_full_disk_fails_writes_and_keeps_reads),
        cmocka_unit_test(test_foreign_file_is_refused),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
