// SPDX-License-Identifier: Apache-2.0
//
// worker: one thread with its loop, its listeners and its way upstream. The main thread sends it
// generations by mailbox; nothing else is shared but stats and metrics, which are atomic.
#ifndef PROXY_WORKER_H
#define PROXY_WORKER_H

#include "base/metrics.h"
#include "proxy/cluster/stats.h"
#include "proxy/generation.h"

#define WORKERS_MAX 256u

struct worker;

// With index 0 and own_loop set the worker runs on that loop, in the caller's thread; otherwise it starts
// a thread.
struct worker *worker_start(struct loop *own_loop, struct stats *stats, struct metrics *metrics);
void worker_publish(struct worker *worker, struct generation *generation); // takes a reference of its own
// From the main thread; inbound only, or all.
void worker_drain(struct worker *worker, bool inbound_only);
// Ends the thread and frees everything; connections still open are cut.
void worker_stop(struct worker *worker);
size_t worker_connections(const struct worker *worker); // open downstream connections, approximately

#endif
