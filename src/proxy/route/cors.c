// SPDX-License-Identifier: Apache-2.0
#include "proxy/route/cors.h"

#include "codec/pb/pb.h"

typedef Envoy__Extensions__Filters__Http__Cors__V3__CorsPolicy cors_message;

enum err cors_compile(struct rule_memory *memory, const cors_message *config, const struct cors **ret_cors, struct error *err)
{
    struct arena *arena = &memory->arena;
    struct cors *cors = arena_new(arena, struct cors);
    struct string_match *origins = arena_array(arena, struct string_match, config->n_allow_origin_string_match);
    for (size_t i = 0; i < config->n_allow_origin_string_match; i++) {
        enum err result = string_match_compile(memory, config->allow_origin_string_match[i], &origins[i], err);
        if (result != ERR_OK) {
            return result;
        }
    }
    cors->origins = origins;
    cors->origin_count = config->n_allow_origin_string_match;
    cors->enabled = chance_from(config->filter_enabled == NULL ? NULL : config->filter_enabled->default_value, CHANCE_ALWAYS);
    cors->methods = arena_str(arena, str_of(config->allow_methods));
    cors->headers = arena_str(arena, str_of(config->allow_headers));
    cors->exposed = arena_str(arena, str_of(config->expose_headers));
    cors->max_age = arena_str(arena, str_of(config->max_age));
    cors->credentials = pb_bool_or(config->allow_credentials, false);
    cors->forward_other_preflights = pb_bool_or(config->forward_not_matching_preflights, true);
    *ret_cors = cors;
    return ERR_OK;
}

enum cors_verdict cors_decide(const struct cors *cors, const struct http_head *head, uint64_t dice)
{
    struct str origin = http_head_get(head, STR("origin"));
    if (origin.size == 0 || !chance_holds(cors->enabled, dice)) {
        return CORS_NOT_CONCERNED;
    }
    bool allowed = false;
    for (size_t i = 0; i < cors->origin_count && !allowed; i++) {
        const struct string_match *match = &cors->origins[i];
        bool any = match->kind == STRING_MATCH_EXACT && str_equal(match->value, STR("*"));
        allowed = any || string_match_test(match, origin);
    }
    bool is_preflight = str_equal(head->method, STR("OPTIONS")) && http_head_get(head, STR("access-control-request-method")).size > 0;
    if (is_preflight) {
        return allowed ? CORS_PREFLIGHT : cors->forward_other_preflights ? CORS_NOT_CONCERNED : CORS_REFUSED;
    }
    return allowed ? CORS_SIMPLE : CORS_NOT_CONCERNED;
}

static void add(struct http_head *response, struct str name, struct str value)
{
    if (value.size > 0) {
        (void)http_head_set(response, name, value);
    }
}

static void add_origin(const struct cors *cors, struct str origin, struct http_head *response)
{
    add(response, STR("access-control-allow-origin"), origin);
    add(response, STR("access-control-allow-credentials"), cors->credentials ? STR("true") : STR_EMPTY);
}

void cors_add_preflight(const struct cors *cors, struct str origin, struct http_head *response)
{
    add_origin(cors, origin, response);
    add(response, STR("access-control-allow-methods"), cors->methods);
    add(response, STR("access-control-allow-headers"), cors->headers);
    add(response, STR("access-control-max-age"), cors->max_age);
}

void cors_add_simple(const struct cors *cors, struct str origin, struct http_head *response)
{
    add_origin(cors, origin, response);
    add(response, STR("access-control-expose-headers"), cors->exposed);
}
