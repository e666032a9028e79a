// SPDX-License-Identifier: Apache-2.0
#include "proxy/ads.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "codec/pb/pb.h"
#include "net/grpc.h"
#include "xds/client.h"

static struct log_scope scope = LOG_SCOPE("ads");

#define ROOTS_MAX (1024u * 1024)

struct ads {
    struct proxy *proxy;
    struct arena arena; // of the options
    struct ads_options options;
    struct xds_client *client;
    struct random random;
    struct http_client *http;
    struct grpc_call *call;
    bool is_open; // something was received on this stream
    bool received[XDS_TYPE_COUNT];
    uint64_t retry_ms;
    struct loop_timer retry;
};

// The types we use, in the order in which they are asked for.
static const enum xds_type order[] = {XDS_CLUSTER, XDS_ENDPOINT, XDS_LISTENER, XDS_ROUTE};

static void connect_stream(struct ads *ads);

static void on_retry(struct loop_timer *timer)
{
    connect_stream(container_of(timer, struct ads, retry));
}

struct ads *ads_new(struct proxy *proxy, const struct ads_options *options)
{
    struct ads *ads = mem_new(struct ads);
    ads->proxy = proxy;
    ads->options = *options;
    ads->options.host = arena_str(&ads->arena, options->host);
    ads->options.server_name = arena_str(&ads->arena, options->server_name.size > 0 ? options->server_name : options->host);
    ads->options.roots_path = arena_str(&ads->arena, options->roots_path);
    ads->options.token_path = arena_str(&ads->arena, options->token_path);
    ads->options.cluster_id = arena_str(&ads->arena, options->cluster_id);
    ads->client = xds_client_new(proxy->node);
    ads->retry_ms = ADS_RETRY_MIN_MS;
    random_init_from_kernel(&ads->random);
    loop_timer_init(&ads->retry, proxy->loop, on_retry);
    loop_timer_start(&ads->retry, 0);
    return ads;
}

void ads_free(struct ads *ads)
{
    if (ads == NULL) {
        return;
    }
    loop_timer_stop(&ads->retry);
    if (ads->call != NULL) {
        grpc_set_events(ads->call, NULL, NULL);
    }
    if (ads->http != NULL) {
        http_client_free(ads->http);
    }
    xds_client_free(ads->client);
    arena_done(&ads->arena);
    mem_free(ads);
}

bool ads_is_connected(const struct ads *ads)
{
    return ads->is_open;
}

// --- counters ------------------------------------------------------------------------------------------

static void count_type(struct ads *ads, enum xds_type type, const char *name)
{
    static const char *const subjects[XDS_TYPE_COUNT] = {
        [XDS_CLUSTER] = "cluster_manager.cds",
        [XDS_ENDPOINT] = "cluster_manager.eds",
        [XDS_LISTENER] = "listener_manager.lds",
        [XDS_ROUTE] = "rds",
    };
    if (subjects[type] != NULL) {
        stat_add(stats_get(ads->proxy->stats, STAT_SERVER, str_of(subjects[type]), name, STAT_COUNTER), 1);
    }
}

static void set_connected(struct ads *ads, bool connected)
{
    ads->is_open = connected;
    stat_set(stats_get(ads->proxy->stats, STAT_SERVER, STR("control_plane"), "connected_state", STAT_GAUGE), connected);
}

// --- subscriptions -------------------------------------------------------------------------------------

static void send_request(struct ads *ads, enum xds_type type)
{
    struct arena arena = {0};
    grpc_send(ads->call, xds_client_request(ads->client, &arena, type));
    arena_done(&arena);
}

// Clusters first; endpoints when clusters are known; listeners when their clusters have endpoints;
// routes when listeners name them.
static bool is_turn_of(const struct ads *ads, enum xds_type type, size_t name_count)
{
    switch (type) {
    case XDS_CLUSTER:
        return true;
    case XDS_ENDPOINT:
        return ads->received[XDS_CLUSTER] && name_count > 0;
    case XDS_LISTENER:
        return ads->received[XDS_CLUSTER] && config_store_warming(ads->proxy->store, XDS_CLUSTER) == 0;
    case XDS_ROUTE:
        return ads->received[XDS_LISTENER] && name_count > 0;
    default:
        return false;
    }
}

static void update_subscriptions(struct ads *ads)
{
    for (size_t i = 0; i < array_count(order) && ads->call != NULL; i++) {
        struct arena arena = {0};
        struct str *names;
        size_t count;
        config_store_wanted(ads->proxy->store, &arena, order[i], &names, &count);
        bool known = xds_client_is_subscribed(ads->client, order[i]);
        if ((known || is_turn_of(ads, order[i], count)) && xds_client_subscribe(ads->client, order[i], names, count)) {
            count_type(ads, order[i], "update_attempt");
            send_request(ads, order[i]);
        }
        arena_done(&arena);
    }
}

void ads_on_published(struct ads *ads)
{
    if (ads->call != NULL) {
        update_subscriptions(ads); // warm clusters let listeners be asked for
    }
    struct config_store *store = ads->proxy->store;
    if (ads->received[XDS_LISTENER] && config_store_warming(store, XDS_LISTENER) == 0) {
        proxy_set_initialized(ads->proxy);
    }
}

// --- responses -----------------------------------------------------------------------------------------

