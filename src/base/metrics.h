// SPDX-License-Identifier: Apache-2.0
//
// Metrics: counters, gauges and histograms, scraped as Prometheus text (exposition format 0.0.4).
//
// A registry hangs from the program's root object. A metric with the same name and labels is one
// object: registering it again returns the first. Any thread may count: it adds to memory that no other
// thread writes, and scraping adds up; there is no lock and no shared cache line on the hot path.
// metric_set() is for the one thread that knows the value. Metrics live as long as the registry.
//
//   struct metric *pushes = metrics_counter(registry, "pilot_xds_pushes", "Pushes sent.", "type=\"eds\"");
//   metric_add(pushes, 1);
//
// `labels` is the text between the braces, already quoted and escaped, or NULL.
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct metrics;
struct metric;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);

struct metric *metrics_counter(struct metrics *metrics, const char *name, const char *help,
                               const char *labels);
struct metric *metrics_gauge(struct metrics *metrics, const char *name, const char *help,
                             const char *labels);
// bounds: upper limits in rising order, without +Inf; copied.
struct metric *metrics_histogram(struct metrics *metrics, const char *name, const char *help,
                                 const char *labels, const double *bounds, size_t bound_count);

void metric_add(struct metric *metric, uint64_t amount);     // counters
void metric_set(struct metric *metric, int64_t value);       // gauges
void metric_adjust(struct metric *metric, int64_t change);   // gauges
void metric_observe(struct metric *metric, double value);    // histograms
uint64_t metric_value(const struct metric *metric);          // counter or gauge, for tests and admin

// Appends everything, metrics of one name together, sorted by name then labels.
void metrics_write(struct metrics *metrics, struct buf *out);

#endif
