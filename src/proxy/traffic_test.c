// SPDX-License-Identifier: Apache-2.0
//
// Traffic through a whole proxy on loopback: an upstream that behaves as each row says, and what the
// client gets. One loop, one worker, static configuration.
#include "test.h"

#include <unistd.h>

#include "base/memory.h"
#include "codec/pb/pb.h"
#include "codec/yaml/yaml.h"
#include "net/http.h"
#include "proxy/bootstrap.h"
#include "proxy/proxy.h"

enum behaviour { ANSWER, ANSWER_503_TWICE, RESET_ONCE, RESET_ALWAYS, SILENT, ECHO, BIG };

#define BIG_SIZE (64u * 1024 * 1024) // more than the kernel holds on the way

struct place {
    struct arena arena;
    struct loop *loop;
    struct http_server *upstream;
    uint16_t upstream_port;
    uint16_t http_port;
    uint16_t tcp_port;
    uint16_t dead_port;
    struct proxy proxy;
    enum behaviour behaviour;
    unsigned requests;
    size_t echoed;
    size_t sent; // of the big answer
    bool upstream_closed;
    char attempt[8];
};

// --- the upstream --------------------------------------------------------------------------------------

static void send_big(struct place *place, struct http_exchange *exchange)
{
    static const char block[64 * 1024];
    while (place->sent < BIG_SIZE && !http_is_congested(exchange)) {
        place->sent += sizeof(block);
        http_send_data(exchange, str_make(block, sizeof(block)), place->sent >= BIG_SIZE);
    }
}

static void up_on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    struct place *place = owner;
    if (place->behaviour == ECHO) {
        place->echoed += bytes.size;
        http_send_data(exchange, bytes, end);
    }
}

static void up_on_drained(void *owner, struct http_exchange *exchange)
{
    struct place *place = owner;
    if (place->behaviour == BIG) {
        send_big(place, exchange);
    }
}

static void up_on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    (void)err;
    ((struct place *)owner)->upstream_closed = true;
}

static const struct http_events up_events = {.on_data = up_on_data, .on_drained = up_on_drained, .on_close = up_on_close};

static void on_upstream_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct place *place = owner;
    struct http_head answer;
    place->requests++;
    struct str attempt = http_head_get(head, STR("x-envoy-attempt-count"));
    (void)snprintf(place->attempt, sizeof(place->attempt), "%.*s", STR_ARG(attempt));
    http_set_events(exchange, &up_events, place);
    switch (place->behaviour) {
    case ANSWER_503_TWICE:
        http_respond(exchange, place->requests <= 2 ? 503 : 200, STR("text/plain"), STR("body"));
        return;
    case RESET_ONCE:
    case RESET_ALWAYS:
        if (place->behaviour == RESET_ALWAYS || place->requests == 1) {
            http_cancel(exchange);
            return;
        }
        http_respond(exchange, 200, STR("text/plain"), STR("body"));
        return;
    case SILENT:
        return;
    case ECHO:
        http_head_init_response(&answer, 200);
        http_send_head(exchange, &answer, end);
        return;
    case BIG:
        http_head_init_response(&answer, 200);
        http_send_head(exchange, &answer, false);
        send_big(place, exchange);
        return;
    case ANSWER:
        http_respond(exchange, 200, STR("text/plain"), STR("body"));
        return;
    }
}

// --- the place -----------------------------------------------------------------------------------------

static uint16_t listen_anywhere(int *ret_fd)
{
    struct address address;
    const struct listen_options options = {0};
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &address, NULL), ERR_OK);
    assert_int_equal(address_listen(&address, &options, ret_fd, NULL), ERR_OK);
    assert_true(address_local(*ret_fd, &address));
    return address_port(&address);
}

static uint16_t free_port(void)
{
    int fd;
    uint16_t port = listen_anywhere(&fd);
    (void)close(fd);
    return port;
}

