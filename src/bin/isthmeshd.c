// SPDX-License-Identifier: Apache-2.0
//
// isthmeshd: the control plane of one cluster. This file makes the parts and connects them:
//
//   registry ──snapshot──► ads ──► proxies          :15010 plaintext, :15012 TLS
//      └─TokenReview──► authenticator ──► ads, certificate service
//   ca ──► certificate service, own serving certificate, root ConfigMaps, webhook's caBundle
//   webhook                                          :15017
//   pages                                            :15014 metrics and debug, :8080 readiness
#include <signal.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "bin/isthmeshd_options.h"
#include "base/version.h"
#include "control/ca/ca.h"
#include "control/ca/ca_service.h"
#include "control/gen/gen.h"
#include "control/inject/ca_bundle.h"
#include "control/inject/webhook.h"
#include "control/registry/registry.h"
#include "control/registry/root_publisher.h"
#include "control/registry/token_review.h"
#include "control/serve/ads.h"
#include "control/serve/pages.h"
#include "net/grpc.h"

#define DRAIN_MS 3000u
#define WEBHOOK_CONFIGURATION "istio-sidecar-injector"

static struct log_scope scope = LOG_SCOPE("main");

struct port { // one gRPC port
    struct grpc_service *grpc;
    struct http_server *server;
};

struct isthmeshd {
    const struct isthmeshd_options *options;
    struct loop *loop;
    struct metrics *metrics;
    struct arena arena;
    struct kube_config kube;
    struct kube_client *client; // for what is not read through the registry
    struct ca *ca;
    struct tls_context *xds_tls;
    struct tls_context *webhook_tls;
    struct registry *registry;
    struct token_reviewer reviewer;
    struct authenticator authenticator;
    struct ads *ads;
    struct ca_service *ca_service;
    struct port plaintext;
    struct port secure;
    struct webhook *webhook;
    struct ca_bundle *ca_bundle;
    struct root_publisher *root_publisher;
    struct pages *monitoring;
    struct pages *readiness;
    unsigned draining;
};

// --- configuration that comes with snapshots ---------------------------------------------------------------

static struct str first_of(struct str a, const char *b)
{
    return str_is_empty(a) ? str_of(b) : a;
}

static void set_injection(struct isthmeshd *self, const struct mesh_config *config)
{
    struct inject_options options = {
        .image = str_of(self->options->image),
        .cluster = str_of(self->options->cluster),
        .network = str_of(self->options->network),
        .mesh_id = first_of(config->mesh_id, self->options->mesh_id),
        .trust_domain = config->trust_domain,
        .domain = config->domain,
        .revision = STR("default"),
        .discovery_address = config->discovery_address,
    };
    if (self->webhook == NULL) {
        self->webhook = webhook_new(self->loop, &options, self->metrics);
    } else {
        webhook_set_options(self->webhook, &options);
    }
}

static void on_snapshot(void *owner, struct snapshot *snapshot)
{
    struct isthmeshd *self = owner;
    if (!str_equal(self->reviewer.trust_domain, snapshot->config.trust_domain)) {
        self->reviewer.trust_domain = arena_str(&self->arena, snapshot->config.trust_domain);
        self->authenticator.trust_domain = self->reviewer.trust_domain;
    }
    set_injection(self, &snapshot->config);
    ads_set_snapshot(self->ads, snapshot);
}

static void on_registry_ready(void *owner)
{
    struct isthmeshd *self = owner;
    ads_set_ready(self->ads);
}

// --- certificates ------------------------------------------------------------------------------------------

static enum err load_ca(struct isthmeshd *self, struct error *err)
{
    int64_t now = (int64_t)(loop_wall_ms(self->loop) / 1000);
    self->ca = ca_load_directory(self->options->ca_directory, now, err);
    if (self->ca != NULL) {
        log_info(&scope, "certificate authority loaded",
                 LOG_CSTR("directory", self->options->ca_directory));
        return ERR_OK;
    }
    if (err->code != ERR_NOT_FOUND) {
        return err->code;
    }
    *err = (struct error){0};
    self->ca = ca_self_signed(STR("cluster.local"), now, err);
    if (self->ca == NULL) {
        return err->code;
    }
    log_warning(&scope, "no certificate authority given: self-signed and lost at restart; other clusters "
                        "will not trust it, use Secret cacerts to join clusters",
                LOG_CSTR("directory", self->options->ca_directory));
    return ERR_OK;
}

