// SPDX-License-Identifier: Apache-2.0
#include "proxy/listener/chain_match.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/memory.h"
#include "base/vec.h"

enum level {
    LEVEL_DESTINATION_PORT,
    LEVEL_DESTINATION,
    LEVEL_SERVER_NAME,
    LEVEL_TRANSPORT,
    LEVEL_PROTOCOL,
    LEVEL_DIRECT_SOURCE,
    LEVEL_SOURCE_TYPE,
    LEVEL_SOURCE,
    LEVEL_SOURCE_PORT,
    LEVEL_LEAF,
};

struct node {
    struct map children; // by key; the empty key is "any"
    uint64_t lengths[2][3]; // prefix lengths present, per family: bit n
    int chain;
};

struct chain_match {
    VEC(struct node *) nodes;
    struct node *root;
};

static struct node *node_new(struct chain_match *match)
{
    struct node *node = mem_new(struct node);
    node->chain = CHAIN_MATCH_NONE;
    vec_push(&match->nodes, node);
    return node;
}

struct chain_match *chain_match_new(void)
{
    struct chain_match *match = mem_new(struct chain_match);
    match->root = node_new(match);
    return match;
}

void chain_match_free(struct chain_match *match)
{
    if (match == NULL) {
        return;
    }
    for (size_t i = 0; i < match->nodes.count; i++) {
        map_done(&match->nodes.items[i]->children);
        mem_free(match->nodes.items[i]);
    }
    vec_done(&match->nodes);
    mem_free(match);
}

// --- prefixes ------------------------------------------------------------------------------------------

// Keeps the first `length` bits.
static void mask_bytes(uint8_t bytes[16], unsigned length)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned kept = length > i * 8 ? length - i * 8 : 0;
        if (kept < 8) {
            bytes[i] = (uint8_t)(bytes[i] & (uint8_t)(0xff00u >> kept));
        }
    }
}

bool chain_prefix_make(struct str address, uint32_t length, struct chain_prefix *ret_prefix)
{
    char text[INET6_ADDRSTRLEN];
    if (address.size == 0 || address.size >= sizeof(text)) {
        return false;
    }
    memcpy(text, address.data, address.size);
    text[address.size] = 0;
    struct chain_prefix prefix = {.family = 4};
    if (inet_pton(AF_INET, text, prefix.bytes) != 1) {
        if (inet_pton(AF_INET6, text, prefix.bytes) != 1) {
            return false;
        }
        prefix.family = 6;
    }
    if (length > (prefix.family == 4 ? 32u : 128u)) {
        return false;
    }
    prefix.length = (uint8_t)length;
    mask_bytes(prefix.bytes, length);
    *ret_prefix = prefix;
    return true;
}

static struct chain_prefix prefix_of_address(const struct address *address)
{
    struct chain_prefix prefix = {.family = 4, .length = 32};
    if (address == NULL || address->size == 0) {
        return prefix;
    }
    if (address->any.sa_family == AF_INET) {
        memcpy(prefix.bytes, &address->v4.sin_addr, 4);
    } else if (address->any.sa_family == AF_INET6) {
        prefix.family = 6;
        prefix.length = 128;
        memcpy(prefix.bytes, &address->v6.sin6_addr, 16);
    }
    return prefix;
}

static struct str prefix_key(const struct chain_prefix *prefix)
{
    return str_make((const char *)prefix, sizeof(*prefix));
}

// --- building ------------------------------------------------------------------------------------------

static enum err add_level(struct chain_match *match, struct node *node, enum level level,
                          const struct chain_rule *rule, int chain, struct error *err);

static enum err add_child(struct chain_match *match, struct node *node, struct str key, enum level level,
                          const struct chain_rule *rule, int chain, struct error *err)
{
    struct node *child = map_get(&node->children, key);
    if (child == NULL) {
        if (match->nodes.count >= CHAIN_MATCH_NODES_MAX) {
            return error_set(err, ERR_LIMIT, "filter chain matches need more than %u table nodes", CHAIN_MATCH_NODES_MAX);
        }
        child = node_new(match);
        (void)map_set(&node->children, key, child);
    }
    return add_level(match, child, level + 1, rule, chain, err);
}

