// SPDX-License-Identifier: Apache-2.0
#include "lab/loadbalancer/announcement.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "kube/object.h"

#define SERVICE_LABEL "kubernetes.io/service-name"
#define LEADER_TEXT_MAX 320 // node names have at most 253 characters

static struct str name_of(const struct json_value *object)
{
    return json_str(json_path(object, "metadata", "name", NULL));
}

static bool list_has(const struct json_value *list, struct str text)
{
    for (size_t i = 0; i < json_count(list); i++) {
        if (str_equal(json_str(json_at(list, i)), text)) {
            return true;
        }
    }
    return false;
}

static bool any_selector_matches(const struct json_value *selectors, const struct json_value *object)
{
    const struct json_value *labels = json_path(object, "metadata", "labels", NULL);
    for (size_t i = 0; i < json_count(selectors); i++) {
        if (kube_selector_matches(json_at(selectors, i), labels)) {
            return true;
        }
    }
    return false;
}

// --- advertisements --------------------------------------------------------------------------------

static bool advertises(const struct json_value *advertisement, const struct pool *pool, const struct json_value *node)
{
    const struct json_value *spec = json_get(advertisement, "spec");
    const struct json_value *names = json_get(spec, "ipAddressPools");
    const struct json_value *selectors = json_get(spec, "ipAddressPoolSelectors");
    const struct json_value *node_selectors = json_get(spec, "nodeSelectors");
    bool is_for_all = json_count(names) + json_count(selectors) == 0;
    if (!is_for_all && !list_has(names, pool->name) && !any_selector_matches(selectors, pool->object)) {
        return false;
    }
    return json_count(node_selectors) == 0 || any_selector_matches(node_selectors, node);
}

static bool is_advertised(const struct announcement_input *input, const struct pool *pool, const struct json_value *node)
{
    for (size_t i = 0; i < input->advertisement_count; i++) {
        if (advertises(input->advertisements[i], pool, node)) {
            return true;
        }
    }
    return false;
}

static const struct json_value *find_node(const struct announcement_input *input, struct str name)
{
    for (size_t i = 0; i < input->node_count; i++) {
        if (str_equal(name_of(input->nodes[i]), name)) {
            return input->nodes[i];
        }
    }
    return NULL;
}

bool announcement_allows_interface(const struct announcement_input *input, const struct pool *pool, struct str node,
                                   struct str interface)
{
    const struct json_value *object = find_node(input, node);
    for (size_t i = 0; object != NULL && i < input->advertisement_count; i++) {
        const struct json_value *interfaces = json_path(input->advertisements[i], "spec", "interfaces", NULL);
        if (advertises(input->advertisements[i], pool, object) &&
            (json_count(interfaces) == 0 || list_has(interfaces, interface))) {
            return true;
        }
    }
    return false;
}

// --- nodes -----------------------------------------------------------------------------------------

static bool condition_is(const struct json_value *node, const char *type, const char *status)
{
    const struct json_value *conditions = json_path(node, "status", "conditions", NULL);
    for (size_t i = 0; i < json_count(conditions); i++) {
        if (str_equal_c(json_get_str(json_at(conditions, i), "type"), type)) {
            return str_equal_c(json_get_str(json_at(conditions, i), "status"), status);
        }
    }
    return false;
}

static bool can_serve(const struct json_value *endpoint)
{
    const struct json_value *conditions = json_get(endpoint, "conditions");
    return json_get_bool(conditions, "ready", true) || json_get_bool(conditions, "serving", false);
}

// Is there an endpoint that serves, on the node (NULL: on any)?
static bool has_endpoint(const struct announcement_input *input, const struct json_value *service,
                         const struct json_value *node)
{
    struct str ns = json_str(json_path(service, "metadata", "namespace", NULL));
    for (size_t i = 0; i < input->slice_count; i++) {
        const struct json_value *slice = input->slices[i];
        const struct json_value *endpoints = json_get(slice, "endpoints");
        if (!str_equal(kube_label(slice, STR(SERVICE_LABEL)), name_of(service)) ||
            !str_equal(json_str(json_path(slice, "metadata", "namespace", NULL)), ns)) {
            continue;
        }
        for (size_t k = 0; k < json_count(endpoints); k++) {
            const struct json_value *endpoint = json_at(endpoints, k);
            if (can_serve(endpoint) && (node == NULL || str_equal(json_get_str(endpoint, "nodeName"), name_of(node)))) {
                return true;
            }
        }
    }
    return false;
}

static void hash(struct str node, struct str address, unsigned char digest[static SHA256_DIGEST_LENGTH])
{
    char text[LEADER_TEXT_MAX];
    int size = snprintf(text, sizeof(text), "%.*s#%.*s", STR_ARG(node), STR_ARG(address));
    size_t length = size < 0 ? 0 : (size_t)size < sizeof(text) ? (size_t)size : sizeof(text) - 1;
    (void)EVP_Digest(text, length, digest, NULL, EVP_sha256(), NULL);
}

struct str announcement_leader(const struct announcement_input *input, const struct json_value *service,
                               const struct pool *pool, struct str address)
{
    bool is_local = str_equal(json_str(json_path(service, "spec", "externalTrafficPolicy", NULL)), STR("Local"));
    unsigned char best_digest[SHA256_DIGEST_LENGTH] = {0};
    struct str best = STR_EMPTY;
    if (!has_endpoint(input, service, NULL)) {
        return best;
    }
    for (size_t i = 0; i < input->node_count; i++) {
        const struct json_value *node = input->nodes[i];
        unsigned char digest[SHA256_DIGEST_LENGTH] = {0};
        if (!condition_is(node, "Ready", "True") || condition_is(node, "NetworkUnavailable", "True") ||
            !is_advertised(input, pool, node) || (is_local && !has_endpoint(input, service, node))) {
            continue;
        }
        hash(name_of(node), address, digest);
        if (str_is_empty(best) || memcmp(digest, best_digest, sizeof(digest)) < 0) {
            memcpy(best_digest, digest, sizeof(digest));
            best = name_of(node);
        }
    }
    return best;
}
