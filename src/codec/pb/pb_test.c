// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <dirent.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/memory.h"
#include "codec/pb/pb.h"
#include "codec/pb/pb_internal.h"
#include "codec/pb/schema_table.h"
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "envoy/config/listener/v3/listener.pb-c.h"
#include "envoy/service/discovery/v3/discovery.pb-c.h"
#include "istio/networking/v1alpha3/gateway.pb-c.h"
#include "istio/proxy/peer_metadata.pb-c.h"


typedef Envoy__Config__Listener__V3__Listener Listener;
typedef Istio__Networking__V1alpha3__Gateway Gateway;

#define LISTENER &envoy__config__listener__v3__listener__descriptor
#define GATEWAY &istio__networking__v1alpha3__gateway__descriptor

static struct json_value *parse(struct arena *arena, const char *text)
{
    struct json_value *value = NULL;
    struct error err = {0};
    if (json_parse(arena, str_of(text), &value, &err) != ERR_OK) {
        fail_msg("%s: %s", text, err.message);
    }
    return value;
}

static void tables_are_sorted_and_small(void **state)
{
    (void)state;
    size_t entries = 0;
    for (size_t i = 0; i < schema_type_count; i++) {
        const ProtobufCMessageDescriptor *type = schema_types[i].descriptor;
        assert_true(type->n_fields <= PB_FIELD_COUNT_MAX);
        assert_true(i == 0 || strcmp(schema_types[i - 1].descriptor->name, type->name) < 0);
        assert_ptr_equal(pb_type_find(str_of(type->name)), type);
        entries += schema_types[i].is_map_entry ? 1 : 0;
    }
    assert_true(entries > 5);
    assert_null(pb_type_find(STR("no.such.Type")));
    assert_ptr_equal(pb_type_find(STR("type.googleapis.com/envoy.config.listener.v3.Listener")), LISTENER);
}

