// SPDX-License-Identifier: Apache-2.0
//
// message: a DNS query's bytes in, the answer's bytes out (RFC 1035, EDNS sizes of RFC 6891). Pure.
#ifndef LAB_DNS_MESSAGE_H
#define LAB_DNS_MESSAGE_H

#include "base/buf.h"
#include "lab/dns/records.h"

#define DNS_UDP_SIZE 512u      // what any client takes
#define DNS_UDP_SIZE_MAX 4096u // whatever a client says it takes
#define DNS_MESSAGE_MAX 65535u

// Appends the answer. False: not a query, nothing to say. is_udp: an answer that is too large is cut and
// marked so (TC), and the client asks again over TCP.
bool dns_message_answer(const struct dns_source *source, struct str query, bool is_udp, struct buf *out);

#endif
