// SPDX-License-Identifier: Apache-2.0
#include "proxy/cluster/stats.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/memory.h"
#include "base/vec.h"

struct entry {
    struct stat stat;
    enum stat_group group;
    enum stat_kind kind;
    char *subject;
    char *name;
    char *text; // full name in /stats
};

struct stats {
    pthread_mutex_t lock; // guards the tables; values are atomic
    struct map by_text;
    VEC(struct entry *) entries;
    struct stat overflow;
};

static const struct {
    const char *text;  // prefix in /stats
    const char *label; // Prometheus label of the subject; NULL: part of the name
} groups[STAT_GROUP_COUNT] = {
    [STAT_CLUSTER] = {"cluster", "cluster_name"},
    [STAT_LISTENER] = {"listener", "listener_address"},
    [STAT_HTTP] = {"http", "http_conn_manager_prefix"},
    [STAT_TCP] = {"tcp", "tcp_prefix"},
    [STAT_SERVER] = {"", NULL},
};

struct stats *stats_new(void)
{
    struct stats *stats = mem_new(struct stats);
    (void)pthread_mutex_init(&stats->lock, NULL);
    return stats;
}

void stats_free(struct stats *stats)
{
    if (stats == NULL) {
        return;
    }
    for (size_t i = 0; i < stats->entries.count; i++) {
        struct entry *entry = stats->entries.items[i];
        mem_free(entry->subject);
        mem_free(entry->name);
        mem_free(entry->text);
        mem_free(entry);
    }
    vec_done(&stats->entries);
    map_done(&stats->by_text);
    (void)pthread_mutex_destroy(&stats->lock);
    mem_free(stats);
}

struct stat *stats_get(struct stats *stats, enum stat_group group, struct str subject, const char *name, enum stat_kind kind)
{
    struct buf text = {0};
    buf_printf(&text, "%s%s%.*s.%s", groups[group].text, group == STAT_SERVER ? "" : ".", STR_ARG(subject), name);
    (void)pthread_mutex_lock(&stats->lock);
    struct entry *entry = map_get(&stats->by_text, buf_view(&text));
    struct stat *result = &stats->overflow;
    if (entry != NULL) {
        result = &entry->stat;
    } else if (stats->entries.count < STATS_MAX) {
        entry = mem_new(struct entry);
        atomic_init(&entry->stat.value, 0);
        entry->group = group;
        entry->kind = kind;
        entry->name = mem_strdup(name);
        struct buf copy = {0};
        buf_append_str(&copy, subject);
        entry->subject = buf_detach(&copy, NULL);
        (void)map_set(&stats->by_text, buf_view(&text), entry);
        entry->text = buf_detach(&text, NULL);
        vec_push(&stats->entries, entry);
        result = &entry->stat;
    }
    (void)pthread_mutex_unlock(&stats->lock);
    buf_done(&text);
    return result;
}

// --- writing: a sorted copy of the table, then without the lock (entries live on) ------------------------

static int compare_text(const void *a, const void *b)
{
    const struct entry *const *left = a;
    const struct entry *const *right = b;
    return strcmp((*left)->text, (*right)->text);
}

// By metric first, so that the samples of one metric stand together.
static int compare_metric(const void *a, const void *b)
{
    const struct entry *const *left = a;
    const struct entry *const *right = b;
    int order = (int)(*left)->group - (int)(*right)->group;
    order = order != 0 ? order : strcmp((*left)->name, (*right)->name);
    return order != 0 ? order : strcmp((*left)->subject, (*right)->subject);
}

static struct entry **sorted_entries(struct stats *stats, int (*compare)(const void *, const void *), size_t *ret_count)
{
    (void)pthread_mutex_lock(&stats->lock);
    size_t count = stats->entries.count;
    struct entry **entries = mem_zalloc(sizeof(struct entry *) * (count + 1));
    for (size_t i = 0; i < count; i++) {
        entries[i] = stats->entries.items[i];
    }
    (void)pthread_mutex_unlock(&stats->lock);
    qsort(entries, count, sizeof(struct entry *), compare);
    *ret_count = count;
    return entries;
}

static bool is_wanted(const struct entry *entry, const struct stats_query *query)
{
    if (query->used_only && stat_value(&entry->stat) == 0) {
        return false;
    }
    struct str text = str_of(entry->text);
    struct str part = query->contains;
    if (part.size > 0 && part.data[part.size - 1] == '$') {
        return str_ends_with(text, str_sub(part, 0, part.size - 1));
    }
    return part.size == 0 || str_find(text, part) >= 0;
}

void stats_write_text(struct stats *stats, const struct stats_query *query, struct buf *out)
{
    size_t count = 0;
    struct entry **entries = sorted_entries(stats, compare_text, &count);
    for (size_t i = 0; i < count; i++) {
        if (is_wanted(entries[i], query)) {
            buf_printf(out, "%s: %lld\n", entries[i]->text, (long long)stat_value(&entries[i]->stat));
        }
    }
    mem_free(entries);
}

static void append_name(struct buf *out, const struct entry *entry)
{
    struct buf name = {0};
    buf_printf(&name, "envoy_%s%s", groups[entry->group].text, entry->group == STAT_SERVER ? "" : "_");
    if (entry->group == STAT_SERVER) {
        buf_printf(&name, "%s_", entry->subject);
    }
    buf_printf(&name, "%s", entry->name);
    struct str view = buf_view(&name);
    for (size_t i = 0; i < view.size; i++) {
        char c = view.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        buf_append_char(out, plain ? c : '_');
    }
    buf_done(&name);
}

static void append_label_value(struct buf *out, const char *text)
{
    for (; *text != 0; text++) {
        if (*text == '\\' || *text == '"') {
            buf_append_char(out, '\\');
        }
        buf_append_char(out, *text == '\n' ? ' ' : *text);
    }
}

void stats_write_prometheus(struct stats *stats, struct buf *out)
{
    size_t count = 0;
    struct entry **entries = sorted_entries(stats, compare_metric, &count);
    for (size_t i = 0; i < count; i++) {
        const struct entry *entry = entries[i];
        bool first = i == 0 || entries[i - 1]->group != entry->group || strcmp(entries[i - 1]->name, entry->name) != 0 ||
                     entry->group == STAT_SERVER;
        if (first) {
            buf_append_str(out, STR("# TYPE "));
            append_name(out, entry);
            buf_printf(out, " %s\n", entry->kind == STAT_COUNTER ? "counter" : "gauge");
        }
        append_name(out, entry);
        if (groups[entry->group].label != NULL) {
            buf_printf(out, "{%s=\"", groups[entry->group].label);
            append_label_value(out, entry->subject);
            buf_append_str(out, STR("\"}"));
        } else {
            buf_append_str(out, STR("{}"));
        }
        buf_printf(out, " %lld\n", (long long)stat_value(&entry->stat));
    }
    mem_free(entries);
}
