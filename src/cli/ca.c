// SPDX-License-Identifier: Apache-2.0
#include "cli/ca.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/memory.h"
#include "cli/options.h"
#include "codec/x509/x509.h"
#include "loop/loop.h"

#define DAY_S 86400
#define DAYS_MAX 36500
#define CA_USAGE \
    (X509_USAGE_DIGITAL_SIGNATURE | X509_USAGE_NON_REPUDIATION | X509_USAGE_KEY_ENCIPHERMENT | X509_USAGE_CERT_SIGN)

struct settings {
    const char *directory;
    const char *key;
    const char *days;
    const char *organization;
    const char *common_name;
    const char *san_dns;
};

// What one certificate is made from, and where it goes.
struct job {
    struct arena arena;
    struct error err;
    char directory[PATH_MAX]; // of the files written
    enum x509_key_type key_type;
    uint64_t days;
    int64_t now;
};

static int failed(const struct job *job, const char *command)
{
    (void)fprintf(stderr, "isthmesh ca %s: %s\n", command, job->err.message);
    return 1;
}

static int64_t wall_seconds(void)
{
    struct loop *loop = loop_new(); // the one place that reads clocks
    int64_t now = (int64_t)(loop_wall_ms(loop) / 1000);
    loop_free(loop);
    return now;
}

static enum err parse_settings(struct job *job, const struct settings *settings)
{
    static const struct {
        const char *name;
        enum x509_key_type type;
    } keys[] = {{"rsa4096", X509_KEY_RSA_4096}, {"rsa2048", X509_KEY_RSA_2048}, {"p256", X509_KEY_P256}};
    if (!str_to_u64(str_of(settings->days), &job->days) || job->days == 0 || job->days > DAYS_MAX) {
        return error_set(&job->err, ERR_INVALID, "--days wants a number from 1 to %d, not \"%s\"", DAYS_MAX, settings->days);
    }
    for (size_t i = 0; i < array_count(keys); i++) {
        if (strcmp(keys[i].name, settings->key) == 0) {
            job->key_type = keys[i].type;
            job->now = wall_seconds();
            return ERR_OK;
        }
    }
    return error_set(&job->err, ERR_INVALID, "--key wants rsa4096, rsa2048 or p256, not \"%s\"", settings->key);
}

// --- files -----------------------------------------------------------------------------------------