static void bytes_both_ways(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error err = {0};
    Listener *listener = pb_new(&arena, LISTENER);
    listener->name = pb_text(&arena, STR("0.0.0.0_80"));
    listener->use_original_dst = pb_bool(&arena, true);
    listener->listener_filters_timeout = pb_duration_ms(&arena, 1500);
    for (uint32_t i = 0; i < 5; i++) {
        Envoy__Config__Listener__V3__FilterChain *chain = pb_new(&arena, &envoy__config__listener__v3__filter_chain__descriptor);
        chain->name = pb_text(&arena, arena_format(&arena, "chain%u", i));
        PB_PUSH(&arena, listener, filter_chains, chain);
    }
    Google__Protobuf__Any *any = pb_any(&arena, listener);
    assert_string_equal(any->type_url, "type.googleapis.com/envoy.config.listener.v3.Listener");
    Listener *again = pb_any_unpack(&arena, any, LISTENER, &err);
    assert_non_null(again);
    assert_string_equal(again->name, "0.0.0.0_80");
    assert_true(pb_bool_or(again->use_original_dst, false));
    assert_int_equal(pb_duration_to_ms(again->listener_filters_timeout, 0), 1500);
    assert_int_equal(again->n_filter_chains, 5);
    assert_string_equal(again->filter_chains[4]->name, "chain4");
    assert_null(pb_any_unpack(&arena, any, GATEWAY, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    arena_done(&arena);
}

// n times a field of wire type 2 around the inner bytes.
static struct str nest(struct arena *arena, char tag, unsigned times)
{
    struct str inner = STR_EMPTY;
    for (unsigned i = 0; i < times; i++) {
        struct buf out = {0};
        size_t size = inner.size;
        buf_append_char(&out, tag);
        for (; size >= 128; size >>= 7) {
            buf_append_char(&out, (char)(size | 128));
        }
        buf_append_char(&out, (char)size);
        buf_append_str(&out, inner);
        inner = arena_str(arena, buf_view(&out));
        buf_done(&out);
    }
    return inner;
}

static struct str repeat(struct arena *arena, struct str what, size_t times)
{
    char *out = arena_alloc(arena, what.size * times);
    for (size_t i = 0; i < times; i++) {
        memcpy(out + i * what.size, what.data, what.size);
    }
    return str_make(out, what.size * times);
}

static void limits_hold(void **state)
{
    (void)state;
    struct arena arena = {0};
    const ProtobufCMessageDescriptor *predicate = &envoy__config__listener__v3__listener_filter_chain_match_predicate__descriptor;
    const struct {
        const char *name;
        const ProtobufCMessageDescriptor *type;
        struct str bytes;
        enum err want;
    } rows[] = {
        {"empty", LISTENER, STR_EMPTY, ERR_OK},
        {"depth at the limit", predicate, nest(&arena, 0x1a, PB_DEPTH_MAX - 1), ERR_OK},
        {"too deep", predicate, nest(&arena, 0x1a, PB_DEPTH_MAX), ERR_LIMIT},
        {"much too deep", predicate, nest(&arena, 0x1a, 12000), ERR_LIMIT},
        {"empty messages by the million", LISTENER, repeat(&arena, STR("\x1a\0"), 3000000), ERR_LIMIT},
        {"few merges", LISTENER, repeat(&arena, STR("\x22\0"), 10), ERR_OK},
        {"many merges", LISTENER, repeat(&arena, STR("\x22\0"), 1000), ERR_LIMIT},
        {"text not UTF-8", LISTENER, STR("\x0a\x01\xff"), ERR_INVALID},
        {"text with NUL", LISTENER, STR("\x0a\x02\x61\0"), ERR_INVALID},
        {"length beyond the end", LISTENER, STR("\x0a\x7f"), ERR_INVALID},
        {"field number 0", LISTENER, STR("\x02\0"), ERR_INVALID},
        {"group", LISTENER, STR("\x0b\x0c"), ERR_INVALID},
        {"endless varint", LISTENER, STR("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\0"), ERR_INVALID},
        {"unknown field", LISTENER, STR("\xf2\x3f\x01x"), ERR_OK},
        {"known field of another wire type", LISTENER, STR("\x08\x01"), ERR_INVALID},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct error err = {0};
        void *message = pb_unpack(&arena, rows[i].type, rows[i].bytes, &err);
        check_row(rows[i].name, err.code == rows[i].want && (message != NULL) == (rows[i].want == ERR_OK), "got %s (%s)",
                  err_name(err.code), err.message);
    }
    arena_done(&arena);
}

static void json_is_read(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error err = {0};
    Gateway *gateway = pb_from_json(&arena, GATEWAY, parse(&arena,
        "{\"selector\":{\"istio\":\"eastwestgateway\"},\"servers\":[{\"port\":{\"number\":15443,\"name\":\"tls\",\"protocol\":\"TLS\"},"
        "\"tls\":{\"mode\":\"AUTO_PASSTHROUGH\"},\"hosts\":[\"*.local\"]}]}"), PB_JSON_STRICT, &err);
    if (gateway == NULL) {
        fail_msg("%s", err.message);
    }
    assert_string_equal(gateway->selector[0]->value, "eastwestgateway");
    assert_int_equal(gateway->servers[0]->port->number, 15443);
    assert_int_equal(gateway->servers[0]->tls->mode, ISTIO__NETWORKING__V1ALPHA3__SERVER_TLSSETTINGS__TLSMODE__AUTO_PASSTHROUGH);
    assert_string_equal(gateway->servers[0]->hosts[0], "*.local");
    assert_str(json_to_str(&arena, pb_to_json(&arena, gateway, PB_JSON_STRICT)),
        "{\"servers\":[{\"port\":{\"number\":15443,\"protocol\":\"TLS\",\"name\":\"tls\"},\"hosts\":[\"*.local\"],"
        "\"tls\":{\"mode\":\"AUTO_PASSTHROUGH\"}}],\"selector\":{\"istio\":\"eastwestgateway\"}}");
    arena_done(&arena);
}

static void json_errors_name_the_field(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        const char *want; // empty: fine
    } rows[] = {
        {"{\"servers\":[{\"port\":{\"number\":\"80\"}}]}", ""},
        {"{\"servers\":[{\"port\":{\"number\":8e1}}]}", ""},
        {"{\"servers\":null}", ""},
        {"{\"servers\":[{\"defaultEndpoint\":\"a\"}]}", ""},
        {"{\"servers\":[{\"default_endpoint\":\"a\"}]}", ""},
        {"{\"servers\":[{\"tls\":{\"mode\":3}}]}", ""},
        {"[]", "want an object"},
        {"{\"servers\":[{\"prot\":{}}]}", "servers[0]: unknown field \"prot\" of Server"},
        {"{\"servers\":[{},{\"port\":{\"number\":-1}}]}", "servers[1].port.number: want a number in the field's range"},
        {"{\"servers\":[{\"port\":{\"number\":1.5}}]}", "servers[0].port.number: want a number in the field's range"},
        {"{\"servers\":[{\"port\":{\"number\":4294967296}}]}", "servers[0].port.number: want a number in the field's range"},
        {"{\"servers\":{}}", "servers: want a list"},
        {"{\"servers\":[{\"hosts\":[\"a\",1]}]}", "servers[0].hosts[1]: want text"},
        {"{\"servers\":[{\"hosts\":[\"a\\u0000\"]}]}", "servers[0].hosts[0]: want UTF-8 text without NUL"},
        {"{\"servers\":[{\"tls\":{\"mode\":\"NONE\"}}]}", "servers[0].tls.mode: \"NONE\" is not a value of istio.networking.v1alpha3.ServerTLSSettings.TLSmode"},
        {"{\"selector\":{\"a\":1}}", "selector[\"a\"]: want text"},
        {"{\"servers\":[{\"defaultEndpoint\":\"a\",\"default_endpoint\":\"b\"}]}", "servers[0].default_endpoint: given twice"},
    };
    struct arena arena = {0};
    for (size_t i = 0; i < array_count(rows); i++) {
        struct error err = {0};
        (void)pb_from_json(&arena, GATEWAY, parse(&arena, rows[i].json), PB_JSON_STRICT, &err);
        check_row(rows[i].json, strcmp(err.message, rows[i].want) == 0, "got \"%s\", want \"%s\"", err.message, rows[i].want);
    }
    struct error err = {0};
    assert_non_null(pb_from_json(&arena, GATEWAY, parse(&arena, "{\"later\":{\"x\":1}}"), PB_JSON_IGNORE_UNKNOWN, &err));
    assert_null(pb_from_json(&arena, &envoy__config__listener__v3__filter__descriptor,
        parse(&arena, "{\"typedConfig\":{\"@type\":\"x/google.protobuf.Empty\"},\"configDiscovery\":{}}"), PB_JSON_STRICT, &err));
    assert_non_null(strstr(err.message, "one of the alternatives"));
    arena_done(&arena);
}

static void json_round_trips(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        const char *json;
        const char *want; // NULL: the same
    } rows[] = {
        {"google.protobuf.Duration", "\"1.500s\"", NULL},
        {"google.protobuf.Duration", "\"-0.000001s\"", NULL},
        {"google.protobuf.Duration", "\"0s\"", NULL},
        {"google.protobuf.Duration", "\"3.25s\"", "\"3.250s\""},
        {"google.protobuf.Timestamp", "\"2024-02-29T23:59:59.123Z\"", NULL},
        {"google.protobuf.Timestamp", "\"1969-12-31T23:59:59Z\"", NULL},
        {"google.protobuf.Timestamp", "\"2026-01-01T01:00:00+01:00\"", "\"2026-01-01T00:00:00Z\""},
        {"google.protobuf.UInt64Value", "\"18446744073709551615\"", NULL},
        {"google.protobuf.Int64Value", "-5", "\"-5\""},
        {"google.protobuf.BoolValue", "true", NULL},
        {"google.protobuf.BytesValue", "\"AP8=\"", NULL},
        {"google.protobuf.DoubleValue", "\"Infinity\"", NULL},
        {"google.protobuf.Struct", "{\"a\":[1,\"x\",null,true,{\"b\":{}}],\"c\":-0.5}", NULL},
        {"envoy.config.core.v3.Metadata", "{\"filterMetadata\":{\"istio\":{\"services\":[{\"host\":\"h\"}]}}}", NULL},
        {"envoy.config.core.v3.DataSource", "{\"inlineString\":\"\"}", NULL},
        {"envoy.config.core.v3.SocketOption", "{\"level\":\"1\",\"intValue\":\"0\"}", NULL},
        {"envoy.config.cluster.v3.OutlierDetection", "{\"consecutive5xx\":5,\"interval\":\"1s\"}", NULL},
        {"google.protobuf.Any", "{\"@type\":\"type.googleapis.com/google.protobuf.Duration\",\"value\":\"1s\"}", NULL},
        {"google.protobuf.Any", "{}", "{\"@type\":\"\",\"value\":\"\"}"},
        {"envoy.config.cluster.v3.Cluster", "{\"type\":\"STATIC\",\"typedExtensionProtocolOptions\":{\"k\":{\"@type\":"
            "\"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\",\"explicitHttpConfig\":"
            "{\"http2ProtocolOptions\":{}}}}}", NULL},
    };
    struct arena arena = {0};
    for (size_t i = 0; i < array_count(rows); i++) {
        struct error err = {0};
        const ProtobufCMessageDescriptor *type = pb_type_find(str_of(rows[i].type));
        void *message = pb_from_json(&arena, type, parse(&arena, rows[i].json), PB_JSON_STRICT, &err);
        check_row(rows[i].json, message != NULL, "%s", err.message);
        message = pb_unpack(&arena, type, pb_pack_str(&arena, message), &err);
        check_row(rows[i].json, message != NULL, "%s", err.message);
        struct str got = json_to_str(&arena, pb_to_json(&arena, message, PB_JSON_STRICT));
        const char *want = rows[i].want != NULL ? rows[i].want : rows[i].json;
        check_row(rows[i].json, str_equal_c(got, want), "got %.*s", STR_ARG(got));
    }
    arena_done(&arena);
}

