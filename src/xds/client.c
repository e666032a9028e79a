// SPDX-License-Identifier: Apache-2.0
#include "xds/client.h"

#include "base/assert.h"
#include "base/memory.h"
#include "codec/pb/pb.h"

#define VERSION_SIZE_MAX 1024u // versions and nonces are the server's text; longer ones are cut

struct subscription {
    bool is_active;
    struct xds_names names;
    char *version;  // accepted last; NULL: none
    char *received; // version of the response received last
    char *nonce;    // of the response received last on this stream; NULL: none
};

struct xds_client {
    struct arena arena; // holds the node
    Envoy__Config__Core__V3__Node *node;
    bool node_sent;
    struct subscription types[XDS_TYPE_COUNT];
};

struct xds_client *xds_client_new(const Envoy__Config__Core__V3__Node *node)
{
    struct xds_client *client = mem_new(struct xds_client);
    struct str bytes = pb_pack_str(&client->arena, node);
    client->node = pb_unpack(&client->arena, &envoy__config__core__v3__node__descriptor, bytes, NULL);
    ASSERT(client->node != NULL);
    return client;
}

static void set_text(char **slot, const char *text)
{
    mem_free(*slot);
    *slot = NULL;
    if (text != NULL && text[0] != '\0') {
        size_t size = strnlen(text, VERSION_SIZE_MAX);
        *slot = mem_alloc(size + 1);
        memcpy(*slot, text, size);
        (*slot)[size] = '\0';
    }
}

void xds_client_free(struct xds_client *client)
{
    if (client == NULL) {
        return;
    }
    for (enum xds_type type = 0; type < XDS_TYPE_COUNT; type++) {
        struct subscription *subscription = &client->types[type];
        xds_names_done(&subscription->names);
        set_text(&subscription->version, NULL);
        set_text(&subscription->received, NULL);
        set_text(&subscription->nonce, NULL);
    }
    arena_done(&client->arena);
    mem_free(client);
}

void xds_client_open(struct xds_client *client)
{
    client->node_sent = false;
    for (enum xds_type type = 0; type < XDS_TYPE_COUNT; type++) {
        set_text(&client->types[type].nonce, NULL);
    }
}

bool xds_client_subscribe(struct xds_client *client, enum xds_type type, const struct str *names, size_t count)
{
    struct subscription *subscription = &client->types[type];
    bool is_wildcard = xds_type_is_wildcard(type);
    struct xds_names_change change = {0};
    // Our own names come from accepted configuration; one over the limits is left out of the request.
    enum err code = xds_names_replace(&subscription->names, names, is_wildcard ? 0 : count, &change, NULL);
    bool was_active = subscription->is_active;
    subscription->is_active = is_wildcard || subscription->names.count > 0;
    return code == ERR_OK && (was_active != subscription->is_active || change.added_count > 0 || change.removed_count > 0);
}

bool xds_client_is_subscribed(const struct xds_client *client, enum xds_type type)
{
    return client->types[type].is_active;
}

bool xds_client_wants(const struct xds_client *client, enum xds_type type, struct str name)
{
    const struct subscription *subscription = &client->types[type];
    return subscription->is_active && (xds_type_is_wildcard(type) || xds_names_has(&subscription->names, name));
}

static struct str encode(struct xds_client *client, struct arena *arena, enum xds_type type, Google__Rpc__Status *detail)
{
    const struct subscription *subscription = &client->types[type];
    Envoy__Service__Discovery__V3__DiscoveryRequest *request =
        pb_new(arena, &envoy__service__discovery__v3__discovery_request__descriptor);
    request->type_url = pb_text(arena, str_of(xds_type_url(type)));
    if (subscription->version != NULL) {
        request->version_info = subscription->version;
    }
    if (subscription->nonce != NULL) {
        request->response_nonce = subscription->nonce;
    }
    for (size_t i = 0; i < subscription->names.count; i++) {
        PB_PUSH(arena, request, resource_names, pb_text(arena, subscription->names.items[i]));
    }
    request->error_detail = detail;
    request->node = client->node_sent ? NULL : client->node;
    client->node_sent = true;
    return pb_pack_str(arena, request);
}

struct str xds_client_request(struct xds_client *client, struct arena *arena, enum xds_type type)
{
    return encode(client, arena, type, NULL);
}

enum xds_type xds_client_receive(struct xds_client *client, const Envoy__Service__Discovery__V3__DiscoveryResponse *response)
{
    enum xds_type type = xds_type_find(str_of(response->type_url));
    if (type == XDS_TYPE_NONE || !client->types[type].is_active) {
        return XDS_TYPE_NONE;
    }
    set_text(&client->types[type].nonce, response->nonce);
    set_text(&client->types[type].received, response->version_info);
    return type;
}

struct str xds_client_ack(struct xds_client *client, struct arena *arena, enum xds_type type)
{
    set_text(&client->types[type].version, client->types[type].received);
    return encode(client, arena, type, NULL);
}

// Cuts at a character's start, so that the text stays UTF-8.
static struct str cut_text(struct str text, size_t size_max)
{
    if (text.size <= size_max) {
        return text;
    }
    size_t size = size_max;
    while (size > 0 && ((unsigned char)text.data[size] & 0xc0) == 0x80) {
        size--;
    }
    return str_sub(text, 0, size);
}

struct str xds_client_nack(struct xds_client *client, struct arena *arena, enum xds_type type, struct str reason)
{
    Google__Rpc__Status *detail = pb_new(arena, &google__rpc__status__descriptor);
    detail->code = 13; // INTERNAL, as Envoy says
    detail->message = pb_text(arena, cut_text(reason, XDS_NACK_MESSAGE_MAX));
    return encode(client, arena, type, detail);
}

struct str xds_client_version(const struct xds_client *client, enum xds_type type)
{
    return str_of(client->types[type].version);
}