static const char config[] =
    "static_resources:\n"
    "  listeners:\n"
    "  - name: h\n"
    "    address: {socket_address: {address: 127.0.0.1, port_value: HTTPPORT}}\n"
    "    filter_chains:\n"
    "    - filters:\n"
    "      - name: h\n"
    "        typed_config:\n"
    "          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n"
    "          stat_prefix: h\n"
    "          upgrade_configs: [{upgrade_type: websocket}]\n"
    "          route_config:\n"
    "            name: r\n"
    "            virtual_hosts:\n"
    "            - name: v\n"
    "              domains: ['*']\n"
    "              include_request_attempt_count: true\n"
    "              routes:\n"
    "              - {match: {prefix: /retry}, route: {cluster: app, timeout: 0s, retry_policy: {retry_on: 'reset,retriable-status-codes', num_retries: 2, retriable_status_codes: [503], retry_back_off: {base_interval: 0.001s}}}}\n"
    "              - {match: {prefix: /quick}, route: {cluster: app, timeout: 0.1s}}\n"
    "              - {match: {prefix: /try}, route: {cluster: app, timeout: 5s, retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.05s}}}\n"
    "              - {match: {prefix: /dead}, route: {cluster: dead, retry_policy: {retry_on: connect-failure, num_retries: 1, retry_back_off: {base_interval: 0.001s}}}}\n"
    "              - {match: {prefix: /limited}, route: {cluster: limited}}\n"
    "              - {match: {prefix: /none}, route: {cluster: empty}}\n"
    "              - {match: {prefix: /missing}, route: {cluster: missing}}\n"
    "              - {match: {prefix: /go}, redirect: {path_redirect: /there}}\n"
    "              - {match: {prefix: /delay}, route: {cluster: app, timeout: 0.15s}, typed_per_filter_config: {envoy.filters.http.fault: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, delay: {fixed_delay: 0.2s, percentage: {numerator: 100}}}}}\n"
    "              - {match: {prefix: /late-abort}, route: {cluster: app}, typed_per_filter_config: {envoy.filters.http.fault: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, delay: {fixed_delay: 0.05s, percentage: {numerator: 100}}, abort: {http_status: 418, percentage: {numerator: 100}}}}}\n"
    "              - {match: {prefix: /abort}, route: {cluster: app}, typed_per_filter_config: {envoy.filters.http.fault: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {http_status: 500, percentage: {numerator: 100}}}}}\n"
    "              - {match: {prefix: /mirror}, route: {cluster: app, request_mirror_policies: [{cluster: app}, {cluster: missing}, {cluster: dead}]}}\n"
    "              - {match: {prefix: /name}, route: {cluster: named}}\n"
    "              - {match: {prefix: /weak}, route: {cluster: weak}}\n"
    "              - {match: {safe_regex: {regex: '/x[0-9]+'}}, route: {cluster: app}}\n"
    "              - {match: {prefix: /app}, route: {cluster: app, timeout: 0s}}\n"
    "          http_filters:\n"
    "          - {name: f, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}}\n"
    "          - {name: c, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}\n"
    "          - {name: r, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}\n"
    "  - name: t\n"
    "    address: {socket_address: {address: 127.0.0.1, port_value: TCPPORT}}\n"
    "    filter_chains:\n"
    "    - filters:\n"
    "      - {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: app}}\n"
    "  clusters:\n"
    "  - {name: app, type: STATIC, load_assignment: {cluster_name: app, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: UPPORT}}}}]}]}}\n"
    "  - {name: dead, type: STATIC, load_assignment: {cluster_name: dead, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: DEADPORT}}}}]}]}}\n"
    "  - {name: limited, type: STATIC, circuit_breakers: {thresholds: [{max_requests: 0}]}, load_assignment: {cluster_name: limited, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: UPPORT}}}}]}]}}\n"
    "  - {name: named, type: STRICT_DNS, dns_lookup_family: V4_ONLY, load_assignment: {cluster_name: named, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: localhost, port_value: UPPORT}}}}]}]}}\n"
    "  - {name: weak, type: STATIC, lb_policy: RANDOM, common_lb_config: {healthy_panic_threshold: {value: 0}}, outlier_detection: {consecutive_5xx: 1, interval: 0.05s, base_ejection_time: 0.3s, max_ejection_percent: 50},"
    " load_assignment: {cluster_name: weak, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: UPPORT}}}}, {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: DEADPORT}}}}]}]}}\n"
    "  - {name: empty, type: STATIC}\n";

static struct str fill_in(struct place *place)
{
    const struct {
        const char *name;
        uint16_t port;
    } values[] = {{"HTTPPORT", place->http_port}, {"TCPPORT", place->tcp_port}, {"UPPORT", place->upstream_port}, {"DEADPORT", place->dead_port}};
    struct str text = str_of(config);
    for (size_t i = 0; i < array_count(values); i++) {
        struct buf out = {0};
        for (ptrdiff_t at; (at = str_find(text, str_of(values[i].name))) >= 0;) {
            buf_append_str(&out, str_sub(text, 0, (size_t)at));
            buf_append_u64(&out, values[i].port);
            text = str_from(text, (size_t)at + strlen(values[i].name));
        }
        buf_append_str(&out, text);
        text = arena_str(&place->arena, buf_view(&out));
        buf_done(&out);
    }
    return text;
}