static enum err make_tls(struct isthmeshd *self, struct error *err)
{
    static const char *const services[] = {"istiod", "istiod-remote", "istio-pilot"};
    static const struct str alpn[] = {{"h2", 2}, {"http/1.1", 8}};
    struct arena arena = {0};
    struct str names[2 * array_count(services)];
    size_t count = 0;
    for (size_t i = 0; i < array_count(services); i++) {
        names[count++] = arena_format(&arena, "%s.%s.svc", services[i], self->options->ns);
        names[count++] = arena_format(&arena, "%s.%s.svc.%s", services[i], self->options->ns,
                                      self->options->domain);
    }
    struct ca_serving serving;
    int64_t now = (int64_t)(loop_wall_ms(self->loop) / 1000);
    enum err code = ca_issue_serving(self->ca, &arena, names, count, now, &serving, err);
    if (code == ERR_OK) {
        struct tls_options options = {
            .role = TLS_SERVER,
            .certificate_pem = serving.certificate_pem,
            .key_pem = serving.key_pem,
            .alpn = alpn,
            .alpn_count = array_count(alpn),
        };
        self->webhook_tls = tls_context_new(&options, err);
        options.roots_pem = ca_root_pem(self->ca);
        options.peer = TLS_PEER_OPTIONAL; // a token does as well
        self->xds_tls = tls_context_new(&options, err);
        code = self->webhook_tls == NULL || self->xds_tls == NULL ? err->code : ERR_OK;
    }
    arena_done(&arena);
    return code;
}

static void on_ca_authenticated(void *owner, struct str identity, const struct error *err)
{
    struct ca_ticket *ticket = owner;
    if (err->code == ERR_OK) {
        ca_ticket_allow(ticket, &identity, 1);
    } else {
        ca_ticket_deny(ticket, err);
    }
}

static void authenticate_certificate_request(void *owner, struct grpc_call *call, struct ca_ticket *ticket)
{
    struct isthmeshd *self = owner;
    authenticate_start(&self->authenticator, call, on_ca_authenticated, ticket);
}

// --- ports -------------------------------------------------------------------------------------------------

static void on_grpc_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    struct port *port = owner;
    if (!grpc_service_handle(port->grpc, exchange, head, end)) {
        http_set_events(exchange, NULL, NULL);
        http_respond(exchange, 415, STR("text/plain"), STR("only gRPC is served here\n"));
    }
}

static void make_port(struct isthmeshd *self, struct port *port, const char *metric_prefix)
{
    struct http_server_options options = {
        .metrics = self->metrics, .metric_prefix = metric_prefix, .http2 = true};
    port->grpc = grpc_service_new();
    port->server = http_server_new(self->loop, &options, on_grpc_request, port);
}

static enum err listen_on(const char *text, int *ret_fd, struct error *err)
{
    struct address address;
    struct listen_options options = {0};
    enum err code = address_parse(str_of(text), &address, err);
    return code != ERR_OK ? code : address_listen(&address, &options, ret_fd, err);
}

static enum err open_ports(struct isthmeshd *self, struct error *err)
{
    const struct isthmeshd_options *options = self->options;
    int plaintext, secure, webhook, monitoring, readiness;
    enum err code;
    if ((code = listen_on(options->monitoring_address, &monitoring, err)) != ERR_OK) {
        return code;
    }
    pages_listen(self->monitoring, monitoring);
    if ((code = listen_on(options->ready_address, &readiness, err)) != ERR_OK) {
        return code;
    }
    pages_listen(self->readiness, readiness);
    if ((code = listen_on(options->webhook_address, &webhook, err)) != ERR_OK) {
        return code;
    }
    webhook_listen(self->webhook, webhook, self->webhook_tls);
    if ((code = listen_on(options->secure_address, &secure, err)) != ERR_OK) {
        return code;
    }
    http_server_listen(self->secure.server, secure, self->xds_tls);
    if ((code = listen_on(options->plaintext_address, &plaintext, err)) != ERR_OK) {
        return code;
    }
    http_server_listen(self->plaintext.server, plaintext, NULL);
    return ERR_OK;
}