static void bad_times_are_refused(void **state)
{
    (void)state;
    static const char *const durations[] = {"1", "s", "1.s", "1.0000000001s", "+1s", "1e3s", "315576000001s", " 1s", ""};
    static const char *const times[] = {"2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T24:00:00Z", ""};
    int64_t seconds;
    int32_t nanos;
    for (size_t i = 0; i < array_count(durations); i++) {
        check_row(durations[i], !pb_duration_parse(str_of(durations[i]), &seconds, &nanos), "accepted");
    }
    static const struct {
        const char *text;
        bool want;
        int64_t want_seconds;
        int32_t want_nanos;
    } go[] = {
        {"1m", true, 60, 0},
        {"1h30m", true, 5400, 0},
        {"1.5h", true, 5400, 0},
        {"250ms", true, 0, 250000000},
        {"1m0.5s", true, 60, 500000000},
        {"", false, 0, 0},
        {"1", false, 0, 0},
        {"m", false, 0, 0},
        {"-1m", false, 0, 0},
        {"1d", false, 0, 0},
        {"999999999999999h", false, 0, 0},
    };
    for (size_t i = 0; i < array_count(go); i++) {
        bool got = pb_go_duration_parse(str_of(go[i].text), &seconds, &nanos);
        check_row(go[i].text, got == go[i].want, "wrong verdict");
        check_row(go[i].text, !got || (seconds == go[i].want_seconds && nanos == go[i].want_nanos), "wrong value");
    }
    for (size_t i = 0; i < array_count(times); i++) {
        check_row(times[i], !pb_timestamp_parse(str_of(times[i]), &seconds, &nanos), "accepted");
    }
}

