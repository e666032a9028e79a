// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "proxy/filter/headers.h"

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        bool merge;
        const char *want; // NULL: refused
    } rows[] = {
        {"/", false, "/"},
        {"/a/b", false, "/a/b"},
        {"/a/./b", false, "/a/b"},
        {"/a/../b", false, "/b"},
        {"/a/b/..", false, "/a/"},
        {"/a/b/.", false, "/a/b/"},
        {"/../../a", false, "/a"},
        {"/..", false, "/"},
        {"/a/%2e%2e/b", false, "/b"},
        {"/a\\..\\b", false, "/b"},
        {"/%61%2fb", false, "/a%2Fb"},
        {"/a?x=/../y", false, "/a?x=/../y"},
        {"/a#frag", false, "/a"},
        {"/a#frag?x", false, "/a?x"},
        {"//a//b", false, "//a//b"},
        {"//a//b", true, "/a/b"},
        {"/a//", true, "/a/"},
        {"/%00", false, NULL},
        {"/%zz", false, NULL},
        {"/%4", false, NULL},
        {"a", false, NULL},
        {"", false, NULL},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct str got = STR_EMPTY;
        bool fine = headers_normalize_path(str_of(rows[i].path), rows[i].merge, &arena, &got);
        check_row(rows[i].path, fine == (rows[i].want != NULL), "%s", fine ? "accepted" : "refused");
        if (fine) {
            assert_str(got, rows[i].want);
        }
        arena_done(&arena);
    }
}

static void clean(const struct http_manager_config *config, enum traffic_direction direction, struct http_head *head, struct arena *arena)
{
    struct address remote;
    assert_int_equal(address_parse(STR("10.1.2.3:4567"), &remote, NULL), ERR_OK);
    const struct request_facts facts = {.remote = &remote, .local = &remote, .direction = direction};
    assert_int_equal(headers_clean_request(config, &facts, head, arena), HEADERS_FINE);
}

static void test_requests(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct http_manager_config sidecar = {.generate_request_id = true, .exchanges_metadata = true, .client_cert = CERT_APPEND_FORWARD};
    struct http_head head;
    http_head_init_request(&head, STR("GET"), STR("http"), STR("h"), STR("/"));
    static const char *const unwanted[] = {"x-envoy-internal", "x-envoy-retry-on", "x-envoy-upstream-rq-timeout-ms", "x-envoy-peer-metadata",
                                           "x-envoy-peer-metadata-id", "x-forwarded-client-cert"};
    for (size_t i = 0; i < array_count(unwanted); i++) {
        (void)http_head_add(&head, str_of(unwanted[i]), STR("forged"));
    }
    (void)http_head_add(&head, STR("x-forwarded-for"), STR("1.2.3.4"));
    clean(&sidecar, TRAFFIC_INBOUND, &head, &arena);
    for (size_t i = 0; i < array_count(unwanted); i++) {
        check_row(unwanted[i], !http_head_has(&head, str_of(unwanted[i])), "still there");
    }
    assert_str(http_head_get(&head, STR("x-forwarded-for")), "1.2.3.4");
    assert_str(http_head_get(&head, STR("x-forwarded-proto")), "http");
    assert_int_equal(http_head_get(&head, STR("x-request-id")).size, 36);

    // A gateway adds the address it sees, and does not believe request ids from outside.
    const struct http_manager_config gateway = {.generate_request_id = true, .use_remote_address = true};
    http_head_init_request(&head, STR("GET"), STR("http"), STR("h"), STR("/"));
    (void)http_head_add(&head, STR("x-forwarded-for"), STR("1.2.3.4"));
    (void)http_head_add(&head, STR("x-forwarded-proto"), STR("https"));
    (void)http_head_add(&head, STR("x-request-id"), STR("mine"));
    clean(&gateway, TRAFFIC_OUTBOUND, &head, &arena);
    assert_str(http_head_get(&head, STR("x-forwarded-for")), "1.2.3.4, 10.1.2.3");
    assert_str(http_head_get(&head, STR("x-forwarded-proto")), "http");
    assert_int_equal(http_head_get(&head, STR("x-request-id")).size, 36);
    assert_str(http_head_get(&head, STR("x-envoy-external-address")), "10.1.2.3");
    arena_done(&arena);
}

static void test_responses(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct http_manager_config config = {.server_name = STR("istio-envoy"), .exchanges_metadata = true};
    struct http_head head;
    http_head_init_response(&head, 200);
    (void)http_head_add(&head, STR("server"), STR("app"));
    (void)http_head_add(&head, STR("x-envoy-peer-metadata"), STR("x"));
    headers_clean_response(&config, 1700000000000u, &head, &arena);
    assert_str(http_head_get(&head, STR("server")), "istio-envoy");
    assert_str(http_head_get(&head, STR("date")), "Tue, 14 Nov 2023 22:13:20 GMT");
    assert_false(http_head_has(&head, STR("x-envoy-peer-metadata")));
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_paths), cmocka_unit_test(test_requests), cmocka_unit_test(test_responses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
