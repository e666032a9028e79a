// SPDX-License-Identifier: Apache-2.0
//
// kubeconfigs: the clusters' kubeconfigs merged into one, as kind keeps them: contexts kind-cluster1 …,
// the first one current.
#ifndef LAB_WORLD_KUBECONFIGS_H
#define LAB_WORLD_KUBECONFIGS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

#define KUBECONFIG_SIZE_MAX (256u * 1024) // of one cluster's file

// Appends the merged file. Of two entries of one name the first stays, as kubectl merges.
enum err kubeconfigs_merge(struct arena *arena, const struct str *texts, size_t count, struct buf *out,
                           struct error *err) must_check;

#endif
