// SPDX-License-Identifier: Apache-2.0
//
// A ticket is owned by exactly one place at a time: the call (while its message is awaited and while the
// authenticator has it), the helper's queue, or the message that brings it back to the loop.
//
//   WAIT_MESSAGE ──message──► AUTHENTICATING ──allow──► SIGNING ──back on the loop──► answered, freed
//        │                         └──deny──► answered, freed
//        └── call closed ──► freed        (closed later: the call pointer is dropped, the ticket goes on)
#include "control/ca/ca_service.h"

#include <pthread.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "codec/pb/pb.h"
#include "istio/v1/auth/ca.pb-c.h"

static struct log_scope scope = LOG_SCOPE("ca");

#define PATH_CREATE_CERTIFICATE "/istio.v1.auth.IstioCertificateService/CreateCertificate"

enum ticket_state { TICKET_WAIT_MESSAGE, TICKET_AUTHENTICATING, TICKET_SIGNING };

struct ca_ticket {
    struct list node; // in the helper's queue
    struct ca_service *service;
    struct grpc_call *call; // NULL: the client went away
    enum ticket_state state;
    struct arena arena;
    struct ca_request request;
    // What the helper works with and leaves.
    struct ca *ca;
    int64_t now;
    enum err code;
    struct error err;
    struct ca_response response;
};

struct ca_service {
    uint32_t references; // the owner and every ticket; loop thread only
    struct loop *loop;
    struct ca *ca;
    ca_authenticate_fn *authenticate;
    void *owner;
    bool is_closing;
    size_t ticket_count;
    struct metric *csr_count;
    struct metric *authentication_failures;
    struct metric *issued;
    struct metric *root_expiry;

    pthread_t helper;
    pthread_mutex_t mutex; // guards what follows
    pthread_cond_t changed;
    struct list queue; // tickets to sign
    bool helper_stop;
};

static void service_unref(struct ca_service *service)
{
    if (--service->references > 0) {
        return;
    }
    ca_unref(service->ca);
    (void)pthread_cond_destroy(&service->changed);
    (void)pthread_mutex_destroy(&service->mutex);
    mem_free(service);
}

static void ticket_free(struct ca_ticket *ticket)
{
    struct ca_service *service = ticket->service;
    ca_unref(ticket->ca);
    arena_done(&ticket->arena);
    mem_free(ticket);
    service->ticket_count--;
    service_unref(service);
}

static void count(struct metric *metric)
{
    if (metric != NULL) {
        metric_add(metric, 1);
    }
}

// --- answering -------------------------------------------------------------------------------------

static void nothing_message(void *owner, struct grpc_call *call, struct str message)
{
    (void)owner;
    (void)call;
    (void)message;
}

static void nothing_half_close(void *owner, struct grpc_call *call)
{
    (void)owner;
    (void)call;
}

static void nothing_close(void *owner, struct grpc_call *call, enum grpc_status status, struct str message)
{
    (void)owner;
    (void)call;
    (void)status;
    (void)message;
}

// Of calls that are answered: what still comes concerns nobody.
static const struct grpc_events answered_events = {
    .on_message = nothing_message, .on_half_close = nothing_half_close, .on_close = nothing_close};

// Ends the call, if it is still there, and the ticket.
static void finish(struct ca_ticket *ticket, enum grpc_status status, const char *format, ...) printf_like(3, 4);

static void finish(struct ca_ticket *ticket, enum grpc_status status, const char *format, ...)
{
    struct grpc_call *call = ticket->call;
    if (call != NULL) {
        va_list args;
        va_start(args, format);
        struct str message = arena_vformat(&ticket->arena, format, args);
        va_end(args);
        grpc_set_events(call, &answered_events, NULL);
        grpc_finish(call, status, message);
    }
    ticket_free(ticket);
}

static enum grpc_status status_of(enum err code)
{
    // As Istio answers: bad requests and lifetimes are the caller's fault, everything else is ours.
    return code == ERR_INVALID || code == ERR_LIMIT ? GRPC_INVALID_ARGUMENT : GRPC_INTERNAL;
}

