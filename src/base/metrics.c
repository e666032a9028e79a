// SPDX-License-Identifier: Apache-2.0
//
// Counts are kept in cells of eight bytes: one per counter and gauge, one per bucket of a histogram and
// one for its sum. Every thread has cells of its own (a shard), which nobody else writes, so that
// counting is an ordinary addition in memory of this core; readers add the shards up.
//
//   metric ── cell number ──► shard of the thread ── chunk ──► cell
//
// A thread gets the number of its shard when it first counts, and leaves it to a later thread when it
// ends; cells keep what was counted. When SHARD_SHARED threads count at the same time, all further ones
// share the last shard, by atomic additions. A gauge is what it was set to plus what was adjusted since.
#include "base/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/vec.h"

#define SHARD_COUNT 64u
#define SHARD_SHARED (SHARD_COUNT - 1)
#define CHUNK_CELLS 512u                // 4 KiB
#define CHUNKS_MAX 1024u
#define CELLS_MAX (CHUNK_CELLS * CHUNKS_MAX) // of a registry; what is registered beyond is counted, not shown

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric {
    struct metrics *metrics;
    enum metric_type type;
    bool hidden; // the registry was full
    uint32_t cell;
    int64_t base; // atomic; gauges: the value set, less the cells at that time
    char *name;
    char *help;
    char *labels; // "" when none
    double *bounds;
    size_t bound_count; // cells: bound_count + 1 buckets, the last is +Inf, then the sum as a double
};

struct shard {
    uint64_t *chunks[CHUNKS_MAX]; // atomic pointers; made by the first use
};

struct metrics {
    pthread_mutex_t lock; // registration, scraping, making shards and chunks
    VEC(struct metric *) all;
    struct map by_name; // name{labels}
    bool sorted;
    uint32_t cell_count;
    uint64_t hidden_count;
    struct shard *shards[SHARD_COUNT]; // atomic pointers
};

// --- threads ---------------------------------------------------------------------------------------

static uint64_t shards_taken = UINT64_C(1) << SHARD_SHARED; // atomic; a bit each
static __thread unsigned thread_shard; // number + 1; 0: none yet
static pthread_key_t thread_end;
static pthread_once_t thread_end_once = PTHREAD_ONCE_INIT;

static void leave_shard(void *value)
{
    (void)value;
    unsigned shard = thread_shard - 1;
    thread_shard = SHARD_SHARED + 1; // for destructors that still count
    if (shard < SHARD_SHARED) {
        __atomic_fetch_and(&shards_taken, ~(UINT64_C(1) << shard), __ATOMIC_RELEASE);
    }
}

static void make_thread_end(void)
{
    ASSERT(pthread_key_create(&thread_end, leave_shard) == 0);
}

