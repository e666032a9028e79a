// SPDX-License-Identifier: Apache-2.0
//
//            list done                     ended, failed: from the last version
//   LISTING ───────────► WATCHING ◄──────────────────────────────┐
//      ▲  │                 │  │                                 │
//      │  └──── failed ─────│──┴───────────► WAITING ────────────┘
//      │                    │ 410, nonsense     │ need_list
//      └────────────────────┴───────────────────┘
//
// Each pass of LISTING gathers its pages in `fresh` and compares them with `held` only when the last page
// is there, so a failure in between changes nothing.
#include "kube/informer.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/random.h"

static struct log_scope scope = LOG_SCOPE("informer");

enum informer_state {
    INFORMER_WAITING = 0, // the timer runs
    INFORMER_LISTING,     // `call` runs
    INFORMER_WATCHING,    // `watch` runs
};

struct informer {
    struct kube_client *client;
    struct loop *loop;
    struct kube_resource resource; // views in the arena
    struct str api_version;
    struct str ns;
    struct str label_selector; // escaped
    struct str field_selector;
    bool optional;
    struct arena arena;
    struct informer_events events;
    void *owner;

    enum informer_state state;
    struct kube_call *call;
    struct kube_watch *watch;
    struct loop_timer timer;
    struct random random;

    struct map held;  // "ns/name" → struct kube_object, one reference each
    struct map fresh; // the same, of the list under way
    struct buf version;        // to resume from; empty: none
    struct buf list_version;   // of the list under way
    struct buf continuation;   // of the list under way; empty: first page
    bool need_list;
    bool need_newest;          // list from the newest state: the version we had is gone
    bool watch_was_useful;     // an event came
    uint64_t watch_since_ms;
    uint64_t backoff_ms;       // 0: the next failure is the first
    unsigned absent_count;

    bool is_synced;
    bool is_connected;
    uint64_t disconnected_since_ms;
    unsigned calling;          // depth of callbacks
    bool freed;                // informer_free() came during a callback
};

static void start(struct informer *informer);

// --- callbacks -------------------------------------------------------------------------------------

static void informer_destroy(struct informer *informer);

static void enter(struct informer *informer)
{
    informer->calling++;
}

// False: the informer is gone, do not touch it.
static bool leave(struct informer *informer)
{
    ASSERT(informer->calling > 0);
    informer->calling--;
    if (informer->freed && informer->calling == 0) {
        informer_destroy(informer);
        return false;
    }
    return !informer->freed;
}

static void report_change(struct informer *informer, struct kube_object *old, struct kube_object *fresh)
{
    if (!informer->freed && informer->events.on_change != NULL) {
        informer->events.on_change(informer->owner, informer, old, fresh);
    }
}

static void set_connected(struct informer *informer, bool is_connected, const struct error *err)
{
    if (informer->freed || informer->is_connected == is_connected) {
        return;
    }
    informer->is_connected = is_connected;
    informer->disconnected_since_ms = loop_now_ms(informer->loop);
    if (informer->events.on_health != NULL) {
        informer->events.on_health(informer->owner, informer, is_connected, err);
    }
}

static void set_synced(struct informer *informer)
{
    if (informer->freed || informer->is_synced) {
        return;
    }
    informer->is_synced = true;
    if (informer->events.on_synced != NULL) {
        informer->events.on_synced(informer->owner, informer);
    }
}

// --- the store -------------------------------------------------------------------------------------