static void answer(struct ca_ticket *ticket)
{
    if (ticket->code != ERR_OK) {
        log_warning(&scope, "certificate request refused", LOG_STR("identity", ticket->request.identities[0]), LOG_ERR(&ticket->err));
        finish(ticket, status_of(ticket->code), "CSR signing error (%s)", ticket->err.message);
        return;
    }
    count(ticket->service->issued);
    log_debug(&scope, "certificate issued", LOG_STR("identity", ticket->request.identities[0]),
              LOG_I64("not_after", ticket->response.not_after));
    Istio__V1__Auth__IstioCertificateResponse response = ISTIO__V1__AUTH__ISTIO_CERTIFICATE_RESPONSE__INIT;
    for (size_t i = 0; i < ticket->response.part_count; i++) {
        PB_PUSH(&ticket->arena, &response, cert_chain, pb_text(&ticket->arena, ticket->response.parts[i]));
    }
    if (ticket->call != NULL) {
        grpc_send(ticket->call, pb_pack_str(&ticket->arena, &response));
    }
    finish(ticket, GRPC_OK, "%s", "");
}

// --- the helper thread -----------------------------------------------------------------------------

static void signed_back(void *argument) // on the loop
{
    struct ca_ticket *ticket = argument;
    answer(ticket);
}

static void *helper_run(void *argument)
{
    struct ca_service *service = argument;
    for (;;) {
        (void)pthread_mutex_lock(&service->mutex);
        while (list_is_empty(&service->queue) && !service->helper_stop) {
            (void)pthread_cond_wait(&service->changed, &service->mutex);
        }
        struct list *node = list_first(&service->queue);
        if (node != NULL) {
            list_remove(node);
        }
        (void)pthread_mutex_unlock(&service->mutex);
        if (node == NULL) {
            return NULL; // stopped, and nothing left to sign
        }
        struct ca_ticket *ticket = container_of(node, struct ca_ticket, node);
        ticket->code = ca_sign(ticket->ca, &ticket->arena, &ticket->request, ticket->now, &ticket->response, &ticket->err);
        loop_post(service->loop, signed_back, ticket);
    }
}

void ca_ticket_allow(struct ca_ticket *ticket, const struct str *identities, size_t count_given)
{
    struct ca_service *service = ticket->service;
    ASSERT(ticket->state == TICKET_AUTHENTICATING && count_given > 0);
    if (ticket->call == NULL || service->is_closing) {
        finish(ticket, GRPC_UNAVAILABLE, "shutting down");
        return;
    }
    struct str *copies = arena_array(&ticket->arena, struct str, count_given);
    for (size_t i = 0; i < count_given; i++) {
        copies[i] = arena_str(&ticket->arena, identities[i]);
    }
    ticket->request.identities = copies;
    ticket->request.identity_count = count_given;
    ticket->state = TICKET_SIGNING;
    ticket->ca = ca_ref(service->ca);
    ticket->now = (int64_t)(loop_wall_ms(service->loop) / 1000);
    (void)pthread_mutex_lock(&service->mutex);
    list_append(&service->queue, &ticket->node);
    (void)pthread_cond_signal(&service->changed);
    (void)pthread_mutex_unlock(&service->mutex);
}

void ca_ticket_deny(struct ca_ticket *ticket, const struct error *err)
{
    ASSERT(ticket->state == TICKET_AUTHENTICATING);
    count(ticket->service->authentication_failures);
    log_warning(&scope, "certificate request not authenticated", LOG_ERR(err));
    bool is_temporary = err->code == ERR_UNREACHABLE || err->code == ERR_TIMEOUT || err->code == ERR_CLOSED;
    finish(ticket, is_temporary ? GRPC_UNAVAILABLE : GRPC_UNAUTHENTICATED, "request authenticate failure: %s", err->message);
}

// --- calls -----------------------------------------------------------------------------------------

static void on_message(void *owner, struct grpc_call *call, struct str message)
{
    struct ca_ticket *ticket = owner;
    struct error err = {0};
    if (ticket->state != TICKET_WAIT_MESSAGE) {
        grpc_cancel(call); // a second message in a unary call
        return;
    }
    count(ticket->service->csr_count);
    if (message.size > CA_CSR_MESSAGE_MAX) {
        finish(ticket, GRPC_INVALID_ARGUMENT, "request of %zu bytes, the limit is %u", message.size, CA_CSR_MESSAGE_MAX);
        return;
    }
    const Istio__V1__Auth__IstioCertificateRequest *request =
        pb_unpack(&ticket->arena, &istio__v1__auth__istio_certificate_request__descriptor, message, &err);
    if (request == NULL) {
        finish(ticket, GRPC_INVALID_ARGUMENT, "%s", err.message);
        return;
    }
    if (pb_struct_get(request->metadata, "ImpersonatedIdentity") != NULL) {
        finish(ticket, GRPC_UNAUTHENTICATED, "request impersonation authentication failure");
        return;
    }
    ticket->request.csr_pem = str_of(request->csr);
    ticket->request.ttl_s = request->validity_duration;
    ticket->state = TICKET_AUTHENTICATING;
    ticket->service->authenticate(ticket->service->owner, call, ticket);
}

