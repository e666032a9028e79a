// SPDX-License-Identifier: Apache-2.0
#include "control/serve/ads.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/vec.h"
#include "base/version.h"
#include "codec/pb/pb.h"
#include "mesh/proxy.h"
#include "xds/server.h"

static struct log_scope scope = LOG_SCOPE("ads");

enum stream_state {
    STREAM_AUTHENTICATING, // who is it? requests wait
    STREAM_INTRODUCING,    // no node seen yet
    STREAM_SERVING,
    STREAM_ENDING, // finished by us; on_close is on its way
    STREAM_CLOSED, // the call is gone; freed when the authenticator has answered
};

// What a proxy was sent of one type: name → hash of the bytes. Wildcard types use one entry.
struct sent {
    struct map hashes; // values: heap uint64_t
};

struct stream {
    struct list node;
    struct ads *ads;
    struct grpc_call *call; // NULL once closed
    enum stream_state state;
    bool is_trusted;          // plaintext port: no identity is checked
    bool is_authenticating;   // an answer of the authenticator is still to come
    bool needs_push;
    char *identity;           // heap, or NULL
    uint64_t id;
    struct arena arena;       // proxy
    struct mesh_proxy *proxy; // NULL before the introduction
    struct xds_server server;
    struct sent sent[XDS_TYPE_COUNT];
    VEC(struct str) waiting;  // heap copies of messages
    size_t waiting_bytes;
    uint64_t pushed_version;  // snapshot
};

struct service_binding {
    struct ads *ads;
    bool is_plaintext;
};

struct ads {
    struct loop *loop;
    const struct generator *generator;
    const struct authenticator *authenticator;
    struct arena arena;
    char *identifier; // of this control plane, JSON
    struct list streams;
    size_t stream_count;
    uint64_t next_id;
    struct snapshot *snapshot;
    bool is_ready;
    bool is_freeing;
    struct loop_task push;
    struct service_binding plaintext;
    struct service_binding secure;
    struct metric *connected;
    struct metric *pushes[XDS_TYPE_COUNT];
    struct metric *nacks[XDS_TYPE_COUNT];
    struct metric *refused;
};

static const char *state_name(enum stream_state state)
{
    static const char *const names[] = {
        [STREAM_AUTHENTICATING] = "authenticating",
        [STREAM_INTRODUCING] = "introducing",
        [STREAM_SERVING] = "serving",
        [STREAM_ENDING] = "ending",
        [STREAM_CLOSED] = "closed",
    };
    ASSERT((size_t)state < array_count(names));
    return names[state];
}

static void set_state(struct stream *stream, enum stream_state state)
{
    ASSERT(stream->state < state); // states only go forward
    log_trace(&scope, "stream state", LOG_U64("stream", stream->id),
              LOG_CSTR("from", state_name(stream->state)), LOG_CSTR("to", state_name(state)));
    stream->state = state;
}

// --- life of a stream --------------------------------------------------------------------------------

static void drop_waiting(struct stream *stream)
{
    for (size_t i = 0; i < stream->waiting.count; i++) {
        union {
            const char *in;
            char *out;
        } cast = {.in = stream->waiting.items[i].data};
        mem_free(cast.out);
    }
    vec_reset(&stream->waiting);
    stream->waiting_bytes = 0;
}

static void sent_reset(struct sent *sent)
{
    void *value;
    for (size_t at = 0; map_each(&sent->hashes, &at, NULL, &value);) {
        mem_free(value);
    }
    map_done(&sent->hashes);
}

static void stream_free(struct stream *stream)
{
    if (stream->is_authenticating) {
        return; // freed by the answer
    }
    drop_waiting(stream);
    vec_done(&stream->waiting);
    for (int i = 0; i < XDS_TYPE_COUNT; i++) {
        sent_reset(&stream->sent[i]);
    }
    xds_server_done(&stream->server);
    arena_done(&stream->arena);
    mem_free(stream->identity);
    mem_free(stream);
}

static void stream_detach(struct stream *stream)
{
    struct ads *ads = stream->ads;
    stream->call = NULL;
    set_state(stream, STREAM_CLOSED);
    list_remove(&stream->node);
    ads->stream_count--;
    metric_set(ads->connected, (int64_t)ads->stream_count);
}