static void place_open(struct place *place, enum behaviour behaviour)
{
    struct error err = {0};
    int fd;
    *place = (struct place){.loop = loop_new(), .behaviour = behaviour};
    const struct http_server_options options = {.http2 = true};
    place->upstream = http_server_new(place->loop, &options, on_upstream_request, place);
    place->upstream_port = listen_anywhere(&fd);
    http_server_listen(place->upstream, fd, NULL);
    place->http_port = free_port();
    place->tcp_port = free_port();
    place->dead_port = free_port();
    proxy_init(&place->proxy, place->loop, 0);
    struct json_value *json;
    assert_int_equal(yaml_parse(&place->arena, fill_in(place), &json, &err), ERR_OK);
    const void *bootstrap = pb_from_json(&place->arena, &envoy__config__bootstrap__v3__bootstrap__descriptor, json, PB_JSON_STRICT, &err);
    if (bootstrap == NULL || bootstrap_apply(bootstrap, place->proxy.store, &err) != ERR_OK) {
        fail_msg("%s", err.message);
    }
    proxy_changed(&place->proxy);
    for (int i = 0; i < 100 && !proxy_is_ready(&place->proxy); i++) {
        loop_turn(place->loop, 10);
    }
    loop_turn(place->loop, 0); // the worker takes its mail
}

static void place_close(struct place *place)
{
    proxy_done(&place->proxy);
    http_server_free(place->upstream);
    for (int i = 0; i < 20; i++) {
        loop_turn(place->loop, 0);
    }
    loop_free(place->loop);
    arena_done(&place->arena);
}

static int64_t stat_of(struct place *place, enum stat_group group, const char *subject, const char *name)
{
    return stat_value(stats_get(place->proxy.stats, group, str_of(subject), name, STAT_COUNTER));
}

// --- the client ----------------------------------------------------------------------------------------

struct fetch {
    struct http_exchange *exchange;
    int status;
    struct http_head *head;
    struct arena arena;
    size_t body_size;
    char body[512];
    bool paused;
    bool closed;
    enum err code;
};

static void fetch_on_head(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct fetch *fetch = owner;
    (void)end;
    fetch->status = head->status;
    fetch->head = http_head_copy(&fetch->arena, head);
    if (fetch->paused) {
        http_pause(exchange);
    }
}

static void fetch_on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    struct fetch *fetch = owner;
    (void)exchange;
    (void)end;
    if (fetch->body_size + bytes.size < sizeof(fetch->body)) {
        memcpy(fetch->body + fetch->body_size, bytes.data, bytes.size);
    }
    fetch->body_size += bytes.size;
}

static void fetch_on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    struct fetch *fetch = owner;
    (void)exchange;
    fetch->closed = true;
    fetch->code = err->code;
}

static const struct http_events fetch_events = {.on_head = fetch_on_head, .on_data = fetch_on_data, .on_close = fetch_on_close};

static struct http_client *client_of(struct place *place, uint16_t port, enum http_protocol protocol)
{
    struct http_client_options options = {.protocol = protocol};
    assert_int_equal(address_from_ip(STR("127.0.0.1"), port, &options.address, NULL), ERR_OK);
    return http_client_new(place->loop, &options);
}

static void fetch_wait(struct place *place, struct fetch *fetch)
{
    for (int i = 0; i < 3000 && !fetch->closed; i++) {
        loop_turn(place->loop, 10);
    }
    assert_true(fetch->closed);
}