static void make_path(const char *directory, const char *name, char out[static PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/%s", directory, name);
}

static bool exists(const char *directory, const char *name)
{
    char path[PATH_MAX];
    make_path(directory, name, path);
    return access(path, F_OK) == 0;
}

static enum err read_text(struct job *job, const char *directory, const char *name, struct str *ret_text)
{
    char path[PATH_MAX];
    make_path(directory, name, path);
    return file_read(&job->arena, path, X509_PEM_MAX, ret_text, &job->err);
}

static enum err write_text(struct job *job, const char *name, struct str text, mode_t mode)
{
    char path[PATH_MAX];
    make_path(job->directory, name, path);
    (void)printf("generating %s\n", path);
    enum err code = file_write_atomic(path, text, mode, &job->err);
    if (code != ERR_OK) {
        error_prefix(&job->err, "%s", path);
    }
    return code;
}

// The key in the file, or a new one written there.
static struct x509_key *take_key(struct job *job, const char *name)
{
    struct str pem;
    if (exists(job->directory, name)) {
        struct x509_key *key = read_text(job, job->directory, name, &pem) == ERR_OK ? x509_key_parse(pem, &job->err) : NULL;
        if (key == NULL) {
            error_prefix(&job->err, "%s/%s", job->directory, name);
        }
        return key;
    }
    struct x509_key *key = x509_key_generate(job->key_type, &job->err);
    if (key != NULL) {
        pem = x509_key_pem(&job->arena, key);
        if (write_text(job, name, pem, 0600) != ERR_OK) {
            x509_key_free(key);
            key = NULL;
        }
        mem_wipe((char *)(uintptr_t)pem.data, pem.size); // the arena's copy
    }
    return key;
}

// The request and its openssl configuration are not needed again; they document what was asked, for those
// who have a certificate renewed by hand.
static enum err write_request(struct job *job, const struct x509_key *key, const struct x509_template *wanted,
                              const char *conf_name, const char *csr_name)
{
    struct str constraints = wanted->path_length < 0
                                 ? STR("CA:true")
                                 : arena_format(&job->arena, "CA:true, pathlen:%d", wanted->path_length);
    struct buf conf = {0};
    buf_printf(&conf,
               "[ req ]\nencrypt_key = no\nprompt = no\nutf8 = yes\ndefault_md = sha256\ndistinguished_name = req_dn\n"
               "req_extensions = req_ext\nx509_extensions = req_ext\n\n[ req_ext ]\nsubjectKeyIdentifier = hash\n"
               "basicConstraints = critical, %.*s\n"
               "keyUsage = critical, digitalSignature, nonRepudiation, keyEncipherment, keyCertSign\n",
               STR_ARG(constraints));
    if (wanted->san_count > 0) {
        buf_printf(&conf, "subjectAltName = DNS:%.*s\n", STR_ARG(wanted->sans[0].value));
    }
    buf_printf(&conf, "\n[ req_dn ]\nO = %.*s\nCN = %.*s\n", STR_ARG(wanted->subject.organizations[0]),
               STR_ARG(wanted->subject.common_name));
    if (wanted->subject.locality.size > 0) {
        buf_printf(&conf, "L = %.*s\n", STR_ARG(wanted->subject.locality));
    }
    struct str csr;
    enum err code = x509_request_make(&job->arena, key, &wanted->subject, wanted->sans, wanted->san_count, &csr, &job->err);
    if (code == ERR_OK) {
        code = write_text(job, conf_name, buf_view(&conf), 0644);
    }
    buf_done(&conf);
    return code == ERR_OK ? write_text(job, csr_name, csr, 0644) : code;
}

// --- root ------------------------------------------------------------------------------------------

static enum err make_root(struct job *job, const struct settings *settings)
{
    if (exists(job->directory, "root-cert.pem") && exists(job->directory, "root-key.pem")) {
        (void)printf("keeping %s/root-cert.pem and root-key.pem\n", job->directory);
        return ERR_OK;
    }
    enum err code = file_make_directories(job->directory, 0755, &job->err);
    if (code != ERR_OK) {
        return code;
    }
    struct x509_key *key = take_key(job, "root-key.pem");
    if (key == NULL) {
        return job->err.code;
    }
    struct str organization = str_of(settings->organization);
    struct x509_template wanted = {
        .subject = {.common_name = str_of(settings->common_name), .organizations = &organization, .organization_count = 1},
        .not_before = job->now,
        .not_after = job->now + (int64_t)job->days * DAY_S,
        .is_ca = true,
        .path_length = -1,
        .usage = CA_USAGE,
    };
    struct x509_certificate *certificate = x509_issue(&wanted, key, NULL, key, &job->err);
    code = certificate == NULL ? job->err.code : write_request(job, key, &wanted, "root-ca.conf", "root-cert.csr");
    if (code == ERR_OK) {
        code = write_text(job, "root-cert.pem", x509_certificate_pem(&job->arena, certificate), 0644);
    }
    x509_certificate_free(certificate);
    x509_key_free(key);
    return code;
}

#define COMMON_ROWS(settings)                                                                                          \
    {"directory", 'd', "DIR", "where the files go (default \".\")", &(settings).directory, NULL},                      \
    {"key", 0, "TYPE", "rsa4096, rsa2048 or p256 (default rsa4096)", &(settings).key, NULL},                           \
    {"days", 0, "N", "lifetime (default 3650)", &(settings).days, NULL},                                               \
    {"organization", 0, "NAME", "O= of the subject (default Istio)", &(settings).organization, NULL},                  \
    {"common-name", 0, "NAME", "CN= of the subject", &(settings).common_name, NULL}

static int run_root(int argc, char **argv)
{
    struct settings settings = {".", "rsa4096", "3650", "Istio", "Root CA", NULL};
    const struct option_row rows[] = {COMMON_ROWS(settings)};
    const struct option_usage usage = {"isthmesh ca root", "[flags]",
                                       "Makes root-cert.pem and root-key.pem, unless both are there. Keep the key off the clusters.",
                                       rows, array_count(rows)};
    int count;
    enum options_result result = options_parse(&usage, argc, argv, 0, 0, &count);
    if (result != OPTIONS_RUN) {
        return result == OPTIONS_DONE ? 0 : 2;
    }
    struct job job = {0};
    (void)snprintf(job.directory, sizeof(job.directory), "%s", settings.directory);
    enum err code = parse_settings(&job, &settings);
    code = code == ERR_OK ? make_root(&job, &settings) : code;
    int status = code == ERR_OK ? 0 : failed(&job, "root");
    arena_done(&job.arena);
    return status;
}

// --- intermediate ----------------------------------------------------------------------------------

struct root {
    struct str pem;
    struct x509_key *key;
    struct x509_certificate *certificate;
};

static enum err load_root(struct job *job, const char *directory, struct root *root)
{
    struct str key_pem;
    enum err code = read_text(job, directory, "root-cert.pem", &root->pem);
    if (code == ERR_OK) {
        code = read_text(job, directory, "root-key.pem", &key_pem);
    }
    if (code != ERR_OK) {
        if (code == ERR_NOT_FOUND) {
            code = error_set(&job->err, code, "no root-cert.pem and root-key.pem in %s: run isthmesh ca root first", directory);
        }
        return code;
    }
    root->certificate = x509_certificate_parse(root->pem, &job->err);
    root->key = root->certificate == NULL ? NULL : x509_key_parse(key_pem, &job->err);
    mem_wipe((char *)(uintptr_t)key_pem.data, key_pem.size);
    if (root->key == NULL) {
        error_prefix(&job->err, "root in %s", directory);
        return job->err.code;
    }
    if (!x509_certificate_matches_key(root->certificate, root->key)) {
        return error_set(&job->err, ERR_INVALID, "root-key.pem does not belong to root-cert.pem in %s", directory);
    }
    return ERR_OK;
}

static enum err write_intermediate(struct job *job, const struct root *root, const struct x509_key *key,
                                   const struct x509_template *wanted)
{
    struct x509_certificate *certificate = x509_issue(wanted, key, root->certificate, root->key, &job->err);
    enum err code = certificate == NULL ? job->err.code : write_request(job, key, wanted, "intermediate.conf", "cluster-ca.csr");
    if (code == ERR_OK) {
        struct str pem = x509_certificate_pem(&job->arena, certificate);
        struct str chain = arena_format(&job->arena, "%.*s%.*s", STR_ARG(pem), STR_ARG(root->pem));
        code = write_text(job, "ca-cert.pem", pem, 0644);
        code = code == ERR_OK ? write_text(job, "cert-chain.pem", chain, 0644) : code;
        code = code == ERR_OK ? write_text(job, "root-cert.pem", root->pem, 0644) : code;
    }
    x509_certificate_free(certificate);
    return code;
}

static enum err make_intermediate(struct job *job, const struct settings *settings, const char *name, const struct root *root)
{
    if (exists(job->directory, "ca-cert.pem") && exists(job->directory, "ca-key.pem") &&
        exists(job->directory, "cert-chain.pem") && exists(job->directory, "root-cert.pem")) {
        (void)printf("keeping the files in %s\n", job->directory);
        return ERR_OK;
    }
    enum err code = file_make_directories(job->directory, 0755, &job->err);
    struct x509_key *key = code == ERR_OK ? take_key(job, "ca-key.pem") : NULL;
    if (key == NULL) {
        return job->err.code;
    }
    struct str organization = str_of(settings->organization);
    struct x509_san san = {.type = X509_SAN_DNS, .value = str_of(settings->san_dns)};
    int64_t root_end = x509_certificate_not_after(root->certificate);
    int64_t end = job->now + (int64_t)job->days * DAY_S;
    struct x509_template wanted = {
        .subject = {.common_name = str_of(settings->common_name), .organizations = &organization, .organization_count = 1,
                    .locality = str_of(name)},
        .sans = &san,
        .san_count = 1,
        .not_before = job->now,
        .not_after = end < root_end ? end : root_end, // what outlives the root verifies no longer
        .is_ca = true,
        .path_length = 0,
        .usage = CA_USAGE,
    };
    code = job->now < wanted.not_after ? write_intermediate(job, root, key, &wanted)
                                       : error_set(&job->err, ERR_EXPIRED, "the root certificate has expired");
    x509_key_free(key);
    return code;
}

// A name that is a directory below ours and nothing else.
static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL && strlen(name) <= 63;
}

