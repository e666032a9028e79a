// SPDX-License-Identifier: Apache-2.0
#include "proxy/capture/capture.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

// Options are data: one row per flag of istio-iptables.
enum option_kind { OPTION_TEXT, OPTION_SWITCH, OPTION_REFUSED, OPTION_IGNORED };

struct option_row {
    const char *short_name;
    const char *long_name;
    const char *environment;
    enum option_kind kind;
    size_t offset;
};

#define TEXT(s, l, e, member) {s, l, e, OPTION_TEXT, offsetof(struct capture_options, member)}
#define SWITCH(s, l, e, member) {s, l, e, OPTION_SWITCH, offsetof(struct capture_options, member)}

// clang-format off
static const struct option_row option_rows[] = {
    TEXT("-p", "--envoy-port",                     "ENVOY_PORT",                     outbound_port),
    TEXT("-z", "--inbound-capture-port",           "INBOUND_CAPTURE_PORT",           inbound_port),
    TEXT("-e", "--inbound-tunnel-port",            "INBOUND_TUNNEL_PORT",            tunnel_port),
    TEXT("-u", "--proxy-uid",                      "PROXY_UID",                      proxy_uids),
    TEXT("-g", "--proxy-gid",                      "PROXY_GID",                      proxy_gids),
    TEXT("-m", "--istio-inbound-interception-mode", "ISTIO_INBOUND_INTERCEPTION_MODE", mode),
    TEXT("-b", "--istio-inbound-ports",            "ISTIO_INBOUND_PORTS",            inbound_ports),
    TEXT("-d", "--istio-local-exclude-ports",      "ISTIO_LOCAL_EXCLUDE_PORTS",      inbound_ports_excluded),
    TEXT("-i", "--istio-service-cidr",             "ISTIO_SERVICE_CIDR",             outbound_ranges),
    TEXT("-x", "--istio-service-exclude-cidr",     "ISTIO_SERVICE_EXCLUDE_CIDR",     outbound_ranges_excluded),
    TEXT("-q", "--istio-outbound-ports",           "ISTIO_OUTBOUND_PORTS",           outbound_ports),
    TEXT("-o", "--istio-local-outbound-ports-exclude", "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE", outbound_ports_excluded),
    TEXT("-k", "--kube-virt-interfaces",           "KUBE_VIRT_INTERFACES",           virtual_interfaces),
    TEXT("-c", "--istio-exclude-interfaces",       "ISTIO_EXCLUDE_INTERFACES",       interfaces_excluded),
    SWITCH("-n", "--dry-run",                      "DRY_RUN",                        dry_run),
    SWITCH("",   "--clean",                        "",                               clean),
    SWITCH("",   "--dual-stack",                   "DUAL_STACK",                     ipv6),
    // What would change which packets are captured is refused rather than left out in silence.
    {"", "--redirect-dns", "ISTIO_META_DNS_CAPTURE", OPTION_REFUSED, 0},
    {"", "--capture-all-dns", "", OPTION_REFUSED, 0},
    {"-t", "--istio-inbound-tproxy-mark", "", OPTION_IGNORED, 0},
    {"-r", "--istio-inbound-tproxy-route-table", "", OPTION_IGNORED, 0},
    {"", "--log_output_level", "", OPTION_IGNORED, 0},
};
// clang-format on

void capture_options_init(struct capture_options *options)
{
    *options = (struct capture_options){
        .outbound_port = STR("15001"),
        .inbound_port = STR("15006"),
        .tunnel_port = STR("15008"),
        .proxy_uids = STR("1337"),
        .mode = STR("REDIRECT"),
    };
}

static void set_option(struct capture_options *options, const struct option_row *row, struct str value)
{
    char *member = (char *)options + row->offset;
    if (row->kind == OPTION_TEXT) {
        *(struct str *)(void *)member = value;
    } else {
        *(bool *)(void *)member = value.size == 0 || str_equal(value, STR("true"));
    }
}

static const struct option_row *find_option(struct str name)
{
    for (size_t i = 0; i < array_count(option_rows); i++) {
        const struct option_row *row = &option_rows[i];
        if ((row->short_name[0] != 0 && str_equal_c(name, row->short_name)) ||
            str_equal_c(name, row->long_name)) {
            return row;
        }
    }
    return NULL;
}