static void on_call_close(void *owner, struct grpc_call *call, enum grpc_status status, struct str message)
{
    struct stream *stream = owner;
    (void)call;
    log_info(&scope, "proxy disconnected", LOG_U64("stream", stream->id),
             LOG_STR("proxy", stream->proxy == NULL ? STR("-") : stream->proxy->id),
             LOG_CSTR("status", grpc_status_name(status)), LOG_STR("message", message));
    stream_detach(stream);
    stream_free(stream);
}

static void finish(struct stream *stream, enum grpc_status status, struct str message)
{
    if (stream->state < STREAM_ENDING) {
        set_state(stream, STREAM_ENDING);
        grpc_finish(stream->call, status, message); // on_close follows
    }
}

static void refuse(struct stream *stream, enum grpc_status status, const char *reason)
{
    metric_add(stream->ads->refused, 1);
    log_warning(&scope, "stream refused", LOG_U64("stream", stream->id),
                LOG_CSTR("status", grpc_status_name(status)), LOG_CSTR("reason", reason));
    finish(stream, status, str_of(reason));
}

// --- responses -----------------------------------------------------------------------------------------

// True when the bytes differ from what was sent last; remembers them.
static bool remember(struct sent *sent, struct str name, struct str bytes)
{
    uint64_t hash = str_hash(bytes);
    uint64_t *known = map_get(&sent->hashes, name);
    if (known != NULL && *known == hash) {
        return false;
    }
    if (known == NULL) {
        known = mem_new(uint64_t);
        map_set(&sent->hashes, name, known);
    }
    *known = hash;
    return true;
}

static void send_response(struct stream *stream, struct arena *arena, enum xds_type type,
                          Envoy__Service__Discovery__V3__DiscoveryResponse *response)
{
    struct ads *ads = stream->ads;
    char nonce[RANDOM_UUID_SIZE];
    random_uuid(nonce);
    struct str version = arena_format(arena, "%llu", (unsigned long long)ads->snapshot->version);
    response->version_info = pb_text(arena, version);
    response->type_url = pb_text(arena, str_of(xds_type_url(type)));
    response->nonce = pb_text(arena, str_of(nonce));
    response->control_plane = pb_new(arena, &envoy__config__core__v3__control_plane__descriptor);
    response->control_plane->identifier = pb_text(arena, str_of(ads->identifier));
    struct buf bytes = {0};
    pb_pack(response, &bytes);
    grpc_send(stream->call, buf_view(&bytes));
    metric_add(ads->pushes[type], 1);
    log_debug(&scope, "push", LOG_CSTR("type", xds_type_name(type)), LOG_STR("proxy", stream->proxy->id),
              LOG_U64("resources", response->n_resources), LOG_U64("bytes", bytes.size),
              LOG_STR("version", version));
    buf_done(&bytes);
    xds_server_sent(&stream->server, type, str_of(nonce), version);
}

// Wildcard types are sent whole, when any resource changed; the others resource by resource.
static size_t add_resources(struct stream *stream, struct arena *arena, enum xds_type type, bool is_asked,
                            const struct xds_resources *resources,
                            Envoy__Service__Discovery__V3__DiscoveryResponse *response)
{
    struct sent *sent = &stream->sent[type];
    bool is_wildcard = xds_type_is_wildcard(type);
    size_t changed = 0;
    for (size_t i = 0; i < resources->items.count; i++) {
        const struct xds_resource *resource = &resources->items.items[i];
        Google__Protobuf__Any *any = pb_any(arena, resource->message);
        bool is_new = remember(sent, resource->name,
                               str_make((const char *)any->value.data, any->value.len));
        changed += is_new ? 1 : 0;
        if (is_wildcard || is_new || is_asked) {
            PB_PUSH(arena, response, resources, any);
        }
    }
    return changed;
}

