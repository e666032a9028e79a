// SPDX-License-Identifier: Apache-2.0
#include "lab/loadbalancer/pool.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define ADDRESS_TEXT_MAX 46

// --- addresses -------------------------------------------------------------------------------------

struct parsed {
    bool is_v6;
    pool_number number;
};

static bool parse_address(struct str text, struct parsed *ret_parsed)
{
    char copy[ADDRESS_TEXT_MAX + 1];
    uint8_t bytes[16];
    if (text.size == 0 || text.size >= sizeof(copy) || memchr(text.data, '\0', text.size) != NULL) {
        return false;
    }
    (void)snprintf(copy, sizeof(copy), "%.*s", STR_ARG(text));
    size_t size = 4;
    if (inet_pton(AF_INET, copy, bytes) != 1) {
        size = 16;
        if (inet_pton(AF_INET6, copy, bytes) != 1) {
            return false;
        }
    }
    ret_parsed->is_v6 = size == 16;
    ret_parsed->number = 0;
    for (size_t i = 0; i < size; i++) {
        ret_parsed->number = ret_parsed->number << 8 | bytes[i];
    }
    return true;
}

static const char *format_number(bool is_v6, pool_number number, char out[static ADDRESS_TEXT_MAX])
{
    uint8_t bytes[16];
    size_t size = is_v6 ? 16 : 4;
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(number >> (8 * (size - 1 - i)));
    }
    return inet_ntop(is_v6 ? AF_INET6 : AF_INET, bytes, out, ADDRESS_TEXT_MAX);
}

const char *pool_prefix_format(const struct pool_prefix *prefix, char out[static POOL_PREFIX_TEXT_SIZE])
{
    char address[ADDRESS_TEXT_MAX];
    (void)snprintf(out, POOL_PREFIX_TEXT_SIZE, "%s/%u", format_number(prefix->is_v6, prefix->first, address),
                   prefix->size);
    return out;
}

// --- texts -----------------------------------------------------------------------------------------

// The addresses of a prefix, but one: all bits behind it.
static pool_number host_bits(bool is_v6, unsigned size)
{
    unsigned bits = (is_v6 ? 128u : 32u) - size;
    return bits == 128 ? ~(pool_number)0 : ((pool_number)1 << bits) - 1;
}

static enum err parse_prefix(struct str text, struct pool_prefix *ret_prefix, struct error *err)
{
    struct str rest = text;
    struct str host = str_split(&rest, '/');
    struct parsed parsed;
    uint64_t size;
    if (rest.data == NULL || !parse_address(host, &parsed) || !str_to_u64(rest, &size) ||
        size > (parsed.is_v6 ? 128u : 32u)) {
        return error_set(err, ERR_INVALID, "invalid CIDR \"%.*s\"", STR_ARG(text));
    }
    pool_number bits = host_bits(parsed.is_v6, (unsigned)size);
    *ret_prefix = (struct pool_prefix){.is_v6 = parsed.is_v6, .size = (uint8_t)size, .first = parsed.number & ~bits,
                                       .last = parsed.number | bits};
    return ERR_OK;
}

// The largest prefix that begins at first and does not go beyond last.
static struct pool_prefix largest_prefix(bool is_v6, pool_number first, pool_number last)
{
    unsigned size = is_v6 ? 128 : 32;
    while (size > 0) {
        pool_number bits = host_bits(is_v6, size - 1);
        if ((first & bits) != 0 || (first | bits) > last) {
            break;
        }
        size--;
    }
    return (struct pool_prefix){.is_v6 = is_v6, .size = (uint8_t)size, .first = first,
                                .last = first | host_bits(is_v6, size)};
}

static enum err add_range(struct str text, struct pool_prefix *prefixes, size_t capacity, size_t *count,
                          struct error *err)
{
    struct str end_text = text;
    struct str start_text = str_split(&end_text, '-');
    struct parsed start;
    struct parsed end;
    if (!parse_address(str_trim(start_text), &start)) {
        return error_set(err, ERR_INVALID, "invalid IP range \"%.*s\": invalid start IP \"%.*s\"", STR_ARG(text),
                         STR_ARG(start_text));
    }
    if (!parse_address(str_trim(end_text), &end)) {
        return error_set(err, ERR_INVALID, "invalid IP range \"%.*s\": invalid end IP \"%.*s\"", STR_ARG(text),
                         STR_ARG(end_text));
    }
    if (start.is_v6 != end.is_v6) {
        return error_set(err, ERR_INVALID, "invalid IP range \"%.*s\": addresses of two families", STR_ARG(text));
    }
    if (start.number > end.number) {
        char first[ADDRESS_TEXT_MAX];
        char last[ADDRESS_TEXT_MAX];
        return error_set(err, ERR_INVALID, "invalid IP range \"%.*s\": start IP \"%s\" is after the end IP \"%s\"",
                         STR_ARG(text), format_number(start.is_v6, start.number, first),
                         format_number(end.is_v6, end.number, last));
    }
    for (pool_number first = start.number;; first = prefixes[*count - 1].last + 1) {
        if (*count == capacity) {
            return error_set(err, ERR_LIMIT, "more than %u prefixes", POOL_PREFIXES_MAX);
        }
        prefixes[*count] = largest_prefix(start.is_v6, first, end.number);
        if (prefixes[(*count)++].last == end.number) {
            return ERR_OK;
        }
    }
}

