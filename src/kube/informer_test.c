// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "kube/informer.h"
#include "kube/server_fixture.h"

// --- what the informer said, as text ---------------------------------------------------------------

struct watcher {
    struct server_fixture fixture;
    struct informer *informer;
    struct buf log;
    const char *free_at; // free the informer when this line comes
};

static void say(struct watcher *watcher, struct informer *informer, struct str line)
{
    buf_append_str(&watcher->log, line);
    buf_append_char(&watcher->log, '\n');
    if (watcher->free_at != NULL && str_equal_c(line, watcher->free_at)) {
        informer_free(informer);
        watcher->informer = NULL;
    }
}

static void on_change(void *owner, struct informer *informer, struct kube_object *old, struct kube_object *fresh)
{
    struct arena arena = {0};
    const struct kube_object *object = fresh != NULL ? fresh : old;
    // The store shows the new state already.
    assert_ptr_equal(informer_get(informer, object->ns, object->name), fresh);
    say(owner, informer,
        arena_format(&arena, "%c%.*s@%.*s", old == NULL ? '+' : fresh == NULL ? '-' : '~', STR_ARG(object->name),
                     STR_ARG(object->resource_version)));
    arena_done(&arena);
}

static void on_synced(void *owner, struct informer *informer)
{
    say(owner, informer, STR("synced"));
}

static void on_health(void *owner, struct informer *informer, bool is_connected, const struct error *err)
{
    assert_true(is_connected == (err == NULL));
    say(owner, informer, is_connected ? STR("connected") : STR("lost"));
}

static const struct informer_events events = {on_change, on_synced, on_health};

static void start(struct watcher *watcher, bool optional)
{
    *watcher = (struct watcher){0};
    server_fixture_init(&watcher->fixture, NULL);
    struct informer_options options = {.resource = &kube_pods, .label_selector = STR("a=b"), .optional = optional};
    watcher->informer = informer_new(watcher->fixture.client, &options, &events, watcher);
}

static void stop(struct watcher *watcher)
{
    informer_free(watcher->informer);
    server_fixture_done(&watcher->fixture);
    buf_done(&watcher->log);
}

static void expect_log(struct watcher *watcher, const char *want)
{
    assert_str(buf_view(&watcher->log), want);
    buf_reset(&watcher->log);
}

static void expect_request(struct watcher *watcher, const char *want)
{
    struct str got = server_fixture_next(&watcher->fixture);
    if (str_find(got, str_of(want)) < 0) {
        fail_msg("got request \"%.*s\", want \"%s\"", STR_ARG(got), want);
    }
}

#define OBJECT(name, uid, version) \
    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"n\",\"uid\":\"" uid "\",\"resourceVersion\":\"" version "\"}}"
#define LIST(version, items) "{\"metadata\":{\"resourceVersion\":\"" version "\"},\"items\":[" items "]}"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"
#define GONE EVENT("ERROR", "{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\",\"message\":\"too old\"}")

// --- scenarios -------------------------------------------------------------------------------------

static void start_watching(struct watcher *watcher)
{
    start(watcher, false);
    expect_request(watcher, "/prefix/api/v1/pods?limit=500&resourceVersion=0&labelSelector=a%3Db");
    server_fixture_answer(&watcher->fixture, 200, LIST("10", OBJECT("a", "1", "5") "," OBJECT("b", "2", "6")));
    expect_log(watcher, "+a@5\n+b@6\nconnected\nsynced\n");
    expect_request(watcher, "&resourceVersion=10&labelSelector=a%3Db");
    server_fixture_open(&watcher->fixture);
}

