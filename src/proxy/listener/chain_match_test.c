// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "proxy/listener/chain_match.h"

struct chain_row {
    uint16_t port;
    const char *destination; // "ip/len"
    const char *server_names[3];
    const char *transport;
    const char *protocols[6];
    enum chain_source_type source_type;
    const char *source;
};

#define MESH_PROTOCOLS {"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"}

static size_t collect(const char *const *texts, size_t max, struct str *out)
{
    size_t count = 0;
    for (; count < max && texts[count] != NULL; count++) {
        out[count] = str_of(texts[count]);
    }
    return count;
}

static bool parse_prefix(const char *text, struct chain_prefix *prefix)
{
    struct str rest = str_of(text);
    struct str address = str_split(&rest, '/');
    uint64_t length = 0;
    return str_to_u64(rest, &length) && chain_prefix_make(address, (uint32_t)length, prefix);
}

static enum err add_row(struct chain_match *match, const struct chain_row *row, int chain, struct error *err)
{
    struct str names[3];
    struct str protocols[6];
    struct chain_prefix destination;
    struct chain_prefix source;
    struct chain_rule rule = {.destination_port = row->port, .transport = str_of(row->transport), .source_type = row->source_type};
    rule.server_names = names;
    rule.server_name_count = collect(row->server_names, 3, names);
    rule.protocols = protocols;
    rule.protocol_count = collect(row->protocols, 6, protocols);
    if (row->destination != NULL) {
        assert_true(parse_prefix(row->destination, &destination));
        rule.destinations = &destination;
        rule.destination_count = 1;
    }
    if (row->source != NULL) {
        assert_true(parse_prefix(row->source, &source));
        rule.sources = &source;
        rule.source_count = 1;
    }
    return chain_match_add(match, &rule, chain, err);
}

// The inbound listener of a sidecar in permissive mode, and a few more.
static const struct chain_row inbound[] = {
    /* 0 */ {.port = 15006},
    /* 1 */ {.transport = "tls", .protocols = {"istio-http/1.0", "istio-http/1.1", "istio-h2"}},
    /* 2 */ {.transport = "raw_buffer", .protocols = {"http/1.1", "h2c"}},
    /* 3 */ {.transport = "tls", .protocols = {"istio-peer-exchange", "istio"}},
    /* 4 */ {.transport = "raw_buffer"},
    /* 5 */ {.transport = "tls"},
    /* 6 */ {.port = 5000, .transport = "tls", .protocols = MESH_PROTOCOLS},
    /* 7 */ {.port = 5000, .transport = "raw_buffer"},
    /* 8 */ {.port = 7000, .destination = "10.0.0.0/8"},
    /* 9 */ {.port = 7000, .destination = "10.1.0.0/16"},
    /* 10 */ {.port = 7001, .server_names = {"a.example.com"}},
    /* 11 */ {.port = 7001, .server_names = {"*.example.com"}},
    /* 12 */ {.port = 7001, .server_names = {"*.com"}},
    /* 13 */ {.port = 7002, .source_type = CHAIN_SOURCE_SAME_OR_LOOPBACK},
    /* 14 */ {.port = 7002, .source = "192.168.0.0/16"},
    /* 15 */ {.port = 7002},
};

