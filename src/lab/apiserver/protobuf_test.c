// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/protobuf.h"

#include "base/memory.h"
#include "test.h"

#define BYTES(literal) {.data = literal, .size = sizeof(literal) - 1}

// clang-format off
static const struct {
    const char *name;
    struct str bytes;
    const char *want;
} rows[] = {
    {"namespace",
     BYTES("k8s\000\012\017\012\002v1\022\011Namespace\022\032\012\022\012\002a1\022\000\032\000\042\000*"
           "\0002\0008\000B\000\022\000\032\002\012\000\032\000\042\000"),
     "{\"kind\":\"Namespace\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a1\"},\"spec\":{},\"status\":"
     "{}}"},
    {"deployment",
     BYTES("k8s\000\012\025\012\007apps/v1\022\012Deployment\022\342\001\012\042\012\001d\022\000\032\000"
           "\042\000*\0002\0008\000B\000Z\010\012\003app\022\001dZ\005\012\001e\022\000\022\271\001\010\000"
           "\022\012\012\010\012\003app\022\001d\032\223\001\012\020\012\000\022\000\032\000\042\000*\0002"
           "\0008\000B\000\022\177\012\007\012\001v\022\002\022\000\022f\012\001c\022\003img\032\002sh\032"
           "\0002\012\012\000\020\000\030P\042\000*\000:\024\012\001A\022\000\032\015\032\013\012\004\012"
           "\002cm\022\001k\030\000B\017\012\015\012\003cpu\022\006\012\004100mZ \012\024\022\022\012\003/ok"
           "\022\007\010\000\020\220\077\032\000\032\000\042\000\020\000\030\000 \005(\0000\000\220\001\000 "
           "\000X\000r\000\250\001\000\222\001\002xx\042\017\012\000\022\013\012\011\010\001\020\000\032\003"
           "25%(\0008\000\032\000\032\000\042\000"),
     "{\"kind\":\"Deployment\",\"apiVersion\":\"apps/v1\",\"metadata\":{\"name\":\"d\",\"labels\":{\"app\""
     ":\"d\",\"e\":\"\"}},\"spec\":{\"replicas\":0,\"selector\":{\"matchLabels\":{\"app\":\"d\"}},\"templa"
     "te\":{\"metadata\":{},\"spec\":{\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}],\"containers\":[{\"na"
     "me\":\"c\",\"image\":\"img\",\"command\":[\"sh\",\"\"],\"ports\":[{\"containerPort\":80}],\"env\":[{"
     "\"name\":\"A\",\"valueFrom\":{\"configMapKeyRef\":{\"name\":\"cm\",\"key\":\"k\",\"optional\":false}"
     "}}],\"resources\":{\"limits\":{\"cpu\":\"100m\"}},\"readinessProbe\":{\"httpGet\":{\"path\":\"/ok\","
     "\"port\":8080},\"periodSeconds\":5}}],\"terminationGracePeriodSeconds\":0,\"securityContext\":{},\"a"
     "utomountServiceAccountToken\":false}},\"strategy\":{\"rollingUpdate\":{\"maxUnavailable\":\"25%\"}}}"
     "}"},
    {"secret",
     BYTES("k8s\000\012\014\012\002v1\022\006Secret\022$\012\021\012\001s\022\000\032\000\042\000*\0002\0008"
           "\000B\000\022\007\012\001k\022\002\000\377\032\006Opaque\032\000\042\000"),
     "{\"kind\":\"Secret\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"s\"},\"data\":{\"k\":\"AP8=\"},\""
     "type\":\"Opaque\"}"},
    {"role",
     BYTES("k8s\000\012$\012\034rbac.authorization.k8s.io/v1\022\004Role\022\042\012\021\012\001r\022\000"
           "\032\000\042\000*\0002\0008\000B\000\022\015\012\003get\022\000\032\004pods\032\000\042\000"),
     "{\"kind\":\"Role\",\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"metadata\":{\"name\":\"r\"},\"r"
     "ules\":[{\"verbs\":[\"get\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]}]}"},
    {"lease",
     BYTES("k8s\000\012\037\012\026coordination.k8s.io/v1\022\005Lease\022(\012\021\012\001l\022\000\032\000"
           "\042\000*\0002\0008\000B\000\022\023\012\002me\020\017\042\013\010\245\353\334\312\006\020\225"
           "\232\357:\032\000\042\000"),
     "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{\"name\":\"l\"},\"spec\""
     ":{\"holderIdentity\":\"me\",\"leaseDurationSeconds\":15,\"renewTime\":\"2026-01-02T03:04:05.123456Z\""
     "}}"},
    {"delete-options",
     BYTES("k8s\000\012\023\012\002v1\022\015DeleteOptions\022\023\010\000\042\012Background*\003All\032\000"
           "\042\000"),
     "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0,\"propagationPolicy\":\"B"
     "ackground\",\"dryRun\":[\"All\"]}"},
};
// clang-format on

