// SPDX-License-Identifier: Apache-2.0
#include "proxy/cluster/outlier.h"

#include <math.h>
#include <pthread.h>

#include "base/assert.h"
#include "base/memory.h"
#include "codec/pb/pb.h"

#define INTERVAL_DEFAULT_MS 10000u
#define BASE_DEFAULT_MS 30000u
#define MAX_DEFAULT_MS 300000u
#define INTERVAL_MIN_MS 10u // a shorter one would be all we do

enum { RATE_EXTERNAL, RATE_LOCAL };

struct outlier {
    struct outlier_options options;
    atomic_uint epoch;
    pthread_mutex_t lock; // of everything below and of the hosts' locked members
    uint64_t swept_ms;    // 0: never
};

const char *outlier_kind_name(enum outlier_kind kind)
{
    static const char *const names[OUTLIER_KIND_COUNT] = {
        [OUTLIER_CONSECUTIVE_5XX] = "consecutive_5xx",
        [OUTLIER_GATEWAY_FAILURE] = "consecutive_gateway_failure",
        [OUTLIER_LOCAL_FAILURE] = "consecutive_local_origin_failure",
        [OUTLIER_SUCCESS_RATE] = "success_rate",
        [OUTLIER_LOCAL_SUCCESS_RATE] = "local_origin_success_rate",
        [OUTLIER_FAILURE_PERCENTAGE] = "failure_percentage",
        [OUTLIER_LOCAL_FAILURE_PERCENTAGE] = "local_origin_failure_percentage",
    };
    return names[kind];
}

enum err outlier_options_compile(const Envoy__Config__Cluster__V3__OutlierDetection *config, struct outlier_options *ret_options,
                                 struct error *err)
{
    struct outlier_options options = {.split_local = config->split_external_local_origin_errors};
    // Envoy of Istio 1.20 always allowed the first ejection, and failover between two regions with a pod each
    // lives on that; since July 2024 it must be asked for. Unset means the older rule here.
    options.always_one = config->always_eject_one_host == NULL || config->always_eject_one_host->value;
    options.interval_ms = pb_duration_to_ms(config->interval, INTERVAL_DEFAULT_MS);
    options.interval_ms = options.interval_ms < INTERVAL_MIN_MS ? INTERVAL_MIN_MS : options.interval_ms;
    options.base_ms = pb_duration_to_ms(config->base_ejection_time, BASE_DEFAULT_MS);
    options.max_ms = pb_duration_to_ms(config->max_ejection_time, options.base_ms > MAX_DEFAULT_MS ? options.base_ms : MAX_DEFAULT_MS);
    options.jitter_ms = pb_duration_to_ms(config->max_ejection_time_jitter, 0);
    if (options.max_ms < options.base_ms) {
        return error_set(err, ERR_INVALID, "outlier detection: max_ejection_time is below base_ejection_time");
    }
    // clang-format off
    const struct {
        uint32_t *place;
        const Google__Protobuf__UInt32Value *value;
        uint32_t otherwise;
    } rows[] = {
        {&options.max_percent,                                 config->max_ejection_percent, 10},
        {&options.limits[OUTLIER_CONSECUTIVE_5XX],             config->consecutive_5xx, 5},
        {&options.limits[OUTLIER_GATEWAY_FAILURE],             config->consecutive_gateway_failure, 5},
        {&options.limits[OUTLIER_LOCAL_FAILURE],               config->consecutive_local_origin_failure, 5},
        {&options.enforcing[OUTLIER_CONSECUTIVE_5XX],          config->enforcing_consecutive_5xx, 100},
        {&options.enforcing[OUTLIER_GATEWAY_FAILURE],          config->enforcing_consecutive_gateway_failure, 0},
        {&options.enforcing[OUTLIER_LOCAL_FAILURE],            config->enforcing_consecutive_local_origin_failure, 100},
        {&options.enforcing[OUTLIER_SUCCESS_RATE],             config->enforcing_success_rate, 100},
        {&options.enforcing[OUTLIER_LOCAL_SUCCESS_RATE],       config->enforcing_local_origin_success_rate, 100},
        {&options.enforcing[OUTLIER_FAILURE_PERCENTAGE],       config->enforcing_failure_percentage, 0},
        {&options.enforcing[OUTLIER_LOCAL_FAILURE_PERCENTAGE], config->enforcing_failure_percentage_local_origin, 0},
        {&options.rate_hosts_min,                              config->success_rate_minimum_hosts, 5},
        {&options.rate_volume_min,                             config->success_rate_request_volume, 100},
        {&options.rate_deviations,                             config->success_rate_stdev_factor, 1900},
        {&options.failure_threshold,                           config->failure_percentage_threshold, 85},
        {&options.failure_hosts_min,                           config->failure_percentage_minimum_hosts, 5},
        {&options.failure_volume_min,                          config->failure_percentage_request_volume, 50},
    };
    // clang-format on
    for (size_t i = 0; i < array_count(rows); i++) {
        *rows[i].place = pb_uint32_or(rows[i].value, rows[i].otherwise);
    }
    *ret_options = options;
    return ERR_OK;
}