static unsigned take_shard(void)
{
    uint64_t taken = __atomic_load_n(&shards_taken, __ATOMIC_RELAXED);
    unsigned shard;
    do {
        if (taken == UINT64_MAX) {
            return SHARD_SHARED;
        }
        shard = (unsigned)__builtin_ctzll(~taken);
    } while (!__atomic_compare_exchange_n(&shards_taken, &taken, taken | UINT64_C(1) << shard, true,
                                          __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
    ASSERT(pthread_once(&thread_end_once, make_thread_end) == 0);
    ASSERT(pthread_setspecific(thread_end, &thread_shard) == 0); // any value but NULL
    return shard;
}

static unsigned shard_number(void)
{
    if (__builtin_expect(thread_shard == 0, 0)) {
        thread_shard = take_shard() + 1;
    }
    return thread_shard - 1;
}

// --- cells -----------------------------------------------------------------------------------------

static uint64_t *make_cell(struct metrics *metrics, unsigned number, uint32_t cell)
{
    pthread_mutex_lock(&metrics->lock);
    struct shard *shard = metrics->shards[number];
    if (shard == NULL) {
        shard = mem_new(struct shard);
        __atomic_store_n(&metrics->shards[number], shard, __ATOMIC_RELEASE);
    }
    uint64_t *chunk = shard->chunks[cell / CHUNK_CELLS];
    if (chunk == NULL) {
        chunk = mem_zalloc(CHUNK_CELLS * sizeof(*chunk));
        __atomic_store_n(&shard->chunks[cell / CHUNK_CELLS], chunk, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&metrics->lock);
    return &chunk[cell % CHUNK_CELLS];
}

// NULL: that thread never counted it.
static uint64_t *find_cell(const struct metrics *metrics, unsigned number, uint32_t cell)
{
    const struct shard *shard = __atomic_load_n(&metrics->shards[number], __ATOMIC_ACQUIRE);
    uint64_t *chunk =
        shard == NULL ? NULL : __atomic_load_n(&shard->chunks[cell / CHUNK_CELLS], __ATOMIC_ACQUIRE);
    return chunk == NULL ? NULL : &chunk[cell % CHUNK_CELLS];
}

static uint64_t *own_cell(struct metric *metric, unsigned number)
{
    uint64_t *cell = find_cell(metric->metrics, number, metric->cell);
    return __builtin_expect(cell != NULL, 1) ? cell : make_cell(metric->metrics, number, metric->cell);
}

static void cell_add(uint64_t *cell, unsigned number, uint64_t amount)
{
    if (__builtin_expect(number == SHARD_SHARED, 0)) {
        __atomic_fetch_add(cell, amount, __ATOMIC_RELAXED);
    } else { // nobody else writes here
        __atomic_store_n(cell, __atomic_load_n(cell, __ATOMIC_RELAXED) + amount, __ATOMIC_RELAXED);
    }
}

static uint64_t cells_sum(const struct metric *metric, uint32_t offset)
{
    uint64_t sum = 0;
    for (unsigned number = 0; number < SHARD_COUNT; number++) {
        const uint64_t *cell = find_cell(metric->metrics, number, metric->cell + offset);
        sum += cell == NULL ? 0 : __atomic_load_n(cell, __ATOMIC_RELAXED);
    }
    return sum;
}

// --- life ------------------------------------------------------------------------------------------

struct metrics *metrics_new(void)
{
    struct metrics *metrics = mem_new(struct metrics);
    ASSERT(pthread_mutex_init(&metrics->lock, NULL) == 0);
    return metrics;
}

static void metric_free(struct metric *metric)
{
    mem_free(metric->name);
    mem_free(metric->help);
    mem_free(metric->labels);
    mem_free(metric->bounds);
    mem_free(metric);
}

void metrics_free(struct metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    for (size_t i = 0; i < metrics->all.count; i++) {
        metric_free(metrics->all.items[i]);
    }
    for (unsigned number = 0; number < SHARD_COUNT; number++) {
        struct shard *shard = metrics->shards[number];
        for (size_t chunk = 0; shard != NULL && chunk < CHUNKS_MAX; chunk++) {
            mem_free(shard->chunks[chunk]);
        }
        mem_free(shard);
    }
    vec_done(&metrics->all);
    map_done(&metrics->by_name);
    (void)pthread_mutex_destroy(&metrics->lock);
    mem_free(metrics);
}

// --- registration ----------------------------------------------------------------------------------

// A metric's cells lie in one chunk, one behind the other. When all are given away, whatever comes later
// shares the first ones of the last chunk and is not shown.
static void give_cells(struct metrics *metrics, struct metric *metric)
{
    uint32_t count = metric->type == METRIC_HISTOGRAM ? (uint32_t)metric->bound_count + 2 : 1;
    ASSERT(count <= CHUNK_CELLS);
    uint32_t left = CHUNK_CELLS - metrics->cell_count % CHUNK_CELLS;
    uint32_t cell = metrics->cell_count + (count > left ? left : 0);
    metric->hidden = cell + count > CELLS_MAX - CHUNK_CELLS;
    metric->cell = metric->hidden ? CELLS_MAX - CHUNK_CELLS : cell;
    if (metric->hidden) {
        metrics->hidden_count++;
    } else {
        metrics->cell_count = cell + count;
    }
}

static struct metric *make_metric(struct metrics *metrics, enum metric_type type, const char *name,
                                  const char *help, const char *labels, const double *bounds,
                                  size_t bound_count)
{
    struct metric *metric = mem_new(struct metric);
    metric->metrics = metrics;
    metric->type = type;
    metric->name = mem_strdup(name);
    metric->help = mem_strdup(help);
    metric->labels = mem_strdup(labels);
    if (type == METRIC_HISTOGRAM) {
        metric->bound_count = bound_count;
        metric->bounds = mem_alloc(bound_count * sizeof(double));
        memcpy(metric->bounds, bounds, bound_count * sizeof(double));
    }
    give_cells(metrics, metric);
    vec_push(&metrics->all, metric);
    metrics->sorted = false;
    return metric;
}

static struct metric *metric_register(struct metrics *metrics, enum metric_type type,
                                      const char *name, const char *help, const char *labels,
                                      const double *bounds, size_t bound_count)
{
    labels = labels == NULL ? "" : labels;
    struct buf key = {0};
    buf_append_str(&key, str_of(name));
    buf_append_char(&key, '{');
    buf_append_str(&key, str_of(labels));
    pthread_mutex_lock(&metrics->lock);
    struct metric *metric = map_get(&metrics->by_name, buf_view(&key));
    if (metric == NULL) {
        metric = make_metric(metrics, type, name, help, labels, bounds, bound_count);
        (void)map_set(&metrics->by_name, buf_view(&key), metric);
    }
    pthread_mutex_unlock(&metrics->lock);
    buf_done(&key);
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

// --- counting --------------------------------------------------------------------------------------

void metric_add(struct metric *metric, uint64_t amount)
{
    unsigned number = shard_number();
    cell_add(own_cell(metric, number), number, amount);
}

void metric_set(struct metric *metric, int64_t value)
{
    __atomic_store_n(&metric->base, value - (int64_t)cells_sum(metric, 0), __ATOMIC_RELAXED);
}

void metric_adjust(struct metric *metric, int64_t change)
{
    metric_add(metric, (uint64_t)change); // two's complement: the sum of the shards is right
}

uint64_t metric_value(const struct metric *metric)
{
    return (uint64_t)__atomic_load_n(&metric->base, __ATOMIC_RELAXED) + cells_sum(metric, 0);
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

static void cell_add_double(uint64_t *cell, double amount)
{
    uint64_t old_bits = __atomic_load_n(cell, __ATOMIC_RELAXED);
    uint64_t new_bits;
    do {
        new_bits = double_to_bits(double_from_bits(old_bits) + amount);
    } while (!__atomic_compare_exchange_n(cell, &old_bits, new_bits, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
}

void metric_observe(struct metric *metric, double value)
{
    size_t i = 0;
    while (i < metric->bound_count && value > metric->bounds[i]) {
        i++;
    }
    unsigned number = shard_number();
    uint64_t *cells = own_cell(metric, number);
    cell_add(&cells[i], number, 1);
    cell_add_double(&cells[metric->bound_count + 1], value);
}

static double histogram_sum(const struct metric *metric)
{
    double sum = 0;
    for (unsigned number = 0; number < SHARD_COUNT; number++) {
        const uint64_t *cell =
            find_cell(metric->metrics, number, metric->cell + (uint32_t)metric->bound_count + 1);
        sum += cell == NULL ? 0 : double_from_bits(__atomic_load_n(cell, __ATOMIC_RELAXED));
    }
    return sum;
}

// --- scraping --------------------------------------------------------------------------------------

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
        total += cells_sum(metric, (uint32_t)i);
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
    double sum = histogram_sum(metric);
    char text[32];
    (void)snprintf(text, sizeof(text), "%.15g", sum);
    if (strtod(text, NULL) != sum) {
        (void)snprintf(text, sizeof(text), "%.17g", sum); // every bit: rates are made of differences
    }
    buf_printf(out, "%s_sum%s%s%s %s\n", metric->name, open, metric->labels, close, text);
    buf_printf(out, "%s_count%s%s%s %llu\n", metric->name, open, metric->labels, close,
               (unsigned long long)total);
}

void metrics_write(struct metrics *metrics, struct buf *out)
{
    static const char *const type_names[] = {"counter", "gauge", "histogram"};
    pthread_mutex_lock(&metrics->lock);
    if (!metrics->sorted && metrics->all.count > 0) {
        qsort(metrics->all.items, metrics->all.count, sizeof(*metrics->all.items), by_name);
        metrics->sorted = true;
    }
    const char *previous = "";
    for (size_t i = 0; i < metrics->all.count; i++) {
        const struct metric *metric = metrics->all.items[i];
        if (metric->hidden) {
            continue;
        }
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
        buf_printf(out, " %lld\n", (long long)metric_value(metric));
    }
    if (metrics->hidden_count > 0) {
        buf_printf(out, "# %llu metrics more: the registry is full\n", (unsigned long long)metrics->hidden_count);
    }
    pthread_mutex_unlock(&metrics->lock);
}
