// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/memory.h"
#include "proxy/cluster/transport_socket.h"

struct secret {
    struct buf chain; // or roots
    struct buf key;
};

struct secrets {
    atomic_uint references;
    uint64_t version;
    struct map certificates; // name → struct secret
    struct map roots;
    pthread_mutex_t lock; // guards contexts, the only part that changes after publication
    struct map contexts;  // transport socket key → struct tls_context
};

static void secret_free(struct secret *secret)
{
    if (secret == NULL) {
        return;
    }
    if (secret->key.data != NULL) {
        mem_wipe(secret->key.data, secret->key.capacity);
    }
    buf_done(&secret->key);
    buf_done(&secret->chain);
    mem_free(secret);
}

static void set_secret(struct map *secrets, struct str name, struct str chain, struct str key)
{
    struct secret *secret = mem_new(struct secret);
    buf_append_str(&secret->chain, chain);
    buf_append_str(&secret->key, key);
    secret_free(map_set(secrets, name, secret));
}

static void copy_secrets(struct map *to, const struct map *from)
{
    struct str name;
    void *value;
    for (size_t at = 0; map_each(from, &at, &name, &value);) {
        const struct secret *secret = value;
        set_secret(to, name, buf_view(&secret->chain), buf_view(&secret->key));
    }
}

struct secrets *secrets_new(const struct secrets *previous)
{
    struct secrets *secrets = mem_new(struct secrets);
    atomic_init(&secrets->references, 1);
    (void)pthread_mutex_init(&secrets->lock, NULL);
    secrets->version = 1;
    if (previous != NULL) {
        secrets->version = previous->version + 1;
        copy_secrets(&secrets->certificates, &previous->certificates);
        copy_secrets(&secrets->roots, &previous->roots);
    }
    return secrets;
}

struct secrets *secrets_ref(struct secrets *secrets)
{
    atomic_fetch_add_explicit(&secrets->references, 1, memory_order_relaxed);
    return secrets;
}

static void free_secrets(struct map *secrets)
{
    void *value;
    for (size_t at = 0; map_each(secrets, &at, NULL, &value);) {
        secret_free(value);
    }
    map_done(secrets);
}

void secrets_unref(struct secrets *secrets)
{
    if (secrets == NULL || atomic_fetch_sub_explicit(&secrets->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    free_secrets(&secrets->certificates);
    free_secrets(&secrets->roots);
    void *value;
    for (size_t at = 0; map_each(&secrets->contexts, &at, NULL, &value);) {
        tls_context_unref(value);
    }
    map_done(&secrets->contexts);
    (void)pthread_mutex_destroy(&secrets->lock);
    mem_free(secrets);
}

void secrets_set_certificate(struct secrets *secrets, struct str name, struct str chain_pem, struct str key_pem)
{
    set_secret(&secrets->certificates, name, chain_pem, key_pem);
}

void secrets_set_roots(struct secrets *secrets, struct str name, struct str roots_pem)
{
    set_secret(&secrets->roots, name, roots_pem, STR_EMPTY);
}

static struct str find_chain(const struct map *secrets, struct str name)
{
    const struct secret *secret = map_get(secrets, name);
    return secret == NULL ? STR_EMPTY : buf_view(&secret->chain);
}

struct str secrets_certificate(const struct secrets *secrets, struct str name)
{
    return find_chain(&secrets->certificates, name);
}

struct str secrets_roots(const struct secrets *secrets, struct str name)
{
    return find_chain(&secrets->roots, name);
}

uint64_t secrets_version(const struct secrets *secrets)
{
    return secrets->version;
}

bool secrets_has_all(const struct secrets *secrets, const struct transport_socket *socket)
{
    if (!socket->is_tls) {
        return true;
    }
    return (socket->certificate_name.size == 0 || map_has(&secrets->certificates, socket->certificate_name)) &&
           (socket->roots_name.size == 0 || map_has(&secrets->roots, socket->roots_name));
}

static struct tls_context *make_context(const struct secrets *secrets, const struct transport_socket *socket, struct error *err)
{
    struct tls_options options = {
        .role = socket->role,
        .certificate_pem = socket->certificate_pem,
        .key_pem = socket->key_pem,
        .roots_pem = socket->roots_pem,
        .peer = socket->peer,
        .san_matchers = socket->sans,
        .san_matcher_count = socket->san_count,
        .alpn = socket->alpn,
        .alpn_count = socket->alpn_count,
        .version_min = socket->version_min,
        .version_max = socket->version_max,
    };
    if (!secrets_has_all(secrets, socket)) {
        (void)error_set(err, ERR_NOT_FOUND, "secret is not supplied by SDS");
        return NULL;
    }
    if (socket->certificate_name.size > 0) {
        const struct secret *secret = map_get(&secrets->certificates, socket->certificate_name);
        options.certificate_pem = buf_view(&secret->chain);
        options.key_pem = buf_view(&secret->key);
    }
    if (socket->roots_name.size > 0) {
        options.roots_pem = find_chain(&secrets->roots, socket->roots_name);
    }
    return tls_context_new(&options, err);
}

struct tls_context *secrets_context(struct secrets *secrets, const struct transport_socket *socket, struct error *err)
{
    (void)pthread_mutex_lock(&secrets->lock);
    struct tls_context *context = map_get(&secrets->contexts, socket->key);
    if (context == NULL) {
        context = make_context(secrets, socket, err);
        if (context != NULL) {
            (void)map_set(&secrets->contexts, socket->key, context);
        }
    }
    if (context != NULL) {
        (void)tls_context_ref(context);
    }
    (void)pthread_mutex_unlock(&secrets->lock);
    return context;
}
