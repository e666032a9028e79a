// SPDX-License-Identifier: Apache-2.0
//
// One TLS connection as bytes in, bytes out, for stream.c. It never touches a socket: ciphertext comes
// in by tls_connection_feed() and goes out through tls_connection_output().
#ifndef NET_TLS_INTERNAL_H
#define NET_TLS_INTERNAL_H

#include "base/buf.h"
#include "net/tls.h"

#define TLS_RECORD_MAX (16u * 1024) // plaintext bytes of one record

struct tls_connection;

enum tls_step {
    TLS_STEP_DONE,   // handshake complete, or bytes were read
    TLS_STEP_WANT,   // needs more ciphertext
    TLS_STEP_END,    // the peer sent close_notify
    TLS_STEP_FAILED, // err says who and why; an alert may wait in the output
};

struct tls_connect_options {
    struct str server_name;    // client: SNI and, with verify_host, the name the certificate must have
    const struct str *alpn;    // client: overrides the context's list
    size_t alpn_count;
    struct str session_key;    // client: connections with the same key may resume each other's sessions
};

// NULL and a sentence when the options do not fit the context.
struct tls_connection *tls_connection_new(struct tls_context *context,
                                          const struct tls_connect_options *options, struct error *err);
void tls_connection_free(struct tls_connection *tls); // NULL is fine

// Makes bytes the next input. They are borrowed until tls_connection_keep(), which copies what was not
// used yet: call it before the bytes go away.
void tls_connection_feed(struct tls_connection *tls, struct str bytes);
void tls_connection_keep(struct tls_connection *tls);

enum tls_step tls_connection_handshake(struct tls_connection *tls, struct error *err);
enum tls_step tls_connection_read(struct tls_connection *tls, char *to, size_t size, size_t *ret_size,
                                  struct error *err);
// Encrypts all of bytes (at most TLS_RECORD_MAX) into the output.
bool tls_connection_write(struct tls_connection *tls, struct str bytes, struct error *err);
void tls_connection_shutdown(struct tls_connection *tls); // puts close_notify into the output

struct buf *tls_connection_output(struct tls_connection *tls); // the caller consumes what it sent
const struct tls_session *tls_connection_session(const struct tls_connection *tls); // after the handshake

#endif
