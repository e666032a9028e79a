// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/buf.h"
#include "kube/work_queue.h"

struct worker {
    struct loop *loop;
    struct work_queue *queue;
    struct buf log;
    bool at_once; // done from inside on_item
};

static void on_item(void *owner, struct str key)
{
    struct worker *worker = owner;
    buf_append_str(&worker->log, key);
    buf_append_char(&worker->log, ' ');
    if (worker->at_once) {
        work_queue_done(worker->queue, key, true);
    }
}

static void begin(struct worker *worker, unsigned running_max)
{
    *worker = (struct worker){.loop = loop_new_fake(0)};
    worker->queue = work_queue_new(worker->loop, &(struct work_queue_options){running_max}, on_item, worker);
}

static void expect(struct worker *worker, const char *want)
{
    loop_turn(worker->loop, 0);
    assert_str(buf_view(&worker->log), want);
    buf_reset(&worker->log);
}

static void end(struct worker *worker)
{
    work_queue_free(worker->queue);
    loop_free(worker->loop);
    buf_done(&worker->log);
}

static void test_once_each(void **state)
{
    (void)state;
    struct worker worker;
    begin(&worker, 0);
    worker.at_once = true;
    work_queue_add(worker.queue, STR("a"));
    work_queue_add(worker.queue, STR("b"));
    work_queue_add(worker.queue, STR("a"));
    expect(&worker, ""); // not started
    work_queue_start(worker.queue);
    expect(&worker, "a b ");
    assert_int_equal(work_queue_count(worker.queue), 0);
    end(&worker);
}

static void test_again_while_running(void **state)
{
    (void)state;
    struct worker worker;
    begin(&worker, 1);
    work_queue_start(worker.queue);
    work_queue_add(worker.queue, STR("a"));
    work_queue_add(worker.queue, STR("b"));
    expect(&worker, "a ");
    work_queue_add(worker.queue, STR("a"));
    work_queue_add(worker.queue, STR("a"));
    expect(&worker, "");
    work_queue_done(worker.queue, STR("a"), true);
    expect(&worker, "b ");
    work_queue_done(worker.queue, STR("b"), true);
    expect(&worker, "a ");
    work_queue_done(worker.queue, STR("a"), true);
    expect(&worker, "");
    end(&worker);
}

static void test_failures(void **state)
{
    (void)state;
    struct worker worker;
    begin(&worker, 0);
    work_queue_start(worker.queue);
    work_queue_add(worker.queue, STR("a"));
    uint64_t delay_ms = WORK_QUEUE_BACKOFF_MIN_MS;
    for (unsigned i = 0; i < 12; i++) {
        expect(&worker, "a ");
        work_queue_done(worker.queue, STR("a"), false);
        work_queue_add(worker.queue, STR("a")); // does not shorten the wait
        loop_advance(worker.loop, delay_ms - 1);
        expect(&worker, "");
        loop_advance(worker.loop, 1);
        delay_ms = delay_ms * 2 > WORK_QUEUE_BACKOFF_MAX_MS ? WORK_QUEUE_BACKOFF_MAX_MS : delay_ms * 2;
    }
    expect(&worker, "a ");
    work_queue_done(worker.queue, STR("a"), true);
    assert_int_equal(work_queue_count(worker.queue), 0);
    end(&worker);
}

static void test_delays(void **state)
{
    (void)state;
    struct worker worker;
    begin(&worker, 0);
    work_queue_start(worker.queue);
    work_queue_add_after(worker.queue, STR("a"), 100);
    work_queue_add_after(worker.queue, STR("b"), 100);
    work_queue_add(worker.queue, STR("b"));
    expect(&worker, "b ");
    work_queue_add_after(worker.queue, STR("b"), 500);
    work_queue_add_after(worker.queue, STR("b"), 50);
    work_queue_done(worker.queue, STR("b"), true);
    loop_advance(worker.loop, 50);
    expect(&worker, "b ");
    loop_advance(worker.loop, 50);
    expect(&worker, "a ");
    end(&worker); // with two still running
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_each),
        cmocka_unit_test(test_again_while_running),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_delays),
    };
    return cmocka_run_group_tests_name("kube_work_queue", tests, NULL, NULL);
}
