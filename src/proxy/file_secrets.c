// SPDX-License-Identifier: Apache-2.0
#include "proxy/file_secrets.h"

#include "base/file.h"
#include "base/log.h"

#define ROOT_PREFIX "file-root:"
#define CERTIFICATE_PREFIX "file-cert:"

static struct log_scope scope = LOG_SCOPE("secrets");

static const char *const system_roots[] = {
    "/etc/ssl/certs/ca-certificates.crt", // Debian
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora
    "/etc/ssl/cert.pem",                  // Alpine
};

// Empty: cannot be read.
static struct str read_pem(struct arena *arena, struct str path)
{
    struct error err = {0};
    struct str text;
    struct str copy = arena_str(arena, path);
    if (file_read(arena, copy.data, FILE_SECRET_SIZE_MAX, &text, &err) == ERR_OK) {
        return text;
    }
    log_warning(&scope, "a file named by a cluster cannot be read, the cluster waits", LOG_STR("path", copy), LOG_CSTR("error", err.message));
    return STR_EMPTY;
}

static struct str read_roots(struct arena *arena, struct str path)
{
    for (size_t i = 0; str_equal(path, STR("system")) && i < sizeof(system_roots) / sizeof(system_roots[0]); i++) {
        struct str text;
        if (file_read(arena, system_roots[i], FILE_SECRET_SIZE_MAX, &text, NULL) == ERR_OK) {
            return text;
        }
    }
    return read_pem(arena, path);
}

static struct secrets *add_roots(struct secrets *secrets, const struct secrets *present, struct str name)
{
    if (!str_starts_with(name, STR(ROOT_PREFIX)) || secrets_roots(secrets == NULL ? present : secrets, name).size > 0) {
        return secrets;
    }
    struct arena arena = {0};
    struct str roots = read_roots(&arena, str_from(name, sizeof(ROOT_PREFIX) - 1));
    if (roots.size > 0) {
        secrets = secrets == NULL ? secrets_new(present) : secrets;
        secrets_set_roots(secrets, name, roots);
    }
    arena_done(&arena);
    return secrets;
}

static struct secrets *add_certificate(struct secrets *secrets, const struct secrets *present, struct str name)
{
    if (!str_starts_with(name, STR(CERTIFICATE_PREFIX)) || secrets_certificate(secrets == NULL ? present : secrets, name).size > 0) {
        return secrets;
    }
    struct arena arena = {0};
    struct str key_path = str_from(name, sizeof(CERTIFICATE_PREFIX) - 1);
    struct str chain_path = str_split(&key_path, '~');
    struct str chain = read_pem(&arena, chain_path);
    struct str key = read_pem(&arena, key_path);
    if (chain.size > 0 && key.size > 0) {
        secrets = secrets == NULL ? secrets_new(present) : secrets;
        secrets_set_certificate(secrets, name, chain, key);
    }
    arena_done(&arena);
    return secrets;
}

struct secrets *file_secrets_add(const struct secrets *present, const struct cluster_config *config)
{
    struct secrets *secrets = NULL;
    for (size_t i = 0; i <= config->choice_count; i++) {
        const struct transport_socket *socket = i == 0 ? config->transport : config->choices[i - 1].socket;
        if (socket != NULL && socket->is_tls) {
            secrets = add_roots(secrets, present, socket->roots_name);
            secrets = add_certificate(secrets, present, socket->certificate_name);
        }
    }
    return secrets;
}