static void typed_struct_is_looked_through(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error err = {0};
    Google__Protobuf__Any *any = pb_from_json(&arena, &google__protobuf__any__descriptor, parse(&arena,
        "{\"@type\":\"type.googleapis.com/udpa.type.v1.TypedStruct\",\"typeUrl\":\"type.googleapis.com/io.istio.http.peer_metadata.Config\","
        "\"value\":{\"downstream_discovery\":[{\"istio_headers\":{}},{\"workload_discovery\":{}}],\"not_known_here\":1}}"),
        PB_JSON_STRICT, &err);
    assert_non_null(any);
    assert_str(pb_any_type_url(&arena, any), "type.googleapis.com/io.istio.http.peer_metadata.Config");
    Io__Istio__Http__PeerMetadata__Config *config =
        pb_any_unpack(&arena, any, &io__istio__http__peer_metadata__config__descriptor, &err);
    assert_non_null(config);
    assert_int_equal(config->n_downstream_discovery, 2);
    assert_int_equal(config->downstream_discovery[1]->method_specifier_case,
                     IO__ISTIO__HTTP__PEER_METADATA__CONFIG__DISCOVERY_METHOD__METHOD_SPECIFIER_WORKLOAD_DISCOVERY);
    arena_done(&arena);
}

// --- what a real control plane sends ---------------------------------------------------------------

