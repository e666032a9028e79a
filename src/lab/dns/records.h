// SPDX-License-Identifier: Apache-2.0
//
// records: what the cluster's DNS answers, from Services and EndpointSlices. Pure: a question and the
// objects in, records out; packets are server.c's business.
//
//   SVC.NS.svc.cluster.local             A of the cluster IP, or of every ready endpoint (headless)
//   HOST.SVC.NS.svc.cluster.local        A of one endpoint, by its host name or its address with dashes
//   _PORT._PROTO.SVC.NS.svc.…            SRV
//   10-244-0-5.NS.pod.cluster.local      that address
//   5.0.244.10.in-addr.arpa              PTR of a cluster IP or an endpoint
//   ExternalName                         CNAME
//   a name that exists, another type     no records, no error; unknown names: NXDOMAIN
#ifndef LAB_DNS_RECORDS_H
#define LAB_DNS_RECORDS_H

#include "base/vec.h"
#include "codec/json/json.h"

#define DNS_ZONE "cluster.local"
#define DNS_TTL 5u
#define DNS_RECORDS_MAX 1000u // of one answer
#define DNS_NAME_MAX 255u

enum dns_type { DNS_A = 1, DNS_CNAME = 5, DNS_SOA = 6, DNS_PTR = 12, DNS_TXT = 16, DNS_AAAA = 28, DNS_SRV = 33, DNS_ANY = 255 };
enum dns_code { DNS_OK = 0, DNS_NO_SUCH_NAME = 3 };

struct dns_record {
    struct str name;
    enum dns_type type;
    struct str value; // A: address. CNAME, PTR, SRV: a name. TXT: text
    uint16_t port;    // SRV
    uint16_t weight;
};

// How the objects are seen. Borrowed values.
struct dns_source {
    void *owner;
    const struct json_value *(*find_service)(void *owner, struct str ns, struct str name); // NULL: none
    const struct json_value *(*each_service)(void *owner, size_t *at);
    const struct json_value *(*each_slice)(void *owner, size_t *at);
};

struct dns_answer {
    enum dns_code code;
    VEC(struct dns_record) records;
};

// name in any case, without the final dot. The caller does vec_done() on records.
void dns_lookup(struct arena *arena, const struct dns_source *source, struct str name, unsigned type, struct dns_answer *answer);

#endif
