// SPDX-License-Identifier: Apache-2.0
//
// access_log: one line per finished request or connection, in the format of the configuration. Formats
// are compiled once; a line is written into the worker's sink, which goes to its file every
// ACCESS_LOG_FLUSH_MS or ACCESS_LOG_FLUSH_SIZE. Only /dev/stdout and /dev/stderr are written to: that is
// where a container's log goes.
#ifndef PROXY_FILTER_ACCESS_LOG_H
#define PROXY_FILTER_ACCESS_LOG_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "codec/http1/http_head.h"
#include "envoy/config/accesslog/v3/accesslog.pb-c.h"
#include "loop/loop.h"
#include "net/address.h"

#define ACCESS_LOG_FLUSH_MS 1000u
#define ACCESS_LOG_FLUSH_SIZE (64u * 1024)
#define ACCESS_LOG_PENDING_MAX (4u * 1024 * 1024) // more than that waiting: lines are dropped

// Why a response is what it is; in the order in which they are printed.
enum response_flag {
    FLAG_NO_HEALTHY_UPSTREAM = 1 << 0,    // UH
    FLAG_UPSTREAM_TIMEOUT = 1 << 1,       // UT
    FLAG_LOCAL_RESET = 1 << 2,            // LR
    FLAG_UPSTREAM_RESET = 1 << 3,         // UR
    FLAG_UPSTREAM_CONNECT_FAILURE = 1 << 4, // UF
    FLAG_UPSTREAM_TERMINATION = 1 << 5,   // UC
    FLAG_UPSTREAM_OVERFLOW = 1 << 6,      // UO
    FLAG_NO_ROUTE = 1 << 7,               // NR
    FLAG_DOWNSTREAM_TERMINATION = 1 << 8, // DC
    FLAG_RETRY_LIMIT = 1 << 9,            // URX
    FLAG_STREAM_IDLE = 1 << 10,           // SI
    FLAG_DOWNSTREAM_PROTOCOL = 1 << 11,   // DPE
    FLAG_DURATION = 1 << 12,              // DT
    FLAG_UPSTREAM_PROTOCOL = 1 << 13,     // UPE
    FLAG_NO_CLUSTER = 1 << 14,            // NC
    FLAG_FAULT_DELAY = 1 << 15,           // DI
    FLAG_FAULT_ABORT = 1 << 16,           // FI
};

void response_flags_write(unsigned flags, struct buf *out); // "UH,NR" or "-"

// Everything a line may ask for; absent views have size 0.
struct access_facts {
    uint64_t start_wall_ms;
    uint64_t duration_ms;
    const struct http_head *request;  // NULL: TCP
    const struct http_head *response; // NULL: none
    int protocol;                     // 10, 11, 20; 0: TCP
    int status;
    unsigned flags;
    struct str details;
    struct str termination_details;
    struct str upstream_failure;
    uint64_t bytes_received;
    uint64_t bytes_sent;
    struct str upstream_host;
    struct str upstream_cluster;
    const struct address *upstream_local;
    const struct address *downstream_local;
    const struct address *downstream_remote;
    struct str server_name;
    struct str route_name;
};

struct access_log; // compiled; lives in an arena

// NULL in *ret_log when there is nothing to log.
enum err access_log_compile(struct arena *arena, Envoy__Config__Accesslog__V3__AccessLog **configs, size_t count,
                            const struct access_log **ret_log, struct error *err) must_check;

struct access_sink {
    struct loop *loop;
    struct loop_timer flush;
    struct buf pending[2]; // standard output, standard error
    uint64_t dropped;
};

void access_sink_init(struct access_sink *sink, struct loop *loop);
void access_sink_done(struct access_sink *sink); // flushes
void access_log_write(const struct access_log *log, struct access_sink *sink, const struct access_facts *facts); // NULL log is fine

#endif
