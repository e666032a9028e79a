// SPDX-License-Identifier: Apache-2.0
#include "proxy/dns_clusters.h"

#include "base/memory.h"
#include "net/resolve.h"

struct lookup {
    struct dns_clusters *dns;
    char *name;
    struct resolve *resolve; // NULL: none under way
    uint64_t refresh_ms;
    bool is_wanted;
    struct loop_timer again;
};

struct dns_clusters {
    struct loop *loop;
    struct config_store *store;
    void (*on_changed)(void *owner);
    void *owner;
    struct map lookups; // name → struct lookup
};

static void lookup_free(struct lookup *lookup)
{
    resolve_cancel(lookup->resolve);
    loop_timer_stop(&lookup->again);
    mem_free(lookup->name);
    mem_free(lookup);
}

static void on_resolved(void *owner, const struct address *addresses, size_t count, const struct error *err)
{
    struct lookup *lookup = owner;
    struct dns_clusters *dns = lookup->dns;
    lookup->resolve = NULL;
    loop_timer_start(&lookup->again, lookup->refresh_ms);
    size_t usable = err != NULL && err->code != ERR_OK ? 0 : count;
    if (config_store_set_host(dns->store, str_of(lookup->name), addresses, usable)) {
        dns->on_changed(dns->owner);
    }
}

static void ask(struct lookup *lookup)
{
    if (lookup->resolve == NULL) {
        lookup->resolve = resolve_start(lookup->dns->loop, str_of(lookup->name), 0, on_resolved, lookup);
    }
}

static void on_again(struct loop_timer *timer)
{
    ask(container_of(timer, struct lookup, again));
}

struct dns_clusters *dns_clusters_new(struct loop *loop, struct config_store *store, void (*on_changed)(void *owner), void *owner)
{
    struct dns_clusters *dns = mem_new(struct dns_clusters);
    *dns = (struct dns_clusters){.loop = loop, .store = store, .on_changed = on_changed, .owner = owner};
    return dns;
}

void dns_clusters_free(struct dns_clusters *dns)
{
    if (dns == NULL) {
        return;
    }
    void *value;
    for (size_t at = 0; map_each(&dns->lookups, &at, NULL, &value);) {
        lookup_free(value);
    }
    map_done(&dns->lookups);
    mem_free(dns);
}

static void want(struct dns_clusters *dns, struct str name, uint64_t refresh_ms)
{
    struct lookup *lookup = map_get(&dns->lookups, name);
    refresh_ms = refresh_ms < DNS_REFRESH_MIN_MS ? DNS_REFRESH_MIN_MS : refresh_ms;
    if (lookup != NULL) {
        lookup->refresh_ms = lookup->is_wanted && lookup->refresh_ms < refresh_ms ? lookup->refresh_ms : refresh_ms;
        lookup->is_wanted = true;
        return;
    }
    if (map_count(&dns->lookups) >= DNS_NAMES_MAX) {
        return;
    }
    struct arena arena = {0};
    lookup = mem_new(struct lookup);
    lookup->dns = dns;
    lookup->name = mem_strdup(arena_str(&arena, name).data);
    arena_done(&arena);
    lookup->refresh_ms = refresh_ms;
    lookup->is_wanted = true;
    loop_timer_init(&lookup->again, dns->loop, on_again);
    (void)map_set(&dns->lookups, name, lookup);
    ask(lookup);
}

void dns_clusters_refresh(struct dns_clusters *dns)
{
    struct arena arena = {0};
    struct config_host *hosts;
    size_t count;
    struct str name;
    void *value;
    for (size_t at = 0; map_each(&dns->lookups, &at, NULL, &value);) {
        ((struct lookup *)value)->is_wanted = false;
    }
    config_store_wanted_hosts(dns->store, &arena, &hosts, &count);
    for (size_t i = 0; i < count; i++) {
        want(dns, hosts[i].name, hosts[i].refresh_ms);
    }
    for (size_t at = 0; map_each(&dns->lookups, &at, &name, &value);) {
        struct lookup *lookup = value;
        if (!lookup->is_wanted) {
            config_store_forget_host(dns->store, name);
            (void)map_remove(&dns->lookups, name);
            lookup_free(lookup);
        }
    }
    arena_done(&arena);
}
