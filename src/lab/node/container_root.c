// SPDX-License-Identifier: Apache-2.0
#include "lab/node/container_spec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

static const struct {
    const char *path;
    mode_t mode;
} directories[] = {
    {"", 0755},          {"/dev", 0755},  {"/etc", 0755},     {"/home", 0755},    {"/isthmesh", 0755}, {"/isthmesh/bin", 0755},
    {"/mnt", 0755},      {"/opt", 0755},  {"/proc", 0555},    {"/root", 0700},    {"/run", 0755},      {"/run/secrets", 0755},
    {"/srv", 0755},      {"/sys", 0555},  {"/tmp", 01777},    {"/usr", 0755},     {"/var", 0755},      {"/var/cache", 0755},
    {"/var/lib", 0755},  {"/var/log", 0755}, {"/var/tmp", 01777},
};

static const char *const system_links[] = {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"};

static const struct {
    const char *path;
    const char *text;
} files[] = {
    {"/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"
                    "curl_user:x:100:101::/home:/usr/sbin/nologin\n"
                    "istio-proxy:x:1337:1337::/home:/usr/sbin/nologin\n"
                    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
    {"/etc/group", "root:x:0:\ncurl_group:x:101:\nistio-proxy:x:1337:\nnogroup:x:65534:\n"},
    {"/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"},
    {"/etc/hosts", ""},
    {"/etc/resolv.conf", ""},
};

static enum err write_plain(const char *path, const char *text, struct error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return error_set_errno(err, errno, "%s", path);
    }
    ssize_t size = write(fd, text, strlen(text));
    int failure = errno;
    (void)close(fd);
    return size == (ssize_t)strlen(text) ? ERR_OK : error_set_errno(err, failure, "%s", path);
}

static enum err copy_link(struct str root, const char *path, struct error *err)
{
    char target[PATH_MAX];
    char place[PATH_MAX];
    ssize_t size = readlink(path, target, sizeof(target) - 1);
    if (size < 0) {
        return ERR_OK; // a folder, mounted by the specification, or absent on this machine
    }
    target[size] = '\0';
    (void)snprintf(place, sizeof(place), "%.*s%s", STR_ARG(root), path);
    if (symlink(target, place) != 0 && errno != EEXIST) {
        return error_set_errno(err, errno, "%s", place);
    }
    return ERR_OK;
}

enum err container_root_make(struct str root, struct str host_name, struct error *err)
{
    char path[PATH_MAX];
    enum err code = ERR_OK;
    for (size_t i = 0; i < array_count(directories); i++) {
        (void)snprintf(path, sizeof(path), "%.*s%s", STR_ARG(root), directories[i].path);
        if ((mkdir(path, 0755) != 0 && errno != EEXIST) || chmod(path, directories[i].mode) != 0) {
            return error_set_errno(err, errno, "%s", path);
        }
    }
    for (size_t i = 0; i < array_count(system_links) && code == ERR_OK; i++) {
        code = copy_link(root, system_links[i], err);
    }
    for (size_t i = 0; i < array_count(files) && code == ERR_OK; i++) {
        (void)snprintf(path, sizeof(path), "%.*s%s", STR_ARG(root), files[i].path);
        code = write_plain(path, files[i].text, err);
    }
    (void)snprintf(path, sizeof(path), "%.*s/etc/hostname", STR_ARG(root));
    if (code == ERR_OK) {
        char line[NAME_MAX];
        (void)snprintf(line, sizeof(line), "%.*s\n", STR_ARG(host_name));
        code = write_plain(path, line, err);
    }
    (void)snprintf(path, sizeof(path), "%.*s/var/run", STR_ARG(root));
    if (code == ERR_OK && symlink("/run", path) != 0 && errno != EEXIST) {
        code = error_set_errno(err, errno, "%s", path);
    }
    return code;
}
