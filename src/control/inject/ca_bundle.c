// SPDX-License-Identifier: Apache-2.0
#include "control/inject/ca_bundle.h"

#include "base/base64.h"
#include "base/log.h"
#include "base/memory.h"
#include "kube/informer.h"

static struct log_scope scope = LOG_SCOPE("inject");

struct ca_bundle {
    struct kube_client *client;
    struct informer *informer;
    struct arena arena;
    struct str name;
    struct arena root_arena;
    struct str root_base64;
    struct kube_call *call; // patch under way, or NULL
    struct loop_timer retry;
};

struct json_value *ca_bundle_patch(struct arena *arena, const struct json_value *configuration,
                                   struct str bundle_base64)
{
    const struct json_value *webhooks = json_get(configuration, "webhooks");
    struct json_value *patch = NULL;
    for (size_t i = 0; i < json_count(webhooks); i++) {
        const struct json_value *client = json_get(json_at(webhooks, i), "clientConfig");
        if (client == NULL || str_equal(json_get_str(client, "caBundle"), bundle_base64)) {
            continue;
        }
        struct json_value *operation = json_new_object(arena);
        json_set_cstr(arena, operation, "op", "add"); // adds or replaces a member: RFC 6902 section 4.1
        json_set_str(arena, operation, "path",
                     arena_format(arena, "/webhooks/%zu/clientConfig/caBundle", i));
        json_set_str(arena, operation, "value", bundle_base64);
        patch = patch == NULL ? json_new_array(arena) : patch;
        json_push(arena, patch, operation);
    }
    return patch;
}

static void on_patched(void *owner, enum err code, const struct kube_response *response)
{
    struct ca_bundle *bundle = owner;
    bundle->call = NULL;
    if (code != ERR_OK) {
        log_warning(&scope, "webhook configuration not patched, trying again",
                    LOG_STR("name", bundle->name), LOG_STR("message", response->message));
        loop_timer_start(&bundle->retry, CA_BUNDLE_RETRY_MS);
        return;
    }
    log_info(&scope, "webhook configuration trusts our root now", LOG_STR("name", bundle->name));
}

static void reconcile(struct ca_bundle *bundle)
{
    const struct kube_object *object = informer_get(bundle->informer, STR_EMPTY, bundle->name);
    struct arena arena = {0};
    struct json_value *patch = object == NULL || bundle->call != NULL
        ? NULL : ca_bundle_patch(&arena, object->value, bundle->root_base64);
    if (patch != NULL) {
        bundle->call = kube_patch(bundle->client, &kube_mutating_webhooks, STR_EMPTY, bundle->name,
                                  STR_EMPTY, STR("application/json-patch+json"), patch, on_patched,
                                  bundle);
    }
    arena_done(&arena);
}

static void on_change(void *owner, struct informer *informer, struct kube_object *old,
                      struct kube_object *fresh)
{
    (void)informer;
    (void)old;
    if (fresh != NULL) {
        struct ca_bundle *bundle = owner;
        if (bundle->call == NULL) {
            reconcile(bundle);
        } else { // our own patch comes back, or somebody else's: look again when it is done
            loop_timer_start(&bundle->retry, CA_BUNDLE_RETRY_MS);
        }
    }
}

static void on_retry(struct loop_timer *timer)
{
    reconcile(container_of(timer, struct ca_bundle, retry));
}

static void on_synced(void *owner, struct informer *informer)
{
    (void)informer;
    reconcile(owner);
}

static const struct informer_events bundle_events = {.on_change = on_change, .on_synced = on_synced};

struct ca_bundle *ca_bundle_new(struct loop *loop, struct kube_client *client, struct str webhook_name,
                                struct str root_pem)
{
    struct ca_bundle *bundle = mem_new(struct ca_bundle);
    bundle->client = client;
    bundle->name = arena_str(&bundle->arena, webhook_name);
    bundle->root_base64 = base64_encode(&bundle->root_arena, root_pem);
    loop_timer_init(&bundle->retry, loop, on_retry);
    struct informer_options options = {
        .resource = &kube_mutating_webhooks,
        .field_selector = arena_format(&bundle->arena, "metadata.name=%.*s", STR_ARG(webhook_name)),
    };
    bundle->informer = informer_new(client, &options, &bundle_events, bundle);
    return bundle;
}

void ca_bundle_set_root(struct ca_bundle *bundle, struct str root_pem)
{
    arena_reset(&bundle->root_arena);
    bundle->root_base64 = base64_encode(&bundle->root_arena, root_pem);
    reconcile(bundle);
}

void ca_bundle_free(struct ca_bundle *bundle)
{
    if (bundle == NULL) {
        return;
    }
    loop_timer_stop(&bundle->retry);
    if (bundle->call != NULL) {
        kube_call_cancel(bundle->call);
    }
    informer_free(bundle->informer);
    arena_done(&bundle->root_arena);
    arena_done(&bundle->arena);
    mem_free(bundle);
}