static void test_objects(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct protobuf_result result;
        struct error err = {0};
        if (protobuf_parse(&arena, rows[i].bytes, &result, &err) != ERR_OK) {
            fail_msg("%s: %s", rows[i].name, err.message);
        }
        struct str got = json_to_str(&arena, result.object);
        if (!str_equal_c(got, rows[i].want)) {
            fail_msg("%s: got %.*s\nwant %s", rows[i].name, STR_ARG(got), rows[i].want);
        }
        // The Deployment has an affinity, which no row has.
        bool has_unknown = str_equal_c(str_of(rows[i].name), "deployment");
        assert_int_equal(result.unknown_count, has_unknown ? 1 : 0);
        if (has_unknown) {
            assert_string_equal(result.unknown[0].message, "PodSpec");
            assert_int_equal(result.unknown[0].field, 18);
        }
        arena_done(&arena);
    }
}

static void test_every_cut_is_an_error_or_an_object(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        for (size_t size = 0; size < rows[i].bytes.size; size++) {
            struct arena arena = {0};
            struct protobuf_result result;
            enum err code = protobuf_parse(&arena, str_sub(rows[i].bytes, 0, size), &result, NULL);
            assert_true(code != ERR_OK || result.object != NULL);
            arena_done(&arena);
        }
    }
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct str bytes;
        enum err want;
    } bad[] = {
        {"nothing", BYTES(""), ERR_INVALID},
        {"JSON", BYTES("{\"kind\":\"Pod\"}"), ERR_INVALID},
        {"no kind", BYTES("k8s\0"), ERR_UNSUPPORTED},
        {"a kind without a row", BYTES("k8s\0\x0a\x05\x12\x03" "Foo"), ERR_UNSUPPORTED},
        {"a group", BYTES("k8s\0\x0a\x08\x12\x06Secret\x12\x01\x0b"), ERR_INVALID},
        {"a length beyond the end", BYTES("k8s\0\x0a\x08\x12\x06Secret\x12\x02\x0a\x7f"), ERR_INVALID},
        {"a varint without an end", BYTES("k8s\0\x0a\x08\x12\x06Secret\x12\x0c\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), ERR_INVALID},
        {"a number as a message", BYTES("k8s\0\x0a\x08\x12\x06Secret\x12\x02\x08\x01"), ERR_INVALID},
        {"a message as a number", BYTES("k8s\0\x0a\x08\x12\x06Secret\x12\x02\x2a\x00"), ERR_INVALID},
        {"not UTF-8", BYTES("k8s\0\x0a\x08\x12\x06Secret\x12\x03\x1a\x01\xff"), ERR_INVALID},
        {"overlong UTF-8", BYTES("k8s\0\x0a\x08\x12\x06Secret\x12\x05\x1a\x03\xe0\x80\x80"), ERR_INVALID},
    };
    for (size_t i = 0; i < array_count(bad); i++) {
        struct arena arena = {0};
        struct protobuf_result result;
        enum err got = protobuf_parse(&arena, bad[i].bytes, &result, NULL);
        if (got != bad[i].want) {
            fail_msg("%s: got %s, want %s", bad[i].name, err_name(got), err_name(bad[i].want));
        }
        arena_done(&arena);
    }
}

// Each word is well formed, and each type is a scalar or a message of the table.
static void test_the_table(void **state)
{
    (void)state;
    static const char *const scalars[] = {"string", "bytes", "int", "bool", "int?", "bool?", "time", "microtime", "quantity",
                                          "intorstring", "map", "map-bytes", "map-quantity", "skip"};
    for (size_t i = 0; i < protobuf_message_count; i++) {
        struct str rest = str_of(protobuf_messages[i].fields);
        struct protobuf_field field;
        uint64_t seen = 0;
        while (protobuf_field_next(&rest, &field)) {
            bool is_known = protobuf_message_find(field.type) != NULL;
            for (size_t k = 0; k < array_count(scalars); k++) {
                is_known = is_known || str_equal_c(field.type, scalars[k]);
            }
            if (!is_known || field.number == 0 || field.number > 63 || (seen & 1ull << field.number) != 0) {
                fail_msg("%s: %.*s=%u:%.*s", protobuf_messages[i].name, STR_ARG(field.name), field.number, STR_ARG(field.type));
            }
            seen |= 1ull << field.number;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_every_cut_is_an_error_or_an_object),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