static void test_finding(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *destination;
        const char *source;
        const char *server_name;
        const char *transport;
        const char *protocols[3];
        bool is_local;
        int want;
    } rows[] = {
        {"loop", "10.244.0.1:15006", NULL, "", "raw_buffer", {NULL}, false, 0},
        {"mesh HTTP", "10.244.0.1:5000", NULL, "", "tls", {"istio-http/1.1", "istio", "http/1.1"}, false, 6},
        {"plain to a known port", "10.244.0.1:5000", NULL, "", "raw_buffer", {"http/1.1"}, false, 7},
        {"no going back from a known port", "10.244.0.1:5000", NULL, "", "tls", {"h2"}, false, CHAIN_MATCH_NONE},
        {"mesh HTTP to an unknown port", "10.244.0.1:9999", NULL, "", "tls", {"istio-h2", "istio"}, false, 1},
        {"the client's order decides", "10.244.0.1:9999", NULL, "", "tls", {"istio", "istio-h2"}, false, 3},
        {"mesh TCP", "10.244.0.1:9999", NULL, "", "tls", {"istio-peer-exchange", "istio"}, false, 3},
        {"foreign TLS", "10.244.0.1:9999", NULL, "x", "tls", {"h2"}, false, 5},
        {"plain HTTP", "10.244.0.1:9999", NULL, "", "raw_buffer", {"http/1.1"}, false, 2},
        {"bytes", "10.244.0.1:9999", NULL, "", "raw_buffer", {NULL}, false, 4},
        {"longest prefix", "10.1.2.3:7000", NULL, "", "raw_buffer", {NULL}, false, 9},
        {"shorter prefix", "10.2.2.3:7000", NULL, "", "raw_buffer", {NULL}, false, 8},
        {"no prefix", "11.2.2.3:7000", NULL, "", "raw_buffer", {NULL}, false, CHAIN_MATCH_NONE},
        {"exact name", "1.1.1.1:7001", NULL, "a.example.com", "tls", {NULL}, false, 10},
        {"wildcard", "1.1.1.1:7001", NULL, "b.c.example.com", "tls", {NULL}, false, 11},
        {"shorter wildcard", "1.1.1.1:7001", NULL, "example.com", "tls", {NULL}, false, 12},
        {"no name", "1.1.1.1:7001", NULL, "", "tls", {NULL}, false, CHAIN_MATCH_NONE},
        {"dot in front", "1.1.1.1:7001", NULL, ".example.com", "tls", {NULL}, false, CHAIN_MATCH_NONE},
        {"local source", "1.1.1.1:7002", "127.0.0.1:1", "", "raw_buffer", {NULL}, true, 13},
        {"source range", "1.1.1.1:7002", "192.168.3.4:1", "", "raw_buffer", {NULL}, false, 14},
        {"any source", "1.1.1.1:7002", "8.8.8.8:1", "", "raw_buffer", {NULL}, false, 15},
    };
    struct chain_match *match = chain_match_new();
    struct error err = {0};
    for (size_t i = 0; i < array_count(inbound); i++) {
        if (add_row(match, &inbound[i], (int)i, &err) != ERR_OK) {
            fail_msg("chain %zu: %s", i, err.message);
        }
    }
    for (size_t i = 0; i < array_count(rows); i++) {
        struct str protocols[3];
        struct address destination;
        struct address source;
        assert_int_equal(address_parse(str_of(rows[i].destination), &destination, &err), ERR_OK);
        assert_int_equal(address_parse(str_of(rows[i].source == NULL ? "8.8.8.8:1" : rows[i].source), &source, &err), ERR_OK);
        const struct chain_facts facts = {
            .destination = &destination,
            .source = &source,
            .server_name = str_of(rows[i].server_name),
            .transport = str_of(rows[i].transport),
            .protocols = protocols,
            .protocol_count = collect(rows[i].protocols, 3, protocols),
            .source_is_local = rows[i].is_local,
        };
        int got = chain_match_find(match, &facts);
        check_row(rows[i].name, got == rows[i].want, "got chain %d, want %d", got, rows[i].want);
    }
    chain_match_free(match);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const struct chain_row rows[][2] = {
        {{.port = 1}, {.port = 1}},
        {{.port = 0}, {.destination = "0.0.0.0/0"}},
        {{.server_names = {"a"}}, {.server_names = {"b", "a"}}},
        {{.port = 2}, {.server_names = {"w*.a.com"}}},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct chain_match *match = chain_match_new();
        struct error err = {0};
        assert_int_equal(add_row(match, &rows[i][0], 0, &err), ERR_OK);
        assert_int_equal(add_row(match, &rows[i][1], 1, &err), ERR_INVALID);
        chain_match_free(match);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_finding), cmocka_unit_test(test_what_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