static struct str key_of(struct arena *arena, struct str ns, struct str name)
{
    return arena_format(arena, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

// An object of our own out of a server's answer: what it holds beyond its content goes.
static struct kube_object *object_from(const struct informer *informer, struct json_value *value)
{
    struct arena arena = {0};
    (void)json_remove(json_get(value, "metadata"), STR("managedFields"));
    struct json_value *copy = json_copy(&arena, value);
    if (json_get(copy, "kind") == NULL) {
        json_set_str(&arena, copy, "kind", informer->resource.kind);
    }
    if (json_get(copy, "apiVersion") == NULL) {
        json_set_str(&arena, copy, "apiVersion", informer->api_version);
    }
    return kube_object_new(&arena, copy);
}

static void drop_objects(struct map *objects)
{
    void *object = NULL;
    for (size_t at = 0; map_each(objects, &at, NULL, &object);) {
        kube_object_unref(object);
    }
    map_reset(objects);
}

static bool is_reborn(const struct kube_object *old, const struct kube_object *fresh)
{
    return !str_equal(old->uid, fresh->uid);
}

// Takes the reference over.
static void put(struct informer *informer, struct str key, struct kube_object *fresh)
{
    struct kube_object *old = map_get(&informer->held, key);
    bool is_same = old != NULL && fresh->resource_version.size > 0 && !is_reborn(old, fresh) &&
                   str_equal(old->resource_version, fresh->resource_version);
    if (is_same) {
        kube_object_unref(fresh); // what others hold stays shared
        return;
    }
    if (old != NULL && is_reborn(old, fresh)) {
        (void)map_remove(&informer->held, key);
        report_change(informer, old, NULL);
        kube_object_unref(old);
        old = NULL;
    }
    (void)map_set(&informer->held, key, fresh);
    report_change(informer, old, fresh);
    kube_object_unref(old);
}

static void remove_key(struct informer *informer, struct str key)
{
    struct kube_object *old = map_remove(&informer->held, key);
    if (old != NULL) {
        report_change(informer, old, NULL);
        kube_object_unref(old);
    }
}

// `held` becomes what `fresh` says; only differences are reported, deletions first.
static void apply_list(struct informer *informer)
{
    struct str key = STR_EMPTY;
    void *object = NULL;
    for (size_t at = 0; map_each(&informer->held, &at, &key, &object) && !informer->freed;) {
        if (!map_has(&informer->fresh, key)) {
            (void)map_remove(&informer->held, key);
            report_change(informer, object, NULL);
            kube_object_unref(object);
        }
    }
    for (size_t at = 0; map_each(&informer->fresh, &at, &key, &object) && !informer->freed;) {
        put(informer, key, kube_object_ref(object));
    }
    drop_objects(&informer->fresh);
}

// --- waiting ---------------------------------------------------------------------------------------

static void wait_ms(struct informer *informer, uint64_t delay_ms)
{
    informer->state = INFORMER_WAITING;
    loop_timer_start(&informer->timer, delay_ms);
}

// Doubling, spread over [half, one and a half) so that many clients do not come back together.
static uint64_t next_backoff(struct informer *informer)
{
    uint64_t base = informer->backoff_ms == 0 ? INFORMER_BACKOFF_MIN_MS : informer->backoff_ms;
    informer->backoff_ms = base * 2 > INFORMER_BACKOFF_MAX_MS ? INFORMER_BACKOFF_MAX_MS : base * 2;
    return base / 2 + random_below(&informer->random, base);
}

static void back_off(struct informer *informer, enum err code, const struct kube_response *response)
{
    struct error err = {0};
    (void)error_set(&err, code, "%.*s %.*s: %.*s", STR_ARG(informer->resource.plural),
                    STR_ARG(kube_client_server(informer->client)), STR_ARG(response->message));
    uint64_t delay_ms = next_backoff(informer);
    delay_ms = response->retry_after_ms > delay_ms ? response->retry_after_ms : delay_ms;
    log_debug(&scope, "cannot follow, retrying", LOG_ERR(&err), LOG_U64("after_ms", delay_ms));
    set_connected(informer, false, &err);
    if (!informer->freed) {
        wait_ms(informer, delay_ms);
    }
}

static void on_timer(struct loop_timer *timer)
{
    start(container_of(timer, struct informer, timer));
}

// --- listing ---------------------------------------------------------------------------------------

static void append_selectors(const struct informer *informer, struct buf *path)
{
    if (!str_is_empty(informer->label_selector)) {
        buf_printf(path, "&labelSelector=%.*s", STR_ARG(informer->label_selector));
    }
    if (!str_is_empty(informer->field_selector)) {
        buf_printf(path, "&fieldSelector=%.*s", STR_ARG(informer->field_selector));
    }
}

static void set_text(struct buf *buf, struct str text)
{
    buf_reset(buf);
    buf_append_str(buf, text);
}

static void clear_list(struct informer *informer)
{
    drop_objects(&informer->fresh);
    buf_reset(&informer->continuation);
    buf_reset(&informer->list_version);
}

// The items of one page into `fresh`. False: it is not a list of objects.
static bool gather_page(struct informer *informer, struct json_value *list)
{
    const struct json_value *items = json_get(list, "items");
    // An empty list may be null.
    if (!json_is(list, JSON_OBJECT) || (items != NULL && items->type != JSON_ARRAY && items->type != JSON_NULL)) {
        return false;
    }
    for (size_t i = 0; i < json_count(items); i++) {
        struct json_value *item = json_at(items, i);
        if (!kube_object_is_valid(item)) {
            return false;
        }
        struct kube_object *object = object_from(informer, item);
        struct arena arena = {0};
        kube_object_unref(map_set(&informer->fresh, key_of(&arena, object->ns, object->name), object));
        arena_done(&arena);
    }
    return true;
}

static void finish_list(struct informer *informer)
{
    set_text(&informer->version, buf_view(&informer->list_version));
    informer->need_list = false;
    informer->need_newest = false;
    informer->absent_count = 0;
    apply_list(informer);
    set_connected(informer, true, NULL);
    set_synced(informer);
}

static void request_page(struct informer *informer);

static void take_page(struct informer *informer, const struct kube_response *response)
{
    const struct json_value *metadata = json_get(response->value, "metadata");
    struct str version = json_get_str(metadata, "resourceVersion");
    if (str_is_empty(version) || !gather_page(informer, response->value)) {
        clear_list(informer);
        struct kube_response nonsense = *response;
        nonsense.message = STR("the answer is not a list of objects with a resourceVersion");
        back_off(informer, ERR_PROTOCOL, &nonsense);
        return;
    }
    set_text(&informer->list_version, version);
    set_text(&informer->continuation, json_get_str(metadata, "continue"));
    if (informer->continuation.size > 0) {
        request_page(informer);
        return;
    }
    finish_list(informer);
    if (!informer->freed) {
        start(informer);
    }
}

// An optional resource is not served (its CRD is not installed). What is held goes only when that lasts.
static void take_absence(struct informer *informer)
{
    informer->absent_count++;
    if (map_count(&informer->held) == 0 || informer->absent_count >= INFORMER_ABSENT_MAX) {
        apply_list(informer);
        set_connected(informer, true, NULL);
        set_synced(informer);
    }
    if (!informer->freed) {
        wait_ms(informer, INFORMER_ABSENT_RETRY_MS);
    }
}

static void list_failed(struct informer *informer, enum err code, const struct kube_response *response)
{
    bool was_first_page = informer->continuation.size == 0;
    clear_list(informer);
    if (code == ERR_NOT_FOUND && informer->optional) {
        take_absence(informer);
        return;
    }
    // A page or version that expired, or a server that is behind what we saw: ask for the newest.
    bool is_behind = str_equal(response->reason, STR("Timeout")) || response->status == 504;
    informer->need_newest = code == ERR_EXPIRED || is_behind || informer->need_newest;
    if (code == ERR_EXPIRED && !was_first_page) {
        log_debug(&scope, "a page expired, listing again");
    }
    back_off(informer, code, response);
}

static void on_page(void *owner, enum err code, const struct kube_response *response)
{
    struct informer *informer = owner;
    informer->call = NULL;
    enter(informer);
    if (code == ERR_OK) {
        take_page(informer, response);
    } else {
        list_failed(informer, code, response);
    }
    (void)leave(informer);
}

// First list: any state the server has at hand (resourceVersion=0). Later ones: not older than what was
// seen, so that a stale server cannot take us back in time.
static void request_page(struct informer *informer)
{
    struct arena arena = {0};
    struct buf path = {0};
    buf_append_str(&path, kube_path(&arena, &informer->resource, informer->ns, STR_EMPTY));
    buf_printf(&path, "?limit=%u", INFORMER_PAGE_SIZE);
    if (informer->continuation.size > 0) {
        struct str token = kube_escape(&arena, buf_view(&informer->continuation));
        buf_printf(&path, "&continue=%.*s", STR_ARG(token));
    } else if (!informer->need_newest) {
        struct str version = informer->version.size == 0 ? STR("0") : buf_view(&informer->version);
        buf_printf(&path, "&resourceVersion=%.*s", STR_ARG(kube_escape(&arena, version)));
    }
    append_selectors(informer, &path);
    struct kube_request request = {.method = STR("GET"), .path = buf_view(&path)};
    informer->state = INFORMER_LISTING;
    informer->call = kube_request(informer->client, &request, on_page, informer);
    buf_done(&path);
    arena_done(&arena);
}

// --- watching --------------------------------------------------------------------------------------

static void relist_soon(struct informer *informer, enum err code, const struct kube_response *response)
{
    informer->need_list = true;
    informer->need_newest = code == ERR_EXPIRED || informer->need_newest;
    // A version that expired is ordinary; listing at once is right unless it happens again and again.
    if (code == ERR_EXPIRED && informer->backoff_ms == 0) {
        informer->backoff_ms = INFORMER_BACKOFF_MIN_MS;
        start(informer);
    } else {
        back_off(informer, code, response);
    }
}

static void on_watch_open(void *owner, struct kube_watch *watch)
{
    (void)watch;
    struct informer *informer = owner;
    enter(informer);
    set_connected(informer, true, NULL);
    (void)leave(informer);
}

// {"type":"ERROR","object":{Status}}
static void take_error_event(struct informer *informer, const struct json_value *status)
{
    struct arena arena = {0};
    struct kube_response response = {.arena = &arena, .status = (int)json_get_int(status, "code", 500)};
    struct str message = json_get_str(status, "message");
    response.message = arena_str(&arena, message.data == NULL ? STR("watch error without a message") : message);
    response.reason = arena_str(&arena, json_get_str(status, "reason"));
    kube_watch_stop(informer->watch);
    informer->watch = NULL;
    bool is_expired = response.status == 410 || str_equal(response.reason, STR("Expired")) ||
                      str_equal(response.reason, STR("Gone"));
    if (is_expired) {
        relist_soon(informer, ERR_EXPIRED, &response);
    } else {
        back_off(informer, ERR_UNREACHABLE, &response);
    }
    arena_done(&arena);
}

static void take_nonsense(struct informer *informer, const char *what)
{
    struct kube_response response = {.message = str_of(what), .reason = STR_EMPTY};
    kube_watch_stop(informer->watch);
    informer->watch = NULL;
    relist_soon(informer, ERR_PROTOCOL, &response);
}

static void take_object_event(struct informer *informer, struct str type, struct json_value *value)
{
    struct str version = json_str(json_path(value, "metadata", "resourceVersion", NULL));
    bool is_deleted = str_equal(type, STR("DELETED"));
    bool is_change = str_equal(type, STR("ADDED")) || str_equal(type, STR("MODIFIED")) || is_deleted;
    bool is_bookmark = str_equal(type, STR("BOOKMARK"));
    if (!(is_change || is_bookmark) || str_is_empty(version) || (is_change && !kube_object_is_valid(value))) {
        take_nonsense(informer, "an event of the watch is malformed");
        return;
    }
    informer->watch_was_useful = true;
    informer->backoff_ms = 0;
    set_text(&informer->version, version);
    if (is_bookmark) {
        return;
    }
    struct arena arena = {0};
    struct kube_object *object = object_from(informer, value);
    struct str key = key_of(&arena, object->ns, object->name);
    if (is_deleted) {
        kube_object_unref(object);
        remove_key(informer, key);
    } else {
        put(informer, key, object);
    }
    arena_done(&arena);
}

static void on_watch_event(void *owner, struct kube_watch *watch, struct arena *event_arena, struct json_value *event)
{
    (void)watch;
    (void)event_arena;
    struct informer *informer = owner;
    struct str type = json_get_str(event, "type");
    struct json_value *value = json_get(event, "object");
    enter(informer);
    if (str_equal(type, STR("ERROR"))) {
        take_error_event(informer, value);
    } else {
        take_object_event(informer, type, value);
    }
    (void)leave(informer);
}

static void watch_ended(struct informer *informer, enum err code, const struct kube_response *response)
{
    bool was_short = !informer->watch_was_useful &&
                     loop_now_ms(informer->loop) - informer->watch_since_ms < INFORMER_SHORT_WATCH_MS;
    if (code == ERR_EXPIRED || code == ERR_NOT_FOUND || code == ERR_INVALID) {
        relist_soon(informer, code, response);
    } else if (code != ERR_OK && code != ERR_TIMEOUT) {
        back_off(informer, code, response);
    } else if (was_short) {
        struct kube_response soon = *response;
        soon.message = STR("the server ended the watch at once");
        back_off(informer, ERR_CLOSED, &soon);
    } else {
        informer->backoff_ms = 0;
        start(informer); // an ordinary end: go on from the last version
    }
}

static void on_watch_close(void *owner, struct kube_watch *watch, enum err code, const struct kube_response *response)
{
    (void)watch;
    struct informer *informer = owner;
    informer->watch = NULL;
    enter(informer);
    watch_ended(informer, code, response);
    (void)leave(informer);
}

static const struct kube_watch_events watch_events = {
    .on_open = on_watch_open, .on_event = on_watch_event, .on_close = on_watch_close};

static void request_watch(struct informer *informer)
{
    struct arena arena = {0};
    struct buf path = {0};
    uint64_t seconds = INFORMER_WATCH_MIN_S + random_below(&informer->random, INFORMER_WATCH_MIN_S);
    buf_append_str(&path, kube_path(&arena, &informer->resource, informer->ns, STR_EMPTY));
    buf_printf(&path, "?watch=true&allowWatchBookmarks=true&timeoutSeconds=%llu&resourceVersion=%.*s",
               (unsigned long long)seconds, STR_ARG(kube_escape(&arena, buf_view(&informer->version))));
    append_selectors(informer, &path);
    informer->state = INFORMER_WATCHING;
    informer->watch_was_useful = false;
    informer->watch_since_ms = loop_now_ms(informer->loop);
    informer->watch = kube_watch_start(informer->client, buf_view(&path), seconds * 1000 + INFORMER_WATCH_SLACK_MS,
                                       &watch_events, informer);
    buf_done(&path);
    arena_done(&arena);
}

static void start(struct informer *informer)
{
    if (informer->need_list) {
        clear_list(informer);
        request_page(informer);
    } else {
        request_watch(informer);
    }
}

// --- public ----------------------------------------------------------------------------------------

struct informer *informer_new(struct kube_client *client, const struct informer_options *options,
                              const struct informer_events *events, void *owner)
{
    struct informer *informer = mem_new(struct informer);
    struct arena *arena = &informer->arena;
    informer->client = client;
    informer->loop = kube_client_loop(client);
    informer->resource = *options->resource;
    informer->api_version = arena_str(arena, kube_api_version(arena, options->resource));
    informer->ns = arena_str(arena, options->ns);
    informer->label_selector = kube_escape(arena, options->label_selector);
    informer->field_selector = kube_escape(arena, options->field_selector);
    informer->optional = options->optional;
    informer->events = *events;
    informer->owner = owner;
    informer->need_list = true;
    informer->disconnected_since_ms = loop_now_ms(informer->loop);
    random_init_from_kernel(&informer->random);
    loop_timer_init(&informer->timer, informer->loop, on_timer);
    start(informer);
    return informer;
}

static void informer_destroy(struct informer *informer)
{
    drop_objects(&informer->held);
    drop_objects(&informer->fresh);
    buf_done(&informer->version);
    buf_done(&informer->list_version);
    buf_done(&informer->continuation);
    arena_done(&informer->arena);
    mem_free(informer);
}

void informer_free(struct informer *informer)
{
    if (informer == NULL || informer->freed) {
        return;
    }
    informer->freed = true;
    loop_timer_stop(&informer->timer);
    kube_call_cancel(informer->call);
    informer->call = NULL;
    kube_watch_stop(informer->watch);
    informer->watch = NULL;
    if (informer->calling == 0) {
        informer_destroy(informer);
    }
}

bool informer_is_synced(const struct informer *informer)
{
    return informer->is_synced;
}

bool informer_is_connected(const struct informer *informer)
{
    return informer->is_connected;
}

uint64_t informer_stale_ms(const struct informer *informer)
{
    return informer->is_connected ? 0 : loop_now_ms(informer->loop) - informer->disconnected_since_ms;
}

const struct kube_resource *informer_resource(const struct informer *informer)
{
    return &informer->resource;
}

struct kube_object *informer_get(const struct informer *informer, struct str ns, struct str name)
{
    char small[256];
    struct arena arena = {0};
    struct str key = {.data = small, .size = ns.size + 1 + name.size};
    if (key.size <= sizeof(small)) {
        memcpy(small, ns.data, ns.size);
        small[ns.size] = '/';
        memcpy(small + ns.size + 1, name.data, name.size);
    } else {
        key = key_of(&arena, ns, name);
    }
    struct kube_object *object = map_get(&informer->held, key);
    arena_done(&arena);
    return object;
}

size_t informer_count(const struct informer *informer)
{
    return map_count(&informer->held);
}

struct kube_object *informer_each(const struct informer *informer, size_t *at)
{
    void *object = NULL;
    return map_each(&informer->held, at, NULL, &object) ? object : NULL;
}