static void apply(struct ads *ads, enum xds_type type, const Envoy__Service__Discovery__V3__DiscoveryResponse *response, struct arena *arena)
{
    struct buf reasons = {0};
    enum err result = config_store_receive(ads->proxy->store, type, response->resources, response->n_resources,
                                           str_of(response->version_info), &reasons);
    ads->received[type] = true;
    if (result == ERR_OK) {
        count_type(ads, type, "update_success");
        grpc_send(ads->call, xds_client_ack(ads->client, arena, type));
        log_debug(&scope, "resources accepted", LOG_CSTR("type", xds_type_name(type)), LOG_U64("count", response->n_resources));
    } else {
        count_type(ads, type, "update_rejected");
        log_warning(&scope, "resources refused, keeping the last good ones", LOG_CSTR("type", xds_type_name(type)),
                    LOG_STR("reasons", buf_view(&reasons)));
        grpc_send(ads->call, xds_client_nack(ads->client, arena, type, buf_view(&reasons)));
    }
    buf_done(&reasons);
    update_subscriptions(ads);
    proxy_changed(ads->proxy);
}

static void on_message(void *owner, struct grpc_call *call, struct str message)
{
    struct ads *ads = owner;
    struct arena arena = {0};
    struct error err = {0};
    if (!ads->is_open) {
        set_connected(ads, true);
        ads->retry_ms = ADS_RETRY_MIN_MS;
        log_info(&scope, "receiving configuration", LOG_STR("control_plane", ads->options.host));
    }
    const Envoy__Service__Discovery__V3__DiscoveryResponse *response =
        pb_unpack(&arena, &envoy__service__discovery__v3__discovery_response__descriptor, message, &err);
    if (response == NULL) {
        log_warning(&scope, "malformed response, closing the stream", LOG_ERR(&err));
        grpc_cancel(call);
    } else {
        enum xds_type type = xds_client_receive(ads->client, response);
        if (type < XDS_TYPE_COUNT) {
            apply(ads, type, response, &arena);
        }
    }
    arena_done(&arena);
}

static void on_half_close(void *owner, struct grpc_call *call)
{
    (void)owner; // servers only
    (void)call;
}

static void schedule_retry(struct ads *ads, struct str reason)
{
    uint64_t wait = ads->retry_ms / 2 + random_below(&ads->random, ads->retry_ms / 2 + 1);
    log_warning(&scope, "no stream to the control plane, serving on with what we have and trying again",
                LOG_STR("control_plane", ads->options.host), LOG_STR("reason", reason), LOG_U64("wait_ms", wait));
    ads->retry_ms = ads->retry_ms * 2 > ADS_RETRY_MAX_MS ? ADS_RETRY_MAX_MS : ads->retry_ms * 2;
    count_type(ads, XDS_CLUSTER, "update_failure");
    count_type(ads, XDS_LISTENER, "update_failure");
    loop_timer_start(&ads->retry, wait);
}

static void on_close(void *owner, struct grpc_call *call, enum grpc_status status, struct str message)
{
    struct ads *ads = owner;
    (void)call;
    ads->call = NULL;
    set_connected(ads, false);
    struct arena arena = {0};
    schedule_retry(ads, arena_format(&arena, "%s: %.*s", grpc_status_name(status), STR_ARG(message)));
    arena_done(&arena);
}

static const struct grpc_events stream_events = {
    .on_message = on_message,
    .on_half_close = on_half_close,
    .on_close = on_close,
};

// --- connecting ----------------------------------------------------------------------------------------

static struct tls_context *make_context(struct ads *ads, struct arena *arena, struct error *err)
{
    static const struct str alpn = {.data = "h2", .size = 2};
    struct str roots;
    if (file_read(arena, ads->options.roots_path.data, ROOTS_MAX, &roots, err) != ERR_OK) {
        return NULL;
    }
    const struct tls_options tls = {.role = TLS_CLIENT, .roots_pem = roots, .peer = TLS_PEER_REQUIRED, .verify_host = true,
                                    .alpn = &alpn, .alpn_count = 1};
    return tls_context_new(&tls, err);
}

static enum err start_call(struct ads *ads, struct arena *arena, struct error *err)
{
    struct http_client_options client = {
        .host = ads->options.host,
        .port = ads->options.port,
        .tls_server_name = ads->options.server_name,
        .protocol = HTTP_PROTOCOL_2,
    };
    struct str token = STR_EMPTY;
    if (ads->options.token_path.size > 0 && file_read(arena, ads->options.token_path.data, ADS_TOKEN_MAX, &token, err) != ERR_OK) {
        return err->code;
    }
    if (!ads->options.plaintext) {
        client.tls = make_context(ads, arena, err);
        if (client.tls == NULL) {
            return err->code;
        }
    }
    ads->http = http_client_new(ads->proxy->loop, &client);
    tls_context_unref(client.tls);
    const struct http_header metadata[] = {
        {STR("clusterid"), ads->options.cluster_id},
        {STR("authorization"), arena_format(arena, "Bearer %.*s", STR_ARG(str_trim(token)))},
    };
    const struct grpc_call_options options = {
        .authority = arena_format(arena, "%.*s:%u", STR_ARG(ads->options.server_name), (unsigned)ads->options.port),
        .metadata = metadata,
        .metadata_count = token.size > 0 ? 2 : 1,
    };
    ads->call = grpc_start(ads->http, XDS_ADS_PATH, &options, &stream_events, ads);
    return ERR_OK;
}

// After a reconnect every type already subscribed is asked for again, in order.
static void connect_stream(struct ads *ads)
{
    struct arena arena = {0};
    struct error err = {0};
    if (ads->http != NULL) { // the stream before it is over
        http_client_free(ads->http);
        ads->http = NULL;
    }
    if (start_call(ads, &arena, &err) != ERR_OK) {
        schedule_retry(ads, str_of(err.message));
        arena_done(&arena);
        return;
    }
    arena_done(&arena);
    xds_client_open(ads->client);
    for (size_t i = 0; i < array_count(order); i++) {
        if (xds_client_is_subscribed(ads->client, order[i])) {
            send_request(ads, order[i]);
        }
    }
    update_subscriptions(ads);
}