static void test_answers(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum behaviour behaviour;
        const char *path;
        int want_status;
        const char *want_body; // prefix; NULL: not looked at
        unsigned want_requests;
    } rows[] = {
        {"plain", ANSWER, "/app", 200, "body", 1},
        {"503 is tried again", ANSWER_503_TWICE, "/retry", 200, "body", 3},
        {"503 goes through without a policy", ANSWER_503_TWICE, "/app", 503, "body", 1},
        {"a reset is tried again", RESET_ONCE, "/retry", 200, "body", 2},
        {"tries end", RESET_ALWAYS, "/retry", 503, "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: connection termination", 3},
        {"route timeout", SILENT, "/quick", 504, "upstream request timeout", 1},
        {"try timeout", SILENT, "/try", 504, "upstream request timeout", 2},
        {"dead", ANSWER, "/dead", 503, "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure, transport failure reason: ", 0},
        {"breaker", ANSWER, "/limited", 503, "upstream connect error or disconnect/reset before headers. reset reason: overflow", 0},
        {"no host", ANSWER, "/none", 503, "no healthy upstream", 0},
        {"no cluster", ANSWER, "/missing", 503, "", 0},
        {"no route", ANSWER, "/nothing", 404, "", 0},
        {"redirect", ANSWER, "/go", 301, "", 0},
        {"injected abort", ANSWER, "/abort", 500, "fault filter abort", 0},
        {"injected delay", ANSWER, "/delay", 200, "body", 1}, // longer than the route's time, which begins after it
        {"delay, then abort", ANSWER, "/late-abort", 418, "fault filter abort", 0},
        {"expression", ANSWER, "/x12?y", 200, "body", 1},
        {"expression that does not match", ANSWER, "/x12y", 404, "", 0},
    };
    for (size_t i = 0; i < array_count(rows) * 2; i++) {
        size_t at = i / 2;
        bool h2 = i % 2 == 1;
        struct place place;
        struct fetch fetch = {0};
        struct http_head head;
        place_open(&place, rows[at].behaviour);
        struct http_client *client = client_of(&place, place.http_port, h2 ? HTTP_PROTOCOL_2 : HTTP_PROTOCOL_1);
        http_head_init_request(&head, STR("GET"), STR("http"), STR("host"), str_of(rows[at].path));
        (void)http_request(client, &head, true, &fetch_events, &fetch);
        fetch_wait(&place, &fetch);
        check_row(rows[at].name, fetch.status == rows[at].want_status, "HTTP/%s status %d, want %d", h2 ? "2" : "1", fetch.status, rows[at].want_status);
        check_row(rows[at].name, str_starts_with(str_make(fetch.body, fetch.body_size), str_of(rows[at].want_body)), "body \"%.*s\"",
                  (int)fetch.body_size, fetch.body);
        check_row(rows[at].name, place.requests == rows[at].want_requests, "%u requests upstream, want %u", place.requests, rows[at].want_requests);
        if (place.requests > 1) {
            check_row(rows[at].name, place.attempt[0] == (char)('0' + place.requests), "attempt count %s", place.attempt);
        }
        http_client_free(client);
        arena_done(&fetch.arena);
        place_close(&place);
    }
}

static int get(struct place *place, struct http_client *client, const char *path)
{
    struct fetch fetch = {0};
    struct http_head head;
    http_head_init_request(&head, STR("GET"), STR("http"), STR("host"), str_of(path));
    (void)http_request(client, &head, true, &fetch_events, &fetch);
    fetch_wait(place, &fetch);
    arena_done(&fetch.arena);
    return fetch.status;
}

// A host that refuses connections fails one request, is left alone, and comes back after its time.
static void test_a_failing_host_is_ejected(void **state)
{
    (void)state;
    struct place place;
    place_open(&place, ANSWER);
    struct http_client *client = client_of(&place, place.http_port, HTTP_PROTOCOL_1);
    unsigned failed = 0;
    for (int i = 0; i < 40; i++) {
        failed += get(&place, client, "/weak") == 503 ? 1 : 0;
    }
    assert_int_equal(failed, 1);
    assert_int_equal(stat_of(&place, STAT_CLUSTER, "weak", "outlier_detection.ejections_enforced_consecutive_5xx"), 1);
    assert_int_equal(stat_of(&place, STAT_CLUSTER, "weak", "outlier_detection.ejections_active"), 1);
    for (int i = 0; i < 1000 && stat_of(&place, STAT_CLUSTER, "weak", "outlier_detection.ejections_active") > 0; i++) {
        loop_turn(place.loop, 10);
    }
    assert_int_equal(stat_of(&place, STAT_CLUSTER, "weak", "outlier_detection.ejections_active"), 0);
    for (int i = 0; i < 40 && failed == 1; i++) {
        failed += get(&place, client, "/weak") == 503 ? 1 : 0;
    }
    assert_int_equal(failed, 2);
    http_client_free(client);
    place_close(&place);
}