// Names that a wildcard type no longer has: forgotten, and the type must be sent without them.
static size_t forget_removed(struct stream *stream, enum xds_type type, const struct xds_resources *resources)
{
    struct sent *sent = &stream->sent[type];
    if (!xds_type_is_wildcard(type) || map_count(&sent->hashes) == resources->items.count) {
        return 0; // every resource was just remembered: equal counts mean equal sets
    }
    struct map now = {0};
    size_t removed = 0;
    for (size_t i = 0; i < resources->items.count; i++) {
        map_set(&now, resources->items.items[i].name, stream);
    }
    struct str name;
    void *value;
    for (size_t at = 0; map_each(&sent->hashes, &at, &name, &value);) {
        if (!map_has(&now, name)) {
            map_remove(&sent->hashes, name);
            mem_free(value);
            removed++;
        }
    }
    map_done(&now);
    return removed;
}

// is_asked: the proxy waits for an answer, changed or not.
static void respond(struct stream *stream, enum xds_type type, const struct str *names, size_t name_count,
                    bool is_asked)
{
    struct ads *ads = stream->ads;
    struct arena arena = {0};
    struct xds_resources resources = {0};
    Envoy__Service__Discovery__V3__DiscoveryResponse *response =
        pb_new(&arena, &envoy__service__discovery__v3__discovery_response__descriptor);
    if (ads->generator->generate(&arena, ads->snapshot, stream->proxy, type, names, name_count,
                                 &resources)) {
        size_t changed = add_resources(stream, &arena, type, is_asked, &resources, response);
        changed += forget_removed(stream, type, &resources);
        if (changed > 0 || is_asked) {
            send_response(stream, &arena, type, response);
        }
    }
    vec_done(&resources.items);
    arena_done(&arena);
}

// --- pushes --------------------------------------------------------------------------------------------

static void push_stream(struct stream *stream)
{
    stream->needs_push = false;
    stream->pushed_version = stream->ads->snapshot->version;
    for (int type = 0; type < XDS_TYPE_COUNT; type++) {
        if (xds_server_watches(&stream->server, (enum xds_type)type)) {
            const struct xds_names *names = xds_server_names(&stream->server, (enum xds_type)type);
            respond(stream, (enum xds_type)type, names->items, names->count, false);
        }
    }
}

static void on_push(struct loop_task *task)
{
    struct ads *ads = container_of(task, struct ads, push);
    unsigned pushed = 0;
    list_each(&ads->streams, node) {
        struct stream *stream = container_of(node, struct stream, node);
        if (!stream->needs_push || stream->state != STREAM_SERVING || grpc_is_congested(stream->call)) {
            continue; // a congested one is pushed when drained
        }
        if (pushed++ == ADS_PUSHES_PER_TURN) {
            loop_task_schedule(ads->loop, &ads->push);
            return;
        }
        push_stream(stream);
    }
}

void ads_set_snapshot(struct ads *ads, struct snapshot *snapshot)
{
    snapshot_unref(ads->snapshot);
    ads->snapshot = snapshot_ref(snapshot);
    list_each(&ads->streams, node) {
        container_of(node, struct stream, node)->needs_push = true;
    }
    loop_task_schedule(ads->loop, &ads->push);
}

static void on_drained(void *owner, struct grpc_call *call)
{
    struct stream *stream = owner;
    (void)call;
    if (stream->needs_push) {
        loop_task_schedule(stream->ads->loop, &stream->ads->push);
    }
}

// --- requests ------------------------------------------------------------------------------------------

static struct str locality_of(struct arena *arena, const Envoy__Config__Core__V3__Node *node)
{
    const Envoy__Config__Core__V3__Locality *locality = node->locality;
    if (locality == NULL || locality->region[0] == '\0') {
        return STR_EMPTY;
    }
    return locality->sub_zone[0] == '\0'
               ? arena_format(arena, "%s/%s", locality->region, locality->zone)
               : arena_format(arena, "%s/%s/%s", locality->region, locality->zone, locality->sub_zone);
}

// The identity must be of the namespace (and account) the node claims: its configuration is theirs.
static bool may_be(const struct stream *stream, const struct mesh_proxy *proxy)
{
    struct spiffe_id id;
    if (stream->is_trusted) {
        return true;
    }
    return spiffe_id_parse(str_of(stream->identity), &id) && str_equal(id.ns, proxy->ns) &&
           (str_is_empty(proxy->service_account) ||
            str_equal(id.service_account, proxy->service_account));
}

