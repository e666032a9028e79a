// SPDX-License-Identifier: Apache-2.0
//
// ca_service: /istio.v1.auth.IstioCertificateService/CreateCertificate over net/grpc. It runs on the
// loop's thread; signing happens on one helper thread, so that a slow key never holds up a push.
//
// Who asks is not decided here: the authenticator gets the call (TLS facts, metadata) and answers now or
// later with the caller's identities or a refusal.
//
//   call → message → authenticate … → ca_ticket_allow → signed on the helper → response
//                                   → ca_ticket_deny  → UNAUTHENTICATED
#ifndef CONTROL_CA_CA_SERVICE_H
#define CONTROL_CA_CA_SERVICE_H

#include "base/metrics.h"
#include "control/ca/ca.h"
#include "loop/loop.h"
#include "net/grpc.h"

#define CA_CSR_MESSAGE_MAX (64u * 1024) // of an encoded request
#define CA_TICKETS_MAX 4096u            // requests under way; more are answered RESOURCE_EXHAUSTED

struct ca_service;
struct ca_ticket; // one request under way

// Must end in exactly one ca_ticket_allow() or ca_ticket_deny(), within this call or later; the call may
// be gone by then, which is fine. `call` is valid during this function only.
typedef void ca_authenticate_fn(void *owner, struct grpc_call *call, struct ca_ticket *ticket);

void ca_ticket_allow(struct ca_ticket *ticket, const struct str *identities, size_t count); // copied
void ca_ticket_deny(struct ca_ticket *ticket, const struct error *err); // ERR_UNREACHABLE: UNAVAILABLE; else UNAUTHENTICATED

// metrics may be NULL.
struct ca_service *ca_service_new(struct loop *loop, struct ca *ca, struct metrics *metrics,
                                  ca_authenticate_fn *authenticate, void *owner);
void ca_service_add_to(struct ca_service *service, struct grpc_service *grpc);
void ca_service_set_ca(struct ca_service *service, struct ca *ca); // takes a reference of its own
// No call may come in any more. Waits for the helper thread; tickets still with the authenticator stay
// valid and end without an answer.
void ca_service_free(struct ca_service *service);

#endif
