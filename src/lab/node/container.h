// SPDX-License-Identifier: Apache-2.0
//
// container: one start of a container, kept by runc: create, start, exit, delete.
//
//   container_new ─► runc create ─► runc start ─► on_started ─► … the program ends ─► on_ended
//                        └── fails ──┴────────────────────────────────────────────► on_failed
//
// `create` and `start` are two steps because the process becomes our child between them: its exit status
// is then ours to collect, however early it ends. Exactly one of on_failed and on_ended comes, last.
// container_free() removes what is left of it, in the background, at any time (the program is killed).
#ifndef LAB_NODE_CONTAINER_H
#define LAB_NODE_CONTAINER_H

#include "base/error.h"
#include "codec/json/json.h"
#include "loop/loop.h"

struct container;

struct container_events {
    void (*on_started)(void *owner, struct container *container); // frees nothing: the end may follow at once
    void (*on_failed)(void *owner, struct container *container, const struct error *err);
    void (*on_ended)(void *owner, struct container *container, int status); // as from waitpid
};

struct container_options {
    struct loop *loop;
    struct str id;           // unique among this node's containers, for ever
    struct str runc_root;    // runc's state directory
    struct str bundle;       // folder of this container: config.json and rootfs/; made and removed here
    struct str log_path;     // its folder exists
    struct str host_name;    // for /etc/hostname
};

// spec as container_spec_build() made it, with root path bundle/rootfs. NULL and a sentence on failure.
struct container *container_new(const struct container_options *options, const struct json_value *spec,
                                const struct container_events *events, void *owner, struct error *err);
void container_free(struct container *container); // NULL is fine
void container_signal(struct container *container, int signal_number);
bool container_is_running(const struct container *container);
struct str container_id(const struct container *container);

#endif