// --- life ----------------------------------------------------------------------------------------------

struct outlier *outlier_new(const struct outlier_options *options)
{
    struct outlier *outlier = mem_new(struct outlier);
    outlier->options = *options;
    int failed = pthread_mutex_init(&outlier->lock, NULL);
    ASSERT(failed == 0);
    return outlier;
}

void outlier_free(struct outlier *outlier)
{
    if (outlier != NULL) {
        (void)pthread_mutex_destroy(&outlier->lock);
        mem_free(outlier);
    }
}

const struct outlier_options *outlier_options_of(const struct outlier *outlier)
{
    return &outlier->options;
}

uint32_t outlier_epoch(const struct outlier *outlier)
{
    return atomic_load_explicit(&outlier->epoch, memory_order_acquire);
}

// --- reports -------------------------------------------------------------------------------------------

static void add(atomic_uint *counter)
{
    (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void clear(struct outlier_host *host, enum outlier_kind kind)
{
    // A load first: healthy hosts are reported to all the time, and need not take the cache line.
    if (atomic_load_explicit(&host->consecutive[kind], memory_order_relaxed) != 0) {
        atomic_store_explicit(&host->consecutive[kind], 0, memory_order_relaxed);
    }
}

// True for exactly one of the reports that count up to the limit. Limit 0 is never reached.
static bool reaches_limit(const struct outlier *outlier, struct outlier_host *host, enum outlier_kind kind)
{
    uint32_t count = atomic_fetch_add_explicit(&host->consecutive[kind], 1, memory_order_relaxed) + 1;
    return count == outlier->options.limits[kind];
}

bool outlier_report_status(struct outlier *outlier, struct outlier_host *host, int status, enum outlier_kind *ret_kind)
{
    add(&host->rates[RATE_EXTERNAL].total);
    if (status < 500) {
        add(&host->rates[RATE_EXTERNAL].success);
        clear(host, OUTLIER_CONSECUTIVE_5XX);
        clear(host, OUTLIER_GATEWAY_FAILURE);
        return false;
    }
    bool gateway = false;
    if (status >= 502 && status <= 504) {
        gateway = reaches_limit(outlier, host, OUTLIER_GATEWAY_FAILURE);
    } else {
        clear(host, OUTLIER_GATEWAY_FAILURE);
    }
    bool any = reaches_limit(outlier, host, OUTLIER_CONSECUTIVE_5XX);
    // Both at once: the one that is enforced, as the other would only be noted.
    bool prefer_gateway = gateway && (!any || outlier->options.enforcing[OUTLIER_GATEWAY_FAILURE] >= outlier->options.enforcing[OUTLIER_CONSECUTIVE_5XX]);
    *ret_kind = prefer_gateway ? OUTLIER_GATEWAY_FAILURE : OUTLIER_CONSECUTIVE_5XX;
    if (gateway && any) {
        clear(host, prefer_gateway ? OUTLIER_CONSECUTIVE_5XX : OUTLIER_GATEWAY_FAILURE);
    }
    return gateway || any;
}

bool outlier_report_local(struct outlier *outlier, struct outlier_host *host, enum outlier_local event, bool is_tcp,
                          enum outlier_kind *ret_kind)
{
    if (!outlier->options.split_local) { // told in the language of statuses
        static const int statuses[] = {[OUTLIER_CONNECTED] = 200, [OUTLIER_CONNECT_FAILED] = 503, [OUTLIER_TIMED_OUT] = 504, [OUTLIER_RESET] = 503};
        return (event != OUTLIER_CONNECTED || is_tcp) && outlier_report_status(outlier, host, statuses[event], ret_kind);
    }
    add(&host->rates[RATE_LOCAL].total);
    if (event == OUTLIER_CONNECTED) {
        add(&host->rates[RATE_LOCAL].success);
        clear(host, OUTLIER_LOCAL_FAILURE);
        return false;
    }
    *ret_kind = OUTLIER_LOCAL_FAILURE;
    return reaches_limit(outlier, host, OUTLIER_LOCAL_FAILURE);
}

// --- ejecting ------------------------------------------------------------------------------------------

static bool is_ejected(const struct outlier_host *host)
{
    return atomic_load_explicit(&host->ejected, memory_order_relaxed);
}

uint32_t outlier_active(const struct outlier_view *view)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->count; i++) {
        count += is_ejected(view->hosts[i]) ? 1 : 0;
    }
    return count;
}