static bool introduce(struct stream *stream, const Envoy__Service__Discovery__V3__DiscoveryRequest *request)
{
    if (request->node == NULL || request->node->id[0] == '\0') {
        refuse(stream, GRPC_INVALID_ARGUMENT, "the first request must carry the node");
        return false;
    }
    struct arena *arena = &stream->arena;
    struct error err = {0};
    struct mesh_proxy *proxy = arena_new(arena, struct mesh_proxy);
    const struct json_value *metadata = pb_struct_to_json(arena, request->node->metadata);
    if (mesh_proxy_from_node(arena, str_of(request->node->id), metadata,
                             locality_of(arena, request->node), proxy, &err) != ERR_OK) {
        refuse(stream, GRPC_INVALID_ARGUMENT, err.message);
        return false;
    }
    if (!may_be(stream, proxy)) {
        refuse(stream, GRPC_PERMISSION_DENIED,
               "the authenticated identity is not of the node's namespace and service account");
        return false;
    }
    stream->proxy = proxy;
    set_state(stream, STREAM_SERVING);
    log_info(&scope, "proxy connected", LOG_U64("stream", stream->id), LOG_STR("proxy", proxy->id),
             LOG_STR("cluster", proxy->cluster), LOG_STR("network", proxy->network),
             LOG_CSTR("identity", stream->identity == NULL ? "-" : stream->identity));
    return true;
}

static void log_nack(const struct stream *stream, enum xds_type type,
                     const Envoy__Service__Discovery__V3__DiscoveryRequest *request)
{
    const char *message = request->error_detail == NULL ? "" : request->error_detail->message;
    metric_add(stream->ads->nacks[type], 1);
    log_warning(&scope, "proxy rejected resources", LOG_STR("proxy", stream->proxy->id),
                LOG_CSTR("type", xds_type_name(type)),
                LOG_STR("message", str_sub(str_of(message), 0, XDS_ERROR_SIZE)));
}

static void handle_request(struct stream *stream, struct str message)
{
    struct arena arena = {0};
    struct error err = {0};
    struct xds_decision decision;
    Envoy__Service__Discovery__V3__DiscoveryRequest *request =
        message.size > ADS_REQUEST_MAX ? NULL
        : pb_unpack(&arena, &envoy__service__discovery__v3__discovery_request__descriptor, message, &err);
    if (request == NULL) {
        refuse(stream, message.size > ADS_REQUEST_MAX ? GRPC_RESOURCE_EXHAUSTED : GRPC_INVALID_ARGUMENT,
               message.size > ADS_REQUEST_MAX ? "the request is too large" : err.message);
    } else if (stream->state == STREAM_INTRODUCING && !introduce(stream, request)) {
        // refused, or told what is missing
    } else if (xds_server_on_request(&stream->server, request, &decision, &err) != ERR_OK) {
        refuse(stream, GRPC_RESOURCE_EXHAUSTED, err.message);
    } else {
        log_debug(&scope, "request", LOG_STR("proxy", stream->proxy->id),
                  LOG_CSTR("type", request->type_url),
                  LOG_CSTR("event", xds_event_name(decision.event)),
                  LOG_U64("names", request->n_resource_names));
        if (decision.event == XDS_EVENT_NACK) {
            log_nack(stream, decision.type, request);
        }
        if (decision.event == XDS_EVENT_SUBSCRIBE || decision.event == XDS_EVENT_UNSUBSCRIBE) {
            sent_reset(&stream->sent[decision.type]);
        }
        if (decision.respond && decision.type != XDS_TYPE_NONE) {
            respond(stream, decision.type, decision.names, decision.name_count, true);
        }
    }
    arena_done(&arena);
}

