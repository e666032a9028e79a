// SPDX-License-Identifier: Apache-2.0
//
// outlier: ejecting hosts that keep failing, by the rules of Envoy's outlier detection.
//
// Every worker reports what it sees of a host; the counts are the host's own atomics, so that failures
// seen by different workers add up. The report that reaches a limit ejects at once, under the detector's
// lock, and raises the detector's epoch; each worker compares the epoch before it chooses a host and
// rebuilds its balancing when it changed: all eject together, without a message. A sweep per interval
// (by whichever worker's timer rings first) lets hosts back in and judges success rates.
//
// Time and dice are arguments. An ejected host is unhealthy for the shares of priorities and the panic.
#ifndef PROXY_CLUSTER_OUTLIER_H
#define PROXY_CLUSTER_OUTLIER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/random.h"
#include "envoy/config/cluster/v3/outlier_detection.pb-c.h"

enum outlier_kind {
    OUTLIER_CONSECUTIVE_5XX,
    OUTLIER_GATEWAY_FAILURE,
    OUTLIER_LOCAL_FAILURE,
    OUTLIER_SUCCESS_RATE,
    OUTLIER_LOCAL_SUCCESS_RATE,
    OUTLIER_FAILURE_PERCENTAGE,
    OUTLIER_LOCAL_FAILURE_PERCENTAGE,
    OUTLIER_KIND_COUNT
};

const char *outlier_kind_name(enum outlier_kind kind); // as in names of statistics

struct outlier_options {
    uint64_t interval_ms;
    uint64_t base_ms;
    uint64_t max_ms;
    uint64_t jitter_ms;
    uint32_t max_percent;
    bool always_one; // the first ejection is allowed whatever max_percent says
    uint32_t limits[OUTLIER_LOCAL_FAILURE + 1]; // of the consecutive kinds
    uint32_t enforcing[OUTLIER_KIND_COUNT];     // percent
    bool split_local;
    uint32_t rate_hosts_min;
    uint32_t rate_volume_min;
    uint32_t rate_deviations; // thousandths
    uint32_t failure_threshold;
    uint32_t failure_hosts_min;
    uint32_t failure_volume_min;
};

enum err outlier_options_compile(const Envoy__Config__Cluster__V3__OutlierDetection *config, struct outlier_options *ret_options,
                                 struct error *err) must_check;

// One of the two sides (external, local origin) of a host's success rate.
struct outlier_rate {
    atomic_uint success;
    atomic_uint total;
};

struct outlier_host {
    atomic_uint consecutive[OUTLIER_LOCAL_FAILURE + 1];
    struct outlier_rate rates[2];
    atomic_bool ejected;
    // Under the detector's lock:
    uint32_t ejections;
    uint32_t backoff;
    uint64_t ejected_ms;
    uint64_t unejected_ms;
    uint64_t jitter_ms;
};

// What a report or a sweep did; the caller counts it.
struct outlier_counts {
    uint32_t detected[OUTLIER_KIND_COUNT];
    uint32_t enforced[OUTLIER_KIND_COUNT];
    uint32_t overflow;
};

struct outlier;

struct outlier *outlier_new(const struct outlier_options *options);
void outlier_free(struct outlier *outlier); // NULL is fine
const struct outlier_options *outlier_options_of(const struct outlier *outlier);
// Changes whenever a host was ejected or let back in.
uint32_t outlier_epoch(const struct outlier *outlier);

// All hosts of the cluster, whatever their priority.
struct outlier_view {
    struct outlier_host *const *hosts;
    uint32_t count;
};

uint32_t outlier_active(const struct outlier_view *view); // hosts ejected now

enum outlier_local { OUTLIER_CONNECTED, OUTLIER_CONNECT_FAILED, OUTLIER_TIMED_OUT, OUTLIER_RESET };

// True: a limit was reached; then call outlier_eject() with the view of the moment.
bool outlier_report_status(struct outlier *outlier, struct outlier_host *host, int status, enum outlier_kind *ret_kind) must_check;
// Events that are no answer. is_tcp: a connection counts as a success of its own.
bool outlier_report_local(struct outlier *outlier, struct outlier_host *host, enum outlier_local event, bool is_tcp,
                          enum outlier_kind *ret_kind) must_check;
void outlier_eject(struct outlier *outlier, const struct outlier_view *view, struct outlier_host *host, enum outlier_kind kind,
                   uint64_t now_ms, struct random *random, struct outlier_counts *counts);
// Does nothing when another worker swept this interval already.
void outlier_sweep(struct outlier *outlier, const struct outlier_view *view, uint64_t now_ms, struct random *random,
                   struct outlier_counts *counts);

#endif