static void on_half_close(void *owner, struct grpc_call *call)
{
    (void)call;
    struct ca_ticket *ticket = owner;
    if (ticket->state == TICKET_WAIT_MESSAGE) {
        finish(ticket, GRPC_INVALID_ARGUMENT, "no request message");
    }
}

static void on_close(void *owner, struct grpc_call *call, enum grpc_status status, struct str message)
{
    (void)call;
    (void)status;
    (void)message;
    struct ca_ticket *ticket = owner;
    ticket->call = NULL;
    if (ticket->state == TICKET_WAIT_MESSAGE) {
        ticket_free(ticket);
    }
}

static const struct grpc_events call_events = {.on_message = on_message, .on_half_close = on_half_close, .on_close = on_close};

static void on_call(void *owner, struct grpc_call *call)
{
    struct ca_service *service = owner;
    if (service->is_closing || service->ticket_count >= CA_TICKETS_MAX) {
        grpc_set_events(call, &answered_events, NULL);
        grpc_finish(call, GRPC_RESOURCE_EXHAUSTED, STR("too many certificate requests under way"));
        return;
    }
    struct ca_ticket *ticket = mem_new(struct ca_ticket);
    list_init(&ticket->node);
    ticket->service = service;
    ticket->call = call;
    service->references++;
    service->ticket_count++;
    grpc_set_events(call, &call_events, ticket);
}

// --- life ------------------------------------------------------------------------------------------

static void publish_expiry(struct ca_service *service)
{
    if (service->root_expiry != NULL) {
        metric_set(service->root_expiry, ca_root_not_after(service->ca));
    }
}

struct ca_service *ca_service_new(struct loop *loop, struct ca *ca, struct metrics *metrics,
                                  ca_authenticate_fn *authenticate, void *owner)
{
    struct ca_service *service = mem_new(struct ca_service);
    *service = (struct ca_service){.references = 1, .loop = loop, .ca = ca_ref(ca), .authenticate = authenticate, .owner = owner};
    if (metrics != NULL) {
        service->csr_count = metrics_counter(metrics, "citadel_server_csr_count", "Certificate requests received.", NULL);
        service->authentication_failures = metrics_counter(metrics, "citadel_server_authentication_failure_count",
                                                           "Certificate requests whose caller was not authenticated.", NULL);
        service->issued = metrics_counter(metrics, "citadel_server_success_cert_issuance_count", "Certificates issued.", NULL);
        service->root_expiry = metrics_gauge(metrics, "citadel_server_root_cert_expiry_timestamp",
                                             "When the root certificate expires, in seconds since the epoch.", NULL);
    }
    publish_expiry(service);
    list_init(&service->queue);
    ASSERT(pthread_mutex_init(&service->mutex, NULL) == 0);
    ASSERT(pthread_cond_init(&service->changed, NULL) == 0);
    ASSERT(pthread_create(&service->helper, NULL, helper_run, service) == 0);
    return service;
}

void ca_service_add_to(struct ca_service *service, struct grpc_service *grpc)
{
    grpc_service_add(grpc, PATH_CREATE_CERTIFICATE, on_call, service);
}

void ca_service_set_ca(struct ca_service *service, struct ca *ca)
{
    struct ca *old = service->ca;
    service->ca = ca_ref(ca);
    ca_unref(old);
    publish_expiry(service);
}

void ca_service_free(struct ca_service *service)
{
    if (service == NULL) {
        return;
    }
    service->is_closing = true;
    (void)pthread_mutex_lock(&service->mutex);
    service->helper_stop = true;
    (void)pthread_cond_signal(&service->changed);
    (void)pthread_mutex_unlock(&service->mutex);
    (void)pthread_join(service->helper, NULL);
    service_unref(service); // tickets posted back hold theirs until the loop runs them
}