static void keep_waiting(struct stream *stream, struct str message)
{
    if (stream->waiting.count == ADS_WAITING_MESSAGES_MAX ||
        stream->waiting_bytes + message.size > ADS_WAITING_BYTES_MAX) {
        refuse(stream, GRPC_RESOURCE_EXHAUSTED, "too many requests before authentication");
        return;
    }
    char *copy = mem_alloc(message.size + 1);
    memcpy(copy, message.data, message.size);
    vec_push(&stream->waiting, str_make(copy, message.size));
    stream->waiting_bytes += message.size;
}

static void on_message(void *owner, struct grpc_call *call, struct str message)
{
    struct stream *stream = owner;
    (void)call;
    switch (stream->state) {
    case STREAM_AUTHENTICATING:
        keep_waiting(stream, message);
        break;
    case STREAM_INTRODUCING:
    case STREAM_SERVING:
        handle_request(stream, message);
        break;
    case STREAM_ENDING:
    case STREAM_CLOSED:
        break;
    }
}

static void on_half_close(void *owner, struct grpc_call *call)
{
    (void)call;
    finish(owner, GRPC_OK, STR_EMPTY);
}

static const struct grpc_events stream_events = {
    .on_message = on_message,
    .on_half_close = on_half_close,
    .on_drained = on_drained,
    .on_close = on_call_close,
};

// --- new streams -----------------------------------------------------------------------------------------

static void on_authenticated(void *owner, struct str identity, const struct error *err)
{
    struct stream *stream = owner;
    stream->is_authenticating = false;
    if (stream->state == STREAM_CLOSED) {
        stream_free(stream);
        return;
    }
    if (stream->state == STREAM_ENDING) {
        return;
    }
    if (err->code != ERR_OK) {
        refuse(stream, err->code == ERR_UNREACHABLE ? GRPC_UNAVAILABLE : GRPC_UNAUTHENTICATED,
               err->message);
        return;
    }
    stream->identity = mem_alloc(identity.size + 1);
    memcpy(stream->identity, identity.data, identity.size);
    stream->identity[identity.size] = '\0';
    set_state(stream, STREAM_INTRODUCING);
    for (size_t i = 0; i < stream->waiting.count && stream->state < STREAM_ENDING; i++) {
        handle_request(stream, stream->waiting.items[i]);
    }
    drop_waiting(stream);
}

static void on_call(void *owner, struct grpc_call *call)
{
    struct service_binding *binding = owner;
    struct ads *ads = binding->ads;
    struct stream *stream = mem_new(struct stream);
    stream->ads = ads;
    stream->call = call;
    stream->id = ads->next_id++;
    stream->is_trusted = binding->is_plaintext;
    stream->state = binding->is_plaintext ? STREAM_INTRODUCING : STREAM_AUTHENTICATING;
    list_append(&ads->streams, &stream->node);
    ads->stream_count++;
    metric_set(ads->connected, (int64_t)ads->stream_count);
    grpc_set_events(call, &stream_events, stream);
    if (!ads->is_ready || ads->snapshot == NULL) {
        refuse(stream, GRPC_UNAVAILABLE, "not ready: clusters are still being read");
    } else if (ads->stream_count > ADS_STREAMS_MAX) {
        refuse(stream, GRPC_RESOURCE_EXHAUSTED, "too many streams");
    } else if (!binding->is_plaintext) {
        stream->is_authenticating = true;
        authenticate_start(ads->authenticator, call, on_authenticated, stream);
    }
}

// --- life ------------------------------------------------------------------------------------------------

static char *describe_self(struct arena *arena, struct str pod)
{
    struct json_value *json = json_new_object(arena);
    json_set_cstr(arena, json, "Component", "istiod");
    json_set_str(arena, json, "ID", pod);
    json_set_cstr(arena, json_ensure_object(arena, json, "Info"), "version", version_number);
    return arena_strdup(arena, json_to_str(arena, json));
}