static enum err apply_environment(struct capture_options *options,
                                  const char *(*lookup)(const char *name), struct error *err)
{
    for (size_t i = 0; i < array_count(option_rows); i++) {
        const struct option_row *row = &option_rows[i];
        const char *value = row->environment[0] == 0 ? NULL : lookup(row->environment);
        if (value == NULL || row->kind == OPTION_IGNORED) {
            continue;
        }
        if (row->kind == OPTION_REFUSED) {
            if (str_equal(str_of(value), STR("true"))) {
                return error_set(err, ERR_UNSUPPORTED, "%s: DNS capture is not supported, unset it",
                                 row->environment);
            }
            continue;
        }
        set_option(options, row, str_of(value));
    }
    return ERR_OK;
}

enum err capture_options_parse(struct capture_options *options, int argc, char **argv,
                               const char *(*lookup)(const char *name), struct error *err)
{
    if (lookup != NULL && apply_environment(options, lookup, err) != ERR_OK) {
        return ERR_UNSUPPORTED;
    }
    for (int i = 0; i < argc; i++) {
        struct str rest = str_of(argv[i]);
        struct str name = str_split(&rest, '=');
        bool has_value = rest.data != NULL;
        const struct option_row *row = find_option(name);
        if (row == NULL) {
            return error_set(err, ERR_INVALID, "unknown flag %s", argv[i]);
        }
        if (row->kind == OPTION_REFUSED) {
            return error_set(err, ERR_UNSUPPORTED, "%s: DNS capture is not supported, leave the flag out",
                             argv[i]);
        }
        if (!has_value && row->kind != OPTION_SWITCH) {
            if (++i == argc) {
                return error_set(err, ERR_INVALID, "flag %s needs a value", row->long_name);
            }
            rest = str_of(argv[i]);
        }
        if (row->kind != OPTION_IGNORED) {
            set_option(options, row, rest);
        }
    }
    return ERR_OK;
}

// --- values: checked here, so that the script holds nothing but numbers, ranges and interface names ---

struct list_cursor {
    struct str rest;
};

static bool next_item(struct list_cursor *cursor, struct str *ret_item)
{
    while (cursor->rest.data != NULL && cursor->rest.size > 0) {
        *ret_item = str_trim(str_split(&cursor->rest, ','));
        if (ret_item->size > 0) {
            return true;
        }
    }
    return false;
}

static bool is_all(struct str list)
{
    return str_equal(list, STR("*"));
}

static enum err check_number(struct str text, uint64_t max, const char *what, struct error *err)
{
    uint64_t value = 0;
    if (!str_to_u64(text, &value) || value > max) {
        return error_set(err, ERR_INVALID, "%s: \"%.*s\" is not a number up to %llu", what, STR_ARG(text),
                         (unsigned long long)max);
    }
    return ERR_OK;
}

// Appends "{ 1, 2 }" of a checked list; *ret_count says how many there were.
static enum err append_numbers(struct buf *out, struct str list, uint64_t max, const char *what,
                               size_t *ret_count, struct error *err)
{
    size_t count = 0;
    struct list_cursor cursor = {list};
    for (struct str item; next_item(&cursor, &item);) {
        if (check_number(item, max, what, err) != ERR_OK) {
            return ERR_INVALID;
        }
        if (++count > CAPTURE_LIST_MAX) {
            return error_set(err, ERR_LIMIT, "%s: more than %u entries", what, CAPTURE_LIST_MAX);
        }
        buf_printf(out, "%s%.*s", count == 1 ? "{ " : ", ", STR_ARG(item));
    }
    if (count > 0) {
        buf_append_str(out, STR(" }"));
    }
    *ret_count = count;
    return ERR_OK;
}

static bool is_range_of(struct str text, enum capture_family *ret_family)
{
    struct str rest = text;
    struct str address = str_split(&rest, '/');
    char plain[INET6_ADDRSTRLEN];
    if (address.size == 0 || address.size >= sizeof(plain)) {
        return false;
    }
    memcpy(plain, address.data, address.size);
    plain[address.size] = 0;
    unsigned char bytes[16];
    *ret_family = CAPTURE_IPV4;
    uint64_t bits = 32;
    if (inet_pton(AF_INET, plain, bytes) != 1) {
        if (inet_pton(AF_INET6, plain, bytes) != 1) {
            return false;
        }
        *ret_family = CAPTURE_IPV6;
        bits = 128;
    }
    uint64_t length = bits;
    return rest.data == NULL || (str_to_u64(rest, &length) && length <= bits);
}

static bool is_interface_name(struct str name)
{
    if (name.size == 0 || name.size > 15) {
        return false;
    }
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
              c == '_' || c == '.' || c == '@' || c == '+')) {
            return false;
        }
    }
    return true;
}