enum err pool_parse_addresses(struct str text, struct pool_prefix *prefixes, size_t capacity, size_t *count,
                              struct error *err)
{
    if (str_find_char(text, '-') >= 0) {
        return add_range(text, prefixes, capacity, count, err);
    }
    if (*count == capacity) {
        return error_set(err, ERR_LIMIT, "more than %u prefixes", POOL_PREFIXES_MAX);
    }
    enum err code = parse_prefix(text, &prefixes[*count], err);
    *count += code == ERR_OK ? 1 : 0;
    return code;
}

// --- pools -----------------------------------------------------------------------------------------

static enum err check_overlap(const struct pool *pool, size_t index, const struct pool *other, size_t other_count,
                              struct error *err)
{
    const struct pool_prefix *own = &pool->prefixes[index];
    char text[POOL_PREFIX_TEXT_SIZE];
    char other_text[POOL_PREFIX_TEXT_SIZE];
    for (size_t i = 0; i < other_count; i++) {
        const struct pool_prefix *prefix = &other->prefixes[i];
        if (own->is_v6 == prefix->is_v6 && own->first <= prefix->last && prefix->first <= own->last) {
            return error_set(err, ERR_INVALID, "CIDR \"%s\" in pool \"%.*s\" overlaps with already defined CIDR \"%s\"",
                             pool_prefix_format(own, text), STR_ARG(pool->name),
                             pool_prefix_format(prefix, other_text));
        }
    }
    return ERR_OK;
}

static enum err check_overlaps(const struct pool_list *pools, const struct pool *pool, struct error *err)
{
    enum err code = ERR_OK;
    for (size_t i = 0; i < pool->prefix_count && code == ERR_OK; i++) {
        for (size_t k = 0; k < pools->count && code == ERR_OK; k++) {
            code = check_overlap(pool, i, &pools->items[k], pools->items[k].prefix_count, err);
        }
        code = code == ERR_OK ? check_overlap(pool, i, pool, i, err) : code;
    }
    return code;
}

static enum err check_allocation(const struct pool *pool, struct error *err)
{
    const struct json_value *names = json_get(pool->allocation, "namespaces");
    for (size_t i = 0; i < json_count(names); i++) {
        for (size_t k = 0; k < i; k++) {
            if (json_equal(json_at(names, i), json_at(names, k))) {
                return error_set(err, ERR_INVALID, "duplicate definition in namespaces field \"%.*s\"",
                                 STR_ARG(json_str(json_at(names, i))));
            }
        }
    }
    return ERR_OK;
}

static enum err read_pool(struct arena *arena, const struct json_value *object, struct pool *pool, struct error *err)
{
    const struct json_value *spec = json_get(object, "spec");
    const struct json_value *addresses = json_get(spec, "addresses");
    *pool = (struct pool){.name = json_str(json_path(object, "metadata", "name", NULL)), .object = object};
    pool->is_automatic = json_get_bool(spec, "autoAssign", true);
    pool->avoids_buggy = json_get_bool(spec, "avoidBuggyIPs", false);
    pool->allocation = json_get(spec, "serviceAllocation");
    pool->priority = json_get_int(pool->allocation, "priority", 0);
    if (json_count(addresses) == 0) {
        return error_set(err, ERR_INVALID, "pool has no prefixes defined");
    }
    pool->prefixes = arena_array(arena, struct pool_prefix, POOL_PREFIXES_MAX);
    for (size_t i = 0; i < json_count(addresses); i++) {
        struct str text = json_str(json_at(addresses, i));
        enum err code = pool_parse_addresses(text, pool->prefixes, POOL_PREFIXES_MAX, &pool->prefix_count, err);
        if (code != ERR_OK) {
            error_prefix(err, "invalid CIDR \"%.*s\" in pool \"%.*s\"", STR_ARG(text), STR_ARG(pool->name));
            return code;
        }
    }
    return check_allocation(pool, err);
}

enum err pool_list_read(struct arena *arena, const struct json_value *const *objects, size_t count,
                        struct pool_list *ret_pools, struct error *err)
{
    struct pool_list pools = {0};
    if (count > POOLS_MAX) {
        return error_set(err, ERR_LIMIT, "more than %u pools", POOLS_MAX);
    }
    pools.items = arena_array(arena, struct pool, count + 1);
    for (size_t i = 0; i < count; i++) {
        struct pool *pool = &pools.items[i];
        enum err code = read_pool(arena, objects[i], pool, err);
        if (code != ERR_OK) {
            error_prefix(err, "parsing address pool %.*s", STR_ARG(pool->name));
            return code;
        }
        code = check_overlaps(&pools, pool, err);
        if (code != ERR_OK) {
            return code;
        }
        pools.count++;
    }
    *ret_pools = pools;
    return ERR_OK;
}

bool pool_contains_v4(const struct pool *pool, uint32_t address)
{
    if (pool->avoids_buggy && ((address & 0xff) == 0 || (address & 0xff) == 0xff)) {
        return false;
    }
    for (size_t i = 0; i < pool->prefix_count; i++) {
        const struct pool_prefix *prefix = &pool->prefixes[i];
        if (!prefix->is_v6 && prefix->first <= address && address <= prefix->last) {
            return true;
        }
    }
    return false;
}