static void test_list_and_watch(void **state)
{
    (void)state;
    struct watcher watcher;
    start_watching(&watcher);
    assert_true(informer_is_synced(watcher.informer));
    assert_int_equal(informer_stale_ms(watcher.informer), 0);
    server_fixture_send(&watcher.fixture, STR(EVENT("ADDED", OBJECT("c", "3", "11"))));
    server_fixture_send(&watcher.fixture, STR(EVENT("MODIFIED", OBJECT("a", "1", "12"))
                                              EVENT("DELETED", OBJECT("b", "2", "13"))));
    server_fixture_send(&watcher.fixture, STR(EVENT("BOOKMARK", "{\"metadata\":{\"resourceVersion\":\"20\"}}")));
    expect_log(&watcher, "+c@11\n~a@12\n-b@6\n");
    assert_int_equal(informer_count(watcher.informer), 2);
    struct kube_object *object = informer_get(watcher.informer, STR("n"), STR("a"));
    assert_str(json_get_str(object->value, "kind"), "Pod");
    assert_str(json_get_str(object->value, "apiVersion"), "v1");
    // A clean end: on from the bookmark, at once and silently.
    server_fixture_end(&watcher.fixture);
    expect_request(&watcher, "&resourceVersion=20&");
    expect_log(&watcher, "");
    stop(&watcher);
}

// The same events, cut into pieces at every place.
static void test_cut_at_any_byte(void **state)
{
    (void)state;
    struct watcher watcher;
    start_watching(&watcher);
    struct str text = STR(EVENT("ADDED", OBJECT("c", "3", "11")) EVENT("DELETED", OBJECT("c", "3", "12")));
    for (size_t at = 1; at < text.size; at++) {
        server_fixture_send(&watcher.fixture, str_sub(text, 0, at));
        server_fixture_send(&watcher.fixture, str_from(text, at));
        expect_log(&watcher, "+c@11\n-c@11\n");
    }
    stop(&watcher);
}

// The connection breaks within an event: what came whole counts, the rest is asked for again.
static void test_broken_connection(void **state)
{
    (void)state;
    struct watcher watcher;
    start_watching(&watcher);
    server_fixture_send(&watcher.fixture, STR(EVENT("ADDED", OBJECT("c", "3", "11")) "{\"type\":\"DEL"));
    server_fixture_cut(&watcher.fixture);
    expect_log(&watcher, "+c@11\nlost\n");
    loop_advance(watcher.fixture.loop, 300);
    assert_int_equal(server_fixture_next(&watcher.fixture).size, 0);
    assert_int_equal(informer_stale_ms(watcher.informer), 300);
    assert_int_equal(informer_count(watcher.informer), 3);
    loop_advance(watcher.fixture.loop, INFORMER_BACKOFF_MIN_MS * 2);
    expect_request(&watcher, "watch=true");
    assert_true(str_find(buf_view(&watcher.fixture.path), STR("&resourceVersion=11&")) > 0);
    server_fixture_open(&watcher.fixture);
    expect_log(&watcher, "connected\n");
    stop(&watcher);
}

// 410 as an event: a new list, of which only the differences are told.
static void test_expired(void **state)
{
    (void)state;
    struct watcher watcher;
    start_watching(&watcher);
    struct kube_object *kept = informer_get(watcher.informer, STR("n"), STR("a"));
    server_fixture_send(&watcher.fixture, STR(GONE));
    expect_request(&watcher, "?limit=500&labelSelector"); // the newest state
    server_fixture_answer(&watcher.fixture, 200,
                          LIST("30", OBJECT("a", "1", "5") "," OBJECT("b", "9", "25") "," OBJECT("d", "4", "26")));
    expect_log(&watcher, "-b@6\n+b@25\n+d@26\n");
    assert_ptr_equal(informer_get(watcher.informer, STR("n"), STR("a")), kept);
    expect_request(&watcher, "&resourceVersion=30&");
    // Again and again: not in a hurry.
    server_fixture_answer(&watcher.fixture, 410, "{\"kind\":\"Status\",\"reason\":\"Expired\",\"message\":\"old\"}");
    assert_int_equal(server_fixture_next(&watcher.fixture).size, 0);
    expect_log(&watcher, "lost\n");
    loop_advance(watcher.fixture.loop, INFORMER_BACKOFF_MAX_MS);
    expect_request(&watcher, "?limit=500&labelSelector");
    server_fixture_answer(&watcher.fixture, 200, LIST("40", OBJECT("d", "4", "26")));
    expect_log(&watcher, "-a@5\n-b@25\nconnected\n");
    stop(&watcher);
}