static int run_intermediate(int argc, char **argv)
{
    struct settings settings = {".", "rsa4096", "3650", "Istio", "Intermediate CA", "istiod.istio-system.svc"};
    const struct option_row rows[] = {
        COMMON_ROWS(settings),
        {"san-dns", 0, "NAME", "DNS name in the certificate (default istiod.istio-system.svc)", &settings.san_dns, NULL},
    };
    const struct option_usage usage = {"isthmesh ca intermediate", "NAME [flags]",
                                       "Makes NAME/ with ca-cert.pem, ca-key.pem, cert-chain.pem and root-cert.pem for one cluster:\n"
                                       "the four files of secret cacerts in namespace istio-system.",
                                       rows, array_count(rows)};
    int count;
    enum options_result result = options_parse(&usage, argc, argv, 1, 1, &count);
    if (result != OPTIONS_RUN) {
        return result == OPTIONS_DONE ? 0 : 2;
    }
    struct job job = {0};
    struct root root = {0};
    (void)snprintf(job.directory, sizeof(job.directory), "%s/%s", settings.directory, argv[1]);
    enum err code = is_plain_name(argv[1]) ? parse_settings(&job, &settings)
                                           : error_set(&job.err, ERR_INVALID, "\"%s\" cannot name a cluster", argv[1]);
    code = code == ERR_OK ? load_root(&job, settings.directory, &root) : code;
    code = code == ERR_OK ? make_intermediate(&job, &settings, argv[1], &root) : code;
    if (code == ERR_OK) {
        (void)printf("Intermediate inputs stored in %s/\ndone\n", job.directory);
    }
    int status = code == ERR_OK ? 0 : failed(&job, "intermediate");
    x509_certificate_free(root.certificate);
    x509_key_free(root.key);
    arena_done(&job.arena);
    return status;
}

