// SPDX-License-Identifier: Apache-2.0
//
// The server's own state, and the parts that hang from it. Only this folder includes it.
#ifndef LAB_APISERVER_APISERVER_INTERNAL_H
#define LAB_APISERVER_APISERVER_INTERNAL_H

#include "base/list.h"
#include "base/map.h"
#include "base/vec.h"
#include "lab/apiserver/apiserver.h"
#include "lab/apiserver/kinds.h"
#include "lab/apiserver/pki.h"
#include "lab/runtime/runtime.h"
#include "lab/store/store.h"
#include "net/http.h"

#define USER_GROUPS_MAX 32u

// Who asks. Views live in the request's arena.
struct user {
    struct str name;
    struct str uid;
    struct str groups[USER_GROUPS_MAX];
    size_t group_count;
    struct json_value *extra; // {key: [values]}; NULL: none
};

// Cluster addresses and node ports in use, including those of writes under way.
struct service_allocator {
    uint32_t network; // host order
    uint32_t size;
    struct map addresses; // text → owner of allocation (non-NULL)
    struct map ports;
};

struct follower;
struct stand_in;

struct apiserver {
    struct loop *loop;
    struct arena arena; // of the options' copies
    struct str cluster_name;
    struct str advertise_ip;
    uint16_t advertise_port;
    struct store *store;
    struct kind_set kinds;
    struct pki pki;
    struct tls_context *tls;
    struct http_server *http;
    struct stand_in *stand_ins; // webhook_target.c
    struct service_allocator allocator;
    struct list requests;
    struct runtime runtime; // of the node agent; exec NULL: none
    VEC(struct follower *) followers; // of kinds with hooks->committed
    bool is_draining;
};

// bootstrap.c: what every cluster has from the start.
enum err bootstrap_objects(struct apiserver *server, struct error *err) must_check;

// service.c
void service_allocator_init(struct apiserver *server, uint32_t network, uint32_t size);
void service_allocator_done(struct apiserver *server);
void service_allocator_rebuild(struct apiserver *server); // after a failed write
struct str service_first_address(struct arena *arena, const struct apiserver *server); // 10.96.0.1

#endif
