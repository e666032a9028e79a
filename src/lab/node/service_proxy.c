// SPDX-License-Identifier: Apache-2.0
#include "lab/node/service_proxy.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/vec.h"
#include "lab/node/process.h"
#include "lab/node/service_rules.h"

#define RETRY_MS 1000u
#define NFT_TIMEOUT_MS 30000u

static struct log_scope scope = LOG_SCOPE("services");

struct service_proxy {
    struct node *node;
    struct informer *slices;
    struct loop_timer timer; // gathers changes; retries
    struct process *nft;
    struct buf applied; // text in force, or being applied
    bool is_stale;      // changed while nft runs
    bool is_ready;
    void (*on_ready)(void *owner);
    void *owner;
};

static void on_nft_done(void *owner, int status, struct str output)
{
    struct service_proxy *proxy = owner;
    char text[48];
    proxy->nft = NULL;
    if (status != 0) {
        log_error(&scope, "nft refused the service rules, keeping the old ones and trying again",
                  LOG_CSTR("status", process_status_text(status, text)), LOG_STR("said", str_sub(output, 0, 400)));
        buf_reset(&proxy->applied);
        loop_timer_start(&proxy->timer, RETRY_MS);
        return;
    }
    if (!proxy->is_ready) {
        proxy->is_ready = true;
        proxy->on_ready(proxy->owner);
    }
    if (proxy->is_stale) {
        proxy->is_stale = false;
        loop_timer_start(&proxy->timer, SERVICE_PROXY_DELAY_MS);
    }
}

typedef VEC(const struct json_value *) value_list;

static void gather(const struct informer *informer, value_list *list)
{
    size_t at = 0;
    for (struct kube_object *object; (object = informer_each(informer, &at)) != NULL;) {
        vec_push(list, object->value);
    }
}

static void generate(const struct service_proxy *proxy, struct buf *out)
{
    value_list services = {0};
    value_list slices = {0};
    gather(proxy->node->services, &services);
    gather(proxy->slices, &slices);
    struct service_rules_input input = {.services = services.items, .service_count = services.count, .slices = slices.items,
                                        .slice_count = slices.count, .node_ip = proxy->node->node_ip,
                                        .pod_cidr = proxy->node->cluster_cidr};
    service_rules_write(&input, out);
    vec_done(&services);
    vec_done(&slices);
}

static void on_timer(struct loop_timer *timer)
{
    struct service_proxy *proxy = container_of(timer, struct service_proxy, timer);
    static const char *const arguments[] = {"nft", "-f", "-", NULL};
    struct buf text = {0};
    struct error err = {0};
    if (proxy->nft != NULL) {
        proxy->is_stale = true;
        return;
    }
    if (!informer_is_synced(proxy->node->services) || !informer_is_synced(proxy->slices)) {
        return; // the sync starts the timer again
    }
    generate(proxy, &text);
    if (str_equal(buf_view(&text), buf_view(&proxy->applied))) {
        buf_done(&text);
        return;
    }
    struct process_options options = {.arguments = arguments, .input = buf_view(&text), .output_fd = -1, .error_fd = -1,
                                      .timeout_ms = NFT_TIMEOUT_MS};
    proxy->nft = process_start(proxy->node->loop, &options, on_nft_done, proxy, &err);
    if (proxy->nft == NULL) {
        log_error(&scope, "cannot start nft, trying again", LOG_ERR(&err));
        loop_timer_start(&proxy->timer, RETRY_MS);
    } else {
        buf_swap(&proxy->applied, &text);
    }
    buf_done(&text);
}

void service_proxy_changed(struct service_proxy *proxy)
{
    // Not re-armed while it runs: a steady stream of changes must not put the rules off for ever.
    if (!loop_timer_is_running(&proxy->timer)) {
        loop_timer_start(&proxy->timer, SERVICE_PROXY_DELAY_MS);
    }
}

static void on_slice_change(void *owner, struct informer *informer, struct kube_object *old, struct kube_object *fresh)
{
    (void)informer;
    (void)old;
    (void)fresh;
    service_proxy_changed(owner);
}

static void on_slices_synced(void *owner, struct informer *informer)
{
    (void)informer;
    service_proxy_changed(owner);
}

struct service_proxy *service_proxy_new(struct node *node, void (*on_ready)(void *owner), void *owner)
{
    static const struct informer_events events = {.on_change = on_slice_change, .on_synced = on_slices_synced};
    struct informer_options options = {.resource = &kube_endpointslices};
    struct service_proxy *proxy = mem_new(struct service_proxy);
    *proxy = (struct service_proxy){.node = node, .on_ready = on_ready, .owner = owner};
    loop_timer_init(&proxy->timer, node->loop, on_timer);
    proxy->slices = informer_new(node->client, &options, &events, proxy);
    return proxy;
}

void service_proxy_free(struct service_proxy *proxy)
{
    if (proxy == NULL) {
        return;
    }
    loop_timer_stop(&proxy->timer);
    process_cancel(proxy->nft);
    informer_free(proxy->slices);
    buf_done(&proxy->applied);
    mem_free(proxy);
}

bool service_proxy_is_ready(const struct service_proxy *proxy)
{
    return proxy->is_ready;
}
