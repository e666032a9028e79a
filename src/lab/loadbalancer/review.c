// SPDX-License-Identifier: Apache-2.0
#include "lab/loadbalancer/review.h"

#include "lab/loadbalancer/pool.h"

static struct str name_of(const struct json_value *object)
{
    return json_str(json_path(object, "metadata", "name", NULL));
}

// The others first: an overlap is then the new one's fault.
static bool check_pool(struct arena *arena, const struct json_value *object, const struct json_value *const *pools,
                       size_t pool_count, struct error *err)
{
    const struct json_value **all = arena_array(arena, const struct json_value *, pool_count + 1);
    struct pool_list list;
    size_t count = 0;
    for (size_t i = 0; i < pool_count; i++) {
        if (!str_equal(name_of(pools[i]), name_of(object))) {
            all[count++] = pools[i];
        }
    }
    all[count++] = object;
    return pool_list_read(arena, all, count, &list, err) == ERR_OK;
}

static bool check_unique(const struct json_value *object, const char *field, struct error *err)
{
    const struct json_value *list = json_path(object, "spec", field, NULL);
    for (size_t i = 0; i < json_count(list); i++) {
        for (size_t k = 0; k < i; k++) {
            if (json_equal(json_at(list, i), json_at(list, k))) {
                (void)error_set(err, ERR_INVALID, "duplicate definition in %s field", field);
                return false;
            }
        }
    }
    return true;
}

static bool check(struct arena *arena, const struct json_value *request, const struct json_value *const *pools,
                  size_t pool_count, struct error *err)
{
    const struct json_value *object = json_get(request, "object");
    struct str kind = json_str(json_path(request, "kind", "kind", NULL));
    if (!json_is(object, JSON_OBJECT)) {
        return true; // a deletion
    }
    if (!str_equal(json_get_str(request, "namespace"), STR(POOL_NAMESPACE))) {
        (void)error_set(err, ERR_INVALID, "resource must be created in " POOL_NAMESPACE " namespace");
        return false;
    }
    if (str_equal(kind, STR("IPAddressPool"))) {
        return check_pool(arena, object, pools, pool_count, err);
    }
    if (str_equal(kind, STR("L2Advertisement"))) {
        return check_unique(object, "ipAddressPools", err) && check_unique(object, "ipAddressPoolSelectors", err) &&
               check_unique(object, "nodeSelectors", err);
    }
    return true;
}

bool review_answer(struct arena *arena, struct str text, const struct json_value *const *pools, size_t pool_count,
                   struct str *ret_answer)
{
    struct json_value *review = NULL;
    struct error err = {0};
    if (json_parse(arena, text, &review, &err) != ERR_OK ||
        !str_equal(json_get_str(review, "kind"), STR("AdmissionReview")) ||
        !json_is(json_get(review, "request"), JSON_OBJECT)) {
        return false;
    }
    const struct json_value *request = json_get(review, "request");
    bool is_allowed = check(arena, request, pools, pool_count, &err);
    struct json_value *answer = json_new_object(arena);
    json_set_cstr(arena, answer, "kind", "AdmissionReview");
    json_set_cstr(arena, answer, "apiVersion", "admission.k8s.io/v1");
    struct json_value *response = json_ensure_object(arena, answer, "response");
    json_set_str(arena, response, "uid", json_get_str(request, "uid"));
    json_set_bool(arena, response, "allowed", is_allowed);
    if (!is_allowed) {
        struct json_value *status = json_ensure_object(arena, response, "status");
        json_set_cstr(arena, status, "message", err.message);
        json_set_cstr(arena, status, "reason", "Forbidden");
        json_set_int(arena, status, "code", 403);
    }
    *ret_answer = json_to_str(arena, answer);
    return true;
}