// The mirrors get their copies; one without a cluster and one that is dead change nothing.
static void test_mirrors(void **state)
{
    (void)state;
    static const uint8_t zeros[10000];
    struct place place;
    struct fetch fetch = {0};
    struct http_head head;
    place_open(&place, ECHO);
    struct http_client *client = client_of(&place, place.http_port, HTTP_PROTOCOL_1);
    http_head_init_request(&head, STR("POST"), STR("http"), STR("host"), STR("/mirror"));
    struct http_exchange *exchange = http_request(client, &head, false, &fetch_events, &fetch);
    for (int i = 0; i < 10; i++) {
        http_send_data(exchange, str_make((const char *)zeros, sizeof(zeros)), i == 9);
        loop_turn(place.loop, 0);
    }
    fetch_wait(&place, &fetch);
    assert_int_equal(fetch.status, 200);
    assert_int_equal(fetch.body_size, 10 * sizeof(zeros));
    for (int i = 0; i < 500 && stat_of(&place, STAT_CLUSTER, "app", "upstream_rq_active") > 0; i++) {
        loop_turn(place.loop, 10);
    }
    assert_int_equal(place.requests, 2);
    assert_int_equal(place.echoed, 20 * sizeof(zeros));
    assert_int_equal(stat_of(&place, STAT_CLUSTER, "app", "upstream_rq_active"), 0);
    assert_int_equal(stat_of(&place, STAT_CLUSTER, "dead", "upstream_rq_active"), 0);
    arena_done(&fetch.arena);
    // A client that goes takes its unfinished copies along.
    http_head_init_request(&head, STR("POST"), STR("http"), STR("host"), STR("/mirror"));
    fetch = (struct fetch){0};
    exchange = http_request(client, &head, false, &fetch_events, &fetch);
    for (int i = 0; i < 500 && place.requests < 4; i++) {
        loop_turn(place.loop, 10);
    }
    assert_int_equal(place.requests, 4);
    http_cancel(exchange);
    for (int i = 0; i < 500 && stat_of(&place, STAT_CLUSTER, "app", "upstream_rq_active") > 0; i++) {
        loop_turn(place.loop, 10);
    }
    assert_int_equal(stat_of(&place, STAT_CLUSTER, "app", "upstream_rq_active"), 0);
    http_client_free(client);
    arena_done(&fetch.arena);
    place_close(&place);
}

static void test_names_are_resolved(void **state)
{
    (void)state;
    struct place place;
    place_open(&place, ANSWER);
    struct http_client *client = client_of(&place, place.http_port, HTTP_PROTOCOL_1);
    int status = 0;
    for (int i = 0; i < 300 && status != 200; i++) { // until the name is answered there is no cluster
        status = get(&place, client, "/name");
        loop_turn(place.loop, 10);
    }
    assert_int_equal(status, 200);
    http_client_free(client);
    place_close(&place);
}

static void test_back_pressure(void **state)
{
    (void)state;
    struct place place;
    struct fetch fetch = {.paused = true};
    struct http_head head;
    place_open(&place, BIG);
    struct http_client *client = client_of(&place, place.http_port, HTTP_PROTOCOL_1);
    http_head_init_request(&head, STR("GET"), STR("http"), STR("host"), STR("/app"));
    struct http_exchange *exchange = http_request(client, &head, true, &fetch_events, &fetch);
    for (int i = 0; i < 300; i++) {
        loop_turn(place.loop, 1);
    }
    assert_int_equal(fetch.status, 200);
    size_t held = place.sent; // what a client that does not read makes us hold, kernel buffers included
    assert_true(held < BIG_SIZE);
    http_resume(exchange);
    fetch_wait(&place, &fetch);
    assert_int_equal(fetch.body_size, BIG_SIZE);
    assert_int_equal(fetch.code, ERR_OK);
    http_client_free(client);
    arena_done(&fetch.arena);
    place_close(&place);
}

static void test_bodies_both_ways(void **state)
{
    (void)state;
    static const uint8_t zeros[100000];
    for (int protocol = 0; protocol < 2; protocol++) {
        struct place place;
        struct fetch fetch = {0};
        struct http_head head;
        place_open(&place, ECHO);
        struct http_client *client = client_of(&place, place.http_port, protocol == 0 ? HTTP_PROTOCOL_1 : HTTP_PROTOCOL_2);
        http_head_init_request(&head, STR("POST"), STR("http"), STR("host"), STR("/app"));
        struct http_exchange *exchange = http_request(client, &head, false, &fetch_events, &fetch);
        for (int i = 0; i < 20; i++) {
            http_send_data(exchange, str_make((const char *)zeros, sizeof(zeros)), i == 19);
            loop_turn(place.loop, 0);
        }
        fetch_wait(&place, &fetch);
        assert_int_equal(fetch.status, 200);
        assert_int_equal(fetch.body_size, 20 * sizeof(zeros));
        assert_int_equal(stat_of(&place, STAT_HTTP, "h", "downstream_rq_2xx"), 1);
        http_client_free(client);
        arena_done(&fetch.arena);
        place_close(&place);
    }
}

