// SPDX-License-Identifier: Apache-2.0
//
// volumes: what a pod's volumes contain, and putting it there. Contents are computed purely from the
// pod and the cluster's objects; writing replaces a volume's files atomically, as the kubelet does:
//
//   VOLUME/..17322/token        the files of this version
//   VOLUME/..data → ..17322     swapped by rename
//   VOLUME/token → ..data/token
#ifndef LAB_NODE_VOLUMES_H
#define LAB_NODE_VOLUMES_H

#include "base/vec.h"
#include "lab/node/context.h"

#define VOLUME_FILES_MAX 4096u

struct volume_file {
    struct str path; // inside the volume
    struct str bytes;
    uint32_t mode;
};

struct volume_files {
    VEC(struct volume_file) list;
};

// Whether the agent writes the volume's files (configMap, secret, projected, downwardAPI).
bool volume_has_files(const struct json_value *volume);

// ERR_NOT_FOUND: an object, key or token is not there yet; the pod waits for it. The caller does
// vec_done() on files->list.
enum err volume_build(struct arena *arena, const struct pod_context *context, const struct json_value *volume,
                      struct volume_files *files, struct error *err) must_check;

// Replaces the content of folder directory; group -1: left alone. version must differ from the last one.
enum err volume_write(const char *directory, const struct volume_files *files, uint64_t version, int64_t group,
                      struct error *err) must_check;

// Makes the folders of all volumes of a pod below directory, and hostPath folders asked for.
enum err volumes_make_directories(const char *directory, const struct json_value *pod, struct error *err) must_check;

// A fingerprint of the content, to write only what changed.
uint64_t volume_hash(const struct volume_files *files);

#endif