// --- the chains, in the order of istio-iptables -------------------------------------------------------

struct family_words {
    const char *table;     // nft family
    const char *protocol;  // match prefix
    const char *localhost; // with prefix length
    const char *source;    // what the proxy binds to when it speaks to its own application
};

static const struct family_words families[] = {
    [CAPTURE_IPV4] = {"ip", "ip", "127.0.0.1", "127.0.0.6"},
    [CAPTURE_IPV6] = {"ip6", "ip6", "::1", "::6"},
};

static enum err append_inbound(const struct capture_options *options, struct buf *out, struct error *err)
{
    buf_printf(out, "\tchain istio_inbound {\n\t\ttcp dport %.*s return\n", STR_ARG(options->tunnel_port));
    size_t count = 0;
    struct buf ports = {0};
    enum err result;
    if (is_all(options->inbound_ports)) {
        result = append_numbers(&ports, options->inbound_ports_excluded, 65535, "excluded inbound ports",
                                &count, err);
        if (count > 0) {
            buf_printf(out, "\t\ttcp dport %.*s return\n", STR_ARG(buf_view(&ports)));
        }
        buf_append_str(out, STR("\t\tmeta l4proto tcp jump istio_in_redirect\n"));
    } else {
        result = append_numbers(&ports, options->inbound_ports, 65535, "inbound ports", &count, err);
        if (count > 0) {
            buf_printf(out, "\t\ttcp dport %.*s jump istio_in_redirect\n", STR_ARG(buf_view(&ports)));
        }
    }
    buf_done(&ports);
    buf_append_str(out, STR("\t}\n"));
    return result;
}

// The three rules that keep the proxy's own packets out, for its uids or gids.
static enum err append_owner(struct str owners, const char *match, const struct family_words *words,
                             struct str tunnel_port, struct buf *out, struct error *err)
{
    struct list_cursor cursor = {owners};
    for (struct str owner; next_item(&cursor, &owner);) {
        if (check_number(owner, UINT32_MAX - 1, match, err) != ERR_OK) {
            return ERR_INVALID;
        }
        buf_printf(out,
                   "\t\toifname \"lo\" %s daddr != %s tcp dport != %.*s meta %s %.*s jump istio_in_redirect\n"
                   "\t\toifname \"lo\" meta %s != %.*s return\n"
                   "\t\tmeta %s %.*s return\n",
                   words->protocol, words->localhost, STR_ARG(tunnel_port), match, STR_ARG(owner), match,
                   STR_ARG(owner), match, STR_ARG(owner));
    }
    return ERR_OK;
}

static enum err append_ranges(struct str list, enum capture_family family, const char *verdict,
                              struct buf *out, struct error *err)
{
    struct list_cursor cursor = {list};
    for (struct str range; next_item(&cursor, &range);) {
        enum capture_family range_family;
        if (!is_range_of(range, &range_family)) {
            return error_set(err, ERR_INVALID, "\"%.*s\" is not an address range", STR_ARG(range));
        }
        if (range_family == family) {
            buf_printf(out, "\t\t%s daddr %.*s %s\n", families[family].protocol, STR_ARG(range), verdict);
        }
    }
    return ERR_OK;
}

static enum err append_ports_rule(struct str list, const char *what, const char *verdict, struct buf *out,
                                  struct error *err)
{
    struct buf ports = {0};
    size_t count = 0;
    enum err result = append_numbers(&ports, list, 65535, what, &count, err);
    if (result == ERR_OK && count > 0) {
        buf_printf(out, "\t\ttcp dport %.*s %s\n", STR_ARG(buf_view(&ports)), verdict);
    }
    buf_done(&ports);
    return result;
}