// Failures of a list change nothing that is held, and the waits grow.
static void test_failing_server(void **state)
{
    (void)state;
    struct watcher watcher;
    start_watching(&watcher);
    server_fixture_send(&watcher.fixture, STR(GONE));
    static const struct {
        int status;
        const char *body;
    } answers[] = {
        {500, "{\"kind\":\"Status\",\"message\":\"broken\"}"},
        {503, "<html>bad gateway</html>"},
        {200, "{\"items\":[]}"},                                   // no version
        {200, "not JSON"},
        {200, LIST("1", "{\"metadata\":{}}")},                     // an object without a name
        {403, "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"no\"}"},
        {404, "404 page not found"},
    };
    // The first step was spent on the expired version, which was listed again at once.
    static const uint64_t waits_ms[] = {800, 1600, 3200, 6400, 12800, 25600, 30000};
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        expect_request(&watcher, "?limit=500&");
        server_fixture_answer(&watcher.fixture, answers[i].status, answers[i].body);
        assert_int_equal(informer_count(watcher.informer), 2);
        assert_false(informer_is_connected(watcher.informer));
        // A wait lies in [half, one and a half) of the base.
        uint64_t base_ms = waits_ms[i];
        loop_advance(watcher.fixture.loop, base_ms / 2 - 1);
        assert_int_equal(server_fixture_next(&watcher.fixture).size, 0);
        loop_advance(watcher.fixture.loop, base_ms + 1);
    }
    expect_log(&watcher, "lost\n");
    expect_request(&watcher, "?limit=500&");
    server_fixture_answer(&watcher.fixture, 200, LIST("30", OBJECT("a", "1", "5")));
    expect_log(&watcher, "-b@6\nconnected\n");
    stop(&watcher);
}

static void test_retry_after(void **state)
{
    (void)state;
    struct watcher watcher;
    start(&watcher, false);
    expect_request(&watcher, "limit=500");
    server_fixture_answer_later(&watcher.fixture, 429, "60", "{}");
    loop_advance(watcher.fixture.loop, 59000);
    assert_int_equal(server_fixture_next(&watcher.fixture).size, 0);
    loop_advance(watcher.fixture.loop, 1500);
    expect_request(&watcher, "limit=500");
    stop(&watcher);
}

static void test_pages(void **state)
{
    (void)state;
    struct watcher watcher;
    start(&watcher, false);
    expect_request(&watcher, "resourceVersion=0");
    server_fixture_answer(&watcher.fixture, 200,
                          "{\"metadata\":{\"resourceVersion\":\"9\",\"continue\":\"x/y=\"},\"items\":[" OBJECT(
                              "a", "1", "5") "]}");
    expect_log(&watcher, "");
    expect_request(&watcher, "?limit=500&continue=x%2Fy%3D&labelSelector");
    server_fixture_answer(&watcher.fixture, 410, "{\"reason\":\"Expired\",\"message\":\"page expired\"}");
    loop_advance(watcher.fixture.loop, INFORMER_BACKOFF_MAX_MS);
    expect_log(&watcher, "");
    expect_request(&watcher, "?limit=500&labelSelector");
    server_fixture_answer(&watcher.fixture, 200, LIST("11", OBJECT("b", "2", "6")));
    expect_log(&watcher, "+b@6\nconnected\nsynced\n");
    stop(&watcher);
}

// A CRD that is not installed is an empty, synced store; when it goes while we hold objects, they stay
// until its absence has lasted.
static void test_optional(void **state)
{
    (void)state;
    struct watcher watcher;
    start(&watcher, true);
    expect_request(&watcher, "limit=500");
    server_fixture_answer(&watcher.fixture, 404, "404 page not found");
    expect_log(&watcher, "connected\nsynced\n");
    loop_advance(watcher.fixture.loop, INFORMER_ABSENT_RETRY_MS);
    expect_request(&watcher, "limit=500");
    server_fixture_answer(&watcher.fixture, 200, LIST("10", OBJECT("a", "1", "5")));
    expect_log(&watcher, "+a@5\n");
    expect_request(&watcher, "watch=true");
    server_fixture_answer(&watcher.fixture, 404, "404 page not found");
    for (unsigned i = 0; i < INFORMER_ABSENT_MAX; i++) {
        assert_int_equal(informer_count(watcher.informer), 1);
        loop_advance(watcher.fixture.loop, INFORMER_ABSENT_RETRY_MS);
        expect_request(&watcher, "limit=500");
        server_fixture_answer(&watcher.fixture, 404, "404 page not found");
    }
    assert_int_equal(informer_count(watcher.informer), 0);
    stop(&watcher);
}