static bool is_there(const struct outlier_view *view, const struct outlier_host *host)
{
    for (uint32_t i = 0; i < view->count; i++) {
        if (view->hosts[i] == host) {
            return true;
        }
    }
    return false;
}

// Must hold the lock.
static void eject_locked(struct outlier *outlier, const struct outlier_view *view, struct outlier_host *host, enum outlier_kind kind,
                         uint64_t now_ms, struct random *random, struct outlier_counts *counts)
{
    const struct outlier_options *options = &outlier->options;
    counts->detected[kind]++;
    if (is_ejected(host) || !is_there(view, host)) {
        return;
    }
    uint64_t active = outlier_active(view);
    if (100 * (active + 1) / view->count > options->max_percent && !(options->always_one && active == 0)) {
        counts->overflow++;
        return;
    }
    if (random_below(random, 100) >= options->enforcing[kind]) {
        return;
    }
    host->ejections++;
    host->jitter_ms = options->jitter_ms == 0 ? 0 : random_below(random, options->jitter_ms + 1);
    if (host->backoff * options->base_ms < options->max_ms + options->base_ms) {
        host->backoff++;
    }
    host->ejected_ms = now_ms;
    atomic_store_explicit(&host->ejected, true, memory_order_relaxed);
    counts->enforced[kind]++;
    (void)atomic_fetch_add_explicit(&outlier->epoch, 1, memory_order_release);
}

void outlier_eject(struct outlier *outlier, const struct outlier_view *view, struct outlier_host *host, enum outlier_kind kind,
                   uint64_t now_ms, struct random *random, struct outlier_counts *counts)
{
    (void)pthread_mutex_lock(&outlier->lock);
    eject_locked(outlier, view, host, kind, now_ms, random, counts);
    if (kind <= OUTLIER_LOCAL_FAILURE) {
        clear(host, kind);
    }
    (void)pthread_mutex_unlock(&outlier->lock);
}

// --- sweeping ------------------------------------------------------------------------------------------

// Must hold the lock.
static void let_back(struct outlier *outlier, struct outlier_host *host, uint64_t now_ms)
{
    const struct outlier_options *options = &outlier->options;
    uint64_t time = options->base_ms * host->backoff;
    time = (time > options->max_ms ? options->max_ms : time) + host->jitter_ms;
    if (now_ms - host->ejected_ms < time) {
        return;
    }
    for (enum outlier_kind kind = 0; kind <= OUTLIER_LOCAL_FAILURE; kind++) {
        clear(host, kind);
    }
    host->unejected_ms = now_ms;
    atomic_store_explicit(&host->ejected, false, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&outlier->epoch, 1, memory_order_release);
}

struct measured {
    struct outlier_host *host;
    uint32_t total;
    double rate; // percent of success
};

