// SPDX-License-Identifier: Apache-2.0
//
// world: one lab's own corner of the machine, and the process that keeps it.
//
//   machine ── 127.0.0.1:PORT (listening sockets, opened before the world and handed to its clusters)
//   world   ── network, mount, process, host name and IPC namespaces; bridge 172.18.0.1/16; no way out
//     └ cluster1-control-plane   172.18.0.2, its own namespaces on the bridge; runs `isthmesh-lab serve`
//     └ cluster2-control-plane   172.18.0.3 …
//
// The world's first process starts the clusters' servers, starts one again that died, and stops them on
// SIGTERM. Each server is the first process of a process namespace of its own, so its pods end with it;
// everything ends with the world's first process, however that ends.
#ifndef LAB_WORLD_WORLD_H
#define LAB_WORLD_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "lab/world/options.h"
#include "lab/world/state.h"

#define WORLD_GATEWAY "172.18.0.1"
#define WORLD_PREFIX_SIZE 16
#define WORLD_CLUSTER_NAME_SIZE 16 // "cluster16"
#define WORLD_ADDRESS_SIZE 16      // "172.18.0.17"
#define WORLD_URL_SIZE 40

struct world_cluster {
    char name[WORLD_CLUSTER_NAME_SIZE];
    char node_ip[WORLD_ADDRESS_SIZE];
    char outside_url[WORLD_URL_SIZE]; // "https://127.0.0.1:PORT"
    int api_fd;                       // listens on the machine's loopback
    struct str region;
    struct str zone;
    // runtime, in the world's first process
    pid_t pid; // 0: not running
    int ready_fd;
    bool is_ready;
    unsigned restart_count;
    uint64_t start_at_ms; // when to start it again
};

struct world {
    const struct world_options *options;
    struct state *state;
    const char *program; // the path of isthmesh-lab
    struct world_cluster clusters[WORLD_CLUSTERS_MAX];
    int report_fd; // the world writes "ready NAME", "failed SENTENCE" and "up" lines; -1: nobody listens
    bool is_up;
};

// Fills clusters from options and opens their listening sockets in the caller's network namespace.
enum err world_init(struct world *world, const struct world_options *options, struct state *state,
                    const char *program, struct error *err) must_check;
void world_done(struct world *world);

// Starts the world's first process and returns its id; *ret_report_fd reads its report lines.
enum err world_start(struct world *world, pid_t *ret_pid, int *ret_report_fd, struct error *err) must_check;

#endif