// --- inspect ---------------------------------------------------------------------------------------

static void print_time(const char *label, int64_t seconds)
{
    time_t when = (time_t)seconds;
    struct tm parts;
    char text[40];
    if (gmtime_r(&when, &parts) == NULL || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
        (void)snprintf(text, sizeof(text), "%lld", (long long)seconds);
    }
    (void)printf("  %-11s %s\n", label, text);
}

static void print_certificate(struct arena *arena, const struct x509_certificate *certificate, const char *path, size_t index)
{
    static const char *const kinds[] = {[X509_SAN_DNS] = "DNS", [X509_SAN_URI] = "URI", [X509_SAN_IP] = "IP"};
    struct x509_facts facts;
    x509_certificate_facts(arena, certificate, &facts);
    (void)printf("%s, certificate %zu\n  %-11s %.*s\n  %-11s %.*s\n  %-11s %.*s\n", path, index + 1, "subject", STR_ARG(facts.subject),
                 "issuer", STR_ARG(facts.issuer), "serial", STR_ARG(facts.serial));
    print_time("not before", facts.not_before);
    print_time("not after", facts.not_after);
    if (facts.is_ca) {
        (void)printf("  %-11s yes%s", "CA", facts.path_length < 0 ? "\n" : "");
        if (facts.path_length >= 0) {
            (void)printf(", path length %d\n", facts.path_length);
        }
    }
    for (size_t i = 0; i < facts.san_count; i++) {
        (void)printf("  %-11s %s:%.*s\n", "name", kinds[facts.sans[i].type], STR_ARG(facts.sans[i].value));
    }
    (void)printf("  %-11s %s\n", "sha256", facts.sha256);
}

static enum err inspect(struct job *job, const char *path)
{
    struct str text;
    struct x509_bundle bundle;
    enum err code = file_read(&job->arena, path, X509_PEM_MAX, &text, &job->err);
    if (code != ERR_OK) {
        return code;
    }
    code = x509_bundle_parse(text, &bundle, &job->err);
    if (code != ERR_OK) {
        error_prefix(&job->err, "%s", path);
        return code;
    }
    for (size_t i = 0; i < bundle.count; i++) {
        print_certificate(&job->arena, bundle.items[i], path, i);
    }
    x509_bundle_done(&bundle);
    return ERR_OK;
}

static int run_inspect(int argc, char **argv)
{
    const struct option_usage usage = {"isthmesh ca inspect", "FILE…", "Prints what the certificates of PEM files say.", NULL, 0};
    int count;
    enum options_result result = options_parse(&usage, argc, argv, 1, INT_MAX, &count);
    if (result != OPTIONS_RUN) {
        return result == OPTIONS_DONE ? 0 : 2;
    }
    int status = 0;
    for (int i = 1; i <= count; i++) {
        struct job job = {0};
        if (inspect(&job, argv[i]) != ERR_OK) {
            status = failed(&job, "inspect");
        }
        arena_done(&job.arena);
    }
    return status;
}

// --- the command -----------------------------------------------------------------------------------

int cli_ca(int argc, char **argv)
{
    static const struct {
        const char *name;
        const char *summary;
        int (*run)(int argc, char **argv);
    } commands[] = {
        {"root", "make the root of the mesh", run_root},
        {"intermediate", "make a cluster's intermediate", run_intermediate},
        {"inspect", "print certificates", run_inspect},
    };
    for (size_t i = 0; argc > 1 && i < array_count(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    bool is_help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    FILE *out = is_help ? stdout : stderr;
    if (argc > 1 && !is_help) {
        (void)fprintf(out, "isthmesh ca: no command \"%s\"\n", argv[1]);
    }
    (void)fprintf(out, "usage: isthmesh ca COMMAND [ARGUMENTS]\n\n");
    for (size_t i = 0; i < array_count(commands); i++) {
        (void)fprintf(out, "  %-13s %s\n", commands[i].name, commands[i].summary);
    }
    return is_help ? 0 : 2;
}