static void test_malformed_events(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "not JSON\n",
        "{\"type\":\"ADDED\"}\n",
        EVENT("ADDED", "{\"metadata\":{\"resourceVersion\":\"11\"}}"),
        EVENT("ADDED", "{\"metadata\":{\"name\":\"x\"}}"),
        EVENT("RENAMED", OBJECT("c", "3", "11")),
        EVENT("ERROR", "null"),
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct watcher watcher;
        start_watching(&watcher);
        server_fixture_send(&watcher.fixture, str_of(lines[i]));
        server_fixture_turns(&watcher.fixture);
        expect_log(&watcher, "lost\n");
        assert_int_equal(informer_count(watcher.informer), 2);
        stop(&watcher);
    }
}

// informer_free() in every callback.
static void test_free_in_callback(void **state)
{
    (void)state;
    static const char *const places[] = {"+a@5", "+b@6", "connected", "synced", "+c@11", "-a@5", "lost"};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct watcher watcher;
        start(&watcher, false);
        watcher.free_at = places[i];
        expect_request(&watcher, "limit=500");
        server_fixture_answer(&watcher.fixture, 200, LIST("10", OBJECT("a", "1", "5") "," OBJECT("b", "2", "6")));
        if (server_fixture_next(&watcher.fixture).size > 0) {
            server_fixture_open(&watcher.fixture);
            server_fixture_send(&watcher.fixture, STR(EVENT("ADDED", OBJECT("c", "3", "11"))
                                                      EVENT("DELETED", OBJECT("a", "1", "12")) "nonsense\n"));
            server_fixture_turns(&watcher.fixture);
        }
        assert_null(watcher.informer);
        assert_true(str_ends_with(str_trim(buf_view(&watcher.log)), str_of(places[i])));
        stop(&watcher);
    }
}

// --- calls -----------------------------------------------------------------------------------------

struct outcome {
    unsigned count;
    enum err code;
    int status;
    char message[128];
};

static void on_done(void *owner, enum err code, const struct kube_response *response)
{
    struct outcome *outcome = owner;
    outcome->count++;
    outcome->code = code;
    outcome->status = response->status;
    (void)snprintf(outcome->message, sizeof(outcome->message), "%.*s", STR_ARG(response->message));
}

static void test_calls(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body;
        enum err want;
        const char *want_message;
    } rows[] = {
        {200, "{}", ERR_OK, ""},
        {201, "{\"kind\":\"Pod\"}", ERR_OK, ""},
        {200, "", ERR_OK, ""},
        {200, "<html>", ERR_PROTOCOL, "line 1 column 1: expected a value"},
        {404, "{\"reason\":\"NotFound\",\"message\":\"pods \\\"x\\\" not found\"}", ERR_NOT_FOUND, "pods \"x\" not found"},
        {409, "{\"reason\":\"AlreadyExists\",\"message\":\"m\"}", ERR_EXISTS, "m"},
        {409, "{\"reason\":\"Conflict\",\"message\":\"m\"}", ERR_CONFLICT, "m"},
        {401, "Unauthorized", ERR_DENIED, "HTTP status 401 Unauthorized"},
        {403, "{}", ERR_DENIED, "HTTP status 403"},
        {410, "{}", ERR_EXPIRED, "HTTP status 410"},
        {422, "{}", ERR_INVALID, "HTTP status 422"},
        {429, "{}", ERR_LIMIT, "HTTP status 429"},
        {502, "bad gateway", ERR_UNREACHABLE, "HTTP status 502 bad gateway"},
    };
    struct server_fixture fixture;
    server_fixture_init(&fixture, NULL);
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct outcome outcome = {0};
        struct json_value *object = json_new_object(&arena);
        (void)kube_update(fixture.client, &kube_pods, STR("n"), STR("x"), STR("status"), object, on_done, &outcome);
        assert_str(server_fixture_next(&fixture), "/prefix/api/v1/namespaces/n/pods/x/status");
        assert_str(buf_view(&fixture.method), "PUT");
        assert_str(buf_view(&fixture.body), "{}");
        server_fixture_answer(&fixture, rows[i].status, rows[i].body);
        assert_int_equal(outcome.count, 1);
        check_row(rows[i].want_message, outcome.code == rows[i].want, "%s", err_name(outcome.code));
        assert_str(str_of(outcome.message), rows[i].want_message);
    }
    arena_done(&arena);
    server_fixture_done(&fixture);
}

