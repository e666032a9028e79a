// SPDX-License-Identifier: Apache-2.0
//
// transport_socket: compiled transport sockets (plaintext, upstream TLS, downstream TLS) and the secrets
// they name. A socket says which certificate and roots it wants by SDS name; `struct secrets` is the
// immutable snapshot that has them. TLS contexts are made when first used and shared by all workers:
// sockets with the same `key` and the same snapshot share one.
#ifndef PROXY_CLUSTER_TRANSPORT_SOCKET_H
#define PROXY_CLUSTER_TRANSPORT_SOCKET_H

#include "base/arena.h"
#include "base/error.h"
#include "envoy/config/core/v3/base.pb-c.h"
#include "net/tls.h"

#define TRANSPORT_SANS_MAX 1024u // of one socket
#define TRANSPORT_ALPN_MAX 16u

struct transport_socket {
    bool is_tls; // else plaintext and nothing below counts
    struct str key;
    enum tls_role role;
    struct str certificate_name; // secret; empty: inline or none
    struct str roots_name;       // secret; empty: inline or none
    struct str certificate_pem;
    struct str key_pem;
    struct str roots_pem;
    enum tls_peer_certificate peer;
    const struct tls_san_matcher *sans;
    size_t san_count;
    const struct str *alpn;
    size_t alpn_count;
    int version_min;
    int version_max;
    struct str server_name; // upstream: SNI to send
};

// config NULL: plaintext. The result lives in the arena.
enum err transport_socket_compile(struct arena *arena, const Envoy__Config__Core__V3__TransportSocket *config,
                                  enum tls_role role, const struct transport_socket **ret_socket, struct error *err) must_check;

// Bytes of a DataSource; files are read now (static configuration only).
enum err data_source_read(struct arena *arena, const Envoy__Config__Core__V3__DataSource *source, struct str *ret_text,
                          struct error *err) must_check;

// --- secrets -------------------------------------------------------------------------------------------

struct secrets;

// Copies all secrets of `previous` (may be NULL); change it with the setters before sharing it.
struct secrets *secrets_new(const struct secrets *previous);
struct secrets *secrets_ref(struct secrets *secrets);
void secrets_unref(struct secrets *secrets); // NULL is fine
void secrets_set_certificate(struct secrets *secrets, struct str name, struct str chain_pem, struct str key_pem);
void secrets_set_roots(struct secrets *secrets, struct str name, struct str roots_pem);
struct str secrets_certificate(const struct secrets *secrets, struct str name); // chain; empty: not there
struct str secrets_roots(const struct secrets *secrets, struct str name);
uint64_t secrets_version(const struct secrets *secrets); // grows with every snapshot

// Has everything the socket names?
bool secrets_has_all(const struct secrets *secrets, const struct transport_socket *socket);
// A reference of its own (tls_context_unref); NULL and a reason when a secret is missing or malformed.
struct tls_context *secrets_context(struct secrets *secrets, const struct transport_socket *socket, struct error *err);

#endif
