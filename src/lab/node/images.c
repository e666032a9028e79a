// SPDX-License-Identifier: Apache-2.0
#include "lab/node/images.h"

#include "base/memory.h"

#define PROXY_USER 1337u
#define CURL_USER 100u
#define CURL_GROUP 101u

// clang-format off
static const struct image table[] = {
    // pattern                       program                               argument    environment           user and group
    {"istio/pilot*",                 IMAGE_PROGRAMS "/isthmeshd",          NULL,       NULL,                 PROXY_USER, PROXY_USER},
    {"isthmesh/isthmeshd",           IMAGE_PROGRAMS "/isthmeshd",          NULL,       NULL,                 PROXY_USER, PROXY_USER},
    {"istio/proxyv2*",               IMAGE_PROGRAMS "/isthmesh-proxy",     NULL,       NULL,                 PROXY_USER, PROXY_USER},
    {"isthmesh/proxy",               IMAGE_PROGRAMS "/isthmesh-proxy",     NULL,       NULL,                 PROXY_USER, PROXY_USER},
    {"istio/examples-helloworld-v1", IMAGE_PROGRAMS "/samples/helloworld", NULL,       "SERVICE_VERSION=v1", 0, 0},
    {"istio/examples-helloworld-v2", IMAGE_PROGRAMS "/samples/helloworld", NULL,       "SERVICE_VERSION=v2", 0, 0},
    {"isthmesh/helloworld-v1",       IMAGE_PROGRAMS "/samples/helloworld", NULL,       "SERVICE_VERSION=v1", 0, 0},
    {"isthmesh/helloworld-v2",       IMAGE_PROGRAMS "/samples/helloworld", NULL,       "SERVICE_VERSION=v2", 0, 0},
    {"curlimages/curl",              "curl",                               NULL,       NULL,                 CURL_USER, CURL_GROUP},
    {"isthmesh/curl",                "curl",                               NULL,       NULL,                 CURL_USER, CURL_GROUP},
    {"quay.io/metallb/controller",   IMAGE_PROGRAMS "/samples/metallb",    NULL,       NULL,                 0, 0},
    {"quay.io/metallb/speaker",      IMAGE_PROGRAMS "/samples/metallb",    NULL,       NULL,                 0, 0},
    {"busybox",                      "sh",                                 NULL,       NULL,                 0, 0},
    {"registry.k8s.io/pause",        "sleep",                              "infinity", NULL,                 0, 0},
};
// clang-format on

// Without registry docker.io, tag and digest: "docker.io/library/busybox:1.36" is "busybox".
static struct str repository(struct str reference)
{
    struct str name = str_split(&reference, '@');
    ptrdiff_t slash = str_find_last_char(name, '/');
    ptrdiff_t colon = str_find_last_char(name, ':');
    if (colon > slash) {
        name = str_sub(name, 0, (size_t)colon);
    }
    if (str_starts_with(name, STR("docker.io/"))) {
        name = str_from(name, sizeof("docker.io/") - 1);
    }
    if (str_starts_with(name, STR("library/"))) {
        name = str_from(name, sizeof("library/") - 1);
    }
    return name;
}

static bool matches(struct str pattern, struct str name)
{
    if (str_ends_with(pattern, STR("*"))) {
        return str_starts_with(name, str_sub(pattern, 0, pattern.size - 1));
    }
    return str_equal(pattern, name);
}

const struct image *image_find(struct str reference, struct error *err)
{
    struct str name = repository(reference);
    for (size_t i = 0; i < array_count(table); i++) {
        if (matches(str_of(table[i].pattern), name)) {
            return &table[i];
        }
    }
    (void)error_set(err, ERR_NOT_FOUND,
                    "the lab has no image \"%.*s\" and no registry to pull it from; it has the images of Istio %s",
                    STR_ARG(reference), "(pilot, proxyv2), MetalLB, the helloworld samples, curlimages/curl, busybox and pause");
    return NULL;
}
