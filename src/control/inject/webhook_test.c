// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/base64.h"
#include "base/memory.h"
#include "control/inject/ca_bundle.h"
#include "control/inject/webhook.h"

static const struct inject_options options = {
    .image = {"image", 5}, .cluster = {"c", 1}, .trust_domain = {"td", 2}, .domain = {"d", 1},
    .revision = {"default", 7}, .discovery_address = {"a:1", 3},
};

#define REVIEW(version, object)                                                                   \
    "{\"apiVersion\":\"admission.k8s.io/" version "\",\"kind\":\"AdmissionReview\",\"request\":{" \
    "\"uid\":\"u1\",\"namespace\":\"shop\",\"object\":" object "}}"
#define POD "{\"metadata\":{},\"spec\":{\"containers\":[{\"name\":\"app\"}]}}"

static void reviews(void **state)
{
    static const struct {
        const char *name;
        const char *body;
        enum err want;
        bool want_allowed;
        bool want_patch;
    } rows[] = {
        {"v1", REVIEW("v1", POD), ERR_OK, true, true},
        {"v1beta1", REVIEW("v1beta1", POD), ERR_OK, true, true},
        {"opted out", REVIEW("v1", "{\"metadata\":{\"labels\":{\"sidecar.istio.io/inject\":\"false\"}},\"spec\":{}}"),
         ERR_OK, true, false},
        {"not a pod", REVIEW("v1", "{}"), ERR_OK, false, false},
        {"other version", REVIEW("v2", POD), ERR_INVALID, false, false},
        {"not JSON", "{", ERR_INVALID, false, false},
        {"empty object", "{}", ERR_INVALID, false, false},
    };
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct error err = {0};
        struct json_value *answer = NULL;
        enum inject_verdict verdict;
        enum err code = webhook_review(&arena, str_of(rows[i].body), &options, &answer, &verdict, &err);
        check_row(rows[i].name, code == rows[i].want, "got %s: %s", err_name(code), err.message);
        if (code == ERR_OK) {
            const struct json_value *response = json_get(answer, "response");
            bool has_patch = json_get(response, "patch") != NULL;
            assert_str(json_get_str(response, "uid"), "u1");
            check_row(rows[i].name, json_get_bool(response, "allowed", false) == rows[i].want_allowed, "allowed");
            check_row(rows[i].name, has_patch == rows[i].want_patch, "patch");
        }
        arena_done(&arena);
    }
}

static void the_patch_is_json_in_base64(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct json_value *answer = NULL;
    struct json_value *patch = NULL;
    struct str text;
    enum inject_verdict verdict;
    assert_int_equal(webhook_review(&arena, str_of(REVIEW("v1", POD)), &options, &answer, &verdict, NULL), ERR_OK);
    assert_true(base64_decode(&arena, json_get_str(json_get(answer, "response"), "patch"), &text));
    assert_int_equal(json_parse(&arena, text, &patch, NULL), ERR_OK);
    assert_true(json_is(patch, JSON_ARRAY) && json_count(patch) > 0);
    arena_done(&arena);
}

static void bundles(void **state)
{
    static const struct {
        const char *name;
        const char *configuration;
        const char *want; // NULL: no patch
    } rows[] = {
        {"all right", "{\"webhooks\":[{\"clientConfig\":{\"caBundle\":\"QQ==\"}}]}", NULL},
        {"none", "{\"webhooks\":[]}", NULL},
        {"missing and stale",
         "{\"webhooks\":[{\"clientConfig\":{}},{\"clientConfig\":{\"caBundle\":\"QQ==\"}},"
         "{\"clientConfig\":{\"caBundle\":\"Qg==\"}}]}",
         "[{\"op\":\"add\",\"path\":\"/webhooks/0/clientConfig/caBundle\",\"value\":\"QQ==\"},"
         "{\"op\":\"add\",\"path\":\"/webhooks/2/clientConfig/caBundle\",\"value\":\"QQ==\"}]"},
    };
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct json_value *configuration = NULL;
        assert_int_equal(json_parse(&arena, str_of(rows[i].configuration), &configuration, NULL), ERR_OK);
        struct json_value *patch = ca_bundle_patch(&arena, configuration, STR("QQ=="));
        if (rows[i].want == NULL) {
            check_row(rows[i].name, patch == NULL, "unexpected patch");
        } else {
            assert_non_null(patch);
            assert_str(json_to_str(&arena, patch), rows[i].want);
        }
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reviews),
        cmocka_unit_test(the_patch_is_json_in_base64),
        cmocka_unit_test(bundles),
    };
    return cmocka_run_group_tests_name("inject/webhook", tests, NULL, NULL);
}