static size_t read_resources(struct arena *arena, const struct json_value *file, const char *list, const char *path)
{
    const struct json_value *resources = json_get(file, list);
    for (size_t i = 0; i < json_count(resources); i++) {
        struct error err = {0};
        const struct json_value *resource = json_at(resources, i);
        Google__Protobuf__Any *any = pb_from_json(arena, &google__protobuf__any__descriptor, resource, PB_JSON_STRICT, &err);
        if (any == NULL) {
            fail_msg("%s: %s[%zu]: %s", path, list, i, err.message);
        }
        struct json_value *back = pb_to_json(arena, any, PB_JSON_STRICT);
        if (!json_equal(back, resource)) {
            fail_msg("%s: %s[%zu]: got %.*s\nwant %.*s", path, list, i, STR_ARG(json_to_str(arena, back)),
                     STR_ARG(json_to_str(arena, resource)));
        }
    }
    return json_count(resources);
}

static size_t read_golden(const char *path)
{
    struct arena arena = {0};
    struct error err = {0};
    struct str text;
    struct json_value *file;
    if (file_read(&arena, path, FILE_READ_MAX, &text, &err) != ERR_OK || json_parse(&arena, text, &file, &err) != ERR_OK) {
        fail_msg("%s: %s", path, err.message);
    }
    size_t count = 0;
    static const char *const lists[] = {"clusters", "listeners", "routes", "endpoints"};
    for (size_t i = 0; i < array_count(lists); i++) {
        count += read_resources(&arena, file, lists[i], path);
    }
    arena_done(&arena);
    return count;
}

static void golden_answers_are_understood(void **state)
{
    (void)state;
    char folder[512];
    const char *shared = getenv("ISTHMESH_SHARED");
    (void)snprintf(folder, sizeof(folder), "%s/data/istiod-golden/non-flat-multi-primary", shared == NULL ? "../shared" : shared);
    DIR *stages = opendir(folder);
    if (stages == NULL) {
        if (getenv("CI") != NULL && strcmp(getenv("CI"), "1") == 0) {
            fail_msg("%s is missing", folder);
        }
        print_message("not run: %s is missing\n", folder);
        skip();
        return;
    }
    size_t resources = 0;
    for (struct dirent *stage; (stage = readdir(stages)) != NULL;) {
        char path[1024];
        (void)snprintf(path, sizeof(path), "%s/%.200s", folder, stage->d_name);
        DIR *files = stage->d_name[0] == '.' ? NULL : opendir(path);
        for (struct dirent *file; files != NULL && (file = readdir(files)) != NULL;) {
            if (str_ends_with(str_of(file->d_name), STR(".json"))) {
                (void)snprintf(path, sizeof(path), "%s/%.200s/%.200s", folder, stage->d_name, file->d_name);
                resources += read_golden(path);
            }
        }
        if (files != NULL) {
            (void)closedir(files);
        }
    }
    (void)closedir(stages);
    assert_true(resources > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_sorted_and_small),
        cmocka_unit_test(bytes_both_ways),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(json_is_read),
        cmocka_unit_test(json_errors_name_the_field),
        cmocka_unit_test(json_round_trips),
        cmocka_unit_test(bad_times_are_refused),
        cmocka_unit_test(typed_struct_is_looked_through),
        cmocka_unit_test(golden_answers_are_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