static enum err add_prefixes(struct chain_match *match, struct node *node, const struct chain_prefix *prefixes,
                             size_t count, enum level level, const struct chain_rule *rule, int chain,
                             struct error *err)
{
    // "Any" is the same as both zero-length prefixes, so that the two spellings meet and are found equal.
    static const struct chain_prefix any[] = {{.family = 4}, {.family = 6}};
    if (count == 0) {
        prefixes = any;
        count = array_count(any);
    }
    for (size_t i = 0; i < count; i++) {
        unsigned length = prefixes[i].length;
        node->lengths[prefixes[i].family == 6][length / 64] |= (uint64_t)1 << (length % 64);
        enum err result = add_child(match, node, prefix_key(&prefixes[i]), level, rule, chain, err);
        if (result != ERR_OK) {
            return result;
        }
    }
    return ERR_OK;
}

// "*.a.com" is kept as ".a.com", "*" as "any"; other wildcards are errors.
static enum err server_name_key(struct str name, struct str *ret_key, struct error *err)
{
    struct str key = name;
    if (str_equal(name, STR("*"))) {
        key = STR_EMPTY;
    } else if (str_starts_with(name, STR("*."))) {
        key = str_from(name, 1);
    }
    if (str_find_char(key, '*') >= 0) {
        return error_set(err, ERR_INVALID, "server name \"%.*s\": partial wildcards are not supported", STR_ARG(name));
    }
    *ret_key = key;
    return ERR_OK;
}

static enum err add_strings(struct chain_match *match, struct node *node, const struct str *values, size_t count,
                            enum level level, const struct chain_rule *rule, int chain, struct error *err)
{
    static const struct str any = {.data = "", .size = 0};
    if (count == 0) {
        values = &any;
        count = 1;
    }
    for (size_t i = 0; i < count; i++) {
        struct str key = values[i];
        enum err result = ERR_OK;
        if (level == LEVEL_SERVER_NAME) {
            result = server_name_key(values[i], &key, err);
        }
        if (result == ERR_OK) {
            result = add_child(match, node, key, level, rule, chain, err);
        }
        if (result != ERR_OK) {
            return result;
        }
    }
    return ERR_OK;
}

static enum err add_ports(struct chain_match *match, struct node *node, const uint16_t *ports, size_t count,
                          enum level level, const struct chain_rule *rule, int chain, struct error *err)
{
    if (count == 0) {
        return add_child(match, node, STR_EMPTY, level, rule, chain, err);
    }
    for (size_t i = 0; i < count; i++) {
        struct str key = str_make((const char *)&ports[i], sizeof(ports[i]));
        enum err result = add_child(match, node, key, level, rule, chain, err);
        if (result != ERR_OK) {
            return result;
        }
    }
    return ERR_OK;
}

static enum err add_level(struct chain_match *match, struct node *node, enum level level,
                          const struct chain_rule *rule, int chain, struct error *err)
{
    char source_type = (char)rule->source_type;
    struct str source_type_key = str_make(&source_type, rule->source_type == CHAIN_SOURCE_ANY ? 0 : 1);
    switch (level) {
    case LEVEL_DESTINATION_PORT:
        return add_ports(match, node, &rule->destination_port, rule->destination_port != 0, level, rule, chain, err);
    case LEVEL_DESTINATION:
        return add_prefixes(match, node, rule->destinations, rule->destination_count, level, rule, chain, err);
    case LEVEL_SERVER_NAME:
        return add_strings(match, node, rule->server_names, rule->server_name_count, level, rule, chain, err);
    case LEVEL_TRANSPORT:
        return add_child(match, node, rule->transport, level, rule, chain, err);
    case LEVEL_PROTOCOL:
        return add_strings(match, node, rule->protocols, rule->protocol_count, level, rule, chain, err);
    case LEVEL_DIRECT_SOURCE:
        return add_prefixes(match, node, rule->direct_sources, rule->direct_source_count, level, rule, chain, err);
    case LEVEL_SOURCE_TYPE:
        return add_child(match, node, source_type_key, level, rule, chain, err);
    case LEVEL_SOURCE:
        return add_prefixes(match, node, rule->sources, rule->source_count, level, rule, chain, err);
    case LEVEL_SOURCE_PORT:
        return add_ports(match, node, rule->source_ports, rule->source_port_count, level, rule, chain, err);
    case LEVEL_LEAF:
        break;
    }
    if (node->chain != CHAIN_MATCH_NONE) {
        return error_set(err, ERR_INVALID, "filter chains %d and %d have overlapping matching rules", node->chain, chain);
    }
    node->chain = chain;
    return ERR_OK;
}