// --- pages -------------------------------------------------------------------------------------------------

static int write_metrics(void *owner, struct buf *out)
{
    struct isthmeshd *self = owner;
    metrics_write(self->metrics, out);
    return 200;
}

static int write_syncz(void *owner, struct buf *out)
{
    struct isthmeshd *self = owner;
    ads_write_syncz(self->ads, out);
    return 200;
}

static int write_clusterz(void *owner, struct buf *out)
{
    struct isthmeshd *self = owner;
    registry_write_clusters(self->registry, out);
    return 200;
}

static int write_registryz(void *owner, struct buf *out)
{
    struct isthmeshd *self = owner;
    registry_write_services(self->registry, out);
    return 200;
}

static int write_version(void *owner, struct buf *out)
{
    (void)owner;
    buf_printf(out, "isthmeshd %s (%s)\n", version_number, version_commit);
    return 200;
}

static int write_ready(void *owner, struct buf *out)
{
    const struct isthmeshd *self = owner;
    bool is_ready = registry_is_ready(self->registry) && self->draining == 0;
    buf_append_str(out, is_ready ? STR("ready\n") : STR("clusters are still being read\n"));
    return is_ready ? 200 : 503;
}

static const struct page monitoring_pages[] = {
    {"/metrics", "text/plain; version=0.0.4", write_metrics},
    {"/debug/syncz", "application/json", write_syncz},
    {"/debug/clusterz", "application/json", write_clusterz},
    {"/debug/registryz", "application/json", write_registryz},
    {"/version", "text/plain", write_version},
    {"/ready", "text/plain", write_ready},
};

static const struct page readiness_pages[] = {
    {"/ready", "text/plain", write_ready},
};

// --- life --------------------------------------------------------------------------------------------------

static enum err load_kube(struct isthmeshd *self, struct error *err)
{
    const char *path = self->options->kubeconfig;
    return path == NULL ? kube_config_in_cluster(&self->arena, &self->kube, err)
                        : kube_config_load(&self->arena, path, STR_EMPTY, &self->kube, err);
}

static enum err start_registry(struct isthmeshd *self, struct error *err)
{
    static const struct registry_events events = {.on_snapshot = on_snapshot, .on_ready = on_registry_ready};
    struct registry_options options = {
        .config = &self->kube,
        .cluster = str_of(self->options->cluster),
        .system_namespace = str_of(self->options->ns),
        .domain = str_of(self->options->domain),
        .metrics = self->metrics,
    };
    self->registry = registry_new(self->loop, &options, &events, self, err);
    self->client = self->registry == NULL ? NULL : registry_client(self->registry, STR_EMPTY);
    return self->registry == NULL ? err->code : ERR_OK;
}

static void make_services(struct isthmeshd *self)
{
    struct mesh_config defaults;
    struct arena arena = {0};
    self->reviewer = (struct token_reviewer){.trust_domain = STR("cluster.local")};
    self->authenticator = (struct authenticator){
        .review = token_review, .reviewer = &self->reviewer, .trust_domain = STR("cluster.local")};
    struct ads_options ads = {
        .generator = &gen_generator,
        .authenticator = &self->authenticator,
        .pod = str_of(self->options->pod),
        .metrics = self->metrics,
    };
    self->ads = ads_new(self->loop, &ads);
    self->ca_service = ca_service_new(self->loop, self->ca, self->metrics,
                                      authenticate_certificate_request, self);
    make_port(self, &self->plaintext, "isthmesh_xds_plaintext");
    make_port(self, &self->secure, "isthmesh_xds");
    ads_add_to(self->ads, self->plaintext.grpc, true);
    ads_add_to(self->ads, self->secure.grpc, false);
    ca_service_add_to(self->ca_service, self->secure.grpc);
    enum err code = mesh_config_from_json(&arena, NULL, str_of(self->options->domain), &defaults, NULL);
    (void)code; // the defaults cannot fail
    set_injection(self, &defaults);
    arena_done(&arena);
    self->monitoring = pages_new(self->loop, monitoring_pages, array_count(monitoring_pages), self,
                                 self->metrics, "isthmesh_monitoring");
    self->readiness = pages_new(self->loop, readiness_pages, array_count(readiness_pages), self,
                                self->metrics, "isthmesh_readiness");
}

