// SPDX-License-Identifier: Apache-2.0
#include "lab/node/volumes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define OPEN_DESCRIPTORS_MAX 16
#define DATA_LINK "..data"

static enum err write_file(const char *path, const struct volume_file *file, int64_t group, struct error *err)
{
    char folder[PATH_MAX];
    (void)snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    enum err code = file_make_directories(folder, 0755, err);
    if (code != ERR_OK) {
        return code;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return error_set_errno(err, errno, "%s", path);
    }
    mode_t mode = (mode_t)file->mode | (group >= 0 ? (file->mode & 0400 ? 0040u : 0u) : 0u);
    bool is_written = write(fd, file->bytes.data, file->bytes.size) == (ssize_t)file->bytes.size && fchmod(fd, mode) == 0 &&
                      (group < 0 || fchown(fd, (uid_t)-1, (gid_t)group) == 0);
    int failure = errno;
    (void)close(fd);
    return is_written ? ERR_OK : error_set_errno(err, failure, "%s", path);
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

static enum err replace_link(const char *directory, const char *target, const char *name, struct error *err)
{
    char link[PATH_MAX];
    char temporary[PATH_MAX];
    (void)snprintf(link, sizeof(link), "%s/%s", directory, name);
    (void)snprintf(temporary, sizeof(temporary), "%s/..tmp", directory);
    (void)unlink(temporary);
    if (symlink(target, temporary) != 0 || rename(temporary, link) != 0) {
        return error_set_errno(err, errno, "%s", link);
    }
    return ERR_OK;
}

// The visible names: a link per first path part, made once (..data is what changes).
static enum err link_names(const char *directory, const struct volume_files *files, struct error *err)
{
    char target[PATH_MAX];
    char name[NAME_MAX + 1];
    for (size_t i = 0; i < files->list.count; i++) {
        struct str rest = files->list.items[i].path;
        struct str first = str_split(&rest, '/');
        if (first.size > NAME_MAX) {
            return error_set(err, ERR_LIMIT, "the name of a file in a volume is too long");
        }
        (void)snprintf(name, sizeof(name), "%.*s", STR_ARG(first));
        (void)snprintf(target, sizeof(target), DATA_LINK "/%s", name);
        enum err code = replace_link(directory, target, name, err);
        if (code != ERR_OK) {
            return code;
        }
    }
    return ERR_OK;
}

// Links whose file went away with this version.
static void unlink_stale(const char *directory)
{
    char path[PATH_MAX];
    DIR *entries = opendir(directory);
    if (entries == NULL) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        (void)snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        if (entry->d_type == DT_LNK && access(path, F_OK) != 0) {
            (void)unlink(path);
        }
    }
    (void)closedir(entries);
}

enum err volume_write(const char *directory, const struct volume_files *files, uint64_t version, int64_t group,
                      struct error *err)
{
    char name[64];
    char old[NAME_MAX + 1];
    char path[PATH_MAX];
    enum err code = ERR_OK;
    (void)snprintf(path, sizeof(path), "%s/" DATA_LINK, directory);
    ssize_t old_size = readlink(path, old, sizeof(old) - 1);
    (void)snprintf(name, sizeof(name), "..%llu", (unsigned long long)version);
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (mkdir(path, 0755) != 0) {
        return error_set_errno(err, errno, "%s", path);
    }
    for (size_t i = 0; i < files->list.count && code == ERR_OK; i++) {
        int size = snprintf(path, sizeof(path), "%s/%s/%.*s", directory, name, STR_ARG(files->list.items[i].path));
        code = size > 0 && (size_t)size < sizeof(path) ? write_file(path, &files->list.items[i], group, err)
                                                       : error_set(err, ERR_LIMIT, "a volume's path is too long");
    }
    if (code == ERR_OK) {
        code = replace_link(directory, name, DATA_LINK, err);
    }
    if (code == ERR_OK) {
        code = link_names(directory, files, err);
    }
    if (code == ERR_OK && old_size > 0) {
        old[old_size] = '\0';
        (void)snprintf(path, sizeof(path), "%s/%s", directory, old);
        (void)nftw(path, remove_entry, OPEN_DESCRIPTORS_MAX, FTW_DEPTH | FTW_PHYS);
        unlink_stale(directory);
    }
    return code;
}

// --- folders ---------------------------------------------------------------------------------------

static enum err make_host_path(const struct json_value *host_path, struct error *err)
{
    struct str path = json_get_str(host_path, "path");
    struct str type = json_get_str(host_path, "type");
    char text[PATH_MAX];
    if (path.size >= sizeof(text) || !str_starts_with(path, STR("/"))) {
        return error_set(err, ERR_INVALID, "hostPath wants an absolute path");
    }
    (void)snprintf(text, sizeof(text), "%.*s", STR_ARG(path));
    if (str_equal_c(type, "DirectoryOrCreate") || str_is_empty(type)) {
        return access(text, F_OK) == 0 ? ERR_OK : file_make_directories(text, 0755, err);
    }
    return access(text, F_OK) == 0 ? ERR_OK : error_set(err, ERR_NOT_FOUND, "hostPath %s does not exist", text);
}

enum err volumes_make_directories(const char *directory, const struct json_value *pod, struct error *err)
{
    char path[PATH_MAX];
    const struct json_value *volumes = json_path(pod, "spec", "volumes", NULL);
    int64_t group = -1;
    (void)json_int(json_path(pod, "spec", "securityContext", "fsGroup", NULL), &group);
    for (size_t i = 0; i < json_count(volumes); i++) {
        const struct json_value *volume = json_at(volumes, i);
        const struct json_value *host_path = json_get(volume, "hostPath");
        struct str name = json_get_str(volume, "name");
        bool is_known = host_path != NULL || json_get(volume, "emptyDir") != NULL || volume_has_files(volume);
        if (!is_known) {
            return error_set(err, ERR_UNSUPPORTED, "the lab has no volumes of the kind of \"%.*s\"", STR_ARG(name));
        }
        (void)snprintf(path, sizeof(path), "%s/%.*s", directory, STR_ARG(name));
        enum err code = host_path != NULL ? make_host_path(host_path, err) : file_make_directories(path, 0755, err);
        if (code != ERR_OK) {
            return code;
        }
        // An emptyDir is everybody's, as the kubelet makes it; fsGroup owns it where given.
        if (json_get(volume, "emptyDir") != NULL &&
            (chmod(path, group >= 0 ? 02777 : 0777) != 0 || (group >= 0 && chown(path, (uid_t)-1, (gid_t)group) != 0))) {
            return error_set_errno(err, errno, "%s", path);
        }
    }
    return ERR_OK;
}