enum err chain_match_add(struct chain_match *match, const struct chain_rule *rule, int chain, struct error *err)
{
    return add_level(match, match->root, LEVEL_DESTINATION_PORT, rule, chain, err);
}

// --- looking up ----------------------------------------------------------------------------------------

static const struct node *find_prefix(const struct node *node, struct chain_prefix prefix)
{
    for (int length = prefix.length; length >= 0; length--) {
        if ((node->lengths[prefix.family == 6][length / 64] >> (length % 64) & 1) == 0) {
            continue;
        }
        mask_bytes(prefix.bytes, (unsigned)length);
        prefix.length = (uint8_t)length;
        const struct node *child = map_get(&node->children, prefix_key(&prefix));
        if (child != NULL) {
            return child;
        }
    }
    return NULL;
}

static const struct node *find_any(const struct node *node)
{
    return map_get(&node->children, STR_EMPTY);
}

static const struct node *find_server_name(const struct node *node, struct str name)
{
    if (name.size > 0 && name.data[0] != '.') { // a leading dot would hit a wildcard's key
        const struct node *child = map_get(&node->children, name);
        for (ptrdiff_t dot = str_find_char(name, '.'); child == NULL && dot >= 0;) {
            struct str suffix = str_from(name, (size_t)dot);
            child = map_get(&node->children, suffix);
            ptrdiff_t next = str_find_char(str_from(suffix, 1), '.');
            dot = next < 0 ? -1 : dot + 1 + next;
        }
        if (child != NULL) {
            return child;
        }
    }
    return find_any(node);
}

static const struct node *find_protocol(const struct node *node, const struct chain_facts *facts)
{
    for (size_t i = 0; i < facts->protocol_count; i++) {
        const struct node *child = map_get(&node->children, facts->protocols[i]);
        if (child != NULL && facts->protocols[i].size > 0) {
            return child;
        }
    }
    return find_any(node);
}

static const struct node *find_or_any(const struct node *node, struct str key)
{
    const struct node *child = key.size == 0 ? NULL : map_get(&node->children, key);
    return child != NULL ? child : find_any(node);
}

static const struct node *find_level(const struct node *node, enum level level, const struct chain_facts *facts)
{
    uint16_t destination_port = facts->destination == NULL ? 0 : address_port(facts->destination);
    uint16_t source_port = facts->source == NULL ? 0 : address_port(facts->source);
    char source_type = facts->source_is_local ? CHAIN_SOURCE_SAME_OR_LOOPBACK : CHAIN_SOURCE_EXTERNAL;
    switch (level) {
    case LEVEL_DESTINATION_PORT:
        return find_or_any(node, str_make((const char *)&destination_port, sizeof(destination_port)));
    case LEVEL_DESTINATION:
        return find_prefix(node, prefix_of_address(facts->destination));
    case LEVEL_SERVER_NAME:
        return find_server_name(node, facts->server_name);
    case LEVEL_TRANSPORT:
        return find_or_any(node, facts->transport);
    case LEVEL_PROTOCOL:
        return find_protocol(node, facts);
    case LEVEL_DIRECT_SOURCE:
    case LEVEL_SOURCE:
        return find_prefix(node, prefix_of_address(facts->source));
    case LEVEL_SOURCE_TYPE:
        return find_or_any(node, str_make(&source_type, 1));
    case LEVEL_SOURCE_PORT:
        return find_or_any(node, str_make((const char *)&source_port, sizeof(source_port)));
    case LEVEL_LEAF:
        break;
    }
    return node;
}

int chain_match_find(const struct chain_match *match, const struct chain_facts *facts)
{
    const struct node *node = match->root;
    for (enum level level = LEVEL_DESTINATION_PORT; level < LEVEL_LEAF && node != NULL; level++) {
        node = find_level(node, level, facts);
    }
    return node == NULL ? CHAIN_MATCH_NONE : node->chain;
}