static void make_metrics(struct ads *ads, struct metrics *metrics)
{
    ads->connected = metrics_gauge(metrics, "pilot_xds", "Proxies connected.", NULL);
    ads->refused = metrics_counter(metrics, "isthmesh_ads_streams_refused_total",
                                   "Streams ended because of what the proxy sent or was.", NULL);
    for (int i = 0; i < XDS_TYPE_COUNT; i++) {
        struct str name = str_of(xds_type_name((enum xds_type)i));
        struct str label = arena_format(&ads->arena, "type=\"%.*s\"", STR_ARG(name));
        ads->pushes[i] = metrics_counter(metrics, "pilot_xds_pushes", "Responses sent.", label.data);
        ads->nacks[i] =
            metrics_counter(metrics, "pilot_total_xds_rejects", "Responses rejected.", label.data);
    }
}

struct ads *ads_new(struct loop *loop, const struct ads_options *options)
{
    struct ads *ads = mem_new(struct ads);
    ads->loop = loop;
    ads->generator = options->generator;
    ads->authenticator = options->authenticator;
    ads->identifier = describe_self(&ads->arena, options->pod);
    ads->plaintext = (struct service_binding){ads, true};
    ads->secure = (struct service_binding){ads, false};
    list_init(&ads->streams);
    loop_task_init(&ads->push, on_push);
    make_metrics(ads, options->metrics);
    return ads;
}

void ads_add_to(struct ads *ads, struct grpc_service *grpc, bool is_plaintext)
{
    grpc_service_add(grpc, XDS_ADS_PATH, on_call, is_plaintext ? &ads->plaintext : &ads->secure);
}

void ads_set_ready(struct ads *ads)
{
    ads->is_ready = true;
}

void ads_close_streams(struct ads *ads)
{
    list_each(&ads->streams, node) {
        finish(container_of(node, struct stream, node), GRPC_UNAVAILABLE,
               STR("the control plane is shutting down"));
    }
}

void ads_free(struct ads *ads)
{
    if (ads == NULL) {
        return;
    }
    loop_task_cancel(&ads->push);
    list_each(&ads->streams, node) {
        struct stream *stream = container_of(node, struct stream, node);
        grpc_set_events(stream->call, NULL, NULL);
        grpc_cancel(stream->call);
        stream_detach(stream);
        stream_free(stream);
    }
    snapshot_unref(ads->snapshot);
    arena_done(&ads->arena);
    mem_free(ads);
}

size_t ads_stream_count(const struct ads *ads)
{
    return ads->stream_count;
}

// --- debug -----------------------------------------------------------------------------------------------

static void write_type(struct arena *arena, struct json_value *entry, const struct stream *stream,
                       enum xds_type type, const char *name)
{
    const struct xds_watch *watch = &stream->server.watches[type];
    struct str sent = arena_format(arena, "%s_sent", name);
    struct str acked = arena_format(arena, "%s_acked", name);
    json_set_cstr(arena, entry, sent.data, watch->nonce_sent);
    json_set_cstr(arena, entry, acked.data, watch->nonce_acked);
    if (watch->last_error[0] != '\0') {
        struct str error = arena_format(arena, "%s_error", name);
        json_set_cstr(arena, entry, error.data, watch->last_error);
    }
}

void ads_write_syncz(const struct ads *ads, struct buf *out)
{
    struct arena arena = {0};
    struct json_value *list = json_new_array(&arena);
    list_each(&ads->streams, node) {
        const struct stream *stream = container_of(node, struct stream, node);
        struct json_value *entry = json_new_object(&arena);
        json_set_cstr(&arena, entry, "state", state_name(stream->state));
        if (stream->proxy != NULL) {
            json_set_str(&arena, entry, "cluster_id", stream->proxy->cluster);
            json_set_str(&arena, entry, "proxy", stream->proxy->id);
            json_set_cstr(&arena, entry, "proxy_type",
                          stream->proxy->type == MESH_PROXY_ROUTER ? "router" : "sidecar");
            json_set_str(&arena, entry, "istio_version", stream->proxy->version);
        }
        write_type(&arena, entry, stream, XDS_CLUSTER, "cluster");
        write_type(&arena, entry, stream, XDS_LISTENER, "listener");
        write_type(&arena, entry, stream, XDS_ROUTE, "route");
        write_type(&arena, entry, stream, XDS_ENDPOINT, "endpoint");
        json_push(&arena, list, entry);
    }
    json_write_pretty(list, out);
    arena_done(&arena);
}
