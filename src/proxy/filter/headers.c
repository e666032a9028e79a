// SPDX-License-Identifier: Apache-2.0
#include "proxy/filter/headers.h"

#include <time.h>

#include "base/buf.h"
#include "base/memory.h"

// --- paths ---------------------------------------------------------------------------------------------

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool is_unreserved(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
}

// Escapes of unreserved characters undone, others in upper case; backslashes become slashes.
static bool decode_path(struct str path, char *out, size_t *ret_size)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t size = 0;
    for (size_t i = 0; i < path.size; i++) {
        char c = path.data[i];
        if (c != '%') {
            out[size++] = c == '\\' ? '/' : c;
            continue;
        }
        int high = i + 2 < path.size ? hex_value(path.data[i + 1]) : -1;
        int low = i + 2 < path.size ? hex_value(path.data[i + 2]) : -1;
        if (high < 0 || low < 0 || high * 16 + low == 0) {
            return false;
        }
        i += 2;
        if (is_unreserved(high * 16 + low)) {
            out[size++] = (char)(high * 16 + low);
        } else {
            out[size++] = '%';
            out[size++] = digits[high];
            out[size++] = digits[low];
        }
    }
    *ret_size = size;
    return true;
}

// Resolves "." and ".." in place; out starts with '/'.
static void remove_dots(char *text, size_t *size, bool merge_slashes)
{
    size_t to = 0;
    for (size_t from = 0; from < *size;) {
        size_t end = from + 1; // text[from] is '/'
        while (end < *size && text[end] != '/') {
            end++;
        }
        struct str segment = str_make(text + from + 1, end - from - 1);
        bool last = end == *size;
        if (str_equal(segment, STR("..")) || str_equal(segment, STR("."))) {
            if (segment.size == 2) {
                while (to > 0 && text[--to] != '/') { // at the root it stays there (WHATWG URL)
                }
            }
            if (last) {
                text[to++] = '/';
            }
        } else if (!(segment.size == 0 && merge_slashes && !last)) {
            memmove(text + to, text + from, end - from);
            to += end - from;
        }
        from = end;
    }
    if (merge_slashes && to > 1 && text[to - 1] == '/' && text[to - 2] == '/') {
        to--;
    }
    *size = to;
}

bool headers_normalize_path(struct str path, bool merge_slashes, struct arena *arena, struct str *ret_path)
{
    struct str query = path;
    struct str plain = str_split(&query, '?');
    struct str without_fragment = plain;
    plain = str_split(&without_fragment, '#');
    if (plain.size == 0 || plain.data[0] != '/') {
        return false;
    }
    char *out = arena_alloc(arena, path.size + 2);
    size_t size = 0;
    if (!decode_path(plain, out, &size)) {
        return false;
    }
    remove_dots(out, &size, merge_slashes);
    if (size == 0) {
        out[size++] = '/';
    }
    if (query.data != NULL) {
        out[size++] = '?';
        memcpy(out + size, query.data, query.size);
        size += query.size;
    }
    *ret_path = str_make(out, size);
    return true;
}

// --- requests ------------------------------------------------------------------------------------------

// Headers that only the proxy may set; what a client outside sends is dropped.
static const char *const internal_headers[] = {
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-upstream-stream-duration-ms",
};

static void append_value(struct http_head *head, struct str name, struct str value, struct arena *arena)
{
    struct str before = http_head_get(head, name);
    if (before.data != NULL && before.size > 0) {
        value = arena_format(arena, "%.*s, %.*s", STR_ARG(before), STR_ARG(value));
    }
    (void)http_head_set(head, name, value);
}

static void set_forwarded(const struct http_manager_config *config, const struct request_facts *facts, struct http_head *head,
                          struct arena *arena)
{
    struct str scheme = facts->tls != NULL ? STR("https") : STR("http");
    char text[ADDRESS_TEXT_SIZE];
    if (config->use_remote_address && !config->skip_forwarded_for) {
        struct str remote = arena_str(arena, str_of(address_format_ip(facts->remote, text)));
        append_value(head, STR("x-forwarded-for"), remote, arena);
    }
    struct str present = http_head_get(head, STR("x-forwarded-proto"));
    bool valid = str_equal(present, STR("http")) || str_equal(present, STR("https"));
    if (!valid || (config->use_remote_address && config->trusted_hops == 0)) {
        (void)http_head_set(head, STR("x-forwarded-proto"), scheme);
        present = scheme;
    }
    head->scheme = present;
    if (config->use_remote_address) {
        (void)http_head_set(head, STR("x-envoy-external-address"), arena_str(arena, str_of(address_format_ip(facts->remote, text))));
    }
}