static void test_call_ends(void **state)
{
    (void)state;
    struct server_fixture fixture;
    server_fixture_init(&fixture, NULL);
    struct outcome timed_out = {0};
    struct outcome cancelled = {0};
    struct outcome cut = {0};
    struct outcome closed = {0};
    (void)kube_get(fixture.client, &kube_pods, STR("n"), STR("x"), on_done, &timed_out);
    assert_true(server_fixture_next(&fixture).size > 0);
    loop_advance(fixture.loop, KUBE_TIMEOUT_MS);
    assert_int_equal(timed_out.code, ERR_TIMEOUT);
    kube_call_cancel(kube_get(fixture.client, &kube_pods, STR("n"), STR("x"), on_done, &cancelled));
    server_fixture_turns(&fixture);
    assert_int_equal(cancelled.count, 0);
    fixture.has_request = false;
    (void)kube_delete(fixture.client, &kube_pods, STR("n"), STR("y"), 0, on_done, &cut);
    assert_true(server_fixture_next(&fixture).size > 0);
    assert_str(buf_view(&fixture.body), "{\"propagationPolicy\":\"Background\",\"gracePeriodSeconds\":0}");
    server_fixture_cut(&fixture);
    assert_int_equal(cut.count, 1);
    assert_int_equal(cut.code, ERR_CLOSED);
    (void)kube_get(fixture.client, &kube_pods, STR("n"), STR("z"), on_done, &closed);
    server_fixture_done(&fixture); // calls under way end
    assert_int_equal(closed.count, 1);
    assert_int_equal(closed.code, ERR_CLOSED);
    assert_int_equal(timed_out.count, 1);
}

static void test_token_file(void **state)
{
    (void)state;
    char path[] = "/tmp/kube-token-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(file_write_atomic(path, STR("one\n"), 0600, NULL), ERR_OK);
    struct server_fixture fixture;
    server_fixture_init(&fixture, path);
    static const char *const wants[] = {"Bearer one", "Bearer one", "Bearer two", "Bearer two"};
    for (size_t i = 0; i < 4; i++) {
        struct outcome outcome = {0};
        (void)kube_get(fixture.client, &kube_pods, STR("n"), STR("x"), on_done, &outcome);
        assert_true(server_fixture_next(&fixture).size > 0);
        assert_str(buf_view(&fixture.authorization), wants[i]);
        // Rotated after the first, refused at the second; gone after the third.
        server_fixture_answer(&fixture, i == 1 ? 401 : 200, "{}");
        if (i == 0) {
            assert_int_equal(file_write_atomic(path, STR("two"), 0600, NULL), ERR_OK);
        } else if (i == 2) {
            (void)unlink(path);
            loop_advance(fixture.loop, KUBE_TOKEN_REREAD_MS);
        }
    }
    server_fixture_done(&fixture);
}

int main(void)
{
    (void)log_set_levels(STR("error"), NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_and_watch),  cmocka_unit_test(test_cut_at_any_byte),
        cmocka_unit_test(test_broken_connection), cmocka_unit_test(test_expired),
        cmocka_unit_test(test_failing_server),  cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_pages),           cmocka_unit_test(test_optional),
        cmocka_unit_test(test_malformed_events), cmocka_unit_test(test_free_in_callback),
        cmocka_unit_test(test_calls),           cmocka_unit_test(test_call_ends),
        cmocka_unit_test(test_token_file),
    };
    return cmocka_run_group_tests_name("kube_informer", tests, NULL, NULL);
}
