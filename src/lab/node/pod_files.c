// SPDX-License-Identifier: Apache-2.0
#include "lab/node/pod_files.h"

#include "base/buf.h"

#define HOST_NAME_MAX_SIZE 63u
#define CLUSTER_DOMAIN "cluster.local"

struct str pod_files_host_name(struct arena *arena, const struct json_value *pod, struct str node_name)
{
    const struct json_value *spec = json_get(pod, "spec");
    struct str name = json_get_str(spec, "hostname");
    if (json_get_bool(spec, "hostNetwork", false)) {
        name = node_name;
    } else if (name.size == 0) {
        name = json_str(json_path(pod, "metadata", "name", NULL));
    }
    name = str_sub(name, 0, HOST_NAME_MAX_SIZE);
    while (name.size > 0 && (name.data[name.size - 1] == '-' || name.data[name.size - 1] == '.')) {
        name.size--;
    }
    return arena_str(arena, name);
}

static struct str take(struct arena *arena, struct buf *text)
{
    struct str copy = arena_str(arena, buf_view(text));
    buf_done(text);
    return copy;
}

struct str pod_files_hosts(struct arena *arena, const struct pod_context *context)
{
    struct buf text = {0};
    const struct json_value *spec = json_get(context->pod, "spec");
    const struct json_value *aliases = json_get(spec, "hostAliases");
    struct str subdomain = json_get_str(spec, "subdomain");
    buf_append_str(&text, STR("# Kubernetes-managed hosts file.\n"
                              "127.0.0.1\tlocalhost\n"
                              "::1\tlocalhost ip6-localhost ip6-loopback\n"
                              "fe00::0\tip6-localnet\n"
                              "fe00::0\tip6-mcastprefix\n"
                              "fe00::1\tip6-allnodes\n"
                              "fe00::2\tip6-allrouters\n"));
    if (subdomain.size > 0) {
        buf_printf(&text, "%.*s\t%.*s.%.*s.%.*s.svc." CLUSTER_DOMAIN "\t%.*s\n", STR_ARG(context->pod_ip), STR_ARG(context->host_name),
                   STR_ARG(subdomain), STR_ARG(context->ns), STR_ARG(context->host_name));
    } else {
        buf_printf(&text, "%.*s\t%.*s\n", STR_ARG(context->pod_ip), STR_ARG(context->host_name));
    }
    for (size_t i = 0; i < json_count(aliases); i++) {
        const struct json_value *names = json_get(json_at(aliases, i), "hostnames");
        buf_append_str(&text, json_get_str(json_at(aliases, i), "ip"));
        for (size_t k = 0; k < json_count(names); k++) {
            buf_append_char(&text, '\t');
            buf_append_str(&text, json_str(json_at(names, k)));
        }
        buf_append_char(&text, '\n');
    }
    return take(arena, &text);
}

static void add_list(struct buf *text, const char *keyword, const struct json_value *list, bool one_per_line)
{
    if (json_count(list) == 0) {
        return;
    }
    for (size_t i = 0; i < json_count(list); i++) {
        buf_printf(text, "%s%s%.*s", i == 0 || one_per_line ? keyword : "", " ", STR_ARG(json_str(json_at(list, i))));
        if (one_per_line) {
            buf_append_char(text, '\n');
        }
    }
    if (!one_per_line) {
        buf_append_char(text, '\n');
    }
}

static void add_options(struct buf *text, const struct json_value *options, bool has_cluster_default)
{
    bool sets_ndots = false;
    struct buf line = {0};
    for (size_t i = 0; i < json_count(options); i++) {
        struct str name = json_get_str(json_at(options, i), "name");
        struct str value = json_get_str(json_at(options, i), "value");
        sets_ndots = sets_ndots || str_equal_c(name, "ndots");
        buf_printf(&line, " %.*s", STR_ARG(name));
        if (value.size > 0) {
            buf_printf(&line, ":%.*s", STR_ARG(value));
        }
    }
    if (has_cluster_default && !sets_ndots) {
        buf_append_str(&line, STR(" ndots:5"));
    }
    if (line.size > 0) {
        buf_printf(text, "options%.*s\n", STR_ARG(buf_view(&line)));
    }
    buf_done(&line);
}

struct str pod_files_resolv(struct arena *arena, const struct pod_context *context, struct str dns_ip, struct str machine)
{
    struct buf text = {0};
    const struct json_value *spec = json_get(context->pod, "spec");
    const struct json_value *config = json_get(spec, "dnsConfig");
    struct str policy = json_get_str(spec, "dnsPolicy");
    bool on_host = json_get_bool(spec, "hostNetwork", false);
    bool is_cluster = str_equal_c(policy, "ClusterFirstWithHostNet") ||
                      (!on_host && !str_equal_c(policy, "Default") && !str_equal_c(policy, "None"));
    if (is_cluster) {
        buf_printf(&text, "search %.*s.svc." CLUSTER_DOMAIN " svc." CLUSTER_DOMAIN " " CLUSTER_DOMAIN, STR_ARG(context->ns));
        const struct json_value *searches = json_get(config, "searches");
        for (size_t i = 0; i < json_count(searches); i++) {
            buf_printf(&text, " %.*s", STR_ARG(json_str(json_at(searches, i))));
        }
        buf_printf(&text, "\nnameserver %.*s\n", STR_ARG(dns_ip));
    } else {
        if (!str_equal_c(policy, "None")) {
            buf_append_str(&text, machine);
        }
        add_list(&text, "search", json_get(config, "searches"), false);
    }
    add_list(&text, "nameserver", json_get(config, "nameservers"), true);
    add_options(&text, json_get(config, "options"), is_cluster);
    return take(arena, &text);
}
