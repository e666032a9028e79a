// SPDX-License-Identifier: Apache-2.0
#include "proxy/route/hash_policy.h"

#include <xxhash.h>

#include "base/buf.h"
#include "codec/pb/pb.h"

typedef Envoy__Config__Route__V3__RouteAction__HashPolicy policy_message;

uint64_t hash_text(struct str text)
{
    return XXH64(text.data == NULL ? "" : text.data, text.size, 0);
}

static struct str lower_name(struct arena *arena, const char *name)
{
    char *copy = arena_strdup(arena, str_of(name));
    for (char *c = copy; *c != 0; c++) {
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    }
    return str_of(copy);
}

static enum err compile_header(struct rule_memory *memory, const policy_message *config, struct hash_policy *policy, struct error *err)
{
    policy->source = HASH_HEADER;
    policy->name = lower_name(&memory->arena, config->header->header_name);
    const Envoy__Type__Matcher__V3__RegexMatchAndSubstitute *rewrite = config->header->regex_rewrite;
    if (rewrite == NULL || rewrite->pattern == NULL) {
        return ERR_OK;
    }
    policy->rewrite = regex_compile(memory, str_of(rewrite->pattern->regex), REGEX_SEARCH, err);
    policy->substitution = arena_str(&memory->arena, str_of(rewrite->substitution));
    if (policy->rewrite == NULL) {
        return err->code;
    }
    return regex_substitution_is_valid(policy->rewrite, policy->substitution) ? ERR_OK : error_set(err, ERR_INVALID, "substitution \"%s\"", rewrite->substitution);
}

static void compile_cookie(struct arena *arena, const Envoy__Config__Route__V3__RouteAction__HashPolicy__Cookie *config, struct hash_policy *policy)
{
    struct buf attributes = {0};
    policy->source = HASH_COOKIE;
    policy->name = arena_str(arena, str_of(config->name));
    policy->makes_cookie = config->ttl != NULL;
    policy->ttl_s = pb_duration_to_ms(config->ttl, 0) / 1000;
    policy->path = arena_str(arena, str_of(config->path));
    for (size_t i = 0; i < config->n_attributes; i++) {
        const char *value = config->attributes[i]->value;
        buf_printf(&attributes, "; %s%s%s", config->attributes[i]->name, value[0] == 0 ? "" : "=", value);
    }
    policy->attributes = arena_str(arena, buf_view(&attributes));
    buf_done(&attributes);
}

enum err hash_policy_compile(struct rule_memory *memory, const policy_message *config, struct hash_policy *ret_policy, struct error *err)
{
    struct hash_policy policy = {.is_terminal = config->terminal};
    enum err result = ERR_OK;
    switch (config->policy_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_HEADER:
        result = compile_header(memory, config, &policy, err);
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_COOKIE:
        compile_cookie(&memory->arena, config->cookie, &policy);
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_CONNECTION_PROPERTIES:
        policy.source = HASH_SOURCE_IP;
        if (!config->connection_properties->source_ip) {
            return error_set(err, ERR_INVALID, "hash policy of connection properties without source_ip");
        }
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_QUERY_PARAMETER:
        policy.source = HASH_QUERY;
        policy.name = arena_str(&memory->arena, str_of(config->query_parameter->name));
        break;
    default:
        return error_set(err, ERR_UNSUPPORTED, "hash policy of a kind that is not supported");
    }
    *ret_policy = policy;
    return result;
}

// --- deciding ------------------------------------------------------------------------------------------

// Value of a cookie, without its quotes; data NULL: none.
static struct str find_cookie(const struct http_head *head, struct str name)
{
    for (size_t i = 0; i < head->header_count; i++) {
        struct str rest = head->headers[i].value;
        if (!str_equal(head->headers[i].name, STR("cookie"))) {
            continue;
        }
        while (rest.data != NULL && rest.size > 0) {
            struct str value = str_trim(str_split(&rest, ';'));
            struct str key = str_split(&value, '=');
            if (!str_equal(str_trim(key), name) || value.data == NULL) {
                continue;
            }
            value = str_trim(value);
            bool quoted = value.size >= 2 && value.data[0] == '"' && value.data[value.size - 1] == '"';
            return quoted ? str_sub(value, 1, value.size - 2) : value;
        }
    }
    return (struct str){0};
}

static struct str find_query(struct str path, struct str name)
{
    (void)str_split(&path, '?');
    struct str rest = str_split(&path, '#');
    while (rest.data != NULL && rest.size > 0) {
        struct str value = str_split(&rest, '&');
        struct str key = str_split(&value, '=');
        if (str_equal(key, name)) {
            return value.data == NULL ? STR_EMPTY : value;
        }
    }
    return (struct str){0};
}

static struct str make_cookie(const struct hash_policy *policy, const struct hash_facts *facts, struct hash_verdict *verdict, struct arena *arena)
{
    struct str seed = arena_format(arena, "%.*s%.*s", STR_ARG(facts->remote_address), STR_ARG(facts->local_address));
    struct str value = arena_format(arena, "%016llx", (unsigned long long)hash_text(seed));
    struct buf text = {0};
    buf_printf(&text, "%.*s=\"%.*s\"", STR_ARG(policy->name), STR_ARG(value));
    if (policy->ttl_s > 0) {
        buf_printf(&text, "; Max-Age=%llu", (unsigned long long)policy->ttl_s);
    }
    if (policy->path.size > 0) {
        buf_printf(&text, "; Path=%.*s", STR_ARG(policy->path));
    }
    buf_printf(&text, "%.*s; HttpOnly", STR_ARG(policy->attributes));
    verdict->set_cookie = arena_str(arena, buf_view(&text));
    buf_done(&text);
    return value;
}

static struct str find_element(const struct hash_policy *policy, const struct hash_facts *facts, struct hash_verdict *verdict, struct arena *arena)
{
    struct str value = {0};
    switch (policy->source) {
    case HASH_HEADER:
        value = str_equal(policy->name, STR(":path"))        ? facts->head->path
                : str_equal(policy->name, STR(":authority")) ? facts->head->authority
                                                             : http_head_get(facts->head, policy->name);
        return value.size > 0 && policy->rewrite != NULL ? regex_replace_all(policy->rewrite, value, policy->substitution, arena) : value;
    case HASH_COOKIE:
        value = find_cookie(facts->head, policy->name);
        return value.data == NULL && policy->makes_cookie ? make_cookie(policy, facts, verdict, arena) : value;
    case HASH_SOURCE_IP:
        return facts->source_ip;
    case HASH_QUERY:
        return find_query(facts->head->path, policy->name);
    }
    return value;
}

struct hash_verdict hash_policy_decide(const struct hash_policy *policies, size_t count, const struct hash_facts *facts, struct arena *arena)
{
    struct hash_verdict verdict = {0};
    for (size_t i = 0; i < count; i++) {
        struct str element = find_element(&policies[i], facts, &verdict, arena);
        if (element.size > 0) {
            uint64_t before = verdict.found ? verdict.hash : 0;
            verdict.hash = (before << 1 | before >> 63) ^ hash_text(element);
            verdict.found = true;
        }
        if (policies[i].is_terminal && verdict.found) {
            break;
        }
    }
    return verdict;
}