static double mean_minus_deviations(const struct measured *hosts, uint32_t count, double factor)
{
    double sum = 0;
    double squares = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += hosts[i].rate;
    }
    double mean = sum / count;
    for (uint32_t i = 0; i < count; i++) {
        squares += (hosts[i].rate - mean) * (hosts[i].rate - mean);
    }
    return mean - factor * sqrt(squares / count);
}

// Hosts with enough requests in the interval that ended, to the front. Returns how many.
static uint32_t select_busy(struct measured *hosts, uint32_t count, uint32_t volume_min)
{
    uint32_t busy = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (hosts[i].total >= volume_min && hosts[i].total > 0) {
            struct measured swap = hosts[busy];
            hosts[busy++] = hosts[i];
            hosts[i] = swap;
        }
    }
    return busy;
}

// Must hold the lock.
static void judge_rates(struct outlier *outlier, const struct outlier_view *view, struct measured *hosts, uint32_t count, int side,
                        uint64_t now_ms, struct random *random, struct outlier_counts *counts)
{
    const struct outlier_options *options = &outlier->options;
    uint32_t busy = select_busy(hosts, count, options->rate_volume_min);
    if (busy > 0 && busy >= options->rate_hosts_min) {
        double threshold = mean_minus_deviations(hosts, busy, options->rate_deviations / 1000.0);
        enum outlier_kind kind = side == RATE_LOCAL ? OUTLIER_LOCAL_SUCCESS_RATE : OUTLIER_SUCCESS_RATE;
        for (uint32_t i = 0; i < busy; i++) {
            if (hosts[i].rate < threshold) {
                eject_locked(outlier, view, hosts[i].host, kind, now_ms, random, counts);
            }
        }
    }
    busy = select_busy(hosts, count, options->failure_volume_min);
    if (busy > 0 && busy >= options->failure_hosts_min) {
        enum outlier_kind kind = side == RATE_LOCAL ? OUTLIER_LOCAL_FAILURE_PERCENTAGE : OUTLIER_FAILURE_PERCENTAGE;
        for (uint32_t i = 0; i < busy; i++) {
            if (100 - hosts[i].rate >= options->failure_threshold) {
                eject_locked(outlier, view, hosts[i].host, kind, now_ms, random, counts);
            }
        }
    }
}

// Must hold the lock.
static void sweep_rates(struct outlier *outlier, const struct outlier_view *view, int side, uint64_t now_ms, struct random *random,
                        struct outlier_counts *counts)
{
    struct measured *hosts = mem_zalloc(sizeof(*hosts) * (view->count + 1u));
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->count; i++) {
        struct outlier_rate *rate = &view->hosts[i]->rates[side];
        uint32_t success = atomic_exchange_explicit(&rate->success, 0, memory_order_relaxed);
        uint32_t total = atomic_exchange_explicit(&rate->total, 0, memory_order_relaxed);
        if (!is_ejected(view->hosts[i])) {
            hosts[count++] = (struct measured){view->hosts[i], total, total == 0 ? 0 : 100.0 * success / total};
        }
    }
    judge_rates(outlier, view, hosts, count, side, now_ms, random, counts);
    mem_free(hosts);
}

void outlier_sweep(struct outlier *outlier, const struct outlier_view *view, uint64_t now_ms, struct random *random,
                   struct outlier_counts *counts)
{
    uint64_t interval = outlier->options.interval_ms;
    (void)pthread_mutex_lock(&outlier->lock);
    // Timers of several workers ring within one interval; half of it tells theirs from the next.
    if (outlier->swept_ms == 0 || now_ms - outlier->swept_ms > interval / 2) {
        outlier->swept_ms = now_ms;
        for (uint32_t i = 0; i < view->count; i++) {
            if (is_ejected(view->hosts[i])) {
                let_back(outlier, view->hosts[i], now_ms);
            }
        }
        for (int side = RATE_EXTERNAL; side <= RATE_LOCAL; side++) {
            sweep_rates(outlier, view, side, now_ms, random, counts);
        }
        for (uint32_t i = 0; i < view->count; i++) {
            struct outlier_host *host = view->hosts[i];
            if (!is_ejected(host) && host->backoff > 0 && now_ms - host->unejected_ms >= interval) {
                host->backoff--;
            }
        }
    }
    (void)pthread_mutex_unlock(&outlier->lock);
}
