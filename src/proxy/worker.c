// SPDX-License-Identifier: Apache-2.0
#include "proxy/worker.h"

#include <pthread.h>
#include <signal.h>

#include "base/assert.h"
#include "base/memory.h"
#include "proxy/filter/runtime.h"
#include "proxy/listener/listener.h"

#define SETTLE_TURNS 64 // turns of the loop that let closed connections be released at the end

struct worker {
    struct loop *loop;
    bool has_thread;
    pthread_t thread;
    struct filter_runtime runtime;
    struct listeners *listeners;
    struct generation *generation;
    bool is_ending; // mail that comes now is thrown away
    atomic_size_t connections;
    struct loop_timer count;
};

static struct cluster *find_cluster(void *owner, struct str name)
{
    const struct worker *worker = owner;
    return worker->generation == NULL ? NULL : map_get(&worker->generation->clusters, name);
}

static struct route_table *find_routes(void *owner, struct str name)
{
    const struct worker *worker = owner;
    return worker->generation == NULL ? NULL : map_get(&worker->generation->routes, name);
}

static void on_count(struct loop_timer *timer)
{
    struct worker *worker = container_of(timer, struct worker, count);
    atomic_store_explicit(&worker->connections, listeners_connection_count(worker->listeners), memory_order_relaxed);
    loop_timer_start(timer, 1000);
}

static void set_up(struct worker *worker)
{
    struct filter_runtime *runtime = &worker->runtime;
    runtime->loop = worker->loop;
    random_init_from_kernel(&runtime->random);
    access_sink_init(&runtime->sink, worker->loop);
    runtime->find_routes = find_routes;
    runtime->owner = worker;
    runtime->upstreams = upstreams_new(worker->loop, runtime->stats, &runtime->random, find_cluster, worker);
    worker->listeners = listeners_new(runtime);
    loop_timer_init(&worker->count, worker->loop, on_count);
    loop_timer_start(&worker->count, 1000);
}

// Downstream first: its requests give back what they hold of the upstream side.
static void tear_down(struct worker *worker)
{
    worker->is_ending = true;
    loop_timer_stop(&worker->count);
    listeners_stop(worker->listeners);
    for (int i = 0; i < SETTLE_TURNS && listeners_connection_count(worker->listeners) > 0; i++) {
        loop_turn(worker->loop, 0);
    }
    if (NEVER(listeners_connection_count(worker->listeners) > 0)) {
        return; // the process ends; better to leave memory than to free what is in use
    }
    upstreams_free(worker->runtime.upstreams);
    for (int i = 0; i < 4; i++) { // closed sockets say goodbye
        loop_turn(worker->loop, 0);
    }
    listeners_free(worker->listeners);
    access_sink_done(&worker->runtime.sink);
    map_done(&worker->runtime.request_metrics);
    generation_unref(worker->generation);
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    loop_run(worker->loop);
    return NULL;
}

struct worker *worker_start(struct loop *own_loop, struct stats *stats, struct metrics *metrics)
{
    struct worker *worker = mem_new(struct worker);
    worker->runtime.stats = stats;
    worker->runtime.metrics = metrics;
    worker->loop = own_loop != NULL ? own_loop : loop_new();
    worker->has_thread = own_loop == NULL;
    set_up(worker);
    if (worker->has_thread) {
        // Signals are the main thread's.
        sigset_t all;
        sigset_t before;
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        int failed = pthread_create(&worker->thread, NULL, run, worker);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        ASSERT(failed == 0);
    }
    return worker;
}

struct message {
    struct worker *worker;
    struct generation *generation;
    bool inbound_only;
};

static struct message *message_new(struct worker *worker)
{
    struct message *message = mem_new(struct message);
    message->worker = worker;
    return message;
}

// Clusters first: a listener or route of the new generation may name a new cluster.
static void on_publish(void *argument)
{
    struct message *message = argument;
    struct worker *worker = message->worker;
    if (worker->is_ending) {
        generation_unref(message->generation);
        mem_free(message);
        return;
    }
    struct generation *old = worker->generation;
    worker->generation = message->generation;
    bool new_secrets = old == NULL || old->secrets != worker->generation->secrets;
    if (new_secrets) {
        upstreams_set_secrets(worker->runtime.upstreams, worker->generation->secrets);
        listeners_set_secrets(worker->listeners, worker->generation->secrets);
    }
    upstreams_refresh(worker->runtime.upstreams);
    listeners_apply(worker->listeners, worker->generation->listeners.items, worker->generation->listeners.count);
    generation_unref(old);
    mem_free(message);
}

void worker_publish(struct worker *worker, struct generation *generation)
{
    struct message *message = message_new(worker);
    message->generation = generation_ref(generation);
    loop_post(worker->loop, on_publish, message);
}

static void on_drain(void *argument)
{
    struct message *message = argument;
    if (!message->worker->is_ending) {
        listeners_drain(message->worker->listeners, message->inbound_only ? TRAFFIC_INBOUND : TRAFFIC_UNSPECIFIED);
    }
    mem_free(message);
}

void worker_drain(struct worker *worker, bool inbound_only)
{
    struct message *message = message_new(worker);
    message->inbound_only = inbound_only;
    loop_post(worker->loop, on_drain, message);
}

static void on_stop(void *argument)
{
    struct worker *worker = argument;
    loop_stop(worker->loop);
}

void worker_stop(struct worker *worker)
{
    if (worker == NULL) {
        return;
    }
    if (worker->has_thread) {
        loop_post(worker->loop, on_stop, worker);
        (void)pthread_join(worker->thread, NULL);
    }
    tear_down(worker);
    if (worker->has_thread) {
        loop_free(worker->loop);
    }
    mem_free(worker);
}

size_t worker_connections(const struct worker *worker)
{
    return atomic_load_explicit(&worker->connections, memory_order_relaxed);
}