static enum err start(struct isthmeshd *self, struct error *err)
{
    enum err code = load_kube(self, err);
    if (code == ERR_OK) {
        code = load_ca(self, err);
    }
    if (code == ERR_OK) {
        code = make_tls(self, err);
    }
    if (code != ERR_OK) {
        return code;
    }
    make_services(self);
    code = start_registry(self, err);
    if (code != ERR_OK) {
        return code;
    }
    self->reviewer.registry = self->registry;
    self->root_publisher = root_publisher_new(self->loop, self->client, ca_root_pem(self->ca));
    self->ca_bundle = ca_bundle_new(self->loop, self->client, STR(WEBHOOK_CONFIGURATION),
                                    ca_root_pem(self->ca));
    return open_ports(self, err);
}

static void on_drained(void *owner)
{
    struct isthmeshd *self = owner;
    if (--self->draining == 0) {
        loop_stop(self->loop);
    }
}

static void on_stop_signal(void *owner, int signal_number)
{
    struct isthmeshd *self = owner;
    if (self->draining > 0) {
        loop_stop(self->loop); // asked twice
        return;
    }
    log_info(&scope, "stopping", LOG_U64("signal", signal_number),
             LOG_U64("proxies", ads_stream_count(self->ads)));
    self->draining = 2;
    ads_close_streams(self->ads);
    http_server_drain(self->secure.server, DRAIN_MS, on_drained, self);
    http_server_drain(self->plaintext.server, DRAIN_MS, on_drained, self);
}

static void free_port(struct port *port)
{
    http_server_free(port->server);
    grpc_service_free(port->grpc);
}

// Reverse order of start(); copes with a half-made one.
static void finish(struct isthmeshd *self)
{
    ca_bundle_free(self->ca_bundle);
    root_publisher_free(self->root_publisher);
    pages_free(self->readiness);
    pages_free(self->monitoring);
    webhook_free(self->webhook);
    ads_free(self->ads);
    if (self->secure.server != NULL) {
        free_port(&self->secure);
        free_port(&self->plaintext);
        registry_free(self->registry); // ends reviews under way: their tickets belong to the services
        ca_service_free(self->ca_service);
    }
    tls_context_unref(self->xds_tls);
    tls_context_unref(self->webhook_tls);
    ca_unref(self->ca);
    arena_done(&self->arena);
}

int main(int argc, char **argv)
{
    struct isthmeshd_options options;
    struct error err = {0};
    enum options_verdict verdict = isthmeshd_options_read(argc, argv, &options);
    if (verdict != OPTIONS_RUN) {
        return verdict == OPTIONS_EXIT_OK ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    log_set_json(options.log_json);
    if (!log_set_levels(str_of(options.log_levels), &err)) {
        log_error(&scope, "--log_output_level is malformed", LOG_ERR(&err));
        return EXIT_FAILURE;
    }
    struct isthmeshd self = {.options = &options, .loop = loop_new(), .metrics = metrics_new()};
    log_info(&scope, "isthmeshd starting", LOG_CSTR("version", version_number),
             LOG_CSTR("cluster", options.cluster), LOG_CSTR("network", options.network));
    loop_signal_watch(self.loop, SIGTERM, on_stop_signal, &self);
    loop_signal_watch(self.loop, SIGINT, on_stop_signal, &self);
    enum err code = start(&self, &err);
    if (code == ERR_OK) {
        loop_run(self.loop);
    } else {
        log_error(&scope, "cannot start", LOG_ERR(&err));
    }
    finish(&self);
    loop_turn(self.loop, 0); // what was closed just now is released at the turn's close point
    loop_free(self.loop);
    metrics_free(self.metrics);
    return code == ERR_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
