// SPDX-License-Identifier: Apache-2.0
//
// Names in certificates: subject alternative names and the subject. Bytes from outside: a name with a
// NUL or a control byte inside is skipped, as it is meant to look like another one.
#ifndef NET_TLS_NAMES_H
#define NET_TLS_NAMES_H

#include <openssl/x509.h>

#include "base/buf.h"
#include "net/tls.h"

#define TLS_SANS_MAX 256 // names looked at; a certificate with more has the rest ignored

// Appends the first URI SAN; nothing when there is none.
void tls_names_first_uri(X509 *certificate, struct buf *out);
// "CN=x,O=y" (RFC 2253), appended.
void tls_names_subject(X509 *certificate, struct buf *out);
// The index-th value of a subject attribute (NID_commonName …), appended; false when there is none.
bool tls_names_attribute(X509 *certificate, int nid, int index, struct buf *out);
// Whether a SAN (URI, DNS name or IP) matches one of the matchers; seen gets the names for an error text.
bool tls_names_match(X509 *certificate, const struct tls_san_matcher *matchers, size_t count, struct buf *seen);

#endif