static struct str quote(struct arena *arena, struct str text)
{
    struct buf out = {0};
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') {
            buf_append_char(&out, '\\');
        }
        buf_append_char(&out, text.data[i]);
    }
    struct str result = arena_str(arena, buf_view(&out));
    buf_done(&out);
    return result;
}

static struct str client_cert_element(const struct http_manager_config *config, const struct tls_session *tls, struct arena *arena)
{
    struct str element = arena_format(arena, "By=%.*s;Hash=%.*s", STR_ARG(tls_session_local_uri(tls)), STR_ARG(tls_session_peer_hash(tls)));
    if (config->cert_subject) {
        struct str subject = quote(arena, tls_session_peer_subject(tls));
        element = arena_format(arena, "%.*s;Subject=\"%.*s\"", STR_ARG(element), STR_ARG(subject));
    }
    if (config->cert_uri) {
        element = arena_format(arena, "%.*s;URI=%.*s", STR_ARG(element), STR_ARG(tls_session_peer_uri(tls)));
    }
    return element;
}

static void set_client_cert(const struct http_manager_config *config, const struct request_facts *facts, struct http_head *head,
                            struct arena *arena)
{
    static const struct str name = {.data = "x-forwarded-client-cert", .size = 23};
    bool has_peer = facts->tls != NULL && tls_session_has_peer(facts->tls);
    if (config->client_cert == CERT_ALWAYS_FORWARD_ONLY) {
        return;
    }
    if (config->client_cert == CERT_SANITIZE || !has_peer) {
        http_head_remove(head, name);
        return;
    }
    if (config->client_cert == CERT_FORWARD_ONLY) {
        return;
    }
    struct str element = client_cert_element(config, facts->tls, arena);
    struct str before = http_head_get(head, name);
    if (config->client_cert == CERT_APPEND_FORWARD && before.data != NULL && before.size > 0) {
        element = arena_format(arena, "%.*s,%.*s", STR_ARG(before), STR_ARG(element));
    }
    (void)http_head_set(head, name, element);
}

static void set_request_id(const struct http_manager_config *config, struct http_head *head, struct arena *arena)
{
    bool present = http_head_has(head, STR("x-request-id"));
    bool is_edge = config->use_remote_address;
    if (config->generate_request_id && (!present || (is_edge && !config->preserve_request_id))) {
        char id[RANDOM_UUID_SIZE];
        random_uuid(id);
        (void)http_head_set(head, STR("x-request-id"), arena_str(arena, str_of(id)));
    }
}

enum headers_verdict headers_clean_request(const struct http_manager_config *config, const struct request_facts *facts,
                                           struct http_head *head, struct arena *arena)
{
    http_head_remove(head, STR("x-envoy-internal"));
    for (size_t i = 0; i < array_count(internal_headers); i++) {
        http_head_remove(head, str_of(internal_headers[i]));
    }
    if (config->use_remote_address) {
        http_head_remove(head, STR("x-envoy-decorator-operation"));
    }
    if (config->exchanges_metadata && facts->direction == TRAFFIC_INBOUND) {
        http_head_remove(head, STR("x-envoy-peer-metadata"));
        http_head_remove(head, STR("x-envoy-peer-metadata-id"));
    }
    set_forwarded(config, facts, head, arena);
    set_request_id(config, head, arena);
    set_client_cert(config, facts, head, arena);
    if (config->normalize_path && head->path.size > 0 && !str_equal(head->path, STR("*"))) {
        struct str path;
        if (!headers_normalize_path(head->path, config->merge_slashes, arena, &path)) {
            return HEADERS_BAD_PATH;
        }
        head->path = path;
    }
    return HEADERS_FINE;
}

// --- responses -----------------------------------------------------------------------------------------

struct str headers_date(uint64_t wall_ms, struct arena *arena)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    char text[64] = "";
    if (gmtime_r(&seconds, &parts) != NULL) {
        (void)strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    }
    return arena_str(arena, str_of(text));
}

void headers_clean_response(const struct http_manager_config *config, uint64_t wall_ms, struct http_head *head, struct arena *arena)
{
    if (!http_head_has(head, STR("date"))) {
        (void)http_head_add(head, STR("date"), headers_date(wall_ms, arena));
    }
    if (config->exchanges_metadata) {
        http_head_remove(head, STR("x-envoy-peer-metadata"));
        http_head_remove(head, STR("x-envoy-peer-metadata-id"));
    }
    bool has_server = http_head_has(head, STR("server"));
    if (config->server_header == SERVER_OVERWRITE || (config->server_header == SERVER_APPEND_IF_ABSENT && !has_server)) {
        (void)http_head_set(head, STR("server"), config->server_name);
    }
}
