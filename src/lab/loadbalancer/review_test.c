// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "lab/loadbalancer/review.h"

#define POOL(name, addresses) "{\"metadata\":{\"name\":\"" name "\"},\"spec\":{\"addresses\":[\"" addresses "\"]}}"

static const struct {
    const char *name;
    const char *kind;
    const char *ns;
    const char *object;
    const char *want; // empty: allowed
} rows[] = {
    {"a new pool", "IPAddressPool", "metallb-system", POOL("new", "10.0.1.0/24"), ""},
    {"itself changed", "IPAddressPool", "metallb-system", POOL("there", "10.0.0.0/25"), ""},
    {"overlap", "IPAddressPool", "metallb-system", POOL("new", "10.0.0.7/32"),
     "CIDR \"10.0.0.7/32\" in pool \"new\" overlaps with already defined CIDR \"10.0.0.0/24\""},
    {"bad range", "IPAddressPool", "metallb-system", POOL("new", "10.0.0.9-10.0.0.1"),
     "parsing address pool new: invalid CIDR \"10.0.0.9-10.0.0.1\" in pool \"new\": invalid IP range \"10.0.0.9-10.0.0.1\": "
     "start IP \"10.0.0.9\" is after the end IP \"10.0.0.1\""},
    {"elsewhere", "IPAddressPool", "default", POOL("new", "10.0.1.0/24"), "resource must be created in metallb-system namespace"},
    {"advertisement", "L2Advertisement", "metallb-system", "{\"spec\":{\"ipAddressPools\":[\"a\",\"b\"]}}", ""},
    {"advertisement, twice the same", "L2Advertisement", "metallb-system", "{\"spec\":{\"ipAddressPools\":[\"a\",\"a\"]}}",
     "duplicate definition in ipAddressPools field"},
    {"another kind", "BGPPeer", "metallb-system", "{}", ""},
    {"deletion", "IPAddressPool", "default", "null", ""},
};

static void objects_are_reviewed(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct json_value *pool = NULL;
        struct json_value *answer = NULL;
        struct str text;
        assert_int_equal(json_parse(&arena, str_of(POOL("there", "10.0.0.0/24")), &pool, NULL), ERR_OK);
        const struct json_value *pools[] = {pool};
        struct str body = arena_format(&arena, "{\"kind\":\"AdmissionReview\",\"request\":{\"uid\":\"u\",\"namespace\":\"%s\",\"kind\":{\"kind\":\"%s\"},\"object\":%s}}",
                                       rows[i].ns, rows[i].kind, rows[i].object);
        assert_true(review_answer(&arena, body, pools, 1, &text));
        assert_int_equal(json_parse(&arena, text, &answer, NULL), ERR_OK);
        const struct json_value *response = json_get(answer, "response");
        struct str message = json_str(json_path(response, "status", "message", NULL));
        check_row(rows[i].name, str_equal_c(message, rows[i].want), "got %.*s", STR_ARG(message));
        check_row(rows[i].name, json_get_bool(response, "allowed", false) == (rows[i].want[0] == '\0'), "allowed");
        assert_str(json_get_str(response, "uid"), "u");
        arena_done(&arena);
    }
}

static void other_texts_are_not(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "{}", "[]", "{\"kind\":\"AdmissionReview\"}", "{\"kind\":\"Pod\",\"request\":{}}", "{\"kind\":"};
    for (size_t i = 0; i < array_count(texts); i++) {
        struct arena arena = {0};
        struct str answer;
        check_row(texts[i], !review_answer(&arena, str_of(texts[i]), NULL, 0, &answer), "was answered");
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_reviewed),
        cmocka_unit_test(other_texts_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
