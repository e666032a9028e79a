// SPDX-License-Identifier: Apache-2.0
#include "lab/node/pod_tokens.h"

#include <stdio.h>

#include "base/memory.h"
#include "base/vec.h"
#include "lab/node/node_internal.h"

#define EXPIRATION_DEFAULT_S 3600
#define REFRESH_MAX_MS (24ull * 3600 * 1000)
#define RETRY_MS 1000u

struct token {
    struct pod_tokens *tokens;
    struct str volume;
    size_t source;
    struct str audience;
    int64_t expiration_s;
    char *text; // NULL: none yet
    struct kube_call *call;
    struct loop_timer timer; // next request
};

struct pod_tokens {
    struct node *node;
    const struct json_value *pod;
    void (*on_change)(void *owner);
    void *owner;
    VEC(struct token *) list;
    char error[ERROR_MESSAGE_SIZE];
};

static void on_answer(void *owner, enum err code, const struct kube_response *response)
{
    struct token *token = owner;
    struct str text = json_str(json_path(response->value, "status", "token", NULL));
    token->call = NULL;
    if (code == ERR_OK && text.size > 0) {
        uint64_t refresh = (uint64_t)token->expiration_s * 800;
        mem_free(token->text);
        token->text = mem_zalloc(text.size + 1);
        memcpy(token->text, text.data, text.size);
        loop_timer_start(&token->timer, refresh < REFRESH_MAX_MS ? refresh : REFRESH_MAX_MS);
    } else {
        (void)snprintf(token->tokens->error, sizeof(token->tokens->error), "service account token: %.*s", STR_ARG(response->message));
        loop_timer_start(&token->timer, RETRY_MS);
    }
    token->tokens->on_change(token->tokens->owner);
}

static struct json_value *build_request(struct arena *arena, const struct token *token)
{
    const struct json_value *metadata = json_get(token->tokens->pod, "metadata");
    struct json_value *request = json_new_object(arena);
    json_set_cstr(arena, request, "apiVersion", "authentication.k8s.io/v1");
    json_set_cstr(arena, request, "kind", "TokenRequest");
    struct json_value *spec = json_ensure_object(arena, request, "spec");
    struct json_value *audiences = json_ensure_array(arena, spec, "audiences");
    if (token->audience.size > 0) {
        json_push(arena, audiences, json_new_str(arena, token->audience));
    }
    json_set_int(arena, spec, "expirationSeconds", token->expiration_s);
    struct json_value *bound = json_ensure_object(arena, spec, "boundObjectRef");
    json_set_cstr(arena, bound, "apiVersion", "v1");
    json_set_cstr(arena, bound, "kind", "Pod");
    json_set_str(arena, bound, "name", json_get_str(metadata, "name"));
    json_set_str(arena, bound, "uid", json_get_str(metadata, "uid"));
    return request;
}

static void on_timer(struct loop_timer *timer)
{
    struct token *token = container_of(timer, struct token, timer);
    const struct json_value *pod = token->tokens->pod;
    struct str account = json_str(json_path(pod, "spec", "serviceAccountName", NULL));
    struct arena arena = {0};
    account = account.size == 0 ? STR("default") : account;
    struct str path = kube_path(&arena, &kube_serviceaccounts, json_str(json_path(pod, "metadata", "namespace", NULL)), account);
    struct kube_request request = {.method = STR("POST"), .path = arena_format(&arena, "%.*s/token", STR_ARG(path)),
                                   .body = json_to_str(&arena, build_request(&arena, token))};
    token->call = kube_request(token->tokens->node->client, &request, on_answer, token);
    arena_done(&arena);
}

static void add_token(struct pod_tokens *tokens, struct str volume, size_t index, const struct json_value *source)
{
    struct token *token = mem_new(struct token);
    int64_t expiration = json_get_int(source, "expirationSeconds", EXPIRATION_DEFAULT_S);
    *token = (struct token){.tokens = tokens, .volume = volume, .source = index, .audience = json_get_str(source, "audience"),
                            .expiration_s = expiration > 0 ? expiration : EXPIRATION_DEFAULT_S};
    loop_timer_init(&token->timer, tokens->node->loop, on_timer);
    vec_push(&tokens->list, token);
}

struct pod_tokens *pod_tokens_new(struct node *node, const struct json_value *pod, void (*on_change)(void *owner), void *owner)
{
    struct pod_tokens *tokens = mem_new(struct pod_tokens);
    *tokens = (struct pod_tokens){.node = node, .pod = pod, .on_change = on_change, .owner = owner};
    const struct json_value *volumes = json_path(pod, "spec", "volumes", NULL);
    for (size_t i = 0; i < json_count(volumes); i++) {
        const struct json_value *sources = json_path(json_at(volumes, i), "projected", "sources", NULL);
        for (size_t k = 0; k < json_count(sources); k++) {
            const struct json_value *source = json_get(json_at(sources, k), "serviceAccountToken");
            if (source != NULL) {
                add_token(tokens, json_get_str(json_at(volumes, i), "name"), k, source);
            }
        }
    }
    return tokens;
}

void pod_tokens_free(struct pod_tokens *tokens)
{
    if (tokens == NULL) {
        return;
    }
    for (size_t i = 0; i < tokens->list.count; i++) {
        struct token *token = tokens->list.items[i];
        loop_timer_stop(&token->timer);
        if (token->call != NULL) {
            kube_call_cancel(token->call);
        }
        if (token->text != NULL) {
            mem_wipe(token->text, strlen(token->text));
        }
        mem_free(token->text);
        mem_free(token);
    }
    vec_done(&tokens->list);
    mem_free(tokens);
}

void pod_tokens_start(struct pod_tokens *tokens)
{
    for (size_t i = 0; i < tokens->list.count; i++) {
        loop_timer_start(&tokens->list.items[i]->timer, 0);
    }
}

struct str pod_tokens_get(const struct pod_tokens *tokens, struct str volume, size_t source)
{
    for (size_t i = 0; i < tokens->list.count; i++) {
        const struct token *token = tokens->list.items[i];
        if (token->source == source && str_equal(token->volume, volume)) {
            return token->text == NULL ? (struct str){0} : str_of(token->text);
        }
    }
    return (struct str){0};
}

const char *pod_tokens_error(const struct pod_tokens *tokens)
{
    return tokens->error;
}
