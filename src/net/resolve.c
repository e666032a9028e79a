// SPDX-License-Identifier: Apache-2.0
//
// One detached thread per look-up: look-ups are rare (a new upstream connection by name, a start), and
// getaddrinfo has no other way. The thread owns a job of its own and touches nothing of the loop but
// loop_post(); the loop's side owns `struct resolve`. Whoever is last frees the job, so cancelling never
// waits. At most RESOLVE_RUNNING_MAX threads run at once in a process; above that a look-up fails at once.
#include "net/resolve.h"

#include <netdb.h>
#include <pthread.h>

#include "base/memory.h"

#define RESOLVE_RUNNING_MAX 64
#define RESOLVE_STACK_SIZE (256u * 1024)

struct job {
    struct resolve *resolve; // NULL: cancelled. Loop thread only.
    struct loop *loop;
    pthread_mutex_t lock; // of the two below
    bool is_running;      // on its helper thread
    bool is_abandoned;    // cancelled meanwhile: the loop may be gone, the helper frees the job
    char *host;
    uint16_t port;
    struct address addresses[RESOLVE_ADDRESSES_MAX];
    size_t count;
    struct error err;
};

struct resolve {
    struct job *job;
    void (*on_done)(void *owner, const struct address *addresses, size_t count, const struct error *err);
    void *owner;
};

static int running; // atomic

static void job_free(struct job *job)
{
    (void)pthread_mutex_destroy(&job->lock);
    mem_free(job->host);
    mem_free(job);
}

// On the loop's thread.
static void job_deliver(void *argument)
{
    struct job *job = argument;
    (void)pthread_mutex_lock(&job->lock); // the helper that posted us is through with it
    (void)pthread_mutex_unlock(&job->lock);
    struct resolve *resolve = job->resolve;
    if (resolve != NULL) {
        resolve->on_done(resolve->owner, job->addresses, job->count, job->count > 0 ? NULL : &job->err);
        mem_free(resolve);
    }
    job_free(job);
}

static void collect(struct job *job, const struct addrinfo *list)
{
    for (const struct addrinfo *at = list; at != NULL && job->count < RESOLVE_ADDRESSES_MAX; at = at->ai_next) {
        struct address *address = &job->addresses[job->count];
        if (address_from_sockaddr(at->ai_addr, at->ai_addrlen, address)) {
            address_set_port(address, job->port);
            job->count++;
        }
    }
}

static void look_up(struct job *job)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *list = NULL;
    int status = getaddrinfo(job->host, NULL, &hints, &list);
    if (status == 0) {
        collect(job, list);
        freeaddrinfo(list);
    }
    if (job->count == 0) {
        enum err code = status == EAI_NONAME || status == 0 ? ERR_NOT_FOUND : ERR_UNREACHABLE;
        error_set(&job->err, code, "look up %s: %s", job->host, status == 0 ? "no usable address" : gai_strerror(status));
    }
}

static void *job_run(void *argument)
{
    struct job *job = argument;
    look_up(job);
    __atomic_fetch_sub(&running, 1, __ATOMIC_RELAXED);
    // Posted under the lock: after resolve_cancel() nobody touches the loop, which may then be freed. The
    // job is freed by the loop's thread at the earliest when that lock is open again.
    (void)pthread_mutex_lock(&job->lock);
    bool is_abandoned = job->is_abandoned;
    job->is_running = false;
    if (!is_abandoned) {
        loop_post(job->loop, job_deliver, job);
    }
    (void)pthread_mutex_unlock(&job->lock);
    if (is_abandoned) {
        job_free(job);
    }
    return NULL;
}

static bool start_thread(struct job *job)
{
    if (__atomic_add_fetch(&running, 1, __ATOMIC_RELAXED) > RESOLVE_RUNNING_MAX) {
        __atomic_fetch_sub(&running, 1, __ATOMIC_RELAXED);
        return false;
    }
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, RESOLVE_STACK_SIZE);
    pthread_t thread;
    job->is_running = true; // nobody else looks yet
    int status = pthread_create(&thread, &attributes, job_run, job);
    pthread_attr_destroy(&attributes);
    if (status != 0) {
        job->is_running = false;
        __atomic_fetch_sub(&running, 1, __ATOMIC_RELAXED);
    }
    return status == 0;
}

struct resolve *resolve_start(struct loop *loop, struct str host, uint16_t port,
                              void (*on_done)(void *owner, const struct address *addresses,
                                              size_t count, const struct error *err),
                              void *owner)
{
    struct job *job = mem_new(struct job);
    (void)pthread_mutex_init(&job->lock, NULL);
    struct resolve *resolve = mem_new(struct resolve);
    *resolve = (struct resolve){.job = job, .on_done = on_done, .owner = owner};
    job->resolve = resolve;
    job->loop = loop;
    job->port = port;
    job->host = mem_alloc(host.size + 1);
    memcpy(job->host, host.data, host.size);
    job->host[host.size] = '\0';
    if (memchr(host.data, '\0', host.size) != NULL || host.size == 0) {
        error_set(&job->err, ERR_INVALID, "look up: not a host name");
        loop_post(loop, job_deliver, job);
    } else if (address_from_ip(host, port, &job->addresses[0], NULL) == ERR_OK) {
        job->count = 1;
        loop_post(loop, job_deliver, job);
    } else if (!start_thread(job)) {
        error_set(&job->err, ERR_LIMIT, "look up %s: %d look-ups are under way already", job->host, RESOLVE_RUNNING_MAX);
        loop_post(loop, job_deliver, job);
    }
    return resolve;
}

void resolve_cancel(struct resolve *resolve)
{
    if (resolve == NULL) {
        return;
    }
    struct job *job = resolve->job;
    job->resolve = NULL;
    (void)pthread_mutex_lock(&job->lock);
    job->is_abandoned = job->is_running;
    (void)pthread_mutex_unlock(&job->lock);
    mem_free(resolve);
}
