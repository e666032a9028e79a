// SPDX-License-Identifier: Apache-2.0
#include "mesh/config.h"

static struct str text_or(struct arena *arena, const struct json_value *object, const char *name,
                          struct str otherwise)
{
    struct str text = json_get_str(object, name);
    return arena_str(arena, str_is_empty(text) ? otherwise : text);
}

// Whole seconds are enough for what is read here: "10s", "500ms" rounds up.
static bool parse_duration_s(struct str text, uint32_t *ret_seconds)
{
    uint64_t amount = 0;
    if (str_ends_with(text, STR("ms"))) {
        if (!str_to_u64(str_sub(text, 0, text.size - 2), &amount)) {
            return false;
        }
        amount = (amount + 999) / 1000;
    } else if (!str_ends_with(text, STR("s")) ||
               !str_to_u64(str_sub(text, 0, text.size - 1), &amount)) {
        return false;
    }
    if (amount > 3600) {
        return false;
    }
    *ret_seconds = (uint32_t)amount;
    return true;
}

enum err mesh_config_from_json(struct arena *arena, const struct json_value *json, struct str domain,
                               struct mesh_config *ret_config, struct error *err)
{
    if (json != NULL && !json_is(json, JSON_OBJECT) && !json_is(json, JSON_NULL)) {
        return error_set(err, ERR_INVALID, "mesh config is not a map");
    }
    const struct json_value *defaults = json_get(json, "defaultConfig");
    struct mesh_config config = {
        .trust_domain = text_or(arena, json, "trustDomain", STR("cluster.local")),
        .domain = arena_str(arena, domain),
        .root_namespace = text_or(arena, json, "rootNamespace", STR("istio-system")),
        .access_log_file = text_or(arena, json, "accessLogFile", STR("")),
        .mesh_id = text_or(arena, defaults, "meshId", STR("")),
        .discovery_address =
            text_or(arena, defaults, "discoveryAddress", STR("istiod.istio-system.svc:15012")),
        .connect_timeout_s = 10,
        .auto_mtls = json_get_bool(json, "enableAutoMtls", true),
        .registry_only = str_equal(json_str(json_path(json, "outboundTrafficPolicy", "mode", NULL)),
                                   STR("REGISTRY_ONLY")),
    };
    struct str timeout = json_get_str(json, "connectTimeout");
    if (!str_is_empty(timeout) && !parse_duration_s(timeout, &config.connect_timeout_s)) {
        return error_set(err, ERR_INVALID,
                         "connectTimeout \"%.*s\" is not a duration up to one hour, such as 10s",
                         STR_ARG(timeout));
    }
    *ret_config = config;
    return ERR_OK;
}
