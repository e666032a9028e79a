// SPDX-License-Identifier: Apache-2.0
//
// allocator: which Service of type LoadBalancer gets which address. There is no memory besides the objects:
// an address is in use when the status of a Service names it, so that a restart changes nothing and two
// allocators would agree. The caller carries out one verdict at a time and asks again when it sees the
// result in the objects.
//
// Pure: objects in, verdict out. Lab nodes speak IPv4 only; prefixes of IPv6 are valid and never used.
#ifndef LAB_LOADBALANCER_ALLOCATOR_H
#define LAB_LOADBALANCER_ALLOCATOR_H

#include "lab/loadbalancer/pool.h"

enum verdict {
    VERDICT_KEEP = 0,  // nothing to do: what it has is right, or it is none of ours
    VERDICT_ASSIGN,    // address from pool
    VERDICT_CLEAR,     // what its status says must go; message says why (empty: nothing to tell)
    VERDICT_FAIL,      // no address; message says why
    VERDICT_REFUSE,    // as VERDICT_FAIL, because what was asked for makes no sense
};

struct decision {
    enum verdict verdict;
    uint32_t address; // host order
    struct str pool;  // of the address, for VERDICT_KEEP too; empty: none
    struct str message;
};

// Service and namespace objects, in any order. Made once, then asked about each service.
struct allocator;

struct allocator_input {
    const struct pool_list *pools; // NULL: the pools are not valid, so what is in use stays as it is
    const struct json_value *const *services;
    size_t service_count;
    const struct json_value *const *namespaces; // for serviceAllocation.namespaceSelectors
    size_t namespace_count;
};

struct allocator *allocator_new(struct arena *arena, const struct allocator_input *input);

// service is one of the input. Texts live in the arena of the allocator.
struct decision allocator_decide(struct allocator *allocator, const struct json_value *service);

// metadata.annotations of both spellings: metallb.io/NAME, metallb.universe.tf/NAME. Empty: absent.
struct str allocator_annotation(const struct json_value *service, const char *name);

// The IPv4 address its status names; false: none, or a bad one.
bool allocator_current(const struct json_value *service, uint32_t *ret_address);
// A Service whose addresses are ours to give: of type LoadBalancer, without a class.
bool allocator_wants(const struct json_value *service);

#define ALLOCATOR_ADDRESS_SIZE 16
const char *allocator_format(uint32_t address, char out[static ALLOCATOR_ADDRESS_SIZE]);

#endif