static enum err append_output(const struct capture_options *options, enum capture_family family,
                              struct buf *out, struct error *err)
{
    const struct family_words *words = &families[family];
    struct str gids = options->proxy_gids.size > 0 ? options->proxy_gids : options->proxy_uids;
    buf_append_str(out, STR("\tchain istio_output {\n"));
    if (append_ports_rule(options->outbound_ports_excluded, "excluded outbound ports", "return", out,
                          err) != ERR_OK) {
        return err == NULL ? ERR_INVALID : err->code;
    }
    buf_printf(out, "\t\toifname \"lo\" %s saddr %s return\n", words->protocol, words->source);
    if (append_owner(options->proxy_uids, "skuid", words, options->tunnel_port, out, err) != ERR_OK ||
        append_owner(gids, "skgid", words, options->tunnel_port, out, err) != ERR_OK) {
        return ERR_INVALID;
    }
    buf_printf(out, "\t\t%s daddr %s return\n", words->protocol, words->localhost);
    if (append_ranges(options->outbound_ranges_excluded, family, "return", out, err) != ERR_OK ||
        append_ports_rule(options->outbound_ports, "outbound ports", "jump istio_redirect", out, err) !=
            ERR_OK) {
        return ERR_INVALID;
    }
    if (is_all(options->outbound_ranges)) {
        buf_append_str(out, STR("\t\tmeta l4proto tcp jump istio_redirect\n"));
    } else if (append_ranges(options->outbound_ranges, family, "jump istio_redirect", out, err) != ERR_OK) {
        return ERR_INVALID;
    }
    buf_append_str(out, STR("\t}\n"));
    return ERR_OK;
}

// Interfaces left alone: excluded ones in both directions, virtual machines' ones on the way in, where
// their traffic is outbound traffic of this pod.
static enum err append_interfaces(struct str list, const char *match, const char *verdict, struct buf *out,
                                  struct error *err)
{
    struct list_cursor cursor = {list};
    for (struct str name; next_item(&cursor, &name);) {
        if (!is_interface_name(name)) {
            return error_set(err, ERR_INVALID, "\"%.*s\" is not an interface name", STR_ARG(name));
        }
        buf_printf(out, "\t\t%s \"%.*s\" %s\n", match, STR_ARG(name), verdict);
    }
    return ERR_OK;
}

static enum err append_family(const struct capture_options *options, enum capture_family family,
                              struct buf *out, struct error *err)
{
    const char *table = families[family].table;
    // Adding before deleting makes the deletion succeed when there is nothing yet.
    buf_printf(out, "table %s isthmesh\ndelete table %s isthmesh\ntable %s isthmesh {\n", table, table, table);
    buf_printf(out, "\tchain istio_redirect {\n\t\tmeta l4proto tcp redirect to :%.*s\n\t}\n",
               STR_ARG(options->outbound_port));
    buf_printf(out, "\tchain istio_in_redirect {\n\t\tmeta l4proto tcp redirect to :%.*s\n\t}\n",
               STR_ARG(options->inbound_port));
    if (append_inbound(options, out, err) != ERR_OK || append_output(options, family, out, err) != ERR_OK) {
        return ERR_INVALID;
    }
    buf_append_str(out, STR("\tchain prerouting {\n\t\ttype nat hook prerouting priority -100; policy accept;\n"));
    if (append_interfaces(options->interfaces_excluded, "iifname", "return", out, err) != ERR_OK ||
        append_interfaces(options->virtual_interfaces, "iifname", "return", out, err) != ERR_OK) {
        return ERR_INVALID;
    }
    if (options->inbound_ports.size > 0) {
        buf_append_str(out, STR("\t\tmeta l4proto tcp jump istio_inbound\n"));
    }
    buf_append_str(out, STR("\t}\n\tchain output {\n\t\ttype nat hook output priority -100; policy accept;\n"));
    if (append_interfaces(options->interfaces_excluded, "oifname", "return", out, err) != ERR_OK) {
        return ERR_INVALID;
    }
    buf_append_str(out, STR("\t\tmeta l4proto tcp jump istio_output\n\t}\n}\n"));
    return ERR_OK;
}

enum err capture_rules(const struct capture_options *options, struct buf *out, struct error *err)
{
    if (!str_equal(options->mode, STR("REDIRECT"))) {
        return error_set(err, ERR_UNSUPPORTED, "interception mode %.*s is not supported, use REDIRECT",
                         STR_ARG(options->mode));
    }
    if (check_number(options->outbound_port, 65535, "outbound port", err) != ERR_OK ||
        check_number(options->inbound_port, 65535, "inbound port", err) != ERR_OK ||
        check_number(options->tunnel_port, 65535, "tunnel port", err) != ERR_OK) {
        return ERR_INVALID;
    }
    enum err result = append_family(options, CAPTURE_IPV4, out, err);
    if (result == ERR_OK && options->ipv6) {
        result = append_family(options, CAPTURE_IPV6, out, err);
    }
    return result;
}

void capture_rules_clean(struct buf *out)
{
    for (size_t i = 0; i < array_count(families); i++) {
        buf_printf(out, "table %s isthmesh\ndelete table %s isthmesh\n", families[i].table, families[i].table);
    }
}