static void test_a_client_that_goes_cancels_upstream(void **state)
{
    (void)state;
    struct place place;
    struct fetch fetch = {0};
    struct http_head head;
    place_open(&place, SILENT);
    struct http_client *client = client_of(&place, place.http_port, HTTP_PROTOCOL_1);
    http_head_init_request(&head, STR("GET"), STR("http"), STR("host"), STR("/app"));
    (void)http_request(client, &head, true, &fetch_events, &fetch);
    for (int i = 0; i < 500 && place.requests == 0; i++) {
        loop_turn(place.loop, 10);
    }
    http_client_free(client);
    for (int i = 0; i < 500 && !place.upstream_closed; i++) {
        loop_turn(place.loop, 10);
    }
    assert_true(place.upstream_closed);
    assert_int_equal(stat_of(&place, STAT_CLUSTER, "app", "upstream_rq_active"), 0);
    arena_done(&fetch.arena);
    place_close(&place);
}

static void test_upgrades_not_listed_are_refused(void **state)
{
    (void)state;
    struct place place;
    struct fetch fetch = {0};
    struct http_head head;
    place_open(&place, ANSWER);
    struct http_client *client = client_of(&place, place.http_port, HTTP_PROTOCOL_1);
    http_head_init_request(&head, STR("GET"), STR("http"), STR("host"), STR("/app"));
    head.upgrade = STR("tunnel");
    (void)http_request(client, &head, true, &fetch_events, &fetch);
    fetch_wait(&place, &fetch);
    assert_int_equal(fetch.status, 403);
    assert_int_equal(place.requests, 0);
    http_client_free(client);
    arena_done(&fetch.arena);
    place_close(&place);
}

// --- TCP -----------------------------------------------------------------------------------------------

struct peer {
    struct buf received;
    bool ended;
    bool closed;
};

static void peer_on_read(void *owner, struct stream *stream, struct str bytes)
{
    (void)stream;
    buf_append_str(&((struct peer *)owner)->received, bytes);
}

static void peer_on_eof(void *owner, struct stream *stream)
{
    (void)stream;
    ((struct peer *)owner)->ended = true;
}

static void peer_on_close(void *owner, struct stream *stream, const struct error *err)
{
    (void)stream;
    (void)err;
    ((struct peer *)owner)->closed = true;
}

static const struct stream_events peer_events = {.on_read = peer_on_read, .on_eof = peer_on_eof, .on_close = peer_on_close};

// An HTTP request over the TCP listener, with our FIN in front of the answer: it comes all the same.
static void test_tcp_half_close(void **state)
{
    (void)state;
    struct place place;
    struct peer peer = {0};
    struct address address;
    place_open(&place, ANSWER);
    assert_int_equal(address_from_ip(STR("127.0.0.1"), place.tcp_port, &address, NULL), ERR_OK);
    struct stream *stream = stream_connect(place.loop, &address, NULL, &peer_events, &peer);
    stream_write(stream, STR("GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
    for (int i = 0; i < 500 && !peer.ended && !peer.closed; i++) {
        loop_turn(place.loop, 10);
    }
    assert_true(str_starts_with(buf_view(&peer.received), STR("HTTP/1.1 200 OK\r\n")));
    stream_write_eof(stream);
    stream_close(stream);
    for (int i = 0; i < 500 && !peer.closed; i++) {
        loop_turn(place.loop, 10);
    }
    for (int i = 0; i < 50; i++) {
        loop_turn(place.loop, 1);
    }
    assert_int_equal(stat_of(&place, STAT_CLUSTER, "app", "upstream_cx_total"), 1);
    assert_int_equal(stat_of(&place, STAT_CLUSTER, "app", "upstream_cx_active"), 0);
    assert_int_equal(stat_of(&place, STAT_TCP, "t", "downstream_cx_total"), 1);
    buf_done(&peer.received);
    place_close(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_a_failing_host_is_ejected),
        cmocka_unit_test(test_mirrors),
        cmocka_unit_test(test_names_are_resolved),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_bodies_both_ways),
        cmocka_unit_test(test_a_client_that_goes_cancels_upstream),
        cmocka_unit_test(test_upgrades_not_listed_are_refused),
        cmocka_unit_test(test_tcp_half_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
