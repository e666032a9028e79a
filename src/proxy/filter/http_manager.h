// SPDX-License-Identifier: Apache-2.0
//
// http_manager: the HTTP connection manager. Serves the requests of the connections given to it: cleans
// the headers, finds the route and hands each request to the router (filter/http_request.c).
//
// The configuration is compiled once and shared; a manager is one worker's instance of it.
#ifndef PROXY_FILTER_HTTP_MANAGER_H
#define PROXY_FILTER_HTTP_MANAGER_H

#include "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.pb-c.h"
#include "proxy/filter/runtime.h"

#define HTTP_HEAD_KB_DEFAULT 60u
#define HTTP_STREAM_IDLE_DEFAULT_MS 300000u
#define HTTP_ALPN_MAX 8u      // of one override
#define HTTP_UPGRADES_MAX 16u

enum client_cert_details { CERT_SANITIZE, CERT_FORWARD_ONLY, CERT_APPEND_FORWARD, CERT_SANITIZE_SET, CERT_ALWAYS_FORWARD_ONLY };
enum server_header { SERVER_OVERWRITE, SERVER_APPEND_IF_ABSENT, SERVER_PASS_THROUGH };

struct alpn_override {
    struct str protocols[HTTP_ALPN_MAX];
    size_t count;
};

struct http_manager_config {
    struct str stat_prefix;
    struct str route_name;      // RDS; empty: inline
    struct route_table *routes; // inline; a reference
    struct str server_name;
    enum server_header server_header;
    size_t head_bytes_max;
    uint64_t idle_timeout_ms;
    uint64_t stream_idle_timeout_ms;
    bool use_remote_address;
    uint32_t trusted_hops;
    bool skip_forwarded_for;
    bool generate_request_id;
    bool preserve_request_id;
    bool request_id_in_response;
    bool normalize_path;
    bool merge_slashes;
    enum client_cert_details client_cert;
    bool cert_subject;
    bool cert_uri;
    bool cert_dns;
    struct str upgrades[HTTP_UPGRADES_MAX]; // lower-case
    size_t upgrade_count;
    bool overrides_alpn; // filter istio.alpn
    struct alpn_override alpn[3]; // HTTP/1.0, HTTP/1.1, HTTP/2
    bool injects_faults;         // filter fault: routes carry the settings
    bool checks_origins;         // filter cors: likewise
    bool exchanges_metadata;     // filter istio.metadata_exchange
    const struct access_log *log;
};

// Unknown filters that are not optional are refused with their name.
enum err http_manager_compile(struct arena *arena,
                              const Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager *message,
                              struct http_manager_config **ret_config, struct error *err) must_check;
void http_manager_config_done(struct http_manager_config *config); // drops the inline routes

struct http_manager;

struct http_manager *http_manager_new(const struct http_manager_config *config, struct filter_runtime *runtime);
// Takes the stream (plaintext, or TLS with the handshake done).
void http_manager_adopt(struct http_manager *manager, struct connection *connection, struct stream *stream);
void http_manager_drain(struct http_manager *manager, uint64_t deadline_ms, void (*on_done)(void *owner), void *owner);
void http_manager_stop(struct http_manager *manager); // aborts connections; they are gone some turns later
void http_manager_free(struct http_manager *manager); // NULL is fine; no connection may be left

#endif
