// SPDX-License-Identifier: Apache-2.0
#include "base/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/vec.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric {
    enum metric_type type;
    char *name;
    char *help;
    char *labels; // "" when none
    int64_t value; // atomic
    double *bounds;
    uint64_t *bucket_counts; // atomic; bound_count + 1, the last is +Inf
    size_t bound_count;
    uint64_t sum_bits; // atomic; a double
};

struct metrics {
    pthread_mutex_t lock; // registration and scraping only
    VEC(struct metric *) all;
};

struct metrics *metrics_new(void)
{
    struct metrics *metrics = mem_new(struct metrics);
    pthread_mutex_init(&metrics->lock, NULL);
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    for (size_t i = 0; i < metrics->all.count; i++) {
        struct metric *metric = metrics->all.items[i];
        mem_free(metric->name);
        mem_free(metric->help);
        mem_free(metric->labels);
        mem_free(metric->bounds);
        mem_free(metric->bucket_counts);
        mem_free(metric);
    }
    vec_done(&metrics->all);
    pthread_mutex_destroy(&metrics->lock);
    mem_free(metrics);
}

static struct metric *find(struct metrics *metrics, const char *name, const char *labels)
{
    for (size_t i = 0; i < metrics->all.count; i++) {
        struct metric *metric = metrics->all.items[i];
        if (strcmp(metric->name, name) == 0 && strcmp(metric->labels, labels) == 0) {
            return metric;
        }
    }
    return NULL;
}

static struct metric *metric_register(struct metrics *metrics, enum metric_type type,
                                      const char *name, const char *help, const char *labels,
                                      const double *bounds, size_t bound_count)
{
    labels = labels == NULL ? "" : labels;
    pthread_mutex_lock(&metrics->lock);
    struct metric *metric = find(metrics, name, labels);
    if (metric == NULL) {
        metric = mem_new(struct metric);
        metric->type = type;
        metric->name = mem_strdup(name);
        metric->help = mem_strdup(help);
        metric->labels = mem_strdup(labels);
        if (type == METRIC_HISTOGRAM) {
            metric->bound_count = bound_count;
            metric->bounds = mem_alloc(bound_count * sizeof(double));
            memcpy(metric->bounds, bounds, bound_count * sizeof(double));
            metric->bucket_counts = mem_zalloc((bound_count + 1) * sizeof(uint64_t));
        }
        vec_push(&metrics->all, metric);
    }
    pthread_mutex_unlock(&metrics->lock);
    ASSERT(metric->type == type);
    return metric;
}

struct metric *metrics_counter(struct metrics *metrics, const char *name, const char *help,
                               const char *labels)
{
    return metric_register(metrics, METRIC_COUNTER, name, help, labels, NULL, 0);
}

struct metric *metrics_gauge(struct metrics *metrics, const char *name, const char *help,
                             const char *labels)
{
    return metric_register(metrics, METRIC_GAUGE, name, help, labels, NULL, 0);
}

struct metric *metrics_histogram(struct metrics *metrics, const char *name, const char *help,
                                 const char *labels, const double *bounds, size_t bound_count)
{
    return metric_register(metrics, METRIC_HISTOGRAM, name, help, labels, bounds, bound_count);
}

void metric_add(struct metric *metric, uint64_t amount)
{
    __atomic_fetch_add(&metric->value, (int64_t)amount, __ATOMIC_RELAXED);
}

void metric_set(struct metric *metric, int64_t value)
{
    __atomic_store_n(&metric->value, value, __ATOMIC_RELAXED);
}

void metric_adjust(struct metric *metric, int64_t change)
{
    __atomic_fetch_add(&metric->value, change, __ATOMIC_RELAXED);
}

uint64_t metric_value(const struct metric *metric)
{
    return (uint64_t)__atomic_load_n(&metric->value, __ATOMIC_RELAXED);
}

static double double_from_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint64_t double_to_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

void metric_observe(struct metric *metric, double value)
{
    size_t i = 0;
    while (i < metric->bound_count && value > metric->bounds[i]) {
        i++;
    }
    __atomic_fetch_add(&metric->bucket_counts[i], 1, __ATOMIC_RELAXED);
    uint64_t old_bits = __atomic_load_n(&metric->sum_bits, __ATOMIC_RELAXED);
    uint64_t new_bits;
    do {
        new_bits = double_to_bits(double_from_bits(old_bits) + value);
    } while (!__atomic_compare_exchange_n(&metric->sum_bits, &old_bits, new_bits, true,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

static int by_name(const void *a, const void *b)
{
    const struct metric *const *left = a;
    const struct metric *const *right = b;
    int order = strcmp((*left)->name, (*right)->name);
    return order != 0 ? order : strcmp((*left)->labels, (*right)->labels);
}

static void write_histogram(const struct metric *metric, struct buf *out)
{
    const char *separator = metric->labels[0] == '\0' ? "" : ",";
    uint64_t total = 0;
    for (size_t i = 0; i <= metric->bound_count; i++) {
        total += __atomic_load_n(&metric->bucket_counts[i], __ATOMIC_RELAXED);
        buf_printf(out, "%s_bucket{%s%sle=\"", metric->name, metric->labels, separator);
        if (i < metric->bound_count) {
            buf_printf(out, "%g", metric->bounds[i]);
        } else {
            buf_append_str(out, STR("+Inf"));
        }
        buf_printf(out, "\"} %llu\n", (unsigned long long)total);
    }
    const char *open = metric->labels[0] == '\0' ? "" : "{";
    const char *close = metric->labels[0] == '\0' ? "" : "}";
    double sum = double_from_bits(__atomic_load_n(&metric->sum_bits, __ATOMIC_RELAXED));
    buf_printf(out, "%s_sum%s%s%s %g\n", metric->name, open, metric->labels, close, sum);
    buf_printf(out, "%s_count%s%s%s %llu\n", metric->name, open, metric->labels, close,
               (unsigned long long)total);
}

void metrics_write(struct metrics *metrics, struct buf *out)
{
    static const char *const type_names[] = {"counter", "gauge", "histogram"};
    pthread_mutex_lock(&metrics->lock);
    if (metrics->all.count > 0) {
        qsort(metrics->all.items, metrics->all.count, sizeof(*metrics->all.items), by_name);
    }
    const char *previous = "";
    for (size_t i = 0; i < metrics->all.count; i++) {
        const struct metric *metric = metrics->all.items[i];
        if (strcmp(previous, metric->name) != 0) {
            buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help,
                       metric->name, type_names[metric->type]);
            previous = metric->name;
        }
        if (metric->type == METRIC_HISTOGRAM) {
            write_histogram(metric, out);
            continue;
        }
        buf_append_str(out, str_of(metric->name));
        if (metric->labels[0] != '\0') {
            buf_printf(out, "{%s}", metric->labels);
        }
        buf_printf(out, " %lld\n", (long long)__atomic_load_n(&metric->value, __ATOMIC_RELAXED));
    }
    pthread_mutex_unlock(&metrics->lock);
}
